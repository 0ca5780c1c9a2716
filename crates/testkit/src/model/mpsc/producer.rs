//! The steps of the producers, and of those who repair after them.

use super::{Bug, Found, LANES, Mpsc, PRODUCERS, Producer, Repair, Role, Sends, State, Steps, Who};

impl Mpsc {
    pub(super) fn kill_producer(&self, s: &State, k: usize, found: &mut Found) {
        use Sends::{Cloning, Dead, Gone, Out, Unborn};
        let who = match s.producers[k].at {
            // Those that have nothing in shared memory; and who clones dies before or after.
            Unborn | Out | Gone | Cloning(_) | Dead(Repair::NotBegun) => return,
            Dead(_) => Who::Recoverer(k),
            _ => Who::Process(k),
        };
        if s.kills < self.kills {
            let mut n = *s;
            n.kills += 1;
            n.producers[k].at = Dead(Repair::NotBegun);
            n.end_of_cloning(k);
            found.push((who, "KILLED", n));
        }
    }

    pub(super) fn proceed_producer(&self, s: &State, k: usize, found: &mut Found, out: &mut Steps<State>) {
        let Producer { at, lane, position, left } = s.producers[k];
        let lane = lane as usize;
        let mut n = *s;
        let me = &mut n.producers[k];
        let what = match at {
            Sends::Unborn | Sends::Gone | Sends::Cloning(_) => return,
            Sends::Out => return self.take(s, k, found),
            Sends::Dead(repair) => return self.repair_producer(s, k, repair, found),
            Sends::CensusEarly => return self.take_late(s, k, found),
            Sends::Hint => {
                (me.position, me.at) = (s.lanes[lane].hint, Sends::Head);
                "loads the hint"
            }
            Sends::Head => {
                me.position = position.max(s.lanes[lane].head);
                me.at = Sends::Walk;
                if self.bug == Bug::TakeAsEmpty {
                    (me.position, me.at) = (s.lanes[lane].head, Sends::Census);
                }
                "loads the head"
            }
            Sends::Walk => {
                let is_message = position < s.lanes[lane].sent;
                (me.position, me.at) =
                    if is_message { (position + 1, Sends::Walk) } else { (position, Sends::Census) };
                "looks at a header"
            }
            Sends::Census => {
                me.at = Sends::Idle;
                if !matches!(self.bug, Bug::CensusBeforeTaking | Bug::CensusAfterCommit) {
                    n.raise_census(lane);
                }
                n.end_of_cloning(k);
                "raises the census"
            }
            Sends::Idle => return self.idle(s, k, found),
            Sends::Commit => {
                if position != s.lanes[lane].sent {
                    out.violation(Who::Process(k), "COMMIT", "away from the end of the lane");
                }
                me.position += 1;
                me.left = left - 1;
                me.at = if self.bug == Bug::CensusAfterCommit { Sends::LateCensus } else { Sends::StoreHint };
                n.lanes[lane].sent += 1;
                "COMMIT"
            }
            Sends::LateCensus => {
                me.at = Sends::StoreHint;
                n.raise_census(lane);
                "raises the census too late"
            }
            Sends::StoreHint => {
                me.at = if self.bug == Bug::PostToOwnLine { Sends::Idle } else { Sends::PostFlag };
                n.lanes[lane].hint = position;
                "stores the hint"
            }
            _ => return self.post(s, k, found),
        };
        found.push((Who::Process(k), what, n));
    }

    /// Takes any lane that nobody holds.
    fn take(&self, s: &State, k: usize, found: &mut Found) {
        for lane in 0..self.lanes as usize {
            if !s.lanes[lane].role.is_free() {
                continue;
            }
            let mut n = *s;
            n.producers[k].lane = lane as u8;
            if self.bug == Bug::CensusBeforeTaking {
                n.raise_census(lane);
                n.producers[k].at = Sends::CensusEarly;
                found.push((Who::Process(k), "raises the census too early", n));
            } else {
                n.lanes[lane].role = Role::Held(k as u8);
                n.producers[k].at = Sends::Hint;
                found.push((Who::Process(k), "takes a lane", n));
            }
        }
    }

    fn take_late(&self, s: &State, k: usize, found: &mut Found) {
        let lane = s.producers[k].lane as usize;
        let mut n = *s;
        let is_free = s.lanes[lane].role.is_free();
        n.producers[k].at = if is_free { Sends::Hint } else { Sends::Out };
        if is_free {
            n.lanes[lane].role = Role::Held(k as u8);
        }
        found.push((Who::Process(k), "takes a lane", n));
    }

    fn idle(&self, s: &State, k: usize, found: &mut Found) {
        let Producer { lane, left, .. } = s.producers[k];
        let mut n = *s;
        if left > 0 {
            n.producers[k].at = Sends::Commit;
            found.push((Who::Process(k), "writes a message", n));
        } else if !self.stay {
            n.lanes[lane as usize].role = Role::Closed;
            n.producers[k].at = if self.bug == Bug::SilentClose { Sends::Gone } else { Sends::CloseBump };
            found.push((Who::Process(k), "role CLOSED", n));
        }
        let unborn = (0..PRODUCERS).find(|q| s.producers[*q].at == Sends::Unborn && s.producers[*q].left > 0);
        if let Some(q) = unborn
            && (0..LANES).any(|lane| lane < self.lanes as usize && s.lanes[lane].role.is_free())
        {
            let mut n = *s;
            n.producers[k].at = Sends::Cloning(q as u8);
            n.producers[q].at = Sends::Out;
            found.push((Who::Process(k), "begins to clone", n));
        }
    }

    /// The wakes: after a commit if the flag is set, after a close always.
    fn post(&self, s: &State, k: usize, found: &mut Found) {
        let mut n = *s;
        let late = self.bug == Bug::ClearAfterWake;
        let (at, what) = match s.producers[k].at {
            Sends::PostFlag if !s.flag => (Sends::Idle, "nobody to wake"),
            Sends::PostFlag if late => (Sends::PostBump, "somebody sleeps"),
            Sends::PostFlag => (Sends::PostClear, "somebody sleeps"),
            Sends::PostClear | Sends::PostClearLate => {
                n.flag = false;
                (if late { Sends::Idle } else { Sends::PostBump }, "flag = 0")
            }
            Sends::PostBump => {
                n.bump();
                (Sends::PostWake, "seq += 1")
            }
            Sends::PostWake => {
                n.wake();
                (if late { Sends::PostClearLate } else { Sends::Idle }, "wake")
            }
            Sends::CloseBump => {
                n.bump();
                (Sends::CloseWake, "seq += 1")
            }
            _ => {
                n.wake();
                (Sends::Gone, "wake")
            }
        };
        n.producers[k].at = at;
        found.push((Who::Process(k), what, n));
    }

    fn repair_producer(&self, s: &State, k: usize, repair: Repair, found: &mut Found) {
        let mut n = *s;
        let (next, what) = match repair {
            Repair::NotBegun => (Repair::Role, "has the lock of the dead"),
            Repair::Role => {
                for lane in &mut n.lanes {
                    if lane.role == Role::Held(k as u8) && self.bug != Bug::RoleStaysHeld {
                        lane.role = Role::Dead;
                    }
                }
                let next = if self.bug == Bug::SilentRecovery { Repair::Reuse } else { Repair::Bump };
                (next, "role DEAD")
            }
            Repair::Bump => {
                n.bump();
                (Repair::Wake, "seq += 1")
            }
            Repair::Wake => {
                n.wake();
                (Repair::Reuse, "wake")
            }
            Repair::Reuse => {
                let left = s.producers[k].left;
                let at = if left > 0 { Sends::Out } else { Sends::Gone };
                n.producers[k] = Producer { at, left, ..Producer::default() };
                found.push((Who::Recoverer(k), "done", n));
                return;
            }
        };
        n.producers[k].at = Sends::Dead(next);
        found.push((Who::Recoverer(k), what, n));
    }
}

impl State {
    fn raise_census(&mut self, lane: usize) {
        self.takings += 1;
        self.used = self.used.max(lane as u8 + 1);
    }

    /// Whoever cloned `k` goes on.
    fn end_of_cloning(&mut self, k: usize) {
        for producer in &mut self.producers {
            if producer.at == Sends::Cloning(k as u8) {
                producer.at = Sends::Idle;
            }
        }
    }
}
