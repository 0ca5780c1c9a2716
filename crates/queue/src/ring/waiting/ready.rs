//! One side of a ring as one of several things to wait for.

use core::fmt;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::wait::Bells;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;

use super::{Ring, RingError, Room, Side, gate};

/// A side of a ring, to be waited for among others. Borrowed from the ring, made for one wait.
pub struct RingPort<'a> {
    ring: &'a Ring,
    side: Side,
    me: ParticipantId,
    liveness: &'a dyn Liveness,
}

impl fmt::Debug for RingPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingPort").field("ring", &self.ring).field("side", &self.side).finish_non_exhaustive()
    }
}

impl Ring {
    /// What `me` waits for on that side: for consumers a message or the end, for producers room or the end.
    #[must_use]
    pub fn port<'a>(&'a self, side: Side, me: ParticipantId, liveness: &'a dyn Liveness) -> RingPort<'a> {
        RingPort { ring: self, side, me, liveness }
    }

    /// Who wants a byte when that side has something to do.
    #[must_use]
    pub fn bells(&self, side: Side) -> &Bells {
        &self.line(side).bells
    }
}

impl Port for RingPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.ring.line(self.side).seq
    }

    fn is_ready(&self) -> bool {
        let not_now = |why| matches!(why, RingError::WouldBlock | RingError::Busy(_) | RingError::Hole(_));
        match self.side {
            Side::Consumers => {
                self.ring.put_back_bit().is_some() || !self.ring.why_nothing(self.me).is_some_and(not_now)
            }
            Side::Producers => match self.ring.peek_room() {
                Room::Free { .. } | Room::Hole(_) | Room::Corrupted => true,
                Room::Full { .. } | Room::Busy(_) | Room::Spent => {
                    self.ring.gate() & (gate::NO_INPUT | gate::NO_RECEIVER) != 0
                }
            },
        }
    }

    fn arm(&self) -> Arm {
        self.ring.say_asleep(self.side, self.me);
        self.ring.arm(self.side)
    }

    fn pass(&self, slept: bool) {
        self.ring.say_awake(self.side, self.me);
        if slept {
            self.ring.pass(self.side);
        }
    }

    fn probe(&self) {
        let in_the_way = match self.side {
            Side::Consumers => {
                // What the dead have not acknowledged is a message to wait for as well.
                self.ring.probe_all(Some(self.me), self.liveness);
                None
            }
            Side::Producers => match self.ring.peek_room() {
                Room::Busy(owner) => Some(owner),
                _ => None,
            },
        };
        if let Some(owner) = in_the_way.filter(|owner| *owner != self.me) {
            // True or false, the next look at the words tells what came of it.
            let _ = self.liveness.is_dead(owner);
        }
    }
}
