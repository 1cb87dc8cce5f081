//! Reads an experiment's runs, one at a time, and sums up those of one arm with one number of machines.

use serde_json::Value;
use winstead_statistics::{
    Bootstrap, Confidence, Histogram, Latencies, LittlesLaw, Summary, littles_law, median_interval,
};

use super::{Arrivals, Cell, LostCell, Throughput, WallCount, walls};
use crate::{
    contention::{Arm, Contention, WorkloadRun},
    quantile,
    run::{ReadError, Run},
    shortfall::Load,
    together::together,
    wall::Wall,
};

/// What contains all others: one sample for a whole tree of small files.
const WHOLE: &str = "tree";

/// All runs of one workload in one arm with one number of machines. Only what is needed is kept: a result's histograms
/// of all its kinds of operations take megabytes.
pub(super) struct Group<'a> {
    pub(super) arm: Arm,
    pub(super) agents: u32,
    /// Those in which at least one machine measured something.
    runs: Vec<Summed<'a>>,
    pub(super) machines: u64,
    pub(super) failed_machines: u64,
}

/// One run: all its machines together.
struct Summed<'a> {
    latencies: Latencies,
    /// Of the main operation, a second.
    throughput: f64,
    under_way: UnderWay,
    /// Of all machines, each for itself.
    load: Load,
    walls: &'a [Wall],
    /// Whether all of its machines gave a result.
    is_whole: bool,
}

/// What Little's law needs, of all kinds of operations and all machines.
#[derive(Default)]
struct UnderWay {
    workers: f64,
    per_second: f64,
    /// X · R.
    computed: f64,
}

/// What all runs of a workload have in common.
pub(super) struct Shape {
    /// The kind of operation that is looked at.
    pub(super) operation: String,
    pub(super) arrivals: Arrivals,
}

impl Shape {
    /// The shape of a workload, from the first machine that measured something; `None` when none did.
    ///
    /// # Errors
    /// When a result cannot be read.
    pub(super) fn of(document: &Contention, workload: &str) -> Result<Option<Self>, ReadError> {
        let runs = document.runs.iter().flat_map(|run| &run.workloads).filter(|run| run.name == workload);
        let results = runs.flat_map(|run| &run.machines).filter_map(|machine| machine.result.as_ref());
        for result in results {
            let run = crate::probe::read(result)?;
            if let Some(operation) = run.main_operation() {
                return Ok(Some(Self { operation: operation.to_owned(), arrivals: arrivals(&run) }));
            }
        }
        Ok(None)
    }
}

fn arrivals(run: &Run) -> Arrivals {
    match run.settings.get("arrivals.perSecond").and_then(Value::as_f64) {
        Some(per_second) => Arrivals::Open { per_second },
        None => Arrivals::Closed { workers: workers(run) },
    }
}

/// How many operations of a closed loop are under way.
fn workers(run: &Run) -> u32 {
    let setting =
        |key: &str| run.settings.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    setting("threads").unwrap_or(1).saturating_mul(setting("queueDepth").unwrap_or(1))
}

impl<'a> Group<'a> {
    /// The runs of `workload` in an arm with a number of machines.
    ///
    /// # Errors
    /// When a result cannot be read.
    pub(super) fn read(
        document: &'a Contention,
        (workload, shape): (&'a str, &Shape),
        (arm, agents): (Arm, u32),
    ) -> Result<Self, ReadError> {
        let mut group = Self { arm, agents, runs: Vec::new(), machines: 0, failed_machines: 0 };
        for run in document.workload_runs(arm, agents, workload) {
            group.machines += run.machines.len() as u64;
            group.failed_machines += run.failed_machines() as u64;
            group.runs.extend(Summed::of(run, &shape.operation)?);
        }
        Ok(group)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What a report shows of it where it is empty.
    pub(super) const fn lost(&self) -> LostCell {
        LostCell { arm: self.arm, agents: self.agents, machines: self.machines }
    }

    /// What held its machines back, that of most runs first.
    pub(super) fn walls(&self) -> Vec<WallCount> {
        walls::count(self.runs.iter().map(|run| run.walls))
    }

    /// Each run's latencies.
    pub(super) fn latencies(&self) -> Vec<Latencies> {
        self.runs.iter().map(|run| run.latencies.clone()).collect()
    }

    /// Each run's throughput.
    pub(super) fn throughputs(&self) -> Vec<f64> {
        self.runs.iter().map(|run| run.throughput).collect()
    }

    /// Each run's throughput, without those in which a machine died: with fewer machines others are faster.
    pub(super) fn whole_throughputs(&self) -> Vec<f64> {
        self.runs.iter().filter(|run| run.is_whole).map(|run| run.throughput).collect()
    }

    /// The mean number of operations under way, by Little's law.
    pub(super) fn in_flight(&self) -> f64 {
        self.runs.iter().map(|run| run.under_way.computed).sum::<f64>() / self.runs.len() as f64
    }

    /// What a report shows of it.
    pub(super) fn cell(&self, shape: &Shape, bootstrap: Bootstrap) -> Cell {
        let runs: Vec<Histogram> = self.runs.iter().map(|run| run.latencies.all()).collect();
        let histogram = Histogram::merged(&runs);
        let closed = matches!(shape.arrivals, Arrivals::Closed { .. });
        Cell {
            arm: self.arm,
            agents: self.agents,
            runs: self.runs.len(),
            percentiles: quantile::shown(&runs, bootstrap),
            throughput: throughput(self.throughputs(), bootstrap.confidence),
            shortfall: self.runs.iter().fold(Load::default(), |all, run| all.and(run.load)).shortfall(),
            littles_law: if closed { self.littles_law() } else { None },
            walls: self.walls(),
            machines: self.machines,
            failed_machines: self.failed_machines,
            operations: histogram.count(),
            failed_operations: self.runs.iter().map(|run| run.latencies.failures()).sum(),
            histogram,
        }
    }

    fn littles_law(&self) -> Option<LittlesLaw> {
        let sum = |of: fn(&UnderWay) -> f64| self.runs.iter().map(|run| of(&run.under_way)).sum::<f64>();
        let (per_second, runs) = (sum(|law| law.per_second), self.runs.len() as f64);
        let mean = std::time::Duration::try_from_secs_f64(sum(|law| law.computed) / per_second).ok()?;
        littles_law(sum(|law| law.workers) / runs, per_second / runs, mean, std::time::Duration::ZERO)
    }
}

impl<'a> Summed<'a> {
    /// `None` when no machine did what is looked at.
    fn of(run: &'a WorkloadRun, operation: &str) -> Result<Option<Self>, ReadError> {
        let (machines, mut under_way) = (run.measured()?, UnderWay::default());
        machines.iter().for_each(|machine| under_way.add(machine));
        let load = Load::of(&machines, operation);
        let Some(whole) = together(machines) else { return Ok(None) };
        let (latencies, throughput) =
            (whole.latencies(operation), whole.per_second(operation).unwrap_or_default());
        let something = latencies.count() > 0;
        Ok(something.then_some(Self {
            latencies,
            throughput,
            under_way,
            load,
            walls: &run.walls,
            is_whole: run.failed_machines() == 0,
        }))
    }
}

impl UnderWay {
    fn add(&mut self, machine: &Run) {
        let whole = machine.operations.contains_key(WHOLE);
        let counted = machine.operations.iter().filter(|(name, _)| !whole || name.as_str() == WHOLE);
        let elapsed = machine.elapsed.as_secs_f64();
        for all in counted.map(|(_, operation)| operation.latencies.all()) {
            let per_second = all.count() as f64 / elapsed;
            self.per_second += per_second;
            self.computed += per_second * all.mean().unwrap_or_default().as_secs_f64();
        }
        self.workers += f64::from(workers(machine));
    }
}

fn throughput(per_run: Vec<f64>, confidence: Confidence) -> Throughput {
    Throughput {
        median: Summary::of(&per_run).map_or(0.0, |summary| summary.median),
        interval: median_interval(&per_run, confidence),
        per_run,
    }
}
