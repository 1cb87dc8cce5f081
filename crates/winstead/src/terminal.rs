//! Guards the user's terminal against guests.

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
const LEAD: u8 = 0xc2;
/// Longer colour sequences are none.
const LONGEST: usize = 32;

/// Lets colours of a guest's output through and nothing else that a terminal would obey: titles, clipboards, answers
/// typed into the shell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tamer {
    state: State,
    sequence: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After 0xC2, the first byte of a control character beyond ASCII in UTF-8.
    Lead,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more is to come.
    Charset,
    /// In a control sequence (ECMA-48 § 5.4), until its final byte.
    Control,
    /// In an operating system command or another string, until BEL or ESC \.
    String,
    StringEscape,
}

impl Tamer {
    /// The part of `bytes` that is harmless, with colours if wanted. Remembers sequences that are not complete yet.
    pub(crate) fn tame(&mut self, bytes: &[u8], colors: bool) -> Vec<u8> {
        let mut harmless = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.take(*byte, colors, &mut harmless);
        }
        harmless
    }

    fn take(&mut self, byte: u8, colors: bool, harmless: &mut Vec<u8>) {
        if self.state == State::Lead {
            self.state = State::Text;
            match byte {
                0xa0..=0xbf => return harmless.extend_from_slice(&[LEAD, byte]),
                0x80..=0x9f => return,
                // The lead led to nothing; what comes instead may begin a sequence of its own.
                _ => {}
            }
        }
        self.state = match (self.state, byte) {
            (State::Text | State::Escape | State::Charset | State::Control, ESCAPE) => {
                self.sequence.clear();
                State::Escape
            }
            (State::Text, LEAD) => State::Lead,
            (State::Text | State::Lead, _) => {
                if byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\r' | b'\t') {
                    harmless.push(byte);
                }
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape, b' '..=b'/') => State::Charset,
            (State::Escape | State::Charset, _) => State::Text,
            (State::Control, b'@'..=b'~') => {
                if byte == b'm' && colors && self.sequence.len() <= LONGEST {
                    harmless.extend_from_slice(b"\x1b[");
                    harmless.append(&mut self.sequence);
                    harmless.push(b'm');
                }
                State::Text
            }
            (State::Control, b'0'..=b';') => {
                if self.sequence.len() <= LONGEST {
                    self.sequence.push(byte);
                }
                State::Control
            }
            (State::Control, _) => State::Control,
            (State::String, BELL) => State::Text,
            (State::String | State::StringEscape, ESCAPE) => State::StringEscape,
            (State::StringEscape, b'\\') => State::Text,
            (State::String | State::StringEscape, _) => State::String,
        };
    }
}

/// A piece of a line with words from files or other programs: nothing in it steers a terminal, begins a line of its own, or
/// turns around the direction of what follows (Unicode Annex 9), so that it reads unlike what it is.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '\n' | '\r' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    text.chars().map(harmless).collect()
}

/// The same of several lines, of which each stays one.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + &plain(line) + "\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_of_others_steer_no_terminal_and_make_no_lines() {
        assert_eq!(plain("\u{1b}[2Jwrite\nhint: read\u{9b}31m"), "\u{fffd}[2Jwrite hint: read\u{fffd}31m");
        assert_eq!(plain("a\u{202e}b\u{2069}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(plain_lines("one\u{7}\ntwo"), "one\u{fffd}\ntwo\n");
    }

    fn tamed(text: &str) -> String {
        String::from_utf8(Tamer::default().tame(text.as_bytes(), true)).unwrap()
    }

    #[test]
    fn colours_pass_and_everything_else_does_not() {
        for (said, shown) in [
            ("[\u{1b}[0;32m  OK  \u{1b}[0m] ä\r\n\tx", "[\u{1b}[0;32m  OK  \u{1b}[0m] ä\r\n\tx"),
            ("a\u{1b}[2J\u{1b}[1;1Hb", "ab"),
            ("a\u{1b}]0;title\u{7}b\u{1b}]52;c;AAAA\u{1b}\\c", "abc"),
            ("a\u{1b}Pq\u{1b}[31mstill inside\u{1b}\\b", "ab"),
            ("a\u{1b}(Bb\u{1b}cd\u{7}\u{8}\u{7f}", "abd"),
            ("a\u{9b}2Jb\u{a0}ß", "a2Jb\u{a0}ß"),
            ("a\u{1b}[?25lb\u{1b}[>cc", "abc"),
        ] {
            assert_eq!(tamed(said), shown, "{said:?}");
        }
    }

    #[test]
    fn pieces_are_tamed_like_the_whole_and_colours_can_be_left_out() {
        let text = b"x\x1b[1;31mred\x1b]0;t\x1b\\y";
        let mut tamer = Tamer::default();
        let pieces: Vec<u8> = text.iter().flat_map(|byte| tamer.tame(&[*byte], true)).collect();
        assert_eq!(pieces, Tamer::default().tame(text, true));
        assert_eq!(Tamer::default().tame(text, false), b"xredy");
    }

    #[test]
    fn half_a_character_hides_nothing_from_the_filter() {
        for (said, shown) in [
            (&b"a\xc2\x1b[2Jb"[..], &b"ab"[..]),
            (b"a\xc2\xc2\x9b2Jb", b"a2Jb"),
            (b"a\xc2\x1b]52;c;AAAA\x07b", b"ab"),
            (b"a\xc2\x07\xc2\n\xc2\xc3\xa4", b"a\n\xc3\xa4"),
        ] {
            assert_eq!(Tamer::default().tame(said, true), shown, "{}", said.escape_ascii());
        }
    }

    /// What a terminal would obey in `shown`: an escape that is no colour, or a control character.
    fn obeyed(shown: &[u8]) -> Option<u8> {
        let mut rest = shown;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if *byte == ESCAPE {
                let end = after.iter().position(|byte| !matches!(byte, b'[' | b'0'..=b';'));
                let is_color = after.first() == Some(&b'[') && end.is_some_and(|end| after[end] == b'm');
                if !is_color {
                    return Some(*byte);
                }
            }
            let second = *byte == LEAD && after.first().is_some_and(|next| matches!(next, 0x80..=0x9f));
            if second || *byte < b' ' && !matches!(*byte, ESCAPE | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
        }
        None
    }

    /// Bytes of which sequences are made, often enough to make some.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let parts = proptest::sample::select(b"\x1b\xc2\x9b\x90\x9c\x07[]P\\m?;1(\n".to_vec());
        proptest::collection::vec(prop_oneof![4 => parts, 1 => any::<u8>()], 0..64)
    }

    proptest! {
        #[test]
        fn nothing_but_colours_is_obeyed(said in hostile(), colors: bool) {
            let shown = Tamer::default().tame(&said, colors);
            prop_assert_eq!(obeyed(&shown), None, "{}", shown.escape_ascii());
        }
    }
}
