//! The pool, as its users hold it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ginnel_layout::pool::INLINE_MAX;
use ginnel_object::bridge::crew::{SeatSt, St};
use ginnel_object::{Message, Result};
use ginnel_process::{Arg, Task as Function, routine};
use ginnel_sync::Deadline;

use crate::builder::Builder;
use crate::error::TaskError;
use crate::imap::Imap;
use crate::inner::{Inner, Patience, Request, taken_before};
use crate::job;
use crate::state::Ticket;
use crate::stats::{Stats, Worker};
use crate::supervisor::{self, Ending, Supervisor};
use crate::task::Task;

/// Worker processes that run functions for this one.
///
/// What can be run is what [`Process::spawn`](ginnel_process::Process::spawn) takes: functions, and closures that capture
/// nothing, with arguments and results that are [`Message`]s, any handle among them.
///
/// ```
/// use ginnel_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// assert_eq!(pool.apply(|a: u32, b: u32| a * b, (6, 7))?, 42);
///
/// let task = pool.spawn(|word: String| word.len(), "ginnel")?; // runs beside us
/// let squares = pool.map(|n: u64| n * n, 0..4_u64)?;
/// assert_eq!((task.join()?, squares), (6, vec![0, 1, 4, 9]));
/// pool.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What happens when
/// | | |
/// |---|---|
/// | a function panics | [`TaskError::Panicked`]; the worker lives on |
/// | a worker is killed, or calls `exit` | its task is run again or [`TaskError::Died`], as [`Builder::on_worker_death`] says; another worker is started; other tasks never notice |
/// | a task runs too long | [`Builder::task_timeout`]: its worker is killed, the task is [`TaskError::TimedOut`] |
/// | workers cannot be started, or their initializer fails, three times in a row | the pool is broken: all that is out and all that is given to it comes to that error |
/// | the pool is dropped | [`Pool::terminate`] |
/// | this process dies | its workers are killed, and nothing is left |
///
/// It may be used by many threads at a time. Dropping it never waits for tasks. In the child of a bare fork every call
/// says `Forked`, and dropping it does nothing.
pub struct Pool {
    inner: Arc<Inner>,
    supervisor: Option<Supervisor>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of so many workers, and otherwise as [`Builder`] begins. Returns when they are being started; the first
    /// tasks wait for them.
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// assert_eq!(pool.apply(|| 42, ())?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for no workers, and in a daemon, which may have no children. `TooLarge` for more than 250. `Full` when
    /// the arena has no room. `Os` when there is no process or no thread for it.
    pub fn new(workers: usize) -> Result<Self> {
        Self::builder().workers(workers).build()
    }

    /// How a pool is made that is to be more than so many workers.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A pool from its beginning on.
    pub(crate) fn begin(inner: Arc<Inner>) -> Result<Self> {
        let supervisor = Supervisor::begin(&inner)?;
        Ok(Self { inner, supervisor: Some(supervisor) })
    }

    /// Runs a function in a worker and waits for what it returns. One argument is given bare, several as a tuple, none
    /// as `()`. Waits for a place in the queue of the pool, and for the task.
    ///
    /// ```
    /// use ginnel_pool::{Pool, TaskError};
    ///
    /// let pool = Pool::new(1)?;
    /// assert_eq!(pool.apply(|word: String| word.len(), "word")?, 4);
    /// let failed = pool.apply(|| -> u32 { panic!("no") }, ());
    /// assert!(matches!(failed, Err(TaskError::Panicked(panic)) if panic.message() == "no"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Why there is no value. [`TaskError::Pool`] when it did not come to run: `Closed`, `Encode`, `TooLarge`, `Full`,
    /// `Forked`, or what the pool broke of.
    pub fn apply<F, A, S>(&self, f: F, args: A) -> Result<F::Output, TaskError>
    where
        F: Function<A, S>,
    {
        let ticket = self.submit::<F, A, S>(f, &args, Patience::Until(Deadline::NEVER), 1)?;
        let ticket = ticket.ok_or_else(taken_before)?;
        self.inner.wait(&ticket, Deadline::NEVER, true);
        let outcome = self.inner.take(&ticket, true).ok_or_else(taken_before)?;
        self.inner.read(outcome)
    }

    /// Gives a function to the workers. Waits only while the queue of the pool is full, or the room for larger
    /// arguments; see [`Builder::queue_size`].
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let one = pool.spawn(|n: u64| n + 1, 1)?;
    /// let other = pool.spawn(|a: String, b: String| a + &b, ("x", "y"))?;
    /// assert_eq!((one.join()?, other.join()?), (2, "xy".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Encode` or `TooLarge` when the arguments cannot be sent, `Full` when the arena has no room for them; `Closed`,
    /// `Forked`; what the pool broke of. The function does not run then.
    pub fn spawn<F, A, S>(&self, f: F, args: A) -> Result<Task<F::Output>>
    where
        F: Function<A, S>,
    {
        let task = self.spawn_until::<F, A, S>(f, &args, Patience::Until(Deadline::NEVER))?;
        task.ok_or_else(|| taken_before().into())
    }

    /// As [`Pool::spawn`]; `None` where that would wait. Never waits.
    ///
    /// # Errors
    /// As [`Pool::spawn`].
    pub fn try_spawn<F, A, S>(&self, f: F, args: A) -> Result<Option<Task<F::Output>>>
    where
        F: Function<A, S>,
    {
        self.spawn_until::<F, A, S>(f, &args, Patience::None)
    }

    /// As [`Pool::spawn`]; `None` when it has waited for so long.
    ///
    /// # Errors
    /// As [`Pool::spawn`].
    pub fn spawn_timeout<F, A, S>(&self, f: F, args: A, timeout: Duration) -> Result<Option<Task<F::Output>>>
    where
        F: Function<A, S>,
    {
        self.spawn_until::<F, A, S>(f, &args, Patience::Until(Deadline::after(timeout)))
    }

    fn spawn_until<F, A, S>(&self, f: F, args: &A, patience: Patience) -> Result<Option<Task<F::Output>>>
    where
        F: Function<A, S>,
    {
        let ticket = self.submit::<F, A, S>(f, args, patience, 0)?;
        Ok(ticket.map(|ticket| Task::new(Arc::clone(&self.inner), ticket)))
    }

    fn submit<F, A, S>(&self, f: F, args: &A, patience: Patience, sleepers: u32) -> Result<Option<Ticket>>
    where
        F: Function<A, S>,
    {
        self.inner.crew.check_fork()?;
        let routine = routine::one::<F, A, S>(f)?;
        let usual = self.inner.usual.of(routine);
        let tray = if usual.args > INLINE_MAX { self.inner.tray(usual.args, patience) } else { None };
        let packed = self.inner.crew.pack(tray, |out| F::write(args, out))?;
        let packed =
            if packed.wants().is_none() { packed } else { self.inner.settle(routine, packed, patience)? };
        let request = Request { room: usual.result, sleepers, ..Request::task(routine) };
        self.inner.submit(&request, packed, patience)
    }

    /// Runs a function for each item, and gives what came of them in the order of the items. Small items travel
    /// together; how many at a time is found by timing the first ones, or is what [`Builder::chunk`] says. Waits for all.
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// assert_eq!(pool.map(|n| n * n, 0..5_u64)?, [0, 1, 4, 9, 16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first failure that is found; what no worker has begun is cancelled then, and what runs is forgotten.
    pub fn map<I, P, R>(
        &self,
        f: impl Fn(P) -> R + Copy + Send + 'static,
        items: I,
    ) -> Result<Vec<R>, TaskError>
    where
        I: IntoIterator,
        I::Item: Arg<P>,
        P: Message,
        R: Message,
    {
        job::map::<_, _, fn(P) -> R>(&self.inner, f, items.into_iter())
    }

    /// As [`Pool::map`], for functions of several arguments: each item is the tuple of them.
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let powers = pool.starmap(|base: u64, power: u32| base.pow(power), [(2, 5), (3, 2)])?;
    /// assert_eq!(powers, [32, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Pool::map`].
    pub fn starmap<F, I, S>(&self, f: F, items: I) -> Result<Vec<F::Output>, TaskError>
    where
        I: IntoIterator,
        F: Function<I::Item, S>,
    {
        job::map::<F, _, S>(&self.inner, f, items.into_iter())
    }

    /// Runs a function for each item, and gives what came of them one by one, in the order of the items or, with
    /// [`Imap::unordered`], as they come. The first items are given to the workers at once; the iterator is never asked
    /// for more than the window lets through, see [`Imap::window`].
    ///
    /// ```
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// for (root, square) in (0..).zip(pool.imap(|n| n * n, 0_u64..)).take(3) {
    ///     assert_eq!(square?, root * root);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap<I, P, R>(
        &self,
        f: impl Fn(P) -> R + Copy + Send + 'static,
        items: I,
    ) -> Imap<'_, I::IntoIter, R>
    where
        I: IntoIterator,
        I::Item: Arg<P>,
        P: Message,
        R: Message,
    {
        Imap::begin::<_, fn(P) -> R>(&self.inner, f, items.into_iter())
    }

    /// Takes no more work, waits for all that was given, and ends the workers. Tasks that are not joined yet may be
    /// joined after that.
    ///
    /// # Errors
    /// The first failure that nobody saw: of a task whose handle was dropped (but for one that was cancelled), or a panic
    /// of a callback. What the pool broke of. `Forked`. All is over and the workers have ended in any case, but for `Forked`.
    pub fn join(mut self) -> Result<Stats> {
        self.inner.crew.check_fork()?;
        self.close();
        while let Some(ticket) = self.oldest() {
            self.inner.wait(&ticket, Deadline::NEVER, false);
            let mut state = self.inner.lock();
            if state.is_out(&ticket) && self.inner.crew.lease(ticket.slot).st == St::Done {
                self.inner.collect(&mut state, ticket.slot);
            }
        }
        let stats = self.stats();
        self.end(Ending::Idle);
        let mut state = self.inner.lock();
        if let Some(error) = state.broken.clone() {
            return Err(error);
        }
        match state.unseen.take() {
            Some(error) => Err(error.into()),
            None => Ok(stats),
        }
    }

    /// Ends the workers at once: SIGKILL. Tasks whose functions have returned keep their values; all others come to
    /// [`TaskError::Pool`] with an error of kind `Closed`, wherever somebody waits for them. Returns when no worker is
    /// left.
    ///
    /// Dropping the pool does the same.
    pub fn terminate(self) {
        drop(self);
    }

    fn close(&self) {
        let mut state = self.inner.lock();
        state.is_closed = true;
        state.owes_hall = true;
    }

    fn oldest(&self) -> Option<Ticket> {
        let state = self.inner.lock();
        state.oldest().map(|slot| state.ticket(slot))
    }

    /// The end of the workers, of what is out, of the thread, and of the callbacks that are due.
    fn end(&mut self, how: Ending) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.end(&self.inner, how);
        }
    }

    /// Changes the number of workers. More are started at once; those that are too many end after the task they run.
    /// Returns before that.
    ///
    /// # Errors
    /// `Invalid` for none, `TooLarge` for more than 250; `Closed`, `Forked`; what the pool broke of.
    pub fn resize(&self, workers: usize) -> Result<()> {
        self.inner.crew.check_fork()?;
        supervisor::resize(&self.inner, workers)
    }

    /// Replaces every worker by a fresh one, whose initializer runs anew. The fresh one is ready before the old one is
    /// told to leave, and the old one finishes its task. Returns before that.
    ///
    /// # Errors
    /// `Closed`, `Forked`; what the pool broke of.
    pub fn reload(&self) -> Result<()> {
        self.inner.crew.check_fork()?;
        supervisor::reload(&self.inner)
    }

    /// What it has done, and what is under way. Looks at every task that is out. In the child of a bare fork: nothing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        if self.inner.crew.check_fork().is_err() {
            return Stats::default();
        }
        let crew = &self.inner.crew;
        let seats = (0..crew.shape().seats).filter_map(|number| crew.seat(number));
        let workers = seats.filter(|seat| matches!(seat.word().st, SeatSt::Up | SeatSt::Tired)).count();
        let state = self.inner.lock();
        let mut stats = Stats { workers, ..Stats::default() };
        for slot in state.out() {
            match crew.lease(slot).st {
                St::Run => stats.running += 1,
                St::Ready | St::Lost => stats.waiting += 1,
                St::Done => stats.done += 1,
                St::Free => {}
            }
        }
        let counters = &state.counters;
        stats.done += counters.done;
        stats.failed = counters.failed;
        stats.retried = counters.retried;
        stats.worker_deaths = counters.worker_deaths;
        stats.recycled = counters.recycled;
        stats
    }

    /// Its workers, as they are now. In the child of a bare fork: none.
    #[must_use]
    pub fn workers(&self) -> Vec<Worker> {
        if self.inner.crew.check_fork().is_err() { Vec::new() } else { supervisor::workers(&self.inner) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.supervisor.is_some() && self.inner.crew.check_fork().is_ok() {
            self.close();
        }
        self.end(Ending::Now);
    }
}
