//! The words of a ring, read as a tool would: where somebody stands at this moment.

use ginnel::Manager;
use ginnel_layout::atomic::Ordering::Acquire;
use ginnel_layout::ring::{CELL_EXTRA, CellWord, RingGeometry, SLOTS_AT, SlotWord};
use ginnel_testkit::scratch::View;
use std::mem::offset_of;

use crate::world::locate;

/// A ring in a mapped segment.
#[derive(Debug)]
pub(in crate::step) struct RingWords {
    view: View,
    at: u64,
    capacity: u64,
    slot_size: u64,
    cells: u64,
}

impl RingWords {
    /// The ring of the queue of that name.
    pub(in crate::step) fn of(manager: &Manager, name: &str) -> Option<Self> {
        let view = View::readable(manager).ok()?;
        let at = locate(&view, name)?;
        let word = |offset: usize| view.word((at as usize + offset) / 8).load(Acquire);
        let capacity = word(offset_of!(RingGeometry, capacity));
        let slot_size = word(offset_of!(RingGeometry, slot_size));
        let cells = word(offset_of!(RingGeometry, cells));
        Some(Self { view, at, capacity, slot_size, cells })
    }

    fn word(&self, offset: u64) -> u64 {
        self.view.word(((self.at + offset) / 8) as usize).load(Acquire)
    }

    /// The words of the slots.
    pub(in crate::step) fn slots(&self) -> impl Iterator<Item = SlotWord> {
        (0..self.capacity).map(|index| SlotWord(self.word(SLOTS_AT + index * self.slot_size)))
    }

    /// The words of the cells.
    pub(in crate::step) fn cells(&self) -> impl Iterator<Item = CellWord> {
        let first = SLOTS_AT + self.capacity * self.slot_size;
        (0..self.cells).map(move |index| CellWord(self.word(first + index * (self.slot_size + CELL_EXTRA))))
    }

    /// The bits of the gate.
    pub(in crate::step) fn gate(&self) -> u32 {
        let half = (self.at as usize + offset_of!(RingGeometry, gate)) / 4;
        self.view.half(half).load(Acquire)
    }

    /// Is some slot in that state?
    pub(in crate::step) fn any_slot(&self, st: u64) -> bool {
        self.slots().any(|word| word.st() == st)
    }

    /// Is some cell in that state?
    pub(in crate::step) fn any_cell(&self, st: u64) -> bool {
        self.cells().any(|word| word.st() == st)
    }

    /// Is there a message that anybody may take now?
    pub(in crate::step) fn has_message(&self) -> bool {
        let in_slot = |word: SlotWord| word.st() == SlotWord::FULL && word.mark() != SlotWord::ABORT;
        self.slots().any(in_slot) || self.any_cell(CellWord::ORPHAN)
    }
}
