//! Filling the lists from the journal and from what really is.

use tokio_util::sync::CancellationToken;
use winstead_guest::ssh::Endpoint;
use winstead_image::Version;
use winstead_process::ProcessId;
use winstead_spec::{API_VERSION, ByteSize, MachineName, Name};

use super::{
    Condition, DamagedVersion, DiskStatus, Host, HostSpec, HostStatus, Image, ImageStatus, ImageTemplate,
    ImageVersion, ImageVersions, List, Machine, MachineSpec, MachineStatus, MemoryStatus, Metadata, Pool,
    PoolSpec, PoolStatus, Ssh, StartedFrom, Template, TemplateSpec, TemplateStatus,
};
use crate::{
    Engine, EngineError, Phase,
    catalogue::unreadable,
    engine::unknown_machine,
    error::chain,
    facts,
    journal::Snapshot,
    observe::{self, observe},
    plan::{Observed, Seen, SeenTemplate},
    reach, supervisor, template,
};

impl Engine {
    /// All machines.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn machines(&self) -> Result<List<Machine>, EngineError> {
        let (mut observed, _) = observe(&self.home, &self.journal, &[]).await?;
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
        let (mut observed, _) = observe(&self.home, &self.journal, &[]).await?;
        reach::refresh(&mut observed).await;
        let supervised = supervisor::lives(&self.home);
        let seen = observed.machines.get(name).ok_or_else(|| unknown_machine(name, &observed))?;
        Ok(machine(seen, supervised))
    }

    /// A machine's QEMU, confirmed to be its own; `None` when it does not run.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn process(&self, name: &MachineName) -> Result<Option<ProcessId>, EngineError> {
        let entry = self.journal.machine(name).await?;
        Ok(entry.and_then(|entry| observe::process(&self.home, &entry.record)))
    }

    /// All pools.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn pools(&self) -> Result<List<Pool>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        Ok(List::of("PoolList", pools(&observed)))
    }

    /// All templates.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn templates(&self) -> Result<List<Template>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        let items = observed.templates.values().map(|seen| template_view(seen, &observed));
        Ok(List::of("TemplateList", items.collect()))
    }

    /// All images with their versions, damaged ones too.
    ///
    /// # Errors
    /// When the catalogue or the journal cannot be read.
    pub async fn images(&self) -> Result<List<Image>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        let mut items = Vec::new();
        for name in self.catalog.names().map_err(unreadable)? {
            let status = self.image_versions(&name, &snapshot)?;
            // Else it is the empty folder of one that was removed.
            if !status.versions.is_empty() || !status.damaged.is_empty() {
                let metadata = metadata(name.as_str(), None, None);
                items.push(Image { api_version: API_VERSION, kind: "Image", metadata, status });
            }
        }
        Ok(List::of("ImageList", items))
    }

    fn image_versions(&self, name: &Name, snapshot: &Snapshot) -> Result<ImageVersions, EngineError> {
        let users = |digits: &str| {
            let machines = snapshot.machines.values().map(|entry| &entry.record);
            let users = machines.filter(|record| record.image.is(name, digits));
            users.map(|record| record.name.to_string()).collect()
        };
        let templates = |digits: &str| {
            let its = snapshot.templates().filter(|template| template.machine.image.is(name, digits));
            its.map(|template| image_template(&observe::look_at_template(&self.home, template))).collect()
        };
        let versions = self.catalog.versions(name).map_err(unreadable)?.into_iter().map(|version| {
            let (users, templates) = (users(version.digest.short()), templates(version.digest.short()));
            image_version(version, users, templates)
        });
        let damaged = self.catalog.damaged(name).map_err(unreadable)?.into_iter();
        let damaged = damaged.map(|(digest, error)| {
            let users = users(&digest);
            DamagedVersion { digest, message: chain(&error), users }
        });
        Ok(ImageVersions { versions: versions.collect(), damaged: damaged.collect() })
    }

    /// All hosts: today this computer.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn hosts(&self) -> Result<List<Host>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
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
        let (mut observed, _) = observe(&self.home, &self.journal, &[]).await?;
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
    let (resident, private) = (seen.resident.map(|resident| resident.proportional()), seen.private());
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
                direct: record.qemu.as_ref().map(|qemu| qemu.disk.direct),
            },
            memory: MemoryStatus {
                guest_bytes: record.shape.memory.bytes(),
                resident_bytes: resident.map(ByteSize::bytes),
                private_bytes: private.map(ByteSize::bytes),
                shared_bytes: resident.zip(private).map(|(all, private)| (all - private).bytes()),
            },
            started_from: match record.origin.template {
                Some(_) => StartedFrom::Memory,
                None => StartedFrom::Boot,
            },
            started_at: record.started_at,
            ready_at: record.ready_at,
            generation: record.generation,
            conditions: conditions(seen, supervised),
            agent: None,
        },
    }
}

fn template_view(seen: &SeenTemplate, observed: &Observed) -> Template {
    let record = &seen.template.machine;
    let name = seen.template.name();
    let stand_on_it = |seen: &&Seen| seen.entry.record.origin.is(name);
    let users = observed.machines.values().filter(stand_on_it);
    Template {
        api_version: API_VERSION,
        kind: "Template",
        metadata: metadata(&name.to_string(), Some(record.uid.to_string()), None),
        spec: TemplateSpec {
            cpus: record.shape.cpus,
            memory_bytes: record.shape.memory.bytes(),
            warm: template::warm(record).unwrap_or_default().to_vec(),
        },
        status: TemplateStatus {
            image: ImageStatus {
                name: record.image.name.to_string(),
                digest: record.image.digest.to_string(),
            },
            ram_bytes: seen.ram().bytes(),
            disk_bytes: seen.disk.bytes(),
            kept: seen.kept,
            saved_at: seen.template.saved_at,
            saved_in_millis: u64::try_from(seen.template.saved_in.as_millis()).unwrap_or(u64::MAX),
            unused_since: seen.template.unused_since,
            stays_until: seen.template.stays_until(&observed.pools),
            users: users.map(|seen| seen.entry.record.name.to_string()).collect(),
        },
    }
}

fn conditions(seen: &Seen, supervised: bool) -> Vec<Condition> {
    let entry = &seen.entry;
    let condition = |kind, is: bool, reason: &str, message: &str| Condition {
        kind,
        status: if is { "True" } else { "False" },
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let ready_message = match (seen.running, seen.disk) {
        (false, _) if entry.phase.runs() => "its QEMU is gone; `winstead up` starts it again",
        (_, false) if entry.phase.runs() => "its disk is gone; `winstead up` makes it anew",
        _ => &entry.message,
    };
    let mut conditions = vec![condition("Ready", is_ready(seen), &entry.phase.to_string(), ready_message)];
    if let Some(growth) = entry.growth {
        let message = format!("its overlay grew {} times, by {} in all", growth.times, entry.grown());
        conditions.push(condition("Grown", true, "OverlayFull", &message));
    }
    if entry.phase.runs() {
        let (reason, message) = match supervised {
            true => ("Watched", "the supervisor watches it"),
            false => (
                "NoSupervisor",
                "nobody watches it: its overlay cannot grow; `winstead up` starts the supervisor",
            ),
        };
        conditions.push(condition("Supervised", supervised, reason, message));
    }
    conditions
}

fn is_ready(seen: &Seen) -> bool {
    seen.entry.phase == Phase::Ready && seen.running && seen.disk
}

fn pools(observed: &Observed) -> Vec<Pool> {
    let count = |pool: &str, is: fn(&Seen) -> bool| {
        let of_pool = observed.machines.iter().filter(|(name, _)| name.pool.as_str() == pool);
        of_pool.filter(|(_, seen)| is(seen)).count()
    };
    let pools = observed.pools.values().map(|record| {
        let name = record.pool.name.as_str();
        Pool {
            api_version: API_VERSION,
            kind: "Pool",
            metadata: metadata(name, None, None),
            spec: PoolSpec::of(&record.pool),
            status: PoolStatus {
                replicas: count(name, |_| true),
                ready: count(name, is_ready),
                held: count(name, |seen| seen.entry.phase == Phase::Held),
                failed: count(name, |seen| seen.entry.phase == Phase::Failed),
                image: ImageStatus { name: record.pool.image.to_string(), digest: record.digest.to_string() },
                applied_at: record.applied_at,
            },
        }
    });
    pools.collect()
}

fn image_template(seen: &SeenTemplate) -> ImageTemplate {
    ImageTemplate { name: seen.template.name().to_string(), ram_bytes: seen.ram().bytes() }
}

fn image_version(version: Version, users: Vec<String>, templates: Vec<ImageTemplate>) -> ImageVersion {
    ImageVersion {
        digest: version.digest.to_string(),
        recipe: version.recipe.to_string(),
        os: version.os,
        virtual_bytes: version.virtual_size.bytes(),
        disk_bytes: version.size_on_disk.bytes(),
        built_at: version.built_at,
        provenance: version.provenance,
        users,
        templates,
    }
}

fn metadata(name: &str, uid: Option<String>, pool: Option<&str>) -> Metadata {
    let labels = pool.map(|pool| ("winstead.dev/pool".to_owned(), pool.to_owned())).into_iter().collect();
    Metadata { name: name.to_owned(), uid, labels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures,
        journal::{Entry, PoolRecord},
    };

    #[test]
    fn a_pool_and_its_machines_agree_on_who_is_ready() {
        let pool = fixtures::pool("p", 2);
        let mut observed = Observed::default();
        for (index, running) in [(0, true), (1, false)] {
            let record = fixtures::record(&pool, index, fixtures::image(7));
            let name = record.name.clone();
            let (phase, message) = (Phase::Ready, String::new());
            let entry = Entry { record, phase, held: None, message, growth: None };
            let seen = Seen {
                entry,
                running,
                connected: true,
                disk: true,
                used: ByteSize::default(),
                resident: None,
            };
            observed.machines.insert(name, seen);
        }
        let (digest, applied_at) = (fixtures::image(7).digest, jiff::Timestamp::UNIX_EPOCH);
        observed.pools.insert(pool.name.clone(), PoolRecord { pool, digest, applied_at });
        let status = &pools(&observed)[0].status;
        assert_eq!((status.replicas, status.ready), (2, 1));
        let conditions = |seen: &Seen, supervised| {
            let said = conditions(seen, supervised);
            said.iter()
                .map(|condition| format!("{}={}", condition.kind, condition.status))
                .collect::<Vec<_>>()
        };
        let seen: Vec<&Seen> = observed.machines.values().collect();
        assert_eq!(conditions(seen[0], true), ["Ready=True", "Supervised=True"]);
        assert_eq!(conditions(seen[1], false), ["Ready=False", "Supervised=False"]);
    }
}
