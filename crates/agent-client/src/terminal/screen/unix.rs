//! A terminal on Unix: its size changes by a signal.

use std::io;

use rustix::termios::{isatty, tcgetwinsize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use winstead_process::Raw;
use winstead_protocol::v1::TerminalSize;

use super::TerminalError;

/// Our terminal.
#[derive(Debug)]
pub struct Screen {
    changes: Signal,
}

impl Screen {
    /// The one that we are started at; it stays as it is.
    ///
    /// # Errors
    /// When standard input or output is none.
    pub fn open() -> Result<Self, TerminalError> {
        if !isatty(io::stdin()) || !isatty(io::stdout()) {
            let why = "standard input and output are no terminal";
            return Err(TerminalError::Lend(io::Error::new(io::ErrorKind::Unsupported, why)));
        }
        let changes = signal(SignalKind::window_change()).map_err(TerminalError::Lend)?;
        Ok(Self { changes })
    }

    /// How large it is now; one that does not know is as large as they once were.
    #[must_use]
    pub fn size(&self) -> TerminalSize {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                TerminalSize { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => TerminalSize { columns: 80, rows: 24 },
        }
    }

    /// Waits for another size. Cancel safe.
    pub(super) async fn resized(&mut self) -> TerminalSize {
        // Signals end with the process.
        self.changes.recv().await;
        self.size()
    }

    /// Lends it, until what is returned is dropped, or this process ends or panics: every key is the program's.
    ///
    /// # Errors
    /// When it cannot be set.
    pub(super) fn lend(&self) -> io::Result<Option<Raw>> {
        Raw::enter()
    }
}
