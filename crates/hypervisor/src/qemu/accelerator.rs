//! How guests run on this computer: by the processor itself (KVM), or translated (TCG).
//!
//! That `/dev/kvm` opens proves nothing, and neither does running firmware: there are hosts whose KVM does both and
//! then stops for ever in a kernel's first instructions. So a kernel is booted, once, and the answer remembered.

use std::{fmt, io, path::Path};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Qemu, Version, kvm};

/// How guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor.
    Kvm,
    /// Translated by QEMU: works everywhere, several times slower.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

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

/// What an answer holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
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

/// Chooses how guests run. `kernel` is a Linux kernel of any image; it is booted under KVM with a time limit, and the
/// answer is remembered in the file `cache` for this host kernel, QEMU and processor (remove the file to ask again).
///
/// Without a kernel the check is weaker, and not remembered: QEMU has to run its firmware under KVM for a second
/// without complaint.
///
/// # Errors
/// When interrupted, or `cache` cannot be written. That KVM does not work is an answer.
pub async fn choose_accelerator(
    qemu: &Qemu,
    cache: &Path,
    kernel: Option<&Path>,
    stop: &CancellationToken,
) -> Result<AcceleratorChoice, AcceleratorError> {
    if let Err(reason) = kvm::device() {
        return Ok(AcceleratorChoice {
            accelerator: Accelerator::Tcg,
            reason: format!("{reason}; guests are translated"),
        });
    }
    let subject = subject(qemu);
    if let Some(choice) = recall(cache, &subject) {
        return Ok(choice);
    }
    let tried = match kernel {
        Some(kernel) => kvm::boot(qemu, kernel, cache, stop).await,
        None => kvm::run_firmware(qemu, stop).await,
    };
    if stop.is_cancelled() {
        return Err(AcceleratorError::Cancelled);
    }
    let choice = match tried? {
        Ok(reason) => AcceleratorChoice { accelerator: Accelerator::Kvm, reason },
        Err(why) => AcceleratorChoice {
            accelerator: Accelerator::Tcg,
            reason: format!("/dev/kvm opens but {why}; guests are translated"),
        },
    };
    if kernel.is_some() {
        remember(cache, &Remembered { subject, choice: choice.clone() })?;
    }
    Ok(choice)
}

fn subject(qemu: &Qemu) -> Subject {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let processors = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Subject { kernel_release: release, qemu: qemu.version, processor: model(&processors).to_owned() }
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
mod tests {
    use super::*;

    fn subject_of(release: &str) -> Subject {
        let qemu = Version { major: 7, minor: 2, micro: 22 };
        Subject { kernel_release: release.to_owned(), qemu, processor: "EPYC".to_owned() }
    }

    #[test]
    fn an_answer_is_recalled_for_its_own_subject_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("accelerator.json");
        let choice =
            AcceleratorChoice { accelerator: Accelerator::Kvm, reason: "a kernel booted".to_owned() };
        assert_eq!(recall(&cache, &subject_of("6.1")), None);
        remember(&cache, &Remembered { subject: subject_of("6.1"), choice: choice.clone() }).unwrap();
        assert_eq!(recall(&cache, &subject_of("6.1")), Some(choice));
        assert_eq!(recall(&cache, &subject_of("6.18")), None);
        fs_err::write(&cache, "{\"subject\":").unwrap();
        assert_eq!(recall(&cache, &subject_of("6.1")), None);
    }

    #[test]
    fn the_processor_is_read() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n"), "AMD EPYC 7B13");
        assert_eq!(model(""), "unknown");
    }
}
