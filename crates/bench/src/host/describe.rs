//! What a host is, for whoever reads a result later.

use std::path::Path;

use rustix::fs::{major, minor};
use winstead_engine::{Engine, EngineError};
use winstead_measurement::contention::{Disk, Host};
use winstead_store::Mounts;

use super::{counters, stack};

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
    stack::whole_disk(Path::new(&format!("/sys/dev/block/{}:{}", major(device), minor(device))))
}

fn disk(folder: &Path) -> Disk {
    let mounts = Mounts::read().unwrap_or_default();
    let mount = mounts.above(existing(folder));
    Disk {
        file_system: mount.map(|mount| mount.kind.clone()),
        options: mount.map(|mount| mount.options.clone()),
        device: device_of(folder),
    }
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

    #[test]
    fn a_folder_that_is_not_there_yet_lies_where_it_will() {
        assert_eq!(existing(Path::new("/proc/no/such/folder")), Path::new("/proc"));
        assert_eq!(device_of(Path::new("/proc")), None, "no block device");
    }
}
