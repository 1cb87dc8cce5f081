//! What an agent does to keepers, and to its own files.

use std::{
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use fs_err::{self as fs, os::unix::fs::OpenOptionsExt};
use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
};
use winstead_process::ProcessId;

use crate::supervision::{
    Running, StartError,
    record::{Answer, Command, Launch},
    store,
    unix::{cgroup, pipes::CONTROL},
};

/// A keeper answers as soon as its program runs; a disk may be slow.
const ANSWER: Duration = Duration::from_secs(60);
/// More than any answer.
const ANSWER_BYTES: u64 = 64 * 1024;

/// A keeper of ours, to be reaped.
pub(crate) type Keeper = Child;

/// Starts a keeper for what `launch` says, in a folder that is there. Returns when the program runs, with the keeper, which
/// is to be reaped.
///
/// # Errors
/// When it does not run; nothing of it is left then.
pub(crate) async fn spawn_keeper(
    keeper: &Path,
    folder: &Path,
    launch: &Launch,
) -> Result<(Running, Keeper), StartError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a keeper outlives us: no deadline, and its output is an answer"
    )]
    let mut command = tokio::process::Command::new(keeper);
    command.arg("keeper").arg(folder).env_clear().current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let talk = async {
        let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(&serde_json::to_vec(launch)?).await?;
        drop(input);
        let mut answer = Vec::new();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        output.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        serde_json::from_slice(&answer).map_err(io::Error::from)
    };
    match tokio::time::timeout(ANSWER, talk).await {
        Ok(Ok(Answer::Started(running))) => Ok((running, child)),
        Ok(Ok(Answer::Failed(source))) => {
            child.wait().await?;
            Err(StartError::Keeper { program: launch.program.clone(), source })
        }
        Ok(Err(error)) => {
            abandon(child, folder).await?;
            Err(error.into())
        }
        Err(_) => {
            abandon(child, folder).await?;
            Err(io::Error::from(io::ErrorKind::TimedOut).into())
        }
    }
}

/// Kills a keeper that does not answer, with what it may have started.
async fn abandon(mut keeper: Child, folder: &Path) -> io::Result<()> {
    keeper.kill().await?;
    if let Some(running) = store::read::<Running>(&folder.join(store::RUNNING))? {
        end_lost(&running);
    }
    Ok(())
}

/// Tells the keeper of this folder something. A keeper that is gone hears nothing, which is an error.
///
/// # Errors
/// When nobody hears it.
pub(crate) fn command(folder: &Path, command: Command) -> io::Result<()> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let pipe = fs::OpenOptions::new().write(true).custom_flags(flags).open(folder.join(CONTROL))?;
    let mut line = serde_json::to_vec(&command)?;
    line.push(b'\n');
    // Short enough to arrive whole or not at all (PIPE_BUF, pipe(7)).
    rustix::io::write(pipe.file(), &line)?;
    Ok(())
}

/// Ends what a killed keeper left: the program's group, if that is still the same program, and its cgroups.
pub(crate) fn end_lost(running: &Running) {
    let program = ProcessId { pid: running.program.pid, started: running.program.started };
    let groups: Vec<PathBuf> = running.groups.iter().map(PathBuf::from).collect();
    for group in &groups {
        if let Err(error) = fs::write(group.join("cgroup.kill"), "1") {
            tracing::debug!(%error, "a cgroup was not killed");
        }
    }
    let group = i32::try_from(program.pid).ok().and_then(Pid::from_raw);
    if let Some(group) = group.filter(|_| program.is_alive())
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::warn!(%error, pid = program.pid, "a program without its keeper was not killed");
    }
    cgroup::remove(&groups);
}

/// Makes a folder that only this account can use.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a process's folder.
///
/// # Errors
/// As the system has them.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Writes all of it at this place.
///
/// # Errors
/// As the system has them.
pub(crate) fn write_at(file: &File, data: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(data, at)
}

/// Fills `data` from this place.
///
/// # Errors
/// As the system has them.
pub(crate) fn read_at(file: &File, data: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(data, at)
}

/// A signal as Linux names it, with or without `SIG`.
pub(crate) fn named_signal(name: &str) -> Option<i32> {
    let known = match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "TERM" => Signal::TERM,
        "CONT" => Signal::CONT,
        "STOP" => Signal::STOP,
        "TSTP" => Signal::TSTP,
        "WINCH" => Signal::WINCH,
        _ => return None,
    };
    Some(known.as_raw())
}
