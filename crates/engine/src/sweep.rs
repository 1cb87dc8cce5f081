//! Finding and removing what no machine needs any more.

use std::path::{Path, PathBuf};

use winstead_process::ProcessId;
use winstead_store::{Location, Placement};

use crate::{
    Home, MachineRecord,
    journal::{Shared, Snapshot},
};
use winstead_spec::{Bridge, MachineName, Network, StoreKind};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whether a machine stands on something shared.
pub(crate) fn uses(record: &MachineRecord, shared: &Shared) -> bool {
    match shared {
        Shared::Base(base) => {
            record.shape.disk.store == StoreKind::Ram
                && base.folder.file_name().is_some_and(|name| name == record.image.digest.short())
        }
        Shared::Bridge(bridge) => {
            matches!(&record.network, Network::Bridge(Bridge::Own { name, .. }) if *name == bridge.name)
        }
    }
}

/// Removes the folders that held the overlays of machines that are all gone. Only empty ones: what else lies there
/// is not ours.
pub(crate) fn shared_folders(before: &Snapshot) -> std::io::Result<()> {
    for entry in before.machines.values() {
        let (Placement::SharedRam { folder } | Placement::Folder { folder }) =
            &entry.record.location.placement
        else {
            continue;
        };
        match fs_err::remove_dir(folder) {
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Machine folders of this home that the journal does not know: it was lost, or the power was.
pub(crate) fn strays(home: &Home, known: &Snapshot) -> Vec<MachineName> {
    let Ok(folders) = fs_err::read_dir(home.machines()) else { return Vec::new() };
    let names = folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    names.filter(|name| !known.machines.contains_key(name)).collect()
}

/// Ends the processes that work in a stray machine's folder, unmounts its disk and deletes it.
pub(crate) async fn remove(home: &Home, name: &MachineName) -> Result<(), Failure> {
    let folder = home.machine(name);
    for process in working_in(&folder) {
        process.kill()?;
        while process.is_alive() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let disk = folder.join("disk");
    let placement = match fs_err::read_link(&disk) {
        Ok(target) => Placement::Folder { folder: target.parent().map_or_else(PathBuf::new, Path::to_owned) },
        Err(_) => Placement::OwnTmpfs,
    };
    // The journal, which knew the tag, is lost; the place inside our own home says whose the mount is.
    let tag = winstead_store::tag_at(&disk)?.unwrap_or_default();
    winstead_store::remove(&Location { placement, disk, tag, name: name.to_string() }).await?;
    Ok(fs_err::remove_dir_all(&folder)?)
}

/// Processes whose working folder lies in `folder`: QEMU and its TPM run there, nothing else does.
fn working_in(folder: &Path) -> Vec<ProcessId> {
    let Ok(processes) = fs_err::read_dir("/proc") else { return Vec::new() };
    let here = |entry: &fs_err::DirEntry| {
        fs_err::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let pids = processes.flatten().filter(here).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(ProcessId::of).collect()
}
