//! The parent: threads that submit, join, cancel and doom, and the supervisor.

use super::super::check::{Steps, Who};
use super::{Bug, Call, Caller, Lease, Op, Outcome, Pool, SUPERVISOR, Slot, St, State, Work, Worker};

const WHO: Who = Who::Process(10);

fn who(k: usize) -> Who {
    if k == SUPERVISOR { WHO } else { Who::Process(20 + k) }
}

impl Pool {
    pub(super) fn caller(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let Some(op) = self.op(s, k) else { return };
        match s.callers[k].at {
            Call::Next => {
                let mut n = *s;
                n.callers[k].at = match op {
                    Op::Submit(_) => Call::Lock,
                    Op::Join(_) => Call::JoinLock,
                    Op::Cancel(_) => Call::CancelLock,
                    Op::Doom(_) => return self.doom(s, k, out),
                };
                out.add(who(k), "begins", n);
            }
            Call::JoinLock | Call::SetWaited(_) | Call::JoinSleep(_) => self.join(s, k, out),
            Call::CancelLock | Call::CancelLate(_) => self.cancel(s, k, out),
            Call::HallSeq | Call::HallFlag | Call::HallAsk(_) | Call::HallSleep => self.wait(s, k, out),
            Call::HintLook(_) | Call::HintPut(_) | Call::HintTail(_) => self.hint(s, k, out),
            Call::Unlock | Call::PostFlag | Call::PostWake => self.post(s, k, out),
            Call::JoinAsleep(_) | Call::HallAsleep => {}
            _ => self.submit(s, k, op, out),
        }
    }

    fn next(n: &mut State, k: usize) {
        n.callers[k] = Caller { op: n.callers[k].op + u8::from(k != SUPERVISOR), ..Caller::default() };
    }

    fn submit(&self, s: &State, k: usize, op: Op, out: &mut Steps<State>) {
        let Op::Submit(task) = op else { return };
        let mut n = *s;
        let free = (0..self.slots).find(|slot| s.slots[*slot].lease == Lease::default());
        let first = |slot: usize| match self.bug {
            Bug::HintBeforeReady => Call::HintLook(slot as u8),
            Bug::ReadyLast => Call::HintPut(slot as u8),
            _ => Call::Fill(slot as u8),
        };
        let what = match s.callers[k].at {
            Call::Lock if s.lock != 0 => return,
            Call::Lock => {
                n.lock = k as u8 + 1;
                n.callers[k].at = free.map_or(Call::Reclaim(0), first);
                "lock: is a slot free?"
            }
            Call::Fill(i) => {
                let Slot { hint, .. } = s.slots[i as usize];
                let lease = Lease { st: St::Ready, task: task + 1, ..Lease::default() };
                n.slots[i as usize] = Slot { lease, hint, ..Slot::default() };
                n.callers[k].at = match self.bug {
                    Bug::HintBeforeReady if s.callers[k].served => Call::Unlock,
                    Bug::HintBeforeReady | Bug::HintAlways => Call::HintPut(i),
                    Bug::ReadyLast => Call::Unlock,
                    _ => Call::HintLook(i),
                };
                "READY"
            }
            Call::Reclaim(i) if i as usize == self.slots => {
                n.callers[k].at = match free {
                    Some(slot) => first(slot),
                    None => {
                        n.lock = 0;
                        if self.bug == Bug::HallBitsFirst { Call::HallAsk(0) } else { Call::HallSeq }
                    }
                };
                "was anything over?"
            }
            Call::Reclaim(i) => {
                n.callers[k].at = Call::Reclaim(i + 1);
                if s.slots[i as usize].lease.st == St::Done {
                    self.take(&mut n, i as usize);
                    n.callers[k].at = Call::ReclaimWake(i);
                }
                "takes it if it is DONE"
            }
            Call::ReclaimWake(i) => {
                if self.bug != Bug::TakeWakesNobody {
                    n.wake_lease(i as usize);
                }
                n.callers[k].at = Call::Reclaim(i + 1);
                "wakes who sleeps on it"
            }
            _ => return,
        };
        out.add(who(k), what, n);
    }

    /// Takes what is DONE; the lease is FREE then.
    fn take(&self, n: &mut State, slot: usize) {
        let left = self.items - n.slots[slot].base;
        n.values(slot, left);
        n.free(slot);
    }

    /// After READY: does the slot need a hint?
    fn hint(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.callers[k];
        let what = match me.at {
            Call::HintLook(i) => {
                let slot = s.slots[i as usize];
                let is_there = slot.hint > s.head;
                me.served = is_there;
                me.at = match self.bug {
                    Bug::HintBeforeReady if k != SUPERVISOR => Call::Fill(i),
                    Bug::RehintAll if k == SUPERVISOR => Call::HintPut(i),
                    _ if is_there => self.hinted(k, i),
                    _ => Call::HintPut(i),
                };
                "is its last hint still there?"
            }
            Call::HintPut(i) => {
                if (s.tail - s.head) as usize == self.slots {
                    return out.violation(who(k), "a hint", "the ring overflows");
                }
                n.ring[s.tail as usize % self.slots] = i;
                n.callers[k].at = Call::HintTail(i);
                "ring[tail] = slot"
            }
            Call::HintTail(i) => {
                n.tail += 1;
                n.slots[i as usize].hint = n.tail;
                let late = self.bug == Bug::ReadyLast && k != SUPERVISOR;
                n.callers[k].at = if late { Call::Fill(i) } else { self.hinted(k, i) };
                "tail += 1"
            }
            _ => return,
        };
        out.add(who(k), what, n);
    }

    fn hinted(&self, k: usize, slot: u8) -> Call {
        match k {
            SUPERVISOR if (slot as usize) + 1 < self.slots => Call::Slot(slot + 1),
            _ => Call::Unlock,
        }
    }

    fn post(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = s.callers[k];
        let end = |n: &mut State| {
            if k == SUPERVISOR { n.callers[k].at = Call::Replace } else { Self::next(n, k) }
        };
        match me.at {
            Call::Unlock => {
                n.lock = 0;
                n.callers[k].at = Call::PostFlag;
                if self.bug == Bug::ServedWithoutPost && me.served && k != SUPERVISOR {
                    Self::next(&mut n, k);
                }
                out.add(who(k), "unlock", n);
            }
            Call::PostFlag => {
                if s.idle {
                    n.idle = false;
                    n.callers[k].at = Call::PostWake;
                } else {
                    end(&mut n);
                }
                out.add(who(k), "post: flag = 0", n);
            }
            _ => self.wake_idle(s, |mut n| {
                end(&mut n);
                out.add(who(k), "post: seq += 1, wake one", n);
            }),
        }
    }

    /// Full: until anything is over.
    fn wait(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.callers[k];
        let bits_first = self.bug == Bug::HallBitsFirst;
        let what = match me.at {
            Call::HallSeq => {
                me.moved = false;
                me.at = Call::HallFlag;
                "s = seq"
            }
            Call::HallFlag => {
                n.hall = true;
                me.at = if bits_first { Call::HallSleep } else { Call::HallAsk(0) };
                "flag = 1"
            }
            Call::HallAsk(i) if i as usize == self.slots => {
                me.at = if bits_first { Call::HallSeq } else { Call::HallSleep };
                "all are asked"
            }
            Call::HallAsk(i) => {
                let lease = &mut n.slots[i as usize].lease;
                match lease.st {
                    St::Free | St::Done if self.bug != Bug::NoHallBits => {
                        (me.at, me.moved) = (Call::Lock, false);
                    }
                    _ => {
                        lease.hall = self.bug != Bug::NoHallBits && lease.st != St::Done;
                        me.at = Call::HallAsk(i + 1);
                    }
                }
                "CAS + H, or it is over"
            }
            _ => {
                me.at = if me.moved { Call::Lock } else { Call::HallAsleep };
                me.moved = false;
                "futex_wait"
            }
        };
        out.add(who(k), what, n);
    }

    fn join(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let Some(Op::Join(task)) = self.op(s, k) else { return };
        let mut n = *s;
        let what = match s.callers[k].at {
            Call::JoinLock if s.lock != 0 => return,
            Call::JoinLock => {
                match s.slot_of(task) {
                    _ if self.is_over(s, task) => Self::next(&mut n, k),
                    Some(slot) if s.slots[slot].lease.st == St::Done => {
                        self.take(&mut n, slot);
                        Self::next(&mut n, k);
                    }
                    Some(slot) => n.callers[k].at = Call::SetWaited(slot as u8),
                    // The other caller has not submitted it yet: looks again.
                    None => return,
                }
                "lock: is it over?"
            }
            Call::SetWaited(i) => {
                let lease = &mut n.slots[i as usize].lease;
                if lease.task != task + 1 || lease.st == St::Done {
                    n.callers[k].at = Call::JoinLock;
                } else {
                    lease.waited = true;
                    n.callers[k].seen = *lease;
                    n.callers[k].at = Call::JoinSleep(i);
                }
                "CAS + W"
            }
            Call::JoinSleep(i) => {
                let same = s.slots[i as usize].lease == s.callers[k].seen;
                let sleeps = same || self.bug == Bug::SleepBlindly;
                n.callers[k].at = if sleeps { Call::JoinAsleep(i) } else { Call::JoinLock };
                n.callers[k].seen = Lease::default();
                "futex_wait"
            }
            _ => return,
        };
        out.add(who(k), what, n);
    }

    fn cancel(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let Some(Op::Cancel(task)) = self.op(s, k) else { return };
        let mut n = *s;
        let what = match s.callers[k].at {
            Call::CancelLock if s.lock != 0 => return,
            Call::CancelLock => {
                let slot = s.slot_of(task).filter(|slot| {
                    let there = s.slots[*slot];
                    there.lease.st == St::Ready && there.attempt == 0 && there.base == 0
                });
                match slot {
                    Some(slot) if self.bug == Bug::CancelByStore => {
                        n.lock = k as u8 + 1;
                        n.callers[k].at = Call::CancelLate(slot as u8);
                    }
                    Some(slot) => self.cancelled(&mut n, k, slot, task),
                    None => Self::next(&mut n, k),
                }
                "cancel: CAS READY -> FREE"
            }
            Call::CancelLate(slot) => {
                n.lock = 0;
                self.cancelled(&mut n, k, slot as usize, task);
                "cancel: FREE"
            }
            _ => return,
        };
        out.add(who(k), what, n);
    }

    fn cancelled(&self, n: &mut State, k: usize, slot: usize, task: u8) {
        (0..self.items).for_each(|item| n.over(task, item, Outcome::Cancelled));
        n.free(slot);
        n.wake_lease(slot);
        if self.bug != Bug::CancelSilently {
            n.wake_hall();
        }
        Self::next(n, k);
    }

    fn doom(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let Some(Op::Doom(task)) = self.op(s, k) else { return };
        let mut n = *s;
        if let Some(slot) = s.slot_of(task)
            && let Lease { st: St::Run, owner, .. } = s.slots[slot].lease
        {
            n.slots[slot].lease.kill = true;
            n.slots[slot].doomed = true;
            n.workers[owner as usize - 1].to_die = task + 1;
        }
        Self::next(&mut n, k);
        out.add(who(k), "doom: CAS RUN -> RUN + K, SIGKILL", n);
    }

    pub(super) fn supervisor(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.callers[SUPERVISOR];
        match me.at {
            Call::Next if s.lock == 0 => {
                let dead = s.workers.iter().position(|worker| worker.at == Work::Recovered);
                if dead.is_none() && !s.swept {
                    return;
                }
                me.dead = dead.map_or(0, |k| k as u8 + 1);
                me.at = Call::Slot(0);
                n.lock = SUPERVISOR as u8 + 1;
                n.swept = false;
                out.add(WHO, "a worker is dead: lock", n);
            }
            Call::Slot(i) => {
                let was = s.slots[i as usize].lease.st;
                if was == St::Lost {
                    self.repair(&mut n, i as usize);
                }
                let now = n.slots[i as usize].lease.st;
                let hints = now == St::Ready && (was == St::Lost || self.bug != Bug::NoRehint);
                n.callers[SUPERVISOR].at = match (was, now) {
                    (St::Lost, St::Free) => Call::SlotWake(i),
                    _ if hints => Call::HintLook(i),
                    _ => self.hinted(SUPERVISOR, i),
                };
                out.add(WHO, "repairs what is LOST", n);
            }
            Call::SlotWake(i) => {
                n.wake_lease(i as usize);
                n.wake_hall();
                n.callers[SUPERVISOR].at = self.hinted(SUPERVISOR, i);
                out.add(WHO, "wakes who sleeps on it, and in the hall", n);
            }
            Call::HintLook(_) | Call::HintPut(_) | Call::HintTail(_) => self.hint(s, SUPERVISOR, out),
            Call::Unlock | Call::PostFlag | Call::PostWake => self.post(s, SUPERVISOR, out),
            Call::Replace => {
                if let Some(k) = s.callers[SUPERVISOR].dead.checked_sub(1) {
                    n.workers[k as usize] = Worker::default();
                }
                n.callers[SUPERVISOR] = Caller::default();
                out.add(WHO, "the next one sits down", n);
            }
            _ => {}
        }
    }

    /// The policy: what has a result is taken, the running item is told of or run again, the rest goes on.
    fn repair(&self, n: &mut State, slot: usize) {
        let Slot { lease, base, attempt, progress, doomed, hint, .. } = n.slots[slot];
        n.values(slot, progress);
        let running = base + progress;
        let again = attempt < self.retries && !doomed;
        if running < self.items && !again {
            n.over(lease.task - 1, running, Outcome::Died);
        }
        let base = if again { running } else { running + 1 };
        if base >= self.items {
            return n.free(slot);
        }
        let keeps = self.bug != Bug::RetryDropsBits;
        let lease = Lease {
            st: St::Ready,
            owner: 0,
            kill: false,
            waited: lease.waited && keeps,
            hall: lease.hall && keeps,
            ..lease
        };
        let attempt = if again { attempt + 1 } else { 0 };
        n.slots[slot] = Slot { lease, base, attempt, hint, ..Slot::default() };
    }
}
