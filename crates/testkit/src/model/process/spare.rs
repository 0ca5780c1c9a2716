//! Spares: children that wait, parked on a cell, until a thread claims one.
//!
//! ```text
//! cell      EMPTY  FILLING  PARKED  CLAIMED  RUN, with a number that rises with each spare; pid; the request
//!
//! service   EMPTY -> FILLING, clone, its pid               a spare is dead: FILLING or PARKED -> EMPTY: won: reap it
//! spare     PARKED; futex_wait(cell, PARKED); RUN: copy the request; EMPTY; record REQUESTED -> STARTED, or exit; body
//! claim     CAS PARKED -> CLAIMED; pid; the request; RUN; wake; wait for its death; CAS {number, RUN} -> EMPTY; reap
//!           record REQUESTED still: it never ran: posix_spawn. No PARKED cell: posix_spawn
//! ```
//!
//! Whose child it is: the service thread's until CLAIMED, then the claimer's. One CAS decides, and who wins it reaps.
//! A claimed spare that is dead is no special case: the claimer meets a record that is REQUESTED.
//!
//! What must hold: a spare runs the request of who claimed it; every body runs once unless it was killed; all are
//! reaped. That a spare ends with the starter is the same as for any child, and shown in the model `board`.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | spare before CLAIMED | FILLING or PARKED | EMPTY, reaped, another one |
//! | spare before it is EMPTY | CLAIMED or RUN | the claimer empties it, and repeats |
//! | spare before STARTED | REQUESTED | the claimer repeats |
//!
//! What each mutation breaks stands at `Bug`.

mod actors;
mod cases;

pub(super) use cases::cases;

use super::super::check::{Model, Steps, Who};

const THREADS: usize = 2;
const CELLS: usize = 2;
const CHILDREN: usize = 4;
const SERVICE: Who = Who::Recoverer(0);

fn child(number: usize) -> Who {
    Who::Process(number + 10)
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Empty,
    Filling,
    Parked,
    Claimed,
    Run,
}

/// pid is the number of the child plus one, request that of the thread plus one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Cell {
    word: Word,
    number: u8,
    pid: u8,
    request: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    None,
    Park,
    Sleep,
    Asleep,
    Copy,
    Release,
    Start,
    Body,
    Zombie,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Child {
    at: Life,
    cell: u8,
    request: u8,
    /// Whose it is: a thread plus one; 0 is the service thread's.
    of: u8,
    was_killed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Look(u8),
    Claim(u8),
    Write(u8),
    Run(u8),
    Wake(u8),
    Spawn,
    Join,
    Release,
    Reap,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Thread {
    at: At,
    left: u8,
    cell: u8,
    number: u8,
    pid: u8,
    /// The record: it has STARTED; and for the checks how often the body ran.
    has_started: bool,
    ran: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    cells: [Cell; CELLS],
    children: [Child; CHILDREN],
    threads: [Thread; THREADS],
    /// The service thread is about to reap this one, plus one; and spares it has made.
    reaps: u8,
    made: u8,
    kills: u8,
    is_closing: bool,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// A spare is claimed by a store.
    ClaimByStore,
    /// RUN comes before the request.
    RunFirst,
    /// Nobody wakes the spare.
    RunWithoutWake,
    /// The spare sleeps whatever its cell says.
    SleepBlindly,
    /// The service thread reaps every dead spare.
    ReapsClaimed,
    /// It empties the cell of a dead spare by a store.
    EmptyByStore,
    /// It does not reap parked ones.
    ParkedNotReaped,
    /// A claimed spare that never ran is not repeated.
    NoRepeat,
    /// The cell of a dead spare is emptied whoever parks there by now.
    NoNumber,
    /// The cell of a dead spare that was claimed is never emptied.
    NotEmptied,
    /// The spare empties its cell before it has copied the request.
    EmptyFirst,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Spare {
    threads: usize,
    cells: usize,
    wants: u8,
    /// Spares that are made in all.
    spares: u8,
    kills: u8,
    bug: Bug,
}

impl State {
    fn make(&mut self, made: Child) -> Option<u8> {
        let number = self.children.iter().position(|child| child.at == Life::None)?;
        self.children[number] = made;
        Some(number as u8 + 1)
    }
}

impl Model for Spare {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        s.threads[..self.threads].iter_mut().for_each(|thread| thread.left = self.wants);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for t in 0..self.threads {
            self.thread(s, t, out);
        }
        self.service(s, out);
        for c in 0..CHILDREN {
            let lives = !matches!(s.children[c].at, Life::None | Life::Zombie);
            if lives && (s.kills < self.kills || s.is_closing && s.children[c].of == 0) {
                let mut n = *s;
                n.kills += u8::from(!s.is_closing);
                n.children[c].was_killed = true;
                n.children[c].at = Life::Zombie;
                out.add(child(c), "KILLED", n);
            }
            self.child(s, c, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        let twice = s.threads.iter().any(|thread| thread.ran > 1);
        if twice { Err("a body ran twice".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let done = s.threads[..self.threads].iter().all(|thread| thread.at == At::Idle && thread.left == 0);
        let empty = s.cells.iter().all(|cell| cell.word == Word::Empty);
        done && empty && s.children.iter().all(|child| child.at == Life::None) && s.is_closing
    }
}
