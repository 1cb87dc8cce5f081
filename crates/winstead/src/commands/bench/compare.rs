//! `winstead bench compare`: are these runs slower than those?

use clap::Args;
use serde_json::Value;
use winstead_measurement::{
    comparison::{
        CompareError, Difference, OperationComparison, OperationSummary, Options, RunComparison, Set, compare,
    },
    quantile::Quantile,
};
use winstead_statistics::{Percentile, Seed, percentile::PercentileError};

use super::{Answer, runs};
use crate::{
    context::Context,
    error::CliError,
    output::{self, Columns},
    terminal::plain,
};

const EXAMPLES: &str = "\
Examples:
  winstead bench compare disk/ ram/                             folders, five runs in each
  winstead bench compare before.json after.json --names old,new
  winstead bench compare found.json#disk found.json#ram         two arms, with most machines
  winstead bench compare found.json#ram@1/latency found.json#ram@8/latency --ignore agents
  winstead bench compare fio-before/ fio-after/ --percentile p95  five results of fio in each

Read are results of winstead-probe, experiments with many machines, fio's json+ and DiskSpd's XML.
Runs of which different things were asked are refused (exit code 2).";

/// What is drawn from chance is drawn alike each time.
const SEED: Seed = Seed(1);

/// Compares two sets of runs: is B slower than A, and how sure is that?
///
/// One percentile decides, p99 unless another one is named; where no rate was given, what was done in a second comes before
/// it. Whole runs are compared, so at least five of each are needed.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompareArgs {
    /// What the other is compared with: a file or a folder, and behind # which of its runs.
    #[arg(value_name = "A")]
    a: String,
    /// What is judged.
    #[arg(value_name = "B")]
    b: String,
    /// What to call the two [default: A,B].
    #[arg(long, value_name = "A,B", value_parser = names)]
    names: Option<(String, String)>,
    /// A setting that may differ, because it is what is compared. May be given several times.
    #[arg(long, value_name = "KEY")]
    ignore: Vec<String>,
    /// The percentile that decides.
    #[arg(long, value_name = "PERCENTILE", default_value = "p99", value_parser = percentile)]
    percentile: Percentile,
}

/// Runs `bench compare`.
///
/// # Errors
/// When a file is no measurement, or the runs are not alike.
pub(crate) async fn run(context: &Context, args: &CompareArgs) -> Result<(), CliError> {
    let args = args.clone();
    // Reading and resampling take seconds, in which an interrupt is to end the command.
    let comparing = tokio::task::spawn_blocking(move || compared(&args));
    let found = comparing.await.map_err(|error| CliError::runtime(error.into()))??;
    output::show(&context.ui, context.format, &Answer::new("RunComparison", found), |answer, wide| {
        text(&answer.content, wide)
    })
}

fn compared(args: &CompareArgs) -> Result<RunComparison, CliError> {
    let (name_a, name_b) = args.names.clone().unwrap_or_else(|| ("A".to_owned(), "B".to_owned()));
    let (a, b) = (runs::runs(&args.a)?, runs::runs(&args.b)?);
    let options = Options { ignore: args.ignore.clone(), primary: args.percentile, seed: SEED };
    let (of_a, of_b) = (Set { name: &name_a, runs: &a }, Set { name: &name_b, runs: &b });
    compare(of_a, of_b, &options).map_err(|error| refused(&name_a, &name_b, error))
}

fn refused(a: &str, b: &str, error: CompareError) -> CliError {
    let what = format!("compare {b} with {a}");
    let message = format!("{what}: {error}");
    match error {
        CompareError::Unlike { differences } => {
            // Keys are words of files, and this line is made to be pasted.
            let keys = winstead_process::shown(
                differences.iter().flat_map(|found| ["--ignore", found.key.as_str()]),
            );
            CliError::Unlike {
                message,
                differences: differences.iter().map(|found| plain(&difference(found, a, b))).collect(),
                hint: format!("if that is what you compare: {keys}"),
            }
        }
        CompareError::UnknownSetting { .. } => CliError::usage(message, "--ignore takes one of these"),
        CompareError::Empty { .. } | CompareError::NothingInCommon { .. } => {
            CliError::usage(message, "name other runs")
        }
    }
}

fn difference(found: &Difference, a: &str, b: &str) -> String {
    format!("{}: {} in {a}, {} in {b}", found.key, values(&found.a), values(&found.b))
}

fn values(values: &[Value]) -> String {
    let value = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    values.iter().map(value).collect::<Vec<_>>().join(" and ")
}

/// What a person reads: the verdict, the percentiles, what differed, what to know.
fn text(found: &RunComparison, wide: bool) -> String {
    let (looked_at, others) = found.operations.split_at(if wide { found.operations.len() } else { 1 });
    let verdict: String = found.sentences.iter().map(|sentence| plain(sentence) + "\n").collect();
    let percentiles = percentiles(found, looked_at);
    let lines = looked_at
        .iter()
        .flat_map(beside)
        .chain(differing(found))
        .chain((!others.is_empty()).then(|| also_done(others)))
        .chain(found.notes.iter().map(|note| format!("note: {note}")));
    lines.fold(format!("{verdict}\n{percentiles}\n"), |all, line| all + &plain(&line) + "\n")
}

/// What the percentiles say that do not decide.
fn beside(operation: &OperationComparison) -> Vec<String> {
    let all = operation.comparison.to_string();
    all.lines().skip(1).map(|line| format!("{}: {line}", operation.name)).collect()
}

fn differing(found: &RunComparison) -> Vec<String> {
    let (a, b) = (&found.a.name, &found.b.name);
    let settings = found.compared_settings.iter().map(|one| format!("setting {}", difference(one, a, b)));
    settings.chain(found.places.iter().map(|one| format!("place {}", difference(one, a, b)))).collect()
}

fn also_done(others: &[OperationComparison]) -> String {
    let names: Vec<&str> = others.iter().map(|operation| operation.name.as_str()).collect();
    format!("-o wide shows also: {}", names.join(", "))
}

fn percentiles(found: &RunComparison, operations: &[OperationComparison]) -> String {
    let (a, b) = (plain(&found.a.name.to_uppercase()), plain(&found.b.name.to_uppercase()));
    let mut columns = Columns::new(["OPERATION", "PERCENTILE", &a, &b]);
    for operation in operations {
        for index in 0..Percentile::SHOWN.len() {
            let cell =
                |summary: &OperationSummary| summary.percentiles.get(index).map(latency).unwrap_or_default();
            let percentile = Percentile::SHOWN[index].to_string();
            columns.row([plain(&operation.name), percentile, cell(&operation.a), cell(&operation.b)]);
        }
    }
    columns.text()
}

/// `1.23 ms (1.10-1.40)`.
fn latency(quantile: &Quantile) -> String {
    let (unit, divisor) =
        UNITS.iter().copied().rfind(|(_, divisor)| quantile.nanos >= *divisor).unwrap_or(UNITS[0]);
    let value = |nanos: f64| format!("{:.2}", nanos / divisor);
    let interval =
        quantile.interval.map(|interval| format!(" ({}-{})", value(interval.low), value(interval.high)));
    format!("{} {unit}{}", value(quantile.nanos), interval.unwrap_or_default())
}

const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

fn names(text: &str) -> Result<(String, String), String> {
    let named = text.split_once(',').map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned()));
    let usable = named.filter(|(a, b)| !a.is_empty() && !b.is_empty() && a != b && !b.contains(','));
    usable.ok_or_else(|| "two different names with a comma between: disk,RAM".to_owned())
}

fn percentile(text: &str) -> Result<Percentile, String> {
    match text.parse() {
        Ok(Percentile::MAX) => {
            Err("the maximum decides nothing: it grows with the number of operations".to_owned())
        }
        Ok(percentile) => Ok(percentile),
        Err(error) => Err(PercentileError::to_string(&error)),
    }
}
