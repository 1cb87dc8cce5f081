//! One sender's datagrams, each a message. As on a network, one that finds no room is lost, and none ever waits long.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use winstead_protocol::v1::{TunnelRequest, tunnel_request, tunnel_response::Message};

use crate::tunnel::{Answer, Place, answer, gone, opened, registry::Counters, stopping};

/// The longest datagram there is: 65,535 bytes less the headers of UDP and IPv4.
const LONGEST: usize = 65_507;

/// What goes to the caller. Ends when nothing went either way for the idle time, or when the caller ends it.
pub fn relay(
    socket: UdpSocket,
    incoming: Streaming<TunnelRequest>,
    place: Place,
    stop: CancellationToken,
) -> impl Stream<Item = Answer> + Send + use<> {
    let (socket, counters) = (Arc::new(socket), place.counters());
    let mut other = JoinSet::new();
    other.spawn(to_port(incoming, Arc::clone(&socket), counters.clone()));
    let port = Port { socket, counters, idle: place.limits().datagrams_idle, buffer: BytesMut::new() };
    let relay = Relay { step: Step::Opened, port, other, place, stop };
    stream::unfold(relay, |mut relay| async move { Some((relay.next().await?, relay)) })
}

struct Relay {
    step: Step,
    port: Port,
    /// The other direction: from the caller to the port.
    other: JoinSet<Result<(), Status>>,
    place: Place,
    stop: CancellationToken,
}

struct Port {
    socket: Arc<UdpSocket>,
    counters: Counters,
    idle: Duration,
    buffer: BytesMut,
}

enum Step {
    Opened,
    Receiving,
    Over,
}

impl Relay {
    async fn next(&mut self) -> Option<Answer> {
        match self.step {
            Step::Opened => {
                self.step = Step::Receiving;
                return opened(&self.place);
            }
            Step::Receiving => {}
            Step::Over => return None,
        }
        let next = tokio::select! {
            received = self.port.receive() => match received {
                Some(bytes) => return answer(Message::Data(bytes)),
                None => answer(Message::End(true)),
            },
            outcome = self.other.join_next() => match outcome {
                Some(Ok(Err(status))) => Some(Err(status)),
                Some(Err(error)) => Some(Err(Status::internal(error.to_string()))),
                Some(Ok(Ok(()))) | None => answer(Message::End(true)),
            },
            () = self.stop.cancelled() => Some(Err(stopping())),
        };
        self.step = Step::Over;
        next
    }
}

impl Port {
    /// The next datagram; nothing when the tunnel has been idle.
    async fn receive(&mut self) -> Option<Bytes> {
        loop {
            let sent = self.counters.bytes_in();
            self.buffer.reserve(LONGEST);
            match timeout(self.idle, self.socket.recv_buf(&mut self.buffer)).await {
                Ok(Ok(length)) => {
                    self.counters.add_out(length);
                    return Some(self.buffer.split().freeze());
                }
                // The port's computer says that nobody listens, to an earlier datagram: no matter, somebody may later.
                Ok(Err(error)) => tracing::debug!(%error, "a datagram was refused"),
                Err(_) if self.counters.bytes_in() == sent => return None,
                Err(_) => {}
            }
        }
    }
}

async fn to_port(
    mut incoming: Streaming<TunnelRequest>,
    socket: Arc<UdpSocket>,
    counters: Counters,
) -> Result<(), Status> {
    while let Some(request) = incoming.message().await? {
        match request.message {
            Some(tunnel_request::Message::Data(bytes)) => match socket.send(&bytes).await {
                Ok(_) => counters.add_in(bytes.len()),
                Err(error) if is_passing(&error) => tracing::debug!(%error, "a datagram is lost"),
                Err(error) => return Err(Status::aborted(format!("a datagram cannot be sent: {error}"))),
            },
            Some(tunnel_request::Message::End(_)) => return Ok(()),
            Some(tunnel_request::Message::Open(_)) | None => {
                return Err(Status::invalid_argument("a tunnel is opened once"));
            }
        }
    }
    Err(gone())
}

/// Whether the next datagram may well arrive: it is the answer to an earlier one, or only this one was too long.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, InvalidInput};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | InvalidInput)
        || error.raw_os_error() == Some(TOO_LONG)
}

/// `EMSGSIZE`, which std has no kind for, on Linux.
#[cfg(unix)]
const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();
/// `WSAEMSGSIZE`.
#[cfg(windows)]
const TOO_LONG: i32 = 10_040;
