//! A process's folder.

use std::{
    io::{self, Write},
    path::Path,
};

use fs_err as fs;
use serde::{Serialize, de::DeserializeOwned};

/// What an agent knows before a keeper is started.
pub(crate) const RECORD: &str = "record.json";
/// What a keeper knows before its program can do anything.
pub(crate) const RUNNING: &str = "running.json";
/// How it ended: nothing of it is left.
pub(crate) const END: &str = "exit.json";

/// Writes a document in one step: a reader sees all of it or nothing. Returns its file, which is on the disk only when it
/// is synchronised: what is worth nothing after a crash of the whole computer need not be.
///
/// # Errors
/// As the system has them.
pub(crate) fn write(path: &Path, document: &impl Serialize) -> io::Result<fs::File> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    fs::rename(&beside, path)?;
    Ok(file)
}

/// Reads one; nothing when it is not there.
///
/// # Errors
/// When it cannot be read, or is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
