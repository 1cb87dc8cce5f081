//! What can go wrong while an image is built.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use winstead_process::{CommandError, Failure};
use winstead_spec::{ByteSize, Name};

use crate::{convert::ConvertError, download::DownloadError, modules::ModulesError, version::RecordError};

/// An image that was not built. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[error("build the image {image}")]
pub struct BuildError {
    /// Which.
    pub image: Name,
    /// Why.
    #[source]
    pub fault: Fault,
}

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file system is full.
    #[error("write the image: the disk of {} is full{}", folder.display(), needed(*need))]
    DiskFull {
        /// Where was to be written.
        folder: PathBuf,
        /// What is needed there, if that is known.
        need: Option<Need>,
    },
    /// Programs are missing. `.0` is what `apt-get install` takes.
    #[error("find the programs that a build needs: install the packages {0}")]
    MissingTools(String),
    /// mmdebstrap cannot make a name space.
    #[error(
        "become root in a name space: {path} gives the user {user} no subordinate ids; add them as root with \
         `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
    )]
    NoSubordinateIds {
        /// The user.
        user: String,
        /// The file that has no line for the user.
        path: &'static str,
    },
    /// A word in the recipe that is no package or suite.
    #[error("use {0:?} as the name of a Debian package or suite")]
    NotAPackage(String),
    /// The image is to have an agent, and none is found.
    #[error(
        "find winstead-agent, which the image is to have, in {}; put the static one there, or name its folder with `--artifacts DIR`",
        shown(looked)
    )]
    NoAgent {
        /// Where was looked.
        looked: Vec<PathBuf>,
    },
    /// The disk cannot hold the system.
    #[error("put the system on a disk of {size}: it needs at least {smallest}")]
    TooSmall {
        /// As the recipe says.
        size: ByteSize,
        /// What works.
        smallest: ByteSize,
    },
    /// The recipe's files are not what they were when the build began.
    #[error("read the recipe's files: they changed during the build")]
    Changed,
    /// `stop` was cancelled.
    #[error("finish: it was interrupted")]
    Interrupted,
    /// A program failed.
    #[error("use an external program")]
    Command(#[source] Box<CommandError>),
    /// A file could not be read or written.
    #[error("read or write a file")]
    Io(#[source] io::Error),
    /// The kernel's modules.
    #[error("make the initial RAM disk")]
    Modules(#[from] ModulesError),
    /// The file of the recipe.
    #[error("use the disk image")]
    Convert(#[from] ConvertError),
    /// The URL of the recipe.
    #[error("download the disk image")]
    Download(#[from] DownloadError),
    /// The catalogue's own files.
    #[error("enter it into the catalogue")]
    Record(#[from] RecordError),
}

/// The room that a build needs in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// With less it never succeeds.
    AtLeast(ByteSize),
    /// It never takes more, apart from the tables of a disk's format.
    AtMost(ByteSize),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(size) => write!(f, "at least {size}"),
            Self::AtMost(size) => write!(f, "at most {size}"),
        }
    }
}

fn shown(folders: &[PathBuf]) -> String {
    match folders {
        [] => "any folder: none was named".to_owned(),
        _ => folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" or "),
    }
}

fn needed(need: Option<Need>) -> String {
    need.map_or_else(String::new, |need| format!(" ({need} are needed)"))
}

impl From<CommandError> for Fault {
    fn from(error: CommandError) -> Self {
        match error.failure {
            Failure::Cancelled => Self::Interrupted,
            _ => Self::Command(Box::new(error)),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Io(error),
        }
    }
}

impl Fault {
    /// Names the folder that was written into and what it needs, when the reason was a full file system that nobody
    /// nearer has named.
    pub(crate) fn full_in(self, folder: &Path, need: Option<Need>) -> Self {
        if self.is_disk_full() { Self::DiskFull { folder: folder.to_owned(), need } } else { self }
    }

    /// Whether the reason was a full file system, also when only a program said so in words.
    fn is_disk_full(&self) -> bool {
        let full = |error: &io::Error| {
            error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error())
                || error.kind() == io::ErrorKind::StorageFull
        };
        match self {
            Self::Io(error) => full(error),
            Self::Record(RecordError::Io { source, .. }) => full(source),
            Self::Command(error) => said_full(&error.said),
            Self::Convert(ConvertError::Command { source, .. }) => said_full(&source.said),
            Self::Download(DownloadError::Io { source, .. }) => full(source),
            _ => false,
        }
    }
}

fn said_full(said: &str) -> bool {
    said.contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_by_whoever_is_nearest() {
        let full = || Fault::Io(io::ErrorKind::StorageFull.into());
        let need = Some(Need::AtMost(ByteSize::from_mib(3)));
        let fault = full().full_in(Path::new("/near"), need).full_in(Path::new("/far"), None);
        assert_eq!(
            fault.to_string(),
            "write the image: the disk of /near is full (at most 3 MiB are needed)"
        );
        let fault = full().full_in(Path::new("/far"), None);
        assert_eq!(fault.to_string(), "write the image: the disk of /far is full");
        assert!(matches!(Fault::Changed.full_in(Path::new("/far"), need), Fault::Changed));
    }
}
