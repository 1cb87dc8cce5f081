//! `winstead completions`: completion of the command line in shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead completions bash > ~/.local/share/bash-completion/completions/winstead
  winstead completions zsh > ~/.zfunc/_winstead
  winstead completions fish > ~/.config/fish/completions/winstead.fish
  winstead completions powershell >> $PROFILE";

/// Prints a script that completes commands and options in a shell.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// bash, zsh, fish, powershell or elvish.
    #[arg(value_enum, value_name = "SHELL", hide_possible_values = true)]
    shell: Shell,
}

/// Runs `completions`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "winstead", &mut script);
    context.ui.data(&script)
}
