//! Two arms in one sentence: is the candidate slower, faster, or is nothing shown, and why not.
//!
//! **One percentile decides**: p99, unless another one was asked for before measuring. Looking at many
//! percentiles and reporting the one that differs finds differences where there are none; so all others are
//! secondary: their intervals are wider (together they err as seldom as one does: Bonferroni), their
//! sentences say what they are, and they change no verdict.

use std::fmt;

use serde::Serialize;

use crate::{
    bootstrap::{Bootstrap, BootstrapError, MINIMUM_RUNS},
    histogram::{Histogram, RESOLUTION},
    interval::Interval,
    latencies::Latencies,
    percentile::Percentile,
};

/// One arm of an experiment: its name in sentences, and its runs.
#[derive(Clone, Copy, Debug)]
pub struct Arm<'a> {
    /// What sentences call it: `disk`, `RAM`, `B`.
    pub name: &'a str,
    /// One for each run.
    pub runs: &'a [Latencies],
}

/// What is to be compared, decided before measuring.
#[derive(Clone, Debug)]
pub struct Question {
    /// The percentile that decides.
    pub primary: Percentile,
    /// Percentiles to show beside it.
    pub secondary: Vec<Percentile>,
    /// How to resample; its confidence is the primary percentile's.
    pub bootstrap: Bootstrap,
}

/// What two arms' latencies say. Shown as sentences, one a line, the deciding one first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What the candidate is compared with.
    pub baseline: String,
    /// What is judged.
    pub candidate: String,
    /// What decides.
    pub primary: Finding,
    /// What does not.
    pub secondary: Vec<Finding>,
}

/// A verdict at one percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// At which percentile.
    pub percentile: Percentile,
    /// What is found there.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a percentile says of a candidate, compared with a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// The candidate takes longer.
    Slower {
        /// Its latency divided by the baseline's: above 1.
        ratio: Interval,
    },
    /// The candidate takes less time.
    Faster {
        /// The baseline's latency divided by the candidate's: above 1.
        ratio: Interval,
    },
    /// The ratio may be 1. Not a proof that nothing differs: the interval says which differences are still
    /// possible.
    NoDifferenceShown {
        /// The candidate's latency divided by the baseline's.
        ratio: Interval,
    },
    /// Nothing can be said, for whatever was measured.
    NotComparable {
        /// Why.
        reason: Reason,
    },
}

/// Why arms cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// How runs differ is not known.
    #[error("too few runs ({fewest}, at least {MINIMUM_RUNS} are needed)")]
    TooFewRuns {
        /// The runs of the arm that has fewer.
        fewest: usize,
    },
    /// A run in which nothing was recorded.
    #[error("a run has no samples")]
    EmptyRun,
    /// The percentile rests on a handful of samples, or none, as the maximum does.
    #[error("too few samples ({beyond} beyond the percentile, at least {MINIMUM_BEYOND} are needed)")]
    TooFewSamples {
        /// How many samples of the arm that has fewer lie beyond it.
        beyond: u64,
    },
    /// So many operations failed that the percentile says how long failing took.
    #[error("more operations failed than lie beyond the percentile; compare the failures")]
    TooManyFailures,
    /// Samples beyond an hour, of which nobody knows how long they took.
    #[error("the percentile lies beyond an hour, the longest that is measured")]
    TooSlow,
    /// The settings of the bootstrap are wrong.
    #[error("too few resamples ({0})", resamples)]
    TooFewResamples {
        /// How many were asked for.
        resamples: u32,
    },
}

/// With fewer samples beyond a percentile, single samples decide it.
pub const MINIMUM_BEYOND: u64 = 10;

/// Two histograms' values are each up to this far from what was recorded; a smaller ratio is no difference.
const INDISTINCT: f64 = 1.0 + 2.0 * RESOLUTION;

impl Question {
    /// Is the candidate slower at p99? Nothing else is looked at.
    #[must_use]
    pub const fn at_p99(bootstrap: Bootstrap) -> Self {
        Self { primary: Percentile::P99, secondary: Vec::new(), bootstrap }
    }

    /// What `candidate` is, compared with `baseline`.
    #[must_use]
    pub fn compare(&self, baseline: Arm<'_>, candidate: Arm<'_>) -> Comparison {
        let arms = [baseline, candidate].map(|arm| Merged::of(arm.runs));
        let find =
            |percentile, bootstrap| Finding { percentile, verdict: verdict(&arms, percentile, bootstrap) };
        let shared = Bootstrap {
            confidence: self.bootstrap.confidence.shared_by(self.secondary.len()),
            ..self.bootstrap
        };
        Comparison {
            baseline: baseline.name.to_owned(),
            candidate: candidate.name.to_owned(),
            primary: find(self.primary, self.bootstrap),
            secondary: self.secondary.iter().map(|percentile| find(*percentile, shared)).collect(),
        }
    }
}

/// An arm's runs, with failed operations among the samples.
struct Merged {
    runs: Vec<Histogram>,
    samples: u64,
    failures: u64,
    saturated: u64,
}

impl Merged {
    fn of(runs: &[Latencies]) -> Self {
        let histograms: Vec<Histogram> = runs.iter().map(Latencies::all).collect();
        Self {
            samples: histograms.iter().map(Histogram::count).sum(),
            failures: runs.iter().map(Latencies::failures).sum(),
            saturated: histograms.iter().map(Histogram::saturated).sum(),
            runs: histograms,
        }
    }

    /// Why nothing can be said of this arm at `percentile`.
    fn obstacle(&self, percentile: Percentile) -> Option<Reason> {
        let beyond = percentile.beyond(self.samples);
        let obstacles = [
            (self.runs.len() < MINIMUM_RUNS, Reason::TooFewRuns { fewest: self.runs.len() }),
            (self.runs.iter().any(|run| run.count() == 0), Reason::EmptyRun),
            (beyond < MINIMUM_BEYOND, Reason::TooFewSamples { beyond }),
            (self.failures > beyond, Reason::TooManyFailures),
            (self.saturated > beyond, Reason::TooSlow),
        ];
        obstacles.into_iter().find(|(met, _)| *met).map(|(_, reason)| reason)
    }
}

fn verdict([baseline, candidate]: &[Merged; 2], percentile: Percentile, bootstrap: Bootstrap) -> Verdict {
    // The worse arm speaks: the one with fewer runs, then the one with fewer samples.
    let mut arms = [baseline, candidate];
    arms.sort_by_key(|arm| (arm.runs.len().min(MINIMUM_RUNS), arm.samples));
    if let Some(reason) = arms.iter().find_map(|arm| arm.obstacle(percentile)) {
        return Verdict::NotComparable { reason };
    }
    match bootstrap.ratio(&baseline.runs, &candidate.runs, percentile) {
        Ok(ratio) if ratio.low > INDISTINCT => Verdict::Slower { ratio },
        Ok(ratio) if ratio.high < 1.0 / INDISTINCT => Verdict::Faster { ratio: turned(ratio) },
        Ok(ratio) => Verdict::NoDifferenceShown { ratio },
        Err(error) => Verdict::NotComparable { reason: error.into() },
    }
}

/// The baseline's latency divided by the candidate's: "1.8× faster" is easier to read than "0.56×".
const fn turned(ratio: Interval) -> Interval {
    Interval { estimate: 1.0 / ratio.estimate, low: 1.0 / ratio.high, high: 1.0 / ratio.low, ..ratio }
}

impl From<BootstrapError> for Reason {
    fn from(error: BootstrapError) -> Self {
        match error {
            BootstrapError::TooFewRuns(fewest) => Self::TooFewRuns { fewest },
            BootstrapError::EmptyRun(_) => Self::EmptyRun,
            BootstrapError::Maximum => Self::TooFewSamples { beyond: 0 },
            BootstrapError::TooFewResamples(resamples) => Self::TooFewResamples { resamples },
        }
    }
}

impl fmt::Display for Comparison {
    /// `B is slower at p99 by 1.8× (1.5-2.2)`; secondary percentiles follow, each on its line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence(f, self.primary)?;
        for finding in &self.secondary {
            f.write_str("\n")?;
            self.sentence(f, *finding)?;
            write!(f, "; secondary, {} decides", self.primary.percentile)?;
        }
        Ok(())
    }
}

impl Comparison {
    fn sentence(&self, f: &mut fmt::Formatter<'_>, finding: Finding) -> fmt::Result {
        let (candidate, at) = (&self.candidate, finding.percentile);
        match finding.verdict {
            Verdict::Slower { ratio } => write!(f, "{candidate} is slower at {at} by {}", Ratio(ratio)),
            Verdict::Faster { ratio } => write!(f, "{candidate} is faster at {at} by {}", Ratio(ratio)),
            Verdict::NoDifferenceShown { ratio } => {
                write!(f, "no difference shown at {at} ({})", Ratio(ratio).ends())
            }
            Verdict::NotComparable { reason } => {
                write!(f, "{candidate} and {} cannot be compared at {at}: {reason}", self.baseline)
            }
        }
    }
}

/// A ratio as people read it: `1.8× (1.5-2.2)`.
#[derive(Clone, Copy, Debug)]
pub struct Ratio(pub Interval);

impl Ratio {
    /// As few decimals as keep both ends apart, and apart from 1; three at most, which is what a histogram
    /// resolves.
    fn decimals(&self) -> usize {
        let Interval { low, high, .. } = self.0;
        let told = |decimals: usize| {
            let [low, high, one] = [low, high, 1.0].map(|end| format!("{end:.decimals$}"));
            low != high && low != one && high != one
        };
        (1..3).find(|decimals| told(*decimals)).unwrap_or(3)
    }

    /// Its estimate alone: `1.8`.
    #[must_use]
    pub fn estimate(&self) -> String {
        format!("{:.*}", self.decimals(), self.0.estimate)
    }

    /// Its interval alone: `1.5-2.2`.
    #[must_use]
    pub fn ends(&self) -> String {
        let decimals = self.decimals();
        format!("{:.decimals$}-{:.decimals$}", self.0.low, self.0.high)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}× ({})", self.estimate(), self.ends())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::{Random, Seed};

    /// Runs of 2000 operations around `millis`, whose levels differ by a twentieth.
    fn runs(count: usize, millis: f64, seed: u64) -> Vec<Latencies> {
        let mut random = Random::new(Seed(seed));
        let run = |_| {
            let (mut run, level) = (Latencies::new(), millis * (0.05 * random.normal()).exp());
            let took =
                |random: &mut Random| Duration::from_secs_f64(level * (0.3 * random.normal()).exp() / 1e3);
            (0..2000).for_each(|_| run.record(took(&mut random)));
            run
        };
        (0..count).map(run).collect()
    }

    fn question() -> Question {
        Question::at_p99(Bootstrap { resamples: 1000, ..Bootstrap::with_seed(Seed(1)) })
    }

    fn compare(question: &Question, a: &[Latencies], b: &[Latencies]) -> Comparison {
        question.compare(Arm { name: "A", runs: a }, Arm { name: "B", runs: b })
    }

    fn sentence(verdict: Verdict) -> String {
        let primary = Finding { percentile: Percentile::P99, verdict };
        let [baseline, candidate] = ["A", "B"].map(str::to_owned);
        Comparison { baseline, candidate, primary, secondary: Vec::new() }.to_string()
    }

    fn ratio(low: f64, estimate: f64, high: f64) -> Interval {
        Interval { estimate, low, high, confidence: crate::interval::Confidence::P95 }
    }

    #[test]
    fn verdicts_are_sentences() {
        for (verdict, said) in [
            (Verdict::Slower { ratio: ratio(1.51, 1.80, 2.16) }, "B is slower at p99 by 1.8× (1.5-2.2)"),
            (
                Verdict::Slower { ratio: ratio(1.012, 1.024, 1.036) },
                "B is slower at p99 by 1.02× (1.01-1.04)",
            ),
            (Verdict::Faster { ratio: ratio(9.5, 12.0, 15.0) }, "B is faster at p99 by 12.0× (9.5-15.0)"),
            (
                Verdict::NoDifferenceShown { ratio: ratio(0.89, 1.0, 1.22) },
                "no difference shown at p99 (0.9-1.2)",
            ),
            (
                Verdict::NoDifferenceShown { ratio: ratio(1.0, 1.0, 1.0) },
                "no difference shown at p99 (1.000-1.000)",
            ),
            (
                Verdict::NotComparable { reason: Reason::TooFewRuns { fewest: 3 } },
                "B and A cannot be compared at p99: too few runs (3, at least 5 are needed)",
            ),
        ] {
            assert_eq!(sentence(verdict), said);
        }
    }

    #[test]
    fn a_slower_arm_is_called_slower_and_the_other_faster() {
        let (quick, slow) = (runs(6, 10.0, 1), runs(6, 18.0, 2));
        let there = compare(&question(), &quick, &slow).primary.verdict;
        let back = compare(&question(), &slow, &quick).primary.verdict;
        assert!(matches!(there, Verdict::Slower { ratio } if ratio.contains(1.8)), "{there:?}");
        assert!(matches!(back, Verdict::Faster { ratio } if ratio.contains(1.8)), "{back:?}");
    }

    #[test]
    fn arms_that_are_alike_show_no_difference() {
        let found = compare(&question(), &runs(6, 10.0, 3), &runs(6, 10.0, 4)).primary.verdict;
        assert!(matches!(found, Verdict::NoDifferenceShown { .. }), "{found:?}");
        let same = runs(5, 10.0, 5);
        let found = compare(&question(), &same, &same).primary.verdict;
        assert!(matches!(found, Verdict::NoDifferenceShown { ratio } if ratio.estimate == 1.0), "{found:?}");
    }

    #[test]
    fn a_difference_that_a_histogram_cannot_resolve_is_none() {
        let steady = |nanos| {
            let mut run = Latencies::new();
            (0..2000).for_each(|_| run.record(Duration::from_nanos(nanos)));
            vec![run; 5]
        };
        let found = |nanos| compare(&question(), &steady(1_000_000), &steady(nanos)).primary.verdict;
        assert!(matches!(found(1_001_500), Verdict::NoDifferenceShown { ratio } if ratio.low > 1.0));
        assert!(matches!(found(1_004_000), Verdict::Slower { .. }));
    }

    #[test]
    fn secondary_percentiles_are_wider_and_say_that_they_do_not_decide() {
        let question = Question { secondary: vec![Percentile::P50, Percentile::P95], ..question() };
        let found = compare(&question, &runs(6, 10.0, 6), &runs(6, 18.0, 7));
        assert_eq!(found.to_string().lines().count(), 3);
        for (line, percentile) in found.to_string().lines().skip(1).zip(["p50", "p95"]) {
            assert!(line.starts_with(&format!("B is slower at {percentile} by ")), "{line}");
            assert!(line.ends_with("; secondary, p99 decides"), "{line}");
        }
        let Verdict::Slower { ratio } = found.secondary[0].verdict else { panic!("{found:?}") };
        assert!((ratio.confidence.level() - 0.975).abs() < 1e-12);
        let json = serde_json::to_value(&found).expect("JSON");
        assert_eq!(json["primary"]["percentile"], "p99");
        assert_eq!(json["primary"]["verdict"], "slower");
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let whole = runs(5, 10.0, 8);
        let reason = |runs: &[Latencies], percentile| {
            let question = Question { primary: percentile, ..question() };
            match compare(&question, &whole, runs).primary.verdict {
                Verdict::NotComparable { reason } => Some(reason),
                _ => None,
            }
        };
        assert_eq!(reason(&whole[..4], Percentile::P99), Some(Reason::TooFewRuns { fewest: 4 }));
        assert_eq!(reason(&[], Percentile::P99), Some(Reason::TooFewRuns { fewest: 0 }));
        assert_eq!(reason(&whole, Percentile::MAX), Some(Reason::TooFewSamples { beyond: 0 }));
        let mut changed = whole.clone();
        changed[3] = Latencies::new();
        assert_eq!(reason(&changed, Percentile::P99), Some(Reason::EmptyRun));
        changed = whole.clone();
        (0..150).for_each(|_| changed[0].record_failure(Duration::from_micros(1)));
        assert_eq!(reason(&changed, Percentile::P99), Some(Reason::TooManyFailures));
        assert_eq!(reason(&changed, Percentile::P50), None);
        changed = whole.clone();
        (0..150).for_each(|_| changed[0].record(Duration::from_secs(4000)));
        assert_eq!(reason(&changed, Percentile::P99), Some(Reason::TooSlow));
    }
}
