//! What only Unix computers have: signals.

use std::{io, path::Path};

use tokio::signal::unix::{SignalKind, signal};
use winstead_agent::{door, serve::Signals, service};
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
    Address::Unix(door::address(runtime))
}

/// Hands the system's signals on, for ever: after the first one to stop, the second one ends it at once.
///
/// # Errors
/// When the system lets nobody wait for them, and when it is asked to stop twice.
pub(crate) async fn listen(signals: &Signals) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                signals.reload.notify_one();
                continue;
            }
        }
        if signals.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "it was asked to stop twice"));
        }
        signals.stop.cancel();
    }
}

/// Tells the system what becomes of the daemon, if it wants to hear it. Never ends by itself; cancel safe.
pub(crate) async fn accompany(signals: &Signals) {
    signals.ready.cancelled().await;
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
