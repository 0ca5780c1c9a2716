//! A consumer: lease, take, acknowledge, give back.

use super::super::super::check::{Steps, Who};
use super::super::{Slot, Word};
use super::{At, Bug, Cell, Leases, Lent, Process, State, bit};

impl Leases {
    pub(super) fn consume(&self, s: &State, k: usize, out: &mut Steps<State>) {
        match s.processes[k].at {
            At::Idle => {
                for lease in [true, false] {
                    if if lease { self.leases } else { self.takes } {
                        self.start(s, k, lease, out);
                    }
                }
                self.give_back_kept(s, k, out);
                self.give_back_again(s, k, out);
                self.ask_if_over(s, k, out);
            }
            At::Over(i) => self.look_if_over(s, k, i, out),
            At::Told => self.give_back_kept(s, k, out),
            At::Held | At::Seen | At::Read | At::Ack | At::Bump | At::Orphan => self.finish(s, k, out),
            At::Copy | At::Transfer | At::FreeSlot => self.transfer(s, k, out),
            _ => self.look(s, k, out),
        }
    }

    fn start(&self, s: &State, k: usize, lease: bool, out: &mut Steps<State>) {
        let process = s.processes[k];
        if lease && process.kept != 0 && !self.keeps {
            return;
        }
        let mut n = *s;
        let me = &mut n.processes[k];
        me.lease = lease;
        me.bit = s.bit;
        me.at = match (s.bit, lease) {
            (true, false) => At::Slots(0),
            (true, true) if !matches!(self.bug, Bug::FreeCellFirst | Bug::OrphansNotScanned) => {
                At::Orphans(0)
            }
            (_, true) => At::Loan,
            (false, false) => At::Fifo,
        };
        out.add(Who::Process(k), if lease { "lease: load redeliver" } else { "take: load redeliver" }, n);
    }

    /// Where a scan of the cells, or of the slots, goes when it found nothing.
    fn behind(&self, process: &Process, cells: bool) -> At {
        let draft = self.bug == Bug::FreeCellFirst;
        match (cells, process.lease) {
            (true, true) if !draft => At::Loan,
            (true, _) => At::Clear,
            (false, true) if !draft => At::Clear,
            (false, _) if self.bug == Bug::OrphansNotScanned => At::Clear,
            (false, _) => At::Orphans(0),
        }
    }

    /// Everything up to a claim, or to the end without one.
    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let id = self.id(k);
        let process = s.processes[k];
        let mut n = *s;
        let what = match process.at {
            At::Orphans(i) if s.cells[i as usize].word == Lent::Orphan => {
                return self.take_orphan(s, k, i as usize, out);
            }
            At::Orphans(i) => {
                let more = i as usize + 1 < self.cells;
                n.processes[k].at = if more { At::Orphans(i + 1) } else { self.behind(&process, true) };
                "the cell is no ORPHAN"
            }
            At::Loan => match (0..self.cells).find(|i| s.cells[*i].word == Lent::Free) {
                Some(cell) => {
                    n.cells[cell].word = Lent::Loan(id);
                    n.processes[k].cell = cell as u8;
                    n.processes[k].at = if process.bit { At::Slots(0) } else { At::Fifo };
                    "lease: CAS cell FREE -> LOAN(me)"
                }
                None => {
                    n.processes[k].rest();
                    "lease: no cell"
                }
            },
            At::Slots(i) if s.slots[i as usize].word == Word::Redeliv => {
                n.slots[i as usize].word = Word::Reading(id);
                n.processes[k].claimed(s.slots[i as usize].pos, self.bug != Bug::RedelivNotFlagged);
                "CAS slot REDELIV -> READING(me)"
            }
            At::Slots(i) => {
                let more = i + 1 < self.capacity;
                n.processes[k].at = if more { At::Slots(i + 1) } else { self.behind(&process, false) };
                "the slot is no REDELIV"
            }
            At::Clear => {
                if !process.moved || self.bug == Bug::ClearBlindly {
                    n.bit = false;
                    n.redeliver_moves();
                }
                n.processes[k].at = At::Fifo;
                n.processes[k].bit = false;
                n.processes[k].moved = false;
                "CAS redeliver f -> f without the bit"
            }
            At::GiveBack => {
                n.free_cell(process.cell as usize);
                n.processes[k].rest();
                "lease: nothing there, cell = FREE"
            }
            _ => return self.fifo(s, k, out),
        };
        out.add(who, what, n);
    }

    /// The walk, as one step, to the first position that nobody has claimed.
    fn fifo(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let slot = n.slot(s.head, self.capacity);
        let what = match *slot {
            Slot { word: Word::Full, pos } if pos == s.head => {
                slot.word = Word::Reading(self.id(k));
                n.head += 1;
                n.processes[k].claimed(pos, false);
                "CAS slot FULL -> READING(me)"
            }
            Slot { word: Word::Abort, pos } if pos == s.head => {
                *slot = Slot { word: Word::Free, pos: pos + self.capacity };
                n.head += 1;
                "CAS slot ABORT -> FREE"
            }
            _ if process.lease => {
                n.processes[k].at = At::GiveBack;
                "lease: empty"
            }
            _ => {
                n.processes[k].rest();
                "take: empty"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    fn take_orphan(&self, s: &State, k: usize, cell: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let loan = process.lease && self.bug == Bug::FreeCellFirst;
        if loan {
            n.free_cell(process.cell as usize);
        }
        n.cells[cell].word = Lent::Held(self.id(k));
        n.cells[cell].again = self.bug != Bug::OrphanNotFlagged;
        if self.bug != Bug::OrphanKeepsNumber {
            n.renumber(cell);
        }
        let me = &mut n.processes[k];
        me.rest();
        me.lease = process.lease;
        me.cell = cell as u8;
        me.at = At::Held;
        out.add(Who::Process(k), "CAS cell ORPHAN -> HELD(me)", n);
    }

    /// From the claimed slot into the cell.
    fn transfer(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let id = self.id(k);
        let process = s.processes[k];
        let early = self.bug == Bug::SlotFreedFirst;
        let mut n = *s;
        let cell = &mut n.cells[process.cell as usize];
        if process.at != At::FreeSlot && cell.word != Lent::Loan(id) {
            return out.violation(who, "lease: copy", "the cell is not its own");
        }
        let what = match process.at {
            At::Copy => {
                cell.pos = process.pos;
                cell.again = process.again;
                n.processes[k].at = if early { At::FreeSlot } else { At::Transfer };
                "lease: copy"
            }
            At::Transfer => {
                cell.word = Lent::Held(id);
                n.processes[k].at = if early { At::Held } else { At::FreeSlot };
                "lease: TRANSFER, cell = HELD(me)"
            }
            _ => {
                if !self.free_slot(&mut n, id, process.pos) {
                    return out.violation(who, "lease: slot = FREE", "the slot is not its own");
                }
                n.processes[k].at = if early { At::Transfer } else { At::Held };
                "lease: slot = FREE"
            }
        };
        out.add(who, what, n);
    }

    fn free_slot(&self, n: &mut State, id: u8, pos: u8) -> bool {
        let slot = n.slot(pos, self.capacity);
        let own = *slot == Slot { word: Word::Reading(id), pos };
        *slot = Slot { word: Word::Free, pos: pos + self.capacity };
        own
    }

    /// With a message in hand: look at it, then acknowledge it, or give it back.
    fn finish(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let id = self.id(k);
        let process = s.processes[k];
        let cell = process.cell as usize;
        let mut n = *s;
        match process.at {
            At::Held => {
                if n.cells[cell].word != Lent::Held(id) {
                    return out.violation(who, "look at the lease", "the cell is not its own");
                }
                if let Some(why) = n.deliver(s.cells[cell].pos, s.cells[cell].again) {
                    return out.violation(who, "look at the lease", why);
                }
                n.processes[k].at = At::Seen;
                out.add(who, "look at the message in the cell", n);
            }
            At::Seen => {
                if self.keeps && process.lease && process.kept == 0 {
                    let mut n = *s;
                    n.processes[k].rest();
                    n.processes[k].kept = process.cell + 1;
                    out.add(who, "keeps the lease", n);
                }
                self.give_back(s, k, cell, out);
            }
            At::Read => {
                if let Some(why) = n.deliver(process.pos, process.again) {
                    return out.violation(who, "take: read", why);
                }
                n.processes[k].at = At::Ack;
                out.add(who, "take: read the message in the slot", n);
            }
            At::Ack => self.release(s, k, out),
            At::Orphan => {
                n.cells[cell].word = Lent::Orphan;
                n.processes[k].rest();
                out.add(who, "nack: cell = ORPHAN, too late", n);
            }
            _ => {
                n.bump();
                let rests = self.bug != Bug::NackBumpsFirst || !process.bit;
                n.processes[k].at = At::Orphan;
                if rests {
                    n.processes[k].rest();
                }
                out.add(who, "redeliver += 2, bit", n);
            }
        }
    }

    /// The end of a take from a slot.
    fn release(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        if !self.free_slot(&mut n, self.id(k), process.pos) {
            return out.violation(who, "take: ACK", "the slot is not its own");
        }
        n.acked |= bit(process.pos);
        n.processes[k].rest();
        out.add(who, "take: ACK, slot = FREE", n);
        if !self.nacks {
            return;
        }
        let mut n = *s;
        n.slot(process.pos, self.capacity).word = Word::Redeliv;
        n.processes[k].rest();
        if self.bug != Bug::PutBackWithoutBump {
            n.processes[k].at = At::Bump;
        }
        out.add(who, "take: put back, slot = REDELIV", n);
    }

    /// The lease in `cell`, acknowledged or given back.
    fn give_back(&self, s: &State, k: usize, cell: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Cell { word, pos, .. } = s.cells[cell];
        if word != Lent::Held(self.id(k)) {
            return out.violation(who, "ack", "the cell is not its own");
        }
        if (s.acked | s.dropped) & bit(pos) != 0 {
            return out.violation(who, "ack", "the message was acknowledged before");
        }
        let mut n = *s;
        n.acked |= bit(pos);
        n.processes[k].gave_back(cell, self.careless);
        n.free_cell(cell);
        out.add(who, "ACK, cell = FREE", n);
        if !self.nacks {
            return;
        }
        let mut n = *s;
        n.processes[k].gave_back(cell, self.careless);
        if self.bug == Bug::NackBumpsFirst {
            n.processes[k].cell = cell as u8;
            n.processes[k].at = At::Bump;
            n.processes[k].bit = true;
            return out.add(who, "nack", n);
        }
        n.cells[cell].word = Lent::Orphan;
        if self.bug != Bug::NackWithoutBump {
            n.processes[k].at = At::Bump;
        }
        out.add(who, "nack: cell = ORPHAN", n);
    }

    fn give_back_kept(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.processes[k].kept != 0 {
            let mut n = *s;
            n.processes[k].kept = 0;
            self.give_back(&n, k, s.processes[k].kept as usize - 1, out);
        }
    }

    /// A second ack of the same lease, by mistake.
    fn give_back_again(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        if process.stale == 0 {
            return;
        }
        let cell = process.stale as usize - 1;
        let fits = process.same || self.bug == Bug::AckWithoutNumber;
        if fits && s.cells[cell].word == Lent::Held(self.id(k)) {
            out.violation(Who::Process(k), "ack once more", "it ends another lease");
        }
    }
}

impl Process {
    /// Nothing is going on; what it keeps stays.
    fn rest(&mut self) {
        *self = Process { kept: self.kept, stale: self.stale, same: self.same, ..Process::default() };
    }

    fn claimed(&mut self, pos: u8, again: bool) {
        self.at = if self.lease { At::Copy } else { At::Read };
        self.pos = pos;
        self.again = again;
        self.bit = false;
        self.moved = false;
    }

    fn gave_back(&mut self, cell: usize, careless: bool) {
        self.rest();
        if careless {
            self.stale = cell as u8 + 1;
            self.same = true;
        }
    }
}
