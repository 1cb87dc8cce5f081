//! What only Unix computers have: signals.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Where sockets are.
pub(crate) const RUNTIME: &str = "/run/winstead-agent";
/// Where all that outlives the agent is.
pub(crate) const STATE: &str = "/var/lib/winstead-agent";

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
/// When the system lets nobody wait for them. Cancel safe.
pub(crate) async fn asked_to_stop() -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => Ok(()),
        outcome = tokio::signal::ctrl_c() => outcome,
    }
}
