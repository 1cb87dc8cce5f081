//! The way to an agent on a Unix computer.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

use crate::connect::Address;

/// Where an agent has its sockets.
const FOLDER: &str = "/run/winstead-agent";

/// The socket in an agent's folder that stands for an old pipe of this name.
#[must_use]
pub fn wins_door(folder: &Path, pipe: &str) -> PathBuf {
    folder.join(format!("{pipe}.sock"))
}

/// By a pipe's name, or by the socket's path.
pub(crate) fn wins(pipe: &str) -> Address {
    Address::Unix(if pipe.contains('/') { pipe.into() } else { wins_door(FOLDER.as_ref(), pipe) })
}

/// A connection without a protocol yet.
///
/// # Errors
/// As the system has them, and for an address that only another system has. Cancel safe.
pub async fn stream(address: &Address) -> io::Result<UnixStream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await,
        Address::Pipe(_) | Address::Tcp(..) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "only Windows has named pipes"))
        }
    }
}
