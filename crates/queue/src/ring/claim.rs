//! The producers' side of a ring: claim a slot, write, commit.
//!
//! Invariants I1-I7 and edges E1-E9 are those of [`super`].

use core::fmt;
use core::mem;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Relaxed, Release, SeqCst};
#[cfg(loom)]
use ginnel_layout::atomic::fence;
use ginnel_layout::ring::{SlotWord, after, gate};

use super::walk::Room;
use super::{Ring, RingError};

/// A slot to be written. `commit` sends it; dropping it sends nothing, and consumers skip it.
///
/// While it exists, consumers that have come this far wait for it: write and commit, do nothing else.
#[must_use = "dropped, it sends nothing"]
pub struct Claim<'a> {
    ring: &'a Ring,
    position: u64,
    /// The word carried W: after the commit one consumer is to be woken.
    owes_wake: bool,
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Ring {
    /// Claims the next slot. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when full; `Hole` when the next slot has no memory; `Busy` when full as long as a living participant is in the middle of something;
    /// `Closed` towards either side; `Corrupted`.
    #[inline(always)]
    pub fn try_claim(&self, me: ParticipantId) -> Result<Claim<'_>, RingError> {
        let position = self.tail_hint();
        let seen = self.look(position);
        let at_once =
            seen.is_free(position) && self.guard(position).is_none() && self.claim_free(me, position, seen);
        // Both ways meet in two numbers and not in a `Claim`, which so need not lie in memory.
        let (position, before) =
            if at_once { (position, seen) } else { self.claim_slowly(me, position, seen)? };
        self.claimed(position, before)
    }

    /// The CAS that claims a free slot. SeqCst because of the look at the gate after it.
    #[inline(always)]
    fn claim_free(&self, me: ParticipantId, position: u64, seen: SlotWord) -> bool {
        let mine = SlotWord::writing(position, me);
        // E2, E5, E6
        self.slots.slot(position).word.compare_exchange(seen.0, mine.0, SeqCst, Relaxed).is_ok()
    }

    /// Gives the position and the word before.
    #[inline(never)]
    fn claim_slowly(
        &self,
        me: ParticipantId,
        mut position: u64,
        mut seen: SlotWord,
    ) -> Result<(u64, SlotWord), RingError> {
        let mut turns = self.turns();
        loop {
            let full = match self.find_room(position, seen, &mut turns) {
                Room::Free { position: free, seen: word } => {
                    if self.claim_free(me, free, word) {
                        return Ok((free, word));
                    }
                    (position, seen) = (free, self.look(free));
                    continue;
                }
                Room::Full { .. } | Room::Spent => RingError::WouldBlock,
                Room::Hole(position) => RingError::Hole(position),
                Room::Busy(owner) => RingError::Busy(owner),
                Room::Corrupted => return Err(RingError::Corrupted),
            };
            // A producer that waits for room must learn that nobody will make any.
            let closed = self.gate() & (gate::NO_INPUT | gate::NO_RECEIVER) != 0;
            return Err(if closed { RingError::Closed } else { full });
        }
    }

    /// After the claim: the hint, then the gate. A producer that finds the gate open here is waited for by every
    /// consumer that finds it closed, so nothing that was sent is behind a `Closed`.
    #[inline(always)]
    fn claimed(&self, position: u64, before: SlotWord) -> Result<Claim<'_>, RingError> {
        let control = self.slots.control();
        let owes_wake = before.is_waited_for();
        Self::move_hint(&control.tail, after(position, 1));
        // Loom gives SeqCst accesses no order among each other; the fence stands in for it.
        #[cfg(loom)]
        fence(SeqCst); // E6
        let seen = control.geometry.gate.load(SeqCst); // E6
        if seen & (gate::NO_INPUT | gate::NO_RECEIVER) != 0 {
            self.abort(position, owes_wake);
            return Err(RingError::Closed);
        }
        Ok(Claim { ring: self, position, owes_wake })
    }

    /// No message after all. This is a commit too, and pays the wake.
    #[cold]
    #[inline(never)]
    fn abort(&self, position: u64, owes_wake: bool) {
        let aborted = SlotWord::full(position, SlotWord::ABORT);
        self.slots.slot(position).word.store(aborted.0, Release); // E1
        self.slots.control().counters.aborted.fetch_add(1, Relaxed);
        if owes_wake {
            self.wake_consumer();
        }
    }
}

impl Claim<'_> {
    /// The position of the message.
    #[must_use]
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes `bytes` into the payload, `at` bytes behind its beginning.
    ///
    /// # Panics
    /// When they leave the payload: [`super::Shape::payload_max`].
    #[inline(always)]
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let slots = &self.ring.slots;
        slots.write(slots.slot_payload(self.position), at, bytes);
    }

    /// Sends the first `len` bytes of the payload, with `kind` for the receiver.
    ///
    /// # Panics
    /// When `len` is longer than a payload can be.
    #[inline(always)]
    pub fn commit(self, len: u64, kind: u32) {
        let ring = self.ring;
        assert!(len <= ring.slots.room(), "committed more than a slot takes");
        let slot = ring.slots.slot(self.position);
        slot.len.store(len as u32, Relaxed);
        slot.kind.store(kind, Relaxed);
        slot.word.store(SlotWord::full(self.position, SlotWord::NORMAL).0, Release); // E1: the COMMIT
        if self.owes_wake {
            ring.wake_consumer();
        }
        mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    // Inline, with numbers handed to a cold function: a reference to `self` would keep it in memory.
    #[inline(always)]
    fn drop(&mut self) {
        self.ring.abort(self.position, self.owes_wake);
    }
}
