//! Choices that look random and can be repeated: SplitMix64, after Steele, Lea and Flood.

use std::ops::Range;
use std::time::Duration;

/// A stream of numbers that its seed determines.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for part `index` of what this one drives.
    #[must_use]
    pub const fn fork(&self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(1))))
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a product is uniform enough: `bound` is far below 2^64 wherever this is used.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A duration within `range`.
    pub fn duration(&mut self, range: &Range<Duration>) -> Duration {
        let span = range.end.saturating_sub(range.start).as_nanos() as u64;
        range.start + Duration::from_nanos(self.below(span))
    }
}

/// Scatters the bits of `value`; a bijection.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_stream_and_forks_differ() {
        let numbers = |mut rng: Rng| (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>();
        assert_eq!(numbers(Rng::new(7)), numbers(Rng::new(7)));
        assert_ne!(numbers(Rng::new(7).fork(0)), numbers(Rng::new(7).fork(1)));
    }

    #[test]
    fn bounds_hold_and_both_halves_occur() {
        let mut rng = Rng::new(1);
        let seen: Vec<u64> = (0..64).map(|_| rng.below(2)).collect();
        assert!(seen.contains(&0) && seen.contains(&1) && seen.iter().all(|n| *n < 2));
        assert_eq!(rng.below(0), 0);
        let range = Duration::from_micros(3)..Duration::from_micros(5);
        assert!((0..64).all(|_| range.contains(&rng.duration(&range))));
    }
}
