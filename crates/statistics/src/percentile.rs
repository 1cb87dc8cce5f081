//! Which percentile of a distribution is meant, and the rank it has among counted samples.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A percentile, in millionths, so that ranks are whole numbers without rounding.
///
/// Must not be averaged: the mean of five p99 is no p99 of anything. Merge the histograms and ask them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u32);

const WHOLE: u32 = 1_000_000;

impl Percentile {
    /// The median.
    pub const P50: Self = Self(500_000);
    /// One in twenty takes longer.
    pub const P95: Self = Self(950_000);
    /// One in a hundred takes longer: what comparisons are judged by unless somebody asks otherwise.
    pub const P99: Self = Self(990_000);
    /// One in a thousand takes longer.
    pub const P999: Self = Self(999_000);
    /// The slowest sample. Never part of a comparison: it grows with the number of samples.
    pub const MAX: Self = Self(WHOLE);
    /// What a report shows of a distribution.
    pub const SHOWN: [Self; 5] = [Self::P50, Self::P95, Self::P99, Self::P999, Self::MAX];

    /// The percentile that has `millionths` of all samples at or below it; `None` unless 1 to 1 000 000.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths == 0 || millionths > WHOLE { None } else { Some(Self(millionths)) }
    }

    /// The rank, from 1, of the sample that is this percentile of `count` samples: ⌈count · p⌉, the
    /// nearest-rank definition (Hyndman and Fan 1996, type 1), and HdrHistogram's. 1 when there are no
    /// samples.
    #[must_use]
    pub fn rank(self, count: u64) -> u64 {
        let rank = (u128::from(count) * u128::from(self.0)).div_ceil(u128::from(WHOLE));
        u64::try_from(rank).unwrap_or(count).max(1)
    }

    /// How many of `count` samples lie above this percentile's rank.
    #[must_use]
    pub fn beyond(self, count: u64) -> u64 {
        count.saturating_sub(self.rank(count))
    }
}

impl fmt::Display for Percentile {
    /// `p50`, `p99.9`, `max`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            WHOLE => f.pad("max"),
            millionths => f.pad(&format!("p{}", f64::from(millionths) / 10_000.0)),
        }
    }
}

/// A text that names no percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a percentile is p50, p99, p99.9: above 0, at most 100, with up to four decimals")]
pub struct PercentileError;

impl FromStr for Percentile {
    type Err = PercentileError;

    /// `p99.9`, `99.9` or `max`.
    fn from_str(text: &str) -> Result<Self, PercentileError> {
        if text == "max" {
            return Ok(Self::MAX);
        }
        let number = text.strip_prefix('p').unwrap_or(text);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(digits(whole) && digits(part) && (1..=4).contains(&part.len())) {
            return Err(PercentileError);
        }
        let millionths = format!("{whole}{part:0<4}").parse().ok();
        millionths.and_then(Self::from_millionths).ok_or(PercentileError)
    }
}

impl Serialize for Percentile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_whole_where_floating_point_would_round_up() {
        assert_eq!(Percentile::P99.rank(100), 99);
        assert_eq!(Percentile::P99.rank(101), 100);
        // 0.07 · 100 is 7.000000000000001 in floating point.
        assert_eq!(Percentile::from_millionths(70_000).map(|p7| p7.rank(100)), Some(7));
        assert_eq!(Percentile::MAX.rank(u64::MAX), u64::MAX);
        assert_eq!(Percentile::P50.rank(0), 1);
    }

    #[test]
    fn percentiles_are_shown_as_people_say_them() {
        let shown = Percentile::SHOWN.map(|percentile| percentile.to_string());
        assert_eq!(shown, ["p50", "p95", "p99", "p99.9", "max"]);
    }

    #[test]
    fn percentiles_are_read_as_people_say_them() {
        for percentile in Percentile::SHOWN {
            assert_eq!(percentile.to_string().parse(), Ok(percentile));
        }
        assert_eq!("99.9".parse(), Ok(Percentile::P999));
        for wrong in ["", "p", "p0", "p101", "99.99999", "p9.", "p-1", "p1e1", "p+5", "p99999999999"] {
            assert_eq!(wrong.parse::<Percentile>(), Err(PercentileError), "{wrong}");
        }
    }
}
