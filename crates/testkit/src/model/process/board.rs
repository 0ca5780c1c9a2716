//! The board: threads ask the zygote for children, and every request comes to an end although the zygote may die.
//!
//! ```text
//! board     request, exit; cell: EMPTY  FILLING  REQUESTED  CLONING  ANSWERED  FAILED; pid; what is asked for
//! record    one a request: REQUESTED  STARTED  CANCELLED
//!
//! spawn     lock (private); is there a zygote? an EMPTY cell: pid = 0, fields; REQUESTED; unlock
//!           request += 1; wake the zygote                        no zygote, or FAILED: posix_spawn by itself
//! resolve   cell ANSWERED or FAILED? else futex_wait on the cell; pid; cell = EMPTY; pidfd; wait; reap
//! give up   cell REQUESTED -> EMPTY: nothing was begun. Else record REQUESTED -> CANCELLED, and resolve
//! zygote    s = request; exit? ; each REQUESTED cell: CAS -> CLONING; copy the fields;
//!           clone(CLONE_PARENT, CLONE_PARENT_SETTID = cell.pid); ANSWERED, or FAILED; wake the cell
//!           futex_wait(request, s)
//! child     a daemon: arm PDEATHSIG; is the parent still the parent? ; record REQUESTED -> STARTED, or exit; body
//! service   the zygote is dead (its pidfd says so): reap it; lock; each cell:
//!             CLONING, pid: ANSWERED, wake            CLONING, no pid: posix_spawn, its pid, ANSWERED, wake
//!             ANSWERED, FAILED: wake
//!             REQUESTED: the next zygote serves it; if there is to be none, as without pid
//!           a new zygote on the same board, or none from now on; unlock
//! ```
//!
//! Why the pid on the board is enough: the kernel stores it before the child can run and before a signal can end the
//! zygote. So of a dead zygote's request there is a child exactly if there is a pid; it is a child of the starter, and
//! nobody but the starter reaps it. Nothing has to be guessed by time, and nobody is looked for.
//!
//! Why REQUESTED -> STARTED is a CAS none the less: it is what a cancelled child loses, and if a kernel ever lost a pid
//! there would be two children for one request; the body would still run once.
//!
//! What must hold: a body runs at most once; never after its start was cancelled; a pid leads to the child that was
//! asked for (numbers are reused at once here); every request ends in a body that ran, unless somebody killed or
//! cancelled it; every child and every zygote is reaped; nobody sleeps for ever; daemons and zygote end with the starter.
//!
//! | dies | leaves | next |
//! |---|---|---|
//! | zygote before CLONING | REQUESTED | the next zygote |
//! | zygote before clone | CLONING, no pid | the service thread starts it |
//! | zygote after clone | CLONING, a pid | the service thread answers |
//! | zygote before it wakes | ANSWERED | the service thread wakes |
//! | child before STARTED | REQUESTED | reaped: it never ran |
//! | starter | anything | its board goes with it; PDEATHSIG ends zygote and daemons |
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod service;
mod thread;
mod zygote;

pub(super) use cases::cases;

use super::super::check::{Model, Steps, Who};

const THREADS: usize = 2;
const CELLS: usize = 2;
const CHILDREN: usize = 4;
const REQUESTS: usize = 4;

/// Of a child that posix_spawn made.
const NO_CELL: u8 = CELLS as u8;

/// Numbers of the actors in a trace: threads are 0 and 1.
const SERVICE: Who = Who::Recoverer(0);
const ZYGOTE: Who = Who::Process(9);
const KERNEL: Who = Who::Process(8);

fn child(number: usize) -> Who {
    Who::Process(number + 10)
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Word {
    #[default]
    Empty,
    Filling,
    Requested,
    Cloning,
    Answered,
    Failed,
}

/// A cell of the board; pid is the number of the child plus one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Cell {
    word: Word,
    pid: u8,
    request: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Step {
    #[default]
    Requested,
    Started,
    Cancelled,
}

/// A request's record, and what only the checks know of it. `draft` is the number of the record: the draft makes a new
/// one for a repeated start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Request {
    step: Step,
    draft: u8,
    has_pid: bool,
    ran: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Life {
    #[default]
    None,
    Born,
    Check,
    Start,
    Run,
    Body,
    Zombie,
}

/// A child of the starter, or of init.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Child {
    at: Life,
    request: u8,
    cell: u8,
    draft: u8,
    is_armed: bool,
    was_killed: bool,
    announced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Zygote {
    #[default]
    None,
    Boot,
    Check,
    Count,
    Scan(u8),
    Claim(u8),
    Clone(u8),
    WritePid(u8, u8),
    Answer(u8, bool),
    WakeCell(u8),
    LateCount,
    Sleep,
    Asleep,
    Zombie,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum At {
    #[default]
    Idle,
    Ask,
    Fill,
    Commit,
    Unlock,
    Bump,
    Wake,
    Look,
    Sleep(Word),
    Asleep,
    Cancel,
    Free,
    Spawn,
    Watch,
    Join,
    Gone,
}

/// A thread of the starter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Thread {
    at: At,
    left: u8,
    request: u8,
    cell: u8,
    pid: u8,
    gave_up: bool,
    /// It has CANCELLED, so the body must not run. Known to the checks only.
    has_cancelled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Service {
    #[default]
    Watch,
    Lock,
    Sweep(u8),
    Spawn(u8),
    Finish(u8),
    WakeCell(u8),
    Renew,
    Close,
    CloseBump,
    CloseWake,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    cells: [Cell; CELLS],
    requests: [Request; REQUESTS],
    children: [Child; CHILDREN],
    threads: [Thread; THREADS],
    zygote: Zygote,
    /// `request` has risen since the zygote read it; it is armed; what it copied from the cell.
    has_moved: bool,
    is_armed: bool,
    copy: u8,
    service: Service,
    /// The private lock: 0 is free, 9 is the service thread.
    lock: u8,
    /// There is no zygote any more: posix_spawn.
    has_no_zygote: bool,
    exit: bool,
    is_closing: bool,
    starter_is_dead: bool,
    zygotes: u8,
    zygote_kills: u8,
    child_kills: u8,
    failures: u8,
    cancels: u8,
    lost: u8,
}

/// A deliberate mistake; the last ones are none, or are drafts that a configuration shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// The zygote writes the pid when clone has returned.
    PidByZygote,
    /// Draft: the child announces itself; no pid: the record is cancelled, the start is repeated with another record, and
    /// children that have announced themselves are found by a scan, at any time and as often as one likes.
    Scan,
    /// The same, but it announces itself in its record, so that a late child cannot overwrite the pid of the next one.
    ScanRecord,
    /// pid of a cell keeps the number of the request before.
    PidStays,
    /// The child reads what it is to do from the cell, which may be the next one's by then.
    ChildReadsCell,
    /// A zygote that takes long is taken for dead.
    SweepBeforeDeath,
    /// The service thread starts every CLONING cell again.
    RepeatCloned,
    /// The body starts whatever the record says.
    StartByStore,
    /// The same, where a kernel loses a pid.
    StartTwice,
    /// The start is cancelled whatever the record says.
    CancelByStore,
    /// `request` is read after the cells.
    CountAfterScan,
    /// Nobody wakes who waits for the answer.
    AnswerWithoutWake,
    SweepWithoutWake,
    /// The service thread wakes only whom it answers: not whom the zygote had answered, and then died.
    AnsweredNotWoken,
    /// A thread asks whether there is a zygote before it takes the lock.
    AskBeforeLock,
    /// The last zygote is dead, and requests that it had not begun are left alone.
    SweepLeavesRequested,
    /// Who waits looks for the pid that the child writes into its record.
    WaitForRecord,
    /// Who gives up, or drops the handle, never looks at the cell again.
    ForgetCell,
    /// The parent is not asked for, or too early.
    NoCheck,
    CheckBeforeArm,
    /// Nobody reaps the dead zygote.
    ZygoteNotReaped,
    /// None: REQUESTED again instead of a posix_spawn.
    AskAgain,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Board {
    threads: usize,
    cells: usize,
    wants: u8,
    daemons: bool,
    /// Zygotes there may be in all; after the last one posix_spawn does it.
    zygotes: u8,
    zygote_kills: u8,
    child_kills: u8,
    kill_starter: bool,
    failures: u8,
    cancels: u8,
    /// A kernel that loses this many pids; then a zombie may stay, but nothing else.
    lost: u8,
    bug: Bug,
}

impl State {
    fn bump(&mut self) {
        self.has_moved = true;
    }

    fn wake_zygote(&mut self) {
        if self.zygote == Zygote::Asleep {
            self.zygote = Zygote::Count;
        }
    }

    fn wake_cell(&mut self, cell: u8) {
        for thread in &mut self.threads {
            if thread.at == At::Asleep && thread.cell == cell {
                thread.at = At::Look;
            }
        }
    }

    /// Makes a child for a request; numbers of the reaped are used again at once.
    fn make_child(&mut self, request: u8, cell: u8) -> Option<u8> {
        let number = self.children.iter().position(|child| child.at == Life::None)?;
        let draft = self.requests[request as usize].draft;
        self.children[number] = Child { at: Life::Born, request, cell, draft, ..Child::default() };
        Some(number as u8 + 1)
    }
}

impl Model for Board {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State { zygote: Zygote::Boot, zygotes: 1, ..State::default() };
        s.threads[..self.threads].iter_mut().for_each(|thread| thread.left = self.wants);
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        self.kills(s, out);
        if !s.starter_is_dead {
            for t in 0..self.threads {
                self.thread(s, t, out);
            }
            self.service(s, out);
        }
        self.zygote(s, out);
        for c in 0..CHILDREN {
            self.child(s, c, out);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        if s.requests.iter().any(|request| request.ran > 1) {
            return Err("a body ran twice".into());
        }
        for thread in s.threads.iter().filter(|thread| thread.has_cancelled) {
            if s.requests[thread.request as usize].ran > 0 {
                return Err("a cancelled body ran".into());
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let nobody = s
            .children
            .iter()
            .all(|child| child.at == Life::None || self.lost > 0 && child.at == Life::Zombie);
        let nobody = nobody && s.zygote == Zygote::None;
        let done = s.threads[..self.threads].iter().all(|thread| thread.at == At::Idle && thread.left == 0);
        let empty = s.cells.iter().all(|cell| cell.word == Word::Empty) && s.lock == 0;
        nobody && (s.starter_is_dead || done && empty && s.service == Service::Gone)
    }
}

impl Board {
    fn kills(&self, s: &State, out: &mut Steps<State>) {
        let lives = !matches!(s.zygote, Zygote::None | Zygote::Zombie);
        if lives && s.zygote_kills < self.zygote_kills {
            let mut n = *s;
            n.zygote_kills += 1;
            n.end_zygote();
            out.add(ZYGOTE, "KILLED", n);
        }
        for c in 0..CHILDREN {
            let lives = !matches!(s.children[c].at, Life::None | Life::Zombie);
            if lives && s.child_kills < self.child_kills {
                let mut n = *s;
                n.child_kills += 1;
                n.children[c].was_killed = true;
                n.end_child(c);
                out.add(child(c), "KILLED", n);
            }
        }
        let is_over = s.service == Service::Gone;
        if self.kill_starter && !s.starter_is_dead && !is_over {
            let mut n = *s;
            n.starter_is_dead = true;
            n.threads.iter_mut().for_each(|thread| *thread = Thread { at: At::Gone, ..Thread::default() });
            n.service = Service::Gone;
            n.lock = 0;
            if n.is_armed || n.zygote == Zygote::Zombie {
                n.end_zygote();
            }
            for c in 0..CHILDREN {
                if n.children[c].is_armed || n.children[c].at == Life::Zombie {
                    n.end_child(c);
                }
            }
            out.add(KERNEL, "the starter is KILLED; PDEATHSIG", n);
        }
    }
}

impl State {
    /// A dead child waits for the starter; init does not let it wait.
    fn end_child(&mut self, c: usize) {
        if self.starter_is_dead {
            self.children[c] = Child::default();
        } else {
            self.children[c].at = Life::Zombie;
            self.children[c].is_armed = false;
        }
    }

    fn end_zygote(&mut self) {
        self.zygote = if self.starter_is_dead { Zygote::None } else { Zygote::Zombie };
        self.is_armed = false;
        self.has_moved = false;
        self.copy = 0;
    }
}
