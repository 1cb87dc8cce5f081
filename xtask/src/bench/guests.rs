//! The QEMUs that `winstead up` started, read from `/proc`, and a copy of what they need, so that others can start the
//! same command lines.

use std::{
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};

use crate::{bench::lab::Lab, command::Command, interrupt};

/// One machine's QEMU.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) name: String,
    pub(super) uid: String,
    /// Program and arguments, without `-S`: nobody is there to let it run.
    pub(super) argv: Vec<String>,
    /// The user and group that it runs as.
    pub(super) owner: (u32, u32),
    /// Where its SSH is forwarded from.
    pub(super) port: u16,
    /// Its working folder; its disk and seed lie beside it.
    pub(super) run: PathBuf,
}

/// Copies of guests, in RAM; removed when dropped by [`Copies::remove`].
pub(super) struct Copies {
    folder: PathBuf,
    pub(super) guests: Vec<Guest>,
    disk_bytes: u64,
}

/// The QEMUs of the machines that run now.
///
/// # Errors
/// When one is not found or its command line is not as expected.
pub(super) fn running(lab: &Lab) -> anyhow::Result<Vec<Guest>> {
    let machines = lab.machines()?;
    let guest = |machine: crate::product::Machine| {
        let (name, uid) = (machine.metadata.name, machine.metadata.uid);
        guest(&name, &uid).with_context(|| format!("find the QEMU of {name}"))
    };
    machines.into_iter().map(guest).collect()
}

fn guest(name: &str, uid: &str) -> anyhow::Result<Guest> {
    let pid = pid_of(uid).context("find its process")?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let words = line.split('\0').filter(|word| !word.is_empty() && *word != "-S");
    let argv: Vec<String> = words.map(str::to_owned).collect();
    let status = fs::metadata(format!("/proc/{pid}"))?;
    Ok(Guest {
        port: port_of(&argv).context("find its forwarded port")?,
        name: name.to_owned(),
        uid: uid.to_owned(),
        argv,
        owner: (status.uid(), status.gid()),
        run: fs::read_link(format!("/proc/{pid}/cwd"))?,
    })
}

/// The process whose arguments hold this uuid.
pub(super) fn pid_of(uid: &str) -> Option<i32> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found = pids.filter(|pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == uid.as_bytes())
    });
    found.next()
}

fn port_of(argv: &[String]) -> Option<u16> {
    let rest = argv.iter().find_map(|word| word.split_once("hostfwd=tcp:127.0.0.1:"))?.1;
    rest.split('-').next()?.parse().ok()
}

impl Copies {
    /// Copies what `guests` need into RAM.
    ///
    /// # Errors
    /// When a file cannot be copied.
    pub(super) fn of(lab: &Lab, guests: Vec<Guest>) -> anyhow::Result<Self> {
        let folder = PathBuf::from(format!("/dev/shm/winstead-bench-{}", std::process::id()));
        let mut copies = Self { folder, guests, disk_bytes: 0 };
        let home = lab.product().home();
        for file in shared_files(&copies.guests) {
            copy(&home.join(&file), &copies.folder.join(&file))?;
        }
        if let Some(first) = copies.guests.first() {
            copies.disk_bytes = virtual_size(&first.run.join("../disk/overlay.qcow2"))?;
        }
        for guest in &mut copies.guests {
            let there = copies.folder.join("machines").join(&guest.name);
            copy(&guest.run.join("../seed.tar"), &there.join("seed.tar"))?;
            guest.run = there.join("run");
        }
        copies.renew()?;
        Ok(copies)
    }

    /// Lets all run as this user and group.
    ///
    /// # Errors
    /// When a file cannot be given away.
    pub(super) fn give_to(&mut self, owner: (u32, u32)) -> anyhow::Result<()> {
        for guest in &mut self.guests {
            guest.owner = owner;
            give(&guest.run.with_file_name("seed.tar"), owner)?;
        }
        self.renew()
    }

    /// Fresh working folders and overlays for all.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(super) fn renew(&self) -> anyhow::Result<()> {
        for guest in &self.guests {
            let disk = guest.run.with_file_name("disk");
            for folder in [&guest.run, &disk] {
                remove(folder)?;
                fs::create_dir_all(folder)?;
                give(folder, guest.owner)?;
            }
            let (overlay, size) = (disk.join("overlay.qcow2"), self.disk_bytes.to_string());
            let base = base_of(&guest.argv).context("find the base")?;
            let options = "qemu-img create -q -u -f qcow2 -o extended_l2=on,cluster_size=128k -F qcow2 -b";
            let overlay_text = overlay.display().to_string();
            let rest = [self.folder.join(base).display().to_string(), overlay_text, size];
            let create = Command::new(options.split(' ').map(str::to_owned).chain(rest));
            create.run()?;
            give(&overlay, guest.owner)?;
        }
        Ok(())
    }

    /// The image's copy that all stand on.
    pub(super) fn base(&self, guest: &Guest) -> anyhow::Result<PathBuf> {
        base_of(&guest.argv).map(|base| self.folder.join(base)).context("find the base")
    }

    /// Ends the QEMUs of all, and waits until they are gone.
    ///
    /// # Errors
    /// When one does not end.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        for guest in &self.guests {
            while let Some(pid) = pid_of(&guest.uid) {
                anyhow::ensure!(Instant::now() < until, "QEMU {pid} of {} does not end", guest.name);
                let killed = Pid::from_raw(pid).map_or(Ok(()), |pid| kill_process(pid, Signal::KILL));
                killed.or_else(|error| if error == rustix::io::Errno::SRCH { Ok(()) } else { Err(error) })?;
                interrupt::pause(Duration::from_millis(50)).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Ends the QEMUs and removes the copies.
    ///
    /// # Errors
    /// When something stays.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        self.end()?;
        remove(&self.folder)
    }
}

/// Paths below the home that arguments name, as seen from there.
fn shared_files(guests: &[Guest]) -> Vec<String> {
    const UP: &str = "../../../";
    let paths = guests.iter().flat_map(|guest| &guest.argv).flat_map(|word| word.split(UP).skip(1));
    let mut files: Vec<String> =
        paths.map(|rest| rest.split(['"', ',']).next().unwrap_or(rest).to_owned()).collect();
    files.sort();
    files.dedup();
    files
}

fn base_of(argv: &[String]) -> Option<String> {
    let guests = Guest {
        argv: argv.to_vec(),
        name: String::new(),
        uid: String::new(),
        owner: (0, 0),
        port: 0,
        run: PathBuf::new(),
    };
    shared_files(&[guests]).into_iter().find(|file| file.starts_with("bases/"))
}

fn virtual_size(overlay: &Path) -> anyhow::Result<u64> {
    let overlay = overlay.display().to_string();
    let text = Command::new(["qemu-img", "info", "-U", "--output=json", overlay.as_str()]).read()?;
    let info: serde_json::Value = serde_json::from_str(&text)?;
    info["virtual-size"].as_u64().context("find the disk's size")
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.parent().context("find the folder")?)?;
    let (from, to) = (from.display().to_string(), to.display().to_string());
    Command::new(["cp", "--preserve=mode,ownership", "--", from.as_str(), to.as_str()]).run().map(drop)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn give(path: &Path, (user, group): (u32, u32)) -> anyhow::Result<()> {
    chown(path, Some(user), Some(group)).with_context(|| format!("give {} to user {user}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_ports_are_found_in_a_command_line() {
        let argv = [
            "qemu-system-x86_64",
            "-kernel",
            "../../../images/debian/ab/vmlinux",
            r#"{"driver":"file","filename":"../../../bases/ab/disk.qcow2","aio":"io_uring"}"#,
            "user,id=net0,hostfwd=tcp:127.0.0.1:40022-:22",
        ];
        let argv: Vec<String> = argv.map(str::to_owned).to_vec();
        assert_eq!(port_of(&argv), Some(40022));
        assert_eq!(base_of(&argv).as_deref(), Some("bases/ab/disk.qcow2"));
        let guest = Guest {
            name: String::new(),
            uid: String::new(),
            argv,
            owner: (0, 0),
            port: 0,
            run: PathBuf::new(),
        };
        assert_eq!(
            shared_files(&[guest.clone(), guest]),
            ["bases/ab/disk.qcow2", "images/debian/ab/vmlinux"]
        );
    }
}
