//! What is done for the dead: every slot, then the bump.

use super::super::check::{Steps, Who};
use super::{Bug, Policy, Recoverer, Repair, Ring, Slot, State, Word};

impl Ring {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = k as u8 + 1;
        let locked = s.recoverers.iter().any(|r| r.dead == dead) && self.bug != Bug::RecoverWithoutLock;
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            let at = if self.bug == Bug::BumpFirst { Repair::Bump } else { Repair::Slot };
            n.recoverers[r] = Recoverer { dead, at, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let who = Who::Recoverer(r);
        let Recoverer { dead, at, i, changed } = s.recoverers[r];
        let first = self.bug == Bug::BumpFirst;
        let mut n = *s;
        let what = match at {
            Repair::Slot => {
                let what = self.sweep(&mut n, i as usize, dead);
                let last = i + 1 == self.capacity;
                let next = if first { Repair::Reuse } else { Repair::Bump };
                n.recoverers[r].i = if last { 0 } else { i + 1 };
                n.recoverers[r].at = if last { next } else { at };
                n.recoverers[r].changed |= n.slots != s.slots;
                what
            }
            Repair::Bump => {
                if self.bug != Bug::NoBump && (self.bug != Bug::BumpIfChanged || changed) {
                    n.bump();
                }
                n.recoverers[r].at = if first { Repair::Slot } else { Repair::Reuse };
                "redeliver += 2, bit"
            }
            Repair::Reuse => {
                if s.slots.iter().any(|slot| slot.word.owner() == dead) && self.bug != Bug::RecoverWithoutLock
                {
                    return out.violation(who, "frees the id", "a slot still names it");
                }
                if s.processes[dead as usize - 1].at == super::At::Dead {
                    n.processes[dead as usize - 1].rest();
                }
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(who, what, n);
    }

    fn sweep(&self, n: &mut State, i: usize, dead: u8) -> &'static str {
        let payload = n.payloads[i];
        let slot = &mut n.slots[i];
        match slot.word {
            Word::Writing(owner) if owner == dead && self.bug != Bug::WritingNotSwept => {
                slot.word = if self.bug == Bug::WritingToFree { Word::Free } else { Word::Abort };
                "slot WRITING(d) -> ABORT"
            }
            Word::Reading(owner) if owner == dead && self.bug != Bug::ReadingNotSwept => {
                if self.policy == Policy::Drop {
                    *slot = Slot { word: Word::Free, pos: slot.pos + self.capacity };
                    n.dropped |= 1 << (payload - 1);
                    return "slot READING(d) -> FREE, dropped";
                }
                slot.word = Word::Redeliv;
                "slot READING(d) -> REDELIV"
            }
            _ => "the slot is not the dead one's",
        }
    }
}
