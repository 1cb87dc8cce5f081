//! What scripts may rely on: Kubernetes-shaped lists of everything in a home. Bytes are integers, times RFC 3339.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use winstead_spec::{API_VERSION, StoreKind};

use crate::Phase;

mod fill;

pub use crate::facts::QemuStatus;

/// A list of one kind.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `MachineList`, `PoolList`, ….
    pub kind: &'static str,
    /// The items, by name.
    pub items: Vec<T>,
}

impl<T> List<T> {
    fn of(kind: &'static str, items: Vec<T>) -> Self {
        Self { api_version: API_VERSION, kind, items }
    }
}

/// What every item begins with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its identity, if it has one beside the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// `winstead.dev/pool` and the like.
    pub labels: BTreeMap<String, String>,
}

/// One machine.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `Machine`.
    pub kind: &'static str,
    /// Name, uid, labels.
    pub metadata: Metadata,
    /// What it was made to be.
    pub spec: MachineSpec,
    /// What it is.
    pub status: MachineStatus,
}

/// What a machine was made to be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Its pool.
    pub pool: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM.
    pub memory_bytes: u64,
    /// `linux` or `windows`.
    pub os: winstead_spec::GuestOs,
    /// As in the file.
    pub network: winstead_spec::Network,
}

/// What a machine is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Why.
    pub message: String,
    /// The host it runs on.
    pub host: String,
    /// Its addresses that others can reach.
    pub addresses: Vec<String>,
    /// Where SSH answers.
    pub ssh: Option<Ssh>,
    /// The version it stands on.
    pub image: ImageStatus,
    /// Its overlay.
    pub disk: DiskStatus,
    /// Its RAM.
    pub memory: MemoryStatus,
    /// What its disk and memory began as when it was last put back to golden.
    pub started_from: StartedFrom,
    /// When QEMU was last started.
    pub started_at: Option<Timestamp>,
    /// When it last became ready.
    pub ready_at: Option<Timestamp>,
    /// How often it was started from golden.
    pub generation: u64,
    /// What is true of it.
    pub conditions: Vec<Condition>,
    /// Its own agent; absent when it has none, does not run, or nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
}

/// A machine's own agent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// Whether it answered soon.
    pub answers: bool,
    /// Its version, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl AgentStatus {
    pub(crate) const fn silent(message: String) -> Self {
        Self { answers: false, version: None, message: Some(message) }
    }
}

/// What a machine's disk and memory began as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartedFrom {
    /// The image: it booted.
    Boot,
    /// A template's saved memory.
    Memory,
}

impl std::fmt::Display for StartedFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Memory => "memory",
        })
    }
}

/// Where SSH answers.
#[derive(Clone, Debug, Serialize)]
pub struct Ssh {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Who logs in.
    pub user: String,
}

/// An image version.
#[derive(Clone, Debug, Serialize)]
pub struct ImageStatus {
    /// The image.
    pub name: String,
    /// The version.
    pub digest: String,
}

/// An overlay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// `ram` or `disk`.
    pub store: StoreKind,
    /// The cap in force.
    pub cap_bytes: u64,
    /// What it holds.
    pub used_bytes: u64,
    /// Whether it goes around the host's page cache; unknown before QEMU is first started.
    pub direct: Option<bool>,
}

/// A machine's RAM.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// What the guest has.
    pub guest_bytes: u64,
    /// What its QEMU really uses, shared pages divided among those that share them; unknown when it does not run.
    pub resident_bytes: Option<u64>,
    /// Of `residentBytes`, what is this machine's alone: measured overcommit counts it. Of a machine that booted it is all.
    pub private_bytes: Option<u64>,
    /// The rest of `residentBytes`: its part of the memory that it shares with machines that started from the same template.
    pub shared_bytes: Option<u64>,
}

/// Something that is true or not, as in Kubernetes.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// `Ready`; `Grown` once its overlay grew; `Supervised` while it should run.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: &'static str,
    /// One word.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// One pool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `Pool`.
    pub kind: &'static str,
    /// Name, labels.
    pub metadata: Metadata,
    /// As it was last applied.
    pub spec: PoolSpec,
    /// What its machines are.
    pub status: PoolStatus,
}

/// A pool as it was last applied, in plain units.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// The image its machines start from.
    pub image: String,
    /// How many.
    pub replicas: u32,
    /// Virtual CPUs of each.
    pub cpus: u32,
    /// Guest RAM of each.
    pub memory_bytes: u64,
    /// `ram` or `disk`.
    pub store: StoreKind,
    /// The file's cap of each.
    pub cap_bytes: u64,
    /// As in the file.
    pub network: winstead_spec::Network,
    /// What must answer before a machine is ready.
    pub probe: winstead_spec::Probe,
    /// How long that may take.
    pub deadline_seconds: u64,
}

impl PoolSpec {
    pub(super) fn of(pool: &winstead_spec::Pool) -> Self {
        Self {
            image: pool.image.to_string(),
            replicas: pool.replicas,
            cpus: pool.machine.cpus,
            memory_bytes: pool.machine.memory.bytes(),
            store: pool.machine.disk.store,
            cap_bytes: pool.machine.disk.cap.bytes(),
            network: pool.network.clone(),
            probe: pool.ready.probe,
            deadline_seconds: pool.ready.deadline.duration().as_secs(),
        }
    }
}

/// What a pool's machines are.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Machines there are.
    pub replicas: usize,
    /// Of them ready: those whose condition `Ready` is true.
    pub ready: usize,
    /// Of them held.
    pub held: usize,
    /// Of them failed.
    pub failed: usize,
    /// The image version it was applied with.
    pub image: ImageStatus,
    /// When it was applied.
    pub applied_at: Timestamp,
}

/// One image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `Image`.
    pub kind: &'static str,
    /// Name, labels.
    pub metadata: Metadata,
    /// Its versions.
    pub status: ImageVersions,
}

/// The versions of an image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageVersions {
    /// The versions, newest first.
    pub versions: Vec<ImageVersion>,
    /// Those whose description cannot be used: nothing starts from them. The others' files are read by `image verify`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedVersion>,
}

/// A version whose description cannot be used.
#[derive(Clone, Debug, Serialize)]
pub struct DamagedVersion {
    /// The first digits of its digest.
    pub digest: String,
    /// Why, for a person.
    pub message: String,
    /// The machines that stand on it.
    pub users: Vec<String>,
}

/// A template of an image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageTemplate {
    /// Its name.
    pub name: String,
    /// What its memory takes of the host's RAM.
    pub ram_bytes: u64,
}

/// One version of an image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageVersion {
    /// Of its disk.
    pub digest: String,
    /// Of its recipe.
    pub recipe: String,
    /// `linux` or `windows`.
    pub os: winstead_spec::GuestOs,
    /// The disk as a guest sees it.
    pub virtual_bytes: u64,
    /// The disk as it is stored.
    pub disk_bytes: u64,
    /// When it was built.
    pub built_at: Timestamp,
    /// From what, with what.
    pub provenance: winstead_image::Provenance,
    /// The machines that stand on it.
    pub users: Vec<String>,
    /// The templates that stand on it.
    pub templates: Vec<ImageTemplate>,
}

/// What machines start from whose pool says `start: memory`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `Template`.
    pub kind: &'static str,
    /// Name, uid.
    pub metadata: Metadata,
    /// What it was made to be.
    pub spec: TemplateSpec,
    /// What it is.
    pub status: TemplateStatus,
}

/// What a template was made to be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM.
    pub memory_bytes: u64,
    /// What it ran before it was saved.
    pub warm: Vec<Vec<String>>,
}

/// What a template is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// The version it stands on.
    pub image: ImageStatus,
    /// What its memory takes of the host's RAM; machines that started from it share it.
    pub ram_bytes: u64,
    /// What its disk holds.
    pub disk_bytes: u64,
    /// Whether its memory is still kept.
    pub kept: bool,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// How long that took, from the guest's last moment until others could start from it.
    pub saved_in_millis: u64,
    /// Since when no machine stands on it.
    pub unused_since: Option<Timestamp>,
    /// Until when it stays without a machine, as its pools say (`keepTemplate`).
    pub stays_until: Option<Timestamp>,
    /// The machines that stand on it.
    pub users: Vec<String>,
}

/// One host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// The file's own `apiVersion`.
    pub api_version: &'static str,
    /// `Host`.
    pub kind: &'static str,
    /// Name, labels.
    pub metadata: Metadata,
    /// As it was last applied.
    pub spec: HostSpec,
    /// What it has.
    pub status: HostStatus,
}

/// How much of a host Winstead may use, in plain units.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostSpec {
    /// RAM that machines never get.
    pub reserve_bytes: u64,
    /// What all overlays together may grow into.
    pub growth_reserve_bytes: u64,
    /// What one growth adds.
    pub growth_step_bytes: u64,
    /// What machines may take beyond what was measured; absent when each counts as all that it may ever use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overcommit_reserve_bytes: Option<u64>,
}

impl HostSpec {
    pub(super) fn of(host: &winstead_spec::Host) -> Self {
        Self {
            reserve_bytes: host.reserve.memory.bytes(),
            growth_reserve_bytes: host.growth.reserve.bytes(),
            growth_step_bytes: host.growth.step.bytes(),
            overcommit_reserve_bytes: host.overcommit.map(|overcommit| overcommit.reserve.bytes()),
        }
    }
}

/// What a host has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// Machines on it.
    pub machines: usize,
    /// All RAM that this process may use.
    pub memory_total_bytes: u64,
    /// RAM that machines may still get, or have.
    pub memory_available_bytes: u64,
    /// What overlays took of the growth reserve.
    pub grown_bytes: u64,
    /// Whether the supervisor lives.
    pub supervised: bool,
    /// The QEMU that machines are started with.
    pub qemu: QemuStatus,
    /// What the stores can do.
    pub store: winstead_store::Features,
}
