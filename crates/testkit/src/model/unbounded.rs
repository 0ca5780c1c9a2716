//! The unbounded ring: a slot ring whose memory comes and goes in chunks.
//!
//! ```text
//! word      as in the model `ring`, positions from `capacity` on, so that no word of a slot is 0; 0 is a HOLE
//! presence  a word for each chunk: ABSENT(l) or PRESENT(l). l: the lap for which a word that is 0 is free
//! grow      a lock with an owner; who dies with it leaves nothing that the next one does not finish
//!
//! look p    presence ABSENT(l): a hole of lap l, and the word is not touched
//!           else the word; 0: presence once more, a hole of its l
//!           A hole of lap l is a FREE(l) that cannot be claimed.
//! open p    under the lock: ABSENT(l): set memory aside; presence = PRESENT(l)
//!           each word of the chunk that is 0 = FREE(l)
//! punch     who acknowledged the last slot of a chunk, if the lock is free, for the chunk and the one before:
//!           PRESENT, and every word FREE(l) of one lap without W, else leave
//!           presence = PRESENT(l); each word: CAS FREE(l) -> 0, else put the others back: FREE(l)
//!           presence = ABSENT(l); give the memory back
//! send      a hole at its position: open, look again
//! take      a hole at its position: empty. Before it sleeps it opens, since it needs a word for its W
//! recover d slots of chunks that are PRESENT, as in `ring`; the lock
//! ```
//!
//! What must hold: as in `ring`; further nobody claims or fills a slot without memory, and no memory goes that
//! holds a message. Unacknowledged messages of the dead are dropped here (the other way is in `ring`).
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | who opens, before PRESENT | memory that counts for none | the next one to open sets it aside again |
//! | who opens, after it | PRESENT(l), words that are 0 | the next one to open fills them |
//! | who punches, before ABSENT | the same | the same |
//! | who punches, after it | memory that counts for none | the next one to open, or to punch |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod ends;
mod grow;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const PROCESSES: usize = 4;
const CAPACITY: u8 = 4;
const CHUNK: u8 = 2;
const CHUNKS: usize = (CAPACITY / CHUNK) as usize;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Hole,
    Free,
    Writing(u8),
    Full,
    Abort,
    Reading(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    pos: u8,
    w: bool,
}

impl Slot {
    /// FREE for position 0 has no bit set, and is a hole.
    fn free(pos: u8) -> Slot {
        if pos == 0 { Slot::default() } else { Slot { word: Word::Free, pos, w: false } }
    }
}

/// Is it PRESENT, and the position of the first slot of the chunk in the lap of its holes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Presence {
    present: bool,
    first: u8,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Presence,
    Word,
    Reload,
    Claim,
    Hint,
    /// COMMIT, or ACK.
    End,
    Wake,
    Arm,
    Asleep,
    Lock,
    Open,
    SetAside,
    Present,
    Fill(u8),
    Unlock,
    TryLock,
    PunchPresence,
    PunchLook(u8),
    PunchLap,
    PunchZero(u8),
    PunchBack(u8),
    PunchAbsent,
    PunchMemory,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    pos: u8,
    seen: Slot,
    /// Opening, or punching: which chunk, and the first position of the lap.
    chunk: u8,
    first: u8,
    /// Punching: the chunk before is still to come.
    more: bool,
    /// Messages sent; of the second consumer, received.
    sent: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Slot,
    Lock,
    Wake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    i: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; CAPACITY as usize],
    /// The message beside each word: its number + 1.
    payloads: [u8; CAPACITY as usize],
    presence: [Presence; CHUNKS],
    /// Has the chunk memory?
    memory: [bool; CHUNKS],
    lock: u8,
    tail_hint: u8,
    head_hint: u8,
    processes: [Process; PROCESSES],
    recoverer: Recoverer,
    kills: u8,
    /// Sets of messages.
    committed: u16,
    acked: u16,
    dropped: u16,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Punch looks, then stores 0; or does so with a word that carries W.
    PunchStores,
    PunchDespiteW,
    /// Open fills words that are not 0; or with the lap of the position at which the hole was met.
    OpenOverwrites,
    OpenLapOfPosition,
    PositionsFromZero,
    NoLock,
    /// The lap of the holes to come is stored when they are there.
    LapAfterZero,
    /// The memory goes before the presence word says so; or says so before it comes.
    PunchBeforeAbsent,
    PresentBeforeMemory,
    /// A punched chunk is opened in the lap that it had.
    LapStays,
    /// A word that is 0 is of the lap that the presence word told before.
    LookOnce,
    /// A consumer takes a hole for a word to sleep on.
    SleepAtHole,
    /// Recovery leaves the lock to the dead.
    LockNotRecovered,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Unbounded {
    producers: usize,
    consumers: usize,
    /// How many each producer sends.
    messages: u8,
    kills: u8,
    /// Consumers sleep when there is nothing.
    sleeps: bool,
    /// The second consumer stops after so many messages.
    second_takes: u8,
    bug: Bug,
}

impl Process {
    fn rest(&mut self) {
        *self = Process { sent: self.sent, ..Process::default() };
    }
}

impl State {
    fn chunk_of(pos: u8) -> usize {
        (pos % CAPACITY / CHUNK) as usize
    }

    /// The word of a slot as memory has it: 0 where there is none.
    fn slot(&self, pos: u8) -> Slot {
        self.slots[(pos % CAPACITY) as usize]
    }

    fn slot_mut(&mut self, pos: u8) -> &mut Slot {
        &mut self.slots[(pos % CAPACITY) as usize]
    }

    fn has_memory(&self, pos: u8) -> bool {
        self.memory[State::chunk_of(pos)]
    }
}

impl Model for Unbounded {
    type State = State;

    fn initial(&self) -> State {
        let first = if self.bug == Bug::PositionsFromZero { 0 } else { CAPACITY };
        let presence = |chunk| Presence { present: false, first: first + chunk * CHUNK };
        State { presence: [presence(0), presence(1)], tail_hint: first, head_hint: first, ..State::default() }
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.producers + self.consumers {
            let process = s.processes[k];
            if process.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if process.at != At::Idle && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.processes[k].rest();
                n.processes[k].at = At::Dead;
                out.add(Who::Process(k), "KILLED", n);
            }
            self.process(s, k, out);
        }
        if s.recoverer.dead != 0 {
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverer = Recoverer::default();
                out.add(Who::Recoverer(0), "KILLED", n);
            }
            self.repair(s, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if s.acked & s.dropped != 0 { Err("a message was acknowledged and dropped".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        s.processes[..self.producers].iter().all(|p| p.sent == self.messages)
            && s.processes.iter().all(|p| matches!(p.at, At::Idle | At::Asleep))
            && s.recoverer.dead == 0
            && s.lock == 0
            && s.slots.iter().all(|slot| matches!(slot.word, Word::Free | Word::Hole))
            && s.acked | s.dropped == s.committed
    }
}
