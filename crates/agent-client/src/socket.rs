//! TCP ports that are listened at, and a connection's two directions. Both ends of a tunnel have one.

use std::{io, net::SocketAddr};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::flow::CHUNK;

/// Connections that the system takes before we do. A listener of the standard library has 128: the next one of a burst
/// waits until its client's system tries again, a second later.
const BACKLOG: u32 = 1024;

/// Listens at a port.
///
/// # Errors
/// When it is taken, or the system refuses.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    listen_with(socket?, address)
}

/// Listens at a port with a socket that has been told what is special about it.
///
/// # Errors
/// When the port is taken, or the system refuses.
pub fn listen_with(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    // On Windows this would let others take the port from us.
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What comes from a connection.
#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
}

/// What goes to a connection.
///
/// Dropped before [`Writer::end`], it breaks the connection: the other side gets an error, and cannot take half of the
/// bytes for all of them.
#[derive(Debug)]
pub struct Writer {
    half: Option<OwnedWriteHalf>,
    ended: bool,
}

/// Both directions; small pieces are sent at once.
///
/// # Errors
/// When the connection is no more.
pub fn split(stream: TcpStream) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((Reader { half: read, buffer: BytesMut::new() }, Writer { half: Some(write), ended: false }))
}

impl Reader {
    /// What has come since, at most [`CHUNK`]; nothing when no more comes.
    ///
    /// # Errors
    /// When the connection is broken. Cancel safe.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.buffer.reserve(CHUNK);
        let read = self.half.read_buf(&mut self.buffer).await?;
        Ok((read > 0).then(|| self.buffer.split().freeze()))
    }
}

impl Writer {
    /// Sends all of it; waits while the other side does not read.
    ///
    /// # Errors
    /// When the connection is broken, or this side was ended. Not cancel safe: a part may have been sent.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.half()?.write_all(bytes).await
    }

    /// Says that no more comes; the other direction goes on.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn end(&mut self) -> io::Result<()> {
        self.half()?.shutdown().await?;
        self.ended = true;
        Ok(())
    }

    fn half(&mut self) -> io::Result<&mut OwnedWriteHalf> {
        self.half.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(half) = self.half.take() else { return };
        if !self.ended
            && let Err(error) = half.as_ref().set_zero_linger()
        {
            tracing::debug!(%error, "a connection ends instead of breaking");
        }
        // Otherwise tokio would say "no more comes" in our name.
        half.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    #[tokio::test]
    async fn the_system_takes_a_burst_that_nobody_accepts_yet() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).expect("it listens");
        let address = listener.local_addr().expect("a port");
        // The kernel's next try is after a second.
        let connect = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let connected: io::Result<Vec<_>> = (0..300).map(connect).collect();
        assert_eq!(connected.expect("none waits").len(), 300);
    }
}
