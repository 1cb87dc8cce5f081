//! All processes of an agent.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fs_err as fs;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::supervision::{
    End, Firewall, Opening, Order, Process, Record, Running, StartError, Status, Stopped, SupervisionError,
    firewall::Gate,
    platform,
    pump::Pump,
    record::{Command, Launch, VERSION},
    spool::Bounds,
    stop::stop,
    store,
};

/// How long a process that goes with its client may be without one after its agent was started anew.
const RETURN: Duration = Duration::from_secs(60);
/// How long a process that goes with its client has after being asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long an agent that stops waits for the output of a process that has ended to be in the file.
const DRAIN: Duration = Duration::from_secs(1);
/// How long a keeper that an earlier agent has just started may take to write its record.
const BEGIN: Duration = Duration::from_secs(5);

/// How processes are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of processes: one folder for each. Made, for this account alone, when it is not there.
    pub folder: PathBuf,
    /// The executable whose command `keeper` keeps them: the agent's own.
    pub keeper: PathBuf,
    /// How many may run at the same time.
    pub most: usize,
    /// How much of each output is kept, of each process.
    pub spool: Bounds,
    /// How long an ended process is remembered.
    pub retention: Duration,
    /// How many ended processes are remembered at most.
    pub retained: usize,
    /// Where those that run are counted.
    pub running: Gauge,
    /// Where ports of processes are opened to others; nothing: nowhere.
    pub firewall: Option<Arc<dyn Firewall>>,
}

impl Settings {
    /// The usual ones: 1,000 processes; 1 MiB in memory and 32 MiB on the disk for each output, so 64 MiB for a process;
    /// an hour, 1,000 ended ones; no firewall.
    #[must_use]
    pub fn new(folder: PathBuf, keeper: PathBuf) -> Self {
        let spool = Bounds { memory: 1024 * 1024, file: 32 * 1024 * 1024 };
        let retention = Duration::from_hours(1);
        let running = Gauge::default();
        Self { folder, keeper, most: 1000, spool, retention, retained: 1000, running, firewall: None }
    }
}

/// A running process's place among all; dropping it gives it back.
#[derive(Debug)]
struct Place {
    /// Nothing where there were more already when the agent came.
    _permit: Option<OwnedSemaphorePermit>,
    running: Gauge,
}

impl Place {
    fn take(permit: Option<OwnedSemaphorePermit>, running: &Gauge) -> Self {
        running.inc();
        Self { _permit: permit, running: running.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.dec();
    }
}

/// All processes of an agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    all: Arc<All>,
}

#[derive(Debug)]
struct All {
    settings: Settings,
    processes: Mutex<BTreeMap<String, Arc<Process>>>,
    places: Arc<Semaphore>,
    gate: Gate,
    tasks: TaskTracker,
    closing: CancellationToken,
    ended: Notify,
}

impl Supervisor {
    /// Takes over what earlier agents have started. To be called in a runtime.
    ///
    /// # Errors
    /// When the folder cannot be used. A single process that cannot be taken over is logged, and left alone.
    pub async fn open(settings: Settings) -> Result<Self, SupervisionError> {
        let failed = |source| SupervisionError::Io { path: settings.folder.clone(), source };
        platform::private_folder(&settings.folder).map_err(failed)?;
        let mut folders = Vec::new();
        for entry in fs::read_dir(&settings.folder).map_err(failed)? {
            folders.push(entry.map_err(failed)?.path());
        }
        let places = Arc::new(Semaphore::new(settings.most));
        let gate = Gate(settings.firewall.clone());
        let all = All {
            settings,
            processes: Mutex::default(),
            places,
            gate,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            ended: Notify::new(),
        };
        let supervisor = Self { all: Arc::new(all) };
        for folder in folders {
            if let Err(error) = supervisor.adopt(&folder).await {
                tracing::warn!(%error, folder = %folder.display(), "a process is left alone");
            }
        }
        supervisor.all.gate.close_stale().await;
        let forgetting = supervisor.clone();
        supervisor.all.tasks.spawn(async move { forgetting.forget_old().await });
        Ok(supervisor)
    }

    /// Starts what `order` says; returns when the program runs. Dropped meanwhile, a process that goes with its client is
    /// ended.
    ///
    /// # Errors
    /// When it does not run; nothing of it is left then.
    pub async fn start(&self, order: Order) -> Result<Arc<Process>, StartError> {
        if self.all.closing.is_cancelled() {
            return Err(StartError::Closing);
        }
        let place = Arc::clone(&self.all.places).try_acquire_owned();
        let place = place.map_err(|_| StartError::TooMany(self.all.settings.most))?;
        let (tell, told) = oneshot::channel();
        let this = self.clone();
        self.all.tasks.spawn(async move {
            let keep = order.keep;
            let outcome = this.begin(&order, place).await;
            let begun = outcome.as_ref().ok().map(Arc::clone);
            if let Err(Ok(process)) = tell.send(outcome)
                && !keep
            {
                this.release(&process);
            }
            // Whoever closes meanwhile knows nothing of it.
            if let Some(process) = begun
                && this.all.closing.is_cancelled()
            {
                leave(process).await;
            }
        });
        told.await.map_err(io::Error::other)?
    }

    /// The process of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, id: &str) -> Result<Arc<Process>, SupervisionError> {
        self.lock().get(id).cloned().ok_or_else(|| SupervisionError::Unknown(id.to_owned()))
    }

    /// All processes, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Status> {
        let mut all: Vec<Status> = self.lock().values().map(|process| process.status()).collect();
        all.sort_by_key(|status| status.record.started_unix_ms);
        all
    }

    /// Ends a process with all that it started: asked first, by force after `grace`, and at once when that is zero.
    ///
    /// # Errors
    /// When there is none, or it does not go away.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<Stopped, SupervisionError> {
        let process = self.get(id)?;
        process.lock().stopping = true;
        stop(&process, grace).await
    }

    /// Forgets an ended process and what it said.
    ///
    /// # Errors
    /// When there is none, or it still runs.
    pub fn remove(&self, id: &str) -> Result<(), SupervisionError> {
        let process = {
            let mut processes = self.lock();
            let process = processes.get(id).ok_or_else(|| SupervisionError::Unknown(id.to_owned()))?;
            if process.end().is_none() {
                return Err(SupervisionError::Runs(id.to_owned()));
            }
            processes.remove(id)
        };
        let Some(process) = process else { return Ok(()) };
        process.gone.cancel();
        let (gate, record) = (self.all.gate.clone(), process.record.clone());
        self.all.tasks.spawn(async move { gate.close(&record).await });
        // A keeper that still waits for somebody to read what its program said last.
        if let Err(error) = platform::command(&process.folder, Command::Release) {
            tracing::debug!(%error, id, "its keeper is gone");
        }
        platform::remove_folder(&process.folder)
            .map_err(|source| SupervisionError::Io { path: process.folder.clone(), source })
    }

    /// The client of a process that goes with it is gone: it is asked to end, and killed a little later. Returns at once.
    pub fn release(&self, process: &Arc<Process>) {
        let process = Arc::clone(process);
        process.lock().stopping = true;
        self.all.tasks.spawn(async move {
            if let Err(error) = stop(&process, GRACE).await {
                tracing::warn!(%error, "a process without its client stays");
            }
        });
    }

    /// Leaves all processes to the next agent: what is in memory goes to the disk. Those that have ended, or are about to,
    /// are seen off first, or their keepers would wait for that agent.
    pub async fn close(&self) {
        self.all.closing.cancel();
        for process in self.lock().values() {
            self.all.tasks.spawn(leave(Arc::clone(process)));
        }
        self.all.tasks.close();
        if tokio::time::timeout(GRACE + GRACE, self.all.tasks.wait()).await.is_err() {
            tracing::warn!("some work on processes was cut off");
        }
    }

    async fn begin(&self, order: &Order, place: OwnedSemaphorePermit) -> Result<Arc<Process>, StartError> {
        let account = order.account.as_deref().map(platform::account).transpose()?;
        let id = Uuid::new_v4().simple().to_string();
        let folder = self.all.settings.folder.join(&id);
        platform::private_folder(&folder)?;
        let launch = Launch::new(order, account);
        let record = record(&id, order);
        let begun = async {
            store::write(&folder.join(store::RECORD), &record)?;
            let opened = self.all.gate.open(opening(&record, &folder, order)).await;
            opened.map_err(|source| StartError::Firewall { program: order.program.clone(), source })?;
            let (running, keeper) =
                platform::spawn_keeper(&self.all.settings.keeper, &folder, &launch).await?;
            let process = Process::open((record.clone(), running), &folder, self.all.settings.spool, false)?;
            let process = Arc::new(process);
            self.watch(&process, Some(place), Some(keeper))?;
            Ok(process)
        };
        let outcome: Result<_, StartError> = begun.await;
        if outcome.is_err() {
            if let Err(error) = platform::remove_folder(&folder) {
                tracing::warn!(%error, "a folder of a process that was not started stays");
            }
            self.all.gate.close(&record).await;
        }
        outcome
    }

    /// Takes over the process of a folder.
    async fn adopt(&self, folder: &Path) -> io::Result<()> {
        let Some(record) = store::read::<Record>(&folder.join(store::RECORD))? else {
            return platform::remove_folder(folder);
        };
        if record.version > VERSION {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a newer agent has started it"));
        }
        let Some(running) = running(folder).await? else {
            // Its agent was killed before anything ran.
            return platform::remove_folder(folder);
        };
        let keep = record.keep;
        let process = Process::open((record, running), folder, self.all.settings.spool, true)?;
        let process = Arc::new(process);
        let place = Arc::clone(&self.all.places).try_acquire_owned().ok();
        self.watch(&process, place, None)?;
        if !keep {
            let this = self.clone();
            self.all.tasks.spawn(async move { this.await_client(&process).await });
        }
        Ok(())
    }

    /// A process that goes with its client has a while to be attached to.
    async fn await_client(&self, process: &Arc<Process>) {
        tokio::select! {
            () = tokio::time::sleep(RETURN) => {}
            _ = process.ended() => return,
            () = process.gone.cancelled() => return,
        }
        if !process.lock().was_attached {
            self.release(process);
        }
    }

    /// Begins to carry its output and to wait for its end.
    fn watch(
        &self,
        process: &Arc<Process>,
        permit: Option<OwnedSemaphorePermit>,
        keeper: Option<platform::Keeper>,
    ) -> io::Result<()> {
        let alive = platform::Alive::open(&process.folder)?;
        let pumps = [Pump::open(process, 0)?, Pump::open(process, 1)?];
        for pump in pumps {
            self.all.tasks.spawn(pump.run());
        }
        self.lock().insert(process.id().to_owned(), Arc::clone(process));
        let (this, process) = (self.clone(), Arc::clone(process));
        let place = Place::take(permit, &self.all.settings.running);
        self.all.tasks.spawn(async move {
            let gone = process.gone.clone();
            tokio::select! {
                () = gone.cancelled() => {}
                () = this.see_off(&process, &alive, place, keeper) => {}
            }
        });
        Ok(())
    }

    /// Until its keeper may go.
    async fn see_off(
        &self,
        process: &Process,
        alive: &platform::Alive,
        place: Place,
        keeper: Option<platform::Keeper>,
    ) {
        if let Err(error) = alive.ended().await {
            tracing::warn!(%error, id = process.id(), "its end cannot be waited for");
        }
        let end = store::read::<End>(&process.folder.join(store::END)).unwrap_or_else(|error| {
            tracing::warn!(%error, id = process.id(), "how it ended cannot be read");
            None
        });
        if end.is_none() {
            platform::end_lost(&process.running);
        }
        // Who hears of its end finds nothing of it.
        self.all.gate.close(&process.record).await;
        process.set_end(end.unwrap_or(End::Lost));
        drop(place);
        self.all.ended.notify_one();
        process.drained().await;
        if let Err(error) = platform::command(&process.folder, Command::Release) {
            tracing::debug!(%error, id = process.id(), "its keeper is gone already");
        }
        if let Some(mut keeper) = keeper
            && let Err(error) = keeper.wait().await
        {
            tracing::debug!(%error, id = process.id(), "its keeper was not reaped");
        }
        process.seen_off.cancel();
    }

    /// Forgets ended processes when their time is over. Sleeps without a timer as long as none has ended.
    async fn forget_old(&self) {
        loop {
            let next = self.forget();
            let timer = async {
                match next {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                () = self.all.ended.notified() => {}
                () = self.all.closing.cancelled() => return,
            }
        }
    }

    /// Forgets those whose time is over; returns how long until the next one's is.
    fn forget(&self) -> Option<Duration> {
        let mut ended: Vec<(Duration, String)> = self
            .lock()
            .values()
            .filter_map(|process| Some((process.over_for()?, process.id().to_owned())))
            .collect();
        ended.sort();
        let settings = &self.all.settings;
        let fresh = ended.iter().take(settings.retained).take_while(|(age, _)| *age < settings.retention);
        let fresh = fresh.count();
        for (_, id) in &ended[fresh..] {
            if let Err(error) = self.remove(id) {
                tracing::warn!(%error, "an ended process is not forgotten");
            }
        }
        ended[..fresh].last().map(|(age, _)| settings.retention.saturating_sub(*age))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Process>>> {
        self.all.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a process up as soon as there is nothing to wait for: it goes on, or its keeper has gone.
async fn leave(process: Arc<Process>) {
    let (stopping, ended) = {
        let shared = process.lock();
        // Its watcher may not have heard yet.
        (shared.stopping, shared.end.is_some() || process.folder.join(store::END).exists())
    };
    let patience = match (stopping, ended) {
        (_, true) => DRAIN,
        (true, false) => GRACE + DRAIN,
        (false, false) => Duration::ZERO,
    };
    if tokio::time::timeout(patience, process.seen_off.cancelled()).await.is_err() {
        tracing::debug!(id = process.id(), "it is left to the next agent");
    }
    process.gone.cancel();
}

fn record(id: &str, order: &Order) -> Record {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Record {
        version: VERSION,
        id: id.to_owned(),
        program: order.program.clone(),
        arguments: order.arguments.clone(),
        account: order.account.clone().unwrap_or_default(),
        label: order.label.clone(),
        caller: order.caller.clone(),
        started_unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        keep: order.keep,
        stdin: order.stdin,
        terminal: order.terminal.is_some(),
        ports: order.ports.clone(),
    }
}

fn opening(record: &Record, folder: &Path, order: &Order) -> Opening {
    let (id, ports) = (record.id.clone(), record.ports.clone());
    Opening { id, folder: folder.to_owned(), program: PathBuf::from(&order.file), ports }
}

/// What the keeper of a folder has written down. One that an agent started in its last moment may still be about to.
async fn running(folder: &Path) -> io::Result<Option<Running>> {
    let until = tokio::time::Instant::now() + BEGIN;
    loop {
        if let Some(running) = store::read(&folder.join(store::RUNNING))? {
            return Ok(Some(running));
        }
        let lock =
            fs::OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
        let free = lock.file().try_lock().is_ok();
        if free || tokio::time::Instant::now() > until {
            // Once more: it may have written it, and gone.
            return store::read(&folder.join(store::RUNNING));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
