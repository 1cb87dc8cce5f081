//! When it happened: how many operations there were in each second, how many failed, and how long they took, so
//! that a stall can be seen where it was.
//!
//! An operation belongs to the second in which it was due, in a closed loop to that in which it began. Workers
//! record into a window of their own and hand it over when another second begins, so nobody waits for another.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;
use winstead_statistics::histogram::LONGEST_NANOS;

/// A longer run has wider steps: at most 11 MB, whatever is recorded.
const MOST_STEPS: usize = 600;

/// Within 1 %: enough to see a stall, and a sixteenth of the memory of the whole histogram.
const SIGNIFICANT_DIGITS: u8 = 2;

/// What happened in a stretch of time.
#[derive(Clone)]
struct Window {
    nanos: Histogram<u32>,
    failures: u64,
    longest_nanos: u64,
}

/// A whole run, one step after another. Steps grow when there would be too many.
pub(crate) struct Timeline {
    /// Seconds of each step: a power of two.
    width: u64,
    steps: Vec<Window>,
}

/// One worker's view: the second it is in.
#[derive(Default)]
pub(crate) struct Recorder {
    origin: Duration,
    second: u64,
    window: Window,
    whole: Arc<Mutex<Timeline>>,
}

/// A timeline as it stands in a result.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Steps {
    step_seconds: u64,
    steps: Vec<Step>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// All, failed ones included.
    operations: u64,
    failures: u64,
    /// Of all operations, within 1 %. Null where there was none.
    p99_nanos: Option<u64>,
    max_nanos: Option<u64>,
}

impl Default for Window {
    fn default() -> Self {
        let nanos = Histogram::new_with_bounds(1, LONGEST_NANOS, SIGNIFICANT_DIGITS);
        let nanos = nanos.expect("1 ns to 1 h with two digits are bounds it accepts");
        Self { nanos, failures: 0, longest_nanos: 0 }
    }
}

impl Window {
    fn record(&mut self, took: Duration, failed: bool) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST_NANOS);
        self.nanos.saturating_record(nanos);
        self.failures += u64::from(failed);
        self.longest_nanos = self.longest_nanos.max(nanos);
    }

    fn merge(&mut self, other: &Self) {
        self.nanos.add(&other.nanos).expect("same bounds");
        self.failures += other.failures;
        self.longest_nanos = self.longest_nanos.max(other.longest_nanos);
    }

    fn clear(&mut self) {
        self.nanos.reset();
        self.failures = 0;
        self.longest_nanos = 0;
    }

    fn step(&self) -> Step {
        let some = |nanos: u64| Some(nanos).filter(|_| !self.nanos.is_empty());
        Step {
            operations: self.nanos.len(),
            failures: self.failures,
            p99_nanos: some(self.nanos.value_at_quantile(0.99).min(self.longest_nanos)),
            max_nanos: some(self.longest_nanos),
        }
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: 1, steps: Vec::new() }
    }
}

impl Timeline {
    fn add(&mut self, second: u64, window: &Window) {
        while second / self.width >= MOST_STEPS as u64 {
            self.widen();
        }
        let index = usize::try_from(second / self.width).unwrap_or(MOST_STEPS - 1);
        if self.steps.len() <= index {
            self.steps.resize_with(index + 1, Window::default);
        }
        self.steps[index].merge(window);
    }

    /// Makes one step of two.
    fn widen(&mut self) {
        self.width *= 2;
        let mut narrow = mem::take(&mut self.steps).into_iter();
        while let Some(mut step) = narrow.next() {
            narrow.next().iter().for_each(|next| step.merge(next));
            self.steps.push(step);
        }
    }

    /// What a result says of it.
    pub(crate) fn steps(&self) -> Steps {
        Steps { step_seconds: self.width, steps: self.steps.iter().map(Window::step).collect() }
    }
}

impl Recorder {
    /// One that counts seconds from `origin` and hands over to `whole`.
    pub(crate) fn new(origin: Duration, whole: &Arc<Mutex<Timeline>>) -> Self {
        Self { origin, whole: Arc::clone(whole), ..Self::default() }
    }

    /// Adds an operation that was due or begun at `since`. Some 10 ns; a microsecond when a second begins.
    pub(crate) fn record(&mut self, since: Duration, took: Duration, failed: bool) {
        let second = since.saturating_sub(self.origin).as_secs();
        if second != self.second {
            self.hand_over();
            self.second = second;
        }
        self.window.record(took, failed);
    }

    /// Hands over what is not yet part of the whole.
    pub(crate) fn hand_over(&mut self) {
        if !self.window.nanos.is_empty() {
            self.whole.lock().unwrap_or_else(PoisonError::into_inner).add(self.second, &self.window);
            self.window.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn recorded(record: impl Fn(&mut [Recorder; 2])) -> Vec<(u64, u64, Option<u64>, Option<u64>)> {
        let whole = Arc::default();
        let mut workers = [(); 2].map(|()| Recorder::new(Duration::from_secs(10), &whole));
        record(&mut workers);
        workers.iter_mut().for_each(Recorder::hand_over);
        let steps = whole.lock().expect("no panic").steps().steps;
        steps.iter().map(|step| (step.operations, step.failures, step.p99_nanos, step.max_nanos)).collect()
    }

    #[test]
    fn operations_of_all_workers_stand_in_the_second_in_which_they_were_due() {
        let found = recorded(|workers| {
            // Completions come in any order, also over the border of a second.
            for (n, since) in [10_000, 10_999, 12_500, 10_998].into_iter().enumerate() {
                workers[n % 2].record(Duration::from_millis(since), MILLI, since == 12_500);
            }
        });
        let millis = Some(1_000_000);
        assert_eq!(found, [(3, 0, millis, millis), (0, 0, None, None), (1, 1, millis, millis)]);
    }

    #[test]
    fn a_stall_of_one_in_a_hundred_is_the_maximum_and_not_p99() {
        let found = recorded(|workers| {
            workers[0].record(Duration::from_secs(10), 3 * MILLI, false);
            (0..99).for_each(|_| workers[1].record(Duration::from_secs(10), MILLI, false));
        });
        let (_, _, p99, max) = found[0];
        assert_eq!(max, Some(3_000_000));
        assert!(p99.is_some_and(|nanos| (1_000_000..=1_010_000).contains(&nanos)), "{p99:?}");
    }

    #[test]
    fn a_long_run_has_wider_steps_and_loses_no_operation() {
        let whole: Arc<Mutex<Timeline>> = Arc::default();
        let mut worker = Recorder::new(Duration::ZERO, &whole);
        for second in (0..86_400).step_by(32) {
            worker.record(Duration::from_secs(second), MILLI, second % 64 == 0);
        }
        worker.hand_over();
        let Steps { step_seconds, steps } = whole.lock().expect("no panic").steps();
        // 86 400 s in steps of 144 s would be 600; the next power of two is 256.
        assert_eq!((step_seconds, steps.len()), (256, 338));
        let sums = |of: fn(&Step) -> u64| steps.iter().map(of).sum::<u64>();
        assert_eq!((sums(|step| step.operations), sums(|step| step.failures)), (2_700, 1_350));
        assert!(steps[..337].iter().all(|step| step.operations == 8));
    }
}
