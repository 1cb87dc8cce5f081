//! Finds a machine's processes again, and makes sure that they are the ones.

use std::{io, path::Path, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use winstead_process::ProcessId;

use super::{
    RunState,
    config::COMMAND_SOCKET,
    qmp::{Client, QmpError},
    tpm,
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

/// The running QEMU that carries this identity, of whoever's making. Reads all of `/proc`: milliseconds.
#[must_use]
pub fn find_process(uuid: &Uuid) -> Option<ProcessId> {
    let uuid = uuid.to_string();
    find(|argv| carries(argv, &uuid))
}

/// The running swtpm of this machine.
#[must_use]
pub fn find_tpm(uuid: &Uuid) -> Option<ProcessId> {
    let control = format!("type=unixio,path={}", tpm::socket(uuid));
    find(|argv| argv.iter().any(|argument| *argument == control))
}

fn carries(argv: &[&str], uuid: &str) -> bool {
    argv.windows(2).any(|pair| pair == ["-uuid", uuid])
}

fn find(wanted: impl Fn(&[&str]) -> bool) -> Option<ProcessId> {
    let processes = fs_err::read_dir("/proc").ok()?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| has_arguments(*pid, &wanted)).find_map(ProcessId::of)
}

fn has_arguments(pid: u32, wanted: impl Fn(&[&str]) -> bool) -> bool {
    // A process that ended meanwhile has none.
    let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    wanted(&text.split('\0').collect::<Vec<_>>())
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
    if !has_arguments(pid, |argv| carries(argv, &expected.to_string())) {
        return Err(AdoptError::NotOurs { pid, expected });
    }
    let until = Instant::now() + LIMIT;
    loop {
        let asked = tokio::select! {
            asked = ask(folder) => asked,
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

async fn ask(folder: &Path) -> Result<(Uuid, RunState), QmpError> {
    let mut client = Client::connect(folder, COMMAND_SOCKET, LIMIT).await?;
    Ok((client.query_uuid().await?, client.query_status().await?))
}

/// Lets a machine's guest run.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn resume(folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, LIMIT).await?.cont().await
}

/// Pauses a machine's guest.
///
/// # Errors
/// When its QEMU does not answer, or refuses.
pub async fn pause(folder: &Path) -> Result<(), QmpError> {
    Client::connect(folder, COMMAND_SOCKET, LIMIT).await?.pause().await
}

/// Waits until a process is gone, at most `limit`; returns whether it is.
pub(crate) async fn gone_within(process: ProcessId, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while process.is_alive() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// An error that names a process which does not go away.
pub(crate) fn stays(process: ProcessId) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end, even killed", process.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_counts_only_as_the_option_s_value() {
        let uuid = "b9b2ef59-1443-410c-b731-fe5988fb6b8a";
        assert!(carries(&["qemu", "-name", "x", "-uuid", uuid, "-S", ""], uuid));
        assert!(!carries(&["grep", uuid], uuid));
        assert!(!carries(&["qemu", "-uuid"], uuid));
        assert_eq!(find_process(&Uuid::from_u128(0x4711)), None);
    }
}
