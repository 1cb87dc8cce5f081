//! A few numbers, one for each run, in short: their middle, their spread, and how sure the middle is.

use serde::Serialize;

use crate::{
    distribution::ln_choose,
    interval::{Confidence, Interval},
};

/// What a table shows of some runs. All in the unit of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many numbers.
    pub count: usize,
    /// The smallest.
    pub minimum: f64,
    /// A quarter is below: type 7 of Hyndman and Fan (1996), what R, NumPy and spreadsheets give.
    pub lower_quartile: f64,
    /// Half are below.
    pub median: f64,
    /// A quarter is above.
    pub upper_quartile: f64,
    /// The largest.
    pub maximum: f64,
    /// The median of the distances from the median (Hampel 1974). Not scaled: for normal numbers σ is 1.4826
    /// times this.
    pub median_deviation: f64,
}

impl Summary {
    /// The summary of `numbers`; `None` when there are none, or one is not finite.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let sorted = sorted(numbers)?;
        let median = quantile(&sorted, 0.5);
        let mut distances: Vec<f64> = sorted.iter().map(|number| (number - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            minimum: sorted[0],
            lower_quartile: quantile(&sorted, 0.25),
            median,
            upper_quartile: quantile(&sorted, 0.75),
            maximum: sorted[sorted.len() - 1],
            median_deviation: quantile(&distances, 0.5),
        })
    }

    /// The distance between the quartiles: the middle half lies within.
    #[must_use]
    pub fn quartile_distance(&self) -> f64 {
        self.upper_quartile - self.lower_quartile
    }
}

/// The median between two order statistics (Thompson 1936; David and Nagaraja 2003, "Order Statistics",
/// section 7.1), for any distribution. Its confidence is what it really has, at least `confidence`. `None`
/// when there are too few numbers: for 95 % six are needed, for five even the range from smallest to largest
/// has only 93.75 %.
#[must_use]
pub fn median_interval(numbers: &[f64], confidence: Confidence) -> Option<Interval> {
    let sorted = sorted(numbers)?;
    let count = sorted.len();
    // The share of measurings whose k-th smallest, or k-th largest, number is beyond the median: Bin(n, ½)
    // below k, twice.
    let mut beyond = 0.0;
    let mut found = None;
    for k in 0..count / 2 {
        beyond += 2.0 * libm::exp(ln_choose(count as u64, k as u64) - count as f64 * std::f64::consts::LN_2);
        if beyond > confidence.alpha() {
            break;
        }
        found = Confidence::new(1.0 - beyond).map(|achieved| (k, achieved)).or(found);
    }
    let (k, achieved) = found?;
    Some(Interval::around(quantile(&sorted, 0.5), sorted[k], sorted[count - 1 - k], achieved))
}

fn sorted(numbers: &[f64]) -> Option<Vec<f64>> {
    let usable = !numbers.is_empty() && numbers.iter().all(|number| number.is_finite());
    usable.then(|| {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    })
}

/// Type 7: between the neighbours of place (n − 1) · share, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * share;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place within the slice")]
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let part = place - below as f64;
    sorted[below] * (1.0 - part) + sorted[above] * part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ranks and confidences that tables of the sign test list for 95 %.
    #[test]
    fn median_intervals_have_the_ranks_of_the_tables() {
        for (count, rank, achieved) in [(6, 1, 0.9688), (8, 1, 0.9922), (10, 2, 0.9785), (20, 6, 0.9586)] {
            let numbers: Vec<f64> = (1..=count).map(f64::from).collect();
            let found = median_interval(&numbers, Confidence::P95).expect("enough");
            assert_eq!((found.low, found.high), (f64::from(rank), f64::from(count + 1 - rank)), "{count}");
            assert!((found.confidence.level() - achieved).abs() < 5e-5, "{count}: {found:?}");
        }
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], Confidence::P95), None);
    }

    #[test]
    fn nothing_is_said_of_nothing_or_of_missing_numbers() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(median_interval(&[], Confidence::P95), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_summary_is_in_order_and_the_median_in_its_interval(
            numbers in prop::collection::vec(-1e6..1e6f64, 1..40),
        ) {
            let summary = Summary::of(&numbers).expect("numbers");
            let quartiles = [summary.lower_quartile, summary.median, summary.upper_quartile];
            let order = [&[summary.minimum], &quartiles[..], &[summary.maximum]].concat();
            prop_assert!(order.is_sorted(), "{:?}", order);
            prop_assert!(summary.median_deviation <= summary.maximum - summary.minimum);
            let interval = median_interval(&numbers, Confidence::P95);
            prop_assert_eq!(interval.is_some(), numbers.len() >= 6);
            prop_assert!(interval.is_none_or(|interval| interval.contains(summary.median)));
        }
    }
}
