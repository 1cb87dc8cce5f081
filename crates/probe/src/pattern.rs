//! Data that nobody can make smaller: random bytes, new ones for each write.
//!
//! Zeros are not stored by a disk that detects them, repeated blocks are stored once by one that removes
//! duplicates, and both would make a measurement of nothing.

use std::hash::{BuildHasher, RandomState};

/// xoshiro256++ 1.0 (Blackman and Vigna 2019). Not for secrets.
pub(crate) struct Generator([u64; 4]);

impl Generator {
    /// The stream number `stream` of `seed`. The state is made with SplitMix64, as its authors say.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95);
        Self([(); 4].map(|()| split_mix(&mut state)))
    }

    /// The next 64 random bits.
    #[inline]
    pub(crate) const fn next(&mut self) -> u64 {
        let Self(state) = self;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A whole number below `bound`, by multiplication (Lemire 2019); 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Uniform between 0 and 1, neither included.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Fills `bytes` with random ones, some 15 GB/s on one core: one thread must be able to keep a fast disk busy.
    ///
    /// wyrand (Wang Yi 2019) from a start of its own each time: a product for eight bytes, and none waits for the
    /// one before.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        let mut state = self.next();
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = wyrand(&mut state).to_le_bytes();
        }
        rest.copy_from_slice(&wyrand(&mut state).to_le_bytes()[..rest.len()]);
    }
}

#[inline]
const fn wyrand(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0xA076_1D64_78BD_642F);
    let product = (*state as u128) * ((*state ^ 0xE703_7ED1_A0B4_28DB) as u128);
    #[expect(clippy::cast_possible_truncation, reason = "both halves of it")]
    let halves = (product >> 64) as u64 ^ product as u64;
    halves
}

const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A seed that no other run has, so that two machines never write the same data to a disk that would store it
/// once. Below 2⁵³, as every reader of JSON keeps such numbers whole.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().hash_one(std::process::id()) >> 11
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Shannon's entropy of the bytes: 8 bits each cannot be packed.
    fn bits_per_byte(data: &[u8]) -> f64 {
        let mut counts = [0u32; 256];
        data.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let share = |count: &u32| f64::from(*count) / data.len() as f64;
        counts.iter().filter(|count| **count > 0).map(share).map(|p| -p * p.log2()).sum()
    }

    #[test]
    fn data_cannot_be_packed() {
        let mut block = vec![0; 1 << 20];
        Generator::new(7, 0).fill(&mut block);
        // Random bytes come to 8 − 255 / (2 · 2²⁰ · ln 2) = 7.9998 bits.
        let entropy = bits_per_byte(&block);
        assert!(entropy > 7.999, "{entropy}");
        // A counter has that entropy, too, but repeats: no eight bytes of ours come twice.
        let words: HashSet<&[u8]> = block.chunks(8).collect();
        assert_eq!(words.len(), block.len() / 8);
    }

    #[test]
    fn no_two_blocks_streams_or_seeds_are_the_same() {
        let block = |generator: &mut Generator| {
            let mut block = [0u8; 4096];
            generator.fill(&mut block);
            block
        };
        let mut first = Generator::new(1, 0);
        let blocks = [
            block(&mut first),
            block(&mut first),
            block(&mut Generator::new(1, 1)),
            block(&mut Generator::new(2, 0)),
        ];
        assert_eq!(HashSet::from(blocks).len(), 4);
    }

    #[test]
    fn the_same_seed_is_the_same_data() {
        let mut data = [[0u8; 100]; 2];
        data.iter_mut().for_each(|data| Generator::new(3, 4).fill(data));
        assert_eq!(data[0], data[1]);
    }

    /// The first numbers of wyrand from 0, as the author's C code gives them.
    #[test]
    fn the_published_words_come_out() {
        let mut state = 0;
        let first = [(); 3].map(|()| wyrand(&mut state));
        assert_eq!(first, [0x111c_b3a7_8f59_a58e, 0xceab_d938_ff4e_856d, 0x61fb_5131_8f47_d2a4]);
    }

    /// The first numbers of the state 1, 2, 3, 4, as the authors' C code gives them.
    #[test]
    fn the_published_generator_comes_out() {
        let mut generator = Generator([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| generator.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }
}
