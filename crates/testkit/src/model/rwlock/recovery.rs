//! What is done for a dead reader or writer.

use super::super::check::{Steps, Who};
use super::{Bug, READERS, Recoverer, Repair, RwLock, State, id};

impl RwLock {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = id(k);
        let locked = s.recoverers.iter().any(|r| r.dead == dead);
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            n.recoverers[r] = Recoverer { dead, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let Recoverer { dead, at, was_inside } = s.recoverers[r];
        let cell = dead as usize - 1;
        let reader = cell < READERS;
        let mut n = *s;
        let me = &mut n.recoverers[r];
        let mut set = |next| me.at = next;
        let what = match at {
            Repair::Owner => {
                let owns = s.owner == dead;
                set(match (owns, reader) {
                    (true, _) => Repair::Inside,
                    (false, _) if self.bug == Bug::InsideOfOthers => Repair::InsideOff,
                    (false, true) => Repair::Cell,
                    (false, false) => self.wakes(),
                });
                "does the word name the dead?"
            }
            Repair::Inside => {
                let inside = s.inside && self.bug != Bug::NeverDirty || self.bug == Bug::AlwaysDirty;
                set(if inside { Repair::Dirty } else { Repair::Free });
                if inside && self.bug == Bug::InsideOffFirst {
                    set(Repair::InsideOff);
                }
                if !inside && self.bug == Bug::NeverDirty {
                    set(Repair::InsideOff);
                }
                "was it inside?"
            }
            Repair::Dirty => {
                n.dirty = true;
                n.recoverers[r].at = if was_inside { Repair::Free } else { Repair::InsideOff };
                n.recoverers[r].was_inside = false;
                "word |= DIRTY"
            }
            Repair::InsideOff => {
                n.inside = false;
                let first = self.bug == Bug::InsideOffFirst;
                let me = &mut n.recoverers[r];
                me.was_inside = first;
                me.at = if first { Repair::Dirty } else { Repair::Free };
                "inside = 0"
            }
            Repair::Free => {
                if s.owner == dead {
                    n.owner = 0;
                }
                n.recoverers[r].at = if reader { Repair::Cell } else { self.wakes() };
                "the word is free"
            }
            _ => return self.finish(s, r, out),
        };
        out.add(Who::Recoverer(r), what, n);
    }

    /// The cell, the wakes.
    fn finish(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let Recoverer { dead, at, .. } = s.recoverers[r];
        let cell = dead as usize - 1;
        let mut n = *s;
        let what = match at {
            Repair::Cell => {
                n.cells[cell] = match self.bug {
                    Bug::CellStays => s.cells[cell],
                    Bug::CellMinusOne => s.cells[cell].wrapping_sub(1),
                    _ => 0,
                };
                n.recoverers[r].at = Repair::Present;
                "cell = 0"
            }
            Repair::Present => {
                n.present[cell] = self.bug == Bug::CellStays;
                n.recoverers[r].at = self.wakes();
                "present = 0"
            }
            Repair::WakeDrained => {
                n.post_drained();
                let last = self.bug == Bug::WakesDrainedOnly;
                n.recoverers[r].at = if last { Repair::Reuse } else { Repair::WakeOpened };
                "wake all on drained"
            }
            Repair::WakeOpened => {
                n.post_opened();
                n.recoverers[r].at = Repair::Reuse;
                "wake all on opened"
            }
            _ => {
                n.processes[dead as usize - 1].rest();
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(Who::Recoverer(r), what, n);
    }

    fn wakes(&self) -> Repair {
        match self.bug {
            Bug::SilentRecovery => Repair::Reuse,
            Bug::WakesOpenedOnly => Repair::WakeOpened,
            _ => Repair::WakeDrained,
        }
    }
}
