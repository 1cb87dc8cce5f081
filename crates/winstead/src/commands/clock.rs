//! `winstead clock`: machines' clocks against this computer's.

use clap::Args;
use serde::Serialize;
use winstead_guest::hand::Clocks;
use winstead_spec::{API_VERSION, MachineName};

use crate::{
    context::Context,
    error::CliError,
    output::{self, Columns},
    selection::Known,
};

const EXAMPLES: &str = "\
Examples:
  winstead clock agents-0
  winstead clock agents                 all machines of a pool
  winstead clock agents -o json | jq '.items[] | select(.aheadNanos | fabs > 50e6).machine'

AHEAD is by how much a machine's clock is ahead of this computer's, negative when it is behind;
ERROR is how wrong that may be, either way: half of what question and answer took.";

/// Compares the clocks of machines with this computer's.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ClockArgs {
    /// Machines (agents-0) and pools (agents).
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClockList {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Clock>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    machine: String,
    ahead_nanos: i64,
    error_nanos: u64,
}

/// Runs `clock`.
///
/// # Errors
/// When a name is unknown, or a machine has no agent that answers; the others are shown all the same.
pub(crate) async fn run(context: &Context, args: &ClockArgs) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let machines = Known::of(&engine).await?.machines(&args.names)?;
    let (found, outcome) = engine.clocks(&machines).await;
    let items = found.iter().map(|(machine, clocks)| clock(machine, clocks)).collect();
    let list = ClockList { api_version: API_VERSION, kind: "ClockList", items };
    output::show(&context.ui, context.format, &list, |list, _| table(&list.items))?;
    Ok(outcome?)
}

fn clock(machine: &MachineName, found: &Clocks) -> Clock {
    let error_nanos = u64::try_from(found.error.as_nanos()).unwrap_or(u64::MAX);
    Clock { machine: machine.to_string(), ahead_nanos: found.ahead_nanos, error_nanos }
}

fn table(clocks: &[Clock]) -> String {
    if clocks.is_empty() {
        return String::new();
    }
    let mut columns = Columns::new(["NAME", "AHEAD", "ERROR"]);
    for clock in clocks {
        columns.row([
            clock.machine.clone(),
            milliseconds(clock.ahead_nanos),
            format!("±{}", milliseconds(i64::try_from(clock.error_nanos).unwrap_or(i64::MAX))),
        ]);
    }
    columns.text()
}

fn milliseconds(nanos: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
    let milliseconds = nanos as f64 / 1e6;
    format!("{milliseconds:.3} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_shown_in_milliseconds_with_their_sign() {
        let clock = |machine: &str, ahead_nanos| Clock {
            machine: machine.to_owned(),
            ahead_nanos,
            error_nanos: 412_345,
        };
        insta::assert_snapshot!(table(&[clock("a-0", 3_200_499), clock("a-10", -86_400_000_000_000)]), @r"
        NAME   AHEAD              ERROR
        a-0    3.200 ms           ±0.412 ms
        a-10   -86400000.000 ms   ±0.412 ms
        ");
    }
}
