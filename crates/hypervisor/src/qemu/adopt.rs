//! Makes sure that a process is a machine, and speaks to it.

use std::{path::Path, time::Duration};

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_process::ProcessId;

use super::{
    RunState,
    config::COMMAND_SOCKET,
    processes::is_machine,
    qmp::{Client, QmpError},
};

/// For a command to a QEMU whose host may be busy booting others.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a monitor that does not listen yet is tried.
const RETRY: Duration = Duration::from_millis(20);

/// A process that could not be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It has ended.
    #[error("adopt process {pid}: it has ended")]
    Gone {
        /// Its id.
        pid: u32,
    },
    /// It is another machine.
    #[error("adopt process {pid}: it is not machine {expected}")]
    NotOurs {
        /// Its id.
        pid: u32,
        /// Who it should be.
        expected: Uuid,
    },
    /// It does not answer.
    #[error("adopt process {pid}")]
    Silent {
        /// Its id.
        pid: u32,
        /// What happened.
        #[source]
        source: QmpError,
    },
    /// Whoever asked was told to stop.
    #[error("adopt process {pid}: interrupted")]
    Cancelled {
        /// Its id.
        pid: u32,
    },
}

/// Confirms that a process is the machine, by its arguments and by asking it, and returns its state. One that was
/// started a moment ago is waited for.
///
/// # Errors
/// When it has ended, is another one, or does not answer.
pub async fn adopt(
    process: ProcessId,
    uuid: &Uuid,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<RunState, AdoptError> {
    let pid = process.pid;
    let expected = *uuid;
    if !process.is_alive() {
        return Err(AdoptError::Gone { pid });
    }
    if !is_machine(process, uuid, folder) {
        return Err(AdoptError::NotOurs { pid, expected });
    }
    let until = Instant::now() + LIMIT;
    loop {
        let asked = tokio::select! {
            asked = ask(process, folder) => asked,
            () = stop.cancelled() => return Err(AdoptError::Cancelled { pid }),
        };
        match asked {
            Ok((found, state)) if found == expected => return Ok(state),
            Ok(_) => return Err(AdoptError::NotOurs { pid, expected }),
            Err(_) if !process.is_alive() => return Err(AdoptError::Gone { pid }),
            Err(source) if !source.is_gone() || Instant::now() > until => {
                return Err(AdoptError::Silent { pid, source });
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn ask(process: ProcessId, folder: &Path) -> Result<(Uuid, RunState), QmpError> {
    let mut client = Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?;
    Ok((client.query_uuid().await?, client.query_status().await?))
}

/// Lets a machine's guest run.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn resume(process: ProcessId, folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?.cont().await
}

/// Pauses a machine's guest.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn pause(process: ProcessId, folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?.pause().await
}

/// Plugs a machine's network card in, or out: the guest sees its cable.
///
/// # Errors
/// When QEMU does not answer, or refuses.
pub async fn set_link(process: ProcessId, folder: &Path, up: bool) -> Result<(), QmpError> {
    let mut monitor = Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?;
    let card = json!({"name": "nic0", "up": up});
    monitor.execute("set_link", Some(&card)).await.map(drop)
}
