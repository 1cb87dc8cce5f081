//! What held machines back, over several runs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::wall::{Wall, WallKind};

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

impl WallCount {
    /// Whether it was hit in more than half of the runs.
    #[must_use]
    pub const fn is_in_most_runs(&self) -> bool {
        2 * self.runs > self.of
    }
}

/// What sentences call a wall.
pub(crate) const fn spoken(kind: WallKind) -> &'static str {
    match kind {
        WallKind::Cpu => "the CPU",
        WallKind::Memory => "memory",
        WallKind::Disk => "the disk",
        WallKind::Flush => "flushing",
        WallKind::SimulatedLimit => "the limit",
    }
}

/// `the CPU was the wall`.
pub(crate) fn was_the_wall(kind: WallKind) -> String {
    format!("{} was the wall", spoken(kind))
}

/// How often each wall was hit: that of most runs first, and of those the one that was the stronger.
pub(crate) fn count<'a>(runs: impl ExactSizeIterator<Item = &'a [Wall]>) -> Vec<WallCount> {
    let of = runs.len();
    // By kind: in how many runs, the sum of its ranks among a run's walls, what was said first.
    let mut found: BTreeMap<WallKind, (usize, usize, &str)> = BTreeMap::new();
    for (rank, wall) in runs.flat_map(|walls| walls.iter().enumerate()) {
        let (runs, ranks, _) = found.entry(wall.kind).or_insert((0, 0, &wall.evidence));
        *runs += 1;
        *ranks += rank;
    }
    let mut counts: Vec<_> = found.into_iter().collect();
    counts.sort_by_key(|(_, (runs, ranks, _))| (std::cmp::Reverse(*runs), *ranks));
    let wall = |(kind, (runs, _, evidence)): (WallKind, (usize, usize, &str))| WallCount {
        kind,
        runs,
        of,
        evidence: evidence.to_owned(),
    };
    counts.into_iter().map(wall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_are_counted_over_runs_the_most_frequent_first() {
        let wall = |kind, evidence: &str| Wall { kind, evidence: evidence.to_owned() };
        let runs = [
            vec![wall(WallKind::Disk, "a"), wall(WallKind::Cpu, "b")],
            vec![wall(WallKind::Disk, "c"), wall(WallKind::Cpu, "d"), wall(WallKind::Memory, "e")],
            vec![],
        ];
        let counts = count(runs.iter().map(Vec::as_slice));
        let shown: Vec<_> =
            counts.iter().map(|wall| (wall.kind, wall.runs, wall.of, wall.evidence.as_str())).collect();
        assert_eq!(
            shown,
            [(WallKind::Disk, 2, 3, "a"), (WallKind::Cpu, 2, 3, "b"), (WallKind::Memory, 1, 3, "e")]
        );
    }
}
