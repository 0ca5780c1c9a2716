//! Leases: messages that wait outside the ring for their acknowledgement.
//!
//! A slot that is read for long would hold up everybody behind it. A lease moves the message into a cell of its own
//! and frees the slot. The cell says whose the message is until it is acknowledged, put back, or recovered.
//!
//! ```text
//!            claim a cell          the transfer               ack
//!    FREE(g) ------------> LOAN(g) ------------> HELD(me,g) ------> FREE(g+1)
//!                                                 ^      | nack, or death of the holder
//!                                     lease, take |      v
//!                                                 ORPHAN(g)
//! ```
//! Invariants I1-I7 and edges E1-E9 are those of [`super`].

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
#[cfg(loom)]
use ginnel_layout::atomic::fence;
use ginnel_layout::ring::CellWord;

use super::take::{Claimed, Contents};
use super::{Ring, RingError};

/// A lease: which cell, and what is in it. Plain data: losing it acknowledges nothing, and the message stays leased
/// until its holder dies.
#[must_use = "a lease that is forgotten is never acknowledged"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The cell.
    pub cell: u64,
    /// Its generation.
    pub generation: u64,
    /// Who holds it.
    pub owner: ParticipantId,
    /// The position that the message had in the ring.
    pub position: u64,
    /// Bytes of it.
    pub len: u32,
    /// The sender's word about it.
    pub kind: u32,
    /// The how manieth delivery this is: 1 the first time. After a put-back in the slot it goes on from 2.
    pub deliveries: u32,
}

impl Held {
    pub(super) fn word(&self) -> CellWord {
        CellWord::held(self.generation, self.owner)
    }
}

impl Ring {
    /// Leases the next message; before all others one that was put back. Never waits.
    ///
    /// # Errors
    /// As [`Ring::try_take`]; and `NoCell` when there is a message and as many are leased as there are cells.
    pub fn try_lease(&self, me: ParticipantId) -> Result<Held, RingError> {
        let mut put_back = self.put_back_bit();
        if let Some(seen) = put_back {
            if let Some(held) = self.claim_orphan(me) {
                return Ok(held);
            }
            if !self.a_slot_is_put_back() {
                self.clear_put_back_bit(seen);
                put_back = None;
            }
        }
        // Who finds nothing takes no cell away from those who do.
        if put_back.is_none()
            && let Some(why) = self.why_nothing(me)
        {
            return Err(why);
        }
        let Some((cell, generation)) = self.claim_cell(me) else {
            // One that is put back at this moment, and not announced yet, needs no cell.
            return self.claim_orphan(me).ok_or(RingError::NoCell);
        };
        match self.claim_for_lease(me, put_back.is_some()) {
            Ok((claimed, contents)) => Ok(self.transfer(me, cell, generation, claimed, contents)),
            Err(why) => {
                self.give_back(cell, generation);
                Err(why)
            }
        }
    }

    /// Claims a message in its slot, for one who has a cell for it.
    fn claim_for_lease(&self, me: ParticipantId, put_back: bool) -> Result<(Claimed, Contents), RingError> {
        let claimed = match if put_back { self.claim_put_back(me) } else { None } {
            Some(claimed) => claimed,
            None => self.claim_next(me)?,
        };
        match self.contents(claimed) {
            Some(contents) => Ok((claimed, contents)),
            None => Err(self.discard(claimed.into())),
        }
    }

    /// Moves a claimed message into a cell. HELD is the transfer: before it recovery gives the slot back, after it
    /// the cell.
    fn transfer(
        &self,
        owner: ParticipantId,
        cell: u64,
        generation: u64,
        claimed: Claimed,
        contents: Contents,
    ) -> Held {
        let Contents { len, kind, deliveries } = contents;
        let position = claimed.position;
        let from = self.slots.slot_payload(position);
        self.slots.copy(from, self.slots.cell_payload(cell), u64::from(len));
        let head = self.slots.cell(cell);
        head.position.store(position, Relaxed);
        head.deliveries.store(deliveries, Relaxed);
        head.len.store(len, Relaxed);
        head.kind.store(kind, Relaxed);
        head.word.store(CellWord::held(generation, owner).0, Release); // E3: the TRANSFER
        self.acknowledge_slot(position, claimed.seen.is_waited_for());
        Held { cell, generation, owner, position, len, kind, deliveries }
    }

    /// Copies payload of a lease out, from `at` bytes behind its beginning.
    ///
    /// # Panics
    /// When that leaves the payload, or for a lease of another ring.
    #[inline]
    pub fn read_cell(&self, held: &Held, at: u64, into: &mut [u8]) {
        self.slots.read(self.slots.cell_payload(held.cell), at, into);
    }

    /// Acknowledges a leased message: it is not delivered again. False: it is not leased to this holder any more
    /// (acknowledged before, or recovered because the holder was proven dead).
    pub fn ack(&self, held: &Held) -> bool {
        self.end(held.cell, held.word(), CellWord::free(held.generation.wrapping_add(1)))
    }

    /// Puts a leased message back, for the same or another consumer. False: as for [`Ring::ack`].
    pub fn nack(&self, held: &Held) -> bool {
        let ended = self.end(held.cell, held.word(), CellWord::orphan(held.generation));
        if ended {
            self.put_back();
        }
        ended
    }

    /// [`Ring::ack`], for a message that was taken out of its cell.
    #[cold]
    #[inline(never)]
    pub(super) fn acknowledge_cell(&self, cell: u32, word: CellWord) {
        self.end(u64::from(cell), word, CellWord::free(word.generation().wrapping_add(1)));
    }

    /// [`Ring::nack`], for the same.
    #[cold]
    #[inline(never)]
    pub(super) fn put_back_cell(&self, cell: u32, word: CellWord) {
        if self.end(u64::from(cell), word, CellWord::orphan(word.generation())) {
            self.put_back();
        }
    }

    fn end(&self, cell: u64, mine: CellWord, word: CellWord) -> bool {
        let ended = self.slots.cell(cell).word.compare_exchange(mine.0, word.0, SeqCst, Relaxed).is_ok(); // E3, E7
        if ended {
            self.tell_with_order();
        }
        ended
    }

    /// The look of a lease at the gate, after its word: who began to wait before sees the word, who begins
    /// afterwards is seen.
    fn tell_with_order(&self) {
        // Loom gives SeqCst accesses no order among each other; the fence stands in for it.
        #[cfg(loom)]
        fence(SeqCst); // E7
        // E7
        if self.gate() != 0 {
            self.tell_of_an_end();
        }
    }

    #[inline]
    pub(super) fn look_at_cell(&self, index: u64) -> CellWord {
        CellWord(self.slots.cell(index).word.load(Acquire)) // E3
    }

    /// Claims a free cell. Begins to look at another place for each message, so that many do not fight for one.
    fn claim_cell(&self, owner: ParticipantId) -> Option<(u64, u64)> {
        let cells = self.slots.cells();
        let start = self.head_hint();
        (0..cells).find_map(|step| {
            let index = (start + step) % cells;
            let seen = self.look_at_cell(index);
            if seen != CellWord::free(seen.generation()) {
                return None;
            }
            let loan = CellWord::loan(seen.generation(), owner);
            let claimed = self.swap_cell(index, seen, loan);
            claimed.then_some((index, seen.generation()))
        })
    }

    /// Gives a cell back in which no message has been.
    fn give_back(&self, cell: u64, generation: u64) {
        // A swap for its order with the gate; only the owner, or whoever recovers it, changes a LOAN.
        // E3, E7
        self.slots.cell(cell).word.swap(CellWord::free(generation).0, SeqCst);
        self.tell_with_order();
    }

    /// Claims a message in a cell that was put back.
    #[cold]
    pub(super) fn claim_orphan(&self, owner: ParticipantId) -> Option<Held> {
        (0..self.slots.cells()).find_map(|index| {
            let seen = self.look_at_cell(index);
            let generation = seen.generation();
            if seen != CellWord::orphan(generation)
                || !self.swap_cell(index, seen, CellWord::held(generation, owner))
            {
                return None;
            }
            let head = self.slots.cell(index);
            let deliveries = head.deliveries.load(Relaxed).saturating_add(1);
            head.deliveries.store(deliveries, Relaxed);
            let (len, kind) = (head.len.load(Relaxed), head.kind.load(Relaxed));
            let position = head.position.load(Relaxed);
            let held = Held { cell: index, generation, owner, position, len, kind, deliveries };
            if u64::from(len) > self.slots.room() {
                // Cannot be read by anybody: it ends here.
                self.slots.control().counters.dropped.fetch_add(1, Relaxed);
                self.ack(&held);
                return None;
            }
            Some(held)
        })
    }

    /// Reads and checks the head of a cell that the caller holds, once.
    #[cold]
    pub(super) fn contents_of_cell(&self, index: u64) -> Option<Contents> {
        let head = self.slots.cell(index);
        let (len, kind) = (head.len.load(Relaxed), head.kind.load(Relaxed));
        let deliveries = head.deliveries.load(Relaxed);
        (u64::from(len) <= self.slots.room()).then_some(Contents { len, kind, deliveries })
    }

    /// Can one who wants to lease go on: is a cell free, or a message in one put back?
    pub(super) fn a_cell_can_be_had(&self) -> bool {
        (0..self.slots.cells())
            .any(|index| matches!(self.look_at_cell(index).st(), CellWord::FREE | CellWord::ORPHAN))
    }
}
