//! What all machines of this home will demand: the file's as it says, the others as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use winstead_spec::{ByteSize, MachineName, MachineShape, Name, Pool, Sha256, Start, StoreKind};
use winstead_store::Placement;

use super::{Action, Change, Desired, DesiredPool, Observed, Seen, SeenTemplate, machines_of};
use crate::{
    MachineRecord, Phase,
    admission::{Demand, Load, Ram, Saved},
};

type Templates<'a> = BTreeMap<&'a MachineName, &'a SeenTemplate>;

/// The load that the plan's sums are made of, and the templates that are given up for it to fit: those that neither a
/// machine nor the file needs, as many as it takes, the one that waits longest first.
pub(super) fn fitting<'a>(
    desired: &'a Desired,
    observed: &Observed,
    changes: &[Change],
) -> (Load<'a>, Vec<MachineName>) {
    let mut templates: Templates<'_> = observed.templates.iter().collect();
    let mut given_up = Vec::new();
    let mut needless = needless(desired, observed, changes).into_iter();
    loop {
        let load = load(desired, observed, &templates);
        let fits = load.fits(&observed.capacity);
        let next = if fits { None } else { needless.next() };
        let Some(name) = next else { return (load, given_up) };
        templates.remove(name);
        given_up.push(name.clone());
    }
}

/// The templates that no machine will stand on, those first that wait longest. Pools that the file does not name go on as
/// they are: a reset of theirs, which names none, must not give up what it starts from.
fn needless<'a>(desired: &Desired, observed: &'a Observed, changes: &[Change]) -> Vec<&'a MachineName> {
    let leaving = changes.iter().filter(|change| change.action == Action::Destroy);
    let leaving: BTreeSet<&MachineName> = leaving.map(|change| &change.machine).collect();
    let staying = observed.machines.iter().filter(|(name, _)| !leaving.contains(name));
    let used: BTreeSet<&MachineName> =
        staying.filter_map(|(_, seen)| seen.entry.record.origin.template.as_ref()).collect();
    let pools: Vec<(&Pool, &Sha256)> = applied(desired, observed).collect();
    let wanted = |seen: &SeenTemplate| pools.iter().any(|(pool, image)| starts_from(pool, image, seen));
    let mut needless: Vec<_> =
        observed.templates.iter().filter(|(name, seen)| !used.contains(name) && !wanted(seen)).collect();
    needless.sort_by_key(|(_, seen)| seen.template.unused_since);
    needless.into_iter().map(|(name, _)| name).collect()
}

/// All pools with the images that their machines start from: the file's, and those of this home that it does not name.
fn applied<'a>(desired: &'a Desired, observed: &'a Observed) -> impl Iterator<Item = (&'a Pool, &'a Sha256)> {
    let wanted =
        desired.pools.iter().filter_map(|wanted| Some((&wanted.pool, &wanted.image.as_ref()?.digest)));
    let is_named = |name: &Name| desired.pools.iter().any(|wanted| wanted.pool.name == *name);
    let others = observed.pools.values().filter(move |record| !is_named(&record.pool.name));
    wanted.chain(others.map(|record| (&record.pool, &record.digest)))
}

/// Whether the pool's new machines start from this template.
fn starts_from(pool: &Pool, image: &Sha256, seen: &SeenTemplate) -> bool {
    seen.kept && pool.replicas > 0 && seen.template.suits(image, &pool.machine, &pool.network)
}

fn load<'a>(desired: &'a Desired, observed: &Observed, templates: &Templates<'_>) -> Load<'a> {
    let named: BTreeSet<&Name> = desired.pools.iter().map(|wanted| &wanted.pool.name).collect();
    let others = observed.machines.iter().filter(|(name, _)| !named.contains(&name.pool));
    let wanted = desired.pools.iter().flat_map(|wanted| of_pool(desired, wanted, observed));
    let demands = added_up(wanted.chain(others.map(|(_, seen)| of_machine(desired, seen, observed))));
    let saved = templates.values().map(|seen| saved(seen)).collect();
    let grown: ByteSize = observed.machines.values().map(|seen| seen.entry.grown()).sum();
    Load::new(demands, (saved, &observed.bases), grown, &desired.host)
}

fn saved(seen: &SeenTemplate) -> Saved {
    let record = &seen.template.machine;
    Saved {
        name: record.name.clone(),
        ram: seen.ram(),
        disk: seen.disk,
        in_ram: record.shape.disk.store == StoreKind::Ram,
        folder: folder(&record.location.placement),
    }
}

fn of_pool(desired: &Desired, wanted: &DesiredPool, observed: &Observed) -> Vec<Demand> {
    let machines = machines_of(observed, &wanted.pool.name);
    let digest = wanted.image.as_ref().map(|image| &image.digest);
    let like = Like { pool: &wanted.pool.name, shape: &wanted.pool.machine, digest };
    let demand = |index| Demand {
        whose: wanted.pool.name.to_string(),
        machines: 1,
        ram: ram(desired, &like, machines.get(&index).copied(), observed),
        shape: wanted.pool.machine.clone(),
        folder: folder(desired.placement(wanted, machines.get(&index).copied())),
        image: wanted.image.as_ref().map(|image| (image.digest.clone(), image.stored_size)),
    };
    // A template is a machine itself while it is made; what it leaves behind takes less.
    let from_memory = matches!(wanted.pool.machine.start, Start::Memory { .. });
    let serves = |image| observed.templates.values().any(|seen| starts_from(&wanted.pool, image, seen));
    let is_there = || digest.is_some_and(serves);
    let template = (from_memory && wanted.pool.replicas > 0 && !is_there()).then(|| Demand {
        whose: format!("template of {}", wanted.pool.name),
        ram: Ram::Whole,
        ..demand(wanted.pool.replicas)
    });
    (0..wanted.pool.replicas).map(demand).chain(template).collect()
}

fn of_machine(desired: &Desired, seen: &Seen, observed: &Observed) -> Demand {
    let record = &seen.entry.record;
    let like = Like { pool: &record.name.pool, shape: &record.shape, digest: Some(&record.image.digest) };
    Demand { ram: ram(desired, &like, Some(seen), observed), ..of_record(record) }
}

fn of_record(record: &MachineRecord) -> Demand {
    Demand {
        whose: record.name.pool.to_string(),
        machines: 1,
        ram: Ram::Whole,
        shape: record.shape.clone(),
        folder: folder(&record.location.placement),
        image: Some((record.image.digest.clone(), record.image.stored_size)),
    }
}

/// What a machine will be: those that are like it tell what it will hold.
struct Like<'a> {
    pool: &'a Name,
    shape: &'a MachineShape,
    digest: Option<&'a Sha256>,
}

impl Like<'_> {
    /// What a machine that is like this was measured to hold. One that was never ready has not taken yet what it will.
    fn measured(&self, seen: &Seen) -> Option<ByteSize> {
        let (record, shape) = (&seen.entry.record, self.shape);
        // What it may write and how it started is no part of what it is.
        let was = MachineShape { disk: shape.disk, start: shape.start.clone(), ..record.shape.clone() };
        let settled = matches!(seen.entry.phase, Phase::Ready | Phase::Held);
        let alike = was == *shape && self.digest == Some(&record.image.digest);
        seen.private().filter(|_| settled && alike)
    }

    /// The largest that was measured of its pool. A machine that boots holds more than one that shares what it began
    /// with.
    fn largest(&self, observed: &Observed) -> Option<ByteSize> {
        let boots = self.shape.start == Start::Boot;
        let tells = |seen: &&&Seen| !(boots && seen.entry.record.is_clone());
        let machines = machines_of(observed, self.pool);
        machines.values().filter(tells).filter_map(|seen| self.measured(seen)).max()
    }
}

/// What a machine's RAM counts as.
fn ram(desired: &Desired, like: &Like<'_>, seen: Option<&Seen>, observed: &Observed) -> Ram {
    if desired.host.overcommit.is_none() {
        return Ram::Whole;
    }
    match seen.and_then(|seen| like.measured(seen)) {
        Some(private) => Ram::Measured(private),
        None => like.largest(observed).map_or(Ram::Unmeasured, Ram::Expected),
    }
}

/// Neighbours that are alike become one demand.
fn added_up(demands: impl Iterator<Item = Demand>) -> Vec<Demand> {
    let mut sum: Vec<Demand> = Vec::new();
    for demand in demands {
        let with_last = sum.last().and_then(|last| last.with(&demand));
        match (sum.last_mut(), with_last) {
            (Some(last), Some(both)) => *last = both,
            _ => sum.push(demand),
        }
    }
    sum
}

/// The folder that a placement shares with others.
pub(crate) fn folder(placement: &Placement) -> Option<PathBuf> {
    match placement {
        Placement::OwnTmpfs => None,
        Placement::SharedRam { folder } | Placement::Folder { folder } => Some(folder.clone()),
    }
}
