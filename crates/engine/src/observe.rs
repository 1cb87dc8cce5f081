//! What is: the journal's rows held against processes, mounts and folders.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use winstead_hypervisor::qemu;
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, MachineName, Network, StoreKind};
use winstead_store::{Mounts, Presence};

use crate::{
    EngineError, Home, MachineRecord,
    admission::{Base, Capacity},
    journal::{Entry, Journal, Shared, Snapshot},
    memory,
    plan::{self, Observed, Seen, SeenTemplate},
    template::Template,
};

/// Everything that a plan looks at; `shared` are the folders that new disks will share.
pub(crate) async fn observe(
    home: &Home,
    journal: &Journal,
    shared: &[PathBuf],
) -> Result<(Observed, Snapshot), EngineError> {
    let snapshot = journal.snapshot().await?;
    let (home, rows, shared) = (home.clone(), snapshot.clone(), shared.to_vec());
    // Reads /proc and asks file systems: short, but not for the async threads when there are a thousand machines.
    let looked = tokio::task::spawn_blocking(move || {
        let mounts = winstead_store::Mounts::read();
        let mounts = mounts.map_err(|error| EngineError::host("see what is mounted")(error.into()))?;
        let templates: BTreeMap<_, _> = rows
            .templates()
            .map(|template| (template.name().clone(), look_at_template(&home, template)))
            .collect();
        let machines: BTreeMap<_, _> =
            rows.machines.into_iter().map(|(name, entry)| (name, look(&home, entry, &mounts))).collect();
        let bases = bases(&rows.shared);
        let memory = divisible(&machines, &templates, &bases)?;
        let capacity = Capacity { memory, folders: folders(shared, &machines, &bases) };
        let bases = bases.into_iter().map(|(digest, (base, _))| (digest, base)).collect();
        Ok::<_, EngineError>(Observed { machines, pools: rows.pools, templates, bases, capacity })
    });
    let observed = looked.await.map_err(|error| EngineError::host("look at the machines")(error.into()))?;
    Ok((observed?, snapshot))
}

/// A machine's process: the journalled one if it lives and is this machine's, else one that is found as such (a command
/// died between starting it and writing it down).
pub(crate) fn process(home: &Home, record: &MachineRecord) -> Option<ProcessId> {
    journalled(home, record).or_else(|| qemu::find_process(&record.uid, &home.run(&record.name)))
}

fn journalled(home: &Home, record: &MachineRecord) -> Option<ProcessId> {
    record.process.filter(|process| qemu::is_machine(*process, &record.uid, &home.run(&record.name)))
}

fn look(home: &Home, entry: Entry, mounts: &Mounts) -> Seen {
    let record = &entry.record;
    let process = if entry.phase.runs() { process(home, record) } else { journalled(home, record) };
    let running = process.is_some();
    let resident = process.and_then(|process| qemu::resident(process).ok());
    let (presence, used) = winstead_store::survey(&record.location, mounts);
    let disk = presence == Presence::Present;
    let connected = !running || holds_its_tap(record).unwrap_or(true);
    Seen { entry, running, connected, disk, used, resident }
}

/// A template as it really is.
pub(crate) fn look_at_template(home: &Home, template: &Template) -> SeenTemplate {
    let usage = winstead_store::usage(&template.machine.location);
    SeenTemplate {
        template: template.clone(),
        kept: memory::is_kept(home, template),
        disk: usage.map_or_else(|_| ByteSize::default(), |usage| usage.used),
    }
}

fn holds_its_tap(record: &MachineRecord) -> Option<bool> {
    let tap = match record.network {
        Network::Bridge(_) => winstead_network::tap_name(record.uid.as_bytes()),
        Network::User => return None,
    };
    qemu::holds_tap(record.process?, &tap)
}

/// RAM that may be divided: what is free, and what this home's own machines and bases use of the rest.
fn divisible(
    machines: &BTreeMap<MachineName, Seen>,
    templates: &BTreeMap<MachineName, SeenTemplate>,
    bases: &BTreeMap<String, (Base, ByteSize)>,
) -> Result<ByteSize, EngineError> {
    let memory = winstead_store::host_memory()
        .map_err(|error| EngineError::host("read the host's memory")(error.into()))?;
    let resident = machines.values().filter_map(Seen::private);
    let templates = templates.values().map(|seen| {
        let in_ram = seen.template.machine.shape.disk.store == StoreKind::Ram;
        seen.ram() + if in_ram { seen.disk } else { ByteSize::default() }
    });
    let in_ram = |seen: &&Seen| seen.entry.record.shape.disk.store == StoreKind::Ram;
    let overlays = machines.values().filter(in_ram).map(|seen| seen.used);
    let bases = bases.values().map(|(_, used)| *used);
    Ok(memory.available + resident.chain(templates).chain(overlays).chain(bases).sum())
}

/// The recorded bases that are there, and what each really uses.
fn bases(shared: &[(String, Shared)]) -> BTreeMap<String, (Base, ByteSize)> {
    let there = shared.iter().filter_map(|(name, shared)| {
        let Shared::Base(base) = shared else { return None };
        let used = winstead_store::base_usage(base).filter(|used| used.bytes() > 0)?;
        let seen = Base { size: base.size, folder: plan::folder(&base.placement) };
        Some((name.clone(), (seen, used)))
    });
    there.collect()
}

/// What may be divided in the folders that disks share or will share: what is free, and what is ours of the rest.
fn folders(
    new: Vec<PathBuf>,
    machines: &BTreeMap<MachineName, Seen>,
    bases: &BTreeMap<String, (Base, ByteSize)>,
) -> BTreeMap<PathBuf, ByteSize> {
    let overlays = machines
        .values()
        .filter_map(|seen| Some((plan::folder(&seen.entry.record.location.placement)?, seen.used)));
    let bases = bases.values().filter_map(|(base, used)| Some((base.folder.clone()?, *used)));
    let mut folders: BTreeMap<PathBuf, ByteSize> = BTreeMap::new();
    for (folder, used) in
        overlays.chain(bases).chain(new.into_iter().map(|folder| (folder, ByteSize::default())))
    {
        let room = folders.entry(folder).or_insert_with_key(|folder| free_space(folder));
        *room = *room + used;
    }
    folders
}

/// What is free where `folder` is, or will be made.
fn free_space(folder: &Path) -> ByteSize {
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    winstead_store::free_space(there).unwrap_or_default()
}
