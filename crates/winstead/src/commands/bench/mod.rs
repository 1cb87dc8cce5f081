//! `winstead bench`: what measurements say.

mod compare;
mod explain;
mod runs;

use clap::{Args, Subcommand};
use serde::Serialize;
use winstead_spec::API_VERSION;

use crate::{context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead bench compare disk/ ram/                      two folders of results
  winstead bench compare found.json#disk found.json#ram  two arms of an experiment
  winstead bench explain before.txt after.txt            what 2000 % disk utilisation mean";

/// Compares measurements and says what they mean.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    Compare(compare::CompareArgs),
    Explain(explain::ExplainArgs),
}

/// What a command of `bench` answers, for scripts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    content: T,
}

impl<T> Answer<T> {
    const fn new(kind: &'static str, content: T) -> Self {
        Self { api_version: API_VERSION, kind, content }
    }
}

/// Text with words from files, without what would steer a terminal.
fn plain(text: &str) -> String {
    text.replace(|letter: char| letter.is_control() && letter != '\n', "\u{fffd}")
}

/// Runs `bench`.
///
/// # Errors
/// As its commands.
pub(crate) async fn run(context: &Context, args: &BenchArgs) -> Result<(), CliError> {
    match &args.command {
        BenchCommand::Compare(args) => compare::run(context, args).await,
        BenchCommand::Explain(args) => explain::run(context, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_called_like_an_escape_sequence_steers_no_terminal() {
        assert_eq!(plain("\u{1b}[2Jwrite\nread\u{9b}31m"), "\u{fffd}[2Jwrite\nread\u{fffd}31m");
    }
}
