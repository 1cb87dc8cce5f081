//! `srv app run`: the daemon, as the old service was started.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use winstead_agent::{
    serve::{Places, Signals},
    wins::{self, Daemon, process::OnExit},
};
use winstead_spec::{WinsConfig, parse_wins};

use crate::cli::Failure;

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
struct RunArgs {
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
    delayed_start: bool,
    /// Ends `prc run` with 0 whatever the program's exit code is, as the old server did.
    #[arg(long)]
    hide_exit_codes: bool,
    /// Lets Prometheus read numbers at this address.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<std::net::SocketAddr>,
    /// The folder of its sockets.
    #[arg(long, value_name = "DIR", default_value = "/run/winstead-agent", hide = cfg!(windows))]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/winstead-agent", hide = cfg!(windows))]
    state: PathBuf,
}

const CONFIG: &str = if cfg!(windows) { r"c:\etc\rancher\wins\config" } else { "/etc/rancher/wins/config" };

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

/// It cannot be done here. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{0} a service: only Windows has such services; on Linux the package brings a systemd unit")]
struct NoService(&'static str);

/// Runs it to its end.
///
/// # Errors
/// When the configuration is wrong, or the daemon cannot serve.
pub(crate) fn server(args: &ServerArgs) -> Result<(), Failure> {
    let Command::Application { command: ApplicationCommand::Run(args) } = &args.command;
    if args.register || args.unregister {
        return Err(NoService(if args.register { "register" } else { "remove" }).into());
    }
    let config = read(&args.config)?;
    let level = if config.debug { "debug" } else { "info" };
    let lines =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(level);
    // A copy that is called `wins` has its log already, by its own flags.
    lines.try_init().unwrap_or_default();
    wins::warn(&config);
    if args.profile != Profile::None {
        tracing::warn!("--profile is ignored: there is no Go runtime in here");
    }
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    let keeper = std::env::current_exe()?;
    let on_exit = if args.hide_exit_codes { OnExit::Hide } else { OnExit::Tell };
    let daemon = Daemon { config, places, keeper, on_exit, metrics: args.metrics };
    crate::cli::serve::until_stopped(&Signals::default(), async |signals| {
        Ok(daemon.serve(&signals.stop).await?)
    })
}

/// A file that is not there says nothing, as it always did. One that others can change would let them run what they like:
/// that was CVE-2023-32197.
fn read(path: &std::path::Path) -> Result<WinsConfig, Failure> {
    match fs_err::read_to_string(path) {
        Ok(text) => {
            winstead_agent::folder::guard(path).map_err(|source| Unsafe { path: path.to_owned(), source })?;
            Ok(parse_wins(&path.display().to_string(), &text)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(WinsConfig::default()),
        Err(error) => Err(error.into()),
    }
}
