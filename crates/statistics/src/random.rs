//! Random numbers from a seed: the same everywhere and for ever, so that a result can be computed again.
//!
//! Not for secrets.

use serde::{Deserialize, Serialize};

/// Where a stream of random numbers starts. Stands in the result file, next to what was computed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

/// SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
/// Our own few lines, because crates of generators do not promise the same numbers from one version to the
/// next.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: Seed) -> Self {
        Self(seed.0)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `bound`, by multiplication (Lemire 2019). No number is more likely than another
    /// by more than `bound` / 2⁶⁴.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Random {
        /// Uniform between 0 and 1, neither included.
        pub(crate) fn uniform(&mut self) -> f64 {
            ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
        }

        /// Standard normal: Box and Muller 1958.
        pub(crate) fn normal(&mut self) -> f64 {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            radius * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    /// The first numbers of seed 1234567, as Rosetta Code's task "Pseudo-random numbers/Splitmix64" lists
    /// them.
    #[test]
    fn the_published_stream_comes_out() {
        let mut random = Random::new(Seed(1_234_567));
        let first: Vec<u64> = (0..5).map(|_| random.next()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn numbers_below_a_bound_are_equally_likely() {
        let mut random = Random::new(Seed(1));
        let mut counts = [0u32; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        // Each count has mean 10 000 and standard deviation 93; five of them are 465.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 465), "{counts:?}");
    }
}
