//! Whether KVM runs guests here: tried, not asked.
//!
//! The kernel on trial is an image's, and what is in an image is not trusted: its QEMU is launched like a machine's, as
//! a machine's user and without our environment. It says everything into a file without a name, and dies with us.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::{process::Child, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Accelerator, Qemu, RunAs,
    launch::{self, SANDBOX},
};

const DEVICE: &str = "/dev/kvm";
/// Until firmware has run long enough without complaint, when there is no kernel to boot.
const FIRMWARE_TIME: Duration = Duration::from_secs(1);
/// How often a trial is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// For the kernel to take a killed trial's memory back.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// A kernel without a disk says 30 KiB. One that says more than this is none.
const OUTPUT_LIMIT: usize = 1024 * 1024;

/// A kernel's first line.
const FIRST_LINE: &str = "Linux version";
const PANIC: &str = "Kernel panic - not syncing: ";
/// How a kernel ends that started and finds no disk: its processors, timers and drivers worked. Other panics prove the
/// opposite, as "IO-APIC + timer doesn't work!" does.
const NO_DISK: [&str; 3] =
    ["VFS: Unable to mount root fs", "No working init found", "Attempted to kill init"];

/// How long a trial may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Until a kernel says its first line: 0.2 s under KVM, 1 s where KVM itself is nested, and translated.
    pub(crate) first_line: Duration,
    /// From there until it has started as far as it can without a disk: 1 s under KVM.
    pub(crate) start: Duration,
}

/// A trial of KVM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) qemu: &'a Qemu,
    pub(crate) run_as: Option<&'a RunAs>,
    pub(crate) limits: Limits,
}

/// Whether the device can be used at all, by us and by the user that machines run as; if not, why.
pub(crate) fn device(run_as: Option<&RunAs>) -> Result<(), String> {
    let opened = File::options().read(true).write(true).open(DEVICE);
    let found = opened.and_then(|device| device.metadata()).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{DEVICE} is missing (no virtualisation, or it is switched off in the firmware)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{DEVICE} may not be opened (your user needs the group that owns it)")
        }
        _ => format!("{DEVICE} does not open: {error}"),
    })?;
    if run_as.is_none_or(|user| may_open(user, found.mode(), found.gid())) {
        return Ok(());
    }
    Err(format!("{DEVICE} opens for root only and belongs to no group that an unprivileged QEMU could join"))
}

/// Whether a user without a name may read and write a file of somebody else's. Pure.
fn may_open(user: &RunAs, mode: u32, group: u32) -> bool {
    let member = user.gid == group || user.groups.contains(&group);
    let needed = if member { 0o060 } else { 0o006 };
    mode & needed == needed
}

impl<'a> Trial<'a> {
    pub(crate) fn new(qemu: &'a Qemu, run_as: Option<&'a RunAs>) -> Self {
        let limits = Limits { first_line: Duration::from_secs(5), start: Duration::from_secs(20) };
        Self { qemu, run_as, limits }
    }

    /// Boots a kernel without a disk under KVM. The inner result is the answer: why KVM works, or why not.
    ///
    /// # Errors
    /// When the trial cannot be started or followed.
    pub(crate) async fn boot(
        &self,
        kernel: &Path,
        stop: &CancellationToken,
    ) -> io::Result<Result<String, String>> {
        let mut attempt = self.start(Accelerator::Kvm, Some(kernel))?;
        let seen = self.follow(&mut attempt, |heard| matches!(heard, Heard::Panic(_)), stop).await;
        attempt.end().await?;
        let (said, ended) = seen?;
        Ok(judge(&said, ended, self.limits.first_line))
    }

    /// Whether the same kernel says its first line in time when it is translated: then kernel, QEMU and host are well.
    ///
    /// # Errors
    /// As [`Trial::boot`].
    pub(crate) async fn begins_translated(
        &self,
        kernel: &Path,
        stop: &CancellationToken,
    ) -> io::Result<bool> {
        let mut attempt = self.start(Accelerator::Tcg, Some(kernel))?;
        let seen = self.follow(&mut attempt, |heard| *heard != Heard::Nothing, stop).await;
        attempt.end().await?;
        Ok(heard(&seen?.0) != Heard::Nothing)
    }

    /// Runs QEMU's firmware under KVM for a moment. Weak: hosts are known whose firmware runs and whose kernels do not.
    ///
    /// # Errors
    /// As [`Trial::boot`].
    pub(crate) async fn run_firmware(&self, stop: &CancellationToken) -> io::Result<Result<String, String>> {
        let mut attempt = self.start(Accelerator::Kvm, None)?;
        let ended = tokio::select! {
            ended = attempt.child.wait() => Some(ended),
            () = tokio::time::sleep(FIRMWARE_TIME) => None,
            () = stop.cancelled() => None,
        };
        let said = attempt.said();
        attempt.end().await?;
        Ok(match (complaint(&said?), ended.transpose()?) {
            (Some(said), _) => Err(said),
            (None, Some(status)) => Err(format!("QEMU ended at once ({status})")),
            (None, None) => {
                Ok("firmware runs under KVM; a kernel will be tried when there is an image".to_owned())
            }
        })
    }

    fn start(&self, accelerator: Accelerator, kernel: Option<&Path>) -> io::Result<Attempt> {
        // From its own folder: the machines' user may not cross those above the home.
        let (folder, kernel) = match kernel.map(|kernel| (kernel.parent(), kernel.file_name())) {
            Some((Some(folder), Some(name))) => (folder, Some(name.to_string_lossy())),
            _ => (Path::new("/"), None),
        };
        let arguments = arguments(accelerator, kernel.as_deref());
        let output = File::from(memfd_create("winstead-trial", MemfdFlags::CLOEXEC)?);
        let command = launch::bound_command(&self.qemu.binary, &arguments, self.run_as, folder);
        let child = command.start_detached(&output).map_err(io::Error::other)?;
        Ok(Attempt { child, output })
    }

    /// Follows an attempt until `enough` was heard, its time is up, or it ended; returns what it said, and whether it
    /// ended by itself.
    async fn follow(
        &self,
        attempt: &mut Attempt,
        enough: impl Fn(&Heard) -> bool,
        stop: &CancellationToken,
    ) -> io::Result<(String, bool)> {
        let begun = Instant::now();
        let mut first_line = None;
        loop {
            // Asked before its output is read: that of one that ended is whole.
            let ended = attempt.child.try_wait()?.is_some();
            let said = attempt.said()?;
            let heard = heard(&said);
            if heard != Heard::Nothing {
                first_line.get_or_insert_with(Instant::now);
            }
            let late = match first_line {
                None => begun.elapsed() > self.limits.first_line,
                Some(at) => at.elapsed() > self.limits.start,
            };
            let full = said.len() >= OUTPUT_LIMIT;
            if ended || late || full || enough(&heard) || stop.is_cancelled() {
                return Ok((said, ended));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// A QEMU on trial, and all that it and its guest say.
struct Attempt {
    child: Child,
    output: File,
}

impl Attempt {
    /// What was said so far, at most [`OUTPUT_LIMIT`] bytes.
    fn said(&self) -> io::Result<String> {
        let mut bytes =
            vec![0; OUTPUT_LIMIT.min(usize::try_from(self.output.metadata()?.len()).unwrap_or(0))];
        let mut read = 0;
        while read < bytes.len() {
            match self.output.read_at(&mut bytes[read..], read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn end(mut self) -> io::Result<()> {
        match tokio::time::timeout(KILL_GRACE, self.child.kill()).await {
            // One that ended already was reaped.
            Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
            Ok(_) => Ok(()),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "a trial of KVM does not end, even killed"))
            }
        }
    }
}

/// How far a kernel has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    FirstLine,
    Panic(String),
}

/// How far a kernel has come, from its console. Pure.
fn heard(console: &str) -> Heard {
    // A line that has no end yet may go on.
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    if let Some((_, panic)) = whole.split_once(PANIC) {
        return Heard::Panic(panic.lines().next().unwrap_or_default().trim_end().to_owned());
    }
    if console.contains(FIRST_LINE) { Heard::FirstLine } else { Heard::Nothing }
}

/// The answer, from what the guest and QEMU said. Pure.
fn judge(said: &str, ended: bool, limit: Duration) -> Result<String, String> {
    let saw = match heard(said) {
        Heard::Panic(panic) if NO_DISK.iter().any(|expected| panic.starts_with(expected)) => {
            return Ok("a Linux kernel booted under KVM".to_owned());
        }
        Heard::Panic(panic) => format!("a Linux kernel panicked: {PANIC}{panic}"),
        Heard::FirstLine => "a Linux kernel began to boot and did not get far".to_owned(),
        Heard::Nothing if ended => "QEMU ended before a Linux kernel said anything".to_owned(),
        Heard::Nothing => format!("a Linux kernel said nothing for {} s", limit.as_secs()),
    };
    Err(match complaint(said) {
        Some(complaint) => format!("{saw}: {complaint}"),
        None => saw,
    })
}

/// The sentence of QEMU's, or of those who launch it, that says what was wrong.
fn complaint(said: &str) -> Option<String> {
    said.lines().find_map(|line| {
        let of_qemu = line.split_once("qemu-system-x86_64: ").map(|(_, words)| words);
        let of_qemu = of_qemu.filter(|words| words.contains("error") || words.contains("fail"));
        let other =
            || ["KVM internal error", "setpriv: ", "env: "].iter().any(|start| line.starts_with(start));
        of_qemu.or_else(|| other().then_some(line)).map(|words| words.trim().to_owned())
    })
}

fn arguments(accelerator: Accelerator, kernel: Option<&str>) -> Vec<String> {
    let accelerator_name = accelerator.to_string();
    let processor = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "qemu64",
    };
    let mut arguments = vec!["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"];
    arguments.extend(["-machine", "pc", "-accel", &accelerator_name, "-cpu", processor]);
    arguments.extend(["-smp", "1", "-m", "256M", "-sandbox", SANDBOX]);
    if let Some(kernel) = kernel {
        arguments.extend(["-kernel", kernel, "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"]);
        arguments.extend(["-serial", "stdio"]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn only_a_kernel_that_misses_nothing_but_its_disk_proves_kvm() {
        let booted =
            "[    0.000000] Linux version 6.12\r\n[    0.9] Kernel panic - not syncing: VFS: Unable to mount";
        let line_ended = format!("{booted} root fs on unknown-block(0,0)\r\n");
        assert_eq!(judge(&line_ended, false, LIMIT).unwrap(), "a Linux kernel booted under KVM");
        assert_eq!(judge(&line_ended, true, LIMIT).unwrap(), "a Linux kernel booted under KVM");
        assert!(judge(booted, false, LIMIT).is_err(), "half a line may go on in any way");
        for panic in ["Fatal exception in interrupt", "IO-APIC + timer doesn't work!  Boot with apic=debug"] {
            let said = format!("Linux version 6.12\n[    0.4] Kernel panic - not syncing: {panic}\r\n");
            let expected = format!("a Linux kernel panicked: Kernel panic - not syncing: {panic}");
            assert_eq!(judge(&said, true, LIMIT).unwrap_err(), expected);
        }
        assert_eq!(judge("SeaBIOS\n", false, LIMIT).unwrap_err(), "a Linux kernel said nothing for 5 s");
        let begun = judge("Linux version 6.12\nKVM internal error. Suberror: 1\nRAX=0\n", false, LIMIT);
        let expected = "a Linux kernel began to boot and did not get far: KVM internal error. Suberror: 1";
        assert_eq!(begun.unwrap_err(), expected);
    }

    #[test]
    fn qemus_real_last_words_are_cut_to_the_one_that_says_why() {
        let said = "qemu-system-x86_64: warning: host doesn't support requested feature\nguest: an error\n\
                    Booting from ROM..qemu-system-x86_64: error: failed to set MSR 0x10a to 0x0\nqemu-system-x86_64: \
                    ../../target/i386/kvm/kvm.c:3098: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.\n";
        assert_eq!(complaint(said).unwrap(), "error: failed to set MSR 0x10a to 0x0");
        assert_eq!(
            judge(said, true, LIMIT).unwrap_err(),
            "QEMU ended before a Linux kernel said anything: error: failed to set MSR 0x10a to 0x0"
        );
        assert_eq!(complaint("guest: an error\n"), None);
    }

    #[test]
    fn a_machines_user_opens_the_device_by_a_group_or_like_everybody() {
        let user = |groups: &[u32]| RunAs { uid: 2_013_265_920, gid: 2_013_265_920, groups: groups.to_vec() };
        assert!(may_open(&user(&[108]), 0o660, 108));
        assert!(may_open(&user(&[]), 0o666, 0));
        assert!(!may_open(&user(&[]), 0o660, 108), "its group is none of the user's");
        assert!(!may_open(&user(&[]), 0o600, 0));
        assert!(!may_open(&user(&[108]), 0o606, 108), "the kernel asks the group first");
    }
}
