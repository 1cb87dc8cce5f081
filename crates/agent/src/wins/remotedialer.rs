//! The messages of a tunnel (`rancher/remotedialer`): many connections in one WebSocket. No I/O.
//!
//! ```text
//! id  connection  type  [deadline: only Data and Connect]  payload, to the end of the WebSocket's message
//! ```
//! All numbers are zig-zag varints, as Go's `binary.PutVarint` writes them.

use bytes::{BufMut as _, Bytes, BytesMut};

const DATA: i64 = 1;
const CONNECT: i64 = 2;
const ERROR: i64 = 3;
const PAUSE: i64 = 6;
const RESUME: i64 = 7;
const SYNC: i64 = 8;

/// What each version sends as deadline, and none reads.
const DEADLINE: i64 = 15_000;
/// The longest number.
const LONGEST_NUMBER: usize = 10;
/// What receivers before v0.5.0 read of a Connect or Error.
const LONGEST_TEXT: usize = 100;
/// What newer ones read of it.
const LONGEST_TEXT_READ: usize = 266;

/// The text of an [`Message::Error`] that is none: the connection came to its end.
pub const END: &str = "EOF";

/// One message, without its id, which is only for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes of a connection.
    Data(i64, Bytes),
    /// To open a connection to this: `tcp/localhost:9796`. Cut where it is too long.
    Connect(i64, String),
    /// A connection is over, and why; [`END`]: as it should.
    Error(i64, String),
    /// No more data for a while.
    Pause(i64),
    /// Data again.
    Resume(i64),
    /// All connections that the other side still has.
    Sync(Vec<i64>),
    /// Something that newer versions say, or peers among each other; to be passed over.
    Other(i64),
}

/// It is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its payload, or has a number that is too long.
    #[error("the message's header is not whole")]
    Header,
    /// Half an id.
    #[error("the list of connections is not whole")]
    Sync,
}

impl Message {
    /// Reads one message of the WebSocket. The payload is a part of it, not a copy.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(message: &Bytes) -> Result<Self, MessageError> {
        let mut rest = &message[..];
        let mut number = || take(&mut rest).ok_or(MessageError::Header);
        let (_id, connection, kind) = (number()?, number()?, number()?);
        if matches!(kind, DATA | CONNECT) {
            number()?;
        }
        Ok(match kind {
            DATA => Self::Data(connection, message.slice(message.len() - rest.len()..)),
            CONNECT => Self::Connect(connection, text(rest)),
            ERROR => Self::Error(connection, text(rest)),
            PAUSE => Self::Pause(connection),
            RESUME => Self::Resume(connection),
            SYNC => Self::Sync(connections(rest)?),
            _ => Self::Other(kind),
        })
    }

    /// Writes the message with this id.
    #[must_use]
    pub fn encode(&self, id: i64) -> Bytes {
        let (connection, kind, payload): (i64, i64, &[u8]) = match self {
            Self::Data(connection, data) => (*connection, DATA, data),
            Self::Connect(connection, address) => (*connection, CONNECT, cut(address, LONGEST_TEXT)),
            Self::Error(connection, text) => (*connection, ERROR, cut(text, LONGEST_TEXT)),
            Self::Pause(connection) => (*connection, PAUSE, &[]),
            Self::Resume(connection) => (*connection, RESUME, &[]),
            Self::Sync(_) => (0, SYNC, &[]),
            Self::Other(kind) => (0, *kind, &[]),
        };
        let mut out = BytesMut::with_capacity(4 * LONGEST_NUMBER + payload.len());
        for number in [id, connection, kind] {
            put(number, &mut out);
        }
        if matches!(kind, DATA | CONNECT) {
            put(DEADLINE, &mut out);
        }
        out.put_slice(payload);
        if let Self::Sync(connections) = self {
            connections.iter().for_each(|connection| out.put_i64_le(*connection));
        }
        out.freeze()
    }
}

/// Takes a number off the front.
fn take(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for (place, byte) in rest.iter().enumerate().take(LONGEST_NUMBER) {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        let shifted = bits << (7 * place);
        if shifted >> (7 * place) != bits {
            return None;
        }
        number |= shifted;
        if byte & 0x80 == 0 {
            *rest = &rest[place + 1..];
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

fn put(number: i64, out: &mut BytesMut) {
    let mut left = (number << 1 ^ number >> 63).cast_unsigned();
    while left >= 0x80 {
        out.put_u8(u8::try_from(left & 0x7f).unwrap_or(0) | 0x80);
        left >>= 7;
    }
    out.put_u8(u8::try_from(left).unwrap_or(0));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_TEXT_READ)]).into_owned()
}

/// As much of a text as fits, in whole characters.
fn cut(text: &str, most: usize) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(most)]
}

fn connections(bytes: &[u8]) -> Result<Vec<i64>, MessageError> {
    let (ids, []) = bytes.as_chunks() else { return Err(MessageError::Sync) };
    Ok(ids.iter().map(|id| i64::from_le_bytes(*id)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
        digits.chunks(2).map(|digits| pair(digits).expect("hexadecimal")).collect()
    }

    /// As captured from remotedialer v0.4.1, with the id that each has.
    fn captured() -> [(Bytes, Message); 4] {
        let connect = "eeb7bed1c4e2dfe4f501 02 04 b0ea01 7463702f6c6f63616c686f73743a3138303830";
        let address = "tcp/localhost:18080".to_owned();
        [
            (hex(connect), Message::Connect(1, address)),
            (hex("f0b7bed1c4e2dfe4f501 02 02 b0ea01 474554"), Message::Data(1, Bytes::from_static(b"GET"))),
            (hex("f4b7bed1c4e2dfe4f501 02 06 454f46"), Message::Error(1, END.to_owned())),
            (hex("84b8bed1c4e2dfe4f501 00 10 0300000000000000"), Message::Sync(vec![3])),
        ]
    }

    #[test]
    fn what_was_captured_is_read() {
        for (bytes, message) in captured() {
            assert_eq!(Message::parse(&bytes), Ok(message));
        }
    }

    #[test]
    fn what_is_written_is_what_go_writes() {
        let first = 8_855_413_367_365_946_871;
        for ((bytes, message), later) in captured().into_iter().zip([0, 1, 3, 11]) {
            assert_eq!(message.encode(first + later), bytes);
        }
    }

    #[test]
    fn half_a_message_is_refused_and_an_unknown_one_is_none_of_ours() {
        for half in ["", "02", "0202", "020202", "0202 02 80", "ff ff ff ff ff ff ff ff ff 02 02 02 02"] {
            assert_eq!(Message::parse(&hex(half)), Err(MessageError::Header), "{half}");
        }
        assert_eq!(Message::parse(&hex("02 00 10 03000000")), Err(MessageError::Sync));
        assert_eq!(Message::parse(&hex("02 02 40 ff")), Ok(Message::Other(32)));
    }

    #[test]
    fn texts_fit_into_what_old_receivers_read() {
        let long = Message::Error(1, "ü".repeat(80)).encode(0);
        assert_eq!(long.len(), 3 + 100);
        let read = Message::parse(&[&[0, 2, 4, 0][..], &[b'x'; 999]].concat().into());
        assert_eq!(read, Ok(Message::Connect(1, "x".repeat(266))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            drop(Message::parse(&bytes.into()));
        }

        #[test]
        fn what_is_written_is_read_again(id: i64, connection: i64, data: Vec<u8>, others: Vec<i64>) {
            for message in [Message::Data(connection, data.into()), Message::Pause(connection), Message::Sync(others)] {
                prop_assert_eq!(Message::parse(&message.encode(id)), Ok(message));
            }
        }
    }
}
