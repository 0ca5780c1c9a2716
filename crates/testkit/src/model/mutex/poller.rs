//! The mutex with pollers: waiters that do not sleep but want a byte, and the bells by which they are rung.
//!
//! ```text
//! word      {W | owner}     bit[p]: p wants a byte     byte[p]: lies in the socket of p     turn: flips with contention
//!
//! poll      1 free: CAS -> me, with W if it was armed; then bit off; done
//!           2 bit on; fence; CAS w -> w|W, fails: 1
//!           3 as 1
//!           4 a byte is there: take it, again from 1; none: pending, until one comes
//! cancel    bit off; it was armed: pass. pass: word free: to one; else CAS w -> w|W, fails: again
//! sleeper   as in the model `mutex`
//! unlock    old = swap 0; W: fence; to one
//! to one    even turn: futex wake, nobody slept: ring one.   odd turn: ring one, nobody wants: futex wake
//! ring one  any bit: clear it; it was still set: send the byte, done; refused or not set: the next one
//! recover d word of d -> W; bit[d] off; wake one; ring all
//! ```
//!
//! One wake goes to one waiter, of either kind. Who took one keeps W, or passes; so the others are reached. Why a poller
//! clears its bit when it has got the lock: the byte would go to one who does not wait, and count as a wake.
//!
//! A kill between clearing a bit and sending its byte is not seen by recovery: there the poller's slice looks
//! again, and only there; the cases without slices leave that one kill out.

use super::super::check::{Model, Steps, Who};

const ACTORS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Word {
    waits: bool,
    owner: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Try,
    Bit,
    Arm,
    LateBit,
    Again,
    Drain,
    Pending,
    Wait,
    Asleep,
    BitOff,
    CancelBit,
    Pass,
    Inside,
    /// Only without the fence: it has looked at the bits, and then swaps.
    Early,
    Futex,
    Ring,
    Clear,
    Send,
    LateClear,
    Dead,
    RepairBit,
    RepairWake,
    RepairRing,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Actor {
    at: At,
    /// Armed, or slept: it may have used up a wake.
    slept: bool,
    seen: Word,
    /// To one: the other kind was tried in vain; and who is rung.
    tried: bool,
    target: u8,
    /// Only without the fence: nobody wanted a byte.
    nobody: bool,
    rounds: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct State {
    word: Word,
    bits: [bool; ACTORS],
    bytes: [bool; ACTORS],
    turn: bool,
    actors: [Actor; ACTORS],
    kills: u8,
    cancels: u8,
}

/// A deliberate mistake; `NoSecondTry`, `CancelPassesIfRung` and `NoTurns` are none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    None,
    /// A poller takes the word without W.
    TakesWithoutW,
    /// A poller sets W first, and then its bit.
    WBeforeBit,
    /// None: a poller does not look between arming and pending. The CAS that sets W is that look.
    NoSecondTry,
    /// A poller takes the byte and does not look again.
    DrainAfterLook,
    /// A poller that has got the lock leaves its bit.
    BitStays,
    /// A poller that is dropped does not pass.
    CancelWithoutPass,
    /// None: it passes only if it was rung. Else it has used up no wake.
    CancelPassesIfRung,
    /// An unlocker looks at the bits before its swap is seen.
    NoFence,
    /// Who finds nobody of one kind does not try the other.
    NoOtherKind,
    /// The bit is cleared behind the byte: it may be another wish.
    SendThenClear,
    /// Recovery wakes one sleeper and rings nobody.
    RecoveryWithoutRing,
    /// Recovery rings, and wakes nobody.
    RecoveryWithoutWake,
    /// None: sleepers always first. Turns are for fairness.
    NoTurns,
}

/// One configuration: the first actors poll, the others sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Poller {
    pub(super) pollers: usize,
    pub(super) sleepers: usize,
    pub(super) rounds: u8,
    pub(super) kills: u8,
    pub(super) cancels: u8,
    pub(super) slices: bool,
    /// A kill may come between a bit and its byte.
    pub(super) any_kill: bool,
    pub(super) bug: Bug,
}

fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl Actor {
    fn rest(&mut self) {
        *self = Actor { rounds: self.rounds, ..Actor::default() };
    }

    fn to(&mut self, at: At) {
        self.at = at;
        self.seen = Word::default();
    }
}

impl Model for Poller {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.actors[..self.pollers + self.sleepers].iter_mut().for_each(|actor| actor.rounds = self.rounds);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..self.pollers + self.sleepers {
            let at = s.actors[k].at;
            let silent = at == At::Send && !self.any_kill;
            if s.kills < self.kills && !matches!(at, At::Idle | At::Dead) && !silent {
                let mut n = *s;
                n.kills += 1;
                n.actors[k].rest();
                n.actors[k].at = At::Dead;
                n.bytes[k] = false;
                out.add(Who::Process(k), "KILLED", n);
            }
            match at {
                At::Dead | At::RepairBit | At::RepairWake | At::RepairRing => self.repair(s, k, out),
                At::Futex | At::Ring | At::Clear | At::Send | At::LateClear => self.wake_or_ring(s, k, out),
                _ => self.proceed(s, k, out),
            }
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let inside = s.actors.iter().filter(|a| matches!(a.at, At::BitOff | At::Inside | At::Early)).count();
        if inside > 1 { Err("two holders at once".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        s.word.owner == 0 && s.actors.iter().all(|actor| actor.at == At::Idle && actor.rounds == 0)
    }
}

impl Poller {
    fn polls(&self, k: usize) -> bool {
        k < self.pollers
    }

    fn take(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let slept = s.actors[k].slept;
        let mut n = *s;
        let keeps = slept && !(self.polls(k) && self.bug == Bug::TakesWithoutW);
        n.word = Word { waits: s.word.waits || keeps, owner: id(k) };
        n.turn ^= slept;
        n.actors[k].rest();
        n.actors[k].at = if self.polls(k) && slept { At::BitOff } else { At::Inside };
        out.add(Who::Process(k), "CAS takes it", n);
    }

    fn proceed(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let actor = s.actors[k];
        let mut n = *s;
        let me = &mut n.actors[k];
        let what = match actor.at {
            At::Idle if actor.rounds > 0 => {
                me.at = At::Try;
                "lock"
            }
            At::Try | At::Again if s.word.owner == 0 => return self.take(s, k, out),
            At::Try => {
                let late = self.bug == Bug::WBeforeBit;
                me.seen = if self.polls(k) && !late { Word::default() } else { s.word };
                me.at = if self.polls(k) && !late { At::Bit } else { At::Arm };
                "it is taken"
            }
            At::Bit => {
                n.bits[k] = true;
                me.at = At::Arm;
                me.slept = true;
                me.seen = s.word;
                "poll: bit on; fence; look at the word"
            }
            At::Arm if s.word == actor.seen && s.word.owner != 0 => {
                n.word.waits = true;
                me.seen.waits = true;
                me.at = match (self.polls(k), self.bug) {
                    (false, _) => At::Wait,
                    (true, Bug::WBeforeBit) => At::LateBit,
                    (true, Bug::NoSecondTry) => At::Drain,
                    (true, _) => At::Again,
                };
                if self.polls(k) {
                    me.seen = Word::default();
                }
                "CAS sets W"
            }
            At::Arm => {
                me.to(At::Try);
                "CAS of W fails"
            }
            At::Inside if self.bug == Bug::NoFence => {
                me.nobody = s.bits == [false; ACTORS];
                me.at = At::Early;
                "unlock: look at the bits, too early"
            }
            At::Inside | At::Early => return self.unlock(s, k, out),
            At::CancelBit | At::Pass => return self.cancel(s, k, out),
            _ => return self.wait(s, k, out),
        };
        out.add(who, what, n);
    }

    /// Armed: until it is polled again, or woken.
    fn wait(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let actor = s.actors[k];
        let mut n = *s;
        let me = &mut n.actors[k];
        let what = match actor.at {
            At::LateBit => {
                n.bits[k] = true;
                me.slept = true;
                me.at = At::Drain;
                "poll: bit on, too late"
            }
            At::Again => {
                me.at = At::Drain;
                "poll: it is still taken"
            }
            At::Drain if s.bytes[k] => {
                n.bytes[k] = false;
                me.at = if self.bug == Bug::DrainAfterLook { At::Pending } else { At::Try };
                "poll: takes the byte"
            }
            At::Drain => {
                me.at = At::Pending;
                "poll: pending"
            }
            At::Pending => {
                if s.cancels < self.cancels {
                    let mut n = *s;
                    n.cancels += 1;
                    n.actors[k].at = At::CancelBit;
                    out.add(Who::Process(k), "the future is dropped", n);
                }
                if !s.bytes[k] && !self.slices {
                    return;
                }
                me.at = At::Try;
                "is polled again"
            }
            At::Wait => {
                let sleeps = s.word == actor.seen;
                me.to(if sleeps { At::Asleep } else { At::Try });
                "futex_wait(word)"
            }
            At::Asleep if self.slices => {
                me.slept = true;
                me.at = At::Try;
                "the slice ends"
            }
            At::BitOff => {
                n.bits[k] &= self.bug == Bug::BitStays;
                me.at = At::Inside;
                "poll: bit off, done"
            }
            _ => return,
        };
        out.add(Who::Process(k), what, n);
    }

    /// The future was dropped.
    fn cancel(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let actor = s.actors[k];
        let mut n = *s;
        let me = &mut n.actors[k];
        let what = match actor.at {
            At::CancelBit => {
                let rung = !s.bits[k];
                n.bits[k] = false;
                let skips =
                    self.bug == Bug::CancelWithoutPass || self.bug == Bug::CancelPassesIfRung && !rung;
                me.at = At::Pass;
                if skips {
                    me.rest();
                    me.rounds -= 1;
                }
                "cancel: bit off"
            }
            _ => {
                me.rest();
                me.rounds -= 1;
                if s.word.owner == 0 {
                    me.at = self.first(s);
                } else {
                    n.word.waits = true;
                }
                "cancel: pass"
            }
        };
        out.add(Who::Process(k), what, n);
    }

    fn first(&self, s: &State) -> At {
        if s.turn && self.bug != Bug::NoTurns { At::Ring } else { At::Futex }
    }

    fn unlock(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let mut n = *s;
        if s.word.owner != id(k) {
            return out.violation(who, "unlock", "it is not the holder any more");
        }
        n.word = Word::default();
        let me = &mut n.actors[k];
        let nobody = me.nobody;
        me.rest();
        me.rounds -= 1;
        if s.word.waits {
            me.at = self.first(s);
            me.nobody = nobody;
        }
        out.add(who, "unlock: swap 0", n);
    }

    /// The other kind, or nothing more.
    fn other(&self, me: &mut Actor, at: At) {
        if me.tried || self.bug == Bug::NoOtherKind {
            me.rest();
        } else {
            me.tried = true;
            me.target = 0;
            me.at = at;
        }
    }

    fn wake_or_ring(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Process(k);
        let actor = s.actors[k];
        let target = actor.target as usize;
        let mut n = *s;
        let what = match actor.at {
            At::Futex => {
                let mut woken = false;
                for other in (0..ACTORS).filter(|other| s.actors[*other].at == At::Asleep) {
                    woken = true;
                    let mut n = *s;
                    n.actors[k].rest();
                    n.actors[other].slept = true;
                    n.actors[other].at = At::Try;
                    out.add(who, "wake one", n);
                }
                if woken {
                    return;
                }
                self.other(&mut n.actors[k], At::Ring);
                "wake one: nobody sleeps"
            }
            At::Ring => {
                let mut found = false;
                for other in (0..ACTORS).filter(|other| s.bits[*other] && !actor.nobody) {
                    found = true;
                    let mut n = *s;
                    n.actors[k].target = other as u8;
                    n.actors[k].at = if self.bug == Bug::SendThenClear { At::Send } else { At::Clear };
                    out.add(who, "ring: a bit is set", n);
                }
                if found {
                    return;
                }
                self.other(&mut n.actors[k], At::Futex);
                "ring: no bit is set"
            }
            At::Clear => {
                n.bits[target] = false;
                n.actors[k].at = if s.bits[target] { At::Send } else { At::Ring };
                "ring: clear the bit"
            }
            At::Send => {
                let gone =
                    matches!(s.actors[target].at, At::Dead | At::RepairBit | At::RepairWake | At::RepairRing);
                n.bytes[target] |= !gone;
                match (gone, self.bug) {
                    (true, _) => n.actors[k].at = At::Ring,
                    (false, Bug::SendThenClear) => n.actors[k].at = At::LateClear,
                    (false, _) => n.actors[k].rest(),
                }
                if gone && self.bug == Bug::SendThenClear {
                    n.bits[target] = false;
                }
                "ring: send the byte"
            }
            _ => {
                n.bits[target] = false;
                n.actors[k].rest();
                "ring: clear the bit, too late"
            }
        };
        out.add(who, what, n);
    }

    fn repair(&self, s: &State, k: usize, out: &mut Steps<State>) {
        let who = Who::Recoverer(k);
        let mut n = *s;
        let what = match s.actors[k].at {
            At::Dead => {
                if s.word.owner == id(k) {
                    n.word = Word { waits: true, owner: 0 };
                }
                n.actors[k].at = At::RepairBit;
                "word of the dead = W"
            }
            At::RepairBit => {
                n.bits[k] = false;
                n.actors[k].at =
                    if self.bug == Bug::RecoveryWithoutWake { At::RepairRing } else { At::RepairWake };
                "bit of the dead off"
            }
            At::RepairWake => {
                let end = self.bug == Bug::RecoveryWithoutRing;
                n.actors[k].at = if end { At::Idle } else { At::RepairRing };
                for other in (0..ACTORS).filter(|other| s.actors[*other].at == At::Asleep) {
                    let mut n = n;
                    n.actors[other].slept = true;
                    n.actors[other].at = At::Try;
                    out.add(who, "wake one", n);
                }
                if s.actors.iter().any(|actor| actor.at == At::Asleep) {
                    return;
                }
                "wake one: nobody sleeps"
            }
            _ => {
                for other in 0..ACTORS {
                    n.bytes[other] |= std::mem::take(&mut n.bits[other]);
                }
                n.actors[k].rest();
                "ring all; the id is reusable"
            }
        };
        out.add(who, what, n);
    }
}
