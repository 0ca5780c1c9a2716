//! The event: a flag that any number wait for, set by anybody. One that stays set, or one that lets a single waiter by.
//!
//! ```text
//! EventWords   0 {state {gen:31 | SET:1} @0, auto @4, sleepers[4] @8, sets @40}   128 line
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | SET | `set` 1, `clear` 0, a waiter of an auto-reset event 0 | everybody | E1 | as it is |
//! | gen | `set`, +1 each time | waiters | E1 | as it is |
//! | auto | the maker | everybody | none: never changes | as it is |
//! | line | see `gate` (stays set) and `shared_wait` (auto-reset) | | | |
//! | sleepers | a waiter its bit | tools | Relaxed: for people | cleared by recovery |
//! | sets | setters, without care for each other | tools | Relaxed: a hint | as it is |
//!
//! What a flag alone loses, and what the generation keeps:
//! ```text
//!   waiter                 setter
//!   looks: not set
//!                          set; wake all; clear
//!   woken, looks: not set, sleeps again             with gen: it moved since I came, so I was let by
//! ```
//! What a `set` that leaves a set flag alone loses (its load may overtake the store of the work before it):
//! ```text
//!   setter                 consumer, who clears before it looks for work
//!   work = new   (in the buffer)
//!   is set: nothing to do
//!                          clear; looks: no work; waits for ever
//! ```
//! So `set` is a read-modify-write always, and `clear` an acquiring one: whichever of the two comes second sees
//! what the other did before.
//!
//! Invariants
//! - I1 `gen` moves at every `set` and nowhere else. A waiter that came before a `set` and is still there after it
//!   is let by, whatever `clear` does, unless it sleeps through 2^31 of them.
//! - I2 of an auto-reset event, one `set` lets at most one waiter by: the one whose CAS takes SET away. Sets that
//!   nobody has taken yet are one.
//!
//! Edges
//! - E1 `set` (Release) -> a waiter's look, `is_set`, `clear`, the taking CAS (Acquire): what was written before the
//!   `set`. All writers of the word are read-modify-writes, so a later one does not hide an earlier `set`.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | setter before its CAS | nothing | not set |
//! | setter after it, before its wake | set, sleepers asleep | recovery wakes all; else the slice; else the next `set` |
//! | waiter of an auto-reset event after its CAS | not set | it has consumed it |
//! | the same, woken, before it passed the wake on | others asleep | recovery wakes all; else the slice |
//!
//! Progress: `set` is a CAS loop (lock-free) and a system call only if somebody sleeps; `clear`, `is_set` are
//! wait-free. No order among the waiters of an auto-reset event. Nobody owns an event, so no liveness is asked for.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::signal::{EventControl, EventWords};

use crate::deadline::Deadline;
use crate::gate::{self, Sleeper};
use crate::park::{self, Stop, Waiter};
use crate::shared_wait;

const SET: u32 = EventControl::SET;

/// Sets the event: all who wait are let by, or one of them, if it is an auto-reset event.
///
/// A caller killed before the wake leaves sleepers to [`recover`], or to the ends of their slices.
#[inline]
pub fn set(words: &EventWords) {
    let EventWords { control, line } = words;
    let mut seen = control.state.load(Relaxed);
    loop {
        let next = seen.wrapping_add(EventControl::ONE_GENERATION) | SET;
        // E1
        match control.state.compare_exchange(seen, next, Release, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    count(control);
    if is_auto(words) { park::post(line) } else { gate::post_all(line) }
}

/// For people: two at a time may count as one.
fn count(control: &EventControl) {
    control.sets.store(control.sets.load(Relaxed).wrapping_add(1), Relaxed);
}

/// Takes the flag back. Whoever waited before the last [`set`] is let by all the same.
#[inline]
pub fn clear(words: &EventWords) {
    words.control.state.fetch_and(!SET, Acquire); // E1
}

/// Is it set? The answer may be old at once.
#[must_use]
#[inline]
pub fn is_set(words: &EventWords) -> bool {
    words.control.state.load(Acquire) & SET != 0 // E1
}

/// Does whoever waits for it clear it?
#[must_use]
#[inline]
pub fn is_auto(words: &EventWords) -> bool {
    words.control.auto.load(Relaxed) != 0
}

/// What a wait remembers of the moment at which it began: give it to [`wait`] again after an interruption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(u32);

/// The present moment, for a wait that begins now.
#[must_use]
#[inline]
pub fn now(words: &EventWords) -> Since {
    Since(words.control.state.load(Relaxed))
}

/// Is a waiter let by that came at `since`? Takes the flag away, if it is an auto-reset event. Never waits.
#[must_use]
#[inline]
pub fn try_wait(words: &EventWords, since: Since) -> bool {
    if is_auto(words) {
        return take(&words.control);
    }
    let seen = words.control.state.load(Acquire); // E1
    seen & SET != 0 || (seen ^ since.0) & !SET != 0
}

/// The CAS that takes SET away from all others.
fn take(control: &EventControl) -> bool {
    let mut seen = control.state.load(Relaxed);
    while seen & SET != 0 {
        // E1
        match control.state.compare_exchange(seen, seen & !SET, Acquire, Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Waits until the event is set, or was set after `since`; of an auto-reset event, until this call takes the flag.
///
/// A set event is taken even after the deadline.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal.
#[inline]
pub fn wait(
    words: &EventWords,
    since: Since,
    me: ParticipantId,
    waiter: &mut Waiter,
    deadline: Deadline,
) -> Result<(), Stop> {
    let EventWords { control, line } = words;
    let mut sleeper = Sleeper::new(&control.sleepers, me);
    let ready = || try_wait(words, since).then_some(());
    if is_auto(words) {
        let available = || control.state.load(Relaxed) & SET != 0;
        shared_wait::wait_shared(waiter, line, deadline, ready, available, || sleeper.mark())
    } else {
        gate::wait(waiter, line, deadline, ready, || sleeper.mark())
    }
}

/// What the death of `dead` means: nothing for the event, and a wake for those who wait, because `dead` may have owed
/// one. Idempotent.
pub fn recover(words: &EventWords, dead: ParticipantId) {
    gate::recover(&words.line, &words.control.sleepers, dead);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::spin_loop;

    use super::*;
    use crate::park::Mode;

    /// Longer than any test may take: a wait that ends so late ends as an error.
    const FOR_EVER: Duration = Duration::from_secs(60);

    fn auto() -> EventWords {
        let words = EventWords::default();
        words.control.auto.store(1, Relaxed);
        words
    }

    fn wait_for(words: &EventWords, since: Since, limit: Duration) -> Result<(), Stop> {
        let mut waiter = Waiter::new(Mode::Sleep);
        wait(words, since, ParticipantId::from_index(0), &mut waiter, Deadline::after(limit))
    }

    fn spin_until(is_so: impl Fn() -> bool) {
        let end = Deadline::after(FOR_EVER);
        while !is_so() {
            assert!(!end.passed());
            spin_loop();
        }
    }

    #[test]
    fn what_is_set_stays_set_until_it_is_cleared() {
        let words = EventWords::default();
        assert!(!is_set(&words) && !try_wait(&words, now(&words)));
        set(&words);
        set(&words);
        assert!(is_set(&words));
        assert_eq!(wait_for(&words, now(&words), Duration::ZERO), Ok(()));
        assert!(is_set(&words));
        clear(&words);
        assert!(!is_set(&words));
        assert_eq!(wait_for(&words, now(&words), Duration::from_millis(1)), Err(Stop::TimedOut));
        assert_eq!(words.control.sets.load(Relaxed), 2);
    }

    #[test]
    fn a_pulse_lets_by_who_came_before_it_and_nobody_later() {
        let words = EventWords::default();
        let before = now(&words);
        set(&words);
        clear(&words);
        assert!(try_wait(&words, before));
        assert!(!try_wait(&words, now(&words)));
    }

    #[test]
    fn the_generation_wraps() {
        let words = EventWords::default();
        words.control.state.store(u32::MAX - 1, Relaxed);
        let before = now(&words);
        set(&words);
        clear(&words);
        assert_eq!(words.control.state.load(Relaxed), 0);
        assert!(try_wait(&words, before));
    }

    #[test]
    fn an_auto_reset_event_lets_one_by_for_each_set() {
        let words = auto();
        set(&words);
        assert!(try_wait(&words, now(&words)));
        assert!(!try_wait(&words, now(&words)));
        assert_eq!(wait_for(&words, now(&words), Duration::from_millis(30)), Err(Stop::TimedOut));
    }

    #[test]
    fn as_many_sets_as_waits_let_everybody_by() {
        const WAITERS: u64 = 3;
        const EACH: u64 = 200;
        let (words, through) = (auto(), auto());
        thread::scope(|scope| {
            for _ in 0..WAITERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        wait_for(&words, now(&words), FOR_EVER).unwrap();
                        set(&through);
                    }
                });
            }
            for _ in 0..WAITERS * EACH {
                set(&words);
                wait_for(&through, now(&through), FOR_EVER).unwrap();
            }
        });
        assert!(!is_set(&words));
    }

    #[test]
    fn all_waiters_pass_a_pulse() {
        const ROUNDS: u32 = 300;
        let (words, came) = (EventWords::default(), auto());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        // The pulse before is over.
                        spin_until(|| !is_set(&words));
                        let since = now(&words);
                        came.control.sets.fetch_add(1, Release); // E1, as a set would
                        wait_for(&words, since, FOR_EVER).unwrap();
                    }
                });
            }
            for round in 1..=ROUNDS {
                // E1, as a look would
                spin_until(|| came.control.sets.load(Acquire) == u64::from(2 * round));
                set(&words);
                clear(&words);
            }
        });
    }
}
