//! The way to an agent on a Unix computer.

use std::io;

use tokio::net::UnixStream;

use crate::connect::Address;

/// Connects.
///
/// # Errors
/// As the system has them, and for an address that only another system has. Cancel safe.
pub(crate) async fn stream(address: &Address) -> io::Result<UnixStream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await,
        Address::Pipe(_) | Address::Tcp(..) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "only Windows has named pipes"))
        }
    }
}
