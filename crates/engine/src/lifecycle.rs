//! A machine's life. Every transition is in one table, and each is journalled before it is acted on.
//!
//! ```text
//! Planned → Provisioning → Booting → Ready → Destroying → Gone
//!                ↑  ↑          ↘       ↓↑        ↑
//!                │  └ reset ─── Held ←──┘ ───────┤
//!                └──────────── Failed ───────────┘
//! ```
//! A machine whose taking away was cut short goes back to Provisioning when the file still wants it.
//! Joining, Busy and Finishing come between Booting and Destroying when runners and clusters do.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Recorded; nothing of it exists.
    Planned,
    /// Folder, overlay, seed and network are being made, or made anew.
    Provisioning,
    /// QEMU is being started; the guest does not answer yet.
    Booting,
    /// The guest answered.
    Ready,
    /// Paused: its overlay is full and the reserve is gone, or the host has no memory left for it.
    Held,
    /// It cannot go on; the reason is recorded.
    Failed,
    /// Being taken away.
    Destroying,
    /// Nothing of it exists any more.
    Gone,
}

use Phase::{Booting, Destroying, Failed, Gone, Held, Planned, Provisioning, Ready};

/// From where to where.
const TRANSITIONS: &[(Phase, &[Phase])] = &[
    (Planned, &[Provisioning, Destroying]),
    (Provisioning, &[Provisioning, Booting, Failed, Destroying]),
    (Booting, &[Provisioning, Ready, Held, Failed, Destroying]),
    (Ready, &[Provisioning, Held, Failed, Destroying]),
    (Held, &[Provisioning, Booting, Ready, Failed, Destroying]),
    (Failed, &[Provisioning, Destroying]),
    (Destroying, &[Provisioning, Destroying, Gone]),
    (Gone, &[]),
];

/// How long a machine may stay in a phase before the wait for it ends; `None`: for ever.
/// Booting is the pool's own `ready.deadline`.
const DEADLINES: &[(Phase, Option<Duration>)] = &[
    (Planned, None),
    (Provisioning, Some(Duration::from_secs(120))),
    (Booting, None),
    (Ready, None),
    (Held, None),
    (Failed, None),
    (Destroying, Some(Duration::from_secs(60))),
    (Gone, None),
];

impl Phase {
    /// All phases, in the order of life.
    pub const ALL: [Self; 8] = [Planned, Provisioning, Booting, Ready, Held, Failed, Destroying, Gone];

    /// Whether a machine may go from here to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        TRANSITIONS.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    /// How long a machine may stay here.
    #[must_use]
    pub fn deadline(self) -> Option<Duration> {
        DEADLINES.iter().find(|(phase, _)| *phase == self).and_then(|(_, deadline)| *deadline)
    }

    /// Whether QEMU should be running in this phase.
    #[must_use]
    pub const fn runs(self) -> bool {
        matches!(self, Booting | Ready | Held)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Planned => "Planned",
            Provisioning => "Provisioning",
            Booting => "Booting",
            Ready => "Ready",
            Held => "Held",
            Failed => "Failed",
            Destroying => "Destroying",
            Gone => "Gone",
        })
    }
}

/// A text in the journal that is no phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a phase")]
pub struct PhaseError(String);

impl FromStr for Phase {
    type Err = PhaseError;
    fn from_str(text: &str) -> Result<Self, PhaseError> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.to_string() == text)
            .ok_or_else(|| PhaseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_in_both_tables_once() {
        for phase in Phase::ALL {
            assert_eq!(TRANSITIONS.iter().filter(|(from, _)| *from == phase).count(), 1, "{phase}");
            assert_eq!(DEADLINES.iter().filter(|(of, _)| *of == phase).count(), 1, "{phase}");
            assert_eq!(phase.to_string().parse(), Ok(phase));
        }
    }

    #[test]
    fn every_living_machine_can_be_destroyed_and_nothing_returns_from_gone() {
        for phase in Phase::ALL {
            assert_eq!(phase.may_become(Destroying), phase != Gone, "{phase}");
            assert!(!Gone.may_become(phase));
        }
    }
}
