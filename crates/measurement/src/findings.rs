//! What an experiment says: everything that a report shows, computed from its document and a seed alone.
//!
//! Numbers and sentences together, so that a terminal, a page and a table say the same. How anything is drawn is not
//! decided here.
//!
//! Latencies are in nanoseconds, throughputs in operations a second.

mod arms;
mod cells;
mod failures;
mod headline;
mod notes;
mod recommendation;

use std::time::Duration;

use serde::Serialize;
use winstead_statistics::{
    Bootstrap, Comparison, FailureComparison, Histogram, Interval, Knee, LittlesLaw, Percentile, Scalability,
    Seed,
};

use crate::{
    contention::{Arm, Contention, DiskLimit},
    run::ReadError,
    wall::WallKind,
};
use cells::{Group, Shape};

pub use crate::quantile::Quantile;

/// What an experiment says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// The verdict first, for a colleague who doubts it; then what else he must know.
    pub headline: Vec<String>,
    /// Set when a slower disk was played: every output must show it.
    pub simulated: Option<String>,
    /// In the design's order; those of which nothing was measured are left out, and a note says so.
    pub workloads: Vec<WorkloadFindings>,
    /// Of all machines of an arm, compared with those in RAM.
    pub failures: Vec<FailureFinding>,
    /// How many machines this host carries.
    pub recommendations: Vec<Recommendation>,
    /// What a reader should know before believing the numbers.
    pub notes: Vec<String>,
}

/// What one workload says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadFindings {
    /// As the design calls it.
    pub name: String,
    /// The kind of operation that its latencies are of: `durable-write`.
    pub operation: String,
    /// How operations follow each other.
    pub arrivals: Arrivals,
    /// Arm by arm, in the design's order, each from few machines to many. Without those in which nothing was measured.
    pub cells: Vec<Cell>,
    /// From few machines to many. p99 decides.
    pub comparisons: Vec<ArmComparison>,
    /// How throughput grows with the number of machines, arm by arm.
    pub scalability: Vec<ArmScalability>,
}

/// How operations follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "loop")]
pub enum Arrivals {
    /// Each machine's operations are due at times that do not depend on the disk.
    #[serde(rename_all = "camelCase")]
    Open {
        /// How many of each machine are due in a second.
        per_second: f64,
    },
    /// Each worker waits for its operation before it begins the next.
    Closed {
        /// How many operations of each machine are under way at once.
        workers: u32,
    },
}

/// One arm with one number of machines, all its runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// Which arm.
    pub arm: Arm,
    /// How many machines at once.
    pub agents: u32,
    /// How many runs measured something.
    pub runs: usize,
    /// `p50`, `p95`, `p99`, `p99.9` and `max`.
    pub percentiles: Vec<Quantile>,
    /// All operations of all machines of all runs, failed ones included, for plots.
    pub histogram: Histogram,
    /// What all machines of a run together did.
    pub throughput: Throughput,
    /// Whether latency and throughput agree. `None` for an open loop, where nobody knows how many are under way.
    pub littles_law: Option<LittlesLaw>,
    /// What held the machines back, that of most runs first. Empty: nothing did.
    pub walls: Vec<WallCount>,
    /// How many machines were to measure, over all runs.
    pub machines: u64,
    /// How many of them gave no result.
    pub failed_machines: u64,
    /// How many operations there were, over all runs, failed ones included.
    pub operations: u64,
    /// How many of them failed.
    pub failed_operations: u64,
}

/// What all machines of a run together did: operations that succeeded, a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// One number for each run.
    pub per_run: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// How sure it is: from six runs on.
    pub interval: Option<Interval>,
}

/// A wall, and how often it was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WallCount {
    /// Which.
    pub kind: WallKind,
    /// In how many runs.
    pub runs: usize,
    /// Of how many.
    pub of: usize,
    /// What the first of them said: `1.98 of 2 cores were busy`.
    pub evidence: String,
}

/// Two arms with the same number of machines.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmComparison {
    /// How many machines at once.
    pub agents: u32,
    /// What the candidate is compared with.
    pub baseline: Arm,
    /// What is judged.
    pub candidate: Arm,
    /// p99 decides; p50, p95 and p99.9 stand beside it.
    pub comparison: Comparison,
    /// Whether a difference, or its absence, may be put down to the disk: not where the CPU or memory was the wall.
    pub credible: bool,
    /// What must be said where the CPU or memory was the wall in most runs of an arm.
    pub caution: Option<String>,
}

/// How an arm's throughput grows with the number of machines.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmScalability {
    /// Which arm.
    pub arm: Arm,
    /// The law, where it can be told.
    pub law: Option<Scalability>,
    /// Why it cannot.
    pub why_not: Option<String>,
}

/// How often machines of two arms gave no result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureFinding {
    /// What the other is compared with.
    pub baseline: Arm,
    /// What is judged.
    pub candidate: Arm,
    /// Counts, shares, the difference. A machine of a run is one job, whatever number of its workloads failed.
    pub comparison: FailureComparison,
    /// The same in words, the verdict first.
    pub sentences: Vec<String>,
}

/// How many machines this host carries with one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// Which workload.
    pub workload: String,
    /// What was to hold. `None` when nobody named a goal.
    pub goal: Option<Goal>,
    /// Arm by arm.
    pub arms: Vec<ArmRecommendation>,
    /// The same in words, the recommendation first.
    pub sentences: Vec<String>,
}

/// A latency that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// Which percentile.
    pub percentile: Percentile,
    /// How long it may be.
    pub within: Duration,
}

/// How many machines an arm carries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmRecommendation {
    /// Which arm.
    pub arm: Arm,
    /// Up to how many machines the goal is met. `None` without a goal or an interval.
    pub knee: Option<Knee>,
    /// Where throughput is highest, when that was measured.
    pub peak_machines: Option<Interval>,
    /// How many operations are under way with the number of machines next to that peak: N = X · R.
    pub in_flight: Option<f64>,
}

impl Findings {
    /// What an experiment says. The same document, goal and seed always say the same.
    ///
    /// Takes seconds: percentiles are resampled ten thousand times.
    ///
    /// # Errors
    /// When a machine's result cannot be read.
    pub fn of(document: &Contention, goal: Option<Goal>, seed: Seed) -> Result<Self, ReadError> {
        Self::resampled(document, goal, Bootstrap::with_seed(seed))
    }

    fn resampled(document: &Contention, goal: Option<Goal>, bootstrap: Bootstrap) -> Result<Self, ReadError> {
        let (mut workloads, mut recommendations) = (Vec::new(), Vec::new());
        for workload in &document.design.workloads {
            let Some(shape) = Shape::of(document, &workload.name)? else { continue };
            let groups = groups(document, &workload.name, &shape)?;
            let found = WorkloadFindings::of(document, &workload.name, (&shape, &groups), bootstrap);
            let laws = &found.scalability;
            recommendations.extend(recommendation::recommendation(
                &workload.name,
                &groups,
                laws,
                goal,
                bootstrap,
            ));
            workloads.push(found);
        }
        let failures = failures::failures(document);
        let simulated = document.design.disk_limit.map(simulated);
        Ok(Self {
            headline: headline::headline(&workloads, &failures, simulated.as_deref()),
            notes: notes::notes(document, &workloads, bootstrap),
            simulated,
            workloads,
            failures,
            recommendations,
        })
    }
}

impl WorkloadFindings {
    fn of(
        document: &Contention,
        name: &str,
        (shape, groups): (&Shape, &[Group<'_>]),
        bootstrap: Bootstrap,
    ) -> Self {
        let cells: Vec<Cell> = groups.iter().map(|group| group.cell(shape, bootstrap)).collect();
        Self {
            name: name.to_owned(),
            operation: shape.operation.clone(),
            arrivals: shape.arrivals,
            comparisons: arms::compared(groups, &cells, bootstrap),
            scalability: recommendation::scalabilities(groups, shape, &document.design.arms, bootstrap),
            cells,
        }
    }
}

/// What was measured of a workload: arm by arm, from few machines to many.
fn groups<'a>(
    document: &'a Contention,
    workload: &'a str,
    shape: &Shape,
) -> Result<Vec<Group<'a>>, ReadError> {
    let mut agents = document.design.agents.clone();
    agents.sort_unstable();
    agents.dedup();
    let mut groups = Vec::new();
    for arm in &document.design.arms {
        for agents in &agents {
            groups.push(Group::read(document, (workload, shape), (*arm, *agents))?);
        }
    }
    groups.retain(|group| !group.is_empty());
    Ok(groups)
}

/// `SIMULATED: the disk was held to 500 operations and 52.4 MB a second`.
fn simulated(limit: DiskLimit) -> String {
    let operations = limit.iops.map(|iops| format!("{iops} operations"));
    let bytes = limit.bytes_per_second.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    let rates: Vec<String> = operations.into_iter().chain(bytes).collect();
    format!("SIMULATED: the disk was held to {} a second", rates.join(" and "))
}

/// `1 machine`, `8 machines`.
fn counted(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
#[path = "findings/tests.rs"]
mod tests;
