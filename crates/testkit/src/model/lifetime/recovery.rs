//! `recover`: what is done for a dead process, in the order that matters.

use super::super::check::{Steps, Who};
use super::{
    Attempt, Bug, Carried, Carrier, Freeing, Life, Lifetime, Process, Recoverer, Repair, State, Ticket,
};
use super::{TICKETS, Unacked, bit, id};

impl Lifetime {
    pub(super) fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let busy = s.recoverers.iter().any(|r| r.dead == id(k));
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (busy, idle) {
            let mut n = *s;
            n.recoverers[r].dead = id(k);
            if self.bug == Bug::TicketsFirst {
                n.recoverers[r].at = Repair::Ticket;
            }
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    /// The one next step of a recoverer.
    pub(super) fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let mut me = s.recoverers[r];
        let what = match me.at {
            Repair::Carrier | Repair::CarrierFree => self.repair_carrier(&mut n, &mut me),
            Repair::Ticket | Repair::InFlight(_) | Repair::TicketFree => self.repair_ticket(&mut n, &mut me),
            Repair::Lock => {
                if n.names_lock == me.dead && self.bug != Bug::SkipLock {
                    n.names_lock = 0;
                }
                me.at = if self.bug == Bug::FreeBeforeBit { Repair::Owned } else { Repair::Bump };
                "names lock of the dead"
            }
            Repair::Bump | Repair::Bit | Repair::Owned | Repair::Attempt => {
                self.repair_entry(&mut n, &mut me)
            }
            Repair::Reuse => {
                if let Some(why) = self.names_the_dead(s, me.dead) {
                    return out.violation(Who::Recoverer(r), "frees the id", why);
                }
                n.processes[me.dead as usize - 1] = Process::default();
                me = Recoverer::default();
                "the id is reusable"
            }
        };
        n.recoverers[r] = me;
        out.add(Who::Recoverer(r), what, n);
    }

    fn repair_carrier(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let carrier = &mut n.carriers[me.index as usize];
        let mut what = "looks at a carrier";
        match (me.at, carrier.word) {
            (Repair::CarrierFree, _) => {
                *carrier = Carrier::default();
                me.at = Repair::Carrier;
                what = "carrier READING(d) -> FREE";
            }
            (_, Carried::Writing(d)) if d == me.dead && self.bug != Bug::SkipWriting => {
                *carrier = Carrier::default();
                what = "carrier WRITING(d) -> FREE";
            }
            (_, Carried::Reading(d)) if d == me.dead => match self.unacked {
                Unacked::Redeliver => {
                    carrier.word = Carried::Full;
                    what = "carrier READING(d) -> FULL";
                }
                Unacked::Finish => {
                    n.tickets[carrier.ticket as usize].owner = me.dead;
                    me.at = Repair::CarrierFree;
                    return "RECEIVE for the dead";
                }
            },
            _ => {}
        }
        me.index += 1;
        if me.index as usize == self.carriers {
            me.index = 0;
            me.at = if self.bug == Bug::TicketsFirst { Repair::Lock } else { Repair::Ticket };
        }
        what
    }

    fn repair_ticket(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let t = me.index as usize;
        let ours = n.tickets[t].owner == me.dead && self.bug != Bug::SkipTickets;
        let what = match me.at {
            Repair::Ticket if ours => {
                let sweeps_all = self.bug == Bug::SweepInFlight;
                me.at = if sweeps_all { Repair::TicketFree } else { Repair::InFlight(0) };
                return "a ticket of the dead";
            }
            Repair::InFlight(c) => {
                let carrier = n.carriers[c as usize];
                let reading =
                    self.bug != Bug::InFlightFullOnly && matches!(carrier.word, Carried::Reading(_));
                let names = (carrier.word == Carried::Full || reading) && carrier.ticket as usize == t;
                if !names {
                    let more = c as usize + 1 < self.carriers;
                    me.at = if more { Repair::InFlight(c + 1) } else { Repair::TicketFree };
                    return "not in flight here";
                }
                "in flight, stays"
            }
            Repair::TicketFree if ours => {
                n.tickets[t] = Ticket::default();
                "CAS ticket HELD(d) -> FREE"
            }
            Repair::TicketFree => "CAS fails, received meanwhile",
            _ => "another's ticket",
        };
        me.at = Repair::Ticket;
        me.index += 1;
        if me.index as usize == self.tickets {
            me.index = 0;
            me.at = if self.bug == Bug::TicketsFirst { Repair::Carrier } else { Repair::Lock };
        }
        what
    }

    fn repair_entry(&self, n: &mut State, me: &mut Recoverer) -> &'static str {
        let e = me.index;
        let late_bit = self.bug == Bug::FreeBeforeBit;
        let mut what = "nothing of the dead in this entry";
        match me.at {
            Repair::Bump => {
                me.had_bit = n.entries[e as usize].bits & bit(me.dead) != 0;
                if me.had_bit && self.bug != Bug::NoBumpByRecovery {
                    n.touch(e);
                }
                me.at = Repair::Bit;
                return "version += 1 where the dead has a bit";
            }
            Repair::Bit => {
                let entry = &mut n.entries[e as usize];
                if self.bug != Bug::SkipBits {
                    entry.bits &= !bit(me.dead);
                }
                what = "clear the bit of the dead";
                if !late_bit {
                    me.at = Repair::Owned;
                    return what;
                }
            }
            Repair::Owned => {
                let begin = |at| Attempt { at, entry: e, moved: false };
                let owned = match n.entries[e as usize].life {
                    Life::Creating(d) => d == me.dead && self.bug != Bug::SkipCreating,
                    Life::Freeing(d) => d == me.dead && self.bug != Bug::SkipFreeing,
                    _ => false,
                };
                let looks = self.bug != Bug::NoTryFree && (self.bug != Bug::TryFreeIfBit || me.had_bit);
                if owned {
                    n.entries[e as usize].named = false;
                    me.attempt = begin(self.first_release());
                } else if n.live(e) && looks {
                    me.attempt = begin(Freeing::Load);
                }
                if me.attempt.at != Freeing::Off {
                    me.at = Repair::Attempt;
                    return if owned { "finish what the dead began" } else { "try_free as the dead" };
                }
                if late_bit {
                    me.at = Repair::Bump;
                    return what;
                }
            }
            _ => {
                what = self.attempt(n, &mut me.attempt, me.dead);
                if me.attempt.at != Freeing::Off {
                    return what;
                }
                me.attempt = Attempt::default();
                if late_bit {
                    me.at = Repair::Bump;
                    return what;
                }
            }
        }
        me.had_bit = false;
        me.index += 1;
        me.at = if late_bit { Repair::Owned } else { Repair::Bump };
        if me.index as usize == self.entries {
            me.index = 0;
            me.at = Repair::Reuse;
        }
        what
    }

    /// What still names the dead when its id is about to be used again. A ticket in flight may.
    fn names_the_dead(&self, s: &State, dead: u8) -> Option<&'static str> {
        let owned = |life: Life| life == Life::Creating(dead) || life == Life::Freeing(dead);
        let carried = |word: Carried| word == Carried::Writing(dead) || word == Carried::Reading(dead);
        let swept = |t: usize| {
            let names = |c: &Carrier| c.word != Carried::Free && c.ticket as usize == t;
            s.tickets[t].owner != dead || s.carriers.iter().any(names)
        };
        if s.entries.iter().any(|entry| owned(entry.life)) {
            Some("an entry still names it")
        } else if s.entries.iter().any(|entry| entry.bits & bit(dead) != 0) {
            Some("its holder bit is still set")
        } else if s.carriers.iter().any(|carrier| carried(carrier.word)) {
            Some("a carrier still names it")
        } else if s.names_lock == dead {
            Some("it still holds the names lock")
        } else if !(0..TICKETS).all(swept) {
            Some("a ticket that is not in flight still names it")
        } else {
            None
        }
    }
}
