//! The engine's commands: what a face (CLI, later the controller) calls.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use winstead_guest::ssh::SshFiles;
use winstead_image::Catalog;
use winstead_spec::{Documents, Image, MachineName, Name, Start};

use crate::{
    EngineError, Faults, Home, HomeError, HomeLock, ImageRef, Listener, Phase, Step, catalogue, facts, heal,
    journal::{Journal, Transition},
    observe::observe,
    plan::{self, Action, Change, Desired, DesiredPool, Observed, Plan},
    steps,
    work::desired_kernel,
};

/// How long a command waits for another one that changes the same home.
const LOCK_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How long the supervisor may take to release a held machine after the file gave it more room.
const RELEASE: Duration = Duration::from_secs(15);

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home folder.
    pub home: PathBuf,
    /// A folder with artefacts that are otherwise downloaded.
    pub artifacts: Option<PathBuf>,
    /// The program that is started as `PROGRAM --home HOME supervise`.
    pub program: PathBuf,
    /// What a test wants to go wrong.
    pub faults: Faults,
}

/// Which machines a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of this home.
    All,
    /// Those of some pools.
    Pools(Vec<Name>),
    /// Some.
    Machines(Vec<MachineName>),
}

/// What `up` did.
#[derive(Clone, Debug)]
pub struct UpReport {
    /// What was to be done.
    pub plan: Plan,
    /// How long it took.
    pub took: Duration,
    /// The machines of the file as they are now.
    pub machines: Vec<(MachineName, Phase, String)>,
}

/// One home's engine.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) home: Home,
    pub(crate) journal: Journal,
    pub(crate) catalog: Catalog,
    pub(crate) options: Options,
}

impl Selection {
    fn includes(&self, name: &MachineName) -> bool {
        match self {
            Self::All => true,
            Self::Pools(pools) => pools.contains(&name.pool),
            Self::Machines(machines) => machines.contains(name),
        }
    }

    /// The same action for all of them.
    fn asks(&self, action: Action, observed: &Observed) -> Result<Vec<Change>, EngineError> {
        match self.unknown(observed) {
            Some(error) => Err(error),
            None => Ok(plan::asked_for(observed, action, |name| self.includes(name))),
        }
    }

    /// The first name that nothing in this home has.
    fn unknown(&self, observed: &Observed) -> Option<EngineError> {
        let machine = |name: &MachineName| observed.machines.contains_key(name);
        let pool = |name: &Name| {
            observed.pools.contains_key(name) || observed.machines.keys().any(|machine| machine.pool == *name)
        };
        match self {
            Self::All => None,
            Self::Pools(names) => names
                .iter()
                .find(|name| !pool(name))
                .map(|name| unknown("pool", name.as_str(), observed.pools.keys().map(ToString::to_string))),
            Self::Machines(names) => {
                names.iter().find(|name| !machine(name)).map(|name| unknown_machine(name, observed))
            }
        }
    }
}

impl Engine {
    /// Opens the engine of a home, making the home if it is not there.
    ///
    /// # Errors
    /// When the home or its journal cannot be used.
    pub async fn open(options: Options) -> Result<Self, EngineError> {
        let home = Home::open(&options.home)?;
        let journal = Journal::open(&home.journal(), options.faults.clone()).await?;
        let catalog = Catalog::open(&home.images(), &home.cache(), options.artifacts.as_deref())
            .with_programs(options.program.parent());
        Ok(Self { home, journal, catalog, options })
    }

    /// The home.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Keys, known hosts and configuration of `ssh`.
    #[must_use]
    pub fn ssh(&self) -> SshFiles {
        SshFiles::new(self.home.ssh())
    }

    /// The steps of an action on a machine that starts so, in order.
    #[must_use]
    pub fn steps(&self, action: Action, start: &Start) -> Vec<Step> {
        let way = match start {
            Start::Boot => steps::Way::Boot,
            Start::Memory { .. } => steps::Way::Memory,
        };
        steps::steps(action, way)
    }

    /// What `up` would do. Changes nothing.
    ///
    /// # Errors
    /// When the journal cannot be read, or a pool's image is nowhere.
    pub async fn plan(&self, documents: &Documents) -> Result<Plan, EngineError> {
        let desired = self.desired(documents).await?;
        let (observed, _) = observe(&self.home, &self.journal, &desired.places.folders()).await?;
        Ok(plan::plan(&desired, &observed))
    }

    /// Makes what is like what the file says, and returns when every machine of it is ready. Run again after any
    /// failure, it goes on where that stopped.
    ///
    /// # Errors
    /// When it is not admitted (nothing was changed then), an image cannot be built, or a machine does not come up.
    ///
    /// Cancel safety: cancel `stop` and await; machines stay in their phase and the next `up` goes on.
    pub async fn up(
        &self,
        documents: &Documents,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<UpReport, EngineError> {
        let begun = std::time::Instant::now();
        let _lock = self.lock(listener, stop).await?;
        let (plan, mut machines) = self.bring_about(documents, listener, stop).await?;
        // One that was held while it booted, and was let go on meanwhile, is waited for by a plan that sees it boot.
        if machines.iter().any(|(_, phase, _)| *phase == Phase::Booting) {
            machines = self.bring_about(documents, listener, stop).await?.1;
        }
        Ok(UpReport { plan, took: begun.elapsed(), machines })
    }

    /// Carries one plan out; returns it, and the machines of the file as they are then.
    async fn bring_about(
        &self,
        documents: &Documents,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(Plan, Vec<(MachineName, Phase, String)>), EngineError> {
        let first = self.plan(documents).await?;
        first.admitted()?;
        if first.makes() {
            facts::find_qemu(stop).await?;
        }
        self.build_missing(documents, &first, listener, stop).await?;
        let desired = self.desired(documents).await?;
        let (observed, _) = observe(&self.home, &self.journal, &desired.places.folders()).await?;
        let plan = plan::plan(&desired, &observed);
        plan.admitted()?;
        let actor = self.actor(desired_kernel(&desired), listener, stop).await?;
        let work = self.prepare(&desired, &observed, &plan, Arc::clone(&actor)).await?;
        // Asked only now that images are verified: KVM is tried with the kernel of one.
        if plan.makes() {
            actor.facts().await?.notes(&desired.host).for_each(|note| listener.note(note));
        }
        let connected = heal::networks(&desired, &observed, &plan, &actor).await;
        let outcome = self.carry_out(work).await;
        let released = self.release_unused(listener, stop).await;
        outcome.and(connected).and(released)?;
        let of_file = |name: &MachineName| documents.pools.iter().any(|pool| pool.name == name.pool);
        Ok((plan, self.settled(of_file).await?))
    }

    /// What `down` would take away. Changes nothing.
    ///
    /// # Errors
    /// When the journal cannot be read, or a name of the selection is unknown.
    pub async fn plan_down(&self, selection: &Selection) -> Result<Vec<Change>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        selection.asks(Action::Destroy, &observed)
    }

    /// Takes the selected machines away with all that was made for them, and returns their names. What is gone
    /// already is fine. With [`Selection::All`] also whatever a lost journal left behind in the home.
    ///
    /// # Errors
    /// When something cannot be removed; the next `down` tries again.
    pub async fn down(
        &self,
        selection: &Selection,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Vec<MachineName>, EngineError> {
        let _lock = self.lock(listener, stop).await?;
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        let changes = selection.asks(Action::Destroy, &observed)?;
        let outcome = self.take_away(&changes, &observed, listener, stop).await;
        if outcome.is_ok() {
            self.forget_pools(selection).await?;
        }
        if *selection == Selection::All {
            self.sweep(listener, stop).await?;
            let swept = self.catalog.sweep(stop).await;
            swept.map_err(|error| EngineError::host("remove what a dead build left")(error.into()))?;
        }
        let released = self.release_unused(listener, stop).await;
        outcome.and(released)?;
        Ok(changes.into_iter().map(|change| change.machine).collect())
    }

    /// What `reset` would put back to golden. Changes nothing.
    ///
    /// # Errors
    /// When the journal cannot be read, or a name of the selection is unknown.
    pub async fn plan_reset(&self, selection: &Selection) -> Result<Vec<Change>, EngineError> {
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        selection.asks(Action::Renew, &observed)
    }

    /// Puts machines back to golden: a fresh overlay, the same name, address and keys. Returns their names when they are
    /// ready.
    ///
    /// # Errors
    /// When a name is unknown, an image is not what it was (nothing was changed then), or a machine does not come up.
    pub async fn reset(
        &self,
        selection: &Selection,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Vec<MachineName>, EngineError> {
        let _lock = self.lock(listener, stop).await?;
        let (observed, _) = observe(&self.home, &self.journal, &[]).await?;
        let changes = selection.asks(Action::Renew, &observed)?;
        let names: Vec<MachineName> = changes.iter().map(|change| change.machine.clone()).collect();
        let work = self.renewals(changes, &observed, listener, stop).await?;
        let outcome = self.carry_out(work).await;
        let released = self.release_unused(listener, stop).await;
        outcome.and(released)?;
        self.settled(|name| names.contains(name)).await?;
        Ok(names)
    }

    /// What happened to a machine, oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn history(&self, name: &MachineName) -> Result<Vec<Transition>, EngineError> {
        Ok(self.journal.history(name).await?)
    }

    /// The file's pools with the image versions that their names stand for now.
    pub(crate) async fn desired(&self, documents: &Documents) -> Result<Desired, EngineError> {
        let host = documents.host();
        let places = facts::places(&host, (&self.home, &self.journal)).await?;
        let pools = documents.pools.iter().map(|pool| {
            let image = self.image_of(documents, &pool.name, &pool.image)?;
            Ok(DesiredPool { pool: pool.clone(), image })
        });
        Ok(Desired { host, places, pools: pools.collect::<Result<_, EngineError>>()? })
    }

    fn image_of(
        &self,
        documents: &Documents,
        pool: &Name,
        name: &Name,
    ) -> Result<Option<ImageRef>, EngineError> {
        let failed = |source| EngineError::Image { what: "look up", image: name.clone(), source };
        if let Some(image) = documents.images.iter().find(|image| image.name == *name) {
            let found = self.catalog.find(image).map_err(|error| failed(error.into()))?;
            return Ok(found.as_ref().map(catalogue::reference));
        }
        match self.catalog.latest(name).map_err(|error| failed(error.into()))? {
            Some(version) => Ok(Some(catalogue::reference(&version))),
            None => {
                let known = documents.images.iter().map(|image| image.name.to_string());
                Err(EngineError::UnknownImage {
                    pool: pool.clone(),
                    image: name.clone(),
                    nearest: nearest(name.as_str(), known),
                })
            }
        }
    }

    async fn build_missing(
        &self,
        documents: &Documents,
        plan: &Plan,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let missing = |image: &&Image| plan.builds.contains(&image.name);
        for image in documents.images.iter().filter(missing) {
            self.build_unlocked(image, listener, stop).await?;
        }
        Ok(())
    }

    /// The chosen machines, after the supervisor has had the time to release those that have room again. One that is
    /// still held is not what was asked for.
    async fn settled(
        &self,
        chosen: impl Fn(&MachineName) -> bool,
    ) -> Result<Vec<(MachineName, Phase, String)>, EngineError> {
        let until = tokio::time::Instant::now() + RELEASE;
        loop {
            let entries =
                self.journal.snapshot().await?.machines.into_iter().filter(|(name, _)| chosen(name));
            let machines: Vec<_> = entries.map(|(name, entry)| (name, entry.phase, entry.message)).collect();
            let held = machines.iter().find(|(_, phase, _)| *phase == Phase::Held);
            let Some((machine, _, reason)) = held else { return Ok(machines) };
            if tokio::time::Instant::now() > until {
                return Err(EngineError::Held { machine: machine.clone(), reason: reason.clone() });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn lock(
        &self,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<HomeLock, EngineError> {
        match self.home.lock(Duration::ZERO).await {
            Err(HomeError::Busy { .. }) => {}
            lock => return Ok(lock?),
        }
        listener.note("another winstead command is changing this home; waiting for it");
        tokio::select! {
            lock = self.home.lock(LOCK_PATIENCE) => Ok(lock?),
            () = stop.cancelled() => Err(EngineError::Interrupted),
        }
    }
}

pub(crate) fn unknown_machine(name: &MachineName, observed: &Observed) -> EngineError {
    unknown("machine", &name.to_string(), observed.machines.keys().map(ToString::to_string))
}

pub(crate) fn unknown(kind: &str, name: &str, known: impl Iterator<Item = String>) -> EngineError {
    EngineError::Unknown { what: format!("the {kind} {name}"), nearest: nearest(name, known) }
}

/// The known name that was probably meant.
#[must_use]
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let distance = |other: &String| strsim::damerau_levenshtein(name, other);
    known.min_by_key(distance).filter(|other| distance(other) <= name.len().max(3) / 2)
}
