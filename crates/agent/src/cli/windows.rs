//! What only Windows has: the console's events.

use std::io;

use tokio::signal::windows::{ctrl_break, ctrl_close};

/// The agent's own pipe.
pub(crate) const RUNTIME: &str = r"\\.\pipe\winstead_agent";
/// Where all that outlives the agent is.
pub(crate) const STATE: &str = r"C:\ProgramData\Winstead\agent";

/// Waits for Ctrl-C, Ctrl-Break or the console's end.
///
/// # Errors
/// When the system lets nobody wait for them. Cancel safe.
pub(crate) async fn asked_to_stop() -> io::Result<()> {
    let (mut pause, mut close) = (ctrl_break()?, ctrl_close()?);
    tokio::select! {
        _ = pause.recv() => Ok(()),
        _ = close.recv() => Ok(()),
        outcome = tokio::signal::ctrl_c() => outcome,
    }
}
