//! What a host is, for whoever reads a result later.

use std::path::Path;

use rustix::fs::{major, minor};
use winstead_engine::{Engine, EngineError};
use winstead_measurement::contention::{Disk, Host};

use super::counters;

/// This computer, with what machines' disks lie on when they lie in `folder`, which need not be there yet.
///
/// # Errors
/// When the home cannot be read.
pub async fn host(engine: &Engine, folder: &Path) -> Result<Host, EngineError> {
    let status = engine.hosts().await?.items.into_iter().next().map(|host| host.status);
    let qemu = status.as_ref().map(|status| &status.qemu);
    let accelerator = qemu.and_then(|qemu| qemu.accelerator).map(|accelerator| accelerator.to_string());
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(Host {
        cpu_model: cpu_model(&read("/proc/cpuinfo")),
        cpus: counters::cores(&read("/proc/stat")),
        memory_bytes: status.as_ref().map_or(0, |status| status.memory_total_bytes),
        kernel,
        qemu: qemu.and_then(|qemu| qemu.version.clone()).unwrap_or_default(),
        accelerator: accelerator.unwrap_or_default(),
        disk: disk(folder),
    })
}

/// The block device that a folder lies on, as `/proc/diskstats` names it, the whole one where it is a partition; `None`
/// where it lies on several, or on none.
#[must_use]
pub fn device_of(folder: &Path) -> Option<String> {
    let device = rustix::fs::stat(existing(folder)).ok()?.st_dev;
    let path = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let real = fs_err::read_link(&path).ok()?;
    // A partition lies in the folder of its disk: `../../devices/pci…/block/vda/vda1`.
    let whole = if Path::new(&path).join("partition").exists() { real.parent()? } else { &real };
    Some(whole.file_name()?.to_string_lossy().into_owned())
}

fn disk(folder: &Path) -> Disk {
    let mount = mount(&read("/proc/self/mountinfo"), existing(folder));
    let (file_system, options) = mount.unzip();
    Disk { file_system, options, device: device_of(folder) }
}

/// Type and options of the mount that a folder is in: the deepest above it, and of several there the last.
fn mount(mountinfo: &str, folder: &Path) -> Option<(String, String)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?.to_owned(), after.nth(1)?.to_owned());
        let point = Path::new(&point);
        folder.starts_with(point).then(|| (point.components().count(), (kind, options)))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, mount)| mount)
}

/// The folder itself, or the nearest one above it that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"))
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(path: &str) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,data=ordered
23 22 0:21 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=24G
24 22 0:30 / /mnt/a\\040b ro - btrfs /dev/vdb ro,ssd";

    #[test]
    fn the_deepest_mount_above_a_folder_is_its_own() {
        let at = |folder: &str| mount(MOUNTS, Path::new(folder)).map(|(kind, _)| kind);
        assert_eq!(at("/home/x").as_deref(), Some("ext4"));
        assert_eq!(at("/dev/shm/x").as_deref(), Some("tmpfs"));
        assert_eq!(at("/mnt/a b/c").as_deref(), Some("btrfs"));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_it_will() {
        assert_eq!(existing(Path::new("/proc/no/such/folder")), Path::new("/proc"));
        assert_eq!(device_of(Path::new("/proc")), None, "no block device");
    }
}
