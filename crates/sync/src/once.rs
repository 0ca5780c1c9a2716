//! Something that is run once, whoever comes first, and run again if it died on the way.
//!
//! ```text
//! OnceWords   0 LockWords: who runs it   128 {state @0: 0 NEW, 1 DONE}   256 done: WaitLine   384 a value
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | lock | see `mutex` | | | names the dead until recovery, then DIRTY |
//! | state | who has run it, 0 -> 1 under the lock | everybody | E1 | NEW or DONE, never between |
//! | value | who runs it, under the lock, before DONE | everybody, after DONE | E1 | half written while NEW: nobody reads it |
//! | done | see `gate` | | | |
//!
//! ```text
//! call   state DONE: return.  lock; state DONE: unlock, return
//!        run it; state = DONE (Release): COMMIT; unlock; wake all who wait for it
//!        it fails or panics: unlock. A debt to tell of a death stays, because nobody has made it good
//! ```
//! DONE is looked at again under the lock: without that, two who saw NEW run it one after the other.
//!
//! Invariants
//! - I1 state goes from NEW to DONE once, by the holder of the lock, and never back.
//! - I2 what is run under the lock is run by one at a time; the lock tells the next of a death (`mutex`, I3).
//!
//! Edges
//! - E1 state = DONE (Release) -> state (Acquire): what was run.
//!
//! | killed | what is left | the next call |
//! |---|---|---|
//! | before it has the lock | nothing | runs it |
//! | while it runs | the lock names the dead | after recovery it runs it, told |
//! | after COMMIT, before the unlock | DONE, the lock names the dead | returns; recovery frees the lock |
//! | after the unlock, before the wake | DONE, sleepers | recovery wakes all; else the slice |
//!
//! Progress: a call after DONE is one load. Else it is a lock: it waits for whoever runs it, and a thread that calls from
//! inside what is run is told `Deadlock`.

use ginnel_layout::Liveness;
use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::lock::{OnceControl, OnceWords};
use ginnel_layout::participant::ParticipantId;

use crate::deadline::Deadline;
use crate::gate::{self, Sleeper};
use crate::mutex::{self, Holder, LockError, Locked};
use crate::park::{Stop, Waiter};

/// The right to run it: give it to [`finish`] or [`give_up`].
#[must_use = "the lock stays taken until `finish` or `give_up`"]
#[derive(Debug)]
pub struct Run {
    locked: Locked,
}

impl Run {
    /// Did somebody die while running it? What it has done so far may be half done.
    #[must_use]
    pub const fn previous_died(&self) -> bool {
        self.locked.told()
    }
}

/// Was it run to its end? True for ever then.
#[must_use]
#[inline(always)]
pub fn is_done(words: &OnceWords) -> bool {
    words.control.state.load(Acquire) == OnceControl::DONE // E1
}

/// Comes first, or waits for who did. None: it is done.
///
/// # Errors
/// See [`LockError`]; `Deadlock` when the calling thread is running it.
pub fn begin(
    words: &OnceWords,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &impl Liveness,
) -> Result<Option<Run>, LockError> {
    if is_done(words) {
        return Ok(None);
    }
    let locked = mutex::lock_in(&words.lock, me, waiter, deadline, liveness)?;
    Ok(enter(words, locked))
}

/// What is left to do for one who has taken the lock of `words`. None: nothing, and the lock was given back.
pub fn enter(words: &OnceWords, locked: Locked) -> Option<Run> {
    if is_done(words) {
        // Whoever died with it had run it.
        mutex::unlock_in(&words.lock, locked, true);
        return None;
    }
    Some(Run { locked })
}

/// It was run: nobody will run it again, and all who wait for it go on.
pub fn finish(words: &OnceWords, run: Run) {
    words.control.state.store(OnceControl::DONE, Release); // E1
    mutex::unlock_in(&words.lock, run.locked, true);
    gate::post_all(&words.done);
}

/// It was not run to its end: the next one may try.
pub fn give_up(words: &OnceWords, run: Run) {
    mutex::unlock_in(&words.lock, run.locked, false);
}

/// Waits until `deadline` for somebody to have run it.
///
/// `liveness` is asked about whoever runs it at the end of each slice: if it died, another may run it.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal.
pub fn wait(
    words: &OnceWords,
    me: ParticipantId,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &dyn Liveness,
) -> Result<(), Stop> {
    let mut sleeper = Sleeper::new(&words.lock.sleepers, me);
    let ready = || is_done(words).then_some(());
    let probe = || {
        sleeper.mark();
        if let Some(runner) = mutex::owner(&words.lock.word).map(Holder::participant)
            && runner != me
        {
            // The answer is in the word afterwards.
            let _ = liveness.is_dead(runner);
        }
    };
    gate::wait(waiter, &words.done, deadline, ready, probe)
}

/// What the death of `dead` means: if it was running it, the next one may, and is told. Idempotent.
///
/// The caller has proof of the death and is the only one to recover `dead` now.
pub fn recover(words: &OnceWords, dead: ParticipantId) {
    mutex::recover_in(&words.lock, dead, true);
    gate::recover(&words.done, &words.lock.sleepers, dead);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::AtomicU32;
    use ginnel_layout::atomic::Ordering::Relaxed;

    use super::*;
    use crate::park::Mode;

    /// Longer than any test may take: a wait that ends so late ends as an error.
    const FOR_EVER: Duration = Duration::from_secs(60);

    struct AllLive;

    impl Liveness for AllLive {
        fn is_dead(&self, _: ParticipantId) -> bool {
            false
        }
    }

    fn begin_as(words: &OnceWords, index: u16) -> Result<Option<Run>, LockError> {
        let me = Holder::new(ParticipantId::from_index(index), 1).expect("a thread");
        begin(words, me, &mut Waiter::new(Mode::Sleep), Deadline::after(FOR_EVER), &AllLive)
    }

    #[test]
    fn of_many_one_runs_it_and_all_see_what_it_did() {
        for _ in 0..100 {
            let (words, value) = (OnceWords::default(), AtomicU32::new(0));
            thread::scope(|scope| {
                for index in 0..3 {
                    let (words, value) = (&words, &value);
                    scope.spawn(move || {
                        if let Some(run) = begin_as(words, index).unwrap() {
                            assert!(!run.previous_died());
                            value.fetch_add(1, Relaxed);
                            finish(words, run);
                        }
                        assert_eq!(value.load(Relaxed), 1);
                    });
                }
                let mut waiter = Waiter::new(Mode::Sleep);
                let me = ParticipantId::from_index(5);
                assert_eq!(wait(&words, me, &mut waiter, Deadline::after(FOR_EVER), &AllLive), Ok(()));
                assert_eq!(value.load(Relaxed), 1);
            });
        }
    }

    #[test]
    fn one_who_fails_leaves_it_to_the_next() {
        let words = OnceWords::default();
        let run = begin_as(&words, 0).unwrap().expect("new");
        assert_eq!(begin_as(&words, 0).unwrap_err(), LockError::Deadlock);
        give_up(&words, run);
        let run = begin_as(&words, 1).unwrap().expect("still new");
        assert!(!run.previous_died());
        finish(&words, run);
        assert!(is_done(&words) && begin_as(&words, 0).unwrap().is_none());
    }

    #[test]
    fn a_death_is_told_until_somebody_has_run_it() {
        let words = OnceWords::default();
        let _lost = begin_as(&words, 7).unwrap().expect("new");
        recover(&words, ParticipantId::from_index(7));
        for _ in 0..2 {
            let run = begin_as(&words, 0).unwrap().expect("still new");
            assert!(run.previous_died());
            give_up(&words, run);
        }
        finish(&words, begin_as(&words, 0).unwrap().expect("still new"));
        assert!(is_done(&words));
    }

    #[test]
    fn a_death_after_it_was_done_changes_nothing() {
        let words = OnceWords::default();
        let _lost = begin_as(&words, 7).unwrap().expect("new");
        words.control.state.store(OnceControl::DONE, Relaxed);
        recover(&words, ParticipantId::from_index(7));
        assert!(begin_as(&words, 0).unwrap().is_none());
        assert_eq!(mutex::owner(&words.lock.word), None);
    }
}
