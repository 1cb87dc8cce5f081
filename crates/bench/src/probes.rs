//! The probe in machines: copied there, and called.

use std::{ffi::OsString, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use winstead_engine::Engine;
use winstead_guest::ssh::{Copy, Endpoint};
use winstead_measurement::contention::Workload;
use winstead_spec::MachineName;

use crate::{barrier::Probe, error::BenchError, program::Program};

/// A few megabytes through a guest's SSH server take seconds, under emulation and with many at once some more.
const COPY: Duration = Duration::from_secs(300);

/// A machine that probes can be run in.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: MachineName,
    pub(crate) endpoint: Endpoint,
    /// Its QEMU.
    pub(crate) process: Option<u32>,
}

impl Machine {
    /// Looks a running machine up.
    ///
    /// # Errors
    /// When it is not there, or does not run.
    pub(crate) async fn find(engine: &Engine, name: MachineName) -> Result<Self, BenchError> {
        let endpoint = engine.endpoint(&name).await?;
        let process = engine.process(&name).await?.map(|process| process.pid);
        Ok(Self { name, endpoint, process })
    }

    /// What runs a workload there.
    ///
    /// # Errors
    /// When its shell cannot be given the arguments.
    pub(crate) fn probe(
        &self,
        engine: &Engine,
        program: &Program,
        workload: &Workload,
    ) -> Result<Probe, BenchError> {
        let fixed = ["--output", "json", "--barrier"].map(str::to_owned);
        let words = [program.command()].into_iter().chain(workload.arguments.iter().cloned()).chain(fixed);
        let words: Vec<OsString> = words.map(OsString::from).collect();
        let command = engine.ssh().command(&self.endpoint, &words, false)?;
        Ok(Probe { machine: self.name.to_string(), command })
    }
}

/// Copies the program into machines, at once. Returns what failed, by machine.
pub(crate) async fn copy(
    engine: &Engine,
    program: &Program,
    machines: &[Machine],
    stop: &CancellationToken,
) -> Vec<(MachineName, String)> {
    let mut copies = JoinSet::new();
    for machine in machines {
        let copy = Copy::ToGuest { from: program.file().to_owned(), to: program.in_guest().into() };
        let command = engine.ssh().copy(&machine.endpoint, &copy, false).deadline(COPY);
        let (name, stop) = (machine.name.clone(), stop.clone());
        copies.spawn(async move { command.run(&stop).await.err().map(|error| (name, error.to_string())) });
    }
    copies.join_all().await.into_iter().flatten().collect()
}
