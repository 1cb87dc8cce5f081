//! `winstead-agent serve`: the daemon, in the foreground.

use std::{io, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::ParseError};
use winstead_agent::serve::{Places, Settings, Signals, serve};

use crate::cli::Failure;

/// Threads that wait for the disk; more of them would not make it faster.
const BLOCKING: usize = 8;

/// Runs the daemon in the foreground, until Ctrl-C or SIGTERM. SIGHUP lets it read its policy again.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// A file with an Agent or AgentPolicy documents; nobody else may be able to change it. May be given several times.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder of its sockets.
    #[arg(long, value_name = "DIR", default_value = super::RUNTIME)]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/winstead-agent")]
    state: PathBuf,
    /// What a line of the log looks like.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// From which level on, and for which part: `debug`, or `info,winstead_agent::door=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = filter)]
    log: String,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One object for each line.
    Json,
}

/// Runs it to its end.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn run(args: ServeArgs) -> Result<(), Failure> {
    log(args.log_format, &args.log);
    let places = Places { runtime: args.runtime, state: args.state };
    let settings = Settings { places, files: args.files };
    until_stopped(async |signals| Ok(serve(&settings, signals).await?))
}

/// Does this until it is asked to stop.
pub(crate) fn until_stopped(act: impl AsyncFnOnce(&Signals) -> Result<(), Failure>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING).enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::default();
        tokio::select! {
            outcome = act(&signals) => outcome?,
            outcome = listen(&signals.stop, &signals.reload) => outcome?,
        }
        Ok(())
    })
}

/// Hands the system's signals on, for ever: after the first one to stop, the second one ends it at once.
async fn listen(stop: &CancellationToken, reload: &Arc<Notify>) -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                reload.notify_one();
                continue;
            }
        }
        if stop.is_cancelled() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "it was asked to stop twice"));
        }
        stop.cancel();
    }
}

fn filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

fn log(format: LogFormat, filter: &str) {
    let filter = EnvFilter::new(filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => lines.with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}
