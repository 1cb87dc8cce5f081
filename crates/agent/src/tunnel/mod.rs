//! Tunnels: a port is dialled for a caller, and bytes or datagrams go both ways.
//!
//! A tunnel holds no task of its own that could outlive it: the answer's stream owns everything, and whoever drops it (the
//! caller went away, the connection broke) frees the place, the socket and the memory.

mod datagrams;
mod dial;
mod registry;
mod stream;

pub use datagrams::relay as relay_datagrams;
pub use dial::{DialError, tcp, udp};
pub use registry::{Full, Place, Registry, TunnelLimits};
pub use stream::relay as relay_stream;

use tonic::Status;
use winstead_protocol::v1::{TunnelOpened, TunnelResponse, tunnel_response::Message};

/// One answer, or why there are no more.
type Answer = Result<TunnelResponse, Status>;

fn answer(message: Message) -> Option<Answer> {
    Some(Ok(TunnelResponse { message: Some(message) }))
}

fn opened(place: &Place) -> Option<Answer> {
    answer(Message::Opened(TunnelOpened { id: place.id() }))
}

fn stopping() -> Status {
    Status::unavailable("the agent stops")
}

fn gone() -> Status {
    Status::cancelled("the caller went away")
}
