//! Where callers come in: sockets and pipes with explicit rights, and who stands at the other end.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{UnixDoor, UnixVisitor, local};
#[cfg(windows)]
pub use windows::{ADMINISTRATORS_ONLY, Pipe, PipeDoor, PipeVisitor, local};
