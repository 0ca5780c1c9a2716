//! What is done for a dead party or leader.

use super::super::check::{Steps, Who};
use super::{At, Barrier, Bug, Policy, Recoverer, Repair, State, Ticket, Word};

impl Barrier {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = k as u8 + 1;
        let locked = s.recoverers.iter().any(|r| r.dead == dead);
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            n.recoverers[r] = Recoverer { dead, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let Recoverer { dead, at, phase, index } = s.recoverers[r];
        let mut n = *s;
        let me = &mut n.recoverers[r];
        let what = match at {
            Repair::Read => {
                me.phase = s.word.phase;
                me.at = Repair::Leader;
                "P = state"
            }
            Repair::Leader => {
                let leads =
                    s.word.phase == phase && s.word.leader == dead && self.bug != Bug::LeaderForgotten;
                me.at = if self.bug == Bug::NotSwept { self.after_tickets() } else { Repair::Ticket };
                if leads && self.policy == Policy::Break {
                    me.at = Repair::Break;
                } else if leads {
                    n.word.leader = 0;
                }
                "does the dead lead?"
            }
            Repair::Ticket => {
                self.look_at_ticket(s, r, &mut n);
                "a ticket of the dead?"
            }
            Repair::TicketStore => {
                self.free(&mut n.tickets[index as usize], phase);
                self.next_ticket(&mut n.recoverers[r]);
                "frees the ticket, whoever has it"
            }
            Repair::Break => {
                let same = s.word.phase == phase;
                if same && !s.word.broken {
                    n.broken |= 1 << s.word.phase;
                    n.word = Word { phase: s.word.phase, leader: 0, broken: true };
                }
                n.recoverers[r].at = self.after_tickets();
                "CAS -> BROKEN"
            }
            Repair::Wake => {
                n.post();
                n.recoverers[r].at = Repair::Reuse;
                "wake all"
            }
            Repair::Reuse => {
                let stays = |t: &Ticket| t.owner == dead && t.phase == s.word.phase + 1 && !s.word.broken;
                if s.tickets.iter().any(stays) {
                    return out.violation(
                        Who::Recoverer(r),
                        "the id is reusable",
                        "the dead is still a party",
                    );
                }
                let process = &mut n.processes[dead as usize - 1];
                process.rest();
                process.at = At::Idle;
                n.recoverers[r] = Recoverer::default();
                "the id is reusable"
            }
        };
        out.add(Who::Recoverer(r), what, n);
    }

    fn look_at_ticket(&self, s: &State, r: usize, n: &mut State) {
        let Recoverer { dead, phase, index, .. } = s.recoverers[r];
        let ticket = s.tickets[index as usize];
        let spared = ticket.provisional && self.bug == Bug::ProvisionalNotSwept;
        let me = &mut n.recoverers[r];
        if ticket.owner != dead || ticket.phase != phase + 1 || spared {
            self.next_ticket(me);
        } else if self.policy == Policy::Break {
            me.index = 0;
            me.at = Repair::Break;
        } else if self.bug == Bug::FreeByStore {
            me.at = Repair::TicketStore;
        } else {
            self.next_ticket(me);
            self.free(&mut n.tickets[index as usize], phase);
        }
    }

    fn next_ticket(&self, me: &mut Recoverer) {
        me.index += 1;
        me.at = Repair::Ticket;
        if me.index as usize == self.parties {
            me.index = 0;
            me.at = self.after_tickets();
        }
    }

    fn free(&self, ticket: &mut Ticket, phase: u8) {
        let version = if self.bug == Bug::NoVersion { ticket.version } else { (ticket.version + 1) % 4 };
        let phase = if self.bug == Bug::FreeKeepsNothing { phase } else { phase + 1 };
        *ticket = Ticket { phase, version, owner: 0, provisional: false };
    }

    fn after_tickets(&self) -> Repair {
        if self.bug == Bug::SilentRecovery { Repair::Reuse } else { Repair::Wake }
    }
}
