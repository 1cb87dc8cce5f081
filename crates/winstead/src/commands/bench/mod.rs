//! `winstead bench`: measures disks, alone and with many machines at once.

mod contention;
mod disk;
mod probe;

use clap::{Args, Subcommand};

use crate::{context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead bench disk /mnt/build                       this computer's disk, five times
  winstead bench disk --machine agents-0               a machine's
  winstead bench contention -f agents.yaml             does RAM help, and how many machines does this host carry?
  winstead bench contention -f agents.yaml --agents 1,4 --repeats 5 --out friday

docs/measuring.md says what is measured, how, and why one may believe it.";

/// Measures disks: of this computer, of a machine, of many machines at once.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    Disk(disk::DiskArgs),
    Contention(contention::ContentionArgs),
}

impl BenchArgs {
    /// Whether an interrupt has machines to throw away.
    pub(crate) const fn makes_machines(&self) -> bool {
        matches!(self.command, BenchCommand::Contention(_))
    }
}

/// Runs `bench`.
///
/// # Errors
/// Whatever its command ends with.
pub(crate) async fn run(context: &Context, args: &BenchArgs) -> Result<(), CliError> {
    match &args.command {
        BenchCommand::Disk(args) => disk::run(context, args).await,
        BenchCommand::Contention(args) => Box::pin(contention::run(context, args)).await,
    }
}
