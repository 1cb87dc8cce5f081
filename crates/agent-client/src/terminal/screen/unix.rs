//! A terminal on Unix: its size changes by a signal.

use std::io;

use bytes::Bytes;
use rustix::termios::{isatty, tcgetwinsize};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use winstead_process::Raw;
use winstead_protocol::v1::TerminalSize;

use super::{
    TerminalError,
    streams::{put, typed},
};

/// Our terminal.
#[derive(Debug)]
pub struct Screen {
    changes: Signal,
}

/// It, as long as it is a program's.
#[derive(Debug)]
pub(super) struct Lent {
    _raw: Option<Raw>,
}

impl Screen {
    /// The one that we are started at; it stays as it is.
    ///
    /// # Errors
    /// When standard input or output is none.
    pub fn open() -> Result<Self, TerminalError> {
        if !isatty(io::stdin()) || !isatty(io::stdout()) {
            return Err(TerminalError::none());
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
    pub(super) fn lend(&self) -> io::Result<Lent> {
        Raw::enter().map(|raw| Lent { _raw: raw })
    }
}

impl Lent {
    /// Every key that is pressed from here on.
    ///
    /// # Errors
    /// When the system has no thread.
    #[expect(clippy::unused_self, reason = "as on other systems")]
    pub(super) fn keys(&self) -> io::Result<mpsc::Receiver<Bytes>> {
        typed()
    }

    /// Shows what a program says.
    ///
    /// # Errors
    /// When it is gone.
    #[expect(clippy::unused_self, reason = "as on other systems")]
    pub(super) fn show(&mut self, said: &[u8]) -> io::Result<()> {
        put(io::stdout().lock(), said)
    }
}
