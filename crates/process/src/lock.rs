//! Locks between processes.

use std::{io, path::Path};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The lock `path`, unless somebody has it; the empty file is made if need be, and stays. The lock is the kernel's (flock):
/// it ends when the file is dropped, and with its process, however that dies.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn try_lock(path: &Path) -> io::Result<Option<fs_err::File>> {
    let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = try_lock(&path).unwrap();
        assert!(held.is_some() && try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
        assert!(try_lock(&folder.path().join("none/lock")).is_err());
    }
}
