//! Arms with the same number of machines beside each other, and what must be said with the verdict.
//!
//! **In an open loop p99 decides, in a closed one throughput.** An open loop does as many operations as are due, so only
//! their latency can differ. In a closed loop each operation waits for the one before, so a disk that hangs makes few
//! slow operations where others make many: its percentiles flatter it, and only stand beside.

use winstead_statistics::{
    Arm as Side, Bootstrap, Comparison, Interval, MINIMUM_RUNS, Percentile, Question, Ratio, Verdict,
};

use super::{
    ArmComparison, Arrivals, Cell, Decision, WallCount,
    cells::Group,
    counted, operations,
    walls::{spoken, was_the_wall},
};
use crate::{
    comparison::{FigureComparison, figure::Better},
    contention::Arm,
    wall::WallKind,
};

/// What is compared: a baseline and a candidate. RAM with the disk as it is, and with the cheap rival.
pub(super) const PAIRS: [(Arm, Arm); 2] = [(Arm::Disk, Arm::Ram), (Arm::DiskNoflush, Arm::Ram)];

/// The comparisons of a workload's arms, from few machines to many; each group has its cell.
pub(super) fn compared(
    groups: &[&Group<'_>],
    cells: &[Cell],
    arrivals: Arrivals,
    bootstrap: Bootstrap,
) -> Vec<ArmComparison> {
    let secondary = vec![Percentile::P50, Percentile::P95, Percentile::P999];
    let question = Question { primary: Percentile::P99, secondary, bootstrap };
    let mut agents: Vec<u32> = groups.iter().map(|group| group.agents).collect();
    agents.sort_unstable();
    agents.dedup();
    let pairs = agents.into_iter().flat_map(|agents| PAIRS.map(|pair| (agents, pair)));
    let compare = |(agents, (baseline, candidate)): (u32, (Arm, Arm))| {
        let place = |arm| groups.iter().position(|group| group.arm == arm && group.agents == agents);
        let places = [place(baseline)?, place(candidate)?];
        let pair =
            Pair { groups: places.map(|place| groups[place]), cells: places.map(|place| &cells[place]) };
        Some(pair.compared(arrivals, &question))
    };
    pairs.filter_map(compare).collect()
}

/// A baseline and a candidate with the same number of machines.
struct Pair<'a, 'b> {
    groups: [&'a Group<'b>; 2],
    cells: [&'a Cell; 2],
}

impl Pair<'_, '_> {
    fn compared(&self, arrivals: Arrivals, question: &Question) -> ArmComparison {
        let [baseline, candidate] = self.groups.map(|group| group.arm);
        let [before, after] = self.groups.map(Group::latencies);
        let side = |arm: Arm, runs| Side { name: arm.spoken(), runs };
        let comparison = question.compare(side(baseline, &before), side(candidate, &after));
        let throughput = match arrivals {
            Arrivals::Open { .. } => None,
            Arrivals::Closed { .. } => self.throughput(),
        };
        let (decision, deciding) = match arrivals {
            Arrivals::Open { .. } => by_latency(&comparison),
            Arrivals::Closed { .. } => self.by_throughput(throughput.as_ref()),
        };
        let (credible, caution) = caution(self.cells, decision == Decision::Better).unzip();
        ArmComparison {
            agents: self.groups[0].agents,
            baseline,
            candidate,
            failed_operations: operations::compared((baseline, &before), (candidate, &after)),
            comparison,
            throughput,
            decision,
            deciding,
            credible: credible.unwrap_or(true),
            caution,
        }
    }

    fn throughput(&self) -> Option<FigureComparison> {
        let [before, after] = self.groups.map(Group::throughputs);
        let [baseline, candidate] = self.groups.map(|group| group.arm.spoken());
        FigureComparison::of("operations a second", (baseline, &before), (candidate, &after), Better::More)
    }

    fn by_throughput(&self, compared: Option<&FigureComparison>) -> (Decision, String) {
        let [baseline, candidate] = self.groups.map(|group| group.arm.spoken());
        let fewest = self.cells.iter().map(|cell| cell.runs).min().unwrap_or_default();
        let ratio = compared.and_then(|found| found.ratio).filter(|_| fewest >= MINIMUM_RUNS);
        let Some(ratio) = ratio else {
            let why = match fewest < MINIMUM_RUNS {
                true => format!("too few runs ({fewest}, at least {MINIMUM_RUNS} are needed)"),
                false => "in a run no operation succeeded".to_owned(),
            };
            let said = format!("{candidate} and {baseline} cannot be compared by throughput: {why}");
            return (Decision::NotComparable, said);
        };
        let shown = format!("{}× as much ({})", Ratio(ratio).estimate(), Ratio(ratio).ends());
        match ratio {
            Interval { low, .. } if low > 1.0 => (Decision::Better, format!("{candidate} does {shown}")),
            Interval { high, .. } if high < 1.0 => {
                (Decision::Worse, format!("{candidate} does less, {shown}"))
            }
            _ => (
                Decision::NoDifferenceShown { ratio },
                format!("no difference shown in throughput ({})", Ratio(ratio).ends()),
            ),
        }
    }
}

fn by_latency(comparison: &Comparison) -> (Decision, String) {
    let deciding = comparison.to_string().lines().next().unwrap_or_default().to_owned();
    let decision = match comparison.primary.verdict {
        Verdict::Faster { .. } => Decision::Better,
        Verdict::Slower { .. } => Decision::Worse,
        Verdict::NoDifferenceShown { ratio } => Decision::NoDifferenceShown { ratio },
        Verdict::NotComparable { .. } => Decision::NotComparable,
    };
    (decision, deciding)
}

/// What must be said when something beside the disk was the wall in most runs of an arm, and whether a difference may
/// still be put down to the disk.
///
/// It may in one case: the candidate is better, and the baseline met a wall of the disk and no other. Then the candidate
/// has left the disk's wall behind and stands before the next one. A limit that was played is counted for the machines
/// alone, so it was really reached, whatever else was full.
fn caution([baseline, candidate]: [&Cell; 2], is_better: bool) -> Option<(bool, String)> {
    let first = baseline.walls.first().filter(|wall| wall.is_in_most_runs());
    let limited = first.is_some_and(|wall| wall.kind == WallKind::SimulatedLimit);
    let of_candidate: Vec<&WallCount> = beside_the_disk(candidate).collect();
    let of_baseline: Vec<&WallCount> = beside_the_disk(baseline)
        .filter(|wall| !limited && (!of_candidate.is_empty() || first == Some(*wall)))
        .collect();
    let strongest = of_candidate.first().or(of_baseline.first())?;
    let left_behind = baseline.walls.iter().find(|wall| wall.is_in_most_runs() && is_the_disks(wall.kind));
    let left_behind = left_behind.filter(|_| is_better && of_baseline.is_empty());
    let conclusion = match left_behind {
        Some(wall) => format!(
            "there {} was no longer the wall, and without this one {} may be faster still",
            spoken(wall.kind),
            candidate.arm.spoken()
        ),
        None => "this says little about the disk".to_owned(),
    };
    let sides = [(candidate.arm, &of_candidate), (baseline.arm, &of_baseline)];
    let alike = sides.iter().filter_map(|(arm, walls)| {
        let wall = walls.iter().find(|wall| wall.kind == strongest.kind)?;
        Some(format!("{} of {} runs with {}", wall.runs, wall.of, arm.spoken()))
    });
    let text = format!(
        "with {} {} in {} ({}): {conclusion}",
        counted(candidate.agents, "machine"),
        was_the_wall(strongest.kind),
        alike.collect::<Vec<_>>().join(" and "),
        strongest.evidence
    );
    Some((left_behind.is_some(), text))
}

/// Walls in most runs that say nothing of a disk.
fn beside_the_disk(cell: &Cell) -> impl Iterator<Item = &WallCount> {
    cell.walls.iter().filter(|wall| wall.is_in_most_runs() && !is_the_disks(wall.kind))
}

const fn is_the_disks(kind: WallKind) -> bool {
    match kind {
        WallKind::Disk | WallKind::Flush | WallKind::SimulatedLimit => true,
        WallKind::Cpu | WallKind::Memory => false,
    }
}
