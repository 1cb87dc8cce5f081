//! Whether a version is still what was built.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use winstead_spec::Sha256;

use crate::{
    digest,
    version::{Record, RecordError, Version, write_atomically},
};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Size, times and inode of every file against those at the last full look; a full look when they differ.
    Quick,
    /// Every byte.
    Full,
}

/// A version that is not what was built.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Its content changed.
    #[error("trust {path}: it has the digest {found} and was built with {expected}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// As built.
        expected: Sha256,
        /// As it is.
        found: Sha256,
    },
    /// A file is gone or cannot be read.
    #[error("read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its description cannot be used.
    #[error("read the image's description")]
    Record(#[from] RecordError),
}

/// The file that remembers the last full look.
const SIGNATURES: &str = "verified.json";

/// What stat(2) said of each file at the last full look. Writing to a file changes its ctime, which nobody can set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Signatures(BTreeMap<String, [i64; 6]>);

impl Signatures {
    pub(crate) fn of(folder: &Path, record: &Record) -> io::Result<Self> {
        let signature = |name: &String| Ok((name.clone(), signature(&folder.join(name))?));
        record.digests.keys().map(signature).collect::<io::Result<_>>().map(Self)
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        write_atomically(&folder.join(SIGNATURES), &serde_json::to_vec(self)?)
    }

    /// None when it was never looked at, or the file is damaged: then a full look is due.
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(SIGNATURES)).ok()?).ok()
    }
}

/// What stat(2) says of a file.
pub(crate) fn signature(path: &Path) -> io::Result<[i64; 6]> {
    let about = fs::metadata(path)?;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Ok([
        number(about.size()),
        number(about.ino()),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    ])
}

pub(crate) async fn version(
    version: &Version,
    depth: Depth,
    stop: &CancellationToken,
) -> Result<(), VerifyError> {
    let folder = version.disk.parent().unwrap_or(Path::new("/"));
    let record = Record::read(folder)?;
    let seen = Signatures::of(folder, &record)
        .map_err(|source| VerifyError::Io { path: folder.to_owned(), source })?;
    if depth == Depth::Quick && Signatures::read(folder).is_some_and(|last| last == seen) {
        return Ok(());
    }
    files(folder, &record, stop).await?;
    // Those from before the look: a change during it makes the next quick look a full one.
    seen.write(folder).map_err(|source| VerifyError::Io { path: folder.join(SIGNATURES), source })
}

/// Compares every byte of a version's files with what is recorded.
pub(crate) async fn files(
    folder: &Path,
    record: &Record,
    stop: &CancellationToken,
) -> Result<(), VerifyError> {
    for (name, expected) in &record.digests {
        let path = folder.join(name);
        match digest::of_file(&path, stop).await {
            Ok(found) if found == *expected => {}
            Ok(found) => return Err(VerifyError::Damaged { path, expected: expected.clone(), found }),
            Err(source) => return Err(VerifyError::Io { path, source }),
        }
    }
    Ok(())
}
