//! What happened during a run, second by second: what the host had to do, and what the machines got done.

use serde::Deserialize;
use winstead_measurement::{contention::WorkloadRun, wall::HostSample};

use crate::{
    chart::{Axis, Chart, Kind, Series},
    number::{bytes, digits, duration, percent, short, trimmed},
    table::Table,
};

/// The charts of a run, above each other in time, and the table with their numbers.
pub(crate) struct Timeline {
    /// Those of which something is known.
    pub charts: Vec<Chart>,
    /// What the host said.
    pub host: Table,
    /// What the machines did, where their results say so.
    pub machines: Option<Table>,
}

/// Pressures of the kernel, as documents call them, and the lines that they are: never told apart by colour alone.
const PRESSURES: [(&str, &str); 5] = [
    ("cpu.some", "first"),
    ("io.some", "second"),
    ("io.full", "third"),
    ("memory.some", "fourth"),
    ("memory.full", "fifth"),
];

/// One that was never more is in the table, and not a line on the axis.
const WORTH_A_LINE: f64 = 0.01;
const ALWAYS: [&str; 2] = ["cpu.some", "io.some"];

/// What the results of a run's machines say of its seconds, added up.
#[derive(Debug, Default)]
struct Steps {
    seconds: f64,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Step {
    operations: u64,
    failures: u64,
    p99_nanos: Option<u64>,
    max_nanos: Option<u64>,
}

/// In a result of the probe.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    step_seconds: f64,
    steps: Vec<Step>,
}

/// The timeline of a run on a host with so many cores.
pub(crate) fn timeline(run: &WorkloadRun, cpus: u32) -> Timeline {
    let steps = Steps::of(run);
    let mut charts = Vec::new();
    if run.host.iter().any(|sample| !sample.pressure.is_empty()) {
        charts.push(pressure(&run.host));
    }
    if !run.host.is_empty() {
        charts.push(cores(&run.host, cpus));
    }
    if let Some(steps) = &steps {
        charts.extend([steps.operations(), steps.latency()]);
    }
    Timeline { charts, host: host(&run.host), machines: steps.map(|steps| steps.table()) }
}

/// Time, until the last that is known. The host's begins when machines may begin, theirs when they count operations, after
/// the warm-up: the two are not laid above each other.
fn seconds(label: &str, end: f64) -> Axis {
    let shown = |seconds: f64| trimmed(&digits(seconds));
    Axis { label: label.to_owned(), kind: Kind::Linear, range: Some([0.0, end]), ticks: None, shown }
}

fn end(samples: &[HostSample]) -> f64 {
    samples.iter().map(|sample| sample.at_seconds).fold(0.0, f64::max)
}

/// A value for each stretch of time, as a line with steps: nothing is known of what lies within.
fn stepped(samples: &[HostSample], value: impl Fn(&HostSample) -> f64) -> Vec<[f64; 2]> {
    let corners = |sample: &HostSample| {
        let (end, value) = (sample.at_seconds, value(sample));
        [[(end - sample.seconds).max(0.0), value], [end, value]]
    };
    samples.iter().flat_map(corners).collect()
}

fn known_pressures(samples: &[HostSample]) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
    PRESSURES.into_iter().filter(|(name, _)| samples.iter().any(|sample| sample.pressure.contains_key(*name)))
}

/// Those that say something, and the two that tell a CPU from a disk.
fn shown_pressures(samples: &[HostSample]) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
    let ever = |name: &str| {
        samples.iter().any(|sample| sample.pressure.get(name).is_some_and(|share| *share >= WORTH_A_LINE))
    };
    known_pressures(samples).filter(move |(name, _)| ALWAYS.contains(name) || ever(name))
}

fn pressure(samples: &[HostSample]) -> Chart {
    let line = |(name, class): (&'static str, _)| Series {
        class,
        label: name.to_owned(),
        line: stepped(samples, |sample| sample.pressure.get(name).copied().unwrap_or_default()),
        ..Series::default()
    };
    Chart {
        title: "Pressure: the share of time in which tasks waited".to_owned(),
        description: "The numbers are in the table below.".to_owned(),
        x: seconds("seconds from the barrier", end(samples)),
        y: Axis {
            label: "pressure: share of time waited".to_owned(),
            kind: Kind::Linear,
            range: Some([0.0, 1.0]),
            ticks: Some(vec![0.0, 0.5, 1.0]),
            shown: |share| trimmed(&percent(share)),
        },
        series: shown_pressures(samples).map(line).collect(),
    }
}

fn cores(samples: &[HostSample], cpus: u32) -> Chart {
    let all = f64::from(cpus.max(1));
    let line = |class, label: &str, value: fn(&HostSample) -> f64| Series {
        class,
        label: label.to_owned(),
        line: stepped(samples, value),
        ..Series::default()
    };
    Chart {
        title: "Busy cores".to_owned(),
        description: "The numbers are in the table below.".to_owned(),
        x: seconds("seconds from the barrier", end(samples)),
        y: Axis {
            label: format!("busy cores of {cpus}"),
            kind: Kind::Linear,
            range: Some([0.0, all]),
            ticks: Some(vec![0.0, all / 2.0, all]),
            shown: |cores| trimmed(&digits(cores)),
        },
        series: vec![
            line("first", "all", |sample| sample.busy_cpus),
            line("second", "QEMU", |sample| sample.qemu_cpus),
            line("third", "stolen", |sample| sample.stolen_cpus),
        ],
    }
}

/// Each sample, its pressures, and the busiest of its disks.
fn host(samples: &[HostSample]) -> Table {
    let pressures: Vec<_> = known_pressures(samples).map(|(name, _)| name).collect();
    let mut headings =
        vec!["#s".to_owned(), "#cores busy".to_owned(), "#QEMU".to_owned(), "#stolen".to_owned()];
    headings.extend(pressures.iter().map(|name| format!("#{name}")));
    headings.extend(
        ["#memory left", "disk", "#in flight", "#writes/s", "#write ms", "#flushes/s", "#flush ms"]
            .map(str::to_owned),
    );
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new("the host", &headings);
    for sample in samples {
        let mut cells =
            [sample.at_seconds, sample.busy_cpus, sample.qemu_cpus, sample.stolen_cpus].map(digits).to_vec();
        cells.extend(
            pressures.iter().map(|name| {
                sample.pressure.get(*name).map_or_else(|| "-".to_owned(), |share| percent(*share))
            }),
        );
        cells.push(bytes(sample.memory_available_bytes as f64));
        let busiest =
            sample.disks.iter().max_by(|(_, one), (_, other)| one.in_flight.total_cmp(&other.in_flight));
        cells.extend(busiest.map_or_else(
            || vec!["-".to_owned(); 6],
            |(name, disk)| {
                let numbers = [
                    disk.in_flight,
                    disk.writes_per_second,
                    disk.write_millis,
                    disk.flushes_per_second,
                    disk.flush_millis,
                ];
                std::iter::once(name.clone()).chain(numbers.map(digits)).collect()
            },
        ));
        table.row(cells);
    }
    table
}

impl Steps {
    /// Of all machines of a run. `None` where results do not say, or machines do not count in the same steps.
    fn of(run: &WorkloadRun) -> Option<Self> {
        let results = run.machines.iter().filter_map(|machine| machine.result.as_ref());
        let written = results.filter_map(|result| Written::deserialize(result.get("timeline")?).ok());
        let mut all = Self::default();
        for machine in written {
            if all.steps.is_empty() {
                all.seconds = machine.step_seconds;
            }
            if machine.step_seconds != all.seconds {
                return None;
            }
            let longest = all.steps.len().max(machine.steps.len());
            all.steps.resize(longest, Step::default());
            all.steps.iter_mut().zip(&machine.steps).for_each(|(all, one)| all.add(one));
        }
        (all.seconds > 0.0 && all.seconds.is_finite() && !all.steps.is_empty()).then_some(all)
    }

    fn line(&self, value: impl Fn(&Step) -> Option<f64>) -> Vec<[f64; 2]> {
        let corners = |(number, step): (u32, &Step)| {
            let begin = f64::from(number) * self.seconds;
            let value = value(step).unwrap_or(f64::NAN);
            [[begin, value], [begin + self.seconds, value]]
        };
        (0..).zip(&self.steps).flat_map(corners).collect()
    }

    fn operations(&self) -> Chart {
        let rate = |step: &Step| Some(step.operations as f64 / self.seconds);
        Chart {
            title: "Operations a second of all machines".to_owned(),
            description: "The numbers are in the table below.".to_owned(),
            x: seconds("seconds of measuring", self.seconds * self.steps.len() as f64),
            y: Axis {
                label: "operations a second".to_owned(),
                kind: Kind::Linear,
                range: None,
                ticks: None,
                shown: |rate| trimmed(&short(rate)),
            },
            series: vec![Series {
                class: "first",
                label: "all".to_owned(),
                line: self.line(rate),
                ..Series::default()
            }],
        }
    }

    fn latency(&self) -> Chart {
        let line = |class, label: &str, value: fn(&Step) -> Option<u64>| Series {
            class,
            label: label.to_owned(),
            line: self.line(|step| value(step).map(|nanos| nanos as f64)),
            ..Series::default()
        };
        Chart {
            title: "p99 and maximum of each step, of the machine that waited longest".to_owned(),
            description: "The numbers are in the table below.".to_owned(),
            x: seconds("seconds of measuring", self.seconds * self.steps.len() as f64),
            y: Axis {
                label: "worst machine's latency (log scale)".to_owned(),
                kind: Kind::Log,
                range: None,
                ticks: None,
                shown: |nanos| trimmed(&duration(nanos)),
            },
            series: vec![
                line("first", "p99", |step| step.p99_nanos),
                line("second", "max", |step| step.max_nanos),
            ],
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            "all machines; latencies are of the machine that waited longest",
            &["#s", "#operations/s", "#failed", "#p99", "#max"],
        );
        for (number, step) in (1u32..).zip(&self.steps) {
            let latency =
                |nanos: Option<u64>| nanos.map_or_else(|| "-".to_owned(), |nanos| duration(nanos as f64));
            table.row([
                digits(f64::from(number) * self.seconds),
                short(step.operations as f64 / self.seconds),
                step.failures.to_string(),
                latency(step.p99_nanos),
                latency(step.max_nanos),
            ]);
        }
        table
    }
}

impl Step {
    /// Counts are added; of percentiles, which cannot be, the worst machine's is kept.
    fn add(&mut self, other: &Self) {
        self.operations = self.operations.saturating_add(other.operations);
        self.failures = self.failures.saturating_add(other.failures);
        self.p99_nanos = self.p99_nanos.max(other.p99_nanos);
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use winstead_measurement::example::{Story, contention};

    use super::*;

    fn run() -> WorkloadRun {
        contention(Story::RamHelps)
            .runs
            .into_iter()
            .find(|run| run.agents == 2)
            .expect("two machines")
            .workloads
            .remove(0)
    }

    #[test]
    fn without_a_timeline_in_results_there_is_the_hosts_alone() {
        let found = timeline(&run(), 16);
        let titles: Vec<&str> = found.charts.iter().map(|chart| chart.y.label.as_str()).collect();
        assert_eq!(titles, ["pressure: share of time waited", "busy cores of 16"]);
        assert_eq!(found.host.rows.len(), 3);
        assert!(found.machines.is_none());
    }

    #[test]
    fn machines_operations_are_added_and_the_worst_p99_is_kept() {
        let mut run = run();
        for (machine, p99) in run.machines.iter_mut().zip([7_000_000u64, 3_000_000]) {
            let steps = json!([{"operations": 10, "failures": 1, "p99Nanos": p99, "maxNanos": 9_000_000}, {"operations": 4, "failures": 0, "p99Nanos": null, "maxNanos": null}]);
            machine.result.as_mut().expect("a result")["timeline"] =
                json!({"stepSeconds": 0.5, "steps": steps});
        }
        let found = timeline(&run, 16);
        assert_eq!(found.charts.len(), 4);
        let rows = found.machines.expect("a table").rows;
        assert_eq!(
            rows,
            [["0.500", "40.0", "2", "7.00 ms", "9.00 ms"], ["1.00", "16.0", "0", "-", "-"]]
                .map(|row| row.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn a_timeline_that_makes_no_sense_is_none() {
        for timeline in [
            json!(null),
            json!({"stepSeconds": 0, "steps": [{}]}),
            json!({"stepSeconds": 1, "steps": []}),
            json!({"stepSeconds": "1"}),
        ] {
            let mut run = run();
            run.machines.iter_mut().for_each(|machine| {
                machine.result.as_mut().expect("a result")["timeline"] = timeline.clone();
            });
            assert!(Steps::of(&run).is_none(), "{timeline}");
        }
    }
}
