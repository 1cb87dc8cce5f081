//! `winstead-agent serve`: the daemon, in the foreground.

use std::{io, path::PathBuf};

use clap::Args;
use tracing_subscriber::{EnvFilter, filter::ParseError};
use winstead_agent::{
    configuration::Source,
    serve::{Places, Settings, Signals, serve},
};

use crate::cli::{
    Failure, Format,
    platform::{RUNTIME, STATE, accompany, listen},
};

/// Threads that wait for the disk; more of them would not make it faster.
const BLOCKING: usize = 8;

/// Runs the daemon in the foreground, until Ctrl-C or SIGTERM. SIGHUP lets it read its policy again.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// A file with an Agent or AgentPolicy documents; nobody else may be able to change it. May be given several times.
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder of its sockets; on Windows the name of its pipe.
    #[arg(long, value_name = "DIR", default_value = RUNTIME)]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
    /// What a line of the log looks like.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// From which level on, and for which part: `debug`, or `info,winstead_agent::door=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = filter)]
    log: String,
}

impl ServeArgs {
    /// As they stand on a service's command line, without what is the default.
    pub(crate) fn arguments(&self) -> Vec<String> {
        // No file is the default.
        let files = self.files.iter().map(|file| ("--file", file, ""));
        given(
            [("--runtime", &self.runtime, RUNTIME), ("--state", &self.state, STATE)].into_iter().chain(files),
        )
    }
}

/// Paths as they stand behind their flags on a service's command line, without those that are the default.
pub(crate) fn given<'a>(paths: impl IntoIterator<Item = (&'a str, &'a PathBuf, &'a str)>) -> Vec<String> {
    let other = paths.into_iter().filter(|(_, path, default)| path.as_os_str() != *default);
    other
        .flat_map(|(flag, path, _)| {
            // A service runs in another folder. A pipe's name is absolute.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            [flag.to_owned(), path.to_string_lossy().into_owned()]
        })
        .collect()
}

/// Runs it to its end.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    log(args.log_format, &args.log);
    daemon(args, &Signals::default())
}

/// The daemon, until its system or a person asks it to stop.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn daemon(args: &ServeArgs, signals: &Signals) -> Result<(), Failure> {
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    serve_by(places, Source::Documents(args.files.clone()), signals)
}

/// A daemon that goes by `source`, until its system or a person asks it to stop.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn serve_by(places: Places, source: Source, signals: &Signals) -> Result<(), Failure> {
    let settings = Settings { places, source, program: std::env::current_exe()? };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = serve(&settings, signals) => outcome?,
            outcome = listen(signals) => outcome?,
            () = accompany(signals) => {}
        }
        Ok(())
    })
}

fn filter(text: &str) -> Result<String, ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}

fn log(format: Format, filter: &str) {
    let filter = EnvFilter::new(filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    match format {
        Format::Text => lines.with_target(false).init(),
        Format::Json => lines.json().init(),
    }
}
