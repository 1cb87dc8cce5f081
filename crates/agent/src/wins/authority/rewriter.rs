//! Bytes of a client in, bytes for the server's HTTP/2 out. No I/O.
//!
//! ```text
//! Preface ──► Header ──► Through (any other frame) ──┐
//!               ▲ ▲        HEADERS: Fragment ──┐     │
//!               │ └── END_HEADERS: written ◄───┤     │
//!               │      CONTINUATION: Header ◄──┘     │
//!               └────────────────────────────────────┘
//! ```

use tonic::codegen::http::uri::Authority;

use super::hpack::{self, Decoder, Field, HpackError};

/// What each HTTP/2 connection begins with (RFC 9113, section 3.4). Its content is for the server to judge.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;

/// The largest frame while nobody said otherwise, and our side never does.
const LARGEST_FRAME: usize = 16_384;
/// The largest header block as sent, and as read. Old clients send some 200 bytes.
const LARGEST_BLOCK: usize = 64 * 1024;
/// Frames that one header block may come in.
const MOST_FRAGMENTS: u32 = 16;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_LENGTH: usize = 5;

/// What stands for a name that is none.
const LEGAL: &[u8] = b"wins";

/// What a client sent is no HTTP/2 that can be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RewriteError {
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Hpack(#[from] HpackError),
    #[error("a header frame has more than {LARGEST_FRAME} bytes")]
    Frame,
    #[error("a header block has more than {LARGEST_BLOCK} bytes or {MOST_FRAGMENTS} frames")]
    Block,
    #[error("a header frame is shorter than its padding and priority")]
    Padding,
    #[error("a header block is interrupted by another frame")]
    Interrupted,
}

/// What happened to the first bytes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many go on as they are.
    Through(usize),
    /// So many were taken; what they became, if anything yet, was added to the output.
    Rewritten(usize),
}

/// One connection's way from the client to the server.
#[derive(Debug)]
pub struct Rewriter {
    state: State,
    decoder: Decoder,
    /// What is not whole yet: a frame's header, or a fragment's content.
    held: Vec<u8>,
    block: Option<Block>,
}

#[derive(Debug)]
enum State {
    /// Bytes go through until so many have.
    Through(usize),
    Header,
    /// A fragment of a header block, with so many bytes.
    Fragment(usize),
}

/// A header block on its way.
#[derive(Debug)]
struct Block {
    stream: [u8; 4],
    flags: u8,
    priority: Option<[u8; PRIORITY_LENGTH]>,
    content: Vec<u8>,
    fragments: u32,
}

impl Default for Rewriter {
    fn default() -> Self {
        Self::new()
    }
}

impl Rewriter {
    /// For a connection that begins.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Through(PREFACE), decoder: Decoder::new(), held: Vec::new(), block: None }
    }

    /// Looks at the next bytes, which must not be empty, and takes some of them, at least one.
    ///
    /// # Errors
    /// When they are no HTTP/2 that can be passed on. The connection is over.
    pub fn next(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Taken, RewriteError> {
        self.step(input, output).map_err(|reason| RewriteError { reason })
    }

    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Taken, Reason> {
        match self.state {
            State::Through(left) => {
                let now = left.min(input.len());
                self.state = if now == left { State::Header } else { State::Through(left - now) };
                Ok(Taken::Through(now))
            }
            State::Header => self.header(input, output),
            State::Fragment(length) => {
                let now = (length - self.held.len()).min(input.len());
                self.held.extend_from_slice(&input[..now]);
                self.fragment(length, output)?;
                Ok(Taken::Rewritten(now))
            }
        }
    }

    fn header(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<Taken, Reason> {
        let now = (FRAME_HEADER - self.held.len()).min(input.len());
        self.held.extend_from_slice(&input[..now]);
        let Ok(header) = <[u8; FRAME_HEADER]>::try_from(&*self.held) else {
            return Ok(Taken::Rewritten(now));
        };
        self.held.clear();
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match (&mut self.block, kind) {
            (None, HEADERS) => {
                self.block = Some(Block { stream, flags, priority: None, content: Vec::new(), fragments: 0 });
            }
            (Some(block), CONTINUATION) if block.stream == stream => block.flags |= flags & END_HEADERS,
            (Some(_), _) => return Err(Reason::Interrupted),
            (None, _) => {
                self.state = if length == 0 { State::Header } else { State::Through(length) };
                if now == FRAME_HEADER {
                    return Ok(Taken::Through(now));
                }
                output.extend_from_slice(&header);
                return Ok(Taken::Rewritten(now));
            }
        }
        if length > LARGEST_FRAME {
            return Err(Reason::Frame);
        }
        self.state = State::Fragment(length);
        self.fragment(length, output)?;
        Ok(Taken::Rewritten(now))
    }

    /// Adds a fragment to its block once it is whole, and writes the block once that is.
    fn fragment(&mut self, length: usize, output: &mut Vec<u8>) -> Result<(), Reason> {
        let Some(block) = self.block.as_mut().filter(|_| self.held.len() == length) else { return Ok(()) };
        block.add(&self.held)?;
        self.held.clear();
        self.state = State::Header;
        if block.flags & END_HEADERS == 0 {
            return Ok(());
        }
        let mut fields = self.decoder.decode(&block.content, LARGEST_BLOCK)?;
        fields.iter_mut().for_each(legalise);
        block.write(&hpack::encode(&fields), output);
        self.block = None;
        Ok(())
    }
}

impl Block {
    fn add(&mut self, mut fragment: &[u8]) -> Result<(), Reason> {
        if self.fragments == 0 {
            fragment = self.unwrap(fragment).ok_or(Reason::Padding)?;
        }
        self.fragments += 1;
        self.content.extend_from_slice(fragment);
        let fits = self.content.len() <= LARGEST_BLOCK && self.fragments <= MOST_FRAGMENTS;
        if fits { Ok(()) } else { Err(Reason::Block) }
    }

    /// The content of a HEADERS frame without padding and priority.
    fn unwrap<'a>(&mut self, mut content: &'a [u8]) -> Option<&'a [u8]> {
        if self.flags & PADDED != 0 {
            let (padding, rest) = content.split_first()?;
            content = &rest[..rest.len().checked_sub(usize::from(*padding))?];
        }
        if self.flags & PRIORITY != 0 {
            let (priority, rest) = content.split_first_chunk()?;
            self.priority = Some(*priority);
            content = rest;
        }
        Some(content)
    }

    fn write(&self, content: &[u8], output: &mut Vec<u8>) {
        let priority = self.priority.as_ref().map_or(&[][..], |priority| &priority[..]);
        let mut flags = self.flags & END_STREAM;
        if !priority.is_empty() {
            flags |= PRIORITY;
        }
        let (first, mut rest) = content.split_at(content.len().min(LARGEST_FRAME - priority.len()));
        self.frame((HEADERS, flags), &[priority, first], rest.is_empty(), output);
        while !rest.is_empty() {
            let (next, left) = rest.split_at(rest.len().min(LARGEST_FRAME));
            rest = left;
            self.frame((CONTINUATION, 0), &[next], rest.is_empty(), output);
        }
    }

    fn frame(&self, (kind, flags): (u8, u8), parts: &[&[u8]], last: bool, output: &mut Vec<u8>) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
        output.extend_from_slice(&length[1..]);
        output.extend([kind, flags | if last { END_HEADERS } else { 0 }]);
        output.extend_from_slice(&self.stream);
        parts.iter().for_each(|part| output.extend_from_slice(part));
    }
}

/// Gives an authority that is none a name.
fn legalise(field: &mut Field) {
    if field.name == b":authority" && Authority::try_from(&*field.value).is_err() {
        LEGAL.clone_into(&mut field.value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = b"npipe:////./pipe/rancher_wins";

    fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
        let [.., high, low] = content.len().to_be_bytes();
        let mut frame = vec![0, high, low];
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend_from_slice(content);
        frame
    }

    /// `:authority` with what is given, taken up in the table.
    fn authority(value: &[u8]) -> Vec<u8> {
        let mut block = vec![0x41, u8::try_from(value.len()).expect("short")];
        block.extend_from_slice(value);
        block
    }

    /// Sends pieces of these sizes, again and again.
    fn rewrite(input: &[u8], sizes: &[usize]) -> Result<Vec<u8>, RewriteError> {
        let (mut rewriter, mut all) = (Rewriter::new(), vec![0; PREFACE]);
        all.extend_from_slice(input);
        let (mut output, mut rest, mut sizes) = (Vec::new(), &all[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(rest.len().min(*sizes.next().expect("a size")));
            while !piece.is_empty() {
                match rewriter.next(piece, &mut output)? {
                    Taken::Through(count) => {
                        output.extend_from_slice(&piece[..count]);
                        piece = &piece[count..];
                    }
                    Taken::Rewritten(count) => piece = &piece[count..],
                }
            }
            rest = later;
        }
        Ok(output.split_off(PREFACE))
    }

    fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        hpack::encode(&[Field::new(name, value)])
    }

    #[test]
    fn both_names_that_go_clients_send_become_legal_also_when_they_are_an_index_later() {
        for old in [OLD, b"npipe:%2F%2F%2F%2F.%2Fpipe%2Francher_wins"] {
            let input =
                [frame(HEADERS, END_HEADERS, 1, &authority(old)), frame(HEADERS, 5, 3, &[0xbe])].concat();
            let legal = literal(b":authority", b"wins");
            let expected = [frame(HEADERS, END_HEADERS, 1, &legal), frame(HEADERS, 5, 3, &legal)].concat();
            assert_eq!(rewrite(&input, &[usize::MAX]), Ok(expected));
        }
    }

    #[test]
    fn a_legal_name_stays() {
        let input = frame(HEADERS, END_HEADERS, 1, &authority(b"host:80"));
        let expected = frame(HEADERS, END_HEADERS, 1, &literal(b":authority", b"host:80"));
        assert_eq!(rewrite(&input, &[1]), Ok(expected));
    }

    #[test]
    fn padding_goes_priority_stays_and_the_block_may_come_in_parts() {
        let (first, second) = (&authority(OLD)[..9], &authority(OLD)[9..]);
        let padded = [&[3, 0x80, 0, 0, 0, 7], first, &[0; 3]].concat();
        let input = [
            frame(HEADERS, PADDED | PRIORITY | END_STREAM, 5, &padded),
            frame(CONTINUATION, 0, 5, &[]),
            frame(CONTINUATION, END_HEADERS, 5, second),
        ]
        .concat();
        let content = [&[0x80, 0, 0, 0, 7][..], &literal(b":authority", b"wins")].concat();
        let expected = frame(HEADERS, PRIORITY | END_STREAM | END_HEADERS, 5, &content);
        assert_eq!(rewrite(&input, &[4]), Ok(expected));
    }

    #[test]
    fn a_block_that_grew_is_written_in_more_frames() {
        let long =
            frame(HEADERS, END_HEADERS, 1, &[&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4000]].concat());
        let again = frame(HEADERS, END_HEADERS, 3, &[0xbe; 6]);
        let output = rewrite(&[long, again].concat(), &[usize::MAX]).expect("right");
        let second = &output[FRAME_HEADER + 4 + 4002..];
        assert_eq!((&second[..5], &second[5..9]), (&[0, 0x40, 0, HEADERS, 0][..], &[0, 0, 0, 3][..]));
        let third = &second[FRAME_HEADER + LARGEST_FRAME..];
        assert_eq!(third[3..9], [CONTINUATION, END_HEADERS, 0, 0, 0, 3]);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let error = |frames: &[Vec<u8>]| rewrite(&frames.concat(), &[7]).expect_err("wrong").reason;
        let open = frame(HEADERS, 0, 1, &[0x82]);
        assert_eq!(error(&[open.clone(), frame(0, 0, 1, &[])]), Reason::Interrupted);
        assert_eq!(
            error(&[open.clone(), frame(CONTINUATION, 4, 3, &[])]),
            Reason::Interrupted,
            "another stream"
        );
        assert_eq!(error(&[frame(HEADERS, PADDED | END_HEADERS, 1, &[2, 0x82])]), Reason::Padding);
        assert_eq!(error(&[frame(HEADERS, PRIORITY | END_HEADERS, 1, &[2, 0x82])]), Reason::Padding);
        assert_eq!(error(&[frame(HEADERS, END_HEADERS, 1, &vec![0x82; 16_385])]), Reason::Frame);
        let flood = [vec![open.clone()], vec![frame(CONTINUATION, 0, 1, &[]); 16]].concat();
        assert_eq!(error(&flood), Reason::Block, "a flood of empty frames");
        let large = [vec![open], vec![frame(CONTINUATION, 0, 1, &[0x82; 16_000]); 5]].concat();
        assert_eq!(error(&large), Reason::Block);
        assert_eq!(error(&[frame(HEADERS, END_HEADERS, 1, &[0xff; 40])]), Reason::Hpack(HpackError::Number));
    }

    proptest! {
        #[test]
        fn frames_without_headers_pass_untouched_in_whatever_pieces(
            frames: Vec<(u8, u8, Vec<u8>)>,
            sizes in proptest::collection::vec(1..40_usize, 1..9),
        ) {
            let others = frames.into_iter().filter(|(kind, ..)| *kind != HEADERS);
            let input: Vec<u8> = others.flat_map(|(kind, flags, content)| frame(kind, flags, 1, &content)).collect();
            prop_assert_eq!(rewrite(&input, &sizes), Ok(input));
        }

        #[test]
        fn pieces_make_no_difference(
            input in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(4), Just(9), any::<u8>()], 0..400),
            sizes in proptest::collection::vec(1..20_usize, 1..9),
        ) {
            prop_assert_eq!(rewrite(&input, &sizes), rewrite(&input, &[usize::MAX]));
        }
    }
}
