//! A process at the barrier: arrive, look, turn, give up, reset.

use super::super::check::{Steps, Who};
use super::{At, Barrier, Bug, Process, State, Ticket, Word, id};

impl Barrier {
    pub(super) fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        match s.processes[k].at {
            At::Idle => self.begin(s, k, out),
            At::Fates | At::Read | At::Find | At::Claim | At::Reread | At::Confirm | At::FatesLate => {
                self.arrive(s, k, out);
            }
            At::Arm | At::Look | At::Scan | At::ScanAgain | At::Sleep | At::Asleep => self.look(s, k, out),
            At::Fate => self.learn(s, k, out),
            At::Lead | At::Action | At::Commit | At::Deadline => self.turn(s, k, out),
            At::Post => {
                let mut n = *s;
                n.post();
                n.processes[k].rest();
                out.add(Who::Process(k), "post: wake all; leaves", n);
            }
            At::Dead => {}
            _ => self.reset(s, k, out),
        }
    }

    fn begin(&self, s: &State, k: usize, out: &mut Steps<State>) {
        if s.processes[k].left > 0 {
            let mut n = *s;
            n.processes[k].left -= 1;
            n.processes[k].at = At::Fates;
            out.add(Who::Process(k), "wait", n);
        }
        if s.resets < self.resets {
            let mut n = *s;
            n.resets += 1;
            n.processes[k].at = At::ResetFates;
            out.add(Who::Process(k), "reset", n);
        }
    }

    fn arrive(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let process = s.processes[k];
        let Process { phase, index, seen, .. } = process;
        let there = s.tickets[index as usize];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Fates | At::FatesLate => {
                me.fates = s.fates;
                me.at = if process.at == At::Fates { At::Read } else { At::Arm };
                "wait: F = fates"
            }
            At::Read if s.word.broken => {
                me.rest();
                "wait: P = state, BROKEN: told so"
            }
            At::Read => {
                me.at = At::Find;
                me.index = self.start(k);
                me.phase = s.word.phase;
                "wait: P = state"
            }
            At::Find => {
                self.find(s, there, self.start(k), me);
                "wait: look at a ticket"
            }
            At::Claim if there == seen || self.bug == Bug::ClaimByStore => {
                let freed = seen.phase == phase + 1 && self.bug != Bug::NoProvisional;
                n.tickets[index as usize] =
                    Ticket { phase: phase + 1, version: seen.version, owner: id(k), provisional: freed };
                me.ticket = index + 1;
                let at = match freed {
                    true if self.bug == Bug::NoReread => At::Confirm,
                    true => At::Reread,
                    false if self.bug == Bug::FatesAfterArrival => At::FatesLate,
                    false => At::Arm,
                };
                me.go(at);
                if freed {
                    "wait: CAS of a freed ticket -> mine, PROV"
                } else {
                    "wait: CAS ticket -> mine: CLAIM"
                }
            }
            At::Claim => {
                me.at = At::Find;
                me.seen = Ticket::default();
                "wait: CAS of the ticket fails"
            }
            At::Reread if s.word.phase == phase && !s.word.broken => {
                me.at = At::Confirm;
                "wait: state is still of this phase"
            }
            At::Reread => {
                me.again();
                "wait: state has moved, nobody counted me"
            }
            _ => {
                let at = process.ticket as usize - 1;
                let mine = Ticket { phase: phase + 1, owner: id(k), provisional: true, ..s.tickets[at] };
                if s.tickets[at] == mine {
                    n.tickets[at].provisional = false;
                }
                n.processes[k].go(At::Arm);
                "wait: CAS takes PROV away: CLAIM"
            }
        };
        n.was_full |= self.is_full(&n);
        out.add(Who::Process(k), what, n);
    }

    fn find(&self, s: &State, there: Ticket, start: u8, me: &mut Process) {
        let mine = me.phase + 1;
        if there.phase > mine && self.bug != Bug::ClaimNewer {
            me.again();
        } else if there.phase == mine && there.owner != 0 {
            me.index = (me.index + 1) % self.parties as u8;
            if me.index == start {
                me.go(At::Arm);
            }
        } else {
            me.at = At::Claim;
            me.seen = there;
            let others = (0..self.parties).filter(|i| *i != me.index as usize);
            let missing = others.into_iter().any(|i| !self.arrived(s.tickets[i], me.phase));
            me.missing = self.bug == Bug::NoFence && missing;
        }
    }

    fn look(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Arm => {
                me.moved = false;
                me.at = At::Look;
                "wait: s = seq, flag = 1, fence"
            }
            At::Look => {
                self.look_at_state(s, me);
                "wait: look at the state"
            }
            At::Scan | At::ScanAgain => {
                self.scan(s, me);
                "wait: scan a ticket"
            }
            At::Sleep => {
                me.at = if process.moved { At::Arm } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            _ => {
                if process.ticket == 0 || s.deadlines == self.deadlines {
                    return;
                }
                n.deadlines += 1;
                n.processes[k].go(At::Deadline);
                "its deadline"
            }
        };
        out.add(who, what, n);
    }

    fn look_at_state(&self, s: &State, me: &mut Process) {
        let party = me.ticket != 0;
        if s.word.phase != me.phase {
            if party { me.at = At::Fate } else { me.again() }
        } else if s.word.broken {
            me.rest();
        } else {
            let early = std::mem::take(&mut me.missing);
            let waits = s.word.leader != 0 || !party && self.bug == Bug::SpareWaitsForTurn || early;
            me.at = if waits { At::Sleep } else { At::Scan };
        }
        if !matches!(me.at, At::Scan | At::Sleep) {
            me.moved = false;
        }
    }

    /// One ticket of a scan, and what follows from it.
    fn scan(&self, s: &State, me: &mut Process) {
        let index = me.index as usize;
        let there = s.tickets[index];
        if me.ticket == 0 {
            let taken = there.phase == me.phase + 1 && there.owner != 0;
            match (taken, index + 1 == self.parties) {
                (false, _) => me.again(),
                (true, true) => me.go(At::Sleep),
                (true, false) => me.index += 1,
            }
            return;
        }
        if !self.arrived(there, me.phase) {
            return me.go(At::Sleep);
        }
        if me.at == At::ScanAgain && me.scan[index] != there {
            return me.go(At::Scan);
        }
        me.scan[index] = there;
        me.index += 1;
        if (me.index as usize) < self.parties {
            return;
        }
        me.index = 0;
        if me.at == At::Scan && self.bug != Bug::SingleScan {
            me.at = At::ScanAgain;
        } else {
            me.go(if self.action { At::Lead } else { At::Commit });
            me.moved = false;
        }
    }

    /// The phase has moved: was it turned, or broken and reset?
    fn learn(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { phase, fates, .. } = s.processes[k];
        let back = s.fates.next.wrapping_sub(1).wrapping_sub(phase) as i8;
        let told_broken = match back {
            _ if s.fates == fates && self.bug != Bug::DistanceAlone => false,
            _ if self.bug == Bug::AnyResetMeansBroken => true,
            ..0 => false,
            _ if back < self.remembered as i8 => s.fates.bits >> back & 1 == 1,
            _ => self.bug != Bug::ForgottenMeansTurned,
        };
        let was_broken = s.broken >> phase & 1 == 1;
        let overslept = s.broken >> (phase + self.remembered) != 0;
        if told_broken != was_broken && !(told_broken && overslept) {
            return out.violation(who, "look at fates", "it is told the wrong fate of its phase");
        }
        self.let_through(s, k, told_broken, "look at fates", out);
    }

    fn let_through(&self, s: &State, k: usize, broken: bool, what: &'static str, out: &mut Steps<State>) {
        let who = Who::Process(k);
        if !broken && !s.processes[k].counted {
            return out.violation(who, what, "let through by a turn for which it held no ticket");
        }
        let mut n = *s;
        n.processes[k].rest();
        out.add(who, what, n);
    }

    fn turn(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let phase = process.phase;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::Lead if s.word == (Word { phase, leader: 0, broken: false }) => {
                n.word.leader = id(k);
                me.leads = true;
                me.at = At::Action;
                "turn: CAS leader -> me"
            }
            At::Lead => {
                me.go(At::Arm);
                "turn: CAS of the leader fails"
            }
            At::Action => {
                me.at = At::Commit;
                "turn: the action"
            }
            At::Commit => return self.commit(s, k, out),
            _ => {
                if s.word.phase != phase || s.word.broken {
                    if self.bug == Bug::DeadlineMeansTurned {
                        if s.broken >> phase & 1 == 1 {
                            out.violation(who, "deadline", "it is told the wrong fate of its phase");
                        }
                        return;
                    }
                    me.go(At::Arm);
                } else {
                    n.word = Word { phase, leader: 0, broken: true };
                    n.broken |= 1 << phase;
                    me.go(At::Post);
                    if self.bug == Bug::TimeoutWithoutPost {
                        me.rest();
                    }
                }
                "deadline: CAS -> BROKEN"
            }
        };
        out.add(who, what, n);
    }

    fn commit(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let Process { phase, leads, .. } = s.processes[k];
        let mut n = *s;
        if s.word != (Word { phase, leader: if leads { id(k) } else { 0 }, broken: false }) {
            n.processes[k].leads = false;
            n.processes[k].go(At::Arm);
            return out.add(who, "turn: CAS of the phase fails", n);
        }
        if !s.was_full {
            return out.violation(who, "turn", "there was no moment at which all were in");
        }
        n.word = Word { phase: phase + 1, leader: 0, broken: false };
        n.was_full = false;
        for (other, process) in n.processes.iter_mut().enumerate() {
            let ticket = s.tickets[(process.ticket as usize).max(1) - 1];
            let holds = process.ticket != 0 && ticket.owner == id(other) && ticket.phase == phase + 1;
            process.counted |= holds && process.phase == phase;
        }
        if !n.processes[k].counted {
            return out.violation(who, "turn", "it turns without a ticket");
        }
        n.processes[k].go(At::Post);
        if self.bug == Bug::TurnWithoutPost {
            n.processes[k].rest();
        }
        out.add(who, "turn: CAS phase += 1: COMMIT", n);
    }

    fn reset(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let process = s.processes[k];
        let phase = process.phase;
        let mut n = *s;
        let me = &mut n.processes[k];
        let what = match process.at {
            At::ResetFates | At::ResetFatesLate => {
                me.fates = s.fates;
                me.at = if process.at == At::ResetFates { At::ResetRead } else { At::ResetNote };
                "reset: f = fates"
            }
            At::ResetRead => {
                me.phase = s.word.phase;
                let sure = s.word.broken || self.bug == Bug::FateWithoutBroken;
                me.at = if sure { self.after_break() } else { At::ResetAbort };
                "reset: P = state"
            }
            At::ResetAbort => {
                me.at = At::ResetFates;
                if s.word.phase == phase && !s.word.broken {
                    me.at = self.after_break();
                    n.word = Word { phase, leader: 0, broken: true };
                    n.broken |= 1 << phase;
                }
                "reset: CAS -> BROKEN"
            }
            At::ResetNote => {
                let is_noted = process.fates.next == phase + 1;
                if is_noted || s.fates == process.fates || self.bug == Bug::NoteByStore {
                    n.fates = if is_noted { s.fates } else { process.fates.noted(phase) };
                    me.go(if self.bug == Bug::FateAfterReset { At::Post } else { At::ResetCommit });
                } else {
                    me.go(At::ResetFates);
                }
                "reset: CAS of fates"
            }
            _ => {
                let whole = s.word.broken || self.bug == Bug::FateWithoutBroken;
                let moves = s.word.phase == phase && whole;
                if moves {
                    n.word = Word { phase: phase + 1, leader: 0, broken: false };
                    n.broken |= 1 << phase;
                    n.was_full = false;
                }
                let me = &mut n.processes[k];
                me.go(if self.bug == Bug::FateAfterReset && moves { At::ResetNote } else { At::Post });
                "reset: CAS phase += 1"
            }
        };
        out.add(who, what, n);
    }

    fn after_break(&self) -> At {
        match self.bug {
            Bug::FateAfterReset => At::ResetCommit,
            Bug::NoteBehindState => At::ResetFatesLate,
            _ => At::ResetNote,
        }
    }
}
