//! Programs that tests run as a counterpart: those of the host's own distribution, without installing them.

use std::{
    env::consts::ARCH,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use crate::{apt, kept};

/// The packages of all programs that tests ask for.
const PACKAGES: &[&str] = &["openssh-server", "qemu-guest-agent"];
/// The packages that are installed here.
const INSTALLED: &str = "/var/lib/dpkg/status";

/// A program, installed or only unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What stands for `/` where it was only unpacked: nothing of it was set up.
    pub unpacked: Option<PathBuf>,
}

impl Program {
    /// One that is installed.
    #[must_use]
    pub fn installed(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), unpacked: None }
    }

    /// A command that leads to this program, with the libraries that were unpacked beside it; what is installed is not
    /// among them.
    #[must_use]
    pub fn with_libraries(&self, command: Command) -> Command {
        let Some(root) = &self.unpacked else { return command };
        let folders = ["lib", "usr/lib"].map(|lib| root.join(lib).join(format!("{ARCH}-linux-gnu")));
        command.env("LD_LIBRARY_PATH", folders.map(|folder| folder.display().to_string()).join(":"))
    }
}

/// The program at `/PATH`, or the same from the packages of the host's own distribution, unpacked in `cache` (see
/// [`crate::lab_folder`]); `None`, with the reason told, where there is no apt or no mirror.
///
/// The first call takes some seconds and the network; several at once wait for one another.
///
/// # Panics
/// When it cannot be unpacked for another reason: that is a fault of ours, and no reason to skip.
pub async fn program_or_skip(cache: &Path, path: &str) -> Option<Program> {
    let installed = Path::new("/").join(path);
    if installed.exists() {
        return Some(Program::installed(installed));
    }
    kept::or_skip(unpacked(cache, path).await.with_context(|| format!("{path} is not installed")))
}

async fn unpacked(cache: &Path, path: &str) -> anyhow::Result<Program> {
    let root = cache.join(format!("programs-{:016x}", revision()));
    let _lock = kept::lock(cache, "programs").await?;
    kept::fill(&root, gather).await?;
    anyhow::ensure!(root.join(path).exists(), "none of the packages {PACKAGES:?} holds it");
    Ok(Program { path: root.join(path), unpacked: Some(root) })
}

/// What is kept is what these sources make of this host's distribution.
fn revision() -> u64 {
    let mut hasher = DefaultHasher::new();
    [include_str!("programs.rs"), include_str!("apt.rs")].hash(&mut hasher);
    fs::read("/etc/os-release").unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// Unpacks the packages into `root`, with those that they depend on and that are not installed here.
async fn gather(root: &Path) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let apt = root.join("apt");
    apt::make_folders(&apt)?;
    apt::ask_mirror(apt::tool("apt-get", &apt).args(["-q", "update"]), &stop).await?;
    fs::copy(INSTALLED, apt.join("status"))?;
    let options = ["-q", "-y", "--no-install-recommends", "--download-only", "install"];
    apt::ask_mirror(apt::tool("apt-get", &apt).args(options).args(PACKAGES), &stop).await?;
    apt::unpack(&apt, root, &stop).await?;
    Ok(fs::remove_dir_all(apt)?)
}
