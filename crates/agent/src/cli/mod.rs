//! The command line: reads arguments, prints, sets exit codes. It decides nothing.

mod keeper;
mod serve;

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
    #[command(hide = true)]
    Keeper(keeper::KeeperArgs),
    #[command(hide = true)]
    Become(keeper::BecomeArgs),
}

type Failure = Box<dyn Error + Send + Sync>;

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Keeper(args) => keeper::keep(&args),
        Command::Become(args) => keeper::become_program(&args),
    };
    match outcome {
        Ok(code) => code,
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
