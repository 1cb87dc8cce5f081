//! `winstead ssh`: a shell in a machine, by the system's own ssh.

use std::{ffi::OsString, io::IsTerminal, os::unix::process::CommandExt};

use clap::Args;
use winstead_process::Command;
use winstead_spec::MachineName;

use crate::{context::Context, error::CliError, selection::machine_name};

const EXAMPLES: &str = "\
Examples:
  winstead ssh agents-0                 a shell
  winstead ssh agents-0 journalctl -f   a command with a terminal
  ssh -F ~/.local/state/winstead/ssh/config -L 8080:localhost:80 agents-0

The last line shows that the generated configuration works with every program of OpenSSH. There
are no host-key questions and no switched-off checks: the keys are Winstead's own. Ends with the
guest's exit code, and with 255 when the connection could not be made.";

/// Opens a shell in a machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SshArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
    /// A command with its arguments, instead of a shell.
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs `ssh`. Returns only when that could not be done: the process becomes `ssh`.
///
/// # Errors
/// When the machine cannot be reached; exit code 255.
pub(crate) async fn run(context: &Context, args: &SshArgs) -> Result<(), CliError> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    become_ssh(context, &args.name, &args.command, terminal).await
}

/// Becomes the `ssh` that runs `argv` in a machine: signals, standard input, binary data and the exit code pass
/// through because nobody stands between.
///
/// # Errors
/// When it could not be run; exit code 255.
pub(crate) async fn become_ssh(
    context: &Context,
    name: &str,
    argv: &[OsString],
    terminal: bool,
) -> Result<(), CliError> {
    let command = command(context, name, argv, terminal).await.map_err(CliError::could_not_run)?;
    let error = command.interactive().exec();
    Err(missing("ssh", error).could_not_run())
}

async fn command(
    context: &Context,
    name: &str,
    argv: &[OsString],
    terminal: bool,
) -> Result<Command, CliError> {
    let machine: MachineName = machine_name(name)?;
    let engine = context.engine().await?;
    let endpoint = engine.endpoint(&machine).await?;
    engine.ssh().command(&endpoint, argv, terminal).map_err(|error| {
        CliError::usage(error.to_string(), "put the command into a file and copy it there with `winstead cp`")
    })
}

/// What to say when OpenSSH's client could not be started.
pub(crate) fn missing(program: &str, source: std::io::Error) -> CliError {
    let hints = match source.kind() {
        std::io::ErrorKind::NotFound => {
            vec!["install OpenSSH's client: the package openssh-client".to_owned()]
        }
        _ => Vec::new(),
    };
    CliError::System { what: format!("start {program}"), source, hints }
}
