//! Somebody who came in: a stream, who they are, and their seat.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Sleep,
};
use tonic::transport::server::Connected;

use crate::{access::Caller, door::Seat};

/// What a client of HTTP/2 says first: 24 bytes of greeting and the head of its settings. Requests of HTTP/1 are longer.
const FIRST_WORDS: usize = 33;

/// What a client of HTTP/2 is told who finds no seat: empty settings, and GOAWAY with `ENHANCE_YOUR_CALM` (RFC 9113, 6.8).
pub const TURNED_AWAY: &[u8] =
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x18\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0btoo many clients";

/// Somebody who came in.
#[derive(Debug)]
pub struct Visitor<S> {
    stream: S,
    caller: Caller,
    /// Nothing for the host at its ports, of which there are few.
    _seat: Option<Seat>,
    silence: Option<Silence>,
}

/// They have not said enough yet to be taken for a client.
#[derive(Debug)]
struct Silence {
    heard: usize,
    ends: Pin<Box<Sleep>>,
}

impl<S> Visitor<S> {
    /// A visitor who has so much time for the first words. To be called in a runtime of tokio.
    pub fn new(stream: S, caller: Caller, seat: Seat, handshake: Duration) -> Self {
        let ends = Box::pin(tokio::time::sleep(handshake));
        Self { stream, caller, _seat: Some(seat), silence: Some(Silence { heard: 0, ends }) }
    }

    /// The host at a port of its guest: it needs no seat, and has all the time it wants.
    pub fn host(stream: S) -> Self {
        Self { stream, caller: Caller::host(), _seat: None, silence: None }
    }

    /// Who it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl<S> Connected for Visitor<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Visitor<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(silence) = &mut this.silence
            && silence.ends.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Some(silence) = &mut this.silence {
            silence.heard += buffer.filled().len() - before;
            if silence.heard >= FIRST_WORDS {
                this.silence = None;
            }
        }
        read
    }
}

write_through!(Visitor);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{
        access::{Account, Door},
        door::Seats,
    };

    fn visitor() -> (Visitor<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let caller =
            Caller { door: Door::Local, account: Account::default(), process: None, container: None };
        let seat = Seats::new(1).take(&caller).expect("there is one");
        (Visitor::new(ours, caller, seat, Duration::from_secs(10)), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_too_little_is_not_waited_for() {
        let (mut visitor, mut client) = visitor();
        client.write_all(b"PRI * HTTP/2.0").await.expect("there is room");
        let mut buffer = [0; 64];
        assert_eq!(visitor.read(&mut buffer).await.expect("it is there"), 14);
        let error = visitor.read(&mut buffer).await.expect_err("nothing more comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_said_enough_may_be_silent() {
        let (mut visitor, mut client) = visitor();
        client.write_all(&[1; FIRST_WORDS]).await.expect("there is room");
        let mut buffer = [0; FIRST_WORDS];
        visitor.read_exact(&mut buffer).await.expect("it is there");
        let silent = tokio::time::timeout(Duration::from_hours(1), visitor.read(&mut buffer)).await;
        assert!(silent.is_err(), "it still waits");
    }

    #[test]
    fn the_frames_for_those_who_find_no_seat_are_as_long_as_they_say() {
        let goaway = &TURNED_AWAY[9..];
        let length = usize::from(goaway[2]);
        assert_eq!(goaway.len(), 9 + length);
    }
}
