//! What an action consists of: lists of small values, run in order by [`crate::act`].
//!
//! Data, so that `winstead plan --steps` can print it and a test can pin it. Every step can run twice.

use std::fmt;

use crate::{Phase, plan::Action};

/// One step on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Journals the machine's new phase.
    Enter(Phase),
    /// Journals what the file says now: image, shape, network.
    Adopt,
    /// Journals that nothing on its disk is kept.
    GiveUpDisk,
    /// The machine's folder.
    MakeFolder,
    /// The shared RAM copy of its image.
    PlaceBase,
    /// Mount and overlay, if they are not there.
    MakeOverlay,
    /// A fresh overlay at the file's cap.
    RenewOverlay,
    /// Host name, keys, addresses, machine-id.
    WriteSeed,
    /// Tap and lease.
    JoinNetwork,
    /// QEMU, paused.
    StartQemu,
    /// Lets the guest run.
    Resume,
    /// Waits until the guest answers.
    AwaitReady,
    /// Sets the overlay's cap while the machine runs.
    SetCap,
    /// Ends QEMU and its TPM.
    StopQemu,
    /// Removes tap and lease.
    LeaveNetwork,
    /// Unmounts and deletes the overlay.
    RemoveOverlay,
    /// Deletes the machine's folder.
    RemoveFolder,
}

use Step::{
    Adopt, AwaitReady, Enter, GiveUpDisk, JoinNetwork, LeaveNetwork, MakeFolder, MakeOverlay, PlaceBase,
    RemoveFolder, RemoveOverlay, RenewOverlay, Resume, SetCap, StartQemu, StopQemu, WriteSeed,
};

/// The steps of an action, in order.
#[must_use]
pub(crate) const fn steps(action: Action) -> &'static [Step] {
    match action {
        Action::Create => &[
            Enter(Phase::Provisioning),
            MakeFolder,
            PlaceBase,
            MakeOverlay,
            WriteSeed,
            JoinNetwork,
            Enter(Phase::Booting),
            StartQemu,
            Resume,
            AwaitReady,
        ],
        Action::Renew => &[
            Enter(Phase::Provisioning),
            // Somebody asked for it: who continues after a crash goes on to golden, not back to the old disk.
            GiveUpDisk,
            StopQemu,
            LeaveNetwork,
            // From where it was: what is adopted may name another store.
            RemoveOverlay,
            Adopt,
            MakeFolder,
            PlaceBase,
            RenewOverlay,
            WriteSeed,
            JoinNetwork,
            Enter(Phase::Booting),
            StartQemu,
            Resume,
            AwaitReady,
        ],
        Action::Start => &[
            Enter(Phase::Provisioning),
            StopQemu,
            Adopt,
            MakeFolder,
            PlaceBase,
            MakeOverlay,
            SetCap,
            WriteSeed,
            JoinNetwork,
            Enter(Phase::Booting),
            StartQemu,
            Resume,
            AwaitReady,
        ],
        Action::Await => &[Adopt, SetCap, Resume, AwaitReady],
        Action::Update => &[Adopt, SetCap],
        Action::Destroy => &[
            Enter(Phase::Destroying),
            StopQemu,
            LeaveNetwork,
            RemoveOverlay,
            RemoveFolder,
            Enter(Phase::Gone),
        ],
    }
}

impl Step {
    /// Whether the step loads the host's CPUs: no more of these at once than there are cores. A machine that waits for
    /// its turn is not `Booting` yet.
    #[must_use]
    pub const fn starts_a_guest(self) -> bool {
        matches!(self, Enter(Phase::Booting) | StartQemu | Resume | AwaitReady)
    }

    /// The step as a person would say it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Enter(_) => "journal",
            Adopt => "record what the file says",
            GiveUpDisk => "record that its disk is given up",
            MakeFolder => "make its folder",
            PlaceBase => "place the image in RAM",
            MakeOverlay => "make the overlay",
            RenewOverlay => "make a fresh overlay",
            WriteSeed => "write its identity",
            JoinNetwork => "join the network",
            StartQemu => "start QEMU",
            Resume => "let the guest run",
            AwaitReady => "wait until the guest answers",
            SetCap => "set the cap",
            StopQemu => "end QEMU",
            LeaveNetwork => "leave the network",
            RemoveOverlay => "remove the overlay",
            RemoveFolder => "remove its folder",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Enter(phase) => write!(f, "journal: {phase}"),
            step => f.write_str(step.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIONS: [Action; 6] =
        [Action::Create, Action::Renew, Action::Start, Action::Await, Action::Update, Action::Destroy];

    #[test]
    fn phases_are_entered_along_the_lifecycle_table() {
        for action in ACTIONS {
            let mut phases = steps(action).iter().filter_map(|step| match step {
                Enter(phase) => Some(*phase),
                _ => None,
            });
            let Some(mut from) = phases.next() else { continue };
            for to in phases {
                assert!(from.may_become(to), "{action:?}: {from} → {to}");
                from = to;
            }
        }
    }

    #[test]
    fn what_the_old_record_names_is_taken_away_before_a_new_one_is_adopted() {
        let renew = steps(Action::Renew);
        let place = |step| renew.iter().position(|known| *known == step).unwrap();
        for old in [StopQemu, LeaveNetwork, RemoveOverlay] {
            assert!(place(old) < place(Adopt), "{old:?}");
        }
    }

    #[test]
    fn a_disk_is_given_up_before_it_is_removed_and_only_to_be_made_anew() {
        for action in ACTIONS {
            let list = steps(action);
            let place = |step| list.iter().position(|known| *known == step);
            assert_eq!(place(GiveUpDisk).is_some(), action == Action::Renew, "{action:?}");
            assert!(place(GiveUpDisk) <= place(RemoveOverlay), "{action:?}");
        }
    }

    #[test]
    fn nothing_is_started_before_booting_is_journalled() {
        for action in ACTIONS {
            let list = steps(action);
            if let Some(start) = list.iter().position(|step| *step == StartQemu) {
                assert!(list[..start].contains(&Enter(Phase::Booting)), "{action:?}");
                let turn = list.iter().position(|step| step.starts_a_guest());
                assert_eq!(
                    list[turn.unwrap()],
                    Enter(Phase::Booting),
                    "{action:?} waits for its turn before that"
                );
            }
        }
    }
}
