//! The least-squares fit of the Universal Scalability Law, with σ and κ never below 0.
//!
//! Levenberg's and Marquardt's method (Marquardt 1963), started from the law's linear form
//! N/X = (1 + σ(N−1) + κN(N−1)) / λ. Bounds are kept by trying which of σ and κ are 0: of the four fits without
//! bounds the best that is within them is the answer.

use serde::Serialize;

/// A law, fitted or assumed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Law {
    /// λ: throughput of one machine, in operations per second.
    pub lambda: f64,
    /// σ: contention. No unit.
    pub sigma: f64,
    /// κ: coherency, or crosstalk. No unit.
    pub kappa: f64,
}

impl Law {
    /// X(N), in the unit of λ.
    #[must_use]
    pub fn throughput(self, machines: f64) -> f64 {
        self.lambda * machines / self.slowdown(machines)
    }

    /// N* = √((1−σ)/κ), at least one machine; `None` when throughput never falls.
    #[must_use]
    pub fn peak(self) -> Option<f64> {
        (self.kappa > 0.0).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    fn slowdown(self, machines: f64) -> f64 {
        1.0 + (machines - 1.0) * (self.sigma + self.kappa * machines)
    }

    /// ∂X/∂λ, ∂X/∂σ, ∂X/∂κ.
    fn gradient(self, machines: f64) -> [f64; 3] {
        let slowdown = self.slowdown(machines);
        let by_sigma = -self.throughput(machines) * (machines - 1.0) / slowdown;
        [machines / slowdown, by_sigma, by_sigma * machines]
    }

    fn moved(self, step: [f64; 3]) -> Self {
        Self { lambda: self.lambda + step[0], sigma: self.sigma + step[1], kappa: self.kappa + step[2] }
    }

    /// The sum of squared deviations; infinite where the law makes no sense.
    fn squares(self, points: &[(f64, f64)]) -> f64 {
        let sensible = self.lambda > 0.0 && points.iter().all(|(n, _)| self.slowdown(*n) > 0.0);
        let squares = points.iter().map(|(n, x)| (x - self.throughput(*n)).powi(2)).sum();
        if sensible { squares } else { f64::INFINITY }
    }
}

/// Which of λ, σ and κ are fitted; the others are 0. The first is preferred when several fit equally well.
const FREE: [[bool; 3]; 4] =
    [[true, false, false], [true, true, false], [true, false, true], [true, true, true]];

/// The law with the least squared deviations from `points`, which are pairs of machines and throughput;
/// `None` when none with λ > 0 fits, or a number is not finite.
///
/// Squares are of absolute deviations, as in R's `usl`: busy hosts weigh more than idle ones.
#[must_use]
pub fn fit(points: &[(f64, f64)]) -> Option<Law> {
    let within = |law: &Law| law.sigma >= 0.0 && law.kappa >= 0.0;
    let fits = FREE.iter().filter_map(|free| fit_free(points, *free)).filter(within);
    fits.map(|law| (law, law.squares(points)))
        .filter(|(_, squares)| squares.is_finite())
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(law, _)| law)
}

fn fit_free(points: &[(f64, f64)], free: [bool; 3]) -> Option<Law> {
    let mut law = start(points, free)?;
    let (mut squares, mut damping) = (law.squares(points), 1e-3);
    for _ in 0..100 {
        let rows = points.iter().map(|(n, x)| (law.gradient(*n), x - law.throughput(*n)));
        let next = law.moved(solve(rows, free, damping)?);
        let found = next.squares(points);
        if found < squares {
            let settled = squares - found <= 1e-13 * squares;
            (law, squares, damping) = (next, found, damping * 0.1);
            if settled {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e6 {
                break;
            }
        }
    }
    Some(law)
}

/// The linear form, each row weighted by X²/N, what a deviation of N/X means for X.
fn start(points: &[(f64, f64)], free: [bool; 3]) -> Option<Law> {
    let rows = points.iter().map(|(n, x)| {
        let weight = x * x / n;
        ([weight, weight * (n - 1.0), weight * n * (n - 1.0)], weight * n / x)
    });
    let [a, b, c] = solve(rows, free, 0.0)?;
    let per_machine = points.iter().map(|(n, x)| x / n).fold(0.0, f64::max);
    let linear = Law { lambda: 1.0 / a, sigma: (b / a).max(0.0), kappa: (c / a).max(0.0) };
    let steady = Law { lambda: per_machine, sigma: 0.0, kappa: 0.0 };
    [linear, steady].into_iter().find(|law| law.squares(points).is_finite())
}

/// The least-squares solution of rows of three coefficients and a right side, by the normal equations.
/// Columns that are not free get 0; `damping` adds to the diagonal in proportion to it (Marquardt).
fn solve(rows: impl Iterator<Item = ([f64; 3], f64)>, free: [bool; 3], damping: f64) -> Option<[f64; 3]> {
    let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (coefficients, value) in rows {
        for i in (0..3).filter(|i| free[*i]) {
            right[i] += coefficients[i] * value;
            (0..3).filter(|j| free[*j]).for_each(|j| matrix[i][j] += coefficients[i] * coefficients[j]);
        }
    }
    let scale: [f64; 3] = std::array::from_fn(|i| if free[i] { matrix[i][i].sqrt() } else { 1.0 });
    for i in 0..3 {
        (0..3).for_each(|j| matrix[i][j] /= scale[i] * scale[j]);
        matrix[i][i] = if free[i] { 1.0 + damping } else { 1.0 };
        right[i] /= scale[i];
    }
    let solution = eliminate(matrix, right)?;
    Some(std::array::from_fn(|i| solution[i] / scale[i]))
}

/// Gauss's elimination. No pivoting: the matrix is symmetric, positive, and 1 on its diagonal. `None` when it
/// is singular.
fn eliminate(mut matrix: [[f64; 3]; 3], mut right: [f64; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = matrix[column];
        for row in (0..3).filter(|row| *row != column) {
            let factor = matrix[row][column] / pivot[column];
            (0..3).for_each(|j| matrix[row][j] -= factor * pivot[j]);
            right[row] -= factor * right[column];
        }
    }
    let solution: [f64; 3] = std::array::from_fn(|i| right[i] / matrix[i][i]);
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// SPEC SDM91 on a SPARCcenter 2000, from Gunther 2007, the example of R's package `usl` 3.0, whose
    /// README prints alpha 0.0277285, beta 0.0001044, gamma 89.9952330, and the peak: throughput 1884 at load
    /// 96.52.
    #[test]
    fn gunthers_example_comes_out_as_r_prints_it() {
        let law = fit(&[
            (1.0, 64.9),
            (18.0, 995.9),
            (36.0, 1652.4),
            (72.0, 1853.2),
            (108.0, 1828.9),
            (144.0, 1775.0),
            (216.0, 1702.2),
        ])
        .expect("a law");
        assert!((law.sigma - 0.027_728_5).abs() < 5e-8, "{law:?}");
        assert!((law.kappa - 0.000_104_4).abs() < 5e-8, "{law:?}");
        assert!((law.lambda - 89.995_233_0).abs() < 5e-6, "{law:?}");
        let peak = law.peak().expect("a peak");
        assert!((peak - 96.52).abs() < 5e-3 && (law.throughput(peak) - 1884.0).abs() < 0.5, "{peak}");
    }

    #[test]
    fn nonsense_has_no_law_and_never_panics() {
        for points in [vec![], vec![(1.0, f64::NAN); 4], vec![(1.0, f64::INFINITY); 4], vec![(0.0, 0.0); 4]] {
            assert_eq!(fit(&points), None, "{points:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_law_without_noise_is_found_again(
            lambda in 1.0..1e6f64, sigma in 0.0..0.9f64, kappa in 0.0..0.1f64,
        ) {
            let law = Law { lambda, sigma, kappa };
            let points = [1.0, 2.0, 4.0, 8.0, 16.0].map(|n| (n, law.throughput(n)));
            let found = fit(&points).expect("a law");
            prop_assert!((found.lambda / lambda - 1.0).abs() < 1e-6, "{:?}", found);
            prop_assert!((found.sigma - sigma).abs() < 1e-6, "{:?}", found);
            prop_assert!((found.kappa - kappa).abs() < 1e-7, "{:?}", found);
        }

        #[test]
        fn no_fit_is_beaten_by_a_neighbour_within_the_bounds(
            noise in prop::collection::vec(0.8..1.2f64, 6), to in 0usize..6,
        ) {
            let law = Law { lambda: 100.0, sigma: 0.02, kappa: 0.002 };
            let machines = [1.0, 2.0, 4.0, 6.0, 8.0, 12.0];
            let noisy = |(n, error): (&f64, &f64)| (*n, law.throughput(*n) * error);
            let points: Vec<_> = machines.iter().zip(&noise).map(noisy).collect();
            let found = fit(&points).expect("a law");
            prop_assert!(found.sigma >= 0.0 && found.kappa >= 0.0);
            let size = [found.lambda, found.sigma.max(0.01), found.kappa.max(0.001)];
            let mut step = [0.0; 3];
            step[to / 2] = 1e-4 * size[to / 2] * if to % 2 == 0 { 1.0 } else { -1.0 };
            let next = found.moved(step);
            if next.sigma >= 0.0 && next.kappa >= 0.0 {
                prop_assert!(next.squares(&points) >= found.squares(&points) * (1.0 - 1e-9));
            }
        }
    }
}
