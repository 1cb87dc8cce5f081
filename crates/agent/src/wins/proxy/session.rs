//! One client's WebSocket, and what its messages do.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, interval, timeout, timeout_at},
};
use tokio_stream::{Stream, StreamExt as _};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        self, Message as Frame,
        handshake::server::{ErrorResponse, Request as Upgrade, Response},
        protocol::WebSocketConfig,
    },
};

use super::line::{End, Line, Outbox, Piece, line};
use crate::{
    access::{Access, Caller, Port, Protocol, Request},
    wins::remotedialer::{Message, MessageError},
};

/// How long a client may take to ask for the WebSocket.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Clients ping every 5 s; one that says nothing for so long is gone (remotedialer's own number).
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// How long the client may take to read one message.
const WRITE: Duration = Duration::from_secs(60);

/// The largest message. Old clients send 32 KiB; one that lists 4,096 connections has as much.
pub(super) const LARGEST_MESSAGE: usize = 256 * 1024;
/// Connections of one session.
const MOST_LINES: usize = 4096;
/// Bytes of a session that wait for slow ports. When they are used up, nothing is read from the client for a while.
pub(super) const ROOM: usize = 32 * 1024 * 1024;
/// Messages of data that wait for the client, 32 KiB each.
pub(super) const DATA_WAITING: usize = 32;
/// Other messages that wait for it. A client that reads never has so many; one that does not is sent away.
pub(super) const CONTROL_WAITING: usize = 8192;

/// A session did not end as it should. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It did not begin.
    #[error("open a session for tunnels")]
    Handshake(#[source] Box<tungstenite::Error>),
    /// Nothing came for a while.
    #[error("hear anything for {} s", SILENCE.as_secs())]
    Silence,
    /// The client does not read.
    #[error("send anything: the client does not read")]
    Stuck,
    /// A text came, where only binary messages have a meaning.
    #[error("read a message: it is text")]
    Text,
    /// Something came that is no message.
    #[error("read a message")]
    Message(#[from] MessageError),
    /// The WebSocket or what is below broke.
    #[error("use the WebSocket")]
    Socket(#[source] Box<tungstenite::Error>),
}

impl From<tungstenite::Error> for SessionError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Serves one client until it goes; all its connections end with it. Not cancel safe: dropped, the client sees the end
/// of its stream.
///
/// # Errors
/// When the session does not end by the client's will.
pub async fn serve<S>(mut stream: S, caller: &Caller, access: &Access) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = match upgrade(&mut stream).await {
        Ok(socket) => socket,
        Err(error) => {
            refuse(&mut stream).await;
            return Err(SessionError::Handshake(Box::new(error)));
        }
    };
    let (sink, source) = futures_util::StreamExt::split(socket);
    let (data, data_waiting) = mpsc::channel(DATA_WAITING);
    let (control, control_waiting) = mpsc::channel(CONTROL_WAITING);
    let mut session = Session {
        caller,
        access,
        outbox: Outbox { data, control },
        lines: HashMap::new(),
        talks: JoinSet::new(),
        room: Arc::new(Semaphore::new(ROOM)),
    };
    let outcome = tokio::select! {
        outcome = session.read(source) => outcome,
        outcome = write(sink, control_waiting, data_waiting, None) => outcome,
    };
    session.talks.shutdown().await;
    outcome
}

type Socket<'a, S> = WebSocketStream<&'a mut S>;

/// Any path, any origin, with or without a name, as the old server had it: who calls is known from elsewhere.
async fn upgrade<S>(stream: &mut S) -> Result<Socket<'_, S>, tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let settings = WebSocketConfig::default()
        .read_buffer_size(64 * 1024)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let accept = accept_hdr_async_with_config(stream, name, Some(settings));
    match timeout(HANDSHAKE, accept).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

#[expect(clippy::result_large_err, clippy::unnecessary_wraps, reason = "the WebSocket's own types")]
fn name(request: &Upgrade, response: Response) -> Result<Response, ErrorResponse> {
    let name = request.headers().get("rancher-wins-cli-proxy").and_then(|name| name.to_str().ok());
    tracing::debug!(name, "a client that says this of itself wants tunnels");
    Ok(response)
}

/// Says why there is no WebSocket, to a client that may not want to hear it.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin)) {
    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
                   Connection: close\r\n\r\nBad Request\n";
    if let Ok(Err(error)) = timeout(HANDSHAKE, stream.write_all(answer)).await {
        tracing::debug!(%error, "a refusal was not sent");
    }
}

struct Session<'a> {
    caller: &'a Caller,
    access: &'a Access,
    outbox: Outbox,
    lines: HashMap<i64, Line>,
    talks: JoinSet<i64>,
    room: Arc<Semaphore>,
}

impl Session<'_> {
    async fn read<S>(&mut self, mut source: S) -> Result<(), SessionError>
    where
        S: Stream<Item = Result<Frame, tungstenite::Error>> + Unpin,
    {
        let mut deadline = Instant::now() + SILENCE;
        loop {
            let frame = tokio::select! {
                next = timeout_at(deadline, source.next()) => match next {
                    Err(_) => return Err(SessionError::Silence),
                    Ok(None) => return Ok(()),
                    Ok(Some(frame)) => frame?,
                },
                Some(ended) = self.talks.join_next() => {
                    if let Ok(id) = ended {
                        self.lines.remove(&id);
                    }
                    continue;
                }
            };
            match frame {
                Frame::Binary(message) => self.message(Message::parse(&message)?).await?,
                Frame::Text(_) => return Err(SessionError::Text),
                Frame::Close(_) => return Ok(()),
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
            // Not before: while a port is slow, the client is not heard, and that is not its fault.
            deadline = Instant::now() + SILENCE;
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), SessionError> {
        match message {
            Message::Data(id, data) => self.data(id, data).await,
            Message::Connect(id, address) => match self.connect(id, &address) {
                Ok(()) => Ok(()),
                Err(refusal) => {
                    tracing::info!(caller = %self.caller, address, refusal, "a tunnel is refused");
                    self.tell(Message::Error(id, refusal))
                }
            },
            Message::Error(id, _) => {
                self.lines.remove(&id);
                Ok(())
            }
            Message::Pause(id) | Message::Resume(id) => {
                if let Some(line) = self.lines.get(&id) {
                    line.go(matches!(message, Message::Resume(_)));
                }
                Ok(())
            }
            Message::Sync(there) => {
                self.lines.retain(|id, _| there.contains(id));
                Ok(())
            }
            Message::Other(kind) => {
                tracing::debug!(kind, "a message that this version does not know");
                Ok(())
            }
        }
    }

    async fn data(&mut self, id: i64, data: Bytes) -> Result<(), SessionError> {
        let Some(line) = self.lines.get(&id) else {
            return self.tell(Message::Error(id, format!("connection not found {id}")));
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(length).await;
        let Ok(room) = room else { return Ok(()) };
        if line.push(Piece { data, room }) { self.tell(Message::Pause(id)) } else { Ok(()) }
    }

    /// Opens a connection, or says why not: the session goes on either way.
    fn connect(&mut self, id: i64, address: &str) -> Result<(), String> {
        let port = target(address).ok_or("only tcp/localhost:PORT can be reached")?;
        self.access.decide(self.caller, Request::Tunnel(&port)).map_err(|denied| denied.to_string())?;
        if self.lines.len() >= MOST_LINES {
            return Err(format!("there are {MOST_LINES} connections already"));
        }
        if self.lines.contains_key(&id) {
            return Err(format!("connection {id} is open already"));
        }
        let (line, talk) = line(id, End::Port(port.number), self.outbox.clone());
        self.lines.insert(id, line);
        self.talks.spawn(talk.run());
        Ok(())
    }

    /// Queues what the client is to know. It never waits: whoever reads us also reads this.
    fn tell(&self, message: Message) -> Result<(), SessionError> {
        self.outbox.control.try_send(message).map_err(|_| SessionError::Stuck)
    }
}

/// What a Connect names: `tcp/localhost:9796`, literally.
fn target(address: &str) -> Option<Port> {
    let digits = address.strip_prefix("tcp/localhost:")?;
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Port { protocol: Protocol::Tcp, host: "localhost".to_owned(), number })
}

/// Writes what waits until the session ends, in as few writes as it comes; and, as the client's end does, a ping from time
/// to time.
pub(super) async fn write<S>(
    mut sink: S,
    mut control: mpsc::Receiver<Message>,
    mut data: mpsc::Receiver<Message>,
    ping: Option<Duration>,
) -> Result<(), SessionError>
where
    S: Sink<Frame, Error = tungstenite::Error> + Unpin,
{
    let mut pings = interval(ping.unwrap_or(SILENCE));
    let mut id = 0_i64;
    loop {
        let first = tokio::select! {
            biased;
            _ = pings.tick(), if ping.is_some() => Frame::Ping(Bytes::new()),
            Some(message) = control.recv() => binary(&message, &mut id),
            Some(message) = data.recv() => binary(&message, &mut id),
            else => return Ok(()),
        };
        let mut next = Some(first);
        while let Some(frame) = next {
            timeout(WRITE, sink.feed(frame)).await.map_err(|_| SessionError::Stuck)??;
            let message = control.try_recv().or_else(|_| data.try_recv()).ok();
            next = message.map(|message| binary(&message, &mut id));
        }
        timeout(WRITE, sink.flush()).await.map_err(|_| SessionError::Stuck)??;
    }
}

fn binary(message: &Message, id: &mut i64) -> Frame {
    *id = id.wrapping_add(1);
    Frame::Binary(message.encode(*id))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::access::{Account, Door};

    /// A client that has its WebSocket; what it does not read, nobody reads.
    async fn client(
        room: usize,
    ) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<Result<(), SessionError>>) {
        let (mut client, server) = tokio::io::duplex(room);
        let session = tokio::spawn(async move {
            let account = Account::default();
            let caller = Caller { door: Door::WinsProxy, account, process: None, container: None };
            serve(server, &caller, &Access::default()).await
        });
        let hello = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(hello.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.read_u8().await.expect("it answers"));
        }
        (client, session)
    }

    /// A masked binary frame.
    fn masked(message: &Message) -> Vec<u8> {
        let content = message.encode(1);
        let length = u8::try_from(content.len()).expect("short");
        [&[0x82, 0x80 | length, 0, 0, 0, 0][..], &content].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_for_a_minute_is_gone() {
        let (mut client, session) = client(1024).await;
        tokio::time::sleep(SILENCE / 2).await;
        client.write_all(&masked(&Message::Other(99))).await.expect("it reads");
        let spoke = Instant::now();
        let ended = session.await.expect("no panic");
        assert!(matches!(ended, Err(SessionError::Silence)), "{ended:?}");
        assert_eq!(spoke.elapsed().as_secs(), SILENCE.as_secs(), "from its last word on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_for_a_minute_is_sent_away_though_it_speaks() {
        let (mut client, session) = client(256).await;
        // Each is answered: there is no such connection.
        let data = masked(&Message::Data(5, Bytes::from_static(b"x")));
        for _ in 0..50 {
            client.write_all(&data).await.expect("it reads");
        }
        let full = Instant::now();
        while !session.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            client.write_all(&data).await.unwrap_or_default();
        }
        let ended = session.await.expect("no panic");
        assert!(matches!(ended, Err(SessionError::Stuck)), "{ended:?}");
        assert!((WRITE.as_secs()..WRITE.as_secs() + 3).contains(&full.elapsed().as_secs()));
    }

    #[test]
    fn only_ports_of_localhost_by_that_name_are_targets() {
        assert_eq!(target("tcp/localhost:9796").map(|port| port.number), Some(9796));
        for other in
            ["tcp/127.0.0.1:9796", "udp/localhost:53", "tcp/localhost:+1", "tcp/localhost:65536", "tcp", ""]
        {
            assert_eq!(target(other), None, "{other}");
        }
    }
}
