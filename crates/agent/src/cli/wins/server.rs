//! `srv app run`: the daemon, as the old service was started.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use winstead_agent::{
    configuration::Source,
    serve::{Places, Signals},
    wins::{self, process::OnExit},
};
use winstead_spec::{WinsConfig, parse_wins};

use super::platform::{self, CONFIG};
use crate::cli::{
    Failure,
    platform::{RUNTIME, STATE},
    serve::{given, serve_by},
};

/// Runs the daemon as the old service.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The daemon.
    #[command(name = "app", alias = "application")]
    Application {
        #[command(subcommand)]
        command: ApplicationCommand,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum ApplicationCommand {
    Run(RunArgs),
}

/// Serves old clients by the old configuration file.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Makes a Windows service of it.
    #[arg(long, conflicts_with = "unregister")]
    register: bool,
    /// Removes the Windows service.
    #[arg(long)]
    unregister: bool,
    /// The old configuration file, YAML or JSON.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Ignored: there is no Go runtime in here.
    #[arg(long, value_enum, default_value = "none")]
    profile: Profile,
    /// Ignored, as above.
    #[arg(long, value_name = "FILE", default_value = "profile.pprof")]
    profile_output: PathBuf,
    /// With `--register`: starts a while after the system.
    #[arg(long)]
    pub(super) delayed_start: bool,
    /// Ends `prc run` with 0 whatever the program's exit code is, as the old server did.
    #[arg(long)]
    hide_exit_codes: bool,
    /// Lets Prometheus read numbers at this address.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<std::net::SocketAddr>,
    /// The folder of its sockets; on Windows the name of its own pipe.
    #[arg(long, value_name = "DIR", default_value = RUNTIME)]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
}

impl RunArgs {
    /// What the configuration file says. One that is not there says nothing, as it always did. One that others can change
    /// would let them run what they like: that was CVE-2023-32197.
    ///
    /// # Errors
    /// When it is wrong, cannot be read, or could be changed by others.
    pub(super) fn read(&self) -> Result<WinsConfig, Failure> {
        let path = &self.config;
        match fs_err::read_to_string(path) {
            Ok(text) => {
                winstead_agent::folder::guard(path)
                    .map_err(|source| Unsafe { path: path.clone(), source })?;
                Ok(parse_wins(&path.display().to_string(), &text)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(WinsConfig::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// As they stand on a service's command line, without what is the default.
    #[cfg_attr(unix, expect(dead_code, reason = "only Windows has such services"))]
    pub(super) fn words(&self) -> Vec<String> {
        let fixed = ["srv", "app", "run"].map(str::to_owned).into_iter();
        let places = [
            ("--config", &self.config, CONFIG),
            ("--runtime", &self.runtime, RUNTIME),
            ("--state", &self.state, STATE),
        ];
        let hide = self.hide_exit_codes.then(|| "--hide-exit-codes".to_owned());
        let metrics = self.metrics.map(|address| format!("--metrics={address}"));
        fixed.chain(given(places)).chain(hide).chain(metrics).collect()
    }
}

/// What Go's profiler could watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    None,
    Cpu,
    Heap,
    Goroutine,
    Threadcreate,
    Block,
    Mutex,
}

/// Others can change what decides. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("trust {}", path.display())]
struct Unsafe {
    path: PathBuf,
    source: std::io::Error,
}

/// Runs it to its end. `log` is the level that a copy called `wins` was given.
///
/// # Errors
/// When the configuration is wrong, or the daemon cannot serve.
pub(crate) fn server(args: ServerArgs, log: Option<&'static str>) -> Result<(), Failure> {
    let Command::Application { command: ApplicationCommand::Run(args) } = args.command;
    match &args {
        RunArgs { register: true, .. } => platform::register(&args),
        RunArgs { unregister: true, .. } => platform::unregister(),
        _ => platform::run(&args, log),
    }
}

/// The daemon in the foreground, which logs to standard error from `level` on, or as the configuration says.
///
/// # Errors
/// When the configuration is wrong, or it cannot serve.
pub(super) fn in_foreground(args: &RunArgs, level: Option<&str>) -> Result<(), Failure> {
    let config = args.read()?;
    let level = level.unwrap_or(if config.debug { "debug" } else { "info" });
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(level).init();
    daemon(args, &config, &Signals::default())
}

/// The daemon, until it is asked to stop.
///
/// # Errors
/// When it cannot serve.
pub(super) fn daemon(args: &RunArgs, config: &WinsConfig, signals: &Signals) -> Result<(), Failure> {
    wins::warn(config);
    if args.profile != Profile::None {
        tracing::warn!("--profile is ignored: there is no Go runtime in here");
    }
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    let on_exit = if args.hide_exit_codes { OnExit::Hide } else { OnExit::Tell };
    let configuration = wins::configuration(config, &places.runtime, args.metrics, on_exit);
    serve_by(places, Source::Given(configuration.into()), signals)
}
