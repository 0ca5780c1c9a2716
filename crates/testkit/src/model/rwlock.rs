//! The read-write lock: readers in cells of their own, the writer in the word of a mutex.
//!
//! ```text
//! word      {DIRTY: a writer died inside | owner}        inside: the owner has the data in its hands
//! cell[p]   how many read in p;  present[p]: p may read  lines: drained (for the writer), opened (for readers)
//!
//! read      present[me] = 1; cell[me] += 1; w = word: no owner -> granted, or told if DIRTY (then leave)
//!           owner -> leave; wait on opened until there is none; again
//! leave     cell[me] -= 1; owner(word)? post drained
//! write     lock the word; wait on drained until the cells of all present are 0; inside = 1
//!           told if DIRTY: repairs, or gives up with DIRTY kept
//!           deadline of the wait: as unlock, with DIRTY kept
//! unlock    inside = 0; swap word -> 0, or DIRTY if told and not repaired; post opened to all
//! recover d word names d: inside -> word |= DIRTY, then inside = 0; then owner = 0
//!           cell[d] = 0; present[d] = 0; always: wake all on drained and opened
//! ```
//!
//! Why a reader and a writer do not pass each other: the reader changes its cell and then reads the word, the writer
//! changes the word and then reads the cells; one of the two sees the other. Why DIRTY comes before inside = 0:
//! a recoverer may die between them, and the next one looks at `inside` again.
//!
//! How writers queue at the word is the model `mutex`; here the word is just taken when it is free. A wait on a line
//! is announced in one step, and a post is one (model `gate`). No slices: a lost wake is a stuck state.
//!
//! What must hold: no reader and no second writer beside a writer; whoever comes after a death inside is told until the
//! data is repaired, and nobody is told without such a death.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | reader, granted or not | cell[d] | 0, the writer is woken |
//! | reader between its decrement and its post | a writer asleep | recovery wakes it |
//! | writer before inside = 1, or after inside = 0 | word d | free, no debt |
//! | writer inside, or before inside = 0 | word d, inside | DIRTY |
//! | writer between swap and post | readers asleep | recovery wakes them |
//! | recoverer | any prefix | the next one repeats it |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod process;
mod recovery;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

/// The first `READERS` places are readers, the others writers.
const READERS: usize = 2;
const PROCESSES: usize = 4;
const RECOVERERS: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Present,
    EarlyLook,
    Inc,
    Look,
    Reading,
    LatePresent,
    Dec,
    LeaveLook,
    LeavePost,
    ReadArm,
    ReadLook,
    ReadSleep,
    ReadAsleep,
    EarlyCells(u8),
    EarlyInside,
    Lock,
    DrainArm,
    Cells(u8),
    DrainSleep,
    DrainAsleep,
    Enter,
    Writing,
    InsideOff,
    Swap,
    LateInsideOff,
    PostOpened,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Process {
    at: At,
    /// Reader: goes to wait when it has left. Writer: was told, and has repaired.
    waits: bool,
    told: bool,
    repaired: bool,
    /// Posted since it armed.
    moved: bool,
    /// Writer: gave up. Else only for broken orders: what was seen too early.
    early: bool,
    left: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Repair {
    #[default]
    Owner,
    Inside,
    Dirty,
    InsideOff,
    Free,
    Cell,
    Present,
    WakeDrained,
    WakeOpened,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Recoverer {
    dead: u8,
    at: Repair,
    was_inside: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    owner: u8,
    dirty: bool,
    inside: bool,
    cells: [u8; READERS],
    present: [bool; READERS],
    processes: [Process; PROCESSES],
    recoverers: [Recoverer; RECOVERERS],
    kills: u8,
    deadlines: u8,
    /// A writer died with the data in its hands, and nobody has repaired it since.
    debt: bool,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// A reader reads the word before its cell is seen.
    WordBeforeCell,
    /// A writer reads the cells before its word is seen.
    CellsBeforeWord,
    /// A reader says only when it is granted that it may read.
    PresentLate,
    /// The writer goes in while readers are still there.
    NoDrain,
    /// Who leaves does not look for a writer that waits.
    LeaveWithoutPost,
    /// The look for a writer comes before the decrement.
    LeaveLooksFirst,
    /// A reader that finds a writer keeps its place in the cell while it waits.
    WaitInCell,
    /// The writer wakes nobody.
    UnlockWithoutPost,
    /// A writer that gives up while draining wakes nobody.
    TimeoutWithoutPost,
    /// A writer is inside before it has drained: a death then passes for one inside.
    InsideBeforeDrain,
    /// `inside` is cleared behind the swap: it may be the next writer's.
    InsideOffLate,
    /// Recovery clears `inside` before DIRTY is set.
    InsideOffFirst,
    /// Recovery touches `inside` though the word names somebody else.
    InsideOfOthers,
    /// Recovery takes every dead writer for one inside.
    AlwaysDirty,
    /// Recovery frees the word without DIRTY.
    NeverDirty,
    /// A writer that gives up while draining forgets DIRTY.
    TimeoutForgetsDirty,
    /// Recovery leaves the cell of the dead.
    CellStays,
    /// Recovery takes one reader from the cell, however often it comes by.
    CellMinusOne,
    /// Recovery wakes nobody.
    SilentRecovery,
    /// Recovery wakes only writers, or only readers.
    WakesDrainedOnly,
    WakesOpenedOnly,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct RwLock {
    readers: usize,
    writers: usize,
    reads: u8,
    writes: u8,
    kills: u8,
    recoverers: usize,
    deadlines: u8,
    bug: Bug,
}

/// The id of process `k`; 0 is nobody.
fn id(k: usize) -> u8 {
    k as u8 + 1
}

impl State {
    /// Wakes the writer that waits for the readers to go.
    fn post_drained(&mut self) {
        for process in &mut self.processes {
            match process.at {
                At::DrainAsleep => process.at = At::DrainArm,
                At::Cells(_) | At::DrainSleep => process.moved = true,
                _ => {}
            }
        }
    }

    /// Wakes the readers that wait for the writer to go.
    fn post_opened(&mut self) {
        for process in &mut self.processes {
            match process.at {
                At::ReadAsleep => process.at = At::ReadArm,
                At::ReadLook | At::ReadSleep => process.moved = true,
                _ => {}
            }
        }
    }
}

impl Process {
    fn rest(&mut self) {
        *self = Process { left: self.left, ..Process::default() };
    }

    fn writes(&self) -> bool {
        matches!(self.at, At::Writing)
    }
}

impl RwLock {
    /// The places that take part.
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.readers).chain(READERS..READERS + self.writers)
    }
}

impl Model for RwLock {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        for k in self.places() {
            s.processes[k].left = if k < READERS { self.reads } else { self.writes };
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        for k in self.places() {
            let process = s.processes[k];
            if process.at == At::Dead {
                self.start_recovery(s, k, out);
                continue;
            }
            if process.at != At::Idle && s.kills < self.kills {
                let mut n = *s;
                n.kills += 1;
                // Up to `inside = 0` nobody can know how far it came.
                let late = self.bug == Bug::InsideOffLate && s.owner == id(k) && s.inside;
                n.debt |= matches!(process.at, At::Writing | At::InsideOff) || late;
                n.processes[k].rest();
                n.processes[k].at = At::Dead;
                out.add(Who::Process(k), "KILLED", n);
            }
            if k < READERS { self.read(s, k, out) } else { self.write(s, k, out) }
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
        let writing = s.processes.iter().filter(|p| p.writes()).count();
        let reading = s.processes.iter().filter(|p| matches!(p.at, At::Reading | At::LatePresent)).count();
        if writing > 1 || writing == 1 && reading > 0 { Err("a writer is not alone".into()) } else { Ok(()) }
    }

    fn goal(&self, s: &State) -> bool {
        let done = s.processes.iter().all(|p| p.at == At::Idle && p.left == 0);
        let free = s.owner == 0 && !s.inside && s.dirty == s.debt && s.cells == [0; READERS];
        done && free && s.recoverers.iter().all(|r| r.dead == 0)
    }
}
