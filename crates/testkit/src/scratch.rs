//! Memory for the harness itself: shared words that outlive whichever process is killed, and a view of another segment.
//!
//! A [`Scratch`] holds ledgers, results and counters. It is a memfd mapped shared, so forked children see it at once
//! and re-executed ones open it through `/proc`. A [`View`] maps somebody else's file to look at its bytes, or to
//! scribble on them; it never makes a reference to anything but atomic words.
//!
//! Invariants:
//! - I1: `map` is mapped shared and stays mapped as long as `self` lives; its base is page-aligned.
//! - I2: a word is reached only through `word`, which checks the index against the length of the mapping.
//! - I3: all access through this module is atomic, so whatever other processes do is no data race here.
#![allow(unsafe_code, reason = "words in a mapping have no other address")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// `CLOCK_MONOTONIC` in nanoseconds, for times that are compared between processes.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Shared words that nobody but the harness knows.
#[derive(Debug)]
pub struct Scratch {
    view: View,
    file: File,
}

impl Scratch {
    /// `words` zeroed words.
    ///
    /// # Errors
    /// What the system says when it has no memory or no descriptor left.
    pub fn new(words: usize) -> io::Result<Self> {
        let file = File::from(memfd_create(c"ginnel-testkit", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(words as u64 * 8)?;
        Ok(Self { view: View::writable(&file)?, file })
    }

    /// The scratch that another process made, from a descriptor of it.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let file = File::from(fd);
        Ok(Self { view: View::writable(&file)?, file })
    }

    /// Word `index`.
    ///
    /// # Panics
    /// When there is no such word.
    #[must_use]
    #[inline]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        self.view.word(index)
    }

    /// Word `index` as a number.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Stores a number into word `index`.
    pub fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    /// Adds to word `index`.
    pub fn add(&self, index: usize, value: u64) {
        self.word(index).fetch_add(value, Ordering::AcqRel);
    }

    /// Raises word `index` to `value` if it is smaller. For a single writer.
    pub fn raise(&self, index: usize, value: u64) {
        if self.get(index) < value {
            self.set(index, value);
        }
    }

    /// How many words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.view.words()
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The words of a mapped file.
#[derive(Debug)]
pub struct View {
    map: MmapRaw,
}

impl View {
    /// Maps a whole file to read it.
    ///
    /// # Errors
    /// When it cannot be mapped, or is empty.
    pub fn readable(fd: &impl AsFd) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().map_raw_read_only(fd.as_fd().as_raw_fd())? })
    }

    /// Maps a whole file to read and write it. Writing through a view made readable ends the process instead.
    ///
    /// # Errors
    /// When it cannot be mapped, or is empty.
    pub fn writable(fd: &impl AsFd) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().map_raw(fd.as_fd().as_raw_fd())? })
    }

    /// How many words of 64 bits.
    #[must_use]
    pub fn words(&self) -> usize {
        self.map.len() / 8
    }

    /// Word `index`.
    ///
    /// # Panics
    /// When there is no such word.
    #[must_use]
    #[inline]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words(), "word {index} of {}", self.words());
        let at = self.map.as_mut_ptr().cast::<AtomicU64>().wrapping_add(index);
        // SAFETY: I1 and I2 (in bounds, aligned, alive as long as the borrow of self), I3 (only atomic access).
        unsafe { &*at }
    }

    /// The half word `index`, for words that a futex sleeps on.
    ///
    /// # Panics
    /// When there is no such half word.
    #[must_use]
    pub fn half(&self, index: usize) -> &AtomicU32 {
        assert!(index < 2 * self.words(), "half word {index} of {}", 2 * self.words());
        let at = self.map.as_mut_ptr().cast::<AtomicU32>().wrapping_add(index);
        // SAFETY: I1 and I2 (in bounds, aligned, alive as long as the borrow of self), I3 (only atomic access).
        unsafe { &*at }
    }

    /// A number that almost surely changes when any word changes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut sum = 0_u64;
        for index in 0..self.words() {
            let word = self.word(index).load(Ordering::Relaxed);
            // A zero word adds nothing, which lets the large empty parts of a segment go by quickly.
            if word != 0 {
                sum = sum.wrapping_add(crate::rng::mix(word ^ (index as u64).rotate_left(40)));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_a_scratch_see_the_same_words() {
        let scratch = Scratch::new(4).expect("a memfd");
        let other =
            Scratch::from_fd(scratch.as_fd().try_clone_to_owned().expect("a descriptor")).expect("mapped");
        scratch.set(3, 41);
        other.add(3, 1);
        other.raise(3, 7);
        assert_eq!((scratch.get(3), scratch.words()), (42, 4));
    }

    #[test]
    fn a_fingerprint_tells_where_a_value_stands() {
        let scratch = Scratch::new(64).expect("a memfd");
        let view = View::readable(&scratch).expect("mapped");
        let mut seen = vec![view.fingerprint()];
        for index in [0, 1, 63] {
            scratch.set(index, 5);
            seen.push(view.fingerprint());
            scratch.set(index, 0);
        }
        let before = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), view.fingerprint()), (before, 0));
    }

    #[test]
    #[should_panic(expected = "word 4 of 4")]
    fn a_word_outside_is_refused() {
        let _ = Scratch::new(4).expect("a memfd").word(4);
    }
}
