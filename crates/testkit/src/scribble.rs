//! A peer gone mad: writes into a segment what no correct process would.
//!
//! A [`Scribbler`] picks a word and overwrites it with one of five kinds of nonsense, chosen so that both the coarse
//! checks (impossible words) and the fine ones (possible but wrong words) are met:
//!
//! | kind | what is written |
//! |---|---|
//! | random | 64 random bits |
//! | flip | the word with one bit changed |
//! | near | the word plus or minus one granule, or one |
//! | moved | a word from elsewhere in the segment |
//! | plausible | zero, all ones, a small number, a record header, a claim of some participant |

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering;
use ginnel_layout::lane::Role;
use ginnel_layout::record::{GRANULE, RecordHeader};

use crate::rng::Rng;
use crate::scratch::View;

/// Overwrites words of a view.
#[derive(Debug)]
pub struct Scribbler {
    view: View,
    range: Range<usize>,
    rng: Rng,
}

impl Scribbler {
    /// Scribbles anywhere in `view`, which has to be writable.
    #[must_use]
    pub fn new(view: View, seed: u64) -> Self {
        let range = 0..view.words();
        Self { view, range, rng: Rng::new(seed) }
    }

    /// Scribbles only into these words, as far as there are so many.
    #[must_use]
    pub fn within(mut self, range: Range<usize>) -> Self {
        self.range = range.start.min(self.view.words())..range.end.min(self.view.words());
        self
    }

    /// Overwrites one word; tells which.
    pub fn scribble(&mut self) -> usize {
        let index = self.pick();
        let old = self.view.word(index).load(Ordering::Relaxed);
        let new = self.nonsense(old);
        // A half word now and then, because futexes and roles are that wide.
        if self.rng.below(4) == 0 {
            self.view.half(2 * index + self.rng.below(2) as usize).store(new as u32, Ordering::Relaxed);
        } else {
            self.view.word(index).store(new, Ordering::Relaxed);
        }
        index
    }

    /// Scribbles `per_second` words a second until the process is killed.
    pub fn run(mut self, per_second: u64) {
        let start = Instant::now();
        let mut done = 0;
        loop {
            let due = start.elapsed().as_micros() as u64 * per_second / 1_000_000;
            while done < due {
                self.scribble();
                done += 1;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn pick(&mut self) -> usize {
        self.range.start + self.rng.below(self.range.len() as u64) as usize
    }

    fn nonsense(&mut self, old: u64) -> u64 {
        let random = self.rng.next_u64();
        match self.rng.below(5) {
            0 => random,
            1 => old ^ (1 << (random % 64)),
            2 => {
                let step = if random & 2 == 0 { 1 } else { GRANULE };
                if random & 1 == 0 { old.wrapping_add(step) } else { old.wrapping_sub(step) }
            }
            3 => {
                let from = self.pick();
                self.view.word(from).load(Ordering::Relaxed)
            }
            _ => self.plausible(random),
        }
    }

    fn plausible(&mut self, random: u64) -> u64 {
        match self.rng.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => random % 4096,
            3 => RecordHeader::one((random % 8192) as u32).bits(),
            4 => RecordHeader::many((random % 8192) as u32, (random >> 32) as u16).bits(),
            _ => u64::from(Role::held(ParticipantId::from_index((random % 16) as u16))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn it_keeps_to_its_range_and_changes_words() {
        let scratch = Scratch::new(64).expect("a memfd");
        let mut scribbler = Scribbler::new(View::writable(&scratch).expect("mapped"), 3).within(8..16);
        for _ in 0..1000 {
            assert!((8..16).contains(&scribbler.scribble()));
        }
        let touched: Vec<usize> = (0..64).filter(|index| scratch.get(*index) != 0).collect();
        assert!(!touched.is_empty() && touched.iter().all(|index| (8..16).contains(index)), "{touched:?}");
    }

    #[test]
    fn a_seed_repeats_its_scribbles() {
        let words = |seed| {
            let scratch = Scratch::new(16).expect("a memfd");
            let mut scribbler = Scribbler::new(View::writable(&scratch).expect("mapped"), seed);
            let touched: Vec<usize> = (0..100).map(|_| scribbler.scribble()).collect();
            (touched, (0..16).map(|index| scratch.get(index)).collect::<Vec<_>>())
        };
        assert_eq!(words(5), words(5));
        assert_ne!(words(5), words(6));
    }
}
