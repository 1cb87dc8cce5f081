//! In how many runs a machine gave no result, arm by arm.
//!
//! **A run is the unit**: what kills one machine, a full disk or the host's memory, kills its neighbours, so eight dead
//! machines of one run are one failure. How many machines there were is only said beside it.

use winstead_statistics::{Confidence, FailureComparison, FailureVerdict, Proportion};

use super::{FailureFinding, arms::PAIRS};
use crate::contention::{Arm, Contention, ContentionRun};

/// The failures of each pair of arms. Empty when nothing was measured in both.
pub(super) fn failures(document: &Contention) -> Vec<FailureFinding> {
    let compare = |(baseline, candidate): (Arm, Arm)| {
        let [before, after] = [baseline, candidate].map(|arm| Counts::of(document, arm));
        let side = |arm: Arm, counts: Counts| {
            Some((arm.spoken(), Proportion::new(counts.runs.0, counts.runs.1).ok()?))
        };
        let (of_baseline, of_candidate) = (side(baseline, before)?, side(candidate, after)?);
        let comparison = FailureComparison::of("runs", of_baseline, of_candidate, Confidence::P95);
        let mut sentences: Vec<String> = comparison.to_string().lines().map(ToOwned::to_owned).collect();
        if before.machines.0 + after.machines.0 > 0 {
            sentences.push(format!(
                "a run fails when a machine in it gives no result: {}, {}",
                after.machines(candidate),
                before.machines(baseline)
            ));
        }
        Some(FailureFinding { baseline, candidate, comparison, sentences })
    };
    PAIRS.into_iter().filter_map(compare).collect()
}

impl FailureFinding {
    /// Whether anything failed.
    pub(super) const fn is_any(&self) -> bool {
        self.comparison.baseline.counts.failures() + self.comparison.candidate.counts.failures() > 0
    }

    /// Whether the candidate fails more often.
    pub(super) fn is_worse(&self) -> bool {
        self.comparison.verdict == FailureVerdict::MoreOften
    }
}

/// How many failed, of how many.
#[derive(Clone, Copy)]
struct Counts {
    runs: (u64, u64),
    machines: (u64, u64),
}

impl Counts {
    fn of(document: &Contention, arm: Arm) -> Self {
        let runs = || document.runs.iter().filter(|run| run.arm == arm);
        Self {
            runs: (runs().filter(|run| failed(run) > 0).count() as u64, runs().count() as u64),
            machines: (runs().map(failed).sum(), runs().map(|run| u64::from(run.agents)).sum()),
        }
    }

    /// `1 of 75 machines with the disk`.
    fn machines(&self, arm: Arm) -> String {
        format!("{} of {} machines with {}", self.machines.0, self.machines.1, arm.spoken())
    }
}

/// A machine that died in one workload has none for those after it: it is one failure, not several.
fn failed(run: &ContentionRun) -> u64 {
    let machines = run.workloads.iter().flat_map(|workload| &workload.machines);
    let mut failed: Vec<&str> = machines
        .filter(|machine| machine.failure.is_some())
        .map(|machine| machine.machine.as_str())
        .collect();
    failed.sort_unstable();
    failed.dedup();
    (failed.len() as u64).min(run.agents.into())
}
