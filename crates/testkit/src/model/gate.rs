//! The gate: a line on which everybody waits and everybody is woken; and the event, whose generation opens it.
//!
//! ```text
//! event     {generation, SET}                 line: flag, seq
//!
//! set       SET already? else CAS -> {generation+1, SET}: COMMIT. Always: post
//! clear     SET = 0
//! post      fence; flag set? flag = 0; seq += 1; wake all
//! wait      g = generation; ready: SET, or generation != g
//!           ready? go. s = seq; flag = 1; fence; ready? go, and leave the flag as it is; futex_wait(seq, s); again
//! recover d always: seq += 1; wake all
//! ```
//!
//! Nobody passes a wake on, because whoever is woken is woken together with all others. The generation is for
//! a set that is cleared before the woken ones run: it releases everybody who waited before it.
//!
//! Each process has a store buffer (as on x86), because the fences are what is at stake. The commit goes through
//! it, too, where there is one setter (a `Once` commits by a store; and a release CAS may be overtaken by the loads
//! behind it); with two setters it is one step. No slices: a lost wake is a stuck state.
//!
//! What must hold: nobody sleeps while the event is set, or over a set that came after it began to wait.

mod cases;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

/// The first `SETTERS` places set, the others wait.
const SETTERS: usize = 2;
const PROCESSES: usize = 4;

/// A store that the others do not see yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Buffer {
    #[default]
    Empty,
    Event(Event),
    Flag(bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Event {
    generation: u8,
    set: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Set,
    PostFence,
    PostLook,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    Clear,
    First,
    Seq,
    Flag,
    Fence,
    Look,
    LateSeq,
    Sleep,
    Asleep,
    Disarm,
    Dead,
    RepairBump,
    RepairWake,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    buffer: Buffer,
    generation: u8,
    /// seq has risen since it was read.
    moved: bool,
    left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    event: Event,
    flag: bool,
    processes: [Process; PROCESSES],
    kills: u8,
}

/// A deliberate mistake; the last one is none, and must be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The flag is looked at before the commit is seen.
    NoPostFence,
    /// The waiter looks before its flag is seen.
    NoArmFence,
    /// No look between arming and sleeping.
    NoLook,
    /// seq is read after that look.
    SeqAfterLook,
    /// The flag is cleared behind the wake.
    FlagAfterSeq,
    /// One sleeper is woken, and the flag is gone for the others.
    WakeOne,
    /// Who leaves clears the flag, as on a line with one sleeper.
    LeaverClears,
    /// Recovery does not wake.
    SilentRecovery,
    /// A waiter looks at SET only.
    NoGeneration,
    /// None: a set that finds the event set does not post.
    PostIfNew,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Gate {
    setters: usize,
    waiters: usize,
    /// Sets of each setter, and waits of each waiter.
    sets: u8,
    waits: u8,
    /// Each set is cleared by who made it.
    pulse: bool,
    kills: u8,
    bug: Bug,
}

impl State {
    fn drain(&mut self, k: usize) {
        match std::mem::take(&mut self.processes[k].buffer) {
            Buffer::Empty => {}
            Buffer::Event(event) => self.event = event,
            Buffer::Flag(flag) => self.flag = flag,
        }
    }

    fn bump(&mut self) {
        for process in &mut self.processes {
            process.moved |= matches!(process.at, At::Flag | At::Fence | At::Look | At::Sleep);
        }
    }

    fn wake(&mut self, most: usize) {
        for process in self.processes.iter_mut().filter(|process| process.at == At::Asleep).take(most) {
            process.at = At::First;
        }
    }
}

impl Process {
    fn rest(&mut self) {
        *self = Process { left: self.left, buffer: self.buffer, ..Process::default() };
    }
}

impl Model for Gate {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.processes[..self.setters].iter_mut().for_each(|process| process.left = self.sets);
        s.processes[SETTERS..SETTERS + self.waiters].iter_mut().for_each(|process| process.left = self.waits);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in (0..self.setters).chain(SETTERS..SETTERS + self.waiters) {
            let process = s.processes[k];
            let repairs = matches!(process.at, At::RepairBump | At::RepairWake);
            let who = if repairs { Who::Recoverer(k) } else { Who::Process(k) };
            let idle = process.at == At::Idle && process.buffer == Buffer::Empty;
            if s.kills < self.kills && process.at != At::Dead && !idle {
                let mut n = *s;
                n.kills += 1;
                // What has left the program reaches memory, whoever dies.
                n.drain(k);
                n.processes[k].rest();
                n.processes[k].at = At::Dead;
                out.add(who, "KILLED", n);
            }
            if process.buffer != Buffer::Empty {
                let mut n = *s;
                n.drain(k);
                out.add(who, "its store is seen", n);
            }
            let mut n = *s;
            let what = match process.at {
                At::Dead | At::RepairBump | At::RepairWake => self.repair(k, &mut n),
                _ if k < SETTERS => self.set(s, k, &mut n),
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
        let sleeps_well =
            |p: &Process| p.at == At::Asleep && s.event == Event { generation: p.generation, set: false };
        let done = |p: &Process| p.at == At::Idle && p.left == 0 && p.buffer == Buffer::Empty;
        s.processes.iter().all(|p| done(p) || sleeps_well(p))
    }
}

impl Gate {
    fn set(&self, s: &State, k: usize, n: &mut State) -> Option<&'static str> {
        let process = s.processes[k];
        let drained = process.buffer == Buffer::Empty;
        let late = self.bug == Bug::FlagAfterSeq;
        let after = if self.pulse { At::Clear } else { At::Idle };
        let me = &mut n.processes[k];
        Some(match process.at {
            At::Idle if process.left > 0 && drained => {
                me.left -= 1;
                me.at = At::Set;
                "set"
            }
            At::Set if s.event.set => {
                me.at = if self.bug == Bug::PostIfNew { after } else { At::PostFence };
                "set: it is set already"
            }
            At::Set => {
                me.at = At::PostFence;
                let event = Event { generation: s.event.generation + 1, set: true };
                if self.setters == 1 {
                    me.buffer = Buffer::Event(event);
                } else {
                    n.event = event;
                }
                "set: COMMIT"
            }
            At::PostFence if drained || self.bug == Bug::NoPostFence => {
                me.at = At::PostLook;
                "post: fence"
            }
            At::PostLook => {
                me.at = match (s.flag, late) {
                    (false, _) => after,
                    (true, false) => At::PostClear,
                    (true, true) => At::PostBump,
                };
                "post: look at the flag"
            }
            At::PostClear | At::PostClearLate if drained => {
                me.buffer = Buffer::Flag(false);
                me.at = if late { after } else { At::PostBump };
                "post: flag = 0"
            }
            At::PostBump if drained => {
                me.at = At::PostWake;
                n.bump();
                "post: seq += 1"
            }
            At::PostWake => {
                me.at = if late { At::PostClearLate } else { after };
                n.wake(if self.bug == Bug::WakeOne { 1 } else { PROCESSES });
                "post: wake all"
            }
            At::Clear if drained => {
                n.event.set = false;
                n.processes[k].rest();
                "clear"
            }
            _ => return None,
        })
    }

    fn wait(&self, s: &State, k: usize, n: &mut State) -> Option<&'static str> {
        let process = s.processes[k];
        let drained = process.buffer == Buffer::Empty;
        let news = s.event.generation != process.generation && self.bug != Bug::NoGeneration;
        let ready = s.event.set || news;
        let me = &mut n.processes[k];
        Some(match process.at {
            At::Idle if process.left > 0 => {
                me.left -= 1;
                me.generation = s.event.generation;
                me.at = At::First;
                "wait: g = generation"
            }
            At::First | At::Look if ready => {
                let clears = self.bug == Bug::LeaverClears && process.at == At::Look;
                me.rest();
                if clears {
                    me.at = At::Disarm;
                }
                "wait: released"
            }
            At::First => {
                me.at = At::Seq;
                "wait: not yet"
            }
            At::Seq => {
                me.moved = false;
                me.at = At::Flag;
                "wait: s = seq"
            }
            At::Flag if drained => {
                me.buffer = Buffer::Flag(true);
                me.at = At::Fence;
                "wait: flag = 1"
            }
            At::Fence if drained || self.bug == Bug::NoArmFence => {
                me.at = if self.bug == Bug::NoLook { At::Sleep } else { At::Look };
                "wait: fence"
            }
            At::Look => {
                me.at = if self.bug == Bug::SeqAfterLook { At::LateSeq } else { At::Sleep };
                "wait: look again"
            }
            At::LateSeq => {
                me.moved = false;
                me.at = At::Sleep;
                "wait: s = seq, too late"
            }
            At::Sleep if drained => {
                me.at = if process.moved { At::First } else { At::Asleep };
                me.moved = false;
                "wait: futex_wait(seq, s)"
            }
            At::Disarm if drained => {
                me.buffer = Buffer::Flag(false);
                me.at = At::Idle;
                "wait: flag = 0"
            }
            _ => return None,
        })
    }

    fn repair(&self, k: usize, n: &mut State) -> Option<&'static str> {
        Some(match n.processes[k].at {
            At::Dead if self.bug == Bug::SilentRecovery => {
                n.processes[k].rest();
                "the id is reusable"
            }
            At::Dead => {
                n.processes[k].at = At::RepairBump;
                "takes the lock of the dead"
            }
            At::RepairBump => {
                n.processes[k].at = At::RepairWake;
                n.bump();
                "seq += 1"
            }
            _ => {
                n.processes[k].rest();
                n.wake(PROCESSES);
                "wake all; the id is reusable"
            }
        })
    }
}
