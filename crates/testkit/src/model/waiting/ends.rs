//! The ring itself: claim, commit, take, acknowledge, put back, close.

use super::super::check::{Steps, Who};
use super::{
    At, Bug, CELL, Kind, Lent, NOT_EMPTY, NOT_FULL, NOTIFY, PASS, Process, Slot, State, WAKE_NOT_EMPTY,
    WAKE_NOT_FULL, Waiting, Word,
};

impl Waiting {
    /// The top of the loop: the sequence word is read before anything is looked at.
    pub(super) fn start(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let kind = self.kind(k);
        let mut n = *s;
        let me = &mut n.processes[k];
        me.read = self.line(k);
        me.at = At::Look;
        let what = match kind {
            Kind::Producer if process.sent == self.messages => return,
            Kind::Producer => "send: s = NF.seq",
            Kind::Taker => "take: s = NE.seq",
            Kind::Lessee => {
                me.at = At::Orphans;
                "lease: s = NE.seq"
            }
            Kind::Patient => {
                me.read = CELL;
                me.at = At::Flag;
                "wait done: s = CELL.seq"
            }
            Kind::Closer if s.closed => return,
            Kind::Closer => {
                me.rest(At::Idle);
                if self.bug != Bug::SilentClose {
                    me.todo = NOT_EMPTY | NOT_FULL | CELL;
                    me.at = At::Pay;
                }
                n.closed = true;
                "close: closed = 1"
            }
        };
        out.add(who, what, n);
        let may_leave = process.at == At::Idle && self.may_leave(s, k);
        if may_leave && s.leaves < self.leaves {
            let mut n = *s;
            n.leaves += 1;
            n.processes[k].rest(At::Gone);
            out.add(who, "goes away", n);
        }
    }

    /// What to do when the word in the way can only be waited out.
    fn busy(&self, n: &mut State, k: usize) {
        let line = self.line(k);
        let me = &mut n.processes[k];
        if me.cell != 0 {
            me.at = At::GiveUp;
            me.then = At::Again;
        } else if self.bug == Bug::SleepUnarmed || self.slices {
            me.at = At::Sleep(line);
        } else {
            me.again();
        }
    }

    /// Nothing there, but the next slot can carry W.
    fn nothing(&self, n: &mut State, k: usize, slot: Slot) {
        let pos = self.next(n, k);
        let line = self.line(k);
        let me = &mut n.processes[k];
        me.pos = pos;
        me.seen = slot.word;
        let next = if slot.waits { At::Sleep(line) } else { At::Arm };
        me.at = match (self.closer != 0, me.cell != 0) {
            (true, _) => {
                me.then = next;
                At::Closed
            }
            (false, true) => {
                me.then = next;
                At::GiveUp
            }
            (false, false) => next,
        };
    }

    pub(super) fn look_for_room(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let slot = s.slot(s.tail, self.capacity);
        let mut n = *s;
        if slot.word == Word::Free && slot.pos == s.tail {
            *n.slot_mut(s.tail, self.capacity) =
                Slot { word: Word::Writing(k as u8 + 1), pos: s.tail, waits: false };
            n.tail += 1;
            let me = &mut n.processes[k];
            me.forget_seq();
            me.pos = s.tail;
            me.owes = slot.waits;
            me.at = if self.closer != 0 { At::ClosedLate } else { At::Hold };
            self.pay_early(me, WAKE_NOT_EMPTY);
            return out.add(who, "send: CLAIM", n);
        }
        if self.armable(slot, s.tail, k) {
            self.nothing(&mut n, k, slot);
            return out.add(who, "send: full", n);
        }
        self.busy(&mut n, k);
        out.add(who, "send: somebody is reading there", n);
    }

    /// The whole redelivery scan, then the whole walk.
    pub(super) fn look_for_message(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        if s.bit {
            let redeliv = s.slots[..self.capacity as usize].iter().find(|slot| slot.word == Word::Redeliv);
            if let Some(slot) = redeliv {
                return self.claim_message(s, k, *slot, "CLAIM of a REDELIV", out);
            }
            let orphan = s.cells[..self.cells].iter().position(|cell| *cell == Lent::Orphan);
            match (self.kind(k), orphan) {
                (Kind::Taker, Some(cell)) => return self.take_orphan(s, k, cell, out),
                (_, None) => {
                    n.bit = false;
                    return out.add(who, "clear the bit", n);
                }
                // A lease has looked for an ORPHAN before; this one came later, and so will its wake.
                _ => {}
            }
        }
        let slot = s.slot(s.head, self.capacity);
        match slot.word {
            Word::Full if slot.pos == s.head => {
                self.claim_message(s, k, slot, "CLAIM", out);
            }
            Word::Abort if slot.pos == s.head => {
                *n.slot_mut(s.head, self.capacity) =
                    Slot { word: Word::Free, pos: s.head + self.capacity, waits: false };
                n.head += 1;
                if slot.waits && self.bug != Bug::SkipDropsW {
                    let me = &mut n.processes[k];
                    me.todo = WAKE_NOT_FULL;
                    me.then = At::Look;
                    me.at = At::Pay;
                }
                out.add(who, "skip ABORT", n);
            }
            Word::Free if slot.pos == s.head => {
                self.nothing(&mut n, k, slot);
                out.add(who, "empty", n);
            }
            _ => {
                self.busy(&mut n, k);
                out.add(who, "somebody is in the middle", n);
            }
        }
    }

    fn claim_message(&self, s: &State, k: usize, slot: Slot, what: &'static str, out: &mut Steps<State>) {
        let mut n = *s;
        let word = Word::Reading(k as u8 + 1);
        *n.slot_mut(slot.pos, self.capacity) = Slot { word, pos: slot.pos, waits: false };
        n.head = n.head.max(slot.pos + 1);
        let me = &mut n.processes[k];
        me.forget_seq();
        me.pos = slot.pos;
        me.owes = slot.waits;
        me.at = At::Hold;
        self.pay_early(me, WAKE_NOT_FULL);
        out.add(Who::Process(k), what, n);
    }

    fn pay_early(&self, me: &mut Process, todo: u8) {
        if self.bug == Bug::WakeBeforeCommit && me.owes {
            me.owes = false;
            me.todo = todo;
            me.then = me.at;
            me.at = At::Pay;
        }
    }

    pub(super) fn look_at_closed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let late = process.at == At::ClosedLate;
        let mut n = *s;
        let me = &mut n.processes[k];
        if !s.closed || !late && self.kind(k) == Kind::Producer && self.bug == Bug::FullIgnoresClosed {
            me.at = match (late, process.cell != 0) {
                (true, _) => At::Hold,
                (false, true) => At::GiveUp,
                (false, false) => std::mem::take(&mut me.then),
            };
            return out.add(Who::Process(k), "not closed", n);
        }
        let told = late || self.kind(k) == Kind::Producer || process.closed;
        if told && !late && self.kind(k) != Kind::Producer && !self.is_over(s) {
            return self.not_over(n, k, out);
        }
        let me = &mut n.processes[k];
        me.then = if told { At::Told } else { At::Again };
        me.closed = true;
        if late {
            me.todo = if process.owes && self.bug != Bug::AbortWithoutWake { WAKE_NOT_EMPTY } else { 0 };
            n.slot_mut(process.pos, self.capacity).word = Word::Abort;
        }
        self.leave_line(&mut n, k);
        out.add(Who::Process(k), if late { "send: closed, ABORT" } else { "closed" }, n);
    }

    /// Whether nothing can come back; the scan, as one step.
    fn is_over(&self, s: &State) -> bool {
        let slot = |slot: &Slot| matches!(slot.word, Word::Free | Word::Abort);
        let cell = |cell: &Lent| matches!(cell, Lent::Free | Lent::Loan(_));
        s.slots.iter().all(slot) && s.cells.iter().all(cell)
    }

    /// Closed and empty, but something may come back: for a lease it sleeps, everything else is quick.
    fn not_over(&self, mut n: State, k: usize, out: &mut Steps<State>) {
        let slot = |slot: &Slot| matches!(slot.word, Word::Free | Word::Abort);
        let quick = !n.slots.iter().all(slot) || n.cells.contains(&Lent::Orphan);
        let me = &mut n.processes[k];
        if quick {
            self.busy(&mut n, k);
        } else if me.cell != 0 {
            me.at = At::GiveUp;
        } else {
            me.at = std::mem::take(&mut me.then);
        }
        out.add(Who::Process(k), "closed, but something may come back", n);
    }

    /// Goes to `then`, and passes before if that is the end of the operation; gives a spare cell back first.
    pub(super) fn leave_line(&self, n: &mut State, k: usize) {
        let passes = !matches!(self.bug, Bug::NoPass | Bug::WakesAll);
        let me = &mut n.processes[k];
        if me.slept && passes && me.then != At::Again {
            me.todo |= PASS;
            me.slept = false;
        }
        if n.cells.get((me.cell as usize).wrapping_sub(1)) == Some(&Lent::Loan(k as u8 + 1)) {
            me.at = At::GiveUp;
        } else {
            me.settle();
        }
    }

    pub(super) fn commit(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let slot = s.slot(process.pos, self.capacity);
        if slot.word != Word::Writing(k as u8 + 1) || slot.pos != process.pos {
            return out.violation(who, "send: commit", "the slot is not its own");
        }
        let todo = if process.owes { WAKE_NOT_EMPTY } else { 0 };
        let mut n = *s;
        *n.slot_mut(process.pos, self.capacity) = Slot { word: Word::Full, ..slot };
        n.sent += 1;
        n.processes[k].sent += 1;
        n.processes[k].todo = todo;
        n.processes[k].then = At::Idle;
        self.leave_line(&mut n, k);
        out.add(who, "send: COMMIT", n);
        if s.aborts < self.aborts {
            let mut n = *s;
            *n.slot_mut(process.pos, self.capacity) = Slot { word: Word::Abort, ..slot };
            n.aborts += 1;
            n.processes[k].todo = if self.bug == Bug::AbortWithoutWake { 0 } else { todo };
            n.processes[k].then = At::Idle;
            self.leave_line(&mut n, k);
            out.add(who, "send: ABORT", n);
        }
    }

    pub(super) fn acknowledge(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let slot = s.slot(process.pos, self.capacity);
        if slot.word != Word::Reading(k as u8 + 1) || slot.pos != process.pos {
            return out.violation(who, "acknowledge", "the slot is not its own");
        }
        let todo = if process.owes { WAKE_NOT_FULL } else { 0 };
        let mut n = *s;
        *n.slot_mut(process.pos, self.capacity) =
            Slot { word: Word::Free, pos: process.pos + self.capacity, waits: false };
        n.processes[k].todo = todo;
        if process.cell != 0 {
            n.cells[process.cell as usize - 1] = Lent::Held(k as u8 + 1);
            n.processes[k].then = At::Leased;
            n.processes[k].owes = false;
            self.leave_line(&mut n, k);
            return out.add(who, "TRANSFER, slot = FREE", n);
        }
        if self.patient != 0 && self.bug != Bug::PlainAckWithoutNotify {
            n.processes[k].todo |= NOTIFY;
        }
        n.acked += 1;
        n.processes[k].then = At::Idle;
        self.leave_line(&mut n, k);
        out.add(who, "ACK, slot = FREE", n);
        if self.nacks {
            let mut n = *s;
            let waits = self.bug != Bug::PutBackWithoutW;
            *n.slot_mut(process.pos, self.capacity) = Slot { word: Word::Redeliv, waits, ..slot };
            n.processes[k].at = At::Bump;
            n.processes[k].todo = if self.bug == Bug::PutBackWithoutWake { 0 } else { WAKE_NOT_EMPTY };
            n.processes[k].then = At::Idle;
            out.add(who, "put back, slot = REDELIV|W", n);
        }
    }
}
