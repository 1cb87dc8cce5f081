//! What a new machine gets that no other has: number, address, port.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use uuid::Uuid;
use winstead_network::{MacAddress, allocate as allocate_address};
use winstead_spec::{Bridge, MachineName, MachineShape, Network, Probe, Readiness};
use winstead_store::{Location, Placement};

use crate::{
    EngineError, Home, ImageRef, MachineRecord,
    machine::{Origin, Role},
    plan::DesiredPool,
};

/// What machines of this home have already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    numbers: BTreeSet<u32>,
    macs: BTreeSet<String>,
    ports: BTreeSet<u16>,
    addresses: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

impl Taken {
    /// What `records` have.
    pub(crate) fn by<'a>(records: impl Iterator<Item = &'a MachineRecord>) -> Self {
        let mut taken = Self::default();
        records.for_each(|record| taken.add(record));
        taken
    }

    fn add(&mut self, record: &MachineRecord) {
        self.numbers.insert(record.number);
        self.macs.insert(record.mac.clone());
        self.ports.extend(record.ssh_port);
        if let (Some(bridge), Some(address)) = (own_bridge(&record.network), record.address) {
            self.addresses.entry(bridge.to_owned()).or_default().insert(address);
        }
    }

    /// A new identity whose hardware address nobody has: that is only 40 bits of the identity's hash.
    fn identity(&self) -> (Uuid, String) {
        loop {
            let uid = Uuid::new_v4();
            let mac = MacAddress::of(uid.as_bytes()).to_string();
            if !self.macs.contains(&mac) {
                return (uid, mac);
            }
        }
    }

    fn number(&self) -> u32 {
        (0..).find(|number| !self.numbers.contains(number)).unwrap_or(0)
    }
}

/// A new machine's record. Nothing of it is created; only a free port is looked for.
pub(crate) fn record(
    (wanted, image): (&DesiredPool, &ImageRef),
    name: MachineName,
    (home, placement): (&Home, Placement),
    taken: &mut Taken,
) -> Result<MachineRecord, EngineError> {
    let pool = &wanted.pool;
    let wish = Wish { shape: &pool.machine, network: &pool.network, ready: pool.ready.clone(), image };
    let mut record = unstarted(wish, name, (home, placement), taken);
    connect(&mut record, taken)?;
    taken.add(&record);
    Ok(record)
}

/// The record of the machine whose saved memory others like `wanted` start from. Nobody reaches it, so it has no address.
pub(crate) fn template(
    wanted: &MachineRecord,
    name: MachineName,
    home: &Home,
    taken: &mut Taken,
) -> Result<MachineRecord, EngineError> {
    let ready = Readiness { probe: Probe::Agent, ..wanted.ready.clone() };
    let wish = Wish { shape: &wanted.shape, network: &wanted.network, ready, image: &wanted.image };
    let mut record = unstarted(wish, name, (home, wanted.location.placement.clone()), taken);
    record.role = Role::Template;
    // QEMU's user network wants one, though nothing answers behind it.
    record.ssh_port = (record.network == Network::User).then(|| port(taken)).transpose()?;
    taken.add(&record);
    Ok(record)
}

/// What somebody wants a machine to be.
struct Wish<'a> {
    shape: &'a MachineShape,
    network: &'a Network,
    ready: Readiness,
    image: &'a ImageRef,
}

/// A machine of which nothing exists and that is connected to nothing.
fn unstarted(
    wish: Wish<'_>,
    name: MachineName,
    (home, placement): (&Home, Placement),
    taken: &Taken,
) -> MachineRecord {
    let (uid, mac) = taken.identity();
    MachineRecord {
        uid,
        number: taken.number(),
        generation: 0,
        shape: wish.shape.clone(),
        network: wish.network.clone(),
        ready: wish.ready,
        image: wish.image.clone(),
        location: Location {
            placement,
            disk: home.machine(&name).join("disk"),
            tag: tag(&uid),
            name: name.to_string(),
        },
        mac,
        address: None,
        ssh_port: None,
        host_key: String::new(),
        qemu: None,
        process: None,
        tpm: None,
        started_at: None,
        ready_at: None,
        was_ready: false,
        role: Role::Machine,
        origin: Origin::default(),
        name,
    }
}

/// Gives a record what its network needs, and keeps what it has.
pub(crate) fn connect(record: &mut MachineRecord, taken: &mut Taken) -> Result<(), EngineError> {
    match &record.network {
        Network::User if record.ssh_port.is_none() => {
            record.ssh_port = Some(port(taken)?);
            record.address = None;
        }
        Network::Bridge(Bridge::Own { name, subnet }) if record.address.is_none() => {
            let used = taken.addresses.entry(name.clone()).or_default();
            let address = allocate_address(*subnet, used, None);
            let full =
                || EngineError::Refused(vec![format!("{}: no address is free in {subnet}", record.name)]);
            record.address = Some(address.ok_or_else(full)?);
            record.ssh_port = None;
        }
        Network::Bridge(Bridge::Existing { .. }) => record.ssh_port = None,
        Network::User | Network::Bridge(_) => {}
    }
    taken.add(record);
    Ok(())
}

fn port(taken: &Taken) -> Result<u16, EngineError> {
    for _ in 0..100 {
        let port = winstead_network::free_port()
            .map_err(|error| EngineError::host("find a free port")(error.into()))?;
        if !taken.ports.contains(&port) {
            return Ok(port);
        }
    }
    Err(EngineError::Refused(vec!["no loopback port is free".to_owned()]))
}

/// What everything in the kernel that belongs to this machine is marked with.
fn tag(uid: &Uuid) -> String {
    format!("winstead:{}", &uid.simple().to_string()[..8])
}

fn own_bridge(network: &Network) -> Option<&str> {
    match network {
        Network::Bridge(Bridge::Own { name, .. }) => Some(name),
        _ => None,
    }
}
