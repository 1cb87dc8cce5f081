//! Bridges, taps and leases: what a machine is plugged into.

use std::net::Ipv4Addr;

use winstead_network::{Lease, MacAddress, OwnBridge, Tap};
use winstead_spec::{Bridge, Network};

use super::{Actor, Failure};
use crate::{EngineError, MachineRecord, journal::Shared};

impl Actor {
    async fn own_bridge(&self, network: &Network) -> Result<Option<OwnBridge>, EngineError> {
        let Network::Bridge(Bridge::Own { name, subnet }) = network else { return Ok(None) };
        let tag = self.tag().await?;
        Ok(Some(OwnBridge {
            name: name.clone(),
            subnet: *subnet,
            folder: self.home.networks().join(name),
            tag,
        }))
    }

    async fn tag(&self) -> Result<String, EngineError> {
        Ok(format!("winstead {}", &self.journal.home_id().await?.simple().to_string()[..8]))
    }

    async fn tap(&self, record: &MachineRecord) -> Result<Option<Tap>, EngineError> {
        let Network::Bridge(Bridge::Own { name, .. } | Bridge::Existing { name }) = &record.network else {
            return Ok(None);
        };
        let owner = self.users.run_as(record).map(|user| user.uid);
        let tap = winstead_network::tap_name(record.uid.as_bytes());
        Ok(Some(Tap { name: tap, bridge: name.clone(), owner, tag: self.tag().await? }))
    }

    /// Gives a machine its tap and lease, and its bridge if that is ours. What is there is kept.
    pub(crate) async fn join_network(&self, record: &MachineRecord) -> Result<(), Failure> {
        if let Some(bridge) = self.own_bridge(&record.network).await? {
            let _one = self.sharing.lock().await;
            self.journal.add_shared(&bridge.name, &Shared::Bridge(bridge.clone())).await?;
            self.home.make(&bridge.folder)?;
            if let Some(note) = winstead_network::ensure_bridge(&bridge, &self.stop).await? {
                self.listener.note(note);
            }
            if let Some(lease) = lease(record) {
                winstead_network::add_lease(&bridge, &lease, &self.stop).await?;
            }
        }
        if let Some(tap) = self.tap(record).await? {
            winstead_network::add_tap(&tap, &self.stop).await?;
        }
        Ok(())
    }

    /// Takes a machine's tap and lease away.
    pub(super) async fn leave_network(&self, record: &MachineRecord) -> Result<(), Failure> {
        if let Some(tap) = self.tap(record).await? {
            winstead_network::remove_tap(&tap, &self.stop).await?;
        }
        if let Some(bridge) = self.own_bridge(&record.network).await? {
            let _one = self.sharing.lock().await;
            winstead_network::remove_lease(&bridge, &record.name.to_string(), &self.stop).await?;
        }
        Ok(())
    }
}

fn lease(record: &MachineRecord) -> Option<Lease> {
    let address: Ipv4Addr = record.address?;
    Some(Lease { mac: MacAddress::of(record.uid.as_bytes()), address, name: record.name.to_string() })
}
