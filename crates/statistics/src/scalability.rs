//! How many machines does this host carry? The Universal Scalability Law, fitted to measured throughputs.
//!
//! X(N) = λN / (1 + σ(N−1) + κN(N−1)) (Gunther 2007, "Guerrilla Capacity Planning", chapter 4, there as a
//! ratio, without λ): λ is the throughput of one machine, σ what queues behind something shared, κ what
//! machines do to each other. With κ > 0 throughput has a peak at N* = √((1−σ)/κ) (ibid., formula 4.33).
//!
//! Must not be used for latencies, with fewer than four numbers of machines (three parameters fit any three
//! points), to compare two hosts by σ and κ alone, or to promise a peak that was not reached: [`Peak`] says
//! which peaks were.

mod fit;

use serde::Serialize;

pub use fit::{Law, fit};

use crate::{
    bootstrap::{Bootstrap, MINIMUM_RUNS},
    distribution::{normal_cdf, t_quantile_two_sided},
    interval::Interval,
    random::Random,
};

/// What was measured with one number of machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// How many machines worked at once.
    pub machines: u32,
    /// What all of them together did in each run, in operations per second.
    pub throughputs: Vec<f64>,
}

/// The law of a host, with what is uncertain about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scalability {
    /// λ: operations per second of one machine.
    pub lambda: Interval,
    /// σ: the share of the work that queues. No unit.
    pub sigma: Interval,
    /// κ: what each pair of machines costs. No unit.
    pub kappa: Interval,
    /// Where throughput is highest.
    pub peak: Peak,
    /// How well the law describes the measured: the largest deviation of a load's mean from it, as a share of
    /// the mean. Above some 0.1 the law is not this host's, and neither is its peak.
    pub worst_deviation: f64,
}

/// Where throughput is highest, and whether anybody has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Peak {
    /// Throughput bends within what was measured.
    Measured {
        /// N*, in machines.
        machines: Interval,
    },
    /// The law bends, but beyond the largest number of machines measured: a guess.
    Extrapolated {
        /// N*, in machines.
        machines: f64,
        /// The largest number that was measured.
        measured_to: u32,
    },
    /// κ cannot be told from 0: no peak is shown up to the largest number measured.
    NotShown {
        /// The largest number that was measured.
        measured_to: u32,
    },
}

/// Why there is no law.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ScalabilityError {
    /// Three parameters fit any three points.
    #[error("{0} different numbers of machines are too few, at least {MINIMUM_LOADS} are needed")]
    TooFewLoads(usize),
    /// Nothing is known about how runs differ.
    #[error("{runs} runs with {machines} machines are too few, at least {MINIMUM_RUNS} are needed")]
    TooFewRuns {
        /// With how many machines.
        machines: u32,
        /// How many runs there are.
        runs: usize,
    },
    /// A throughput that is not a positive number, or no machines: an error of the measuring.
    #[error("{throughput} operations per second with {machines} machines is no throughput")]
    NoThroughput {
        /// With how many machines.
        machines: u32,
        /// What was given.
        throughput: f64,
    },
    /// No law with λ > 0 fits: the numbers are too large or too small to reckon with.
    #[error("no scalability law fits")]
    NoFit,
}

const MINIMUM_LOADS: usize = 4;

/// Fits the law to all runs, and resamples the runs of each load (strata: Davison and Hinkley 1997, section
/// 3.2) for intervals: expanded percentile intervals (Hesterberg 2015, The American Statistician 69:371),
/// which stay above 0 as σ and κ do.
///
/// # Errors
/// When there are too few loads or runs, something is no throughput, or no law fits.
pub fn scalability(loads: &[Load], bootstrap: Bootstrap) -> Result<Scalability, ScalabilityError> {
    check(loads)?;
    let law = fit(&points(loads)).ok_or(ScalabilityError::NoFit)?;
    let mut random = Random::new(bootstrap.seed);
    let again = |_| fit(&points(&resampled(loads, &mut random)));
    let laws: Vec<Law> =
        (0..bootstrap.resamples.max(1)).map(again).collect::<Option<_>>().ok_or(ScalabilityError::NoFit)?;
    let tail = tail(loads, bootstrap);
    let between = |of: fn(&Law) -> f64| {
        let mut values: Vec<f64> = laws.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the length")]
        let cut = (tail * values.len() as f64) as usize;
        Interval::around(of(&law), values[cut], values[values.len() - 1 - cut], bootstrap.confidence)
    };
    let kappa = between(|law| law.kappa);
    Ok(Scalability {
        lambda: between(|law| law.lambda),
        sigma: between(|law| law.sigma),
        kappa,
        peak: peak(law, kappa, between(|law| law.peak().unwrap_or(f64::MAX)), loads),
        worst_deviation: loads.iter().map(|load| deviation(law, load)).fold(0.0, f64::max),
    })
}

fn check(loads: &[Load]) -> Result<(), ScalabilityError> {
    for load in loads {
        let machines = load.machines;
        let wrong = |throughput: &&f64| !(throughput.is_finite() && **throughput > 0.0) || machines == 0;
        if let Some(throughput) = load.throughputs.iter().find(wrong) {
            return Err(ScalabilityError::NoThroughput { machines, throughput: *throughput });
        }
        let runs = load.throughputs.len();
        if runs < MINIMUM_RUNS {
            return Err(ScalabilityError::TooFewRuns { machines, runs });
        }
    }
    let mut numbers: Vec<u32> = loads.iter().map(|load| load.machines).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < MINIMUM_LOADS { Err(ScalabilityError::TooFewLoads(numbers.len())) } else { Ok(()) }
}

fn points(loads: &[Load]) -> Vec<(f64, f64)> {
    let each = |load: &Load| {
        let machines = f64::from(load.machines);
        load.throughputs.iter().map(move |throughput| (machines, *throughput)).collect::<Vec<_>>()
    };
    loads.iter().flat_map(each).collect()
}

fn resampled(loads: &[Load], random: &mut Random) -> Vec<Load> {
    let drawn = |load: &Load, random: &mut Random| {
        let runs = &load.throughputs;
        runs.iter().map(|_| runs[random.below(runs.len())]).collect()
    };
    loads.iter().map(|load| Load { machines: load.machines, throughputs: drawn(load, random) }).collect()
}

/// How much each tail cuts off: less than α/2, since resamples of few runs vary too little and t is wider
/// than the normal.
fn tail(loads: &[Load], bootstrap: Bootstrap) -> f64 {
    let runs = loads.iter().map(|load| load.throughputs.len()).min().unwrap_or(MINIMUM_RUNS) as f64;
    let freedom: usize = loads.iter().map(|load| load.throughputs.len() - 1).sum();
    let t = t_quantile_two_sided(bootstrap.confidence.alpha(), freedom as f64);
    normal_cdf(-t * (runs / (runs - 1.0)).sqrt())
}

fn peak(law: Law, kappa: Interval, machines: Interval, loads: &[Load]) -> Peak {
    let measured_to = loads.iter().map(|load| load.machines).max().unwrap_or(0);
    match law.peak() {
        Some(at) if kappa.low > 0.0 && at <= f64::from(measured_to) => Peak::Measured { machines },
        Some(at) if kappa.low > 0.0 => Peak::Extrapolated { machines: at, measured_to },
        _ => Peak::NotShown { measured_to },
    }
}

fn deviation(law: Law, load: &Load) -> f64 {
    let mean = load.throughputs.iter().sum::<f64>() / load.throughputs.len() as f64;
    (law.throughput(f64::from(load.machines)) / mean - 1.0).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{interval::Confidence, random::Seed};

    fn measured(law: Law, machines: &[u32], noise: f64, seed: u64) -> Vec<Load> {
        let mut random = Random::new(Seed(seed));
        let runs = |machines: u32, random: &mut Random| {
            let mean = law.throughput(f64::from(machines));
            (0..5).map(|_| mean * (1.0 + noise * random.normal())).collect()
        };
        machines.iter().map(|n| Load { machines: *n, throughputs: runs(*n, &mut random) }).collect()
    }

    const fn quick(seed: u64) -> Bootstrap {
        Bootstrap { resamples: 1000, ..Bootstrap::with_seed(Seed(seed)) }
    }

    const BENT: Law = Law { lambda: 500.0, sigma: 0.05, kappa: 0.02 };
    const STRAIGHT: Law = Law { lambda: 500.0, sigma: 0.1, kappa: 0.0 };

    #[test]
    fn a_bend_that_was_measured_is_a_peak_with_its_interval() {
        let found = scalability(&measured(BENT, &[1, 2, 4, 8, 16], 0.03, 1), quick(1)).expect("a law");
        let Peak::Measured { machines } = found.peak else { panic!("{found:?}") };
        assert!(machines.contains(BENT.peak().expect("a peak")), "{machines:?}");
        assert!(found.sigma.contains(BENT.sigma) && found.kappa.contains(BENT.kappa), "{found:?}");
        assert!(found.worst_deviation < 0.05, "{found:?}");
    }

    #[test]
    fn what_was_not_reached_is_said_to_be_a_guess_or_not_shown() {
        let far = Law { kappa: 0.004, ..BENT };
        let found = scalability(&measured(far, &[1, 2, 4, 8], 0.005, 2), quick(2)).expect("a law");
        assert!(
            matches!(found.peak, Peak::Extrapolated { measured_to: 8, machines } if machines > 8.0),
            "{found:?}"
        );
        let found = scalability(&measured(STRAIGHT, &[1, 2, 4, 8], 0.03, 3), quick(3)).expect("a law");
        assert_eq!(found.peak, Peak::NotShown { measured_to: 8 });
    }

    /// Noise alone bends half of all fits; a peak may be claimed for one host in twenty or so.
    #[test]
    fn a_bend_that_may_be_noise_is_no_peak() {
        let peak = |seed| {
            let loads = measured(STRAIGHT, &[1, 2, 4, 8], 0.05, seed);
            scalability(&loads, Bootstrap { resamples: 300, ..quick(seed) }).expect("a law").peak
        };
        let claimed = (0..40).filter(|seed| peak(*seed) != Peak::NotShown { measured_to: 8 }).count();
        assert!(claimed <= 6, "{claimed} of 40");
    }

    #[test]
    fn no_peak_is_claimed_where_its_cause_may_be_nothing() {
        let loads = measured(BENT, &[1, 2, 4, 8, 16], 0.0, 6);
        let ends = |low| Interval::around(0.02, low, 0.04, Confidence::P95);
        let machines = Interval::around(6.9, 5.0, 9.0, Confidence::P95);
        assert_eq!(peak(BENT, ends(0.0), machines, &loads), Peak::NotShown { measured_to: 16 });
        assert_eq!(peak(BENT, ends(0.01), machines, &loads), Peak::Measured { machines });
    }

    /// Four loads of five runs: t of 16 degrees of freedom is 2.120 in the tables, √(5/4) times that 2.370, and
    /// Φ(−2.370) is 0.0089.
    #[test]
    fn tails_are_moved_out_for_few_runs() {
        let loads = measured(BENT, &[1, 2, 4, 8], 0.0, 7);
        assert!((tail(&loads, quick(7)) - 0.0089).abs() < 5e-5);
    }

    #[test]
    fn throughput_that_grows_faster_than_the_machines_is_off_the_law_and_has_no_peak() {
        let loads = [(1, 100.0), (2, 250.0), (4, 600.0), (8, 1500.0)].map(|(machines, mean)| Load {
            machines,
            throughputs: vec![mean, mean * 1.01, mean, mean, mean],
        });
        let found = scalability(&loads, quick(5)).expect("a law");
        assert_eq!((found.sigma.high, found.peak), (0.0, Peak::NotShown { measured_to: 8 }));
        assert!(found.worst_deviation > 0.5, "{found:?}");
    }

    #[test]
    fn what_cannot_tell_three_parameters_is_refused() {
        let ask = |loads: &[Load]| scalability(loads, quick(4));
        let mut loads = measured(BENT, &[1, 2, 4, 4], 0.03, 4);
        assert_eq!(ask(&loads), Err(ScalabilityError::TooFewLoads(3)));
        loads = measured(BENT, &[1, 2, 4, 8], 0.03, 4);
        loads[3].throughputs.truncate(4);
        assert_eq!(ask(&loads), Err(ScalabilityError::TooFewRuns { machines: 8, runs: 4 }));
        loads[0].throughputs[2] = 0.0;
        assert_eq!(ask(&loads), Err(ScalabilityError::NoThroughput { machines: 1, throughput: 0.0 }));
    }

    /// 60 hosts: the share whose σ and κ lie in their intervals. 1500 hosts gave 92 %; a standard error of 60
    /// is 3.5 %.
    #[test]
    fn intervals_hold_the_law_as_often_as_they_say() {
        let (mut sigma, mut kappa) = (0, 0);
        for seed in 0..60 {
            let few = Bootstrap { resamples: 300, ..quick(seed) };
            let found = scalability(&measured(BENT, &[1, 2, 4, 8], 0.05, seed), few).expect("a law");
            sigma += u32::from(found.sigma.contains(BENT.sigma));
            kappa += u32::from(found.kappa.contains(BENT.kappa));
        }
        assert!(sigma >= 49 && kappa >= 49, "{sigma} {kappa}");
    }
}
