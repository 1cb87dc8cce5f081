//! Devices that the kernel makes of others: LVM, LUKS, md.
//!
//! They pass flushes on and count none, and neither does a partition; only the whole disks below do. A flush goes to all of
//! them at once, so who waits for one waits as long as the disk that takes longest: that one's count stands for them all.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use winstead_measurement::wall::{DiskSample, HostSample};

/// The whole disks under each device that lies on others, by its name.
pub(crate) type Stacks = BTreeMap<String, BTreeSet<String>>;

/// Those of a folder like `/sys/block`; none where it cannot be read.
pub(crate) fn stacks(block: &Path) -> Stacks {
    let names = entries(block).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let stacks = names.map(|name| (name.clone(), disks_under(block, &name)));
    stacks.filter(|(_, disks)| !disks.is_empty()).collect()
}

fn disks_under(block: &Path, name: &str) -> BTreeSet<String> {
    let below = entries(&block.join(name).join("slaves")).filter_map(|entry| whole_disk(&entry.path()));
    let resolved = below.map(|disk| {
        let further = disks_under(block, &disk);
        if further.is_empty() { BTreeSet::from([disk]) } else { further }
    });
    resolved.flatten().collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = fs_err::DirEntry> + use<> {
    fs_err::read_dir(folder).into_iter().flatten().flatten()
}

/// The device that a link in sysfs leads to, the whole one where it is a partition.
pub(crate) fn whole_disk(link: &Path) -> Option<String> {
    let real = fs_err::read_link(link).ok()?;
    // A partition lies in the folder of its disk: `../../devices/pci…/block/vda/vda1`.
    let whole = if link.join("partition").exists() { real.parent()? } else { &real };
    Some(whole.file_name()?.to_string_lossy().into_owned())
}

/// Gives each device that lies on others the flushes of the disk under it that took longest.
pub(crate) fn lend_flushes(sample: &mut HostSample, stacks: &Stacks) {
    let waited = |disk: &DiskSample| disk.flushes_per_second * disk.flush_millis;
    for (name, below) in stacks {
        let below = below.iter().filter_map(|disk| sample.disks.get(disk)).copied();
        let longest = below.max_by(|one, other| waited(one).total_cmp(&waited(other)));
        if let Some((device, longest)) = sample.disks.get_mut(name).zip(longest) {
            device.flushes_per_second = longest.flushes_per_second;
            device.flush_millis = longest.flush_millis;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A computer with `vda` and `vdb` of one partition each, a mirror of both, LUKS on that and LVM on LUKS.
    fn computer() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let folder = |path: &str| fs_err::create_dir_all(root.path().join(path)).expect("a folder");
        let link = |to: &str, at: &str| symlink(to, root.path().join(at)).expect("a link");
        folder("block");
        for disk in ["vda", "vdb"] {
            folder(&format!("devices/{disk}/slaves"));
            folder(&format!("devices/{disk}/{disk}1"));
            fs_err::write(root.path().join(format!("devices/{disk}/{disk}1/partition")), "1")
                .expect("a file");
            link(&format!("../devices/{disk}"), &format!("block/{disk}"));
        }
        for (device, below) in [("md0", "vda/vda1 vdb/vdb1"), ("dm-0", "md0"), ("dm-1", "dm-0 vdb")] {
            folder(&format!("devices/{device}/slaves"));
            link(&format!("../devices/{device}"), &format!("block/{device}"));
            for path in below.split(' ') {
                let name = path.rsplit('/').next().unwrap_or(path);
                link(&format!("../../{path}"), &format!("devices/{device}/slaves/{name}"));
            }
        }
        root
    }

    #[test]
    fn whatever_stands_on_whatever_is_resolved_to_whole_disks() {
        let computer = computer();
        let both = BTreeSet::from(["vda".to_owned(), "vdb".to_owned()]);
        let expected = ["dm-0", "dm-1", "md0"].map(|name| (name.to_owned(), both.clone()));
        assert_eq!(stacks(&computer.path().join("block")), Stacks::from(expected));
        assert_eq!(stacks(Path::new("/no/such/folder")), Stacks::new());
    }

    #[test]
    fn a_device_on_others_has_the_flushes_of_the_slowest_and_its_own_reads_and_writes() {
        let disk = |flushes_per_second, flush_millis, writes_per_second| DiskSample {
            flushes_per_second,
            flush_millis,
            writes_per_second,
            ..DiskSample::default()
        };
        let named = |disks: &[(&str, DiskSample)]| {
            disks.iter().map(|(name, disk)| ((*name).to_owned(), *disk)).collect::<BTreeMap<_, _>>()
        };
        let (fast, slow) = (disk(50.0, 1.0, 60.0), disk(50.0, 12.0, 60.0));
        let disks = named(&[("dm-0", disk(0.0, 0.0, 55.0)), ("vda", fast), ("vdb", slow), ("vdc", slow)]);
        let mut sample = HostSample { disks, ..HostSample::default() };
        let below = BTreeSet::from(["vda".to_owned(), "vdb".to_owned(), "idle".to_owned()]);
        let stacks = ["dm-0", "dm-9"].map(|name| (name.to_owned(), below.clone()));
        lend_flushes(&mut sample, &stacks.into());
        let expected =
            named(&[("dm-0", disk(50.0, 12.0, 55.0)), ("vda", fast), ("vdb", slow), ("vdc", slow)]);
        assert_eq!(sample.disks, expected);
    }
}
