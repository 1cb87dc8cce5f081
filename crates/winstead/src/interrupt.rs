//! Ctrl-C and SIGTERM. The first asks a command that changes something to finish cleanly, and ends any other at once;
//! the second ends at once and says what may be left behind.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{cli::Command, commands, context::Context, error::CliError};

/// The exit code of an interrupted command: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// What an interrupt does to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtInterrupt {
    /// It only looks: there is nothing to finish.
    EndAtOnce,
    /// It changes something: the first interrupt asks for a clean end, the second does not wait for it and says what
    /// may be left behind.
    FinishCleanly { left: &'static str },
    /// Nobody sits in front of it: it is asked as often as somebody likes.
    FinishQuietly,
}

/// Runs a command under the eyes of the two signals.
pub(crate) async fn watch(context: Context, command: Command) -> Result<ExitCode, CliError> {
    let mut signals = Signals::listen().map_err(CliError::runtime)?;
    let at_interrupt = command.at_interrupt();
    let work = commands::run(context.clone(), command);
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        () = signals.next() => {}
    }
    let left = match at_interrupt {
        // Dropping the work puts the terminal back.
        AtInterrupt::EndAtOnce => return Err(CliError::Stopped),
        AtInterrupt::FinishQuietly => {
            context.stop.cancel();
            return work.await;
        }
        AtInterrupt::FinishCleanly { left } => left,
    };
    context.ui.note("stopping; press Ctrl-C again to leave at once");
    context.stop.cancel();
    tokio::select! {
        outcome = &mut work => after_stop(&context, outcome),
        () = signals.next() => {
            context.ui.warn(&format!("left at once; {left}"));
            std::process::exit(INTERRUPTED.into());
        }
    }
}

/// Whatever a stopped command ended with, it ended because it was stopped; if it says something else, that is shown.
fn after_stop(context: &Context, outcome: Result<ExitCode, CliError>) -> Result<ExitCode, CliError> {
    let Err(error) = outcome else { return outcome };
    if error.exit_code() == INTERRUPTED {
        return Err(error);
    }
    context.ui.error(&error);
    Err(CliError::Stopped)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
