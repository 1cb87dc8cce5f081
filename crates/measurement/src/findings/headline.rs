//! The first lines: what a colleague who doubts it should read, least flattering first.
//!
//! **RAM is not credited for what it did not do**: not where the CPU was the wall, not where nothing is shown, and never
//! without naming the cheap rival that does as well. The largest number of machines measured leads.

use winstead_statistics::{Interval, Verdict};

use super::{ArmComparison, FailureFinding, WorkloadFindings, counted};
use crate::contention::Arm;

/// Up to this ratio, and down to its inverse, the rival is said to do as well; beyond, nobody knows.
const AS_WELL: f64 = 1.25;

/// What a workload says of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Helps,
    DoesNotHelp,
    SaysNothing,
}

/// What a workload says of RAM with the largest number of machines, and why.
struct Said<'a> {
    workload: &'a str,
    outcome: Outcome,
    sentence: String,
}

/// The first lines. `simulated` is repeated in each line that says something of the disk.
pub(super) fn headline(
    workloads: &[WorkloadFindings],
    failures: &[FailureFinding],
    simulated: Option<&str>,
) -> Vec<String> {
    let said: Vec<Said<'_>> = workloads.iter().filter_map(said).collect();
    let simulated = simulated.map(|simulated| format!("; {simulated}")).unwrap_or_default();
    let mut lines: Vec<String> = differing(&said).into_iter().collect();
    lines.extend(said.iter().map(|said| format!("{}: {}", said.workload, said.sentence)));
    if lines.is_empty() {
        lines.push(
            "nothing is compared: no two arms were measured with the same number of machines".to_owned(),
        );
    }
    // Failures come with the verdict: who only compares latencies of those that lived is misled.
    let failed = |finding: &&FailureFinding| finding.comparison.jobs_per_arm.is_some() || finding.differs();
    lines.extend(failures.iter().filter(failed).filter_map(|finding| finding.sentences.first().cloned()));
    lines.iter().map(|line| format!("{line}{simulated}")).collect()
}

impl FailureFinding {
    /// Whether a difference is shown.
    fn differs(&self) -> bool {
        self.comparison.verdict != winstead_statistics::FailureVerdict::NoDifferenceShown
    }
}

/// One line for all workloads, when they do not say the same.
fn differing(said: &[Said<'_>]) -> Option<String> {
    let with = |outcome: Outcome| -> Vec<&str> {
        said.iter().filter(|said| said.outcome == outcome).map(|said| said.workload).collect()
    };
    let parts = [
        (with(Outcome::DoesNotHelp), "RAM does not help with"),
        (with(Outcome::SaysNothing), "nothing is shown by"),
        (with(Outcome::Helps), "RAM helps with"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(workloads, _)| !workloads.is_empty())
        .map(|(workloads, says)| format!("{says} {}", workloads.join(", ")))
        .collect();
    (parts.len() > 1).then(|| parts.join("; "))
}

/// `None` when no two arms can be put beside each other.
fn said(workload: &WorkloadFindings) -> Option<Said<'_>> {
    let most = workload.comparisons.iter().map(|compared| compared.agents).max()?;
    let with_most = || workload.comparisons.iter().filter(|compared| compared.agents == most);
    let leading = with_most().next()?;
    let rival = with_most()
        .find(|compared| compared.baseline == Arm::DiskNoflush && compared.baseline != leading.baseline);
    let (outcome, sentence) = verdict(leading, rival);
    Some(Said { workload: &workload.name, outcome, sentence })
}

fn verdict(leading: &ArmComparison, rival: Option<&ArmComparison>) -> (Outcome, String) {
    let machines = counted(leading.agents, "machine");
    let deciding = first_line(leading);
    let caution = leading.caution.as_deref().unwrap_or_default();
    if !leading.credible {
        let sentence = format!("it is not shown that RAM helps: {caution} (measured: {deciding})");
        return (Outcome::SaysNothing, sentence);
    }
    match leading.comparison.primary.verdict {
        Verdict::Faster { .. } => {
            let than = leading.baseline.spoken();
            let rival = rival.map(beside).unwrap_or_default();
            let caution = leading.caution.iter().map(|caution| format!("; {caution}")).collect::<String>();
            (Outcome::Helps, format!("with {machines} {deciding} than {than}{rival}{caution}"))
        }
        Verdict::Slower { .. } | Verdict::NoDifferenceShown { .. } => {
            (Outcome::DoesNotHelp, format!("RAM does not help with {machines}: {deciding}"))
        }
        Verdict::NotComparable { .. } => {
            (Outcome::SaysNothing, format!("nothing is shown with {machines}: {deciding}"))
        }
    }
}

/// The sentence of what decides.
fn first_line(compared: &ArmComparison) -> String {
    compared.comparison.to_string().lines().next().unwrap_or_default().to_owned()
}

/// What the cheap rival does, beside a disk that RAM is faster than.
fn beside(rival: &ArmComparison) -> String {
    let deciding = first_line(rival);
    let close = |ratio: Interval| ratio.low >= 1.0 / AS_WELL && ratio.high <= AS_WELL;
    match rival.comparison.primary.verdict {
        Verdict::NoDifferenceShown { ratio } if close(ratio) => {
            format!("; ignoring flushes on the disk does as well: {deciding}")
        }
        Verdict::NoDifferenceShown { .. } => {
            format!("; ignoring flushes on the disk may do as well: {deciding}")
        }
        Verdict::Slower { .. } => format!("; ignoring flushes on the disk does better: {deciding}"),
        Verdict::Faster { .. } => {
            format!("; ignoring flushes on the disk does not do as well: {deciding} than that")
        }
        Verdict::NotComparable { .. } => {
            format!("; nothing is shown of ignoring flushes on the disk: {deciding}")
        }
    }
}
