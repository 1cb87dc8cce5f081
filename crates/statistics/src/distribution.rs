//! The few distributions the intervals and tests stand on. `libm` gives erfc and lgamma, the same bits
//! everywhere.

use std::f64::consts::{PI, SQRT_2};

/// Φ(x), the standard normal distribution: erfc(−x / √2) / 2.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Φ⁻¹(p) for 0 < p < 1: starts from Abramowitz and Stegun 1964, 26.2.23 (error below 4.5e-4) and takes three
/// of Halley's steps, each of which triples the digits.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p);
    let t = libm::sqrt(-2.0 * libm::log(tail));
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let lower = (0..3).fold(above / below - t, |x, _| {
        let density = libm::exp(-0.5 * x * x) / (2.0 * PI).sqrt();
        let error = (normal_cdf(x) - tail) / density;
        x - error / (1.0 + 0.5 * x * error)
    });
    if p < 0.5 { lower } else { -lower }
}

/// The value that Student's t with `freedom` degrees of freedom (not necessarily whole) exceeds in size with
/// the probability `alpha`, both tails together. Bisection until two neighbours are left.
pub(crate) fn t_quantile_two_sided(alpha: f64, freedom: f64) -> f64 {
    let beyond = |t: f64| incomplete_beta(freedom / (freedom + t * t), 0.5 * freedom, 0.5);
    let (mut low, mut high) = (0.0, 1.0);
    while beyond(high) > alpha && high < 1e12 {
        (low, high) = (high, high * 2.0);
    }
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        (low, high) = if beyond(middle) > alpha { (middle, high) } else { (low, middle) };
    }
}

/// ln C(n, k); the caller sees to it that k <= n.
pub(crate) fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

fn ln_factorial(n: u64) -> f64 {
    libm::lgamma(n as f64 + 1.0)
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (NIST DLMF 8.17.22), from
/// the side on which it converges quickly.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = libm::exp(a * libm::log(x) + b * libm::log1p(-x) - ln_beta) / a;
    front * beta_fraction(x, a, b)
}

/// The continued fraction 1 / (1 + d₁ / (1 + d₂ / …)), evaluated by Lentz's method as Thompson and Barnett
/// (1986) changed it. 300 terms are far more than t quantiles need; what is left then is below the last
/// digit.
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let keep_away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d, mut value) = (1.0, 0.0, 1.0);
    for term in 0..300 {
        let m = f64::from(term / 2);
        let numerator = match term {
            0 => 1.0,
            even if even % 2 == 0 => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / keep_away_from_zero(1.0 + numerator * d);
        c = keep_away_from_zero(1.0 + numerator / c);
        let step = c * d;
        value *= step;
        if term > 0 && (step - 1.0).abs() < 1e-16 {
            break;
        }
    }
    value - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Student's table as every textbook prints it, at 5 % and 1 % two-sided.
    #[test]
    fn t_quantiles_are_those_of_the_tables() {
        for (alpha, freedom, printed) in [
            (0.05, 1.0, 12.706),
            (0.05, 4.0, 2.776),
            (0.05, 9.0, 2.262),
            (0.01, 4.0, 4.604),
            (0.05, 1e9, 1.960),
        ] {
            let t = t_quantile_two_sided(alpha, freedom);
            assert!((t - printed).abs() < 5.1e-4, "{alpha} {freedom}: {t}");
        }
    }

    /// `tests/reference/reference.py` says which SciPy.
    #[test]
    fn quantiles_are_scipys() {
        let reference = include_str!("../tests/reference/reference.json");
        let reference: serde_json::Value = serde_json::from_str(reference).expect("JSON");
        let numbers = |section: &str, fields: [&str; 3]| -> Vec<[f64; 3]> {
            let cases = reference[section].as_array().expect(section);
            cases.iter().map(|case| fields.map(|field| case[field].as_f64().unwrap_or(0.0))).collect()
        };
        for [alpha, freedom, t] in numbers("t", ["alpha", "freedom", "t"]) {
            let found = t_quantile_two_sided(alpha, freedom);
            assert!((found / t - 1.0).abs() < 1e-11, "{alpha} {freedom}: {found} {t}");
        }
        for [p, z, _] in numbers("normal", ["p", "z", ""]) {
            let found = normal_quantile(p);
            assert!((found - z).abs() < 1e-12, "{p}: {found} {z}");
        }
    }

    #[test]
    fn the_normal_quantile_undoes_the_distribution() {
        for x in [-30.0, -8.0, -1.959_963_984_540_054, -0.3, 0.0, 2.0] {
            let back = normal_quantile(normal_cdf(x));
            assert!((back - x).abs() < 1e-12 * (1.0 + x.abs()), "{x}: {back}");
        }
    }
}
