//! The slot ring: many producers, many consumers, slots that say whose they are.
//!
//! ```text
//! slot      FREE(p)  WRITING(p,o)  FULL(p; NORMAL, ABORT or REDELIV)  READING(p,o); slot i begins as FREE(i)
//! hints     tail and head, where to begin to look: they lag behind, and may go back
//! redeliver {version, bit}: something came back, look for it
//!
//! send      t = tail hint; loop on slot t mod cap, d = its position - t:
//!             d = 0, FREE: CAS -> WRITING(t, me)      d = 0, else: t += 1, somebody has claimed it
//!             d < 0: full                             d > 0: t = max(t + 1, FREE: p - cap + 1, else: p + 1)
//!           tail hint < t + 1: tail hint = t + 1      // two steps, no CAS
//!           payload; slot = FULL(t)                   // COMMIT
//! take      f = redeliver; bit: every slot: CAS REDELIV -> READING(p, me)
//!             nothing found: CAS f -> f without the bit
//!           h = head hint; loop on slot h mod cap, d = its position - h:
//!             d = 0, FULL: CAS -> READING(h, me)      d = 0, ABORT: CAS -> FREE(h + cap), h += 1
//!             d = 0, READING: h += 1                  d = 0, FREE or WRITING: nothing yet
//!             d < 0, FULL or READING: nothing yet
//!             d > 0: h = max(h + 1, READING: p + 1, else: p - cap + 1)
//!           head hint < h + 1: head hint = h + 1
//!           read; slot = FREE(h + cap)                // ACK; or slot = REDELIV, bump
//! recover d (holding the lock of d)
//!           every slot: WRITING(d) -> ABORT; READING(d) -> REDELIV (policy Drop: FREE(p + cap), counted)
//!           redeliver = (x + 2) | bit, always
//! ```
//!
//! A hint is never ahead of the truth, since nobody can claim position t without having passed, or jumped
//! over, claimed positions only; and it is stored while the slot is still held. So a hint costs a walk, and
//! decides nothing. What decides is one CAS on one word, which names position and owner.
//!
//! What must hold: what was committed is delivered until it is acknowledged once, a second delivery is
//! flagged, and new messages of one producer come in their order; nobody changes a slot that he does not own;
//! no walk meets a word that cannot be there; no id is reusable while a slot names it. Nobody sleeps here
//! (model `waiting`), and nothing is closed or leased (below, model `leases`).
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | producer before its claim, after its commit | nothing, perhaps an old hint | |
//! | producer in between | WRITING(t,d) | ABORT, which consumers skip |
//! | consumer between claim and ACK | READING(h,d) | REDELIV, or dropped and counted |
//! | who puts back, before the bump | a REDELIV that nobody looks for | bumped |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod ends;
mod leases;
mod recovery;

use super::check::{Model, Steps, Who};
use super::{Case, Depth};

/// Every case of the ring, then of the leases.
pub(super) fn cases(depth: Depth) -> Vec<Case> {
    let mut cases = cases::cases(depth);
    cases.extend(leases::cases(depth));
    cases
}

const PROCESSES: usize = 4;
const SLOTS: usize = 2;
const RECOVERERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Free,
    Writing(u8),
    Full,
    Abort,
    Redeliv,
    Reading(u8),
}

impl Word {
    /// 0 if it names nobody.
    fn owner(self) -> u8 {
        match self {
            Word::Writing(owner) | Word::Reading(owner) => owner,
            _ => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    pos: u8,
}

/// What becomes of a message whose receiver dies with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    Redeliver,
    Drop,
}

/// Where a process is; the fields of [`Process`] say with what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    /// Consumer: about to look at slot `i` for a REDELIV.
    Scan(u8),
    Clear,
    LoadHint,
    Walk,
    /// Behind its claim, about to look at the hint, or to store it.
    Hint,
    StoreHint,
    Payload,
    Commit,
    Read,
    Ack,
    Bump,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    pos: u8,
    /// It found the bit, and `redeliver` has moved since.
    bit: bool,
    moved: bool,
    again: bool,
    /// Producer: how many messages it has committed.
    sent: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Slot,
    Bump,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    i: u8,
    changed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; SLOTS],
    /// The message beside each word: its number + 1.
    payloads: [u8; SLOTS],
    tail_hint: u8,
    head_hint: u8,
    bit: bool,
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    /// How many new messages of each producer have been claimed.
    claimed: [u8; 2],
    /// Sets of messages.
    committed: u16,
    delivered: u16,
    acked: u16,
    dropped: u16,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The claim does not say who claims.
    Unattributed,
    /// A consumer takes an ABORT for a message, or waits for it to become one.
    AbortTaken,
    AbortNotSkipped,
    /// No walk: what is not to be had at the hint is not to be had.
    HintTrusted,
    /// The tail hint is stored before the claim.
    HintBeforeClaim,
    /// A consumer jumps over a message that is FULL.
    JumpTooFar,
    /// The slot is committed before the payload, or acknowledged before it is read.
    CommitBeforePayload,
    AckBeforeRead,
    /// A consumer aborts whoever is in its way.
    StealFromLiving,
    /// Nobody looks for a REDELIV; or the bit is cleared without a look at the version.
    NoScan,
    ClearBlindly,
    /// A REDELIV is delivered as if it were new.
    RedelivNotFlagged,
    /// Somebody puts a message back and does not bump.
    PutBackWithoutBump,
    /// Recovery forgets one kind of word, or makes WRITING(t,d) FREE(t) again.
    WritingNotSwept,
    ReadingNotSwept,
    WritingToFree,
    /// Recovery does not bump, or before the sweep, or only if this sweep changed something.
    NoBump,
    BumpFirst,
    BumpIfChanged,
    /// Two repair the same dead at once, without its lock: the slow one hits the id when it lives again.
    RecoverWithoutLock,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Ring {
    producers: usize,
    consumers: usize,
    capacity: u8,
    messages: u8,
    kills: u8,
    recoverers: usize,
    /// Messages are put back as well.
    puts_back: bool,
    policy: Policy,
    bug: Bug,
}

impl State {
    /// `redeliver = (x + 2) | bit`.
    fn bump(&mut self) {
        self.bit = true;
        self.redeliver_moves();
    }

    fn redeliver_moves(&mut self) {
        for process in &mut self.processes {
            process.moved |= process.bit;
        }
    }
}

impl Process {
    fn rest(&mut self) {
        *self = Process { sent: self.sent, ..Process::default() };
    }
}

impl Model for Ring {
    type State = State;

    fn initial(&self) -> State {
        State { slots: [0, 1].map(|pos| Slot { word: Word::Free, pos }), ..State::default() }
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
            if k < self.producers { self.send(s, k, out) } else { self.take(s, k, out) }
        }
        for r in 0..self.recoverers {
            if s.recoverers[r].dead == 0 {
                continue;
            }
            if s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.recoverers[r] = Recoverer::default();
                out.add(Who::Recoverer(r), "KILLED", n);
            }
            self.repair(s, r, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if s.acked & s.dropped != 0 { Err("a message was acknowledged and dropped".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        s.processes[..self.producers].iter().all(|p| p.sent == self.messages)
            && s.processes.iter().all(|p| p.at == At::Idle)
            && s.recoverers.iter().all(|r| r.dead == 0)
            && s.slots[..self.capacity as usize].iter().all(|slot| slot.word == Word::Free)
            && s.acked | s.dropped == s.committed
            && (self.policy == Policy::Drop || s.dropped == 0)
    }
}
