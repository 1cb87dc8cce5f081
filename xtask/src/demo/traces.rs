//! What machines leave in the system while they live, looked for from outside: the product's own word that it cleaned
//! up is not asked.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fs_err as fs;

use crate::{interrupt, product::Machine, report};

/// The supervisor ends with its last machine, but not in the same instant.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to look for.
pub(super) struct Traces {
    home: PathBuf,
    uids: Vec<String>,
    /// Where the disks really are: a tmpfs mounted in the home, or a folder in the system's shared memory.
    disks: Vec<PathBuf>,
}

impl Traces {
    /// The traces of living machines.
    pub(super) fn of(home: &Path, machines: &[Machine]) -> Self {
        let disk = |machine: &Machine| {
            let disk = home.join("machines").join(&machine.metadata.name).join("disk");
            fs::read_link(&disk).unwrap_or(disk)
        };
        Self {
            home: home.to_owned(),
            uids: machines.iter().map(|machine| machine.metadata.uid.clone()).collect(),
            disks: machines.iter().map(disk).collect(),
        }
    }

    /// Waits a moment until nothing is left.
    ///
    /// # Errors
    /// When something is, named.
    pub(super) fn ensure_gone(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = self.left();
            if left.is_empty() {
                report::line("\nlooked for processes, mounts and files of these machines: none is left");
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < until, "left after `down --all`: {}", left.join("; "));
            interrupt::pause(Duration::from_millis(100))?;
        }
    }

    fn left(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted =
            mount_points(&mounts).into_iter().filter(|point| Path::new(point).starts_with(&self.home));
        let files =
            self.disks.iter().filter(|disk| disk.exists()).map(|disk| format!("folder {}", disk.display()));
        let mut left: Vec<String> = mounted.map(|point| format!("mount {point}")).chain(files).collect();
        left.extend(command_lines().into_iter().filter(|(_, line)| self.is_ours(line)).map(shown));
        left
    }

    /// A QEMU carries its machine's uid, the supervisor and a template's keeper their home.
    fn is_ours(&self, command_line: &str) -> bool {
        let home = self.home.display().to_string();
        let mut words = command_line.split('\0');
        let stays = words.any(|word| word == "supervise" || word == "keep") && command_line.contains(&home);
        stays || self.uids.iter().any(|uid| !uid.is_empty() && command_line.contains(uid))
    }
}

/// What the RAM copies of images hold, wherever they are.
pub(super) fn base_bytes(home: &Path) -> u64 {
    fn stored(folder: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(folder) else { return 0 };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let sizes = paths.map(|path| match fs::metadata(&path) {
            Ok(found) if found.is_dir() => stored(&path),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        });
        sizes.sum()
    }
    stored(&home.join("bases"))
}

fn shown((pid, line): (u32, String)) -> String {
    let words: Vec<&str> = line.split('\0').take(4).collect();
    format!("process {pid} ({} …)", words.join(" ").trim_end())
}

fn command_lines() -> Vec<(u32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids =
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let line = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&bytes).into_owned()))
    };
    pids.filter_map(line).collect()
}

/// The fifth field of each line of `/proc/self/mountinfo`, with its octal escapes for spaces undone (proc(5)).
fn mount_points(mountinfo: &str) -> Vec<String> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        let text =
            "36 35 98:0 / /a\\040b/disk rw,noatime - tmpfs winstead:00000000 rw\n22 1 0:1 / / rw - ext4 x rw";
        assert_eq!(mount_points(text), ["/a b/disk", "/"]);
    }

    #[test]
    fn a_qemu_and_the_supervisor_of_this_home_are_ours_and_others_are_not() {
        let uid = "0f8b7c9e-0000-4000-8000-000000000001";
        let traces = Traces { home: "/h/demo".into(), uids: vec![uid.into()], disks: Vec::new() };
        assert!(traces.is_ours(&format!("qemu-system-x86_64\0-uuid\0{uid}\0")));
        assert!(traces.is_ours("/t/winstead\0--home\0/h/demo\0supervise\0"));
        assert!(!traces.is_ours("/t/winstead\0--home\0/h/other\0supervise\0"));
        assert!(!traces.is_ours("vi\0/h/demo/journal\0"));
    }
}
