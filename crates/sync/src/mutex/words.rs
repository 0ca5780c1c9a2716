//! The mutex on the line of a lock: the same word, and beside it those who poll and what people want to see.
//!
//! ```text
//! LockWords  byte 0 word | 4 depth | 8 bells | 48 sleepers[4] | 80 contended | 88 waited_ns | 96 watched_at
//!            | 104 watched | 108 dead_pid | 112 dead_name[2]
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | word | as in the file above | all | E1 | names the dead until recovery |
//! | bells | pollers, see `bell`; recovery the bit of the dead | the unlock that found W | E2 | one futile byte, or cleared |
//! | sleepers | a waiter its bit, before its first sleep and when it leaves; recovery the dead one's | people | none | cleared |
//! | contended | a waiter that armed, when it leaves | people; whose turn a wake is | none | may miss the last |
//! | waited_ns | the same | people | none | may miss the last |
//! | watched_at, watched | the first sleeper that sees another owner there | people | none | compared with the word |
//! | depth, dead_pid, dead_name | floor 3 | floor 3 | - | see there |
//!
//! The uncontended paths are one CAS and one swap on `word`; all the rest is written on the way to a sleep or from
//! it. A poller is woken like a sleeper: it sets W, and the unlock that takes W away wakes one of the two kinds, in
//! turns. Like a sleeper it takes the lock *with* W, because others may stand behind it, and it counts in `contended`
//! so that the turns go on.
//!
//! Invariants
//! - I5 whoever armed and leaves without the lock either saw it held, with W set by itself then, or handed the wake on.
//! - I6 two threads of one participant share a bit of `sleepers`, so it may be gone early. Nothing is decided by it.
//!
//! Edges
//! - E2 a poller's CAS that sets W (Release), after its bell -> the unlock's swap that found W, and the fence that
//!   `bell` begins with: the bell is seen. An RMW even where W stands already, because a look alone orders nothing.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | between its bit in `sleepers` and the end of its wait | a bit of the dead | `recover_in` |
//! | armed as a poller | W for nobody, a bell of the dead | the next unlock: one futile byte, then the next one |
//! | after the swap, before the wake or the byte | sleepers without W, bells | `recover_in` wakes one and rings all |
//!
//! Progress: as the file above.

use std::cell::Cell;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lock::LockWords;
use ginnel_layout::{Liveness, ParticipantId};

use super::{
    DIRTY, Holder, LockError, Locked, OWNER, WAITED_FOR, free_word_of, is_mine, is_possible, lock_contended,
    take,
};
use crate::bell;
use crate::clock;
use crate::deadline::Deadline;
use crate::park::{self, Arm, Waiter};

/// Takes the lock, waiting until `deadline` if another holds it. As [`super::lock`], on a line of its own.
///
/// # Errors
/// See [`LockError`]; the lock is not held then.
#[inline(always)]
pub fn lock_in(
    words: &LockWords,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &impl Liveness,
) -> Result<Locked, LockError> {
    match take_free(words, me) {
        Some(locked) => Ok(locked),
        None => wait_in(words, me, waiter, deadline, liveness),
    }
}

/// Takes a lock that nobody holds, nobody waits for and nobody died in: one CAS, and nothing else is looked at. None
/// says nothing; ask with [`wait_in`] or [`try_lock_in`].
#[must_use]
#[inline(always)]
pub fn take_free(words: &LockWords, me: Holder) -> Option<Locked> {
    // E1
    words.word.compare_exchange(0, me.bits(), Acquire, Relaxed).ok().map(|_| Locked { told: false })
}

/// What [`lock_in`] does after [`take_free`] gave nothing.
///
/// # Errors
/// As [`lock_in`].
#[cold]
#[inline(never)]
pub fn wait_in(
    words: &LockWords,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &dyn Liveness,
) -> Result<Locked, LockError> {
    if is_mine(words.word.load(Relaxed), me) {
        return Err(LockError::Deadlock);
    }
    wait_even_for_me_in(words, me, waiter, deadline, liveness)
}

/// [`wait_in`] of a lock that any thread may release: the caller waits also while it holds it itself.
///
/// # Errors
/// As [`lock_in`], but for `Deadlock`.
#[cold]
#[inline(never)]
pub fn wait_even_for_me_in(
    words: &LockWords,
    me: Holder,
    waiter: &mut Waiter,
    deadline: Deadline,
    liveness: &dyn Liveness,
) -> Result<Locked, LockError> {
    let since = Cell::new(None);
    let armed = |seen: u32| {
        if since.get().is_none() {
            since.set(Some(sit_down(words, me, seen)));
        }
    };
    let outcome = lock_contended(&words.word, me, waiter, deadline, liveness, &armed);
    if let Some(since) = since.get() {
        stand_up(words, me, since);
    }
    outcome
}

/// Takes the lock if it is free. None: somebody holds it, perhaps the caller. Never waits.
///
/// # Errors
/// [`LockError::Corrupted`] only.
#[inline(always)]
pub fn try_lock_in(words: &LockWords, me: Holder) -> Result<Option<Locked>, LockError> {
    match take_free(words, me) {
        Some(locked) => Ok(Some(locked)),
        None => take(&words.word, me, false).transpose(),
    }
}

/// [`try_lock_in`] for one that has called [`arm`] since it last held the lock or called [`pass`]: others may stand
/// behind it, so the lock is taken with W.
///
/// # Errors
/// [`LockError::Corrupted`] only.
pub fn try_lock_armed(words: &LockWords, me: Holder) -> Result<Option<Locked>, LockError> {
    let taken = take(&words.word, me, true).transpose()?;
    if taken.is_some() {
        words.contended.fetch_add(1, Relaxed);
    }
    Ok(taken)
}

/// Gives the lock back, and wakes one who waits for it. As [`super::unlock`].
#[inline(always)]
pub fn unlock_in(words: &LockWords, locked: Locked, consistent: bool) {
    free(words, if consistent || !locked.told { 0 } else { DIRTY });
}

/// Gives back a lock that protects nothing which a death could leave half done, so nobody needs to be told. The caller
/// holds it.
#[inline(always)]
pub fn unlock_whole(words: &LockWords) {
    free(words, 0);
}

#[inline(always)]
fn free(words: &LockWords, free: u32) {
    // E1, E2
    if words.word.swap(free, Release) & WAITED_FOR != 0 {
        to_one(words);
    }
}

/// Gives a lock that protects nothing back for whoever holds it, as some languages allow. False: nobody held it.
///
/// The holder must not give it back again: by then it may be another's.
#[inline]
pub fn release_unowned(words: &LockWords) -> bool {
    let mut seen = words.word.load(Relaxed);
    while seen & OWNER != 0 {
        // E1, E2. Whoever took it has been told of a death before, so nobody needs to be told again.
        match words.word.compare_exchange(seen, 0, Release, Relaxed) {
            Ok(_) => {
                if seen & WAITED_FOR != 0 {
                    to_one(words);
                }
                return true;
            }
            Err(now) => seen = now,
        }
    }
    false
}

/// Repairs the lock after the death of `dead`: frees it if `dead` held it, forgets its bits, and wakes in any case,
/// because `dead` may have owed a wake.
///
/// `was_inside` says whether `dead` may have left what the lock protects half done; if not, the next holder is told
/// only of an earlier death. The caller has proof of the death and is the only one to recover `dead` now. Idempotent.
pub fn recover_in(words: &LockWords, dead: ParticipantId, was_inside: bool) {
    free_word_of(&words.word, dead, |seen| if was_inside { DIRTY } else { seen & DIRTY });
    let (index, bit) = place_of(dead);
    words.sleepers[index].fetch_and(!bit, Relaxed);
    words.bells.armed[index].fetch_and(!bit, Relaxed);
    super::wake_one(&words.word);
    bell::ring_all(&words.bells);
}

/// Announces one who does not sleep on the word alone: who polls, after it has set its bell, or who waits for several
/// things. The look that follows is the one that counts. Whoever leaves without the lock then calls [`pass`], and
/// whoever takes it uses [`try_lock_armed`]. Again: it is free.
#[must_use]
pub fn arm(words: &LockWords) -> Arm {
    let mut seen = words.word.load(Relaxed);
    while seen & OWNER != 0 {
        // E2
        match words.word.compare_exchange(seen, seen | WAITED_FOR, Release, Relaxed) {
            Ok(_) => return Arm::Sleep(seen | WAITED_FOR),
            Err(now) => seen = now,
        }
    }
    Arm::Again
}

/// Leaves without the lock after [`arm`]: a wake that this one may have used up goes to another.
pub fn pass(words: &LockWords) {
    if arm(words) == Arm::Again {
        to_one(words);
    }
}

#[cold]
#[inline(never)]
fn to_one(words: &LockWords) {
    park::to_one(&words.word, &words.bells, words.contended.load(Relaxed));
}

/// Leaves a note for people: who waits, and since when whom. Gives the time.
fn sit_down(words: &LockWords, me: Holder, seen: u32) -> u64 {
    let (index, bit) = place_of(me.participant);
    words.sleepers[index].fetch_or(bit, Relaxed);
    let now = clock::now_ns();
    if words.watched.load(Relaxed) != seen & OWNER {
        words.watched_at.store(now, Relaxed);
        words.watched.store(seen & OWNER, Relaxed);
    }
    now
}

fn stand_up(words: &LockWords, me: Holder, since: u64) {
    let (index, bit) = place_of(me.participant);
    words.sleepers[index].fetch_and(!bit, Relaxed);
    words.contended.fetch_add(1, Relaxed);
    words.waited_ns.fetch_add(clock::now_ns().saturating_sub(since), Relaxed);
}

/// The place of a participant among words of bits. Participants have indexes below 256.
fn place_of(id: ParticipantId) -> (usize, u64) {
    (usize::from(id.index() / 64) % 4, 1 << (id.index() % 64))
}

/// Whether the calling thread holds the lock, as far as it can be known: threads without a tag of their own are not
/// told apart.
#[must_use]
pub fn is_held_by(words: &LockWords, me: Holder) -> bool {
    let seen = words.word.load(Relaxed);
    is_possible(seen) && is_mine(seen, me)
}
