//! What scripts may rely on: Kubernetes-shaped lists of everything in a home. Bytes are integers, times RFC 3339.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use winstead_guest::ssh::Endpoint;
use winstead_hypervisor::qemu;
use winstead_image::Version;
use winstead_process::ProcessId;
use winstead_spec::{API_VERSION, MachineName, StoreKind};

use crate::{
    Engine, EngineError, Phase,
    engine::unknown_machine,
    facts,
    observe::{self, observe},
    plan::{Observed, Seen},
    reach, supervisor,
};

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
    /// When QEMU was last started.
    pub started_at: Option<Timestamp>,
    /// When it last became ready.
    pub ready_at: Option<Timestamp>,
    /// How often it was started from golden.
    pub generation: u64,
    /// What is true of it.
    pub conditions: Vec<Condition>,
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
}

/// A machine's RAM.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// What the guest has.
    pub guest_bytes: u64,
    /// What its QEMU really uses, shared pages divided among those that share them; unknown when it does not run.
    pub resident_bytes: Option<u64>,
}

/// Something that is true or not, as in Kubernetes.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// `Ready`, `DiskFull`, `Supervised`.
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
    fn of(pool: &winstead_spec::Pool) -> Self {
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
    /// Of them ready.
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
    /// The versions, newest last.
    pub versions: Vec<ImageVersion>,
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
}

impl HostSpec {
    fn of(host: &winstead_spec::Host) -> Self {
        Self {
            reserve_bytes: host.reserve.memory.bytes(),
            growth_reserve_bytes: host.growth.reserve.bytes(),
            growth_step_bytes: host.growth.step.bytes(),
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

/// The QEMU that machines are started with.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QemuStatus {
    /// Its version; `None` when there is none.
    pub version: Option<String>,
    /// `kvm` or `tcg`; `None` until the first start has tried.
    pub accelerator: Option<winstead_hypervisor::qemu::Accelerator>,
    /// Why: the reason of the choice, or what is missing.
    pub reason: String,
}

impl Engine {
    /// All machines.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn machines(&self) -> Result<List<Machine>, EngineError> {
        let (mut observed, _) = observe(&self.home, &self.journal).await?;
        reach::refresh(&mut observed).await;
        let supervised = supervisor::lives(&self.home);
        let items = observed.machines.values().map(|seen| machine(seen, supervised)).collect();
        Ok(List::of("MachineList", items))
    }

    /// One machine.
    ///
    /// # Errors
    /// When it is not there; the nearest name is in the hint.
    pub async fn machine(&self, name: &MachineName) -> Result<Machine, EngineError> {
        let (mut observed, _) = observe(&self.home, &self.journal).await?;
        reach::refresh(&mut observed).await;
        let supervised = supervisor::lives(&self.home);
        let seen = observed.machines.get(name).ok_or_else(|| unknown_machine(name, &observed))?;
        Ok(machine(seen, supervised))
    }

    /// All pools.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn pools(&self) -> Result<List<Pool>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal).await?;
        Ok(List::of("PoolList", pools(&observed)))
    }

    /// All images with their versions.
    ///
    /// # Errors
    /// When the catalogue or the journal cannot be read.
    pub async fn images(&self) -> Result<List<Image>, EngineError> {
        let mut images: BTreeMap<String, Vec<ImageVersion>> = BTreeMap::new();
        for version in self.versions(None)? {
            let users = self.image_users(&version).await?;
            let users = users.iter().map(ToString::to_string).collect();
            images.entry(version.name.to_string()).or_default().push(image_version(version, users));
        }
        let items = images.into_iter().map(|(name, versions)| Image {
            api_version: API_VERSION,
            kind: "Image",
            metadata: metadata(&name, None, None),
            status: ImageVersions { versions },
        });
        Ok(List::of("ImageList", items.collect()))
    }

    /// All hosts: today this computer.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn hosts(&self) -> Result<List<Host>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal).await?;
        let spec = self.journal.host().await?;
        let memory = winstead_store::host_memory();
        let memory = memory.map_err(|error| EngineError::host("read the host's memory")(error.into()))?;
        let status = HostStatus {
            machines: observed.machines.len(),
            memory_total_bytes: memory.total.bytes(),
            memory_available_bytes: observed.capacity.memory.bytes(),
            grown_bytes: observed.machines.values().map(|seen| seen.entry.grown().bytes()).sum(),
            supervised: supervisor::lives(&self.home),
            qemu: facts::qemu_status(&self.home).await,
            store: facts::features(&self.home, &CancellationToken::new()).await?,
        };
        let metadata = metadata(spec.name.as_str(), None, None);
        Ok(List::of(
            "HostList",
            vec![Host {
                api_version: API_VERSION,
                kind: "Host",
                metadata,
                spec: HostSpec::of(&spec),
                status,
            }],
        ))
    }

    /// Where a machine's SSH answers. Writes `ssh`'s configuration and known hosts anew, so that they are true.
    ///
    /// # Errors
    /// When the machine is not there, or does not run.
    pub async fn endpoint(&self, name: &MachineName) -> Result<Endpoint, EngineError> {
        let (mut observed, _) = observe(&self.home, &self.journal).await?;
        reach::refresh(&mut observed).await;
        let seen = observed.machines.get(name).ok_or_else(|| unknown_machine(name, &observed))?;
        let not_running = |state| EngineError::NotRunning { machine: name.clone(), state };
        if !seen.running || seen.entry.phase == Phase::Held {
            return Err(not_running(format!("{}, {}", seen.entry.phase, seen.entry.message)));
        }
        let endpoint = endpoint(seen).ok_or_else(|| not_running("without a known address".to_owned()))?;
        let running = observed.machines.values().filter(|seen| seen.running);
        let keys: Vec<(String, String)> = running
            .clone()
            .map(|seen| (seen.entry.record.name.to_string(), seen.entry.record.host_key.clone()))
            .collect();
        let endpoints: Vec<Endpoint> = running.filter_map(self::endpoint).collect();
        let files = self.ssh();
        let failed = |error: winstead_guest::ssh::SshError| {
            EngineError::host("write ssh's configuration")(error.into())
        };
        files.write_known_hosts(&keys).map_err(failed)?;
        files.write_config(&endpoints).map_err(failed)?;
        Ok(endpoint)
    }
}

fn endpoint(seen: &Seen) -> Option<Endpoint> {
    let record = &seen.entry.record;
    let (host, port) = record.ssh_address()?;
    Some(Endpoint {
        host: host.to_string(),
        port,
        user: record.login().to_owned(),
        name: record.name.to_string(),
        os: record.image.os,
    })
}

fn machine(seen: &Seen, supervised: bool) -> Machine {
    let (entry, record) = (&seen.entry, &seen.entry.record);
    let endpoint = endpoint(seen);
    Machine {
        api_version: API_VERSION,
        kind: "Machine",
        metadata: metadata(
            &record.name.to_string(),
            Some(record.uid.to_string()),
            Some(record.name.pool.as_str()),
        ),
        spec: MachineSpec {
            pool: record.name.pool.to_string(),
            cpus: record.shape.cpus,
            memory_bytes: record.shape.memory.bytes(),
            os: record.image.os,
            network: record.network.clone(),
        },
        status: MachineStatus {
            phase: entry.phase,
            message: entry.message.clone(),
            host: "local".to_owned(),
            addresses: record.address.map(|address| address.to_string()).into_iter().collect(),
            ssh: endpoint.map(|at| Ssh { host: at.host, port: at.port, user: at.user }),
            image: ImageStatus {
                name: record.image.name.to_string(),
                digest: record.image.digest.to_string(),
            },
            disk: DiskStatus {
                store: record.shape.disk.store,
                cap_bytes: entry.cap().bytes(),
                used_bytes: seen.used.bytes(),
            },
            memory: MemoryStatus {
                guest_bytes: record.shape.memory.bytes(),
                resident_bytes: resident(observe::process(record).filter(|_| seen.running)),
            },
            started_at: record.started_at,
            ready_at: record.ready_at,
            generation: record.generation,
            conditions: conditions(seen, supervised),
        },
    }
}

fn resident(process: Option<ProcessId>) -> Option<u64> {
    let resident = qemu::resident(process?).ok()?;
    Some(resident.pss.unwrap_or(resident.rss).bytes())
}

fn conditions(seen: &Seen, supervised: bool) -> Vec<Condition> {
    let entry = &seen.entry;
    let condition = |kind, is: bool, reason: &str, message: &str| Condition {
        kind,
        status: if is { "True" } else { "False" },
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let ready = entry.phase == Phase::Ready && seen.running && seen.disk;
    let ready_message = match (seen.running, seen.disk) {
        (false, _) if entry.phase.runs() => "its QEMU is gone; `winstead up` starts it again",
        (_, false) if entry.phase.runs() => "its disk is gone; `winstead up` makes it anew",
        _ => &entry.message,
    };
    let mut conditions = vec![condition("Ready", ready, &entry.phase.to_string(), ready_message)];
    if let Some(growth) = entry.growth {
        let message = format!("its overlay grew {} times, by {} in all", growth.times, entry.grown());
        conditions.push(condition("Grown", true, "OverlayFull", &message));
    }
    if entry.phase.runs() && !supervised {
        let message = "nobody watches it: its overlay cannot grow; `winstead up` starts the supervisor";
        conditions.push(condition("Supervised", false, "NoSupervisor", message));
    }
    conditions
}

fn pools(observed: &Observed) -> Vec<Pool> {
    let count = |pool: &str, phase: Option<Phase>| {
        let of_pool = observed.machines.iter().filter(|(name, _)| name.pool.as_str() == pool);
        of_pool.filter(|(_, seen)| phase.is_none_or(|phase| seen.entry.phase == phase)).count()
    };
    let pools = observed.pools.values().map(|record| {
        let name = record.pool.name.as_str();
        Pool {
            api_version: API_VERSION,
            kind: "Pool",
            metadata: metadata(name, None, None),
            spec: PoolSpec::of(&record.pool),
            status: PoolStatus {
                replicas: count(name, None),
                ready: count(name, Some(Phase::Ready)),
                held: count(name, Some(Phase::Held)),
                failed: count(name, Some(Phase::Failed)),
                image: ImageStatus { name: record.pool.image.to_string(), digest: record.digest.to_string() },
                applied_at: record.applied_at,
            },
        }
    });
    pools.collect()
}

fn image_version(version: Version, users: Vec<String>) -> ImageVersion {
    ImageVersion {
        digest: version.digest.to_string(),
        recipe: version.recipe.to_string(),
        os: version.os,
        virtual_bytes: version.virtual_size.bytes(),
        disk_bytes: version.size_on_disk.bytes(),
        built_at: version.built_at,
        provenance: version.provenance,
        users,
    }
}

fn metadata(name: &str, uid: Option<String>, pool: Option<&str>) -> Metadata {
    let labels = pool.map(|pool| ("winstead.dev/pool".to_owned(), pool.to_owned())).into_iter().collect();
    Metadata { name: name.to_owned(), uid, labels }
}
