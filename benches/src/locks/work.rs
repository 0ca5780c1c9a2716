//! Computation of a known length: what a process does while it holds a lock, and between two holds.
//!
//! A chain of multiplications, each of which needs the one before: it takes the same time whatever the other core
//! does, and a hypervisor does not mistake it for waiting, as it may a row of pauses.

use std::hint::black_box;

use crate::clock::now_ns;

/// Multiplications that take a known time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    steps: u32,
}

impl Work {
    /// About `nanoseconds` of computation on this machine: the quickest of several tries counts.
    pub(crate) fn lasting(nanoseconds: u64) -> Self {
        const STEPS: u32 = 100_000;
        let try_once = || {
            let start = now_ns();
            black_box(Self { steps: STEPS }.run(black_box(1)));
            now_ns() - start
        };
        let quickest = (0..9).map(|_| try_once()).min().unwrap_or(1).max(1);
        Self { steps: (u64::from(STEPS) * nanoseconds / quickest).max(1) as u32 }
    }

    /// Computes. It begins when `seed` is known and ends with the value it gives.
    #[inline(always)]
    pub(crate) fn run(self, seed: u64) -> u64 {
        let mut value = seed;
        for _ in 0..self.steps {
            value = (value ^ (value >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        black_box(value)
    }
}
