//! What old clients are on each system: what they connect by, and programs that they run.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{FOLDER, Stream, connect, end, program};
#[cfg(windows)]
pub(crate) use windows::{FOLDER, Stream, connect, end, program};

/// What is to be done or said in each system's own way. Windows' shell has single spaces between its words, and no quotes.
pub(crate) const fn of_system<T: Copy>(unix: T, windows: T) -> T {
    if cfg!(windows) { windows } else { unix }
}
