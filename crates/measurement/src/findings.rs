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
mod operations;
mod recommendation;
pub(crate) mod walls;

use std::time::Duration;

use serde::Serialize;
use winstead_statistics::{
    Bootstrap, Comparison, FailureComparison, FailureVerdict, Histogram, Interval, Knee, LittlesLaw,
    Percentile, Scalability, Seed,
};

use crate::{
    comparison::FigureComparison,
    contention::{Arm, Contention},
    run::ReadError,
    shortfall::Shortfall,
};
use cells::{Group, Shape};

pub use crate::quantile::Quantile;
pub use walls::WallCount;

/// What an experiment says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// The verdict first, for a colleague who doubts it; then what else he must know. Before it only where a rate that was
    /// asked for was not reached, as latencies mean nothing then.
    pub headline: Vec<String>,
    /// Set when a slower disk was played: every output must show it.
    pub simulated: Option<String>,
    /// In the design's order; those of which nothing was measured are left out, and a note says so.
    pub workloads: Vec<WorkloadFindings>,
    /// Of all runs of an arm, compared with those in RAM.
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
    /// What was measured and left nothing, since all machines died.
    pub lost: Vec<LostCell>,
    /// From few machines to many. p99 decides in an open loop, throughput in a closed one.
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
    /// Of an open loop, what each machine was asked for and did, where it was not done.
    pub shortfall: Option<Shortfall>,
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

/// One arm with one number of machines, of which all died in all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostCell {
    /// Which arm.
    pub arm: Arm,
    /// How many machines at once.
    pub agents: u32,
    /// How many machines there were, over all runs.
    pub machines: u64,
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
    /// p99 first; p50, p95 and p99.9 stand beside it. In a closed loop all of them only stand beside the throughput.
    pub comparison: Comparison,
    /// Of a closed loop: what all machines of a run together did.
    pub throughput: Option<FigureComparison>,
    /// What decides.
    pub decision: Decision,
    /// The same in words: `RAM is faster at p99 by 1.8× (1.5-2.2)`, `RAM does 1.8× as much (1.5-2.2)`.
    pub deciding: String,
    /// Where operations failed: whether they did so more often in one arm.
    pub failed_operations: Option<OperationFailures>,
    /// Whether a difference, or its absence, may be put down to the disk: not where the CPU or memory was the wall.
    pub credible: bool,
    /// What must be said where the CPU or memory was the wall in most runs of an arm.
    pub caution: Option<String>,
}

/// What decides between two arms, from the candidate's side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "decision")]
pub enum Decision {
    /// It takes less time, or does more.
    Better,
    /// It takes longer, or does less.
    Worse,
    /// The ratio may be 1.
    NoDifferenceShown {
        /// The candidate's figure divided by the baseline's.
        ratio: Interval,
    },
    /// Nothing can be said.
    NotComparable,
}

/// Operations that failed in two arms with the same number of machines.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationFailures {
    /// By the shares that failed in each run, compared by ranks: operations of a run share its disk.
    pub verdict: FailureVerdict,
    /// The probability of shares as unlike, or more, when the arms do not differ.
    pub p: Option<f64>,
    /// The same in words, with counts.
    pub sentence: String,
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

/// In how many runs of two arms a machine gave no result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureFinding {
    /// What the other is compared with.
    pub baseline: Arm,
    /// What is judged.
    pub candidate: Arm,
    /// Counts, shares, the difference. A run is one job, however many of its machines failed: they die together.
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmRecommendation {
    /// Which arm.
    pub arm: Arm,
    /// Up to how many machines the goal is met. `None` without a goal, and when nothing is known.
    pub knee: Option<Knee>,
    /// Of the smallest number of machines that fails the goal, or the largest that meets it: what must be said with it.
    pub because: Vec<String>,
    /// The smallest number of machines of which nothing is known, and why.
    pub unknown: Option<(u32, String)>,
    /// Where throughput is highest, when that was measured.
    pub peak_machines: Option<Interval>,
    /// The number of machines next to that peak that was measured.
    pub peak_measured: Option<u32>,
    /// How many operations are under way with so many: N = X · R.
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
        let simulated = document.design.disk_limit.map(|limit| limit.to_string());
        let asked = Asked { goal, bootstrap, simulated: simulated.as_deref() };
        let (mut workloads, mut recommendations) = (Vec::new(), Vec::new());
        for workload in &document.design.workloads {
            let Some(shape) = Shape::of(document, &workload.name)? else {
                recommendations.extend(recommendation::of_nothing(&workload.name, asked));
                continue;
            };
            let groups = groups(document, &workload.name, &shape)?;
            let found = WorkloadFindings::of(document, &workload.name, (&shape, &groups), bootstrap);
            let laws = &found.scalability;
            recommendations.extend(recommendation::recommendation(&workload.name, &groups, laws, asked));
            workloads.push(found);
        }
        let failures = failures::failures(document);
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

/// What recommendations are made with.
#[derive(Clone, Copy)]
struct Asked<'a> {
    goal: Option<Goal>,
    bootstrap: Bootstrap,
    /// What must stand in every sentence.
    simulated: Option<&'a str>,
}

impl Asked<'_> {
    /// A sentence as it must be said.
    fn said(&self, sentence: String) -> String {
        self.simulated.iter().fold(sentence, |sentence, simulated| format!("{sentence}; {simulated}"))
    }
}

impl WorkloadFindings {
    fn of(
        document: &Contention,
        name: &str,
        (shape, groups): (&Shape, &[Group<'_>]),
        bootstrap: Bootstrap,
    ) -> Self {
        let (left, lost): (Vec<&Group<'_>>, Vec<&Group<'_>>) =
            groups.iter().partition(|group| !group.is_empty());
        let cells: Vec<Cell> = left.iter().map(|group| group.cell(shape, bootstrap)).collect();
        Self {
            name: name.to_owned(),
            operation: shape.operation.clone(),
            arrivals: shape.arrivals,
            lost: lost.into_iter().map(Group::lost).collect(),
            comparisons: arms::compared(&left, &cells, shape.arrivals, bootstrap),
            scalability: recommendation::scalabilities(&left, shape, &document.design.arms, bootstrap),
            cells,
        }
    }
}

/// What was measured of a workload: arm by arm, from few machines to many; also where all machines died.
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
    groups.retain(|group| group.machines > 0);
    Ok(groups)
}

/// `1 machine`, `8 machines`.
#[must_use]
pub fn counted(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
#[path = "findings/tests.rs"]
mod tests;
