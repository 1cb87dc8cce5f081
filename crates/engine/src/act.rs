//! Carrying a plan out: one interpreter for the lists of [`crate::steps`], thin over the adapters.

mod identity;
mod network;

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use winstead_hypervisor::qemu::{self, StartError};
use winstead_spec::{MachineName, StoreKind};
use winstead_store::{BaseLocation, OverlaySpec};

use crate::{
    EngineError, Event, Faults, Home, Listener, MachineRecord, Phase, Step,
    configure::{self, Paths},
    error::chain,
    facts::{Facts, Users},
    hand,
    journal::{Journal, JournalError, Shared, SharedKind},
    machine::{Origin, Role},
    observe,
    plan::Action,
    reach,
    readiness::{Wait, last_words},
    steps::{Way, steps},
    template::Template,
};

/// How often another port is tried when somebody took ours between looking and binding.
const PORT_TRIES: usize = 5;
/// How long QEMU may take to end when it is told to.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Everything that steps need.
pub(crate) struct Actor {
    pub(crate) home: Home,
    pub(crate) journal: Journal,
    pub(crate) users: Users,
    /// What this computer can do, asked when the first step needs it: taking machines away never does.
    pub(crate) facts: OnceCell<Facts>,
    /// A kernel that can be tried under KVM.
    pub(crate) kernel: Option<PathBuf>,
    /// What is started as a template's keeper.
    pub(crate) program: PathBuf,
    pub(crate) listener: Listener,
    /// As many guests start at once as there are cores: more cost more than double the time.
    pub(crate) starts: Semaphore,
    /// Taken while something shared is made: the first machine makes it, the others find it.
    pub(crate) sharing: Mutex<()>,
    pub(crate) stop: CancellationToken,
    pub(crate) faults: Faults,
}

/// One machine on its way.
pub(crate) struct Job {
    /// As it is recorded.
    pub(crate) record: MachineRecord,
    /// As it shall be.
    pub(crate) target: MachineRecord,
    /// Why, for the history.
    pub(crate) why: String,
    /// The template that it starts from; `None`: it boots.
    pub(crate) template: Option<Template>,
    /// A template's RAM, while it is being made.
    pub(crate) ram: Option<OwnedFd>,
}

impl Job {
    /// A job that makes `target` of what `record` says.
    pub(crate) const fn new(record: MachineRecord, target: MachineRecord, why: String) -> Self {
        Self { record, target, why, template: None, ram: None }
    }

    /// A job that changes nothing of a machine's record.
    pub(crate) fn unchanged(record: MachineRecord, why: impl Into<String>) -> Self {
        Self::new(record.clone(), record, why.into())
    }

    /// What a fresh overlay stands on.
    fn origin(&self) -> Origin {
        let template = self.template.as_ref().map(|template| template.name().clone());
        Origin { template, is_itself: false }
    }
}

impl Actor {
    /// What this computer can do.
    pub(crate) async fn facts(&self) -> Result<&Facts, EngineError> {
        let gather = || Facts::gather(&self.home, self.users, self.kernel.as_deref(), &self.stop);
        self.facts.get_or_try_init(gather).await
    }

    /// Carries one action out. A failed machine is journalled as `Failed`; an interrupted one stays where it is, and
    /// the next command goes on from there.
    pub(crate) async fn run(&self, action: Action, mut job: Job) -> Result<Phase, EngineError> {
        let way = if job.template.is_some() { Way::Memory } else { Way::Boot };
        let taken = self.take(steps(action, way), &mut job).await;
        // A machine that is held has come up so far, and waits for room: a boot would take more.
        let waits = taken.is_err() && self.is_held(&job.record.name).await?;
        match taken {
            // What cannot be started from memory is started by a boot: nobody has reached it yet.
            Err(error) if way == Way::Memory && !waits && !matches!(error, EngineError::Interrupted) => {
                let name = &job.record.name;
                self.listener.note(format!(
                    "{name}: boots, because it could not start from memory: {}",
                    chain(&error)
                ));
                job.template = None;
                self.take(steps(Action::Renew, Way::Boot), &mut job).await
            }
            taken => taken,
        }
    }

    async fn is_held(&self, name: &MachineName) -> Result<bool, EngineError> {
        let entry = self.journal.machine(name).await?;
        Ok(entry.is_some_and(|entry| entry.phase == Phase::Held))
    }

    async fn take(&self, steps: Vec<Step>, job: &mut Job) -> Result<Phase, EngineError> {
        let mut limit = Limit::default();
        let mut permit: Option<SemaphorePermit<'_>> = None;
        for step in &steps {
            if self.stop.is_cancelled() {
                return Err(EngineError::Interrupted);
            }
            if step.starts_a_guest() && permit.is_none() {
                permit = Some(self.turn().await?);
            }
            if let Step::Enter(phase) = step {
                limit = Limit::of(*phase);
            }
            if let Err(error) = limit.keep(*step, &job.record.name.clone(), self.step(*step, job)).await {
                if let Err(unwritten) = self.fail(job, &error).await {
                    tracing::warn!(machine = %job.record.name, error = chain(&unwritten), "its failure is not journalled");
                }
                return Err(error);
            }
        }
        Ok(self.journal.machine(&job.record.name).await?.map_or(Phase::Gone, |entry| entry.phase))
    }

    /// Waits until a guest may be started, or the user stops waiting.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, EngineError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(EngineError::Interrupted),
            permit = self.starts.acquire() => permit.map_err(|_| EngineError::Interrupted),
        }
    }

    async fn fail(&self, job: &Job, error: &EngineError) -> Result<(), EngineError> {
        if matches!(error, EngineError::Interrupted) {
            return Ok(());
        }
        let entry = self.journal.machine(&job.record.name).await?;
        let Some(entry) = entry.filter(|entry| entry.phase.may_become(Phase::Failed)) else { return Ok(()) };
        if entry.phase == Phase::Held {
            return Ok(());
        }
        match self.enter(job, Phase::Failed, &chain(error)).await {
            // The supervisor saw it too and was faster.
            Err(EngineError::Journal(JournalError::Transition { from: Phase::Failed, .. })) => Ok(()),
            entered => entered,
        }
    }

    async fn enter(&self, job: &Job, phase: Phase, message: &str) -> Result<(), EngineError> {
        let name = &job.record.name;
        self.journal.advance(name, phase, message).await?;
        self.listener.tell(Event::Phase { name: name.clone(), phase, message: message.to_owned() });
        Ok(())
    }

    async fn step(&self, step: Step, job: &mut Job) -> Result<(), EngineError> {
        let machine = job.record.name.clone();
        if !matches!(step, Step::Enter(_)) {
            self.listener.tell(Event::Step { name: machine.clone(), step: step.label() });
        }
        let done = match step {
            Step::Enter(phase) => return self.enter(job, phase, &job.why.clone()).await,
            Step::AwaitReady => return self.await_ready(job).await,
            Step::Adopt => self.adopt(job).await,
            Step::GiveUpDisk => self.give_up_disk(job).await,
            Step::MakeFolder => self.make_folder(&job.record),
            Step::PlaceBase => self.place_base(&job.record).await,
            Step::MakeOverlay => self.make_overlay(job).await,
            Step::RenewOverlay => self.renew_overlay(job).await,
            Step::WriteSeed => self.write_seed(job).await,
            Step::JoinNetwork => self.join_network(&job.record).await,
            Step::StartQemu => self.start_qemu(job).await,
            Step::Resume => self.resume(job).await,
            Step::Restore => self.restore(job).await,
            Step::BecomeItself => self.become_itself(job).await,
            Step::WarmUp => self.warm_up(job).await,
            Step::Freeze => self.freeze(job).await,
            Step::SetCap => self.set_cap(&job.record).await,
            Step::StopQemu => self.stop_qemu(job).await,
            Step::LeaveNetwork => self.leave_network(&job.record).await,
            Step::RemoveOverlay => winstead_store::remove(&job.record.location).await.map_err(Failure::from),
            Step::RemoveFolder => remove_folder(&self.home.machine(&machine)),
        };
        done.map_err(|source| self.failed(step, &machine, source))
    }

    fn failed(&self, step: Step, machine: &MachineName, source: Failure) -> EngineError {
        match source.downcast::<EngineError>() {
            Ok(error) => *error,
            Err(_) if self.stop.is_cancelled() => EngineError::Interrupted,
            Err(source) => EngineError::Step { machine: machine.clone(), step: step.label(), source },
        }
    }

    /// What the file says; the rest of the record is what this command itself has found and done.
    async fn adopt(&self, job: &mut Job) -> Result<(), Failure> {
        let was = &job.record;
        job.record = MachineRecord {
            process: was.process,
            tpm: was.tpm,
            was_ready: was.was_ready,
            origin: was.origin.clone(),
            ..job.target.clone()
        };
        Ok(self.journal.update(&job.record).await?)
    }

    async fn give_up_disk(&self, job: &mut Job) -> Result<(), Failure> {
        job.record.was_ready = false;
        Ok(self.journal.update(&job.record).await?)
    }

    fn make_folder(&self, record: &MachineRecord) -> Result<(), Failure> {
        self.home.make(&self.home.machine(&record.name))?;
        let run = self.home.run(&record.name);
        self.home.make(&run)?;
        if let Some(user) = self.users.run_as(record) {
            std::os::unix::fs::chown(&run, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }

    async fn place_base(&self, record: &MachineRecord) -> Result<(), Failure> {
        if record.shape.disk.store == StoreKind::Disk {
            return Ok(());
        }
        let image = &record.image;
        let _one = self.sharing.lock().await;
        let target = self.base_place(record).await?;
        let features = &self.facts().await?.store;
        // A copy outlives the future that waits for it, for it runs on a thread: dropping the future ends it.
        let stop = self.stop.child_token();
        let _copying = stop.clone().drop_guard();
        winstead_store::place_base(&image.disk, &target, image.disk_digest(), features, &stop).await?;
        Ok(())
    }

    /// Where the RAM copy of a machine's image is. One copy serves all machines: where the journal knows one, there it
    /// stays, also when the Host's stores or our rights are others by now.
    async fn base_place(&self, record: &MachineRecord) -> Result<BaseLocation, Failure> {
        let (own, name) = (configure::base_location(&self.home, record), record.image.digest.short());
        if let Some(Shared::Base(known)) = self.journal.shared(SharedKind::Base, name).await? {
            if winstead_store::has_base(&record.image.disk, &known)? {
                return Ok(known);
            }
            winstead_store::remove_base(&known).await?;
        }
        self.journal.add_shared(name, &Shared::Base(own.clone())).await?;
        Ok(own)
    }

    /// Places the images that these machines start from. It may take minutes, so it is done before any of them is in a
    /// phase with a deadline; their own step finds it done.
    pub(crate) async fn place_bases(&self, jobs: &[(Action, Job)]) -> Result<(), EngineError> {
        let mut placed = BTreeSet::new();
        for (_, Job { target, .. }) in jobs.iter().filter(|(action, _)| starts_from_an_image(*action)) {
            if target.shape.disk.store == StoreKind::Ram && placed.insert(&target.image.digest) {
                let (machine, step) = (&target.name, Step::PlaceBase);
                self.listener.tell(Event::Step { name: machine.clone(), step: step.label() });
                let done = self.place_base(target).await;
                done.map_err(|source| self.failed(step, machine, source))?;
            }
        }
        Ok(())
    }

    async fn overlay(&self, record: &MachineRecord) -> Result<OverlaySpec, EngineError> {
        let paths = Paths::new(&self.home, record);
        let owner = self.users.run_as(record).map(|user| (user.uid, user.gid));
        Ok(configure::overlay(record, paths, owner, &self.facts().await?.store))
    }

    async fn make_overlay(&self, job: &mut Job) -> Result<(), Failure> {
        job.record.generation = job.record.generation.max(1);
        if job.template.is_some() {
            job.record.origin = job.origin();
        }
        self.journal.update(&job.record).await?;
        Ok(winstead_store::create(&self.overlay(&job.record).await?, &self.stop).await?)
    }

    async fn renew_overlay(&self, job: &mut Job) -> Result<(), Failure> {
        job.record.generation += 1;
        job.record.origin = job.origin();
        self.journal.update(&job.record).await?;
        qemu::forget_state(&self.home.run(&job.record.name))?;
        winstead_store::create(&self.overlay(&job.record).await?, &self.stop).await?;
        Ok(self.journal.shrink(job.record.uid).await?)
    }

    async fn start_qemu(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        forget_last_run(&run)?;
        let facts = self.facts().await?;
        let base = run.join(Paths::new(&self.home, &job.record).base);
        let direct =
            [job.record.location.overlay(), base].iter().all(|file| winstead_store::takes_direct(file));
        for attempt in 1.. {
            let run_as = self.users.run_as(&job.record);
            let (place, ram) = self.ram(job)?;
            let (vsock, device) =
                hand::vsock(&job.record, place).map(|vsock| (vsock.cid, vsock.device)).unzip();
            let start = configure::Start { direct, ram: place, vsock };
            let config = configure::qemu(&self.home, &job.record, facts, run_as, start);
            job.record.qemu = Some(config.clone());
            job.record.started_at = Some(Timestamp::now());
            job.record.ready_at = None;
            self.journal.update(&job.record).await?;
            let handed = qemu::Handed { ram, vsock: device };
            match qemu::start(&config, &facts.qemu, &run, handed, &self.stop).await {
                Ok(running) => {
                    job.record.process = Some(running.process);
                    job.record.tpm = running.tpm;
                    break;
                }
                Err(StartError::PortTaken { .. }) if attempt < PORT_TRIES => {
                    let (old, new) = (job.record.ssh_port, winstead_network::free_port()?);
                    job.record.ssh_port = Some(new);
                    let name = &job.record.name;
                    self.listener
                        .note(format!("{name}: port {} is taken, using {new}", old.unwrap_or_default()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let (Role::Template, Some(process)) = (job.record.role, job.record.process) {
            // Nobody reaches it, and it reaches nobody.
            qemu::set_link(process, &run, false).await?;
        }
        Ok(self.journal.update(&job.record).await?)
    }

    /// Lets the guest run; also one that a dead command started and left paused.
    async fn resume(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        let process =
            observe::process(&self.home, &job.record).ok_or_else(|| last_words(&run.join("qemu.log")))?;
        if job.record.process != Some(process) {
            job.record.process = Some(process);
            self.journal.update(&job.record).await?;
        }
        let state = qemu::adopt(process, &job.record.uid, &run, &self.stop).await?;
        if matches!(state, qemu::RunState::Prelaunch | qemu::RunState::Paused) {
            qemu::resume(process, &run).await?;
        }
        Ok(())
    }

    async fn await_ready(&self, job: &mut Job) -> Result<(), EngineError> {
        let answer = self.wait(&job.record)?.until_ready().await?;
        if let Some(bridge) = reach::existing_bridge(&job.record) {
            let found = reach::found_on(bridge, &job.record, &self.stop).await;
            job.record.address = found.ok().flatten().or(job.record.address);
        }
        let now = Timestamp::now();
        job.record.ready_at = Some(now);
        job.record.was_ready = true;
        self.journal.update(&job.record).await?;
        let seconds = now.duration_since(job.record.started_at.unwrap_or(now)).as_secs_f64();
        let message = format!("{answer} after {seconds:.1} s");
        self.enter(job, Phase::Ready, &message).await
    }

    /// A machine that runs, to be waited for.
    pub(crate) fn wait<'a>(&'a self, record: &'a MachineRecord) -> Result<Wait<'a>, EngineError> {
        let run = self.home.run(&record.name);
        let log = run.join("qemu.log");
        let process = record.process.ok_or_else(|| EngineError::MachineFailed {
            machine: record.name.clone(),
            reason: format!("its QEMU ended: {}", last_words(&log)),
        })?;
        Ok(Wait { journal: &self.journal, record, process, run, log, seen: 0, stop: &self.stop })
    }

    async fn set_cap(&self, record: &MachineRecord) -> Result<(), Failure> {
        let cap = record.shape.disk.cap;
        if winstead_store::usage(&record.location)?.used > cap {
            // It grew beyond the new cap already, and keeps what it took from the reserve.
            return Ok(());
        }
        winstead_store::grow(&record.location, cap)?;
        Ok(self.journal.shrink(record.uid).await?)
    }

    pub(crate) async fn stop_qemu(&self, job: &mut Job) -> Result<(), Failure> {
        let run = self.home.run(&job.record.name);
        let uid = job.record.uid;
        let tpm = job.record.tpm.or_else(|| qemu::find_tpm(&uid, &run));
        // One that was killed is no machine any more, but holds its disk until it is gone.
        let process = observe::process(&self.home, &job.record).or(job.record.process);
        qemu::stop(process, tpm, &uid, &run, STOP_GRACE).await?;
        job.record.process = None;
        job.record.tpm = None;
        Ok(self.journal.update(&job.record).await?)
    }
}

/// Whether an action starts a machine from its image, or again on an overlay over it.
pub(crate) fn starts_from_an_image(action: Action) -> bool {
    steps(action, Way::Boot).contains(&Step::PlaceBase)
}

/// Until when a machine may stay in the phase that it entered last.
#[derive(Clone, Copy, Default)]
struct Limit(Option<(tokio::time::Instant, Duration)>);

impl Limit {
    fn of(phase: Phase) -> Self {
        Self(phase.deadline().map(|limit| (tokio::time::Instant::now() + limit, limit)))
    }

    async fn keep(
        self,
        step: Step,
        machine: &MachineName,
        work: impl Future<Output = Result<(), EngineError>>,
    ) -> Result<(), EngineError> {
        let Some((until, after)) = self.0 else { return work.await };
        let late = |_| EngineError::TooLong { machine: machine.clone(), step: step.label(), after };
        tokio::time::timeout_at(until, work).await.map_err(late)?
    }
}

/// The console of the last generation must not be taken for this one's.
fn forget_last_run(run: &Path) -> std::io::Result<()> {
    match fs_err::remove_file(run.join("console.log")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder with all in it; gone already is fine.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
