//! The supervisor's process: there is one per home, and it ends with its last machine and its last template.

use std::{collections::BTreeMap, path::Path, time::Duration};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, ProcessId};
use winstead_spec::MachineName;

use super::{
    pressure::{Order, Pressure},
    templates::Unused,
    watch::Watch,
};
use crate::{EngineError, Home, Options, error::chain, journal::Journal};

/// How often the journal is asked whether it has changed: one pragma, no row is read.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a new supervisor may take until it holds its lock.
const START: Duration = Duration::from_secs(10);
/// How long the last machine's end may take to reach it.
const END: Duration = Duration::from_secs(10);

/// Starts the supervisor of a home if none lives, and returns when it does.
pub(crate) async fn ensure(home: &Home, program: &Path) -> Result<(), EngineError> {
    let failed = |source| EngineError::Supervisor { log: home.supervisor_log(), source };
    if lives(home) {
        return Ok(());
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(home.supervisor_log()).map_err(failed)?;
    let command = Command::new(program).arg("--home").arg(home.root()).arg("supervise");
    let started = command.start_detached(log.file());
    let mut child = started.map_err(|error| failed(std::io::Error::other(error)))?;
    let until = tokio::time::Instant::now() + START;
    while !lives(home) {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Err(failed(std::io::Error::other(format!("it ended at once with {status}"))));
        }
        if tokio::time::Instant::now() > until {
            return Err(failed(std::io::Error::other("it did not come up in time")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Ends the supervisor of a home whose last machine and template are gone, and waits for it; `false` when it is still there in the
/// end. Without a supervisor there is nothing to do.
pub(crate) async fn end(home: &Home) -> Result<bool, EngineError> {
    let failed = |source| EngineError::Supervisor { log: home.supervisor_log(), source };
    let until = tokio::time::Instant::now() + END;
    loop {
        // The process that holds the lock has written itself into it; right after its start it may not have yet. It
        // lives a moment longer than its lock.
        let written = fs::read(home.supervisor_lock()).unwrap_or_default();
        let process = serde_json::from_slice::<ProcessId>(&written).ok().filter(|process| process.is_alive());
        match (lives(home), process) {
            (true, Some(process)) => process.terminate().map_err(failed)?,
            (false, None) => return Ok(true),
            _ => {}
        }
        if tokio::time::Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether somebody holds the supervisor's lock.
pub(crate) fn lives(home: &Home) -> bool {
    // Only looking: the shared lock is given back at once and never keeps a supervisor out for longer.
    match fs::File::open(home.supervisor_lock()) {
        Ok(file) => flock(file.file(), FlockOperation::NonBlockingLockShared).is_err(),
        Err(_) => false,
    }
}

/// Watches the machines and templates of a home until the last one is gone, or `stop` is cancelled.
///
/// # Errors
/// When the home or its journal cannot be used. A second supervisor of one home ends at once, without an error.
pub async fn supervise(options: Options, stop: CancellationToken) -> Result<(), EngineError> {
    let home = Home::open(&options.home)?;
    let failed = |source| EngineError::Supervisor { log: home.supervisor_log(), source };
    let path = home.supervisor_lock();
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    if take(lock.file()).await.is_err() {
        tracing::info!("another supervisor watches this home");
        return Ok(());
    }
    if let Some(process) = ProcessId::of(std::process::id()) {
        sign(&lock, process).map_err(failed)?;
    }
    let journal = Journal::open(&home.journal(), options.faults).await?;
    tracing::info!(home = %home.root().display(), "watching");
    let outcome = watch_all(&home, &journal, &stop).await;
    tracing::info!("ending");
    outcome
}

/// Writes who holds the lock into it.
fn sign(mut lock: &fs::File, process: ProcessId) -> std::io::Result<()> {
    lock.set_len(0)?;
    serde_json::to_writer(&mut lock, &process).map_err(std::io::Error::from)
}

/// Takes the lock, also when somebody is just looking at it.
async fn take(lock: &std::fs::File) -> rustix::io::Result<()> {
    let mut taken = flock(lock, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..20 {
        if taken.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        taken = flock(lock, FlockOperation::NonBlockingLockExclusive);
    }
    taken
}

async fn watch_all(home: &Home, journal: &Journal, stop: &CancellationToken) -> Result<(), EngineError> {
    let mut watchers = Watchers::default();
    let mut pressure = Pressure::default();
    let end = stop.child_token();
    let mut version = None;
    // A supervisor is started before its first machine is recorded: it must not end before that.
    let mut seen_any = false;
    let born = tokio::time::Instant::now();
    let mut unused = Unused::default();
    loop {
        let now = journal.data_version().await?;
        if version != Some(now) {
            version = Some(now);
            let snapshot = journal.snapshot().await?;
            let is_empty = snapshot.records().next().is_none();
            seen_any |= !is_empty;
            if is_empty && (seen_any || born.elapsed() > START) {
                break;
            }
            unused = Unused::of(&snapshot, journal).await?;
            for (name, _) in snapshot.machines.iter().filter(|(_, entry)| entry.phase.runs()) {
                let watch = || Watch::new(home.clone(), journal.clone(), name.clone(), end.clone());
                watchers.add(name, |orders| watch().run(orders));
            }
        } else if !seen_any && born.elapsed() > START {
            break;
        }
        // What nobody uses goes before a machine is held.
        if remove_templates(&mut unused, (home, journal), stop).await {
            // What we write ourselves is no news from the journal.
            version = None;
        } else {
            look_at_memory(&mut pressure, journal, &watchers).await;
        }
        tokio::select! {
            orderly = watchers.one_ended() => {
                version = None;
                if !orderly {
                    // Not in a tight loop.
                    tokio::time::sleep(GLANCE).await;
                }
            }
            () = tokio::time::sleep(GLANCE) => {}
            () = stop.cancelled() => break,
        }
    }
    end.cancel();
    while watchers.tasks.join_next().await.is_some() {}
    Ok(())
}

/// Removes templates whose time is over or whose room is needed, and returns whether it did.
async fn remove_templates(
    unused: &mut Unused,
    (home, journal): (&Home, &Journal),
    stop: &CancellationToken,
) -> bool {
    let removed = unused.remove_due(home, journal, stop).await;
    removed.unwrap_or_else(|error| {
        tracing::warn!(error = chain(&error), "a template that nobody needs is still there");
        // Not in a tight loop: until something changes.
        *unused = Unused::default();
        false
    })
}

/// Passes on what the host's memory asks for. A look that fails is no reason to leave the machines alone.
async fn look_at_memory(pressure: &mut Pressure, journal: &Journal, watchers: &Watchers) {
    match pressure.look(journal).await {
        Ok(Some((name, order))) => watchers.tell(&name, order),
        Ok(None) => {}
        Err(error) => tracing::warn!(error = chain(&error), "the host's memory is not seen"),
    }
}

/// The tasks that watch machines, one each.
#[derive(Default)]
struct Watchers {
    tasks: JoinSet<()>,
    watched: BTreeMap<MachineName, (Id, mpsc::Sender<Order>)>,
}

impl Watchers {
    /// Watches a machine that nobody watches.
    fn add<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &MachineName,
        watch: impl FnOnce(mpsc::Receiver<Order>) -> F,
    ) {
        if !self.watched.contains_key(name) {
            let (sender, orders) = mpsc::channel(1);
            let id = self.tasks.spawn(watch(orders)).id();
            self.watched.insert(name.clone(), (id, sender));
        }
    }

    /// Tells a machine's watcher what to do. One that is busy with the last order is told again at the next look.
    fn tell(&self, name: &MachineName, order: Order) {
        if let Some((_, sender)) = self.watched.get(name) {
            let told = sender.try_send(order);
            tracing::debug!(machine = %name, told = told.is_ok(), "ordered");
        }
    }

    /// Returns when a watcher has ended, and whether it did so by itself; its machine is watched by nobody then. Cancel
    /// safe.
    async fn one_ended(&mut self) -> bool {
        let (id, orderly) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, true),
            Some(Err(error)) => {
                tracing::error!(%error, "a watcher ended");
                (error.id(), false)
            }
            None => return std::future::pending().await,
        };
        self.watched.retain(|_, (known, _)| *known != id);
        orderly
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_that_panics_is_replaced() {
        let mut watchers = Watchers::default();
        let name: MachineName = "p-0".parse().unwrap();
        watchers.add(&name, |_| async { panic!("a bug") });
        assert!(!watchers.one_ended().await);
        let (told, watched) = tokio::sync::oneshot::channel();
        watchers.add(&name, |_| async { told.send(()).unwrap() });
        watched.await.unwrap();
    }
}
