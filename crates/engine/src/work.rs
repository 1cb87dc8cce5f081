//! From a plan to machines on their way: records are made, the supervisor is there, everything runs side by side.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use winstead_image::Depth;
use winstead_spec::MachineName;
use winstead_store::StoreError;

use crate::{
    Engine, EngineError, Listener, MachineRecord, Selection,
    act::{Actor, Job, starts_from_an_image},
    draft::Draft,
    error::chain,
    facts::Users,
    journal::{PoolRecord, Shared, Snapshot},
    plan::{self, Action, Change, Desired, DesiredPool, Observed, Plan},
    release, supervisor, sweep,
};

/// Machines on their way, and who carries them.
pub(crate) struct Work {
    actor: Arc<Actor>,
    jobs: Vec<(Action, Job)>,
    /// Templates that go first.
    given_up: Vec<MachineName>,
}

impl Engine {
    /// Decides what every machine of the plan gets, and records what it will make before anything of it is made. What
    /// cannot be done is refused before the first write.
    pub(crate) async fn prepare(
        &self,
        desired: &Desired,
        observed: &Observed,
        plan: &Plan,
        actor: Arc<Actor>,
    ) -> Result<Work, EngineError> {
        let jobs = Draft::new(&self.home, desired, observed, plan).jobs()?;
        self.verify_images(&jobs, &actor.stop).await?;
        self.journal.set_host(&desired.host).await?;
        for wanted in &desired.pools {
            self.apply_pool(wanted).await?;
        }
        if plan.makes() || plan.unchanged > 0 {
            supervisor::ensure(&self.home, &self.options.program).await?;
        }
        self.record_folders(&jobs).await?;
        for (_, job) in jobs.iter().filter(|(action, _)| *action == Action::Create) {
            self.record(&job.record, &actor.stop).await?;
        }
        Ok(Work { actor, jobs, given_up: plan.given_up.clone() })
    }

    /// Records a machine that is not there.
    async fn record(&self, record: &MachineRecord, stop: &CancellationToken) -> Result<(), EngineError> {
        if self.home.machine(&record.name).exists() {
            // The journal that knew this machine is lost: what is left of it would be in the new one's way.
            self.remove_stray(&record.name, stop).await?;
        }
        Ok(self.journal.add(record.clone()).await?)
    }

    /// Records the folders that disks will share.
    async fn record_folders(&self, jobs: &[(Action, Job)]) -> Result<(), EngineError> {
        let starting = jobs.iter().filter(|(action, _)| starts_from_an_image(*action));
        let folders = starting.filter_map(|(_, job)| plan::folder(&job.target.location.placement));
        for folder in folders.collect::<BTreeSet<_>>() {
            let name = folder.display().to_string();
            self.journal.add_shared(&name, &Shared::Folder(folder)).await?;
        }
        Ok(())
    }

    /// The same for machines that go back to golden as they are.
    pub(crate) async fn renewals(
        &self,
        changes: Vec<Change>,
        observed: &Observed,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Work, EngineError> {
        let jobs = unchanged_jobs(&changes, observed);
        self.verify_images(&jobs, stop).await?;
        let kernel = jobs.iter().find_map(|(_, job)| job.target.image.kernel.clone());
        let actor = self.actor(kernel.map(|kernel| kernel.kernel), listener, stop).await?;
        actor.facts().await?;
        supervisor::ensure(&self.home, &self.options.program).await?;
        self.record_folders(&jobs).await?;
        Ok(Work { actor, jobs, given_up: Vec::new() })
    }

    /// Takes away what is to go, so that its room is free; then brings up all others.
    pub(crate) async fn carry_out(&self, work: Work) -> Result<(), EngineError> {
        let leaves = |(action, _): &(Action, Job)| *action == Action::Destroy;
        let (leaving, mut others): (Vec<_>, Vec<_>) = work.jobs.into_iter().partition(leaves);
        side_by_side("take away", &work.actor, leaving).await?;
        release::remove_templates(&self.home, &self.journal, &work.given_up).await?;
        work.actor.place_bases(&others).await?;
        work.actor.place_templates(&mut others).await?;
        side_by_side("bring up", &work.actor, others).await
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
        self.carry_out(Work { actor, jobs: unchanged_jobs(changes, observed), given_up: Vec::new() }).await
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

    /// Removes what was shared by machines that are gone. With the last machine and the last template the supervisor ends,
    /// which is waited for; without, there is one.
    pub(crate) async fn release_unused(
        &self,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        self.actor(None, listener, stop).await?.remove_unfinished_templates().await?;
        let left = release::unused(&self.home, &self.journal, stop).await?;
        if left.records().next().is_some() {
            // The one that was there at the beginning may have been in its last moments.
            return supervisor::ensure(&self.home, &self.options.program).await;
        }
        if !supervisor::end(&self.home).await? {
            listener.note("the supervisor is still ending");
        }
        Ok(())
    }

    /// Removes what lies in the home without being in the journal.
    pub(crate) async fn sweep(
        &self,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let known = self.journal.snapshot().await?;
        for name in sweep::strays(&self.home, &known) {
            listener.note(format!("removing {name}, which the journal does not know"));
            self.remove_stray(&name, stop).await?;
        }
        // After the machines that stand on them.
        let removed = self.remove_stray_bases(&known, listener).await;
        removed.map_err(|error| EngineError::host("remove a stray copy of an image")(error.into()))
    }

    async fn remove_stray_bases(&self, known: &Snapshot, listener: &Listener) -> Result<(), StoreError> {
        for base in sweep::stray_bases(&self.home, known)? {
            listener.note(format!("removing {}, which the journal does not know", base.folder.display()));
            winstead_store::remove_base(&base).await?;
        }
        Ok(())
    }

    async fn remove_stray(&self, name: &MachineName, stop: &CancellationToken) -> Result<(), EngineError> {
        sweep::remove(&self.home, name, stop).await.map_err(|error| match stop.is_cancelled() {
            true => EngineError::Interrupted,
            false => EngineError::host("remove a stray machine")(error),
        })
    }

    pub(crate) async fn actor(
        &self,
        kernel: Option<std::path::PathBuf>,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Arc<Actor>, EngineError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Arc::new(Actor {
            home: self.home.clone(),
            journal: self.journal.clone(),
            users: Users::of(self.journal.home_id().await?),
            facts: OnceCell::new(),
            kernel,
            program: self.options.program.clone(),
            listener: listener.clone(),
            starts: Semaphore::new(cores),
            sharing: tokio::sync::Mutex::new(()),
            stop: stop.clone(),
            faults: self.options.faults.clone(),
        }))
    }

    /// A corrupted image is found before a machine starts from it.
    pub(crate) async fn verify_images(
        &self,
        jobs: &[(Action, Job)],
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let mut verified = BTreeSet::new();
        for (_, Job { target, .. }) in jobs.iter().filter(|(action, _)| starts_from_an_image(*action)) {
            if verified.insert((&target.image.name, &target.image.digest)) {
                self.verify_reference(&target.image, Depth::Quick, stop).await?;
            }
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

/// Jobs that change nothing of a machine's record.
fn unchanged_jobs(changes: &[Change], observed: &Observed) -> Vec<(Action, Job)> {
    let known = changes.iter().filter_map(|change| {
        let record = observed.machines.get(&change.machine)?.entry.record.clone();
        Some((change.action, Job::unchanged(record, change.why.clone())))
    });
    known.collect()
}

/// A kernel that can be tried under KVM: any image's that has one.
pub(crate) fn desired_kernel(desired: &Desired) -> Option<std::path::PathBuf> {
    let kernels = desired.pools.iter().filter_map(|wanted| wanted.image.as_ref()?.kernel.as_ref());
    kernels.map(|kernel| kernel.kernel.clone()).next()
}

/// Runs all jobs at once and returns what failed, after all have ended.
async fn side_by_side(
    verb: &'static str,
    actor: &Arc<Actor>,
    jobs: Vec<(Action, Job)>,
) -> Result<(), EngineError> {
    let of = jobs.len();
    let mut running = JoinSet::new();
    for (action, job) in jobs {
        let actor = Arc::clone(actor);
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
    outcome(verb, of, failed)
}

/// What comes of several machines: the one error, or all of them.
pub(crate) fn outcome(
    verb: &'static str,
    of: usize,
    mut failed: Vec<(MachineName, Box<EngineError>)>,
) -> Result<(), EngineError> {
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
        _ => Err(EngineError::Several { verb, of, failed }),
    }
}
