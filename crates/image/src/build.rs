//! One build: a folder of its own that becomes a version by being renamed, or goes away.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;
use winstead_process::ProcessId;
use winstead_spec::{ByteSize, DirectKernel, DiskFormat, Image};

use crate::{error::Fault, version::Provenance};

/// What a build says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    /// What is being done.
    pub step: String,
    /// Bytes done, where known.
    pub done: Option<u64>,
    /// Bytes in all, where known.
    pub total: Option<u64>,
}

/// Hears what a build says; called from several threads.
pub type Listener<'a> = &'a (dyn Fn(BuildProgress) + Send + Sync);

/// A build that runs.
pub(crate) struct Building<'a> {
    pub(crate) image: &'a Image,
    /// Absolute; removed when the build ends, unless it was renamed.
    pub(crate) folder: PathBuf,
    pub(crate) cache: &'a Path,
    pub(crate) artifacts: Option<&'a Path>,
    pub(crate) listener: Listener<'a>,
    pub(crate) stop: &'a CancellationToken,
}

/// What a recipe leaves in the building folder. Names are relative to it.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub(crate) disk: String,
    pub(crate) format: DiskFormat,
    pub(crate) virtual_size: ByteSize,
    pub(crate) kernel: Option<DirectKernel>,
    pub(crate) provenance: Provenance,
}

impl Building<'_> {
    pub(crate) fn step(&self, step: &str) {
        (self.listener)(BuildProgress { step: step.to_owned(), done: None, total: None });
    }
}

const PREFIX: &str = ".building-";

/// Makes a folder for a build below `parent`, named after this process so that it can be told when it is dead.
pub(crate) fn new_folder(parent: &Path) -> io::Result<PathBuf> {
    let me =
        ProcessId::of(std::process::id()).ok_or_else(|| io::Error::other("this process is not in /proc"))?;
    let folder = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-{}-", me.pid, me.started))
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)?;
    Ok(folder.keep())
}

/// Folders below `parent` of builds whose process is dead.
pub(crate) fn dead_folders(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if process_of(&entry.file_name().to_string_lossy()).is_some_and(|process| !process.is_alive()) {
            dead.push(entry.path());
        }
    }
    Ok(dead)
}

fn process_of(folder_name: &str) -> Option<ProcessId> {
    let mut parts = folder_name.strip_prefix(PREFIX)?.split('-');
    Some(ProcessId { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? })
}

/// Removes a building folder and the folders elsewhere that it names.
pub(crate) async fn remove(folder: &Path, stop: &CancellationToken) -> Result<(), Fault> {
    let note = fs::read_to_string(folder.join(crate::debian::NOTE)).unwrap_or_default();
    for elsewhere in note.lines() {
        crate::debian::remove(Path::new(elsewhere), stop).await?;
    }
    crate::debian::remove(folder, stop).await
}

/// Waits for the lock `path`; a second build of one image waits here and then finds the first's result.
pub(crate) async fn lock(
    path: &Path,
    waiting: impl Fn(),
    stop: &CancellationToken,
) -> Result<fs::File, Fault> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut told = false;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(Fault::Io(error.into())),
        }
        if !std::mem::replace(&mut told, true) {
            waiting();
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = stop.cancelled() => return Err(Fault::Interrupted),
        }
    }
}

/// Refuses before the work what cannot end well.
///
/// # Errors
/// [`Fault::DiskFull`].
pub(crate) fn require_room(folder: &Path, need: ByteSize) -> Result<(), Fault> {
    let about = rustix::fs::statvfs(folder).map_err(|error| Fault::Io(error.into()))?;
    if about.f_bavail.saturating_mul(about.f_frsize) < need.bytes() {
        return Err(Fault::DiskFull { folder: folder.display().to_string(), need });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_build_is_told_from_a_dead_one() {
        let parent = tempfile::tempdir().unwrap();
        let mine = new_folder(parent.path()).unwrap();
        let me = ProcessId::of(std::process::id()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}{}-{}-x", me.pid, me.started + 1));
        fs::create_dir(&dead).unwrap();
        fs::create_dir(parent.path().join("0123456789ab")).unwrap();
        assert_eq!(dead_folders(parent.path()).unwrap(), [dead]);
        assert!(mine.is_dir());
    }

    #[tokio::test]
    async fn the_second_waits_for_the_lock_until_it_is_told_to_stop() {
        let parent = tempfile::tempdir().unwrap();
        let (stop, path) = (CancellationToken::new(), parent.path().join("lock"));
        let first = lock(&path, || panic!("nobody has it"), &stop).await.unwrap();
        let waited = std::cell::Cell::new(0);
        let second = lock(
            &path,
            || {
                waited.set(waited.get() + 1);
                stop.cancel();
            },
            &stop,
        )
        .await;
        assert!(matches!(second, Err(Fault::Interrupted)));
        assert_eq!(waited.get(), 1);
        drop(first);
        lock(&path, || panic!("it is free again"), &CancellationToken::new()).await.unwrap();
    }
}
