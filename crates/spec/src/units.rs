//! Numbers with units: `512MiB`, `90s`. A bare number is refused, because nobody can tell what it means.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A size in bytes. Reads `4GiB`, `512MiB`, `64KiB`, `1TiB`, `100B` and the decimal `kB`, `MB`, `GB`, `TB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(u64);

/// A length of time that the user wrote: `500ms`, `90s`, `10m`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(Duration);

/// Why a text is not a size or a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Only digits: the unit is missing.
    #[error("{0:?} has no unit")]
    NoUnit(String),
    /// Digits, then something that is no unit.
    #[error("{unit:?} is not a unit")]
    UnknownUnit {
        /// What stood after the number.
        unit: String,
    },
    /// The number itself cannot be read.
    #[error("{0:?} is not a number with a unit")]
    NotANumber(String),
    /// More than 2⁶⁴ − 1 bytes, or milliseconds.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const SPANS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl ByteSize {
    /// A size of `bytes` bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of `mib` × 2²⁰ bytes.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in whole MiB, rounded up: what QEMU's `-m` takes.
    #[must_use]
    pub const fn mib_ceil(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl std::ops::Add for ByteSize {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for ByteSize {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Mul<u64> for ByteSize {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl std::iter::Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self(0), |total, size| total + size)
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit that keeps at most one decimal: `4 GiB`, `1.5 MiB`, `388 KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut tenths = u128::from(self.0) * 10;
        let mut unit = 0;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths = (tenths + 512) / 1024;
            unit += 1;
        }
        let text = match tenths % 10 {
            0 => format!("{} {}", tenths / 10, UNITS[unit]),
            fraction => format!("{}.{fraction} {}", tenths / 10, UNITS[unit]),
        };
        f.pad(&text)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        scaled(text, SIZES).map(Self)
    }
}

impl Span {
    /// The length of time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// A span of `seconds` seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        scaled(text, SPANS).map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, scale) = SPANS
            .iter()
            .rev()
            .find(|(_, scale)| millis.is_multiple_of(u128::from(*scale)))
            .copied()
            .unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis / u128::from(scale))
    }
}

/// Reads "number unit", the number with at most one decimal point, and multiplies.
fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let parsed: f64 = number.parse().map_err(|_| UnitError::NotANumber(text.to_owned()))?;
    if unit.is_empty() {
        return Err(UnitError::NoUnit(text.to_owned()));
    }
    let scale = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, scale)| *scale)
        .ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned() })?;
    whole(number, scale)
        .or_else(|| fraction(parsed, scale))
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

fn whole(number: &str, scale: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn fraction(number: f64, scale: u64) -> Option<u64> {
    let product = number * scale as f64;
    // 2⁵³: beyond it an f64 no longer holds every whole number, so such a text is refused, not rounded.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against the range just before"
    )]
    (product < 9_007_199_254_740_992.0).then_some(product as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_binary_decimal_and_fractional_numbers() {
        for (text, bytes) in [("4GiB", 4 << 30), ("1.5 MiB", 3 << 19), ("10GB", 10_000_000_000), ("7B", 7)] {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_without_a_known_unit_are_refused() {
        assert_eq!("12".parse::<ByteSize>(), Err(UnitError::NoUnit("12".into())));
        assert_eq!("12G".parse::<ByteSize>(), Err(UnitError::UnknownUnit { unit: "G".into() }));
        assert_eq!("GiB".parse::<ByteSize>(), Err(UnitError::NotANumber("GiB".into())));
        assert_eq!("99999999999TiB".parse::<ByteSize>(), Err(UnitError::TooLarge("99999999999TiB".into())));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_fitting_unit() {
        for (bytes, text) in [(0, "0 B"), (397_312, "388 KiB"), (3 << 19, "1.5 MiB"), (4 << 30, "4 GiB")] {
            assert_eq!(ByteSize::from_bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn spans_read_and_show_the_same_text() {
        for text in ["500ms", "90s", "10m", "2h"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()).as_deref(), Ok(text));
        }
    }
}
