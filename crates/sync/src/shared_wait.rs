//! Waiting on a line together with others: whoever is woken may have taken a wake that another one needed.
//!
//! [`park`] lets one thread wait on a line. Here any number may, of any processes, for things of which
//! there are several and which do not say whose they are: a free block, a permit. One [`park::post`] wakes one
//! sleeper and clears the flag of all. So before a waiter that has slept leaves, for whatever reason, it *passes*:
//!
//! ```text
//!   waiter                                     releaser
//!   s = seq           Acquire, E1              thing = free      Release, the caller's edge
//!   flag = 1
//!   fence(SeqCst)     E2  <--------------->    fence(SeqCst)     E2
//!   look: take one? leave                      flag is 0? go away
//!   futex: sleep if seq == s                   flag = 0; seq += 1 Release, E1; futex: wake one
//!   .. leaves, and has slept:
//!   flag = 1
//!   fence(SeqCst)     E2
//!   is there another one? flag = 0; seq += 1; futex: wake one, who does the same
//! ```
//! What is lost without each line of it (the model `blockwait` of testkit shows each as a sleeper that nobody wakes):
//! without the pass, two releases before the first woken one runs wake one of two sleepers, because the second finds
//! the flag cleared; without the flag in the pass, the next release finds nobody; and a waiter that clears the flag
//! when it leaves, as the single waiter of a lane may, hides the others.
//!
//! Invariants
//! - I1 if anybody sleeps here, then the flag is 1, or a waker is between `flag = 0` and its futex call, or somebody
//!   who has slept has not passed yet, or one of the two was killed; the last is what slices and
//!   [`park::wake_all`] are for.
//!
//! Edges
//! - E1 (pairs with park.rs E2) `seq += 1` (Release) -> `s = seq` (Acquire): `flag = 0` of that wake comes before the next `flag = 1`.
//! - E2 (pairs with park.rs E1) fence of the waiter (SeqCst) <-> fence of the releaser (SeqCst): one of the two sees
//!   the other's store.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | sleeper, any time before it is woken | flag 1 for nobody | the next release: one futile system call |
//! | sleeper, after it took a wake, before its pass | others asleep, flag 0 | recovery: [`park::wake_all`], else the slice |
//! | releaser before its wake | the same | the same |
//!
//! Progress: as a wait of `park`; a pass is one fence, one look, and at most one system call, and only after a sleep.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::wait::WaitLine;

use crate::deadline::Deadline;
use crate::park::{self, Arm, Stop, Waiter};

/// Waits until `take` gives something, on a line on which others may wait, too.
///
/// `take` is the attempt itself; it is called often and must not block. `available` says whether an attempt might
/// succeed now, without making it. Whoever makes something available calls [`park::post`] on the line. At the end of
/// each slice (20 ms, then 40, then 50) `at_slice_end` is called: the place to ask whether the owners live.
///
/// # Errors
/// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal; a wake it had taken was passed on.
pub fn wait_shared<T>(
    waiter: &mut Waiter,
    line: &WaitLine,
    deadline: Deadline,
    mut take: impl FnMut() -> Option<T>,
    available: impl FnOnce() -> bool,
    at_slice_end: impl FnMut(),
) -> Result<T, Stop> {
    let mut has_slept = false;
    let ready = |slept: bool| {
        has_slept |= slept;
        take()
    };
    let outcome = waiter.wait_seq(line, deadline, ready, || arm(line), at_slice_end);
    if has_slept {
        pass(line, available);
    }
    outcome
}

/// Announces a sleeper. The attempt that follows is the look that the handshake needs. For those who wait for several
/// things at a time; whoever has slept then calls [`pass`].
pub fn arm(line: &WaitLine) -> Arm {
    let seq = line.seq.load(Acquire); // E1
    line.flag.store(1, Relaxed);
    fence(SeqCst); // E2
    Arm::Sleep(seq)
}

/// Hands on a wake that one who leaves may have taken: if something is available, the next sleeper is woken; if not,
/// the next release will find that somebody may sleep.
pub fn pass(line: &WaitLine, available: impl FnOnce() -> bool) {
    line.flag.store(1, Relaxed);
    fence(SeqCst); // E2
    if available() {
        line.flag.store(0, Relaxed);
        park::wake_one(line); // E1
    }
}
