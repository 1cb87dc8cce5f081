//! Sessions on a serial port: a stream of bytes that knows no connections, whose other end may begin anew at any byte.
//!
//! A host may be killed in the middle of what it sends, and the next one finds the same port; what the first one left on
//! its way arrives before the second one's words. So a [`Mark`] can be told from data wherever it stands: the byte
//! [`ESCAPE`] never stands alone in data, and what begins with it ends whatever was under way, also half of another mark.
//!
//! ```text
//! host   ESCAPE 1 NONCE                  a session begins; all before it is void
//! guest  ESCAPE 2 NONCE                  all before it was for somebody else
//! both   data, each ESCAPE in it as ESCAPE 0
//! both   ESCAPE 3                        the session is over; the port stays
//! ```
//! Lengths in front of chunks would cost less for data of many escapes, and could not tell a mark from the rest of a
//! chunk that was cut. Pure: bytes in, pieces out, nothing is kept but half a mark.

/// Begins a mark. Rare in text (UTF-8 has no such byte) and in programs.
pub const ESCAPE: u8 = 0xf5;

/// How many ports a machine has: QEMU serves one host at a time on each.
pub const PORTS: usize = 4;

/// What a port is called in a guest.
#[must_use]
pub fn port_name(number: usize) -> String {
    format!("dev.winstead.agent.{number}")
}

const LITERAL: u8 = 0;
const BEGIN: u8 = 1;
const ACCEPT: u8 = 2;
const END: u8 = 3;
/// Data that is an [`ESCAPE`].
const ESCAPED: &[u8] = &[ESCAPE];
/// Digits of a [`Nonce`].
const DIGITS: usize = 32;

/// Tells one session from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub u128);

impl Nonce {
    /// As it goes over the wire: hexadecimal, so that no [`ESCAPE`] is in it.
    fn digits(self) -> [u8; DIGITS] {
        let mut digits = [0; DIGITS];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            let value = (self.0 >> (4 * place)) & 0xf;
            *digit = b"0123456789abcdef"[value as usize];
        }
        digits
    }
}

/// What is no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A host begins a session.
    Begin(Nonce),
    /// A guest is ready for it.
    Accept(Nonce),
    /// The session is over.
    End,
}

impl Mark {
    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_mark(self, &mut bytes);
        bytes
    }
}

/// A part of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Data, never empty.
    Data(&'a [u8]),
    /// A mark.
    Mark(Mark),
    /// Neither: the other side speaks something else, or lost bytes.
    Garbage,
}

/// Writes a mark behind `out`.
pub fn put_mark(mark: Mark, out: &mut Vec<u8>) {
    match mark {
        Mark::Begin(nonce) => out.extend([ESCAPE, BEGIN].into_iter().chain(nonce.digits())),
        Mark::Accept(nonce) => out.extend([ESCAPE, ACCEPT].into_iter().chain(nonce.digits())),
        Mark::End => out.extend([ESCAPE, END]),
    }
}

/// Writes data behind `out`.
pub fn put_data(mut data: &[u8], out: &mut Vec<u8>) {
    out.reserve(data.len() + data.len() / 64);
    while let Some(place) = memchr::memchr(ESCAPE, data) {
        out.extend_from_slice(&data[..=place]);
        out.push(LITERAL);
        data = &data[place + 1..];
    }
    out.extend_from_slice(data);
}

/// Cuts a stream of bytes into pieces, whatever the parts that it comes in.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Data,
    /// An [`ESCAPE`] came.
    Escape,
    /// Digits of a nonce are coming.
    Nonce { accept: bool, digits: usize, value: u128 },
}

impl Decoder {
    /// The next piece of `input`, which becomes what is left of it; `None` when more bytes are needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            let (&first, rest) = input.split_first()?;
            if first == ESCAPE {
                self.state = State::Escape;
                *input = rest;
                continue;
            }
            let piece = match self.state {
                State::Data => {
                    let (data, rest) = input.split_at(memchr::memchr(ESCAPE, input).unwrap_or(input.len()));
                    *input = rest;
                    return Some(Piece::Data(data));
                }
                State::Escape => self.escaped(first),
                State::Nonce { accept, digits, value } => self.digit(first, accept, digits, value),
            };
            *input = rest;
            if piece.is_some() {
                return piece;
            }
        }
    }

    fn escaped(&mut self, code: u8) -> Option<Piece<'static>> {
        self.state = State::Data;
        match code {
            LITERAL => Some(Piece::Data(ESCAPED)),
            END => Some(Piece::Mark(Mark::End)),
            BEGIN | ACCEPT => {
                self.state = State::Nonce { accept: code == ACCEPT, digits: 0, value: 0 };
                None
            }
            _ => Some(Piece::Garbage),
        }
    }

    fn digit(&mut self, byte: u8, accept: bool, digits: usize, value: u128) -> Option<Piece<'static>> {
        self.state = State::Data;
        let Some(digit) = (byte as char).to_digit(16) else { return Some(Piece::Garbage) };
        let (digits, value) = (digits + 1, value << 4 | u128::from(digit));
        if digits < DIGITS {
            self.state = State::Nonce { accept, digits, value };
            return None;
        }
        Some(Piece::Mark(if accept { Mark::Accept(Nonce(value)) } else { Mark::Begin(Nonce(value)) }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a whole stream is made of, data joined.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Data(Vec<u8>),
        Mark(Mark),
        Garbage,
    }

    fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
        for mut part in parts {
            while let Some(piece) = decoder.next(&mut part) {
                match (piece, seen.last_mut()) {
                    (Piece::Data(data), Some(Seen::Data(before))) => before.extend_from_slice(data),
                    (Piece::Data(data), _) => seen.push(Seen::Data(data.to_vec())),
                    (Piece::Mark(mark), _) => seen.push(Seen::Mark(mark)),
                    (Piece::Garbage, _) => seen.push(Seen::Garbage),
                }
            }
        }
        seen
    }

    /// Bytes among which escapes and codes are frequent.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(ESCAPE), 0u8..4, Just(b'a'), any::<u8>()], 0..200)
    }

    /// One host's session as it goes over the wire.
    fn session(nonce: u128, data: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        put_mark(Mark::Begin(Nonce(nonce)), &mut wire);
        put_data(data, &mut wire);
        wire
    }

    #[test]
    fn marks_look_like_this() {
        let mut wire = Vec::new();
        put_mark(Mark::Begin(Nonce(0x1f)), &mut wire);
        put_data(b"a\xf5", &mut wire);
        put_mark(Mark::End, &mut wire);
        let digits = format!("{:032x}", 0x1f);
        assert_eq!(wire, [b"\xf5\x01".as_slice(), digits.as_bytes(), b"a\xf5\x00\xf5\x03"].concat());
    }

    #[test]
    fn what_is_no_mark_after_an_escape_is_garbage_and_not_data() {
        assert_eq!(decode([b"\xf5\x07".as_slice()]), [Seen::Garbage]);
        assert_eq!(decode([b"\xf5\x01xyz".as_slice()]), [Seen::Garbage, Seen::Data(b"yz".to_vec())]);
    }

    proptest! {
        #[test]
        fn data_arrives_as_it_was_sent_whatever_the_parts(data in bytes(), cut in 1usize..40) {
            let wire = session(7, &data);
            let mut expected = vec![Seen::Mark(Mark::Begin(Nonce(7)))];
            if !data.is_empty() {
                expected.push(Seen::Data(data));
            }
            prop_assert_eq!(decode(wire.chunks(cut)), expected);
        }

        #[test]
        fn a_second_host_is_noticed_wherever_the_first_one_was_cut(
            first in bytes(), second in bytes(), nonce in any::<u128>(), cut in 0usize..250, part in 1usize..40,
        ) {
            let mut wire = session(1, &first);
            wire.truncate(cut);
            wire.extend(session(nonce, &second));
            let seen = decode(wire.chunks(part));
            let begin = seen.iter().rposition(|seen| *seen == Seen::Mark(Mark::Begin(Nonce(nonce))));
            let after: Vec<Seen> = seen[begin.unwrap() + 1..].to_vec();
            let expected = if second.is_empty() { vec![] } else { vec![Seen::Data(second)] };
            prop_assert_eq!(after, expected);
            // What was cut off never becomes data of the first session.
            let before: Vec<u8> = seen[..begin.unwrap()]
                .iter().filter_map(|seen| match seen { Seen::Data(data) => Some(data.clone()), _ => None }).flatten().collect();
            prop_assert!(first.starts_with(&before) || cut < 34, "{before:?}");
        }

        #[test]
        fn garbage_before_a_mark_hides_nothing(garbage in bytes(), nonce in any::<u128>()) {
            let mut wire = garbage;
            put_mark(Mark::Accept(Nonce(nonce)), &mut wire);
            let seen = decode([wire.as_slice()]);
            prop_assert_eq!(seen.last(), Some(&Seen::Mark(Mark::Accept(Nonce(nonce)))));
        }
    }
}
