//! What makes a guest itself: its name, keys, addresses and machine id, given to it from outside at first boot.
//!
//! What goes in is data (a list of [`SeedFile`]s per operating system); two carriers take it: a tar archive for our
//! own images, which their initial RAM disk unpacks over the root before the first process starts, and a NoCloud CD
//! for images of others. Nothing here talks to a hypervisor.

mod identity;
mod linux;
mod nocloud;
mod tar;
mod windows;

pub use identity::{Address, GuestNetwork, Identity};
pub use nocloud::{VOLUME_ID, nocloud_files, nocloud_iso};
pub use tar::{SEED_LIMIT, files, neutral_tar, tar};

use std::{fmt, io, path::PathBuf};

use winstead_process::CommandError;
use zeroize::Zeroizing;

/// One file or folder of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedFile {
    /// Where it goes, relative to the root of the guest's disk or of the CD.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// What is in it.
    pub contents: Contents,
}

/// What is in a [`SeedFile`].
#[derive(Clone, PartialEq, Eq)]
pub enum Contents {
    /// It is a folder.
    Folder,
    /// Text that anyone may read.
    Public(String),
    /// Text that holds a private key; not shown by `Debug`, wiped when dropped.
    Secret(Zeroizing<String>),
}

impl Contents {
    /// The bytes to write; none for a folder.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Folder => &[],
            Self::Public(text) => text.as_bytes(),
            Self::Secret(text) => text.as_bytes(),
        }
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("Folder"),
            Self::Public(text) => f.debug_tuple("Public").field(text).finish(),
            Self::Secret(text) => write!(f, "Secret({} bytes)", text.len()),
        }
    }
}

/// A seed that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A value would break the file that it goes into.
    #[error("make the seed of {host_name:?}: {field} {value:?} is not usable: {expected}")]
    Invalid {
        /// Whose seed.
        host_name: String,
        /// Which part of the identity.
        field: &'static str,
        /// Its value (never a secret).
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Windows images read no tar archive.
    #[error("make a tar seed for {host_name:?}: Windows takes its identity from a NoCloud CD only")]
    NotForWindows {
        /// Whose seed.
        host_name: String,
    },
    /// It does not fit into a `fw_cfg` file.
    #[error("make the seed of {host_name:?}: it has {size} bytes and a fw_cfg file holds {SEED_LIMIT}")]
    TooLarge {
        /// Whose seed.
        host_name: String,
        /// The archive's size.
        size: usize,
    },
    /// A file could not be written.
    #[error("write the seed {}", path.display())]
    Write {
        /// The seed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `xorriso` did not make the CD; Debian's package has the same name.
    #[error("make the seed CD {}", path.display())]
    Xorriso {
        /// The CD.
        path: PathBuf,
        /// What happened to the command.
        source: Box<CommandError>,
    },
}

fn public(path: &str, mode: u32, text: impl Into<String>) -> SeedFile {
    SeedFile { path: path.to_owned(), mode, contents: Contents::Public(text.into()) }
}

fn secret(path: &str, mode: u32, text: String) -> SeedFile {
    SeedFile { path: path.to_owned(), mode, contents: Contents::Secret(Zeroizing::new(text)) }
}

fn folder(path: &str, mode: u32) -> SeedFile {
    SeedFile { path: path.to_owned(), mode, contents: Contents::Folder }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::identity::tests::identity;
}
