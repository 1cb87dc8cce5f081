//! One experiment at a time: in a home, whose machines it brings and takes away, and in a folder of results.

use std::path::Path;

use fs_err as fs;
use winstead_process::try_lock;

use crate::error::BenchError;

/// A file that is locked until this is dropped, or its process has ended.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Locks a file, which is made if need be.
    ///
    /// # Errors
    /// When somebody else has it, or it cannot be made.
    pub fn take(path: &Path) -> Result<Self, BenchError> {
        let failed = |source| BenchError::File { what: "lock", path: path.to_owned(), source };
        let file = try_lock(path).map_err(failed)?;
        Ok(Self { _file: file.ok_or_else(|| BenchError::InUse { path: path.to_owned() })? })
    }
}
