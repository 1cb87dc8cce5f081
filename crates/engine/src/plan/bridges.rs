//! Bridges of pools that the file does not name: what it says of the same bridge must agree with them. (What it says
//! twice itself is looked at when the file is read.)

use std::collections::{BTreeMap, BTreeSet};

use winstead_spec::{Bridge, Name, Network, Subnet};

use super::{Desired, Observed};

/// Returns why pools of the file cannot be on the bridges that they name.
pub(super) fn conflicts(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let named: BTreeSet<&Name> = desired.pools.iter().map(|wanted| &wanted.pool.name).collect();
    let others = observed.machines.iter().filter(|(machine, _)| !named.contains(&machine.pool));
    let others =
        others.filter_map(|(machine, seen)| Some((&machine.pool, bridge(&seen.entry.record.network)?)));
    let others: Vec<(&Name, &Bridge)> = others.collect();
    let mut said = BTreeSet::new();
    for wanted in &desired.pools {
        let Some(mine) = bridge(&wanted.pool.network) else { continue };
        let differs = |other: &&(&Name, &Bridge)| name(other.1) == name(mine) && other.1 != mine;
        said.extend(others.iter().filter(differs).map(|(pool, other)| {
            let (mine_is, other_is) = (what(mine), what(other));
            format!(
                "pool {}: the bridge {} is {other_is} for the pool {pool}, not {mine_is}",
                wanted.pool.name,
                name(mine)
            )
        }));
    }
    said
}

/// Returns which bridges have fewer addresses than machines. Machines of pools that the file does not name stay.
pub(super) fn without_room(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let named: BTreeSet<&Name> = desired.pools.iter().map(|wanted| &wanted.pool.name).collect();
    let wanted = desired.pools.iter().map(|wanted| (&wanted.pool.network, wanted.pool.replicas));
    let others = observed.machines.iter().filter(|(machine, _)| !named.contains(&machine.pool));
    let others = others.map(|(_, seen)| (&seen.entry.record.network, 1));
    let mut machines: BTreeMap<(&str, Subnet), u32> = BTreeMap::new();
    for (network, number) in wanted.chain(others) {
        if let Some(Bridge::Own { name, subnet }) = bridge(network) {
            let sum = machines.entry((name.as_str(), *subnet)).or_default();
            *sum = sum.saturating_add(number);
        }
    }
    let over = machines.into_iter().filter(|((_, subnet), number)| *number > subnet.machines());
    over.map(|((name, subnet), number)| {
        format!(
            "the bridge {name} is for {number} machines, but {subnet} has addresses for {}",
            subnet.machines()
        )
    })
    .collect()
}

const fn bridge(network: &Network) -> Option<&Bridge> {
    match network {
        Network::Bridge(bridge) => Some(bridge),
        Network::User => None,
    }
}

fn name(bridge: &Bridge) -> &str {
    match bridge {
        Bridge::Own { name, .. } | Bridge::Existing { name } => name,
    }
}

fn what(bridge: &Bridge) -> String {
    match bridge {
        Bridge::Own { subnet, .. } => format!("ours with {subnet}"),
        Bridge::Existing { .. } => "one of others".to_owned(),
    }
}
