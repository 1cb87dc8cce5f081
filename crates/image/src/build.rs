//! One build: a folder of its own that becomes a version by being renamed, or goes away.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;

use tokio_util::sync::CancellationToken;
use winstead_process::try_lock;
use winstead_spec::{ByteSize, DirectKernel, DiskFormat, Image};

use crate::{
    debian::leftovers,
    error::{Fault, Need},
    version::Provenance,
};

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
    /// Where our own programs are.
    pub(crate) programs: Option<&'a Path>,
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

/// Makes a folder for a build below `parent`, whose lock the caller holds.
pub(crate) fn new_folder(parent: &Path) -> io::Result<PathBuf> {
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)?;
    Ok(folder.keep())
}

/// Removes what earlier builds left below `parent`, whose lock the caller holds: so they are dead. Returns the removed
/// folders.
pub(crate) async fn remove_dead(parent: &Path, stop: &CancellationToken) -> Result<Vec<PathBuf>, Fault> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove(&entry.path(), stop).await?;
            removed.push(entry.path());
        }
    }
    Ok(removed)
}

/// Removes a building folder and the folders elsewhere that it names, and ends what still works in them.
pub(crate) async fn remove(folder: &Path, stop: &CancellationToken) -> Result<(), Fault> {
    leftovers::end_processes(folder).await?;
    let note = fs::read_to_string(folder.join(leftovers::NOTE)).unwrap_or_default();
    for elsewhere in note.lines() {
        leftovers::remove(Path::new(elsewhere), stop).await?;
    }
    leftovers::remove(folder, stop).await
}

/// Waits for the lock `path`; a second build of one image waits here and then finds the first's result.
pub(crate) async fn lock(
    path: &Path,
    waiting: impl Fn(),
    stop: &CancellationToken,
) -> Result<fs::File, Fault> {
    let mut told = false;
    loop {
        if let Some(file) = try_lock(path)? {
            return Ok(file);
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
        return Err(Fault::DiskFull { folder: folder.to_owned(), need: Some(Need::AtLeast(need)) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_dead_build_left_is_told_from_a_version() {
        let (parent, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dead, version) = (new_folder(parent.path()).unwrap(), parent.path().join("0123456789ab"));
        fs::create_dir(&version).unwrap();
        fs::write(dead.join(leftovers::NOTE), format!("{}\n", elsewhere.path().display())).unwrap();
        let removed = remove_dead(parent.path(), &CancellationToken::new()).await.unwrap();
        assert_eq!(removed, std::slice::from_ref(&dead));
        assert!(!dead.exists() && !elsewhere.path().exists() && version.is_dir());
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
