//! One tunnel.

use std::{
    error::Error as _,
    fmt,
    future::ready,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use tokio::sync::oneshot;
use tonic::{Code, Status, Streaming};
use winstead_protocol::v1::{TunnelRequest, TunnelResponse, tunnel_request, tunnel_response};

use crate::{Connection, error::ConnectError, tunnel::Target};

/// What is sent. A type of its own: the compiler cannot prove of an async function that awaits a call with a `dyn Stream`
/// that it may move between threads (rust-lang/rust#110338).
struct Requests(Pin<Box<dyn Stream<Item = TunnelRequest> + Send>>);

impl Stream for Requests {
    type Item = TunnelRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TunnelRequest>> {
        self.0.as_mut().poll_next(context)
    }
}

/// No tunnel. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The agent says no, and why.
    #[error("open a tunnel to {target}: {reason}")]
    Refused {
        /// Where to.
        target: Target,
        /// Which kind of no.
        refusal: Refusal,
        /// The agent's words.
        reason: String,
    },
    /// The connection to the agent ended before it answered. Nothing was sent to the port.
    #[error("open a tunnel to {target}: the agent went away")]
    Lost {
        /// Where to.
        target: Target,
        /// What the transport says.
        source: Status,
    },
    /// There is no connection to the agent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why an agent opens no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not.
    NotAllowed,
    /// The port refused, or there is no way to it.
    Unreachable,
    /// The port did not answer in time.
    NoAnswer,
    /// There are as many tunnels as there may be.
    TooMany,
    /// Something else; the reason says it.
    Other,
}

/// A tunnel that ended before its time. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The agent says that it broke, or the connection to it did.
    #[error("keep the tunnel to {target}: {}", status.message())]
    Broken {
        /// Where it led.
        target: Target,
        /// What was said.
        status: Box<Status>,
    },
    /// The agent does not speak as it should.
    #[error("keep the tunnel to {target}: the agent sent what belongs elsewhere")]
    Confused {
        /// Where it led.
        target: Target,
    },
}

/// An open tunnel through which nothing was sent yet.
pub struct Tunnel {
    requests: oneshot::Sender<Requests>,
    incoming: Incoming,
}

/// What comes out of a tunnel. Dropping it ends the tunnel, both ways.
#[derive(Debug)]
pub struct Incoming {
    id: u64,
    target: Target,
    answers: Streaming<TunnelResponse>,
    /// Dropped with this, it ends what is sent: HTTP/2 would keep the call open as long as that goes on.
    _sending: oneshot::Sender<()>,
}

impl Connection {
    /// Opens a tunnel; returns when the agent has reached the port.
    ///
    /// # Errors
    /// When the agent says no, or goes away. Bounded by the agent's own time for reaching the port. Cancel safe: what was
    /// opened is closed.
    pub async fn open_tunnel(&self, target: &Target) -> Result<Tunnel, OpenError> {
        let (requests, later) = oneshot::channel();
        let (sending, over) = oneshot::channel();
        let asked = self.tunnels().open(first_and(target, later, over)).await;
        let mut answers = asked.map_err(|status| refused(target, status))?.into_inner();
        let first = answers.message().await.map_err(|status| refused(target, status))?;
        let Some(tunnel_response::Message::Opened(opened)) = first.and_then(|answer| answer.message) else {
            let status = Status::internal("the first answer was not that it is open");
            return Err(refused(target, status));
        };
        let incoming = Incoming { id: opened.id, target: target.clone(), answers, _sending: sending };
        Ok(Tunnel { requests, incoming })
    }

    /// Whether the agent would open such a tunnel for us. Asks nobody but the agent; an agent that does not know the
    /// question counts as a yes, because opening will tell.
    ///
    /// # Errors
    /// When it would not, or goes away.
    pub async fn check_tunnel(&self, target: &Target) -> Result<(), OpenError> {
        match self.tunnels().check(target.message()).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) => Err(refused(target, status)),
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tunnel").field("incoming", &self.incoming).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// Sends what `outgoing` yields, and hands over what comes.
    ///
    /// The end of `outgoing` is the end of this direction only. An error of it breaks the tunnel.
    pub fn start(self, outgoing: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Incoming {
        // Nobody takes it when the connection is gone; reading will say so.
        drop(self.requests.send(requests(outgoing)));
        self.incoming
    }

    /// The agent's number for it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.incoming.id
    }
}

/// Where to, then what goes through it: that comes when there is a tunnel. It just ends when nobody brings it, and when all
/// is `over`; the agent takes that for a caller who went away.
fn first_and(target: &Target, later: oneshot::Receiver<Requests>, over: oneshot::Receiver<()>) -> Requests {
    let first = request(tunnel_request::Message::Open(target.message()));
    let rest = later.map(|brought| brought.unwrap_or_else(|_| Requests(stream::empty().boxed())));
    Requests(stream::iter([first]).chain(rest.flatten_stream()).take_until(over).boxed())
}

/// What is sent: the pieces, then the message that says "the end". At an error it just ends, and the agent takes the
/// rest for lost.
fn requests(outgoing: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Requests {
    let pieces = outgoing.map(|piece| match piece {
        Ok(bytes) => Some(request(tunnel_request::Message::Data(bytes))),
        Err(error) => {
            tracing::debug!(%error, "a tunnel's source broke");
            None
        }
    });
    let end = Some(request(tunnel_request::Message::End(true)));
    // Ends with the first nothing, so that no end is said after an error.
    Requests(pieces.chain(stream::iter([end])).scan((), |(), request| ready(request)).boxed())
}

impl Incoming {
    /// The next piece, or datagram; nothing when no more comes from the port.
    ///
    /// # Errors
    /// When the tunnel broke. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TunnelError> {
        match self.answer().await? {
            Some(tunnel_response::Message::Data(bytes)) => Ok(Some(bytes)),
            Some(tunnel_response::Message::End(_)) => Ok(None),
            Some(tunnel_response::Message::Opened(_)) => Err(self.confused()),
            None => Err(self.broken(Status::aborted("the agent ended it in the middle"))),
        }
    }

    /// Waits until the other direction has ended too. To be called after [`Incoming::next`] said that no more comes:
    /// dropping a tunnel before that breaks it.
    ///
    /// # Errors
    /// When the tunnel broke.
    pub async fn finish(mut self) -> Result<(), TunnelError> {
        match self.answer().await? {
            None => Ok(()),
            Some(_) => Err(self.confused()),
        }
    }

    async fn answer(&mut self) -> Result<Option<tunnel_response::Message>, TunnelError> {
        match self.answers.message().await {
            Ok(Some(answer)) => answer.message.map(Some).ok_or_else(|| self.confused()),
            Ok(None) => Ok(None),
            Err(status) => Err(self.broken(status)),
        }
    }

    fn broken(&self, status: Status) -> TunnelError {
        TunnelError::Broken { target: self.target.clone(), status: Box::new(status) }
    }

    fn confused(&self) -> TunnelError {
        TunnelError::Confused { target: self.target.clone() }
    }
}

fn request(message: tunnel_request::Message) -> TunnelRequest {
    TunnelRequest { message: Some(message) }
}

fn refused(target: &Target, status: Status) -> OpenError {
    let target = target.clone();
    // What an agent says has no cause on this side; what the transport says has.
    if status.source().is_some() {
        return OpenError::Lost { target, source: status };
    }
    let refusal = match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Refusal::NotAllowed,
        Code::Unavailable => Refusal::Unreachable,
        Code::DeadlineExceeded => Refusal::NoAnswer,
        Code::ResourceExhausted => Refusal::TooMany,
        _ => Refusal::Other,
    };
    OpenError::Refused { target, refusal, reason: status.message().to_owned() }
}
