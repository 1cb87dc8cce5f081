//! Where machines answer: on an own bridge and with user networking that is decided beforehand, on a bridge that
//! somebody else looks after the network is asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use winstead_guest::agent::{Agent, Interface, Limits};
use winstead_network::{MacAddress, NetworkError, address_of, addresses_on};
use winstead_spec::{Bridge, Network};

use crate::{MachineRecord, plan::Observed};

/// How long the agent may take: it answers within 20 ms, under emulation within a second, or is not there.
const AGENT: Duration = Duration::from_secs(2);
/// Where SSH of a port of its own answers.
const SSH: u16 = 22;

/// The bridge of others that a machine is on.
pub(crate) fn existing_bridge(record: &MachineRecord) -> Option<&str> {
    match &record.network {
        Network::Bridge(Bridge::Existing { name }) => Some(name),
        Network::Bridge(Bridge::Own { .. }) | Network::User => None,
    }
}

/// The machine's address on a bridge of others, if the host knows it now.
pub(crate) async fn found_on(
    bridge: &str,
    record: &MachineRecord,
    stop: &CancellationToken,
) -> Result<Option<Ipv4Addr>, NetworkError> {
    address_of(bridge, MacAddress::of(record.uid.as_bytes()), stop).await
}

/// Where a machine's SSH answers, if that is known now.
pub(crate) async fn ssh(
    record: &MachineRecord,
    stop: &CancellationToken,
) -> Result<Option<(IpAddr, u16)>, NetworkError> {
    match existing_bridge(record) {
        Some(bridge) => Ok(found_on(bridge, record, stop).await?.map(|address| (address.into(), SSH))),
        None => Ok(record.ssh_address()),
    }
}

/// Where SSH answers by the guest's own word: the address may come from a DHCP server beyond this host, which then
/// hears nothing of it. `None` when no agent answers; most guests have none, so it is not waited for long.
pub(crate) async fn told(
    record: &MachineRecord,
    socket: &Path,
    stop: &CancellationToken,
) -> Option<(IpAddr, u16)> {
    let limits = Limits { connect: AGENT, answer: AGENT, ..Limits::default() };
    let mut agent = Agent::connect_within(socket, limits, stop).await.ok()?;
    let interfaces = agent.network_interfaces().await.ok()?;
    Some((own_address(&interfaces, &record.mac)?, SSH))
}

fn own_address(interfaces: &[Interface], mac: &str) -> Option<IpAddr> {
    let own = |interface: &&Interface| interface.mac.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(mac));
    let addresses = interfaces.iter().filter(own).flat_map(|interface| &interface.addresses);
    // 169.254.0.0/16 is what a guest gives itself while no DHCP server answers.
    let given = |address: &&IpAddr| matches!(address, IpAddr::V4(v4) if !v4.is_link_local());
    addresses.copied().find(|address| given(&address))
}

/// Sets the addresses of running machines on bridges of others to what the host knows now. Where it knows nothing,
/// or cannot be asked, the address that the machine became ready with stays.
pub(crate) async fn refresh(observed: &mut Observed) {
    let mut bridges: BTreeMap<String, BTreeMap<MacAddress, Ipv4Addr>> = BTreeMap::new();
    for seen in observed.machines.values_mut().filter(|seen| seen.running) {
        let Some(bridge) = existing_bridge(&seen.entry.record).map(ToOwned::to_owned) else { continue };
        if !bridges.contains_key(&bridge) {
            let found = addresses_on(&bridge, &CancellationToken::new()).await.unwrap_or_else(|error| {
                tracing::debug!(bridge, %error, "no addresses");
                BTreeMap::new()
            });
            bridges.insert(bridge.clone(), found);
        }
        let mac = MacAddress::of(seen.entry.record.uid.as_bytes());
        let found = bridges.get(&bridge).and_then(|addresses| addresses.get(&mac)).copied();
        seen.entry.record.address = found.or(seen.entry.record.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_right_card_is_taken_and_none_that_the_guest_gave_itself() {
        let card = |mac: &str, addresses: &[&str]| Interface {
            name: "eth0".to_owned(),
            mac: Some(mac.to_owned()),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let all =
            [card("52:00:00:00:00:0b", &["10.0.0.9"]), card("52:00:00:00:00:0A", &["fe80::1", "10.0.0.5"])];
        assert_eq!(own_address(&all, "52:00:00:00:00:0a"), Some("10.0.0.5".parse().unwrap()));
        assert_eq!(own_address(&[card("x", &["169.254.3.4"])], "x"), None);
    }
}
