//! The consumer's end as one of several things to wait for.
//!
//! Edges
//! - E1 (pairs with lane.rs E1) commit -> header load (Acquire): there is a message.
//! - E3 (pairs with lane.rs E3) role given up or recovered -> role load (Acquire): all that was committed before.
//! - E5 (pairs with park.rs E1) flag, fence of the sleeper (SeqCst) <-> fence of the waker; `seq` is read first (Acquire).

use core::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::lane::Role;
use ginnel_layout::wait::{Bells, WaitLine};
use ginnel_sync::park::{self, Arm, Mode};
use ginnel_sync::select::Port;

use super::{Consumer, End};

/// A consumer's end, to be waited for among other things. Borrowed from the end, made for one wait.
pub struct ConsumerPort<'a> {
    end: &'a End,
    liveness: &'a dyn Liveness,
}

impl fmt::Debug for ConsumerPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerPort").field("lane", &self.end.lane).finish_non_exhaustive()
    }
}

impl Consumer {
    /// What this end waits for: a message, or the end of them.
    #[must_use]
    pub fn port<'a>(&'a self, liveness: &'a dyn Liveness) -> ConsumerPort<'a> {
        ConsumerPort { end: &self.end, liveness }
    }

    /// Whether this end wants a byte when a message comes.
    #[must_use]
    pub fn bells(&self) -> &Bells {
        &self.end.lane.not_empty().bells
    }
}

impl End {
    /// Would the next look find a message, or that the lane is broken?
    pub(crate) fn has_something(&self) -> bool {
        self.left > 0 || self.poisoned || self.lane.ring.header(self.head.offset()).load(Acquire) != 0 // E1
    }
}

impl Port for ConsumerPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.end.lane.not_empty().seq
    }

    fn is_ready(&self) -> bool {
        self.end.has_something() || Role::is_gone(self.end.lane.control().not_full.role.load(Acquire)) // E3
    }

    fn arm(&self) -> Arm {
        let lane = &self.end.lane;
        if lane.shape.mode == Mode::Spin {
            // Nobody posts to such a lane.
            return Arm::Nap(lane.not_empty().seq.load(Relaxed));
        }
        // The releases before were posted without a fence; before a wait for the producer it must be woken.
        park::post_when(&lane.control().not_full, || self.end.has_passed_the_mark());
        arm(lane.not_empty())
    }

    fn pass(&self, _: bool) {
        disarm(self.end.lane.not_empty());
    }

    fn probe(&self) {
        probe(&self.end.lane.control().not_full, self.liveness);
    }
}

/// Announces the one sleeper of `line`, as `park` does.
pub(crate) fn arm(line: &WaitLine) -> Arm {
    let seq = line.seq.load(Acquire); // E5
    line.flag.store(1, Relaxed);
    fence(SeqCst); // E5
    Arm::Sleep(seq)
}

/// Nobody sleeps there any more: it has one sleeper.
pub(crate) fn disarm(line: &WaitLine) {
    if line.flag.load(Relaxed) != 0 {
        line.flag.store(0, Relaxed);
    }
}

/// Asks about whoever holds the end whose role stands in `line`.
pub(crate) fn probe(line: &WaitLine, liveness: &dyn Liveness) {
    let role = Role::from_bits(line.role.load(Acquire)); // E3
    // True or false, the next look at the words tells what came of it.
    match (role.st, role.owner) {
        (Role::HELD, Some(owner)) => drop(liveness.is_dead(owner)),
        // Whoever has the message in which it travels stands in no word here.
        (Role::MOVING, _) => liveness.look_around(),
        _ => {}
    }
}
