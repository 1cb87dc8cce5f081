//! What Linux does for us.

#[path = "unix/uring.rs"]
mod uring;

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{Access, OFlags},
    io::Errno,
    time::ClockId,
};

use crate::{
    cli::{Caching, Engine},
    computer::{Computer, FileSystem, Traffic, linux},
    place::Room,
};

/// What file systems say that have no direct I/O.
pub(crate) const NO_DIRECT_IO: [i32; 2] = [Errno::INVAL.raw_os_error(), Errno::OPNOTSUPP.raw_os_error()];

/// Opens a file for reading and writing, makes it if need be. For direct I/O offset, length and memory must be
/// multiples of 4 KiB.
///
/// # Errors
/// As the system has them; see [`is_no_direct_io`].
pub(crate) fn open(path: &Path, caching: Caching) -> io::Result<File> {
    let flags = match caching {
        Caching::Direct => OFlags::DIRECT,
        Caching::Cached => OFlags::empty(),
    };
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)
}

pub(crate) use uring::Ring as Queue;

/// As [`open`]: a ring takes any file.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_for_queue(path: &Path, caching: Caching) -> io::Result<File> {
    open(path, caching)
}

/// Whether this system has `engine`.
///
/// # Errors
/// Why not.
pub(crate) fn check_engine(engine: Engine) -> io::Result<()> {
    match engine {
        Engine::Threads => Ok(()),
        Engine::IoUring => uring::check(),
        Engine::Overlapped => Err(io::Error::new(io::ErrorKind::Unsupported, "only Windows has it")),
    }
}

/// Whether an error says that this file system has no direct I/O.
pub(crate) fn is_no_direct_io(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_DIRECT_IO.contains(&code))
}

/// Reads all of `buffer` from `offset`.
///
/// # Errors
/// As the system has them, and when the file ends before.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// Writes all of `buffer` to `offset`.
///
/// # Errors
/// As the system has them.
pub(crate) fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(buffer, offset)
}

/// Whether we may make files in `folder`.
///
/// # Errors
/// Why not.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// What is free in `folder`.
///
/// # Errors
/// As the system has them.
pub(crate) fn room(folder: &Path) -> io::Result<Room> {
    let free = rustix::fs::statvfs(folder)?;
    let files = (free.f_files > 0).then_some(free.f_favail);
    Ok(Room { bytes: free.f_bavail.saturating_mul(free.f_frsize), files })
}

/// Lets this thread's waits end as exactly as the kernel can; by default it may be 50 µs late.
pub(crate) fn wake_exactly() {
    // Where it is refused, waits are a little later, which `lateness` shows.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap_or_default();
}

/// Processor time of this process so far, over all its threads.
pub(crate) fn cpu_time() -> Option<Duration> {
    Duration::try_from(rustix::time::clock_gettime(ClockId::ProcessCPUTime)).ok()
}

/// What this process has moved to and from block devices so far.
pub(crate) fn storage_traffic() -> Option<Traffic> {
    linux::traffic(&fs_err::read_to_string("/proc/self/io").ok()?)
}

/// This computer, and where `folder` is.
pub(crate) fn describe(folder: &Path, room: Room) -> Computer {
    let read = |path: &str| fs_err::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let system = rustix::system::uname();
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let memory = read("/proc/meminfo").unwrap_or_default();
    Computer {
        system: system.sysname().to_string_lossy().into_owned(),
        kernel: Some(system.release().to_string_lossy().into_owned()),
        cpu: linux::processor(&cpuinfo),
        memory_bytes: linux::memory(&memory, "MemTotal"),
        memory_available_bytes: linux::memory(&memory, "MemAvailable"),
        memory_limit_bytes: read("/sys/fs/cgroup/memory.max").and_then(|limit| limit.parse().ok()),
        under_hypervisor: linux::under_hypervisor(&cpuinfo),
        product: [read("/sys/class/dmi/id/sys_vendor"), read("/sys/class/dmi/id/product_name")]
            .into_iter()
            .flatten()
            .reduce(|vendor, product| format!("{vendor} {product}")),
        file_system: file_system(folder, room),
        ..Computer::of_this_program()
    }
}

fn file_system(folder: &Path, room: Room) -> FileSystem {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let device = rustix::fs::stat(folder).map_or(0, |stat| stat.st_dev);
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    // btrfs and overlays have devices that no mount has: the longest mount point above counts then.
    let absolute = fs_err::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let mount = linux::mount(&mounts, &device, &absolute);
    let (kind, source, options) =
        mount.map_or((None, None, None), |mount| (Some(mount.kind), Some(mount.source), Some(mount.options)));
    FileSystem { kind, source, options, free_bytes: room.bytes, queue: queue(&device) }
}

/// What the kernel says of the block device, in the words of `/sys/block/*/queue`. A partition's is its disk's.
fn queue(device: &str) -> std::collections::BTreeMap<String, String> {
    const FACTS: [&str; 5] = ["rotational", "scheduler", "write_cache", "nr_requests", "logical_block_size"];
    let base = format!("/sys/dev/block/{device}");
    let roots = [format!("{base}/queue"), format!("{base}/../queue")];
    let read = |fact: &str| {
        let said = roots.iter().find_map(|root| fs_err::read_to_string(format!("{root}/{fact}")).ok())?;
        Some((fact.to_owned(), said.trim().to_owned()))
    };
    FACTS.into_iter().filter_map(read).collect()
}
