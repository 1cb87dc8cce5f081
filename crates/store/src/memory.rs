//! What memory and space the host has for us.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use winstead_spec::ByteSize;

use crate::error::{StoreError, io_at};

/// The memory that this process may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostMemory {
    /// All of it, or the lowest cgroup limit.
    pub total: ByteSize,
    /// What can be had now without swapping.
    pub available: ByteSize,
}

/// The host's memory, lowered by the cgroup limits (v1 or v2) of this process and those above it.
///
/// # Errors
/// When `/proc/meminfo` cannot be read or has no total.
pub fn host_memory() -> Result<HostMemory, StoreError> {
    let path = Path::new("/proc/meminfo");
    let text = fs_err::read_to_string(path).map_err(io_at("read", path))?;
    let missing = || io_at("read", path)(std::io::Error::other("no MemTotal"));
    let total = meminfo(&text, "MemTotal").ok_or_else(missing)?;
    let available = meminfo(&text, "MemAvailable").or_else(|| meminfo(&text, "MemFree")).unwrap_or_default();
    let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut memory = (total, available);
    for folder in cgroup_folders(&groups) {
        memory = lowered(memory, &folder);
    }
    Ok(HostMemory { total: ByteSize::from_bytes(memory.0), available: ByteSize::from_bytes(memory.1) })
}

/// The value of one line of `/proc/meminfo`, in bytes; `None` when it is not there.
#[must_use]
pub fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory cgroup's folder and all above it: any of them may limit.
fn cgroup_folders(groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            some if some.split(',').any(|name| name == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        folders.extend(path.ancestors().map(|part| Path::new(root).join(part)));
    }
    folders
}

fn lowered((total, available): (u64, u64), folder: &Path) -> (u64, u64) {
    let number = |name: &str| fs_err::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit v2 says `max`, which is no number; v1 gives a number beyond any memory.
    let Some(limit) = number("memory.max").or_else(|| number("memory.limit_in_bytes")) else {
        return (total, available);
    };
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes")).unwrap_or(0);
    let stat = fs_err::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let room = limit.saturating_sub(used.saturating_sub(reclaimable(&stat)));
    (total.min(limit), available.min(room))
}

/// The page cache that the kernel drops first.
fn reclaimable(stat: &str) -> u64 {
    let value = |key: &str| stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    value("total_inactive_file ").or_else(|| value("inactive_file ")).unwrap_or(0)
}

/// The space that this user may still fill in the folder's file system.
///
/// # Errors
/// When the folder is not there.
pub fn free_space(folder: &Path) -> Result<ByteSize, StoreError> {
    let found = rustix::fs::statvfs(folder).map_err(io_at("measure", folder))?;
    Ok(ByteSize::from_bytes(found.f_bavail * found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_are_bytes() {
        let text = "MemTotal:       24689412 kB\nMemFree: 1 kB\nSwapTotal:             0 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(24_689_412 * 1024));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn every_level_of_both_hierarchies_is_looked_at() {
        let folders = cgroup_folders("5:cpu:/x\n4:hugetlb,memory:/a\n0::/b\n");
        let shown: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
        let expected =
            ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/", "/sys/fs/cgroup/b", "/sys/fs/cgroup/"];
        assert_eq!(shown, expected);
    }
}
