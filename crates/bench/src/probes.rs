//! The probe in machines: copied there, and called.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{empty, sink},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use winstead_engine::{Engine, Via, chain};
use winstead_guest::{
    hand::{Hand, Streams, at_home, copy_in},
    ssh::{Copy, Endpoint},
};
use winstead_measurement::contention::Workload;
use winstead_process::Command;
use winstead_spec::{GuestOs, MachineName};

use crate::{
    barrier::Probe,
    error::BenchError,
    launch::Launch,
    program::{Program, Start, arguments},
};

/// A few megabytes through a guest's SSH server take seconds, under emulation and with many at once some more.
const COPY: Duration = Duration::from_secs(300);
/// Removing them takes a moment.
const REMOVE: Duration = Duration::from_secs(30);

/// A machine that probes can be run in.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: MachineName,
    way: Way,
    /// Its QEMU.
    pub(crate) process: Option<u32>,
}

/// The way into it: one for all that is done there.
#[derive(Clone, Debug)]
enum Way {
    Agent(Arc<Hand>),
    Ssh(Endpoint),
}

impl Machine {
    /// Looks a running machine up, and finds the way into it.
    ///
    /// # Errors
    /// When it is not there, does not run, or cannot be reached that way.
    pub(crate) async fn find(
        engine: &Engine,
        name: MachineName,
        via: Option<Via>,
    ) -> Result<Self, BenchError> {
        let way = match engine.hand(&name, via).await? {
            Some(hand) => Way::Agent(Arc::new(hand)),
            None => Way::Ssh(engine.endpoint(&name).await?),
        };
        let process = engine.process(&name).await?.map(|process| process.pid);
        Ok(Self { name, way, process })
    }

    /// The way into it.
    pub(crate) const fn via(&self) -> Via {
        match self.way {
            Way::Agent(_) => Via::Agent,
            Way::Ssh(_) => Via::Ssh,
        }
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
        let launch = self.launch(engine, program, workload, Start::Together)?;
        Ok(Probe { machine: self.name.to_string(), launch })
    }

    /// The same for one that begins when it is told to, or at once.
    ///
    /// # Errors
    /// When its shell cannot be given the arguments.
    pub(crate) fn launch(
        &self,
        engine: &Engine,
        program: &Program,
        workload: &Workload,
        start: Start,
    ) -> Result<Launch, BenchError> {
        let words = [program.command()].into_iter().chain(arguments(workload, start));
        let words: Vec<OsString> = words.map(OsString::from).collect();
        Ok(match &self.way {
            Way::Agent(hand) => Launch::Agent(Arc::clone(hand), words),
            Way::Ssh(endpoint) => engine.ssh().command(endpoint, &words, false)?.into(),
        })
    }

    /// Removes the program again, as far as the machine can be reached and lets it: under Windows one that still runs
    /// stays. Also after an interrupt.
    pub(crate) async fn remove(&self, engine: &Engine, program: &Program) {
        let removed = match &self.way {
            Way::Agent(hand) => remove_by_agent(hand, program.in_guest()).await,
            Way::Ssh(endpoint) => remove_by_ssh(engine, endpoint, program.in_guest()).await,
        };
        if let Err(error) = removed {
            tracing::warn!(machine = %self.name, error, "the probe could not be removed from the machine");
        }
    }
}

async fn remove_by_agent(hand: &Hand, file: &str) -> Result<(), String> {
    // Agents are in machines with Linux so far.
    let words = removal(GuestOs::Linux, file).map(OsString::from);
    let streams = Streams { input: empty(), output: sink(), errors: sink() };
    match timeout(REMOVE, hand.exec(&words, streams)).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(code)) => Err(format!("`rm` ended with {code}")),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer after {REMOVE:?}")),
    }
}

async fn remove_by_ssh(engine: &Engine, endpoint: &Endpoint, file: &str) -> Result<(), String> {
    let words = removal(endpoint.os, file).map(OsString::from);
    let command = engine.ssh().command(endpoint, &words, false).map_err(|error| chain(&error))?;
    command.run(&CancellationToken::new()).await.map(drop).map_err(|error| error.to_string())
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
        let (name, stop) = (machine.name.clone(), stop.clone());
        let (from, to) = (program.file().to_owned(), program.in_guest());
        match machine.way.clone() {
            Way::Agent(hand) => {
                copies.spawn(async move { (name, copy_by_agent(&hand, &from, to, &stop).await) });
            }
            Way::Ssh(endpoint) => {
                let copy = Copy::ToGuest { from, to: to.into() };
                let command = engine.ssh().copy(&endpoint, &copy, false).deadline(COPY);
                copies.spawn(async move { (name, copy_by_ssh(&command, &stop).await) });
            }
        }
    }
    let copies = copies.join_all().await.into_iter();
    copies.filter_map(|(name, copied)| Some((name, copied.err()?))).collect()
}

async fn copy_by_agent(hand: &Hand, from: &Path, to: &str, stop: &CancellationToken) -> Result<(), String> {
    let to = at_home(to.as_ref()).ok_or("its name is no text")?;
    tokio::select! {
        copied = timeout(COPY, copy_in(hand, from, &to, false)) => match copied {
            Ok(copied) => copied.map(drop).map_err(|error| chain(&error)),
            Err(_) => Err(format!("it was not copied within {COPY:?}")),
        },
        () = stop.cancelled() => Err("interrupted".to_owned()),
    }
}

async fn copy_by_ssh(command: &Command, stop: &CancellationToken) -> Result<(), String> {
    command.run(stop).await.map(drop).map_err(|error| error.to_string())
}
