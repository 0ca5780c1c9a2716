//! The lane: one producer, one consumer, the commit inside the data, on a machine with store buffers.
//!
//! ```text
//! ring      cells, each {header: 0 or valid, payload}; a message at position p is in cell p mod cells
//! words     head (acknowledged up to here), hint (where the producer was); role and wait line of each end
//! wait line flag (somebody sleeps), seq (the futex)
//! role      FREE  HELD(o)  DEAD: its holder died with it
//!
//! take      CAS role FREE or DEAD -> HELD(me)
//!           producer: start at hint, or at head if that is further; walk headers: the first zero is the tail
//!           consumer: start at head; if the role was DEAD: flag as many messages as one loan may hold
//! send      of a batch of k: room for k cells and the zero behind them? (else wait)
//!           payloads; headers 2 .. k; header k + 1 = 0; header 1 = valid: the COMMIT; hint;
//!           post(the consumer's line)
//! recv      header at head + i valid? read the payload; i up to the largest loan
//!           head = behind what was read: the ACKNOWLEDGEMENT; post(the producer's line)
//!           nothing there: the producer's role is DEAD, and there is still nothing: say so; else wait
//! post      fence; flag? flag = 0; seq += 1; wake
//! wait      s = seq; look; flag = 1; fence; look again: there? flag = 0, go on; futex_wait(seq, s); again
//! close     role = FREE; but DEAD again where flagged messages have not been read yet
//! recover d role HELD(d) -> DEAD; then always: seq += 1 and wake, on both lines
//! ```
//!
//! Memory. Each process has a store buffer: its stores become visible later, in their order; its loads look
//! there first. Fences, atomic read-modify-writes and system calls wait until it is empty. A kill empties it:
//! what was executed becomes visible. So both fences can be left out on purpose, and both are missed. Weaker
//! machines reorder more; there the release stores of the protocol say what this model takes for granted.
//!
//! What must hold: a message arrives whole, in order, and once; again only if it is flagged. A commit is at
//! the true tail (else a message is overwritten, or a hole is left), and a batch commits as a whole. No
//! position wraps: a run ends after `messages`.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | producer before COMMIT | payload, later headers | never sent: the successor stops at the zero before |
//! | producer after COMMIT | a hint one batch behind | the successor walks |
//! | producer before its wake | a sleeper | woken by recover |
//! | consumer before ACK | head unchanged | its successor gets the loan again, flagged |
//! | consumer after ACK, before its wake | a sleeper | woken by recover |
//! | a successor that was to flag, closing or dying first | FREE or DEAD | must be DEAD: the next one flags |
//! | recoverer | DEAD, perhaps no wake | the next one wakes, always |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod ends;
mod waiting;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

/// Two for each end, so that an end can be taken from a holder that is still alive.
const ACTORS: usize = 4;
const CELLS: usize = 4;
const BUFFER: usize = 5;

/// Places in shared memory: headers, payloads, then single words.
const PAYLOADS: usize = CELLS;
const HINT: usize = 2 * CELLS;
const HEAD: usize = HINT + 1;
/// Flags of the consumer's and the producer's wait line.
const FLAGS: [usize; 2] = [HEAD + 1, HEAD + 2];
const WORDS: usize = HEAD + 3;

const PRODUCER: usize = 0;
const CONSUMER: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Role {
    #[default]
    Free,
    Held(u8),
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    /// Has no end.
    #[default]
    Out,
    TakeHint,
    TakeHead,
    Walk,
    Idle,
    Seq,
    Look,
    /// The consumer found nothing: does the producer's role say that it died? Then one look more.
    PeerRole,
    LastLook,
    Store(u8),
    Read,
    Ack,
    PostFence,
    PostFlag,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    Arm,
    ArmFence,
    LookAgain,
    Disarm,
    Sleep,
    Asleep,
    /// Killed, and nobody has the lock.
    Dead,
    RepairRole,
    RepairBump,
    RepairWake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Actor {
    at: At,
    position: u8,
    /// Messages of this batch, or read and not yet acknowledged.
    count: u8,
    /// How many messages it will still flag.
    to_flag: u8,
    /// Messages that were committed when it found the producer dead.
    owed: u8,
    /// `seq` has moved since it was loaded.
    moved: bool,
    buffer: [(u8, u8); BUFFER],
    buffered: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    memory: [u8; WORDS],
    roles: [Role; 2],
    actors: [Actor; ACTORS],
    /// Messages committed, and messages given to the program at least once.
    sent: u8,
    given: u8,
    kills: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// No fence between commit and the look at the flag: both look too early, and one sleeps for ever.
    NoPostFence,
    /// No fence between the flag and the second look: the same from the other side.
    NoArmFence,
    /// No second look at all.
    NoSecondLook,
    /// `seq` is loaded after the second look: a wake between the two is missed.
    SeqAfterLook,
    /// The flag is cleared after the wake: it wipes out the flag of the next sleep.
    ClearAfterWake,
    /// Recovery does not wake: the dead may have cleared the flag and died before its wake.
    SilentRecovery,
    /// Recovery wakes, but leaves the role HELD(d).
    RoleStaysHeld,
    /// A role is taken away from somebody who is only slow.
    RoleWithoutProof,
    /// The header is stored before the payload.
    CommitBeforePayload,
    /// The next header is not cleared: an old one is taken for a message.
    NoZero,
    /// The next header is cleared after the commit.
    ZeroAfterCommit,
    /// There need not be room for the zero: it wipes out a message that waits.
    NoRoomForZero,
    /// A batch stores its first header first: part of it can be seen, or survive.
    FirstHeaderFirst,
    /// The hint runs ahead of the commit: a successor leaves a hole.
    HintBeforeCommit,
    /// A successor starts at the hint without walking: it overwrites what was committed.
    NoWalk,
    /// The acknowledgement comes before the payload is read.
    AckBeforeRead,
    /// The consumer finds nothing, then a dead producer, and does not look again: it misses the last message.
    NoLastLook,
    /// The successor of a dead consumer flags nothing.
    NoFlag,
    /// It flags only the first message, although a loan may hold more.
    FlagFirstOnly,
    /// It closes before it has read, and its own successor does not know any more.
    CloseForgetsFlag,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Lane {
    cells: u8,
    messages: u8,
    batch: u8,
    loan: u8,
    kills: u8,
    /// A sleep ends by itself some time.
    slices: bool,
    bug: Bug,
}

impl Actor {
    fn load(&self, memory: &[u8; WORDS], place: usize) -> u8 {
        let buffer = &self.buffer[..self.buffered as usize];
        let own = buffer.iter().rev().find(|(at, _)| *at as usize == place);
        own.map_or(memory[place], |(_, value)| *value)
    }

    fn has_room(&self) -> bool {
        (self.buffered as usize) < BUFFER
    }

    fn is_drained(&self) -> bool {
        self.buffered == 0
    }

    fn store(&mut self, place: usize, value: u8) {
        self.buffer[self.buffered as usize] = (place as u8, value);
        self.buffered += 1;
    }

    /// The oldest store becomes visible.
    fn drain_one(&mut self, memory: &mut [u8; WORDS]) {
        let (place, value) = self.buffer[0];
        memory[place as usize] = value;
        self.buffer.rotate_left(1);
        self.buffer[BUFFER - 1] = (0, 0);
        self.buffered -= 1;
    }

    /// Has loaded `seq` and not gone to sleep: a bump will be noticed.
    fn has_seq(&self) -> bool {
        matches!(
            self.at,
            At::Look
                | At::PeerRole
                | At::LastLook
                | At::Arm
                | At::ArmFence
                | At::LookAgain
                | At::Disarm
                | At::Sleep
        )
    }
}

impl State {
    /// `seq` of the line on which `side` sleeps goes up.
    fn bump(&mut self, side: usize) {
        for actor in self.actors.iter_mut().skip(2 * side).take(2) {
            actor.moved |= actor.has_seq();
        }
    }

    fn wake(&mut self, side: usize) {
        for actor in self.actors.iter_mut().skip(2 * side).take(2) {
            if actor.at == At::Asleep {
                actor.at = At::Seq;
            }
        }
    }
}

impl Model for Lane {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..ACTORS {
            let actor = s.actors[k];
            let who = Who::Process(k);
            let repairs = matches!(actor.at, At::RepairRole | At::RepairBump | At::RepairWake | At::Reuse);
            if s.kills < self.kills && !matches!(actor.at, At::Out | At::Dead) {
                let mut n = *s;
                n.kills += 1;
                while !n.actors[k].is_drained() {
                    n.actors[k].drain_one(&mut n.memory);
                }
                n.actors[k] = Actor { at: At::Dead, ..Actor::default() };
                out.add(if repairs { Who::Recoverer(k) } else { who }, "KILLED", n);
            }
            if self.bug == Bug::RoleWithoutProof && s.roles[k / 2] == Role::Held(k as u8) {
                let mut n = *s;
                n.roles[k / 2] = Role::Dead;
                out.add(Who::Recoverer(k), "thinks it is dead", n);
            }
            if !actor.is_drained() {
                let mut n = *s;
                n.actors[k].drain_one(&mut n.memory);
                out.add(who, "(its oldest store becomes visible)", n);
            }
            if actor.at == At::Dead || repairs {
                self.repair(s, k, out);
            } else {
                self.proceed(s, k, out);
            }
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let (sent, head) = (s.sent, s.memory[HEAD]);
        if head > sent { Err(format!("{head} messages acknowledged, {sent} sent")) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let rests = |actor: &Actor| matches!(actor.at, At::Out | At::Idle | At::Asleep) && actor.is_drained();
        s.memory[HEAD] == self.messages && s.sent == self.messages && s.actors.iter().all(rests)
    }
}

impl Lane {
    fn cell(&self, position: u8) -> usize {
        (position % self.cells) as usize
    }

    /// Whether actor `k` exists: second candidates only where an end may be taken from the living.
    fn exists(&self, k: usize) -> bool {
        k.is_multiple_of(2) || self.bug == Bug::RoleWithoutProof
    }

    /// How many messages a producer at `actor` may send at once, by the head that it sees.
    fn sendable(&self, s: &State, actor: &Actor) -> u8 {
        let used = actor.position.saturating_sub(actor.load(&s.memory, HEAD));
        let spare = if self.bug == Bug::NoRoomForZero { 0 } else { 1 };
        let room = self.cells.saturating_sub(used).saturating_sub(spare);
        room.min(self.batch).min(self.messages - actor.position)
    }

    fn receivable(&self, s: &State, actor: &Actor) -> bool {
        actor.load(&s.memory, self.cell(actor.position + actor.count)) != 0
    }

    fn ready(&self, s: &State, k: usize) -> bool {
        match k / 2 {
            PRODUCER => self.sendable(s, &s.actors[k]) > 0,
            _ => self.receivable(s, &s.actors[k]),
        }
    }
}
