//! A place that holds one disk: a tmpfs mount of its own, or a folder that a link points to.

use std::{
    ffi::CString,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount},
};
use serde::{Deserialize, Serialize};
use winstead_spec::ByteSize;

use crate::{
    error::{StoreError, io_at},
    mountinfo::mounted_at,
    probe::Features,
};

/// Nothing in these mounts is ever a program, a device or set-uid. A remount must repeat them, or they are lost.
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// How long a busy mount is tried again: QEMU's last descriptors close a moment after its death.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Where the bytes of a disk lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Placement {
    /// A tmpfs of its own, whose size is the cap: the kernel enforces it.
    OwnTmpfs,
    /// A folder of this home in a tmpfs that others use too: nothing enforces the cap.
    SharedRam {
        /// The home's folder, such as `/dev/shm/winstead-1000-abcd`.
        folder: PathBuf,
    },
    /// A folder on a disk.
    Folder {
        /// The home's folder there.
        folder: PathBuf,
    },
}

/// What is at a disk's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// No finished disk of ours.
    Absent,
    /// A finished disk of ours.
    Present,
    /// Something that we did not make; says what.
    Foreign(String),
}

/// One place: `path` is where its user looks, either a mount point or a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area<'a> {
    pub(crate) placement: &'a Placement,
    pub(crate) path: &'a Path,
    pub(crate) tag: &'a str,
    pub(crate) name: &'a str,
}

/// How a place is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) size: ByteSize,
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) features: &'a Features,
}

impl Shape<'_> {
    /// The tmpfs options. 64 inodes: a disk, its unfinished twin and room; files cannot eat memory beside the cap.
    pub(crate) fn options(&self) -> String {
        let mut options = format!("size={},nr_inodes=64,mode={:04o}", self.size.bytes(), self.mode);
        if let Some((user, group)) = self.owner {
            options.push_str(&format!(",uid={user},gid={group}"));
        }
        if self.features.noswap {
            options.push_str(",noswap");
        }
        if self.features.huge {
            options.push_str(",huge=never");
        }
        options
    }
}

impl Area<'_> {
    /// The folder that really holds the files.
    fn real(&self) -> PathBuf {
        match self.placement {
            Placement::OwnTmpfs => self.path.to_path_buf(),
            Placement::SharedRam { folder } | Placement::Folder { folder } => folder.join(self.name),
        }
    }

    fn foreign(&self, what: impl Into<String>) -> StoreError {
        StoreError::Foreign { path: self.path.to_path_buf(), what: what.into() }
    }

    /// Whether the place is made and ours; an error when it is somebody else's.
    pub(crate) fn is_ours(&self) -> Result<bool, StoreError> {
        if let Some(mount) = mounted_at(self.path)? {
            let ours =
                *self.placement == Placement::OwnTmpfs && mount.kind == "tmpfs" && mount.source == self.tag;
            return if ours {
                Ok(true)
            } else {
                Err(self.foreign(format!("a {} mount from {:?}", mount.kind, mount.source)))
            };
        }
        if *self.placement == Placement::OwnTmpfs || self.path == self.real() {
            return Ok(*self.placement != Placement::OwnTmpfs && self.path.is_dir());
        }
        match fs_err::read_link(self.path) {
            Ok(target) if target == self.real() => Ok(self.real().is_dir()),
            Ok(target) => Err(self.foreign(format!("a link to {}", target.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(_) => Err(self.foreign("no link")),
        }
    }

    /// Makes the place; one that is there already is left as it is.
    pub(crate) fn make(&self, shape: &Shape<'_>) -> Result<(), StoreError> {
        if self.is_ours()? {
            return Ok(());
        }
        match self.placement {
            Placement::OwnTmpfs => self.make_mount(shape),
            Placement::SharedRam { folder } | Placement::Folder { folder } => self.make_folder(folder, shape),
        }
    }

    fn make_mount(&self, shape: &Shape<'_>) -> Result<(), StoreError> {
        fs_err::create_dir_all(self.path).map_err(io_at("create", self.path))?;
        if !self.path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Err(self.foreign("no folder"));
        }
        let options = CString::new(shape.options()).map_err(io_at("mount", self.path))?;
        mount(self.tag, self.path, "tmpfs", FLAGS, Some(options.as_c_str())).map_err(
            |error| match error {
                Errno::PERM | Errno::ACCESS => StoreError::NotPermitted { path: self.path.to_path_buf() },
                other => io_at("mount a tmpfs on", self.path)(other),
            },
        )?;
        mount_change(self.path, MountPropagationFlags::PRIVATE).map_err(io_at("make private", self.path))
    }

    fn make_folder(&self, parent: &Path, shape: &Shape<'_>) -> Result<(), StoreError> {
        // Another user's QEMU must pass through the parent to the folder that is its own.
        own_folder(parent, if shape.owner.is_some() || shape.mode & 0o011 != 0 { 0o711 } else { 0o700 })?;
        let real = self.real();
        own_or_given(&real, shape)?;
        if real == self.path {
            return Ok(());
        }
        match std::os::unix::fs::symlink(&real, self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(io_at("link", self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Changes the size of our mount, or its being writable. No process is started.
    pub(crate) fn remount(&self, size: ByteSize, read_only: bool) -> Result<(), StoreError> {
        if !self.is_ours()? {
            return Err(StoreError::Absent { path: self.path.to_path_buf() });
        }
        if *self.placement != Placement::OwnTmpfs {
            return Ok(());
        }
        let flags = if read_only { FLAGS | MountFlags::RDONLY } else { FLAGS };
        mount_remount(self.path, flags, format!("size={}", size.bytes())).map_err(io_at("remount", self.path))
    }

    /// Takes the place away with all in it; gone already, in part or whole, is fine.
    pub(crate) async fn take_away(&self) -> Result<(), StoreError> {
        let ours = self.is_ours()?;
        if *self.placement != Placement::OwnTmpfs {
            gone(fs_err::remove_dir_all(self.real()), "remove", &self.real())?;
            return if self.real() == self.path {
                Ok(())
            } else {
                gone(fs_err::remove_file(self.path), "remove", self.path)
            };
        }
        if ours {
            self.unmount().await?;
        }
        // Only an empty folder goes: files under a vanished mount were not put there by us.
        gone(fs_err::remove_dir(self.path), "remove", self.path)
    }

    async fn unmount(&self) -> Result<(), StoreError> {
        for _ in 0..BUSY_TRIES {
            match unmount(self.path, UnmountFlags::NOFOLLOW) {
                // INVAL: another process unmounted it in between.
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(io_at("unmount", self.path)(error)),
            }
        }
        Err(StoreError::Busy { path: self.path.to_path_buf(), users: users_of(self.path) })
    }
}

fn gone(result: std::io::Result<()>, action: &'static str, path: &Path) -> Result<(), StoreError> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_at(action, path)(error)),
        _ => Ok(()),
    }
}

/// Makes `folder` ours alone. `/dev/shm` is everybody's, so what is there already is looked at, never trusted.
fn own_folder(folder: &Path, mode: u32) -> Result<(), StoreError> {
    if let Some(parent) = folder.parent() {
        fs_err::create_dir_all(parent).map_err(io_at("create", parent))?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io_at("create", folder)(error));
        }
        _ => {}
    }
    let found = folder.symlink_metadata().map_err(io_at("look at", folder))?;
    let refuse = |what: String| Err(StoreError::Foreign { path: folder.to_path_buf(), what });
    if !found.is_dir() {
        return refuse("no folder".to_owned());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refuse(format!("a folder of user {}", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        return refuse("a folder that others may write to".to_owned());
    }
    let wanted = found.mode() & 0o777 | mode;
    fs_err::set_permissions(folder, std::fs::Permissions::from_mode(wanted))
        .map_err(io_at("set the mode of", folder))
}

fn own_or_given(folder: &Path, shape: &Shape<'_>) -> Result<(), StoreError> {
    if shape.owner.is_none() || !folder.is_dir() {
        own_folder(folder, shape.mode)?;
    }
    let Some((user, group)) = shape.owner else { return Ok(()) };
    std::os::unix::fs::lchown(folder, Some(user), Some(group)).map_err(io_at("give away", folder))
}

/// `pid (name)` of the processes whose files or folder lie in `path`, as far as this user may see.
fn users_of(path: &Path) -> Vec<String> {
    let Ok(processes) = fs_err::read_dir("/proc") else { return Vec::new() };
    processes.flatten().filter_map(|process| user_of(&process.path(), path)).collect()
}

fn user_of(process: &Path, path: &Path) -> Option<String> {
    let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
    let inside = |link: &Path| fs_err::read_link(link).is_ok_and(|target| target.starts_with(path));
    let uses = inside(&process.join("cwd"))
        || fs_err::read_dir(process.join("fd")).ok()?.flatten().any(|file| inside(&file.path()));
    let name = fs_err::read_to_string(process.join("comm")).unwrap_or_default();
    uses.then(|| format!("{pid} ({})", name.trim()))
}
