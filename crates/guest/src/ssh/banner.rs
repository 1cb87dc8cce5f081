//! The first line of an SSH server, read byte by byte without trust.

/// Longest line that a server may send before its keys, with its end (RFC 4253 § 4.2).
const LINE_LIMIT: usize = 255;
/// Other lines may come before the banner (RFC 4253 § 4.2); a server that sends more than this is none.
const LINES_LIMIT: usize = 32;

/// What an SSH server says first: `SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// The whole line, without its end; printable ASCII.
    pub text: String,
}

/// Something else than an SSH server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BannerError {
    /// A line without an end.
    #[error("a line of more than {LINE_LIMIT} bytes")]
    LineTooLong,
    /// Lines without a banner.
    #[error("more than {LINES_LIMIT} lines without an SSH banner")]
    TooManyLines,
    /// A banner of another protocol version or with unprintable bytes.
    #[error("a banner of no usable SSH version")]
    NotSsh2,
}

/// Collects what a server sends until its banner is there.
#[derive(Clone, Debug, Default)]
pub struct BannerReader {
    line: Vec<u8>,
    lines: usize,
}

impl BannerReader {
    /// Takes more bytes; `Some` when the banner is complete.
    ///
    /// # Errors
    /// When this cannot become a banner any more.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Banner>, BannerError> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() >= LINE_LIMIT {
                    return Err(BannerError::LineTooLong);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if line.starts_with(b"SSH-") {
                return banner(&line).map(Some);
            }
            self.lines += 1;
            if self.lines > LINES_LIMIT {
                return Err(BannerError::TooManyLines);
            }
        }
        Ok(None)
    }

    /// Whether anything has come.
    #[must_use]
    pub const fn has_bytes(&self) -> bool {
        self.lines > 0 || !self.line.is_empty()
    }
}

/// 1.99 is a version 2 server that also speaks version 1 (RFC 4253 § 5.1).
fn banner(line: &[u8]) -> Result<Banner, BannerError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-");
    let text =
        std::str::from_utf8(line).ok().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    match text {
        Some(text) if version => Ok(Banner { text: text.to_owned() }),
        _ => Err(BannerError::NotSsh2),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Banner>, BannerError> {
        BannerReader::default().feed(bytes)
    }

    #[test]
    fn a_banner_is_found_behind_other_lines() {
        let banner = read(b"welcome\r\nto this host\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").unwrap().unwrap();
        assert_eq!(banner.text, "SSH-2.0-OpenSSH_9.2p1 Debian-2");
        assert_eq!(read(b"SSH-2.0-x\n").unwrap().unwrap().text, "SSH-2.0-x");
        assert_eq!(read(b"SSH-2.0-half"), Ok(None));
    }

    #[test]
    fn what_is_no_banner_is_refused() {
        assert_eq!(read(&[b'x'; 300]), Err(BannerError::LineTooLong));
        assert_eq!(read(&b"x\n".repeat(40)), Err(BannerError::TooManyLines));
        assert_eq!(read(b"SSH-1.5-old\r\n"), Err(BannerError::NotSsh2));
        assert_eq!(read(b"SSH-2.0-\x1b[31m\r\n"), Err(BannerError::NotSsh2));
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_answer_as_the_whole(bytes: Vec<u8>, tail in "(SSH-2.0-[a-z]{0,9}\r\n)?", cut in 1usize..9) {
            let whole = [bytes.as_slice(), tail.as_bytes()].concat();
            let mut reader = BannerReader::default();
            let mut found = Ok(None);
            for piece in whole.chunks(cut) {
                found = reader.feed(piece);
                if !matches!(found, Ok(None)) {
                    break;
                }
            }
            prop_assert_eq!(found, read(&whole));
        }
    }
}
