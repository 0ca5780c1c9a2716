//! The zygote: a clean copy of the program that clones itself when a child is wanted.
//!
//! Copying this process would copy its page tables, and its locks in whatever state other threads have left them. So the
//! program is run once more, at the first start, and stops before `main`: one thread, a small heap, no locks held. Each
//! child is a clone of that, made in a fraction of the time that an execution takes, however large this process is. The
//! clone call makes it a child of this process and not of the zygote, so that it is waited for like any other.
//!
//! This file is the starter's side: to make a zygote, to ask it for a child, and to find out what became of a request when
//! the zygote is killed. What both sides share, and who goes on after a crash, stands in `zygote/board.rs`; the zygote's
//! own life in `serve`, its clone call in `clone`, the proof that clones work in `selftest`, children made ahead in
//! `spares`, what a clone begins with in `taken`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_object::{Error, ErrorKind, Manager, Result};
use ginnel_sync::{Deadline, futex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::boot::Name;
use crate::image;
use crate::service::{self, Service};
use crate::start::{Launched, Plan, exec};
use crate::waiting::{is_readable, open, wait_for};
use board::{Board, CELLS, Order, PRELOADS, flag, st, state};
use spares::Spares;
use taken::Taken;

mod board;
mod clone;
mod selftest;
mod serve;
mod spares;
pub(crate) mod taken;

pub(crate) use serve::serve;

/// How long a zygote may take for a request. One that takes longer is stopped or stuck; it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a wait for it lasts before it is looked whether it lives.
const SLICE: Duration = Duration::from_millis(5);

/// So many may die, one after the other, while they make the spares of one call.
const ZYGOTES: usize = 8;

/// Functions to be called in the zygote.
#[derive(Debug)]
struct Preloads {
    places: Vec<u64>,
    /// The zygote was made.
    is_closed: bool,
}

static PRELOADS_ASKED: Mutex<Preloads> = Mutex::new(Preloads { places: Vec::new(), is_closed: false });

/// Spares that are wanted, whichever zygote makes them.
static WARM: AtomicU32 = AtomicU32::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is right after each single change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `function` run once in the zygote: what it loads into memory, every child that the zygote makes has without
/// loading it, and shares the pages until somebody writes there.
///
/// Call it before the first child is started. The function must not start threads, or there will be no zygote; it should
/// not open files that children are not to share; and it runs anew when a zygote was killed. A child that is started by
/// execution does not have what it made, so keep that behind something that makes it when it is missing, as `OnceLock`.
///
/// # Errors
/// `Invalid` after the first start, and for more than 32 functions.
///
/// ```
/// use std::sync::OnceLock;
/// use ginnel_process::Process;
///
/// static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
///
/// fn table() -> &'static [u64] {
///     TABLE.get_or_init(|| (0..100_000).map(|n| n * n).collect())
/// }
///
/// fn main() -> Result<(), ginnel_object::Error> {
///     ginnel_process::preload(|| drop(table()))?;
///     assert_eq!(Process::spawn(|n: usize| table()[n], 12)?.join()?, 144);
///     Ok(())
/// }
/// ```
pub fn preload(function: fn()) -> Result<()> {
    let place = image::offset_of_code(function as *const ())?;
    let mut asked = lock(&PRELOADS_ASKED);
    if asked.is_closed {
        return Err(Error::new(ErrorKind::Invalid, "a child was started already, it is too late to preload")
            .with_advice("call preload before the first spawn"));
    }
    if asked.places.len() == PRELOADS {
        return Err(Error::new(ErrorKind::Invalid, format!("at most {PRELOADS} functions can be preloaded")));
    }
    asked.places.push(place);
    Ok(())
}

/// Keeps `count` children (64 at most) ready that wait for a function: the next starts take those, and begin at once.
/// Returns when they are there. Each takes a participant of the arena.
///
/// Where there is no zygote, there are no spares either, and nothing happens; see `start_method`.
///
/// # Errors
/// `Full` when a spare could not become a participant; `Os` when zygotes are killed again and again in the meantime; as
/// [`Process::spawn`](crate::Process::spawn).
pub fn warm(count: usize) -> Result<()> {
    let service = service::current()?;
    service.check_intake()?;
    WARM.store(count.min(CELLS) as u32, Relaxed);
    for _ in 0..ZYGOTES {
        let Some(zygote) = service.zygote() else { return Ok(()) };
        if zygote.keep(count)? {
            return Ok(());
        }
        service.forget(&zygote);
    }
    Err(Error::new(ErrorKind::Os, "one zygote after the other has died while it made spares"))
}

/// The zygote of this process, as its starter knows it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Zygote {
    board: Board,
    pidfd: OwnedFd,
    /// Cells of requests that are in use.
    used: AtomicU64,
    taken: Arc<Taken>,
    spares: Mutex<Spares>,
    /// The process it works for; a fork of that has it too, and must leave it alone.
    starter: u32,
}

impl Zygote {
    /// Makes one, and waits until it has shown that its clones work. On the service thread, as it dies with the thread
    /// that made it.
    ///
    /// # Errors
    /// Why there is none; children are started by execution then.
    pub(crate) fn start(_: &Service) -> Result<Self> {
        let (board, file) = Board::make()?;
        let front = board.front();
        {
            let mut asked = lock(&PRELOADS_ASKED);
            asked.is_closed = true;
            for (word, place) in front.places.iter().zip(&asked.places) {
                word.store(*place, Relaxed);
            }
            front.preloads.store(asked.places.len() as u32, Relaxed);
        }
        let taken = Arc::new(Taken::now());
        let Launched { pidfd, .. } = exec::run_zygote(file.as_fd())?;
        let (used, spares, starter) = (AtomicU64::new(0), Mutex::default(), std::process::id());
        let zygote = Self { board, pidfd, used, taken, spares, starter };
        let outcome = zygote.wait_ready();
        if let Some(probe) = pid_of(zygote.board.front().probe_pid.load(Relaxed)) {
            // It ends by itself right after its report; one that hangs must not stay.
            if outcome != state::READY {
                let _ = rustix::process::kill_process(probe, Signal::KILL);
            }
            let _ = waitid(WaitId::Pid(probe), WaitIdOptions::EXITED);
        }
        if outcome != state::READY {
            return Err(Error::new(ErrorKind::Unsupported, selftest::reason(zygote.board.front())));
        }
        zygote.taken.is_current();
        zygote.begin_spares(WARM.load(Relaxed) as usize);
        Ok(zygote)
    }

    /// Waits for the result of the self-test; preloading takes as long as it takes.
    fn wait_ready(&self) -> u32 {
        let word = &self.board.front().state;
        loop {
            let is_dead = is_readable(self.pidfd());
            let seen = word.load(Acquire); // E2
            if seen > state::PRELOADED || is_dead {
                return seen;
            }
            futex::wait(word, seen, Deadline::after(SLICE));
        }
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Starts a child: a spare, or a clone. `None`: this has to be done by execution; nothing was started.
    ///
    /// # Errors
    /// `Os` when there is no descriptor left; the child was started, and ends without its function.
    pub(crate) fn launch(&self, plan: &Plan<'_>) -> Result<Option<Launched>> {
        if !self.taken.fits() || !std::ptr::eq(plan.manager, Manager::current()?) {
            return Ok(None);
        }
        let order = Order {
            flags: if plan.ends_with_parent { flag::ENDS_WITH_PARENT } else { 0 },
            ticket: plan.ticket.ticket,
            generation: plan.ticket.generation,
            spare: 0,
            name: Name::of(plan.name),
        };
        if let Some(launched) = self.claim(&order) {
            return Ok(Some(launched));
        }
        let Some(cell) = self.take_cell() else { return Ok(None) };
        self.post(cell, &order);
        let is_dead = self.wait_answer(cell) == st::EMPTY;
        let pid = self.take_answer(cell);
        if is_dead {
            // This start does without it; the next one is to find another.
            service::current()?.forget(self);
        }
        let Some(pid) = pid else { return Ok(None) };
        Ok(Some(Launched { pid, pidfd: open(pid)? }))
    }

    /// A cell for a request. `None`: all are in use.
    fn take_cell(&self) -> Option<usize> {
        loop {
            let used = self.used.load(Relaxed);
            let cell = (!used).trailing_zeros();
            if cell == u64::BITS {
                return None;
            }
            if self.used.compare_exchange(used, used | 1 << cell, Acquire, Relaxed).is_ok() {
                return Some(cell as usize);
            }
        }
    }

    /// Puts a request into a cell of the caller's.
    fn post(&self, index: usize, order: &Order) {
        let (cell, front) = (&self.board.words().requests[index], self.board.front());
        cell.put(order);
        cell.pid.store(0, Relaxed);
        cell.word.store(st::REQUESTED, Release); // E3
        front.pending.fetch_or(1 << index, AcqRel); // E1
        front.request.fetch_add(1, Release); // E1
        futex::wake(&front.request, 1);
    }

    fn is_answered(&self, index: usize) -> bool {
        matches!(self.board.words().requests[index].word.load(Acquire), st::ANSWERED | st::FAILED)
    }

    /// Waits until the request was answered, or will not be any more because the zygote is dead: then EMPTY.
    fn wait_answer(&self, index: usize) -> u32 {
        let word = &self.board.words().requests[index].word;
        let (mut patience, mut slice) = (Deadline::after(PATIENCE), Deadline::after(SLICE));
        loop {
            let seen = word.load(Acquire); // E3
            if matches!(seen, st::ANSWERED | st::FAILED) {
                return seen;
            }
            futex::wait(word, seen, slice);
            if !slice.passed() {
                continue;
            }
            if is_readable(self.pidfd()) {
                // It may have answered right before.
                return if self.is_answered(index) { word.load(Acquire) } else { st::EMPTY };
            }
            if patience.passed() {
                let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
                patience = Deadline::NEVER;
            }
            slice = Deadline::after(SLICE);
        }
    }

    /// The process that came of a request, which was answered or whose zygote is dead. Frees the cell.
    fn take_answer(&self, index: usize) -> Option<Pid> {
        let cell = &self.board.words().requests[index];
        // The number is there if and only if there is a process, whatever the zygote came to say.
        let pid = pid_of(cell.pid.load(Acquire));
        cell.word.store(st::EMPTY, Relaxed);
        self.used.fetch_and(!(1 << index), Release);
        pid
    }

    /// Ends it and its spares, and waits for that.
    pub(crate) fn end(&self) {
        if self.starter != std::process::id() {
            return;
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        wait_for(self.pidfd());
        self.end_spares();
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.end();
    }
}

fn pid_of(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}
