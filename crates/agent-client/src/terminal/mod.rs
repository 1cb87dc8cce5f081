//! Our own terminal and standard streams, where a program of an agent's has them.
//!
//! The only part of this crate that touches what belongs to the whole process: for command lines, not for libraries.

mod error;
mod lend;
#[cfg_attr(unix, path = "screen/unix.rs")]
#[cfg_attr(windows, path = "screen/windows.rs")]
mod screen;
mod streams;

pub use error::TerminalError;
pub use lend::lend;
pub use screen::Screen;
pub use streams::{show, typed};
