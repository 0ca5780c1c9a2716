//! The producer's end as one of several things to wait for.
//!
//! Edges
//! - E2 (pairs with lane.rs E2) acknowledgement -> head load (Acquire): there is room.
//! - E3 (pairs with lane.rs E3) role given up or recovered -> role load (Acquire): nobody will make room.

use core::fmt;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::lane::Cursor;
use ginnel_layout::record::GRANULE;
use ginnel_layout::wait::Bells;
use ginnel_sync::park::{Arm, Mode};
use ginnel_sync::select::Port;

use super::{End, Producer, Role};
use crate::lane::consumer::ready::{arm, disarm, probe};

/// A producer's end, to be waited for among other things. Borrowed from the end, made for one wait.
pub struct ProducerPort<'a> {
    end: &'a End,
    liveness: &'a dyn Liveness,
}

impl fmt::Debug for ProducerPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerPort").field("lane", &self.end.lane).finish_non_exhaustive()
    }
}

impl Producer {
    /// What this end waits for: room for a value, or the end. For messages of bytes, whose length nobody knows: half of
    /// the ring.
    #[must_use]
    pub fn port<'a>(&'a self, liveness: &'a dyn Liveness) -> ProducerPort<'a> {
        ProducerPort { end: &self.end, liveness }
    }

    /// Whether this end wants a byte when there is room.
    #[must_use]
    pub fn bells(&self) -> &Bells {
        &self.end.lane.control().not_full.bells
    }
}

impl End {
    fn has_room_for_one(&self) -> bool {
        let shape = &self.lane.shape;
        let head = Cursor::from_bits(self.lane.control().head.load(Acquire)); // E2
        let used = Cursor { index: 0, ..head }.distance(self.tail.cursor(), shape.size);
        let wanted = if shape.value_size == 0 {
            shape.size / 2
        } else {
            self.lane.record_size(shape.value_size) + GRANULE
        };
        // An impossible head is an error, which the attempt gives.
        used.is_none_or(|used| wanted <= shape.size - used)
    }
}

impl Port for ProducerPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.end.lane.control().not_full.seq
    }

    fn is_ready(&self) -> bool {
        let gone = Role::is_gone(self.end.lane.not_empty().role.load(Acquire)); // E3
        gone || self.end.poisoned || self.end.has_room_for_one()
    }

    fn arm(&self) -> Arm {
        let line = &self.end.lane.control().not_full;
        if self.end.lane.shape.mode == Mode::Spin {
            // Nobody posts to such a lane.
            return Arm::Nap(line.seq.load(Relaxed));
        }
        line.mark.store(self.end.mark_for(self.end.lane.shape.value_size).bits(), Relaxed);
        arm(line)
    }

    fn pass(&self, _: bool) {
        disarm(&self.end.lane.control().not_full);
    }

    fn probe(&self) {
        probe(self.end.lane.not_empty(), self.liveness);
    }
}
