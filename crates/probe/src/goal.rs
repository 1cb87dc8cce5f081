//! The highest rate that meets a latency goal: when a step has met it, which rate is tried next, and what came out.
//! Decides only; steps are run by whoever calls [`search`].

use std::{fmt, str::FromStr, time::Duration};

use serde::Serialize;
use winstead_spec::Span;
use winstead_statistics::{Latencies, Percentile};

use crate::{crew::Measured, error::ProbeError, parameters::HIGHEST_RATE, samples::Samples};

/// A search that has not ended by then began too far from its end: each step is a factor of two.
const MOST_STEPS: usize = 24;

/// The search ends when the lowest rate that failed is at most so much above the highest that met the goal.
const CLOSE: f64 = 1.1;

/// A percentile of all operations, failed ones included, and what it may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Goal {
    /// Which.
    pub percentile: Percentile,
    /// At most.
    pub nanos: u64,
}

/// A rate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub per_second: f64,
    pub met: bool,
    /// Null where nothing was measured.
    pub percentile_nanos: Option<u64>,
    /// Why it has not met the goal; null when it has.
    pub why: Option<String>,
}

/// What a search found, as it stands in a result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reached {
    #[serde(flatten)]
    pub goal: Goal,
    /// In the order in which they were tried.
    pub steps: Vec<Step>,
    /// Null when none met the goal.
    pub highest_met_per_second: Option<f64>,
    /// Null when none failed: the disk can do more than can be asked for.
    pub lowest_failed_per_second: Option<f64>,
}

/// Where a search begins, and below which rate a step has too few operations for the percentile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub first: f64,
    pub lowest: f64,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not like p99=5ms");
        let (percentile, time) = text.split_once('=').ok_or_else(wrong)?;
        let percentile = percentile_named(percentile).ok_or_else(wrong)?;
        let nanos = micros(time).map_or_else(|| millis(time), Ok)?;
        Ok(Self { percentile, nanos })
    }
}

/// A disk in memory answers faster than times are written elsewhere: `200us`, as nanoseconds.
fn micros(time: &str) -> Option<u64> {
    let number = time.strip_suffix("us").or_else(|| time.strip_suffix("µs"))?;
    number.parse::<u64>().ok()?.checked_mul(1000)
}

fn millis(time: &str) -> Result<u64, String> {
    let time = Span::from_str(time).map_err(|error| error.to_string())?;
    u64::try_from(time.duration().as_nanos()).map_err(|error| error.to_string())
}

/// `p50`, `p99.9`, `max`.
fn percentile_named(name: &str) -> Option<Percentile> {
    if name == "max" {
        return Some(Percentile::MAX);
    }
    let (whole, part) = name.strip_prefix('p')?.split_once('.').unwrap_or((name.get(1..)?, ""));
    let digits = |text: &str, most| text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole, 2) || !digits(part, 4) {
        return None;
    }
    Percentile::from_millionths(format!("{whole}{part:0<4}").parse().ok()?)
}

impl fmt::Display for Goal {
    /// `p99=5ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.percentile, Duration::from_nanos(self.nanos))
    }
}

impl Goal {
    /// Where a search with steps of `seconds` begins and ends.
    pub(crate) fn bounds(self, first: f64, seconds: f64) -> Bounds {
        Bounds { first, lowest: (self.fewest_operations() as f64 / seconds).min(first) }
    }

    /// How many operations a step must have at least, so that not all of the percentile is its slowest.
    pub(crate) fn fewest_operations(self) -> u64 {
        const MANY: u64 = 1_000_000;
        const FEWEST: u64 = 20;
        /// The slowest of all has none beyond it.
        const FOR_MAX: u64 = 100;
        MANY.checked_div(self.percentile.beyond(MANY)).unwrap_or(FOR_MAX).max(FEWEST)
    }

    /// The step at `per_second`, in which operations were recorded.
    ///
    /// Failed operations are in the percentile with the time they took; as that may be short, they may also not be
    /// more than lie beyond it. And the loop must have kept up: one that finds the whole queue taken measures a
    /// queue before the disk.
    fn judge(self, per_second: f64, samples: &Samples) -> Step {
        let mut all = Latencies::new();
        samples.latencies.values().for_each(|latencies| all.merge(latencies));
        let took = all.percentile(self.percentile);
        let (count, full) = (all.count(), samples.queue_was_full());
        let reasons = [
            (count == 0, "nothing was due".to_owned()),
            (
                took > Some(Duration::from_nanos(self.nanos)),
                format!("{} was {:.2?}", self.percentile, took.unwrap_or_default()),
            ),
            (
                all.failures() > self.percentile.beyond(count),
                format!("{} of {count} operations failed", all.failures()),
            ),
            (
                full * 100 > count,
                format!("{full} of {count} operations were due while the whole queue was taken"),
            ),
        ];
        let reasons: Vec<String> =
            reasons.into_iter().filter(|(applies, _)| *applies).map(|(_, why)| why).collect();
        Step {
            per_second,
            met: reasons.is_empty(),
            percentile_nanos: took.and_then(|took| u64::try_from(took.as_nanos()).ok()),
            why: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}

impl Reached {
    fn nothing_yet(goal: Goal) -> Self {
        Self { goal, steps: Vec::new(), highest_met_per_second: None, lowest_failed_per_second: None }
    }

    fn add(&mut self, step: Step) {
        let rate = step.per_second;
        if step.met {
            self.highest_met_per_second =
                self.highest_met_per_second.into_iter().chain([rate]).reduce(f64::max);
        } else {
            self.lowest_failed_per_second =
                self.lowest_failed_per_second.into_iter().chain([rate]).reduce(f64::min);
        }
        self.steps.push(step);
    }

    /// The rate to try next; nothing when the search is over. Doubles until one fails, or halves until one is met,
    /// then takes the geometric mean of both.
    fn next(&self, bounds: Bounds) -> Option<f64> {
        if self.steps.len() >= MOST_STEPS {
            return None;
        }
        match (self.highest_met_per_second, self.lowest_failed_per_second) {
            (None, None) => Some(bounds.first),
            (Some(met), None) => (met < HIGHEST_RATE).then(|| (met * 2.0).min(HIGHEST_RATE)),
            (None, Some(failed)) => (failed > bounds.lowest).then(|| (failed / 2.0).max(bounds.lowest)),
            (Some(met), Some(failed)) => (failed > met * CLOSE).then(|| (met * failed).sqrt()),
        }
    }

    /// Whether the newest step is the one whose numbers a result shows: the highest that met the goal, or the
    /// lowest while none has.
    fn newest_is_best(&self) -> bool {
        let newest = self.steps.last().map(|step| step.per_second);
        newest == self.highest_met_per_second.or(self.lowest_failed_per_second)
    }
}

/// Tries rates with `run` until the search is over, or the disk is lost, or `stopped`. What was found, and the
/// numbers of the best step; those of the last where it could not end.
///
/// # Errors
/// As `run`.
pub(crate) fn search(
    goal: Goal,
    bounds: Bounds,
    stopped: impl Fn() -> bool,
    mut run: impl FnMut(usize, f64) -> Result<Measured, ProbeError>,
) -> Result<(Reached, Measured), ProbeError> {
    let (mut reached, mut best) = (Reached::nothing_yet(goal), Measured::default());
    while let Some(rate) = reached.next(bounds) {
        let measured = run(reached.steps.len(), rate)?;
        let over = measured.lost.is_some() || stopped();
        reached.add(goal.judge(rate, &measured.samples));
        if over || reached.newest_is_best() {
            best = measured;
        }
        if over {
            break;
        }
    }
    Ok((reached, best))
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;
    use crate::samples::Operation;

    const GOAL: Goal = Goal { percentile: Percentile::P99, nanos: 5_000_000 };

    #[test]
    fn goals_are_read_as_people_write_them() {
        assert_eq!("p99=5ms".parse(), Ok(GOAL));
        assert_eq!("p99=200us".parse(), Ok(Goal { nanos: 200_000, ..GOAL }));
        let p999 = Goal { percentile: Percentile::P999, nanos: 2_000_000_000 };
        assert_eq!("p99.9=2s".parse(), Ok(p999));
        assert_eq!("max=5ms".parse(), Ok(Goal { percentile: Percentile::MAX, ..GOAL }));
        for wrong in [
            "",
            "p99",
            "99=5ms",
            "p=5ms",
            "p100=5ms",
            "p0=5ms",
            "p-1=5ms",
            "p99.99999=5ms",
            "p99=5",
            "p99=-5us",
            "pé=1s",
        ] {
            wrong.parse::<Goal>().expect_err(wrong);
        }
    }

    #[test]
    fn a_percentile_takes_as_many_operations_as_one_lies_beyond() {
        let fewest = |text: &str| text.parse::<Goal>().expect(text).fewest_operations();
        assert_eq!(["p50=1s", "p99=1s", "p99.9=1s", "max=1s"].map(fewest), [20, 100, 1000, 100]);
    }

    /// `slow` of a hundred operations take 9 ms and the others 1 ms; `failed` more fail at once; a worker stood
    /// ready for all but `late`.
    fn step(slow: u64, failed: u64, late: u64) -> Step {
        let mut samples = Samples::default();
        let (fine, limit) = (Ok(1), Duration::from_secs(1));
        let mut record = |times: u64, millis, outcome: &io::Result<u64>| {
            for _ in 0..times {
                samples.record(Operation::Read, Duration::from_millis(millis), limit, outcome);
            }
        };
        record(slow, 9, &fine);
        record(100 - slow, 1, &fine);
        record(failed, 0, &Err(io::Error::other("broken")));
        (late..100 + failed).for_each(|_| samples.lateness.record(Duration::ZERO));
        GOAL.judge(10.0, &samples)
    }

    #[test]
    fn a_step_is_met_when_its_percentile_is_few_failed_and_the_loop_kept_up() {
        assert_eq!(step(1, 0, 1).why, None);
        let reasons = [step(2, 0, 0), step(0, 2, 0), step(0, 0, 2)].map(|step| step.why.unwrap_or_default());
        assert!(reasons[0].starts_with("p99 was 9.0"), "{reasons:?}");
        assert_eq!(reasons[1], "2 of 102 operations failed");
        assert_eq!(reasons[2], "2 of 100 operations were due while the whole queue was taken");
        let nothing = GOAL.judge(1.0, &Samples::default());
        assert_eq!((nothing.met, nothing.why.as_deref()), (false, Some("nothing was due")));
    }

    /// A disk that meets the goal up to `capacity`.
    fn found(bounds: Bounds, capacity: f64) -> Reached {
        let mut reached = Reached::nothing_yet(GOAL);
        while let Some(rate) = reached.next(bounds) {
            let met = rate <= capacity;
            reached.add(Step { per_second: rate, met, percentile_nanos: None, why: None });
        }
        reached
    }

    #[test]
    fn a_search_doubles_and_then_takes_the_mean_and_the_other_way_round() {
        let rates = |capacity| -> Vec<u64> {
            let bounds = Bounds { first: 100.0, lowest: 10.0 };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a million")]
            found(bounds, capacity).steps.iter().map(|step| step.per_second.round() as u64).collect()
        };
        assert_eq!(rates(250.0), [100, 200, 400, 283, 238, 259]);
        assert_eq!(rates(30.0), [100, 50, 25, 35, 30, 32]);
        assert_eq!(rates(1.0), [100, 50, 25, 13, 10]);
        assert_eq!(rates(1e9).last(), Some(&1_000_000));
    }

    #[test]
    fn a_result_shows_the_best_step_and_a_lost_disk_ends_the_search() {
        let bounds = Bounds { first: 100.0, lowest: 10.0 };
        let at = |capacity: u64, lost_at: usize| {
            let run = |number, rate: f64| {
                let mut measured = Measured { stuck: number, ..Measured::default() };
                let took = Duration::from_millis(if rate <= capacity as f64 { 1 } else { 9 });
                measured.samples.record(Operation::Read, took, Duration::MAX, &Ok(1));
                measured.samples.lateness.record(Duration::ZERO);
                measured.lost = (number == lost_at).then(|| "gone".to_owned());
                Ok(measured)
            };
            let (reached, best) = search(GOAL, bounds, || false, run).expect("it runs");
            (reached.steps.len(), best.stuck)
        };
        // 100, 200, 400, 283, 238, 259: the fifth is the highest that met it.
        assert_eq!(at(250, 99), (6, 4));
        // None: the fifth is the lowest.
        assert_eq!(at(1, 99), (5, 4));
        assert_eq!(at(250, 2), (3, 2));
    }

    proptest! {
        #[test]
        fn a_search_ends_within_a_tenth_of_what_the_disk_can_do(
            first in 1e-3..HIGHEST_RATE, capacity in 1e-4..1e7, share in 1e-6..1.0,
        ) {
            let bounds = Bounds { first, lowest: first * share };
            let reached = found(bounds, capacity);
            prop_assert!((1..=MOST_STEPS).contains(&reached.steps.len()));
            let rates = reached.steps.iter().map(|step| step.per_second);
            prop_assert!(rates.clone().all(|rate| (bounds.lowest..=HIGHEST_RATE).contains(&rate)));
            match (reached.highest_met_per_second, reached.lowest_failed_per_second) {
                _ if reached.steps.len() == MOST_STEPS => {}
                (Some(met), Some(failed)) => {
                    prop_assert!(met <= capacity && capacity < failed && failed <= met * CLOSE);
                }
                (Some(met), None) => prop_assert_eq!(met, HIGHEST_RATE),
                (None, failed) => prop_assert_eq!(failed, Some(bounds.lowest)),
            }
        }
    }
}
