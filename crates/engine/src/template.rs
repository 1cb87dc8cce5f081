//! Templates: machines that booted once and were saved, so that others start from their memory. Pure.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use winstead_hypervisor::qemu::{Accelerator, Version};
use winstead_process::ProcessId;
use winstead_spec::{
    ByteSize, Firmware, GuestOs, MachineName, MachineShape, Name, Network, SeedKind, Sha256, Start,
    StoreKind, TEMPLATES,
};

use crate::{MachineRecord, facts::Facts, journal::PoolRecord};

/// Raised whenever what is saved changes its meaning.
const FORMAT: u32 = 3;

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
    /// How long that took, from the guest's last moment until others could start from it.
    #[serde(default)]
    pub saved_in: Duration,
    /// Since when no machine stands on it.
    #[serde(default)]
    pub unused_since: Option<Timestamp>,
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

    /// Whether machines of this shape on this image can start from it, as far as the file decides that.
    #[must_use]
    pub fn suits(&self, image: &Sha256, shape: &MachineShape, network: &Network) -> bool {
        let wanted = kind(image, shape, network);
        wanted.is_some() && wanted == kind_of(&self.machine)
    }

    /// Until when it stays without a machine, as the pools that could start from it say; `None` while machines stand on it.
    #[must_use]
    pub fn stays_until(&self, pools: &BTreeMap<Name, PoolRecord>) -> Option<Timestamp> {
        let suits =
            |record: &&PoolRecord| self.suits(&record.digest, &record.pool.machine, &record.pool.network);
        let spans = pools.values().filter(suits).filter_map(|record| record.pool.keep_template);
        let longest = spans.map(winstead_spec::Span::duration).max().unwrap_or_default();
        self.unused_since.map(|since| since.saturating_add(longest).unwrap_or(Timestamp::MAX))
    }
}

/// Where a template's state lies: beside its disk, which is sealed with it.
pub(crate) fn state_file(machine: &MachineRecord) -> PathBuf {
    machine.location.disk.join("state")
}

/// What two machines must have in common to start from the same memory, as far as the file decides it.
#[derive(PartialEq, Serialize)]
pub(crate) struct Kind<'a> {
    image: &'a Sha256,
    cpus: u32,
    memory: ByteSize,
    network: &'static str,
    store: StoreKind,
    warm: &'a [Vec<String>],
}

/// What they must have in common beside that.
#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    kind: &'a Kind<'a>,
    qemu: Version,
    accelerator: Accelerator,
    /// With KVM the guest has seen this very processor.
    host_cpu: Option<&'a str>,
}

/// What a machine's template must be; `None` when the machine is to boot.
pub(crate) fn kind_of(record: &MachineRecord) -> Option<Kind<'_>> {
    kind(&record.image.digest, &record.shape, &record.network)
}

fn kind<'a>(image: &'a Sha256, shape: &'a MachineShape, network: &Network) -> Option<Kind<'a>> {
    let Start::Memory { warm } = &shape.start else { return None };
    let network = if *network == Network::User { "user" } else { "bridge" };
    Some(Kind { image, cpus: shape.cpus, memory: shape.memory, network, store: shape.disk.store, warm })
}

/// What the templates of this kind are called on this host; there is more than one when the memory of an older one was
/// lost and machines still stand on its disk.
pub(crate) fn name(kind: &Kind<'_>, facts: &Facts) -> Name {
    let key = Key {
        format: FORMAT,
        kind,
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
            "the steps that give a Windows machine its own identity have not been run on a real Windows yet",
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
    use winstead_spec::DirectKernel;

    use crate::fixtures;

    fn record(edit: impl FnOnce(&mut MachineRecord)) -> MachineRecord {
        let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
        record.image.kernel =
            Some(DirectKernel { kernel: "/k".into(), initrd: None, command_line: String::new() });
        record.shape.start = Start::Memory { warm: Vec::new() };
        edit(&mut record);
        record
    }

    fn called(record: &MachineRecord, facts: &Facts) -> String {
        name(&kind_of(record).expect("it starts from memory"), facts).to_string()
    }

    #[test]
    fn whatever_the_saved_memory_depends_on_is_in_the_name() {
        let usual = fixtures::facts(2, Accelerator::Tcg);
        let named = |edit: fn(&mut MachineRecord)| called(&record(edit), &usual);
        let first = named(|_| {});
        assert!(first.starts_with("template-"), "{first}");
        let same: [fn(&mut MachineRecord); 3] = [
            |record| record.name.index = 7,
            |record| record.uid = uuid::Uuid::from_u128(99),
            |record| record.shape.disk.cap = ByteSize::from_mib(1),
        ];
        assert!(same.into_iter().all(|edit| named(edit) == first));
        let others: [fn(&mut MachineRecord); 6] = [
            |record| record.image.digest = Sha256::from([8; 32]),
            |record| record.shape.cpus = 2,
            |record| record.shape.memory = ByteSize::from_mib(512),
            |record| record.shape.disk.store = StoreKind::Disk,
            |record| record.network = Network::Bridge(winstead_spec::Bridge::Existing { name: "br0".into() }),
            |record| record.shape.start = Start::Memory { warm: vec![vec!["true".to_owned()]] },
        ];
        let mut names: std::collections::BTreeSet<String> = others.into_iter().map(named).collect();
        names.insert(called(&record(|_| {}), &fixtures::facts(3, Accelerator::Tcg)));
        names.insert(called(&record(|_| {}), &fixtures::facts(2, Accelerator::Kvm)));
        names.insert(first);
        assert_eq!(names.len(), 9, "{names:?}");
    }

    #[test]
    fn a_template_stays_as_long_as_the_most_patient_pool_that_could_start_from_it_says() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let machine = record(|_| {});
        let pool = |name: &str, seconds, edit: fn(&mut PoolRecord)| {
            let mut pool = fixtures::pool(name, 0);
            pool.machine.start = Start::Memory { warm: Vec::new() };
            pool.keep_template = Some(winstead_spec::Span::from_secs(seconds));
            let digest = machine.image.digest.clone();
            let mut record = PoolRecord { pool, digest, applied_at: Timestamp::UNIX_EPOCH };
            edit(&mut record);
            (record.pool.name.clone(), record)
        };
        let pools: BTreeMap<Name, PoolRecord> = [
            pool("short", 10, |_| {}),
            pool("long", 60, |_| {}),
            pool("larger", 900, |record| record.pool.machine.memory = ByteSize::from_mib(1024)),
            pool("newer", 900, |record| record.digest = Sha256::from([8; 32])),
            pool("boots", 900, |record| record.pool.machine.start = Start::Boot),
        ]
        .into();
        let mut template = fixtures::template(machine.clone());
        assert_eq!(template.stays_until(&pools), None, "a machine stands on it");
        template.unused_since = Some(second(100));
        assert_eq!(template.stays_until(&pools), Some(second(160)));
        assert_eq!(template.stays_until(&BTreeMap::new()), Some(second(100)), "its pool is gone");
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
        let told: Vec<&str> = edits.into_iter().map(|edit| obstacle(&record(edit)).unwrap()).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        the steps that give a Windows machine its own identity have not been run on a real Windows yet
        a TPM's state cannot be shared
        only our own images (`seed: fw-cfg`) can be given an identity after they have booted
        only machines that start directly, without firmware, are saved so far
        only machines that start directly, without firmware, are saved so far
        ");
    }
}
