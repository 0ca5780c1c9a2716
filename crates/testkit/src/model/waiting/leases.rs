//! Cells: the sleep for want of one, the lease, and what ends it; and whoever waits until all is done.

use super::super::check::{Steps, Who};
use super::{
    At, Bug, CELL, ENDING, Kind, Lent, NOT_EMPTY, NOTIFY, PASS, PROCESSES, Process, State, WAKE_NOT_EMPTY,
    Waiting, Word,
};

impl Waiting {
    fn cell(&self, s: &State, word: Lent) -> Option<usize> {
        s.cells[..self.cells].iter().position(|cell| *cell == word)
    }

    pub(super) fn take_orphan(&self, s: &State, k: usize, cell: usize, out: &mut Steps<State>) {
        let mut n = *s;
        n.cells[cell] = Lent::Held(k as u8 + 1);
        let me = &mut n.processes[k];
        me.forget_seq();
        me.cell = cell as u8 + 1;
        me.then = At::Leased;
        self.leave_line(&mut n, k);
        out.add(Who::Process(k), "CAS cell ORPHAN -> HELD(me)", n);
    }

    pub(super) fn lease(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let patient = self.kind(k) == Kind::Patient;
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Orphans => {
                if let (true, Some(cell)) = (s.bit, self.cell(s, Lent::Orphan)) {
                    return self.take_orphan(s, k, cell, out);
                }
                me.at = At::CellSeq;
                "lease: no ORPHAN"
            }
            At::CellSeq => {
                me.read |= CELL;
                me.at = At::Loan;
                "lease: c = CELL.seq"
            }
            At::Loan => match self.cell(s, Lent::Free) {
                Some(cell) => {
                    me.read &= !CELL;
                    me.moved &= !CELL;
                    me.cell = cell as u8 + 1;
                    me.at = At::Look;
                    n.cells[cell] = Lent::Loan(k as u8 + 1);
                    "lease: CAS cell FREE -> LOAN(me)"
                }
                None => {
                    self.no_cell(me);
                    "lease: no cell"
                }
            },
            At::Flag if patient && self.is_done(s) => {
                me.rest(At::Told);
                "wait done: it is done"
            }
            At::Flag => {
                me.at = if self.bug == Bug::NoSecondLook { At::Sleep(CELL) } else { At::SecondLook };
                n.flag = true;
                "flag = 1"
            }
            At::SecondLook => {
                let orphans = self.bug != Bug::SecondLookForFreeOnly;
                let orphan = orphans && s.bit && self.cell(s, Lent::Orphan).is_some();
                let there =
                    if patient { self.is_done(s) } else { orphan || self.cell(s, Lent::Free).is_some() };
                me.at = At::Sleep(CELL);
                if there {
                    me.again();
                }
                "look again"
            }
            At::GiveUp => {
                n.cells[process.cell as usize - 1] = Lent::Free;
                me.cell = 0;
                if self.bug != Bug::GiveUpWithoutNotify {
                    me.todo |= NOTIFY;
                }
                me.settle();
                "lease: nothing there, cell = FREE"
            }
            _ => return self.end_lease(s, k, out),
        };
        out.add(Who::Process(k), what, n);
    }

    fn is_done(&self, s: &State) -> bool {
        let slot = |word: Word| matches!(word, Word::Full | Word::Redeliv | Word::Reading(_));
        let cell = |word: &Lent| matches!(word, Lent::Held(_) | Lent::Orphan);
        let sent = (0..self.producers).all(|k| s.processes[k].sent == self.messages);
        sent && !s.slots.iter().any(|x| slot(x.word)) && !s.cells.iter().any(cell)
    }

    /// Off to sleep on CELL, but not before it has passed on NE.
    fn no_cell(&self, me: &mut Process) {
        me.read &= !NOT_EMPTY;
        me.moved &= me.read;
        me.then = At::Flag;
        if me.slept && self.bug != Bug::NoCellWithoutPass {
            me.todo = PASS;
            me.slept = false;
        }
        me.settle();
    }

    /// Somebody who is not shown otherwise takes a cell, and will not give it back.
    pub(super) fn hoard(&self, s: &State, out: &mut Steps<State>) {
        if let (true, Some(cell)) = (self.hoarder && s.leaves < self.leaves, self.cell(s, Lent::Free)) {
            let mut n = *s;
            n.leaves += 1;
            n.cells[cell] = Lent::Held(PROCESSES as u8 + 1);
            out.add(Who::Process(PROCESSES), "takes a cell for ever", n);
        }
    }

    /// The message in the cell is acknowledged or given back.
    fn end_lease(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let cell = process.cell as usize - 1;
        if s.cells[cell] != Lent::Held(k as u8 + 1) {
            return out.violation(who, "ack", "the cell is not its own");
        }
        let mut n = *s;
        if self.bug == Bug::NotifyWithoutFence && process.early == 0 {
            n.processes[k].early = 1 + u8::from(s.flag);
            return out.add(who, "notify: look at the flag, too early", n);
        }
        let notifies = process.early != 1 && self.bug != Bug::AckWithoutNotify;
        n.cells[cell] = Lent::Free;
        n.acked += 1;
        let me = &mut n.processes[k];
        me.cell = 0;
        me.then = At::Idle;
        me.todo = if notifies { NOTIFY } else { 0 };
        if self.closer != 0 && self.bug != Bug::AckIgnoresClosed {
            me.todo |= ENDING;
        }
        if process.early == 2 {
            me.at = At::FlagClear;
        } else {
            me.settle();
        }
        out.add(who, "ACK, cell = FREE", n);
        if !self.nacks || process.early != 0 {
            return;
        }
        let mut n = *s;
        n.cells[cell] = Lent::Orphan;
        let me = &mut n.processes[k];
        me.cell = 0;
        me.at = At::Bump;
        me.then = At::Idle;
        me.todo = NOTIFY | WAKE_NOT_EMPTY;
        match self.bug {
            Bug::NackWithoutNotify => me.todo = WAKE_NOT_EMPTY,
            Bug::NackWithoutWake => me.todo = NOTIFY,
            Bug::NackWakesFirst => {
                me.at = At::Pay;
                me.then = At::Bump;
            }
            _ => {}
        }
        out.add(who, "nack, cell = ORPHAN", n);
    }
}
