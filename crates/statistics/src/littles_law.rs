//! Does a measurement agree with itself? Little's law (Little 1961): N = X · (R + Z). For any stable closed
//! loop it holds exactly, so a deviation is a fault of the measuring: operations that were not counted, a
//! warm-up that was, a clock that is wrong.

use std::time::Duration;

use serde::Serialize;

/// How well throughput and latency explain how many operations were under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LittlesLaw {
    /// How many operations were under way at once, by the law.
    pub computed: f64,
    /// By how much that differs from how many really were: 0.05 is five percent too many.
    pub deviation: f64,
}

/// Compares `workers`, each with one operation under way or thinking, with X · (R + Z): `throughput` in
/// operations per second, the MEAN latency (a percentile would be wrong), and the mean time between two
/// operations. `None` without workers.
///
/// Must not be used for an open loop with a growing queue: nothing is stable there.
#[must_use]
pub fn littles_law(
    workers: f64,
    throughput: f64,
    mean_latency: Duration,
    think: Duration,
) -> Option<LittlesLaw> {
    let computed = throughput * (mean_latency + think).as_secs_f64();
    let deviation = computed / workers - 1.0;
    deviation.is_finite().then_some(LittlesLaw { computed, deviation })
}

impl LittlesLaw {
    /// Whether the deviation is at most `tolerance` (0.05 for five percent) either way.
    #[must_use]
    pub fn holds_within(self, tolerance: f64) -> bool {
        self.deviation.abs() <= tolerance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_explains_its_workers_and_a_forgotten_half_is_seen() {
        // 8 workers, 10 ms for each operation, 6 ms of thinking: 500 operations a second.
        let law =
            |throughput| littles_law(8.0, throughput, Duration::from_millis(10), Duration::from_millis(6));
        assert!(law(500.0).is_some_and(|law| law.holds_within(1e-9)));
        let half = law(250.0).expect("workers");
        assert!((half.deviation + 0.5).abs() < 1e-12 && !half.holds_within(0.05), "{half:?}");
        assert_eq!(littles_law(0.0, 500.0, Duration::from_millis(10), Duration::ZERO), None);
    }
}
