//! Planning, with a simulated world instead of a real one.

mod sums;

use proptest::prelude::*;

use super::*;
use crate::{
    Step,
    admission::Base,
    fixtures::{clone_of_memory, image, pool, record},
    journal::Growth,
};

fn wanted(pool: Pool, byte: u8) -> Desired {
    let places = Places { ram: Placement::OwnTmpfs, disk: Placement::Folder { folder: "/disks".into() } };
    Desired { host: Host::local(), places, pools: vec![DesiredPool { pool, image: Some(image(byte)) }] }
}

fn machine(name: &MachineName, wanted: &DesiredPool) -> Seen {
    let record = record(&wanted.pool, name.index, wanted.image.clone().unwrap());
    let entry = Entry { record, phase: Phase::Planned, held: None, message: String::new(), growth: None };
    let planned = Seen {
        entry,
        running: false,
        connected: true,
        disk: false,
        used: ByteSize::default(),
        resident: None,
    };
    let mut made = act(planned, wanted, Action::Create).unwrap();
    made.used = ByteSize::from_mib(3);
    made
}

/// A machine after the steps of an action; `None` when it is gone.
fn act(mut seen: Seen, wanted: &DesiredPool, action: Action) -> Option<Seen> {
    for step in crate::steps::steps(action, crate::steps::Way::Boot) {
        let record = &mut seen.entry.record;
        match step {
            Step::Enter(Phase::Gone) => return None,
            Step::Enter(phase) => {
                assert!(seen.entry.phase.may_become(phase), "{} to {phase} by {action:?}", seen.entry.phase);
                seen.entry.phase = phase;
            }
            Step::Adopt => {
                record.image = wanted.image.clone().unwrap();
                record.shape = wanted.pool.machine.clone();
                record.ready = wanted.pool.ready.clone();
            }
            Step::GiveUpDisk => record.was_ready = false,
            Step::MakeOverlay | Step::RenewOverlay => seen.disk = true,
            Step::RemoveOverlay => (seen.disk, seen.used) = (false, ByteSize::default()),
            Step::StartQemu => (seen.running, seen.connected) = (true, true),
            Step::StopQemu => seen.running = false,
            Step::AwaitReady => {
                assert!(seen.running && seen.disk, "{action:?} waits for what cannot answer");
                (seen.entry.phase, record.was_ready) = (Phase::Ready, true);
            }
            _ => {}
        }
    }
    Some(seen)
}

/// The world after a plan was carried out without a fault.
fn carried_out(desired: &Desired, mut observed: Observed, plan: &Plan) -> Observed {
    for change in &plan.changes {
        let wanted = desired.pools.iter().find(|wanted| wanted.pool.name == change.machine.pool).unwrap();
        let after = match observed.machines.remove(&change.machine) {
            Some(seen) => act(seen, wanted, change.action),
            None => Some(machine(&change.machine, wanted)),
        };
        observed.machines.extend(after.map(|seen| (change.machine.clone(), seen)));
    }
    observed
}

fn room() -> Observed {
    let plenty = ByteSize::from_mib(1 << 20);
    Observed {
        capacity: Capacity { memory: plenty, folders: [("/disks".into(), plenty)].into() },
        ..Observed::default()
    }
}

fn actions(plan: &Plan) -> Vec<(String, Action)> {
    plan.changes.iter().map(|change| (change.machine.to_string(), change.action)).collect()
}

/// A world of two machines with one thing about the first one changed.
fn after(change: impl FnOnce(&mut Seen)) -> Plan {
    let desired = wanted(pool("p", 2), 1);
    let plan = super::plan(&desired, &room());
    let mut observed = carried_out(&desired, room(), &plan);
    change(observed.machines.values_mut().next().unwrap());
    super::plan(&desired, &observed)
}

#[test]
fn a_new_pool_is_created_and_then_left_alone() {
    let desired = wanted(pool("p", 3), 1);
    let first = plan(&desired, &room());
    assert_eq!(first.changes.len(), 3);
    assert!(first.is_admitted());
    let second = plan(&desired, &carried_out(&desired, room(), &first));
    assert!(second.is_empty(), "{second:?}");
    assert_eq!(second.unchanged, 3);
}

#[test]
fn broken_machines_are_mended_with_the_least() {
    let gone = |seen: &mut Seen| seen.running = false;
    assert_eq!(actions(&after(gone)), [("p-0".into(), Action::Start)]);
    assert_eq!(actions(&after(|seen| seen.disk = false)), [("p-0".into(), Action::Renew)]);
    let unplugged = after(|seen| seen.connected = false);
    assert_eq!(actions(&unplugged), [("p-0".into(), Action::Start)]);
    assert_eq!(unplugged.changes[0].why, "its network card is gone; it keeps its disk");
    for (phase, action) in [
        (Phase::Planned, Action::Renew),
        (Phase::Provisioning, Action::Renew),
        (Phase::Booting, Action::Await),
        (Phase::Failed, Action::Renew),
        (Phase::Destroying, Action::Renew),
    ] {
        let never_ready = |seen: &mut Seen| (seen.entry.phase, seen.entry.record.was_ready) = (phase, false);
        assert_eq!(actions(&after(never_ready)), [("p-0".into(), action)], "{phase}");
    }
    assert_eq!(actions(&after(|seen| seen.entry.phase = Phase::Held)), []);
}

#[test]
fn what_is_planned_for_a_phase_may_be_begun_in_it() {
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Gone) {
        let whatever = [(true, true), (false, true), (false, false)];
        for (running, disk) in whatever {
            let planned = after(|seen| (seen.entry.phase, seen.running, seen.disk) = (phase, running, disk));
            for (_, action) in actions(&planned) {
                if let Some(crate::Step::Enter(first)) =
                    crate::steps::steps(action, crate::steps::Way::Boot).first()
                {
                    assert!(phase.may_become(*first), "{phase}: {action:?}");
                }
            }
        }
    }
}

#[test]
fn a_machine_that_was_ready_keeps_its_disk_over_failures_and_unfinished_starts() {
    for phase in [Phase::Failed, Phase::Provisioning] {
        let stopped = |disk| actions(&after(|seen| (seen.entry.phase, seen.disk) = (phase, disk)));
        assert_eq!(stopped(true), [("p-0".into(), Action::Start)], "{phase}");
        assert_eq!(stopped(false), [("p-0".into(), Action::Renew)], "{phase}");
    }
}

#[test]
fn a_machine_that_is_started_again_becomes_what_the_file_says_now() {
    let before = wanted(pool("p", 1), 1);
    let observed = carried_out(&before, room(), &plan(&before, &room()));
    let mut edited = pool("p", 1);
    edited.machine.disk.cap = ByteSize::from_mib(128);
    let desired = wanted(edited, 1);
    for (phase, running, action) in [
        (Phase::Booting, true, Action::Await),
        (Phase::Ready, false, Action::Start),
        (Phase::Failed, true, Action::Start),
    ] {
        let mut observed = observed.clone();
        let seen = observed.machines.values_mut().next().unwrap();
        (seen.entry.phase, seen.running) = (phase, running);
        let first = plan(&desired, &observed);
        assert_eq!(actions(&first), [("p-0".into(), action)], "{phase}");
        assert!(plan(&desired, &carried_out(&desired, observed, &first)).is_empty(), "{phase}");
    }
}

#[test]
fn a_machine_that_has_not_become_itself_is_made_anew_and_never_waited_for() {
    let booting = |is_itself| {
        let planned = after(|seen| {
            seen.entry.phase = Phase::Booting;
            let template = Some("template-010101010101-0".parse().unwrap());
            seen.entry.record.origin = crate::machine::Origin { template, is_itself };
        });
        actions(&planned)
    };
    assert_eq!(booting(false), [("p-0".into(), Action::Renew)]);
    assert_eq!(booting(true), [("p-0".into(), Action::Await)]);
}

#[test]
fn another_start_is_for_the_next_reset_and_costs_the_machine_nothing() {
    let before = wanted(pool("p", 1), 1);
    let observed = carried_out(&before, room(), &plan(&before, &room()));
    let mut edited = pool("p", 1);
    edited.machine.start = winstead_spec::Start::Memory { warm: Vec::new() };
    let planned = plan(&wanted(edited, 1), &observed);
    assert_eq!(actions(&planned), [("p-0".into(), Action::Update)]);
    assert_eq!(planned.changes[0].why, "start, from the next reset on");
}

#[test]
fn an_image_that_is_to_be_built_resets_what_stands_on_an_older_one() {
    let before = wanted(pool("p", 1), 1);
    let observed = carried_out(&before, room(), &plan(&before, &room()));
    let mut desired = wanted(pool("p", 1), 1);
    desired.pools[0].image = None;
    let planned = plan(&desired, &observed);
    assert_eq!(actions(&planned), [("p-0".into(), Action::Renew)]);
    assert_eq!(planned.changes[0].why, "image debian → a new build");
}

#[test]
fn an_edit_changes_only_what_it_must() {
    let before = wanted(pool("p", 3), 1);
    let observed = carried_out(&before, room(), &plan(&before, &room()));
    let edited = |edit: fn(&mut Pool)| {
        let mut pool = pool("p", 3);
        edit(&mut pool);
        actions(&plan(&wanted(pool, 1), &observed))
    };
    assert_eq!(
        edited(|pool| pool.replicas = 1),
        [("p-1".into(), Action::Destroy), ("p-2".into(), Action::Destroy)]
    );
    assert_eq!(edited(|pool| pool.replicas = 4), [("p-3".into(), Action::Create)]);
    let caps = edited(|pool| pool.machine.disk.cap = ByteSize::from_mib(128));
    assert!(caps.len() == 3 && caps.iter().all(|(_, action)| *action == Action::Update), "{caps:?}");
    let newer = plan(&wanted(pool("p", 3), 2), &observed);
    assert!(newer.changes.iter().all(|change| change.action == Action::Renew));
    assert_eq!(newer.changes[0].why, "image 010101010101 → 020202020202");
}

#[test]
fn a_cap_below_what_is_used_is_refused() {
    let before = wanted(pool("p", 1), 1);
    let observed = carried_out(&before, room(), &plan(&before, &room()));
    let mut smaller = pool("p", 1);
    smaller.machine.disk.cap = ByteSize::from_mib(2);
    let refused = plan(&wanted(smaller, 1), &observed);
    assert!(!refused.is_admitted());
    assert_eq!(
        refused.refusals,
        ["p-0: its overlay holds 3 MiB, more than the new cap of 2 MiB; reset it first, or keep the cap"]
    );
}

#[test]
fn down_takes_the_chosen_machines_in_any_state() {
    let desired = wanted(pool("p", 3), 1);
    let mut observed = carried_out(&desired, room(), &plan(&desired, &room()));
    observed.machines.values_mut().next().unwrap().entry.phase = Phase::Destroying;
    let names = |index: fn(u32) -> bool| {
        let chosen = asked_for(&observed, Action::Destroy, move |name| index(name.index));
        chosen.iter().map(|change| change.machine.index).collect::<Vec<_>>()
    };
    assert_eq!(names(|_| true), [0, 1, 2]);
    assert_eq!(names(|index| index == 0), [0]);
}

fn any_phase() -> impl Strategy<Value = Phase> {
    proptest::sample::select(Phase::ALL[..7].to_vec())
}

proptest! {
    /// Whatever a crash left behind, one plan carried out without a fault leaves nothing to do.
    #[test]
    fn one_plan_converges_from_any_state(
        replicas in 0_u32..12,
        was in 0_u32..12,
        states in proptest::collection::vec((any_phase(), any::<[bool; 4]>(), 0_u8..3), 12),
    ) {
        let desired = wanted(pool("p", replicas), 1);
        let mut observed = room();
        for (index, (phase, [running, disk, was_ready, edited], image)) in (0..was).zip(&states) {
            let name = MachineName { pool: "p".parse().unwrap(), index };
            let mut seen = machine(&name, &wanted(pool("p", was), *image).pools[0]);
            (seen.entry.phase, seen.running, seen.disk) = (*phase, *running, *disk);
            seen.entry.record.was_ready = *was_ready;
            if *edited {
                seen.entry.record.shape.disk.cap = ByteSize::from_mib(32);
            }
            observed.machines.insert(name, seen);
        }
        let first = plan(&desired, &observed);
        let after = carried_out(&desired, observed, &first);
        let second = plan(&desired, &after);
        prop_assert!(second.changes.is_empty(), "{:?}", second.changes);
        prop_assert_eq!(after.machines.len(), replicas as usize);
    }

    /// What was measured is nobody's business unless the host counts it; and then a machine of which nothing was
    /// measured counts as ever.
    #[test]
    fn without_overcommit_the_sum_is_what_it_was(
        replicas in 0_u32..6,
        machines in proptest::collection::vec((any_phase(), proptest::option::of(0_u64..4096)), 0..6),
    ) {
        let mut desired = wanted(pool("p", replicas), 1);
        let mut unmeasured = room();
        for (index, (phase, _)) in machines.iter().enumerate() {
            let name = MachineName { pool: "p".parse().unwrap(), index: u32::try_from(index).unwrap() };
            let mut seen = machine(&name, &desired.pools[0]);
            seen.entry.phase = *phase;
            unmeasured.machines.insert(name, seen);
        }
        let mut measured = unmeasured.clone();
        for (seen, (_, held)) in measured.machines.values_mut().zip(&machines) {
            seen.resident =
                held.map(|mib| Resident { rss: ByteSize::from_mib(mib), pss: None, shared: None, files: None });
        }
        let hard = plan(&desired, &unmeasured);
        prop_assert_eq!(&plan(&desired, &measured), &hard);
        let reserve = ByteSize::from_mib(512);
        desired.host.overcommit = Some(winstead_spec::Overcommit { reserve });
        prop_assert_eq!(plan(&desired, &unmeasured).memory.needed, hard.memory.needed + reserve);
    }
}

#[test]
fn a_bridge_keeps_the_subnet_that_pools_beside_the_file_have() {
    let on = |name: &str, subnet: &str| {
        let own = winstead_spec::Bridge::Own { name: "br1".to_owned(), subnet: subnet.parse().unwrap() };
        wanted(Pool { network: winstead_spec::Network::Bridge(own), ..pool(name, 1) }, 1)
    };
    let (old, new) = (on("old", "10.77.0.0/24"), on("new", "10.78.0.0/24"));
    let name = MachineName { pool: "old".parse().unwrap(), index: 0 };
    let mut observed = Observed::default();
    observed.machines.insert(name.clone(), machine(&name, &old.pools[0]));
    let said =
        "pool new: the bridge br1 is ours with 10.77.0.0/24 for the pool old, not ours with 10.78.0.0/24";
    assert_eq!(plan(&new, &observed).refusals, [said]);
    assert!(plan(&on("new", "10.77.0.0/24"), &observed).refusals.is_empty());
    assert!(plan(&on("old", "10.78.0.0/24"), &observed).refusals.is_empty(), "the file moves its own pool");
}

#[test]
fn a_bridge_has_an_address_for_every_machine_on_it_also_for_those_beside_the_file() {
    let on = |name: &str, replicas: u32| {
        let own =
            winstead_spec::Bridge::Own { name: "br1".to_owned(), subnet: "10.77.0.0/29".parse().unwrap() };
        wanted(Pool { network: winstead_spec::Network::Bridge(own), ..pool(name, replicas) }, 1)
    };
    let old = on("old", 2);
    let observed = carried_out(&old, room(), &plan(&old, &room()));
    assert!(plan(&on("new", 3), &observed).refusals.is_empty());
    let said = "the bridge br1 is for 6 machines, but 10.77.0.0/29 has addresses for 5";
    assert_eq!(plan(&on("new", 4), &observed).refusals, [said]);
    assert!(plan(&on("old", 5), &observed).refusals.is_empty(), "its own machines are not counted twice");
}
