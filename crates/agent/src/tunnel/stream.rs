//! A TCP connection, carried by messages.

use std::io;

use futures_util::{Stream, stream};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use winstead_agent_client::socket::{self, Reader, Writer};
use winstead_protocol::v1::{TunnelRequest, tunnel_request, tunnel_response::Message};

use crate::tunnel::{Answer, Place, answer, gone, opened, registry::Counters, stopping};

/// What goes to the caller. Each direction ends by itself; the stream ends after both.
///
/// # Errors
/// When the connection is no more.
pub fn relay(
    connection: TcpStream,
    incoming: Streaming<TunnelRequest>,
    place: Place,
    stop: CancellationToken,
) -> io::Result<impl Stream<Item = Answer> + Send + use<>> {
    let (reader, writer) = socket::split(connection)?;
    let counters = place.counters();
    // A task, because neither direction may wait for the other; it ends at the latest when the set is dropped.
    let mut other = JoinSet::new();
    other.spawn(to_port(incoming, writer, counters.clone()));
    let relay = Relay { step: Step::Opened, reader, other, counters, place, stop };
    Ok(stream::unfold(relay, |mut relay| async move { Some((relay.next().await?, relay)) }))
}

struct Relay {
    step: Step,
    reader: Reader,
    /// The other direction: from the caller to the port.
    other: JoinSet<Result<(), Status>>,
    counters: Counters,
    place: Place,
    stop: CancellationToken,
}

enum Step {
    /// The caller does not know yet that the port is reached.
    Opened,
    /// Bytes come from the port.
    Reading,
    /// No more come from there; the caller may go on.
    Ended,
    /// Something broke, and that was said.
    Broken,
}

impl Relay {
    async fn next(&mut self) -> Option<Answer> {
        let next = match self.step {
            Step::Opened => {
                self.step = Step::Reading;
                opened(&self.place)
            }
            Step::Reading => self.read().await,
            Step::Ended => self.other_ended().await,
            Step::Broken => None,
        };
        if matches!(next, Some(Err(_))) {
            self.step = Step::Broken;
        }
        next
    }

    async fn read(&mut self) -> Option<Answer> {
        tokio::select! {
            read = self.reader.next() => match read {
                Ok(Some(bytes)) => {
                    self.counters.add_out(bytes.len());
                    answer(Message::Data(bytes))
                }
                Ok(None) => {
                    self.step = Step::Ended;
                    answer(Message::End(true))
                }
                Err(error) => Some(Err(broken(&error))),
            },
            Err(status) = ended(&mut self.other) => Some(Err(status)),
            () = self.stop.cancelled() => Some(Err(stopping())),
        }
    }

    async fn other_ended(&mut self) -> Option<Answer> {
        tokio::select! {
            outcome = ended(&mut self.other) => outcome.err().map(Err),
            () = self.stop.cancelled() => Some(Err(stopping())),
        }
    }
}

/// How the other direction ended; at once when it did before.
async fn ended(other: &mut JoinSet<Result<(), Status>>) -> Result<(), Status> {
    match other.join_next().await {
        None | Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(status))) => Err(status),
        Some(Err(error)) => Err(Status::internal(error.to_string())),
    }
}

async fn to_port(
    mut incoming: Streaming<TunnelRequest>,
    mut writer: Writer,
    counters: Counters,
) -> Result<(), Status> {
    // Not asked for more before the port has taken all: so the caller's window closes, and the caller waits.
    while let Some(request) = incoming.message().await? {
        match request.message {
            Some(tunnel_request::Message::Data(bytes)) => {
                writer.write(&bytes).await.map_err(|error| broken(&error))?;
                counters.add_in(bytes.len());
            }
            Some(tunnel_request::Message::End(_)) => {
                return writer.end().await.map_err(|error| broken(&error));
            }
            Some(tunnel_request::Message::Open(_)) | None => {
                return Err(Status::invalid_argument("a tunnel is opened once"));
            }
        }
    }
    Err(gone())
}

fn broken(error: &io::Error) -> Status {
    Status::aborted(format!("the connection to the port broke: {error}"))
}
