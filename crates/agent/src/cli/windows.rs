//! What only Windows has: the console's events.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};
use winstead_agent::{
    serve::Signals,
    service::{self, ServiceError},
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

/// Where the agent listens.
pub(crate) const ADDRESS: &str = RUNTIME;

/// An agent that listens there.
pub(crate) fn address(pipe: &Path) -> Address {
    Address::Pipe(pipe.to_string_lossy().into_owned())
}

/// What only this system's agent has: nothing.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {}

/// Runs it.
///
/// # Errors
/// When it fails.
pub(crate) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {}
}

/// What a person does to end a program whose command line this is.
#[derive(Debug)]
pub(crate) struct Interruptions {
    interrupt: CtrlC,
    pause: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Interruptions {
    /// From here on they no longer end this process.
    ///
    /// # Errors
    /// When the system lets nobody wait for them.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            pause: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// The next one's name. Cancel safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "INT",
            _ = self.pause.recv() => "TERM",
            _ = self.close.recv() => "TERM",
            // How a container is stopped.
            _ = self.shutdown.recv() => "TERM",
        }
    }
}

/// A program's code as ours, all 32 bits of it. Does not return when it needs more than 8.
pub(crate) fn ended(code: i32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) => ExitCode::from(code),
        // std has no other way to end with such a code.
        Err(_) => std::process::exit(code),
    }
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

/// The folder of what outlives an installed service; nothing where there is no such service.
///
/// # Errors
/// When the service manager does not say.
pub(crate) fn state_of(name: &str) -> Result<Option<PathBuf>, ServiceError> {
    let line = service::command_line(name)?;
    Ok(line.map(|line| service::behind("--state", &line).unwrap_or(STATE).into()))
}

/// Runs the daemon as the service `name`.
///
/// # Errors
/// When the service manager did not start us.
pub(crate) fn be_a_service(name: &str, args: &ServeArgs) -> Result<(), Failure> {
    let args = args.clone();
    Ok(in_service(name, move |signals| serve::daemon(&args, signals))?)
}

/// Does this as the service `name`; what it has to say goes to the event log.
///
/// # Errors
/// When the service manager did not start us: nothing has been done then.
pub(crate) fn in_service(
    name: &str,
    act: impl FnOnce(&Signals) -> Result<(), Failure> + Send + 'static,
) -> Result<(), ServiceError> {
    let shown = name.to_owned();
    service::run(name, move |signals| {
        tracing_subscriber::registry().with(EventLog::open(&shown)?).try_init()?;
        tracing::info!(target: LIFE, version = env!("CARGO_PKG_VERSION"), "{shown} starts");
        if let Err(error) = service::settle(&shown) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "nobody may start it again when it fails"
            );
        }
        let outcome = act(&signals);
        tracing::info!(target: LIFE, "{shown} stops");
        outcome
    })
}
