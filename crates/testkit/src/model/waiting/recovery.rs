//! What is done for the dead, and the wakes at its end.

use super::super::check::{Steps, Who};
use super::{At, Bug, CELL, Lent, NOT_EMPTY, NOT_FULL, Recoverer, Repair, State, Waiting, Word};

const WHO: Who = Who::Recoverer(0);

impl Waiting {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.recoverer.dead == 0 {
            let mut n = *s;
            n.recoverer = Recoverer { dead: k as u8 + 1, ..Recoverer::default() };
            out.add(WHO, "takes the lock of the dead", n);
        }
    }

    pub(super) fn repair(&self, s: &State, out: &mut Steps<State>) {
        let Recoverer { dead, at, i } = s.recoverer;
        let silent = matches!(self.bug, Bug::SilentRecovery | Bug::RecoveryWithoutAnything);
        let mut n = *s;
        let what = match at {
            Repair::Slot => {
                self.sweep_slot(&mut n, i as usize);
                let last = i + 1 == self.capacity;
                n.recoverer.i = if last { 0 } else { i + 1 };
                let next = if self.cells == 0 { Repair::Bump } else { Repair::Cells };
                n.recoverer.at = if last { next } else { at };
                "slot WRITING(d) -> ABORT|W, READING(d) -> REDELIV|W"
            }
            Repair::Cells => {
                for cell in &mut n.cells {
                    if *cell == Lent::Loan(dead) {
                        *cell = Lent::Free;
                    } else if *cell == Lent::Held(dead) {
                        *cell = Lent::Orphan;
                    }
                }
                n.recoverer.at = Repair::Bump;
                "cells LOAN(d) -> FREE, HELD(d) -> ORPHAN"
            }
            Repair::Bump => {
                n.bit = true;
                n.recoverer.at = if silent { Repair::Reuse } else { Repair::Seqs };
                "redeliver += 2, bit"
            }
            Repair::Seqs => {
                n.bump(NOT_EMPTY | NOT_FULL | CELL);
                n.recoverer.at = Repair::Wakes;
                "seq += 1 on every line"
            }
            Repair::Wakes => {
                for k in 0..self.processes() {
                    if let At::Asleep(line) = s.processes[k].at {
                        self.wake_up(&mut n, k, line);
                    }
                }
                n.recoverer.at = Repair::Reuse;
                "wake all on every line"
            }
            Repair::Reuse => {
                n.processes[dead as usize - 1].rest(At::Idle);
                n.recoverer = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(WHO, what, n);
    }

    fn sweep_slot(&self, n: &mut State, i: usize) {
        let dead = n.recoverer.dead;
        let slot = &mut n.slots[i];
        let left = match slot.word {
            Word::Writing(owner) if owner == dead => Word::Abort,
            Word::Reading(owner) if owner == dead => Word::Redeliv,
            _ => return,
        };
        slot.word = left;
        slot.waits = !matches!(self.bug, Bug::RecoveryWithoutW | Bug::RecoveryWithoutAnything);
    }
}
