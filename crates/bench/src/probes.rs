//! The probe in machines: copied there, and called.

use std::{ffi::OsString, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use winstead_engine::Engine;
use winstead_guest::ssh::{Copy, Endpoint};
use winstead_measurement::contention::Workload;
use winstead_process::Command;
use winstead_spec::{GuestOs, MachineName};

use crate::{
    barrier::Probe,
    error::BenchError,
    program::{Program, Start, arguments},
};

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
        let command = self.command(engine, program, workload, Start::Together)?;
        Ok(Probe { machine: self.name.to_string(), command })
    }

    /// The same as a command.
    ///
    /// # Errors
    /// When its shell cannot be given the arguments.
    pub(crate) fn command(
        &self,
        engine: &Engine,
        program: &Program,
        workload: &Workload,
        start: Start,
    ) -> Result<Command, BenchError> {
        let words = [program.command()].into_iter().chain(arguments(workload, start));
        let words: Vec<OsString> = words.map(OsString::from).collect();
        Ok(engine.ssh().command(&self.endpoint, &words, false)?)
    }

    /// Removes the program again, as far as the machine can be reached and lets it: under Windows one that still runs
    /// stays.
    pub(crate) async fn remove(&self, engine: &Engine, program: &Program) {
        let words = removal(self.endpoint.os, program.in_guest()).map(OsString::from);
        let removed = match engine.ssh().command(&self.endpoint, &words, false) {
            // Also after an interrupt.
            Ok(command) => command.run(&CancellationToken::new()).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = removed {
            tracing::warn!(machine = %self.name, error, "the probe could not be removed from the machine");
        }
    }
}

/// What removes a file from the folder in which a login begins.
const fn removal(os: GuestOs, file: &str) -> [&str; 2] {
    match os {
        GuestOs::Linux => ["rm", file],
        GuestOs::Windows => ["del", file],
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
