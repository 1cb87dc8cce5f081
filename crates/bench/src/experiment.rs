//! The experiment: for each cell bring machines, measure, throw them away.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_engine::{Engine, EngineError, Kind, Listener, Phase, Selection, Via, chain, view};
use winstead_measurement::{
    Contention,
    contention::{Arm, ContentionRun, MachineRun, Way, Workload, WorkloadRun},
    probe,
    wall::{Conditions, decide, within},
};
use winstead_spec::{Documents, MachineName, Name, Pool};

use crate::{
    arms, barrier,
    error::BenchError,
    host::Watched,
    limit::Limited,
    probes::{self, Machine},
    program::Program,
    results::Results,
    schedule::{Cell, schedule},
};

/// How many runs may fail one after another before the experiment is given up.
const MOST_BROKEN: usize = 3;

/// How long machines may take to be thrown away after an interrupt.
const FAREWELL: Duration = Duration::from_secs(120);

/// An experiment that is to be done. Nobody else may measure in the same home meanwhile: see [`crate::Lock`].
pub struct Experiment<'a> {
    /// Where machines are brought.
    pub engine: &'a Engine,
    /// The file.
    pub documents: &'a Documents,
    /// The pool of it that arms are made from.
    pub pool: &'a Pool,
    /// The probe.
    pub program: &'a Program,
    /// The way into machines. `None`: that of the runs before, else by the agent if that of the first machine answers, in all
    /// machines and runs.
    pub via: Option<Via>,
    /// A workload that takes longer in a machine has failed there.
    pub limit: Duration,
    /// Where runs are kept, with what was planned.
    pub results: &'a Results,
    /// Hears what the engine does.
    pub listener: &'a Listener,
    /// Hears how far it is.
    pub tell: &'a Tell,
}

/// How far an experiment is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// A cell is begun: which of how many.
    Begun(Cell, usize, usize),
    /// Its machines are there.
    Brought(Cell, BTreeMap<String, u32>, Duration),
    /// It is over; so many of its machines failed.
    Done(Cell, usize),
}

/// Receives progress; must not block.
pub type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

impl Experiment<'_> {
    /// Measures all cells that are not in the results yet, throws all machines away, and returns the document with its
    /// place. A machine that dies is a failure in the results and does not end the experiment.
    ///
    /// # Errors
    /// When machines cannot be brought again and again, or results not be kept. What was measured is kept.
    ///
    /// Cancel safety: cancel `stop` and await; the cell that is being measured is lost, machines are thrown away.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(PathBuf, Contention), BenchError> {
        let limited = self.limited()?;
        let outcome = self.measure_all(limited.as_ref(), stop).await;
        let gone = self.throw_all_away().await;
        let document = self.results.document();
        // What is left behind is the user's to remove, whatever else there is to say.
        gone?;
        outcome?;
        document
    }

    async fn measure_all(
        &self,
        limited: Option<&Limited>,
        stop: &CancellationToken,
    ) -> Result<(), BenchError> {
        let cells = schedule(self.results.design());
        // Runs of which nothing came, one after another: the host's fault as likely as the arm's. They count when a later
        // one works.
        let mut broken: Vec<(Cell, ContentionRun)> = Vec::new();
        let mut via = self.via.map_or_else(|| self.results.way(), |via| Ok(Some(way(via))))?;
        for (index, cell) in cells.iter().enumerate().filter(|(_, cell)| !self.results.has(**cell)) {
            (self.tell)(Progress::Begun(*cell, index + 1, cells.len()));
            let limited = limited.filter(|_| cell.arm != Arm::Ram);
            let run = self.measure(*cell, Crew { limited, via, ..Crew::default() }, stop).await?;
            via = run.via;
            if stop.is_cancelled() {
                return Err(BenchError::Interrupted);
            }
            (self.tell)(Progress::Done(*cell, failed_machines(&run)));
            let failure = all_failed(&run);
            broken.push((*cell, run));
            match failure {
                Some(said) if broken.len() >= MOST_BROKEN => {
                    return Err(BenchError::Broken { runs: broken.len(), said });
                }
                Some(_) => {}
                None => broken.drain(..).try_for_each(|(cell, run)| self.results.keep(cell, &run))?,
            }
        }
        broken.drain(..).try_for_each(|(cell, run)| self.results.keep(cell, &run))?;
        Ok(())
    }

    async fn measure(
        &self,
        cell: Cell,
        mut crew: Crew<'_>,
        stop: &CancellationToken,
    ) -> Result<ContentionRun, BenchError> {
        let started_at = Timestamp::now();
        self.up(None, stop).await??;
        let begun = Instant::now();
        let brought = self.up(Some(cell), stop).await?;
        let bring = begun.elapsed();
        self.fill(&mut crew, cell, brought.err().as_ref(), stop).await?;
        let mut run = ContentionRun {
            arm: cell.arm,
            agents: cell.agents,
            repeat: cell.repeat,
            started_at,
            started_from: crew.started_from.clone(),
            bring_seconds: bring.as_secs_f64(),
            image: crew.image.clone(),
            direct: crew.direct,
            via: crew.via,
            workloads: Vec::new(),
        };
        (self.tell)(Progress::Brought(cell, run.started_from.clone(), bring));
        for workload in &self.results.design().workloads {
            let found = self.workload(workload, cell, &crew, stop).await?;
            // Its probe may still be at work, and would be in the next one's numbers.
            crew.leave_out(&found);
            run.workloads.push(found);
        }
        Ok(run)
    }

    /// One workload in all machines. Those without the program have failed.
    async fn workload(
        &self,
        workload: &Workload,
        cell: Cell,
        crew: &Crew<'_>,
        stop: &CancellationToken,
    ) -> Result<WorkloadRun, BenchError> {
        let probes = crew
            .working()
            .map(|machine| machine.probe(self.engine, self.program, workload))
            .collect::<Result<_, _>>()?;
        let watched = Watched { processes: crew.processes().collect(), limited: crew.limited };
        let mut found = barrier::together(probes, &watched, self.limit, stop).await;
        found.machines.extend(crew.failed.iter().map(|(name, said)| without_result(name, said)));
        let on_disk = cell.arm != Arm::Ram;
        let (design, host) = (self.results.design(), self.results.host());
        let conditions = Conditions {
            cpus: host.cpus,
            virtual_cpus: cell.agents * design.machine.cpus,
            device: host.disk.device.as_deref().filter(|_| on_disk),
            limit: design.disk_limit.filter(|_| on_disk),
        };
        let (from, to) = while_all_worked(&found.machines);
        Ok(WorkloadRun {
            name: workload.name.clone(),
            started_at: found.started_at,
            barrier_seconds: found.spread.as_secs_f64(),
            walls: decide(&within(&found.host, from, to), conditions),
            machines: found.machines,
            host: found.host,
        })
    }

    /// The group whose machines are held to the design's rate; `None` where there is none. It stays until all machines
    /// are gone: one with processes cannot be removed.
    fn limited(&self) -> Result<Option<Limited>, BenchError> {
        let device = self.results.host().disk.device.as_deref();
        Ok(self.results.design().disk_limit.map(|limit| Limited::new(limit, device)).transpose()?)
    }

    /// Brings a cell's machines, or none. A failure to come up is the answer, what keeps any experiment from going on
    /// is an error of the outer kind.
    async fn up(
        &self,
        cell: Option<Cell>,
        stop: &CancellationToken,
    ) -> Result<Result<(), EngineError>, BenchError> {
        let bring = cell.map(|cell| (cell.arm, cell.agents));
        let documents = arms::documents(self.documents, self.pool, self.results.design(), bring)?;
        match Box::pin(self.engine.up(&documents, self.listener, stop)).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if matches!(error.kind(), Kind::Failed | Kind::TimedOut) => Ok(Err(error)),
            Err(error) if error.kind() == Kind::Interrupted => Err(BenchError::Interrupted),
            Err(error) => Err(error.into()),
        }
    }

    /// Fills a crew with a cell's machines, each with the probe or with what kept it from having it.
    async fn fill(
        &self,
        crew: &mut Crew<'_>,
        cell: Cell,
        not_brought: Option<&EngineError>,
        stop: &CancellationToken,
    ) -> Result<(), BenchError> {
        let all = self.engine.machines().await?.items;
        for name in self.names(cell)? {
            let seen = all.iter().find(|machine| machine.metadata.name == name.to_string());
            match seen.filter(|machine| machine.status.phase == Phase::Ready) {
                Some(seen) => self.admit(crew, name, seen).await,
                None => {
                    let why =
                        not_brought.map_or_else(|| "it did not come up".to_owned(), |error| chain(error));
                    crew.failed.push((name, why));
                }
            }
        }
        crew.failed.extend(probes::copy(self.engine, self.program, &crew.machines, stop).await);
        Ok(())
    }

    /// Takes a machine that is ready into a crew. One that has died meanwhile has failed.
    async fn admit(&self, crew: &mut Crew<'_>, name: MachineName, seen: &view::Machine) {
        let machine = match Machine::find(self.engine, name.clone(), crew.via.map(door)).await {
            Ok(machine) => machine,
            Err(error) => return crew.failed.push((name, chain(&error))),
        };
        crew.via = Some(way(machine.via()));
        let held =
            crew.limited.zip(machine.process).map_or(Ok(()), |(limited, process)| limited.take(process));
        if let Err(error) = held {
            return crew.failed.push((name, format!("it could not be held to the rate: {error}")));
        }
        *crew.started_from.entry(seen.status.started_from.to_string()).or_default() += 1;
        crew.image.get_or_insert_with(|| seen.status.image.digest.clone());
        let direct = seen.status.disk.direct.unwrap_or_default();
        crew.direct = Some(crew.direct.unwrap_or(true) && direct);
        crew.machines.push(machine);
    }

    fn names(&self, cell: Cell) -> Result<Vec<MachineName>, BenchError> {
        let pool = arms::name(&self.pool.name, cell.arm)?;
        Ok((0..cell.agents).map(|index| MachineName { pool: pool.clone(), index }).collect())
    }

    /// All arms' machines and pools. Also after an interrupt: what an experiment makes is nobody's work.
    async fn throw_all_away(&self) -> Result<(), BenchError> {
        let names: Result<Vec<Name>, BenchError> =
            Arm::ALL.iter().map(|arm| arms::name(&self.pool.name, *arm)).collect();
        let known: Vec<String> =
            self.engine.pools().await?.items.into_iter().map(|pool| pool.metadata.name).collect();
        let pools: Vec<Name> = names?.into_iter().filter(|name| known.contains(&name.to_string())).collect();
        if pools.is_empty() {
            return Ok(());
        }
        let stop = CancellationToken::new();
        let left = |source| BenchError::Left {
            pools: pools.iter().map(ToString::to_string).collect(),
            source: Box::new(source),
        };
        let selection = Selection::Pools(pools.clone());
        let farewell = tokio::time::sleep(FAREWELL);
        let down = self.engine.down(&selection, self.listener, &stop);
        tokio::pin!(down, farewell);
        let gone = tokio::select! {
            outcome = &mut down => outcome,
            () = &mut farewell => {
                stop.cancel();
                down.await
            }
        };
        gone.map(drop).map_err(left)
    }
}

/// The machines of a cell.
#[derive(Default)]
struct Crew<'a> {
    machines: Vec<Machine>,
    /// Those that are out, and why: of the cell's names, whether they are among `machines` or not.
    failed: Vec<(MachineName, String)>,
    /// The way into all of them; nothing: the first one decides.
    via: Option<Way>,
    /// The rate that they share.
    limited: Option<&'a Limited>,
    /// How many started how.
    started_from: BTreeMap<String, u32>,
    /// The version of their image.
    image: Option<String>,
    /// Whether all their disks go around the page cache.
    direct: Option<bool>,
}

impl Crew<'_> {
    /// Those that are not out.
    fn working(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| self.failed.iter().all(|(name, _)| *name != machine.name))
    }

    /// Their QEMUs.
    fn processes(&self) -> impl Iterator<Item = u32> {
        self.machines.iter().filter_map(|machine| machine.process)
    }

    /// Counts machines that gave nothing in a workload as out.
    fn leave_out(&mut self, found: &WorkloadRun) {
        for run in &found.machines {
            let Some(said) = &run.failure else { continue };
            let machine = self.working().find(|machine| machine.name.to_string() == run.machine);
            if let Some(name) = machine.map(|machine| machine.name.clone()) {
                self.failed.push((name, said.clone()));
            }
        }
    }
}

/// How many machines of a run gave nothing in some workload.
fn failed_machines(run: &ContentionRun) -> usize {
    run.workloads.iter().map(WorkloadRun::failed_machines).max().unwrap_or(0)
}

/// From the end of the warm-up to the end of the first that ended, in seconds from the opening of the barrier.
fn while_all_worked(machines: &[MachineRun]) -> (f64, f64) {
    let runs = machines.iter().filter_map(|machine| probe::read(machine.result.as_ref()?).ok());
    let times = runs.map(|run| {
        let warm = run.settings.get("warmupSeconds").and_then(serde_json::Value::as_f64).unwrap_or_default();
        (warm, warm + run.elapsed.as_secs_f64())
    });
    times.fold((0.0, f64::INFINITY), |(from, to), (warm, end)| (warm.max(from), end.min(to)))
}

/// Why no machine of a run gave anything; `None` when one did.
fn all_failed(run: &ContentionRun) -> Option<String> {
    let mut machines = run.workloads.iter().flat_map(|workload| &workload.machines).peekable();
    machines.peek()?;
    let failures: Option<Vec<&String>> = machines.map(|machine| machine.failure.as_ref()).collect();
    failures?.first().map(|said| (*said).clone())
}

/// A way as results name it.
#[must_use]
pub const fn way(via: Via) -> Way {
    match via {
        Via::Agent => Way::Agent,
        Via::Ssh => Way::Ssh,
    }
}

/// A way as the engine goes it.
const fn door(way: Way) -> Via {
    match way {
        Way::Agent => Via::Agent,
        Way::Ssh => Via::Ssh,
    }
}

fn without_result(name: &MachineName, said: &str) -> MachineRun {
    MachineRun { machine: name.to_string(), result: None, failure: Some(said.to_owned()) }
}
