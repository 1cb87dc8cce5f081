//! The Huffman code of HPACK (RFC 7541, appendix B), for reading only.
//!
//! The code is canonical: how long each symbol's code is says all of it.

/// How many bits the code of each byte has, and at last that of the end-of-string mark.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, //
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, //
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, //
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, //
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const SYMBOLS: usize = 257;
const LONGEST: usize = 30;
const CODE: Code = Code::new();

/// The codes of one length follow each other: the first of them, where its symbol stands in the order, and how many.
struct Code {
    first: [u32; LONGEST + 1],
    start: [u16; LONGEST + 1],
    count: [u16; LONGEST + 1],
    order: [u16; SYMBOLS],
}

impl Code {
    const fn new() -> Self {
        let mut code = Self {
            first: [0; LONGEST + 1],
            start: [0; LONGEST + 1],
            count: [0; LONGEST + 1],
            order: [0; SYMBOLS],
        };
        let (mut length, mut next, mut place) = (1, 0_u32, 0_u16);
        while length <= LONGEST {
            (code.first[length], code.start[length]) = (next, place);
            let mut symbol = 0_u16;
            while (symbol as usize) < SYMBOLS {
                if LENGTHS[symbol as usize] as usize == length {
                    code.order[place as usize] = symbol;
                    place += 1;
                    next += 1;
                }
                symbol += 1;
            }
            code.count[length] = place - code.start[length];
            next <<= 1;
            length += 1;
        }
        code
    }

    fn symbol(&self, bits: u32, length: usize) -> Option<u16> {
        let beyond = bits.checked_sub(self.first[length])?;
        let place = u16::try_from(beyond).ok().filter(|beyond| *beyond < self.count[length])?;
        self.order.get(usize::from(self.start[length] + place)).copied()
    }
}

/// Returns what `coded` says; nothing when it is no such code, or would be longer than `most`.
pub(super) fn decode(coded: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity((coded.len() * 8 / 5).min(most));
    let (mut bits, mut length) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if let Some(symbol) = CODE.symbol(bits, length) {
                // The end-of-string mark is no byte, and must not appear.
                text.push(u8::try_from(symbol).ok()?);
                (bits, length) = (0, 0);
            } else if length >= LONGEST {
                return None;
            }
        }
        if text.len() > most {
            return None;
        }
    }
    // What is left fills the last byte, with the mark's first bits, which are all ones.
    (length < 8 && bits == (1 << length) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&coded, 99).as_deref(), Some(&b"www.example.com"[..]));
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 99).as_deref(), Some(&b"no-cache"[..]));
        assert_eq!(decode(&[], 99).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_too_long_padded_wrongly_or_holds_the_end_mark_is_refused() {
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 7), None, "eight bytes");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbe], 99), None, "padding with a zero");
        assert_eq!(decode(&[0xff], 99), None, "a whole byte of padding");
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff], 99), None, "the end mark");
    }
}
