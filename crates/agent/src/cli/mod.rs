//! The command line: reads arguments, prints, sets exit codes. It decides nothing.

mod hello;
mod keeper;
mod listen;
mod orphans;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
mod policy;
mod processes;
mod reach;
mod run;
mod selftest;
mod serve;
mod service;
#[cfg(unix)]
mod stage;
mod status;
mod terminal;
mod tunnel;
mod wins;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

/// The daemon on hosts and in guests: runs processes and tunnels for those whom a policy lets.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    Hello(hello::HelloArgs),
    Selftest(selftest::SelftestArgs),
    Status(status::StatusArgs),
    Policy(policy::PolicyArgs),
    Tunnel(tunnel::TunnelArgs),
    Service(service::ServiceArgs),
    Run(run::RunArgs),
    Ps(processes::PsArgs),
    Attach(processes::AttachArgs),
    Logs(processes::LogsArgs),
    Stop(processes::StopArgs),
    Rm(processes::RmArgs),
    Orphans(orphans::OrphansArgs),
    #[command(name = "srv", alias = "server")]
    WinsServer(wins::ServerArgs),
    #[command(name = "cli", alias = "client")]
    WinsClient(wins::ClientArgs),
    #[command(hide = true)]
    Keeper(keeper::KeeperArgs),
    #[command(flatten)]
    Platform(platform::Command),
}

/// How to show an answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How to show a list.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

type Failure = Box<dyn Error + Send + Sync>;

/// What an agent says no with. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("get an answer from the agent: {0}")]
struct Refusal(String);

/// For what one command does. One thread is enough to carry bytes, and a tunnel's two directions then never wait for another
/// one to wake up.
///
/// # Errors
/// When the system refuses.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    if wins::is_wins(std::env::args_os().next().as_deref()) {
        return wins::run_alone();
    }
    let cli = Cli::parse();
    // As ssh does: a program may end with any other code itself.
    let failed = match &cli.command {
        Command::Run(_) | Command::Attach(_) => ExitCode::from(255),
        _ => ExitCode::FAILURE,
    };
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Hello(args) => hello::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Selftest(args) => selftest::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => status::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Policy(args) => policy::run(args),
        Command::Tunnel(args) => tunnel::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Service(args) => service::run(args).map(|()| ExitCode::SUCCESS),
        Command::Run(args) => run::run(&args),
        Command::Ps(args) => processes::ps(&args),
        Command::Attach(args) => processes::attach(&args),
        Command::Logs(args) => processes::logs(&args),
        Command::Stop(args) => processes::stop(&args),
        Command::Rm(args) => processes::rm(&args),
        Command::Orphans(args) => orphans::run(&args),
        Command::WinsServer(args) => wins::server(args, None).map(|()| ExitCode::SUCCESS),
        Command::WinsClient(args) => wins::client(&args).map(|()| ExitCode::SUCCESS),
        Command::Keeper(args) => keeper::keep(&args),
        Command::Platform(command) => platform::run(command),
    };
    outcome.unwrap_or_else(|error| {
        say(&*error);
        failed
    })
}

/// Writes an answer to standard output.
fn show(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The agent's own words, without the transport's.
#[expect(clippy::needless_pass_by_value, reason = "it is what a failed call is turned into")]
fn refusal(status: tonic::Status) -> Failure {
    Refusal(status.message().to_owned()).into()
}

/// An error with its causes.
fn say(error: &dyn Error) {
    let mut text = format!("error: failed to {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("\n  cause: {error}");
        cause = error.source();
    }
    complain(&text);
}

/// Writes to standard error.
fn complain(text: &str) {
    // Nobody reads it: nothing can be done.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}
