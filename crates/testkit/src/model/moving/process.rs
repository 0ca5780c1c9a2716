//! The steps of those who move an end, and of the peer that waits for it.

use super::super::check::{Steps, Who};
use super::{At, Bug, Moving, PEER, Place, Process, Role, State, Ticket, Waits, id};

/// Adds a step: what it is, and what it changes.
type Begin<'a> = dyn FnMut(&'static str, &dyn Fn(&mut State)) + 'a;

impl Moving {
    /// What an idle process may begin.
    pub(super) fn choose(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let me = s.processes[k];
        let mut begin = |what, change: &dyn Fn(&mut State)| {
            let mut n = *s;
            change(&mut n);
            out.add(who, what, n);
        };
        let free = s.tickets.iter().position(|ticket| ticket.owner == 0);
        let first = if self.bug == Bug::RoleBeforePin { At::SetRole } else { At::Pin };
        let starts = |n: &mut State, token| {
            n.moves += 1;
            let ticket = free.unwrap_or_default() as u8;
            n.processes[k] = Process { at: first, ticket, token, ..me };
        };
        if me.has && s.moves < self.moves && free.is_some() {
            if let (0, Some(place)) = (s.writer, s.tail()) {
                begin("begins to send the end", &|n| {
                    starts(n, false);
                    n.writer = id(k);
                    n.processes[k].place = place as u8;
                });
            }
            if self.tokens && s.token == 0 {
                begin("begins to issue a token", &|n| starts(n, true));
            }
        }
        if me.has {
            begin("drop: role HELD(me) -> CLOSED", &|n| {
                n.role = Role::Closed;
                n.processes[k] = Process { at: At::DropWake, has: false, ..me };
            });
        }
        if me.husk {
            begin("drops its husk", &|n| {
                match (self.bug, n.role) {
                    (Bug::HuskCloses, Role::Held(o)) if o == id(k) => n.role = Role::Closed,
                    (Bug::HuskClosesMoving, Role::Moving(o, _)) if o == id(k) => n.role = Role::Closed,
                    _ => {}
                }
                n.processes[k] = Process { husk: false, bit: me.has, ..me };
            });
        }
        if let (true, 0, Some(place)) = (s.plains < self.plains, s.writer, s.tail()) {
            begin("begins to send a message without an end", &|n| {
                n.plains += 1;
                n.writer = id(k);
                n.processes[k] = Process { at: At::Plain, place: place as u8, ..me };
            });
        }
        let may_open =
            s.role.is_gone() || matches!(s.role, Role::Moving(..)) && self.bug == Bug::NameTakesMoving;
        if s.opens < self.opens && may_open && !me.has {
            begin("finds the name: own holder bit", &|n| {
                n.opens += 1;
                n.processes[k] = Process { at: At::Open, bit: true, ..me };
            });
        }
        self.begin_to_take(s, k, (false, false), &mut begin);
        if self.discards {
            self.begin_to_take(s, k, (true, false), &mut begin);
        }
        if self.leases {
            self.begin_to_take(s, k, (false, true), &mut begin);
        }
    }

    fn begin_to_take(&self, s: &State, k: usize, (discards, leased): (bool, bool), begin: &mut Begin<'_>) {
        let me = s.processes[k];
        if let (0, Some(place)) = (s.reader, s.head()) {
            let carries = match s.places[place] {
                Place::Full(carries) => carries,
                _ => 0,
            };
            let at = if carries == 0 || self.bug == Bug::AckBeforeReceive { At::Ack } else { At::Receive };
            let what = match (discards, leased) {
                (true, _) => "reads a message, to discard it",
                (_, true) => "leases a message, which has an end",
                _ => "reads a message",
            };
            if !(carries == 0 && (discards || leased)) {
                begin(what, &|n| {
                    n.reader = id(k);
                    let ticket = carries.saturating_sub(1);
                    let place = place as u8;
                    n.processes[k] = Process { at, ticket, place, discards, leased, token: false, ..me };
                });
            }
        }
        if let (Some(ticket), false) = (s.token.checked_sub(1), leased) {
            begin("has the bytes of a token", &|n| {
                n.processes[k] = Process { at: At::Receive, ticket, discards, leased, token: true, ..me };
            });
        }
    }

    /// The next step of a process that is in the middle of something.
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        let mut me = s.processes[k];
        let what = match me.at {
            At::Pin | At::SetRole | At::SetCarrier | At::LateRole | At::LateCarrier => {
                self.send(&mut n, &mut me, k)
            }
            At::Commit => {
                if self.fails {
                    let mut n = *s;
                    let frees = matches!(self.bug, Bug::StayFreesFirst | Bug::NoStay);
                    n.processes[k].at = if frees { At::StayFree } else { At::StayRole };
                    out.add(who, "cannot send", n);
                }
                self.commit(&mut n, &mut me)
            }
            At::Plain => {
                n.places[me.place as usize] = Place::Full(0);
                n.writer = 0;
                me.at = At::Idle;
                "COMMIT, without an end"
            }
            At::StayRole | At::StayFree => self.stay(&mut n, &mut me, k),
            At::Receive | At::Ack => match self.receive(&mut n, &mut me, k) {
                Ok(what) => what,
                Err(why) => return out.violation(who, "RECEIVE", why),
            },
            At::Take if !matches!(s.role, Role::Moving(_, there) if there == me.ticket) => {
                return out.violation(who, "take", "the end that was received is gone");
            }
            At::Bit | At::Take | At::Free => self.take(&mut n, &mut me, k),
            At::Nack => {
                n.reader = 0;
                if self.bug == Bug::RefusalFrees {
                    n.free_ticket(me.ticket);
                }
                me.at = At::Idle;
                "refused, the message goes back"
            }
            At::Open => {
                me.at = At::Idle;
                me.has = s.role.is_gone() || self.bug == Bug::NameTakesMoving;
                n.role = if me.has { Role::Held(id(k)) } else { s.role };
                me.bit = me.has || me.husk;
                "CAS role CLOSED or DEAD -> HELD(me)"
            }
            At::DropWake => {
                n.wake();
                me.bit = me.husk;
                me.at = At::Idle;
                "wakes the peer, leaves"
            }
            At::Idle | At::Close | At::Wake => self.give_up(&mut n, &mut me),
        };
        n.processes[k] = me;
        out.add(who, what, n);
    }

    /// RECEIVE and ACKNOWLEDGE. The error says what is wrong with the message.
    fn receive(&self, n: &mut State, me: &mut Process, k: usize) -> Result<&'static str, &'static str> {
        let t = me.ticket as usize;
        if me.at == At::Ack {
            let carries = n.places[me.place as usize] != Place::Full(0);
            n.places[me.place as usize] = Place::Acked;
            n.reader = 0;
            me.at = match (carries, self.bug) {
                (false, _) => At::Idle,
                (_, Bug::AckBeforeReceive) => At::Receive,
                _ => self.received(me),
            };
            return Ok("ACKNOWLEDGE");
        }
        let ticket = n.tickets[t];
        let there = ticket.owner != 0 && !ticket.out && (!me.token || n.token == me.ticket + 1);
        if !there {
            me.at = At::Idle;
            return if me.token {
                Ok("the token is gone")
            } else {
                Err("the message names a ticket that is gone")
            };
        }
        n.tickets[t].owner = id(k);
        n.tickets[t].out = me.token && self.bug != Bug::RedeemTwice;
        let no_ack = me.token || self.bug == Bug::AckBeforeReceive;
        me.at = match (me.leased, no_ack) {
            (true, _) => At::Nack,
            (_, true) => self.received(me),
            _ => At::Ack,
        };
        Ok("RECEIVE")
    }

    fn send(&self, n: &mut State, me: &mut Process, k: usize) -> &'static str {
        let t = me.ticket as usize;
        let after_role =
            if me.token || self.bug == Bug::CarrierAfterCommit { At::Commit } else { At::SetCarrier };
        match me.at {
            At::Pin => {
                n.tickets[t] = Ticket { owner: id(k), ..Ticket::default() };
                me.at = match self.bug {
                    Bug::RoleBeforePin => after_role,
                    Bug::CommitBeforeRole => At::SetCarrier,
                    _ => At::SetRole,
                };
                "ticket FREE -> HELD(me)"
            }
            At::SetRole => {
                n.role = Role::Moving(id(k), me.ticket);
                me.has = false;
                me.at = if self.bug == Bug::RoleBeforePin { At::Pin } else { after_role };
                "role HELD(me) -> MOVING(me, ticket)"
            }
            At::SetCarrier => {
                n.tickets[t].carrier = me.place + 1;
                me.at = At::Commit;
                "carrier = place"
            }
            At::LateCarrier => {
                n.tickets[t].carrier = me.place + 1;
                me.at = At::Idle;
                "carrier = place"
            }
            _ => {
                n.role = Role::Moving(id(k), me.ticket);
                me.at = At::Idle;
                "role HELD(me) -> MOVING(me, ticket)"
            }
        }
    }

    fn commit(&self, n: &mut State, me: &mut Process) -> &'static str {
        (me.has, me.husk) = (false, true);
        me.at = match self.bug {
            Bug::CarrierAfterCommit => At::LateCarrier,
            Bug::CommitBeforeRole => At::LateRole,
            _ => At::Idle,
        };
        if me.token {
            n.token = me.ticket + 1;
            return "gives the token away";
        }
        n.places[me.place as usize] = Place::Full(me.ticket + 1);
        n.writer = 0;
        "COMMIT"
    }

    fn stay(&self, n: &mut State, me: &mut Process, k: usize) -> &'static str {
        let role = me.at == At::StayRole;
        if role {
            n.role = Role::Held(id(k));
        } else {
            n.free_ticket(me.ticket);
        }
        me.at = match (role, self.bug) {
            (true, Bug::StayFreesFirst) | (false, Bug::None | Bug::NoStay) => At::Idle,
            (true, _) => At::StayFree,
            (false, Bug::StayFreesFirst) => At::StayRole,
            (false, _) => At::Idle,
        };
        if me.at == At::Idle {
            me.has = true;
            n.writer = if me.token { n.writer } else { 0 };
        }
        if role { "role MOVING(me, ticket) -> HELD(me)" } else { "ticket = FREE" }
    }

    /// What follows when the ticket is mine and the message acknowledged.
    fn received(&self, me: &Process) -> At {
        match (me.discards, self.bug) {
            (true, Bug::FreeBeforeClose | Bug::NoClose) => At::Free,
            (true, Bug::WakeFirst) => At::Wake,
            (true, _) => At::Close,
            (false, Bug::FreeBeforeTake) => At::Free,
            (false, Bug::TakeBeforeBit) => At::Take,
            (false, _) => At::Bit,
        }
    }

    fn take(&self, n: &mut State, me: &mut Process, k: usize) -> &'static str {
        match me.at {
            At::Bit => {
                me.bit = true;
                me.at = if self.bug == Bug::TakeBeforeBit { At::Free } else { At::Take };
                "own holder bit"
            }
            At::Take => {
                n.role = Role::Held(id(k));
                me.has = true;
                me.at = match self.bug {
                    Bug::FreeBeforeTake => At::Idle,
                    Bug::TakeBeforeBit => At::Bit,
                    _ => At::Free,
                };
                "CAS role MOVING(any, ticket) -> HELD(me)"
            }
            _ => {
                n.free_ticket(me.ticket);
                me.at = match (me.discards, self.bug) {
                    (true, Bug::FreeBeforeClose) => At::Close,
                    (false, Bug::FreeBeforeTake) => At::Bit,
                    _ => At::Idle,
                };
                "ticket = FREE"
            }
        }
    }

    fn give_up(&self, n: &mut State, me: &mut Process) -> &'static str {
        let last = if self.bug == Bug::FreeBeforeClose { At::Idle } else { At::Free };
        match me.at {
            At::Close => {
                if matches!(n.role, Role::Moving(_, there) if there == me.ticket || self.bug == Bug::AnyMoving)
                {
                    n.role = Role::Closed;
                }
                me.at = if matches!(self.bug, Bug::NoWake | Bug::WakeFirst) { last } else { At::Wake };
                "CAS role MOVING(any, ticket) -> CLOSED"
            }
            _ => {
                n.wake();
                me.at = if self.bug == Bug::WakeFirst { At::Close } else { last };
                "wakes the peer"
            }
        }
    }

    /// The peer.
    pub(super) fn wait(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let what = match s.peer {
            Waits::Seq => {
                n.bumped = false;
                n.peer = Waits::Look;
                "reads seq"
            }
            Waits::Look if s.role.is_gone() => {
                n.peer = Waits::Told;
                "is told that the end is gone"
            }
            Waits::Look => {
                n.peer = Waits::Sleep;
                "looks: somebody is there"
            }
            Waits::Sleep => {
                n.peer = if s.bumped { Waits::Seq } else { Waits::Asleep };
                "futex_wait"
            }
            Waits::Asleep if self.slices => {
                n.peer = Waits::Seq;
                let asks = match (s.role, self.bug) {
                    (Role::Held(o), _) | (Role::Moving(o, _), Bug::ProbeMover) => o,
                    (Role::Moving(_, t), bug) if bug != Bug::NoProbe => s.tickets[t as usize].owner,
                    _ => 0,
                };
                if let Some(k) = usize::from(asks).checked_sub(1).filter(|k| s.processes[*k].dead) {
                    return self.start_recovery(&n, k, out);
                }
                "a slice ends"
            }
            Waits::Told if !s.role.is_gone() => {
                n.peer = Waits::Seq;
                "calls again"
            }
            Waits::Asleep | Waits::Told => return,
        };
        out.add(Who::Process(PEER), what, n);
    }
}
