//! A user of the pool: acquire, sleep, release, pass.

use super::super::check::{Steps, Who};
use super::{At, Buffer, Bug, Permits, State, User, id};

impl Permits {
    fn scan(&self, permit: u8, next: fn(u8) -> At, end: At) -> At {
        if permit as usize + 1 < self.permits { next(permit + 1) } else { end }
    }

    /// Where a wait that is over goes on.
    fn leave(&self, user: &User, passes: bool) -> At {
        match (user.slept && passes && self.bug != Bug::NoPass, self.bug) {
            (true, Bug::PassWithoutArm) => At::PassScan(0),
            (true, _) => At::PassArm,
            (false, _) => after(user),
        }
    }

    /// Wakes any one of the sleepers; its deadline may come at the same moment.
    pub(super) fn wake_one(&self, s: &State, who: Who, out: &mut Steps<State>, then: impl Fn(&mut State)) {
        let mut nobody = true;
        for other in (0..self.users).filter(|other| s.users[*other].at == At::Asleep) {
            let mut n = *s;
            then(&mut n);
            n.wake(other);
            nobody = false;
            out.add(who, "wake one", n);
        }
        if nobody {
            let mut n = *s;
            then(&mut n);
            out.add(who, "wake: nobody sleeps", n);
        }
    }

    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let user = s.users[k];
        let drained = user.buffer == Buffer::Empty;
        self.deadline(s, k, out);
        let mut n = *s;
        let me = &mut n.users[k];
        let what = match user.at {
            At::Idle if user.left > 0 => {
                me.left -= 1;
                me.at = At::First(0);
                "acquire: begin"
            }
            At::Seq => {
                me.moved = false;
                me.at = At::Flag;
                "wait: s = seq"
            }
            At::Flag if drained => {
                me.buffer = Buffer::Flag(true);
                me.at = At::Fence;
                "wait: flag = 1"
            }
            At::Fence if drained || self.bug == Bug::NoArmFence => {
                me.at = if self.bug == Bug::NoLook { At::Sleep } else { At::Scan(0) };
                "wait: fence"
            }
            At::First(permit) | At::Scan(permit) => return self.look(s, k, permit, out),
            At::LateSeq => {
                me.moved = false;
                me.at = At::Sleep;
                "wait: s = seq, too late"
            }
            At::Sleep if drained => {
                me.at = if user.moved { At::First(0) } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            At::Own if drained => {
                me.buffer = Buffer::Free(user.owns - 1);
                me.owns = 0;
                me.at = At::PostFence;
                "release: permit = 0"
            }
            At::PassArm if drained => {
                me.buffer = Buffer::Flag(true);
                me.at = At::PassFence;
                "pass: flag = 1"
            }
            At::PassFence if drained => {
                me.at = At::PassScan(0);
                "pass: fence"
            }
            At::PassScan(permit) => {
                let free = s.permits[permit as usize] == 0;
                let clear = if self.bug == Bug::FlagAfterSeq { At::PostBump } else { At::PostClear };
                me.at = if free { clear } else { self.scan(permit, At::PassScan, after(&user)) };
                settle(me);
                "pass: is a permit free?"
            }
            At::Take(permit) => {
                me.owns = permit + 1;
                me.at = self.leave(&User { owns: permit + 1, ..user }, true);
                settle(me);
                n.permits[permit as usize] = id(k);
                "acquire: store me"
            }
            _ => return self.post(s, k, out),
        };
        out.add(Who::Process(k), what, n);
    }

    fn deadline(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let user = s.users[k];
        if s.deadlines < self.deadlines && (user.at == At::Asleep || user.at == At::First(0) && user.slept) {
            let mut n = *s;
            n.deadlines += 1;
            n.users[k].slept = true;
            n.users[k].at = self.leave(&n.users[k], self.bug != Bug::LeaveAtDeadline);
            settle(&mut n.users[k]);
            out.add(Who::Process(k), "its deadline", n);
        }
    }

    fn look(&self, s: &State, k: usize, permit: u8, out: &mut Steps<State>) {
        let user = s.users[k];
        let free = s.permits[permit as usize] == 0;
        let mut n = *s;
        let me = &mut n.users[k];
        if free && user.buffer != Buffer::Empty {
            return;
        }
        if free && self.bug == Bug::TakeByStore {
            me.at = At::Take(permit);
            return out.add(Who::Process(k), "acquire: it is free", n);
        }
        let what = if free {
            me.owns = permit + 1;
            me.at = self.leave(&User { owns: permit + 1, ..user }, true);
            settle(me);
            n.permits[permit as usize] = id(k);
            "acquire: CAS 0 -> me"
        } else {
            me.at = match (user.at, self.bug) {
                (At::First(_), _) => self.scan(permit, At::First, At::Seq),
                (_, Bug::SeqAfterLook) => self.scan(permit, At::Scan, At::LateSeq),
                _ => self.scan(permit, At::Scan, At::Sleep),
            };
            "acquire: not free"
        };
        out.add(Who::Process(k), what, n);
    }

    fn post(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let user = s.users[k];
        let drained = user.buffer == Buffer::Empty;
        let late = self.bug == Bug::FlagAfterSeq;
        let mut n = *s;
        let me = &mut n.users[k];
        let what = match user.at {
            At::PostFence if drained || self.bug == Bug::NoPostFence => {
                me.at = At::PostLook;
                "post: fence"
            }
            At::PostLook => {
                me.at = match (s.flag, late) {
                    (false, _) => after(&user),
                    (true, false) => At::PostClear,
                    (true, true) => At::PostBump,
                };
                settle(me);
                "post: look at the flag"
            }
            At::PostClear | At::PostClearLate if drained => {
                me.buffer = Buffer::Flag(false);
                me.at = if late { after(&user) } else { At::PostBump };
                settle(me);
                "post: flag = 0"
            }
            At::PostBump if drained => {
                me.at = At::PostWake;
                n.bump();
                "post: seq += 1"
            }
            At::PostWake if drained => {
                let at = if late { At::PostClearLate } else { after(&user) };
                return self.wake_one(s, Who::Process(k), out, |n| {
                    n.users[k].at = at;
                    settle(&mut n.users[k]);
                });
            }
            _ => return,
        };
        out.add(Who::Process(k), what, n);
    }
}

/// Where a wait or a post is left for: with a permit, or without.
fn after(user: &User) -> At {
    if user.owns == 0 { At::Idle } else { At::Own }
}

/// Forgets what is over, so that equal situations are equal states.
fn settle(user: &mut User) {
    if matches!(user.at, At::Idle | At::Own) {
        user.moved = false;
        user.slept = false;
    }
}
