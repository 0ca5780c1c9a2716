//! Queues whose memory comes and goes: who finds a hole in the ring has it opened, who empties a chunk gives it back.
//!
//! The pages of such a queue are reserved when it is made, so they count against the manager's limit from then on; only
//! those near a message have memory. The protocol is the ring's (crate `queue`, `ring/grow.rs`).

use ginnel_layout::entry::Side;
use ginnel_layout::line::PAGE;
use ginnel_queue::ring::{Claim, Memory, RingError};
use ginnel_segment::Segment;
use ginnel_sync::Deadline;

use super::core::{Core, Patience};
use crate::sides;

/// How often in a row a chunk may be found punched that was just opened. Only words that change by themselves get there.
const HOLES_MAX: u32 = 1000;

/// Naps for want of memory between two questions whether the other side lives.
const NAPS_A_PROBE: u32 = 50;

/// The pages of the queue's object.
struct Pages<'a> {
    segment: &'a Segment,
    entry: u32,
    first: u32,
}

impl Pages<'_> {
    /// First page and number of pages of a range of bytes. The segment checks that they are the object's.
    fn run(&self, offset: u64, len: u64) -> Option<(u32, u32)> {
        let first = u32::try_from(offset / PAGE as u64).ok()?.checked_add(self.first)?;
        Some((first, u32::try_from(len / PAGE as u64).ok()?))
    }
}

impl Memory for Pages<'_> {
    fn set_aside(&self, offset: u64, len: u64) -> bool {
        self.run(offset, len)
            .is_some_and(|(first, count)| self.segment.set_aside_pages(self.entry, first, count).is_ok())
    }

    fn punch(&self, offset: u64, len: u64) {
        if let Some((first, count)) = self.run(offset, len) {
            self.segment.punch_pages(self.entry, first, count);
        }
    }
}

/// Notices one who meets the same hole again and again.
#[derive(Default)]
struct Holes {
    last: u64,
    times: u32,
}

impl Holes {
    fn meet(&mut self, position: u64) -> Result<(), RingError> {
        self.times = if self.last == position { self.times + 1 } else { 1 };
        self.last = position;
        if self.times > HOLES_MAX { Err(RingError::Corrupted) } else { Ok(()) }
    }
}

impl Core {
    fn memory(&self) -> Pages<'_> {
        let object = self.object();
        Pages { segment: self.arena().segment(), entry: object.index(), first: object.first_page() }
    }

    fn open_hole(&self, position: u64, deadline: Option<Deadline>) -> Result<(), RingError> {
        loop {
            match self.ring().open(self.me, position, &self.memory(), deadline, self.arena().segment()) {
                Err(RingError::Interrupted) => {}
                result => return result,
            }
        }
    }

    /// For a consumer that is to be told of the next message: a hole has no word that could say so. Where there is no
    /// memory now, it looks again and again instead.
    pub(super) fn fill_hole_ahead(&self) {
        if let Some(position) = self.ring().hole_ahead() {
            let _ = self.open_hole(position, None);
        }
    }

    /// Gives the memory of the chunk of an acknowledged message back, if nothing in it is in use.
    #[cold]
    #[inline(never)]
    pub(super) fn punch(&self, position: u64) {
        self.ring().punch(self.me, position, &self.memory());
    }

    /// Claims the next slot, which was found in a hole.
    #[cold]
    #[inline(never)]
    pub(super) fn claim_hole(&self, position: u64, patience: Patience) -> Result<Claim<'_>, RingError> {
        let (mut holes, mut position) = (Holes::default(), position);
        loop {
            holes.meet(position)?;
            let claimed = match patience {
                Patience::None => {
                    self.open_hole(position, None)?;
                    self.ring().try_claim(self.me)
                }
                Patience::Until(deadline) => {
                    self.open_hole(position, Some(deadline))?;
                    self.wait_claim_once(deadline)
                }
            };
            match claimed {
                Err(RingError::Hole(next)) => position = next,
                result => return result,
            }
        }
    }

    /// Runs `wait`, which receives something, until it says anything but that the next slot is a hole. A consumer needs
    /// a word to say that it sleeps; where there is no memory for one it looks again and again instead.
    #[cold]
    pub(super) fn past_holes<R>(
        &self,
        deadline: Deadline,
        mut wait: impl FnMut() -> Result<R, RingError>,
    ) -> Result<R, RingError> {
        let (mut holes, mut naps) = (Holes::default(), 0_u32);
        loop {
            let position = match wait() {
                Err(RingError::Hole(position)) => position,
                result => return result,
            };
            match self.open_hole(position, Some(deadline)) {
                Ok(()) => holes.meet(position)?,
                Err(RingError::NoMemory) => {
                    naps += 1;
                    if self.has_sides && naps.is_multiple_of(NAPS_A_PROBE) {
                        sides::probe(self.arena().segment(), self.object().index(), Side::Sender);
                    }
                    match self.ring().wait_at_hole(self.me, deadline, self.arena().segment()) {
                        Ok(()) | Err(RingError::Interrupted) => {}
                        Err(why) => return Err(why),
                    }
                }
                Err(why) => return Err(why),
            }
        }
    }
}
