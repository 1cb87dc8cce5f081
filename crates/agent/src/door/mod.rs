//! Where callers come in: sockets and pipes with explicit rights, and who stands at the other end.
//!
//! ```text
//! connection → who is it? (peer: the system says) → is there a seat? → Visitor: a stream with its Caller
//! ```

mod guest;
mod lobby;
mod seats;
pub(crate) mod tcp;
#[cfg(unix)]
mod unix;
#[cfg_attr(unix, path = "virtio.rs")]
#[cfg_attr(windows, path = "vioserial.rs")]
mod virtio;
mod visitor;
#[cfg_attr(windows, path = "viosock.rs")]
mod vsock;
#[cfg(windows)]
mod windows;

pub use guest::{GuestDoor, GuestVisitor};
pub use lobby::Lobby;
pub use seats::{Full, Seat, Seats};
pub use tcp::{Keys, KeysError, TcpDoor, TcpVisitor};
#[cfg(unix)]
pub use unix::{UnixDoor, UnixDoor as SystemDoor, UnixVisitor, address, caller_named, folder};
#[cfg(windows)]
pub(crate) use virtio::find as guest_port;
pub use visitor::{TURNED_AWAY, Visitor};
#[cfg(windows)]
pub use windows::{
    ADMINISTRATORS_ONLY, Pipe, PipeDoor, PipeDoor as SystemDoor, PipeEnd, PipeVisitor, address, caller_named,
    folder,
};
#[cfg(windows)]
pub(crate) use windows::{CONTAINER_ACCOUNTS, Instances};
