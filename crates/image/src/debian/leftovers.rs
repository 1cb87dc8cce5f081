//! What a build leaves when it ends early: processes, and folders that may belong to users of a name space.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, Failure, ProcessId};

use crate::error::Fault;

/// The file in a building folder that names folders elsewhere.
pub(crate) const NOTE: &str = "scratch-folders";
/// mmdebstrap's log, in the building folder.
pub(crate) const LOG: &str = "mmdebstrap.log";
/// How long killed processes may take to let go; a busy disk holds them up.
const END: Duration = Duration::from_secs(60);

/// The argument by which the processes of one build are known: no other command has it.
pub(crate) fn mark(building: &Path) -> String {
    format!("--logfile={}", building.join(LOG).display())
}

/// Ends what the build in the folder `building` left running, and waits for it: whoever removes a tree must be alone
/// with it. The first process of a name space is among those that carry the mark, and takes all others with it.
///
/// # Errors
/// When one cannot be killed, or does not end.
pub(crate) async fn end_processes(building: &Path) -> io::Result<()> {
    let (mark, started) = (mark(building), Instant::now());
    loop {
        let mut left = carriers(&mark);
        if left.is_empty() {
            return Ok(());
        }
        for process in &left {
            process.kill()?;
        }
        // Its arguments go before a process does: it is looked at itself, too.
        while left.iter().any(|process| process.is_alive()) {
            if started.elapsed() > END {
                let text = format!("the processes {left:?} of an earlier build do not end");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            left.retain(|process| process.is_alive());
        }
    }
}

fn carriers(mark: &str) -> Vec<ProcessId> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|pid| carries(*pid, mark)).filter_map(ProcessId::of).collect()
}

fn carries(pid: u32, mark: &str) -> bool {
    // A process that ended meanwhile has none.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|argument| argument == mark.as_bytes())
}

/// Removes a folder whose content may belong to users of a name space of ours. Gone already is fine.
///
/// # Errors
/// When something is mounted in it, or it cannot be removed.
pub(crate) async fn remove(folder: &Path, stop: &CancellationToken) -> Result<(), Fault> {
    refuse_mounts(folder)?;
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => remove_as_root(folder, stop).await,
        Err(error) => Err(error.into()),
    }
}

async fn remove_as_root(folder: &Path, stop: &CancellationToken) -> Result<(), Fault> {
    let all = Command::new("mmdebstrap").args(["--unshare-helper", "rm", "-rf", "--"]).arg(folder);
    // Also after Ctrl-C: a cancelled token must not keep the tidying from happening.
    let unstoppable = CancellationToken::new();
    let stop = if stop.is_cancelled() { &unstoppable } else { stop };
    match all.run(stop).await {
        Ok(_) => Ok(()),
        // The folder itself is ours, so the name space may not remove it.
        Err(error) if matches!(error.failure, Failure::Status(_)) => Ok(fs::remove_dir_all(folder)?),
        Err(error) => Err(error.into()),
    }
}

/// A folder with something mounted in it is not removed: that would remove somebody else's files.
fn refuse_mounts(folder: &Path) -> io::Result<()> {
    match mounted_below(&fs::read_to_string("/proc/self/mountinfo")?, folder) {
        None => Ok(()),
        Some(mount) => Err(io::Error::other(format!("{mount} is mounted: unmount it first"))),
    }
}

/// The fifth field of a line is the mount point (proc(5)).
fn mounted_below(mountinfo: &str, folder: &Path) -> Option<String> {
    let mut points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.find(|point| Path::new(point).starts_with(folder)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_inside_a_folder_is_seen() {
        let info =
            "24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n75 27 0:27 / /a/b/dev/shm rw - tmpfs tmpfs rw\n";
        assert_eq!(mounted_below(info, Path::new("/a/b")).as_deref(), Some("/a/b/dev/shm"));
        assert_eq!(mounted_below(info, Path::new("/a/bc")), None);
    }

    #[tokio::test]
    async fn processes_of_a_dead_build_are_ended_and_no_others() {
        let (dead, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = tempfile::tempfile().unwrap();
        let start = |folder: &Path| {
            // The shell keeps its arguments: mark it as mmdebstrap is.
            let command = Command::new("sh").args(["-c", "sleep 600; true", "sh", &mark(folder)]);
            command.start_detached(&log).unwrap()
        };
        let (mut mine, mut foreign) = (start(dead.path()), start(other.path()));
        let id = |child: &tokio::process::Child| ProcessId::of(child.id().unwrap());
        let foreign_id = id(&foreign).unwrap();
        // It begins as `setsid`, with the same mark, and has no arguments for the moment in which it becomes the shell; what
        // a dead build left has run for long.
        for child in [&mine, &foreign] {
            let arguments = format!("/proc/{}/cmdline", child.id().unwrap());
            while !fs_err::read(&arguments).unwrap().starts_with(b"sh\0") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        end_processes(dead.path()).await.unwrap();
        assert!(mine.wait().await.unwrap().code().is_none(), "it was killed");
        assert!(foreign_id.is_alive());
        foreign.kill().await.unwrap();
    }
}
