//! The mutex: one word of shared memory that says who holds it, so that the death of its holder is repaired.
//!
//! ```text
//! bit  31   30      29      16 .. 28      0 .. 15
//!      W    DIRTY   zero    participant   thread            participant 0: free
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | participant, thread | lockers from 0, the holder to 0, recovery of the holder to 0 | everybody | E1 | names the dead until recovery |
//! | DIRTY | recovery 1, a holder that says the data is whole again 0 | lockers | E1 | stays |
//! | W | whoever is about to sleep 1, the unlock 0 | the unlock | the word's own order | 1 for nobody: one futile wake |
//!
//! Lock: free word -> mine, W and DIRTY carried over, W set if I slept. Taken: set W, sleep on the word as it is
//! then. Unlock: swap to 0, or to DIRTY where the holder was told of a death and did not repair; wake one if W.
//!
//! Two sleepers and a wake that wakes only one:
//! ```text
//!   A (asleep)               B (asleep)             holder
//!                                                   old = swap(0): W was set; wake one
//!   woken; word 0 -> A       still asleep
//!   unlock: no W, no wake    sleeps for ever
//! ```
//! and the real one: who slept takes the word *with* W.
//! ```text
//!   woken; word 0 -> A|W     still asleep
//!   unlock: W, wake one ---> woken
//! ```
//! For the same reason a sleeper that gives up looks once more: the word is free (the wake was for it): it takes
//! the lock after all. The word is taken: it leaves W behind, and the next unlock wakes the next one.
//!
//! Invariants
//! - I1 the holder's id is in the word from the instruction that takes it to the one that gives it up. Only the
//!   holder, or whoever recovers the holder after its proven death, changes it meanwhile.
//! - I2 where somebody sleeps, the word carries W, or a live thread owes a wake (it swapped a W away), or a live
//!   thread was woken and has neither taken the word with W nor left.
//! - I3 `told` is true exactly while somebody died inside and no later holder has called the data consistent.
//! - I4 a word with bit 29 set, or with one of participant and thread zero and the other not, is none of ours.
//!
//! Edges
//! - E1 unlock (Release), recovery (Release) -> lock (Acquire): what the last holder wrote under the lock, and
//!   what recovery repaired.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | before the taking CAS, asleep, or arming | nothing, or W for nobody | the next unlock: one futile wake |
//! | after it, before the unlock swap | the word names the dead | `recover`: DIRTY and W; the next locker is told |
//! | after the unlock swap, before the wake | free, sleepers without W | `recover` wakes one, always; it puts W back; else the slice |
//! | `recover` after its CAS, before its wake | DIRTY and W | the next `recover`, or the next unlock |
//!
//! Progress: uncontended, lock and unlock are one CAS and one swap. `try_lock`, `unlock`, `recover` are
//! lock-free. `lock` blocks; a dead holder is noticed at the end of a slice of 20 ms at the latest, a stopped one
//! is waited for until the deadline. No fairness: a running locker may overtake a woken one. Source: the
//! three-state futex mutex, with an owner in the word; recovery is our own, modelled in testkit.
//!
//! Here are the forms that know nothing but the word. What users hold lies on a line of its own, with room for those
//! who poll and for those who look on: `mutex/words.rs`.

mod words;

use std::cell::Cell;
use std::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::participant::{OWNER_BITS, ParticipantId};

use crate::deadline::Deadline;
use crate::futex;
use crate::park::{Arm, Stop, Waiter};

pub use words::{
    arm, is_held_by, lock_in, pass, recover_in, release_unowned, take_free, try_lock_armed, try_lock_in,
    unlock_in, unlock_whole, wait_even_for_me_in, wait_in,
};

const WAITED_FOR: u32 = 1 << 31;
const DIRTY: u32 = 1 << 30;
const SPARE: u32 = 1 << 29;
const PARTICIPANT_SHIFT: u32 = 16;
const THREAD: u32 = (1 << PARTICIPANT_SHIFT) - 1;
const PARTICIPANT: u32 = ((1 << OWNER_BITS) - 1) << PARTICIPANT_SHIFT;
const OWNER: u32 = PARTICIPANT | THREAD;

/// Slices in a row after which a holder proven dead, whose word no recovery touches, is called corruption.
const UNSWEPT_MAX: u32 = 3;

const _: () = assert!(WAITED_FOR | DIRTY | SPARE | OWNER == u32::MAX && PARTICIPANT & (SPARE | THREAD) == 0);

/// Who holds a lock: a participant of the segment, and one of its threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    participant: ParticipantId,
    thread: u16,
}

impl Holder {
    /// The calling thread of `participant`. A call costs a few ns; do not keep the result beyond the thread.
    #[cfg(not(loom))]
    #[must_use]
    #[inline]
    pub fn current(participant: ParticipantId) -> Self {
        Self { participant, thread: crate::tag::current() }
    }

    /// The thread `thread` of `participant`, for callers with their own idea of a thread. None for thread 0,
    /// which no holder has.
    #[must_use]
    pub const fn new(participant: ParticipantId, thread: u16) -> Option<Self> {
        if thread == 0 { None } else { Some(Self { participant, thread }) }
    }

    /// The participant.
    #[must_use]
    pub const fn participant(self) -> ParticipantId {
        self.participant
    }

    /// The thread's tag: unique among the living threads of its process, except for `u16::MAX`, which all those
    /// share that came after the first 65534.
    #[must_use]
    pub const fn thread(self) -> u16 {
        self.thread
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        ((self.participant.bits() as u32) << PARTICIPANT_SHIFT) | self.thread as u32
    }

    /// Who is named by the owner bits of a word; its other bits are not looked at.
    pub(crate) const fn from_bits(word: u32) -> Option<Self> {
        match ParticipantId::from_bits(((word & PARTICIPANT) >> PARTICIPANT_SHIFT) as u64) {
            Some(participant) => Some(Self { participant, thread: word as u16 }),
            None => None,
        }
    }
}

/// Proof that the lock was taken; give it back to [`unlock`].
#[must_use = "the lock stays taken until `unlock`"]
#[derive(Debug)]
pub struct Locked {
    told: bool,
}

impl Locked {
    /// True when a holder died with the lock and nobody has called the data consistent since: look at the data
    /// before trusting it.
    #[must_use]
    pub const fn told(&self) -> bool {
        self.told
    }
}

/// Why a lock was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockError {
    /// The deadline came. `owner` held it in that moment, and lives as far as anybody knows.
    TimedOut {
        /// The holder.
        owner: Option<ParticipantId>,
    },
    /// A signal handler ran in this thread while it slept. Lock again, or attend to the signal.
    Interrupted,
    /// The calling thread holds the lock already, and would wait for itself.
    Deadlock,
    /// The word holds what no lock of ours stores.
    Corrupted,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { owner: Some(owner) } => {
                write!(f, "the deadline came while participant {} held the lock", owner.bits())
            }
            Self::TimedOut { owner: None } => f.write_str("the deadline came before the lock was free"),
            Self::Interrupted => f.write_str("a signal interrupted the wait for the lock"),
            Self::Deadlock => f.write_str("this thread holds the lock already"),
            Self::Corrupted => f.write_str("the word of the lock is damaged"),
        }
    }
}

impl std::error::Error for LockError {}

/// Takes the lock, waiting until `deadline` if another holds it.
///
/// `waiter` is the caller's own for this lock. `liveness` is asked about the holder at the end of each slice of
/// 20 ms; it recovers a dead one, which frees the word. A free lock is taken even after the deadline. Under
/// [`crate::Mode::Spin`] this never sleeps. A caller killed at any instruction leaves a word that recovery repairs.
///
/// # Errors
/// See [`LockError`]; the lock is not held then.
#[inline(always)]
pub fn lock(
    word: &AtomicU32,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &impl Liveness,
) -> Result<Locked, LockError> {
    // E1
    match word.compare_exchange(0, me.bits(), Acquire, Relaxed) {
        Ok(_) => Ok(Locked { told: false }),
        Err(_) if is_mine(word.load(Relaxed), me) => Err(LockError::Deadlock),
        Err(_) => lock_contended(word, me, waiter, deadline, liveness, &|_| ()),
    }
}

/// Takes the lock if it is free. None: somebody holds it, perhaps the caller. Never waits.
///
/// # Errors
/// [`LockError::Corrupted`] only.
#[inline]
pub fn try_lock(word: &AtomicU32, me: Holder) -> Result<Option<Locked>, LockError> {
    take(word, me, false).transpose()
}

/// Gives the lock back, and wakes one who sleeps for it.
///
/// `consistent` says that the data is whole; it matters only to a holder that was told of a death. Without it the
/// next holder is told too.
#[inline(always)]
pub fn unlock(word: &AtomicU32, locked: Locked, consistent: bool) {
    let free = if consistent || !locked.told { 0 } else { DIRTY };
    let old = word.swap(free, Release); // E1
    if old & WAITED_FOR != 0 {
        wake_one(word);
    }
}

/// Who holds the lock. None: nobody, or a word that is none of ours.
#[must_use]
pub fn owner(word: &AtomicU32) -> Option<Holder> {
    let seen = word.load(Relaxed);
    if is_possible(seen) { Holder::from_bits(seen) } else { None }
}

/// Repairs the lock after the death of `dead`: frees it if `dead` held it, so that the next holder is told, and
/// wakes one sleeper in any case, because `dead` may have owed a wake.
///
/// The caller has proof of the death and is the only one to recover `dead` now. Idempotent, and repeated by the
/// next recoverer if this one dies.
pub fn recover(word: &AtomicU32, dead: ParticipantId) {
    free_word_of(word, dead, |_| DIRTY);
    wake_one(word);
}

/// Takes the lock away from `dead`. `mark` says from the word as it is whether the next holder is to be told.
fn free_word_of(word: &AtomicU32, dead: ParticipantId, mark: impl Fn(u32) -> u32) {
    let mut seen = word.load(Relaxed);
    while Holder::from_bits(seen).is_some_and(|holder| holder.participant == dead) {
        // E1. A CAS, because sleepers set W in the word of a dead holder too.
        match word.compare_exchange(seen, mark(seen) | WAITED_FOR, Release, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
}

#[cold]
#[inline(never)]
fn wake_one(word: &AtomicU32) {
    futex::wake(word, 1);
}

/// The whole of a lock that was not free, whoever has it. `armed` hears the word each time this thread is about to sleep on it.
#[cold]
#[inline(never)]
fn lock_contended(
    word: &AtomicU32,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &dyn Liveness,
    armed: &dyn Fn(u32),
) -> Result<Locked, LockError> {
    let (slept, unswept) = (Cell::new(false), Cell::new(0));
    let ready = |slept_now: bool| {
        slept.set(slept_now);
        if unswept.get() >= UNSWEPT_MAX {
            return Some(Err(LockError::Corrupted));
        }
        take(word, me, slept_now)
    };
    let probe = || {
        let gone = probe_owner(word, me, liveness);
        unswept.set(if gone { unswept.get() + 1 } else { 0 });
    };
    let arm = || {
        let arm = announce(word);
        if let Arm::Sleep(seen) = arm {
            armed(seen);
        }
        arm
    };
    match waiter.wait_word(word, deadline, ready, arm, probe) {
        Ok(taken) => taken,
        Err(stop) => leave(word, me, slept.get(), stop),
    }
}

/// Takes the word if it is free. None: it is not.
#[inline]
fn take(word: &AtomicU32, me: Holder, slept: bool) -> Option<Result<Locked, LockError>> {
    let mut seen = word.load(Relaxed);
    loop {
        if !is_possible(seen) {
            return Some(Err(LockError::Corrupted));
        }
        if seen & OWNER != 0 {
            return None;
        }
        let others = seen & (WAITED_FOR | DIRTY) | if slept { WAITED_FOR } else { 0 };
        // E1
        match word.compare_exchange(seen, me.bits() | others, Acquire, Relaxed) {
            Ok(_) => return Some(Ok(Locked { told: seen & DIRTY != 0 })),
            Err(now) => seen = now,
        }
    }
}

/// Puts W into the word of somebody else's lock. Again: it became free, or changed.
fn announce(word: &AtomicU32) -> Arm {
    let seen = word.load(Relaxed);
    if seen & OWNER == 0 {
        return Arm::Again;
    }
    let armed = seen | WAITED_FOR;
    let is_armed = seen == armed || word.compare_exchange(seen, armed, Relaxed, Relaxed).is_ok();
    if is_armed { Arm::Sleep(armed) } else { Arm::Again }
}

/// Asks about the holder. True: it is dead and recovered, and the word names it still.
fn probe_owner(word: &AtomicU32, me: Holder, liveness: &dyn Liveness) -> bool {
    let seen = word.load(Relaxed);
    let Some(holder) = Holder::from_bits(seen) else { return false };
    // Our own participant lives: another of its threads has the lock.
    holder.participant != me.participant
        && liveness.is_dead(holder.participant)
        && (word.load(Relaxed) ^ seen) & OWNER == 0
}

/// Gives up, without keeping a wake that was meant for whoever can use it.
fn leave(word: &AtomicU32, me: Holder, slept: bool, stop: Stop) -> Result<Locked, LockError> {
    loop {
        if let Some(taken) = take(word, me, slept) {
            return taken;
        }
        let seen = word.load(Relaxed);
        if !slept || announce(word) != Arm::Again {
            return Err(match stop {
                Stop::TimedOut => {
                    LockError::TimedOut { owner: Holder::from_bits(seen).map(|h| h.participant) }
                }
                Stop::Interrupted => LockError::Interrupted,
            });
        }
    }
}

fn is_mine(word: u32, me: Holder) -> bool {
    #[cfg(not(loom))]
    if me.thread == crate::tag::ANONYMOUS {
        return false;
    }
    word & OWNER == me.bits()
}

fn is_possible(word: u32) -> bool {
    word & SPARE == 0 && (word & PARTICIPANT == 0) == (word & THREAD == 0)
}
