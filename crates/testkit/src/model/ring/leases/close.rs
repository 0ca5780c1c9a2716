//! The end: who closes, and how a receiver learns that nothing can come back to him.

use super::super::super::check::{Steps, Who};
use super::super::Word;
use super::{At, Bug, Leases, Lent, State, bit};

impl Leases {
    pub(super) fn close(&self, s: &State, out: &mut Steps<State>) {
        if self.closes && !s.closed {
            let mut n = *s;
            n.closed = true;
            out.add(Who::Process(self.producers + self.consumers), "close: closed = 1", n);
        }
    }

    pub(super) fn ask_if_over(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if self.closes && (s.closed || self.bug == Bug::ClosedAfterScan) {
            let mut n = *s;
            n.processes[k].at = At::Over(0);
            out.add(Who::Process(k), "asks whether it is over: load closed", n);
        }
    }

    pub(super) fn look_if_over(&self, s: &State, k: usize, i: u8, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let (slots, cells) = (self.capacity, self.cells as u8);
        let cells_first = self.bug == Bug::OverCellsFirst;
        let mut n = *s;
        if i == slots + cells {
            return self.tell(s, k, out);
        }
        let comes_back = match cells_first {
            false if i < slots => self.slot_may_come_back(s, i as usize),
            false => self.cell_may_come_back(s, k, (i - slots) as usize),
            true if i < cells => self.cell_may_come_back(s, k, i as usize),
            true => self.slot_may_come_back(s, (i - cells) as usize),
        };
        let waits = self.bug == Bug::WaitsWithLease && i >= slots;
        n.processes[k].at = match (comes_back, waits) {
            (false, _) => At::Over(i + 1),
            (true, true) => At::Over(0),
            (true, false) => At::Idle,
        };
        out.add(who, if comes_back { "over? not yet" } else { "over? nothing here" }, n);
    }

    fn slot_may_come_back(&self, s: &State, i: usize) -> bool {
        match s.slots[i].word {
            Word::Free | Word::Abort => false,
            Word::Writing(_) => self.bug != Bug::OverIgnoresWriting,
            Word::Reading(_) => self.bug != Bug::OverIgnoresReading,
            Word::Full | Word::Redeliv => true,
        }
    }

    fn cell_may_come_back(&self, s: &State, k: usize, i: usize) -> bool {
        match s.cells[i].word {
            Lent::Free | Lent::Loan(_) => false,
            Lent::Held(owner) => owner != self.id(k) && self.bug != Bug::OverIgnoresHeld,
            Lent::Orphan => true,
        }
    }

    fn tell(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        if !s.closed {
            n.processes[k].at = At::Idle;
            return out.add(who, "over? not closed", n);
        }
        let own = |word: Lent| word == Lent::Held(self.id(k));
        let held = s.cells.iter().filter(|cell| own(cell.word)).fold(0, |set, cell| set | bit(cell.pos));
        if s.committed & !(s.acked | s.dropped | held) != 0 {
            return out.violation(who, "is told that it is over", "a message may come back to it");
        }
        n.told = true;
        n.processes[k].at = At::Told;
        out.add(who, "is told that it is over", n);
    }
}
