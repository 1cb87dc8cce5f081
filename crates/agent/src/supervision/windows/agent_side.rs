//! What an agent does to keepers.

use std::{io, path::Path};

use crate::supervision::{
    Running, StartError,
    record::{Command, Launch},
};

/// A keeper of ours, whose end can be waited for.
#[derive(Debug)]
pub(crate) struct Keeper;

impl Keeper {
    /// Waits for its end.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Not yet.
pub(crate) async fn spawn_keeper(_: &Path, _: &Path, _: &Launch) -> Result<(Running, Keeper), StartError> {
    Err(StartError::Io(io::ErrorKind::Unsupported.into()))
}

/// Not yet.
pub(crate) fn command(_: &Path, _: Command) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not yet.
pub(crate) fn end_lost(_: &Running) {}

/// A signal by its Unix name: those that have a counterpart.
pub(crate) fn named_signal(name: &str) -> Option<i32> {
    match name.strip_prefix("SIG").unwrap_or(name) {
        "INT" | "TERM" | "BREAK" => Some(BREAK),
        "KILL" => Some(KILL),
        _ => None,
    }
}

/// `SIGBREAK` of Microsoft's C runtime.
const BREAK: i32 = 21;
/// As everywhere.
const KILL: i32 = 9;
