//! What the tests of this crate start from.

use std::path::PathBuf;

use uuid::Uuid;
use winstead_hypervisor::qemu::{self, Accelerator, Ram, Version};
use winstead_process::ProcessId;
use winstead_spec::{
    ByteSize, Disk, DiskFormat, Flush, GuestOs, MachineName, MachineShape, Name, Network, Pool, Probe,
    Readiness, SeedKind, Sha256, Span, Start, StoreKind,
};
use winstead_store::{Location, Placement};

use crate::{
    Home, ImageRef, MachineRecord, configure,
    facts::Facts,
    machine::{Origin, Role},
    template::Template,
};

pub(crate) fn pool(name: &str, replicas: u32) -> Pool {
    let disk = Disk { store: StoreKind::Ram, cap: ByteSize::from_mib(64), flush: Flush::Ignored };
    Pool {
        name: name.parse().unwrap(),
        image: "debian".parse().unwrap(),
        replicas,
        machine: MachineShape {
            cpus: 1,
            memory: ByteSize::from_mib(256),
            disk,
            firmware: None,
            tpm: None,
            start: Start::Boot,
        },
        network: Network::User,
        ready: Readiness { probe: Probe::Ssh, deadline: Span::from_secs(60) },
        keep_template: None,
    }
}

/// An image version whose digest consists of one byte.
pub(crate) fn image(byte: u8) -> ImageRef {
    ImageRef {
        name: "debian".parse().unwrap(),
        digest: Sha256::from([byte; 32]),
        disk_digest: None,
        os: GuestOs::Linux,
        seed: SeedKind::FwCfg,
        agent: false,
        disk: PathBuf::from("/home/images/debian/070707070707/disk.qcow2"),
        format: DiskFormat::Qcow2,
        virtual_size: ByteSize::from_mib(4096),
        stored_size: ByteSize::from_mib(300),
        kernel: None,
    }
}

/// A machine of that pool on that image, never started.
pub(crate) fn record(pool: &Pool, index: u32, image: ImageRef) -> MachineRecord {
    let name = MachineName { pool: Name::clone(&pool.name), index };
    MachineRecord {
        uid: Uuid::from_u128(u128::from(index) + 1),
        number: index,
        generation: 1,
        shape: pool.machine.clone(),
        network: pool.network.clone(),
        ready: pool.ready.clone(),
        image,
        location: Location {
            placement: Placement::OwnTmpfs,
            disk: PathBuf::from("/disk"),
            tag: "winstead:1".to_owned(),
            name: name.to_string(),
        },
        mac: "52:54:00:00:00:01".to_owned(),
        address: None,
        ssh_port: Some(2222),
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

/// What such a machine becomes when it is saved.
pub(crate) fn template(machine: MachineRecord) -> Template {
    Template {
        machine,
        keeper: ProcessId::of(std::process::id()).unwrap(),
        state: Sha256::from([1; 32]),
        disk: Sha256::from([2; 32]),
        ram: ByteSize::from_mib(100),
        saved_at: jiff::Timestamp::UNIX_EPOCH,
        saved_in: std::time::Duration::ZERO,
        unused_since: None,
    }
}

/// A computer with QEMU 7.`minor`.
pub(crate) fn facts(minor: u32, accelerator: Accelerator) -> Facts {
    let version = Version { major: 7, minor, micro: 0 };
    let features = qemu::Features::of(version);
    Facts {
        qemu: qemu::Qemu { binary: "/q".into(), version, features },
        accelerator: qemu::AcceleratorChoice { accelerator, reason: String::new() },
        store: winstead_store::Features::default(),
        host_cpu: None,
    }
}

/// The same machine, as if it had been started from a template's memory.
pub(crate) fn clone_of_memory(record: MachineRecord) -> MachineRecord {
    let facts = facts(2, Accelerator::Tcg);
    let start = configure::Start { direct: false, ram: Ram::Saved, vsock: None };
    let config = configure::qemu(&Home::at("/home"), &record, &facts, None, start);
    MachineRecord { qemu: Some(config), ..record }
}
