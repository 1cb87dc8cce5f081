//! Sessions on a serial port ([`winstead_protocol::port`]) as streams: the host begins one, the guest takes one after the
//! other. What is inside knows nothing of ports.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use winstead_protocol::port::{Decoder, Mark, Nonce, Piece, put_data, put_mark};

/// What is read at once, and what waits between port and session.
const BUFFER: usize = 128 * 1024;

/// After this a session is begun again, then after twice as long, and so on. A guest hears of a host on one queue and of
/// its bytes on another: it may read our first words while it still believes that nobody is there, and take the silence
/// after them for our end.
const AGAIN: Duration = Duration::from_millis(250);

/// The reading side of a port, cut into pieces.
#[derive(Debug)]
pub struct PortReader<R> {
    wire: R,
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// What of `buffer` was read and not given out.
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> PortReader<R> {
    /// Reads `wire`.
    pub fn new(wire: R) -> Self {
        Self {
            wire,
            decoder: Decoder::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// The port itself.
    pub fn wire(&mut self) -> &mut R {
        &mut self.wire
    }

    /// Waits for more bytes; `false` when the other side has gone away.
    ///
    /// # Errors
    /// As the port has them. Cancel safe.
    pub async fn fill(&mut self) -> io::Result<bool> {
        // Pieces that never end must not keep others waiting.
        tokio::task::coop::consume_budget().await;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.wire.read(&mut self.buffer).await?;
        }
        Ok(self.end > 0)
    }

    /// The next piece of what has come.
    pub fn piece(&mut self) -> Option<Piece<'_>> {
        let mut input = &self.buffer[self.start..self.end];
        let piece = self.decoder.next(&mut input);
        self.start = self.end - input.len();
        piece
    }

    /// Waits for the next mark; what comes before it was for nobody. `None` when the other side has gone away.
    ///
    /// # Errors
    /// As the port has them. Cancel safe.
    pub async fn mark(&mut self) -> io::Result<Option<Mark>> {
        loop {
            while let Some(piece) = self.piece() {
                if let Piece::Mark(mark) = piece {
                    return Ok(Some(mark));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }
}

/// How the other side ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// It begins another one.
    Begins(Nonce),
    /// It said so, or what it sent is no session any more.
    Over,
    /// It has gone away.
    Gone,
}

/// Hands the data of a session on until the other side ends it.
///
/// # Errors
/// As the port has them. Whoever reads `inside` may go away: then the rest of the session is thrown away.
pub async fn inward<R: AsyncRead + Unpin>(
    port: &mut PortReader<R>,
    mut inside: impl AsyncWrite + Unpin,
) -> io::Result<SessionEnd> {
    let mut wanted = true;
    loop {
        while let Some(piece) = port.piece() {
            match piece {
                Piece::Data(data) => wanted = wanted && inside.write_all(data).await.is_ok(),
                Piece::Mark(Mark::Begin(nonce)) => return Ok(SessionEnd::Begins(nonce)),
                Piece::Mark(Mark::End | Mark::Accept(_)) | Piece::Garbage => return Ok(SessionEnd::Over),
            }
        }
        if !port.fill().await? {
            return Ok(SessionEnd::Gone);
        }
    }
}

/// Hands on what a session has to say, until it has no more; says so then.
///
/// # Errors
/// As the port has them.
pub async fn outward(
    mut inside: impl AsyncRead + Unpin,
    mut wire: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut data, mut encoded) = (vec![0; BUFFER], Vec::new());
    loop {
        let length = inside.read(&mut data).await?;
        encoded.clear();
        match length {
            0 => put_mark(Mark::End, &mut encoded),
            length => put_data(&data[..length], &mut encoded),
        }
        wire.write_all(&encoded).await?;
        if length == 0 {
            return wire.flush().await;
        }
    }
}

/// A session that this side has begun. It ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    inside: DuplexStream,
    _relay: AbortOnDropHandle<()>,
}

/// No session. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The port cannot be used.
    #[error("use the port")]
    Io(#[from] io::Error),
    /// The port was closed before an answer.
    #[error("get an answer: the port was closed")]
    Closed,
    /// Nobody answers: the agent is not there, not started yet, or hangs.
    #[error("get an answer within {0:?}")]
    Silent(Duration),
}

impl Session {
    /// Begins a session on `wire`, and waits for the other side to be ready for it. What it sent before was for somebody
    /// else, and is thrown away.
    ///
    /// # Errors
    /// See [`SessionError`]. Not cancel safe: the port may be in the middle of a mark then, which the next session ends.
    pub async fn begin<T>(wire: T, nonce: Nonce, limit: Duration) -> Result<Self, SessionError>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(wire);
        let mut port = PortReader::new(reader);
        timeout(limit, accepted(&mut port, &mut writer, nonce))
            .await
            .map_err(|_| SessionError::Silent(limit))??;
        let (inside, outside) = tokio::io::duplex(BUFFER);
        let relay = tokio::spawn(relay(port, writer, outside));
        Ok(Self { inside, _relay: AbortOnDropHandle::new(relay) })
    }
}

async fn accepted<T: AsyncRead + AsyncWrite>(
    port: &mut PortReader<ReadHalf<T>>,
    writer: &mut WriteHalf<T>,
    nonce: Nonce,
) -> Result<(), SessionError> {
    let (mut nonce, mut patience) = (nonce, AGAIN);
    loop {
        let mut mark = Vec::new();
        put_mark(Mark::Begin(nonce), &mut mark);
        writer.write_all(&mark).await?;
        match timeout(patience, acceptance(port, nonce)).await {
            Ok(accepted) => return accepted,
            // Another number: an answer to the first question that comes now must not be taken for one to the second.
            Err(_) => (nonce, patience) = (Nonce(nonce.0.wrapping_add(1)), patience * 2),
        }
    }
}

async fn acceptance<R: AsyncRead + Unpin>(
    port: &mut PortReader<R>,
    nonce: Nonce,
) -> Result<(), SessionError> {
    loop {
        match port.mark().await? {
            Some(Mark::Accept(found)) if found == nonce => return Ok(()),
            Some(_) => {}
            None => return Err(SessionError::Closed),
        }
    }
}

/// Both ways, until one of them ends.
async fn relay<T: AsyncRead + AsyncWrite>(
    mut port: PortReader<ReadHalf<T>>,
    writer: WriteHalf<T>,
    outside: DuplexStream,
) {
    let (from_inside, to_inside) = tokio::io::split(outside);
    // Whoever is inside sees the stream end, whatever the reason.
    tokio::select! {
        _ = inward(&mut port, to_inside) => {}
        _ = outward(from_inside, writer) => {}
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inside).poll_read(context, buffer)
    }
}

impl AsyncWrite for Session {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inside).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inside).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inside).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// Plays the guest: accepts one session, and says again what it hears in it.
    async fn echo(wire: DuplexStream) {
        let (reader, mut writer) = tokio::io::split(wire);
        let mut port = PortReader::new(reader);
        let Some(Mark::Begin(nonce)) = port.mark().await.expect("a mark") else { panic!("no beginning") };
        let mut mark = Vec::new();
        // What a session before this one left behind, cut in the middle.
        put_data(b"old words\xf5", &mut mark);
        mark.pop();
        put_mark(Mark::Accept(nonce), &mut mark);
        writer.write_all(&mark).await.expect("written");
        let (near, far) = tokio::io::duplex(BUFFER);
        let (near_reader, near_writer) = tokio::io::split(near);
        let (mut far_reader, mut far_writer) = tokio::io::split(far);
        let said = async { tokio::io::copy(&mut far_reader, &mut far_writer).await };
        let _over = tokio::join!(inward(&mut port, near_writer), outward(near_reader, writer), said);
    }

    #[tokio::test]
    async fn what_was_said_before_the_answer_is_thrown_away_and_then_bytes_pass_as_they_are() {
        let (host, guest) = tokio::io::duplex(4096);
        let guest = tokio::spawn(echo(guest));
        let mut session = Session::begin(host, Nonce(5), LONG).await.expect("a session");
        let data: Vec<u8> = (0..200_000_u32).map(|at| (at * 7 % 251) as u8 | (at % 3) as u8).collect();
        let sent = data.clone();
        let (mut reader, mut writer) = tokio::io::split(&mut session);
        let mut back = vec![0; data.len()];
        let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut back));
        written.expect("written");
        read.expect("read");
        assert!(back == data);
        drop(session);
        guest.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_nobody_answers_at_is_given_up_in_time() {
        let (host, _guest) = tokio::io::duplex(4096);
        let error = Session::begin(host, Nonce(5), LONG).await.expect_err("nobody is there");
        assert!(matches!(error, SessionError::Silent(LONG)));
    }

    #[tokio::test]
    async fn a_beginning_that_was_lost_is_said_again_and_an_answer_to_the_first_is_none_to_the_second() {
        let (host, guest) = tokio::io::duplex(4096);
        let (reader, mut writer) = tokio::io::split(guest);
        let mut port = PortReader::new(reader);
        let guest = async {
            let mut answers = Vec::new();
            for _ in 0..2 {
                let Some(Mark::Begin(nonce)) = port.mark().await.expect("a mark") else {
                    panic!("no beginning")
                };
                put_mark(Mark::Accept(nonce), &mut answers);
                put_data(b"x", &mut answers);
            }
            put_mark(Mark::End, &mut answers);
            writer.write_all(&answers).await.expect("written");
        };
        let (session, ()) = tokio::join!(Session::begin(host, Nonce(5), LONG), guest);
        let mut words = Vec::new();
        session.expect("a session").read_to_end(&mut words).await.expect("read");
        assert_eq!(words, b"x", "of the second session only");
    }

    #[tokio::test]
    async fn endless_garbage_is_given_up_in_time() {
        let (host, mut guest) = tokio::io::duplex(4096);
        let flood =
            tokio::spawn(async move { while guest.write_all(&[0xf5, 0x09, b'x', 0xf5, 3]).await.is_ok() {} });
        let begun = Session::begin(host, Nonce(5), Duration::from_millis(200));
        let error = timeout(LONG, begun).await.expect("in time").expect_err("garbage is no answer");
        assert!(matches!(error, SessionError::Silent(_)));
        flood.await.expect("it ends with the port");
    }

    #[tokio::test]
    async fn a_session_ends_when_the_other_side_says_so_though_the_port_stays() {
        let (host, guest) = tokio::io::duplex(4096);
        let (reader, mut writer) = tokio::io::split(guest);
        let mut port = PortReader::new(reader);
        let guest = async {
            let Some(Mark::Begin(nonce)) = port.mark().await.expect("a mark") else { panic!("no beginning") };
            let mut wire = Vec::new();
            put_mark(Mark::Accept(nonce), &mut wire);
            put_data(b"last words", &mut wire);
            put_mark(Mark::End, &mut wire);
            writer.write_all(&wire).await.expect("written");
        };
        let (session, ()) = tokio::join!(Session::begin(host, Nonce(5), LONG), guest);
        let mut words = Vec::new();
        timeout(LONG, session.expect("a session").read_to_end(&mut words))
            .await
            .expect("in time")
            .expect("read");
        assert_eq!(words, b"last words");
    }
}
