//! The steps of the consumer, and of those who repair after it.

use super::{Bug, CONSUMER, Consumer, Found, LANES, Mpsc, Receives, Repair, Role, State, Steps, Who};

const ME: Who = Who::Process(CONSUMER);

impl Mpsc {
    pub(super) fn kill_consumer(&self, s: &State, found: &mut Found) {
        let who = match s.consumer.at {
            Receives::Out | Receives::Dead(Repair::NotBegun) => return,
            Receives::Dead(_) => Who::Recoverer(CONSUMER),
            _ => ME,
        };
        if s.kills < self.kills {
            let mut n = *s;
            n.kills += 1;
            n.consumer = Consumer { at: Receives::Dead(Repair::NotBegun), ..Consumer::default() };
            found.push((who, "KILLED", n));
        }
    }

    pub(super) fn proceed_consumer(&self, s: &State, found: &mut Found, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.consumer;
        let what = match s.consumer.at {
            Receives::Out if !s.role.is_free() => return,
            Receives::Out => {
                me.after_death = s.role == Role::Dead;
                me.at = Receives::ReadHead(0);
                n.role = Role::Held(CONSUMER as u8);
                "takes the role"
            }
            Receives::ReadHead(lane) => {
                let i = lane as usize;
                let there = s.lanes[i].sent > s.lanes[i].head;
                let forgets = self.bug == Bug::NoFlag || (self.bug == Bug::FlagOneLane && i > 0);
                me.position[i] = s.lanes[i].head;
                me.to_flag[i] = me.after_death && there && !forgets;
                me.at = if lane + 1 < LANES as u8 { Receives::ReadHead(lane + 1) } else { Receives::Census };
                "loads a head"
            }
            Receives::Census => {
                self.close(s, found);
                me.used = s.used;
                me.at = if s.used > 0 { Receives::Look(0) } else { Receives::CheckCensus };
                "loads the census"
            }
            Receives::Look(lane) => {
                if self.finds(s, lane) {
                    me.at = self.found_at(s, lane);
                } else {
                    let last = lane + 1 >= s.consumer.used;
                    let blind = self.bug == Bug::LookAtOneLane && s.consumer.armed;
                    me.at = if last || blind { Receives::CheckCensus } else { Receives::Look(lane + 1) };
                }
                "looks at a lane"
            }
            Receives::Disarm(lane) => {
                (me.armed, me.moved) = (false, false);
                me.at = self.found_at(&State { consumer: *me, ..*s }, lane);
                n.flag = false;
                "flag = 0"
            }
            Receives::Read(_) | Receives::Ack(_) => return self.receive(s, found, out),
            Receives::Told => {
                let waits = s.lanes.iter().any(|lane| lane.sent > lane.head);
                if !waits && !s.lanes.iter().any(|lane| matches!(lane.role, Role::Held(_))) {
                    return;
                }
                me.at = Receives::Census;
                "tries again"
            }
            Receives::Dead(repair) => return self.repair_consumer(s, repair, found),
            Receives::CheckCensus
            | Receives::CheckRole(_)
            | Receives::CheckLook(_)
            | Receives::CheckAgain => {
                return self.check(s, found, out);
            }
            _ => return self.wait(s, found),
        };
        found.push((ME, what, n));
    }

    fn receive(&self, s: &State, found: &mut Found, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.consumer;
        let what = match s.consumer.at {
            Receives::Read(lane) => {
                let i = lane as usize;
                let position = s.consumer.position[i] - u8::from(self.bug == Bug::AckBeforeRead);
                let given = s.lanes[i].given;
                if position > given {
                    out.violation(ME, "reads", "a message was lost");
                } else if position < given && !s.consumer.to_flag[i] {
                    out.violation(ME, "reads", "a message came twice and is not flagged");
                }
                n.lanes[i].given = given.max(position + 1);
                me.at = if self.bug == Bug::AckBeforeRead { Receives::Census } else { Receives::Ack(lane) };
                "reads"
            }
            Receives::Ack(lane) => {
                let i = lane as usize;
                me.position[i] += 1;
                me.to_flag[i] = false;
                me.at = if self.bug == Bug::AckBeforeRead { Receives::Read(lane) } else { Receives::Census };
                n.lanes[i].head = s.consumer.position[i] + 1;
                "ACKNOWLEDGES"
            }
            _ => return,
        };
        found.push((ME, what, n));
    }

    fn finds(&self, s: &State, lane: u8) -> bool {
        s.lanes[lane as usize].sent > s.consumer.position[lane as usize]
    }

    fn found_at(&self, s: &State, lane: u8) -> Receives {
        match (s.consumer.armed, self.bug) {
            (true, _) => Receives::Disarm(lane),
            (false, Bug::AckBeforeRead) => Receives::Ack(lane),
            (false, _) => Receives::Read(lane),
        }
    }

    /// Nothing was found: is that all there will ever be?
    fn check(&self, s: &State, found: &mut Found, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.consumer;
        let not_now = match (s.consumer.armed, self.bug) {
            (true, Bug::ArmAfterLook) => Receives::ArmLate,
            (true, _) => Receives::Sleep,
            (false, _) => Receives::Seq,
        };
        let behind = |lane: u8| {
            if lane + 1 < s.consumer.used { Receives::CheckRole(lane + 1) } else { Receives::CheckAgain }
        };
        let what = match s.consumer.at {
            Receives::CheckCensus => {
                (me.used, me.takings) = (s.used, s.takings);
                me.at = if s.takings > 0 { Receives::CheckRole(0) } else { not_now };
                "loads the census"
            }
            Receives::CheckRole(lane) => {
                me.at = match s.lanes[lane as usize].role {
                    Role::Held(_) => not_now,
                    _ if self.bug == Bug::NoLastLook => behind(lane),
                    _ => Receives::CheckLook(lane),
                };
                "loads a role"
            }
            Receives::CheckLook(lane) => {
                me.at = if self.finds(s, lane) { self.found_at(s, lane) } else { behind(lane) };
                "looks once more"
            }
            _ if s.takings != s.consumer.takings && self.bug != Bug::OneCensus => {
                me.at = not_now;
                "finds another census"
            }
            _ => {
                let all_received = (0..LANES).all(|i| s.lanes[i].given >= s.owed[i]);
                if !s.quiet {
                    out.violation(ME, "says CLOSED", "there was a producer all the time");
                } else if !all_received {
                    out.violation(ME, "says CLOSED", "messages wait");
                }
                (me.at, me.armed, me.moved) = (Receives::Told, false, false);
                n.flag = s.flag && !s.consumer.armed;
                "says CLOSED"
            }
        };
        found.push((ME, what, n));
    }

    fn wait(&self, s: &State, found: &mut Found) {
        let mut n = *s;
        let me = &mut n.consumer;
        let what = match s.consumer.at {
            Receives::Seq => {
                (me.moved, me.at) = (false, Receives::Arm);
                if self.bug == Bug::ArmAfterLook {
                    (me.armed, me.at) = (true, Receives::Census);
                }
                "loads seq"
            }
            Receives::Arm => {
                (me.armed, me.at) = (true, Receives::Census);
                n.flag = true;
                "flag = 1"
            }
            Receives::ArmLate => {
                me.at = Receives::Sleep;
                n.flag = true;
                "flag = 1, after the look"
            }
            Receives::Sleep if s.consumer.moved => {
                (me.armed, me.moved, me.at) = (false, false, Receives::Seq);
                "cannot sleep: seq moved"
            }
            Receives::Sleep => {
                me.at = Receives::Asleep;
                "sleeps"
            }
            _ => return,
        };
        found.push((ME, what, n));
    }

    /// Gives the end up; another one takes it.
    fn close(&self, s: &State, found: &mut Found) {
        if s.closes >= self.closes || s.consumer.armed {
            return;
        }
        let mut n = *s;
        let unread = s.consumer.to_flag.contains(&true) && self.bug != Bug::CloseForgetsFlag;
        n.role = if unread { Role::Dead } else { Role::Closed };
        n.consumer = Consumer::default();
        n.closes += 1;
        found.push((ME, "closes", n));
    }

    fn repair_consumer(&self, s: &State, repair: Repair, found: &mut Found) {
        let mut n = *s;
        let (at, what) = match repair {
            Repair::NotBegun => (Receives::Dead(Repair::Role), "has the lock of the dead"),
            Repair::Role => {
                if s.role == Role::Held(CONSUMER as u8) {
                    n.role = Role::Dead;
                }
                (Receives::Dead(Repair::Reuse), "role DEAD")
            }
            _ => (Receives::Out, "done"),
        };
        n.consumer.at = at;
        found.push((Who::Recoverer(CONSUMER), what, n));
    }
}
