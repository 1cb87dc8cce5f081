//! Ending processes: asked first, then by force, with all that they started.

use std::{io, time::Duration};

use crate::supervision::{End, Process, SupervisionError, platform, record::Command};

/// How long the system may take to end what was killed: what waits for a broken disk does not go away.
const FORCE: Duration = Duration::from_secs(20);

/// How a process was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How it ended.
    pub end: End,
    /// Whether force was needed.
    pub forced: bool,
}

/// Ends a process. One that has ended already is fine. Cancel safe: it may then be asked but not killed.
///
/// # Errors
/// When it does not go away.
pub(super) async fn stop(process: &Process, grace: Duration) -> Result<Stopped, SupervisionError> {
    if let Some(end) = process.end() {
        return Ok(Stopped { end, forced: false });
    }
    if !grace.is_zero() {
        tell(process, Command::Terminate);
        if let Ok(end) = tokio::time::timeout(grace, process.ended()).await {
            return Ok(Stopped { end, forced: false });
        }
    }
    tell(process, Command::Kill);
    match tokio::time::timeout(FORCE, process.ended()).await {
        Ok(end) => Ok(Stopped { end, forced: true }),
        Err(_) => Err(SupervisionError::Stays(process.id().to_owned())),
    }
}

/// A keeper that is gone is noticed by the process's watcher, which ends what is left.
fn tell(process: &Process, command: Command) {
    let told: io::Result<()> = platform::command(&process.folder, command);
    if let Err(error) = told {
        tracing::debug!(%error, id = process.id(), "its keeper does not hear");
    }
}
