//! Two copies of one value, so that there is always a whole one: readers wait for nobody, and a writer that dies leaves
//! the value as it was.
//!
//! ```text
//! number    n: copy n & 1 is the value
//! copy 0    the value of an even number        copy 1    the value of an odd one
//! ```
//! ```text
//!   writer, who has the lock                       reader
//!   n = number            (its own, or by lock)    n = number                    Acquire, E1
//!   fence(Release)                          E2     words of copy n & 1           Relaxed
//!   words of copy (n+1) & 1       Relaxed          fence(Acquire)                E2
//!   number = n + 1                Release, E1      number == n?  it is whole; else again
//!   ------------------------------- COMMIT
//! ```
//! A reader that does not look again loses: it begins at n, the writer commits n + 1, and writes n + 2 where the reader
//! still reads.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | number | the holder of the lock, to one more | everybody | E1, E2 | as it is: it names a whole copy |
//! | copy number & 1 | nobody | everybody | E1 | whole |
//! | the other copy | the holder of the lock | readers that are late, who notice | E2 | half written, perhaps: the next writer writes all of it |
//!
//! Invariants
//! - I1 only the holder of a lock writes; all writers agree on which lock.
//! - I2 copy `number & 1` is whole, and nobody writes it while the number stands. The number never comes again: it has
//!   64 bits.
//!
//! Edges
//! - E1 the store of a number -> the load of it: the words of its copy, all of them.
//! - E2 the number n + 1, then the writer's fence, then a word of n + 2 -> a reader that saw that word, its fence, its
//!   second look at the number: it finds n + 1 or more, and reads again.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | writing, before the store of the number | the old value | nobody has to: the next writer begins at the same number |
//! | after it | the new value | nobody has to |
//! | reading | nothing | nobody has to |
//!
//! Progress: a reader is lock-free: it repeats only when a whole value was written meanwhile, and one that is written
//! more often than it can be copied may keep it for as long. A writer writes each word once. Source: a seqlock with two
//! buffers, of which the writer touches the one that nobody is told to read.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU64, fence, spin_loop};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The words of a value, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Twin<'a> {
    /// Which copy is the value.
    pub number: &'a AtomicU64,
    /// The copies: as many words each as the bytes of a value take.
    pub copies: [&'a [AtomicU64]; 2],
}

impl Twin<'_> {
    /// The value, into `out`, which has the bytes of a value. Never waits for a writer.
    #[inline]
    pub fn read(self, out: &mut [u8]) {
        loop {
            let number = self.number.load(Acquire); // E1
            self.copy_out(number, out);
            fence(Acquire); // E2
            if self.number.load(Relaxed) == number {
                return;
            }
            spin_loop();
        }
    }

    /// The value, for the holder of the lock.
    #[inline]
    pub fn current(self, out: &mut [u8]) {
        self.copy_out(self.number.load(Acquire), out); // E1
    }

    /// Makes these bytes the value. The caller holds the lock (I1).
    #[inline]
    pub fn write(self, value: &[u8]) {
        let next = self.number.load(Relaxed).wrapping_add(1);
        fence(Release); // E2
        for (word, chunk) in self.copies[copy_of(next)].iter().zip(value.chunks(WORD)) {
            let mut bytes = [0; WORD];
            bytes[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
        self.number.store(next, Release); // E1
    }

    #[inline(always)]
    fn copy_out(self, number: u64, out: &mut [u8]) {
        for (word, chunk) in self.copies[copy_of(number)].iter().zip(out.chunks_mut(WORD)) {
            let bytes = word.load(Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

const fn copy_of(number: u64) -> usize {
    (number & 1) as usize
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Words {
        number: AtomicU64,
        copies: [[AtomicU64; 4]; 2],
    }

    impl Words {
        fn twin(&self) -> Twin<'_> {
            Twin { number: &self.number, copies: [&self.copies[0], &self.copies[1]] }
        }
    }

    #[test]
    fn values_of_any_size_come_back() {
        let words = Words::default();
        for size in 0..=32 {
            let value: Vec<u8> = (0..size as u8).map(|byte| byte + 100).collect();
            words.twin().write(&value);
            let mut out = vec![0; size];
            words.twin().read(&mut out);
            assert_eq!(out, value);
            words.twin().current(&mut out);
            assert_eq!(out, value);
        }
    }

    #[test]
    fn what_a_dead_writer_left_is_nobodys_value() {
        let words = Words::default();
        words.twin().write(&[7; 32]);
        let next = words.number.load(Relaxed) + 1;
        words.copies[copy_of(next)][2].store(99, Relaxed);
        let mut out = [0; 32];
        words.twin().read(&mut out);
        assert_eq!(out, [7; 32]);
        words.twin().write(&[8; 32]);
        words.twin().read(&mut out);
        assert_eq!(out, [8; 32]);
    }

    #[test]
    fn a_number_that_nobody_wrote_is_as_good_as_any() {
        let words = Words::default();
        words.number.store(u64::MAX, Relaxed);
        words.twin().write(&[9; 32]);
        let mut out = [0; 32];
        words.twin().read(&mut out);
        assert_eq!(out, [9; 32]);
    }

    #[test]
    fn a_reader_never_sees_halves_and_never_goes_back() {
        let words = Arc::new(Words::default());
        let writer = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                for turn in 1..=200_000_u64 {
                    words.twin().write(turn.to_ne_bytes().repeat(4).as_slice());
                }
            })
        };
        let mut last = 0;
        while last < 200_000 {
            let mut out = [0; 32];
            words.twin().read(&mut out);
            let seen = out.as_chunks::<8>().0;
            assert!(seen.iter().all(|chunk| *chunk == seen[0]), "{out:?}");
            let turn = u64::from_ne_bytes(seen[0]);
            assert!(turn >= last, "{turn} after {last}");
            last = turn;
        }
        writer.join().unwrap();
    }
}
