//! Recovery of a dead waiter's process. It does not hold the lock of the condition.

use super::super::check::{Steps, Who};
use super::calls::Calling;
use super::{At, Bug, Slot, State, Tag, Waiter, Waiters, Word};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Repair {
    #[default]
    Idle,
    Sweep,
    /// A slot of somebody who waits: whose?
    Whose(Word),
    Clear(Word),
    /// The second time through: those that were called.
    Called,
    WhoseCall(u8),
    Pass(Calling),
    Free,
    FreeEarly(u8),
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Recoverer {
    /// The process plus one.
    pub(super) dead: u8,
    pub(super) at: Repair,
    slot: u8,
    /// The notification of a call that it has passed on, while the slot of the dead still has it.
    passed: u8,
}

impl Recoverer {
    /// The notification that is called once more if it is killed now.
    pub(super) fn has_passed(&self) -> Option<u8> {
        let passed = match self.at {
            Repair::Pass(calling) if calling.called > 0 => calling.note,
            _ => self.passed,
        };
        (passed > 0).then_some(passed)
    }

    fn onwards(&mut self, slots: usize, again: Repair, end: Repair) {
        let is_last = self.slot as usize + 1 == slots;
        self.slot = if is_last { 0 } else { self.slot + 1 };
        self.at = if is_last { end } else { again };
    }
}

impl Waiters {
    pub(super) fn recovery(&self, s: &State, out: &mut Steps<State>) {
        let first = if self.bug == Bug::PassBeforeSweep { Repair::Called } else { Repair::Sweep };
        for k in (0..self.waiters).filter(|k| s.waiters[*k].at == At::Dead && self.process(*k) == *k) {
            let dead = k as u8 + 1;
            let is_locked = s.recoverers.iter().any(|recoverer| recoverer.dead == dead);
            let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
            if let (true, Some(r)) = (!is_locked || self.bug == Bug::RecoverWithoutLock, idle) {
                let mut n = *s;
                n.recoverers[r] = Recoverer { dead, at: first, ..Recoverer::default() };
                out.add(Who::Recoverer(r), "takes the lock of the dead", n);
            }
        }
        for r in (0..self.recoverers).filter(|r| s.recoverers[*r].dead != 0) {
            let who = Who::Recoverer(r);
            let mut n = *s;
            match self.repair(s, r, &mut n) {
                Ok(what) => out.add(who, what, n),
                Err(why) => out.violation(who, "passes a call on", why),
            }
        }
    }

    fn is_its(&self, owner: u8, dead: u8) -> bool {
        owner > 0 && self.process(owner as usize - 1) + 1 == dead as usize
    }

    fn repair(&self, s: &State, r: usize, n: &mut State) -> Result<&'static str, &'static str> {
        let Recoverer { dead, at, slot: place, .. } = s.recoverers[r];
        let slot = s.slots[place as usize];
        let is_its = self.is_its(self.owner(&slot), dead);
        let me = &mut n.recoverers[r];
        let passed = if self.bug == Bug::PassBeforeSweep { Repair::Sweep } else { Repair::Reuse };
        Ok(match at {
            Repair::Sweep | Repair::Whose(_) | Repair::Clear(_) => return Ok(self.sweep(s, r, n)),
            Repair::Called => {
                let is_called = slot.word.tag == Tag::Called;
                if is_called && (!self.keeps_owner() || is_its) {
                    me.at = Repair::WhoseCall(slot.by);
                } else {
                    me.onwards(self.waiters, Repair::Called, passed);
                }
                "was it called?"
            }
            Repair::WhoseCall(by) => {
                let owner = if self.keeps_owner() { slot.word.value } else { slot.second };
                if self.is_its(owner, dead) || self.bug == Bug::RecoverAnyOwner {
                    me.at = match self.bug {
                        Bug::NotPassed => Repair::Free,
                        Bug::FreeBeforePass => Repair::FreeEarly(by),
                        _ => Repair::Pass(Calling::pass(by)),
                    };
                } else {
                    me.onwards(self.waiters, Repair::Called, passed);
                }
                "whose is it?"
            }
            Repair::FreeEarly(by) => {
                me.at = Repair::Pass(Calling::pass(by));
                n.slots[place as usize] = Slot::default();
                "word = 0, too early"
            }
            Repair::Pass(calling) => return self.pass(n, r, calling),
            Repair::Free => {
                me.passed = 0;
                me.onwards(self.waiters, Repair::Called, passed);
                n.slots[place as usize] = Slot::default();
                "word = 0"
            }
            Repair::Idle | Repair::Reuse => {
                for k in (0..self.waiters).filter(|k| self.process(*k) + 1 == dead as usize) {
                    if s.waiters[k].at == At::Dead {
                        n.waiters[k] = Waiter { left: s.waiters[k].left, ..Waiter::default() };
                    }
                }
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        })
    }

    /// The first time through: the dead wait no more, so that no call reaches them.
    fn sweep(&self, s: &State, r: usize, n: &mut State) -> &'static str {
        let Recoverer { dead, at, slot: place, .. } = s.recoverers[r];
        let slot = s.slots[place as usize];
        let is_its = self.is_its(self.owner(&slot), dead);
        let me = &mut n.recoverers[r];
        let swept = if self.bug == Bug::PassBeforeSweep { Repair::Reuse } else { Repair::Called };
        match at {
            Repair::Whose(word) => {
                if self.is_its(slot.second, dead) {
                    me.at = Repair::Clear(word);
                } else {
                    me.onwards(self.waiters, Repair::Sweep, swept);
                }
                "whose is it?"
            }
            Repair::Clear(word) => {
                me.onwards(self.waiters, Repair::Sweep, swept);
                if slot.word == word || self.bug == Bug::SweepByStore {
                    n.slots[place as usize] = Slot::default();
                }
                "it waits no more: CAS -> 0"
            }
            _ => {
                match slot.word.tag {
                    Tag::Taken if is_its && self.bug != Bug::TakenStays => me.at = Repair::Clear(slot.word),
                    Tag::Waits if !self.keeps_owner() => me.at = Repair::Whose(slot.word),
                    Tag::Waits if is_its => me.at = Repair::Clear(slot.word),
                    _ => me.onwards(self.waiters, Repair::Sweep, swept),
                }
                "is it of the dead, and not called?"
            }
        }
    }

    fn pass(&self, n: &mut State, r: usize, calling: Calling) -> Result<&'static str, &'static str> {
        let (what, next) = self.call(n, calling)?;
        let has_called = calling.called > 0 || next.is_some_and(|next| next.called > 0);
        let me = &mut n.recoverers[r];
        me.passed = if has_called { calling.note } else { 0 };
        me.at = next.map_or(Repair::Free, Repair::Pass);
        if next.is_none() && self.bug == Bug::FreeBeforePass {
            me.passed = 0;
            me.onwards(self.waiters, Repair::Called, Repair::Reuse);
        }
        Ok(what)
    }
}
