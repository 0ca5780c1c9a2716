//! The semaphore: a number that anybody raises and that those who pass lower by one, never below zero.
//!
//! ```text
//! SemaphoreWords   0 {value @0, max @4, sleepers[4] @8, acquired @40}   128 line
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | value | takers -1, releasers + n | everybody | E1 | as it is: a count belongs to nobody |
//! | max | the maker | releasers | none: never changes | as it is |
//! | line | see `shared_wait` | | | |
//! | sleepers | a waiter its bit | tools | Relaxed: for people | cleared by recovery |
//! | acquired | takers, without care for each other | tools | Relaxed: a hint | as it is |
//!
//! ```text
//! acquire   v = value; 0: wait; CAS v -> v-1 (Acquire): COMMIT
//! release n v = value; v + n > max: refused; CAS v -> v+n (Release): COMMIT; wake one
//! ```
//! A release of several wakes one sleeper only; before that one leaves, it looks whether there is more, and wakes the
//! next (`shared_wait`), so all whom it lets by are reached, one after the other.
//!
//! It signals, and holds nothing for anybody: who dies between acquire and release has taken the count with him. For
//! permits that come back there is `permits`.
//!
//! Invariants
//! - I1 value <= max; every change is one CAS, so it is the start plus all releases less all acquires.
//!
//! Edges
//! - E1 release (Release) -> acquire (Acquire): what was written before the release. All writers are
//!   read-modify-writes, so an acquire sees what was before each of the releases that its count came from.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | before a COMMIT | nothing | |
//! | after the COMMIT of acquire | one less | nobody: it was acquired |
//! | after the COMMIT of release, before its wake | the count, sleepers asleep | recovery wakes all; else the slice |
//! | woken, before it passed the wake on | the same | the same |
//!
//! Progress: `try_acquire` and `release` are lock-free; a wait sleeps in slices. No order among waiters, and a running
//! taker may overtake a woken one.

use std::fmt;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::signal::{SemaphoreControl, SemaphoreWords};

use crate::deadline::Deadline;
use crate::gate::{self, Sleeper};
use crate::park::{self, Stop, Waiter};
use crate::shared_wait;

/// A release that would have raised the semaphore above its bound. Nothing was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasedTooOften;

impl fmt::Display for ReleasedTooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore was released more often than it was acquired")
    }
}

impl std::error::Error for ReleasedTooOften {}

/// Takes one, if there is one. Never waits.
#[must_use]
#[inline]
pub fn try_acquire(control: &SemaphoreControl) -> bool {
    let mut seen = control.value.load(Relaxed);
    while seen != 0 {
        // E1
        match control.value.compare_exchange(seen, seen - 1, Acquire, Relaxed) {
            Ok(_) => {
                // For people: two at a time may count as one.
                control.acquired.store(control.acquired.load(Relaxed).wrapping_add(1), Relaxed);
                return true;
            }
            Err(now) => seen = now,
        }
    }
    false
}

/// Takes one; waits until `deadline` while there is none. One that is there is taken even after the deadline.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal; nothing was taken then.
#[inline]
pub fn acquire(
    words: &SemaphoreWords,
    me: ParticipantId,
    waiter: &mut Waiter,
    deadline: Deadline,
) -> Result<(), Stop> {
    let SemaphoreWords { control, line } = words;
    let mut sleeper = Sleeper::new(&control.sleepers, me);
    let take = || try_acquire(control).then_some(());
    shared_wait::wait_shared(waiter, line, deadline, take, || value(control) > 0, || sleeper.mark())
}

/// Gives `n`, and wakes whoever waits for them.
///
/// # Errors
/// [`ReleasedTooOften`] when that were more than the bound; nothing was given then.
#[inline]
pub fn release(words: &SemaphoreWords, n: u32) -> Result<(), ReleasedTooOften> {
    let SemaphoreWords { control, line } = words;
    let max = control.max.load(Relaxed);
    let mut seen = control.value.load(Relaxed);
    loop {
        let next = seen.checked_add(n).filter(|next| *next <= max).ok_or(ReleasedTooOften)?;
        // E1
        match control.value.compare_exchange(seen, next, Release, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    park::post(line);
    Ok(())
}

/// How many may pass now. The answer may be old at once.
#[must_use]
#[inline]
pub fn value(control: &SemaphoreControl) -> u32 {
    control.value.load(Relaxed)
}

/// What the death of `dead` means: nothing for the count, and a wake for those who wait, because `dead` may have owed
/// one. Idempotent.
pub fn recover(words: &SemaphoreWords, dead: ParticipantId) {
    gate::recover(&words.line, &words.control.sleepers, dead);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::park::Mode;

    /// Longer than any test may take: a wait that ends so late ends as an error.
    const FOR_EVER: Duration = Duration::from_secs(60);

    fn semaphore(value: u32, max: u32) -> SemaphoreWords {
        let words = SemaphoreWords::default();
        words.control.value.store(value, Relaxed);
        words.control.max.store(max, Relaxed);
        words
    }

    fn acquire_within(words: &SemaphoreWords, limit: Duration) -> Result<(), Stop> {
        let mut waiter = Waiter::new(Mode::Sleep);
        acquire(words, ParticipantId::from_index(3), &mut waiter, Deadline::after(limit))
    }

    #[test]
    fn it_lets_by_as_many_as_were_given() {
        let words = semaphore(2, SemaphoreControl::UNBOUNDED);
        assert!(try_acquire(&words.control) && try_acquire(&words.control));
        assert!(!try_acquire(&words.control));
        assert_eq!(acquire_within(&words, Duration::from_millis(30)), Err(Stop::TimedOut));
        release(&words, 3).unwrap();
        assert_eq!(acquire_within(&words, Duration::ZERO), Ok(()));
        assert_eq!((value(&words.control), words.control.acquired.load(Relaxed)), (2, 3));
        assert!(words.control.sleepers.iter().all(|bits| bits.load(Relaxed) == 0));
    }

    #[test]
    fn a_bound_is_kept_and_nothing_overflows() {
        let words = semaphore(1, 2);
        assert_eq!(release(&words, 2), Err(ReleasedTooOften));
        assert_eq!(value(&words.control), 1);
        assert_eq!(release(&words, 1), Ok(()));
        assert_eq!(release(&words, u32::MAX), Err(ReleasedTooOften));
        assert_eq!(release(&words, 0), Ok(()));
        let words = semaphore(SemaphoreControl::UNBOUNDED, SemaphoreControl::UNBOUNDED);
        assert_eq!(release(&words, 1), Err(ReleasedTooOften));
    }

    #[test]
    fn one_release_of_many_reaches_all_sleepers() {
        const SLEEPERS: u32 = 4;
        let words = semaphore(0, SemaphoreControl::UNBOUNDED);
        for _ in 0..50 {
            thread::scope(|scope| {
                for _ in 0..SLEEPERS {
                    scope.spawn(|| acquire_within(&words, FOR_EVER).unwrap());
                }
                release(&words, SLEEPERS).unwrap();
            });
            assert_eq!(value(&words.control), 0);
        }
    }

    #[test]
    fn whatever_the_order_the_count_is_right() {
        const EACH: u32 = 2000;
        let words = semaphore(2, 2);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        acquire_within(&words, FOR_EVER).unwrap();
                        release(&words, 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(value(&words.control), 2);
    }
}
