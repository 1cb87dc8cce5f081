//! A slower disk, played: the machines' QEMUs together are held to a rate by the io controller of control groups.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use winstead_measurement::contention::DiskLimit;
use winstead_store::{Mount, Mounts, StoreError};

/// What our groups are called; the rest is our process id.
const PREFIX: &str = "winstead-bench-";

/// What the processes of a group have done on the device so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Done {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) read_bytes: f64,
    pub(crate) written_bytes: f64,
}

/// Which control groups a computer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A group of processes that share a rate. It is removed when it is dropped, if its processes have ended by then; one
/// that could not be is removed by the next experiment.
#[derive(Debug)]
pub(crate) struct Limited {
    group: PathBuf,
    version: Version,
    /// `254:0`.
    device: String,
}

/// Why processes cannot be held to a rate here.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// No controller for block devices.
    #[error("this computer has no io controller of control groups that we may use")]
    NoController,
    /// The disk arms lie on no single block device.
    #[error("the machines' disks lie on no single block device")]
    NoDevice,
    /// Nobody knows what is mounted.
    #[error(transparent)]
    Mounts(#[from] StoreError),
    /// A group cannot be made or written.
    #[error("make a control group")]
    Group(#[source] io::Error),
}

impl Limited {
    /// Makes a group that is held to `limit` on `device`.
    ///
    /// # Errors
    /// When the kernel has no such controller, or we have no right to it.
    pub(crate) fn new(limit: DiskLimit, device: Option<&str>) -> Result<Self, LimitError> {
        let device = device.ok_or(LimitError::NoDevice)?;
        let numbers = fs::read_to_string(format!("/sys/block/{device}/dev")).map_err(LimitError::Group)?;
        let (version, root) = controller(&Mounts::read()?).ok_or(LimitError::NoController)?;
        if version == Version::Two {
            enable(&root)?;
        }
        remove_stale(&root);
        let group = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&group).map_err(LimitError::Group)?;
        let limited = Self { group, version, device: numbers.trim().to_owned() };
        for (file, line) in rules(version, &limited.device, limit) {
            fs::write(limited.group.join(file), line).map_err(LimitError::Group)?;
        }
        Ok(limited)
    }

    /// Takes a process in, with all its threads and those that it starts later.
    ///
    /// # Errors
    /// When the kernel refuses it; a process that has ended is one.
    pub(crate) fn take(&self, process: u32) -> Result<(), LimitError> {
        fs::write(self.group.join("cgroup.procs"), process.to_string()).map_err(LimitError::Group)
    }

    /// What its processes have done so far; nothing where the kernel does not say.
    pub(crate) fn done(&self) -> Done {
        let read = |file: &str| fs::read_to_string(self.group.join(file)).unwrap_or_default();
        match self.version {
            Version::One => done_one(
                &self.device,
                &read("blkio.throttle.io_serviced"),
                &read("blkio.throttle.io_service_bytes"),
            ),
            Version::Two => done_two(&self.device, &read("io.stat")),
        }
    }
}

/// The lines of a device, without its number: `8:1` is not the beginning of `8:16`.
fn of_device<'a>(device: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(device)?.strip_prefix(' '))
}

/// Version 1: `254:0 Read 12`, a line for each kind of operation.
fn done_one(device: &str, served: &str, bytes: &str) -> Done {
    let of = |text: &str, kind: &str| {
        let line = of_device(device, text).find_map(|line| line.strip_prefix(kind));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    };
    Done {
        reads: of(served, "Read "),
        writes: of(served, "Write "),
        read_bytes: of(bytes, "Read "),
        written_bytes: of(bytes, "Write "),
    }
}

/// Version 2: `254:0 rbytes=… wbytes=… rios=… wios=…`.
fn done_two(device: &str, stat: &str) -> Done {
    let line = of_device(device, stat).next().unwrap_or_default();
    let of = |key: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Done { reads: of("rios"), writes: of("wios"), read_bytes: of("rbytes"), written_bytes: of("wbytes") }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.group) {
            tracing::debug!(%error, "a control group stays for the next experiment to remove");
        }
    }
}

/// The io controller: its version, and where groups are made.
fn controller(mounts: &Mounts) -> Option<(Version, PathBuf)> {
    let version = |mount: &Mount| match mount.kind.as_str() {
        "cgroup" if mount.has("blkio") => Some(Version::One),
        "cgroup2" if has_io(&mount.point) => Some(Version::Two),
        _ => None,
    };
    // The kernel gives a controller to one of the two only.
    mounts.iter().find_map(|mount| Some((version(mount)?, mount.point.clone())))
}

fn has_io(point: &Path) -> bool {
    let controllers = fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "io")
}

/// In version 2 the root hands a controller down only when it is told to.
fn enable(root: &Path) -> Result<(), LimitError> {
    fs::write(root.join("cgroup.subtree_control"), "+io").map_err(LimitError::Group)
}

/// The files of a group and what is written into them. Reads and writes are limited each by itself.
fn rules(version: Version, device: &str, limit: DiskLimit) -> Vec<(String, String)> {
    let rates = [("iops", limit.iops), ("bps", limit.bytes_per_second)];
    let rates = rates.into_iter().filter_map(|(unit, rate)| Some((unit, rate?)));
    match version {
        Version::One => rates
            .flat_map(|(unit, rate)| {
                ["read", "write"].map(|direction| {
                    (format!("blkio.throttle.{direction}_{unit}_device"), format!("{device} {rate}"))
                })
            })
            .collect(),
        Version::Two => {
            let rates: Vec<String> =
                rates.map(|(unit, rate)| format!("r{unit}={rate} w{unit}={rate}")).collect();
            vec![("io.max".to_owned(), format!("{device} {}", rates.join(" ")))]
        }
    }
}

/// Groups whose experiment was killed. One that lives may have no processes in its group for a while.
fn remove_stale(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    let is_stale = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.strip_prefix(PREFIX).is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for entry in entries.flatten().filter(is_stale) {
        if let Err(error) = fs::remove_dir(entry.path()) {
            tracing::debug!(%error, "a control group is in use");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: DiskLimit = DiskLimit { iops: Some(500), bytes_per_second: Some(1 << 20) };

    #[test]
    fn the_first_version_has_a_file_for_each_direction_and_unit() {
        let rules = rules(Version::One, "254:0", LIMIT);
        let files: Vec<&str> = rules.iter().map(|(file, _)| file.as_str()).collect();
        let expected = ["read_iops", "write_iops", "read_bps", "write_bps"];
        assert_eq!(files, expected.map(|what| format!("blkio.throttle.{what}_device")));
        assert_eq!((rules[0].1.as_str(), rules[3].1.as_str()), ("254:0 500", "254:0 1048576"));
    }

    #[test]
    fn the_second_version_has_one_line() {
        let only = DiskLimit { bytes_per_second: None, ..LIMIT };
        assert_eq!(
            rules(Version::Two, "254:0", only),
            [("io.max".to_owned(), "254:0 riops=500 wiops=500".to_owned())]
        );
    }

    #[test]
    fn both_versions_say_what_was_done() {
        let served = "254:0 Read 12\n254:0 Write 34\n254:0 Sync 46\n254:16 Read 99\nTotal 46\n";
        let bytes = "254:0 Read 4096\n254:0 Write 8192\n";
        let done = Done { reads: 12.0, writes: 34.0, read_bytes: 4096.0, written_bytes: 8192.0 };
        assert_eq!(done_one("254:0", served, bytes), done);
        let stat = "8:0 rbytes=1 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n\
                    254:0 rbytes=4096 wbytes=8192 rios=12 wios=34 dbytes=0 dios=0";
        assert_eq!(done_two("254:0", stat), done);
        assert_eq!(done_two("254:0", ""), Done::default());
        let longer = "8:16 rbytes=1 wbytes=1 rios=1 wios=1\n8:1 rbytes=4096 wbytes=8192 rios=12 wios=34";
        assert_eq!(done_two("8:1", longer), done);
    }

    #[test]
    fn the_controller_of_the_first_version_is_found_by_its_name() {
        let mounts = b"\
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
41 31 0:38 / /no/such/cgroup2 rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(controller(&Mounts::of(mounts)), Some((Version::One, "/sys/fs/cgroup/blkio".into())));
        assert_eq!(controller(&Mounts::of(b"1 2 0:1 / / rw - ext4 /dev/vda rw")), None);
    }
}
