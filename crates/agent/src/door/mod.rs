//! Where callers come in: sockets and pipes with explicit rights, and who stands at the other end.

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::{UnixDoor, UnixVisitor};
