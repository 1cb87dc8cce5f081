//! How guests run on this computer: by the processor itself (KVM), or translated (TCG).
//!
//! That `/dev/kvm` opens proves nothing, and neither does running firmware: there are hosts whose KVM does both and
//! then stops for ever in a kernel's first instructions. So a kernel is booted, once, and the answer remembered.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Accelerator, Qemu, RunAs, Version,
    kvm::{self, Trial},
};

/// How guests run here, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceleratorChoice {
    /// How.
    pub accelerator: Accelerator,
    /// Why, in one line.
    pub reason: String,
}

/// The accelerator could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    /// The trial needs a file for the guest's console, or the answer could not be written down.
    #[error("try the accelerators")]
    Io(#[from] io::Error),
    /// Whoever asked was told to stop.
    #[error("try the accelerators: interrupted")]
    Cancelled,
}

/// Raised when the trial changes, so that older answers do not count.
const TRIAL: u32 = 2;

/// What an answer holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    trial: u32,
    kernel_release: String,
    qemu: Version,
    processor: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    subject: Subject,
    choice: AcceleratorChoice,
}

/// Chooses how guests run, as the user `run_as` (`None`: as us). `kernel` is a Linux kernel of any image; it is booted
/// under KVM with a time limit, and the answer is remembered in the file `cache` for this host kernel, QEMU and
/// processor (remove the file to ask again). Who may open `/dev/kvm` is looked at each time. That KVM does not work is
/// remembered only when the same kernel starts translated: else the kernel, or a swamped host, may be to blame.
///
/// Without a kernel, and when nothing is remembered, the check is weaker, and not remembered: QEMU has to run its
/// firmware under KVM for a second without complaint. Guests that bring no kernel would be several times slower
/// otherwise.
///
/// # Errors
/// When interrupted, or `cache` cannot be written. That KVM does not work is an answer.
///
/// Cancel safety: cancel `stop`; dropping the future may leave a trial running until this process ends.
pub async fn choose_accelerator(
    qemu: &Qemu,
    run_as: Option<&RunAs>,
    kernel: Option<&Path>,
    cache: &Path,
    stop: &CancellationToken,
) -> Result<AcceleratorChoice, AcceleratorError> {
    match kvm::device(run_as) {
        Ok(()) => choose(&Trial::new(qemu, run_as), kernel, cache, stop).await,
        Err(why) => Ok(translated(&why)),
    }
}

async fn choose(
    trial: &Trial<'_>,
    kernel: Option<&Path>,
    cache: &Path,
    stop: &CancellationToken,
) -> Result<AcceleratorChoice, AcceleratorError> {
    let subject = subject(trial.qemu);
    if let Some(choice) = recall(cache, &subject) {
        return Ok(choice);
    }
    let Some(kernel) = kernel else {
        return Ok(choice(uninterrupted(trial.run_firmware(stop).await, stop)?));
    };
    let tried = uninterrupted(trial.boot(kernel, stop).await, stop)?;
    if tried.is_err() && !uninterrupted(trial.begins_translated(kernel, stop).await, stop)? {
        return Ok(choice(tried.map_err(|why| {
            format!("{why} (the kernel did not start translated either, so this is tried again next time)")
        })));
    }
    let choice = choice(tried);
    remember(cache, &Remembered { subject, choice: choice.clone() })?;
    Ok(choice)
}

/// What came out of a trial, unless somebody ended it.
fn uninterrupted<T>(tried: io::Result<T>, stop: &CancellationToken) -> Result<T, AcceleratorError> {
    if stop.is_cancelled() { Err(AcceleratorError::Cancelled) } else { Ok(tried?) }
}

fn choice(tried: Result<String, String>) -> AcceleratorChoice {
    match tried {
        Ok(reason) => AcceleratorChoice { accelerator: Accelerator::Kvm, reason },
        Err(why) => translated(&format!("/dev/kvm opens but does not run guests: {why}")),
    }
}

fn translated(why: &str) -> AcceleratorChoice {
    AcceleratorChoice { accelerator: Accelerator::Tcg, reason: format!("{why}; guests are translated") }
}

fn subject(qemu: &Qemu) -> Subject {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let processors = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Subject {
        trial: TRIAL,
        kernel_release: release,
        qemu: qemu.version,
        processor: model(&processors).to_owned(),
    }
}

fn model(processors: &str) -> &str {
    let line = processors.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim())
}

/// A file that is missing, unreadable or of another subject is no answer.
fn recall(cache: &Path, subject: &Subject) -> Option<AcceleratorChoice> {
    let remembered: Remembered = serde_json::from_slice(&fs_err::read(cache).ok()?).ok()?;
    (remembered.subject == *subject).then_some(remembered.choice)
}

fn remember(cache: &Path, remembered: &Remembered) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(remembered).map_err(io::Error::other)?;
    let half = cache.with_extension("half");
    fs_err::write(&half, text)?;
    fs_err::rename(&half, cache)
}

#[cfg(test)]
#[path = "accelerator_tests.rs"]
mod tests;
