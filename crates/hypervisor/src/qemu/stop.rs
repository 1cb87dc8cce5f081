//! Ends a machine.

use std::{io, path::Path, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;
use winstead_process::ProcessId;

use super::{
    config::COMMAND_SOCKET,
    processes::{is_ending, is_machine, is_tpm},
    qmp::Client,
};

/// After SIGTERM, which QEMU treats like `quit`.
const TERM_GRACE: Duration = Duration::from_secs(1);
/// After SIGKILL: the kernel takes back gigabytes of memory first.
const KILL_GRACE: Duration = Duration::from_secs(20);
/// For QEMU to take the command; it hangs up while it ends.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

/// Ends a machine's QEMU and TPM: by QMP's `quit`, then SIGTERM, then SIGKILL, and returns when they are gone. The
/// guest is not asked. What is gone already is fine, what is ending is waited for, and what is not this machine's is left
/// alone: a copied home names processes of the first one. Takes `grace` plus some seconds at most.
///
/// # Errors
/// When a process may not be killed, or stays.
pub async fn stop(
    process: Option<ProcessId>,
    tpm: Option<ProcessId>,
    uuid: &Uuid,
    folder: &Path,
    grace: Duration,
) -> io::Result<()> {
    let ended = match process {
        Some(process) if is_machine(process, uuid, folder) => end_qemu(process, folder, grace).await,
        other => until_ended(other).await,
    };
    // swtpm ends when QEMU hangs up; it is ended also when QEMU could not be.
    let tpm_ended = match tpm {
        Some(tpm) if is_tpm(tpm, uuid, folder) => end(tpm, Duration::from_millis(200)).await,
        other => until_ended(other).await,
    };
    ended.and(tpm_ended)
}

/// Waits for a process that ends by itself: a killed one loses the arguments that say whose it is before it is gone.
async fn until_ended(process: Option<ProcessId>) -> io::Result<()> {
    match process.filter(|process| is_ending(*process)) {
        Some(process) if !gone_within(process, KILL_GRACE).await => Err(stays(process)),
        _ => Ok(()),
    }
}

async fn end_qemu(process: ProcessId, folder: &Path, grace: Duration) -> io::Result<()> {
    let limit = grace.min(QUIT_LIMIT);
    let asked = async { Client::connect(folder, COMMAND_SOCKET, process, limit).await?.quit().await };
    match asked.await {
        Ok(()) if gone_within(process, grace).await => return Ok(()),
        Ok(()) => tracing::debug!(pid = process.pid, "did not quit in time"),
        Err(error) => tracing::debug!(pid = process.pid, %error, "could not be asked to quit"),
    }
    process.terminate()?;
    end(process, TERM_GRACE).await
}

/// Waits `grace`, then kills.
pub(crate) async fn end(process: ProcessId, grace: Duration) -> io::Result<()> {
    if gone_within(process, grace).await {
        return Ok(());
    }
    process.kill()?;
    if gone_within(process, KILL_GRACE).await { Ok(()) } else { Err(stays(process)) }
}

/// Waits until a process is gone with all its threads, at most `limit`; returns whether it is. What starts after it may
/// want its port, its disk or its memory.
async fn gone_within(process: ProcessId, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while !process.has_ended() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// An error that names a process which does not go away.
fn stays(process: ProcessId) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end, even killed", process.pid))
}
