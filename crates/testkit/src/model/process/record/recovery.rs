//! Who recovers: parcels, the boot ticket, the bit, the record.

use super::super::super::check::Steps;
use super::{Actor, At, Bug, Life, PARCELS, Parcel, Record, State, id, who};

impl Record {
    pub(super) fn recover(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[k];
        let dead = me.dead;
        let what = match me.at {
            At::Idle => {
                let is_locked = |d: u8| s.actors.iter().any(|actor| actor.dead == d);
                for d in 0..s.actors.len() {
                    if s.actors[d].at == At::Dead && !is_locked(id(d)) {
                        let mut n = *s;
                        n.actors[k] = Actor { at: At::Parcel(0), dead: id(d), ..Actor::default() };
                        out.add(who(k), "takes the lock of the dead", n);
                    }
                }
                return;
            }
            At::Parcel(p) if p as usize == PARCELS => {
                me.at = At::Boot;
                "no more parcels"
            }
            At::Parcel(p) => {
                let is_left = self.is_in_flight(s, p as usize) && self.bug != Bug::SweepInFlight;
                let frees = s.parcels[p as usize].owner == dead && !is_left;
                me.at = if frees { At::ParcelFree(p) } else { At::Parcel(p + 1) };
                "looks at a parcel and its carrier"
            }
            At::ParcelFree(p) => {
                // By a store: nobody receives what is not in flight.
                n.parcels[p as usize] = Parcel::default();
                me.at = At::Parcel(p + 1);
                "parcel HELD(d) -> FREE"
            }
            At::Boot => {
                if s.boot == dead {
                    n.boot = 0;
                }
                me.at = At::Owned;
                "boot ticket HELD(d) -> FREE"
            }
            At::Owned => {
                me.at = match s.life {
                    Life::Creating(owner) if owner == dead => At::Free,
                    Life::Freeing(owner) if owner == dead => At::Dismantle(0),
                    _ => At::Clear,
                };
                if me.at == At::Free {
                    n.bits = 0;
                }
                "what became of the record?"
            }
            At::Reuse => {
                let at = if dead > 2 { At::Idle } else { At::Done };
                *me = Actor::default();
                n.actors[dead as usize - 1] = Actor { at, ..Actor::default() };
                "the id is reusable"
            }
            _ => return,
        };
        out.add(who(k), what, n);
    }
}
