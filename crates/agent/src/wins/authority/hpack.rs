//! HPACK (RFC 7541): reads header blocks with all that the format has, writes the plainest form that there is.
//!
//! Our own, because it stands between strangers and the daemon: loona-hpack (last release 2024) and httlib-hpack (2021)
//! are no longer kept, and neither bounds what a block expands to.

use super::{huffman, table, table::Table};

/// The table that a client may use. It could only be another when our side said so in its SETTINGS, and it never does.
pub(super) const TABLE: usize = 4096;

/// No number in a header block is larger than this, nor has more bytes.
const LARGEST: usize = 1 << 24;

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Whether it must never get into a table.
    pub(super) secret: bool,
}

impl Field {
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), secret: false }
    }
}

/// What is wrong with a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HpackError {
    #[error("the header block ends in the middle of a field")]
    Short,
    #[error("a number in the header block is too large")]
    Number,
    #[error("the header block names a field that is in no table")]
    Index,
    #[error("a text in the header block is not in HPACK's code, or too long")]
    Text,
    #[error("the header block changes the table's size where it may not, or to more than {TABLE}")]
    TableSize,
    #[error("the header fields are too large together")]
    TooLarge,
}

/// Reads the header blocks of one direction of one connection, in their order.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: Table::new(TABLE) }
    }

    /// Returns the fields of a whole block. Together they are at most `most` large, as the RFC counts it.
    ///
    /// # Errors
    /// When the block is wrong. After that nothing more can be read: the tables no longer agree.
    pub(super) fn decode(&mut self, block: &[u8], most: usize) -> Result<Vec<Field>, HpackError> {
        let mut input = Input(block);
        let (mut fields, mut left) = (Vec::new(), most);
        while let Some(&first) = input.0.first() {
            if first & 0xe0 == 0x20 {
                if !fields.is_empty() {
                    return Err(HpackError::TableSize);
                }
                self.resize(&mut input)?;
                continue;
            }
            let field = self.field(&mut input, first, left)?;
            left = left.checked_sub(table::size(&field)).ok_or(HpackError::TooLarge)?;
            fields.push(field);
        }
        Ok(fields)
    }

    fn resize(&mut self, input: &mut Input<'_>) -> Result<(), HpackError> {
        let most = input.number(5)?;
        if most > TABLE {
            return Err(HpackError::TableSize);
        }
        self.table.resize(most);
        Ok(())
    }

    fn field(&mut self, input: &mut Input<'_>, first: u8, most: usize) -> Result<Field, HpackError> {
        if first & 0x80 != 0 {
            return self.table.get(input.number(7)?).ok_or(HpackError::Index);
        }
        let kept = first & 0x40 != 0;
        let name = match input.number(if kept { 6 } else { 4 })? {
            0 => input.text(most)?,
            index => self.table.get(index).ok_or(HpackError::Index)?.name,
        };
        let field = Field { name, value: input.text(most)?, secret: !kept && first & 0x10 != 0 };
        if kept {
            self.table.insert(field.clone());
        }
        Ok(field)
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let (first, rest) = self.0.split_first().ok_or(HpackError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A number whose first byte has `bits` bits of it.
    fn number(&mut self, bits: u32) -> Result<usize, HpackError> {
        let full = (1_usize << bits) - 1;
        let mut number = usize::from(self.byte()?) & full;
        if number < full {
            return Ok(number);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if number <= LARGEST { Ok(number) } else { Err(HpackError::Number) };
            }
        }
        Err(HpackError::Number)
    }

    fn text(&mut self, most: usize) -> Result<Vec<u8>, HpackError> {
        let coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.number(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(HpackError::Short)?;
        self.0 = rest;
        if coded {
            return huffman::decode(text, most).ok_or(HpackError::Text);
        }
        if text.len() > most { Err(HpackError::Text) } else { Ok(text.to_owned()) }
    }
}

/// Writes fields so that the reader needs no table and no code.
pub(super) fn encode(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for field in fields {
        block.push(if field.secret { 0x10 } else { 0 });
        for text in [&field.name, &field.value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

fn length(length: usize, block: &mut Vec<u8>) {
    let byte = |number: usize| u8::try_from(number & 0x7f).unwrap_or(0);
    if length < 0x7f {
        return block.push(byte(length));
    }
    block.push(0x7f);
    let mut left = length - 0x7f;
    while left >= 0x80 {
        block.push(byte(left) | 0x80);
        left >>= 7;
    }
    block.push(byte(left));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes from the RFC's own notation.
    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
        digits.chunks(2).map(|digits| pair(digits).expect("hexadecimal")).collect()
    }

    fn read(decoder: &mut Decoder, block: &str) -> String {
        let fields = decoder.decode(&hex(block), 4096).expect("a right block");
        let line = |field: Field| {
            let text = |bytes| String::from_utf8(bytes).expect("text");
            format!("{}: {}\n", text(field.name), text(field.value))
        };
        fields.into_iter().map(line).collect()
    }

    const FIRST: &str = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n";
    const THIRD: &str = ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
                         custom-key: custom-value\n";

    #[test]
    fn the_rfcs_fields_of_appendix_c_2_are_read() {
        let mut decoder = Decoder::new();
        let block = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
        assert_eq!(read(&mut decoder, block), "custom-key: custom-header\n");
        assert_eq!(read(&mut decoder, "be"), "custom-key: custom-header\n", "it was taken up");
        assert_eq!(read(&mut decoder, "040c 2f73 616d 706c 652f 7061 7468"), ":path: /sample/path\n");
        let secret = decoder.decode(&hex("1008 7061 7373 776f 7264 0673 6563 7265 74"), 99).expect("right");
        assert!(secret[0].secret && encode(&secret)[0] == 0x10, "and it stays one");
        assert_eq!(read(&mut decoder, "82"), ":method: GET\n");
    }

    #[test]
    fn the_rfcs_requests_of_appendix_c_3_are_read_with_their_table() {
        let mut decoder = Decoder::new();
        assert_eq!(read(&mut decoder, "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d"), FIRST);
        let second = format!("{FIRST}cache-control: no-cache\n");
        assert_eq!(read(&mut decoder, "8286 84be 5808 6e6f 2d63 6163 6865"), second);
        let third = "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65";
        assert_eq!(read(&mut decoder, third), THIRD);
    }

    #[test]
    fn the_rfcs_requests_of_appendix_c_4_are_read_with_huffmans_code() {
        let mut decoder = Decoder::new();
        assert_eq!(read(&mut decoder, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"), FIRST);
        let second = format!("{FIRST}cache-control: no-cache\n");
        assert_eq!(read(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf"), second);
        let third = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
        assert_eq!(read(&mut decoder, third), THIRD);
    }

    #[test]
    fn the_rfcs_answers_of_appendix_c_6_are_read_with_a_table_that_overflows() {
        let mut decoder = Decoder::new();
        // The RFC has the size 256 set beforehand: here by an update.
        let first =
            "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b
                     ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        let answer = ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                      location: https://www.example.com\n";
        assert_eq!(read(&mut decoder, first), answer);
        let second = answer.replace("302", "307");
        assert_eq!(read(&mut decoder, "4883 640e ffc1 c0bf"), second);
        assert_eq!(decoder.table.get(65).map(|field| field.name), Some(b"cache-control".to_vec()));
        assert_eq!(decoder.table.get(66), None, "the first status was pushed out: 222 of 256 bytes");
    }

    #[test]
    fn wrong_blocks_are_refused_and_say_why() {
        let error = |block: &str| Decoder::new().decode(&hex(block), 4096).expect_err(block);
        assert_eq!(error("80"), HpackError::Index, "index 0");
        assert_eq!(error("be"), HpackError::Index, "an empty table");
        assert_eq!(error("ff ff ff ff ff ff 01"), HpackError::Number);
        assert_eq!(error("00 05 61"), HpackError::Short);
        assert_eq!(error("82 20"), HpackError::TableSize, "behind a field");
        assert_eq!(error("3f e2 1f"), HpackError::TableSize, "4097");
        assert_eq!(Decoder::new().decode(&hex("3f e1 1f"), 9), Ok(vec![]), "4096");
    }

    #[test]
    fn a_small_block_cannot_become_a_large_list() {
        // One field of 4,000 bytes, then 16,000 times its index: 64 MB.
        let mut block = vec![0x40, 0x01, b'a', 0x7f];
        block.extend([0x81 + 0x20, 0x1e]);
        block.extend(std::iter::repeat_n(b'x', 4000));
        block.extend(std::iter::repeat_n(0xbe, 16_000));
        assert_eq!(Decoder::new().decode(&block, 65_536), Err(HpackError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(block: Vec<u8>) {
            if let Ok(fields) = Decoder::new().decode(&block, 1000) {
                prop_assert!(fields.iter().map(table::size).sum::<usize>() <= 1000);
            }
        }

        #[test]
        fn what_is_written_is_read_again(texts: Vec<(Vec<u8>, Vec<u8>, bool)>, long in 0..40_000_usize) {
            let field = |(name, value, secret)| Field { name, value, secret };
            let mut fields: Vec<_> = texts.into_iter().map(field).collect();
            fields.push(Field::new(b"long", &vec![b'x'; long]));
            prop_assert_eq!(Decoder::new().decode(&encode(&fields), 1 << 20), Ok(fields));
        }
    }
}
