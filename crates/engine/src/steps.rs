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
    /// Puts the saved memory of its template into it.
    Restore,
    /// Gives it its own identity; only then is its network plugged in.
    BecomeItself,
    /// Lets the guest run.
    Resume,
    /// Waits until the guest answers.
    AwaitReady,
    /// Runs what the pool says in it, once it is at rest.
    WarmUp,
    /// Saves its memory; from then on it is a template.
    Freeze,
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
    Adopt, AwaitReady, BecomeItself, Enter, Freeze, GiveUpDisk, JoinNetwork, LeaveNetwork, MakeFolder,
    MakeOverlay, PlaceBase, RemoveFolder, RemoveOverlay, RenewOverlay, Restore, Resume, SetCap, StartQemu,
    StopQemu, WarmUp, WriteSeed,
};

/// How a machine comes up in one run of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a boot.
    Boot,
    /// From its template's saved memory.
    Memory,
}

/// The steps of an action, in order.
#[must_use]
pub(crate) fn steps(action: Action, way: Way) -> Vec<Step> {
    [beginning(action), end(action, way)].concat()
}

/// What is made, or taken away.
const fn beginning(action: Action) -> &'static [Step] {
    match action {
        Action::Create => {
            &[Enter(Phase::Provisioning), MakeFolder, PlaceBase, MakeOverlay, WriteSeed, JoinNetwork]
        }
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
        ],
        // It joins no network: nobody reaches it.
        Action::Template => &[Enter(Phase::Provisioning), MakeFolder, PlaceBase, MakeOverlay, WriteSeed],
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

/// How it comes up.
const fn end(action: Action, way: Way) -> &'static [Step] {
    match (action, way) {
        (Action::Create | Action::Renew, Way::Memory) => {
            &[Enter(Phase::Booting), StartQemu, Restore, BecomeItself, AwaitReady]
        }
        (Action::Create | Action::Renew | Action::Start, _) => {
            &[Enter(Phase::Booting), StartQemu, Resume, AwaitReady]
        }
        (Action::Template, _) => &[
            Enter(Phase::Booting),
            StartQemu,
            Resume,
            AwaitReady,
            WarmUp,
            // Its QEMU ends now, and nothing is wrong with that.
            Enter(Phase::Destroying),
            Freeze,
        ],
        (Action::Await | Action::Update | Action::Destroy, _) => &[],
    }
}

impl Step {
    /// Whether the step loads the host's CPUs: no more of these at once than there are cores. A machine that waits for
    /// its turn is not `Booting` yet.
    #[must_use]
    pub const fn starts_a_guest(self) -> bool {
        matches!(
            self,
            Enter(Phase::Booting) | StartQemu | Restore | BecomeItself | Resume | AwaitReady | WarmUp
        )
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
            Restore => "restore saved memory",
            BecomeItself => "give it its own identity",
            Resume => "let the guest run",
            AwaitReady => "wait until the guest answers",
            WarmUp => "warm it up",
            Freeze => "save its memory",
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

    /// All lists.
    const ALL: [(Action, Way); 9] = [
        (Action::Create, Way::Boot),
        (Action::Create, Way::Memory),
        (Action::Renew, Way::Boot),
        (Action::Renew, Way::Memory),
        (Action::Template, Way::Boot),
        (Action::Start, Way::Boot),
        (Action::Await, Way::Boot),
        (Action::Update, Way::Boot),
        (Action::Destroy, Way::Boot),
    ];

    #[test]
    fn phases_are_entered_along_the_lifecycle_table() {
        for (action, way) in ALL {
            let mut phases = steps(action, way).into_iter().filter_map(|step| match step {
                Enter(phase) => Some(phase),
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
        let renew = steps(Action::Renew, Way::Boot);
        let place = |step| renew.iter().position(|known| *known == step).unwrap();
        for old in [StopQemu, LeaveNetwork, RemoveOverlay] {
            assert!(place(old) < place(Adopt), "{old:?}");
        }
    }

    #[test]
    fn a_disk_is_given_up_before_it_is_removed_and_only_to_be_made_anew() {
        for (action, way) in ALL {
            let list = steps(action, way);
            let place = |step| list.iter().position(|known| *known == step);
            assert_eq!(place(GiveUpDisk).is_some(), action == Action::Renew, "{action:?}");
            assert!(place(GiveUpDisk) <= place(RemoveOverlay), "{action:?}");
        }
    }

    #[test]
    fn nothing_is_started_before_booting_is_journalled() {
        for (action, way) in ALL {
            let list = steps(action, way);
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
