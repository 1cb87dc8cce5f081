//! Operations that failed in two arms: said wherever there was one, and judged run by run.

use winstead_statistics::{Confidence, FailureVerdict, Latencies, Probability, mann_whitney};

use super::OperationFailures;
use crate::contention::Arm;

/// What failed in a baseline and in a candidate, each an arm and its runs. `None` when nothing did.
pub(super) fn compared(
    baseline: (Arm, &[Latencies]),
    candidate: (Arm, &[Latencies]),
) -> Option<OperationFailures> {
    let [failed, of] = [Latencies::failures, Latencies::count]
        .map(|count| [baseline, candidate].map(|(_, runs)| runs.iter().map(count).sum::<u64>()));
    if failed == [0, 0] {
        return None;
    }
    let [before, after] = [baseline, candidate].map(|(_, runs)| runs.iter().map(share).collect::<Vec<_>>());
    let test = mann_whitney(&before, &after).ok();
    let verdict = match test {
        Some(test) if test.p <= Confidence::P95.alpha() && test.superiority > 0.5 => {
            FailureVerdict::MoreOften
        }
        Some(test) if test.p <= Confidence::P95.alpha() => FailureVerdict::LessOften,
        _ => FailureVerdict::NoDifferenceShown,
    };
    let name = candidate.0.spoken();
    let verdict_said = match verdict {
        FailureVerdict::MoreOften => format!("operations with {name} fail more often"),
        FailureVerdict::LessOften => format!("operations with {name} fail less often"),
        FailureVerdict::NoDifferenceShown => "no difference in failed operations shown".to_owned(),
    };
    let counted = |index: usize, (arm, _): (Arm, &[Latencies])| {
        let share = 100.0 * failed[index] as f64 / of[index].max(1) as f64;
        format!("{} of {} failed with {} ({share:.2} %)", failed[index], of[index], arm.spoken())
    };
    let p = test.map(|test| {
        format!("; by ranks of {} and {} runs: {}", after.len(), before.len(), Probability(test.p))
    });
    let sentence = format!(
        "{verdict_said}: {}, {}{}",
        counted(1, candidate),
        counted(0, baseline),
        p.unwrap_or_default()
    );
    Some(OperationFailures { verdict, p: test.map(|test| test.p), sentence })
}

fn share(run: &Latencies) -> f64 {
    run.failures() as f64 / run.count().max(1) as f64
}
