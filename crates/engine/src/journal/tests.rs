//! The journal against real files.

use uuid::Uuid;
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, Host};

use super::*;
use crate::{Faults, MachineRecord, Phase, fixtures};

/// The journals of older schemas, and what the machine in each lacks.
const OLD: [(&str, Lack); 2] = [("v1.sqlite", Lack::Disk), ("v2.sqlite", Lack::Memory)];

fn record(index: u32) -> MachineRecord {
    fixtures::record(&fixtures::pool("p", 1), index, fixtures::image(7))
}

async fn journal(folder: &tempfile::TempDir) -> Journal {
    Journal::open(&folder.path().join("journal.sqlite"), Faults::default()).await.unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (journal(&folder).await, journal(&folder).await);
    let version = other.data_version().await.unwrap();
    one.add(record(0)).await.unwrap();
    assert_ne!(other.data_version().await.unwrap(), version);
    let snapshot = other.snapshot().await.unwrap();
    let entry = &snapshot.machines[&"p-0".parse().unwrap()];
    assert_eq!((&entry.record, entry.phase), (&record(0), Phase::Planned));
    assert_eq!(one.home_id().await.unwrap(), other.home_id().await.unwrap());
}

#[tokio::test]
async fn only_the_tables_transitions_are_taken_and_all_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let name = record(0).name;
    journal.add(record(0)).await.unwrap();
    let early = journal.advance(&name, Phase::Ready, "").await.unwrap_err();
    assert_eq!(early.to_string(), "move p-0 to Ready: it is Planned");
    for phase in [Phase::Provisioning, Phase::Booting, Phase::Ready] {
        journal.advance(&name, phase, "because").await.unwrap();
    }
    assert_eq!(journal.hold(&name, Lack::Memory, "because").await.unwrap(), Phase::Ready);
    let held = journal.machine(&name).await.unwrap().unwrap();
    assert_eq!(held.held.map(|held| (held.from, held.lack)), Some((Phase::Ready, Lack::Memory)));
    assert!(journal.hold(&name, Lack::Disk, "because").await.is_err(), "it keeps its first reason");
    assert!(!journal.release(&name, Lack::Disk, "").await.unwrap(), "it is held for something else");
    let waited = journal.advance(&name, Phase::Ready, "ssh answers").await.unwrap_err();
    assert_eq!(waited.to_string(), "move p-0 to Ready: it is Held");
    assert!(journal.release(&name, Lack::Memory, "there is room").await.unwrap());
    let released = journal.machine(&name).await.unwrap().unwrap();
    assert_eq!((released.phase, released.held), (Phase::Ready, None));
    journal.advance(&name, Phase::Destroying, "").await.unwrap();
    journal.advance(&name, Phase::Gone, "").await.unwrap();
    assert_eq!(journal.machine(&name).await.unwrap(), None);
    let history = journal.history(&name).await.unwrap();
    let phases: Vec<String> = history.iter().map(|line| line.to.to_string()).collect();
    assert_eq!(phases.join(" "), "Planned Provisioning Booting Ready Held Ready Destroying Gone");
    journal.add(MachineRecord { uid: Uuid::from_u128(77), ..record(0) }).await.unwrap();
    assert_eq!(journal.history(&name).await.unwrap().len(), 1, "another machine of that name");
}

#[tokio::test]
async fn a_machine_that_is_saved_becomes_a_template_in_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let machine = MachineRecord { name: "template-07-0".parse().unwrap(), ..record(0) };
    journal.add(machine.clone()).await.unwrap();
    let base = Shared::Base(winstead_store::BaseLocation {
        placement: winstead_store::Placement::OwnTmpfs,
        folder: "/bases/07".into(),
        size: ByteSize::default(),
    });
    journal.add_shared("07", &base).await.unwrap();
    let template = crate::fixtures::template(machine.clone());
    journal.freeze(&template).await.unwrap();
    let snapshot = journal.snapshot().await.unwrap();
    assert!(snapshot.machines.is_empty());
    let shared: Vec<&Shared> = snapshot.shared.iter().map(|(_, shared)| shared).collect();
    assert_eq!(
        shared,
        [&Shared::Template(Box::new(template)), &base],
        "what stands on a base goes before it"
    );
    assert_eq!(journal.history(&machine.name).await.unwrap().last().unwrap().message, "its memory is saved");
}

#[test]
fn a_cap_that_the_file_raised_above_what_grew_takes_nothing_from_the_reserve() {
    let grown = |cap| Entry {
        record: record(0),
        phase: Phase::Ready,
        held: None,
        message: String::new(),
        growth: Some(Growth { cap: ByteSize::from_mib(cap), times: 1 }),
    };
    let sizes = |entry: Entry| (entry.cap(), entry.grown());
    assert_eq!(sizes(grown(100)), (ByteSize::from_mib(100), ByteSize::from_mib(36)));
    assert_eq!(sizes(grown(32)), (ByteSize::from_mib(64), ByteSize::from_mib(0)));
}

#[tokio::test]
async fn a_machine_fails_only_for_the_qemu_that_it_stands_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let process = ProcessId::of(std::process::id()).unwrap();
    let mut machine = MachineRecord { process: Some(process), ..record(0) };
    let name = machine.name.clone();
    journal.add(machine.clone()).await.unwrap();
    for phase in [Phase::Provisioning, Phase::Booting, Phase::Ready, Phase::Provisioning] {
        journal.advance(&name, phase, "").await.unwrap();
    }
    assert!(!journal.fail(&name, process, "it ended").await.unwrap(), "a command is changing it");
    machine.process = None;
    journal.update(&machine).await.unwrap();
    journal.advance(&name, Phase::Booting, "").await.unwrap();
    assert!(!journal.fail(&name, process, "it ended").await.unwrap(), "its next QEMU is being started");
    machine.process = Some(process);
    journal.update(&machine).await.unwrap();
    assert!(journal.fail(&name, process, "it ended").await.unwrap());
    assert_eq!(journal.machine(&name).await.unwrap().unwrap().phase, Phase::Failed);
    assert_eq!(journal.history(&name).await.unwrap().last().unwrap().message, "it ended");
}

#[tokio::test]
async fn all_machines_grow_from_one_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let mut host = Host::local();
    (host.growth.reserve, host.growth.step) = (ByteSize::from_mib(30), ByteSize::from_mib(10));
    for index in 0..2 {
        journal.add(record(index)).await.unwrap();
    }
    let mut caps = Vec::new();
    for index in [0, 1, 0, 1] {
        let entry = journal.machine(&record(index).name).await.unwrap().unwrap();
        caps.push(journal.grow(&entry, &host).await.unwrap().map(ByteSize::mib_ceil));
    }
    assert_eq!(caps, [Some(74), Some(74), Some(84), None]);
    journal.shrink(record(0).uid).await.unwrap();
    let entry = journal.machine(&record(1).name).await.unwrap().unwrap();
    assert_eq!(
        journal.grow(&entry, &host).await.unwrap(),
        Some(ByteSize::from_mib(84)),
        "a reset gives back"
    );
    assert_eq!(entry.growth.unwrap().times, 1);
}

#[tokio::test]
async fn a_newer_schema_and_a_file_that_is_no_database_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    drop(journal(&folder).await);
    let path = folder.path().join("journal.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let newer = Journal::open(&path, Faults::default()).await.unwrap_err();
    assert!(matches!(newer, JournalError::Newer { found: 99, .. }), "{newer:?}");
    fs_err::write(&path, "not a database at all, but long enough to look at").unwrap();
    let garbage = Journal::open(&path, Faults::default()).await.unwrap_err();
    assert!(matches!(garbage, JournalError::Sqlite { .. }), "{garbage:?}");
}

/// `v1.sqlite` was written by the first release; every later one must go on with it, and with those between.
#[tokio::test]
async fn an_old_journal_is_opened_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, lack) in OLD {
        let (old, path) = (old(name), folder.path().join(name));
        if fs_err::copy(&old, &path).is_err() {
            write_old(&old).await;
            panic!("{old} was not there and has been written; it belongs to the sources");
        }
        let journal = Journal::open(&path, Faults::default()).await.unwrap();
        let entry = journal.machine(&record(0).name).await.unwrap().unwrap();
        assert_eq!((entry.phase, entry.grown()), (Phase::Held, ByteSize::from_mib(64)), "{name}");
        assert_eq!(entry.held.map(|held| (held.from, held.lack)), Some((Phase::Ready, lack)), "{name}");
        assert_eq!(entry.record, record(0));
        assert_eq!(journal.history(&record(0).name).await.unwrap().len(), 5);
    }
}

fn old(name: &str) -> String {
    format!("{}/tests/journals/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Writes what the test above reads: when a release changes the schema, its own file joins those of the older ones.
async fn write_old(path: &str) {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(&folder).await;
    let name = record(0).name;
    journal.add(record(0)).await.unwrap();
    for phase in [Phase::Provisioning, Phase::Booting, Phase::Ready] {
        journal.advance(&name, phase, "because").await.unwrap();
    }
    journal.hold(&name, Lack::Memory, "because").await.unwrap();
    let entry = journal.machine(&name).await.unwrap().unwrap();
    journal.grow(&entry, &Host::local()).await.unwrap();
    let copy = format!("VACUUM INTO '{path}'");
    rusqlite::Connection::open(folder.path().join("journal.sqlite")).unwrap().execute_batch(&copy).unwrap();
}
