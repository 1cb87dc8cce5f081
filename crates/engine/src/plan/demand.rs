//! What all machines of this home will demand: the file's as it says, the others as they are.

use std::{collections::BTreeSet, path::PathBuf};

use winstead_spec::{ByteSize, MachineShape, Name, Sha256, Start};
use winstead_store::Placement;

use super::{Desired, DesiredPool, Observed, Seen, machines_of};
use crate::{
    MachineRecord, Phase,
    admission::{Demand, Load, Ram},
};

/// The load that the plan's sums are made of.
pub(super) fn load<'a>(desired: &'a Desired, observed: &Observed) -> Load<'a> {
    let named: BTreeSet<&Name> = desired.pools.iter().map(|wanted| &wanted.pool.name).collect();
    let others = observed.machines.iter().filter(|(name, _)| !named.contains(&name.pool));
    let others: Vec<&Seen> = others.map(|(_, seen)| seen).collect();
    let templates = templates_of(&others, observed);
    let others = others.into_iter().map(|seen| of_machine(desired, seen, observed)).chain(templates);
    let wanted = desired.pools.iter().flat_map(|wanted| of_pool(desired, wanted, observed));
    let grown: ByteSize = observed.machines.values().map(|seen| seen.entry.grown()).sum();
    Load::new(added_up(wanted.chain(others)), &observed.bases, grown, &desired.host)
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
    // The template is a machine itself while it is made; what it leaves behind takes less.
    let from_memory = matches!(wanted.pool.machine.start, Start::Memory { .. });
    let template = (from_memory && wanted.pool.replicas > 0).then(|| Demand {
        whose: format!("template of {}", wanted.pool.name),
        ram: Ram::Whole,
        ..demand(wanted.pool.replicas)
    });
    (0..wanted.pool.replicas).map(demand).chain(template).collect()
}

/// The templates that machines stand on which the file does not name.
fn templates_of(machines: &[&Seen], observed: &Observed) -> Vec<Demand> {
    let used: BTreeSet<_> =
        machines.iter().filter_map(|seen| seen.entry.record.origin.template.as_ref()).collect();
    let known = observed.templates.values().filter(|template| used.contains(template.name()));
    known.map(|template| of_record(&template.machine)).collect()
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
