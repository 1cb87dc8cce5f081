//! One place, measured again and again: a folder of this computer, or a machine's disk.

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use winstead_engine::{Engine, Via};
use winstead_measurement::{
    contention::Workload,
    import::{LIST, LIST_VERSION},
};
use winstead_process::Command;
use winstead_spec::MachineName;

use crate::{
    call,
    error::BenchError,
    launch::Launch,
    probes::{self, Machine},
    program::{Program, Start, arguments},
};

/// Several results of the same load in the same place.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeResultList {
    kind: &'static str,
    version: u64,
    /// One for each run, in their order.
    pub items: Vec<Value>,
}

/// Where to measure.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// A folder of this computer.
    Folder(&'a Path),
    /// The home folder of a machine's user, reached that way; `None`: by its agent where one answers.
    Machine(&'a Engine, MachineName, Option<Via>),
}

/// What to measure, and how often.
#[derive(Clone, Debug)]
pub struct Series {
    /// The probe's program.
    pub program: Program,
    /// Its arguments.
    pub workload: Workload,
    /// How many runs.
    pub repeats: u32,
    /// A run that takes longer has failed.
    pub limit: Duration,
}

/// What came of a series.
#[derive(Debug)]
pub struct Measured {
    /// The runs that gave a result, also when a later one did not.
    pub results: ProbeResultList,
    /// Why there are not as many as were asked for.
    pub failure: Option<BenchError>,
}

impl Measured {
    const fn new(items: Vec<Value>, failure: Option<BenchError>) -> Self {
        Self { results: ProbeResultList { kind: LIST, version: LIST_VERSION, items }, failure }
    }
}

/// Measures until a run gives no result; `done` is told how many runs are over. What was copied into a machine is
/// removed from it again.
///
/// Cancel safety: cancel `stop` and await; the runs that were over until then are returned.
pub async fn measure(
    place: &Place<'_>,
    series: &Series,
    done: impl Fn(u32),
    stop: &CancellationToken,
) -> Measured {
    match place {
        Place::Folder(folder) => {
            let arguments = arguments(&series.workload, Start::Alone);
            let command = Command::new(series.program.file()).args(arguments).folder(*folder);
            repeat(&command.into(), series, done, stop).await
        }
        Place::Machine(engine, name, via) => {
            let found = Machine::find(engine, name.clone(), *via).await;
            let measured = match found {
                Ok(machine) => in_machine(engine, &machine, series, done, stop).await,
                Err(error) => Err(error),
            };
            measured.unwrap_or_else(|error| Measured::new(Vec::new(), Some(error)))
        }
    }
}

async fn in_machine(
    engine: &Engine,
    machine: &Machine,
    series: &Series,
    done: impl Fn(u32),
    stop: &CancellationToken,
) -> Result<Measured, BenchError> {
    let launch = machine.launch(engine, &series.program, &series.workload, Start::Alone)?;
    let failed = probes::copy(engine, &series.program, std::slice::from_ref(machine), stop).await;
    let measured = match failed.into_iter().next() {
        Some(_) if stop.is_cancelled() => Err(BenchError::Interrupted),
        Some((machine, said)) => Err(BenchError::Copy { machine, said }),
        None => Ok(repeat(&launch, series, done, stop).await),
    };
    machine.remove(engine, &series.program).await;
    measured
}

/// Runs the probe again and again, each time after the one before.
async fn repeat(launch: &Launch, series: &Series, done: impl Fn(u32), stop: &CancellationToken) -> Measured {
    let mut items = Vec::new();
    for run in 1..=series.repeats {
        match call::run(launch, series.limit, stop).await {
            Ok(result) => items.push(result),
            Err(error) => return Measured::new(items, Some(error)),
        }
        done(run);
    }
    Measured::new(items, None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use winstead_spec::GuestOs;

    use super::*;
    use crate::call::tests::RESULT;

    #[tokio::test]
    async fn runs_before_one_that_fails_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let probe = folder.path().join("probe");
        // Runs that lose their disk say what they found; the third finds nothing.
        let script = format!("#!/bin/sh\necho >>runs\n[ $(wc -l <runs) = 3 ] || cat {RESULT}\nexit 1\n");
        fs_err::write(&probe, script).expect("a script");
        fs_err::set_permissions(&probe, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let series = Series {
            program: Program::script(probe, GuestOs::Linux),
            workload: Workload { name: "latency".to_owned(), arguments: vec!["latency".to_owned()] },
            repeats: 5,
            limit: Duration::from_secs(60),
        };
        let place = Place::Folder(folder.path());
        let told = std::cell::RefCell::new(Vec::new());
        let found =
            measure(&place, &series, |run| told.borrow_mut().push(run), &CancellationToken::new()).await;
        assert_eq!((found.results.items.len(), told.into_inner()), (2, vec![1, 2]));
        assert!(matches!(found.failure, Some(BenchError::NoResult(_))), "{:?}", found.failure);
    }
}
