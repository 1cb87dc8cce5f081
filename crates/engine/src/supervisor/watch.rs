//! One running machine, watched by one task.

use std::{path::Path, sync::Mutex, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use winstead_guest::console::{self, Panic};
use winstead_hypervisor::qemu::{
    self, RunState,
    qmp::{self, Client},
};
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, MachineName};
use winstead_store::{Placement, Presence};

use super::{
    full,
    pressure::{self, Order},
};
use crate::{
    EngineError, Home, Phase,
    journal::{Entry, Journal, Lack},
    observe,
    readiness::last_words,
};

/// How often things without an event are looked at: a store that vanishes, a log that grows, the journal. It is what each
/// idle machine costs the host.
const GLANCE: Duration = Duration::from_secs(1);
/// How often a cap is looked at that nothing but us enforces, and what is about to happen.
const CLOSE_GLANCE: Duration = Duration::from_millis(200);
/// QEMU's word for a guest that the accelerator gave up (`RunState` of its QMP schema).
const INTERNAL_ERROR: &str = "internal-error";
/// How long QEMU may take to answer its monitor.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a panic's text on the console is waited for; Windows writes none.
const PANIC_WORDS: Duration = Duration::from_secs(2);

/// One machine's watcher.
pub(super) struct Watch {
    pub(super) home: Home,
    pub(super) journal: Journal,
    pub(super) name: MachineName,
    pub(super) stop: CancellationToken,
    /// The cap at which the machine was held; `None` before, and when another supervisor held it.
    pub(super) held_at: Mutex<Option<ByteSize>>,
}

/// Why a watcher looks again.
enum Wake {
    /// QEMU stopped the guest, or the guest reported its own panic.
    Event(qmp::Event),
    /// The host's memory asks for it.
    Order(Order),
    /// Nothing happened.
    Glance,
    /// The guest's kernel panicked and said so on its console.
    Panic(Panic),
    /// The monitor is closed: QEMU is gone.
    Gone,
    /// The supervisor ends.
    Stop,
}

impl Watch {
    pub(super) const fn new(
        home: Home,
        journal: Journal,
        name: MachineName,
        stop: CancellationToken,
    ) -> Self {
        Self { home, journal, name, stop, held_at: Mutex::new(None) }
    }

    /// Watches until the machine runs no more, and obeys what `orders` say meanwhile: nobody else talks to its monitor.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        if let Err(error) = self.watch(&mut orders).await {
            tracing::warn!(machine = %self.name, error = crate::error::chain(&error), "watching ended");
            // The supervisor starts a new watcher while the machine runs: not in a tight loop.
            tokio::time::sleep(CLOSE_GLANCE).await;
        }
    }

    async fn watch(&self, orders: &mut mpsc::Receiver<Order>) -> Result<(), EngineError> {
        let Some((mut monitor, process, pace)) = self.connect().await? else { return Ok(()) };
        self.look(process, &mut monitor).await?;
        self.wake(&mut monitor).await?;
        let console = qemu::console_log(&self.home.run(&self.name));
        let panic = console::wait_for_panic(&console, 0, &self.stop);
        tokio::pin!(panic);
        let mut powered_off = false;
        loop {
            let wake = tokio::select! {
                Some(panic) = &mut panic => Wake::Panic(panic),
                Some(order) = orders.recv() => Wake::Order(order),
                wake = self.wait(pace, &mut monitor) => wake,
            };
            match wake {
                Wake::Stop => return Ok(()),
                Wake::Gone => return self.gone(process, powered_off).await,
                Wake::Panic(panic) => {
                    return self.fail(process, &panic.verdict()).await;
                }
                Wake::Event(event) => {
                    powered_off |= is_power_off(&event);
                    self.event(&event, process, &mut monitor).await?;
                }
                Wake::Order(order) => pressure::obey(self, &order, &mut monitor).await?,
                Wake::Glance => {
                    let Some(entry) = self.entry().await?.filter(|entry| entry.phase.runs()) else {
                        return Ok(());
                    };
                    self.glance(&entry, process, &mut monitor).await?;
                }
            }
        }
    }

    async fn event(
        &self,
        event: &qmp::Event,
        process: ProcessId,
        monitor: &mut Client,
    ) -> Result<(), EngineError> {
        match event.name.as_str() {
            "STOP" => self.look(process, monitor).await,
            "GUEST_PANICKED" => {
                let console = qemu::console_log(&self.home.run(&self.name));
                self.fail(process, &panic_words(&console, &self.stop).await).await
            }
            _ => Ok(()),
        }
    }

    /// Connects to the machine's second monitor as soon as its QEMU runs, and returns how often to look at the machine;
    /// `None` when it needs no watching.
    async fn connect(&self) -> Result<Option<(Client, ProcessId, Duration)>, EngineError> {
        let run = self.home.run(&self.name);
        loop {
            let Some(entry) = self.entry().await?.filter(|entry| entry.phase.runs()) else { return Ok(None) };
            if let Some(process) = observe::process(&self.home, &entry.record) {
                match Client::connect(&run, qemu::SUPERVISOR_SOCKET, process, ANSWER).await {
                    Ok(monitor) => return Ok(Some((monitor, process, pace(&entry)))),
                    Err(error) => tracing::debug!(machine = %self.name, %error, "no monitor yet"),
                }
            } else if let Some(process) = entry.record.process {
                self.journal_death(process, false).await?;
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(CLOSE_GLANCE) => {}
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    async fn wait(&self, pace: Duration, monitor: &mut Client) -> Wake {
        tokio::select! {
            event = monitor.next_event() => event.map_or(Wake::Gone, Wake::Event),
            () = tokio::time::sleep(pace) => Wake::Glance,
            () = self.stop.cancelled() => Wake::Stop,
        }
    }

    pub(super) async fn entry(&self) -> Result<Option<Entry>, EngineError> {
        Ok(self.journal.machine(&self.name).await?)
    }

    /// What made QEMU stop? It is asked, because its error event is limited to one a second.
    async fn look(&self, process: ProcessId, monitor: &mut Client) -> Result<(), EngineError> {
        let nospace = monitor
            .nospace()
            .await
            .map_err(|error| EngineError::host("ask QEMU about its disks")(error.into()))?;
        if nospace {
            return full::relieve(self, monitor).await;
        }
        match state(monitor).await? {
            RunState::Other(state) if state == INTERNAL_ERROR => {
                self.fail(process, "its accelerator cannot run it on: QEMU stopped it with an internal error")
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Lets a guest go on that a supervisor before us paused, and did not live to let go on: in a store without caps of
    /// its own. Pauses one that it held for the host's memory, and did not live to pause.
    async fn wake(&self, monitor: &mut Client) -> Result<(), EngineError> {
        let Some(entry) = self.entry().await? else { return Ok(()) };
        if entry.lacks(Lack::Memory) {
            return full::pause(monitor).await;
        }
        if !should_run(&entry) || state(monitor).await? != RunState::Paused {
            return Ok(());
        }
        if is_over(&entry) { full::relieve(self, monitor).await } else { full::resume(monitor).await }
    }

    async fn glance(
        &self,
        entry: &Entry,
        process: ProcessId,
        monitor: &mut Client,
    ) -> Result<(), EngineError> {
        if let Err(error) = qemu::cut_logs(&self.home.run(&self.name)) {
            tracing::debug!(machine = %self.name, %error, "a log cannot be cut");
        }
        let location = &entry.record.location;
        // The overlay is asked for first: one question, where the table of all mounts has a line for each machine.
        if !location.overlay().is_file() && winstead_store::exists(location) == Presence::Absent {
            return self.fail(process, "its disk is gone: the store was unmounted or deleted").await;
        }
        match entry.held.map(|held| held.lack) {
            Some(Lack::Disk) => return full::try_release(self, entry, monitor).await,
            // The host's memory is looked at for all machines together, which then order it.
            Some(Lack::Memory) => return Ok(()),
            None => {}
        }
        if is_unbounded(entry) && is_over(entry) {
            full::pause(monitor).await?;
            full::relieve(self, monitor).await?;
        }
        Ok(())
    }

    async fn gone(&self, process: ProcessId, powered_off: bool) -> Result<(), EngineError> {
        let until = tokio::time::Instant::now() + ANSWER;
        while process.is_alive() && tokio::time::Instant::now() < until {
            tokio::time::sleep(CLOSE_GLANCE).await;
        }
        self.journal_death(process, powered_off).await
    }

    /// Journals that QEMU ended, unless a command ended it: that one journals its own phase first.
    async fn journal_death(&self, process: ProcessId, powered_off: bool) -> Result<(), EngineError> {
        if powered_off {
            return self.fail(process, "its guest switched itself off").await;
        }
        let words = last_words(&self.home.run(&self.name).join("qemu.log"));
        self.fail(process, &format!("its QEMU ended: {words}")).await
    }

    /// Fails the machine for what happened to this QEMU. A machine that stands on another one by now, or waits for
    /// its next start, is not meant.
    async fn fail(&self, process: ProcessId, why: &str) -> Result<(), EngineError> {
        if self.journal.fail(&self.name, process, why).await? {
            tracing::warn!(machine = %self.name, why, "failed");
        }
        Ok(())
    }

    /// Journals that the machine is held, and returns whether it did: not when a command moved it somewhere else
    /// meanwhile, whose word counts, or it is held already.
    pub(super) async fn hold(&self, lack: Lack, why: &str) -> Result<bool, EngineError> {
        use crate::journal::JournalError::{Transition, Unknown};
        match self.journal.hold(&self.name, lack, why).await {
            Ok(_) => {
                tracing::warn!(machine = %self.name, why, "held");
                Ok(true)
            }
            Err(Transition { .. } | Unknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a paused guest was paused by a supervisor. One that has not become itself is a command's business.
fn should_run(entry: &Entry) -> bool {
    let alive = matches!(entry.phase, Phase::Booting | Phase::Ready);
    alive && is_unbounded(entry) && !entry.record.origin.awaits_identity()
}

pub(super) async fn state(monitor: &mut Client) -> Result<RunState, EngineError> {
    monitor.query_status().await.map_err(|error| EngineError::host("ask QEMU how its guest is")(error.into()))
}

/// How often a machine is looked at.
const fn pace(entry: &Entry) -> Duration {
    if is_unbounded(entry) { CLOSE_GLANCE } else { GLANCE }
}

/// Whether nothing but us enforces a machine's cap.
pub(super) const fn is_unbounded(entry: &Entry) -> bool {
    !matches!(entry.record.location.placement, Placement::OwnTmpfs)
}

fn is_over(entry: &Entry) -> bool {
    winstead_store::usage(&entry.record.location).is_ok_and(|usage| usage.used > entry.cap())
}

/// What a guest that reported its panic said of it: its console's words, which may come a moment after the report.
async fn panic_words(console: &Path, stop: &CancellationToken) -> String {
    let said = tokio::time::timeout(PANIC_WORDS, console::wait_for_panic(console, 0, stop)).await;
    said.ok().flatten().map_or_else(|| "its kernel panicked".to_owned(), |panic| panic.verdict())
}

/// Whether the guest switched its machine off. QEMU's own end by a command or a signal is not that.
fn is_power_off(event: &qmp::Event) -> bool {
    event.name == "SHUTDOWN" && event.guest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[tokio::test(start_paused = true)]
    async fn a_reported_panic_is_told_in_the_consoles_words_if_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        let (console, stop) = (folder.path().join("console.log"), CancellationToken::new());
        assert_eq!(panic_words(&console, &stop).await, "its kernel panicked");
        fs_err::write(&console, "[ 1.5] Kernel panic - not syncing: No working init found.\n").unwrap();
        let words = panic_words(&console, &stop).await;
        assert_eq!(words, "its kernel panicked: Kernel panic - not syncing: No working init found.");
    }

    #[test]
    fn a_guest_that_is_paused_to_be_given_its_identity_is_left_alone() {
        let mut record = fixtures::record(&fixtures::pool("p", 1), 0, fixtures::image(7));
        record.location.placement = Placement::SharedRam { folder: "/dev/shm/w".into() };
        let (phase, message) = (Phase::Booting, String::new());
        let mut entry = Entry { record, phase, held: None, message, growth: None };
        assert!(should_run(&entry));
        entry.record.origin.template = Some("template-010101010101-0".parse().unwrap());
        assert!(!should_run(&entry));
        entry.record.origin.is_itself = true;
        assert!(should_run(&entry));
        entry.phase = Phase::Held;
        assert!(!should_run(&entry));
    }

    #[test]
    fn only_the_guests_own_shutdown_is_a_power_off() {
        let event = |name: &str, guest| qmp::Event { name: name.to_owned(), guest };
        assert!(is_power_off(&event("SHUTDOWN", true)));
        assert!(!is_power_off(&event("SHUTDOWN", false)));
        assert!(!is_power_off(&event("STOP", true)));
    }
}
