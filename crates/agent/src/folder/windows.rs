//! Locked folders on Windows.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::folder::Readers;

/// Makes a folder, and those above it, or takes one that is there.
///
/// # Errors
/// As the system has them.
pub fn lock_down(path: &Path, _readers: Readers) -> io::Result<PathBuf> {
    fs::create_dir_all(path)?;
    Ok(path.to_owned())
}

/// Opens a file to append to; the folder's own list says who may read it.
///
/// # Errors
/// As the system has them.
pub fn open_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// Refuses a file that others could change.
///
/// # Errors
/// When it is not there.
pub fn guard(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}
