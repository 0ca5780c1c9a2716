//! The row of waiters: each sleeps on a word of its own, a notification calls as many as it says, and recovery passes
//! on what was called and is dead.
//!
//! ```text
//! slot      word: 0 | TAKEN me | WAITS number | CALLED number;  owner          next; high; the lock of the condition
//!
//! come      (lock) slot by slot: CAS 0 -> TAKEN me; owner = me; n = next, next += 1; high = at least slot + 1
//!           word = WAITS n: COMMIT (unlock)
//! wait      look; futex_wait(word, WAITS n); again
//! go        CAS WAITS n -> 0: not called. Fails: CALLED: word = 0: called
//! notify m  (lock) up to high: the first by number of all WAITS: CAS WAITS n -> CALLED n: COMMIT; wake. Fails: the next
//!           m times; all: slot by slot (unlock)
//! recover d (holding the lock of d) slot by slot: TAKEN, WAITS of d: CAS -> 0
//!           then slot by slot: CALLED of d: notify 1, without the lock of the condition; word = 0
//! ```
//!
//! Why a call names the wait and not the waiter: recovery calls without the lock, so whom it has chosen may be called by
//! another, go, and come again into the same slot before the CAS. By the owner alone that would succeed, and one that came
//! before is passed over: the mutation `OwnerAlone`, which was the first draft.
//!
//! All words are as if all processors agreed on one order: every commit is a CAS on the word on which its waiter sleeps.
//!
//! What must hold: a notification that was not killed in the middle reaches as many living ones as it says, of those
//! that came before it, or all; those first who came first; nobody returns without a call or a deadline; a
//! notification has no more returns than it says, but for one for each recoverer that was killed between a call that it
//! passed on and the end of it. Every slot comes free.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | waiter, TAKEN or WAITS | a slot of the dead | 0, or it is called meanwhile |
//! | waiter, CALLED | the call | is passed on |
//! | notifier, before a wake | one that is called and sleeps | it looks at the end of its slice |
//! | notifier, among several | some called | the others wait for the next notification |
//! | recoverer | any prefix; perhaps a call that was passed on | the next one repeats it, with one call more |
//!
//! What each mutation breaks stands at `Bug`.

mod calls;
mod cases;
mod recovery;
mod waiter;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};
use calls::Calling;
use recovery::{Recoverer, Repair};

/// And slots: nobody has two.
const WAITERS: usize = 3;
/// The number of the notifier in a trace, and as a holder of the lock.
const NOTIFIER: usize = WAITERS;
const RECOVERERS: usize = 2;
/// Notifications in all.
const NOTES: usize = 2;

/// As many as there are.
const ALL: u8 = u8::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Tag {
    #[default]
    Free,
    Taken,
    Waits,
    Called,
}

/// A word: its tag, and beside it the owner or the number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    tag: Tag,
    value: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Slot {
    word: Word,
    /// The owner; the number where the word keeps the owner.
    second: u8,
    /// The notification that has called it, plus one. Known to the checks only.
    by: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Claim,
    Next,
    Second,
    High,
    Commit,
    Unlock,
    Look,
    Sleep,
    Asleep,
    Go,
    Free,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Waiter {
    at: At,
    slot: u8,
    number: u8,
    /// It goes because its deadline came.
    is_late: bool,
    left: u8,
}

/// What the checks know of a notification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Note {
    most: u8,
    /// Those with a smaller number came before it.
    before: u8,
    /// Returns of living ones, and how many more there may be.
    got: u8,
    extra: u8,
    /// It was killed in the middle of it.
    is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Notifier {
    #[default]
    Idle,
    Calls(Calling),
    Unlock,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    slots: [Slot; WAITERS],
    next: u8,
    high: u8,
    /// Who holds the lock of the condition: a waiter plus one, or the notifier behind them.
    lock: u8,
    waiters: [Waiter; WAITERS],
    /// One after the other, as they hold the lock: where one is killed, the next notification is another's.
    notifier: Notifier,
    notes: [Note; NOTES],
    noted: u8,
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    deadlines: u8,
}

/// A deliberate mistake; the last ones are none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The word keeps the owner while it waits and is called: a call takes the next wait of the same for the one it saw.
    OwnerAlone,
    /// The number is written behind WAITS, where the word keeps the owner.
    NumberLate,
    /// Who gives up looks, and then frees its slot whatever came meanwhile.
    GoByStore,
    /// Who was called goes, and its slot stays.
    SlotStays,
    /// A call is a store.
    CallByStore,
    /// The wake comes before the call, or not at all.
    WakeFirst,
    NoWake,
    /// A sleeper does not compare.
    SleepBlindly,
    /// Who was woken does not look whether it was for it.
    WakeIsCall,
    /// One that has gone meanwhile counts as called.
    FailureCounts,
    /// Those first who have the lower slots.
    BySlot,
    /// `high` falls again.
    HighByStore,
    /// A call to the dead ends there.
    NotPassed,
    /// The slot of the dead is free before its call is passed on.
    FreeBeforePass,
    /// Calls are passed on before the dead wait no more.
    PassBeforeSweep,
    /// The dead wait no more, whatever was called meanwhile.
    SweepByStore,
    /// Who died while it came is left there.
    TakenStays,
    /// Two recover the same dead at once.
    RecoverWithoutLock,
    /// Recovery clears whatever was called, also what the living have to answer.
    RecoverAnyOwner,
    /// None: who comes raises `high` behind its commit.
    HighLate,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Waiters {
    waiters: usize,
    /// Waits of each.
    waits: [u8; WAITERS],
    /// They begin asleep, in the order of their slots.
    asleep: bool,
    /// The first two are threads of one process.
    is_pair: bool,
    /// How many each notification calls; 0 is none.
    notes: [u8; NOTES],
    kills: u8,
    /// Notifiers and recoverers may be killed, too.
    kills_all: bool,
    /// 0: nobody recovers.
    recoverers: usize,
    deadlines: u8,
    /// A sleeper that was called looks by itself.
    slices: bool,
    /// Without what a death costs: a call that is passed on reaches nobody who came after the notification, and is not
    /// passed on again by the next recoverer.
    is_strict: bool,
    bug: Bug,
}

impl Waiters {
    /// Whether the word keeps the owner, and the second the number.
    fn keeps_owner(&self) -> bool {
        matches!(self.bug, Bug::OwnerAlone | Bug::NumberLate)
    }

    /// Whose a slot is: a waiter plus one.
    fn owner(&self, slot: &Slot) -> u8 {
        match slot.word.tag {
            Tag::Free => 0,
            Tag::Taken => slot.word.value,
            _ if self.keeps_owner() => slot.word.value,
            _ => slot.second,
        }
    }

    /// The number of a slot whose owner waits or is called.
    fn number(&self, slot: &Slot) -> u8 {
        if self.keeps_owner() { slot.second } else { slot.word.value }
    }

    /// The process of a waiter.
    fn process(&self, k: usize) -> usize {
        if self.is_pair && k == 1 { 0 } else { k }
    }

    /// What its word is while waiter `k` waits.
    fn waits(&self, k: usize, waiter: &Waiter) -> Word {
        let value = if self.keeps_owner() { k as u8 + 1 } else { waiter.number };
        Word { tag: Tag::Waits, value }
    }

    fn is_alive(&self, s: &State, owner: u8) -> bool {
        owner != 0 && s.waiters[owner as usize - 1].at != At::Dead
    }

    /// Does a living one wait that came before `note`, and before `number`?
    fn waits_before(&self, s: &State, note: &Note, number: u8) -> bool {
        s.slots.iter().any(|slot| {
            let came = self.number(slot);
            let waits = slot.word.tag == Tag::Waits && self.is_alive(s, self.owner(slot));
            waits && came < note.before && came < number
        })
    }

    fn kill(&self, s: &State, out: &mut Steps<State>) {
        if s.kills == self.kills {
            return;
        }
        let killed = State { kills: s.kills + 1, ..*s };
        for k in (0..self.waiters).filter(|k| self.process(*k) == *k) {
            let threads = |other: &usize| self.process(*other) == k;
            let acts = |at: At| !matches!(at, At::Idle | At::Dead);
            if !(0..self.waiters).filter(threads).any(|other| acts(s.waiters[other].at)) {
                continue;
            }
            let mut n = killed;
            for other in (0..self.waiters).filter(threads) {
                n.waiters[other] = Waiter { at: At::Dead, left: s.waiters[other].left, ..Waiter::default() };
                n.unlock(other);
            }
            out.add(Who::Process(k), "KILLED", n);
        }
        if !self.kills_all {
            return;
        }
        if let Notifier::Calls(calling) = s.notifier {
            let mut n = killed;
            n.notifier = Notifier::Idle;
            n.notes[calling.note as usize - 1].is_broken = true;
            n.unlock(NOTIFIER);
            out.add(Who::Process(NOTIFIER), "KILLED", n);
        }
        for (r, recoverer) in s.recoverers.iter().enumerate().filter(|(_, recoverer)| recoverer.dead != 0) {
            let mut n = killed;
            if let Some(note) = recoverer.has_passed() {
                n.notes[note as usize - 1].extra += 1;
            }
            n.recoverers[r] = Recoverer::default();
            out.add(Who::Recoverer(r), "KILLED", n);
        }
    }
}

impl State {
    fn unlock(&mut self, holder: usize) {
        if self.lock == holder as u8 + 1 {
            self.lock = 0;
        }
    }

    /// Wakes who sleeps on that slot.
    fn wake(&mut self, slot: u8, then: At) {
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.at == At::Asleep && waiter.slot == slot)
        {
            waiter.at = then;
        }
    }
}

impl Model for Waiters {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        for k in 0..self.waiters {
            s.waiters[k].left = self.waits[k];
            if self.asleep {
                self.begin_asleep(&mut s, k as u8);
            }
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        self.kill(s, out);
        for k in 0..self.waiters {
            self.waiter(s, k, out);
        }
        self.notifier(s, out);
        self.recovery(s, out);
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for (k, waiter) in s.waiters.iter().enumerate() {
            let tags: &[Tag] = match waiter.at {
                At::Idle | At::Claim | At::Dead => continue,
                At::Next => &[Tag::Taken],
                At::Second | At::High | At::Commit => &[Tag::Taken, Tag::Waits, Tag::Called],
                _ => &[Tag::Waits, Tag::Called],
            };
            let slot = s.slots[waiter.slot as usize];
            if self.owner(&slot) as usize != k + 1 || !tags.contains(&slot.word.tag) {
                return Err(format!("waiter {k} lost its place"));
            }
        }
        for note in s.notes.iter().filter(|note| note.most != ALL) {
            let extra = if self.is_strict { 0 } else { note.extra };
            if note.got > note.most + extra {
                return Err("more returns than the notification says".into());
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let is_left = |at: At| at == At::Dead && self.recoverers == 0;
        let rests = |k: &usize| match s.waiters[*k] {
            Waiter { at: At::Idle, left: 0, .. } => true,
            Waiter { at: At::Asleep, slot, .. } => s.slots[slot as usize].word.tag == Tag::Waits,
            Waiter { at, .. } => is_left(at),
        };
        let is_used = |place: usize| {
            let owner = self.owner(&s.slots[place]) as usize;
            let waiter = s.waiters.get(owner.wrapping_sub(1));
            waiter.is_some_and(|waiter| {
                is_left(waiter.at) || waiter.at == At::Asleep && waiter.slot as usize == place
            })
        };
        let slots = (0..WAITERS).all(|place| s.slots[place].word.tag == Tag::Free || is_used(place));
        let told = s.notifier == Notifier::Idle && self.next_note(s).is_none();
        let recovered = s.recoverers.iter().all(|recoverer| recoverer.at == Repair::Idle);
        let is_quiet = (0..self.waiters).all(|k| rests(&k)) && slots && told && recovered;
        is_quiet && s.lock == 0 && (0..s.noted).all(|note| self.is_answered(s, note as usize))
    }
}

impl Waiters {
    fn begin_asleep(&self, s: &mut State, k: u8) {
        let left = self.waits[k as usize] - 1;
        let waiter = Waiter { at: At::Asleep, slot: k, number: k, left, ..Waiter::default() };
        let word = self.waits(k as usize, &waiter);
        let second = if self.keeps_owner() { k } else { k + 1 };
        s.waiters[k as usize] = waiter;
        s.slots[k as usize] = Slot { word, second, by: 0 };
        s.next = k + 1;
        s.high = k + 1;
    }

    /// Whether a notification has reached as many as it says, or all that were there.
    fn is_answered(&self, s: &State, number: usize) -> bool {
        let note = &s.notes[number];
        let hangs = |slot: &&Slot| {
            let is_dead = !self.is_alive(s, self.owner(slot));
            slot.word.tag == Tag::Called && slot.by as usize == number + 1 && is_dead
        };
        let hanging = s.slots.iter().filter(hangs).count() as u8;
        note.is_broken
            || note.most != ALL && note.got + hanging >= note.most
            || !self.waits_before(s, note, ALL)
    }
}
