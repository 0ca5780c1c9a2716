//! Who sleeps and who wakes him: many sleepers on one line, and wakers that wake all of them.
//!
//! ```text
//! line      flag (somebody may sleep), seq (the futex)
//! post      after a commit: fence; flag? flag = 0; seq += 1; wake all
//! wait      s = seq; flag = 1; fence; look: there? go, and leave the flag as it is; futex_wait(seq, s); again
//! recover d always: seq += 1; wake all
//! ```
//! Messages are counts here, one a writer; every reader wants all of them. Memory as in the model `lane`: a store
//! buffer for each process. Nobody wakes by himself.

use super::super::check::{Model, Steps, Who};

const WRITERS: usize = 2;
const ACTORS: usize = 4;
const BUFFER: usize = 3;

const FLAG: usize = WRITERS;
const WORDS: usize = WRITERS + 1;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    PostFence,
    PostFlag,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    Seq,
    Arm,
    ArmFence,
    LookAgain,
    Sleep,
    Asleep,
    Dead,
    RepairBump,
    RepairWake,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Actor {
    at: At,
    /// Messages sent, or received.
    count: u8,
    /// `seq` has moved since it was loaded.
    moved: bool,
    buffer: [(u8, u8); BUFFER],
    buffered: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct State {
    memory: [u8; WORDS],
    actors: [Actor; ACTORS],
    kills: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
    None,
    /// No fence between commit and the look at the flag.
    NoPostFence,
    /// No fence between the flag and the second look.
    NoArmFence,
    /// No second look.
    NoSecondLook,
    /// `seq` is loaded after the second look.
    SeqAfterLook,
    /// The flag is cleared after the wake: it wipes out the flag of the next sleep.
    ClearAfterWake,
    /// One sleeper is woken, and the flag is gone for the others.
    WakeOne,
    /// Who leaves clears the flag, as on a line with one sleeper: it may be another's.
    LeaverClears,
    /// Recovery does not wake.
    SilentRecovery,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Messages of each writer.
    pub(super) messages: [u8; WRITERS],
    pub(super) readers: u8,
    pub(super) kills: u8,
    pub(super) bug: Bug,
}

impl Actor {
    fn load(&self, memory: &[u8; WORDS], place: usize) -> u8 {
        let buffer = &self.buffer[..self.buffered as usize];
        let own = buffer.iter().rev().find(|(at, _)| *at as usize == place);
        own.map_or(memory[place], |(_, value)| *value)
    }

    fn is_drained(&self) -> bool {
        self.buffered == 0
    }

    fn store(&mut self, place: usize, value: u8) {
        self.buffer[self.buffered as usize] = (place as u8, value);
        self.buffered += 1;
    }

    fn drain_one(&mut self, memory: &mut [u8; WORDS]) {
        let (place, value) = self.buffer[0];
        memory[place as usize] = value;
        self.buffer.rotate_left(1);
        self.buffer[BUFFER - 1] = (0, 0);
        self.buffered -= 1;
    }

    fn has_seq(&self) -> bool {
        matches!(self.at, At::Arm | At::ArmFence | At::LookAgain | At::Sleep)
    }
}

impl State {
    fn bump(&mut self) {
        for actor in &mut self.actors {
            actor.moved |= actor.has_seq();
        }
    }

    fn wake(&mut self, most: usize) {
        for actor in self.actors.iter_mut().filter(|actor| actor.at == At::Asleep).take(most) {
            actor.at = At::Idle;
        }
    }

    fn there(&self, k: usize) -> u8 {
        (0..WRITERS).map(|writer| self.actors[k].load(&self.memory, writer)).sum()
    }
}

impl Model for Waiting {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in 0..WRITERS + self.readers as usize {
            let actor = s.actors[k];
            let repairs = matches!(actor.at, At::RepairBump | At::RepairWake);
            let who = if repairs { Who::Recoverer(k) } else { Who::Process(k) };
            let idle = actor.at == At::Idle && actor.is_drained();
            if s.kills < self.kills && actor.at != At::Dead && !idle {
                let mut n = *s;
                n.kills += 1;
                while !n.actors[k].is_drained() {
                    n.actors[k].drain_one(&mut n.memory);
                }
                n.actors[k] = Actor { at: At::Dead, count: actor.count, ..Actor::default() };
                out.add(who, "KILLED", n);
            }
            if !actor.is_drained() {
                let mut n = *s;
                n.actors[k].drain_one(&mut n.memory);
                out.add(who, "(its oldest store becomes visible)", n);
            }
            let mut n = *s;
            let what = match actor.at {
                At::Dead | At::RepairBump | At::RepairWake => self.repair(k, &mut n),
                _ if k < WRITERS => self.post(s, k, &mut n),
                _ => self.wait(s, k, &mut n),
            };
            if let Some(what) = what {
                out.add(who, what, n);
            }
        }
    }

    fn invariant(&self, _: &State) -> Result<(), String> {
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let (writers, readers) = s.actors.split_at(WRITERS);
        let all: u8 = self.messages.iter().sum();
        let done = |actor: &Actor, count| {
            actor.count == count && actor.is_drained() && matches!(actor.at, At::Idle | At::Asleep)
        };
        writers.iter().zip(self.messages).all(|(actor, count)| done(actor, count))
            && readers.iter().take(self.readers as usize).all(|actor| done(actor, all))
    }
}

impl Waiting {
    fn post(&self, s: &State, k: usize, n: &mut State) -> Option<&'static str> {
        let actor = s.actors[k];
        let late = self.bug == Bug::ClearAfterWake;
        let me = &mut n.actors[k];
        Some(match actor.at {
            At::Idle if actor.count < self.messages[k] && actor.is_drained() => {
                (me.at, me.count) = (At::PostFence, actor.count + 1);
                me.store(k, actor.count + 1);
                "COMMIT"
            }
            At::PostFence if actor.is_drained() || self.bug == Bug::NoPostFence => {
                me.at = At::PostFlag;
                "post: fence"
            }
            At::PostFlag => {
                me.at = match (actor.load(&s.memory, FLAG) != 0, late) {
                    (false, _) => At::Idle,
                    (true, false) => At::PostClear,
                    (true, true) => At::PostBump,
                };
                "post: look at the flag"
            }
            At::PostClear | At::PostClearLate => {
                me.store(FLAG, 0);
                me.at = if late { At::Idle } else { At::PostBump };
                "post: flag = 0"
            }
            At::PostBump if actor.is_drained() => {
                me.at = At::PostWake;
                n.bump();
                "post: seq += 1"
            }
            At::PostWake if actor.is_drained() => {
                me.at = if late { At::PostClearLate } else { At::Idle };
                n.wake(if self.bug == Bug::WakeOne { 1 } else { ACTORS });
                "post: wake all"
            }
            _ => return None,
        })
    }

    fn wait(&self, s: &State, k: usize, n: &mut State) -> Option<&'static str> {
        let actor = s.actors[k];
        let there = s.there(k) > actor.count;
        let me = &mut n.actors[k];
        Some(match actor.at {
            At::Idle if there => {
                me.count += 1;
                "recv: takes one"
            }
            At::Idle if actor.is_drained() => {
                me.at = At::Seq;
                "wait: nothing is there"
            }
            At::Seq => {
                me.at = At::Arm;
                "wait: s = seq"
            }
            At::Arm => {
                me.store(FLAG, 1);
                me.at = At::ArmFence;
                "wait: flag = 1"
            }
            At::ArmFence if actor.is_drained() || self.bug == Bug::NoArmFence => {
                me.at = if self.bug == Bug::NoSecondLook { At::Sleep } else { At::LookAgain };
                "wait: fence"
            }
            At::LookAgain if there => {
                if self.bug == Bug::LeaverClears {
                    me.store(FLAG, 0);
                }
                (me.at, me.count, me.moved) = (At::Idle, actor.count + 1, false);
                "wait: takes one"
            }
            At::LookAgain => {
                me.at = At::Sleep;
                me.moved &= self.bug != Bug::SeqAfterLook;
                "wait: look again"
            }
            At::Sleep if actor.is_drained() => {
                me.at = if actor.moved { At::Idle } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            _ => return None,
        })
    }

    fn repair(&self, k: usize, n: &mut State) -> Option<&'static str> {
        let reborn = Actor { count: n.actors[k].count, ..Actor::default() };
        match n.actors[k].at {
            At::Dead if self.bug == Bug::SilentRecovery => {
                n.actors[k] = reborn;
                Some("the id is reusable")
            }
            At::Dead => {
                n.actors[k].at = At::RepairBump;
                Some("takes the lock of the dead")
            }
            At::RepairBump => {
                n.actors[k].at = At::RepairWake;
                n.bump();
                Some("seq += 1")
            }
            _ => {
                n.actors[k] = reborn;
                n.wake(ACTORS);
                Some("wake all; the id is reusable")
            }
        }
    }
}
