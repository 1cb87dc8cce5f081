//! Do two sets of runs differ at all? Mann and Whitney's U, and by how much they differ.
//!
//! For one number per run (a build's minutes, a run's throughput). Must not be fed the samples of a run: they
//! are not independent, and with thousands of them every difference becomes "significant". Nor does it
//! compare medians: it asks whether a number of one set tends to be larger than one of the other.

use serde::Serialize;

use crate::{
    distribution::normal_cdf,
    interval::{Confidence, Interval},
};

/// What the test says of a baseline and a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MannWhitney {
    /// In how many pairs the candidate's number is larger; a tie counts half (Mann and Whitney 1947).
    pub u: f64,
    /// The two-sided probability of a difference at least as large when there is none.
    pub p: f64,
    /// How `p` was found.
    pub method: Method,
    /// The probability that a number of the candidate is larger than one of the baseline, ties as half: U /
    /// (m · n). 0.5 is no difference (Vargha and Delaney 2000: Â).
    pub superiority: f64,
    /// By how much the candidate's numbers are larger, in their unit: the median of all pairwise differences
    /// (Hodges and Lehmann 1963).
    pub shift: f64,
}

/// How a probability was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From all ways to divide the ranks (Mann and Whitney 1947). Up to 20
    /// numbers in each set, no ties.
    Exact,
    /// From the normal distribution, its variance corrected for ties (Lehmann 1975,
    /// "Nonparametrics", chapter 1) and U for continuity by ½.
    Normal,
}

/// Why the test cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MannWhitneyError {
    /// A set without numbers.
    #[error("one of the sets is empty")]
    Empty,
    /// A number that is not finite: a run without a result is not a result.
    #[error("one of the numbers is infinite or not a number")]
    NotFinite,
    /// So many numbers that they are samples, not runs.
    #[error("{0} pairs are too many; one number for each run is meant")]
    TooMany(usize),
}

const MOST_FOR_EXACT: usize = 20;
const MOST_PAIRS: usize = 1_000_000;

/// Compares `candidate` with `baseline`: one number for each run, all in the same unit.
///
/// # Errors
/// When a set is empty or holds something that is not a finite number, or there are more than a million
/// pairs.
pub fn mann_whitney(baseline: &[f64], candidate: &[f64]) -> Result<MannWhitney, MannWhitneyError> {
    check(baseline, candidate)?;
    let mut differences: Vec<f64> =
        candidate.iter().flat_map(|c| baseline.iter().map(move |b| c - b)).collect();
    differences.sort_by(f64::total_cmp);
    let larger = differences.len() - differences.partition_point(|difference| *difference <= 0.0);
    let not_smaller = differences.len() - differences.partition_point(|difference| *difference < 0.0);
    let u = 0.5 * (larger + not_smaller) as f64;
    let tied = ties(baseline, candidate);
    let small = baseline.len().max(candidate.len()) <= MOST_FOR_EXACT;
    let (p, method) = if tied == 0.0 && small {
        (exact_p(u, baseline.len(), candidate.len()), Method::Exact)
    } else {
        (normal_p(u, baseline.len(), candidate.len(), tied), Method::Normal)
    };
    let superiority = u / differences.len() as f64;
    Ok(MannWhitney { u, p, method, superiority, shift: middle(&differences) })
}

/// The smallest two-sided p that sets of these sizes can give: 2 / C(m + n, m). Above 0.05, as for three
/// against three, no data whatever can show a difference.
#[must_use]
pub fn smallest_p(baseline: usize, candidate: usize) -> f64 {
    let (all, part) = ((baseline + candidate) as u64, baseline as u64);
    (2.0 * libm::exp(-crate::distribution::ln_choose(all, part))).min(1.0)
}

/// How many times as large the candidate's numbers are: the median of all pairwise quotients, with the interval of
/// all ratios that the test does not refuse (Hodges and Lehmann 1963, in logarithms). It leaves out 1 exactly where
/// the test shows a difference, but for ties. `None` where a number is not above 0, or where sets of these sizes can show
/// nothing.
#[must_use]
pub fn ratio(baseline: &[f64], candidate: &[f64], confidence: Confidence) -> Option<Interval> {
    check(baseline, candidate).ok()?;
    if baseline.iter().chain(candidate).any(|number| *number <= 0.0) {
        return None;
    }
    let (m, n) = (baseline.len(), candidate.len());
    let p = |u: usize| {
        if m.max(n) <= MOST_FOR_EXACT { exact_p(u as f64, m, n) } else { normal_p(u as f64, m, n, 0.0) }
    };
    // So many of the smallest quotients, and of the largest, are refused.
    let refused = (0..m * n / 2).take_while(|u| p(*u) <= confidence.alpha()).count();
    let mut quotients: Vec<f64> =
        candidate.iter().flat_map(|c| baseline.iter().map(move |b| c / b)).collect();
    quotients.sort_by(f64::total_cmp);
    let ends = [quotients[refused.checked_sub(1)?], quotients[m * n - refused]];
    Some(Interval::around(middle(&quotients), ends[0], ends[1], confidence))
}

fn check(baseline: &[f64], candidate: &[f64]) -> Result<(), MannWhitneyError> {
    let pairs = baseline.len().saturating_mul(candidate.len());
    if pairs == 0 {
        return Err(MannWhitneyError::Empty);
    }
    if pairs > MOST_PAIRS {
        return Err(MannWhitneyError::TooMany(pairs));
    }
    let finite = baseline.iter().chain(candidate).all(|number| number.is_finite());
    if finite { Ok(()) } else { Err(MannWhitneyError::NotFinite) }
}

/// Σ (t³ − t) over the groups of t equal numbers; 0 when all differ.
fn ties(baseline: &[f64], candidate: &[f64]) -> f64 {
    let mut all = [baseline, candidate].concat();
    all.sort_by(f64::total_cmp);
    // `==` and not `total_cmp`, for which 0 and −0 differ.
    all.chunk_by(|a, b| a == b).map(|group| group.len() as f64).map(|t| t * t * t - t).sum()
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { 0.5 * sorted[half - 1] + 0.5 * sorted[half] }
}

fn exact_p(u: f64, m: usize, n: usize) -> f64 {
    let ways = ways(m, n);
    let all: f64 = ways.iter().sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number up to m · n")]
    let smaller = u.min((m * n) as f64 - u) as usize;
    let tail: f64 = ways[..=smaller].iter().sum();
    (2.0 * tail / all).min(1.0)
}

/// In how many ways the ranks can be divided for each U from 0 to m · n: the coefficients of the Gaussian
/// binomial, of which each factor (1 − xⁿ⁺ⁱ) / (1 − xⁱ) is one multiplication and one division. Whole numbers
/// below 2⁵³ for m, n ≤ 20.
fn ways(m: usize, n: usize) -> Vec<f64> {
    let mut ways = vec![0.0; m * n + 1];
    ways[0] = 1.0;
    for i in 1..=m {
        for u in (n + i..ways.len()).rev() {
            ways[u] -= ways[u - n - i];
        }
        for u in i..ways.len() {
            ways[u] += ways[u - i];
        }
    }
    ways
}

fn normal_p(u: f64, m: usize, n: usize, tied: f64) -> f64 {
    let (pairs, all) = ((m * n) as f64, (m + n) as f64);
    let variance = pairs / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)));
    let distance = (u - 0.5 * pairs).abs() - 0.5;
    // No variance: all numbers are equal.
    if variance > 0.0 { (2.0 * normal_cdf(-distance / variance.sqrt())).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hollander and Wolfe 1973, p. 69: permeability of the human chorioamnion, the example of R's
    /// `wilcox.test`, which prints W = 35, p = 0.1272 one-sided, and 0.305 as the difference in location.
    #[test]
    fn hollander_and_wolfes_example_comes_out() {
        let at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let earlier = [1.15, 0.88, 0.90, 0.74, 1.21];
        let test = mann_whitney(&earlier, &at_term).expect("numbers");
        assert_eq!((test.u, test.method), (35.0, Method::Exact));
        assert!((test.p / 2.0 - 0.1272).abs() < 5e-5, "{}", test.p);
        assert!((test.shift - 0.305).abs() < 1e-9, "{}", test.shift);
    }

    #[test]
    fn three_runs_against_three_can_show_nothing() {
        assert!((smallest_p(3, 3) - 0.1).abs() < 1e-12);
        let test = mann_whitney(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]).expect("numbers");
        assert!((test.p - smallest_p(3, 3)).abs() < 1e-12);
        assert!(smallest_p(5, 5) < 0.01);
    }

    #[test]
    fn equal_numbers_show_nothing_and_missing_ones_are_refused() {
        let test = mann_whitney(&[7.0; 6], &[7.0; 6]).expect("numbers");
        assert_eq!((test.p, test.superiority, test.shift), (1.0, 0.5, 0.0));
        assert_eq!(mann_whitney(&[], &[1.0]), Err(MannWhitneyError::Empty));
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0]), Err(MannWhitneyError::NotFinite));
        assert_eq!(mann_whitney(&[1.0; 2000], &[1.0; 2000]), Err(MannWhitneyError::TooMany(4_000_000)));
    }

    /// Of 25 quotients of five and five the test refuses three at each end (critical value 2 of Mann and Whitney's table).
    #[test]
    fn a_ratio_has_the_interval_of_what_the_test_does_not_refuse() {
        let found = ratio(&[1.0; 5], &[2.0, 2.1, 2.2, 2.3, 2.4], Confidence::P95).expect("numbers");
        assert!((found.estimate - 2.2).abs() < 1e-12 && found.low == 2.0 && found.high == 2.4, "{found:?}");
        let apart = ratio(&[1.0, 1.1, 1.2, 1.3, 1.4], &[1.05, 1.15, 1.25, 1.35, 1.45], Confidence::P95);
        assert!(apart.is_some_and(|ratio| ratio.contains(1.0)), "{apart:?}");
        assert_eq!(
            ratio(&[1.0; 3], &[2.0; 3], Confidence::P95),
            None,
            "three against three can show nothing"
        );
        assert_eq!(ratio(&[0.0; 5], &[2.0; 5], Confidence::P95), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_ratio_leaves_out_1_where_the_test_shows_a_difference(
            a in prop::collection::btree_set(1i32..400, 5..9),
            b in prop::collection::btree_set(1i32..400, 5..9),
        ) {
            // Halves, so that no number of the one is one of the other.
            let a: Vec<f64> = a.into_iter().map(f64::from).collect();
            let b: Vec<f64> = b.into_iter().map(|number| f64::from(number) + 0.5).collect();
            let test = mann_whitney(&a, &b).expect("numbers");
            let found = ratio(&a, &b, Confidence::P95).expect("enough numbers");
            prop_assert_eq!(test.p <= Confidence::P95.alpha(), !found.contains(1.0));
        }

        #[test]
        fn the_arms_can_be_exchanged(
            a in prop::collection::vec(-50i32..50, 1..25),
            b in prop::collection::vec(-50i32..50, 1..25),
        ) {
            let [a, b] = [a, b].map(|numbers| numbers.into_iter().map(f64::from).collect::<Vec<_>>());
            let there = mann_whitney(&a, &b).expect("numbers");
            let back = mann_whitney(&b, &a).expect("numbers");
            prop_assert!((there.p - back.p).abs() < 1e-12 && (0.0..=1.0).contains(&there.p));
            prop_assert!((there.superiority + back.superiority - 1.0).abs() < 1e-12);
            prop_assert!((there.shift + back.shift).abs() < 1e-12);
        }

        #[test]
        fn all_ways_are_counted(m in 1usize..20, n in 1usize..20) {
            let ways = ways(m, n);
            let all = libm::exp(crate::distribution::ln_choose((m + n) as u64, m as u64));
            prop_assert!((ways.iter().sum::<f64>() / all - 1.0).abs() < 1e-11);
            prop_assert!(ways.iter().eq(ways.iter().rev()));
        }
    }
}
