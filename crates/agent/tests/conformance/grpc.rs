//! The bytes of a Go client that calls gRPC: HTTP/2 frames, HPACK, protobuf.

use httlib_hpack::Decoder;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    daemon::PATIENCE,
    system::{self, Stream},
};

/// `npipe:////./pipe/rancher_wins`, as grpc-go 1.33 sends it: in Huffman's code, to be taken up (index 1).
pub(crate) const OLD_AUTHORITY: &[u8] =
    b"\x41\x95\xaa\xb3\x56\x5b\x8c\x30\xc3\x0b\xb1\x59\xab\x2b\x16\x0e\xa2\x4e\x5b\x22\xf0\x6a\x91";
/// `npipe:%2F%2F%2F%2F.%2Fpipe%2Francher_wins`, as newer ones do.
pub(crate) const NEW_AUTHORITY: &[u8] =
    b"\x41\x9e\xaa\xb3\x56\x5b\x8a\x8b\x0a\xa2\xc2\xa8\xb0\xaa\x2c\x2b\xaa\x2c\
\x35\x9a\xb2\xaa\x2c\x36\x0e\xa2\x4e\x5b\x22\xf0\x6a\x91";

/// `/wins.ApplicationService/Info`, in Huffman's code, to be taken up (index 4).
pub(crate) const INFO: &[u8] =
    b"\x44\x95\x63\xc1\xaa\x42\xf0\xd7\x5d\x06\x20\xd2\x63\xd5\xb8\xb6\x77\x31\x0a\xc6\x4a\xa5\x3f";

/// `content-type: application/grpc`, `user-agent: grpc-go/1.33.3`, `te: trailers`, all to be taken up.
const REST: &[u8] =
    b"\x5f\x8b\x1d\x75\xd0\x62\x0d\x26\x3d\x4c\x4d\x65\x64\x7a\x8b\x9a\xca\xc8\xb4\xc7\x60\x2b\xb2\
\xca\xec\xff\x40\x82\x49\x7f\x86\x4d\x83\x35\x05\xb1\x1f";

/// Everything of the first request again, by its index in the client's table: `:path` was the first to be taken up.
pub(crate) const SAME_AGAIN: &[u8] = b"\x83\x86\xc2\xc1\xc0\xbf\xbe";

/// What each connection begins with: the preface, and SETTINGS without any.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// A frame with a short content.
pub(crate) fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    [&[0, high, low, kind, flags, 0, 0, 0, stream], content].concat()
}

/// A path as a literal without a code.
pub(crate) fn path(path: &str) -> Vec<u8> {
    [&[0x44, u8::try_from(path.len()).expect("short")], path.as_bytes()].concat()
}

/// A first request's header block.
pub(crate) fn headers(path: &[u8], authority: &[u8]) -> Vec<u8> {
    [b"\x83\x86", path, authority, REST].concat()
}

/// A text or message of protobuf.
pub(crate) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut left = value.len();
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).expect("seven bits"));
    out.extend_from_slice(value);
    out
}

/// A message as gRPC sends it.
pub(crate) fn message(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    [&[0], &length[..], content].concat()
}

/// What came on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whole messages, one after the other, without their lengths.
    pub(crate) content: Vec<u8>,
    /// `grpc-status`; -1 when the stream was reset.
    pub(crate) status: i32,
    /// `grpc-message`, or how it was reset.
    pub(crate) text: String,
}

pub(crate) struct Client {
    stream: Stream,
    decoder: Decoder<'static>,
}

impl Client {
    pub(crate) async fn new(mut stream: Stream) -> Self {
        stream.write_all(PREFACE).await.expect("it is sent");
        Self { stream, decoder: Decoder::default() }
    }

    /// A server that is gone is seen when its answer is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap_or_default();
    }

    /// A call with one message.
    pub(crate) async fn call(&mut self, stream: u8, block: &[u8], content: &[u8]) -> Answer {
        self.send(&frame(HEADERS, 4, stream, block)).await;
        self.send(&frame(DATA, 1, stream, &message(content))).await;
        self.answer(stream).await
    }

    /// Opens a call whose messages come later.
    pub(crate) async fn open(&mut self, stream: u8, block: &[u8]) {
        self.send(&frame(HEADERS, 4, stream, block)).await;
    }

    /// One message of an open call.
    pub(crate) async fn say(&mut self, stream: u8, content: &[u8], last: bool) {
        self.send(&frame(DATA, u8::from(last), stream, &message(content))).await;
    }

    /// Sends nothing more.
    pub(crate) async fn end(&mut self) {
        system::end(&mut self.stream).await;
    }

    /// Everything up to the end of a stream.
    pub(crate) async fn answer(&mut self, wanted: u8) -> Answer {
        let read = self.read(wanted);
        timeout(PATIENCE, read).await.expect("an answer in time")
    }

    async fn read(&mut self, wanted: u8) -> Answer {
        let (mut answer, mut data) = (Answer { status: -2, ..Answer::default() }, Vec::new());
        loop {
            let (kind, flags, stream, content) = self.frame().await;
            match kind {
                SETTINGS if flags & 1 == 0 => {
                    for setting in content.chunks(6) {
                        // The table of our header blocks: the adapter counts on nobody having changed it.
                        assert_ne!(setting[..2], [0, 1], "SETTINGS_HEADER_TABLE_SIZE");
                    }
                    self.send(&frame(SETTINGS, 1, 0, &[])).await;
                }
                PING if flags & 1 == 0 => self.send(&frame(PING, 1, 0, &content)).await,
                GOAWAY => {
                    let text = format!("GOAWAY {:?}", &content[4..8]);
                    return Answer { status: -1, text, ..answer };
                }
                RESET if stream == wanted => {
                    return Answer { status: -1, text: format!("RST_STREAM {content:?}"), ..answer };
                }
                DATA => {
                    if !content.is_empty() {
                        let count = u32::try_from(content.len()).expect("short").to_be_bytes();
                        self.send(&frame(WINDOW, 0, 0, &count)).await;
                        if flags & 1 == 0 {
                            self.send(&frame(WINDOW, 0, stream, &count)).await;
                        }
                    }
                    if stream == wanted {
                        data.extend_from_slice(&content);
                    }
                }
                HEADERS => {
                    let fields = self.fields(content);
                    if stream != wanted {
                        continue;
                    }
                    if let Some(status) = fields.iter().find(|(name, _)| name == "grpc-status") {
                        answer.status = status.1.parse().expect("a number");
                    }
                    if let Some((_, text)) = fields.into_iter().find(|(name, _)| name == "grpc-message") {
                        answer.text = text;
                    }
                    if flags & 1 != 0 {
                        answer.content = unwrapped(&data);
                        return answer;
                    }
                }
                _ => {}
            }
        }
    }

    fn fields(&mut self, mut block: Vec<u8>) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        self.decoder.decode(&mut block, &mut fields).expect("a right header block");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        fields.into_iter().map(|(name, value, _)| (text(name), text(value))).collect()
    }

    /// Frame by frame; the end of the stream is told as GOAWAY.
    async fn frame(&mut self) -> (u8, u8, u8, Vec<u8>) {
        let mut header = [0; 9];
        if self.stream.read_exact(&mut header).await.is_err() {
            return (GOAWAY, 0, 0, b"\0\0\0\0gone".to_vec());
        }
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content).await.expect("a whole frame");
        (header[3], header[4], header[8], content)
    }
}

/// Messages without their lengths.
fn unwrapped(mut data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((head, rest)) = data.split_first_chunk::<5>() {
        let [_, length @ ..] = *head;
        let (message, later) = rest.split_at(u32::from_be_bytes(length) as usize);
        content.extend_from_slice(message);
        data = later;
    }
    content
}
