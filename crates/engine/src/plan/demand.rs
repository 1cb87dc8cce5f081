//! What all machines of this home will demand: the file's as it says, the others as they are.

use std::{collections::BTreeSet, path::PathBuf};

use winstead_spec::{ByteSize, Name, Start};
use winstead_store::Placement;

use super::{Desired, DesiredPool, Observed, Seen, machines_of};
use crate::{
    MachineRecord,
    admission::{Demand, Load},
};

/// The load that the plan's sums are made of.
pub(super) fn load<'a>(desired: &'a Desired, observed: &Observed) -> Load<'a> {
    let named: BTreeSet<&Name> = desired.pools.iter().map(|wanted| &wanted.pool.name).collect();
    let others = observed.machines.iter().filter(|(name, _)| !named.contains(&name.pool));
    let others: Vec<&Seen> = others.map(|(_, seen)| seen).collect();
    let templates = templates_of(&others, observed);
    let others = others.into_iter().map(of_machine).chain(templates);
    let wanted = desired.pools.iter().flat_map(|wanted| of_pool(desired, wanted, observed));
    let grown: ByteSize = observed.machines.values().map(|seen| seen.entry.grown()).sum();
    Load::new(added_up(wanted.chain(others)), &observed.bases, grown, &desired.host)
}

fn of_pool(desired: &Desired, wanted: &DesiredPool, observed: &Observed) -> Vec<Demand> {
    let machines = machines_of(observed, &wanted.pool.name);
    let demand = |index| Demand {
        whose: wanted.pool.name.to_string(),
        machines: 1,
        shape: wanted.pool.machine.clone(),
        folder: folder(desired.placement(wanted, machines.get(&index).copied())),
        image: wanted.image.as_ref().map(|image| (image.digest.clone(), image.stored_size)),
    };
    // The template is a machine itself while it is made; what it leaves behind takes less.
    let from_memory = matches!(wanted.pool.machine.start, Start::Memory { .. });
    let template = (from_memory && wanted.pool.replicas > 0).then(|| Demand {
        whose: format!("template of {}", wanted.pool.name),
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

fn of_machine(seen: &Seen) -> Demand {
    of_record(&seen.entry.record)
}

fn of_record(record: &MachineRecord) -> Demand {
    Demand {
        whose: record.name.pool.to_string(),
        machines: 1,
        shape: record.shape.clone(),
        folder: folder(&record.location.placement),
        image: Some((record.image.digest.clone(), record.image.stored_size)),
    }
}

/// Neighbours that are alike become one demand.
fn added_up(demands: impl Iterator<Item = Demand>) -> Vec<Demand> {
    let mut sum: Vec<Demand> = Vec::new();
    for demand in demands {
        match sum.last_mut() {
            Some(last) if (Demand { machines: last.machines, ..demand.clone() }) == *last => {
                last.machines += 1;
            }
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
