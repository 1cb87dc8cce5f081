//! `winstead bench`: measures disks, alone and with many machines at once, and says what measurements mean.

mod compare;
mod contention;
mod disk;
mod explain;
mod probe;
mod progress;
mod runs;

use clap::{Args, Subcommand};
use serde::Serialize;
use winstead_spec::API_VERSION;

use crate::{context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead bench disk /mnt/build                       this computer's disk, five times
  winstead bench disk --machine agents-0               a machine's
  winstead bench contention -f agents.yaml             does RAM help, and for how many machines?
  winstead bench contention -f agents.yaml --agents 1,4 --repeats 5 --out friday
  winstead bench compare before.json after.json        is it slower now?
  winstead bench explain before.txt after.txt          what 2000 % disk utilisation means

docs/measuring.md says what is measured, how, and why one may believe it.";

/// Measures disks: of this computer, of a machine, of many machines at once. Compares what was measured.
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
    Compare(compare::CompareArgs),
    Explain(explain::ExplainArgs),
}

/// What comparing and explaining answer, for scripts.
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

impl BenchArgs {
    /// Whether an interrupt has machines to throw away.
    pub(crate) const fn makes_machines(&self) -> bool {
        matches!(self.command, BenchCommand::Contention(_))
    }

    /// Whether an interrupt has a probe's files to remove, and results to keep.
    pub(crate) const fn measures_a_disk(&self) -> bool {
        matches!(self.command, BenchCommand::Disk(_))
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
        BenchCommand::Compare(args) => compare::run(context, args).await,
        BenchCommand::Explain(args) => explain::run(context, args),
    }
}
