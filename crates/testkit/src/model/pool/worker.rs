//! A worker, and what recovery does when it is dead.

use super::super::check::{Steps, Who};
use super::{Bug, Lease, Pool, St, State, Work, Worker};

impl Pool {
    pub(super) fn worker(&self, s: &State, k: usize, out: &mut Steps<State>) {
        match s.workers[k].at {
            Work::Look | Work::Hint | Work::Pop | Work::Claim => self.look(s, k, out),
            Work::Seq | Work::Flag | Work::Sleep => self.doze(s, k, out),
            Work::PassFlag | Work::PassLook | Work::PassWake => self.pass(s, k, out),
            Work::Body | Work::Result | Work::Progress | Work::Bits | Work::Commit => self.run(s, k, out),
            Work::Wake | Work::Hall | Work::HallWake => self.tell(s, k, out),
            Work::Asleep | Work::Doomed | Work::Recovered => {}
            _ => self.recover(s, k, out),
        }
    }

    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.workers[k];
        let worker = s.workers[k];
        let what = match worker.at {
            Work::Look => {
                let there = s.head < s.tail;
                me.head = if there { s.head } else { 0 };
                me.at = match (there, worker.armed) {
                    (true, _) => Work::Hint,
                    (false, true) => Work::Sleep,
                    (false, false) => Work::Seq,
                };
                "head and tail"
            }
            Work::Hint => {
                me.slot = s.ring[worker.head as usize % self.slots];
                me.at = Work::Pop;
                "the hint"
            }
            Work::Pop => {
                me.head = 0;
                if s.head == worker.head {
                    n.head += 1;
                    me.at = Work::Claim;
                } else {
                    me.slot = 0;
                    me.at = Work::Look;
                }
                "CAS head"
            }
            _ => {
                let slot = worker.slot as usize;
                let there = s.slots[slot].lease;
                let mut mine = Lease { st: St::Run, owner: k as u8 + 1, ..there };
                if self.bug == Bug::ClaimDropsBits {
                    mine = Lease { waited: false, hall: false, ..mine };
                }
                if self.bug == Bug::ClaimByStore && !worker.kill {
                    // The look; `kill` says that it was READY, until the store.
                    if there.st == St::Ready {
                        me.kill = true
                    } else {
                        me.at = Work::Look
                    }
                    return out.add(Who::Process(k), "is it READY?", n);
                }
                me.kill = false;
                if there.st != St::Ready && self.bug != Bug::ClaimByStore {
                    me.slot = 0;
                    me.at = Work::Look;
                } else {
                    n.slots[slot].lease = mine;
                    n.slots[slot].progress = 0;
                    n.slots[slot].results = 0;
                    me.at = if worker.slept && self.bug != Bug::NoPass { Work::PassFlag } else { Work::Body };
                    (me.armed, me.moved) = (false, false);
                }
                "CAS READY -> RUN"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    fn doze(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.workers[k];
        let what = match me.at {
            Work::Seq => {
                me.moved = false;
                me.at = Work::Flag;
                "s = seq"
            }
            Work::Flag => {
                n.idle = true;
                me.armed = true;
                me.at = Work::Look;
                "flag = 1"
            }
            _ => {
                me.at = if me.moved { Work::Look } else { Work::Asleep };
                (me.armed, me.moved) = (false, false);
                "futex_wait"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    /// It has a task, and has slept.
    fn pass(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.workers[k];
        match me.at {
            Work::PassFlag => {
                n.idle = true;
                me.at = Work::PassLook;
                out.add(Who::Process(k), "pass: flag = 1", n);
            }
            Work::PassLook => {
                me.slept = false;
                me.at = Work::Body;
                if s.head < s.tail {
                    n.idle = false;
                    n.workers[k].at = Work::PassWake;
                }
                out.add(Who::Process(k), "pass: more there? flag = 0", n);
            }
            _ => self.wake_idle(s, |mut n| {
                n.workers[k].at = Work::Body;
                out.add(Who::Process(k), "pass: seq += 1, wake one", n);
            }),
        }
    }

    fn run(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.workers[k];
        let slot = me.slot as usize;
        let there = s.slots[slot];
        let left = self.items - there.base;
        let ends = |done: u8| {
            if done < left {
                Work::Body
            } else if self.bug == Bug::CommitByStore {
                Work::Bits
            } else {
                Work::Commit
            }
        };
        let what = match me.at {
            Work::Body => {
                let Some(task) = there.lease.task.checked_sub(1) else {
                    return out.violation(Who::Process(k), "the body", "there is no task");
                };
                n.runs[task as usize][(there.base + there.progress) as usize] += 1;
                me.at = match self.bug {
                    Bug::CommitFirst if left == 1 => Work::Commit,
                    Bug::ProgressFirst => Work::Progress,
                    _ => Work::Result,
                };
                "the body"
            }
            Work::Result => {
                n.slots[slot].results += 1;
                me.at = match self.bug {
                    Bug::CommitFirst if left == 1 => Work::Wake,
                    Bug::ProgressFirst => ends(there.progress),
                    // A single item needs no progress.
                    _ if self.items == 1 => ends(1),
                    _ => Work::Progress,
                };
                "the result"
            }
            Work::Progress => {
                n.slots[slot].progress += 1;
                me.at = if self.bug == Bug::ProgressFirst { Work::Result } else { ends(there.progress + 1) };
                "progress += 1"
            }
            Work::Bits => {
                (me.waited, me.hall, me.kill) = (there.lease.waited, there.lease.hall, there.lease.kill);
                me.at = Work::Commit;
                "looks at the bits"
            }
            _ => {
                if self.bug != Bug::CommitByStore {
                    (me.waited, me.hall, me.kill) = (there.lease.waited, there.lease.hall, there.lease.kill);
                }
                me.at = if self.bug == Bug::CommitFirst && left == 1 { Work::Result } else { Work::Wake };
                n.slots[slot].lease = Lease { st: St::Done, task: there.lease.task, ..Lease::default() };
                "swap DONE"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    /// The commit has found who is to be told.
    fn tell(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let worker = s.workers[k];
        let doomed = worker.kill && self.bug != Bug::DoomedGoesOn;
        let idle = Worker { at: Work::Look, to_die: worker.to_die, ..Worker::default() };
        let end = if doomed { Worker { at: Work::Doomed, ..idle } } else { idle };
        let what = match worker.at {
            Work::Wake => {
                if worker.waited {
                    n.wake_lease(worker.slot as usize);
                }
                if worker.hall {
                    n.workers[k].at = Work::Hall
                } else {
                    n.workers[k] = end
                }
                "W: wakes who sleeps on the lease"
            }
            Work::Hall => {
                if s.hall {
                    n.hall = false;
                    n.workers[k].at = Work::HallWake;
                } else {
                    n.workers[k] = end;
                }
                "H: flag = 0"
            }
            _ => {
                n.wake_hall();
                n.workers[k] = end;
                "H: seq += 1, wake all"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    /// The mistake of a late recovery, which takes the next one for the dead.
    pub(super) fn late(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.late & 1 << k != 0 {
            let mut n = *s;
            n.late &= !(1 << k);
            for slot in &mut n.slots {
                if slot.lease.st == St::Run && slot.lease.owner == k as u8 + 1 {
                    slot.lease = Lease { st: St::Lost, owner: 0, ..slot.lease };
                    n.swept = true;
                }
            }
            out.add(Who::Recoverer(k), "RUN -> LOST, too late", n);
        }
    }

    /// In the name of the dead.
    fn recover(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.workers[k].at {
            Work::Replaced => {
                n.late |= 1 << k;
                n.workers[k].at = Work::Look;
                "the next one sits down"
            }
            Work::Sweep(i) => {
                let lease = &mut n.slots[i as usize].lease;
                if lease.st == St::Run && lease.owner == k as u8 + 1 {
                    *lease = Lease { st: St::Lost, owner: 0, kill: false, ..*lease };
                }
                let next = i + 1;
                n.workers[k].at =
                    if (next as usize) < self.slots { Work::Sweep(next) } else { Work::WakeIdle };
                "RUN -> LOST"
            }
            Work::WakeIdle => {
                if self.bug != Bug::NoIdleWake {
                    n.bump_idle();
                    for worker in n.workers.iter_mut().filter(|worker| worker.at == Work::Asleep) {
                        *worker = Worker { at: Work::Look, slept: true, ..*worker };
                    }
                }
                n.workers[k].at = Work::WakeLeases;
                "wakes all on idle"
            }
            Work::WakeLeases => {
                if self.bug != Bug::NoLeaseWake {
                    (0..self.slots).for_each(|slot| {
                        if matches!(s.slots[slot].lease.st, St::Done) {
                            n.wake_lease(slot);
                        }
                    });
                }
                n.workers[k].at = Work::WakeHall;
                "wakes all on DONE leases"
            }
            _ => {
                if self.bug != Bug::NoHallWake {
                    n.wake_hall();
                }
                n.workers[k].at = Work::Recovered;
                "wakes all in the hall"
            }
        };
        out.add(Who::Recoverer(k), what, n);
    }
}
