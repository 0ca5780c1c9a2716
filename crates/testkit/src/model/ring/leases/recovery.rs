//! What is done for the dead: slots, cells, bump.

use super::super::super::check::{Steps, Who};
use super::super::{Policy, Slot, Word};
use super::{Bug, Leases, Lent, Process, Recoverer, Repair, State, bit};

impl Leases {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = self.id(k);
        let locked = s.recoverers.iter().any(|r| r.dead == dead);
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            let at = if self.bug == Bug::CellsFirst { Repair::Cell } else { Repair::Slot };
            n.recoverers[r] = Recoverer { dead, at, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    /// What comes after all slots, or after all cells.
    fn next_sweep(&self, at: Repair) -> Repair {
        match (at, self.bug == Bug::CellsFirst) {
            (Repair::Slot, false) => Repair::Cell,
            (Repair::Cell, true) => Repair::Slot,
            _ => Repair::Bump,
        }
    }

    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let who = Who::Recoverer(r);
        let Recoverer { dead, at, i, changed } = s.recoverers[r];
        let mut n = *s;
        let what = match at {
            Repair::Slot => self.sweep_slot(&mut n, r),
            Repair::Cell => self.sweep_cell(&mut n, r),
            Repair::Bump => {
                let bumps = self.bug != Bug::BumpIfChanged || changed;
                if bumps && self.bug != Bug::NoBumpByRecovery {
                    n.bump();
                }
                n.recoverers[r].at = Repair::Reuse;
                "redeliver += 2, bit"
            }
            Repair::Reuse => {
                let slot = |slot: &Slot| slot.word.owner() == dead;
                let cell = |word: Lent| word == Lent::Loan(dead) || word == Lent::Held(dead);
                if s.slots.iter().any(slot) || s.cells.iter().any(|c| cell(c.word)) {
                    return out.violation(who, "frees the id", "a word still names it");
                }
                for k in (0..s.processes.len()).filter(|k| self.id(*k) == dead) {
                    n.processes[k] = Process { sent: s.processes[k].sent, ..Process::default() };
                }
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        if matches!(at, Repair::Slot | Repair::Cell) {
            let count = if at == Repair::Slot { self.capacity } else { self.cells as u8 };
            let last = i + 1 == count;
            n.recoverers[r].i = if last { 0 } else { i + 1 };
            n.recoverers[r].at = if last { self.next_sweep(at) } else { at };
            n.recoverers[r].changed |= n.slots != s.slots || n.cells != s.cells;
        }
        out.add(who, what, n);
    }

    fn sweep_slot(&self, n: &mut State, r: usize) -> &'static str {
        let Recoverer { dead, i, .. } = n.recoverers[r];
        let Slot { word, pos } = n.slots[i as usize];
        let moved = n.cells.iter().any(|cell| {
            let held = cell.word == Lent::Held(dead)
                || self.bug == Bug::LoanIsTransfer && cell.word == Lent::Loan(dead);
            held && (cell.pos == pos || self.bug == Bug::PositionNotCompared)
        });
        let slot = &mut n.slots[i as usize];
        if word == Word::Writing(dead) && self.bug != Bug::WritingNotSwept {
            slot.word = Word::Abort;
            return "slot WRITING(d) -> ABORT";
        }
        if word != Word::Reading(dead) || self.bug == Bug::ReadingNotSwept {
            return "the slot is not the dead one's";
        }
        if moved && self.bug != Bug::CellsNotAsked {
            *slot = Slot { word: Word::Free, pos: pos + self.capacity };
            return "slot READING(d), moved already -> FREE";
        }
        if self.policy == Policy::Drop {
            *slot = Slot { word: Word::Free, pos: pos + self.capacity };
            n.dropped |= bit(pos);
            return "slot READING(d) -> FREE, dropped";
        }
        slot.word = Word::Redeliv;
        "slot READING(d) -> REDELIV"
    }

    fn sweep_cell(&self, n: &mut State, r: usize) -> &'static str {
        let Recoverer { dead, i, .. } = n.recoverers[r];
        let cell = n.cells[i as usize];
        if cell.word == Lent::Loan(dead) && self.bug != Bug::LoanNotSwept {
            n.free_cell(i as usize);
            return "cell LOAN(d) -> FREE";
        }
        if cell.word != Lent::Held(dead) || self.bug == Bug::HeldNotSwept {
            return "the cell is not the dead one's";
        }
        if self.policy == Policy::Drop {
            n.dropped |= bit(cell.pos);
            n.free_cell(i as usize);
            return "cell HELD(d) -> FREE, dropped";
        }
        n.cells[i as usize].word = Lent::Orphan;
        "cell HELD(d) -> ORPHAN"
    }
}
