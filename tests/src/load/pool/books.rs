//! The ledger of a pool: how often each task ran, as the tasks themselves say.
//!
//! A task has a number, and the numbers of one spawner share a ring of words: `{number:48 | closed:1 | runs:15}`. A run
//! writes itself down as its first act; who has an outcome in his hands closes the word. So a run that comes after the
//! outcome, or after the word went to a later number, is seen.

use std::sync::OnceLock;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire};
use ginnel_testkit::scratch::Scratch;

/// Words of a spawner. More than it ever has under way.
const RING: u64 = 1 << 15;

/// Bits of a number that say which one of its spawner it is.
const SEQUENCE_BITS: u32 = 44;

const CLOSED: u64 = 1 << 15;

/// Runs that came after the outcome.
const LATE: usize = 0;
/// Where the rings begin.
const RINGS: usize = 16;

/// The words of all spawners, shared with all workers.
#[derive(Debug)]
pub(super) struct Books {
    words: Scratch,
}

impl Books {
    pub(super) fn new(spawners: u64) -> std::io::Result<Self> {
        Ok(Self { words: Scratch::new(RINGS + (spawners * RING) as usize)? })
    }

    /// Where other processes find them.
    pub(super) fn path(&self) -> String {
        use std::os::fd::{AsFd, AsRawFd};
        format!("/proc/{}/fd/{}", std::process::id(), self.words.as_fd().as_raw_fd())
    }

    fn word(&self, number: u64) -> &AtomicU64 {
        let (spawner, sequence) = (number >> SEQUENCE_BITS, number & ((1 << SEQUENCE_BITS) - 1));
        self.words.word(RINGS + (spawner * RING + sequence % RING) as usize)
    }

    /// A task begins to run.
    fn run(&self, number: u64) {
        let word = self.word(number);
        let mut seen = word.load(Acquire);
        loop {
            let next = match (seen >> 16).cmp(&number) {
                std::cmp::Ordering::Less => number << 16 | 1,
                std::cmp::Ordering::Equal if seen & CLOSED == 0 => seen + 1,
                _ => return self.words.add(LATE, 1),
            };
            match word.compare_exchange(seen, next, AcqRel, Acquire) {
                Ok(_) => return,
                Err(found) => seen = found,
            }
        }
    }

    /// Its outcome is known: how often it ran.
    pub(super) fn close(&self, number: u64) -> u64 {
        let word = self.word(number);
        let mut seen = word.load(Acquire);
        loop {
            let runs = if seen >> 16 == number { seen & (CLOSED - 1) } else { 0 };
            match word.compare_exchange(seen, number << 16 | CLOSED | runs, AcqRel, Acquire) {
                Ok(_) => return runs,
                Err(found) => seen = found,
            }
        }
    }

    /// Runs that came after the outcome of their task.
    pub(super) fn late(&self) -> u64 {
        self.words.get(LATE)
    }
}

/// The first number of a spawner, but for none.
pub(super) fn first_number(spawner: u64) -> u64 {
    spawner << SEQUENCE_BITS | 1
}

/// In a worker: the books.
static BOOKS: OnceLock<Books> = OnceLock::new();

/// In a worker, before its first task: opens the books.
pub(super) fn open(path: String) -> Result<(), ginnel::Error> {
    let file = std::fs::File::options().read(true).write(true).open(path)?;
    let words = Scratch::from_fd(file.into())?;
    let _ = BOOKS.set(Books { words });
    Ok(())
}

/// In a task, first of all: it runs.
///
/// # Panics
/// Where the initializer did not run before.
pub(super) fn runs(number: u64) {
    BOOKS.get().expect("the initializer has opened them").run(number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_until_the_outcome_and_late_ones_are_seen() {
        let books = Books::new(2).expect("memory");
        let number = first_number(1) + 5;
        assert_eq!(books.close(number - 1), 0);
        books.run(number);
        books.run(number);
        assert_eq!((books.close(number), books.late()), (2, 0));
        books.run(number);
        assert_eq!(books.late(), 1);
        // The next one in the same word.
        books.run(number + RING);
        books.run(number);
        assert_eq!((books.close(number + RING), books.late()), (1, 2));
    }
}
