//! Arms with the same number of machines beside each other, and what must be said with the verdict.

use winstead_statistics::{Arm as Side, Bootstrap, Comparison, Percentile, Question, Verdict};

use super::{ArmComparison, Cell, WallCount, cells::Group, counted};
use crate::{contention::Arm, wall::WallKind};

/// What is compared: a baseline and a candidate. RAM with the disk as it is, and with the cheap rival.
pub(super) const PAIRS: [(Arm, Arm); 2] = [(Arm::Disk, Arm::Ram), (Arm::DiskNoflush, Arm::Ram)];

/// Walls that say nothing of a disk, and what sentences call them.
const BESIDE_THE_DISK: [(WallKind, &str); 2] = [(WallKind::Cpu, "the CPU"), (WallKind::Memory, "memory")];

/// The comparisons of a workload's arms, from few machines to many; each group has its cell.
pub(super) fn compared(groups: &[Group<'_>], cells: &[Cell], bootstrap: Bootstrap) -> Vec<ArmComparison> {
    let secondary = vec![Percentile::P50, Percentile::P95, Percentile::P999];
    let question = Question { primary: Percentile::P99, secondary, bootstrap };
    let mut agents: Vec<u32> = groups.iter().map(|group| group.agents).collect();
    agents.sort_unstable();
    agents.dedup();
    let pairs = agents.into_iter().flat_map(|agents| PAIRS.map(|pair| (agents, pair)));
    let compare = |(agents, (baseline, candidate)): (u32, (Arm, Arm))| {
        let place = |arm| groups.iter().position(|group| group.arm == arm && group.agents == agents);
        let places = [place(baseline)?, place(candidate)?];
        let [before, after] = places.map(|place| groups[place].latencies());
        let side = |arm: Arm, runs| Side { name: arm.spoken(), runs };
        let comparison = question.compare(side(baseline, &before), side(candidate, &after));
        let (credible, caution) = caution(places.map(|place| &cells[place]), &comparison).unzip();
        Some(ArmComparison {
            agents,
            baseline,
            candidate,
            comparison,
            credible: credible.unwrap_or(true),
            caution,
        })
    };
    pairs.filter_map(compare).collect()
}

/// What must be said when something beside the disk was the wall in most runs of an arm, and whether a difference may
/// still be put down to the disk.
///
/// It may in one case: the candidate is faster, and the baseline met another wall before this one. Then the candidate has
/// left the disk's wall behind and stands before the next one.
fn caution(cells: [&Cell; 2], comparison: &Comparison) -> Option<(bool, String)> {
    let [baseline, candidate] = cells;
    BESIDE_THE_DISK.iter().find_map(|(kind, name)| {
        let hits: Vec<(Arm, &WallCount)> = [candidate, baseline]
            .into_iter()
            .filter_map(|cell| Some((cell.arm, hit(cell, *kind)?)))
            .filter(|(arm, wall)| *arm == candidate.arm || baseline.walls.first() == Some(*wall))
            .collect();
        let (first, wall) = hits.first()?;
        let faster = matches!(comparison.primary.verdict, Verdict::Faster { .. });
        let behind = hits.len() == 1 && *first == candidate.arm && baseline.walls.iter().any(is_in_most_runs);
        let credible = faster && behind;
        let runs =
            hits.iter().map(|(arm, wall)| format!("{} of {} runs with {}", wall.runs, wall.of, arm.spoken()));
        let conclusion = match credible {
            true => format!(
                "there the disk was no longer the wall, and without this one {} may be faster still",
                first.spoken()
            ),
            false => "this says little about the disk".to_owned(),
        };
        let text = format!(
            "with {} {name} was the wall in {} ({}): {conclusion}",
            counted(candidate.agents, "machine"),
            runs.collect::<Vec<_>>().join(" and "),
            wall.evidence
        );
        Some((credible, text))
    })
}

fn hit(cell: &Cell, kind: WallKind) -> Option<&WallCount> {
    cell.walls.iter().find(|wall| wall.kind == kind && is_in_most_runs(wall))
}

fn is_in_most_runs(wall: &WallCount) -> bool {
    2 * wall.runs > wall.of
}
