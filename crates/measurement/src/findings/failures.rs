//! How many machines gave no result, arm by arm.

use winstead_statistics::{Confidence, FailureComparison, Proportion};

use super::{FailureFinding, arms::PAIRS};
use crate::contention::{Arm, Contention, ContentionRun};

/// The failures of each pair of arms. Empty when nothing was measured in both.
pub(super) fn failures(document: &Contention) -> Vec<FailureFinding> {
    let compare = |(baseline, candidate)| {
        let (before, after) = (counts(document, baseline)?, counts(document, candidate)?);
        let [before, after] =
            [(baseline, before), (candidate, after)].map(|(arm, counts)| (arm.spoken(), counts));
        let comparison = FailureComparison::of("machines", before, after, Confidence::P95);
        let sentences = comparison.to_string().lines().map(ToOwned::to_owned).collect();
        Some(FailureFinding { baseline, candidate, comparison, sentences })
    };
    PAIRS.into_iter().filter_map(compare).collect()
}

/// Machines of an arm that failed, of all. `None` when it has none.
fn counts(document: &Contention, arm: Arm) -> Option<Proportion> {
    let runs: Vec<&ContentionRun> = document.runs.iter().filter(|run| run.arm == arm).collect();
    let machines = runs.iter().map(|run| u64::from(run.agents)).sum();
    Proportion::new(runs.iter().map(|run| failed(run)).sum(), machines).ok()
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
