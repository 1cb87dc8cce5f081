//! What can go wrong with a disk's place.

use std::{io, path::PathBuf};

use winstead_process::CommandError;
use winstead_spec::{ByteSize, Sha256};

/// Why a store operation failed; every variant names the path that it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder could not be read, made or removed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Mounting needs rights that this process does not have.
    #[error("mount a tmpfs on {}: not permitted (root, or a shared RAM folder, is needed)", path.display())]
    NotPermitted {
        /// The mount point.
        path: PathBuf,
    },
    /// A folder for disks in RAM is not in RAM.
    #[error("use {} for disks in RAM: it is no tmpfs; name a folder of one in the Host's `stores.ram`", path.display())]
    NotRam {
        /// The folder.
        path: PathBuf,
    },
    /// There is no room.
    #[error("write to {}: no space left (cap {cap})", path.display())]
    NoSpace {
        /// What did not fit.
        path: PathBuf,
        /// The cap of its place.
        cap: ByteSize,
    },
    /// Something is there that we did not make.
    #[error("use {}: {what}, which Winstead did not make", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// Nothing of ours is there.
    #[error("use {}: it is not mounted", path.display())]
    Absent {
        /// Where.
        path: PathBuf,
    },
    /// Processes still use it. Not detached lazily: its memory would stay used, but out of sight.
    #[error("unmount {}: in use by {}", path.display(), if users.is_empty() { "a process that /proc does not show".to_owned() } else { users.join(", ") })]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// `pid (name)` of each.
        users: Vec<String>,
    },
    /// A copy has another digest than its source should have.
    #[error("copy {}: its content is {found}, not {expected}", path.display())]
    WrongDigest {
        /// The source.
        path: PathBuf,
        /// What the catalogue says.
        expected: Sha256,
        /// What was read.
        found: Sha256,
    },
    /// `stop` was cancelled.
    #[error("finish {}: interrupted", path.display())]
    Interrupted {
        /// What was being made.
        path: PathBuf,
    },
    /// qemu-img failed.
    #[error("create the overlay {}", path.display())]
    Overlay {
        /// The overlay.
        path: PathBuf,
        /// The command and what it said.
        source: CommandError,
    },
}

/// Makes a `map_err` closure that says what was tried on which path.
pub(crate) fn io_at<E: Into<io::Error>>(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> StoreError {
    let path = path.into();
    move |error| StoreError::Io { action, path, source: error.into() }
}
