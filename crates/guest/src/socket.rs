//! Sockets whose paths may be longer than the system likes.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

/// Longest path that a socket's address holds (unix(7): 108 bytes with the end).
const ADDRESS_LIMIT: usize = 107;

/// A longer path is reached through an open descriptor of its folder.
pub(crate) async fn open(socket: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket).await;
    };
    if socket.as_os_str().len() <= ADDRESS_LIMIT {
        return UnixStream::connect(socket).await;
    }
    let folder = fs_err::File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    UnixStream::connect(short.join(name)).await
}
