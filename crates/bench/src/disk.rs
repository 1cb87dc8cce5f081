//! One place, measured again and again: a folder of this computer, or a machine's disk.

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use winstead_engine::Engine;
use winstead_measurement::contention::Workload;
use winstead_process::Command;
use winstead_spec::MachineName;

use crate::{
    error::BenchError,
    probes::{self, Machine},
    program::Program,
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
    /// The home folder of a machine's user.
    Machine(&'a Engine, MachineName),
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

/// Measures; `done` is told how many runs are over.
///
/// # Errors
/// When the machine cannot be reached, or a run gives no result: the probe's own words are in the error.
///
/// Cancel safety: cancel `stop` and await; nothing is kept.
pub async fn measure(
    place: &Place<'_>,
    series: &Series,
    done: impl Fn(u32),
    stop: &CancellationToken,
) -> Result<ProbeResultList, BenchError> {
    let command = prepare(place, series, stop).await?.deadline(series.limit);
    let mut items = Vec::new();
    for run in 1..=series.repeats {
        let output = command.run(stop).await;
        let output = output.map_err(|error| match stop.is_cancelled() {
            true => BenchError::Interrupted,
            false => BenchError::Probe(error),
        })?;
        items.push(serde_json::from_slice(&output.stdout)?);
        done(run);
    }
    Ok(ProbeResultList { kind: "ProbeResultList", version: 1, items })
}

/// The command of one run.
async fn prepare(
    place: &Place<'_>,
    series: &Series,
    stop: &CancellationToken,
) -> Result<Command, BenchError> {
    let arguments = series.workload.arguments.iter();
    match place {
        Place::Folder(folder) => {
            let command = Command::new(series.program.file()).args(arguments);
            Ok(command.args(["--output", "json"]).folder(*folder))
        }
        Place::Machine(engine, name) => {
            let machine = Machine::find(engine, name.clone()).await?;
            let machines = [machine];
            if let Some((_, said)) = probes::copy(engine, &series.program, &machines, stop).await.pop() {
                return Err(BenchError::Copy(said));
            }
            let words = [series.program.command()].into_iter().chain(arguments.cloned());
            let words = words.chain(["--output", "json"].map(str::to_owned));
            let words: Vec<std::ffi::OsString> = words.map(Into::into).collect();
            Ok(engine.ssh().command(&machines[0].endpoint, &words, false)?)
        }
    }
}
