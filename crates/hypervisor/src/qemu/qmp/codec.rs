//! Bytes to lines, without I/O: lines may come in any pieces, and none may be longer than the limit.

use std::collections::VecDeque;

/// The longest line that is believed. The longest honest answer we ask for, `query-block`, has 2 KiB for each disk. Read
/// into values, a hostile one takes some thirty times as much memory.
pub(crate) const LINE_LIMIT: usize = 256 * 1024;

/// A line that does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Splits a stream of bytes into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    limit: usize,
    begun: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, begun: Vec::new(), ready: VecDeque::new() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When a line passes the limit. The stream is of no use afterwards.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if self.begun.len() + text.len() > self.limit {
                self.begun = Vec::new();
                return Err(TooLong);
            }
            self.begun.extend_from_slice(text);
            if ended {
                self.ready.push_back(std::mem::take(&mut self.begun));
            }
        }
        Ok(())
    }

    /// The next whole line that is not blank, without its end.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let line = self.ready.pop_front()?;
            let text = line.trim_ascii();
            if !text.is_empty() {
                return Some(text.to_owned());
            }
        }
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_amid_line(&self) -> bool {
        !self.begun.is_empty()
    }
}

#[cfg(test)]
impl Lines {
    /// The memory that it holds.
    pub(crate) fn kept(&self) -> usize {
        self.begun.capacity()
            + self.ready.iter().map(|line| line.capacity() + size_of::<Vec<u8>>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut lines = Lines::new(limit);
        let failed = pieces.iter().any(|piece| lines.push(piece).is_err());
        (std::iter::from_fn(|| lines.next_line()).collect(), failed)
    }

    #[test]
    fn an_endless_line_is_refused_before_it_is_kept() {
        let mut lines = Lines::new(10);
        assert_eq!(lines.push(b"0123456789"), Ok(()));
        assert_eq!(lines.push(b"0"), Err(TooLong));
        assert_eq!(lines.begun.capacity(), 0);
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_cut_makes_no_difference(
            bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..400),
            cuts in prop::collection::vec(0_usize..400, 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let whole: Vec<Vec<u8>> = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .filter_map(|line| line.strip_suffix(b"\n"))
                .map(|line| line.trim_ascii().to_owned())
                .filter(|line| !line.is_empty())
                .collect();
            prop_assert_eq!(lines(&pieces, 1000), (whole, false));
        }

        #[test]
        fn no_line_passes_the_limit(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let (lines, _) = lines(&pieces, 32);
            prop_assert!(lines.iter().all(|line| line.len() <= 32));
        }
    }
}
