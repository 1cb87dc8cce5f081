//! What only Unix computers have: signals.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use tokio::signal::unix::{Signal, SignalKind, signal};
use winstead_agent::{
    serve::Signals,
    service::{self as system, ServiceError},
};
use winstead_agent_client::Address;

use crate::cli::{
    Failure,
    serve::{self, ServeArgs},
    stage,
};

/// What systemd runs.
pub(crate) const SERVICE: [&str; 1] = ["serve"];

/// Where sockets are.
pub(crate) const RUNTIME: &str = "/run/winstead-agent";
/// Where all that outlives the agent is.
pub(crate) const STATE: &str = "/var/lib/winstead-agent";

/// Where the agent listens.
pub(crate) const ADDRESS: &str = "/run/winstead-agent/agent.sock";

/// An agent that listens there.
pub(crate) fn address(socket: &Path) -> Address {
    Address::Unix(socket.to_owned())
}

/// What only this system's agent has so far.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(hide = true)]
    Become(stage::BecomeArgs),
}

/// Runs it.
///
/// # Errors
/// When it fails.
pub(crate) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Become(args) => stage::become_program(&args),
    }
}

/// What a person does to end a program whose command line this is.
#[derive(Debug)]
pub(crate) struct Interruptions {
    interrupt: Signal,
    terminate: Signal,
}

impl Interruptions {
    /// From here on they no longer end this process.
    ///
    /// # Errors
    /// When the system lets nobody wait for them.
    pub(crate) fn open() -> io::Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    /// The next one's name. Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "INT",
            _ = self.terminate.recv() => "TERM",
        }
    }
}

/// A program's code as ours: what does not fit is 255.
pub(crate) fn ended(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
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
    if let Err(error) = system::ready() {
        tracing::warn!(%error, "systemd does not know that we are ready");
    }
    system::alive().await;
}

/// The command line says no more: a unit is found by its file.
pub(crate) fn named(_: &str) -> Vec<String> {
    Vec::new()
}

/// What an installed service outlives does not matter: only Windows' firewall has rules for it.
///
/// # Errors
/// None.
pub(crate) const fn state_of(_: &str) -> Result<Option<PathBuf>, ServiceError> {
    Ok(None)
}

/// Under systemd a service is the daemon in the foreground.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn be_a_service(_: &str, args: &ServeArgs) -> Result<(), Failure> {
    serve::run(args)
}
