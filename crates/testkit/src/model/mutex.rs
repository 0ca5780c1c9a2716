//! The mutex: one word that says who holds it, and what recovery makes of it.
//!
//! ```text
//! word      {W: somebody sleeps | DIRTY: a holder died inside | owner}, owner 0 = free
//!
//! lock      w = word
//!           free:  CAS w -> {me, W as it was or because I slept, DIRTY as it was}; told = DIRTY
//!           taken: CAS w -> w|W; futex_wait(word, w|W); slept; again
//! unlock    old = swap(0, or DIRTY if told and the data was not repaired); old had W: wake one
//! deadline  of a sleeper: the word is free: take it after all; else make sure of W; leave
//! recover d (holding the lock of d) owner is d: word = DIRTY|W; then always: wake one
//! ```
//!
//! Who slept takes the word with W, because the wake that it used up may have been meant for more than
//! itself; and for the same reason nobody leaves a free word, or a word without W, behind. Recovery wakes
//! also where the word is not the dead one's: it may have been killed between its swap and its wake.
//!
//! What must hold: one holder at a time; a locker is told of a death inside exactly if somebody died inside
//! and nobody has since unlocked with the data repaired. No slices: nobody wakes by itself, so each lost wake
//! is a stuck state.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | before its CAS, asleep, arming | nothing, or W for nobody | one futile wake |
//! | inside | owner d | DIRTY, W after recovery: the next locker is told |
//! | after the unlock swap, before its wake | free, W gone, sleepers | recovery wakes one, who sets W |
//! | recoverer between store and wake | DIRTY, W | the next recoverer wakes |
//!
//! What each mutation breaks stands at `Bug`. Waiters that poll instead of sleeping are a model of their own, [`poller`].

mod cases;
mod poller;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const LOCKERS: usize = 3;
const RECOVERERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    waits: bool,
    dirty: bool,
    owner: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Try,
    Arm,
    Wait,
    Asleep,
    /// Woken or not, past its deadline.
    GiveUp,
    Inside,
    /// Inside a broken unlock, which has looked at W and not yet stored.
    Unlocking,
    Wake,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Locker {
    at: At,
    slept: bool,
    told: bool,
    /// The word as it was when it was found taken; later, as `futex_wait` expects it.
    seen: Word,
    rounds: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Read,
    Write,
    Wake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    word: Word,
    /// Somebody died inside, and nobody has repaired the data since.
    debt: bool,
    lockers: [Locker; LOCKERS],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    deadlines: u8,
}

/// A deliberate mistake; the last two are none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// Recovery never wakes.
    SilentRecovery,
    /// Recovery wakes only where it changed the word.
    WakeIfChanged,
    /// Recovery makes the word free without DIRTY.
    RecoverToFree,
    /// Recovery does not look who the owner is.
    RecoverAnyOwner,
    /// Two repair the same dead at once, without its lock: the slow one hits the id when it lives again.
    RecoverWithoutLock,
    /// A locker that slept takes the word without W.
    SleeperDropsW,
    /// A sleeper whose deadline has come leaves at once.
    LeaveAtDeadline,
    /// Draft: a locker takes the word only from exactly 0 or exactly DIRTY, so that nobody takes DIRTY|W.
    TakeExactWordsOnly,
    /// W is set by a store instead of a CAS: over whatever the word has become.
    ArmByStore,
    /// A sleeper does not compare the word again.
    SleepWithoutCompare,
    /// The unlock does not look at W.
    UnlockWithoutWake,
    /// The unlock loads W and then stores: W may come between.
    UnlockInTwoSteps,
    /// The wake comes before the unlock: the woken one goes to sleep again.
    WakeBeforeUnlock,
    /// A guard dropped without repair unlocks to 0.
    DropForgetsDirty,
    /// None: while somebody holds the lock, only its guard knows of DIRTY.
    DirtyInGuardOnly,
    /// None: recovery leaves DIRTY without W, as it wakes one anyway.
    RecoverWithoutW,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Mutex {
    rounds: u8,
    kills: u8,
    deadlines: u8,
    recoverers: usize,
    slices: bool,
    bug: Bug,
}

impl Model for Mutex {
    type State = State;

    fn initial(&self) -> State {
        let locker = Locker { rounds: self.rounds, ..Locker::default() };
        State { lockers: [locker; LOCKERS], ..State::default() }
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..LOCKERS {
            let locker = s.lockers[k];
            if locker.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if locker.at != At::Idle && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                n.debt |= matches!(locker.at, At::Inside | At::Unlocking);
                n.lockers[k] = Locker { at: At::Dead, rounds: locker.rounds, ..Locker::default() };
                out.add(Who::Process(k), "KILLED", n);
            }
            self.proceed(s, k, out);
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
        let inside = s.lockers.iter().filter(|l| matches!(l.at, At::Inside | At::Unlocking)).count();
        if inside > 1 { Err("two holders at once".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let done = |locker: &Locker| locker.at == At::Idle && locker.rounds == 0;
        let idle = s.recoverers.iter().all(|r| r.dead == 0);
        idle && s.word.owner == 0 && s.word.dirty == s.debt && s.lockers.iter().all(done)
    }
}

impl Mutex {
    fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let locker = s.lockers[k];
        let mut n = *s;
        let me = &mut n.lockers[k];
        let what = match locker.at {
            At::Idle if locker.rounds > 0 => {
                me.at = At::Try;
                "lock"
            }
            At::Try if self.may_take(s.word) => return self.take(s, k, out),
            At::Try => {
                me.seen = s.word;
                me.at = At::Arm;
                "lock: it is taken"
            }
            At::Arm if s.word == locker.seen || self.bug == Bug::ArmByStore => {
                me.seen.waits = true;
                me.at = At::Wait;
                n.word = Word { waits: true, ..locker.seen };
                "lock: CAS sets W"
            }
            At::Arm => {
                me.at = At::Try;
                me.seen = Word::default();
                "lock: CAS of W fails"
            }
            At::Wait => {
                let sleeps = s.word == locker.seen || self.bug == Bug::SleepWithoutCompare;
                me.at = if sleeps { At::Asleep } else { At::Try };
                me.seen = Word::default();
                "lock: futex_wait(word)"
            }
            At::Asleep => {
                if s.deadlines < self.deadlines {
                    let mut n = *s;
                    n.deadlines += 1;
                    n.lockers[k].at = self.at_deadline();
                    out.add(who, "deadline", n);
                }
                if !self.slices {
                    return;
                }
                me.at = At::Try;
                me.slept = true;
                "lock: the slice ends"
            }
            At::GiveUp if s.word.owner == 0 => {
                me.at = At::Try;
                me.slept = true;
                "deadline: it is free, take it"
            }
            At::GiveUp => {
                *me = Locker { rounds: locker.rounds, ..Locker::default() };
                n.word.waits = true;
                "deadline: make sure of W, leave"
            }
            At::Inside | At::Unlocking => return self.unlock(s, k, out),
            At::Wake => return self.wake_one(s, who, "wake one", out, |n| n.lockers[k].at = At::Idle),
            At::Idle | At::Dead => return,
        };
        out.add(who, what, n);
    }

    fn at_deadline(&self) -> At {
        if self.bug == Bug::LeaveAtDeadline { At::Idle } else { At::GiveUp }
    }

    fn may_take(&self, word: Word) -> bool {
        word.owner == 0 && (self.bug != Bug::TakeExactWordsOnly || !(word.dirty && word.waits))
    }

    fn take(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        if s.word.dirty && !s.debt {
            return out.violation(who, "lock", "told of a death, although the data was repaired");
        }
        if s.debt && !s.word.dirty {
            return out.violation(who, "lock", "a holder died inside, and the next is not told");
        }
        let locker = s.lockers[k];
        let mut n = *s;
        n.word = Word {
            waits: s.word.waits || locker.slept && self.bug != Bug::SleeperDropsW,
            dirty: s.word.dirty && self.bug != Bug::DirtyInGuardOnly,
            owner: k as u8 + 1,
        };
        n.lockers[k] =
            Locker { at: At::Inside, told: s.word.dirty, rounds: locker.rounds, ..Locker::default() };
        out.add(who, "lock: CAS takes it", n);
    }

    /// The swap, with the data repaired or not; in one broken variant its load and its store.
    fn unlock(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let locker = s.lockers[k];
        if s.word.owner != k as u8 + 1 {
            return out.violation(who, "unlock", "it is not the holder any more");
        }
        if self.bug == Bug::WakeBeforeUnlock && locker.at == At::Inside {
            let wakes = |n: &mut State| n.lockers[k].at = At::Unlocking;
            return self.wake_one(s, who, "wake one, too early", out, wakes);
        }
        if self.bug == Bug::UnlockInTwoSteps && locker.at == At::Inside {
            let mut n = *s;
            n.lockers[k].at = At::Unlocking;
            n.lockers[k].seen = s.word;
            return out.add(who, "unlock: load", n);
        }
        for repaired in [true, false] {
            if !repaired && !locker.told {
                continue;
            }
            let waits = match self.bug {
                Bug::UnlockInTwoSteps => locker.seen.waits,
                Bug::UnlockWithoutWake | Bug::WakeBeforeUnlock => false,
                _ => s.word.waits,
            };
            let mut n = *s;
            n.debt &= !repaired;
            n.word = Word { dirty: !repaired && self.bug != Bug::DropForgetsDirty, ..Word::default() };
            let at = if waits { At::Wake } else { At::Idle };
            n.lockers[k] = Locker { at, rounds: locker.rounds - 1, ..Locker::default() };
            out.add(who, if repaired { "unlock: swap 0" } else { "unlock: swap DIRTY, not repaired" }, n);
        }
    }

    /// Wakes any one sleeper, if there is one; its deadline may come at the same moment.
    fn wake_one(
        &self,
        s: &State,
        who: Who,
        what: &'static str,
        out: &mut Steps<State>,
        then: impl Fn(&mut State),
    ) {
        let mut slept = false;
        for k in (0..LOCKERS).filter(|k| s.lockers[*k].at == At::Asleep) {
            slept = true;
            let mut n = *s;
            n.lockers[k].at = At::Try;
            n.lockers[k].slept = true;
            then(&mut n);
            out.add(who, what, n);
            if s.deadlines < self.deadlines {
                let mut n = *s;
                n.deadlines += 1;
                n.lockers[k].at = self.at_deadline();
                then(&mut n);
                out.add(who, "wake one, who is at its deadline", n);
            }
        }
        if !slept {
            let mut n = *s;
            then(&mut n);
            out.add(who, what, n);
        }
    }

    fn start_recovery(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let dead = k as u8 + 1;
        let locked = s.recoverers.iter().any(|r| r.dead == dead) && self.bug != Bug::RecoverWithoutLock;
        let idle = (0..self.recoverers).find(|r| s.recoverers[*r].dead == 0);
        if let (false, Some(r)) = (locked, idle) {
            let mut n = *s;
            n.recoverers[r] = Recoverer { dead, at: Repair::Read };
            out.add(Who::Recoverer(r), "takes the lock of the dead", n);
        }
    }

    fn repair(&self, s: &State, r: usize, out: &mut Steps<State>) {
        let who = Who::Recoverer(r);
        let Recoverer { dead, at } = s.recoverers[r];
        let mut n = *s;
        let (next, what) = match at {
            Repair::Read if s.word.owner == dead || self.bug == Bug::RecoverAnyOwner => {
                (Repair::Write, "the word names the dead")
            }
            Repair::Read if self.bug == Bug::WakeIfChanged => (Repair::Reuse, "the word names somebody else"),
            Repair::Read => (Repair::Wake, "the word names somebody else"),
            Repair::Write => {
                let dirty = self.bug != Bug::RecoverToFree;
                n.word = Word { waits: self.bug != Bug::RecoverWithoutW, dirty, owner: 0 };
                (Repair::Wake, "word = DIRTY|W")
            }
            Repair::Wake if self.bug != Bug::SilentRecovery => {
                return self.wake_one(s, who, "wake one", out, |n| n.recoverers[r].at = Repair::Reuse);
            }
            Repair::Wake => (Repair::Reuse, "(does not wake)"),
            Repair::Reuse => {
                let locker = &mut n.lockers[dead as usize - 1];
                if locker.at == At::Dead {
                    *locker = Locker { rounds: locker.rounds, ..Locker::default() };
                }
                n.recoverers[r] = Recoverer::default();
                return out.add(who, "the id is reusable", n);
            }
        };
        n.recoverers[r].at = next;
        out.add(who, what, n);
    }
}
