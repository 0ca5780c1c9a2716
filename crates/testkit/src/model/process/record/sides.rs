//! The starter, its child, and what both do with drawers and with the record.

use super::super::super::check::Steps;
use super::{Actor, At, Bug, CHILD, Drawer, Life, Record, STARTER, State, Step, Taking, id, who};

const ARGS: u8 = 0;
const RESULT: u8 = 1;

impl Actor {
    /// Goes and takes a drawer, then goes on at `then`.
    fn take(&mut self, drawer: u8, frees: bool) {
        self.at = At::Taking;
        self.taking = Taking { drawer, frees, ..Taking::default() };
    }
}

impl Record {
    pub(super) fn starter(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[STARTER];
        let what = match me.at {
            At::Idle if self.bug == Bug::FillFirst => {
                me.at = At::Fill;
                n.life = Life::Creating(id(STARTER));
                "CREATING"
            }
            At::Idle => {
                me.at = At::Carry;
                n.life = Life::Creating(id(STARTER));
                "CREATING"
            }
            At::Carry => {
                me.at = if self.bug == Bug::FillFirst { At::Pin } else { At::Fill };
                n.parcels[0].is_carried = true;
                n.parcels[1].is_carried = true;
                "carriers = ARGS"
            }
            At::Fill => {
                me.at = At::Bit;
                n.drawers[0] = Drawer::Full;
                "ARGS = FULL"
            }
            At::Bit => {
                me.at = At::Publish;
                n.bits |= 1;
                "own bit"
            }
            At::Publish => {
                me.at = if self.bug == Bug::FillFirst { At::Carry } else { At::Pin };
                n.life = Life::Live;
                "LIVE"
            }
            At::Pin => {
                me.at = At::Start;
                n.boot = id(STARTER);
                "boot ticket HELD(me)"
            }
            At::Start => {
                me.at = At::Wait;
                n.actors[CHILD].at = At::Born;
                "starts the child"
            }
            _ => return self.settle(s, out),
        };
        out.add(who(STARTER), what, n);
    }

    fn settle(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[STARTER];
        let what = match me.at {
            At::Wait => {
                if self.may_give_up && s.step == Step::Requested || self.bug == Bug::CancelByStore {
                    let mut n = *s;
                    n.step = Step::Cancelled;
                    n.gave_up = true;
                    n.actors[STARTER].at = At::Unpin;
                    out.add(who(STARTER), "give up: REQUESTED -> CANCELLED", n);
                }
                let is_over = matches!(s.actors[CHILD].at, At::Done | At::Dead);
                if !is_over && self.bug != Bug::SettleEarly {
                    return;
                }
                me.at = At::Cancel;
                "the child is dead"
            }
            At::Cancel => {
                if s.step == Step::Requested {
                    n.step = Step::Cancelled;
                }
                me.at = At::Unpin;
                "settle: REQUESTED -> CANCELLED"
            }
            At::Unpin => {
                if s.boot == id(STARTER) && self.bug != Bug::TicketStays {
                    n.boot = 0;
                }
                me.at = At::Result;
                "settle: boot ticket HELD(me) -> FREE"
            }
            At::Result if s.step == Step::Returned => {
                if s.drawers[1] != Drawer::Full {
                    return out.violation(who(STARTER), "settle", "RETURNED without a result");
                }
                me.then = 1;
                me.take(RESULT, false);
                "settle: RETURNED"
            }
            At::Result => {
                me.at = At::Args;
                "settle: not RETURNED"
            }
            At::Args if s.drawers[0] == Drawer::Full && self.bug != Bug::LeaveToDrop => {
                me.then = 2;
                me.take(ARGS, true);
                "settle: ARGS are FULL"
            }
            At::Args => {
                me.at = At::Uncommitted;
                "settle: ARGS are not FULL"
            }
            At::Uncommitted => {
                let is_full = s.drawers[1] == Drawer::Full && s.step != Step::Returned;
                if is_full && self.bug != Bug::LeaveToDrop {
                    me.then = 3;
                    me.take(RESULT, true);
                } else {
                    me.then = 3;
                    me.at = At::Give;
                }
                "settle: is there a result that was not committed?"
            }
            _ => return,
        };
        out.add(who(STARTER), what, n);
    }

    pub(super) fn child(&self, s: &State, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[CHILD];
        let what = match me.at {
            At::Born => {
                me.at = if s.boot == 0 { At::Done } else { At::Gain };
                if s.boot != 0 {
                    n.boot = id(CHILD);
                }
                "boot ticket -> HELD(me), or exit"
            }
            At::Gain if self.bug == Bug::TicketBeforeBit && s.boot != 0 => {
                n.boot = 0;
                "boot ticket = FREE"
            }
            At::Gain => {
                n.bits |= 2;
                me.at = At::BootFree;
                "own bit"
            }
            At::BootFree => {
                n.boot = 0;
                me.at = At::Commit;
                "boot ticket = FREE"
            }
            At::Commit => {
                if s.step == Step::Requested || self.bug == Bug::StartByStore {
                    n.step = Step::Started;
                    me.then = 4;
                    me.take(ARGS, false);
                } else {
                    me.at = At::Clear;
                }
                "REQUESTED -> STARTED, or drop"
            }
            At::Running => {
                n.step = Step::Running;
                me.at = At::Body;
                "RUNNING"
            }
            At::Body => {
                n.parcels[2].owner = id(CHILD);
                n.parcels[3].owner = id(CHILD);
                me.at = At::Carry;
                "the body returns"
            }
            At::Carry => {
                n.parcels[2].is_carried = true;
                n.parcels[3].is_carried = true;
                me.at = if self.bug == Bug::StepFirst { At::Return } else { At::Fill };
                "carriers = RESULT"
            }
            At::Fill => {
                n.drawers[1] = Drawer::Full;
                me.then = 3;
                me.at = if self.bug == Bug::StepFirst { At::Give } else { At::Return };
                "RESULT = FULL"
            }
            At::Return => {
                n.step = Step::Returned;
                me.then = 3;
                me.at = if self.bug == Bug::StepFirst { At::Fill } else { At::Give };
                "RETURNED"
            }
            _ => return,
        };
        out.add(who(CHILD), what, n);
    }

    /// Receives one parcel after the other, acknowledges, and frees them if that is what they were taken for.
    pub(super) fn take(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[k];
        let Taking { drawer, at, mine, frees } = me.taking;
        let acknowledges = at == if self.bug == Bug::AckFirst { 0 } else { 2 };
        let what = if me.at == At::Give {
            let Some(parcel) = (0..4).find(|p| me.relies & (1 << p) != 0) else {
                *me = Actor { at: next(me.then), then: me.then, dead: me.dead, ..Actor::default() };
                return out.add(who(k), "no more parcels of its own", n);
            };
            me.relies &= !(1 << parcel);
            n.parcels[parcel as usize] = Default::default();
            "parcel = FREE"
        } else if acknowledges {
            n.drawers[drawer as usize] = Drawer::Taken;
            if self.bug != Bug::AckFirst {
                me.relies |= mine;
                me.at = if frees { At::Give } else { next(me.then) };
            }
            me.taking.at += 1;
            "TAKEN"
        } else if at == 3 {
            me.relies |= mine;
            me.at = if frees { At::Give } else { next(me.then) };
            "received"
        } else {
            let index = drawer * 2 + at - u8::from(self.bug == Bug::AckFirst);
            let parcel = &mut n.parcels[index as usize];
            if parcel.owner == 0 {
                // By now it could be anybody's.
                return out.violation(who(k), "receive", "a parcel that was freed");
            }
            parcel.owner = if self.bug == Bug::FreeBeforeAck && frees { 0 } else { id(k) };
            me.taking.mine |= if parcel.owner == 0 { 0 } else { 1 << index };
            me.taking.at += 1;
            "receive a parcel"
        };
        let me = &mut n.actors[k];
        if me.at != At::Taking {
            me.taking = Taking::default();
        }
        out.add(who(k), what, n);
    }

    /// The end of a hold, and of the record if it was the last one. In the name of the dead for who recovers.
    pub(super) fn drop_record(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let me = &mut n.actors[k];
        let whom = if me.dead == 0 { id(k) } else { me.dead };
        let end = if me.dead == 0 { At::Done } else { At::Reuse };
        let what = match me.at {
            At::Clear => {
                me.at = At::TryFree;
                n.bits &= !(1 << (whom - 1));
                "clear the bit"
            }
            At::TryFree => {
                let is_last = s.life == Life::Live && s.bits == 0 && s.boot == 0;
                me.at = if is_last { At::Dismantle(0) } else { end };
                if is_last {
                    n.life = Life::Freeing(whom);
                }
                "LIVE -> FREEING, if nothing refers to it"
            }
            At::Dismantle(drawer) if drawer < 2 => {
                let is_full = s.drawers[drawer as usize] == Drawer::Full;
                me.then = 5 + drawer;
                me.at = At::Dismantle(drawer + 1);
                if is_full && self.bug != Bug::NoDiscard {
                    me.take(drawer, true);
                }
                "a drawer"
            }
            At::Dismantle(_) => {
                me.at = At::Free;
                "no more drawers"
            }
            _ => {
                n.life = Life::Free;
                me.at = end;
                "FREE"
            }
        };
        out.add(who(k), what, n);
    }
}

/// Where who took a drawer goes on.
fn next(then: u8) -> At {
    match then {
        1 => At::Args,
        2 => At::Uncommitted,
        4 => At::Running,
        5 => At::Dismantle(1),
        6 => At::Dismantle(2),
        _ => At::Clear,
    }
}
