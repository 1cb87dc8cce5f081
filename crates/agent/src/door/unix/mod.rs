//! Unix sockets: the file's own permission says who may connect, the kernel says who did.

mod container;
mod peer;
mod programs;
mod socket;

pub use peer::caller_named;
pub use socket::{UnixDoor, UnixVisitor, address, folder};
