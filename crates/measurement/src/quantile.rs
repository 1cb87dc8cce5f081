//! Percentiles of several runs, with how sure they are.

use serde::Serialize;
use winstead_statistics::{Bootstrap, Histogram, Interval, Percentile};

/// A percentile of several runs merged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantile {
    /// Which.
    pub percentile: Percentile,
    /// The latency, in nanoseconds.
    pub nanos: f64,
    /// How sure it is, over whole runs. `None` for the maximum, and for fewer than five runs.
    pub interval: Option<Interval>,
}

/// `p50`, `p95`, `p99`, `p99.9` and `max` of all runs merged; none of them when nothing was measured.
#[must_use]
pub fn shown(runs: &[Histogram], bootstrap: Bootstrap) -> Vec<Quantile> {
    let merged = Histogram::merged(runs);
    let quantile = |percentile| {
        let nanos = merged.percentile(percentile)?.as_nanos() as f64;
        Some(Quantile { percentile, nanos, interval: bootstrap.percentile(runs, percentile).ok() })
    };
    Percentile::SHOWN.into_iter().filter_map(quantile).collect()
}
