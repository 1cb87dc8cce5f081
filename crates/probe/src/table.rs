//! The result for people: where, what, and a line for each kind of operation.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde_json::Value;
use winstead_spec::ByteSize;
use winstead_statistics::Percentile;

use crate::{
    goal::Reached,
    parameters::Parameters,
    result::{Done, Ended, ProbeResult},
    samples::Operation,
    seed::{Comparison, Measurement},
};

const MEBIBYTE: f64 = 1_048_576.0;

/// The result as a table.
pub(crate) fn render(result: &ProbeResult) -> String {
    let mut text = headline(result);
    // Writing to a String cannot fail.
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").unwrap_or_default();
    line(format_args!(""));
    let heads = ["operation", "count", "failed", "/s", "MiB/s"];
    line(format_args!("{}", row(heads.map(str::to_owned).into_iter().chain(shown()))));
    for (operation, done) in &result.operations {
        line(format_args!("{}", row(cells(*operation, done))));
    }
    if let Some(lateness) = &result.lateness {
        let empty = [String::new(), String::new(), String::new(), String::new()];
        let cells = ["(lateness)".to_owned()].into_iter().chain(empty);
        line(format_args!("{}", row(cells.chain(times(&lateness.percentile_nanos)))));
    }
    for text in result.goal.iter().flat_map(goal_lines) {
        line(format_args!("{text}"));
    }
    for text in result.comparison.iter().flat_map(seed_lines) {
        line(format_args!("{text}"));
    }
    line(format_args!("\n{:.1} s measured; latencies include failed operations", result.elapsed_seconds));
    result.errors.iter().for_each(|(said, count)| line(format_args!("failed {count} times: {said}")));
    result.notes.iter().for_each(|note| line(format_args!("note: {note}")));
    if result.ended == Ended::Lost {
        line(format_args!("the disk was lost; this is what was measured until then"));
    }
    text
}

fn headline(result: &ProbeResult) -> String {
    let computer = &result.computer;
    let unknown = || "unknown".to_owned();
    let kind = computer.file_system.kind.clone().unwrap_or_else(unknown);
    let source = computer.file_system.source.clone().unwrap_or_else(unknown);
    let cpu = computer.cpu.model.clone().unwrap_or_else(unknown);
    let memory = computer.memory_bytes.map_or_else(unknown, |bytes| ByteSize::from_bytes(bytes).to_string());
    let cpus = computer.usable_cpus.map_or_else(unknown, |count| count.to_string());
    let what = match &result.parameters {
        Parameters::Blocks(load) => format!(
            "{}: {} blocks of {}, {} file(s), queue depth {}",
            load.workload,
            named(&load.access),
            ByteSize::from_bytes(load.block_bytes),
            load.threads,
            load.queue_depth,
        ),
        Parameters::Seed(load) => format!(
            "{}: four numbers, by an old script's method and honestly, {} runs",
            load.workload, load.runs
        ),
        Parameters::Files(load) => {
            let fsync = if load.fsync { "each flushed" } else { "not flushed" };
            format!("{}: {} tree(s) of {} files, {fsync}", load.workload, load.threads, load.files)
        }
    };
    format!("{what}\n{} on {kind} ({source}); {cpu}, {cpus} CPUs, {memory} of memory\n", result.folder)
}

fn cells(operation: Operation, done: &Done) -> impl Iterator<Item = String> {
    let rates = [done.per_second, done.bytes_per_second.map(|bytes| bytes / MEBIBYTE)];
    let rates = rates.map(|rate| {
        rate.filter(|rate| *rate > 0.0).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
    });
    [named(&operation), done.count.to_string(), done.failures.to_string()]
        .into_iter()
        .chain(rates)
        .chain(times(&done.percentile_nanos))
}

/// Each rate that was tried, and what came out.
fn goal_lines(reached: &Reached) -> Vec<String> {
    let mut lines = vec![String::new(), format!("rates tried for {}:", reached.goal)];
    for step in &reached.steps {
        let took = step.percentile_nanos.map_or_else(|| "-".to_owned(), time);
        let why = step.why.as_ref().map_or_else(|| "met".to_owned(), |why| format!("failed: {why}"));
        lines.push(format!("{:>12.1}/s {took:>8}  {why}", step.per_second));
    }
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}/s"));
    lines.push(match (rate(reached.highest_met_per_second), rate(reached.lowest_failed_per_second)) {
        (Some(met), Some(failed)) => {
            format!("met up to {met}, which is the table above; no longer at {failed}")
        }
        (Some(met), None) => format!("met up to {met}, the highest that was tried, which is the table above"),
        (None, failed) => format!("never met; the table above is {}", failed.unwrap_or_default()),
    });
    lines
}

/// The four numbers, by both methods.
fn seed_lines(comparison: &Comparison) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!("{:<17} {:<30} {}", "", "as the old script measured", "honest: median (lowest-highest)"),
    ];
    lines.extend(comparison.measurements.iter().map(|row| {
        let (old, honest) = (&row.as_the_old_script, &row.honest);
        let unit = unit(row.measurement);
        let old = format!("{} in {}", unit.rate(old.per_second), seconds(old.timed_seconds));
        let spread =
            format!("{}-{}", unit.number(honest.lowest_per_second), unit.number(honest.highest_per_second));
        let median = unit.rate(honest.median.per_second);
        let took = seconds(honest.median.timed_seconds);
        format!("{:<17} {old:<30} {median} in {took} ({spread})", named(&row.measurement))
    }));
    lines
}

/// How a number is shown.
struct Unit {
    scale: f64,
    name: &'static str,
}

const fn unit(measurement: Measurement) -> Unit {
    match measurement {
        Measurement::SequentialWrite | Measurement::SequentialRead => Unit { scale: MEBIBYTE, name: "MiB/s" },
        Measurement::SmallFiles => Unit { scale: 1.0, name: "files/s" },
        Measurement::RandomRead => Unit { scale: 1.0, name: "reads/s" },
    }
}

impl Unit {
    fn number(&self, per_second: f64) -> String {
        format!("{:.0}", per_second / self.scale)
    }

    fn rate(&self, per_second: f64) -> String {
        format!("{} {}", self.number(per_second), self.name)
    }
}

fn seconds(seconds: f64) -> String {
    time(u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX))
}

/// The name that results have for it.
fn named(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn shown() -> impl Iterator<Item = String> {
    Percentile::SHOWN.into_iter().map(|percentile| percentile.to_string())
}

fn times(nanos: &BTreeMap<String, u64>) -> impl Iterator<Item = String> {
    shown().map(|name| nanos.get(&name).map_or_else(|| "-".to_owned(), |nanos| time(*nanos)))
}

/// Three digits and a unit.
fn time(nanos: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let Some((scale, unit)) = UNITS.into_iter().find(|(scale, _)| nanos >= *scale) else {
        return format!("{nanos} ns");
    };
    let value = nanos as f64 / scale as f64;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

fn row(cells: impl Iterator<Item = String>) -> String {
    let mut cells = cells;
    let first = cells.next().unwrap_or_default();
    cells.fold(format!("{first:<13}"), |row, cell| row + &format!(" {cell:>8}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        let shown = [7, 1_234, 45_678, 999_900, 12_345_678, 3_600_000_000_000].map(time);
        assert_eq!(shown, ["7 ns", "1.23 µs", "45.7 µs", "1000 µs", "12.3 ms", "3600 s"]);
    }
}
