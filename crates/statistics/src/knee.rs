//! How many machines a host carries while latency stays within a goal: read off measured points, nothing is
//! extrapolated.
//!
//! This, and not the peak of throughput, is what a pool's size should be: long before throughput falls,
//! waiting times rise.

use serde::Serialize;

use crate::interval::Interval;

/// A percentile of latency that was measured with one number of machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadLatency {
    /// How many machines worked at once.
    pub machines: u32,
    /// The latency, in the unit of the goal.
    pub latency: Interval,
}

/// The largest number of machines that meets a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Knee {
    /// So many meet it, the next measured number does not. What lies between was not measured.
    Between {
        /// The largest number up to which all measured ones meet the goal.
        meets: u32,
        /// The smallest that does not.
        fails: u32,
    },
    /// All that were measured meet it. More might too: measure them.
    AtLeast {
        /// The largest number that was measured.
        machines: u32,
    },
    /// Not even the smallest number that was measured meets it.
    None {
        /// The smallest number that was measured.
        fails: u32,
    },
}

/// The recommendation for latencies at most `goal`; `None` without points. A load meets the goal when its
/// whole interval does, so noisy measurements recommend fewer machines. A number beyond one that fails is not
/// recommended, even if it meets the goal.
#[must_use]
pub fn knee(points: &[LoadLatency], goal: f64) -> Option<Knee> {
    let mut points = points.to_vec();
    points.sort_by_key(|point| point.machines);
    let meets = |point: &LoadLatency| point.latency.high <= goal;
    // Of the same number measured twice, both must meet it.
    let fails = points.iter().find(|point| !meets(point)).map(|point| point.machines);
    let last = points.iter().take_while(|point| fails.is_none_or(|fails| point.machines < fails)).last();
    match (last.map(|point| point.machines), fails) {
        (Some(meets), Some(fails)) => Some(Knee::Between { meets, fails }),
        (Some(machines), None) => Some(Knee::AtLeast { machines }),
        (None, Some(fails)) => Some(Knee::None { fails }),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::Confidence;

    fn points(highs: &[(u32, f64)]) -> Vec<LoadLatency> {
        let latency = |high: f64| Interval::around(high * 0.9, high * 0.8, high, Confidence::P95);
        highs
            .iter()
            .map(|(machines, high)| LoadLatency { machines: *machines, latency: latency(*high) })
            .collect()
    }

    #[test]
    fn the_knee_is_the_last_before_the_first_that_fails() {
        let measured = points(&[(8, 30.0), (1, 5.0), (2, 6.0), (4, 9.0)]);
        assert_eq!(knee(&measured, 10.0), Some(Knee::Between { meets: 4, fails: 8 }));
        assert_eq!(knee(&measured, 30.0), Some(Knee::AtLeast { machines: 8 }));
        assert_eq!(knee(&measured, 1.0), Some(Knee::None { fails: 1 }));
        assert_eq!(knee(&[], 1.0), None);
    }

    #[test]
    fn luck_beyond_a_failure_and_uncertain_points_do_not_count() {
        assert_eq!(
            knee(&points(&[(1, 5.0), (2, 20.0), (4, 9.0)]), 10.0),
            Some(Knee::Between { meets: 1, fails: 2 })
        );
        // The estimate of 2 machines is 9.9, but its interval ends at 11.
        assert_eq!(knee(&points(&[(1, 5.0), (2, 11.0)]), 10.0), Some(Knee::Between { meets: 1, fails: 2 }));
        assert_eq!(
            knee(&points(&[(1, 5.0), (2, 9.0), (2, 11.0)]), 10.0),
            Some(Knee::Between { meets: 1, fails: 2 })
        );
        assert_eq!(knee(&points(&[(1, f64::NAN)]), 10.0), Some(Knee::None { fails: 1 }));
    }
}
