//! What SciPy and NumPy say of the same data (`reference/reference.json`, written by
//! `reference/reference.py`).

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use winstead_statistics::{
    Confidence, Histogram, Percentile, Proportion, Summary, fisher, mann_whitney,
    mann_whitney::Method,
    median_interval,
    scalability::{Law, fit},
};

const REFERENCE: &str = include_str!("reference/reference.json");

fn reference<T: DeserializeOwned>(section: &str) -> T {
    let mut all: serde_json::Value = serde_json::from_str(REFERENCE).expect("JSON");
    serde_json::from_value(all[section].take()).expect(section)
}

#[track_caller]
fn close(ours: f64, theirs: f64, relative: f64, of: impl std::fmt::Debug) {
    assert!(
        (ours - theirs).abs() <= relative * theirs.abs() + 1e-13,
        "{ours} is not SciPy's {theirs}: {of:?}"
    );
}

fn confidence(level: f64) -> Confidence {
    Confidence::new(level).expect("a confidence")
}

#[test]
fn wilsons_intervals_are_scipys() {
    #[derive(Debug, Deserialize)]
    struct Case {
        failures: u64,
        jobs: u64,
        confidence: f64,
        low: f64,
        high: f64,
    }
    for case in reference::<Vec<Case>>("wilson") {
        let share = Proportion::new(case.failures, case.jobs).expect("a proportion");
        let found = share.wilson(confidence(case.confidence));
        close(found.low, case.low, 1e-10, &case);
        close(found.high, case.high, 1e-10, &case);
    }
}

#[test]
fn fishers_p_is_scipys() {
    #[derive(Debug, Deserialize)]
    struct Case {
        first: (u64, u64),
        second: (u64, u64),
        p: f64,
    }
    for case in reference::<Vec<Case>>("fisher") {
        let [first, second] = [case.first, case.second]
            .map(|(failures, jobs)| Proportion::new(failures, jobs).expect("a proportion"));
        // ln Γ of hundreds of thousands has an error of 10⁻¹⁰ in a likelihood.
        close(fisher(first, second), case.p, 1e-8, &case);
    }
}

#[test]
fn mann_whitneys_u_p_and_shift_are_scipys() {
    #[derive(Debug, Deserialize)]
    struct Case {
        baseline: Vec<f64>,
        candidate: Vec<f64>,
        exact: bool,
        u: f64,
        p: f64,
        shift: f64,
    }
    for case in reference::<Vec<Case>>("mann_whitney") {
        let found = mann_whitney(&case.baseline, &case.candidate).expect("numbers");
        assert_eq!(found.method == Method::Exact, case.exact, "{case:?}");
        close(found.u, case.u, 0.0, &case);
        close(found.p, case.p, 1e-10, &case);
        close(found.shift, case.shift, 1e-12, &case);
    }
}

#[test]
fn summaries_are_numpys() {
    #[derive(Debug, Deserialize)]
    struct Case {
        numbers: Vec<f64>,
        lower: f64,
        median: f64,
        upper: f64,
        deviation: f64,
    }
    for case in reference::<Vec<Case>>("summaries") {
        let found = Summary::of(&case.numbers).expect("numbers");
        close(found.lower_quartile, case.lower, 1e-12, &case);
        close(found.median, case.median, 1e-12, &case);
        close(found.upper_quartile, case.upper, 1e-12, &case);
        close(found.median_deviation, case.deviation, 1e-12, &case);
    }
}

#[test]
fn intervals_of_a_median_are_scipys() {
    #[derive(Debug, Deserialize)]
    struct Case {
        numbers: Vec<f64>,
        confidence: f64,
        low: f64,
        high: f64,
    }
    for case in reference::<Vec<Case>>("median_intervals") {
        let found = median_interval(&case.numbers, confidence(case.confidence)).expect("enough numbers");
        close(found.low, case.low, 0.0, &case);
        close(found.high, case.high, 0.0, &case);
    }
}

#[test]
fn scalability_laws_are_scipys_or_fit_better() {
    #[derive(Debug, Deserialize)]
    struct Case {
        points: Vec<(f64, f64)>,
        lambda: f64,
        sigma: f64,
        kappa: f64,
    }
    let squares = |law: Law, points: &[(f64, f64)]| -> f64 {
        points.iter().map(|(n, x)| (x - law.throughput(*n)).powi(2)).sum()
    };
    for case in reference::<Vec<Case>>("laws") {
        let theirs = Law { lambda: case.lambda, sigma: case.sigma, kappa: case.kappa };
        let ours = fit(&case.points).expect("a law");
        assert!(
            squares(ours, &case.points) <= squares(theirs, &case.points) * (1.0 + 1e-9),
            "{ours:?} {case:?}"
        );
        close(ours.lambda, theirs.lambda, 1e-5, &case);
        assert!((ours.sigma - theirs.sigma).abs() < 1e-5, "{ours:?} {theirs:?}");
        assert!((ours.kappa - theirs.kappa).abs() < 1e-6, "{ours:?} {theirs:?}");
    }
}

#[test]
fn percentiles_of_a_histogram_are_numpys_within_a_thousandth() {
    #[derive(Deserialize)]
    struct Case {
        nanos: Vec<u64>,
        percentiles: std::collections::BTreeMap<u32, u64>,
        mean: f64,
    }
    let case: Case = reference("histogram");
    let mut histogram = Histogram::new();
    case.nanos.iter().for_each(|nanos| histogram.record(Duration::from_nanos(*nanos)));
    for (millionths, exact) in &case.percentiles {
        let percentile = Percentile::from_millionths(*millionths).expect("a percentile");
        let found = histogram.percentile(percentile).expect("samples").as_nanos() as f64;
        let exact = *exact as f64;
        assert!(exact <= found && found <= exact * 1.001, "{percentile}: {found} {exact}");
    }
    let mean = histogram.mean().expect("samples").as_nanos() as f64;
    assert!((mean / case.mean - 1.0).abs() < 5e-4, "{mean} {}", case.mean);
}
