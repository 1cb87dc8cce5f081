//! What is, what the file says, and the least that turns the one into the other.
//!
//! Pure: no clock, no I/O. The same input gives the same plan, and a plan over what it made is empty
//! (property-tested).

mod bridges;
mod demand;

pub(crate) use demand::folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Serialize;
use winstead_hypervisor::qemu::Resident;
use winstead_spec::{ByteSize, Host, MachineName, Name, Pool, StoreKind};
use winstead_store::Placement;

use crate::{
    EngineError, ImageRef, MachineRecord, Phase,
    admission::{Bases, Capacity, FolderSum, Sum},
    journal::{Entry, PoolRecord},
    machine::Role,
    template::Template,
};

/// What the file asks for, its images resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The host's limits.
    pub host: Host,
    /// Where new disks live.
    pub places: Places,
    /// The pools of the file.
    pub pools: Vec<DesiredPool>,
}

/// Where new disks of each store live on this host, with the rights that we have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Those in RAM.
    pub ram: Placement,
    /// Those on a disk.
    pub disk: Placement,
}

/// A pool of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredPool {
    /// What the file says.
    pub pool: Pool,
    /// The version that its image name stands for; `None`: it has to be built first.
    pub image: Option<ImageRef>,
}

/// What is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// All machines of this home.
    pub machines: BTreeMap<MachineName, Seen>,
    /// All pools of this home, as last applied.
    pub pools: BTreeMap<Name, PoolRecord>,
    /// The templates that are there.
    pub templates: BTreeMap<MachineName, SeenTemplate>,
    /// The RAM copies of images that are there.
    pub bases: Bases,
    /// What the host has.
    pub capacity: Capacity,
}

/// A machine as the journal knows it and as it really is.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The journal's row.
    pub entry: Entry,
    /// Whether its QEMU runs.
    pub running: bool,
    /// Whether its QEMU holds its network card, as far as we may look.
    pub connected: bool,
    /// Whether its overlay is there.
    pub disk: bool,
    /// What its overlay uses.
    pub used: ByteSize,
    /// What its QEMU takes of the host's RAM; `None` when it does not run, or nobody may look.
    pub resident: Option<Resident>,
}

impl Seen {
    /// What of it is this machine's alone.
    #[must_use]
    pub fn private(&self) -> Option<ByteSize> {
        self.resident.map(|resident| self.entry.record.private(&resident))
    }
}

/// A template as the journal knows it and as it really is.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenTemplate {
    /// The journal's row.
    pub template: Template,
    /// Whether its memory is still there; a restart of the host loses it.
    pub kept: bool,
    /// What its disk uses.
    pub disk: ByteSize,
}

impl SeenTemplate {
    /// What its memory takes of the host's.
    #[must_use]
    pub fn ram(&self) -> ByteSize {
        if self.kept { self.template.ram } else { ByteSize::default() }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Images that have to be built first.
    pub builds: Vec<Name>,
    /// What changes for each machine; those that stay as they are, are not listed.
    pub changes: Vec<Change>,
    /// How many machines stay as they are.
    pub unchanged: usize,
    /// Templates that no machine stands on and whose room is needed: they go before their time.
    pub given_up: Vec<MachineName>,
    /// The sum over RAM.
    pub memory: Sum,
    /// The sums over the folders that disks share.
    pub folders: Vec<FolderSum>,
    /// Why it cannot be done, beside the sums.
    pub refusals: Vec<String>,
    /// Under measured overcommit, whether nothing of it needs more RAM than is taken already. Then the sum over RAM is
    /// told and refuses nothing: what runs may have taken of the reserve, which is what that is for.
    #[serde(skip)]
    pub runs_on: bool,
}

/// What changes for one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The machine.
    pub machine: MachineName,
    /// What is done.
    pub action: Action,
    /// Why, for a person.
    pub why: String,
}

/// What is done with a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Made and started.
    Create,
    /// Back to golden, with what is new in the file.
    Renew,
    /// Started again on the overlay it has.
    Start,
    /// Waited for: it runs already.
    Await,
    /// Changed while it runs: its cap, when it counts as ready.
    Update,
    /// Made, started and saved, so that others start from its memory.
    Template,
    /// Taken away.
    Destroy,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builds.is_empty() && self.changes.is_empty() && self.given_up.is_empty()
    }

    /// Whether it makes, starts or changes machines, and not only takes some away.
    #[must_use]
    pub fn makes(&self) -> bool {
        self.changes.iter().any(|change| change.action != Action::Destroy)
    }

    /// Whether it may be carried out.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.admitted().is_ok()
    }

    /// The refusal that `up` would give.
    ///
    /// # Errors
    /// When something does not fit, with the sum, or the plan cannot be carried out.
    pub fn admitted(&self) -> Result<(), EngineError> {
        let folders = self.folders.iter().map(|of| (format!("store {}", of.folder.display()), &of.sum));
        let memory = (!self.runs_on).then(|| ("memory".to_owned(), &self.memory));
        let mut sums = memory.into_iter().chain(folders);
        if let Some((what, sum)) = sums.find(|(_, sum)| !sum.fits()) {
            return Err(EngineError::Admission { what, sum: sum.clone() });
        }
        match self.refusals.as_slice() {
            [] => Ok(()),
            refusals => Err(EngineError::Refused(refusals.to_vec())),
        }
    }
}

impl Places {
    /// The folders among them that disks share.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        [&self.ram, &self.disk].into_iter().filter_map(folder).collect()
    }
}

impl Desired {
    /// Where a machine's disk lives: where it is, unless the file moves it to another store.
    #[must_use]
    pub fn placement<'a>(&'a self, wanted: &DesiredPool, seen: Option<&'a Seen>) -> &'a Placement {
        let store = wanted.pool.machine.disk.store;
        match seen.map(|seen| &seen.entry.record) {
            Some(record) if record.shape.disk.store == store => &record.location.placement,
            _ if store == StoreKind::Ram => &self.places.ram,
            _ => &self.places.disk,
        }
    }
}

/// The least that turns `observed` into `desired`. Pools that the file does not name stay as they are.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let mut changes = Vec::new();
    let mut refusals = Vec::new();
    let mut unchanged = 0;
    for wanted in &desired.pools {
        let machines = machines_of(observed, &wanted.pool.name);
        for index in 0..wanted.pool.replicas {
            let machine = MachineName { pool: wanted.pool.name.clone(), index };
            match decide(wanted, machines.get(&index).copied()) {
                Decision::Keep => unchanged += 1,
                Decision::Change(action, why) => changes.push(Change { machine, action, why }),
                Decision::Refuse(why) => refusals.push(format!("{machine}: {why}")),
            }
        }
        changes.extend(machines.range(wanted.pool.replicas..).map(|(index, _)| Change {
            machine: MachineName { pool: wanted.pool.name.clone(), index: *index },
            action: Action::Destroy,
            why: format!("replicas is {}", wanted.pool.replicas),
        }));
    }
    refusals.extend(bridges::conflicts(desired, observed));
    refusals.extend(bridges::without_room(desired, observed));
    let (load, given_up) = demand::fitting(desired, observed, &changes);
    let builds: BTreeSet<&Name> = desired
        .pools
        .iter()
        .filter(|wanted| wanted.image.is_none())
        .map(|wanted| &wanted.pool.image)
        .collect();
    let needs_nothing = |change: &Change| matches!(change.action, Action::Await | Action::Destroy);
    Plan {
        builds: builds.into_iter().cloned().collect(),
        runs_on: desired.host.overcommit.is_some() && changes.iter().all(needs_nothing),
        changes,
        unchanged,
        given_up,
        memory: load.memory(&observed.capacity),
        folders: load.folders(&observed.capacity),
        refusals,
    }
}

/// Does the same to all chosen machines, whatever state they are in.
#[must_use]
pub fn asked_for(observed: &Observed, action: Action, chosen: impl Fn(&MachineName) -> bool) -> Vec<Change> {
    // A template in the making is nobody's to put back.
    let asked = |seen: &Seen| action == Action::Destroy || seen.entry.record.role == Role::Machine;
    let names = observed.machines.iter().filter(|(name, seen)| chosen(name) && asked(seen));
    names.map(|(name, _)| Change { machine: name.clone(), action, why: "asked for".to_owned() }).collect()
}

enum Decision {
    Keep,
    Change(Action, String),
    Refuse(String),
}

fn decide(wanted: &DesiredPool, seen: Option<&Seen>) -> Decision {
    let Some(seen) = seen else {
        return Decision::Change(Action::Create, "new".to_owned());
    };
    let record = &seen.entry.record;
    if let Some(why) = broken(seen).or_else(|| unborn(seen)).or_else(|| outdated(wanted, record)) {
        return Decision::Change(Action::Renew, why);
    }
    let cap = wanted.pool.machine.disk.cap;
    if cap < record.shape.disk.cap && seen.used > cap {
        let used = seen.used;
        return Decision::Refuse(format!(
            "its overlay holds {used}, more than the new cap of {cap}; reset it first, or keep the cap"
        ));
    }
    if let Some(why) = stopped(seen) {
        return Decision::Change(Action::Start, format!("{why}; it keeps its disk"));
    }
    if seen.entry.phase == Phase::Booting {
        return Decision::Change(Action::Await, "it runs and is not ready yet".to_owned());
    }
    adjusted(wanted, record).map_or(Decision::Keep, |why| Decision::Change(Action::Update, why))
}

/// Why a machine has to be started again on the disk that it has.
fn stopped(seen: &Seen) -> Option<String> {
    match seen.entry.phase {
        Phase::Failed => Some(seen.entry.message.clone()),
        Phase::Provisioning => Some("its start was not finished".to_owned()),
        _ if !seen.running => Some("its QEMU is gone".to_owned()),
        _ => (!seen.connected).then(|| "its network card is gone".to_owned()),
    }
}

/// Why a machine has to go back to golden whatever the file says.
fn broken(seen: &Seen) -> Option<String> {
    match seen.entry.phase {
        Phase::Provisioning | Phase::Failed if keeps_its_disk(seen) => None,
        Phase::Planned | Phase::Provisioning => Some("it was never finished".to_owned()),
        Phase::Destroying | Phase::Gone => Some("it was being taken away".to_owned()),
        Phase::Failed => Some(format!("it failed: {}", seen.entry.message)),
        Phase::Booting | Phase::Ready | Phase::Held => (!seen.disk).then(|| "its disk is gone".to_owned()),
    }
}

/// A machine that was started from memory and did not become itself is nobody: it cannot go on from where it is.
fn unborn(seen: &Seen) -> Option<String> {
    let unborn = seen.entry.phase == Phase::Booting && seen.entry.record.origin.awaits_identity();
    unborn.then(|| "it has not become itself".to_owned())
}

/// A machine that was ready once has work on its disk, and is started again on it. One that never came so far is
/// better made anew.
fn keeps_its_disk(seen: &Seen) -> bool {
    seen.disk && seen.entry.record.was_ready
}

/// What the file says that a running machine cannot become.
fn outdated(wanted: &DesiredPool, record: &MachineRecord) -> Option<String> {
    let (shape, was) = (&wanted.pool.machine, &record.shape);
    let differences = [
        other_image(wanted, record),
        (shape.cpus != was.cpus).then(|| format!("cpus {} → {}", was.cpus, shape.cpus)),
        (shape.memory != was.memory).then(|| format!("memory {} → {}", was.memory, shape.memory)),
        (shape.disk.store != was.disk.store).then(|| "another store".to_owned()),
        (shape.firmware != was.firmware).then(|| "another firmware".to_owned()),
        (shape.tpm != was.tpm).then(|| "tpm".to_owned()),
        (wanted.pool.network != record.network).then(|| "another network".to_owned()),
    ];
    let said: Vec<String> = differences.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn other_image(wanted: &DesiredPool, record: &MachineRecord) -> Option<String> {
    let (name, was) = (&wanted.pool.image, &record.image);
    match &wanted.image {
        _ if *name != was.name => Some(format!("image {} → {name}", was.name)),
        None => Some(format!("image {name} → a new build")),
        Some(image) if image.digest != was.digest => {
            Some(format!("image {} → {}", was.digest.short(), image.digest.short()))
        }
        Some(_) => None,
    }
}

/// What the file says that a running machine can become.
fn adjusted(wanted: &DesiredPool, record: &MachineRecord) -> Option<String> {
    let (cap, was) = (wanted.pool.machine.disk.cap, record.shape.disk.cap);
    if cap != was {
        return Some(format!("cap {was} → {cap}"));
    }
    if wanted.pool.machine.start != record.shape.start {
        return Some("start, from the next reset on".to_owned());
    }
    (wanted.pool.ready != record.ready).then(|| "ready".to_owned())
}

fn machines_of<'a>(observed: &'a Observed, pool: &Name) -> BTreeMap<u32, &'a Seen> {
    let first = MachineName { pool: pool.clone(), index: 0 };
    let machines = observed.machines.range(first..).take_while(|(name, _)| name.pool == *pool);
    machines.map(|(name, seen)| (name.index, seen)).collect()
}

#[cfg(test)]
mod tests;
