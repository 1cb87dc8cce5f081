//! What only Unix computers have: signals.

use std::{io, path::Path};

use tokio::signal::unix::{SignalKind, signal};
use winstead_agent::service::{self, Control};
use winstead_agent_client::Address;

use crate::cli::{
    Failure,
    serve::{self, ServeArgs},
};

/// What systemd runs.
pub(crate) const SERVICE: [&str; 1] = ["serve"];

/// Where sockets are.
pub(crate) const RUNTIME: &str = "/run/winstead-agent";
/// Where all that outlives the agent is.
pub(crate) const STATE: &str = "/var/lib/winstead-agent";

/// Where the agent with this folder listens.
pub(crate) fn address(runtime: &Path) -> Address {
    Address::Unix(runtime.join("agent.sock"))
}

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

/// Tells the system what becomes of the daemon, if it wants to hear it. Never ends by itself; cancel safe.
pub(crate) async fn accompany(control: &Control) {
    control.ready.cancelled().await;
    if let Err(error) = service::ready() {
        tracing::warn!(%error, "systemd does not know that we are ready");
    }
    service::alive().await;
}

/// The command line says no more: a unit is found by its file.
pub(crate) fn named(_: &str) -> Vec<String> {
    Vec::new()
}

/// Under systemd a service is the daemon in the foreground.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn be_a_service(_: &str, args: &ServeArgs) -> Result<(), Failure> {
    serve::run(args)
}
