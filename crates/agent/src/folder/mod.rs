//! Folders and files that only the agent may change.

mod rights;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(windows)]
pub(crate) use rights::untrusted_writers;
#[cfg(unix)]
pub use unix::{guard, guard_secret, lock_down, open_private};
#[cfg(windows)]
pub use windows::{guard, guard_secret, lock_down, open_private};

/// Who may look into a folder. Nobody but the agent may change anything in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody: sockets are found in it.
    Everybody,
    /// The agent alone.
    Nobody,
}
