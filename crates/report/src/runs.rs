//! Runs that nothing is compared with: one disk, measured several times. What they say in short.
//!
//! Only runs of which the same was asked are put together; `winstead bench compare` compares them with others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use winstead_measurement::{
    Ended, Run, Source,
    import::NamedRun,
    quantile::{self, Quantile},
};
use winstead_statistics::{Bootstrap, Histogram, Latencies, MINIMUM_RUNS, Percentile, Seed};

use crate::{
    number::{duration, grouped, millis, short},
    table::Table,
    tables::estimate,
};

/// What runs say, for programs too: `kind`, `version`, and latencies in nanoseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    kind: &'static str,
    version: u64,
    /// The main operation of each load in a sentence, then what is not said here.
    pub headline: Vec<String>,
    /// In the document's order.
    pub loads: Vec<Load>,
    /// What a reader should know before believing the numbers.
    pub notes: Vec<String>,
}

/// One kind of operation in all runs of which the same was asked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// As the document calls it.
    pub name: String,
    /// `write`.
    pub operation: String,
    /// Who measured.
    pub source: Source,
    /// What was asked for.
    pub settings: BTreeMap<String, Value>,
    /// Where the first of them was measured.
    pub place: BTreeMap<String, Value>,
    /// Each by itself.
    pub runs: Vec<LoadRun>,
    /// Of all of them together.
    pub percentiles: Vec<Quantile>,
    #[serde(skip)]
    pub(crate) histogram: Histogram,
    #[serde(skip)]
    is_main: bool,
}

/// One run of a load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadRun {
    started_at: Option<Timestamp>,
    ended: Ended,
    operations: u64,
    failed: u64,
    /// `p50`, `p95`, `p99`, `p99.9` and `max`; empty without operations.
    percentile_nanos: Vec<u128>,
    per_second: Option<f64>,
}

const VERSION: u64 = 1;
const NOT_COMPARED: &str = "nothing is compared here: `winstead bench compare` puts runs beside others";

impl Runs {
    /// What runs say.
    #[must_use]
    pub fn of(named: &[NamedRun], seed: Seed) -> Self {
        let mut loads: Vec<Load> = Vec::new();
        for group in groups(named) {
            let mut operations: Vec<&String> =
                group.iter().flat_map(|named| named.run.operations.keys()).collect();
            operations.sort_unstable();
            operations.dedup();
            loads.extend(operations.into_iter().map(|operation| Load::of(&group, operation, seed)));
        }
        let mut headline: Vec<String> =
            loads.iter().filter(|load| load.is_main).map(Load::sentence).collect();
        headline.push(NOT_COMPARED.to_owned());
        let mut notes: Vec<String> = Vec::new();
        for note in named.iter().flat_map(|named| &named.run.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        Self { kind: "RunSummary", version: VERSION, headline, loads, notes }
    }
}

/// Runs of which the same was asked, by the same program.
fn groups(named: &[NamedRun]) -> Vec<Vec<&NamedRun>> {
    let alike = |one: &NamedRun, other: &NamedRun| {
        (&one.name, &one.run.settings, &one.run.source)
            == (&other.name, &other.run.settings, &other.run.source)
    };
    let mut groups: Vec<Vec<&NamedRun>> = Vec::new();
    for run in named {
        match groups.iter_mut().find(|group| alike(group[0], run)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

impl Load {
    fn of(group: &[&NamedRun], operation: &str, seed: Seed) -> Self {
        let first = &group[0];
        let histograms: Vec<Histogram> =
            group.iter().map(|named| named.run.latencies(operation).all()).collect();
        Self {
            name: first.name.clone(),
            operation: operation.to_owned(),
            source: first.run.source.clone(),
            settings: first.run.settings.clone(),
            place: first.run.place.clone(),
            runs: group.iter().map(|named| LoadRun::of(&named.run, operation)).collect(),
            percentiles: quantile::shown(&histograms, Bootstrap::with_seed(seed)),
            histogram: Histogram::merged(&histograms),
            is_main: first.run.main_operation() == Some(operation),
        }
    }

    /// `latency: p99 of durable-write is 2.46 ms (2.35 ms to 2.58 ms) in 5 runs`.
    fn sentence(&self) -> String {
        let (name, operation, runs) = (&self.name, &self.operation, self.runs.len());
        let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
        let p99 = self.percentiles.iter().find(|found| found.percentile == Percentile::P99);
        match p99.map(|found| (found, found.interval)) {
            Some((_, Some(interval))) => {
                format!("{name}: p99 of {operation} is {} in {runs}", estimate(&interval, duration))
            }
            Some((found, None)) => {
                let few = if self.runs.len() < MINIMUM_RUNS { "too few" } else { "with too few operations" };
                let p99 = duration(found.nanos);
                format!("{name}: p99 of {operation} is {p99} in {runs}, {few} to say how sure that is")
            }
            None => format!("{name}: nothing was done in {runs}"),
        }
    }

    /// Whether the load is about this kind of operation.
    pub(crate) const fn is_main(&self) -> bool {
        self.is_main
    }

    /// `latency, durable-write`.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.name, self.operation)
    }

    /// Each run, and all of them together.
    pub(crate) fn table(&self) -> Table {
        let caption = format!("{}: latency in ms, throughput in operations a second", self.title());
        let headings =
            ["run", "#p50", "#p95", "#p99", "#p99.9", "#max", "#ops/s", "#operations", "#failed", "ended"];
        let mut table = Table::new(caption, &headings);
        for (number, run) in (1u32..).zip(&self.runs) {
            table.row(run.cells(number.to_string()));
        }
        let of_all = |percentile: &Percentile| {
            let found = self.percentiles.iter().find(|found| found.percentile == *percentile);
            found.map_or_else(|| "-".to_owned(), |found| millis(found.nanos))
        };
        let operations = self.runs.iter().map(|run| run.operations).sum();
        let failed = self.runs.iter().map(|run| run.failed).sum();
        let percentiles = Percentile::SHOWN.iter().map(of_all);
        let rest = ["-".to_owned(), grouped(operations), grouped(failed), "-".to_owned()];
        table.row(std::iter::once("all".to_owned()).chain(percentiles).chain(rest));
        table
    }
}

impl LoadRun {
    fn of(run: &Run, operation: &str) -> Self {
        let latencies: Latencies = run.latencies(operation);
        let all = latencies.all();
        let nanos = |percentile| all.percentile(percentile).map(|took| took.as_nanos());
        Self {
            started_at: run.started_at,
            ended: run.ended,
            operations: latencies.count(),
            failed: latencies.failures(),
            percentile_nanos: Percentile::SHOWN.into_iter().filter_map(nanos).collect(),
            per_second: run.per_second(operation),
        }
    }

    fn cells(&self, number: String) -> Vec<String> {
        let known = self.percentile_nanos.iter().map(|nanos| millis(*nanos as f64));
        let unknown = vec!["-".to_owned(); Percentile::SHOWN.len() - self.percentile_nanos.len()];
        let ended = match self.ended {
            Ended::Complete => "complete",
            Ended::Interrupted => "interrupted",
            Ended::Lost => "lost",
        };
        let counts = [grouped(self.operations), grouped(self.failed), ended.to_owned()];
        let rate = self.per_second.map_or_else(|| "-".to_owned(), short);
        std::iter::once(number).chain(known).chain(unknown).chain([rate]).chain(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use winstead_measurement::{
        example::probe_result,
        import::{self, Measured},
    };

    use super::*;

    fn runs(documents: &[Value]) -> Vec<NamedRun> {
        let list = serde_json::json!({"kind": "ProbeResultList", "version": 1, "items": documents});
        match import::read(list.to_string().as_bytes()).expect("a list") {
            Measured::Runs(runs) => runs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn five_runs_say_how_sure_they_are_and_one_does_not() {
        let five: Vec<Value> = [900.0, 950.0, 920.0, 940.0, 910.0].map(probe_result).to_vec();
        let said = Runs::of(&runs(&five), Seed(1)).headline;
        assert!(
            said[0].starts_with("latency: p99 of durable-write is 2.") && said[0].ends_with(") in 5 runs"),
            "{said:?}"
        );
        let said = Runs::of(&runs(&five[..1]), Seed(1)).headline;
        assert!(said[0].ends_with("in 1 run, too few to say how sure that is"), "{said:?}");
    }

    #[test]
    fn runs_of_which_different_things_were_asked_stay_apart() {
        let mut other = probe_result(900.0);
        other["parameters"]["queueDepth"] = 1.into();
        let found = Runs::of(&runs(&[probe_result(900.0), other, probe_result(900.0)]), Seed(1));
        let counts: Vec<usize> = found.loads.iter().map(|load| load.runs.len()).collect();
        assert_eq!(counts, [2, 1]);
    }
}
