//! Where callers come in: sockets and pipes with explicit rights, and who stands at the other end.

#[cfg(target_os = "linux")]
mod guest;
#[cfg(unix)]
mod unix;
#[cfg(target_os = "linux")]
mod virtio;

#[cfg(target_os = "linux")]
pub use guest::{GuestDoor, GuestVisitor};
#[cfg(unix)]
pub use unix::{UnixDoor, UnixVisitor};
