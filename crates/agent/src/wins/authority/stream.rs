//! The rewriting around any stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};
use tonic::transport::server::Connected;

use super::rewriter::{RewriteError, Rewriter, Taken};

/// Enough for what HTTP/2 reads at a time.
const PIECE: usize = 16 * 1024;

/// A stream whose incoming header blocks are legal. What it writes goes out as it is.
///
/// Bytes that are not rewritten stay where the reader's buffer has them: data is not copied.
#[derive(Debug)]
pub struct LegalAuthority<S> {
    stream: S,
    rewriter: Rewriter,
    /// What is to be read next.
    ready: Vec<u8>,
    /// How much of that was read.
    read: usize,
}

impl<S> LegalAuthority<S> {
    /// Around a stream on which nothing was read yet.
    pub fn new(stream: S) -> Self {
        Self { stream, rewriter: Rewriter::new(), ready: Vec::new(), read: 0 }
    }

    fn serve_ready(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.ready[self.read..];
        let now = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..now]);
        self.read += now;
        if self.read == self.ready.len() {
            self.ready.clear();
            self.ready.shrink_to(PIECE);
            self.read = 0;
        }
        now > 0
    }

    /// Keeps at the front of `fresh` what goes through, the rest waits in `ready`. Returns how much was kept.
    fn rewrite(&mut self, fresh: &[u8]) -> Result<usize, RewriteError> {
        let (mut kept, mut at) = (0, 0);
        while at < fresh.len() {
            let before = self.ready.len();
            match self.rewriter.next(&fresh[at..], &mut self.ready)? {
                Taken::Through(count) => {
                    // Only what no rewritten byte must come before, and nothing left out lies before, stays in place.
                    if before == 0 && kept == at {
                        kept += count;
                    } else {
                        self.ready.extend_from_slice(&fresh[at..at + count]);
                    }
                    at += count;
                }
                Taken::Rewritten(count) => at += count,
            }
        }
        Ok(kept)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LegalAuthority<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.serve_ready(buffer) {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            let kept = self
                .rewrite(&buffer.filled()[before..])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            buffer.set_filled(before + kept);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

write_through!(LegalAuthority);

impl<S: Connected> Connected for LegalAuthority<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn data_headers_and_data_come_in_their_order_through_small_buffers() {
        let (mut client, server) = tokio::io::duplex(50);
        let data = [&[0, 0, 4, 0, 0, 0, 0, 0, 1][..], b"data"].concat();
        let headers = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82];
        let input = [&[7; 24][..], &data, &headers, &data].concat();
        let send = tokio::spawn(async move { client.write_all(&input).await });
        let (mut server, mut seen, mut piece) = (LegalAuthority::new(server), Vec::new(), [0; 5]);
        loop {
            match server.read(&mut piece).await.expect("it reads") {
                0 => break,
                count => seen.extend_from_slice(&piece[..count]),
            }
        }
        send.await.expect("no panic").expect("it is sent");
        let legal = [&[0, 0, 13, 1, 4, 0, 0, 0, 1, 0, 7][..], b":method", &[3], b"GET"].concat();
        assert_eq!(seen, [&[7; 24][..], &data, &legal, &data].concat());
    }

    #[tokio::test]
    async fn half_a_frame_and_then_nothing_is_the_end() {
        let (mut client, server) = tokio::io::duplex(99);
        client.write_all(&[&[7; 24][..], &[0, 0, 9, 1, 4, 0, 0]].concat()).await.expect("it is sent");
        drop(client);
        let mut seen = Vec::new();
        LegalAuthority::new(server).read_to_end(&mut seen).await.expect("no error");
        assert_eq!(seen.len(), 24);
    }
}
