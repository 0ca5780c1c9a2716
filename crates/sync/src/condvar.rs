//! Waiting until somebody says that something has changed, without ever waiting for a waiter.
//!
//! ```text
//! line 0  notified @0, sleepers[4] @8 | line 1  WaitLine: seq rises at each notification; flag: for whom a wake pays
//! ```
//! Nothing is kept for a waiter, so nothing of a dead one is waited for. Each notification raises `seq`, also where
//! nobody waits; each waiter returns when `seq` is not what it was when it began, under the lock:
//!
//! ```text
//!   waiter, with the lock                       notifier
//!   s = seq           Acquire, E1               seq += 1          Release, E1
//!   give the lock back                          fence(SeqCst)     E2
//!   flag = {s, 1}, unless a later one stands    flag is 0? go away
//!   fence(SeqCst)     E2                        futex: wake n; nobody slept, and flag is older than my seq:
//!   seq is not s? return                          flag -> 0
//!   futex: sleep if seq == s
//! ```
//! So `flag` decides only about a system call. It says not just that somebody may sleep, but the latest `s` of those:
//! a notifier that woke nobody may clear it only if all who announced themselves began before its notification, and
//! so cannot sleep any more. A plain 1 would lose this one:
//! ```text
//!   notifier                                    waiter
//!   seq: 5 -> 6
//!                                               s = 6; flag = 1; looks: still 6
//!   flag is 1; wakes nobody; flag -> 0
//!                                               sleeps on 6; the next notifier finds 0 and goes away
//! ```
//! Waiters that were not woken see at the end of their slice that `seq` has moved, and return too. That is a return for
//! nothing, which every user of such a thing has to allow; in exchange a wake that dies with its waiter costs a slice.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | seq | notifiers, recovery, +1 | waiters; the futex | E1 | rises by recovery |
//! | flag | waiters {s:31, 1}, only upwards; a notifier that woke nobody 0 | notifiers | E2 | for nobody: one futile wake |
//! | notified | notifiers, +1 | people | none | may miss the last |
//! | sleepers | a waiter its bit; recovery the dead one's | people | none | cleared |
//!
//! Invariants
//! - I1 if somebody sleeps on the present `seq`, then `flag` is not 0.
//!
//! Edges
//! - E1 `seq += 1` (Release) -> `s = seq`, and the look before each sleep (Acquire): what the notifier did before. Users
//!   have the lock for that; the edge is for those who notify without it.
//! - E2 the waiter's fence (SeqCst) <-> the notifier's fence (SeqCst): one of the two sees the other's store.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | waiter, any time | nothing that anybody waits for; a bit for people | recovery clears the bit |
//! | waiter, after it was woken alone | others asleep | they return at the end of their slice |
//! | notifier between `seq += 1` and its wake | sleepers | recovery wakes all; else the slice |
//!
//! Progress: a notification is wait-free: two additions, a fence, a load, and a system call if somebody sleeps. A wait
//! blocks. Source: the sequence-counting condition variable, with the flag of its own.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::lock::CondvarWords;

#[cfg(not(loom))]
use crate::clock;
use crate::deadline::Deadline;
use crate::futex;
use crate::park::{self, Arm, Stop, Waiter};

/// A wait that has begun, under the lock, and is still to be waited.
#[derive(Debug, Clone, Copy)]
#[must_use = "a wait that is not waited misses what it waits for"]
pub struct Begun {
    seq: u32,
}

/// Begins a wait. The caller holds the lock, has seen that it has to wait, and then gives the lock back.
pub fn begin(words: &CondvarWords) -> Begun {
    Begun { seq: words.line.seq.load(Acquire) } // E1
}

/// Waits until somebody notifies after `begun`. Returns for nothing now and then: look again under the lock.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline; [`Stop::Interrupted`] after a signal: call it again with the same `begun`.
pub fn wait(
    words: &CondvarWords,
    me: ParticipantId,
    begun: Begun,
    waiter: &mut Waiter,
    deadline: Deadline,
) -> Result<(), Stop> {
    let line = &words.line;
    let bit = 1_u64 << (me.index() % 64);
    let sleepers = &words.control.sleepers[usize::from(me.index() / 64) % 4];
    let moved = |_| (line.seq.load(Acquire) != begun.seq).then_some(()); // E1
    let mut is_seen = false;
    let arm = || {
        if !is_seen {
            is_seen = true;
            sleepers.fetch_or(bit, Relaxed);
        }
        announce(words, begun);
        Arm::Sleep(begun.seq)
    };
    let outcome = waiter.wait_seq(line, deadline, moved, arm, || ());
    if is_seen {
        sleepers.fetch_and(!bit, Relaxed);
    }
    outcome
}

/// Raises the flag to this one's beginning.
fn announce(words: &CondvarWords, begun: Begun) {
    let flag = &words.line.flag;
    let mine = flag_of(begun.seq);
    let mut seen = flag.load(Relaxed);
    loop {
        let highest = if seen == 0 || is_before(seen, mine) { mine } else { seen };
        match flag.compare_exchange(seen, highest, Relaxed, Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    fence(SeqCst); // E2
}

/// Wakes up to `most` of those who wait. Those who begin to wait afterwards are not meant.
///
/// Never waits for anybody. A caller killed in the middle leaves sleepers to the ends of their slices.
pub fn notify(words: &CondvarWords, most: u32) {
    words.control.notified.fetch_add(1, Relaxed);
    let before = words.line.seq.fetch_add(1, Release); // E1
    fence(SeqCst); // E2
    let flag = words.line.flag.load(Relaxed);
    if flag != 0 {
        wake(words, before.wrapping_add(1), flag, most);
    }
}

#[cold]
#[inline(never)]
fn wake(words: &CondvarWords, now: u32, flag: u32, most: u32) {
    leave_hints(words);
    if futex::wake(&words.line.seq, most) == 0 && is_before(flag, flag_of(now)) {
        // A failure means that another has announced itself, or has cleared it.
        let _ = words.line.flag.compare_exchange(flag, 0, Relaxed, Relaxed);
    }
}

/// From what moment on the woken may count how long the wake took.
#[cfg(not(loom))]
fn leave_hints(words: &CondvarWords) {
    words.line.cpu.store(clock::cpu(), Relaxed);
    words.line.stamp.store(clock::now_ns(), Relaxed);
}

#[cfg(loom)]
fn leave_hints(_: &CondvarWords) {}

/// Repairs it after the death of `dead`: forgets its bit, and wakes all, because `dead` may have owed a wake.
pub fn recover(words: &CondvarWords, dead: ParticipantId) {
    let sleepers = &words.control.sleepers[usize::from(dead.index() / 64) % 4];
    sleepers.fetch_and(!(1 << (dead.index() % 64)), Relaxed);
    park::wake_all(&words.line);
}

/// The low 31 bits of a beginning, as a flag, which is never 0.
fn flag_of(seq: u32) -> u32 {
    (seq << 1) | 1
}

/// Did `flag` begin before `other`? By half the circle.
fn is_before(flag: u32, other: u32) -> bool {
    other.wrapping_sub(flag) as i32 > 0
}
