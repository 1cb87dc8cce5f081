//! A group of the kernel's own for one process and all that it starts: cgroup version 2 where it is, else the memory, pids
//! and cpu hierarchies of version 1. Only limits need one: moving a
//! process into a group makes the kernel wait for all its CPUs, 11 ms on the computer where this was measured, and a keeper
//! finds all that its program started without it.
//!
//! Under systemd the unit says `Delegate=yes` and `DelegateSubgroup=agent`: only a group without processes of its own can
//! hand controllers to its children, so the agent sits in `agent`, and processes beside it.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::supervision::{KeeperFailure, record::Launch};

const PERIOD_US: u64 = 100_000;

/// What a process is in. Removed when nothing is left in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) folders: Vec<PathBuf>,
    kill: Option<PathBuf>,
}

/// A hierarchy, and where this process is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Of version 1; empty: version 2.
    controllers: Vec<String>,
    place: PathBuf,
}

/// One file of a limit.
type Limit = (&'static str, &'static str, String);

impl Group {
    /// Makes one for the process called `id`.
    ///
    /// # Errors
    /// When a limit is asked for that cannot be enforced here. Nothing is left then.
    pub(crate) fn create(id: &str, launch: &Launch) -> Result<Self, KeeperFailure> {
        if launch.memory_bytes.is_none() && launch.processes.is_none() && launch.cpu_milli.is_none() {
            return Ok(Self::default());
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let all = hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let mut group = Self::default();
        let made = group.fill(id, launch, &all);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    fn fill(&mut self, id: &str, launch: &Launch, all: &[Hierarchy]) -> Result<(), KeeperFailure> {
        let unified = all.iter().find(|hierarchy| hierarchy.controllers.is_empty());
        if let Some(unified) = unified {
            match self.unified(id, launch, &unified.place) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "no cgroup of version 2"),
            }
        }
        for (controller, file, value) in old_limits(launch) {
            let folder = all
                .iter()
                .find(|hierarchy| hierarchy.controllers.iter().any(|have| have == controller))
                .map(|hierarchy| hierarchy.place.join(name(id)))
                .ok_or_else(|| KeeperFailure::Limit(format!("there is no cgroup controller {controller}")))?;
            let set = || {
                fs::create_dir_all(&folder)?;
                fs::write(folder.join(file), value)
            };
            let outcome = set();
            if !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
            outcome.map_err(|error| KeeperFailure::Limit(error.to_string()))?;
        }
        self.limit_old_swap(launch);
        Ok(())
    }

    /// Memory and swap together are no more than memory alone, where the kernel counts swap.
    fn limit_old_swap(&self, launch: &Launch) {
        let Some(bytes) = launch.memory_bytes else { return };
        let files = self.folders.iter().map(|folder| folder.join("memory.memsw.limit_in_bytes"));
        for file in files.filter(|file| file.exists()) {
            if let Err(error) = fs::write(file, bytes.to_string()) {
                tracing::debug!(%error, "swap is not limited");
            }
        }
    }

    /// Whether all limits are enforced by it.
    fn unified(&mut self, id: &str, launch: &Launch, own: &Path) -> io::Result<bool> {
        let base = if own.ends_with("agent") { own.parent().unwrap_or(own) } else { own };
        let folder = base.join(name(id));
        fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        let kill = folder.join("cgroup.kill");
        self.kill = kill.exists().then_some(kill);
        for (controller, file, value) in limits(launch) {
            if !folder.join(file).exists() {
                let hand_on = fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
                if hand_on.is_err() {
                    return Ok(false);
                }
            }
            fs::write(folder.join(file), value)?;
        }
        if launch.memory_bytes.is_some()
            && let Err(error) = fs::write(folder.join("memory.swap.max"), "0")
        {
            tracing::debug!(%error, "swap is not limited");
        }
        Ok(true)
    }

    /// Kills all that is in it, where the kernel can do that at once.
    pub(crate) fn kill(&self) {
        if let Some(kill) = &self.kill
            && let Err(error) = fs::write(kill, "1")
        {
            tracing::debug!(%error, "a cgroup was not killed");
        }
    }

    /// Removes it; nothing may be left in it.
    pub(crate) fn remove(&self) {
        remove(&self.folders);
    }
}

/// Removes groups that are empty.
pub(crate) fn remove(folders: &[PathBuf]) {
    for folder in folders {
        if let Err(error) = fs::remove_dir(folder) {
            tracing::debug!(%error, "a cgroup stays");
        }
    }
}

fn name(id: &str) -> String {
    format!("winstead-{id}")
}

fn limits(launch: &Launch) -> Vec<Limit> {
    let memory = launch.memory_bytes.map(|bytes| ("memory", "memory.max", bytes.to_string()));
    let processes = launch.processes.map(|count| ("pids", "pids.max", count.to_string()));
    let cpu = launch.cpu_milli.map(|milli| ("cpu", "cpu.max", format!("{} {PERIOD_US}", quota(milli))));
    [memory, processes, cpu].into_iter().flatten().collect()
}

fn old_limits(launch: &Launch) -> Vec<Limit> {
    let memory = launch.memory_bytes.map(|bytes| ("memory", "memory.limit_in_bytes", bytes.to_string()));
    let processes = launch.processes.map(|count| ("pids", "pids.max", count.to_string()));
    let cpu = launch.cpu_milli.map(|milli| ("cpu", "cpu.cfs_quota_us", quota(milli).to_string()));
    [memory, processes, cpu].into_iter().flatten().collect()
}

/// The kernel takes no less than a millisecond.
fn quota(milli: u32) -> u64 {
    (u64::from(milli) * PERIOD_US / 1000).max(1000)
}

/// Where this process is, of `/proc/self/cgroup` and `/proc/self/mountinfo`: `ID:CONTROLLERS:PATH`, and a mount's root
/// (field 4), point (5), and after ` - ` its type and options.
pub(crate) fn hierarchies(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let places: Vec<(Vec<String>, PathBuf)> = groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
            Some((controllers.collect(), PathBuf::from(fields.next()?)))
        })
        .collect();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let mount: Vec<&str> = mount.split(' ').collect();
        let kind: Vec<&str> = kind.split(' ').collect();
        let ([_, _, _, root, point, ..], [kind, _, options, ..]) = (&mount[..], &kind[..]) else { continue };
        let own = places.iter().find(|(controllers, _)| match *kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => controllers.first().is_some_and(|name| options.split(',').any(|have| have == name)),
            _ => false,
        });
        let Some((controllers, path)) = own else { continue };
        let Ok(inner) = path.strip_prefix(root) else { continue };
        found.push(Hierarchy { controllers: controllers.clone(), place: Path::new(point).join(inner) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited() -> Launch {
        let limits = crate::access::Limits {
            memory: Some(winstead_spec::ByteSize::from_mib(64)),
            processes: Some(4),
            cpu_milli: Some(250),
        };
        Launch::new(&crate::supervision::Order { limits, ..Default::default() }, None)
    }

    /// A folder that plays the kernel's, with the agent in a group of its own as its unit has it.
    fn played() -> (tempfile::TempDir, Vec<Hierarchy>) {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("agent");
        fs::create_dir(&place).expect("a folder");
        (folder, vec![Hierarchy { controllers: Vec::new(), place }])
    }

    #[test]
    fn in_version_2_a_group_beside_the_agents_has_all_limits() {
        let (folder, all) = played();
        let mut group = Group::default();
        group.fill("7", &limited(), &all).expect("it plays along");
        let own = folder.path().join("winstead-7");
        assert_eq!(group.folders, std::slice::from_ref(&own));
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.swap.max", "0"),
            ("pids.max", "4"),
            ("cpu.max", "25000 100000"),
        ] {
            assert_eq!(fs::read_to_string(own.join(file)).expect(file), value, "{file}");
        }
        let handed_on = fs::read_to_string(folder.path().join("cgroup.subtree_control"));
        assert_eq!(handed_on.expect("it was asked for"), "+cpu", "each controller, the last one last");
    }

    #[test]
    fn a_limit_that_no_version_enforces_is_refused_and_leaves_nothing() {
        let (folder, all) = played();
        // Nothing can be handed on: as in a group that has processes of its own.
        fs::create_dir(folder.path().join("cgroup.subtree_control")).expect("a folder");
        let mut group = Group::default();
        let refused = group.fill("7", &limited(), &all);
        assert!(matches!(refused, Err(KeeperFailure::Limit(why)) if why.contains("controller memory")));
        group.remove();
        assert!(!folder.path().join("winstead-7").exists());
    }

    #[test]
    fn in_version_1_each_controller_has_a_group_with_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let all: Vec<Hierarchy> = ["memory", "pids", "cpu"]
            .map(|name| Hierarchy { controllers: vec![name.to_owned()], place: folder.path().join(name) })
            .into();
        // Only where the kernel counts swap.
        let memory = folder.path().join("memory/winstead-7");
        fs::create_dir_all(&memory).expect("a folder");
        fs::write(memory.join("memory.memsw.limit_in_bytes"), "").expect("it is written");
        let mut group = Group::default();
        group.fill("7", &limited(), &all).expect("it plays along");
        for (file, value) in [
            ("memory/winstead-7/memory.limit_in_bytes", "67108864"),
            ("memory/winstead-7/memory.memsw.limit_in_bytes", "67108864"),
            ("pids/winstead-7/pids.max", "4"),
            ("cpu/winstead-7/cpu.cfs_quota_us", "25000"),
        ] {
            assert_eq!(fs::read_to_string(folder.path().join(file)).expect(file), value, "{file}");
        }
    }

    #[test]
    fn a_process_finds_its_place_in_both_versions_and_below_a_mount_of_a_part() {
        let groups =
            "4:memory:/api/7\n1:cpu,cpuacct:/\n9:name=systemd:/\n0::/system.slice/winstead.service/agent\n";
        let mounts = "\
            31 24 0:27 / /sys/fs/cgroup/cpu rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
            34 24 0:30 /api /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            40 24 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            41 24 0:36 / /tmp rw - tmpfs tmpfs rw\n";
        let found = hierarchies(groups, mounts);
        let place =
            |path: &str| found.iter().find(|one| one.place == Path::new(path)).map(|one| &one.controllers);
        assert_eq!(place("/sys/fs/cgroup/memory/7"), Some(&vec!["memory".to_owned()]));
        assert!(place("/sys/fs/cgroup/cpu/").is_some_and(|controllers| controllers.len() == 2));
        assert_eq!(place("/sys/fs/cgroup/unified/system.slice/winstead.service/agent"), Some(&Vec::new()));
        assert_eq!(found.len(), 3);
    }
}
