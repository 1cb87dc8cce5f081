//! From a plan to machines on their way: records are made, the supervisor is there, everything runs side by side.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use winstead_image::Depth;
use winstead_spec::{Host, MachineName};
use winstead_store::Placement;

use crate::{
    Engine, EngineError, Listener, MachineRecord, Selection,
    act::{Actor, Job, chain},
    allocate::{self, Taken},
    facts::{self, Facts},
    journal::{PoolRecord, Shared, SharedKind, Snapshot},
    plan::{Action, Change, Desired, DesiredPool, Observed, Plan},
    supervisor, sweep,
};

/// Machines on their way, and who carries them.
pub(crate) struct Work {
    actor: Arc<Actor>,
    jobs: Vec<(Action, Job)>,
}

impl Engine {
    /// Records what `plan` will make, before anything of it is made.
    pub(crate) async fn prepare(
        &self,
        desired: &Desired,
        observed: &Observed,
        plan: &Plan,
        actor: Arc<Actor>,
    ) -> Result<Work, EngineError> {
        self.verify_images(desired, plan, &actor.stop).await?;
        self.journal.set_host(&desired.host).await?;
        for wanted in &desired.pools {
            self.apply_pool(wanted).await?;
        }
        if plan.changes.iter().any(|change| change.action != Action::Destroy) || plan.unchanged > 0 {
            supervisor::ensure(&self.home, &self.options.program).await?;
        }
        let taken = Taken::by(observed.machines.values().map(|seen| &seen.entry.record));
        let mut recorder = Recorder { engine: self, host: &desired.host, actor: &actor, taken };
        let mut jobs = Vec::with_capacity(plan.changes.len());
        for change in &plan.changes {
            let wanted = desired.pools.iter().find(|wanted| wanted.pool.name == change.machine.pool);
            let Some(wanted) = wanted else { continue };
            let job = match observed.machines.get(&change.machine) {
                Some(seen) => recorder.known(&seen.entry.record, wanted, &change.why).await?,
                None => recorder.new_machine(change, wanted).await?,
            };
            jobs.push((change.action, job));
        }
        Ok(Work { actor, jobs })
    }

    /// The same for machines that go back to golden as they are.
    pub(crate) async fn renewals(
        &self,
        changes: Vec<Change>,
        observed: &Observed,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Work, EngineError> {
        let actor = self.actor(None, listener, stop).await?;
        supervisor::ensure(&self.home, &self.options.program).await?;
        Ok(Work { actor, jobs: unchanged_jobs(&changes, observed) })
    }

    /// Runs all jobs side by side and returns the first failure, after all have ended.
    pub(crate) async fn carry_out(&self, work: Work) -> Result<(), EngineError> {
        let of = work.jobs.len();
        let mut running = JoinSet::new();
        for (action, job) in work.jobs {
            let actor = Arc::clone(&work.actor);
            running.spawn(async move {
                let name = job.record.name.clone();
                (name, Box::pin(actor.run(action, job)).await)
            });
        }
        let mut failed: Vec<(MachineName, Box<EngineError>)> = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((_, Ok(_))) => {}
                Ok((name, Err(error))) => failed.push((name, Box::new(error))),
                Err(error) => return Err(EngineError::host("run a machine's steps")(error.into())),
            }
        }
        outcome(of, failed)
    }

    pub(crate) async fn take_away(
        &self,
        changes: &[Change],
        observed: &Observed,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        if changes.is_empty() {
            return Ok(());
        }
        let actor = self.actor(None, listener, stop).await?;
        self.carry_out(Work { actor, jobs: unchanged_jobs(changes, observed) }).await
    }

    /// Forgets the pools that the selection took away whole.
    pub(crate) async fn forget_pools(&self, selection: &Selection) -> Result<(), EngineError> {
        let snapshot = self.journal.snapshot().await?;
        for name in snapshot.pools.keys() {
            let gone = match selection {
                Selection::All => true,
                Selection::Pools(names) => names.contains(name),
                Selection::Machines(names) => {
                    names.iter().any(|machine| machine.pool == *name)
                        && !snapshot.machines.keys().any(|machine| machine.pool == *name)
                }
            };
            if gone {
                self.journal.drop_pool(name).await?;
            }
        }
        Ok(())
    }

    /// Removes what was shared by machines that are gone, and waits for the supervisor to end with its last machine.
    pub(crate) async fn release_unused(
        &self,
        before: &Snapshot,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let now = self.journal.snapshot().await?;
        for (name, shared) in &now.shared {
            if !now.machines.values().any(|entry| sweep::uses(&entry.record, shared)) {
                self.release(name, shared, stop).await?;
            }
        }
        if now.machines.is_empty() && !before.machines.is_empty() {
            sweep::shared_folders(before)
                .map_err(|error| EngineError::host("remove the shared folders")(error.into()))?;
        }
        if now.machines.is_empty() && !supervisor::end(&self.home).await? {
            listener.note("the supervisor is still ending");
        }
        Ok(())
    }

    async fn release(
        &self,
        name: &str,
        shared: &Shared,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        match shared {
            Shared::Base(base) => {
                let removed = winstead_store::remove_base(base).await;
                removed.map_err(|error| EngineError::host("remove an image's RAM copy")(error.into()))?;
                self.journal.drop_shared(SharedKind::Base, name).await?;
            }
            Shared::Bridge(bridge) => {
                let removed = winstead_network::remove_bridge(bridge, stop).await;
                removed.map_err(|error| EngineError::host("remove a bridge")(error.into()))?;
                self.journal.drop_shared(SharedKind::Bridge, name).await?;
            }
        }
        Ok(())
    }

    /// Removes what lies in the home without being in the journal.
    pub(crate) async fn sweep(&self, listener: &Listener) -> Result<(), EngineError> {
        let known = self.journal.snapshot().await?;
        for name in sweep::strays(&self.home, &known) {
            listener.note(format!("removing {name}, which the journal does not know"));
            let removed = sweep::remove(&self.home, &name).await;
            removed.map_err(|error| EngineError::host("remove a stray machine")(error))?;
        }
        Ok(())
    }

    pub(crate) async fn actor(
        &self,
        kernel: Option<std::path::PathBuf>,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Arc<Actor>, EngineError> {
        let facts = Facts::gather((&self.home, self.journal.home_id().await?), kernel, stop).await?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Actor {
            home: self.home.clone(),
            journal: self.journal.clone(),
            facts,
            listener: listener.clone(),
            starts: Semaphore::new(cores),
            sharing: tokio::sync::Mutex::new(()),
            stop: stop.clone(),
        }))
    }

    /// A corrupted image is found before a machine starts from it.
    async fn verify_images(
        &self,
        desired: &Desired,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let starts = |wanted: &&DesiredPool| {
            let starts = |change: &Change| {
                change.machine.pool == wanted.pool.name
                    && matches!(change.action, Action::Create | Action::Renew | Action::Start)
            };
            plan.changes.iter().any(starts)
        };
        for wanted in desired.pools.iter().filter(starts) {
            let Some(image) = &wanted.image else { continue };
            self.verify_reference(image, Depth::Quick, stop).await?;
        }
        Ok(())
    }

    async fn apply_pool(&self, wanted: &DesiredPool) -> Result<(), EngineError> {
        let Some(image) = &wanted.image else { return Ok(()) };
        let record = PoolRecord {
            pool: wanted.pool.clone(),
            digest: image.digest.clone(),
            applied_at: jiff::Timestamp::now(),
        };
        Ok(self.journal.apply_pool(record).await?)
    }
}

/// Turns changes into jobs: what a machine gets, and what it keeps.
struct Recorder<'a> {
    engine: &'a Engine,
    host: &'a Host,
    actor: &'a Actor,
    taken: Taken,
}

impl Recorder<'_> {
    /// A machine that is not there: it is recorded before anything of it is made.
    async fn new_machine(&mut self, change: &Change, wanted: &DesiredPool) -> Result<Job, EngineError> {
        let placement = self.placement(wanted).await?;
        let image = wanted.image.as_ref().ok_or_else(|| not_built(wanted))?;
        let home = (&self.engine.home, placement);
        let record = allocate::record((wanted, image), change.machine.clone(), home, &mut self.taken)?;
        if self.engine.home.machine(&record.name).exists() {
            // The journal that knew this machine is lost: what is left of it would be in the new one's way.
            sweep::remove(&self.engine.home, &record.name)
                .await
                .map_err(EngineError::host("remove a stray machine"))?;
        }
        self.engine.journal.add(record.clone()).await?;
        Ok(Job { target: record.clone(), record, why: change.why.clone() })
    }

    /// A recorded machine: what it keeps, and what is new in the file.
    async fn known(
        &mut self,
        record: &MachineRecord,
        wanted: &DesiredPool,
        why: &str,
    ) -> Result<Job, EngineError> {
        let mut target = record.clone();
        if let Some(image) = &wanted.image {
            target.image = image.clone();
        }
        target.shape = wanted.pool.machine.clone();
        target.ready = wanted.pool.ready.clone();
        if target.network != wanted.pool.network {
            target.network = wanted.pool.network.clone();
            target.address = None;
            target.ssh_port = None;
        }
        if target.shape.disk.store != record.shape.disk.store {
            target.location.placement = self.placement(wanted).await?;
        }
        allocate::connect(&mut target, &mut self.taken)?;
        Ok(Job { record: record.clone(), target, why: why.to_owned() })
    }

    async fn placement(&self, wanted: &DesiredPool) -> Result<Placement, EngineError> {
        let (kind, can_mount) = (wanted.pool.machine.disk.store, self.actor.facts.store.can_mount);
        facts::placement(kind, self.host, can_mount, (&self.engine.home, &self.engine.journal)).await
    }
}

/// Jobs that change nothing of a machine's record.
fn unchanged_jobs(changes: &[Change], observed: &Observed) -> Vec<(Action, Job)> {
    let known = changes.iter().filter_map(|change| {
        let record = observed.machines.get(&change.machine)?.entry.record.clone();
        Some((change.action, Job { target: record.clone(), record, why: change.why.clone() }))
    });
    known.collect()
}

fn not_built(wanted: &DesiredPool) -> EngineError {
    EngineError::UnknownImage {
        pool: wanted.pool.name.clone(),
        image: wanted.pool.image.clone(),
        nearest: None,
    }
}

/// A kernel that can be tried under KVM: any image's that has one.
pub(crate) fn desired_kernel(desired: &Desired) -> Option<std::path::PathBuf> {
    let kernels = desired.pools.iter().filter_map(|wanted| wanted.image.as_ref()?.kernel.as_ref());
    kernels.map(|kernel| kernel.kernel.clone()).next()
}

fn outcome(of: usize, mut failed: Vec<(MachineName, Box<EngineError>)>) -> Result<(), EngineError> {
    failed.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, error) in &failed {
        tracing::warn!(machine = %name, error = chain(error.as_ref()), "failed");
    }
    match failed.len() {
        0 => Ok(()),
        1 => Err(*failed.remove(0).1),
        _ if failed.iter().any(|(_, error)| matches!(**error, EngineError::Interrupted)) => {
            Err(EngineError::Interrupted)
        }
        _ => Err(EngineError::Several { of, failed }),
    }
}
