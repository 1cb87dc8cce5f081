//! The command line: reads arguments, prints, sets exit codes. It decides nothing.

mod hello;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
mod selftest;
mod serve;
mod service;

use std::{error::Error, io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

/// The daemon on hosts and in guests: runs processes and tunnels for those whom a policy lets.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Hello(hello::HelloArgs),
    Service(service::ServiceArgs),
    Selftest(selftest::SelftestArgs),
}

type Failure = Box<dyn Error + Send + Sync>;

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Hello(args) => hello::run(&args),
        Command::Service(args) => service::run(args),
        Command::Selftest(args) => selftest::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&*error);
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes.
fn say(error: &dyn Error) {
    let mut out = std::io::stderr().lock();
    let mut cause = Some(error);
    let mut before = "error: failed to ";
    while let Some(error) = cause {
        // Nobody reads it: nothing can be done.
        writeln!(out, "{before}{error}").unwrap_or_default();
        cause = error.source();
        before = "  cause: ";
    }
}
