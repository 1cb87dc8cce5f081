//! Where callers come in: sockets and pipes with explicit rights, and who stands at the other end.
//!
//! ```text
//! connection → who is it? (peer: the system says) → is there a seat? → Visitor: a stream with its Caller
//! ```

#[cfg(target_os = "linux")]
mod guest;
mod seats;
#[cfg(unix)]
mod unix;
#[cfg(target_os = "linux")]
mod virtio;
mod visitor;

#[cfg(target_os = "linux")]
pub use guest::{GuestDoor, GuestVisitor};
pub use seats::{Full, Seat, Seats};
#[cfg(unix)]
pub use unix::{Lobby, UnixDoor, UnixVisitor, caller_named};
pub use visitor::{TURNED_AWAY, Visitor};
