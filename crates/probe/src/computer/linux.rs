//! Reads what Linux says in `/proc`. Pure: texts in, facts out.

use std::path::Path;

use super::{Processor, Traffic};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The type of the file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// The mount's options, then the file system's own.
    pub options: String,
}

/// The processor of `/proc/cpuinfo`. ARM's kernels name no model.
pub(crate) fn processor(cpuinfo: &str) -> Processor {
    let count = cpuinfo.lines().filter(|line| key(line) == Some("processor")).count();
    Processor { model: value(cpuinfo, "model name").map(str::to_owned), count: (count > 0).then_some(count) }
}

/// Whether x86 processors say that a hypervisor is beneath.
pub(crate) fn under_hypervisor(cpuinfo: &str) -> Option<bool> {
    value(cpuinfo, "flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

/// A line of `/proc/meminfo` in bytes.
pub(crate) fn memory(meminfo: &str, name: &str) -> Option<u64> {
    let kib: u64 = value(meminfo, name)?.strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What `/proc/self/io` says of block devices.
pub(crate) fn traffic(io: &str) -> Option<Traffic> {
    let read = |name| value(io, name)?.parse().ok();
    Some(Traffic { read_bytes: read("read_bytes")?, written_bytes: read("write_bytes")? })
}

/// The mount of `folder` in `/proc/self/mountinfo`: the deepest one above it, among those of its `device`
/// (`major:minor`) where there are any.
pub(crate) fn mount(mountinfo: &str, device: &str, folder: &Path) -> Option<Mount> {
    let above: Vec<(&str, usize, Mount)> = mountinfo.lines().filter_map(|line| entry(line, folder)).collect();
    let of_device = above.iter().any(|(found, ..)| *found == device);
    // Of two mounts on one folder the later is on top, and it is what max_by_key gives.
    above
        .into_iter()
        .filter(|(found, ..)| !of_device || *found == device)
        .max_by_key(|(_, depth, _)| *depth)
        .map(|(.., mount)| mount)
}

/// Device, depth and mount, when it is above `folder`. The fields before ` - ` vary in number.
fn entry<'a>(line: &'a str, folder: &Path) -> Option<(&'a str, usize, Mount)> {
    let (before, after) = line.split_once(" - ")?;
    let (before, after): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), after.split(' ').collect());
    let (device, point, options) = (before.get(2)?, unescape(before.get(4)?), before.get(5)?);
    let (kind, source, own) = (after.first()?, after.get(1)?, after.get(2)?);
    let mount =
        Mount { kind: (*kind).to_owned(), source: unescape(source), options: format!("{options} {own}") };
    let point = Path::new(&point);
    folder.starts_with(point).then(|| (*device, point.components().count(), mount))
}

/// The kernel writes a space in a path as `\040`, and so on.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

fn key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| key(line) == Some(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,data=ordered
23 22 0:21 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=24G
24 22 0:30 / /mnt/a\\040b ro,noatime master:2 propagate_from:1 - btrfs /dev/vdb ro,ssd
25 22 254:0 /etc /run/etc rw - ext4 /dev/vda rw";

    fn kind(device: &str, folder: &str) -> Option<String> {
        mount(MOUNTS, device, Path::new(folder)).map(|mount| mount.kind)
    }

    #[test]
    fn the_deepest_mount_of_the_device_is_found() {
        assert_eq!(kind("254:0", "/home/user").as_deref(), Some("ext4"));
        assert_eq!(kind("0:21", "/dev/shm/x").as_deref(), Some("tmpfs"));
        // A subvolume of btrfs has a device of its own.
        assert_eq!(kind("0:99", "/mnt/a b/c").as_deref(), Some("btrfs"));
        assert_eq!(kind("0:99", "relative"), None);
        let options = mount(MOUNTS, "0:30", Path::new("/mnt/a b")).map(|mount| mount.options);
        assert_eq!(options.as_deref(), Some("ro,noatime ro,ssd"));
    }

    #[test]
    fn processors_and_memory_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu hypervisor\nprocessor\t: 1\n";
        let read = Processor { model: Some("AMD EPYC".to_owned()), count: Some(2) };
        assert_eq!((processor(cpuinfo), under_hypervisor(cpuinfo)), (read, Some(true)));
        assert_eq!(under_hypervisor("Features\t: fp asimd"), None);
        assert_eq!(memory("MemTotal:       16 kB\n", "MemTotal"), Some(16_384));
        assert_eq!(memory("MemTotal:       x kB\n", "MemTotal"), None);
    }

    #[test]
    fn traffic_is_that_of_devices_and_not_of_the_cache() {
        let io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\n";
        assert_eq!(traffic(io), Some(Traffic { read_bytes: 5, written_bytes: 6 }));
        assert_eq!(traffic("rchar: 1"), None);
    }
}
