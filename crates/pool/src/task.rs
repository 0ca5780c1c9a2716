//! A task that was given to a pool: waiting for it, taking what came of it, calling it off.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ginnel_object::bridge::crew::{Bits, Cancelled, St};
use ginnel_object::{Message, Result};
use ginnel_sync::Deadline;

use crate::callbacks::Notice;
use crate::error::TaskError;
use crate::inner::{Inner, taken_before};
use crate::outcome::Outcome;
use crate::state::{Doom, Ticket, Want};
use crate::supervisor;

/// A function that runs, or will run, in a worker of a pool, and computes an `R`.
///
/// The verbs are those of [`Process`](ginnel_process::Process). Dropping it forgets it: the function runs all the same,
/// its value is dropped, and its failure is what [`Pool::join`](crate::Pool::join) says, if it is the first one that
/// nobody saw.
///
/// It is a future of what [`Task::join`] gives and needs no particular runtime for that. It may be used by many threads
/// at a time, and may outlive its pool: [`Pool::join`](crate::Pool::join) waits for it, and a pool that is terminated or
/// dropped ends it. In the child of a bare fork nothing waits, and `join` says `Forked`.
///
/// ```
/// use ginnel_pool::Pool;
///
/// let pool = Pool::new(2)?;
/// let tasks = [3_u64, 4, 5].map(|n| pool.spawn(|n: u64| n * n, n));
/// for (task, expected) in tasks.into_iter().zip([9, 16, 25]) {
///     assert_eq!(task?.join()?, expected);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Task<R> {
    inner: Arc<Inner>,
    ticket: Ticket,
    /// The outcome was given to nobody yet.
    is_open: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.ticket.number)
            .field("slot", &self.ticket.slot)
            .finish_non_exhaustive()
    }
}

impl<R: Message> Task<R> {
    pub(crate) fn new(inner: Arc<Inner>, ticket: Ticket) -> Self {
        Self { inner, ticket, is_open: true, result: PhantomData }
    }

    /// Its number: later tasks of a pool have larger ones. For people, in logs.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.ticket.number
    }

    /// Is it over? Never waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_forked() || self.inner.is_over(&self.ticket) || !self.inner.lock().is_out(&self.ticket)
    }

    /// Waits until it is over. What came of it stays where it is.
    pub fn wait(&self) {
        self.wait_until(Deadline::NEVER);
    }

    /// As [`Task::wait`], up to `timeout`. False: it is not over; nothing was done to it.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Deadline::after(timeout))
    }

    /// As [`Task::wait`], until `deadline`. False: it is not over; nothing was done to it.
    #[must_use]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> bool {
        self.is_forked() || self.inner.wait(&self.ticket, deadline, false)
    }

    /// Waits until it is over, and gives what its function returned. Handles in the value are this process's from here
    /// on.
    ///
    /// # Errors
    /// Why there is no value. A worker that was killed after its function had returned has left one.
    pub fn join(mut self) -> Result<R, TaskError> {
        self.inner.crew.check_fork()?;
        let is_asleep = !self.inner.is_over(&self.ticket);
        self.wait();
        self.is_open = false;
        let outcome = self.inner.take(&self.ticket, is_asleep).ok_or_else(taken_before)?;
        self.inner.read(outcome)
    }

    /// Calls `f` with what [`Task::join`] would give, on a thread of the pool that does nothing else; one that takes
    /// long delays those of other tasks, not the tasks. A task that is over already counts as well: `f` is called
    /// exactly once, whatever becomes of the task and of the pool. A panic in `f` is caught; it is a failure that nobody
    /// saw, for [`Pool::join`](crate::Pool::join). In the child of a bare fork, `f` is not called.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use ginnel_pool::Pool;
    ///
    /// let pool = Pool::new(1)?;
    /// let (tell, told) = mpsc::channel();
    /// pool.spawn(|a: u32, b: u32| a + b, (1, 2))?.on_done(move |sum| tell.send(sum.ok()).unwrap_or(()));
    /// pool.join()?;
    /// assert_eq!(told.recv()?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_done(mut self, f: impl FnOnce(Result<R, TaskError>) + Send + 'static) {
        if self.is_forked() {
            return;
        }
        self.is_open = false;
        let call = move |outcome: Outcome| f(outcome.into_result());
        let mut state = self.inner.lock();
        if state.is_out(&self.ticket) {
            let entry = state.entry_mut(self.ticket.slot);
            let before = std::mem::replace(&mut entry.want, Want::Call(Box::new(call)));
            if !self.inner.crew.want(self.ticket.slot, self.ticket.generation, Bits::DESK) {
                self.inner.collect(&mut state, self.ticket.slot);
            }
            drop(state);
            // A waker may be what holds other tasks.
            drop(before);
        } else {
            let outcome = state.take_kept(&self.ticket).unwrap_or_else(|| Outcome::Failed(taken_before()));
            state.notices.push(Notice::Callback(Box::new(move || call(outcome))));
        }
    }

    /// Calls it off. True: no worker has taken it, and none will; it comes to [`TaskError::Cancelled`]. False: it is
    /// over, or a worker runs it, which is asked to stop: its function may ask
    /// [`is_cancelled`](crate::is_cancelled) and return early, with whatever it likes.
    ///
    /// Never waits.
    pub fn cancel(&self) -> bool {
        !self.is_forked() && self.cancel_with(&mut self.inner.lock())
    }

    fn cancel_with(&self, state: &mut crate::state::State) -> bool {
        let Ticket { slot, generation, .. } = self.ticket;
        if !state.is_out(&self.ticket) || self.inner.crew.cancel(slot, generation) != Cancelled::TakenBack {
            return false;
        }
        self.inner.over(state, slot, Outcome::Failed(TaskError::Cancelled));
        true
    }

    /// Ends it: one that no worker has taken is cancelled; the worker that runs it is killed, and the task comes to
    /// [`TaskError::Died`], whatever the pool does about deaths. One that is over is left as it is, and no other task is
    /// ever hit. A worker that is just committing wins: then the task has its value.
    ///
    /// Returns when the signal is sent; [`Task::wait`] waits for the end.
    ///
    /// # Errors
    /// `Forked`; `Os` where the system refuses the signal.
    pub fn kill(&self) -> Result<()> {
        self.inner.crew.check_fork()?;
        let mut state = self.inner.lock();
        if self.cancel_with(&mut state) || !state.is_out(&self.ticket) {
            return Ok(());
        }
        let is_hit = supervisor::timeouts::kill(&self.inner, &mut state, &self.ticket, Doom::Killed)?;
        if !is_hit && self.inner.crew.lease(self.ticket.slot).st == St::Lost {
            // Its worker died by itself a moment ago. It is not tried again.
            state.entry_mut(self.ticket.slot).doom.get_or_insert(Doom::Killed);
        }
        Ok(())
    }

    /// How much of itself it has done, as its function says by [`set_progress`](crate::set_progress). `None`: it does
    /// not run, or has said nothing yet.
    #[must_use]
    pub fn progress(&self) -> Option<f32> {
        if self.is_forked() {
            return None;
        }
        let state = self.inner.lock();
        let is_running = state.is_out(&self.ticket)
            && matches!(self.inner.crew.lease(self.ticket.slot).st, St::Run | St::Done);
        is_running.then(|| self.inner.crew.part(self.ticket.slot)).flatten()
    }

    /// Takes what came of it, or leaves `waker`, with the mutex held for as long as that.
    fn poll_outcome(&self, waker: &Waker) -> Poll<Outcome> {
        let Ticket { slot, generation, .. } = self.ticket;
        let mut state = self.inner.lock();
        if !state.is_out(&self.ticket) {
            let kept = state.take_kept(&self.ticket);
            return Poll::Ready(kept.unwrap_or_else(|| Outcome::Failed(taken_before())));
        }
        let mut before = Want::Nothing;
        let is_over = self.inner.is_over(&self.ticket) || {
            let want = &mut state.entry_mut(slot).want;
            if !matches!(want, Want::Wake(kept) if kept.will_wake(waker)) {
                before = std::mem::replace(want, Want::Wake(waker.clone()));
            }
            !self.inner.crew.want(slot, generation, Bits::DESK)
        };
        let outcome = if is_over { self.inner.take_from(&mut state, &self.ticket, false) } else { None };
        drop(state);
        drop(before);
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<R> Task<R> {
    fn is_forked(&self) -> bool {
        self.inner.crew.check_fork().is_err()
    }
}

/// Gives the same as [`Task::join`]. Dropping it forgets the task; dropping a reference to it that is awaited does
/// nothing to it. Polled again after it was ready, it says that its outcome was taken.
impl<R: Message> Future for Task<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.inner.crew.check_fork() {
            return Poll::Ready(Err(error.into()));
        }
        self.poll_outcome(cx.waker()).map(|outcome| {
            self.is_open = false;
            self.inner.read(outcome)
        })
    }
}

/// The task goes on, and is forgotten.
impl<R> Drop for Task<R> {
    fn drop(&mut self) {
        if self.is_open && !self.is_forked() {
            self.inner.forget(&self.ticket);
        }
    }
}
