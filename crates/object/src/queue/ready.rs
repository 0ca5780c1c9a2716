//! Queues and their sides as things to wait for.

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::entry::Side;
use ginnel_queue::ring::{self, RingPort};
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;

use super::core::Core;
use super::{Queue, Receiver, Sender};
use crate::error::Result;
use crate::message::Message;
use crate::ready::{LINE, ROOM_LINE, Source, sealed};
use crate::sides;

/// One side of a queue, which asks for the other side now and then.
struct QueuePort<'a> {
    ring: RingPort<'a>,
    core: &'a Core,
    other: Side,
}

impl Port for QueuePort<'_> {
    fn word(&self) -> &AtomicU32 {
        self.ring.word()
    }

    fn is_ready(&self) -> bool {
        self.ring.is_ready()
    }

    fn arm(&self) -> Arm {
        if self.other == Side::Sender {
            self.core.fill_hole_ahead();
        }
        self.ring.arm()
    }

    fn pass(&self, slept: bool) {
        self.ring.pass(slept);
    }

    fn probe(&self) {
        self.ring.probe();
        if self.core.has_sides {
            // A process that died there left no word in the ring.
            sides::probe(self.core.arena().segment(), self.core.object().index(), self.other);
        }
    }
}

impl Core {
    fn source(&self, side: ring::Side, other: Side, line: u8) -> Result<Source<'_>> {
        self.object().check_fork_fast()?;
        let ring = self.ring().port(side, self.me, self.arena().segment());
        let bells = self.ring().bells(side);
        Ok(Source::heard(QueuePort { ring, core: self, other }, bells, self.object(), line))
    }

    fn to_receive(&self) -> Result<Source<'_>> {
        self.source(ring::Side::Consumers, Side::Sender, LINE)
    }

    fn to_send(&self) -> Result<Source<'_>> {
        self.source(ring::Side::Producers, Side::Receiver, ROOM_LINE)
    }
}

impl<T: Message> sealed::Ready for Queue<T> {
    fn source(&self) -> Result<Source<'_>> {
        self.core.to_receive()
    }
}

impl<T: Message> sealed::Room for Queue<T> {
    fn room(&self) -> Result<Source<'_>> {
        self.core.to_send()
    }
}

impl<T: Message> sealed::Ready for Receiver<T> {
    fn source(&self) -> Result<Source<'_>> {
        self.core.to_receive()
    }
}

impl<T: Message> sealed::Room for Sender<T> {
    fn room(&self) -> Result<Source<'_>> {
        self.core.to_send()
    }
}
