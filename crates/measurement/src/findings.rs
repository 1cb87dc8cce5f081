//! What an experiment says: everything that a report shows, computed from its document and a seed alone.
//!
//! Numbers and sentences together, so that a terminal, a page and a table say the same. How anything is drawn is not
//! decided here.
//!
//! Latencies are in nanoseconds, throughputs in operations a second.

use std::time::Duration;

use serde::Serialize;
use winstead_statistics::{
    Comparison, FailureComparison, Histogram, Interval, Knee, LittlesLaw, Percentile, Scalability,
};

use crate::{contention::Arm, wall::WallKind};

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

/// A percentile of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// Which.
    pub percentile: Percentile,
    /// Of all runs merged, in nanoseconds.
    pub nanos: f64,
    /// How sure it is, over whole runs. `None` for the maximum, and for fewer than five runs.
    pub interval: Option<Interval>,
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
    /// Why the difference, or its absence, says little about the disk: the CPU was the wall in most runs of an arm.
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
