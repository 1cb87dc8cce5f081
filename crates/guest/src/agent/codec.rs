//! Lines and delimiters of the guest agent's protocol.
//!
//! Each message is one line of JSON. The byte 0xFF, which is in no JSON text, marks the answer to
//! `guest-sync-delimited`: all before it, half a line too, belongs to somebody else's questions.

/// The delimiter.
pub(super) const DELIMITER: u8 = 0xff;

/// What the guest sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The delimiter; whatever came before it is void.
    Delimiter,
    /// A line without its end, never empty.
    Line(Vec<u8>),
}

/// A line longer than the limit. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {limit} bytes")]
pub struct LineTooLong {
    /// The limit.
    pub limit: usize,
}

/// Cuts a stream of bytes into [`Frame`]s, whatever the pieces that it comes in.
#[derive(Clone, Debug)]
pub struct Decoder {
    pending: Vec<u8>,
    /// Where the current line begins in `pending`; what is before it has been given out.
    begin: usize,
    /// Up to where `pending` is known to hold neither an end nor a delimiter.
    searched: usize,
    limit: usize,
}

impl Decoder {
    /// A decoder that takes lines of up to `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { pending: Vec::new(), begin: 0, searched: 0, limit }
    }

    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// The next frame; `None` when more bytes are needed. Looks at each byte once, however slowly a line comes.
    ///
    /// # Errors
    /// When the line that is being received is longer than the limit.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, LineTooLong> {
        loop {
            let news = &self.pending[self.searched..];
            let found = news.iter().position(|byte| *byte == b'\n' || *byte == DELIMITER);
            let end = self.searched + found.unwrap_or(news.len());
            if end - self.begin > self.limit {
                return Err(LineTooLong { limit: self.limit });
            }
            if found.is_none() {
                self.searched = end;
                return Ok(None);
            }
            let line = &self.pending[self.begin..end];
            let frame = match self.pending[end] {
                DELIMITER => Some(Frame::Delimiter),
                _ if line.trim_ascii().is_empty() => None,
                _ => Some(Frame::Line(line.to_vec())),
            };
            (self.begin, self.searched) = (end + 1, end + 1);
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(decoder: &mut Decoder) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    #[test]
    fn lines_and_delimiters_come_out_in_order() {
        let mut decoder = Decoder::new(100);
        decoder.feed(b"{\"return\":1}\n\r\nhalf\xff{\"return\":2}\r\nrest");
        let line = |text: &str| Frame::Line(text.as_bytes().to_vec());
        let expected = [line("{\"return\":1}"), Frame::Delimiter, line("{\"return\":2}\r")];
        assert_eq!(frames(&mut decoder), expected);
        decoder.feed(b"\n");
        assert_eq!(frames(&mut decoder), [line("rest")]);
    }

    #[test]
    fn an_endless_line_is_refused_at_the_limit() {
        let mut decoder = Decoder::new(10);
        decoder.feed(&[b'x'; 10]);
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder.feed(b"x");
        assert_eq!(decoder.next_frame(), Err(LineTooLong { limit: 10 }));
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_frames_as_the_whole(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0xff), any::<u8>()], 0..80), cut in 1usize..9) {
            let mut whole = Decoder::new(1000);
            whole.feed(&bytes);
            let mut pieces = Decoder::new(1000);
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                pieces.feed(piece);
                found.extend(frames(&mut pieces));
            }
            prop_assert_eq!(found, frames(&mut whole));
        }
    }
}
