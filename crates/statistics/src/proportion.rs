//! Shares of jobs that fail: how sure a share is, whether two differ, and how many jobs it takes to see it.
//!
//! All of this takes jobs to be independent. A flaky test that fails in every build of one branch is one
//! failure, not fifty: count by pipeline definition then, or compare definition by definition.

use serde::Serialize;

use crate::{
    distribution::{ln_choose, normal_quantile},
    interval::{Confidence, Interval},
};

/// So many of so many jobs failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Proportion {
    failures: u64,
    jobs: u64,
}

/// Why counts are no proportion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProportionError {
    /// Nothing was tried.
    #[error("there are no jobs")]
    NoJobs,
    /// More failures than jobs.
    #[error("{failures} of {jobs} jobs cannot have failed")]
    MoreFailuresThanJobs {
        /// How many failed.
        failures: u64,
        /// How many there were.
        jobs: u64,
    },
    /// More jobs than anybody runs: most likely operations were counted.
    #[error("{0} jobs are more than ten million")]
    TooMany(u64),
}

/// Bounds the time of the exact test.
const MOST_JOBS: u64 = 10_000_000;

impl Proportion {
    /// `failures` of `jobs` jobs.
    ///
    /// # Errors
    /// When there are no jobs, fewer than failures, or more than ten million.
    pub const fn new(failures: u64, jobs: u64) -> Result<Self, ProportionError> {
        match jobs {
            0 => Err(ProportionError::NoJobs),
            _ if failures > jobs => Err(ProportionError::MoreFailuresThanJobs { failures, jobs }),
            _ if jobs > MOST_JOBS => Err(ProportionError::TooMany(jobs)),
            _ => Ok(Self { failures, jobs }),
        }
    }

    /// How many failed.
    #[must_use]
    pub const fn failures(self) -> u64 {
        self.failures
    }

    /// How many there were.
    #[must_use]
    pub const fn jobs(self) -> u64 {
        self.jobs
    }

    /// The share that failed: 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        self.failures as f64 / self.jobs as f64
    }

    /// The share's interval by Wilson's score method (Wilson 1927; Newcombe 1998, Statistics in Medicine
    /// 17:857, method 3). Stays between 0 and 1 and says something of 0 failures too, both unlike the
    /// textbook p ± z√(pq/n).
    #[must_use]
    pub fn wilson(self, confidence: Confidence) -> Interval {
        let (n, p) = (self.jobs as f64, self.share());
        let z = normal_quantile(1.0 - 0.5 * confidence.alpha());
        let z2 = z * z;
        let middle = 2.0 * n * p + z2;
        let reach = z * (z2 + 4.0 * n * p * (1.0 - p)).sqrt();
        let end = |numerator: f64| (numerator / (2.0 * (n + z2))).clamp(0.0, 1.0);
        Interval::around(p, end(middle - reach), end(middle + reach), confidence)
    }
}

/// The difference `first` − `second` of two shares by Newcombe's hybrid score method (Newcombe 1998,
/// Statistics in Medicine 17:873, method 10): the two Wilson intervals' distances, added as squares. For
/// independent arms only, not for the same jobs run twice.
#[must_use]
pub fn difference(first: Proportion, second: Proportion, confidence: Confidence) -> Interval {
    let (a, b) = (first.wilson(confidence), second.wilson(confidence));
    let estimate = a.estimate - b.estimate;
    let below = f64::hypot(a.estimate - a.low, b.high - b.estimate);
    let above = f64::hypot(a.high - a.estimate, b.estimate - b.low);
    Interval::around(estimate, estimate - below, estimate + above, confidence)
}

/// The two-sided probability of a table as unlikely as this one, or less likely, when the shares do not
/// differ: Fisher's exact test (Fisher 1935, "The Design of Experiments", chapter II). Exact for any counts,
/// and cautious: it rejects more seldom than it may. With relative tolerance 10⁻⁷, like R's `fisher.test`,
/// for tables that are equally likely but for rounding.
#[must_use]
pub fn fisher(first: Proportion, second: Proportion) -> f64 {
    let failures = first.failures + second.failures;
    let jobs = first.jobs + second.jobs;
    let all = ln_choose(jobs, failures);
    let likelihood = |in_first: u64| {
        let ways = ln_choose(first.jobs, in_first) + ln_choose(second.jobs, failures - in_first);
        libm::exp(ways - all)
    };
    let seen = likelihood(first.failures) * (1.0 + 1e-7);
    let possible = failures.saturating_sub(second.jobs)..=failures.min(first.jobs);
    possible.map(likelihood).filter(|ways| *ways <= seen).sum::<f64>().min(1.0)
}

/// What an experiment is to be able to show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Power {
    /// How often a difference may be claimed that is not there, two-sided: 0.05.
    pub alpha: f64,
    /// How often a difference that is there must be seen: 0.8.
    pub power: f64,
}

impl Power {
    /// α = 0.05, power 0.8: what is customary.
    pub const CUSTOMARY: Self = Self { alpha: 0.05, power: 0.8 };

    /// How many jobs each arm needs to show that a share of `before` has become `after` (or the other way
    /// round): Fleiss 1981, "Statistical Methods for Rates and Proportions", chapter 3, without the
    /// correction for continuity; the formula of R's `power.prop.test`. `None` unless both shares lie between
    /// 0 and 1 and differ, and α and the power make sense.
    ///
    /// A plan, not a judgement: it needs the shares before they are known, and Fisher's test needs up to a
    /// sixth more.
    #[must_use]
    pub fn jobs_per_arm(self, before: f64, after: f64) -> Option<u64> {
        let inside = |share: f64| share > 0.0 && share < 1.0;
        if !(inside(before) && inside(after) && inside(self.alpha) && inside(self.power)) || before == after {
            return None;
        }
        let mean = 0.5 * (before + after);
        let if_equal = normal_quantile(1.0 - 0.5 * self.alpha) * (2.0 * mean * (1.0 - mean)).sqrt();
        let spread = before * (1.0 - before) + after * (1.0 - after);
        let if_not = normal_quantile(self.power) * spread.sqrt();
        let jobs = ((if_equal + if_not) / (before - after)).powi(2);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; saturates")]
        Some(jobs.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::{Random, Seed};

    fn of(failures: u64, jobs: u64) -> Proportion {
        Proportion::new(failures, jobs).expect("a proportion")
    }

    fn ends(interval: Interval) -> [f64; 2] {
        [interval.low, interval.high].map(|end| (end * 1e4).round() / 1e4)
    }

    /// Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    #[test]
    fn newcombes_table_of_single_proportions_comes_out() {
        for (failures, jobs, printed) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            assert_eq!(ends(of(failures, jobs).wilson(Confidence::P95)), printed, "{failures}/{jobs}");
        }
    }

    /// Newcombe 1998, Statistics in Medicine 17:873, table II, method 10.
    #[test]
    fn newcombes_table_of_differences_comes_out() {
        for (first, second, printed) in [
            ((56, 70), (48, 80), [0.0524, 0.3339]),
            ((9, 10), (3, 10), [0.1705, 0.8090]),
            ((6, 7), (2, 7), [0.0582, 0.8062]),
            ((5, 56), (0, 29), [-0.0381, 0.1926]),
            ((0, 10), (0, 20), [-0.1611, 0.2775]),
            ((0, 10), (0, 10), [-0.2775, 0.2775]),
            ((10, 10), (0, 20), [0.6791, 1.0]),
            ((10, 10), (0, 10), [0.6075, 1.0]),
        ] {
            let found = difference(of(first.0, first.1), of(second.0, second.1), Confidence::P95);
            assert_eq!(ends(found), printed, "{first:?} {second:?}");
        }
    }

    /// Fisher 1935, chapter II: of the eight cups the lady names three of four rightly (34 of 70 divisions
    /// are as unlikely), or all four (2 of 70).
    #[test]
    fn the_lady_tasting_tea_comes_out() {
        assert!((fisher(of(3, 4), of(1, 4)) - 34.0 / 70.0).abs() < 1e-12);
        assert!((fisher(of(4, 4), of(0, 4)) - 2.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn jobs_per_arm_are_those_of_the_formula() {
        let jobs = |before, after| Power::CUSTOMARY.jobs_per_arm(before, after);
        assert_eq!(jobs(0.10, 0.02), Some(138));
        assert_eq!(jobs(0.10, 0.05), Some(435));
        assert_eq!(jobs(0.02, 0.10), jobs(0.10, 0.02));
        // The example in the help of R's power.prop.test: n = 76.7.
        assert_eq!(Power { alpha: 0.05, power: 0.9 }.jobs_per_arm(0.50, 0.75), Some(77));
        for nonsense in [(0.1, 0.1), (0.0, 0.1), (0.1, 1.0), (f64::NAN, 0.1)] {
            assert_eq!(jobs(nonsense.0, nonsense.1), None, "{nonsense:?}");
        }
    }

    #[test]
    fn counts_that_are_no_proportion_are_refused() {
        assert_eq!(Proportion::new(0, 0), Err(ProportionError::NoJobs));
        assert!(matches!(Proportion::new(3, 2), Err(ProportionError::MoreFailuresThanJobs { .. })));
        assert_eq!(Proportion::new(0, u64::MAX), Err(ProportionError::TooMany(u64::MAX)));
    }

    fn tried(share: f64, jobs: u64, random: &mut Random) -> Proportion {
        of((0..jobs).filter(|_| random.uniform() < share).count() as u64, jobs)
    }

    /// 2000 measurings: the share that holds the truth has a standard error of 0.5 %. Wilson's coverage
    /// swings around 95 % with the share and the jobs (Brown, Cai and DasGupta 2001), for these between 94
    /// and 97 %: two errors more on each side.
    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut random = Random::new(Seed(7));
        for (first, second, jobs) in [(0.10, 0.02, 140), (0.05, 0.05, 80), (0.3, 0.5, 30)] {
            let (mut single, mut both) = (0, 0);
            for _ in 0..2000 {
                let (a, b) = (tried(first, jobs, &mut random), tried(second, jobs, &mut random));
                single += u32::from(a.wilson(Confidence::P95).contains(first));
                both += u32::from(difference(a, b, Confidence::P95).contains(first - second));
            }
            for held in [single, both] {
                assert!((1860..=1960).contains(&held), "{first} {second} {jobs}: {held} of 2000");
            }
        }
    }

    /// The promise of `jobs_per_arm`: with so many jobs the difference is seen in 80 % of experiments. 1000
    /// experiments have a standard error of 1.3 %; Newcombe's interval is not the test of the formula, so
    /// three errors and a percent.
    #[test]
    fn so_many_jobs_show_the_difference_as_often_as_promised() {
        let mut random = Random::new(Seed(8));
        let jobs = Power::CUSTOMARY.jobs_per_arm(0.10, 0.02).expect("shares");
        let seen = (0..1000)
            .filter(|_| {
                let (a, b) = (tried(0.10, jobs, &mut random), tried(0.02, jobs, &mut random));
                !difference(a, b, Confidence::P95).contains(0.0)
            })
            .count();
        assert!((750..=850).contains(&seen), "{seen} of 1000");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn intervals_hold_their_estimate_and_fisher_is_symmetric(
            a in 0u64..60, b in 0u64..60, m in 1u64..60, n in 1u64..60,
        ) {
            let (first, second) = (of(a.min(m), m), of(b.min(n), n));
            let there = difference(first, second, Confidence::P95);
            let back = difference(second, first, Confidence::P95);
            prop_assert!(there.contains(there.estimate) && there.low >= -1.0 && there.high <= 1.0);
            prop_assert!((there.low + back.high).abs() < 1e-12);
            let wilson = first.wilson(Confidence::P95);
            prop_assert!(wilson.contains(first.share()) && wilson.low >= 0.0 && wilson.high <= 1.0);

            let p = fisher(first, second);
            prop_assert!((0.0..=1.0).contains(&p));
            let mirrored = |share: Proportion| of(share.jobs - share.failures, share.jobs);
            for same in [fisher(second, first), fisher(mirrored(first), mirrored(second))] {
                prop_assert!((p - same).abs() < 1e-9, "{p} {same}");
            }
        }
    }
}
