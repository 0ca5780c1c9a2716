//! The permit pool: a number of permits, each a word that says whose it is, so that those of the dead come back.
//!
//! ```text
//! PermitWords   0 {count @0, hint @4, sleepers[4] @8}   128 line   256 permit[count], u32:
//! bit  29 .. 31   16 .. 28      0 .. 15
//!      zero       participant   thread            0: free
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | permit | takers from 0, its holder to 0, recovery of the holder to 0 | takers | E1 | names the dead until recovery |
//! | count | the maker | everybody | none: never changes | as it is |
//! | hint | who takes or gives back | takers | Relaxed: where to begin | as it is |
//! | line | see `shared_wait` | | | |
//! | sleepers | a waiter its bit | tools | Relaxed: for people | cleared by recovery |
//!
//! ```text
//! take      from the hint on, once round: CAS 0 -> me (Acquire): COMMIT
//! release   permit = 0 (Release): COMMIT; wake one
//! recover d every permit of d = 0; wake all, always
//! ```
//! How many are free is counted when somebody asks, and never stored, so that nothing can disagree with the words. A
//! wake is passed on by whoever took one (`shared_wait`); the model `permits` of testkit shows what is lost without
//! each line of that.
//!
//! Invariants
//! - I1 a permit that names d is changed by d's process, or, after its proven death, by who recovers it. So a release
//!   and a recovery may store.
//! - I2 a word with one of the upper three bits, or with one of participant and thread zero and the other not, is none
//!   of ours.
//!
//! Edges
//! - E1 release (Release), recovery (Release) -> take (Acquire): what the last holder of the permit did with what it
//!   stands for.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | before its CAS, asleep | nothing, or the flag for nobody | one futile wake |
//! | with a permit | the word names the dead | recovery: back in the pool; wakes |
//! | after the store of release, before its wake | free, sleepers asleep | recovery wakes all; else the slice |
//! | woken, before it passed the wake on | the same | the same |
//! | recoverer | some permits of the dead | the next one repeats it |
//!
//! Progress: `try_acquire` is lock-free and at most one round over the words; `release` is wait-free. A wait sleeps in
//! slices and at the end of each asks for all holders: what a dead one had is back within the slice, a stopped one is waited for
//! until the deadline. No order among waiters.

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lock::OWNER_MASK;
use ginnel_layout::participant::{PARTICIPANTS_MAX, ParticipantId};
use ginnel_layout::signal::PermitWords;

use crate::deadline::Deadline;
use crate::gate::{self, Sleeper};
use crate::mutex::{Holder, LockError};
use crate::park::{self, Stop, Waiter};
use crate::shared_wait;

/// Slices in a row after which a holder proven dead, whose permit no recovery frees, is called corruption.
const UNSWEPT_MAX: u32 = 3;

/// A pool: its words, and one for each permit.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    words: &'a PermitWords,
    permits: &'a [AtomicU32],
}

/// The permit of that number, taken; give it back to [`Pool::release`].
#[must_use = "the permit stays taken until `release`"]
#[derive(Debug, PartialEq, Eq)]
pub struct Taken(u32);

impl Taken {
    /// Its number, from 0.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.0
    }
}

impl<'a> Pool<'a> {
    /// The pool of these words.
    #[must_use]
    pub const fn new(words: &'a PermitWords, permits: &'a [AtomicU32]) -> Self {
        Self { words, permits }
    }

    /// Takes a permit, if one is free. Never waits.
    ///
    /// # Errors
    /// [`LockError::Corrupted`] only.
    #[inline]
    pub fn try_acquire(&self, me: Holder) -> Result<Option<Taken>, LockError> {
        let start = self.words.control.hint.load(Relaxed) as usize;
        let (before, after) = self.permits.split_at(if start < self.permits.len() { start } else { 0 });
        let numbered = after.iter().zip(before.len()..).chain(before.iter().zip(0..));
        for (permit, number) in numbered {
            let seen = permit.load(Relaxed);
            // E1
            if seen == 0 && permit.compare_exchange(0, me.bits(), Acquire, Relaxed).is_ok() {
                // The next one is likelier to be free than those behind.
                self.words.control.hint.store(number as u32 + 1, Relaxed);
                return Ok(Some(Taken(number as u32)));
            }
            if !is_possible(seen) {
                return Err(LockError::Corrupted);
            }
        }
        Ok(None)
    }

    /// Takes a permit; waits until `deadline` while none is free. One that is free is taken even after the deadline.
    ///
    /// `liveness` is asked about the holders at the end of each slice; it recovers dead ones, which frees their permits.
    ///
    /// # Errors
    /// See [`LockError`]; `Deadlock` when the calling thread has all of them. No permit was taken then.
    #[inline]
    pub fn acquire(
        &self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Taken, LockError> {
        match self.try_acquire(me)? {
            Some(taken) => Ok(taken),
            None => self.acquire_slowly(me, waiter, deadline, liveness),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slowly(
        &self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
    ) -> Result<Taken, LockError> {
        if me.thread() != u16::MAX && self.permits.iter().all(|p| p.load(Relaxed) == me.bits()) {
            return Err(LockError::Deadlock);
        }
        let mut sleeper = Sleeper::new(&self.words.control.sleepers, me.participant());
        let unswept = std::cell::Cell::new(0);
        let take = || {
            if unswept.get() >= UNSWEPT_MAX {
                return Some(Err(LockError::Corrupted));
            }
            self.try_acquire(me).transpose()
        };
        let probe = || {
            sleeper.mark();
            unswept.set(if self.probe(me.participant(), liveness) { unswept.get() + 1 } else { 0 });
        };
        let line = &self.words.line;
        match shared_wait::wait_shared(waiter, line, deadline, take, || self.is_available(), probe) {
            Ok(taken) => taken,
            Err(Stop::Interrupted) => Err(LockError::Interrupted),
            Err(Stop::TimedOut) => Err(LockError::TimedOut {
                owner: self.holders().map(Holder::participant).find(|id| *id != me.participant()),
            }),
        }
    }

    /// Asks whether the holders live, `me` left out. True: one is dead and recovered, and its permit names it still.
    pub fn probe(&self, me: ParticipantId, liveness: &dyn Liveness) -> bool {
        let mut asked = [false; PARTICIPANTS_MAX as usize];
        let mut is_unswept = false;
        for permit in self.permits {
            let seen = permit.load(Relaxed);
            let Some(holder) = holder_of(seen).map(Holder::participant) else { continue };
            let is_new =
                asked.get_mut(usize::from(holder.index())).is_some_and(|a| !std::mem::replace(a, true));
            if is_new && holder != me {
                is_unswept |= liveness.is_dead(holder) && permit.load(Relaxed) == seen;
            }
        }
        is_unswept
    }

    /// Gives a permit back, and wakes one who waits for it.
    #[inline]
    pub fn release(&self, taken: Taken) {
        let number = taken.0;
        if let Some(permit) = self.permits.get(number as usize) {
            permit.store(0, Release); // E1
            self.words.control.hint.store(number, Relaxed);
            park::post(&self.words.line);
        }
    }

    /// Is one free? The answer may be old at once.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.permits.iter().any(|permit| permit.load(Relaxed) == 0)
    }

    /// How many are free. The answer may be old at once.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.permits.iter().filter(|permit| permit.load(Relaxed) == 0).count() as u32
    }

    /// Who has a permit, once for each.
    pub fn holders(&self) -> impl Iterator<Item = Holder> + '_ {
        self.permits.iter().filter_map(|permit| holder_of(permit.load(Relaxed)))
    }

    /// Gives back what `dead` had, and wakes all who wait. Idempotent, and repeated by the next recoverer if this one
    /// dies.
    ///
    /// The caller has proof of the death and is the only one to recover `dead` now.
    pub fn recover(&self, dead: ParticipantId) {
        for permit in self.permits {
            if holder_of(permit.load(Relaxed)).is_some_and(|holder| holder.participant() == dead) {
                permit.store(0, Release); // E1
            }
        }
        gate::recover(&self.words.line, &self.words.control.sleepers, dead);
    }
}

/// Who is named by a word. None: nobody, or a word that is none of ours (I2).
fn holder_of(word: u32) -> Option<Holder> {
    if word != 0 && is_possible(word) { Holder::from_bits(word) } else { None }
}

fn is_possible(word: u32) -> bool {
    let whole = word == 0 || (Holder::from_bits(word).is_some() && word as u16 != 0);
    word & !OWNER_MASK == 0 && whole
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

    struct AllLive;

    impl Liveness for AllLive {
        fn is_dead(&self, _: ParticipantId) -> bool {
            false
        }
    }

    struct Memory<const N: usize> {
        words: PermitWords,
        permits: [AtomicU32; N],
    }

    impl<const N: usize> Memory<N> {
        fn new() -> Self {
            let words = PermitWords::default();
            words.control.count.store(N as u32, Relaxed);
            Self { words, permits: std::array::from_fn(|_| AtomicU32::new(0)) }
        }

        fn pool(&self) -> Pool<'_> {
            Pool::new(&self.words, &self.permits)
        }
    }

    fn holder(index: u16, thread: u16) -> Holder {
        Holder::new(ParticipantId::from_index(index), thread).expect("a thread")
    }

    fn acquire(pool: Pool<'_>, me: Holder, limit: Duration) -> Result<Taken, LockError> {
        pool.acquire(me, &mut Waiter::new(Mode::Sleep), Deadline::after(limit), &AllLive)
    }

    #[test]
    fn as_many_as_there_are_and_no_more() {
        let memory = Memory::<2>::new();
        let pool = memory.pool();
        let (a, b) = (holder(0, 1), holder(1, 1));
        let first = pool.try_acquire(a).unwrap().expect("free");
        let second = pool.try_acquire(b).unwrap().expect("free");
        assert_ne!(first, second);
        assert_eq!(pool.try_acquire(a), Ok(None));
        let refused = acquire(pool, a, Duration::from_millis(30));
        assert_eq!(refused, Err(LockError::TimedOut { owner: Some(b.participant()) }));
        assert_eq!((pool.available(), pool.holders().count()), (0, 2));
        pool.release(first);
        assert_eq!(pool.available(), 1);
        assert!(acquire(pool, b, Duration::ZERO).is_ok());
    }

    #[test]
    fn one_who_has_all_would_wait_for_itself() {
        let memory = Memory::<2>::new();
        let pool = memory.pool();
        let me = holder(4, 9);
        let _first = pool.try_acquire(me).unwrap().expect("free");
        let second = pool.try_acquire(me).unwrap().expect("free");
        assert_eq!(acquire(pool, me, FOR_EVER), Err(LockError::Deadlock));
        pool.release(second);
        let _second = pool.try_acquire(holder(4, 8)).unwrap().expect("free");
        // Another thread of the same process has one: it may give it back.
        let refused = acquire(pool, me, Duration::from_millis(1));
        assert_eq!(refused, Err(LockError::TimedOut { owner: None }));
    }

    #[test]
    fn words_that_nobody_writes_are_refused() {
        for word in [1, 1 << 16, 1 << 29 | 1 << 16 | 1, u32::MAX] {
            let memory = Memory::<1>::new();
            memory.permits[0].store(word, Relaxed);
            let pool = memory.pool();
            assert_eq!(pool.try_acquire(holder(0, 1)), Err(LockError::Corrupted), "{word:#x}");
            assert_eq!(acquire(pool, holder(0, 1), FOR_EVER), Err(LockError::Corrupted), "{word:#x}");
            assert_eq!(pool.holders().count(), 0);
        }
    }

    #[test]
    fn a_hint_that_lies_is_only_a_hint() {
        let memory = Memory::<3>::new();
        for hint in [2, 3, u32::MAX] {
            memory.words.control.hint.store(hint, Relaxed);
            assert!(memory.pool().try_acquire(holder(0, 1)).unwrap().is_some());
        }
    }

    #[test]
    fn what_the_dead_had_comes_back_and_those_who_wait_get_it() {
        let memory = Memory::<2>::new();
        let pool = memory.pool();
        let dead = holder(7, 1);
        let _lost = [pool.try_acquire(dead), pool.try_acquire(dead)];
        thread::scope(|scope| {
            let waiters = [1, 2].map(|index| scope.spawn(move || acquire(pool, holder(index, 1), FOR_EVER)));
            while memory.words.line.flag.load(Relaxed) == 0 {
                spin_loop();
            }
            pool.recover(dead.participant());
            for waiter in waiters {
                assert!(waiter.join().unwrap().is_ok());
            }
        });
        assert_eq!(pool.available(), 0);
        pool.recover(dead.participant());
        assert_eq!(pool.available(), 0);
    }

    #[test]
    fn a_dead_holder_that_nobody_recovers_is_corruption_and_not_a_hang() {
        struct AllDead;
        impl Liveness for AllDead {
            fn is_dead(&self, _: ParticipantId) -> bool {
                true
            }
        }
        let memory = Memory::<1>::new();
        let _lost = memory.pool().try_acquire(holder(7, 1));
        let mut waiter = Waiter::new(Mode::Sleep);
        let outcome = memory.pool().acquire(holder(0, 1), &mut waiter, Deadline::after(FOR_EVER), &AllDead);
        assert_eq!(outcome, Err(LockError::Corrupted));
    }

    #[test]
    fn never_more_inside_than_permits() {
        const EACH: u32 = 2000;
        let memory = Memory::<2>::new();
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for index in 0..4 {
                let (pool, inside) = (memory.pool(), &inside);
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let taken = acquire(pool, holder(index, 1), FOR_EVER).unwrap();
                        assert!(inside.fetch_add(1, Relaxed) < 2);
                        inside.fetch_sub(1, Relaxed);
                        pool.release(taken);
                    }
                });
            }
        });
        assert_eq!(memory.pool().available(), 2);
    }
}
