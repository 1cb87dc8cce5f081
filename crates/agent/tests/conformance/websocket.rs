//! The bytes of a Go client that publishes ports: a WebSocket's frames, remotedialer's messages.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{daemon::PATIENCE, system::Stream};

/// As Go sends it, with the key of RFC 6455's example.
pub(crate) const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: rancher_wins_proxy\r\nUser-Agent: Go-http-client/1.1\r\n\
Connection: Upgrade\r\nRancher-Wins-Cli-Proxy: exporter-x7f\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n";

/// Without a name, on some path.
pub(crate) const BARE_UPGRADE: &[u8] = b"GET /any/path?x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n";

/// The captured id of a message; what it is does not matter.
const ID: &[u8] = b"\xee\xb7\xbe\xd1\xc4\xe2\xdf\xe4\xf5\x01";
/// 15,000, as always.
const DEADLINE: &[u8] = b"\xb0\xea\x01";

const BINARY: u8 = 0x82;
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

pub(crate) struct Client {
    stream: Stream,
}

impl Client {
    pub(crate) async fn open(mut stream: Stream, upgrade: &[u8]) -> Self {
        stream.write_all(upgrade).await.expect("it is sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        let answer = String::from_utf8(answer).expect("text").to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(!answer.contains("sec-websocket-extensions"), "{answer}");
        Self { stream }
    }

    /// Any bytes, as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is sent");
    }

    /// A masked frame.
    pub(crate) async fn frame(&mut self, kind: u8, content: &[u8]) {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let [.., high, low] = content.len().to_be_bytes();
        let mut frame = vec![kind];
        match content.len() {
            0..126 => frame.push(0x80 | low),
            _ => frame.extend([0x80 | 126, high, low]),
        }
        frame.extend(MASK);
        frame.extend(content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.send(&frame).await;
    }

    /// `tcp/localhost:PORT`; `connection` is at most 63.
    pub(crate) async fn connect(&mut self, connection: u8, address: &str) {
        self.frame(BINARY, &[ID, &[connection << 1, 4], DEADLINE, address.as_bytes()].concat()).await;
    }

    pub(crate) async fn data(&mut self, connection: u8, data: &[u8]) {
        self.frame(BINARY, &[ID, &[connection << 1, 2], DEADLINE, data].concat()).await;
    }

    pub(crate) async fn end(&mut self, connection: u8) {
        self.frame(BINARY, &[ID, &[connection << 1, 6], b"EOF"].concat()).await;
    }

    /// PAUSE (6), RESUME (7), or something that nobody knows.
    pub(crate) async fn other(&mut self, connection: u8, kind: u8) {
        self.frame(BINARY, &[ID, &[connection << 1, kind << 1]].concat()).await;
    }

    /// All connections that are still there.
    pub(crate) async fn sync(&mut self, connections: &[u64]) {
        let ids: Vec<u8> = connections.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.frame(BINARY, &[ID, &[0, 16], &ids].concat()).await;
    }

    /// The next frame: its kind and content. Nothing: the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(PATIENCE, self.read()).await.expect("in time")
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => usize::from(self.stream.read_u16().await.ok()?),
            length => usize::from(length),
        };
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content).await.ok()?;
        Some((kind, content))
    }

    /// The next message: connection, type, payload.
    pub(crate) async fn message(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        loop {
            let (kind, content) = self.next().await?;
            if kind != BINARY {
                continue;
            }
            let id = content.iter().position(|byte| byte & 0x80 == 0).expect("an id") + 1;
            let (connection, kind) = (content[id] >> 1, content[id + 1] >> 1);
            let from = if kind == 1 { id + 2 + DEADLINE.len() } else { id + 2 };
            return Some((connection, kind, content[from..].to_vec()));
        }
    }
}
