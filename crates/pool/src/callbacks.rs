//! The thread that runs callbacks, so that a slow one holds up nothing but the next.
//!
//! It is made at the first callback and ends with its pool, after those that were owed. A callback that panics is caught;
//! the panic is a failure that nobody saw, which `Pool::join` reports.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle};

use ginnel_process::routine;

use crate::error::TaskError;
use crate::inner::Inner;
use crate::outcome::Outcome;
use crate::supervisor::with_signals_blocked;

/// What is owed to those who asked to be told of an outcome.
pub(crate) enum Notice {
    /// A future is to be polled.
    Waker(Waker),
    /// A callback, with its outcome in it.
    Callback(Call),
}

/// A callback, with its outcome in it.
pub(crate) type Call = Box<dyn FnOnce() + Send>;

/// The thread, once there is one.
#[derive(Default)]
struct Running {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Callbacks {
    running: Mutex<Running>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

impl Callbacks {
    fn running(&self) -> MutexGuard<'_, Running> {
        // Two fields that are set and taken one at a time.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to a notice. Wakers are called here, callbacks on their thread; where the system has no thread left, here
    /// as well. For the supervisor.
    pub(crate) fn deliver(&self, inner: &Arc<Inner>, notice: Notice) {
        match notice {
            Notice::Callback(call) => {
                if let Err(call) = self.send(inner, call) {
                    run(inner, call);
                }
            }
            waker @ Notice::Waker(_) => deliver_here(inner, waker),
        }
    }

    fn send(&self, inner: &Arc<Inner>, call: Call) -> Result<(), Call> {
        let mut running = self.running();
        if running.calls.is_none() {
            let (calls, to_run) = channel::<Call>();
            let inner = Arc::clone(inner);
            let begun = with_signals_blocked(|| {
                thread::Builder::new()
                    .name("ginnel-callbacks".into())
                    .spawn(move || to_run.into_iter().for_each(|call| run(&inner, call)))
            });
            let Ok(thread) = begun else { return Err(call) };
            *running = Running { calls: Some(calls), thread: Some(thread) };
        }
        match &running.calls {
            Some(calls) => calls.send(call).map_err(|refused| refused.0),
            None => Err(call),
        }
    }

    /// Waits for the callbacks that are owed, and ends the thread. Called from a callback, it leaves that to the thread.
    pub(crate) fn end(&self) {
        let running = std::mem::take(&mut *self.running());
        drop(running.calls);
        if let Some(thread) = running.thread
            && thread.thread().id() != thread::current().id()
        {
            // It catches what panics in it.
            let _ = thread.join();
        }
    }
}

/// Sees to a notice on this thread: where the supervisor has ended, there is no other.
pub(crate) fn deliver_here(inner: &Inner, notice: Notice) {
    match notice {
        // Code of whoever runs the future. The supervisor must not end by it.
        Notice::Waker(waker) => _ = catch_unwind(AssertUnwindSafe(|| waker.wake())),
        Notice::Callback(call) => run(inner, call),
    }
}

fn run(inner: &Inner, call: Call) {
    if let Err(panic) = routine::catch(call) {
        inner.lock().look_at(Outcome::Failed(TaskError::Panicked(panic)));
    }
}
