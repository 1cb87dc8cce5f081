//! What a load generator records of one run: every operation, also those that failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{histogram::Histogram, percentile::Percentile};

/// The latencies of one run. A time-out or an error is a sample, never a gap: it is recorded with the time it
/// took, beside the operations that succeeded, and is part of every percentile.
///
/// A failed operation that ended early makes percentiles look better than they are, one that timed out was
/// cut short. So compare the shares of failures first (`proportion`), and latencies only where few failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latencies {
    /// Operations that did what they should.
    pub succeeded: Histogram,
    /// Operations that ended in an error or a time-out, with the time until then.
    pub failed: Histogram,
}

impl Latencies {
    /// A run without operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation that succeeded.
    #[inline]
    pub fn record(&mut self, took: Duration) {
        self.succeeded.record(took);
    }

    /// Adds an operation that failed after `took`.
    #[inline]
    pub fn record_failure(&mut self, took: Duration) {
        self.failed.record(took);
    }

    /// Adds all operations of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.succeeded.merge(&other.succeeded);
        self.failed.merge(&other.failed);
    }

    /// How many operations there were, failed ones included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.succeeded.count().saturating_add(self.failed.count())
    }

    /// How many operations failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.count()
    }

    /// All operations in one histogram, failed ones included.
    #[must_use]
    pub fn all(&self) -> Histogram {
        Histogram::merged([&self.succeeded, &self.failed])
    }

    /// The latency at `percentile` of all operations, failed ones included; `None` without any.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<Duration> {
        self.all().percentile(percentile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_sample_of_every_percentile() {
        let mut run = Latencies::new();
        (0..98).for_each(|_| run.record(Duration::from_millis(1)));
        (0..2).for_each(|_| run.record_failure(Duration::from_secs(30)));
        assert_eq!((run.count(), run.failures()), (100, 2));
        assert_eq!(run.percentile(Percentile::P50).map(|took| took.as_millis()), Some(1));
        assert_eq!(run.percentile(Percentile::P99).map(|took| took.as_secs()), Some(30));
    }

    #[test]
    fn a_run_survives_its_result_file() {
        let mut run = Latencies::new();
        run.record(Duration::from_micros(250));
        run.record_failure(Duration::from_secs(4000));
        let json = serde_json::to_string(&run).expect("JSON");
        assert_eq!(serde_json::from_str::<Latencies>(&json).expect("ours"), run);
        assert!(json.contains(r#""saturated":1"#), "{json}");
    }
}
