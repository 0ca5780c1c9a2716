//! The record: what a starter and its child leave each other in two drawers, whoever dies.
//!
//! ```text
//! record    FREE  CREATING(o)  LIVE  FREEING(o); a bit for each of the two; the boot ticket: FREE  HELD(o)
//! step      REQUESTED  STARTED  RUNNING  RETURNED  CANCELLED          drawers ARGS, RESULT: EMPTY  FULL  TAKEN
//! parcel    FREE  HELD(o); beside it the carrier: none, or a drawer of this record
//!
//! starter   CREATING(me); carriers = ARGS; ARGS = FULL; own bit; LIVE; boot ticket HELD(me); start the child
//!           may give up: step REQUESTED -> CANCELLED: won: settle; lost, or not tried: settle when the child is dead
//! settle    step REQUESTED -> CANCELLED; boot ticket HELD(me) -> FREE; RETURNED: take RESULT
//!           ARGS FULL: discard; RESULT FULL and no RETURNED: discard; then drop
//! child     boot ticket -> HELD(me), or exit; own bit; ticket = FREE; step REQUESTED -> STARTED, or drop
//!           take ARGS; RUNNING; the body; carriers = RESULT; RESULT = FULL; RETURNED; drop
//! take      receive each parcel: HELD(any) -> HELD(me); TAKEN; they are mine         discard: and then FREE
//! drop      clear own bit; no bit, no ticket: LIVE -> FREEING(me): discard ARGS and RESULT; FREE
//! recover d (holding the lock of d)
//!           parcels HELD(d) that are not in flight -> FREE; boot ticket HELD(d) -> FREE; clear the bit of d
//!           CREATING(d) -> FREE; FREEING(d): the rest of drop; LIVE: drop in the name of d
//! in flight the record is LIVE or FREEING, and the drawer that is the carrier is FULL
//! ```
//!
//! That a scan for references is one step here is what the model `lifetime` is for.
//!
//! What must hold: nobody loses a parcel that he has taken; a starter gets the result exactly if the step is RETURNED;
//! after a give-up that won no body has arguments; in the end the record, the ticket and all parcels are free.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | starter before LIVE | CREATING, parcels not in flight | FREE |
//! | starter later | LIVE, the child's bit or none | who drops last discards |
//! | child before STARTED | REQUESTED | CANCELLED, ARGS discarded |
//! | child before TAKEN | ARGS FULL, some parcels of the child, in flight | received again |
//! | child between FULL and RETURNED | RESULT FULL | discarded |
//! | who drops last | FREEING | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod recovery;
mod sides;

pub(super) use cases::cases;

use super::super::check::{Model, Steps, Who};

/// Starter, child, and three who recover.
const ACTORS: usize = 5;
const STARTER: usize = 0;
const CHILD: usize = 1;
/// Two in each drawer.
const PARCELS: usize = 4;

fn id(actor: usize) -> u8 {
    actor as u8 + 1
}

fn who(actor: usize) -> Who {
    if actor > CHILD { Who::Recoverer(actor) } else { Who::Process(actor) }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    Free,
    Creating(u8),
    Live,
    Freeing(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Step {
    #[default]
    Requested,
    Started,
    Running,
    Returned,
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Drawer {
    #[default]
    Empty,
    Full,
    Taken,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Parcel {
    owner: u8,
    is_carried: bool,
}

/// Taking what is in a drawer: which one, which of its parcels is next, and whether they are freed afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Taking {
    drawer: u8,
    at: u8,
    /// Those that it has received.
    mine: u8,
    frees: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    // The starter.
    Carry,
    Fill,
    Bit,
    Publish,
    Pin,
    Start,
    Wait,
    Cancel,
    Unpin,
    Result,
    Args,
    Uncommitted,
    // The child.
    Born,
    Gain,
    BootFree,
    Commit,
    Running,
    Body,
    Return,
    // Both.
    Taking,
    Give,
    Clear,
    TryFree,
    Dismantle(u8),
    Free,
    Done,
    Dead,
    // Who recovers.
    Parcel(u8),
    ParcelFree(u8),
    Boot,
    Owned,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Actor {
    at: At,
    taking: Taking,
    /// Where it goes on after that.
    then: u8,
    /// The parcels that it has taken and relies on, as bits. Known to the checks only.
    relies: u8,
    /// Whom it recovers.
    dead: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    life: Life,
    step: Step,
    drawers: [Drawer; 2],
    bits: u8,
    boot: u8,
    parcels: [Parcel; PARCELS],
    actors: [Actor; ACTORS],
    kills: u8,
    gave_up: bool,
}

/// A deliberate mistake; the last ones are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// settle leaves the boot ticket.
    TicketStays,
    /// TAKEN comes before the parcels are received.
    AckFirst,
    /// Parcels are freed before TAKEN.
    FreeBeforeAck,
    /// The start is given up, or begins, whatever the step is.
    CancelByStore,
    StartByStore,
    /// RETURNED is stored before RESULT is FULL.
    StepFirst,
    /// The starter settles while the child may live.
    SettleEarly,
    /// The child gives its ticket back before its bit is set.
    TicketBeforeBit,
    /// What CREATING carries is in flight already; what FREEING carries no more.
    InFlightCreating,
    NotInFlightFreeing,
    /// The carrier is set after FULL.
    FillFirst,
    /// Whoever drops last, or goes on for it, discards nothing.
    NoDiscard,
    /// Parcels of the dead are freed whether they are in flight or not.
    SweepInFlight,
    /// None: settle takes neither ARGS nor RESULT back; the last drop does.
    LeaveToDrop,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Record {
    kills: u8,
    may_give_up: bool,
    bug: Bug,
}

impl Record {
    fn is_in_flight(&self, s: &State, parcel: usize) -> bool {
        let is_there = match s.life {
            Life::Live => true,
            Life::Freeing(_) => self.bug != Bug::NotInFlightFreeing,
            Life::Creating(_) => self.bug == Bug::InFlightCreating,
            Life::Free => false,
        };
        is_there && s.parcels[parcel].is_carried && s.drawers[parcel / 2] == Drawer::Full
    }

    fn kill(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let idle = match s.actors[k].at {
            At::Idle => k != STARTER,
            At::Done | At::Dead => true,
            _ => false,
        };
        if idle || s.kills == self.kills {
            return;
        }
        let mut n = *s;
        n.kills += 1;
        n.actors[k] = Actor { at: At::Dead, ..Actor::default() };
        out.add(who(k), "KILLED", n);
    }
}

impl Model for Record {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.parcels[0].owner = id(STARTER);
        s.parcels[1].owner = id(STARTER);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..ACTORS {
            self.kill(s, k, out);
            match s.actors[k].at {
                At::Taking | At::Give => self.take(s, k, out),
                At::Clear | At::TryFree | At::Dismantle(_) | At::Free => self.drop_record(s, k, out),
                _ if k == STARTER => self.starter(s, out),
                _ if k == CHILD => self.child(s, out),
                _ => self.recover(s, k, out),
            }
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for (k, actor) in s.actors.iter().enumerate() {
            let lost = |p: &usize| actor.relies & (1 << p) != 0 && s.parcels[*p].owner != id(k);
            if (0..PARCELS).any(|p| lost(&p)) {
                return Err(format!("actor {k} lost a parcel"));
            }
        }
        let child = s.actors[CHILD];
        if s.gave_up && matches!(child.at, At::Running | At::Body | At::Return) {
            return Err("a body has its arguments although the start was given up".into());
        }
        if child.at == At::Body && child.relies & 3 != 3 {
            return Err("a body without its arguments".into());
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let free = s.life == Life::Free && s.boot == 0 && s.parcels.iter().all(|parcel| parcel.owner == 0);
        let gone = |k: usize| match s.actors[k].at {
            At::Done => true,
            At::Idle => k != STARTER,
            _ => false,
        };
        free && (0..ACTORS).all(gone)
    }
}
