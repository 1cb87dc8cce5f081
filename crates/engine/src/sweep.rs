//! Finding and removing what no machine needs any more.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use winstead_process::ProcessId;
use winstead_store::{BaseLocation, Location, Placement, StoreError};

use crate::{
    Home,
    journal::{Shared, Snapshot},
};
use winstead_spec::MachineName;

/// How long a killed process may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(20);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Removes a folder that held disks, and returns whether it is gone. Only an empty one: what else lies there is not ours,
/// or still needed.
pub(crate) fn remove_folder(folder: &Path) -> std::io::Result<bool> {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match fs_err::remove_dir(folder) {
        Err(error) if error.kind() == DirectoryNotEmpty => Ok(false),
        Err(error) if error.kind() != NotFound => Err(error),
        _ => Ok(true),
    }
}

/// Machine folders of this home that the journal does not know: it was lost, or the power was.
pub(crate) fn strays(home: &Home, known: &Snapshot) -> Vec<MachineName> {
    let Ok(folders) = fs_err::read_dir(home.machines()) else { return Vec::new() };
    let names = folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    names
        .filter(|name| {
            !known.machines.contains_key(name) && known.templates().all(|template| template.name() != name)
        })
        .collect()
}

/// Copies of images that are mounted in this home and that the journal does not know.
pub(crate) fn stray_bases(home: &Home, known: &Snapshot) -> Result<Vec<BaseLocation>, StoreError> {
    let Ok(folders) = fs_err::read_dir(home.bases()) else { return Ok(Vec::new()) };
    let folders = folders.flatten().map(|folder| folder.path());
    let strays = folders.filter(|folder| !knows_base(known, folder));
    strays.filter_map(|folder| winstead_store::mounted_base(&folder).transpose()).collect()
}

/// By its name, which is its image's: the home itself may be reached by several paths.
fn knows_base(known: &Snapshot, folder: &Path) -> bool {
    let is_this = |base: &BaseLocation| base.folder.file_name() == folder.file_name();
    known.shared.iter().any(|(_, shared)| matches!(shared, Shared::Base(base) if is_this(base)))
}

/// Ends the machine that works in a stray folder, unmounts its disk and deletes it.
pub(crate) async fn remove(home: &Home, name: &MachineName, stop: &CancellationToken) -> Result<(), Failure> {
    let folder = home.machine(name);
    for process in working_in(&folder) {
        tokio::select! {
            killed = kill(process) => killed?,
            () = stop.cancelled() => return Err("interrupted".into()),
        }
    }
    let disk = folder.join("disk");
    let placement = match fs_err::read_link(&disk) {
        Ok(target) => Placement::Folder { folder: target.parent().map_or_else(PathBuf::new, Path::to_owned) },
        Err(_) => Placement::OwnTmpfs,
    };
    // The journal, which knew the tag, is lost; the place inside our own home says whose the mount is.
    let tag = winstead_store::tag_at(&disk)?.unwrap_or_default();
    winstead_store::remove(&Location { placement, disk, tag, name: name.to_string() }).await?;
    Ok(fs_err::remove_dir_all(&folder)?)
}

/// Kills a process and waits until the last of its threads has let go of what it held.
pub(crate) async fn kill(process: ProcessId) -> Result<(), Failure> {
    process.kill()?;
    let ended = async {
        while !process.has_ended() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(tokio::time::timeout(LAST_BREATH, ended).await.map_err(|_| outlived(process))?)
}

fn outlived(process: ProcessId) -> String {
    format!("process {} was killed and is still there after {LAST_BREATH:?}", process.pid)
}

/// A machine's own processes whose working folder lies in `folder`. Others may stand there as well: a user's shell.
fn working_in(folder: &Path) -> Vec<ProcessId> {
    let Ok(processes) = fs_err::read_dir("/proc") else { return Vec::new() };
    let here = |entry: &fs_err::DirEntry| {
        let inside = fs_err::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        inside && fs_err::read(entry.path().join("cmdline")).is_ok_and(|command| is_a_machines(&command))
    };
    let pids = processes.flatten().filter(here).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(ProcessId::of).collect()
}

/// Whether a command line, its words ended by NUL, is that of a QEMU or a TPM as we start them.
fn is_a_machines(command: &[u8]) -> bool {
    let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let mut has = |option: &str| words.any(|word| word == option);
    (program.starts_with("qemu-system") && has("-uuid")) || (program == "swtpm" && has("--tpmstate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_qemu_and_its_tpm_are_a_machines_processes() {
        let is = |words: &[&str]| is_a_machines(words.join("\0").as_bytes());
        assert!(is(&["/usr/bin/qemu-system-x86_64", "-name", "p-0", "-uuid", "1"]));
        assert!(is(&["swtpm", "socket", "--tpmstate", "dir=."]));
        for others in [&["bash"][..], &["vi", "qemu.log"], &["qemu-system-x86_64", "-version"], &[]] {
            assert!(!is(others), "{others:?}");
        }
    }
}
