//! The first lines: what a colleague who doubts it should read, least flattering first.
//!
//! **RAM is not credited for what it did not do**: not where it fails more often, not where the CPU was the wall, not where
//! nothing is shown, and never without naming the cheap rival that does as well. The largest number of machines measured
//! leads. Where a rate was not reached, that stands before all: latencies mean nothing then.

use winstead_statistics::{FailureVerdict, Interval};

use super::{ArmComparison, Cell, Decision, FailureFinding, LostCell, WorkloadFindings, counted};
use crate::contention::Arm;

/// Up to this ratio, and down to its inverse, two arms are said to do as well; beyond, nobody knows.
const AS_WELL: f64 = 1.25;

/// What a workload says of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fails,
    Worse,
    DoesNotHelp,
    SaysNothing,
    Helps,
}

/// What a workload says of RAM with the largest number of machines, and why.
struct Said<'a> {
    workload: &'a str,
    outcome: Outcome,
    /// Whether ignoring flushes on the disk is shown to do as well as RAM, or better.
    rival_as_well: bool,
    sentence: String,
}

/// The first lines. `simulated` is repeated in each line that says something of the disk.
pub(super) fn headline(
    workloads: &[WorkloadFindings],
    failures: &[FailureFinding],
    simulated: Option<&str>,
) -> Vec<String> {
    // Failures come with the verdict, and before it where RAM fails: who only compares those that lived is misled.
    let (worse, others): (Vec<_>, Vec<_>) =
        failures.iter().filter(|found| found.is_any()).partition(|found| found.is_worse());
    let said: Vec<Said<'_>> =
        workloads.iter().filter_map(|workload| said(workload, !worse.is_empty())).collect();
    let first = |found: &FailureFinding| found.sentences.first().cloned();
    let mut lines: Vec<String> = workloads.iter().flat_map(not_carried).collect();
    lines.extend(worse.into_iter().filter_map(first));
    lines.extend(differing(&said));
    lines.extend(said.iter().map(|said| format!("{}: {}", said.workload, said.sentence)));
    if said.is_empty() {
        lines.push(
            "nothing is compared: no two arms were measured with the same number of machines".to_owned(),
        );
    }
    lines.extend(others.into_iter().filter_map(first));
    lines.extend(workloads.iter().flat_map(failed_operations));
    let simulated = simulated.map(|simulated| format!("; {simulated}")).unwrap_or_default();
    lines.iter().map(|line| format!("{line}{simulated}")).collect()
}

/// The largest number of machines with which arms can be put beside each other.
fn most(workload: &WorkloadFindings) -> Option<u32> {
    workload.comparisons.iter().map(|compared| compared.agents).max()
}

/// Arms that did not do what was asked of them, with the number of machines that leads.
fn not_carried(workload: &WorkloadFindings) -> Vec<String> {
    let most = most(workload);
    let said = |cell: &Cell| {
        let (machines, arm) = (counted(cell.agents, "machine"), cell.arm.spoken());
        let each = if cell.agents == 1 { "" } else { "each of " };
        Some(format!("{}, {each}{machines} with {arm}: {}", workload.name, cell.shortfall?))
    };
    workload.cells.iter().filter(|cell| Some(cell.agents) == most).filter_map(said).collect()
}

/// One line for all workloads, when they do not say the same.
fn differing(said: &[Said<'_>]) -> Option<String> {
    let with = |outcome: Outcome| said.iter().filter(move |said| said.outcome == outcome);
    let names = |all: &mut dyn Iterator<Item = &Said<'_>>| {
        all.map(|said| said.workload).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        (Outcome::Fails, "RAM fails more often with"),
        (Outcome::Worse, "RAM does worse with"),
        (Outcome::DoesNotHelp, "RAM does not help with"),
        (Outcome::SaysNothing, "it is not shown that RAM helps with"),
        (Outcome::Helps, "RAM helps with"),
    ];
    let mut parts: Vec<String> = parts
        .into_iter()
        .filter(|(outcome, _)| with(*outcome).next().is_some())
        .map(|(outcome, says)| format!("{says} {}", names(&mut with(outcome))))
        .collect();
    if parts.len() < 2 {
        return None;
    }
    let helped = || with(Outcome::Helps);
    if helped().any(|said| said.rival_as_well) {
        // It is part of the last clause: where RAM helps.
        let rival = match helped().all(|said| said.rival_as_well) {
            true => ", and so does ignoring flushes".to_owned(),
            false => {
                let as_well = names(&mut helped().filter(|said| said.rival_as_well));
                format!(", and with {as_well} so does ignoring flushes")
            }
        };
        parts.iter_mut().last().into_iter().for_each(|last| *last += &rival);
    }
    Some(parts.join("; "))
}

/// `None` when no two arms can be put beside each other.
fn said(workload: &WorkloadFindings, fails: bool) -> Option<Said<'_>> {
    let most = most(workload)?;
    let with_most = || workload.comparisons.iter().filter(|compared| compared.agents == most);
    let leading = with_most().next()?;
    let rival = with_most()
        .find(|compared| compared.baseline == Arm::DiskNoflush && compared.baseline != leading.baseline);
    let lost: Vec<&LostCell> = workload.lost.iter().filter(|lost| lost.agents >= most).collect();
    let failing = Failing { runs: fails, lost: lost.iter().any(|lost| lost.arm == leading.candidate) };
    let (outcome, sentence) = verdict(leading, rival, failing);
    let rival_as_well = rival.is_some_and(|rival| rival.credible && does_as_well(rival));
    let lost: String = lost.into_iter().map(all_died).collect();
    Some(Said { workload: &workload.name, outcome, rival_as_well, sentence: sentence + &lost })
}

/// `; with 8 machines nothing is left of the disk: all 40 machines died`.
fn all_died(lost: &LostCell) -> String {
    let (machines, arm) = (counted(lost.agents, "machine"), lost.arm.spoken());
    format!("; with {machines} nothing is left of {arm}: all {} machines died", lost.machines)
}

/// What failed of the candidate beside operations.
#[derive(Clone, Copy)]
struct Failing {
    /// More runs than of another arm.
    runs: bool,
    /// All machines, with this number or a larger one.
    lost: bool,
}

fn verdict(leading: &ArmComparison, rival: Option<&ArmComparison>, failing: Failing) -> (Outcome, String) {
    let machines = counted(leading.agents, "machine");
    let deciding = &leading.deciding;
    let operations = [Some(leading), rival].into_iter().flatten().find_map(failed_more_often);
    if let Some(operations) = operations {
        return (
            Outcome::Fails,
            format!("RAM fails more often with {machines}: {operations} (measured: {deciding})"),
        );
    }
    if failing.runs || failing.lost {
        let sentence = format!(
            "it is not shown that RAM helps with {machines}: its machines die (measured: {deciding})"
        );
        return (Outcome::Fails, sentence);
    }
    if !leading.credible {
        let caution = leading.caution.as_deref().unwrap_or_default();
        let sentence = format!("it is not shown that RAM helps: {caution} (measured: {deciding})");
        return (Outcome::SaysNothing, sentence);
    }
    by_decision(leading, rival, &machines)
}

fn by_decision(leading: &ArmComparison, rival: Option<&ArmComparison>, machines: &str) -> (Outcome, String) {
    let (deciding, than) = (&leading.deciding, than(leading));
    let caution = leading.caution.iter().map(|caution| format!("; {caution}")).collect::<String>();
    match leading.decision {
        Decision::Better => {
            let rival = rival.map(beside).unwrap_or_default();
            (Outcome::Helps, format!("with {machines} {deciding} {than}{rival}{caution}"))
        }
        Decision::Worse => (Outcome::Worse, format!("with {machines} {deciding} {than}{caution}")),
        Decision::NoDifferenceShown { ratio } if is_close(ratio) => {
            (Outcome::DoesNotHelp, format!("RAM does not help with {machines}: {deciding}"))
        }
        Decision::NoDifferenceShown { .. } => {
            (Outcome::SaysNothing, format!("it is not shown that RAM helps with {machines}: {deciding}"))
        }
        Decision::NotComparable => {
            (Outcome::SaysNothing, format!("nothing is shown with {machines}: {deciding}"))
        }
    }
}

/// `than the disk`; of throughput `as the disk`.
fn than(compared: &ArmComparison) -> String {
    format!("{} {}", conjunction(compared), compared.baseline.spoken())
}

const fn conjunction(compared: &ArmComparison) -> &'static str {
    if compared.throughput.is_some() { "as" } else { "than" }
}

fn is_close(ratio: Interval) -> bool {
    ratio.low >= 1.0 / AS_WELL && ratio.high <= AS_WELL
}

fn does_as_well(rival: &ArmComparison) -> bool {
    match rival.decision {
        Decision::NoDifferenceShown { ratio } => is_close(ratio),
        Decision::Worse => true,
        Decision::Better | Decision::NotComparable => false,
    }
}

/// What the cheap rival does, beside a disk that RAM is faster than.
fn beside(rival: &ArmComparison) -> String {
    let deciding = &rival.deciding;
    if !rival.credible {
        let caution = rival.caution.as_deref().unwrap_or_default();
        return format!(
            "; nothing is shown of ignoring flushes on the disk: {caution} (measured: {deciding})"
        );
    }
    match rival.decision {
        Decision::NoDifferenceShown { ratio } if is_close(ratio) => {
            format!("; ignoring flushes on the disk does as well: {deciding}")
        }
        Decision::NoDifferenceShown { .. } => {
            format!("; ignoring flushes on the disk may do as well: {deciding}")
        }
        Decision::Worse => format!("; ignoring flushes on the disk does better: {deciding}"),
        Decision::Better => {
            let as_that = conjunction(rival);
            format!("; ignoring flushes on the disk does not do as well: {deciding} {as_that} that")
        }
        Decision::NotComparable => {
            format!("; nothing is shown of ignoring flushes on the disk: {deciding}")
        }
    }
}

fn failed_more_often(compared: &ArmComparison) -> Option<&str> {
    let failed = compared.failed_operations.as_ref()?;
    (failed.verdict == FailureVerdict::MoreOften).then_some(failed.sentence.as_str())
}

/// Operations that failed with the largest number of machines, where the verdict does not say so already.
fn failed_operations(workload: &WorkloadFindings) -> Vec<String> {
    let most = most(workload);
    let with_most = workload.comparisons.iter().filter(|compared| Some(compared.agents) == most);
    with_most
        .filter(|compared| failed_more_often(compared).is_none())
        .filter_map(|compared| Some((compared.agents, compared.failed_operations.as_ref()?)))
        .map(|(agents, failed)| {
            format!("{}, {}: {}", workload.name, counted(agents, "machine"), failed.sentence)
        })
        .collect()
}
