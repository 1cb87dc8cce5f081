//! Which percentile of a distribution is meant, and the rank it has among counted samples.

use std::fmt;

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
}
