//! What this host's memory file systems can do, found by trying.

use std::path::Path;

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io_uring::{io_uring_params, io_uring_setup},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
        fsmount, fsopen,
    },
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use winstead_spec::ByteSize;

use crate::{
    error::{StoreError, io_at},
    memory::meminfo,
};

/// What can be used here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// This process may mount a tmpfs.
    pub can_mount: bool,
    /// tmpfs knows `noswap` (kernel 6.4).
    pub noswap: bool,
    /// tmpfs knows `huge=`.
    pub huge: bool,
    /// `/dev/shm` takes `O_DIRECT` (kernel 6.6). What holds for a machine's own files says [`takes_direct`].
    pub direct: bool,
    /// io_uring works here, for others than root too; a seccomp profile of QEMU's own may still refuse it: its start says.
    pub io_uring: bool,
    /// The host's swap.
    pub swap: ByteSize,
    /// One line for each thing that is missing, and what it means.
    pub notes: Vec<String>,
}

/// Tries what this host can do. `scratch` is an existing folder; nothing is left in it, also when killed: the mounts that
/// are tried are never attached to any folder.
///
/// # Errors
/// When `/proc` cannot be read, or `stop` was cancelled.
pub async fn probe(scratch: &Path, stop: &CancellationToken) -> Result<Features, StoreError> {
    if stop.is_cancelled() {
        return Err(StoreError::Interrupted { path: scratch.to_path_buf() });
    }
    let scratch = scratch.to_path_buf();
    let task = tokio::task::spawn_blocking(move || look(&scratch));
    task.await.map_err(|error| io_at("probe", "/proc")(std::io::Error::other(error)))?
}

fn look(scratch: &Path) -> Result<Features, StoreError> {
    let path = Path::new("/proc/meminfo");
    let text = fs_err::read_to_string(path).map_err(io_at("read", path))?;
    let plain = detached_tmpfs(&[], None).is_ok();
    let mut features = Features {
        can_mount: plain,
        noswap: if plain { detached_tmpfs(&["noswap"], None).is_ok() } else { kernel_has_noswap() },
        huge: plain && detached_tmpfs(&[], Some("never")).is_ok(),
        direct: folder_takes_direct(Path::new("/dev/shm")),
        io_uring: io_uring_allowed(),
        swap: ByteSize::from_bytes(meminfo(&text, "SwapTotal").unwrap_or(0)),
        notes: Vec::new(),
    };
    features.notes = notes(&features, folder_takes_direct(scratch));
    Ok(features)
}

fn detached_tmpfs(flags: &[&str], huge: Option<&str>) -> rustix::io::Result<()> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for flag in flags {
        fsconfig_set_flag(&context, *flag)?;
    }
    if let Some(huge) = huge {
        fsconfig_set_string(&context, "huge", huge)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map(drop)
}

/// Whether this file can be opened with `O_DIRECT`: folders on one host differ.
#[must_use]
pub fn takes_direct(file: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECT;
    openat(CWD, file, flags, Mode::empty()).is_ok()
}

/// A file without a name: nothing to clean up.
fn folder_takes_direct(folder: &Path) -> bool {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::DIRECT;
    openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR).is_ok()
}

/// Whether the running kernel is 6.4 or later, which brought tmpfs `noswap`.
pub(crate) fn kernel_has_noswap() -> bool {
    release() >= (6, 4)
}

fn release() -> (u32, u32) {
    version(&rustix::system::uname().release().to_string_lossy())
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The sysctl (kernel 6.6): 0 for all, 1 for a group and root, 2 for nobody. QEMU is never root, so only 0 counts. A
/// container's seccomp profile (Docker's for one) refuses it without a word there: so it is tried.
fn io_uring_allowed() -> bool {
    let switched = fs_err::read_to_string("/proc/sys/kernel/io_uring_disabled");
    release() >= (5, 6) && switched.map_or(true, |text| text.trim() == "0") && makes_ring()
}

#[expect(unsafe_code, reason = "nothing else says whether a seccomp filter refuses the call")]
fn makes_ring() -> bool {
    // SAFETY: zeroed parameters ask for no flag, so that no descriptor or address is passed in; the kernel writes to them
    // only. The ring is never mapped and nothing is submitted to it before it is closed here.
    unsafe { io_uring_setup(1, &mut io_uring_params::default()) }.is_ok()
}

fn notes(features: &Features, disk_direct: bool) -> Vec<String> {
    let missing = [
        (
            features.can_mount,
            "no right to mount: disks share one RAM folder, caps are watched instead of enforced",
        ),
        (
            features.noswap || features.swap == ByteSize::from_bytes(0),
            "tmpfs has no noswap and there is swap: disks in RAM may be swapped out and become slow",
        ),
        (
            features.huge || !features.can_mount,
            "tmpfs has no huge=never: overlays may take more RAM than their guests wrote",
        ),
        (
            features.direct,
            "tmpfs refuses O_DIRECT: QEMU goes through the page cache, reads cost one copy more",
        ),
        (disk_direct, "the home's disk refuses O_DIRECT: disks there go through the page cache"),
        (features.io_uring, "io_uring is not available: QEMU uses threads, small reads are slower"),
    ];
    missing.into_iter().filter(|(there, _)| !there).map(|(_, note)| note.to_owned()).collect()
}
