//! The broadcast channel: writers overwrite slots, readers copy and look again, on a machine with weak memory.
//!
//! ```text
//! slots     word {pos, owner, W, FREE | WRITING | FULL | ABORT}, payload of two words; position t is in slot t mod cap
//! words     hint (at most the true tail), closed
//!
//! send      t = hint, Acquire; w = slot t: FREE(t), FULL or ABORT(t-cap): CAS w -> WRITING(t,me): the CLAIM
//!           claimed already: t = behind it, again; WRITING(t-cap,o): busy, later; anything else: nonsense
//!           hint < t+1? hint = t+1, Release; closed? slot = ABORT(t), no more; both accesses SeqCst
//!           fence(Release); payload; slot = FULL(t), Release: the COMMIT
//! recv      s1 = slot h, Acquire; FULL(h): payload; fence(Acquire); s2 = slot h; equal but for W: take it, h += 1
//!           ABORT(h): h += 1; later than h: h = max(h+1, pos-cap+1), the rest was missed; else nothing is there:
//!           closed? look once more, still nothing: the end
//! recover d each slot: WRITING(t,d) -> ABORT(t)
//! ```
//!
//! Memory. A location has a latest value, which compare-and-swap sees, and a visible one, which loads see. A store
//! changes the latest; it becomes visible at any later time, whatever becomes visible of other locations meanwhile.
//! A release (store or fence), and a SeqCst access after another, wait until what its process wrote before is visible.
//! Loads move across each other where a fence or an acquire is left out. Death makes everything visible.
//!
//! What must hold: a message that is taken is whole, and is the one sent at that position. What is called missed was
//! overwritten. Claims come in their order; nobody takes a word of a correct process for nonsense; nothing that was
//! sent lies behind the end that a reader was told.
//!
//! | dies | leaves | repaired to |
//! |---|---|---|
//! | writer before its CLAIM | nothing | nothing |
//! | writer between CLAIM and COMMIT | WRITING(t,d), perhaps no hint | ABORT(t); the hint is caught up by walking |
//! | writer after its COMMIT | nothing | nothing |
//! | reader | nothing: it is not modelled | nothing |
//! | recoverer | any prefix of the sweep | the next one repeats it |
//!
//! Who sleeps and who wakes him is a model of its own, in `waiting`. What each mutation breaks stands at `Bug`.

mod cases;
mod reader;
mod waiting;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const WRITERS: usize = 2;
const READERS: usize = 2;
const SLOTS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum St {
    #[default]
    Free,
    Writing,
    Full,
    Abort,
}

/// A slot's word. The owner is the writer's number and one, else zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    pos: u8,
    owner: u8,
    w: bool,
    st: St,
}

/// A place in memory: what is stored there, and what others see of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Cell<T> {
    latest: T,
    visible: T,
}

impl<T: Copy + PartialEq> Cell<T> {
    fn new(value: T) -> Self {
        Cell { latest: value, visible: value }
    }

    fn is_visible(&self) -> bool {
        self.latest == self.visible
    }

    fn show(&mut self) {
        self.visible = self.latest;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Cell<Word>,
    payload: [Cell<u8>; 2],
}

impl Slot {
    fn is_visible(&self) -> bool {
        self.word.is_visible() && self.payload.iter().all(Cell::is_visible)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Look,
    Claim,
    HintLook,
    HintStore,
    Closed,
    Refuse,
    Fence,
    Payload(u8),
    Commit,
    Dead,
    /// Somebody has its lock, and sweeps slot `position`.
    Sweep,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Writer {
    at: At,
    position: u8,
    /// Messages it still wants to send.
    left: u8,
    seen: Word,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; SLOTS],
    hint: Cell<u8>,
    closed: Cell<bool>,
    writers: [Writer; WRITERS],
    readers: [reader::Reader; READERS],
    kills: u8,
    /// Claims so far, and where the last message lies that was sent: known to the checks only.
    tail: u8,
    sent_to: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// No fence between claim and payload: new bytes are seen under the old word.
    NoClaimFence,
    /// The commit is an ordinary store: it is seen before the payload.
    RelaxedCommit,
    /// No fence before the second look: it may come before the payload is read.
    NoReadFence,
    /// The first look is an ordinary load: it may come after the payload is read.
    RelaxedFirstLook,
    /// No second look.
    NoSecondLook,
    /// W counts in the comparison, and a difference is called a lag.
    CompareW,
    /// Recovery declares the dead writer's slot whole.
    RecoverToFull,
    /// Recovery restores what was there before the claim: positions fall, and the bytes are half new.
    RecoverToOldFull,
    /// Recovery forgets the slot.
    NoRecovery,
    /// Recovery takes the slots of the living as well.
    RecoverAnyOwner,
    /// A writer takes a slot from another that is a lap behind.
    OverwriteWriting,
    /// The hint is an ordinary store: who starts there finds the slots as they were.
    RelaxedHint,
    /// The hint is stored before the claim.
    HintBeforeClaim,
    /// A reader that is overtaken goes on behind the whole ring.
    JumpToTail,
    /// `closed` is looked at before the claim only.
    ClosedBeforeClaim,
    /// The look at `closed` may come before the claim is visible.
    RelaxedClosed,
    /// A reader that found nothing, and then `closed`, does not look again.
    NoLastLook,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Broadcast {
    capacity: u8,
    /// Messages of each writer.
    messages: [u8; WRITERS],
    readers: u8,
    kills: u8,
    /// Somebody sets W in FULL words, as a waiter of the ring does.
    w: bool,
    /// The hint is a place in memory; else writers know the tail.
    hints: bool,
    /// Somebody closes the channel some time.
    closes: bool,
    bug: Bug,
}

impl Model for Broadcast {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        for (index, slot) in s.slots.iter_mut().enumerate() {
            slot.word = Cell::new(Word { pos: index as u8, ..Word::default() });
        }
        for (writer, left) in s.writers.iter_mut().zip(self.messages) {
            writer.left = left;
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        self.memory(s, out);
        for k in 0..WRITERS {
            match s.writers[k].at {
                At::Dead | At::Sweep => self.repair(s, k, out),
                _ => self.write(s, k, out),
            }
            let at = s.writers[k].at;
            if s.kills < self.kills && !matches!(at, At::Idle | At::Dead) {
                let mut n = *s;
                n.kills += 1;
                n.writers[k] = Writer { at: At::Dead, left: s.writers[k].left, ..Writer::default() };
                n.show_all();
                let who = if at == At::Sweep { Who::Recoverer(k) } else { Who::Process(k) };
                out.add(who, "KILLED", n);
            }
        }
        for k in 0..self.readers as usize {
            self.read(s, k, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let lost = s.readers.iter().any(|reader| reader.is_told_the_end() && reader.position() < s.sent_to);
        if lost { Err("a message lies behind the end that a reader was told".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let done = |reader: &reader::Reader| {
            let behind = reader.position() < s.tail;
            reader.is_told_the_end() || reader.rests() && !behind && !self.closes
        };
        s.writers.iter().all(|writer| writer.at == At::Idle && writer.left == 0)
            && s.readers.iter().take(self.readers as usize).all(done)
    }
}

impl State {
    fn show_all(&mut self) {
        for slot in &mut self.slots {
            slot.word.show();
            slot.payload.iter_mut().for_each(Cell::show);
        }
        self.hint.show();
        self.closed.show();
    }
}

/// What a word says to a writer at a position.
enum Judged {
    Open,
    Busy,
    Past(u8),
    Nonsense,
}

impl Broadcast {
    fn slot(&self, position: u8) -> usize {
        (position % self.capacity) as usize
    }

    fn judge(&self, word: Word, position: u8) -> Judged {
        let before = word.pos + self.capacity == position;
        match word.st {
            St::Free if word.pos == position => Judged::Open,
            St::Full | St::Abort if before => Judged::Open,
            St::Writing if before && self.bug == Bug::OverwriteWriting => Judged::Open,
            St::Writing if before => Judged::Busy,
            St::Free => Judged::Nonsense,
            _ if word.pos >= position => Judged::Past(word.pos + 1),
            _ => Judged::Nonsense,
        }
    }

    /// The memory system, a waiter that sets W, and whoever closes.
    fn memory(&self, s: &State, out: &mut Steps<State>) {
        const MEMORY: Who = Who::Process(9);
        let mut add = |what, change: &dyn Fn(&mut State)| {
            let mut n = *s;
            change(&mut n);
            if n != *s {
                out.add(MEMORY, what, n);
            }
        };
        for i in 0..self.capacity as usize {
            add("(a word becomes visible)", &|n| n.slots[i].word.show());
            add("(the first half of a payload becomes visible)", &|n| n.slots[i].payload[0].show());
            add("(the second half of a payload becomes visible)", &|n| n.slots[i].payload[1].show());
            let word = s.slots[i].word;
            if self.w && word.latest.st == St::Full && word.is_visible() {
                add("a waiter sets W", &|n| n.slots[i].word = Cell::new(Word { w: true, ..word.latest }));
            }
        }
        add("(the hint becomes visible)", &|n| n.hint.show());
        if self.closes {
            add("(closed becomes visible)", &|n| n.closed.show());
            add("somebody closes", &|n| n.closed.latest = true);
        }
    }

    fn write(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let actor = s.writers[k];
        let t = actor.position;
        let slot = s.slots[self.slot(t)];
        let mine = Word { pos: t, owner: k as u8 + 1, w: false, st: St::Writing };
        // Who knows the tail without a hint also knows what is stored there: the claim alone decides then.
        let word = if self.hints { slot.word.visible } else { slot.word.latest };
        let mut n = *s;
        let me = &mut n.writers[k];
        let what = match actor.at {
            At::Idle if actor.left == 0 => return,
            At::Idle if s.closed.visible => {
                me.left = 0;
                "send: it is closed"
            }
            At::Idle => {
                let position = if self.hints { s.hint.visible } else { s.tail };
                *me = Writer { at: At::Look, position, ..actor };
                "send: t = hint"
            }
            At::Look => match self.judge(word, t) {
                Judged::Open => {
                    (me.at, me.seen) = (At::Claim, word);
                    if self.bug == Bug::HintBeforeClaim {
                        n.hint.latest = n.hint.latest.max(t + 1);
                    }
                    "send: look at slot t: open"
                }
                Judged::Past(next) => {
                    me.position = next;
                    "send: look at slot t: claimed"
                }
                Judged::Busy => {
                    *me = Writer { left: actor.left, ..Writer::default() };
                    "send: busy"
                }
                Judged::Nonsense => {
                    return out.violation(who, "send: look at slot t", "it holds nonsense");
                }
            },
            At::Claim if slot.word.latest != actor.seen => {
                me.at = At::Look;
                "send: the CLAIM fails"
            }
            At::Claim if t != s.tail => return out.violation(who, "CLAIM", "out of order"),
            At::Claim => {
                me.at = if self.hints { At::HintLook } else { self.after_hint() };
                me.seen = Word::default();
                n.slots[self.slot(t)].word.latest = mine;
                n.tail += 1;
                "send: CLAIM"
            }
            _ => match self.fill(s, k, &mut n) {
                Ok(Some(what)) => what,
                Ok(None) => return,
                Err(why) => return out.violation(who, "COMMIT", why),
            },
        };
        out.add(who, what, n);
    }

    fn after_hint(&self) -> At {
        if self.closes && self.bug != Bug::ClosedBeforeClaim { At::Closed } else { At::Fence }
    }

    /// A send after its claim. `None`: it has to wait until something is visible.
    fn fill(&self, s: &State, k: usize, n: &mut State) -> Result<Option<&'static str>, &'static str> {
        let actor = s.writers[k];
        let t = actor.position;
        let i = self.slot(t);
        let slot = s.slots[i];
        let me = &mut n.writers[k];
        let full = |st| Word { pos: t, owner: 0, w: false, st };
        let idle = Writer { left: actor.left, ..Writer::default() };
        Ok(Some(match actor.at {
            At::HintLook => {
                me.at = if s.hint.visible <= t { At::HintStore } else { self.after_hint() };
                "send: look at the hint"
            }
            At::HintStore if slot.word.is_visible() || self.bug == Bug::RelaxedHint => {
                me.at = self.after_hint();
                n.hint.latest = t + 1;
                "send: hint = t + 1"
            }
            At::Closed if slot.word.is_visible() || self.bug == Bug::RelaxedClosed => {
                me.at = if s.closed.visible { At::Refuse } else { At::Fence };
                "send: closed?"
            }
            At::Refuse if slot.word.is_visible() => {
                *me = Writer { left: 0, ..idle };
                n.slots[i].word.latest = full(St::Abort);
                "send: it is closed, slot = ABORT"
            }
            At::Fence if slot.word.is_visible() || self.bug == Bug::NoClaimFence => {
                me.at = At::Payload(0);
                "send: fence"
            }
            At::Payload(half) => {
                me.at = if half == 0 { At::Payload(1) } else { At::Commit };
                n.slots[i].payload[half as usize].latest = t + 1;
                "send: half of the payload"
            }
            At::Commit if (slot.word.latest.owner, slot.word.latest.pos) != (k as u8 + 1, t) => {
                return Err("the slot is not its own any more");
            }
            At::Commit if slot.is_visible() || self.bug == Bug::RelaxedCommit => {
                *me = Writer { left: actor.left - 1, ..idle };
                n.slots[i].word.latest = full(St::Full);
                n.sent_to = s.sent_to.max(t + 1);
                "send: COMMIT"
            }
            _ => return Ok(None),
        }))
    }

    /// Recovery of writer `k`, whose lock the recoverer holds.
    fn repair(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let mut n = *s;
        let actor = s.writers[k];
        let what = if actor.at == At::Dead {
            n.writers[k].at = At::Sweep;
            "takes the lock of the dead"
        } else if actor.position == self.capacity {
            n.writers[k] = Writer { left: actor.left, ..Writer::default() };
            "the id is reusable"
        } else {
            n.writers[k].position += 1;
            let word = &mut n.slots[actor.position as usize].word;
            let found = word.latest;
            let his = found.owner == k as u8 + 1 || self.bug == Bug::RecoverAnyOwner;
            if found.st == St::Writing && his && self.bug != Bug::NoRecovery {
                let aborted = Word { pos: found.pos, owner: 0, w: false, st: St::Abort };
                let old = found.pos.checked_sub(self.capacity);
                *word = Cell::new(match (self.bug, old) {
                    (Bug::RecoverToFull, _) => Word { st: St::Full, ..aborted },
                    (Bug::RecoverToOldFull, Some(pos)) => Word { pos, st: St::Full, ..aborted },
                    _ => aborted,
                });
            }
            "sweeps a slot"
        };
        out.add(Who::Recoverer(k), what, n);
    }
}
