//! The one thread of a pool that waits for no task: it sees to deaths, replacements, timeouts and notices.
//!
//! ```text
//!   arm the desk
//!   deaths        whose worker is dead? what becomes of the task that it was at?     supervisor/deaths.rs
//!   seats         who is missing, tired, too many? start and relieve                 supervisor/seats.rs
//!   notices       outcomes that somebody asked to be told of
//!   timeouts      who is at a task for too long?                                     supervisor/timeouts.rs
//!   sleep, unless the desk was posted since it was armed
//! ```
//! The pass is the look that belongs to the arm: whatever it missed came later, and posts the desk. What posts it: the
//! end of a child (its waker runs where the end was found, after the child is recovered), a commit of a task that
//! somebody wants to be told of, a worker that sits down or is tired, a recovery, and whoever asks for something.
//!
//! A task that is waited for by a thread needs none of this. If the thread were slow, only the dead would wait for it.
//! It blocks all signals. Children are started and waited for without the mutex of the state.

mod deaths;
mod seats;
pub(crate) mod timeouts;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ginnel_object::bridge::crew::{Crew, St};
use ginnel_object::{Error, ErrorKind, Result};
use ginnel_sync::Deadline;
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::builder::check_workers;
use crate::callbacks::{Callbacks, Notice};
use crate::error::TaskError;
use crate::inner::Inner;
use crate::state::{State, Want};
use crate::stats::Worker;

pub(crate) use seats::Seats;

/// How long it sleeps while anything is out: hints that the dead took along are written again after that, at the latest.
const SLICE: Duration = Duration::from_millis(50);

/// How long it sleeps while nothing is.
const LONG_SLICE: Duration = Duration::from_secs(1);

/// Of so many slices one looks after all hints, even while the workers take some.
const ROUNDS: u32 = 20;

/// How a pool ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Everything that was given to it is over. Its workers return.
    Idle,
    /// Its workers are killed, and what is out comes to an error.
    Now,
}

/// What the supervisor is asked for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) ending: Option<Ending>,
    /// It has ended. Nobody sees to notices any more: whoever has one does so himself.
    pub(crate) is_over: bool,
}

/// The thread, seen from the pool.
pub(crate) struct Supervisor {
    thread: Mutex<Option<JoinHandle<()>>>,
    callbacks: Arc<Callbacks>,
    /// A fork of the process has no such thread, and its workers are not its own.
    pid: u32,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Starts the workers, and the thread.
    ///
    /// # Errors
    /// Those of the first start that fails; `Os` without a thread. No worker is left then.
    pub(crate) fn begin(inner: &Arc<Inner>) -> Result<Self> {
        inner.lock().seats.want(inner.plan.workers);
        let callbacks = Arc::new(Callbacks::default());
        let mut watch =
            Watch { inner: Arc::clone(inner), callbacks: Arc::clone(&callbacks), rounds: Rounds::default() };
        let begun = seats::fill(inner).and_then(|()| {
            let begun = with_signals_blocked(|| {
                thread::Builder::new().name("ginnel-pool".into()).spawn(move || watch.serve())
            });
            Ok(begun?)
        });
        let thread = begun.inspect_err(|_| seats::abandon(inner))?;
        Ok(Self { thread: Mutex::new(Some(thread)), callbacks, pid: std::process::id() })
    }

    /// Closes the pool, ends the workers, the thread and that of the callbacks, and waits for all of them; for the
    /// threads only where it is called on neither. May be repeated. In a fork of the process it does nothing.
    pub(crate) fn end(&self, inner: &Inner, how: Ending) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.pid != std::process::id() {
            // What it stands for is not in this process; its memory is not ours to free.
            std::mem::forget(thread);
            return;
        }
        {
            let mut state = inner.lock();
            state.is_closed = true;
            state.requests.ending = state.requests.ending.max(Some(how));
        }
        inner.crew.post_desk();
        let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) else {
            return;
        };
        // Code of users that runs there is caught.
        let _ = thread.join();
        self.callbacks.end();
    }
}

/// From now on the pool is to have so many workers. Returns at once.
///
/// # Errors
/// `Invalid` for 0, `TooLarge` for more than 250; `Forked`; as for tasks in a pool that takes none.
pub(crate) fn resize(inner: &Inner, workers: usize) -> Result<()> {
    inner.crew.check_fork()?;
    if workers == 0 {
        return Err(Error::new(ErrorKind::Invalid, "a pool without workers would never do anything"));
    }
    check_workers(workers)?;
    let mut state = inner.lock();
    state.check_intake()?;
    state.seats.want(workers);
    drop(state);
    inner.crew.post_desk();
    Ok(())
}

/// Every worker is to be replaced by a new one, which comes up before the old one leaves. Returns at once.
///
/// # Errors
/// `Forked`; as for tasks in a pool that takes none.
pub(crate) fn reload(inner: &Inner) -> Result<()> {
    inner.crew.check_fork()?;
    let mut state = inner.lock();
    state.check_intake()?;
    state.seats.reload();
    drop(state);
    inner.crew.post_desk();
    Ok(())
}

/// Begins a thread that handles none of the program's signals: a thread begins with the mask of its maker.
pub(crate) fn with_signals_blocked<R>(begin: impl FnOnce() -> R) -> R {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let begun = begin();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    begun
}

/// The workers that are there.
pub(crate) fn workers(inner: &Inner) -> Vec<Worker> {
    inner.lock().seats.workers(&inner.crew)
}

/// What the thread works with.
struct Watch {
    inner: Arc<Inner>,
    callbacks: Arc<Callbacks>,
    rounds: Rounds,
}

/// When to look after hints that are gone without a death.
#[derive(Default)]
struct Rounds {
    next: Option<Instant>,
    count: u32,
    /// How many tasks had been committed at the last look.
    done: u64,
}

impl Rounds {
    /// Once a slice, if no task was committed since; now and then in any case.
    fn is_due(&mut self, crew: &Crew) -> bool {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return false;
        }
        self.next = Some(now + SLICE);
        self.count += 1;
        let done = crew.done();
        let is_still = std::mem::replace(&mut self.done, done) == done;
        is_still || self.count.is_multiple_of(ROUNDS)
    }
}

impl Watch {
    fn serve(&mut self) {
        loop {
            let seen = self.inner.crew.arm_desk();
            let Some(until) = self.pass() else { break };
            self.inner.crew.sleep_desk(seen, until);
        }
    }

    /// Looks after everything once. Until when to sleep; `None`: it has ended.
    fn pass(&mut self) -> Option<Deadline> {
        let inner = &*self.inner;
        let is_rung = deaths::bury(inner);
        let started = seats::settle(inner);
        let late = timeouts::look(inner);
        let is_due = self.rounds.is_due(&inner.crew);
        if is_due {
            self.hint();
        }
        self.notify(is_due);
        let mut state = inner.lock();
        if inner.is_at_its_end(&mut state) {
            let notices = std::mem::take(&mut state.notices);
            drop(state);
            self.deliver(notices);
            return None;
        }
        let is_idle = state.oldest().is_none() && !is_rung && state.requests.ending.is_none();
        drop(state);
        let slice = Deadline::after(if is_idle { LONG_SLICE } else { SLICE });
        Some(slice.min(late).min(started))
    }

    fn hint(&self) {
        let is_hinted = deaths::rehint(&self.inner, &mut self.inner.lock());
        if is_hinted {
            self.inner.crew.wake();
        }
    }

    /// Takes the outcomes that somebody wants to be told of, and tells.
    fn notify(&self, is_due: bool) {
        let mut state = self.inner.lock();
        let patience = if is_due { usize::MAX } else { state.seats.sitters().count() + 2 };
        self.inner.collect_wanted(&mut state, patience);
        let notices = std::mem::take(&mut state.notices);
        drop(state);
        self.deliver(notices);
    }

    fn deliver(&self, notices: Vec<Notice>) {
        notices.into_iter().for_each(|notice| self.callbacks.deliver(&self.inner, notice));
    }
}

impl Inner {
    /// Takes the outcomes of tasks that are over and of which somebody wants to be told. As workers take hints in their
    /// order, what lies behind more READY ones than there are workers has hardly been begun: `patience` is how many of
    /// them are passed over.
    fn collect_wanted(&self, state: &mut State, mut patience: usize) {
        let mut next = state.oldest();
        while let Some(slot) = next {
            next = state.after(slot);
            if matches!(state.entry(slot).want, Want::Nothing) {
                continue;
            }
            match self.crew.lease(slot).st {
                St::Done => self.collect(state, slot),
                St::Ready if patience == 0 => break,
                St::Ready => patience -= 1,
                St::Free | St::Run | St::Lost => {}
            }
        }
    }

    /// No worker is left and none will come: what is still out comes to an error. True: the pool has ended.
    fn is_at_its_end(&self, state: &mut State) -> bool {
        if !state.seats.are_empty() {
            return false;
        }
        if let Some(why) = state.broken.clone() {
            self.end_all(state, || TaskError::Pool(why.clone()));
        }
        let is_ending = state.requests.ending.is_some();
        if is_ending {
            self.end_all(state, TaskError::closed);
            state.requests.is_over = true;
        }
        is_ending
    }
}
