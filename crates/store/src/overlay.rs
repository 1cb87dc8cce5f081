//! One machine's copy-on-write layer: create, remove, measure, grow.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_spec::{ByteSize, DiskFormat};

use crate::{
    area::{Area, Placement, Presence, Shape},
    error::{StoreError, io_at},
    mountinfo::Mounts,
    probe::Features,
};

/// The name of an overlay's file in its place.
pub const OVERLAY: &str = "overlay.qcow2";

/// The mode of a sealed file, and of the folder that it lies in.
const READABLE: u32 = 0o444;
const CROSSABLE: u32 = 0o711;

/// Where one machine's overlay lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// What kind of place.
    pub placement: Placement,
    /// `machines/NAME/disk`: the mount point, or a link to the folder.
    pub disk: PathBuf,
    /// The mount's source: `winstead:UID8`.
    pub tag: String,
    /// The machine.
    pub name: String,
}

/// What an overlay is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlaySpec {
    /// Where it goes.
    pub location: Location,
    /// The most that it may take.
    pub cap: ByteSize,
    /// The base, as QEMU will look for it: relative to the overlay's own path, or absolute. Not opened here.
    pub base: PathBuf,
    /// The base's container.
    pub base_format: DiskFormat,
    /// The disk as the guest sees it.
    pub size: ByteSize,
    /// User and group that QEMU runs as, when that is not ours.
    pub owner: Option<(u32, u32)>,
    /// What the host can do.
    pub features: Features,
}

/// How full an overlay's place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Allocated blocks, not the file's length.
    pub used: ByteSize,
    /// The cap, where the kernel enforces one.
    pub cap: Option<ByteSize>,
}

impl Location {
    fn area(&self) -> Area<'_> {
        Area { placement: &self.placement, path: &self.disk, tag: &self.tag, name: &self.name }
    }

    /// The overlay's path.
    #[must_use]
    pub fn overlay(&self) -> PathBuf {
        self.disk.join(OVERLAY)
    }
}

/// Makes the place and an empty overlay in it; one that is there already stays as it is.
///
/// # Errors
/// When the place is foreign, may not be mounted or has no room, or qemu-img fails. A cut-short call leaves nothing that
/// [`exists`] calls present.
pub async fn create(spec: &OverlaySpec, stop: &CancellationToken) -> Result<(), StoreError> {
    let shape = Shape { size: spec.cap, mode: 0o700, owner: spec.owner, features: &spec.features };
    spec.location.area().make(&shape)?;
    let overlay = spec.location.overlay();
    if overlay.is_file() {
        return Ok(());
    }
    let partial = spec.location.disk.join("overlay.partial");
    let made = create_command(spec, &partial).run(stop).await;
    made.map_err(|source| overlay_error(spec, &overlay, source))?;
    if let Some((user, group)) = spec.owner {
        std::os::unix::fs::lchown(&partial, Some(user), Some(group)).map_err(io_at("give away", &partial))?;
    }
    fs_err::rename(&partial, &overlay).map_err(io_at("finish", &overlay))
}

fn overlay_error(spec: &OverlaySpec, overlay: &Path, source: winstead_process::CommandError) -> StoreError {
    let path = overlay.to_path_buf();
    // QEMU gives no code for it, only strerror's text, which the fixed locale keeps in English.
    if source.said.contains("No space left on device") {
        return StoreError::NoSpace { path, cap: spec.cap };
    }
    StoreError::Overlay { path, source }
}

/// `-u`: the base is not opened, so its path need not hold from here. 128 KiB clusters of 32 sub-clusters: a first 4 KiB
/// write copies nothing (measured 9 times faster and 16 times less RAM than the default).
fn create_command(spec: &OverlaySpec, target: &Path) -> Command {
    Command::new("qemu-img")
        .args(["create", "-q", "-u", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=128k", "-F"])
        .arg(format_name(spec.base_format))
        .arg("-b")
        .arg(&spec.base)
        .arg("--")
        .arg(target)
        .arg(spec.size.bytes().to_string())
}

const fn format_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Raw => "raw",
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Vhdx => "vhdx",
        DiskFormat::Vmdk => "vmdk",
    }
}

/// Takes the overlay and its place away; gone already, in part or whole, is fine.
///
/// # Errors
/// When the place is foreign, or still in use after a second; then nothing was changed.
pub async fn remove(location: &Location) -> Result<(), StoreError> {
    location.area().take_away().await
}

/// How full it is. Costs two or three system calls.
///
/// # Errors
/// When nothing of ours is there.
pub fn usage(location: &Location) -> Result<Usage, StoreError> {
    if !location.area().is_ours()? {
        return Err(StoreError::Absent { path: location.disk.clone() });
    }
    measure(location)
}

fn measure(location: &Location) -> Result<Usage, StoreError> {
    if location.placement == Placement::OwnTmpfs {
        let found = rustix::fs::statvfs(&location.disk).map_err(io_at("measure", &location.disk))?;
        let used = found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize;
        let cap = Some(ByteSize::from_bytes(found.f_blocks * found.f_frsize));
        return Ok(Usage { used: ByteSize::from_bytes(used), cap });
    }
    let overlay = location.overlay();
    let found = fs_err::metadata(&overlay).map_err(io_at("measure", &overlay))?;
    // st_blocks counts 512 bytes on every Linux file system (stat(2)).
    Ok(Usage { used: ByteSize::from_bytes(found.blocks() * 512), cap: None })
}

/// Sets the cap of a running machine's mount; where nothing enforces a cap there is nothing to do.
///
/// # Errors
/// When the mount is not there or not ours, or `cap` is below what is used.
pub fn grow(location: &Location, cap: ByteSize) -> Result<(), StoreError> {
    location.area().resize(cap)
}

/// Makes the overlay, and what else lies in its place, a read-only layer for others' overlays: readable by all who may
/// reach it, and a mount of its own is read-only from then on. Nothing may write it any more.
///
/// # Errors
/// When it is not there or not ours, or still open for writing.
pub fn seal(location: &Location) -> Result<(), StoreError> {
    let area = location.area();
    if !area.is_ours()? {
        return Err(StoreError::Absent { path: location.disk.clone() });
    }
    let folder = fs_err::canonicalize(&location.disk).map_err(io_at("look at", &location.disk))?;
    for file in fs_err::read_dir(&folder).map_err(io_at("read", &folder))?.flatten() {
        make_readable(&file.path()).map_err(io_at("set the mode of", &file.path()))?;
    }
    let mode = fs_err::metadata(&folder).map_err(io_at("look at", &folder))?.permissions().mode();
    // A mount that is sealed already takes no new mode.
    if mode & 0o777 != CROSSABLE {
        let open = std::fs::Permissions::from_mode(CROSSABLE);
        fs_err::set_permissions(&folder, open).map_err(io_at("set the mode of", &folder))?;
    }
    area.seal()
}

/// Makes a plain file read-only and readable by all. What else the machine's user may have put there stays as it is: a
/// link is not followed.
fn make_readable(path: &Path) -> std::io::Result<()> {
    let found = fs_err::symlink_metadata(path)?;
    if !found.is_file() || found.permissions().mode() & 0o777 == READABLE {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(READABLE))?)
}

/// What is at the place. What cannot be looked at counts as foreign.
#[must_use]
pub fn exists(location: &Location) -> Presence {
    presence(location, location.area().is_ours())
}

/// What is at the place and what it uses, by a table of mounts that was read once for many places.
#[must_use]
pub fn survey(location: &Location, mounts: &Mounts) -> (Presence, ByteSize) {
    let found = location.area().is_ours_among(mounts);
    let used = match found {
        Ok(true) => measure(location).map_or(ByteSize::default(), |usage| usage.used),
        _ => ByteSize::default(),
    };
    (presence(location, found), used)
}

fn presence(location: &Location, is_ours: Result<bool, StoreError>) -> Presence {
    match is_ours {
        Ok(true) if location.overlay().is_file() => Presence::Present,
        Ok(_) => Presence::Absent,
        Err(StoreError::Foreign { what, .. }) => Presence::Foreign(what),
        Err(error) => Presence::Foreign(error.to_string()),
    }
}
