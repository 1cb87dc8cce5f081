//! The experiment: for each cell bring machines, measure, throw them away.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use winstead_engine::{Engine, EngineError, Kind, Listener, Selection};
use winstead_measurement::{
    Contention,
    contention::{Arm, ContentionRun, MachineRun, Workload, WorkloadRun},
    wall::{Conditions, decide},
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

/// An experiment that is to be done.
pub struct Experiment<'a> {
    /// Where machines are brought.
    pub engine: &'a Engine,
    /// The file.
    pub documents: &'a Documents,
    /// The pool of it that arms are made from.
    pub pool: &'a Pool,
    /// The probe.
    pub program: &'a Program,
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
        outcome?;
        gone?;
        document
    }

    async fn measure_all(
        &self,
        limited: Option<&Limited>,
        stop: &CancellationToken,
    ) -> Result<(), BenchError> {
        let cells = schedule(self.results.design());
        let mut broken = 0;
        for (index, cell) in cells.iter().enumerate().filter(|(_, cell)| !self.results.has(**cell)) {
            (self.tell)(Progress::Begun(*cell, index + 1, cells.len()));
            let run = self.measure(*cell, limited, stop).await?;
            if stop.is_cancelled() {
                return Err(BenchError::Interrupted);
            }
            self.results.keep(*cell, &run)?;
            (self.tell)(Progress::Done(
                *cell,
                run.workloads.iter().map(WorkloadRun::failed_machines).max().unwrap_or(0),
            ));
            let failure = all_failed(&run);
            broken = if failure.is_some() { broken + 1 } else { 0 };
            if broken >= MOST_BROKEN {
                return Err(BenchError::Broken { runs: broken, said: failure.unwrap_or_default() });
            }
        }
        Ok(())
    }

    async fn measure(
        &self,
        cell: Cell,
        limited: Option<&Limited>,
        stop: &CancellationToken,
    ) -> Result<ContentionRun, BenchError> {
        let started_at = Timestamp::now();
        self.up(None, stop).await??;
        let begun = Instant::now();
        let brought = self.up(Some(cell), stop).await?;
        let bring = begun.elapsed();
        let mut run = ContentionRun {
            arm: cell.arm,
            agents: cell.agents,
            repeat: cell.repeat,
            started_at,
            started_from: BTreeMap::new(),
            bring_seconds: bring.as_secs_f64(),
            workloads: Vec::new(),
        };
        if let Err(error) = brought {
            run.workloads = self.nothing(cell, &said(&error))?;
            return Ok(run);
        }
        run.started_from = self.origins(cell.arm).await?;
        (self.tell)(Progress::Brought(cell, run.started_from.clone(), bring));
        let limited = limited.filter(|_| cell.arm != Arm::Ram);
        let crew = self.crew(cell, limited, stop).await?;
        for workload in &self.results.design().workloads {
            run.workloads.push(self.workload(workload, cell.arm, &crew, stop).await?);
        }
        Ok(run)
    }

    /// One workload in all machines. Those without the program have failed.
    async fn workload(
        &self,
        workload: &Workload,
        arm: Arm,
        crew: &Crew<'_>,
        stop: &CancellationToken,
    ) -> Result<WorkloadRun, BenchError> {
        let has_it = |machine: &&Machine| crew.failed.iter().all(|(name, _)| *name != machine.name);
        let probes = crew.machines.iter().filter(has_it);
        let probes = probes
            .map(|machine| machine.probe(self.engine, self.program, workload))
            .collect::<Result<_, _>>()?;
        let watched = Watched { processes: crew.processes().collect(), limited: crew.limited };
        let mut found = barrier::together(probes, &watched, self.limit, stop).await;
        found.machines.extend(crew.failed.iter().map(|(name, said)| without_result(name, said)));
        let on_disk = arm != Arm::Ram;
        let host = self.results.host();
        let conditions = Conditions {
            cpus: host.cpus,
            device: host.disk.device.as_deref().filter(|_| on_disk),
            limit: self.results.design().disk_limit.filter(|_| on_disk),
        };
        Ok(WorkloadRun {
            name: workload.name.clone(),
            started_at: found.started_at,
            barrier_seconds: found.spread.as_secs_f64(),
            walls: decide(&found.host, conditions),
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

    /// A cell's machines, each with the probe or with what kept it from having it.
    async fn crew<'l>(
        &self,
        cell: Cell,
        limited: Option<&'l Limited>,
        stop: &CancellationToken,
    ) -> Result<Crew<'l>, BenchError> {
        let mut machines = Vec::new();
        for name in self.names(cell)? {
            machines.push(Machine::find(self.engine, name).await?);
        }
        let failed = probes::copy(self.engine, self.program, &machines, stop).await;
        let crew = Crew { machines, failed, limited };
        for process in crew.processes() {
            limited.map_or(Ok(()), |limited| limited.take(process))?;
        }
        Ok(crew)
    }

    fn names(&self, cell: Cell) -> Result<Vec<MachineName>, BenchError> {
        let pool = arms::name(&self.pool.name, cell.arm)?;
        Ok((0..cell.agents).map(|index| MachineName { pool: pool.clone(), index }).collect())
    }

    /// How many of an arm's machines started how.
    async fn origins(&self, arm: Arm) -> Result<BTreeMap<String, u32>, BenchError> {
        let pool = arms::name(&self.pool.name, arm)?;
        let mut counted = BTreeMap::new();
        let machines = self.engine.machines().await?.items;
        for machine in machines.iter().filter(|machine| machine.spec.pool == pool.as_str()) {
            *counted.entry(machine.status.started_from.to_string()).or_default() += 1;
        }
        Ok(counted)
    }

    /// The workloads of a cell whose machines did not come up.
    fn nothing(&self, cell: Cell, said: &str) -> Result<Vec<WorkloadRun>, BenchError> {
        let names = self.names(cell)?;
        let workload = |workload: &Workload| WorkloadRun {
            name: workload.name.clone(),
            started_at: Timestamp::now(),
            barrier_seconds: 0.0,
            machines: names.iter().map(|name| without_result(name, said)).collect(),
            host: Vec::new(),
            walls: Vec::new(),
        };
        Ok(self.results.design().workloads.iter().map(workload).collect())
    }

    /// All arms' machines and pools. Also after an interrupt: what an experiment makes is nobody's work.
    async fn throw_all_away(&self) -> Result<(), BenchError> {
        let names: Result<Vec<Name>, BenchError> =
            self.results.design().arms.iter().map(|arm| arms::name(&self.pool.name, *arm)).collect();
        let known: Vec<String> =
            self.engine.pools().await?.items.into_iter().map(|pool| pool.metadata.name).collect();
        let pools: Vec<Name> = names?.into_iter().filter(|name| known.contains(&name.to_string())).collect();
        if pools.is_empty() {
            return Ok(());
        }
        let stop = CancellationToken::new();
        let farewell = tokio::time::sleep(FAREWELL);
        let selection = Selection::Pools(pools);
        let down = self.engine.down(&selection, self.listener, &stop);
        tokio::pin!(down, farewell);
        tokio::select! {
            outcome = &mut down => { outcome?; }
            () = &mut farewell => {
                stop.cancel();
                down.await?;
            }
        }
        Ok(())
    }
}

/// The machines of a cell.
struct Crew<'a> {
    machines: Vec<Machine>,
    /// Those that have no probe, and why.
    failed: Vec<(MachineName, String)>,
    /// The rate that they share.
    limited: Option<&'a Limited>,
}

impl Crew<'_> {
    /// Their QEMUs.
    fn processes(&self) -> impl Iterator<Item = u32> {
        self.machines.iter().filter_map(|machine| machine.process)
    }
}

/// Why no machine of a run gave anything; `None` when one did.
fn all_failed(run: &ContentionRun) -> Option<String> {
    let mut machines = run.workloads.iter().flat_map(|workload| &workload.machines).peekable();
    machines.peek()?;
    let failures: Option<Vec<&String>> = machines.map(|machine| machine.failure.as_ref()).collect();
    failures?.first().map(|said| (*said).clone())
}

fn without_result(name: &MachineName, said: &str) -> MachineRun {
    MachineRun { machine: name.to_string(), result: None, failure: Some(said.to_owned()) }
}

/// An error with its causes, in one line.
fn said(error: &EngineError) -> String {
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        said.push_str(&format!(": {next}"));
        cause = next.source();
    }
    said
}
