//! Where machines answer: on an own bridge and with user networking that is decided beforehand, on a bridge that
//! somebody else looks after the network is asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use tokio_util::sync::CancellationToken;
use winstead_network::{MacAddress, NetworkError, address_of, addresses_on};
use winstead_spec::{Bridge, Network};

use crate::{MachineRecord, plan::Observed};

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
