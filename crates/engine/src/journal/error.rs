//! What can go wrong with the journal.

use std::path::PathBuf;

use winstead_spec::MachineName;

use crate::Phase;

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refused: no space, no rights, not a database.
    #[error("read or write the journal {path}")]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A newer Winstead wrote it.
    #[error("read the journal {path}: it has schema {found}, this winstead knows up to {known}")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A phase that the table does not allow, because somebody else moved the machine meanwhile.
    #[error("move {machine} to {to}: it is {from}")]
    Transition {
        /// The machine.
        machine: MachineName,
        /// Where it is.
        from: Phase,
        /// Where it should have gone.
        to: Phase,
    },
    /// The machine is not in the journal.
    #[error("find {0} in the journal")]
    Unknown(String),
    /// The thread that owns the connection ended.
    #[error("reach the journal: its thread has ended")]
    Closed,
}

impl JournalError {
    /// Whether the disk under the journal is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        // SQLite reports a WAL index that cannot grow as an I/O error of its own: SQLITE_IOERR_SHMSIZE.
        const SHMSIZE: i32 = 4874;
        matches!(self, Self::Sqlite { source, .. }
            if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
                || source.sqlite_error().is_some_and(|error| error.extended_code == SHMSIZE))
    }
}
