//! What only Windows has: the console's events.

use std::{io, path::Path};

use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};
use winstead_agent::{
    serve::Signals,
    service,
    windows::{EventLog, LIFE},
};
use winstead_agent_client::Address;

use crate::cli::{
    Failure,
    serve::{self, ServeArgs},
};

/// What the service manager runs.
pub(crate) const SERVICE: [&str; 2] = ["service", "run"];

/// The agent's own pipe.
pub(crate) const RUNTIME: &str = r"\\.\pipe\winstead_agent";
/// Where all that outlives the agent is.
pub(crate) const STATE: &str = r"C:\ProgramData\Winstead\agent";

/// Where the agent with this pipe listens.
pub(crate) fn address(runtime: &Path) -> Address {
    Address::Pipe(runtime.to_string_lossy().into_owned())
}

/// Hands the console's events on, for ever: after the first one, the second one ends it at once.
///
/// # Errors
/// When the system lets nobody wait for them, and when it is asked to stop twice.
pub(crate) async fn listen(signals: &Signals) -> io::Result<()> {
    let (mut interrupt, mut pause, mut close) = (ctrl_c()?, ctrl_break()?, ctrl_close()?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = pause.recv() => {}
            _ = close.recv() => {}
        }
        if signals.stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "it was asked to stop twice"));
        }
        signals.stop.cancel();
    }
}

/// Only services have somebody who wants to hear what becomes of them. Never ends.
pub(crate) async fn accompany(_: &Signals) {
    std::future::pending::<()>().await;
}

/// A service is told its name.
pub(crate) fn named(name: &str) -> Vec<String> {
    vec!["--name".to_owned(), name.to_owned()]
}

/// Runs the daemon as the service `name`; what it has to say goes to the event log.
///
/// # Errors
/// When the service manager did not start us.
pub(crate) fn be_a_service(name: &str, args: &ServeArgs) -> Result<(), Failure> {
    tracing_subscriber::registry().with(EventLog::open(name)?).try_init()?;
    let (shown, args) = (name.to_owned(), args.clone());
    Ok(service::run(name, move |signals| {
        tracing::info!(target: LIFE, version = env!("CARGO_PKG_VERSION"), "{shown} starts");
        if let Err(error) = service::settle(&shown) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "nobody may start it again when it fails"
            );
        }
        let outcome = serve::until_stopped(&args, &signals);
        tracing::info!(target: LIFE, "{shown} stops");
        outcome
    })?)
}
