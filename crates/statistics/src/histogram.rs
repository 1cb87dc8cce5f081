//! Latencies kept whole: an HDR histogram (Tene 2012-2014, hdrhistogram.org) in nanoseconds with three
//! significant digits, so any percentile can be asked for later and runs can be merged without loss.
//!
//! Does not invent samples: what was not issued while the system was stuck is not in here. Issue in an open
//! loop and measure from the time a request was due; a correction afterwards (HdrHistogram's
//! `record_correct`) is a guess.

mod encoding;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use encoding::DecodeError;

use crate::percentile::Percentile;

/// A distribution of latencies from 1 ns to 1 h. Each value is kept to within 0.1 % of itself; counts are
/// exact.
///
/// 264 KiB of memory, whatever is recorded. Longer than an hour counts as an hour and is counted in
/// `saturated`; zero, which only a coarse clock measures, counts as 1 ns.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    saturated: u64,
}

/// The longest latency that is told from longer ones, in nanoseconds: 1 h.
pub const LONGEST_NANOS: u64 = 3_600_000_000_000;

const SIGNIFICANT_DIGITS: u8 = 3;

const MOST_SAMPLES: u64 = 1 << 40;

/// More samples than anybody can have measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histogram counts more than 2^40 samples")]
pub struct TooManySamples;

/// How far a value may be from what was recorded, as a ratio: 10⁻³ for three significant digits.
pub const RESOLUTION: f64 = 1e-3;

/// How a histogram stands in a result file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// HdrHistogram's format V2, zlib, base64: what other tools of that family read too.
    hdr: String,
    /// How many of the samples took longer than an hour. The format has no place for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    saturated: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// A histogram without samples.
    ///
    /// # Panics
    /// Never: the bounds are constants that HdrHistogram accepts.
    #[must_use]
    pub fn new() -> Self {
        let counts = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_NANOS, SIGNIFICANT_DIGITS);
        Self { counts: counts.expect("1 ns to 1 h with three digits are bounds it accepts"), saturated: 0 }
    }

    /// Adds a sample. About 4 ns; never allocates.
    #[inline]
    pub fn record(&mut self, took: Duration) {
        self.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), 1);
    }

    /// Adds `times` samples of `nanos` nanoseconds: a bin of somebody else's histogram.
    ///
    /// # Errors
    /// When there would be more than 2⁴⁰ samples, which is more than one for each nanosecond of a quarter of an
    /// hour: nobody measured them, and sums of counts could overflow. Nothing is added then.
    pub fn record_bin(&mut self, nanos: u64, times: u64) -> Result<(), TooManySamples> {
        if self.count().saturating_add(times) > MOST_SAMPLES {
            return Err(TooManySamples);
        }
        self.add(nanos, times);
        Ok(())
    }

    #[inline]
    fn add(&mut self, nanos: u64, times: u64) {
        if nanos > LONGEST_NANOS {
            self.saturated = self.saturated.saturating_add(times);
        }
        self.counts.saturating_record_n(nanos.clamp(1, LONGEST_NANOS), times);
    }

    /// Adds all samples of `other`. In whatever order histograms are merged, the result is the same.
    ///
    /// # Panics
    /// Never: all histograms of this type have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts).expect("same bounds");
        self.saturated = self.saturated.saturating_add(other.saturated);
    }

    /// The merged samples of several histograms.
    #[must_use]
    pub fn merged<'a>(histograms: impl IntoIterator<Item = &'a Self>) -> Self {
        histograms.into_iter().fold(Self::new(), |mut whole, part| {
            whole.merge(part);
            whole
        })
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// How many samples took longer than an hour. A percentile that reaches them says "at least 1 h", not how
    /// long.
    #[must_use]
    pub const fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The latency at `percentile` by nearest rank, up to 0.1 % above what was recorded; `None` without
    /// samples.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<Duration> {
        let count = self.count();
        // HdrHistogram rounds quantile · count up, in floating point. Half a rank lower, rounding errors
        // change nothing.
        let quantile = (percentile.rank(count) as f64 - 0.5) / count as f64;
        (count > 0).then(|| Duration::from_nanos(self.counts.value_at_quantile(quantile).min(LONGEST_NANOS)))
    }

    /// The mean latency, for Little's law; `None` without samples.
    ///
    /// Must not stand for what a user feels: a few slow samples hide in it.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_secs_f64(self.counts.mean() / 1e9))
    }

    /// What is counted, as pairs of nanoseconds (the highest that fall into the same bucket) and samples,
    /// ascending.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts
            .iter_recorded()
            .map(|step| (step.value_iterated_to().min(LONGEST_NANOS), step.count_at_value()))
    }
}

impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.saturated == other.saturated && self.buckets().eq(other.buckets())
    }
}

impl From<Histogram> for Written {
    fn from(histogram: Histogram) -> Self {
        Self { hdr: encoding::encode(&histogram.counts), saturated: histogram.saturated }
    }
}

impl TryFrom<Written> for Histogram {
    type Error = DecodeError;

    fn try_from(written: Written) -> Result<Self, DecodeError> {
        let counts = encoding::decode(&written.hdr, Self::new().counts)?;
        if written.saturated > counts.count_at(LONGEST_NANOS) {
            return Err(DecodeError::Saturated);
        }
        Ok(Self { counts, saturated: written.saturated })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        samples.iter().for_each(|nanos| histogram.add(*nanos, 1));
        histogram
    }

    fn nanos(histogram: &Histogram, percentile: Percentile) -> Option<u64> {
        histogram.percentile(percentile).map(|took| u64::try_from(took.as_nanos()).expect("below an hour"))
    }

    /// Latencies of all orders of magnitude, also outside the range.
    fn samples() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0u32..44, any::<u64>()).prop_map(|(bits, any)| any >> (63 - bits)), 0..200)
    }

    #[test]
    fn what_is_outside_the_range_is_a_sample_all_the_same() {
        let histogram = of(&[0, 5, LONGEST_NANOS, LONGEST_NANOS + 1, u64::MAX]);
        assert_eq!((histogram.count(), histogram.saturated()), (5, 2));
        assert_eq!(nanos(&histogram, Percentile::MAX), Some(LONGEST_NANOS));
        let p20 = Percentile::from_millionths(200_000).expect("a percentile");
        assert_eq!(nanos(&histogram, p20), Some(1));
    }

    #[test]
    fn a_bin_that_nobody_can_have_measured_is_refused() {
        let mut histogram = of(&[5]);
        assert_eq!(histogram.record_bin(7, MOST_SAMPLES), Err(TooManySamples));
        assert_eq!(histogram.record_bin(7, u64::MAX), Err(TooManySamples));
        assert_eq!(histogram.record_bin(7, MOST_SAMPLES - 1), Ok(()));
        assert_eq!(nanos(&histogram, Percentile::P50), Some(7));
    }

    #[test]
    fn nothing_is_said_of_no_samples() {
        assert_eq!(Histogram::new().percentile(Percentile::P99), None);
        assert_eq!(Histogram::new().mean(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn merging_is_associative_and_commutative_and_loses_nothing(
            a in samples(), b in samples(), c in samples(),
        ) {
            let (x, y, z) = (of(&a), of(&b), of(&c));
            let left = Histogram::merged([&Histogram::merged([&x, &y]), &z]);
            let right = Histogram::merged([&x, &Histogram::merged([&y, &z])]);
            prop_assert_eq!(&left, &right);
            prop_assert_eq!(&left, &Histogram::merged([&z, &y, &x]));
            prop_assert_eq!(&left, &of(&[a, b, c].concat()));
        }

        #[test]
        fn percentiles_are_monotone_and_near_the_sample_of_their_rank(
            raw in samples(), millionths in 1u32..=1_000_000,
        ) {
            prop_assume!(!raw.is_empty());
            let histogram = of(&raw);
            let shown = Percentile::SHOWN.map(|percentile| nanos(&histogram, percentile));
            prop_assert!(shown.is_sorted(), "{:?}", shown);

            let percentile = Percentile::from_millionths(millionths).expect("in range");
            let mut sorted: Vec<u64> = raw.iter().map(|nanos| (*nanos).clamp(1, LONGEST_NANOS)).collect();
            sorted.sort_unstable();
            let rank = usize::try_from(percentile.rank(raw.len() as u64)).expect("small");
            let (exact, found) = (sorted[rank - 1], nanos(&histogram, percentile).expect("samples"));
            prop_assert!(exact <= found, "{exact} {found}");
            let above = (found - exact) as f64;
            prop_assert!(above <= RESOLUTION * exact as f64, "{exact} {found}");
        }
    }
}
