//! HdrHistogram's format V2 (HdrHistogram 2.1, `AbstractHistogram.encodeIntoCompressedByteBuffer`): what a
//! result file holds, readable by every tool of that family.
//!
//! Our own reader, because a result file comes from a guest or a stranger: the crate's reserves as many bytes
//! as a file claims to have, and takes any bounds.
//!
//! ```text
//! base64(cookie 1c849314, length, zlib(cookie 1c849313, length, 0, digits, lowest, highest, 1.0, counts))
//! ```
//! All numbers are big endian; counts are ZigZag LEB128 of at most nine bytes; a negative one skips that many
//! buckets.

use std::io::{Read, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use super::{LONGEST_NANOS, MOST_SAMPLES, SIGNIFICANT_DIGITS, TooManySamples};

type Counts = hdrhistogram::Histogram<u64>;

const COOKIE: u32 = 0x1c84_9313;
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;
/// Half the values a bucket of three significant digits tells apart: each doubling of the range has so many
/// more.
const HALF_BUCKET: u64 = 1024;
const HEADER: usize = 40;
const BUCKETS: u64 = index_of(LONGEST_NANOS) + 1;
/// Nine bytes for each count: an hour is 2⁴² ns, 2³¹ times what the first 2048 buckets count.
const LONGEST_RAW: usize = HEADER + 9 * 33 * 1024;
/// And what zlib adds to data it cannot pack.
const LONGEST_PACKED: usize = LONGEST_RAW + LONGEST_RAW / 1000 + 64;
const _: () = assert!(BUCKETS <= 33 * 1024);
const LONGEST_TEXT: usize = (LONGEST_PACKED + 8) / 3 * 4 + 4;
/// Why a text is not one of our histograms.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any histogram of ours can be.
    #[error("histogram of {0} characters is longer than one can be")]
    TooLong(usize),
    /// Not base64.
    #[error("histogram is not base64")]
    Base64(#[from] base64::DecodeError),
    /// Not zlib data, or cut off.
    #[error("histogram cannot be unpacked")]
    Packed(#[source] std::io::Error),
    /// A field of the header is not what ours have.
    #[error("histogram has {found:#x} as its {field}, not {expected:#x}")]
    Header {
        /// Which field.
        field: &'static str,
        /// What ours have.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// The data end within a number.
    #[error("histogram ends within a number")]
    Cut,
    /// Counts beyond an hour.
    #[error("histogram counts samples beyond its range")]
    OutOfRange,
    /// More samples than can be measured.
    #[error(transparent)]
    TooMany(#[from] TooManySamples),
    /// More samples longer than an hour than samples at the end of the range.
    #[error("histogram has more saturated samples than its highest bucket")]
    Saturated,
}

/// The histogram as text.
///
/// # Panics
/// Never: writing into memory does not fail.
pub(super) fn encode(counts: &Counts) -> String {
    let payload = payload(counts);
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    packer.write_all(&header(payload.len())).expect("writing into memory");
    packer.write_all(&payload).expect("writing into memory");
    let packed = packer.finish().expect("writing into memory");
    let text = [&COMPRESSED_COOKIE.to_be_bytes(), &length(packed.len()), &*packed].concat();
    BASE64_STANDARD.encode(text)
}

fn header(payload: usize) -> Vec<u8> {
    let digits = u32::from(SIGNIFICANT_DIGITS);
    let words = [COOKIE.to_be_bytes(), length(payload), 0u32.to_be_bytes(), digits.to_be_bytes()].concat();
    let bounds = [1u64.to_be_bytes(), LONGEST_NANOS.to_be_bytes(), 1f64.to_be_bytes()].concat();
    [words, bounds].concat()
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("far below 4 GiB: a bucket takes nine bytes").to_be_bytes()
}

fn payload(counts: &Counts) -> Vec<u8> {
    let (mut bytes, mut next) = (Vec::new(), 0);
    for step in counts.iter_recorded() {
        let index = index_of(step.value_iterated_to().min(LONGEST_NANOS));
        match index - next {
            0 => (),
            // A lone empty bucket is a count of 0, as in the other implementations.
            1 => bytes.push(0),
            skipped => write_varint(&mut bytes, -skipped.cast_signed()),
        }
        write_varint(&mut bytes, i64::try_from(step.count_at_value()).unwrap_or(i64::MAX));
        next = index + 1;
    }
    if bytes.is_empty() { vec![0] } else { bytes }
}

/// Reads `text` into `empty`, a histogram without samples. Memory and time are bounded by the largest valid
/// text.
pub(super) fn decode(text: &str, empty: Counts) -> Result<Counts, DecodeError> {
    if text.len() > LONGEST_TEXT {
        return Err(DecodeError::TooLong(text.len()));
    }
    let bytes = BASE64_STANDARD.decode(text)?;
    let mut fields = Fields(&bytes);
    fields.expect("outer cookie", u64::from(COMPRESSED_COOKIE), Fields::word)?;
    let packed = fields.word()?;
    fields.all("packed length", packed)?;
    let mut raw = Vec::new();
    let mut unpacked = ZlibDecoder::new(fields.0).take(LONGEST_RAW as u64 + 1);
    unpacked.read_to_end(&mut raw).map_err(DecodeError::Packed)?;
    read_counts(&raw, empty)
}

fn read_counts(raw: &[u8], mut counts: Counts) -> Result<Counts, DecodeError> {
    let mut fields = Fields(raw);
    fields.expect("cookie", u64::from(COOKIE), Fields::word)?;
    let payload = fields.word()?;
    fields.expect("normalizing offset", 0, Fields::word)?;
    fields.expect("number of digits", u64::from(SIGNIFICANT_DIGITS), Fields::word)?;
    fields.expect("lowest value", 1, Fields::double_word)?;
    fields.expect("highest value", LONGEST_NANOS, Fields::double_word)?;
    fields.expect("conversion ratio", 1f64.to_bits(), Fields::double_word)?;
    fields.all("length", payload)?;
    let (mut index, mut total) = (0u64, 0u64);
    while !fields.0.is_empty() {
        let number = fields.varint()?;
        let count = u64::try_from(number).unwrap_or(0);
        total = total.saturating_add(count);
        if total > MOST_SAMPLES {
            return Err(TooManySamples.into());
        }
        if count > 0 {
            let value = (index < BUCKETS).then(|| value_of(index)).ok_or(DecodeError::OutOfRange)?;
            counts.saturating_record_n(value, count);
        }
        index = index.saturating_add(if number < 0 { number.unsigned_abs() } else { 1 });
    }
    Ok(counts)
}

/// What has not been read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn word(&mut self) -> Result<u64, DecodeError> {
        self.take().map(|bytes| u64::from(u32::from_be_bytes(bytes)))
    }

    fn double_word(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_be_bytes)
    }

    fn expect(
        &mut self,
        field: &'static str,
        expected: u64,
        read: fn(&mut Self) -> Result<u64, DecodeError>,
    ) -> Result<(), DecodeError> {
        let found = read(self)?;
        if found == expected { Ok(()) } else { Err(DecodeError::Header { field, expected, found }) }
    }

    /// What is left must be as long as the file says.
    const fn all(&self, field: &'static str, found: u64) -> Result<(), DecodeError> {
        let expected = self.0.len() as u64;
        if found == expected { Ok(()) } else { Err(DecodeError::Header { field, expected, found }) }
    }

    fn varint(&mut self) -> Result<i64, DecodeError> {
        let mut zigzag = 0u64;
        for place in 0..9 {
            let [byte] = self.take()?;
            // The ninth byte has all its eight bits.
            let (bits, more) = if place == 8 { (byte, false) } else { (byte & 0x7f, byte > 0x7f) };
            zigzag |= u64::from(bits) << (7 * place);
            if !more {
                break;
            }
        }
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

fn write_varint(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
    bytes.push(rest.to_le_bytes()[0]);
}

/// The bucket that counts `value`: one for each value below 2048, then 1024 for each doubling.
const fn index_of(value: u64) -> u64 {
    let doubling = doubling_of(value);
    HALF_BUCKET * doubling + (value >> doubling)
}

const fn doubling_of(value: u64) -> u64 {
    (value | (2 * HALF_BUCKET - 1)).ilog2() as u64 - HALF_BUCKET.ilog2() as u64
}

/// The lowest value that a bucket counts.
const fn value_of(index: u64) -> u64 {
    let doubling = if index < 2 * HALF_BUCKET { 0 } else { index / HALF_BUCKET - 1 };
    (index - HALF_BUCKET * doubling) << doubling
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        histogram::Histogram,
        random::{Random, Seed},
    };

    /// What Python's `hdrhistogram` 0.10.8 writes for 1 ns to 1 h with three digits and the samples below.
    const FROM_PYTHON: &str =
        "HISTFAAAADt4nJNpmSzMwMAgxQABzFCaEch0M9ixgMH+A1SAiekkP9NTdqbDHExMf/mZ9texfMxjuvuGkQkAITUMfQ==";
    const SAMPLES: [u64; 11] =
        [1, 2, 1000, 1500, 2047, 2048, 4096, 1_000_000, 1_000_000, 123_456_789, 3_599_000_000_000];

    fn read(text: &str) -> Result<Counts, DecodeError> {
        decode(text, Histogram::new().counts)
    }

    fn packed(raw: &[u8]) -> String {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
        packer.write_all(raw).expect("memory");
        let packed = packer.finish().expect("memory");
        BASE64_STANDARD.encode([&COMPRESSED_COOKIE.to_be_bytes(), &length(packed.len()), &*packed].concat())
    }

    /// Whatever is not refused is a histogram like any other.
    fn refused_or_sound(text: &str) {
        if let Ok(counts) = read(text) {
            assert_eq!(read(&encode(&counts)).expect("ours"), counts);
        }
    }

    #[test]
    fn what_another_implementation_wrote_is_read() {
        let mut expected = Histogram::new();
        SAMPLES.iter().for_each(|nanos| expected.add(*nanos, 1));
        assert_eq!(read(FROM_PYTHON).expect("valid"), expected.counts);
    }

    #[test]
    fn buckets_are_those_of_the_crate() {
        let counts = Histogram::new().counts;
        for value in (0..42).flat_map(|bit| [1u64 << bit, (1 << bit) + 1, (3 << bit) - 1]) {
            let value = value.min(LONGEST_NANOS);
            let lowest = value_of(index_of(value));
            assert_eq!(lowest.max(1), counts.lowest_equivalent(value).max(1), "{value}");
            assert!(index_of(lowest) == index_of(value), "{value}");
        }
    }

    #[test]
    fn ten_million_samples_take_less_than_200_kilobytes() {
        let (mut histogram, mut random) = (Histogram::new(), Random::new(Seed(10)));
        for _ in 0..10_000_000 {
            // Log-normal around 1 ms with a long tail, from the sum of four uniform numbers: quick, and
            // normal enough.
            let sum: u64 = (0..4).map(|_| random.next() >> 33).sum();
            let exponent = (sum as f64 / f64::from(1 << 31) - 2.0) * 2.0;
            histogram.record(std::time::Duration::from_secs_f64(1e-3 * libm::exp(exponent)));
        }
        let json = serde_json::to_string(&histogram).expect("JSON");
        assert_eq!(histogram.count(), 10_000_000);
        assert!(json.len() < 200_000, "{}", json.len());
        assert_eq!(serde_json::from_str::<Histogram>(&json).expect("ours"), histogram);
    }

    #[test]
    fn even_the_largest_histogram_can_be_read_back() {
        let (mut histogram, mut random) = (Histogram::new(), Random::new(Seed(11)));
        // Counts without a pattern, in every bucket: nothing for zlib to pack.
        (0..BUCKETS).for_each(|index| histogram.add(value_of(index), random.next() >> 40));
        let text = encode(&histogram.counts);
        assert_eq!(read(&text).expect("ours"), histogram.counts);
    }

    #[test]
    fn a_small_text_that_claims_or_unpacks_to_gigabytes_is_refused() {
        let claims = [&header(u32::MAX as usize)[..], &[0]].concat();
        assert!(matches!(read(&packed(&claims)), Err(DecodeError::Header { field: "length", .. })));
        let bomb = packed(&[header(20_000_000), vec![0; 20_000_000]].concat());
        assert!(bomb.len() < LONGEST_TEXT);
        assert!(matches!(read(&bomb), Err(DecodeError::Header { field: "length", .. })));
        assert!(matches!(read(&"A".repeat(LONGEST_TEXT + 1)), Err(DecodeError::TooLong(_))));
    }

    #[test]
    fn counts_that_nobody_can_have_measured_are_refused() {
        let with = |payload: &[u8]| read(&packed(&[&header(payload.len()), payload].concat()));
        let mut many = Vec::new();
        write_varint(&mut many, i64::MAX);
        assert!(matches!(with(&many), Err(DecodeError::TooMany(_))));
        // i64::MIN: the one number that has no opposite.
        assert!(matches!(with(&[&[0xff; 9][..], &[2]].concat()), Err(DecodeError::OutOfRange)));
        assert!(matches!(with(&[0x80]), Err(DecodeError::Cut)));
        let json = format!(r#"{{"hdr":"{FROM_PYTHON}","saturated":2}}"#);
        assert!(serde_json::from_str::<Histogram>(&json).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_is_read(samples in prop::collection::vec((1..=LONGEST_NANOS, 1u64..1000), 0..50)) {
            let mut histogram = Histogram::new();
            samples.iter().for_each(|(nanos, times)| histogram.add(*nanos, *times));
            prop_assert_eq!(read(&encode(&histogram.counts)).expect("ours"), histogram.counts);
        }

        #[test]
        fn numbers_survive(number in any::<i64>()) {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            prop_assert_eq!(Fields(&bytes).varint().expect("whole"), number);
        }

        #[test]
        fn no_text_and_no_payload_panics(
            text in ".{0,60}", payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            refused_or_sound(&text);
            refused_or_sound(&BASE64_STANDARD.encode(&payload));
            refused_or_sound(&packed(&payload));
            refused_or_sound(&packed(&[header(payload.len()), payload].concat()));
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0..FROM_PYTHON.len(), byte in any::<u8>()) {
            let mut bytes = BASE64_STANDARD.decode(FROM_PYTHON).expect("base64");
            let at = at % bytes.len();
            bytes[at] ^= byte;
            refused_or_sound(&BASE64_STANDARD.encode(bytes));
        }
    }
}
