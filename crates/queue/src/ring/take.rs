//! The consumers' side of a ring: take a message, read, acknowledge; or put it back.
//!
//! Invariants I1-I7 and edges E1-E9 are those of [`super`].

use core::fmt;
use core::mem;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::ring::{CellWord, SlotWord, after, gate};

use super::walk::Next;
use super::{Ring, RingError};
use crate::slots::Place;

/// How often a message in a slot was delivered, where only "more than once" is known.
const AGAIN: u32 = 2;

/// A message in the hands of its consumer. `release` acknowledges it; dropping it puts it back.
///
/// Of a new message the slot stays taken meanwhile: copy what is needed and release it. Who needs longer leases it
/// ([`Ring::try_lease`]).
#[must_use = "dropped, the message is put back"]
pub struct Taken<'a> {
    ring: &'a Ring,
    place: Place,
    position: u64,
    len: u32,
    kind: u32,
    deliveries: u32,
    /// The cell that holds the message, or [`IN_SLOT`].
    cell: u32,
    /// The word that was there before (slot), or that is there now (cell).
    word: u64,
}

/// No cell: the message lies in its slot.
const IN_SLOT: u32 = u32::MAX;

/// A message claimed in its slot, before anything of it was read.
#[derive(Clone, Copy)]
pub(super) struct Claimed {
    pub(super) position: u64,
    /// The word before.
    pub(super) seen: SlotWord,
}

/// A message claimed in its slot or its cell.
#[derive(Clone, Copy)]
pub(super) struct Got {
    position: u64,
    /// The word before (slot), or now (cell).
    word: u64,
    cell: u32,
}

impl From<Claimed> for Got {
    fn from(claimed: Claimed) -> Self {
        Self { position: claimed.position, word: claimed.seen.0, cell: IN_SLOT }
    }
}

/// What a claimed slot holds, checked.
#[derive(Clone, Copy)]
pub(super) struct Contents {
    pub(super) len: u32,
    pub(super) kind: u32,
    pub(super) deliveries: u32,
}

impl fmt::Debug for Taken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("position", &self.position)
            .field("len", &self.len)
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Takes the next message; before all others one that was put back. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when empty, `Hole` when empty without a word to wait for; `Busy` when empty as long as a living participant is in the middle of something;
    /// `Closed` when nothing can come any more; `Corrupted`.
    #[inline(always)]
    pub fn try_take(&self, me: ParticipantId) -> Result<Taken<'_>, RingError> {
        let control = self.slots.control();
        let position = self.head_hint();
        let seen = self.look(position);
        let at_once = seen.is_new(position)
            && control.head.redeliver.load(Relaxed) & 1 == 0
            && self.claim_message(me, position, seen);
        // Both ways meet in three numbers and not in a `Taken`, which so need not lie in memory.
        let got = if at_once {
            Self::move_hint(&control.head.hint, after(position, 1));
            Got { position, word: seen.0, cell: IN_SLOT }
        } else {
            self.take_slowly(me)?
        };
        self.hand_out(got)
    }

    /// [`Ring::try_take`] for one who looks again and again while nothing comes. It asks by the CAS itself: a look
    /// before it would fetch the slot's line twice, once to read it and once to write it.
    #[inline(always)]
    pub(super) fn take_watching(&self, me: ParticipantId) -> Result<Taken<'_>, RingError> {
        let control = self.slots.control();
        let position = self.head_hint();
        if self.slots.is_chunked() || control.head.redeliver.load(Relaxed) & 1 != 0 {
            return self.hand_out(self.take_slowly(me)?);
        }
        let (new, mine) = (SlotWord::full(position, SlotWord::NORMAL), SlotWord::reading(position, me));
        let word = &self.slots.slot(position).word;
        let claimed = word.compare_exchange(new.0, mine.0, AcqRel, Relaxed); // E1, E2, E5
        match claimed {
            Ok(_) => {
                Self::move_hint(&control.head.hint, after(position, 1));
                self.hand_out(Got { position, word: new.0, cell: IN_SLOT })
            }
            Err(seen) if seen == SlotWord::free(position).0 && self.gate() & gate::NO_INPUT == 0 => {
                Err(RingError::WouldBlock)
            }
            Err(_) => self.hand_out(self.take_slowly(me)?),
        }
    }

    #[inline(never)]
    fn take_slowly(&self, me: ParticipantId) -> Result<Got, RingError> {
        if let Some(put_back) = self.put_back_bit() {
            if let Some(held) = self.claim_orphan(me) {
                return Ok(Got { position: held.position, word: held.word().0, cell: held.cell as u32 });
            }
            if let Some(claimed) = self.claim_put_back(me) {
                return Ok(claimed.into());
            }
            self.clear_put_back_bit(put_back);
        }
        match self.claim_next(me) {
            Ok(claimed) => Ok(claimed.into()),
            Err(RingError::WouldBlock | RingError::Hole(_)) if self.gate() & gate::NO_INPUT != 0 => {
                Ok(self.take_at_the_end(me)?.into())
            }
            Err(why) => Err(why),
        }
    }

    /// The CAS that claims a message.
    #[inline(always)]
    fn claim_message(&self, me: ParticipantId, position: u64, seen: SlotWord) -> bool {
        self.swap(&self.slots.slot(position).word, seen, SlotWord::reading(position, me))
    }

    /// Claims the next message in order.
    pub(super) fn claim_next(&self, me: ParticipantId) -> Result<Claimed, RingError> {
        let mut turns = self.turns();
        let mut position = self.head_hint();
        let mut seen = self.look(position);
        loop {
            let next = self.find_message(position, seen, &mut turns);
            if let Some(why) = next.why_nothing() {
                return Err(why);
            }
            let Next::Found { position: found, seen: word } = next else { return Err(RingError::WouldBlock) };
            if self.claim_message(me, found, word) {
                Self::move_hint(&self.slots.control().head.hint, after(found, 1));
                return Ok(Claimed { position: found, seen: word });
            }
            (position, seen) = (found, self.look(found));
        }
    }

    /// The redeliver word, if its bit is set.
    #[inline]
    pub(super) fn put_back_bit(&self) -> Option<u64> {
        let word = self.slots.control().head.redeliver.load(Acquire); // E4
        (word & 1 != 0).then_some(word)
    }

    /// Says that nothing is put back any more, unless something was meanwhile.
    #[cold]
    pub(super) fn clear_put_back_bit(&self, seen: u64) {
        let redeliver = &self.slots.control().head.redeliver;
        let _ = redeliver.compare_exchange(seen, seen & !1, AcqRel, Relaxed); // E4
    }

    /// Says that something was put back, and wakes a consumer. Two steps, so that it has no loop: the first makes
    /// every [`Ring::clear_put_back_bit`] fail that began before it.
    #[cold]
    pub(super) fn put_back(&self) {
        self.raise_put_back_bit();
        self.slots.control().counters.redelivered.fetch_add(1, Relaxed);
        self.wake_consumer();
    }

    pub(super) fn raise_put_back_bit(&self) {
        let redeliver = &self.slots.control().head.redeliver;
        redeliver.fetch_add(2, Release); // E4
        redeliver.fetch_or(1, Release); // E4
    }

    /// Claims a message in a slot that was put back.
    #[cold]
    pub(super) fn claim_put_back(&self, me: ParticipantId) -> Option<Claimed> {
        self.slots_put_back().find_map(|claimed| {
            if self.claim_message(me, claimed.position, claimed.seen) {
                return Some(claimed);
            }
            // Perhaps only a sleeping producer set W, which happens once; giving up the message then would let the
            // bit be cleared above it. A second failure is another consumer's claim.
            let again = self.put_back_at(claimed.position)?;
            self.claim_message(me, again.position, again.seen).then_some(again)
        })
    }

    /// Is a message in a slot put back?
    #[cold]
    pub(super) fn a_slot_is_put_back(&self) -> bool {
        self.slots_put_back().next().is_some()
    }

    fn slots_put_back(&self) -> impl Iterator<Item = Claimed> {
        self.with_memory(0, self.slots.capacity()).filter_map(|index| self.put_back_at(index))
    }

    /// The message that is put back in the slot for `index`, if one is.
    fn put_back_at(&self, index: u64) -> Option<Claimed> {
        let seen = self.look(index);
        let position = seen.position();
        let is_back = seen.st() == SlotWord::FULL && seen.mark() == SlotWord::REDELIVER;
        let is_here = (position ^ index) & (self.slots.capacity() - 1) == 0;
        (is_back && is_here).then_some(Claimed { position, seen })
    }

    /// The ring looked empty, and nobody sends any more. Is there something after all?
    #[cold]
    fn take_at_the_end(&self, me: ParticipantId) -> Result<Claimed, RingError> {
        // Whoever found the gate open claimed before this fence, and is seen after it.
        fence(SeqCst); // E6
        match self.claim_next(me) {
            Err(RingError::WouldBlock | RingError::Hole(_)) => Err(self.what_may_come(me)),
            other => other,
        }
    }

    /// Why `me` finds no message in order. None: there is one.
    pub(super) fn why_nothing(&self, me: ParticipantId) -> Option<RingError> {
        match self.peek().why_nothing() {
            Some(RingError::WouldBlock | RingError::Hole(_)) if self.gate() & gate::NO_INPUT != 0 => {}
            other => return other,
        }
        fence(SeqCst); // E6
        match self.peek().why_nothing() {
            Some(RingError::WouldBlock | RingError::Hole(_)) => Some(self.what_may_come(me)),
            other => other,
        }
    }

    /// `Closed`, unless somebody may still commit, or another participant may still put something back. Slots
    /// before cells, because messages move from those to these. Who has a lease itself does not wait for those of
    /// others: two that have one each would wait for each other.
    fn what_may_come(&self, me: ParticipantId) -> RingError {
        for index in self.with_memory(0, self.slots.capacity()) {
            let word = self.look(index);
            match (word.st(), word.owner()) {
                (SlotWord::WRITING, Some(owner)) => return RingError::Busy(owner),
                (SlotWord::READING, Some(owner)) if owner != me => return RingError::Busy(owner),
                (SlotWord::FULL, _) if word.mark() != SlotWord::ABORT => return RingError::WouldBlock,
                _ => {}
            }
        }
        let (mut mine, mut foreign) = (false, None);
        for index in 0..self.slots.cells() {
            let word = self.look_at_cell(index);
            match (word.st(), word.owner()) {
                (CellWord::HELD, Some(owner)) if owner != me => foreign = Some(owner),
                (CellWord::HELD, _) => mine = true,
                (CellWord::ORPHAN, _) => return RingError::WouldBlock,
                _ => {}
            }
        }
        match foreign {
            Some(owner) if !mine => RingError::Busy(owner),
            _ => RingError::Closed,
        }
    }

    #[inline(always)]
    fn hand_out(&self, got: Got) -> Result<Taken<'_>, RingError> {
        let Got { position, word, cell } = got;
        let (place, contents) = if cell == IN_SLOT {
            let claimed = Claimed { position, seen: SlotWord(word) };
            (self.slots.slot_payload(position), self.contents(claimed))
        } else {
            (self.slots.cell_payload(u64::from(cell)), self.contents_of_cell(u64::from(cell)))
        };
        let Some(Contents { len, kind, deliveries }) = contents else { return Err(self.discard(got)) };
        Ok(Taken { ring: self, place, position, len, kind, deliveries, cell, word })
    }

    /// Reads and checks the head of a claimed slot, once.
    #[inline(always)]
    pub(super) fn contents(&self, claimed: Claimed) -> Option<Contents> {
        let slot = self.slots.slot(claimed.position);
        let (len, kind) = (slot.len.load(Relaxed), slot.kind.load(Relaxed));
        let deliveries = if claimed.seen.mark() == SlotWord::NORMAL { 1 } else { AGAIN };
        (u64::from(len) <= self.slots.room()).then_some(Contents { len, kind, deliveries })
    }

    /// Frees what holds a claimed message that cannot be read, so that the ones behind it can.
    #[cold]
    #[inline(never)]
    pub(super) fn discard(&self, got: Got) -> RingError {
        self.slots.control().counters.dropped.fetch_add(1, Relaxed);
        if got.cell == IN_SLOT {
            self.acknowledge_slot(got.position, SlotWord(got.word).is_waited_for());
        } else {
            self.acknowledge_cell(got.cell, CellWord(got.word));
        }
        RingError::Corrupted
    }

    /// Puts back what was taken. W stays in the word of a slot if it was there.
    #[cold]
    #[inline(never)]
    fn put_back_taken(&self, got: Got) {
        if got.cell == IN_SLOT {
            let back = SlotWord::full(got.position, SlotWord::REDELIVER);
            let back = if SlotWord(got.word).is_waited_for() { back.waited_for() } else { back };
            self.slots.slot(got.position).word.store(back.0, Release); // E1
            self.put_back();
        } else {
            self.put_back_cell(got.cell, CellWord(got.word));
        }
    }

    /// Gives a slot to the producers of the next lap.
    #[inline(always)]
    pub(super) fn acknowledge_slot(&self, position: u64, owes_wake: bool) {
        let next = SlotWord::free(after(position, self.slots.capacity()));
        self.slots.slot(position).word.store(next.0, Release); // E2: the ACKNOWLEDGEMENT
        if owes_wake {
            self.wake_producer();
        }
        // Without a fence: it may be missed by one who begins to wait right now, and ends with its slice.
        if self.slots.control().geometry.gate.load(Relaxed) != 0 {
            self.tell_of_an_end();
        }
    }
}

impl Taken<'_> {
    /// The position of the message.
    #[must_use]
    #[inline(always)]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of it.
    #[must_use]
    #[inline(always)]
    pub fn len(&self) -> u64 {
        u64::from(self.len)
    }

    /// Is it a message of no bytes?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sender's word about it.
    #[must_use]
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// The how manieth delivery of it this is: 1 the first time. Exact for messages that were leased; of others
    /// it is only known whether it is the first, and 2 is said of all the rest.
    #[must_use]
    #[inline(always)]
    pub fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// Copies payload out, from `at` bytes behind its beginning. What lies behind [`Taken::len`] is old.
    ///
    /// # Panics
    /// When that leaves the payload: [`super::Shape::payload_max`].
    #[inline(always)]
    pub fn read(&self, at: u64, into: &mut [u8]) {
        self.ring.slots.read(self.place, at, into);
    }

    /// Acknowledges it: it is not delivered again.
    #[inline(always)]
    pub fn release(self) {
        if self.cell == IN_SLOT {
            self.ring.acknowledge_slot(self.position, SlotWord(self.word).is_waited_for());
        } else {
            self.ring.acknowledge_cell(self.cell, CellWord(self.word));
        }
        mem::forget(self);
    }
}

impl Drop for Taken<'_> {
    /// Puts it back, for the same or another consumer.
    // Inline, with numbers handed to a cold function: a reference to `self` would keep it in memory.
    #[inline(always)]
    fn drop(&mut self) {
        self.ring.put_back_taken(Got { position: self.position, word: self.word, cell: self.cell });
    }
}
