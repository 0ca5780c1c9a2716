//! `recover`: what is done for a dead process, in the order of the sweep.

use super::super::check::{Steps, Who};
use super::{Bug, Moving, Place, Process, Recoverer, Repair, Role, State, TICKETS, Ticket, id};

impl Moving {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let busy = s.recoverers.iter().any(|r| r.dead == id(k));
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (busy, idle) {
            let mut n = *s;
            let at = match self.bug {
                Bug::RoleFirst => Repair::Role,
                Bug::PipeFirst => Repair::Pipe,
                _ if self.ring => Repair::Ring,
                _ => Repair::Ticket,
            };
            n.recoverers[r] = Recoverer { dead: id(k), at, ..Recoverer::default() };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    /// The one next step of a recoverer.
    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let mut me = s.recoverers[r];
        let what = match me.at {
            Repair::Role | Repair::WakeAll | Repair::Pipe | Repair::Bit => {
                self.repair_entries(&mut n, &mut me)
            }
            Repair::Reuse => {
                if let Some(why) = names_the_dead(s, me.dead) {
                    return out.violation(Who::Recoverer(r), "frees the id", why);
                }
                n.processes[me.dead as usize - 1] = Process::default();
                me = Recoverer::default();
                "the id is reusable"
            }
            Repair::Ring => {
                if s.writer == me.dead {
                    n.writer = 0;
                    if let Some(place) = s.tail() {
                        n.places[place] = Place::Acked;
                    }
                }
                n.reader = if s.reader == me.dead { 0 } else { s.reader };
                me.at = Repair::Ticket;
                "what the dead was filling or reading in the ring"
            }
            _ => self.repair_ticket(&mut n, &mut me),
        };
        n.recoverers[r] = me;
        out.add(Who::Recoverer(r), what, n);
    }

    fn repair_ticket(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let t = me.index as usize;
        let ticket = n.tickets[t];
        let what = match me.at {
            Repair::Ticket if ticket.owner == me.dead => {
                me.at = Repair::Flight;
                return "a ticket of the dead";
            }
            Repair::Flight if !in_flight(n, ticket) || self.bug == Bug::SweepInFlight => {
                me.at = Repair::Out;
                return "its carrier: not in flight";
            }
            Repair::Out if ticket.owner == me.dead => {
                if self.bug == Bug::OutByStore {
                    me.at = Repair::Store;
                    return "still a ticket of the dead";
                }
                n.tickets[t].out = true;
                me.at = self.after_out();
                return "CAS ticket of the dead -> OUT(d)";
            }
            Repair::Store => {
                n.tickets[t] = Ticket { owner: me.dead, out: true, ..ticket };
                me.at = self.after_out();
                return "ticket = OUT(d)";
            }
            Repair::Close => {
                if matches!(n.role, Role::Moving(_, there) if there == me.index || self.bug == Bug::AnyMoving)
                {
                    n.role = Role::Dead;
                    me.closed = true;
                }
                let silent = self.bug == Bug::WakeIfClosed && !me.closed;
                me.at = if silent { Repair::Free } else { Repair::Wake };
                return "CAS role MOVING(any, ticket) -> DEAD";
            }
            Repair::Wake if self.bug == Bug::RecoveryFreesFirst => {
                n.wake();
                "wakes the peer"
            }
            Repair::Wake => {
                n.wake();
                me.at = Repair::Free;
                return "wakes the peer";
            }
            Repair::Free => {
                n.free_ticket(me.index);
                if self.bug == Bug::RecoveryFreesFirst {
                    me.at = Repair::Close;
                    return "ticket = FREE";
                }
                "ticket = FREE"
            }
            Repair::Flight => "in flight, stays",
            _ => "another's ticket",
        };
        *me = Recoverer { dead: me.dead, at: Repair::Ticket, index: me.index + 1, closed: false };
        if me.index as usize == TICKETS {
            me.at = match self.bug {
                Bug::RoleFirst => Repair::Pipe,
                Bug::BitFirst => Repair::Bit,
                _ => Repair::Role,
            };
        }
        what
    }

    fn after_out(&self) -> Repair {
        match self.bug {
            Bug::NoCloseByRecovery | Bug::RecoveryFreesFirst => Repair::Free,
            _ => Repair::Close,
        }
    }

    /// The entries: only where the dead one's holder bit is set.
    fn repair_entries(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        // The one who cleared it knows that it was set.
        let has_bit = n.processes[me.dead as usize - 1].bit || me.closed;
        let tickets_to_come = self.bug == Bug::PipeFirst && me.index == 0;
        let after_role = if self.bug == Bug::RoleFirst { Repair::Ticket } else { Repair::Pipe };
        let (next, what) = match me.at {
            Repair::Role if !has_bit => (after_role, "its holder bit is not set"),
            Repair::Role => {
                match n.role {
                    Role::Held(o) if o == me.dead => n.role = Role::Dead,
                    Role::Moving(o, _) if o == me.dead && self.bug == Bug::RecoverMoving => {
                        n.role = Role::Dead
                    }
                    _ => {}
                }
                (Repair::WakeAll, "role HELD(d) -> DEAD")
            }
            Repair::WakeAll => {
                n.wake();
                (after_role, "wakes the peer, always")
            }
            Repair::Pipe => {
                n.writer = if n.writer == me.dead { 0 } else { n.writer };
                n.reader = if n.reader == me.dead { 0 } else { n.reader };
                let next = match self.bug {
                    _ if tickets_to_come => Repair::Ticket,
                    Bug::BitFirst => Repair::Reuse,
                    _ => Repair::Bit,
                };
                (next, "the ends of the carrying lane: HELD(d) -> DEAD")
            }
            _ => {
                me.closed = has_bit;
                n.processes[me.dead as usize - 1].bit = false;
                (
                    if self.bug == Bug::BitFirst { Repair::Role } else { Repair::Reuse },
                    "clears its holder bit",
                )
            }
        };
        me.at = next;
        what
    }
}

fn in_flight(s: &State, ticket: Ticket) -> bool {
    let place = usize::from(ticket.carrier).checked_sub(1);
    place.is_some_and(|place| matches!(s.places[place], Place::Full(_)))
}

/// What still names the dead when its id is about to be used again. A ticket in flight may.
fn names_the_dead(s: &State, dead: u8) -> Option<&'static str> {
    if s.role == Role::Held(dead) {
        Some("the role still names it")
    } else if s.tickets.iter().any(|ticket| ticket.owner == dead && !in_flight(s, *ticket)) {
        Some("a ticket that is not in flight still names it")
    } else if s.writer == dead || s.reader == dead {
        Some("an end of the carrying lane still names it")
    } else {
        None
    }
}
