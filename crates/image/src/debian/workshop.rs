//! Where mmdebstrap works: as root inside the building folder; as a normal user in `/var/tmp`, because the users of
//! its name space cannot enter a home folder.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use super::{
    hook,
    leftovers::{self, NOTE},
};
use crate::{build::Building, error::Fault};

/// How mmdebstrap becomes the owner of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// We are root.
    Root,
    /// A user name space with the subordinate ids of `/etc/subuid`.
    Unshare,
}

/// Two folders: one that mmdebstrap unpacks in, and one that its hook makes for what it hands over.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    pub(super) mode: Mode,
    pub(super) scratch: PathBuf,
    pub(super) exchange: PathBuf,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Unshare => "unshare",
        }
    }

    /// mmdebstrap in name spaces of its own. As root it would mount the host's /dev/shm and /sys inside the tree where
    /// everybody sees them; after a kill they would stay, and whoever removed the tree would remove what is in them.
    /// A name space goes away with its first process, and that one with us. (As a normal user it makes its own,
    /// which outlive us; see [`super::leftovers::end_processes`].)
    pub(super) fn command(self) -> Command {
        match self {
            Self::Root => Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child"])
                .args(["--mount-proc", "--propagation", "private", "--", "mmdebstrap"]),
            Self::Unshare => Command::new("mmdebstrap"),
        }
    }
}

impl Workshop {
    /// Makes the scratch folder, and notes both in the building folder for whoever cleans up after a dead build.
    pub(super) fn open(building: &Building<'_>) -> Result<Self, Fault> {
        let workshop = if rustix::process::geteuid().is_root() {
            let (scratch, exchange) = (building.folder.join("scratch"), building.folder.join("exchange"));
            Self { mode: Mode::Root, scratch, exchange }
        } else {
            require_subordinate_ids()?;
            let unique = building.folder.file_name().map(|name| name.to_string_lossy().replace('.', ""));
            let name = format!("winstead-{}", unique.unwrap_or_default());
            let shared = Path::new("/var/tmp");
            Self {
                mode: Mode::Unshare,
                scratch: shared.join(&name),
                exchange: shared.join(format!("{name}-out")),
            }
        };
        let note = format!("{}\n{}\n", workshop.scratch.display(), workshop.exchange.display());
        fs::write(building.folder.join(NOTE), note)?;
        fs::create_dir(&workshop.scratch)?;
        // The users of the name space must pass through; what they make inside is theirs.
        fs::set_permissions(&workshop.scratch, std::fs::Permissions::from_mode(0o755))?;
        Ok(workshop)
    }

    /// Where the hook lies: its user must reach it.
    pub(super) fn hook(&self) -> PathBuf {
        self.scratch.join("hook")
    }

    pub(super) fn write_hook(&self, text: &str) -> Result<(), Fault> {
        fs::write(self.hook(), text)?;
        Ok(fs::set_permissions(self.hook(), std::fs::Permissions::from_mode(0o755))?)
    }

    /// Moves what the hook left into the building folder, ours from then on.
    pub(super) async fn bring_home(&self, building: &Building<'_>) -> Result<(), Fault> {
        for name in
            [hook::DISK, hook::KERNEL, hook::BUSYBOX, hook::BOOT_LOADER, hook::MODULES, hook::PACKAGES]
        {
            let (from, to) = (self.exchange.join(name), building.folder.join(name));
            match self.mode {
                Mode::Root => fs::rename(from, to)?,
                // Another user's file on perhaps another file system. Holes stay holes.
                Mode::Unshare => {
                    let copy = Command::new("cp")
                        .args(["--sparse=always", "--no-preserve=all", "--"])
                        .arg(from)
                        .arg(to);
                    copy.deadline(std::time::Duration::from_secs(300)).run(building.stop).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes both folders.
    pub(super) async fn close(&self, stop: &CancellationToken) -> Result<(), Fault> {
        for folder in [&self.scratch, &self.exchange] {
            leftovers::remove(folder, stop).await?;
        }
        Ok(())
    }
}

/// subuid(5): 65536 ids are what a Debian tree needs.
fn require_subordinate_ids() -> Result<(), Fault> {
    let uid = rustix::process::geteuid().as_raw();
    let name = user_name(&fs::read_to_string("/etc/passwd")?, uid).unwrap_or_else(|| uid.to_string());
    for path in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(path).unwrap_or_default();
        if !has_range(&text, &name, uid) {
            return Err(Fault::NoSubordinateIds { user: name, path });
        }
    }
    Ok(())
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.get(2) == Some(&uid.to_string().as_str())).map(|fields| fields[0].to_owned())
}

fn has_range(text: &str, name: &str, uid: u32) -> bool {
    let uid = uid.to_string();
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).any(|fields| match fields[..] {
        [who, _, count] => {
            (who == name || who == uid) && count.parse::<u64>().is_ok_and(|count| count >= 65536)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_count_by_name_or_number_and_must_be_enough() {
        let passwd = "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ana"));
        assert_eq!(user_name(passwd, 7), None);
        assert!(has_range("bob:100000:65536\nana:165536:65536\n", "ana", 1000));
        assert!(has_range("1000:165536:65536\n", "ana", 1000));
        assert!(!has_range("ana:165536:1000\nbob:1:65536\n", "ana", 1000));
    }
}
