//! Rules between documents: the bridges that pools share, the one agent of a computer, the names of a policy's rules.

use std::collections::BTreeMap;

use crate::{
    AgentPolicy, Bridge, Network, Pool, Subnet,
    parse::Origin,
    problem::{Complaint, Problem},
};

const BRIDGE: &str = "spec.network.bridge";

/// A bridge of ours, as the first pool that uses it says.
struct Known<'a> {
    subnet: Subnet,
    by: &'a Origin<'a>,
    machines: u32,
}

/// Returns what is wrong between pools: one bridge with two subnets, or both ours and not ours; two bridges with
/// one address; more machines than addresses.
pub(crate) fn bridges<'a>(pools: &[Pool], origins: impl Iterator<Item = &'a Origin<'a>>) -> Vec<Problem> {
    let mut own: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    let mut existing: BTreeMap<&str, &Origin<'_>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (pool, origin) in pools.iter().zip(origins) {
        match &pool.network {
            Network::User => {}
            Network::Bridge(Bridge::Existing { name }) => {
                let other = own.get(name.as_str()).map(|known| known.by);
                problems.extend(other.map(|other| both(origin, "existing", other)));
                existing.entry(name).or_insert(origin);
            }
            Network::Bridge(Bridge::Own { name, subnet }) => {
                let other = existing.get(name.as_str());
                problems.extend(other.map(|other| both(origin, "name", other)));
                problems.extend(join(&mut own, pool, origin, (name, *subnet)));
            }
        }
    }
    problems
}

fn both(origin: &Origin<'_>, key: &str, other: &Origin<'_>) -> Problem {
    let message = "one bridge cannot be both ours (`name`) and there already (`existing`)";
    let expected = format!("the same as in {}", other.place(BRIDGE));
    origin.problem(&format!("{BRIDGE}.{key}"), Complaint::new(message).expected(expected))
}

/// Adds a pool to its bridge.
fn join<'a>(
    own: &mut BTreeMap<&'a str, Known<'a>>,
    pool: &Pool,
    origin: &'a Origin<'a>,
    (name, subnet): (&'a str, Subnet),
) -> Option<Problem> {
    let key = format!("{BRIDGE}.subnet");
    if let Some(known) = own.get_mut(name) {
        if known.subnet != subnet {
            let message = format!("bridge `{name}` has {} in {}", known.subnet, known.by.place(&key));
            return Some(origin.problem(&key, Complaint::new(message).expected(known.subnet.to_string())));
        }
        known.machines = known.machines.saturating_add(pool.replicas);
        return too_small(origin, subnet, known.machines);
    }
    let other = own.iter().find(|(_, known)| known.subnet.overlaps(subnet));
    let problem = other.map(|(bridge, known)| {
        let place = known.by.place(&key);
        let message = format!("{subnet} overlaps {} of bridge `{bridge}` in {place}", known.subnet);
        origin.problem(&key, Complaint::new(message).expected("a network of its own"))
    });
    own.insert(name, Known { subnet, by: origin, machines: pool.replicas });
    problem.or_else(|| too_small(origin, subnet, pool.replicas))
}

fn too_small(origin: &Origin<'_>, subnet: Subnet, machines: u32) -> Option<Problem> {
    let fits = subnet.machines();
    let message =
        || format!("{subnet} has addresses for {fits} machines; the pools of this bridge have {machines}");
    let complaint = || Complaint::new(message()).expected("a larger subnet or fewer replicas");
    (machines > fits).then(|| origin.problem(&format!("{BRIDGE}.subnet"), complaint()))
}

/// Returns what is wrong between agents: a computer has one.
pub(crate) fn agents<'a>(mut origins: impl Iterator<Item = &'a Origin<'a>>) -> Vec<Problem> {
    let Some(first) = origins.next() else { return Vec::new() };
    let message = format!("a computer has one agent, and {} describes it already", first.place("kind"));
    let complaint = || Complaint::new(&message).expected("one Agent in all files");
    origins.map(|origin| origin.problem("kind", complaint())).collect()
}

/// Returns what is wrong between policies: two rules with one name, which the audit log could not tell apart.
pub(crate) fn rules<'a>(
    policies: &'a [AgentPolicy],
    origins: impl Iterator<Item = &'a Origin<'a>>,
) -> Vec<Problem> {
    let mut known = BTreeMap::new();
    let mut problems = Vec::new();
    for (policy, origin) in policies.iter().zip(origins) {
        for (index, rule) in policy.rules.iter().enumerate() {
            let key = format!("spec.rules[{index}].name");
            if let Some(first) = known.get(&rule.name) {
                let message = format!("there is a rule of this name already, in {first}");
                problems.push(origin.problem(&key, Complaint::new(message).expected("another name")));
            } else {
                known.insert(&rule.name, origin.place(&key));
            }
        }
    }
    problems
}
