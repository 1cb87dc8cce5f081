//! Starts a machine: prepares its folder, launches its TPM and QEMU, and waits until QEMU answers.
//!
//! The guest does not run yet (`-S`): whoever starts it writes the process down first, then lets it run.

use std::{io, net::TcpListener, os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;
use winstead_process::{CommandError, ProcessId};

use super::{
    Backend, MachineConfig, Qemu, SeedConfig, arguments,
    config::{AGENT_SOCKET, COMMAND_SOCKET, CONSOLE_SOCKET, SUPERVISOR_SOCKET, VARIABLES},
    firmware, launch,
    processes::find_process,
    qmp, state, tap,
    tpm::{self, TpmError},
};

/// From launch to greeting: 0.1 s on a quiet host, seconds on one that boots many guests under TCG.
const LIMIT: Duration = Duration::from_secs(30);
/// How often a socket that is not there yet is tried.
const RETRY: Duration = Duration::from_millis(10);

/// A started machine, paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its QEMU.
    pub process: ProcessId,
    /// Its TPM.
    pub tpm: Option<ProcessId>,
}

/// What a machine's QEMU is handed open, because it may not open it itself, or because it has no name.
#[derive(Debug, Default)]
pub struct Handed {
    /// The file of its RAM, for every [`super::Ram`] but QEMU's own.
    pub ram: Option<OwnedFd>,
    /// The device of its vsock, if it has one.
    pub vsock: Option<OwnedFd>,
}

/// A machine that did not start. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else listens on its SSH port: another port helps.
    #[error("start machine {machine}: port {port} of 127.0.0.1 is taken")]
    PortTaken {
        /// The machine.
        machine: String,
        /// The port.
        port: u16,
    },
    /// Its tap interface is missing, in use, not its user's, or `/dev/net/tun` may not be opened (mode 0666 on hosts
    /// with udev).
    #[error("start machine {machine}: tap {tap} cannot be used: {said}")]
    TapBusy {
        /// The machine.
        machine: String,
        /// The tap.
        tap: String,
        /// What QEMU said.
        said: String,
    },
    /// It runs already.
    #[error("start machine {machine}: it runs already, as process {pid}")]
    AlreadyRunning {
        /// The machine.
        machine: String,
        /// Its QEMU.
        pid: u32,
    },
    /// A file of another package is missing.
    #[error("start machine {machine}: {file} is missing; Debian's package {package} holds it")]
    Missing {
        /// The machine.
        machine: String,
        /// The file.
        file: String,
        /// The package.
        package: &'static str,
    },
    /// Its folder could not be prepared.
    #[error("prepare the folder of machine {machine}")]
    Prepare {
        /// The machine.
        machine: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A program could not be launched.
    #[error("launch a machine's program")]
    Launch {
        /// What happened.
        #[source]
        source: CommandError,
    },
    /// Its TPM did not start.
    #[error("start the TPM of machine {machine} (Debian's package swtpm): {said}")]
    Tpm {
        /// The machine.
        machine: String,
        /// What swtpm said.
        said: String,
    },
    /// QEMU ended.
    #[error("start machine {machine}: QEMU ended ({status}): {said}")]
    Exited {
        /// The machine.
        machine: String,
        /// Its exit status.
        status: String,
        /// What QEMU said.
        said: String,
    },
    /// QEMU did not answer in time and was killed.
    #[error("start machine {machine}: QEMU did not answer within {LIMIT:?}; it said: {said}")]
    Silent {
        /// The machine.
        machine: String,
        /// What QEMU said.
        said: String,
        /// What was seen last.
        #[source]
        source: Box<qmp::QmpError>,
    },
    /// Whoever started it was told to stop; what ran was killed.
    #[error("start machine {machine}: interrupted")]
    Cancelled {
        /// The machine.
        machine: String,
    },
}

/// Starts a machine in `folder`, its run folder, and returns when QEMU answers; the guest is paused.
///
/// # Errors
/// See [`StartError`]; nothing of the machine runs then.
///
/// Cancel safety: cancel `stop`; dropping the future may leave a QEMU that [`super::find_process`] finds.
pub async fn start(
    config: &MachineConfig,
    qemu: &Qemu,
    folder: &Path,
    handed: Handed,
    stop: &CancellationToken,
) -> Result<Running, StartError> {
    check(config, folder)?;
    prepare(config, folder).map_err(|source| StartError::Prepare { machine: config.name.clone(), source })?;
    let tpm = match config.tpm {
        true => Some(tpm::start(config, folder, stop).await.map_err(|error| without_tpm(config, error))?),
        false => None,
    };
    match launch(config, qemu, (folder, handed), stop).await {
        Ok(process) => Ok(Running { process, tpm }),
        Err(error) => {
            if let Some(Err(left)) = tpm.map(ProcessId::kill) {
                tracing::warn!(machine = config.name, error = %left, "its TPM could not be killed");
            }
            Err(error)
        }
    }
}

fn without_tpm(config: &MachineConfig, error: TpmError) -> StartError {
    let machine = config.name.clone();
    match error {
        TpmError::Prepare(source) => StartError::Prepare { machine, source },
        TpmError::Launch(source) => StartError::Launch { source },
        TpmError::Unanswered(said) => StartError::Tpm { machine, said },
    }
}

/// What can be known before anything is touched.
fn check(config: &MachineConfig, folder: &Path) -> Result<(), StartError> {
    let machine = config.name.clone();
    if let Some(process) = find_process(&config.uuid, folder) {
        return Err(StartError::AlreadyRunning { machine, pid: process.pid });
    }
    if let Some(file) = firmware::of(&config.firmware).and_then(firmware::Firmware::missing) {
        return Err(StartError::Missing { machine, file: file.to_owned(), package: "ovmf" });
    }
    // QEMU would say so too, but half a second later.
    match config.nic.backend {
        Backend::User { ssh_port: port, .. } if TcpListener::bind(("127.0.0.1", port)).is_err() => {
            Err(StartError::PortTaken { machine, port })
        }
        _ => Ok(()),
    }
}

/// Brings the folder into the state that QEMU expects. Can run twice.
fn prepare(config: &MachineConfig, folder: &Path) -> io::Result<()> {
    let run_as = config.run_as.as_ref();
    for socket in [COMMAND_SOCKET, SUPERVISOR_SOCKET, AGENT_SOCKET, CONSOLE_SOCKET] {
        launch::forget(&folder.join(socket))?;
    }
    if let Some(files) = firmware::of(&config.firmware) {
        state::make_variables(folder, files)?;
        launch::hand_over(&folder.join(VARIABLES), run_as)?;
    }
    if let SeedConfig::FwCfg(seed) | SeedConfig::Cdrom(seed) = &config.seed {
        launch::hand_over(&folder.join(seed), run_as)?;
    }
    // Last: from here on the machine's user may change what is in it.
    launch::hand_over(folder, run_as)
}

async fn launch(
    config: &MachineConfig,
    qemu: &Qemu,
    (folder, handed): (&Path, Handed),
    stop: &CancellationToken,
) -> Result<ProcessId, StartError> {
    let open = launch::open_log(folder);
    let (log, begin) = open.map_err(|source| StartError::Prepare { machine: config.name.clone(), source })?;
    let command = launch::command(&qemu.binary, &arguments(config, qemu), config.run_as.as_ref(), folder);
    let handed = handed.ram.into_iter().chain(handed.vsock).collect();
    let started = command.start_detached_with(&log, input(config)?, handed);
    let mut child = started.map_err(|source| StartError::Launch { source })?;
    // The process id is kept through setsid, env and setpriv: each becomes the next.
    let answered = match child.id().and_then(ProcessId::of) {
        Some(process) => tokio::select! {
            answered = greeting(&mut child, process, folder) => answered.map(|()| process),
            () = stop.cancelled() => Err(Unanswered::Cancelled),
        },
        None => Err(Unanswered::Exited(match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        })),
    };
    let machine = config.name.clone();
    let said = || launch::said_since(folder, begin);
    let error = match answered {
        Ok(process) => return Ok(process),
        Err(Unanswered::Exited(status)) => explain(config, status, said()),
        Err(Unanswered::Silent(source)) => {
            StartError::Silent { machine, said: said(), source: Box::new(source) }
        }
        Err(Unanswered::Cancelled) => StartError::Cancelled { machine },
    };
    // SIGKILL and reap; a child that ended already is reaped.
    if let Err(left) = child.kill().await {
        tracing::debug!(machine = config.name, error = %left, "was gone before it was killed");
    }
    Err(error)
}

/// What QEMU has as its standard input: its open tap, or nothing.
fn input(config: &MachineConfig) -> Result<Stdio, StartError> {
    let Backend::Tap { name } = &config.nic.backend else { return Ok(Stdio::null()) };
    let busy = |error: io::Error| StartError::TapBusy {
        machine: config.name.clone(),
        tap: name.clone(),
        said: error.to_string(),
    };
    Ok(Stdio::from(tap::open(name).map_err(busy)?))
}

/// Why QEMU did not greet.
enum Unanswered {
    Exited(String),
    Silent(qmp::QmpError),
    Cancelled,
}

async fn greeting(child: &mut Child, process: ProcessId, folder: &Path) -> Result<(), Unanswered> {
    let until = Instant::now() + LIMIT;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error = match qmp::Client::connect(folder, COMMAND_SOCKET, process, left).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Unanswered::Exited(status.to_string()));
        }
        if !error.is_gone() || Instant::now() >= until {
            return Err(Unanswered::Silent(error));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What QEMU's last words mean, where a caller can do something about it.
fn explain(config: &MachineConfig, status: String, said: String) -> StartError {
    let machine = config.name.clone();
    match &config.nic.backend {
        Backend::User { ssh_port, .. } if said.contains("Could not set up host forwarding rule") => {
            StartError::PortTaken { machine, port: *ssh_port }
        }
        _ => StartError::Exited { machine, status, said },
    }
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
