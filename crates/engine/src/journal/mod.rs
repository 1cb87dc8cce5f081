//! What has been done of a plan: an SQLite database that outlives every crash.
//!
//! WAL mode, so that `get` reads while `up` writes. One thread per process owns the connection; writers of
//! different processes (a command, the supervisor) take turns by `BEGIN IMMEDIATE`. Who writes what is fixed:
//! a machine's record, pools and shared things only by the command that holds the home's lock; growths by the
//! supervisor, and forgotten by the command that makes an overlay anew or sets its cap;
//! why a machine is held by the supervisor; phases by both, but only along the table of [`crate::lifecycle`].

mod connection;
mod error;
mod machines;
mod records;
mod schema;

pub use connection::Journal;
pub use error::JournalError;
pub use records::{Entry, Growth, Held, Lack, PoolRecord, Shared, SharedKind, Snapshot, Transition};

#[cfg(test)]
mod tests;
