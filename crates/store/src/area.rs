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
    mountinfo::{Mount, Mounts},
    probe::Features,
};

/// Nothing in these mounts is ever a program, a device or set-uid. A remount must repeat them, or they are lost.
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What statfs(2) says of a tmpfs.
const TMPFS_MAGIC: i128 = 0x0102_1994;

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

    /// Our mount, if there is one; an error when it is somebody else's.
    fn our_mount<'m>(&self, mounts: &'m Mounts) -> Result<Option<&'m Mount>, StoreError> {
        let Some(mount) = mounts.at(self.path) else { return Ok(None) };
        if *self.placement == Placement::OwnTmpfs && mount.kind == "tmpfs" && mount.source == self.tag {
            return Ok(Some(mount));
        }
        Err(self.foreign(format!("a {} mount from {:?}", mount.kind, mount.source)))
    }

    /// Whether the place is made and ours; an error when it is somebody else's.
    pub(crate) fn is_ours(&self) -> Result<bool, StoreError> {
        self.is_ours_among(&Mounts::read()?)
    }

    /// The same by a table of mounts that was read before.
    pub(crate) fn is_ours_among(&self, mounts: &Mounts) -> Result<bool, StoreError> {
        let mount = self.our_mount(mounts)?;
        if *self.placement == Placement::OwnTmpfs {
            return Ok(mount.is_some());
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
        if let (Placement::SharedRam { .. }, Some(given)) = (self.placement, parent.parent()) {
            require_tmpfs(given)?;
        }
        // Another user's QEMU must pass through the parent to the folder that is its own.
        own_folder(parent, if shape.owner.is_some() || shape.mode & 0o011 != 0 { 0o711 } else { 0o700 })?;
        let real = self.real();
        own_or_given(&real, shape)?;
        match std::os::unix::fs::symlink(&real, self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(io_at("link", self.path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Changes the size of our mount; where nothing enforces a size there is nothing to do. No process is started.
    pub(crate) fn resize(&self, size: ByteSize) -> Result<(), StoreError> {
        match self.our_mount(&Mounts::read()?)? {
            Some(mount) => self.remount(mount, FLAGS, Some(size)),
            None if self.is_ours()? => Ok(()),
            None => Err(StoreError::Absent { path: self.path.to_path_buf() }),
        }
    }

    /// Makes our mount read-only; a folder stays as it is, and so does a mount that is read-only already.
    pub(crate) fn seal(&self) -> Result<(), StoreError> {
        match self.our_mount(&Mounts::read()?)? {
            Some(mount) if !mount.has("ro") => self.remount(mount, FLAGS | MountFlags::RDONLY, None),
            _ => Ok(()),
        }
    }

    fn remount(&self, mount: &Mount, flags: MountFlags, size: Option<ByteSize>) -> Result<(), StoreError> {
        mount_remount(self.path, flags, remount_options(mount, size)).map_err(io_at("remount", self.path))
    }

    /// Takes the place away with all in it; gone already, in part or whole, is fine.
    pub(crate) async fn take_away(&self) -> Result<(), StoreError> {
        let ours = self.is_ours()?;
        if *self.placement != Placement::OwnTmpfs {
            gone(fs_err::remove_dir_all(self.real()), "remove", &self.real())?;
            return gone(fs_err::remove_file(self.path), "remove", self.path);
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

/// The options of a remount. Kernels from 6.4 on take a missing `noswap` for a wish to swap again and refuse it (EINVAL);
/// those of late 2025 and after no longer do.
fn remount_options(mount: &Mount, size: Option<ByteSize>) -> String {
    let size = size.map(|size| format!("size={}", size.bytes()));
    let noswap = mount.has("noswap").then(|| "noswap".to_owned());
    size.into_iter().chain(noswap).collect::<Vec<_>>().join(",")
}

fn gone(result: std::io::Result<()>, action: &'static str, path: &Path) -> Result<(), StoreError> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_at(action, path)(error)),
        _ => Ok(()),
    }
}

/// A given folder of RAM is never made: a mistyped one would fill the disk below it.
fn require_tmpfs(folder: &Path) -> Result<(), StoreError> {
    let found = rustix::fs::statfs(folder).map_err(io_at("look at", folder))?;
    // The field's type differs between architectures.
    let kind = i128::from(found.f_type);
    if kind == TMPFS_MAGIC { Ok(()) } else { Err(StoreError::NotRam { path: folder.to_path_buf() }) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remount_repeats_noswap_where_the_mount_has_it() {
        let mount = |options: &str| Mount {
            point: "/m".into(),
            kind: "tmpfs".into(),
            source: "winstead:0a1b2c3d".into(),
            options: options.into(),
        };
        let size = Some(ByteSize::from_mib(1));
        // As Linux 6.18 lists them.
        let (plain, noswap) =
            (mount("rw,size=4k,nr_inodes=64"), mount("rw,size=4k,nr_inodes=64,noswap,huge=never"));
        assert_eq!(remount_options(&plain, size), "size=1048576");
        assert_eq!(remount_options(&noswap, size), "size=1048576,noswap");
        assert_eq!(
            (remount_options(&plain, None), remount_options(&noswap, None)),
            (String::new(), "noswap".into())
        );
    }
}
