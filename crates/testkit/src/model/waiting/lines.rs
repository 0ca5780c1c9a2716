//! Arm, sleep, and what is paid to others: wakes, notify, pass.

use super::super::check::{Steps, Who};
use super::{At, Bug, CELL, ENDING, Kind, NOT_EMPTY, NOT_FULL, NOTIFY, PASS, State, Waiting};

impl Waiting {
    pub(super) fn wait_or_pay(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let what = match process.at {
            At::Arm => {
                let slot = n.slot_mut(process.pos, self.capacity);
                let same = slot.word == process.seen && !slot.waits && self.armable(*slot, process.pos, k);
                if same || self.bug == Bug::ArmBlindly {
                    slot.waits = true;
                    let late = self.bug == Bug::SeqAfterArm;
                    n.processes[k].at = if late { At::LateSeq } else { At::Sleep(self.line(k)) };
                } else {
                    n.processes[k].again();
                }
                "arm: CAS w -> w|W"
            }
            At::LateSeq => {
                n.processes[k].moved = 0;
                n.processes[k].at = At::Sleep(self.line(k));
                "s = seq, too late"
            }
            At::Sleep(line) => {
                let moved = process.moved & line != 0;
                let me = &mut n.processes[k];
                me.again();
                if !moved {
                    me.at = At::Asleep(line);
                }
                "futex_wait(seq, s)"
            }
            At::Asleep(line) => return self.asleep(s, k, line, out),
            At::Bump => {
                n.bit = true;
                self.leave_line(&mut n, k);
                "redeliver += 2, bit"
            }
            At::Wake(line) => {
                let all = self.bug == Bug::WakesAll || self.kind(k) == Kind::Closer;
                return self.wake(s, line, all, Who::Process(k), "wake", out, |n| n.processes[k].settle());
            }
            At::EndingWake => {
                let who = Who::Process(k);
                return self.wake(s, NOT_EMPTY, true, who, "wake all, it may be the end", out, |n| {
                    n.processes[k].settle();
                });
            }
            At::CellWake => {
                let next = |n: &mut State| match self.bug {
                    Bug::FlagClearedLate => n.processes[k].at = At::FlagClearLate,
                    _ => n.processes[k].settle(),
                };
                let all = self.bug != Bug::CellWakesOne;
                return self.wake(s, CELL, all, Who::Process(k), "notify: wake all", out, next);
            }
            At::PassWake => {
                let line = self.line(k);
                return self.wake(s, line, false, Who::Process(k), "pass: wake one", out, |n| {
                    n.processes[k].settle();
                });
            }
            _ => self.pay(&mut n, k),
        };
        out.add(Who::Process(k), what, n);
    }

    /// Somebody must stay who takes the messages, and a `Patient` waits for every producer.
    pub(super) fn may_leave(&self, s: &State, k: usize) -> bool {
        let consumes = |k: usize| matches!(self.kind(k), Kind::Taker | Kind::Lessee);
        let stays = |other: usize| other != k && consumes(other) && s.processes[other].at != At::Gone;
        match self.kind(k) {
            Kind::Producer => self.patient == 0,
            Kind::Taker | Kind::Lessee => !self.hoarder && (0..self.processes()).any(stays),
            Kind::Patient | Kind::Closer => false,
        }
    }

    fn asleep(&self, s: &State, k: usize, line: u8, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        if s.leaves < self.leaves && self.may_leave(s, k) {
            n.leaves += 1;
            self.leave_asleep(&mut n, k, line);
            out.add(who, "deadline", n);
        }
        if self.slices {
            let mut n = *s;
            self.wake_up(&mut n, k, line);
            out.add(who, "the slice ends", n);
        }
    }

    pub(super) fn wake_up(&self, n: &mut State, k: usize, line: u8) {
        let me = &mut n.processes[k];
        me.slept |= line != CELL;
        me.again();
    }

    /// Asleep, and its deadline comes, perhaps in the moment in which it is woken.
    fn leave_asleep(&self, n: &mut State, k: usize, line: u8) {
        self.wake_up(n, k, line);
        let me = &mut n.processes[k];
        me.then = At::Gone;
        me.slept &= self.bug != Bug::LeaveWithoutPass;
        self.leave_line(n, k);
    }

    /// One step of what is owed to others.
    fn pay(&self, n: &mut State, k: usize) -> &'static str {
        let late = self.bug == Bug::FlagClearedLate;
        let closer = self.kind(k) == Kind::Closer;
        let todo = n.processes[k].todo;
        match n.processes[k].at {
            At::FlagClear => {
                n.flag = false;
                n.processes[k].todo &= !NOTIFY;
                n.processes[k].at = At::CellBump;
                "notify: flag = 0"
            }
            At::FlagClearLate => {
                n.flag = false;
                n.processes[k].settle();
                "notify: flag = 0, too late"
            }
            At::CellBump => {
                n.bump(CELL);
                n.processes[k].at = At::CellWake;
                "notify: CELL.seq += 1"
            }
            _ if todo & (NOT_EMPTY | NOT_FULL) != 0 => {
                let line = if todo & NOT_EMPTY != 0 { NOT_EMPTY } else { NOT_FULL };
                n.bump(line);
                n.processes[k].todo &= !line;
                n.processes[k].at = At::Wake(line);
                "seq += 1"
            }
            _ if todo & NOTIFY != 0 && (n.flag || closer) => {
                let me = &mut n.processes[k];
                me.todo &= !NOTIFY;
                me.at = if late || closer { At::CellBump } else { At::FlagClear };
                "notify: the flag is set"
            }
            _ if todo & NOTIFY != 0 => {
                n.processes[k].todo &= !NOTIFY;
                n.processes[k].settle();
                "notify: the flag is not set"
            }
            _ if todo & ENDING != 0 && n.closed => {
                n.bump(NOT_EMPTY);
                n.processes[k].todo &= !ENDING;
                n.processes[k].at = At::EndingWake;
                "closed: seq += 1"
            }
            _ if todo & ENDING != 0 => {
                n.processes[k].todo &= !ENDING;
                n.processes[k].settle();
                "not closed"
            }
            _ => self.pass(n, k),
        }
    }

    fn pass(&self, n: &mut State, k: usize) -> &'static str {
        let pos = self.next(n, k);
        let slot = n.slot(pos, self.capacity);
        n.processes[k].todo &= !PASS;
        if self.armable(slot, pos, k) {
            n.slot_mut(pos, self.capacity).waits = true;
            n.processes[k].settle();
            return "pass: the next slot carries W";
        }
        if self.bug == Bug::PassOnlyArms {
            n.processes[k].settle();
        } else {
            n.processes[k].at = At::PassWake;
        }
        "pass: the next slot cannot carry W"
    }

    /// Wakes any one sleeper of the line, or all; the deadline of one may come at the same moment.
    #[expect(clippy::too_many_arguments, reason = "a step, and what goes with it")]
    pub(super) fn wake(
        &self,
        s: &State,
        line: u8,
        all: bool,
        who: Who,
        what: &'static str,
        out: &mut Steps<State>,
        then: impl Fn(&mut State),
    ) {
        let sleepers = (0..self.processes()).filter(|k| s.processes[*k].at == At::Asleep(line));
        if all || sleepers.clone().next().is_none() {
            let mut n = *s;
            sleepers.for_each(|k| self.wake_up(&mut n, k, line));
            then(&mut n);
            return out.add(who, what, n);
        }
        for k in sleepers {
            let mut n = *s;
            self.wake_up(&mut n, k, line);
            then(&mut n);
            out.add(who, what, n);
            if s.leaves < self.leaves && self.may_leave(s, k) {
                let mut n = *s;
                n.leaves += 1;
                self.leave_asleep(&mut n, k, line);
                then(&mut n);
                out.add(who, "wake one, who is at its deadline", n);
            }
        }
    }
}
