//! `winstead bench explain`: what Windows' counters of its disks mean.

use std::path::{Path, PathBuf};

use clap::Args;
use winstead_measurement::import::{self, Counters, ExplainError, Measured};

use super::{Answer, runs};
use crate::{context::Context, error::CliError, output, terminal::plain};

const EXAMPLES: &str = "\
Examples:
  curl -o before.txt http://node-7:9182/metrics; sleep 60
  curl -o after.txt http://node-7:9182/metrics
  winstead bench explain before.txt after.txt
  winstead bench explain before.txt after.txt -o json | jq '.disks[0].underWay'";

/// Explains what windows_exporter counted of disks: operations under way, how many, how long each took.
///
/// A dashboard's disk utilisation of 2000 % is no utilisation: 20 operations were under way, on average. Two dumps, a
/// minute apart, show the minute; one shows the average since Windows started.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// What the exporter's /metrics answered.
    #[arg(value_name = "DUMP")]
    dump: PathBuf,
    /// What it answered later.
    #[arg(value_name = "LATER")]
    later: Option<PathBuf>,
    /// The seconds between, when the dumps have neither the collector cpu nor time.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

/// Runs `bench explain`.
///
/// # Errors
/// When a file is no dump, or the dumps do not belong together.
pub(crate) fn run(context: &Context, args: &ExplainArgs) -> Result<(), CliError> {
    let first = counters(&args.dump)?;
    let later = args.later.as_deref().map(counters).transpose()?;
    let found = import::explain(&first, later.as_ref(), args.seconds).map_err(refused)?;
    output::show(&context.ui, context.format, &Answer::new("DiskExplanation", found), |answer, _| {
        answer.content.sentences.iter().map(|sentence| plain(sentence)).collect::<Vec<_>>().join("\n")
    })
}

fn counters(path: &Path) -> Result<Counters, CliError> {
    match runs::read(path)? {
        Measured::Counters(counters) => Ok(counters),
        _ => {
            let message = format!("explain {}: it holds runs, not counters of Windows", path.display());
            Err(CliError::usage(message, "`winstead bench compare` compares runs"))
        }
    }
}

fn refused(error: ExplainError) -> CliError {
    let hint = match error {
        ExplainError::NoTime => "say it with --seconds N",
        ExplainError::NotLater => "name the earlier dump first",
        ExplainError::Restarted => "make both dumps while the same Windows runs",
    };
    CliError::usage(format!("explain the dumps: {error}"), hint)
}
