//! A TCP connection's two directions. Both ends of a tunnel have one.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::flow::CHUNK;

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
