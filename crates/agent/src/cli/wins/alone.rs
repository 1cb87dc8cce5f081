//! A copy of this program that is called `wins` or `wins.exe`.

use std::{ffi::OsStr, io::Write, path::Path, process::ExitCode};

use super::{ClientArgs, ServerArgs, client, server};
use crate::cli::{Failure, say};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

/// Scripts count the words of `rancher-wins version v0.1.0`.
const WORDS: &str = concat!("version v", env!("CARGO_PKG_VERSION"));

/// What old scripts call.
#[derive(Debug, Parser)]
#[command(name = "rancher-wins", version = WORDS, disable_version_flag = true)]
struct Wins {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags before the command.
#[derive(Clone, Copy, Debug, Args)]
struct Global {
    /// Logs everything.
    #[arg(long, global = true)]
    debug: bool,
    /// Logs nothing.
    #[arg(long, global = true)]
    quiet: bool,
    /// Prints the version.
    #[arg(long, short, action = clap::ArgAction::Version)]
    version: (),
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(name = "srv", alias = "server")]
    Server(ServerArgs),
    #[command(name = "cli", alias = "client")]
    Client(ClientArgs),
}

/// Whether the program is called as the old one.
pub(crate) fn is_wins(program: Option<&OsStr>) -> bool {
    let name = program.and_then(|program| Path::new(program).file_name()).and_then(OsStr::to_str);
    name.is_some_and(|name| ["wins", "wins.exe"].iter().any(|wins| name.eq_ignore_ascii_case(wins)))
}

/// Runs the command that the arguments name, as the old program would.
pub(crate) fn run_alone() -> ExitCode {
    let parsed = Wins::command().try_get_matches().and_then(|matches| Wins::from_arg_matches(&matches));
    let wins = match parsed {
        Ok(wins) => wins,
        Err(error) => return refused(&error),
    };
    let level = match (wins.global.quiet, wins.global.debug) {
        (true, _) => "off",
        (false, true) => "debug",
        (false, false) => "info",
    };
    let outcome: Result<(), Failure> = match wins.command {
        Command::Server(args) => server(args, Some(level)),
        Command::Client(args) => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(level).init();
            client(&args)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Help and version are no errors; all else ends with 1, not with clap's 2, and an unknown command in the old words.
fn refused(error: &clap::Error) -> ExitCode {
    if let (ErrorKind::InvalidSubcommand, Some(clap::error::ContextValue::String(word))) =
        (error.kind(), error.get(clap::error::ContextKind::InvalidSubcommand))
    {
        let help = Wins::command().render_help();
        // Nobody reads it: nothing can be done.
        write!(std::io::stdout(), "Invalid Command: {word}\n\n{help}").unwrap_or_default();
        return ExitCode::FAILURE;
    }
    // As above.
    error.print().unwrap_or_default();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
