//! Whether an open loop's rate was reached.
//!
//! Where fewer operations are done than are due, they wait for one another, longer with every second: their latencies say
//! how long the run was, and nothing of a disk.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::run::{Ended, Run};

/// A smaller lack is none: the last operations end after the time in which others were due.
const TOLERATED: f64 = 0.05;
/// How many standard deviations are chance: arrivals are a Poisson process.
const CHANCE: f64 = 3.0;

/// What was due in open loops, and what of it was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    seconds: f64,
    due: f64,
    done: f64,
}

/// A rate that was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// How many operations were due in a second.
    pub asked_per_second: f64,
    /// How many succeeded.
    pub done_per_second: f64,
}

impl Load {
    /// That of some runs; nothing is due in closed loops, in those that looked for a rate, and in those that were cut short.
    pub(crate) fn of<'a>(runs: impl IntoIterator<Item = &'a Run>, operation: &str) -> Self {
        runs.into_iter().fold(Self::default(), |all, run| all.and(Self::of_run(run, operation)))
    }

    fn of_run(run: &Run, operation: &str) -> Self {
        let number = |key: &str| run.settings.get(key).and_then(Value::as_f64);
        let searched = run.settings.get("goal.nanos").is_some_and(|goal| !goal.is_null());
        let Some(rate) = number("arrivals.perSecond").filter(|_| !searched && run.ended == Ended::Complete)
        else {
            return Self::default();
        };
        let seconds = run.elapsed.as_secs_f64();
        // Of machines that are one run each was asked for the rate.
        let due = seconds * rate * number("agents").unwrap_or(1.0);
        Self { seconds, due, done: run.per_second(operation).unwrap_or_default() * seconds }
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            due: self.due + other.due,
            done: self.done + other.done,
        }
    }

    /// What was not done, where it is more than a few percent and more than chance.
    pub(crate) fn shortfall(self) -> Option<Shortfall> {
        let lacking = self.due - self.done;
        (lacking > (TOLERATED * self.due).max(CHANCE * self.due.sqrt())).then(|| Shortfall {
            asked_per_second: self.due / self.seconds,
            done_per_second: self.done / self.seconds,
        })
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [asked, done] = [self.asked_per_second, self.done_per_second].map(rate);
        write!(
            out,
            "the load was not carried: {asked}/s were asked for, {done}/s done; latencies grow with the length of the run \
             and are no property of the disk"
        )
    }
}

fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{example, probe};

    /// A run in which 200 operations a second were due, and that took so many times as long as it should.
    fn run(longer: f64) -> Run {
        let mut run = probe::read(&example::probe_result(100.0)).expect("a run");
        run.elapsed = run.elapsed.mul_f64(longer);
        run
    }

    fn shortfall(runs: &[Run]) -> Option<Shortfall> {
        Load::of(runs, "durable-write").shortfall()
    }

    #[test]
    fn a_rate_that_was_not_reached_is_told_with_both_numbers() {
        let found = shortfall(&[run(1.0), run(1.5)]).expect("too slow");
        assert_eq!(
            found.to_string(),
            "the load was not carried: 200/s were asked for, 160/s done; latencies grow with the length of the run and are \
             no property of the disk"
        );
        let [few, many] = [0.04, 9.96].map(rate);
        assert_eq!((few.as_str(), many.as_str()), ("0.0", "10.0"));
    }

    #[test]
    fn a_few_percent_and_chance_are_no_shortfall() {
        assert_eq!(shortfall(&[run(1.04)]), None);
        let mut short = run(1.0);
        // 80 were due on average, give or take 9.
        short.settings.insert("arrivals.perSecond".to_owned(), json!(80.0 / short.elapsed.as_secs_f64()));
        short.operations = [("durable-write".to_owned(), done(60))].into();
        assert_eq!(shortfall(&[short.clone()]), None);
        assert!(shortfall(&vec![short; 9]).is_some(), "nine times is no chance");
    }

    fn done(times: u64) -> crate::Operation {
        let mut operation = crate::Operation::default();
        (0..times).for_each(|_| operation.latencies.record(std::time::Duration::from_millis(1)));
        operation
    }

    #[test]
    fn what_failed_was_not_done_and_each_machine_was_asked() {
        let mut failing = run(1.0);
        let latencies = &mut failing.operations.get_mut("durable-write").expect("done").latencies;
        let done = latencies.count();
        (0..done).for_each(|_| latencies.record_failure(std::time::Duration::from_secs(30)));
        assert_eq!(shortfall(&[failing]), None, "as many as were due");
        let mut two = run(1.0);
        two.settings.insert("agents".to_owned(), json!(2));
        assert_eq!(shortfall(&[two]).map(|found| found.asked_per_second), Some(400.0));
    }

    #[test]
    fn nothing_is_due_in_a_closed_loop_a_search_and_what_was_cut_short() {
        let slow = run(2.0);
        let with = |change: &dyn Fn(&mut Run)| {
            let mut run = slow.clone();
            change(&mut run);
            shortfall(&[run])
        };
        assert!(with(&|_| ()).is_some());
        assert_eq!(with(&|run| run.ended = Ended::Interrupted), None);
        assert_eq!(with(&|run| drop(run.settings.remove("arrivals.perSecond"))), None);
        assert_eq!(with(&|run| drop(run.settings.insert("goal.nanos".to_owned(), json!(5)))), None);
    }
}
