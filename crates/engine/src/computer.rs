//! What machines' agents say of their computers, and restarts until they are back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout_at};
use tokio_util::sync::CancellationToken;
use winstead_guest::hand::{Clocks, Facts, HandError, Ports, RebootError};
use winstead_spec::MachineName;

use crate::{
    Engine, EngineError, Event, Listener, MachineRecord, Phase,
    error::chain,
    hand::PATIENT,
    readiness::Wait,
    view::{AgentStatus, Machine},
    work::outcome,
};

/// How long a list waits for agents, all together: one that answers does so within milliseconds, in an emulated guest within
/// a second.
const GLANCE: Duration = Duration::from_millis(1500);
/// So many are asked at once: each takes two files of ours, and processes may often have no more than 1,024.
const AT_ONCE: usize = 64;

impl Engine {
    /// What a machine says of itself.
    ///
    /// # Errors
    /// When it does not run, or has no agent that answers.
    pub async fn facts(&self, machine: &MachineName) -> Result<Facts, EngineError> {
        Ok(self.agent(machine).await?.facts().await?)
    }

    /// The clocks of machines, compared with ours, of all that answer; and what went wrong with the others.
    pub async fn clocks(
        &self,
        machines: &[MachineName],
    ) -> (Vec<(MachineName, Clocks)>, Result<(), EngineError>) {
        let ask = |engine: Self, machine: MachineName| async move {
            Ok(engine.agent(&machine).await?.clocks().await?)
        };
        self.of_each(machines, "compare the clocks of", ask).await
    }

    /// Writes into a list who of its machines answers by an agent. Takes a moment, whoever does not.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn ask_agents(&self, machines: &mut [Machine]) -> Result<(), EngineError> {
        let until = tokio::time::Instant::now() + GLANCE;
        let (mut asked, seats) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
        for (place, machine) in machines.iter().enumerate() {
            let Ok(name) = machine.metadata.name.parse() else { continue };
            let ports = match self.agent_ports(&name).await {
                Ok(ports) => ports,
                // It has none, does not run, or has gone meanwhile.
                Err(
                    EngineError::NoAgent { .. }
                    | EngineError::NotRunning { .. }
                    | EngineError::Unknown { .. },
                ) => continue,
                Err(error) => return Err(error),
            };
            let answer = version(ports, Arc::clone(&seats));
            asked.spawn(async move { (place, timeout_at(until, answer).await) });
        }
        for (place, answer) in asked.join_all().await {
            let status = match answer {
                Ok(Ok(version)) => AgentStatus { answers: true, version: Some(version), message: None },
                Ok(Err(error)) => AgentStatus::silent(chain(&error)),
                Err(_) => AgentStatus::silent(format!("no answer within {GLANCE:?}")),
            };
            if let Some(machine) = machines.get_mut(place) {
                machine.status.agent = Some(status);
            }
        }
        Ok(())
    }

    /// Restarts machines, all at once, and returns when each is ready again as its pool has it, with the time from the word
    /// until then. None may take longer than `limit`.
    ///
    /// # Errors
    /// When one does not run or has no agent: then none was restarted. When one is not back in time; the others are waited for
    /// all the same.
    ///
    /// Cancel safety: cancel `stop` and await, or drop it; machines that were told to restart do so.
    pub async fn reboot(
        &self,
        machines: &[MachineName],
        limit: Duration,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Vec<(MachineName, Duration)>, EngineError> {
        for machine in machines {
            self.agent_ports(machine).await?;
        }
        let restart = |engine: Self, machine: MachineName| {
            let (listener, stop) = (listener.clone(), stop.clone());
            async move { engine.reboot_one(&machine, limit, &listener, &stop).await }
        };
        let (back, outcome) = self.of_each(machines, "restart", restart).await;
        outcome.map(|()| back)
    }

    /// Does the same with several machines at once. What is answered comes in the order given.
    async fn of_each<T, F>(
        &self,
        machines: &[MachineName],
        verb: &'static str,
        work: impl Fn(Self, MachineName) -> F,
    ) -> (Vec<(MachineName, T)>, Result<(), EngineError>)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (place, machine) in machines.iter().enumerate() {
            let work = work(self.clone(), machine.clone());
            let machine = machine.clone();
            tasks.spawn(async move { (place, machine, work.await) });
        }
        let mut ended = tasks.join_all().await;
        ended.sort_by_key(|(place, ..)| *place);
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for (_, machine, answer) in ended {
            match answer {
                Ok(found) => done.push((machine, found)),
                Err(error) => failed.push((machine, Box::new(error))),
            }
        }
        (done, outcome(verb, machines.len(), failed))
    }

    async fn reboot_one(
        &self,
        machine: &MachineName,
        limit: Duration,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Duration, EngineError> {
        let ports = self.agent_ports(machine).await?;
        let old = ports.reach(PATIENT).await?.reboot().await?;
        let begun = Instant::now();
        let tell = |phase, message: &str| {
            listener.tell(Event::Phase { name: machine.clone(), phase, message: message.to_owned() });
        };
        tell(Phase::Booting, "it restarts");
        let entry = self.journal.machine(machine).await?;
        let gone =
            || EngineError::MachineFailed { machine: machine.clone(), reason: "it is gone".to_owned() };
        let record = entry.ok_or_else(gone)?.record;
        let wait = self.wait(&record, stop).ok_or_else(gone)?;
        let back = wait.meanwhile(ports.come_back(&old, limit)).await?;
        back.map_err(|error| not_back(machine, error))?;
        tell(Phase::Booting, "its agent answers");
        let left = tokio::time::Instant::now() + limit.saturating_sub(begun.elapsed());
        let ready = timeout_at(left, wait.until_ready()).await;
        let said = ready.map_err(|_| EngineError::NotReady {
            machine: machine.clone(),
            after: limit,
            last_seen: "its agent answers".to_owned(),
        })??;
        tell(Phase::Ready, &format!("{said} after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(begun.elapsed())
    }

    fn wait<'a>(&'a self, record: &'a MachineRecord, stop: &'a CancellationToken) -> Option<Wait<'a>> {
        let (run, process) = (self.home.run(&record.name), record.process?);
        let log = run.join("qemu.log");
        // A panic of an earlier boot is no reason to give this one up.
        let seen = fs_err::metadata(run.join("console.log")).map_or(0, |console| console.len());
        Some(Wait { journal: &self.journal, record, process, run, log, seen, stop })
    }
}

async fn version(ports: Ports, seats: Arc<Semaphore>) -> Result<String, HandError> {
    // Nobody closes it.
    let _seat = seats.acquire().await;
    Ok(ports.reach(GLANCE).await?.greeting().await?.version)
}

fn not_back(machine: &MachineName, error: RebootError) -> EngineError {
    let machine = machine.clone();
    match error {
        RebootError::Away(after, last_seen) => EngineError::NotReady { machine, after, last_seen },
        refused @ RebootError::Refused(_) => {
            EngineError::Step { machine, step: "restart", source: refused.into() }
        }
    }
}
