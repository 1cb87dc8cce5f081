//! `winstead exec`: one command in a machine.

use std::ffi::OsString;

use clap::Args;

use crate::{commands::ssh::become_ssh, context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead exec agents-0 -- uname -a
  winstead exec agents-0 -- sh -c 'cd /build && make test'
  winstead exec agents-0 -- tar c /results > results.tar
  winstead exec -t agents-0 -- top

Each word arrives as it is; write `sh -c` when the guest's shell shall read it. Standard input,
output and error pass through byte by byte. Ends with the command's own exit code, and with 255
when it could not be run.";

/// Runs a command in a machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
    /// Gives the command a terminal.
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs `exec`. Returns only when that could not be done.
///
/// # Errors
/// When the machine cannot be reached; exit code 255.
pub(crate) async fn run(context: &Context, args: &ExecArgs) -> Result<(), CliError> {
    become_ssh(context, &args.name, &args.command, args.tty).await
}
