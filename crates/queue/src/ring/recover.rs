//! What a death leaves in a ring and how it is repaired; and what can be asked about the whole of it.
//!
//! Invariants I1-I7 and edges E1-E9 are those of [`super`].

use core::fmt;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::participant::PARTICIPANTS_MAX;
use ginnel_layout::ring::{BITMAP_WORDS, CellWord, POSITION_MAX, SlotWord, after};
use ginnel_sync::{mutex, park};

use super::{OnDeath, Ring};
use crate::slots::Place;

/// Slots looked at for owners who may have died, by one who waits: those around the head. What lies farther behind
/// is found by the producers that come round to it.
const OWNERS_LOOKS: u64 = 1 << 14;

/// A picture of a ring for people, taken without stopping anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Messages that wait to be taken.
    pub depth: u64,
    /// Positions claimed by producers so far, about.
    pub sent: u64,
    /// Positions claimed by consumers so far, about.
    pub received: u64,
    /// Messages leased now.
    pub leased: u64,
    /// Consumers asleep, a bit for each participant.
    pub waiting_consumers: [u64; BITMAP_WORDS],
    /// Producers asleep.
    pub waiting_producers: [u64; BITMAP_WORDS],
    /// Participants that own a slot or a cell.
    pub owners: [u64; BITMAP_WORDS],
    /// Slots given up by a producer that did not send, or that died.
    pub aborted: u64,
    /// Messages put back: by their consumer, or after its death.
    pub redelivered: u64,
    /// Messages lost with a dead consumer, where that was agreed; and messages of an impossible length.
    pub dropped: u64,
    /// Recoveries of a dead participant.
    pub recoveries: u64,
}

/// A message that goes with the consumer that died over it.
#[derive(Clone, Copy)]
pub struct Lost<'a> {
    ring: &'a Ring,
    place: Place,
    len: u32,
    kind: u32,
}

impl fmt::Debug for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").field("len", &self.len).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Lost<'_> {
    /// Bytes of it.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "nobody asks whether a lost message was empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The sender's word about it.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// Copies payload out, from `at` bytes behind its beginning.
    ///
    /// # Panics
    /// When that leaves the payload.
    pub fn read(&self, at: u64, into: &mut [u8]) {
        self.ring.slots.read(self.place, at, into);
    }
}

impl Ring {
    /// Repairs what the dead participant `dead` left. The caller holds its byte lock. Idempotent: the next recoverer
    /// may repeat any prefix of it.
    pub fn recover(&self, dead: ParticipantId) {
        self.recover_with(dead, &mut |_| {});
    }

    /// [`Ring::recover`] where messages carry what has owners of its own. `lost` is shown each message that is dropped with its consumer, before it is dropped, and perhaps again by the
    /// next recoverer: what it carries must be received in the name of the dead.
    pub fn recover_with(&self, dead: ParticipantId, lost: &mut dyn FnMut(Lost<'_>)) {
        self.recover_slots(dead, lost);
        self.recover_cells(dead, lost);
        // Unconditionally: an earlier recoverer may have put something back and died before it said so.
        self.raise_put_back_bit();
        self.forget_sleeper(dead);
        let control = self.slots.control();
        // Nothing to repair under it: whoever takes it next finishes what was begun.
        mutex::recover(&control.counters.grow, dead);
        control.counters.recoveries.fetch_add(1, Relaxed);
        // Always, and last: the dead one may have owed a wake, or have used one up.
        for line in [&control.not_empty, &control.not_full, &control.a_cell, &control.done] {
            park::wake_all(line);
        }
    }

    fn recover_slots(&self, dead: ParticipantId, lost: &mut dyn FnMut(Lost<'_>)) {
        let counters = &self.slots.control().counters;
        for index in self.with_memory(0, self.slots.capacity()) {
            let seen = self.look(index);
            if seen.owner() != Some(dead) {
                continue;
            }
            let position = seen.position();
            let freed = SlotWord::free(after(position, self.slots.capacity()));
            let (word, count) = match (seen.st(), self.shape.policy) {
                (SlotWord::WRITING, _) => {
                    (SlotWord::full(position, SlotWord::ABORT).waited_for(), Some(&counters.aborted))
                }
                // The dead one was between the transfer and the acknowledgement of the slot.
                _ if self.holds_in_cell(dead, position) => (freed, None),
                (_, OnDeath::Redeliver) => {
                    let back = SlotWord::full(position, SlotWord::REDELIVER);
                    (back.waited_for(), Some(&counters.redelivered))
                }
                (_, OnDeath::Drop) => {
                    let head = self.slots.slot(index);
                    let (len, kind) = (head.len.load(Relaxed), head.kind.load(Relaxed));
                    self.show(self.slots.slot_payload(index), len, kind, lost);
                    (freed, Some(&counters.dropped))
                }
            };
            if self.swap(&self.slots.slot(index).word, seen, word)
                && let Some(count) = count
            {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    /// After the slots: a transfer is finished in the name of the dead before its cell is swept.
    fn recover_cells(&self, dead: ParticipantId, lost: &mut dyn FnMut(Lost<'_>)) {
        let counters = &self.slots.control().counters;
        for index in 0..self.slots.cells() {
            let seen = self.look_at_cell(index);
            if seen.owner() != Some(dead) {
                continue;
            }
            let freed = CellWord::free(seen.generation().wrapping_add(1));
            let (word, count) = match (seen.st(), self.shape.policy) {
                (CellWord::LOAN, _) => (freed, None),
                (_, OnDeath::Redeliver) => (CellWord::orphan(seen.generation()), Some(&counters.redelivered)),
                (_, OnDeath::Drop) => {
                    let head = self.slots.cell(index);
                    let (len, kind) = (head.len.load(Relaxed), head.kind.load(Relaxed));
                    self.show(self.slots.cell_payload(index), len, kind, lost);
                    (freed, Some(&counters.dropped))
                }
            };
            if self.swap_cell(index, seen, word)
                && let Some(count) = count
            {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    fn show(&self, place: Place, len: u32, kind: u32, lost: &mut dyn FnMut(Lost<'_>)) {
        // One of an impossible length was written by no correct peer, and carries nothing.
        if u64::from(len) <= self.slots.room() {
            lost(Lost { ring: self, place, len, kind });
        }
    }

    fn holds_in_cell(&self, holder: ParticipantId, position: u64) -> bool {
        (0..self.slots.cells()).any(|index| {
            let word = self.look_at_cell(index);
            word.st() == CellWord::HELD
                && word.owner() == Some(holder)
                && self.slots.cell(index).position.load(Relaxed) == position
        })
    }

    /// Is the message that was sent at `position` still on its way: committed, and not acknowledged?
    ///
    /// Slots before cells, because messages move from those to these.
    #[must_use]
    pub fn in_flight(&self, position: u64) -> bool {
        let word = self.look(position);
        let here = word.position() == position & POSITION_MAX;
        let is_message = match word.st() {
            SlotWord::FULL => word.mark() != SlotWord::ABORT,
            st => st == SlotWord::READING,
        };
        (here && is_message)
            || (0..self.slots.cells()).any(|index| {
                matches!(self.look_at_cell(index).st(), CellWord::HELD | CellWord::ORPHAN)
                    && self.slots.cell(index).position.load(Relaxed) == position & POSITION_MAX
            })
    }

    /// Is every message that was sent so far acknowledged?
    #[must_use]
    pub fn is_done(&self) -> bool {
        let first = self.head_hint();
        let in_slots = self.with_memory(first, self.slots.capacity()).any(|position| {
            let word = self.look(position);
            match word.st() {
                SlotWord::FULL => word.mark() != SlotWord::ABORT,
                st => st == SlotWord::READING,
            }
        });
        let in_cells = || {
            (0..self.slots.cells())
                .any(|index| matches!(self.look_at_cell(index).st(), CellWord::HELD | CellWord::ORPHAN))
        };
        !in_slots && !in_cells()
    }

    /// Who owns a slot around the head, or a cell.
    pub(super) fn owners(&self) -> impl Iterator<Item = ParticipantId> + use<> {
        let looks = self.slots.capacity().min(OWNERS_LOOKS);
        let first = self.head_hint().wrapping_sub(looks / 2);
        members(self.owners_of(self.with_memory(first, looks)))
    }

    fn owners_of(&self, positions: impl Iterator<Item = u64>) -> [u64; BITMAP_WORDS] {
        let mut owners = [0; BITMAP_WORDS];
        let in_slots = positions.filter_map(|position| self.look(position).owner());
        let in_cells = (0..self.slots.cells()).filter_map(|index| self.look_at_cell(index).owner());
        for owner in in_slots.chain(in_cells) {
            let index = usize::from(owner.index());
            owners[index / 64] |= 1 << (index % 64);
        }
        owners
    }

    /// A picture for people. Looks at every slot and cell.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let control = self.slots.control();
        let (mut depth, mut leased) = (0, 0);
        for index in self.with_memory(0, self.slots.capacity()) {
            let word = self.look(index);
            depth += u64::from(word.st() == SlotWord::FULL && word.mark() != SlotWord::ABORT);
        }
        for index in 0..self.slots.cells() {
            let word = self.look_at_cell(index);
            depth += u64::from(word.st() == CellWord::ORPHAN);
            leased += u64::from(word.st() == CellWord::HELD);
        }
        let counters = &control.counters;
        Stats {
            depth,
            sent: self.tail_hint(),
            received: self.head_hint(),
            leased,
            waiting_consumers: [0, 1, 2, 3].map(|i: usize| control.sleepers.consumers[i].load(Relaxed)),
            waiting_producers: [0, 1, 2, 3].map(|i: usize| control.sleepers.producers[i].load(Relaxed)),
            owners: self.owners_of(self.with_memory(0, self.slots.capacity())),
            aborted: counters.aborted.load(Relaxed),
            redelivered: counters.redelivered.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            recoveries: counters.recoveries.load(Relaxed),
        }
    }
}

/// The participants in a bitmap.
fn members(bitmap: [u64; BITMAP_WORDS]) -> impl Iterator<Item = ParticipantId> {
    (0..PARTICIPANTS_MAX)
        .filter(move |index| bitmap[usize::from(index / 64)] >> (index % 64) & 1 != 0)
        .map(ParticipantId::from_index)
}
