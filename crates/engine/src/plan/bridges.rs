//! Bridges of pools that the file does not name: what it says of the same bridge must agree with them. (What it says
//! twice itself is looked at when the file is read.)

use std::collections::BTreeSet;

use winstead_spec::{Bridge, Name, Network};

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
