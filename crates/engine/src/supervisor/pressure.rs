//! A host whose RAM is promised more than once: before it runs out, machines that grow are held; they go on when there
//! is room again.
//!
//! Only what grows is held. A pause gives no memory back, it keeps more from being taken: a machine at rest would be
//! stopped for nothing. What counts as its growth is what its QEMU and its disk in RAM took since the last look.
//!
//! While there is plenty, a look costs a few lines of `/proc`, once a second. Machines are measured, once a second too,
//! only when less is left than the reserves, and oftener when it comes to holding: measured were 15 ms for each GiB that
//! they hold (17 QEMUs, 4.8 GiB in pages of 4 KiB, Linux 6.18).

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;
use winstead_hypervisor::qemu::{self, RunState, qmp::Client};
use winstead_spec::{ByteSize, Host, MachineName, StoreKind};

use super::{
    full,
    watch::{Watch, state},
};
use crate::{
    EngineError, MachineRecord, Phase,
    journal::{Entry, Journal, Lack},
    machine::Role,
};

/// How often the host is looked at while it has plenty, and the machines when it has not.
const GLANCE: Duration = Duration::from_secs(1);
/// When it comes to holding, a look at the machines is followed by so many times its own length without one: it takes a
/// quarter of a core at most.
const REST: u32 = 3;
/// The most that a machine may take between two looks without being the cause: a guest at rest touches new memory as
/// well, and an emulated one that somebody logs in to more than 4 MiB.
const NOISE: ByteSize = ByteSize::from_mib(16);
/// Nor more than this part of what is left above half of what the host keeps: the less is left, the less may be taken.
const PART: u64 = 32;

/// What a machine's watcher is told to do, and why, for the machine's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Pause it.
    Hold(String),
    /// Let it go on.
    Release(String),
}

/// The eye on the host's memory.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    /// When to look at the host again.
    due: Option<Instant>,
    /// When the machines were measured, and how long that took.
    measured: Option<(Instant, Duration)>,
    /// What each of them held then.
    before: BTreeMap<MachineName, ByteSize>,
    /// The last look found plenty of memory, and no machine that waits for some.
    calm: bool,
}

/// How much must be left for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    /// At this or less, machines that grow are held.
    hold: ByteSize,
    /// Above this, held ones go on.
    release: ByteSize,
    /// Below this, machines are measured.
    measure: ByteSize,
}

/// A machine that may be held, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    name: MachineName,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It runs, holds so much, and held so much less at the last look.
    Runs { holds: ByteSize, grew: ByteSize },
    /// It is held for the host's memory.
    Waits { since: Timestamp },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Hold(MachineName),
    Release(MachineName),
}

impl Pressure {
    /// Looks at the host and, if need be, at its machines, and returns what one of them is to be told; `None` also when
    /// it is not time yet.
    ///
    /// # Errors
    /// When the journal or the host's memory cannot be read. The next call looks again.
    pub(super) async fn look(
        &mut self,
        journal: &Journal,
    ) -> Result<Option<(MachineName, Order)>, EngineError> {
        let begun = Instant::now();
        if self.due.is_some_and(|due| begun < due) {
            return Ok(None);
        }
        self.due = Some(begun + GLANCE);
        let host = journal.host().await?;
        let memory = winstead_store::host_memory();
        let memory = memory.map_err(|error| EngineError::host("read the host's memory")(error.into()))?;
        let (available, marks) = (memory.available, Marks::of(&host));
        if self.calm && available >= marks.measure {
            // What they take meanwhile is not what they take when it matters.
            self.before.clear();
            return Ok(None);
        }
        // From here on at every turn of the loop: what is left may be gone within a second.
        self.due = None;
        if self.measured.is_some_and(|(at, took)| begun < at + pause(took, available <= marks.hold)) {
            return Ok(None);
        }
        let machines = self.machines(journal).await?;
        self.measured = Some((Instant::now(), begun.elapsed()));
        let waits = |machine: &Standing| matches!(machine.state, State::Waits { .. });
        self.calm = available >= marks.measure && !machines.iter().any(waits);
        Ok(match decide(available, marks, &machines) {
            None => None,
            Some(Verdict::Hold(name)) => {
                let why = too_little_is_left(&name, available, marks.hold);
                Some((name, Order::Hold(why)))
            }
            Some(Verdict::Release(name)) => {
                Some((name, Order::Release(format!("the host has {available} left again"))))
            }
        })
    }

    /// The machines that may be held or are, measured.
    async fn machines(&mut self, journal: &Journal) -> Result<Vec<Standing>, EngineError> {
        let entries: Vec<Entry> = journal.snapshot().await?.machines.into_values().collect();
        let waiting: Vec<Standing> = entries.iter().filter_map(waiting).collect();
        // The kernel walks all pages of each: not on an async thread.
        let measuring = tokio::task::spawn_blocking(move || {
            let measured = entries
                .iter()
                .filter(|entry| may_be_held(entry))
                .filter_map(|entry| Some((entry.record.name.clone(), holds(&entry.record)?)));
            measured.collect::<BTreeMap<_, _>>()
        });
        let now = measuring.await.map_err(|error| EngineError::host("measure the machines")(error.into()))?;
        let before = std::mem::replace(&mut self.before, now);
        let running = self.before.iter().map(|(name, holds)| {
            let grew = before.get(name).map_or(ByteSize::default(), |before| *holds - *before);
            Standing { name: name.clone(), state: State::Runs { holds: *holds, grew } }
        });
        Ok(running.chain(waiting).collect())
    }
}

impl Marks {
    /// A host without overcommit holds nobody, and lets everybody go.
    fn of(host: &Host) -> Self {
        let Some(overcommit) = host.overcommit else {
            let never = ByteSize::default();
            return Self { hold: never, release: never, measure: never };
        };
        let keeps = host.reserve.memory;
        // Half: with all of it a machine would wait for room that only the end of others makes, with none of it the
        // first that goes on would be held again at once.
        let half = ByteSize::from_bytes(overcommit.reserve.bytes() / 2);
        Self { hold: keeps, release: keeps + half, measure: keeps + overcommit.reserve }
    }
}

/// How long machines are not measured after it took so long.
fn pause(took: Duration, urgent: bool) -> Duration {
    if urgent { GLANCE.min(took * REST) } else { GLANCE }
}

/// What to do about the memory that is left: one thing, because the next look sees what came of it.
fn decide(available: ByteSize, marks: Marks, machines: &[Standing]) -> Option<Verdict> {
    let name = |machine: &Standing| machine.name.clone();
    if available <= marks.hold {
        let least = least_growth(available, marks.hold);
        let growing = machines.iter().filter_map(|machine| match machine.state {
            State::Runs { holds, grew } if grew >= least => Some((grew, holds, machine)),
            _ => None,
        });
        let most = growing.max_by_key(|(grew, holds, _)| (*grew, *holds));
        return most.map(|(_, _, machine)| Verdict::Hold(name(machine)));
    }
    if available <= marks.release {
        return None;
    }
    let waiting = machines.iter().filter_map(|machine| match machine.state {
        State::Waits { since } => Some((since, machine)),
        State::Runs { .. } => None,
    });
    waiting.min_by_key(|(since, _)| *since).map(|(_, machine)| Verdict::Release(name(machine)))
}

/// The growth from which on a machine counts as the cause. In the end it is any: that may be the sum of many that each take
/// little.
fn least_growth(available: ByteSize, keeps: ByteSize) -> ByteSize {
    let left = available.bytes().saturating_sub(keeps.bytes() / 2);
    ByteSize::from_bytes((left / PART).clamp(1, NOISE.bytes()))
}

fn waiting(entry: &Entry) -> Option<Standing> {
    let held = entry.held.filter(|held| held.lack == Lack::Memory)?;
    Some(Standing { name: entry.record.name.clone(), state: State::Waits { since: held.since } })
}

/// A template in the making and a machine that is still becoming itself are in a command's hands for a moment: it would
/// take the pause for a failure, and begin anew.
fn may_be_held(entry: &Entry) -> bool {
    let record = &entry.record;
    let is_itself = !record.origin.awaits_identity();
    matches!(entry.phase, Phase::Booting | Phase::Ready) && record.role == Role::Machine && is_itself
}

/// What a machine takes of the host's RAM alone, its disk there included; `None` when its QEMU does not run. QEMU's own
/// program does not count: its pages fall to whoever still runs it, and the host has them for the taking.
fn holds(record: &MachineRecord) -> Option<ByteSize> {
    let resident = qemu::resident(record.process?).ok()?;
    let disk = match record.shape.disk.store {
        StoreKind::Ram => winstead_store::usage(&record.location).map(|usage| usage.used).unwrap_or_default(),
        StoreKind::Disk => ByteSize::default(),
    };
    Some(record.private(&resident) - resident.files.unwrap_or_default() + disk)
}

/// Does with a machine what the host's memory asks for, if it is still in the state that it was seen in.
///
/// Journalled before it is paused, and let go on before it is journalled: whoever watches it next pauses again what its
/// row calls held, and nothing stays paused that its row does not.
///
/// # Errors
/// When the journal or QEMU's monitor fails.
pub(super) async fn obey(watch: &Watch, order: &Order, monitor: &mut Client) -> Result<(), EngineError> {
    let Some(entry) = watch.entry().await? else { return Ok(()) };
    match order {
        // A guest that does not run yet is let run by the command that starts it.
        Order::Hold(why) if may_be_held(&entry) && state(monitor).await? == RunState::Running => {
            if watch.hold(Lack::Memory, why).await? {
                full::pause(monitor).await?;
            }
        }
        Order::Release(why) if entry.lacks(Lack::Memory) => {
            full::resume(monitor).await?;
            watch.journal.release(&watch.name, Lack::Memory, why).await?;
            tracing::info!(machine = %watch.name, why, "released");
        }
        Order::Hold(_) | Order::Release(_) => {}
    }
    Ok(())
}

fn too_little_is_left(name: &MachineName, available: ByteSize, keeps: ByteSize) -> String {
    format!(
        "the host has {available} left and keeps {keeps} for itself; \
         `winstead reset {name}` gives its memory back, or take machines down"
    )
}

#[cfg(test)]
mod tests {
    use winstead_spec::Overcommit;

    use super::*;
    use crate::{fixtures, machine::Origin};

    const fn mib(mib: u64) -> ByteSize {
        ByteSize::from_mib(mib)
    }

    fn host(overcommit: Option<u64>) -> Host {
        let overcommit = overcommit.map(|reserve| Overcommit { reserve: mib(reserve) });
        Host { reserve: winstead_spec::Reserve { memory: mib(1000) }, overcommit, ..Host::local() }
    }

    /// `a-0 grew/holds` in MiB, or `a-0 since` in seconds.
    fn machines(text: &str) -> Vec<Standing> {
        let machine = |words: &str| {
            let (name, state) = words.split_once(' ').unwrap();
            let state = match state.split_once('/') {
                Some((grew, holds)) => {
                    State::Runs { holds: mib(holds.parse().unwrap()), grew: mib(grew.parse().unwrap()) }
                }
                None => State::Waits { since: Timestamp::from_second(state.parse().unwrap()).unwrap() },
            };
            Standing { name: name.parse().unwrap(), state }
        };
        text.split(", ").filter(|words| !words.is_empty()).map(machine).collect()
    }

    #[test]
    fn what_grows_most_is_held_and_what_was_held_first_goes_on_first() {
        for (available, seen, expected) in [
            // Enough is left.
            (1001, "a-0 500/900, b-0 0/200", ""),
            (9000, "", ""),
            // The cause is held, not the largest; of two alike the larger one.
            (1000, "a-0 0/900, b-0 50/200", "hold b-0"),
            (1000, "a-0 50/200, b-0 50/900, c-0 50/100", "hold b-0"),
            // Whoever is at rest is left alone, also when others take the memory; not when it becomes serious.
            (900, "a-0 0/900, b-0 0/200", ""),
            (501, "a-0 0/900", ""),
            (10, "a-0 0/900", ""),
            (900, "a-0 13/900, b-0 12/200", "hold a-0"),
            (900, "a-0 12/900", ""),
            (600, "a-0 4/900", "hold a-0"),
            // Nobody is let go in need, nor before there is room to take some.
            (900, "a-0 7, b-0 90/200", "hold b-0"),
            (900, "a-0 7", ""),
            (1200, "a-0 7", ""),
            // Then the first comes first, and the others at the next looks.
            (1201, "a-0 8, b-0 7, c-0 9", "release b-0"),
            (1201, "a-0 8, c-0 9, d-0 70/300", "release a-0"),
        ] {
            let said = match decide(mib(available), Marks::of(&host(Some(400))), &machines(seen)) {
                None => String::new(),
                Some(Verdict::Hold(name)) => format!("hold {name}"),
                Some(Verdict::Release(name)) => format!("release {name}"),
            };
            assert_eq!(said, expected, "{available} MiB: {seen}");
        }
    }

    #[test]
    fn many_that_each_take_little_are_held_when_half_of_what_the_host_keeps_is_gone() {
        let little = State::Runs { holds: mib(200), grew: ByteSize::from_bytes(4096) };
        assert_eq!(
            least_growth(mib(20_000), mib(20_000)),
            mib(16),
            "no more than that, however much is kept"
        );
        let machines = [Standing { name: "a-0".parse().unwrap(), state: little }];
        let marks = Marks::of(&host(Some(400)));
        assert_eq!(decide(mib(501), marks, &machines), None);
        assert!(matches!(decide(mib(500), marks, &machines), Some(Verdict::Hold(_))));
    }

    #[test]
    fn without_overcommit_nobody_is_held_and_whoever_was_goes_on() {
        let marks = Marks::of(&host(None));
        assert_eq!(decide(mib(1), marks, &machines("a-0 500/900")), None);
        assert!(matches!(decide(mib(1), marks, &machines("a-0 7")), Some(Verdict::Release(_))));
    }

    #[test]
    fn what_a_command_is_still_making_is_not_held() {
        let template: Option<MachineName> = Some("template-07-0".parse().unwrap());
        let booted = Origin::default();
        let unborn = Origin { template: template.clone(), is_itself: false };
        let itself = Origin { template, is_itself: true };
        for (phase, role, origin, may) in [
            (Phase::Ready, Role::Machine, &booted, true),
            (Phase::Booting, Role::Machine, &booted, true),
            (Phase::Booting, Role::Machine, &itself, true),
            (Phase::Booting, Role::Machine, &unborn, false),
            (Phase::Booting, Role::Template, &booted, false),
            (Phase::Provisioning, Role::Machine, &booted, false),
            (Phase::Held, Role::Machine, &booted, false),
        ] {
            let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
            (record.role, record.origin) = (role, origin.clone());
            let entry = Entry { record, phase, held: None, message: String::new(), growth: None };
            assert_eq!(may_be_held(&entry), may, "{phase} {role:?} {origin:?}");
        }
    }

    #[test]
    fn the_message_names_both_numbers_and_what_to_do() {
        let said = too_little_is_left(&"p-0".parse().unwrap(), mib(900), mib(1024));
        let expected = "the host has 900 MiB left and keeps 1 GiB for itself; `winstead reset p-0` gives its memory back, or take machines down";
        assert_eq!(said, expected);
    }
}
