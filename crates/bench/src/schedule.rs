//! In which order an experiment is measured.

use winstead_measurement::contention::{Arm, Design};

/// One arm with one number of machines, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Which arm.
    pub arm: Arm,
    /// How many machines at once.
    pub agents: u32,
    /// The how-manieth time, from 1.
    pub repeat: u32,
}

/// All cells of a design, in their order.
///
/// Whatever drifts while an experiment runs (heat, a disk that fills, a neighbour) must not become a difference between
/// arms: each repeat measures all arms with the same number of machines one after another, and each second repeat goes
/// through everything backwards (A B C, C B A, …).
#[must_use]
pub fn schedule(design: &Design) -> Vec<Cell> {
    let repeat = |repeat: u32| {
        let mut cells: Vec<Cell> = Vec::new();
        for agents in &design.agents {
            cells.extend(design.arms.iter().map(|arm| Cell { arm: *arm, agents: *agents, repeat }));
        }
        if repeat.is_multiple_of(2) {
            cells.reverse();
        }
        cells
    };
    (1..=design.repeats).flat_map(repeat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::design;

    #[test]
    fn arms_take_turns_and_every_second_repeat_goes_backwards() {
        let order: Vec<(&str, u32)> =
            schedule(&design(&[1, 4], 2)).iter().map(|cell| (cell.arm.name(), cell.agents)).collect();
        let there =
            [("ram", 1), ("disk", 1), ("disk-noflush", 1), ("ram", 4), ("disk", 4), ("disk-noflush", 4)];
        let back: Vec<_> = there.into_iter().rev().collect();
        assert_eq!((&order[..6], &order[6..]), (&there[..], &back[..]));
    }

    /// With an even number of repeats each arm is measured as early as any other, on average.
    #[test]
    fn a_drift_does_not_favour_an_arm() {
        let cells = schedule(&design(&[2], 4));
        let place = |arm: Arm| -> usize {
            cells.iter().enumerate().filter(|(_, cell)| cell.arm == arm).map(|(place, _)| place).sum()
        };
        assert_eq!((place(Arm::Ram), place(Arm::Disk)), (place(Arm::DiskNoflush), place(Arm::DiskNoflush)));
    }

    #[test]
    fn every_cell_comes_as_often_as_planned() {
        let cells = schedule(&design(&[1, 2, 4, 8], 5));
        assert_eq!(cells.len(), 60);
        let same = |cell: &&Cell| cell.arm == Arm::Disk && cell.agents == 8;
        assert_eq!(cells.iter().filter(same).count(), 5);
    }
}
