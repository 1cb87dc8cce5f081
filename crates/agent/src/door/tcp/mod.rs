//! A TCP port with TLS 1.3: both sides show certificates, and the client's says who calls.

pub(crate) mod keys;
mod socket;

pub use keys::{Keys, KeysError};
pub use socket::{TcpDoor, TcpVisitor};
