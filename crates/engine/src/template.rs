//! Templates: machines that booted once and were saved, so that others start from their memory. Pure.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use winstead_hypervisor::qemu::{Accelerator, Version};
use winstead_process::ProcessId;
use winstead_spec::{
    ByteSize, Firmware, GuestOs, MachineName, Name, Network, SeedKind, Sha256, Start, StoreKind, TEMPLATES,
};

use crate::{MachineRecord, facts::Facts};

/// Raised whenever what is saved changes its meaning.
const FORMAT: u32 = 2;

/// A finished template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The machine that was saved, as it was recorded; its QEMU is gone.
    pub machine: MachineRecord,
    /// The process that keeps its RAM.
    pub keeper: ProcessId,
    /// Of the saved state.
    pub state: Sha256,
    /// Of its disk.
    pub disk: Sha256,
    /// What its RAM takes of the host's.
    pub ram: ByteSize,
    /// When it was saved.
    pub saved_at: Timestamp,
}

impl Template {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &MachineName {
        &self.machine.name
    }

    /// Where its state lies.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        state_file(&self.machine)
    }
}

/// Where a template's state lies: beside its disk, which is sealed with it.
pub(crate) fn state_file(machine: &MachineRecord) -> PathBuf {
    machine.location.disk.join("state")
}

/// What two machines must have in common to start from the same memory.
#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    image: &'a Sha256,
    cpus: u32,
    memory: ByteSize,
    network: &'static str,
    store: StoreKind,
    warm: &'a [Vec<String>],
    qemu: Version,
    accelerator: Accelerator,
    /// With KVM the guest has seen this very processor.
    host_cpu: Option<&'a str>,
}

/// What the templates that a machine can start from are called; there is more than one when the memory of an older one was
/// lost and machines still stand on its disk.
pub(crate) fn name(record: &MachineRecord, warm: &[Vec<String>], facts: &Facts) -> Name {
    let key = Key {
        format: FORMAT,
        image: &record.image.digest,
        cpus: record.shape.cpus,
        memory: record.shape.memory,
        network: if record.network == Network::User { "user" } else { "bridge" },
        store: record.shape.disk.store,
        warm,
        qemu: facts.qemu.version,
        accelerator: facts.accelerator.accelerator,
        host_cpu: facts.host_cpu.as_deref(),
    };
    let text = serde_json::to_vec(&key).unwrap_or_default();
    let digest = winstead_image::digest::of_bytes(&text);
    format!("{TEMPLATES}{}", digest.short()).parse().expect("lower-case digits make a name")
}

/// Why a machine cannot start from memory, for a person; `None` when it can.
pub(crate) fn obstacle(record: &MachineRecord) -> Option<&'static str> {
    let (shape, image) = (&record.shape, &record.image);
    let direct = image.kernel.is_some() && shape.firmware.is_none_or(|chosen| chosen == Firmware::Direct);
    if image.os == GuestOs::Windows {
        return Some(
            "what gives a Windows guest its own identity after a save has not been run on the real thing yet",
        );
    }
    if shape.tpm == Some(true) {
        return Some("a TPM's state cannot be shared");
    }
    if image.seed != SeedKind::FwCfg {
        return Some("only our own images (`seed: fw-cfg`) can be given an identity after they have booted");
    }
    (!direct).then_some("only machines that start directly, without firmware, are saved so far")
}

/// What a machine's template runs; `None` when the machine is to boot.
pub(crate) fn warm(record: &MachineRecord) -> Option<&[Vec<String>]> {
    match &record.shape.start {
        Start::Memory { warm } => Some(warm),
        Start::Boot => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use winstead_hypervisor::qemu;
    use winstead_spec::DirectKernel;

    use crate::fixtures;

    fn record(edit: impl FnOnce(&mut MachineRecord)) -> MachineRecord {
        let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
        record.image.kernel =
            Some(DirectKernel { kernel: "/k".into(), initrd: None, command_line: String::new() });
        edit(&mut record);
        record
    }

    fn facts(minor: u32, accelerator: Accelerator) -> Facts {
        let version = Version { major: 7, minor, micro: 0 };
        let features = qemu::Features::of(version);
        Facts {
            qemu: qemu::Qemu { binary: "/q".into(), version, features },
            accelerator: qemu::AcceleratorChoice { accelerator, reason: String::new() },
            store: winstead_store::Features::default(),
            host_cpu: None,
        }
    }

    #[test]
    fn whatever_the_saved_memory_depends_on_is_in_the_name() {
        let usual = facts(2, Accelerator::Tcg);
        let named = |edit: fn(&mut MachineRecord)| name(&record(edit), &[], &usual).to_string();
        let first = named(|_| {});
        assert!(first.starts_with("template-"), "{first}");
        let same: [fn(&mut MachineRecord); 3] = [
            |record| record.name.index = 7,
            |record| record.uid = uuid::Uuid::from_u128(99),
            |record| record.shape.disk.cap = ByteSize::from_mib(1),
        ];
        assert!(same.into_iter().all(|edit| named(edit) == first));
        let others: [fn(&mut MachineRecord); 5] = [
            |record| record.image.digest = Sha256::from([8; 32]),
            |record| record.shape.cpus = 2,
            |record| record.shape.memory = ByteSize::from_mib(512),
            |record| record.shape.disk.store = StoreKind::Disk,
            |record| record.network = Network::Bridge(winstead_spec::Bridge::Existing { name: "br0".into() }),
        ];
        let mut names: std::collections::BTreeSet<String> = others.into_iter().map(named).collect();
        let warm = [vec!["true".to_owned()]];
        names.insert(name(&record(|_| {}), &warm, &usual).to_string());
        names.insert(name(&record(|_| {}), &[], &facts(3, Accelerator::Tcg)).to_string());
        names.insert(name(&record(|_| {}), &[], &facts(2, Accelerator::Kvm)).to_string());
        names.insert(first);
        assert_eq!(names.len(), 9, "{names:?}");
    }

    #[test]
    fn what_cannot_be_saved_is_told() {
        assert_eq!(obstacle(&record(|_| {})), None);
        let edits: [fn(&mut MachineRecord); 5] = [
            |record| record.image.os = GuestOs::Windows,
            |record| record.shape.tpm = Some(true),
            |record| record.image.seed = SeedKind::NoCloud,
            |record| record.image.kernel = None,
            |record| record.shape.firmware = Some(Firmware::Uefi),
        ];
        for edit in edits {
            assert!(obstacle(&record(edit)).is_some());
        }
    }
}
