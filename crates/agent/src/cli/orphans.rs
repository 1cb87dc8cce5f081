//! `winstead-agent orphans`: programs that nobody looks after.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use winstead_agent::supervision::orphans::{self, Orphan};

use crate::cli::Failure;

const EXAMPLES: &str = "\
Examples:
  winstead-agent orphans list
  winstead-agent orphans clean          asks before it kills
  winstead-agent orphans clean --yes

An orphan is a program called `rancher-wins-…` that an old wins server has left, or a keeper of ours whose record is gone;
with either goes all that it started. Nothing else is touched.";

/// Programs that nobody looks after: shows them, or ends them.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OrphansArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Shows them.
    List,
    /// Ends them with all that they started.
    Clean {
        /// Does not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it on this computer; no agent is needed.
///
/// # Errors
/// When one cannot be ended, or nobody is there to be asked.
pub(crate) fn run(args: &OrphansArgs) -> Result<ExitCode, Failure> {
    let found = orphans::find();
    show(&found)?;
    let Command::Clean { yes } = args.command else { return Ok(ExitCode::SUCCESS) };
    if found.is_empty() || !(yes || agreed(found.len())?) {
        return Ok(ExitCode::SUCCESS);
    }
    found.iter().try_for_each(orphans::end)?;
    Ok(ExitCode::SUCCESS)
}

fn show(found: &[Orphan]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for orphan in found {
        let name = orphan.name.escape_debug();
        writeln!(out, "{:>7}  {name}  {}, {} below it", orphan.pid, orphan.reason, orphan.tree.len())?;
    }
    Ok(())
}

fn agreed(count: usize) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err("end them: nobody is there to be asked; say --yes".into());
    }
    write!(io::stderr(), "end these {count} with all that they started? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}
