//! The client's end of a session: what connects to published ports here, comes out at the host's localhost.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, interval, timeout_at},
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Message as Frame, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use winstead_agent_client::socket::{self, listen_with};

use super::{
    line::{End, Line, Outbox, Piece, line},
    session::{
        CONTROL_WAITING, DATA_WAITING, HANDSHAKE, LARGEST_MESSAGE, ROOM, SILENCE, SessionError, write,
    },
};
use crate::wins::remotedialer::{END, Message};

/// How often the server hears of us, as old clients do it.
const PING: Duration = Duration::from_secs(5);
/// How often it is told which connections there are.
const SYNC: Duration = Duration::from_secs(60);
/// Connections that wait to be told of.
const ACCEPTED: usize = 64;

/// Ports cannot be published. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A port cannot be listened at here.
    #[error("listen at port {port}")]
    Port {
        /// Which.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The server's end is gone.
    #[error("keep the tunnel: the server closed it")]
    Closed,
}

/// Leads whoever connects to one of these listeners to the port beside it, of the host that is behind `stream`. Returns only
/// with an error.
///
/// # Errors
/// When the server does not speak this, or the tunnel ends.
pub async fn publish<S>(stream: S, pipe: &str, published: Vec<(TcpListener, u16)>) -> Result<(), PublishError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (accepted, mut connections) = mpsc::channel(ACCEPTED);
    let mut listening = JoinSet::new();
    for (listener, port) in published {
        listening.spawn(accept(listener, port, accepted.clone()));
    }
    let settings = WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE));
    let name = pipe.rsplit(['/', '\\']).next().unwrap_or_default();
    let handshake = |error| SessionError::Handshake(Box::new(error));
    let request = format!("ws://{name}/").into_client_request().map_err(handshake)?;
    let opening = client_async_with_config(request, stream, Some(settings));
    let (socket, _) = match tokio::time::timeout(HANDSHAKE, opening).await {
        Ok(opened) => opened.map_err(handshake)?,
        Err(_) => return Err(SessionError::Silence.into()),
    };
    let (sink, source) = socket.split();
    let (data, data_waiting) = mpsc::channel(DATA_WAITING);
    let (control, control_waiting) = mpsc::channel(CONTROL_WAITING);
    let mut client = Client {
        outbox: Outbox { data, control },
        lines: HashMap::new(),
        talks: JoinSet::new(),
        last: 0,
        room: Arc::new(Semaphore::new(ROOM)),
    };
    let outcome = tokio::select! {
        outcome = client.run(source, &mut connections) => outcome,
        outcome = write(sink, control_waiting, data_waiting, Some(PING)) => outcome,
    };
    client.talks.shutdown().await;
    listening.shutdown().await;
    outcome?;
    Err(PublishError::Closed)
}

/// Listens at the same ports here, on all addresses.
///
/// # Errors
/// When one is taken.
pub fn listen_at(ports: &[u16]) -> Result<Vec<(TcpListener, u16)>, PublishError> {
    let mut published = Vec::new();
    for port in ports {
        let failed = |source| PublishError::Port { port: *port, source };
        published.push((listen(*port).map_err(failed)?, *port));
    }
    Ok(published)
}

/// Both families where the system has both.
fn listen(port: u16) -> io::Result<TcpListener> {
    let both = TcpSocket::new_v6().and_then(|socket| {
        // Windows keeps IPv4 out unless it is told otherwise.
        SockRef::from(&socket).set_only_v6(false)?;
        listen_with(socket, (Ipv6Addr::UNSPECIFIED, port).into())
    });
    match both {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AddrNotAvailable) => {
            socket::listen((Ipv4Addr::UNSPECIFIED, port).into())
        }
        both => both,
    }
}

async fn accept(listener: TcpListener, port: u16, accepted: mpsc::Sender<(TcpStream, u16)>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if accepted.send((stream, port)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, port, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Client {
    outbox: Outbox,
    lines: HashMap<i64, Line>,
    talks: JoinSet<i64>,
    last: i64,
    room: Arc<Semaphore>,
}

impl Client {
    async fn run(
        &mut self,
        mut source: impl futures_util::Stream<Item = Result<Frame, tokio_tungstenite::tungstenite::Error>> + Unpin,
        connections: &mut mpsc::Receiver<(TcpStream, u16)>,
    ) -> Result<(), SessionError> {
        let mut sync = interval(SYNC);
        let mut deadline = Instant::now() + SILENCE;
        loop {
            let frame = tokio::select! {
                Some((stream, port)) = connections.recv() => {
                    self.open(stream, port)?;
                    continue;
                }
                Some(ended) = self.talks.join_next() => {
                    if let Ok(id) = ended {
                        self.lines.remove(&id);
                    }
                    continue;
                }
                _ = sync.tick() => {
                    self.tell(Message::Sync(self.lines.keys().copied().collect()))?;
                    continue;
                }
                next = timeout_at(deadline, source.next()) => match next {
                    Err(_) => return Err(SessionError::Silence),
                    Ok(None) => return Ok(()),
                    Ok(Some(frame)) => frame?,
                },
            };
            match frame {
                Frame::Binary(message) => self.message(Message::parse(&message)?).await?,
                Frame::Text(_) => return Err(SessionError::Text),
                Frame::Close(_) => return Ok(()),
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
            deadline = Instant::now() + SILENCE;
        }
    }

    fn open(&mut self, stream: TcpStream, port: u16) -> Result<(), SessionError> {
        self.last += 1;
        let (line, talk) = line(self.last, End::Accepted(stream), self.outbox.clone());
        self.lines.insert(self.last, line);
        self.tell(Message::Connect(self.last, format!("tcp/localhost:{port}")))?;
        self.talks.spawn(talk.run());
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), SessionError> {
        match message {
            Message::Data(id, data) => return self.data(id, data).await,
            // The old server never did, and nothing here may be reached from there.
            Message::Connect(id, _) => {
                return self.tell(Message::Error(id, "nothing can be reached here".to_owned()));
            }
            Message::Error(id, text) => {
                if text != END {
                    tracing::warn!(text, "the server ended a connection");
                }
                self.lines.remove(&id);
            }
            Message::Pause(id) | Message::Resume(id) => {
                if let Some(line) = self.lines.get(&id) {
                    line.go(matches!(message, Message::Resume(_)));
                }
            }
            Message::Sync(_) | Message::Other(_) => {}
        }
        Ok(())
    }

    async fn data(&self, id: i64, data: Bytes) -> Result<(), SessionError> {
        let Some(line) = self.lines.get(&id) else {
            return self.tell(Message::Error(id, format!("connection not found {id}")));
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(length).await else { return Ok(()) };
        if line.push(Piece { data, room }) { self.tell(Message::Pause(id)) } else { Ok(()) }
    }

    fn tell(&self, message: Message) -> Result<(), SessionError> {
        self.outbox.control.try_send(message).map_err(|_| SessionError::Stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_published_port_is_reached_by_both_families() {
        let published = listen_at(&[0]).expect("a port");
        let here = published[0].0.local_addr().expect("an address");
        TcpStream::connect((Ipv4Addr::LOCALHOST, here.port())).await.expect("it listens");
        if here.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, here.port())).await.expect("it listens");
        }
    }
}
