//! A line on which everybody waits for the same thing, and all are woken when it comes.
//!
//! For what is not used up by being seen: an event that stays set, a phase that has turned, a writer that has gone.
//! [`crate::shared_wait`] is for things that one takes from the others; here whoever is woken is woken together with
//! all the others, so nobody holds a wake that another one needs, and nobody passes anything on.
//!
//! ```text
//!   waiter                                     opener
//!   s = seq           Acquire, E1              state = open      Release, E3
//!   flag = 1
//!   fence(SeqCst)     E2  <--------------->    fence(SeqCst)     E2
//!   look: open? leave                          flag is 0? go away
//!   futex: sleep if seq == s                   flag = 0; seq += 1 Release, E1; futex: wake all
//! ```
//! A waiter that leaves lets the flag stand: it may be another one's. `flag = 0` comes before `seq += 1`, because
//! the other way round a waiter that arms between the two has its flag wiped and sleeps on the new `seq`.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | seq | openers and recovery, +1 | waiters, before they arm; the futex | E1 | rises by recovery |
//! | flag | waiters 1, openers 0 | openers, after each commit | the fences E2 | 1 for nobody: one futile wake |
//!
//! Invariants
//! - I1 if anybody sleeps here, then the flag is 1, or an opener is between `flag = 0` and its futex call, or an
//!   opener was killed there; the last is what slices and [`park::wake_all`] are for.
//!
//! Edges
//! - E1 (pairs with park.rs E2) `seq += 1` (Release) -> `s = seq` (Acquire): `flag = 0` of that wake comes before the next `flag = 1`.
//! - E2 (pairs with park.rs E1) fence of the waiter (SeqCst) <-> fence of the opener (SeqCst): one of the two sees
//!   the other's store.
//! - E3 the opener's commit (Release) -> `ready` (Acquire): what is behind the gate. Both are the caller's.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | waiter, any time | flag 1 for nobody | the next opener: one futile system call |
//! | opener after its commit, before its wake | sleepers | recovery: [`park::wake_all`], else the slice |
//!
//! Progress: `post_all` is a fence and a load while nobody waits, else a system call; a wait is one of `park`.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::wait::WaitLine;

use crate::deadline::Deadline;
use crate::park::{self, Arm, Stop, Waiter};

/// Announces a sleeper. The look that follows is the one that the handshake needs.
pub fn arm(line: &WaitLine) -> Arm {
    let seq = line.seq.load(Acquire); // E1
    line.flag.store(1, Relaxed);
    fence(SeqCst); // E2
    Arm::Sleep(seq)
}

/// Waits until `ready` gives something, together with any number of others.
///
/// `ready` is a look; it is called often, must not block, and takes nothing from anybody. Whoever makes it true calls
/// [`post_all`]. At the end of each slice (20 ms, then 40, then 50) `at_slice_end` is called: the place to ask
/// whether those live who are waited for.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal; `ready` was false after that.
#[inline]
pub fn wait<T>(
    waiter: &mut Waiter,
    line: &WaitLine,
    deadline: Deadline,
    mut ready: impl FnMut() -> Option<T>,
    at_slice_end: impl FnMut(),
) -> Result<T, Stop> {
    waiter.wait_seq(line, deadline, |_| ready(), || arm(line), at_slice_end)
}

/// Wakes all who wait on `line`. Call it after every commit that may end a wait.
///
/// A fence and a load while nobody sleeps, otherwise a system call. A caller killed before the wake leaves the
/// sleepers to [`park::wake_all`] by recovery, or to the ends of their slices.
#[inline(always)]
pub fn post_all(line: &WaitLine) {
    post_all_when(line, || true);
}

/// [`post_all`], for a commit that may not be worth a wake yet: `worth` is asked only when somebody waits. If it says
/// no, those who wait stay announced, and a later post (or the end of their slices) wakes them.
#[inline(always)]
pub fn post_all_when(line: &WaitLine, worth: impl FnOnce() -> bool) {
    fence(SeqCst); // E2
    if line.flag.load(Relaxed) != 0 && worth() {
        open(line);
    }
}

#[cold]
#[inline(never)]
fn open(line: &WaitLine) {
    line.flag.store(0, Relaxed);
    park::wake_all(line); // E1
}

/// Marks a participant among those who wait, for people who look. Set at the end of its first slice, so that a short
/// sleep costs nothing; taken away when the wait is over.
pub(crate) struct Sleeper<'a> {
    words: &'a [AtomicU64; 4],
    me: ParticipantId,
    is_marked: bool,
}

impl<'a> Sleeper<'a> {
    pub(crate) fn new(words: &'a [AtomicU64; 4], me: ParticipantId) -> Self {
        Self { words, me, is_marked: false }
    }

    /// For the end of a slice.
    pub(crate) fn mark(&mut self) {
        if let (false, Some((word, bit))) = (self.is_marked, bit_of(self.words, self.me)) {
            word.fetch_or(bit, Relaxed);
            self.is_marked = true;
        }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        if let (true, Some((word, bit))) = (self.is_marked, bit_of(self.words, self.me)) {
            word.fetch_and(!bit, Relaxed);
        }
    }
}

/// What every recovery of a line ends with: the marks of `dead` go, and all are woken, whether anybody is announced or
/// not, because `dead` may have owed a wake or taken one.
pub(crate) fn recover(line: &WaitLine, sleepers: &[AtomicU64; 4], dead: ParticipantId) {
    for words in [sleepers, &line.bells.armed] {
        if let Some((word, bit)) = bit_of(words, dead)
            && word.load(Relaxed) & bit != 0
        {
            word.fetch_and(!bit, Relaxed);
        }
    }
    park::wake_all(line);
}

fn bit_of(words: &[AtomicU64; 4], id: ParticipantId) -> Option<(&AtomicU64, u64)> {
    let index = id.index();
    Some((words.get(usize::from(index / 64))?, 1 << (index % 64)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::Ordering::Release;
    use ginnel_layout::atomic::{AtomicU32, spin_loop};

    use super::*;
    use crate::park::Mode;

    /// Longer than any test may take: a wait that ends so late ends as an error.
    const FOR_EVER: Duration = Duration::from_secs(60);

    fn is_open(state: &AtomicU32) -> Option<()> {
        (state.load(Acquire) != 0).then_some(()) // E3
    }

    #[test]
    fn all_who_wait_are_woken_by_one_post() {
        let (line, state) = (WaitLine::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            let wait = || {
                let mut waiter = Waiter::new(Mode::Sleep);
                wait(&mut waiter, &line, Deadline::after(FOR_EVER), || is_open(&state), || ())
            };
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(wait)).collect();
            while line.flag.load(Relaxed) == 0 {
                spin_loop();
            }
            state.store(1, Release); // E3
            post_all(&line);
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), Ok(()));
            }
        });
    }

    #[test]
    fn a_sleeper_is_marked_from_its_first_slice_until_it_leaves_and_recovery_takes_the_mark_of_the_dead() {
        let (line, sleepers) = (WaitLine::default(), <[AtomicU64; 4]>::default());
        let me = ParticipantId::from_index(70);
        let mut sleeper = Sleeper::new(&sleepers, me);
        assert_eq!(sleepers[1].load(Relaxed), 0);
        sleeper.mark();
        sleeper.mark();
        assert_eq!(sleepers[1].load(Relaxed), 1 << 6);
        drop(sleeper);
        assert_eq!(sleepers[1].load(Relaxed), 0);
        Sleeper::new(&sleepers, me).mark();
        sleepers[1].fetch_or(3 << 6, Relaxed);
        line.bells.armed[1].store(1 << 6, Relaxed);
        recover(&line, &sleepers, me);
        assert_eq!((sleepers[1].load(Relaxed), line.bells.armed[1].load(Relaxed)), (2 << 6, 0));
        assert_eq!(line.seq.load(Relaxed), 1);
    }

    #[test]
    fn nobody_waits_and_nothing_is_written() {
        let line = WaitLine::default();
        post_all(&line);
        assert_eq!(line.seq.load(Relaxed), 0);
        assert_eq!(arm(&line), Arm::Sleep(0));
        post_all(&line);
        assert_eq!((line.seq.load(Relaxed), line.flag.load(Relaxed)), (1, 0));
    }

    #[test]
    fn a_post_that_is_not_worth_a_wake_leaves_the_flag() {
        let line = WaitLine::default();
        post_all_when(&line, || unreachable!("nobody waits"));
        assert_eq!(arm(&line), Arm::Sleep(0));
        post_all_when(&line, || false);
        assert_eq!((line.seq.load(Relaxed), line.flag.load(Relaxed)), (0, 1));
        post_all_when(&line, || true);
        assert_eq!((line.seq.load(Relaxed), line.flag.load(Relaxed)), (1, 0));
    }

    #[test]
    fn what_is_open_is_not_waited_for() {
        let (line, state) = (WaitLine::default(), AtomicU32::new(1));
        let mut waiter = Waiter::new(Mode::Sleep);
        let outcome = wait(&mut waiter, &line, Deadline::at_ns(0), || is_open(&state), || ());
        assert_eq!((outcome, line.flag.load(Relaxed)), (Ok(()), 0));
    }

    #[test]
    fn a_closed_gate_is_left_at_the_deadline_and_the_peer_was_asked_for() {
        let (line, state) = (WaitLine::default(), AtomicU32::new(0));
        let mut waiter = Waiter::new(Mode::Sleep);
        let mut asked = 0;
        let deadline = Deadline::after(Duration::from_millis(50));
        let outcome = wait(&mut waiter, &line, deadline, || is_open(&state), || asked += 1);
        assert_eq!(outcome, Err(Stop::TimedOut));
        assert!(asked >= 1);
        // Another one may sleep here, so the flag stands.
        assert_eq!(line.flag.load(Relaxed), 1);
    }

    #[test]
    fn many_rounds_lose_nobody() {
        const ROUNDS: u32 = 500;
        let (line, round) = (WaitLine::default(), AtomicU32::new(0));
        let (seen_line, seen) = (WaitLine::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            for mode in [Mode::Sleep, Mode::Adaptive, Mode::Sleep] {
                let (line, round, seen_line, seen) = (&line, &round, &seen_line, &seen);
                scope.spawn(move || {
                    let mut waiter = Waiter::new(mode);
                    for wanted in 1..=ROUNDS {
                        let ready = || (round.load(Acquire) >= wanted).then_some(()); // E3
                        wait(&mut waiter, line, Deadline::after(FOR_EVER), ready, || ()).unwrap();
                        seen.fetch_add(1, Release); // E3
                        post_all(seen_line);
                    }
                });
            }
            let mut waiter = Waiter::new(Mode::Sleep);
            for turn in 1..=ROUNDS {
                round.store(turn, Release); // E3
                post_all(&line);
                let ready = || (seen.load(Acquire) == 3 * turn).then_some(()); // E3
                wait(&mut waiter, &seen_line, Deadline::after(FOR_EVER), ready, || ()).unwrap();
            }
        });
    }
}
