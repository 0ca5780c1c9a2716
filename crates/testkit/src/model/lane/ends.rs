//! What the two ends do: take, send, receive, acknowledge, close.

use super::super::check::{Steps, Who};
use super::{Actor, At, Bug, CONSUMER, HEAD, HINT, Lane, PAYLOADS, PRODUCER, Role, State};

impl Lane {
    /// The one next step of an end; several where it may choose.
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let side = k / 2;
        let actor = s.actors[k];
        let mut n = *s;
        let me = &mut n.actors[k];
        let what = match actor.at {
            At::Out => return self.take(s, k, out),
            At::TakeHint => {
                me.position = s.memory[HINT];
                me.at = At::TakeHead;
                "take: load the hint"
            }
            At::TakeHead => {
                me.position = me.position.max(s.memory[HEAD]);
                let walks = side == PRODUCER && self.bug != Bug::NoWalk;
                me.at = if walks { At::Walk } else { At::Idle };
                "take: load the head"
            }
            At::Walk if s.memory[self.cell(actor.position)] != 0 && actor.position < self.messages => {
                me.position += 1;
                "take: a valid header, go on"
            }
            At::Walk => {
                me.at = At::Idle;
                "take: the tail is here"
            }
            At::Idle => return self.begin(s, k, out),
            At::Seq => {
                me.moved = false;
                me.at = At::Look;
                "s = seq"
            }
            At::Look => return self.look(s, k, out),
            At::PeerRole => {
                let died = s.roles[PRODUCER] == Role::Dead;
                me.at = if died { At::LastLook } else { At::Arm };
                me.owed = if died { s.sent } else { 0 };
                if died && self.bug == Bug::NoLastLook {
                    return self.told(&n, k, out);
                }
                "look: the producer's role"
            }
            At::LastLook if self.receivable(s, &actor) => {
                me.at = At::Look;
                me.owed = 0;
                "look: there is one after all"
            }
            At::LastLook => return self.told(s, k, out),
            At::Store(step) => return self.store(s, k, step, out),
            At::Read => return self.read(s, k, out),
            At::Ack => {
                if !actor.has_room() {
                    return;
                }
                let next = actor.position + actor.count.max(1);
                me.store(HEAD, next);
                if self.bug == Bug::AckBeforeRead {
                    me.at = At::Read;
                } else {
                    me.position = next;
                    me.count = 0;
                    me.at = At::PostFence;
                }
                "ACK: head"
            }
            _ => return self.wait_or_post(s, k, out),
        };
        out.add(who, what, n);
    }

    /// The CAS on the role.
    fn take(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let side = k / 2;
        let before = s.roles[side];
        if !self.exists(k) || matches!(before, Role::Held(_)) {
            return;
        }
        let mut n = *s;
        n.roles[side] = Role::Held(k as u8);
        let me = &mut n.actors[k];
        me.at = if side == PRODUCER { At::TakeHint } else { At::TakeHead };
        if side == CONSUMER && before == Role::Dead {
            me.to_flag = match self.bug {
                Bug::NoFlag => 0,
                Bug::FlagFirstOnly => 1,
                _ => self.loan,
            };
        }
        out.add(Who::Process(k), "take: CAS role -> HELD(me)", n);
    }

    /// What an end may do between two operations.
    fn begin(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let actor = s.actors[k];
        if k / 2 == CONSUMER || actor.position < self.messages {
            let mut n = *s;
            n.actors[k].at = At::Seq;
            out.add(Who::Process(k), "send or recv", n);
        }
        if actor.is_drained() {
            let mut n = *s;
            if s.roles[k / 2] == Role::Held(k as u8) {
                let keeps = actor.to_flag > 0 && self.bug != Bug::CloseForgetsFlag;
                n.roles[k / 2] = if keeps { Role::Dead } else { Role::Free };
            }
            n.actors[k] = Actor::default();
            out.add(Who::Process(k), "close", n);
        }
    }

    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let actor = s.actors[k];
        let mut n = *s;
        let me = &mut n.actors[k];
        if !self.ready(s, k) {
            me.at = match (k / 2, actor.count) {
                (PRODUCER, _) => At::Arm,
                (_, 0) => At::PeerRole,
                _ => At::Ack,
            };
            return out.add(who, "look: nothing", n);
        }
        me.moved = false;
        if k / 2 == CONSUMER {
            me.at = if self.bug == Bug::AckBeforeRead { At::Ack } else { At::Read };
            return out.add(who, "look: a message", n);
        }
        for count in 1..=self.sendable(s, &actor) {
            n.actors[k].at = At::Store(0);
            n.actors[k].count = count;
            out.add(who, if count == 1 { "look: room for one" } else { "look: room for a batch" }, n);
        }
    }

    /// `recv` returns the error that the producer died, which also says that nothing more will come from it.
    fn told(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.actors[k].position < s.actors[k].owed {
            return out.violation(
                Who::Process(k),
                "recv",
                "told that the producer died, while messages wait",
            );
        }
        let mut n = *s;
        n.actors[k].at = At::Idle;
        n.actors[k].owed = 0;
        out.add(Who::Process(k), "recv: the producer died", n);
    }

    /// The stores of a send, in program order: place, value, and whether it is the commit.
    fn send_stores(&self, position: u8, count: u8) -> Vec<(usize, u8, bool)> {
        let header = |p: u8, value| (self.cell(p), value, false);
        let payloads = (position..position + count).map(|p| (PAYLOADS + self.cell(p), p + 1, false));
        let headers = (position + 1..position + count).map(|p| header(p, 1));
        let zero = header(position + count, 0);
        let commit = (self.cell(position), 1, true);
        let hint = (HINT, position + count, false);
        let mut stores: Vec<_> = match self.bug {
            Bug::CommitBeforePayload => headers.chain([zero, commit]).chain(payloads).collect(),
            Bug::NoZero => payloads.chain(headers).chain([commit]).collect(),
            Bug::ZeroAfterCommit => payloads.chain(headers).chain([commit, zero]).collect(),
            Bug::FirstHeaderFirst => payloads.chain([zero, commit]).chain(headers).collect(),
            Bug::HintBeforeCommit => payloads.chain(headers).chain([zero, hint, commit]).collect(),
            _ => payloads.chain(headers).chain([zero, commit]).collect(),
        };
        if self.bug != Bug::HintBeforeCommit {
            stores.push(hint);
        }
        stores
    }

    fn store(&self, s: &State, k: usize, step: u8, out: &mut Steps<State>) {
        let actor = s.actors[k];
        if !actor.has_room() {
            return;
        }
        let stores = self.send_stores(actor.position, actor.count);
        let (place, value, is_commit) = stores[step as usize];
        let mut n = *s;
        if is_commit {
            if actor.position != s.sent {
                let why = "a commit away from the tail: a message is overwritten, or a hole is left";
                return out.violation(Who::Process(k), "COMMIT", why);
            }
            n.sent += actor.count;
        }
        let me = &mut n.actors[k];
        me.store(place, value);
        me.at = At::Store(step + 1);
        if step as usize + 1 == stores.len() {
            me.position += actor.count;
            me.count = 0;
            me.at = At::PostFence;
        }
        let what = match place {
            _ if is_commit => "COMMIT: first header",
            HINT => "send: hint",
            _ if place >= PAYLOADS => "send: payload",
            _ if value == 0 => "send: zero behind it",
            _ => "send: later header",
        };
        out.add(Who::Process(k), what, n);
    }

    /// Reads one payload; then perhaps the next one of the same loan.
    fn read(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let actor = s.actors[k];
        let position = actor.position + actor.count;
        let payload = actor.load(&s.memory, PAYLOADS + self.cell(position));
        let wrong = if payload != position + 1 {
            Some("it is not the message sent there")
        } else if position > s.given {
            Some("a message was lost")
        } else if position < s.given && actor.to_flag == 0 {
            Some("a message came twice and is not flagged")
        } else {
            None
        };
        if let Some(why) = wrong {
            return out.violation(who, "recv", why);
        }
        let mut n = *s;
        n.given = s.given.max(position + 1);
        let me = &mut n.actors[k];
        me.to_flag = actor.to_flag.saturating_sub(1);
        if self.bug == Bug::AckBeforeRead {
            me.position += 1;
            me.at = At::PostFence;
            return out.add(who, "recv: read, too late", n);
        }
        me.count += 1;
        me.at = At::Ack;
        out.add(who, "recv: read", n);
        if actor.count + 1 < self.loan {
            n.actors[k].at = At::Look;
            out.add(who, "recv: read, the loan goes on", n);
        }
    }
}
