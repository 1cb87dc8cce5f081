//! Whether KVM runs guests here: tried, not asked.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, CommandError, Failure};

use super::{Qemu, launch};

const DEVICE: &str = "/dev/kvm";
/// Until a kernel says its first line: 0.2 s under KVM, 1 s where KVM itself is nested.
const FIRST_LINE_LIMIT: Duration = Duration::from_secs(5);
/// Until it has started as far as it can without a disk: 1 s under KVM.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long firmware must run without complaint, when there is no kernel to boot.
const FIRMWARE_TIME: Duration = Duration::from_secs(1);

/// A kernel's first line.
const FIRST_LINE: &str = "Linux version";
/// A kernel that started and finds no disk ends with this: its processors, timers and drivers worked.
const LAST_LINE: &str = "Kernel panic - not syncing";

/// Whether the device can be used at all, by us and by the user that machines run as; if not, why.
pub(crate) fn device() -> Result<(), String> {
    let Err(error) = File::options().read(true).write(true).open(DEVICE) else { return Ok(()) };
    Err(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{DEVICE} is missing (no virtualisation, or it is switched off in the firmware)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{DEVICE} may not be opened (your user needs the group that owns it)")
        }
        _ => format!("{DEVICE} does not open: {error}"),
    })
}

/// Machines that root starts run as users of their own, which need a group to open the device by.
fn only_root_may_open() -> bool {
    let found = fs_err::metadata(DEVICE).ok();
    let by_others = |mode: u32| mode & 0o006 == 0o006;
    rustix::process::geteuid().is_root()
        && found.is_some_and(|found| found.gid() == 0 && !by_others(found.mode()))
}

/// Boots a kernel without a disk. The inner result is the answer: why KVM works, or why not.
///
/// # Errors
/// When the guest's console has no place beside `cache`.
pub(crate) async fn boot(
    qemu: &Qemu,
    kernel: &Path,
    cache: &Path,
    stop: &CancellationToken,
) -> io::Result<Result<String, String>> {
    let console = cache.with_extension(format!("console-{}", std::process::id()));
    fs_err::write(&console, "")?;
    let trial = stop.child_token();
    let command = trial_command(qemu, Some((kernel, &console))).deadline(START_LIMIT);
    let (ended, saw) = tokio::join!(
        async {
            let ended = command.run(&trial).await;
            trial.cancel();
            ended
        },
        watch(&console, &trial),
    );
    let said = fs_err::read(&console);
    launch::forget(&console)?;
    let text = String::from_utf8_lossy(&said?).into_owned();
    Ok(usable(judge(&text, saw, ended.err().as_ref())))
}

/// A trial's verdict, seen by the user that machines run as.
fn usable(verdict: Result<String, String>) -> Result<String, String> {
    match verdict {
        Ok(_) if only_root_may_open() => {
            Err("belongs to no group that an unprivileged QEMU could join".to_owned())
        }
        Ok(reason) => Ok(reason),
        Err(why) => Err(format!("does not run guests: {why}")),
    }
}

/// Why a watch of the console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    LastLine,
    NoFirstLine,
    Ended,
}

/// Follows the console until it is decided, then ends the trial.
async fn watch(console: &Path, trial: &CancellationToken) -> Saw {
    let begun = Instant::now();
    let saw = loop {
        let text = String::from_utf8_lossy(&fs_err::read(console).unwrap_or_default()).into_owned();
        if text.contains(LAST_LINE) {
            break Saw::LastLine;
        }
        if begun.elapsed() > FIRST_LINE_LIMIT && !text.contains(FIRST_LINE) {
            break Saw::NoFirstLine;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            () = trial.cancelled() => break Saw::Ended,
        }
    };
    trial.cancel();
    saw
}

/// The answer, from what the console and QEMU said. Pure.
fn judge(console: &str, saw: Saw, error: Option<&CommandError>) -> Result<String, String> {
    if saw == Saw::LastLine || console.contains(LAST_LINE) {
        return Ok("a Linux kernel booted under KVM".to_owned());
    }
    let started = console.contains(FIRST_LINE);
    let complaint = error.map(|error| complaint(&error.said)).filter(|said| !said.is_empty());
    let saw = if started {
        "a Linux kernel began to boot and did not get far".to_owned()
    } else if saw == Saw::NoFirstLine {
        format!("a Linux kernel said nothing for {} s", FIRST_LINE_LIMIT.as_secs())
    } else {
        "QEMU ended before a Linux kernel said anything".to_owned()
    };
    Err(match complaint {
        Some(said) => format!("{saw}: {said}"),
        None => saw,
    })
}

/// The sentence of QEMU's last words that says what was wrong.
fn complaint(said: &str) -> String {
    let mut sentences = said.split(" / ").map(|line| line.trim_start_matches("qemu-system-x86_64: ").trim());
    sentences.find(|line| line.contains("error") || line.contains("fail")).unwrap_or_default().to_owned()
}

/// Runs QEMU's firmware under KVM for a moment. Weak: hosts are known whose firmware runs and whose kernels do not.
pub(crate) async fn run_firmware(
    qemu: &Qemu,
    stop: &CancellationToken,
) -> io::Result<Result<String, String>> {
    let ended = trial_command(qemu, None).deadline(FIRMWARE_TIME).run(stop).await;
    Ok(usable(match ended {
        Err(CommandError { failure: Failure::TimedOut(_), said, .. }) if complaint(&said).is_empty() => {
            Ok("firmware runs under KVM; a kernel will be tried when there is an image".to_owned())
        }
        Err(error) if !complaint(&error.said).is_empty() => Err(complaint(&error.said)),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("QEMU ended at once".to_owned()),
    }))
}

fn trial_command(qemu: &Qemu, guest: Option<(&Path, &PathBuf)>) -> Command {
    let command = Command::new(&qemu.binary)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "pc", "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "256M"])
        .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    match guest {
        None => command,
        Some((kernel, console)) => command
            .arg("-kernel")
            .arg(kernel)
            .args(["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"])
            .arg("-serial")
            .arg(format!("file:{}", console.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(said: &str) -> Option<CommandError> {
        Some(CommandError { command: "qemu".to_owned(), failure: Failure::Cancelled, said: said.to_owned() })
    }

    #[test]
    fn only_a_kernel_that_started_proves_kvm() {
        let booted =
            "[    0.000000] Linux version 6.12\n[    0.9] Kernel panic - not syncing: VFS: Unable to mount";
        assert_eq!(judge(booted, Saw::LastLine, None).unwrap(), "a Linux kernel booted under KVM");
        assert_eq!(judge(booted, Saw::Ended, None).unwrap(), "a Linux kernel booted under KVM");
        let silent = judge("SeaBIOS\n", Saw::NoFirstLine, failed("").as_ref());
        assert_eq!(silent.unwrap_err(), "a Linux kernel said nothing for 5 s");
        let begun = judge(
            "Linux version 6.12\n",
            Saw::Ended,
            failed("KVM internal error. Suberror: 1 / RAX=0").as_ref(),
        );
        let expected = "a Linux kernel began to boot and did not get far: KVM internal error. Suberror: 1";
        assert_eq!(begun.unwrap_err(), expected);
    }

    #[test]
    fn qemus_real_last_words_are_cut_to_the_one_that_says_why() {
        let said = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x0 / qemu-system-x86_64: \
                    ../../target/i386/kvm/kvm.c:3098: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.";
        assert_eq!(complaint(said), "error: failed to set MSR 0x10a to 0x0");
        let ended = judge("", Saw::Ended, failed(said).as_ref()).unwrap_err();
        assert_eq!(
            ended,
            "QEMU ended before a Linux kernel said anything: error: failed to set MSR 0x10a to 0x0"
        );
    }
}
