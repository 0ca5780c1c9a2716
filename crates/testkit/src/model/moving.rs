//! An exclusive end moves: from one process to another, inside a message or as a token.
//!
//! The end of a lane belongs to whom its role word names. While it is under way it belongs to its *ticket*, and the role
//! word says which: so whoever has the ticket in hand may take the end, or close it, by one CAS, and whoever comes too
//! late (a recoverer that repeats what a dead one did) cannot hit another journey, because a ticket that is not free
//! carries no other. Nothing is scanned, no bit of any side is asked.
//!
//! ```text
//! role      HELD(o)  MOVING(o, t)  CLOSED  DEAD            ticket t  FREE  HELD(o)  OUT(o), and its carrier
//! carrier   none, or a place of what carries the message: empty, full, acknowledged. A lane has a producer and a consumer
//!           as well, and the next producer uses the place that a dead one did not fill; a ring goes on behind it
//!
//! send      pin t: FREE -> HELD(me); role HELD(me) -> MOVING(me, t); carrier = place; COMMIT. What is left is a husk
//! stay      not committed: role MOVING(me, t) -> HELD(me); t = FREE; the end is whole again
//! take      RECEIVE t: HELD(any) -> HELD(me); ACK; own holder bit; CAS role MOVING(any, t) -> HELD(me); t = FREE
//! lease     RECEIVE t; refused: the message goes back, with its ticket, whose owner does not matter while it is in flight
//! discard   RECEIVE; ACK; CAS role MOVING(any, t) -> CLOSED; wake the peer; t = FREE
//! token     as send, without carrier and message: the bytes name t. Redeem: CAS t HELD(any) -> OUT(me), which is of one
//!           only; then as take, or discard
//! drop      role HELD(me) -> CLOSED; wake; own holder bit. A husk touches no word
//! by name   role CLOSED or DEAD: own holder bit; CAS -> HELD(me). MOVING is somebody's
//! peer      s = seq; role gone? told. futex_wait(seq, s); again. At the end of a slice it asks whether the owner of the
//!           role lives; of MOVING(_, t): the owner of t
//! recover d (holding the lock of d), in the order of the sweep
//!           rings:   what d was filling is given up, what it was reading is given to others
//!           tickets: HELD(d), OUT(d): in flight -> left alone. CAS -> OUT(d); CAS role MOVING(any, t) -> DEAD;
//!                    wake, always; t = FREE
//!           entries, where d's holder bit is: role HELD(d) -> DEAD; wake; the ends of the carrying lane; the bit last
//! in flight the place that the carrier names is full
//! ```
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | mover, ticket pinned | HELD(d), ticket of d | ticket FREE, role DEAD |
//! | mover before the commit, or while it stays | MOVING(_, t), ticket of d not in flight | role DEAD, told, ticket FREE |
//! | mover after the commit | MOVING(_, t), in flight | left alone, delivered |
//! | receiver before ACK | MOVING(_, t), in flight | delivered again |
//! | receiver after ACK, or issuer of a token | MOVING(_, t), ticket of d | role DEAD, told, ticket FREE |
//! | receiver that has the role | HELD(d), ticket and bit of d | ticket FREE, role DEAD, told |
//! | discarder after it closed | CLOSED, nobody woken, ticket of d and no bit | woken, ticket FREE |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What must hold: never two holders; nobody told "gone" while an end is held, under way or in hand; at the end one
//! living process holds the end or the peer was told. Except where slices are on, nobody wakes by himself.
//!
//! All processors agree on one order. What each mutation breaks stands at `Bug`.

mod cases;
mod process;
mod recovery;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 3;
const TICKETS: usize = 2;
const PLACES: usize = 4;
const RECOVERERS: usize = 2;
/// The actor that waits for the end.
const PEER: usize = PROCESSES;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Role {
    Held(u8),
    /// Who sent it, and the number of its ticket.
    Moving(u8, u8),
    #[default]
    Closed,
    Dead,
}

impl Role {
    fn is_gone(self) -> bool {
        matches!(self, Role::Closed | Role::Dead)
    }
}

/// A ticket; owner 0 is FREE, carrier 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Ticket {
    owner: u8,
    /// Nobody receives it any more.
    out: bool,
    carrier: u8,
}

/// A place of the lane that carries messages: what it names is a ticket, plus one, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Place {
    #[default]
    Empty,
    Full(u8),
    Acked,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Pin,
    SetRole,
    SetCarrier,
    Commit,
    LateRole,
    LateCarrier,
    Plain,
    StayRole,
    StayFree,
    Receive,
    Ack,
    Bit,
    Take,
    Nack,
    Free,
    Close,
    Wake,
    DropWake,
    Open,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    ticket: u8,
    place: u8,
    /// The message is to be thrown away.
    discards: bool,
    leased: bool,
    token: bool,
    /// Has the end, and uses it.
    has: bool,
    husk: bool,
    /// Shared: its holder bit.
    bit: bool,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Ring,
    Ticket,
    Flight,
    Out,
    Store,
    Close,
    Wake,
    Free,
    Role,
    WakeAll,
    Pipe,
    Bit,
    Reuse,
}

/// Recovery of one dead process; `index` counts tickets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    index: u8,
    /// Its own CAS closed the role.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Waits {
    #[default]
    Seq,
    Look,
    Sleep,
    Asleep,
    Told,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    role: Role,
    tickets: [Ticket; TICKETS],
    places: [Place; PLACES],
    /// The ends of the lane that carries, 0: nobody has it.
    writer: u8,
    reader: u8,
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    peer: Waits,
    /// seq has risen since the peer read it.
    bumped: bool,
    /// The ticket, plus one, that a token names; the bytes are not kept until another journey has that ticket.
    token: u8,
    kills: u8,
    moves: u8,
    opens: u8,
    plains: u8,
}

/// A deliberate mistake, or (where the cases say so) something that is not needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Recovery of the mover ends its MOVING, also where the message will be delivered.
    RecoverMoving,
    /// MOVING names no ticket: who repeats a recovery closes the journey that somebody began meanwhile.
    AnyMoving,
    /// MOVING stands there before its ticket: a mover killed between leaves one that nobody has in hand.
    RoleBeforePin,
    /// The message is committed before the role says that the end moves.
    CommitBeforeRole,
    CarrierAfterCommit,
    /// A failed send frees the ticket and then takes the end back: killed between, as `RoleBeforePin`.
    StayFreesFirst,
    /// A failed send frees the ticket and leaves MOVING.
    NoStay,
    AckBeforeReceive,
    /// The taker frees the ticket before the role is its own.
    FreeBeforeTake,
    /// The taker has the role before its holder bit, which recovery goes by.
    TakeBeforeBit,
    /// Who discards closes nothing.
    NoClose,
    /// Who discards frees the ticket, then closes: killed between, nobody does.
    FreeBeforeClose,
    NoWake,
    /// Who discards wakes the peer, then closes.
    WakeFirst,
    /// A husk gives the end up by the word: it has come back to this process.
    HuskCloses,
    /// A husk gives up what it sent.
    HuskClosesMoving,
    /// Who opens the name takes an end that moves.
    NameTakesMoving,
    /// Recovery frees tickets that are in flight.
    SweepInFlight,
    /// The carrying lane gets its next producer before the tickets were looked at: he fills the place that the dead
    /// named, and its ticket looks in flight.
    PipeFirst,
    /// Recovery frees the tickets of the dead and closes nothing.
    NoCloseByRecovery,
    /// Recovery frees the ticket, then closes.
    RecoveryFreesFirst,
    /// Recovery wakes only if its own CAS closed the role: the dead one had closed it, and woken nobody.
    WakeIfClosed,
    /// Recovery of a token looks and stores: somebody has redeemed it between.
    OutByStore,
    /// A token is redeemed as a message is received: by two, one of whom gives it up.
    RedeemTwice,
    /// The holder bit of the dead goes before its role.
    BitFirst,
    /// Roles are recovered before tickets; the carrying lane's are not.
    RoleFirst,
    /// Who refuses a message that has an end frees its ticket, and gives it back.
    RefusalFrees,
    /// The peer asks for nobody while the end moves.
    NoProbe,
    /// The peer asks for who sent the end.
    ProbeMover,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Moving {
    processes: usize,
    moves: u8,
    /// Sends that fail after the message was made are possible.
    fails: bool,
    /// Ends travel as tokens, too.
    tokens: bool,
    discards: bool,
    /// A ring carries the messages, not a lane.
    ring: bool,
    /// Somebody tries to lease messages.
    leases: bool,
    /// Times that somebody may open the name; 0: it has none.
    opens: u8,
    /// Messages without an end.
    plains: u8,
    kills: u8,
    recoverers: usize,
    /// The peer wakes after a slice and asks, and nobody else asks for the dead.
    slices: bool,
    bug: Bug,
}

/// The id of process `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl State {
    fn free_ticket(&mut self, t: u8) {
        self.tickets[t as usize] = Ticket::default();
        self.token = if self.token == t + 1 { 0 } else { self.token };
    }

    fn wake(&mut self) {
        self.bumped = true;
        if self.peer == Waits::Asleep {
            self.peer = Waits::Seq;
        }
    }

    /// The next place to fill, and the next to read.
    fn tail(&self) -> Option<usize> {
        self.places.iter().position(|place| *place == Place::Empty)
    }

    fn head(&self) -> Option<usize> {
        self.places.iter().position(|place| matches!(place, Place::Full(_)))
    }

    /// The tickets that messages carry.
    fn in_messages(&self) -> impl Iterator<Item = u8> + '_ {
        self.places.iter().filter_map(|place| match place {
            Place::Full(carries) => carries.checked_sub(1),
            _ => None,
        })
    }

    /// Those, and the tickets of which somebody living is about to take the end.
    fn under_way(&self) -> impl Iterator<Item = u8> + '_ {
        let in_hand = self.processes.iter().enumerate().filter_map(|(k, process)| {
            let takes =
                matches!(process.at, At::Ack | At::Bit | At::Take) && !process.discards && !process.has;
            let ticket = self.tickets[process.ticket as usize];
            (takes && ticket.owner == id(k)).then_some(process.ticket)
        });
        self.in_messages().chain(in_hand)
    }
}

impl Model for Moving {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State { role: Role::Held(1), ..State::default() };
        s.processes[0] = Process { has: true, bit: true, ..Process::default() };
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.processes {
            if s.processes[k].dead {
                if !self.slices || s.writer == id(k) || s.reader == id(k) {
                    self.start_recovery(s, k, out);
                }
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                let bit = n.processes[k].bit;
                n.processes[k] = Process { bit, dead: true, ..Process::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            match s.processes[k].at {
                At::Idle => self.choose(s, k, out),
                _ => self.proceed(s, k, out),
            }
        }
        for r in (0..self.recoverers).filter(|r| s.recoverers[*r].dead != 0) {
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
            self.repair(s, r, out);
        }
        self.wait(s, out);
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let mut holders = (0..PROCESSES).filter(|k| s.processes[*k].has);
        if let (Some(one), Some(other)) = (holders.next(), holders.next()) {
            return Err(format!("two holders, {one} and {other}"));
        }
        if let Some(k) = (0..PROCESSES).find(|k| s.processes[*k].has && s.role != Role::Held(id(*k))) {
            return Err(format!("process {k} has an end that is not its own: {:?}", s.role));
        }
        let is_lost = |t: &u8| s.tickets[*t as usize].owner == 0 || s.tickets[*t as usize].out;
        if let Some(t) = s.in_messages().find(is_lost) {
            return Err(format!("under way with ticket {t}, which nobody can receive"));
        }
        for t in s.under_way() {
            if !matches!(s.role, Role::Moving(_, there) if there == t) {
                return Err(format!("under way with ticket {t}, but it is {:?}", s.role));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let at_rest =
            s.processes.iter().all(|p| p.at == At::Idle) && s.recoverers.iter().all(|r| r.dead == 0);
        let swept = s.processes.iter().all(|p| !p.dead) && s.tickets.iter().all(|t| t.owner == 0);
        let held = s.processes.iter().any(|p| p.has);
        let told = s.peer == Waits::Told && s.role.is_gone();
        at_rest && s.head().is_none() && (swept || self.slices) && (held || told)
    }
}
