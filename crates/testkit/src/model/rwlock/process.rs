//! A reader, and a writer.

use super::super::check::{Steps, Who};
use super::{At, Bug, READERS, RwLock, State, id};

impl RwLock {
    pub(super) fn read(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Idle if process.left > 0 => {
                me.left -= 1;
                me.at = if self.bug == Bug::PresentLate { At::Inc } else { At::Present };
                "read"
            }
            At::Present => {
                n.present[k] = true;
                me.at = if self.bug == Bug::WordBeforeCell { At::EarlyLook } else { At::Inc };
                "present = 1"
            }
            At::EarlyLook => {
                me.early = s.owner != 0;
                me.at = At::Inc;
                "read: look at the word, too early"
            }
            At::Inc => {
                n.cells[k] += 1;
                me.at = At::Look;
                "read: cell += 1"
            }
            At::Look => return self.look(s, k, out),
            At::LatePresent => {
                n.present[k] = true;
                me.at = At::Reading;
                "present = 1, too late"
            }
            At::Reading => {
                me.at = At::Dec;
                if self.bug == Bug::LeaveLooksFirst {
                    me.at = At::LeaveLook;
                }
                "read: done"
            }
            _ => return self.leave(s, k, out),
        };
        out.add(who, what, n);
    }

    /// Out of its cell, and perhaps to sleep until the writer is gone.
    fn leave(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Dec => {
                n.cells[k] -= 1;
                me.at = At::LeaveLook;
                if self.bug == Bug::LeaveLooksFirst {
                    me.at = At::LeavePost;
                    if !std::mem::take(&mut me.early) {
                        self.left(&mut n, k);
                    }
                }
                "leave: cell -= 1"
            }
            At::LeaveLook if self.bug == Bug::LeaveLooksFirst => {
                me.early = s.owner != 0;
                me.at = At::Dec;
                "leave: look at the word, too early"
            }
            At::LeaveLook => {
                me.at = At::LeavePost;
                if s.owner == 0 || self.bug == Bug::LeaveWithoutPost {
                    self.left(&mut n, k);
                }
                "leave: look at the word"
            }
            At::LeavePost => {
                n.post_drained();
                self.left(&mut n, k);
                "leave: post drained"
            }
            At::ReadArm => {
                me.moved = false;
                me.at = At::ReadLook;
                "wait for the writer: arm"
            }
            At::ReadLook if s.owner == 0 => {
                me.moved = false;
                me.waits = false;
                me.at = if self.bug == Bug::WaitInCell { At::Look } else { At::Inc };
                "wait for the writer: it is gone"
            }
            At::ReadLook => {
                me.at = At::ReadSleep;
                "wait for the writer: it is there"
            }
            At::ReadSleep => {
                me.at = if process.moved { At::ReadArm } else { At::ReadAsleep };
                me.moved = false;
                "wait for the writer: futex_wait"
            }
            _ => return,
        };
        out.add(Who::Process(k), what, n);
    }

    /// Where a reader goes that is not in its cell any more.
    fn left(&self, n: &mut State, k: usize) {
        let me = &mut n.processes[k];
        if me.waits {
            me.at = At::ReadArm;
        } else {
            me.rest();
        }
    }

    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let taken = if self.bug == Bug::WordBeforeCell { s.processes[k].early } else { s.owner != 0 };
        let mut n = *s;
        let me = &mut n.processes[k];
        me.early = false;
        if taken {
            me.waits = true;
            me.at = match self.bug {
                Bug::WaitInCell => At::ReadArm,
                Bug::LeaveLooksFirst => At::LeaveLook,
                _ => At::Dec,
            };
            return out.add(who, "read: there is a writer", n);
        }
        if s.dirty != s.debt {
            let why = if s.debt {
                "a writer died inside, and the next is not told"
            } else {
                "told without a death"
            };
            return out.violation(who, "read", why);
        }
        me.at = match (s.dirty, self.bug) {
            (true, _) => At::Dec,
            (false, Bug::PresentLate) => At::LatePresent,
            (false, _) => At::Reading,
        };
        out.add(who, if s.dirty { "read: told" } else { "read: granted" }, n);
    }

    pub(super) fn write(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Idle if process.left > 0 => {
                me.left -= 1;
                me.at = if self.bug == Bug::CellsBeforeWord { At::EarlyCells(0) } else { At::Lock };
                "write"
            }
            At::EarlyCells(cell) => {
                me.early |= s.cells[cell as usize] != 0;
                me.at = At::EarlyCells(cell + 1);
                if cell as usize + 1 == READERS {
                    me.at = At::Lock;
                }
                "write: look at a cell, too early"
            }
            At::Lock if s.owner == 0 => {
                if s.dirty != s.debt {
                    let why = if s.debt { "the next is not told" } else { "told without a death" };
                    return out.violation(who, "write", why);
                }
                n.owner = id(k);
                me.told = s.dirty;
                me.at = match self.bug {
                    Bug::InsideBeforeDrain => At::EarlyInside,
                    Bug::NoDrain => At::Enter,
                    Bug::CellsBeforeWord if !process.early => At::Enter,
                    _ => At::DrainArm,
                };
                "write: lock the word"
            }
            At::EarlyInside => {
                n.inside = true;
                me.at = At::DrainArm;
                "inside = 1, too early"
            }
            At::Enter => {
                n.inside = true;
                me.at = At::Writing;
                "inside = 1"
            }
            At::Writing => {
                me.at = if self.bug == Bug::InsideOffLate { At::Swap } else { At::InsideOff };
                if process.told {
                    let mut n = n;
                    n.processes[k].repaired = true;
                    out.add(who, "write: repaired and done", n);
                }
                if process.told { "write: told, not repaired" } else { "write: done" }
            }
            At::InsideOff => {
                n.inside = false;
                me.at = At::Swap;
                "unlock: inside = 0"
            }
            At::Swap | At::LateInsideOff | At::PostOpened => return self.unlock(s, k, out),
            _ => return self.drain(s, k, out),
        };
        out.add(who, what, n);
    }

    fn drain(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::DrainArm => {
                me.early = false;
                me.moved = false;
                me.at = At::Cells(0);
                "drain: arm"
            }
            At::Cells(cell) => {
                let reads = s.present[cell as usize] && s.cells[cell as usize] != 0;
                me.at = match (reads, cell as usize + 1 == READERS) {
                    (true, _) => At::DrainSleep,
                    (false, false) => At::Cells(cell + 1),
                    (false, true) => At::Enter,
                };
                me.moved &= me.at != At::Enter;
                "drain: look at a cell"
            }
            At::DrainSleep => {
                me.at = if process.moved { At::DrainArm } else { At::DrainAsleep };
                me.moved = false;
                "drain: futex_wait"
            }
            At::DrainAsleep if s.deadlines < self.deadlines => {
                n.deadlines += 1;
                // It did not touch the data, so DIRTY stays as it was.
                me.early = true;
                me.at = At::Swap;
                "drain: deadline"
            }
            _ => return,
        };
        out.add(who, what, n);
    }

    fn unlock(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Swap => {
                if s.owner != id(k) {
                    return out.violation(who, "unlock", "the lock is not its own any more");
                }
                n.owner = 0;
                let forgets = process.early && self.bug == Bug::TimeoutForgetsDirty;
                n.dirty = process.told && !process.repaired && !forgets;
                n.debt &= !process.repaired;
                let silent = self.bug == Bug::UnlockWithoutPost
                    || process.early && self.bug == Bug::TimeoutWithoutPost;
                me.at = if silent { At::Idle } else { At::PostOpened };
                if self.bug == Bug::InsideOffLate && s.inside {
                    me.at = At::LateInsideOff;
                }
                if me.at == At::Idle {
                    me.rest();
                }
                "unlock: swap"
            }
            At::LateInsideOff => {
                n.inside = false;
                me.at = At::PostOpened;
                "unlock: inside = 0, too late"
            }
            _ => {
                n.post_opened();
                n.processes[k].rest();
                "unlock: post opened"
            }
        };
        out.add(who, what, n);
    }
}
