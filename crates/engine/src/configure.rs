//! From a record to what the adapters want: pure, pinned by tests.

use std::path::{Path, PathBuf};

use winstead_guest::{
    keys::KeyPair,
    seed::{Address, GuestNetwork, Identity},
};
use winstead_hypervisor::qemu::{
    Backend, DiskConfig, FirmwareConfig, MachineConfig, NicConfig, Ram, RunAs, SeedConfig,
};
use winstead_spec::{Bridge, DirectKernel, DiskFormat, Firmware, GuestOs, Network, SeedKind, StoreKind};
use winstead_store::{BaseLocation, Features, OVERLAY, OverlaySpec};

use crate::{Home, MachineRecord, facts::Facts, machine::Role};

/// Paths as QEMU sees them from its working folder, so that it needs no rights above the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    root: PathBuf,
    /// The read-only base.
    pub(crate) base: PathBuf,
    /// The disk of the template, between base and overlay.
    pub(crate) layer: Option<PathBuf>,
}

impl Paths {
    pub(crate) fn new(home: &Home, record: &MachineRecord) -> Self {
        let base = match record.shape.disk.store {
            StoreKind::Ram => {
                home.base(&record.image.digest).join(record.image.disk.file_name().unwrap_or_default())
            }
            StoreKind::Disk => record.image.disk.clone(),
        };
        let mut paths = Self { root: home.root().to_owned(), base: PathBuf::new(), layer: None };
        paths.base = paths.seen(&base);
        let template = record.origin.template.as_ref();
        paths.layer = template.map(|name| paths.seen(&home.machine(name).join("disk").join(OVERLAY)));
        paths
    }

    /// `HOME/…` as seen from `HOME/machines/NAME/run`; a path outside the home as it is.
    fn seen(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root)
            .map_or_else(|_| path.to_owned(), |inside| Path::new("../../..").join(inside))
    }
}

/// Where the RAM copy of a machine's image lies: beside the overlays.
pub(crate) fn base_location(home: &Home, record: &MachineRecord) -> BaseLocation {
    BaseLocation {
        placement: record.location.placement.clone(),
        folder: home.base(&record.image.digest),
        size: record.image.stored_size,
    }
}

pub(crate) fn overlay(
    record: &MachineRecord,
    paths: Paths,
    owner: Option<(u32, u32)>,
    features: &Features,
) -> OverlaySpec {
    let base_format = if paths.layer.is_some() { DiskFormat::Qcow2 } else { record.image.format };
    OverlaySpec {
        location: record.location.clone(),
        cap: record.shape.disk.cap,
        base: paths.layer.unwrap_or(paths.base),
        base_format,
        size: record.image.virtual_size,
        owner,
        features: features.clone(),
    }
}

pub(crate) fn identity(record: &MachineRecord, host_key: KeyPair, client: &KeyPair) -> Identity {
    Identity {
        host_name: record.name.to_string(),
        machine_id: *record.uid.as_bytes(),
        generation: record.generation,
        host_key,
        authorized_keys: vec![client.public_openssh.clone()],
        network: guest_network(record),
        os: record.image.os,
    }
}

/// The network of those that start from a template's memory, but for their cards: all alike, so that nothing in the guest
/// has to be told. DHCP knows them by their cards.
pub(crate) fn neutral_network(template: &MachineRecord) -> GuestNetwork {
    match template.network {
        Network::User => GuestNetwork::user(String::new()),
        Network::Bridge(_) => GuestNetwork { mac: String::new(), address: Address::Dhcp, nameserver: None },
    }
}

fn guest_network(record: &MachineRecord) -> GuestNetwork {
    let mac = record.mac.clone();
    let dhcp = |mac| GuestNetwork { mac, address: Address::Dhcp, nameserver: None };
    match &record.network {
        Network::User => GuestNetwork::user(mac),
        Network::Bridge(Bridge::Existing { .. }) => dhcp(mac),
        Network::Bridge(Bridge::Own { subnet, .. }) => match (record.address, subnet.address(1)) {
            (Some(address), Some(gateway)) => GuestNetwork {
                mac,
                address: Address::Static { address, prefix: subnet.prefix(), gateway },
                nameserver: Some(gateway),
            },
            _ => dhcp(mac),
        },
    }
}

/// What a start is given beside the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Whether the overlay and its base can be opened with `O_DIRECT` where they are.
    pub(crate) direct: bool,
    /// Where the guest's RAM lies.
    pub(crate) ram: Ram,
    /// The number under which it is called by vsock.
    pub(crate) vsock: Option<u32>,
}

pub(crate) fn qemu(
    home: &Home,
    record: &MachineRecord,
    facts: &Facts,
    run_as: Option<RunAs>,
    start: Start,
) -> MachineConfig {
    let paths = Paths::new(home, record);
    MachineConfig {
        name: record.name.to_string(),
        uuid: record.uid,
        os: record.image.os,
        cpus: record.shape.cpus,
        memory: record.shape.memory,
        ram: start.ram,
        firmware: firmware(record, &paths),
        tpm: record.shape.tpm.unwrap_or(record.image.os == GuestOs::Windows),
        disk: DiskConfig {
            overlay: Path::new("../disk").join(OVERLAY),
            layer: paths.layer.clone(),
            base: paths.base.clone(),
            base_format: record.image.format,
            direct: start.direct,
            flush: record.shape.disk.flush,
            io_uring: facts.store.io_uring,
        },
        nic: NicConfig { mac: record.mac.clone(), backend: backend(record) },
        seed: match record.image.seed {
            SeedKind::FwCfg => SeedConfig::FwCfg(PathBuf::from("../seed.tar")),
            SeedKind::NoCloud => SeedConfig::Cdrom(PathBuf::from("../seed.iso")),
            SeedKind::None => SeedConfig::None,
        },
        agent: record.image.agent,
        vsock: start.vsock,
        accelerator: facts.accelerator.accelerator,
        run_as,
    }
}

fn firmware(record: &MachineRecord, paths: &Paths) -> FirmwareConfig {
    let chosen = record.shape.firmware.unwrap_or(match (record.image.os, &record.image.kernel) {
        (GuestOs::Windows, _) => Firmware::SecureBoot,
        (GuestOs::Linux, Some(_)) => Firmware::Direct,
        (GuestOs::Linux, None) => Firmware::Uefi,
    });
    match (chosen, &record.image.kernel) {
        (Firmware::Direct, Some(DirectKernel { kernel, initrd, command_line })) => FirmwareConfig::Direct {
            kernel: paths.seen(kernel),
            initrd: initrd.as_deref().map(|initrd| paths.seen(initrd)),
            command_line: command_line.clone(),
        },
        (Firmware::SecureBoot, _) => FirmwareConfig::SecureBoot,
        (Firmware::Uefi | Firmware::Direct, _) => FirmwareConfig::Uefi,
    }
}

fn backend(record: &MachineRecord) -> Backend {
    match (&record.network, record.ssh_port) {
        (Network::Bridge(_), _) if record.role == Role::Template => Backend::None,
        (Network::User, Some(ssh_port)) => Backend::User { ssh_port, host_name: record.name.to_string() },
        _ => Backend::Tap { name: winstead_network::tap_name(record.uid.as_bytes()) },
    }
}

#[cfg(test)]
mod tests {
    use winstead_spec::Subnet;

    use super::*;
    use crate::fixtures;

    fn home() -> Home {
        Home::at("/home")
    }

    fn record(edit: impl FnOnce(&mut MachineRecord)) -> MachineRecord {
        let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
        edit(&mut record);
        record
    }

    #[test]
    fn qemu_finds_everything_from_its_working_folder() {
        let ram = record(|_| {});
        let disk = record(|record| record.shape.disk.store = StoreKind::Disk);
        assert_eq!(Paths::new(&home(), &ram).base, Path::new("../../../bases/070707070707/disk.qcow2"));
        let on_disk = Path::new("../../../images/debian/070707070707/disk.qcow2");
        assert_eq!(Paths::new(&home(), &disk).base, on_disk);
        let elsewhere = record(|record| {
            record.shape.disk.store = StoreKind::Disk;
            record.image.disk = PathBuf::from("/srv/disk.qcow2");
        });
        assert_eq!(Paths::new(&home(), &elsewhere).base, Path::new("/srv/disk.qcow2"));
    }

    #[test]
    fn the_firmware_follows_the_image_unless_the_file_says_otherwise() {
        let kernel = DirectKernel { kernel: "/k".into(), initrd: None, command_line: String::new() };
        let firmware = |edit: fn(&mut MachineRecord, DirectKernel)| {
            let record = record(|record| edit(record, kernel.clone()));
            firmware(&record, &Paths::new(&home(), &record))
        };
        assert_eq!(firmware(|_, _| {}), FirmwareConfig::Uefi);
        assert!(matches!(
            firmware(|record, kernel| record.image.kernel = Some(kernel)),
            FirmwareConfig::Direct { .. }
        ));
        assert_eq!(firmware(|record, _| record.image.os = GuestOs::Windows), FirmwareConfig::SecureBoot);
        let chosen = |record: &mut MachineRecord, kernel| {
            record.image.kernel = Some(kernel);
            record.shape.firmware = Some(Firmware::Uefi);
        };
        assert_eq!(firmware(chosen), FirmwareConfig::Uefi);
    }

    #[test]
    fn a_guest_on_our_bridge_knows_its_address_and_one_on_another_asks() {
        let subnet: Subnet = "10.77.0.0/24".parse().unwrap();
        let own = record(|record| {
            record.network = Network::Bridge(Bridge::Own { name: "wbr0".into(), subnet });
            record.address = subnet.address(2);
        });
        let network = guest_network(&own);
        assert_eq!(network.nameserver, subnet.address(1));
        assert!(matches!(network.address, Address::Static { prefix: 24, .. }));
        let other =
            record(|record| record.network = Network::Bridge(Bridge::Existing { name: "br0".into() }));
        assert_eq!(guest_network(&other).address, Address::Dhcp);
    }
}
