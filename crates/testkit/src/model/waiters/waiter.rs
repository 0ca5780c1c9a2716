//! A waiter: comes, sleeps, goes.

use super::super::check::{Steps, Who};
use super::{At, Bug, Slot, State, Tag, Waiter, Waiters, Word};

impl Waiters {
    pub(super) fn waiter(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let waiter = s.waiters[k];
        let slot = s.slots[waiter.slot as usize];
        self.ends_by_itself(s, k, out);
        let mut n = *s;
        let me = &mut n.waiters[k];
        let waits = slot.word == self.waits(k, &waiter);
        let what = match waiter.at {
            At::Idle | At::Claim | At::Next | At::Second | At::High | At::Commit | At::Unlock => {
                match self.come(s, k, &mut n) {
                    Some(what) => what,
                    None => return,
                }
            }
            At::Look => {
                me.at = if waits { At::Sleep } else { At::Go };
                "wait: look"
            }
            At::Sleep => {
                me.at = if waits || self.bug == Bug::SleepBlindly { At::Asleep } else { At::Look };
                "wait: futex_wait(word, WAITS)"
            }
            At::Go if waits && self.bug == Bug::GoByStore => {
                me.at = At::Free;
                "go: not called"
            }
            At::Go if waits => {
                if !waiter.is_late {
                    return out.violation(who, "go", "it returns, and was not called");
                }
                *me = Waiter { left: waiter.left, ..Waiter::default() };
                n.slots[waiter.slot as usize] = Slot::default();
                "go: CAS -> 0, not called"
            }
            At::Go => {
                me.at = At::Free;
                me.is_late = false;
                "go: it is CALLED"
            }
            At::Free => {
                let is_called = slot.by > 0 && !(self.bug == Bug::GoByStore && waiter.is_late);
                if is_called {
                    n.notes[slot.by as usize - 1].got += 1;
                }
                n.waiters[k] = Waiter { left: waiter.left, ..Waiter::default() };
                if self.bug != Bug::SlotStays {
                    n.slots[waiter.slot as usize] = Slot::default();
                }
                "go: word = 0"
            }
            At::Asleep | At::Dead => return,
        };
        out.add(who, what, n);
    }

    /// A sleep ends, or a wait.
    fn ends_by_itself(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let waiter = s.waiters[k];
        let waits = s.slots[waiter.slot as usize].word == self.waits(k, &waiter);
        // A slice after which it sleeps again changes nothing.
        if self.slices && waiter.at == At::Asleep && !waits {
            let mut n = *s;
            n.waiters[k].at = At::Look;
            out.add(Who::Process(k), "its slice is over", n);
        }
        if s.deadlines < self.deadlines && matches!(waiter.at, At::Sleep | At::Asleep) {
            let mut n = *s;
            n.deadlines += 1;
            n.waiters[k].at = At::Go;
            n.waiters[k].is_late = true;
            out.add(Who::Process(k), "its deadline", n);
        }
    }

    /// Under the lock of the condition.
    fn come(&self, s: &State, k: usize, n: &mut State) -> Option<&'static str> {
        let waiter = s.waiters[k];
        let place = waiter.slot as usize;
        let me = &mut n.waiters[k];
        let id = k as u8 + 1;
        let late = self.bug == Bug::HighLate;
        Some(match waiter.at {
            At::Idle if waiter.left > 0 && s.lock == 0 => {
                me.at = At::Claim;
                n.lock = id;
                "come: lock"
            }
            At::Claim if s.slots[place].word.tag == Tag::Free => {
                me.at = if self.keeps_owner() { At::Next } else { At::Second };
                n.slots[place].word = Word { tag: Tag::Taken, value: id };
                "come: CAS 0 -> TAKEN"
            }
            At::Claim if place + 1 < self.waiters => {
                me.slot += 1;
                "come: not free"
            }
            At::Claim => {
                // An error, after which it tries again.
                *me = Waiter { left: waiter.left, ..Waiter::default() };
                n.unlock(k);
                "come: no slot is free; unlock"
            }
            At::Next => {
                me.number = s.next;
                me.at = match self.bug {
                    Bug::OwnerAlone => At::Second,
                    Bug::HighLate => At::Commit,
                    _ => At::High,
                };
                n.next += 1;
                "come: n = next, next += 1"
            }
            At::Second => {
                n.slots[place].second = if self.keeps_owner() { waiter.number } else { id };
                me.at = match self.bug {
                    Bug::NumberLate => At::Unlock,
                    Bug::OwnerAlone => At::High,
                    _ => At::Next,
                };
                "come: the second word"
            }
            At::High => {
                let to = waiter.slot + 1;
                n.high = if self.bug == Bug::HighByStore { to } else { s.high.max(to) };
                me.at = if late { At::Unlock } else { At::Commit };
                "come: high"
            }
            At::Commit => {
                me.at = match self.bug {
                    Bug::NumberLate => At::Second,
                    _ if late => At::High,
                    _ => At::Unlock,
                };
                me.left -= 1;
                n.slots[place].word = self.waits(k, &waiter);
                "come: WAITS"
            }
            At::Unlock => {
                me.at = At::Look;
                n.unlock(k);
                "come: unlock"
            }
            _ => return None,
        })
    }
}
