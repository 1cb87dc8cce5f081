//! Do more jobs fail in one arm than in the other? In a few sentences, the verdict first.
//!
//! Newcombe's interval of the difference decides; where few failed, Fisher's exact test does, because the interval is
//! too sure of itself there. "Few" is Cochran's rule (1954, Biometrics 10:417): fewer than five expected in a place of
//! the table.

use std::fmt;

use serde::Serialize;

use crate::{
    interval::{Confidence, Interval},
    proportion::{Power, Proportion, difference, fisher},
};

/// What two arms' failures say. Shown as sentences, one a line, the verdict first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureComparison {
    /// What was tried, in the plural: `machines`.
    pub what: String,
    /// What the candidate is compared with.
    pub baseline: ArmFailures,
    /// What is judged.
    pub candidate: ArmFailures,
    /// What is found.
    pub verdict: FailureVerdict,
    /// The candidate's share minus the baseline's.
    pub difference: Interval,
    /// The probability of counts as unlike as these, or more, when the arms do not differ: Fisher's exact test. `None`
    /// where enough failed for the interval to decide.
    pub fisher: Option<f64>,
    /// How many each arm needs to show a difference of this size with the customary power. `None` when it is shown, there
    /// is none, or nobody would try so often.
    pub jobs_per_arm: Option<u64>,
}

/// How often jobs of an arm failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmFailures {
    /// What sentences call it.
    pub name: String,
    /// How many of how many.
    #[serde(flatten)]
    pub counts: Proportion,
    /// The share that failed: Wilson's interval.
    pub share: Interval,
}

/// What failures say of a candidate, compared with a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureVerdict {
    /// It fails more often.
    MoreOften,
    /// It fails less often.
    LessOften,
    /// Not a proof that nothing differs.
    NoDifferenceShown,
}

/// With fewer expected failures, or successes, in an arm the exact test decides.
const FEW: f64 = 5.0;

/// Who is told to try more often than this is told nothing.
const MOST_ASKED_FOR: u64 = 100_000;

impl FailureComparison {
    /// What the candidate's failures say, compared with the baseline's; each a name and counts. `what` was tried:
    /// `machines`.
    #[must_use]
    pub fn of(
        what: &str,
        baseline: (&str, Proportion),
        candidate: (&str, Proportion),
        confidence: Confidence,
    ) -> Self {
        let (before, after) = (baseline.1, candidate.1);
        let difference = difference(after, before, confidence);
        let fisher = few(before, after).then(|| fisher(before, after));
        let shown = fisher.map_or(!difference.contains(0.0), |p| p <= confidence.alpha());
        let verdict = match shown {
            false => FailureVerdict::NoDifferenceShown,
            true if difference.estimate > 0.0 => FailureVerdict::MoreOften,
            true => FailureVerdict::LessOften,
        };
        let missing = || {
            let [before, after] = planned([before, after]);
            Power::CUSTOMARY.jobs_per_arm(before, after).filter(|jobs| *jobs <= MOST_ASKED_FOR)
        };
        let arm = |(name, counts): (&str, Proportion)| ArmFailures {
            name: name.to_owned(),
            counts,
            share: counts.wilson(confidence),
        };
        Self {
            what: what.to_owned(),
            baseline: arm(baseline),
            candidate: arm(candidate),
            verdict,
            difference,
            fisher,
            jobs_per_arm: if shown || difference.estimate == 0.0 { None } else { missing() },
        }
    }
}

/// Whether a place of the table has few when the arms do not differ.
fn few(first: Proportion, second: Proportion) -> bool {
    let failures = (first.failures() + second.failures()) as f64;
    let jobs = (first.jobs() + second.jobs()) as f64;
    let smaller = first.jobs().min(second.jobs()) as f64;
    smaller * failures.min(jobs - failures) / jobs < FEW
}

/// The shares to plan with. That none of so many failed does not mean that none ever will, so half a failure and half a
/// success are added where one is missing: in both arms, or the difference would shrink, or turn around.
fn planned(arms: [Proportion; 2]) -> [f64; 2] {
    let one_sided = |counts: &Proportion| counts.failures() == 0 || counts.failures() == counts.jobs();
    let added = if arms.iter().any(one_sided) { 0.5 } else { 0.0 };
    arms.map(|counts| (counts.failures() as f64 + added) / (counts.jobs() as f64 + 2.0 * added))
}

/// A probability with three decimals: `p = 0.087`, `p < 0.001`.
#[derive(Clone, Copy, Debug)]
pub struct Probability(pub f64);

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0.001 { f.write_str("p < 0.001") } else { write!(f, "p = {:.3}", self.0) }
    }
}

impl fmt::Display for FailureComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, what) = (&self.candidate.name, &self.what);
        match self.verdict {
            FailureVerdict::MoreOften => write!(f, "{name} fails more often: ")?,
            FailureVerdict::LessOften => write!(f, "{name} fails less often: ")?,
            FailureVerdict::NoDifferenceShown => f.write_str("no difference in failures shown: ")?,
        }
        write!(f, "{}, {}", Counted(&self.candidate, what), Counted(&self.baseline, what))?;
        let Interval { estimate, low, high, .. } = self.difference;
        write!(f, "\nthe difference is {} ({} to {})", Percent(estimate), Percent(low), Percent(high))?;
        if let Some(p) = self.fisher {
            write!(f, "; Fisher's exact test, since few failed: {}", Probability(p))?;
        }
        if let Some(jobs) = self.jobs_per_arm {
            let power = 100.0 * Power::CUSTOMARY.power;
            write!(
                f,
                "\nabout {jobs} {what} of each are needed to see a difference of this size with {power} % power"
            )?;
        }
        Ok(())
    }
}

/// `3 of 75 machines failed with RAM (4 %, 1.4 % to 11.1 %)`.
struct Counted<'a>(&'a ArmFailures, &'a str);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ArmFailures { name, counts, share }, what) = self;
        let [estimate, low, high] = [share.estimate, share.low, share.high].map(Percent);
        let (failures, jobs) = (counts.failures(), counts.jobs());
        write!(f, "{failures} of {jobs} {what} failed with {name} ({estimate}, {low} to {high})")
    }
}

/// A share as people write it: `4 %`, `11.1 %`.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Adding 0 turns the -0 of a rounded small negative number into 0.
        write!(f, "{} %", (self.0 * 1000.0).round() / 10.0 + 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(failures: u64, jobs: u64) -> Proportion {
        Proportion::new(failures, jobs).expect("a proportion")
    }

    fn compared(disk: (u64, u64), ram: (u64, u64)) -> FailureComparison {
        let (disk, ram) = (of(disk.0, disk.1), of(ram.0, ram.1));
        FailureComparison::of("machines", ("the disk", disk), ("RAM", ram), Confidence::P95)
    }

    #[test]
    fn a_difference_that_is_shown_is_said_with_its_counts() {
        let found = compared((30, 100), (6, 100));
        assert_eq!(found.verdict, FailureVerdict::LessOften);
        assert_eq!(
            found.to_string(),
            "RAM fails less often: 6 of 100 machines failed with RAM (6 %, 2.8 % to 12.5 %), \
             30 of 100 machines failed with the disk (30 %, 21.9 % to 39.6 %)\n\
             the difference is -24 % (-34.1 % to -13.6 %)"
        );
        assert_eq!(compared((6, 100), (30, 100)).verdict, FailureVerdict::MoreOften);
    }

    #[test]
    fn few_failures_are_judged_by_the_exact_test_and_it_is_said_how_many_jobs_are_missing() {
        // Newcombe's interval of 0 of 10 and 4 of 10 excludes 0; the exact test says 0.087.
        let found = compared((4, 10), (0, 10));
        assert!(!found.difference.contains(0.0), "{found:?}");
        assert_eq!(found.verdict, FailureVerdict::NoDifferenceShown);
        let text = found.to_string();
        assert!(
            text.starts_with(
                "no difference in failures shown: 0 of 10 machines failed with RAM (0 %, 0 % to"
            ),
            "{text}"
        );
        assert!(text.contains("p = 0.087"), "{text}");
        let jobs = found.jobs_per_arm.expect("more jobs would show it");
        assert!(text.ends_with(&format!(
            "about {jobs} machines of each are needed to see a difference of this size with 80 % power"
        )));
        assert!((15..40).contains(&jobs), "{jobs}");
    }

    #[test]
    fn arms_are_planned_alike_and_nobody_is_told_to_try_forever() {
        // Shifted alone, 0 of 10 would become a larger share than 1 of 25.
        let [before, after] = planned([of(0, 10), of(1, 25)]);
        assert!((before - 0.5 / 11.0).abs() < 1e-12 && (after - 1.5 / 26.0).abs() < 1e-12);
        let found = compared((200, 1000), (201, 1001));
        assert_eq!(found.jobs_per_arm, None, "millions");
        assert_eq!([0.087_3, 0.000_4].map(|p| Probability(p).to_string()), ["p = 0.087", "p < 0.001"]);
    }

    #[test]
    fn nothing_that_failed_leaves_open_what_may_still_fail() {
        let text = compared((0, 75), (0, 75)).to_string();
        assert!(text.contains("0 of 75 machines failed with RAM (0 %, 0 % to 4.9 %)"), "{text}");
        assert!(!text.contains("needed"), "{text}");
    }
}
