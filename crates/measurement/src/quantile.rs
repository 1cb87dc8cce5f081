//! Percentiles of several runs, with how sure they are.

use serde::Serialize;
use winstead_statistics::{Bootstrap, Histogram, Interval, MINIMUM_BEYOND, Percentile};

/// A percentile of several runs merged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// Which.
    pub percentile: Percentile,
    /// The latency, in nanoseconds.
    pub nanos: f64,
    /// How sure it is, over whole runs. `None` for the maximum, for fewer than five runs, and where so few
    /// operations took longer that single ones decide.
    pub interval: Option<Interval>,
}

/// `p50`, `p95`, `p99`, `p99.9` and `max` of all runs merged; none of them when nothing was measured.
#[must_use]
pub fn shown(runs: &[Histogram], bootstrap: Bootstrap) -> Vec<Quantile> {
    let merged = Histogram::merged(runs);
    let quantile = |percentile| {
        let nanos = merged.percentile(percentile)?.as_nanos() as f64;
        let enough = percentile.beyond(merged.count()) >= MINIMUM_BEYOND;
        let interval = bootstrap.percentile(runs, percentile).ok().filter(|_| enough);
        Some(Quantile { percentile, nanos, interval })
    };
    Percentile::SHOWN.into_iter().filter_map(quantile).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use winstead_statistics::Seed;

    use super::*;

    #[test]
    fn a_percentile_that_single_operations_decide_has_no_interval() {
        let run = |level: u64| {
            let mut run = Histogram::new();
            (0..100).for_each(|number| run.record(Duration::from_micros(level + number)));
            run
        };
        let runs: Vec<Histogram> = (1..=5).map(|level| run(1000 * level)).collect();
        let found = shown(&runs, Bootstrap { resamples: 1000, ..Bootstrap::with_seed(Seed(1)) });
        let known: Vec<bool> = found.iter().map(|quantile| quantile.interval.is_some()).collect();
        // Of 500 operations 250 lie beyond p50, 25 beyond p95, 5 beyond p99.
        assert_eq!(known, [true, true, false, false, false]);
    }
}
