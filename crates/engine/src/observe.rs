//! What is: the journal's rows held against processes, mounts and folders.

use std::{collections::BTreeMap, path::PathBuf};

use winstead_hypervisor::qemu;
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, StoreKind};
use winstead_store::{Placement, Presence};

use crate::{
    EngineError, Home, MachineRecord,
    admission::Capacity,
    journal::{Entry, Journal, Shared, Snapshot},
    plan::{Observed, Seen},
};

/// Everything that a plan looks at.
pub(crate) async fn observe(home: &Home, journal: &Journal) -> Result<(Observed, Snapshot), EngineError> {
    let snapshot = journal.snapshot().await?;
    let rows = snapshot.clone();
    let folder = home.root().to_owned();
    // Reads /proc and asks file systems: short, but not for the async threads when there are a thousand machines.
    let looked = tokio::task::spawn_blocking(move || {
        let machines: BTreeMap<_, _> =
            rows.machines.into_iter().map(|(name, entry)| (name, look(entry))).collect();
        let capacity = capacity(&machines, &rows.shared, &folder)?;
        Ok::<_, EngineError>(Observed { machines, pools: rows.pools, capacity })
    });
    let observed = looked.await.map_err(|error| EngineError::host("look at the machines")(error.into()))?;
    Ok((observed?, snapshot))
}

/// A machine's process: the journalled one if it lives, else one that carries its uid (a command died between
/// starting it and writing it down).
pub(crate) fn process(record: &MachineRecord) -> Option<ProcessId> {
    record.process.filter(|process| process.is_alive()).or_else(|| qemu::find_process(&record.uid))
}

fn look(entry: Entry) -> Seen {
    let record = &entry.record;
    let running = record.process.is_some_and(ProcessId::is_alive)
        || (entry.phase.runs() && qemu::find_process(&record.uid).is_some());
    let disk = matches!(winstead_store::exists(&record.location), Presence::Present);
    let used = winstead_store::usage(&record.location).map_or(ByteSize::default(), |usage| usage.used);
    Seen { entry, running, disk, used }
}

/// What may be divided: what is free, and what this home's own machines use of the rest.
fn capacity(
    machines: &BTreeMap<winstead_spec::MachineName, Seen>,
    shared: &[(String, Shared)],
    home: &std::path::Path,
) -> Result<Capacity, EngineError> {
    let memory = winstead_store::host_memory()
        .map_err(|error| EngineError::host("read the host's memory")(error.into()))?;
    let mut capacity = Capacity { memory: memory.available, disk: free_disk(machines, home) };
    for seen in machines.values() {
        let resident = seen.entry.record.process.filter(|process| process.is_alive()).map(qemu::resident);
        if let Some(Ok(resident)) = resident {
            capacity.memory = capacity.memory + resident.pss.unwrap_or(resident.rss);
        }
        match seen.entry.record.shape.disk.store {
            StoreKind::Ram => capacity.memory = capacity.memory + seen.used,
            StoreKind::Disk => capacity.disk = capacity.disk + seen.used,
        }
    }
    for (_, shared) in shared {
        if let Shared::Base(base) = shared {
            capacity.memory = capacity.memory + base.size;
        }
    }
    Ok(capacity)
}

fn free_disk(machines: &BTreeMap<winstead_spec::MachineName, Seen>, home: &std::path::Path) -> ByteSize {
    let on_disk = machines.values().find_map(|seen| match &seen.entry.record.location.placement {
        Placement::Folder { folder } => Some(folder.clone()),
        _ => None,
    });
    let folder: PathBuf = on_disk.filter(|folder| folder.exists()).unwrap_or_else(|| home.to_owned());
    winstead_store::free_space(&folder).unwrap_or_default()
}
