//! Thread tags: a number for each thread of this process that is at work with locks, used again after its end.
//!
//! Tags make a lock's word say which thread holds it. They mean something in this process only, and lie in
//! private memory; a forked child inherits the tags of all threads and gets only its own thread, which wastes some.
//!
//! ```text
//! TAKEN   word 0: tags 0 .. 63 | word 1: tags 64 .. 127 | .. | word 1023
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | a bit of TAKEN | the thread that takes the tag, 1; the same thread at its end, 0 | takers | E1 | gone with the process |
//!
//! Invariants
//! - I1 a tag other than [`ANONYMOUS`] belongs to one living thread at a time.
//! - I2 0 is never a tag: a word with an owner has a thread, and a word without has none.
//!
//! Edges
//! - E1 tag given back (Release) -> tag taken (Acquire): the new thread sees every unlock of the old one. Without
//!   it, it could read an old value of a lock's word and believe that it holds the lock itself.
//!
//! Nothing here survives the process, so there is nothing to repair.
//!
//! Progress: lock-free, at most 1024 words looked at, once a thread. Source: an ordinary bitmap.

use std::cell::Cell;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};

/// The tag of threads that found none left, or that run the last destructors of their locals. Shared by them
/// all, so it proves nothing about who holds a lock.
pub(crate) const ANONYMOUS: u16 = u16::MAX;

const WORDS: usize = 1 << 10;
const BITS: usize = 64;

static TAKEN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// A tag that goes back at the end of its thread.
struct Tag(Cell<u16>);

thread_local! {
    static TAG: Tag = const { Tag(Cell::new(0)) };
}

/// The tag of the calling thread, never 0.
#[inline]
pub(crate) fn current() -> u16 {
    TAG.try_with(|tag| if tag.0.get() != 0 { tag.0.get() } else { tag.take() }).unwrap_or(ANONYMOUS)
}

impl Tag {
    #[cold]
    fn take(&self) -> u16 {
        let taken = take_from(&TAKEN);
        self.0.set(taken);
        taken
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        give_back(&TAKEN, self.0.get());
    }
}

/// The lowest free tag.
fn take_from(words: &[AtomicU64]) -> u16 {
    for (index, word) in words.iter().enumerate() {
        // The first bit is tag 0, the last one ANONYMOUS; neither is given away.
        let reserved = u64::from(index == 0) | u64::from(index == WORDS - 1) << (BITS - 1);
        let mut seen = word.load(Relaxed);
        while seen | reserved != u64::MAX {
            let bit = 1 << (seen | reserved).trailing_ones();
            // E1
            match word.compare_exchange(seen, seen | bit, Acquire, Relaxed) {
                Ok(_) => return (index * BITS) as u16 | bit.trailing_zeros() as u16,
                Err(now) => seen = now,
            }
        }
    }
    ANONYMOUS
}

fn give_back(words: &[AtomicU64], tag: u16) {
    if tag != 0 && tag != ANONYMOUS {
        let bit = 1_u64 << (usize::from(tag) % BITS);
        words[usize::from(tag) / BITS].fetch_and(!bit, Release); // E1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_keeps_its_tag_and_no_two_share_one() {
        let barrier = Barrier::new(8);
        let tags: HashSet<u16> = thread::scope(|scope| {
            let run = || {
                let mine = current();
                barrier.wait();
                assert_eq!(current(), mine);
                mine
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(tags.len(), 8);
        assert!(!tags.contains(&0) && !tags.contains(&ANONYMOUS));
    }

    #[test]
    fn every_tag_is_given_once_and_then_the_anonymous_one() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        for expected in 1..ANONYMOUS {
            assert_eq!(take_from(&words), expected);
        }
        assert_eq!(take_from(&words), ANONYMOUS);
        give_back(&words, ANONYMOUS);
        assert_eq!(take_from(&words), ANONYMOUS);
        give_back(&words, 4711);
        assert_eq!(take_from(&words), 4711);
    }
}
