//! A child, seen by its starter: its handle, its end, its result.
//!
//! A `Child` is shared by its handle and by the service, which lets go of it once it has ended. Its end is found by
//! whoever looks first: one who waits, one who asks, or the service. That one waits for it (so that the system forgets
//! it) and settles it, once, under the mutex of its fate:
//!
//! | step | why in this order |
//! |---|---|
//! | `waitid` | from here on it is dead beyond doubt, and its number may be given to another |
//! | the record is settled: arguments that it did not take come back, a result that it did not commit goes | nothing else may touch them while it lives |
//! | it is recovered, unless it ended in order | its locks are free, and its messages delivered anew, when the caller learns of the end |
//! | the end is written, the waker is called | |
//!
//! A child that ended in order is recovered by the service behind the back of those who wait: it holds next to nothing.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use ginnel_object::bridge::{self, BootTicket, Record, St};
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};
use ginnel_sync::Deadline;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};

use crate::builder::Builder;
use crate::cgroup::OomKills;
use crate::error::ProcessError;
use crate::service;
use crate::start::Launched;
use crate::task::{self, Task, code};

/// The exit code of a child of which nobody knows how it ended.
const UNKNOWN: i32 = 255;

/// How a child ended, as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Killed(i32),
    /// Somebody else has waited for it, or SIGCHLD is ignored here.
    Unknown,
}

impl End {
    fn of(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Unknown,
        }
    }
}

/// What is known of a child's end.
#[derive(Debug, Default)]
struct Fate {
    end: Option<End>,
    /// Of the future that waits.
    waker: Option<Waker>,
}

/// What becomes of a child at the exit of its starter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) daemon: bool,
    pub(crate) worker: bool,
}

/// A child that was started, as all its handles and the service share it.
pub(crate) struct Child {
    name: String,
    daemon: bool,
    worker: bool,
    pid: Pid,
    pidfd: OwnedFd,
    /// Who may wait for it: a fork of the starter may not.
    starter: u32,
    record: Record,
    ticket: BootTicket,
    /// Where it was put into a control group.
    oom_kills: Option<OomKills>,
    fate: Mutex<Fate>,
    /// Is it recovered? Held while somebody is at it, after the mutex of the fate or without.
    is_recovered: Mutex<bool>,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .field("daemon", &self.daemon)
            .finish_non_exhaustive()
    }
}

impl Child {
    /// A child from its start on. The service waits for it from here on, whatever becomes of its handles.
    pub(crate) fn new(
        name: String,
        kind: Kind,
        record: Record,
        ticket: BootTicket,
        oom_kills: Option<OomKills>,
        launched: Launched,
    ) -> Arc<Self> {
        let Launched { pid, pidfd } = launched;
        let starter = std::process::id();
        let Kind { daemon, worker } = kind;
        let child = Arc::new(Self {
            name,
            daemon,
            worker,
            pid,
            pidfd,
            starter,
            record,
            ticket,
            oom_kills,
            fate: Mutex::default(),
            is_recovered: Mutex::default(),
        });
        // It was there before the start, so it is there now.
        if let Ok(service) = service::current() {
            service.watch(&child);
        }
        child
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// Is it ended, and not waited for, when this process exits?
    pub(crate) fn ends_at_exit(&self) -> bool {
        self.daemon || self.worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        // Settling is idempotent: one that a panic has cut short is done again.
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether it has ended, and settles it if so. Never waits.
    pub(crate) fn end(&self) -> Option<End> {
        let mut fate = self.fate();
        if fate.end.is_some() {
            return fate.end;
        }
        let end = self.reap()?;
        self.settle(end);
        fate.end = Some(end);
        let waker = fate.waker.take();
        drop(fate);
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(end)
    }

    /// As [`Child::end`]; where it has not, `waker` is called when it has.
    pub(crate) fn end_or_wake(&self, waker: &Waker) -> Option<End> {
        match &mut self.fate().waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        // After the waker is in its place: who finds the end from now on calls it.
        let end = self.end();
        if end.is_some() {
            self.forget_waker();
        }
        end
    }

    /// A waker may hold the task that holds the handle.
    fn forget_waker(&self) {
        let waker = self.fate().waker.take();
        drop(waker);
    }

    fn reap(&self) -> Option<End> {
        match waitid(WaitId::PidFd(self.pidfd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(status) => status.as_ref().map(End::of),
            // Not ours to wait for, or no more.
            Err(_) => self.is_over().then_some(End::Unknown),
        }
    }

    /// The descriptor alone tells it to everybody.
    pub(crate) fn is_over(&self) -> bool {
        super::waiting::is_readable(self.pidfd())
    }

    fn settle(&self, end: End) {
        if self.starter != std::process::id() {
            return;
        }
        self.record.settle(self.ticket);
        if matches!(end, End::Killed(_)) || self.code_of_result().is_none() {
            self.recover();
        }
    }

    /// Recovers it, if nobody did; another thread that is at it is waited for. It has ended.
    pub(crate) fn recover(&self) {
        // Recovery may be repeated: one that a panic has cut short is.
        let mut is_recovered = self.is_recovered.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_recovered {
            self.recover_now();
            *is_recovered = true;
        }
    }

    fn recover_now(&self) {
        let Ok(manager) = Manager::current() else { return };
        match self.record.step().participant {
            // Not dead: another process is at it.
            Some(id) => _ = bridge::recover(manager, id),
            // It may have been a participant and not have come to say which.
            None => _ = manager.recover(),
        }
    }

    /// The code with which one exits that got as far as the record says.
    fn code_of_result(&self) -> Option<i32> {
        match self.record.step().st {
            St::Returned => Some(0),
            St::Panicked => Some(code::PANICKED),
            St::Undecodable => Some(code::FAILED),
            _ => None,
        }
    }

    fn exit_code(&self) -> Option<i32> {
        Some(match self.end()? {
            End::Exited(code) => code,
            End::Killed(signal) => -signal,
            End::Unknown => self.code_of_result().unwrap_or(UNKNOWN),
        })
    }

    /// The result. Once, after the end.
    pub(crate) fn take<R: Message>(&self, end: End) -> Result<R, ProcessError> {
        let taken = self.record.take_result(|st, bytes| match st {
            St::Returned => task::whole::<R>(bytes).map_err(ProcessError::Decode),
            St::Panicked => Err(task::whole(bytes).map_or_else(ProcessError::Decode, ProcessError::Panicked)),
            _ => Err(task::whole(bytes).map_or_else(ProcessError::Decode, ProcessError::reported)),
        });
        taken.unwrap_or_else(|| {
            Err(match end {
                End::Exited(code) => ProcessError::Exited(code),
                End::Killed(signal) => {
                    let is_kill = signal == Signal::KILL.as_raw();
                    let out_of_memory = is_kill && self.oom_kills.as_ref().is_some_and(OomKills::rose);
                    ProcessError::Killed { signal, out_of_memory }
                }
                End::Unknown => ProcessError::Exited(UNKNOWN),
            })
        })
    }

    /// Sends a signal. One that has ended takes no more of them.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(self.pidfd(), signal) {
            // BADF: it had ended before it had a descriptor.
            Ok(()) | Err(Errno::SRCH | Errno::BADF) => Ok(()),
            Err(why) => Err(std::io::Error::from(why).into()),
        }
    }
}

/// A child that computes an `R`.
///
/// ```
/// use ginnel_process::Process;
///
/// let child = Process::spawn(|a: u32, b: u32| a * b, (6, 7))?;
/// assert_eq!(child.join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// Dropping it lets the child go on: non-daemons are joined when the program ends, daemons are ended then.
///
/// It is a future of what [`Process::join`] gives, needs no particular runtime for that, and stands in a
/// [`Select`](ginnel_object::select::Select), where it is ready when the child has ended. It may be used by many threads
/// at a time. A killed starter leaves children that are no daemons running; their results go with the last of them.
pub struct Process<R> {
    pub(crate) child: Arc<Child>,
    pub(crate) result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.child.name)
            .field("pid", &self.child.pid())
            .finish_non_exhaustive()
    }
}

/// The child goes on. Nobody is to be woken for it any more.
impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        self.child.forget_waker();
    }
}

impl Process<()> {
    /// Runs `f` in a child.
    ///
    /// # Errors
    /// See [`Builder::spawn`].
    pub fn spawn<F, A, S>(f: F, args: A) -> Result<Process<F::Output>>
    where
        F: Task<A, S>,
    {
        Self::builder().spawn(f, args)
    }

    /// One child for each item.
    ///
    /// # Errors
    /// See [`Builder::spawn_all`].
    pub fn spawn_all<F, I, S>(f: F, items: I) -> Result<Vec<Process<F::Output>>>
    where
        I: IntoIterator,
        F: Task<I::Item, S>,
    {
        Self::builder().spawn_all(f, items)
    }

    /// How to start children: name, environment, limits and so on.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<R: Message> Process<R> {
    pub(crate) fn new(child: Arc<Child>) -> Self {
        Self { child, result: PhantomData }
    }

    /// As its builder said, or `Process-1` and so on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Its number. Another process may have it once this one has ended; signals sent from here never reach that.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Does it run, or sleep, or stand still? Never waits.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.child.end().is_none()
    }

    /// `None` while it lives; what it gave to `exit`, 0 after a return, 101 after a panic; the negative number of the
    /// signal that killed it. Never waits.
    ///
    /// Where other code of this process waits for all children, or ignores SIGCHLD, it is told by what the function came
    /// to: 0 if it returned, 101 if it panicked, else 255.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.child.exit_code()
    }

    /// Waits until it has ended. The result stays where it is.
    pub fn wait(&self) {
        self.child.wait_until(Deadline::NEVER);
    }

    /// As [`Process::wait`], up to `timeout`. False: it lives on; nothing was done to it.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.child.wait_until(Deadline::after(timeout)).is_some()
    }

    /// As [`Process::wait`], until `deadline`. False: it lives on; nothing was done to it.
    #[must_use]
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.child.wait_until(Deadline::at(deadline)).is_some()
    }

    /// Waits until it has ended, and gives what its function returned.
    ///
    /// # Errors
    /// How it ended without a value. One that returned and was killed on its way out has one.
    pub fn join(self) -> Result<R, ProcessError> {
        let end = loop {
            if let Some(end) = self.child.wait_until(Deadline::NEVER) {
                break end;
            }
        };
        self.child.take(end)
    }

    /// Has it ended, and all that it held been recovered? If not, `waker` is called when that is so, on whichever thread
    /// notices. There is one waker a child: this one takes the place of that of a future.
    #[doc(hidden)]
    #[must_use]
    pub fn watch(&self, waker: &Waker) -> bool {
        self.child.end_or_wake(waker).is_some_and(|_| {
            self.child.recover();
            true
        })
    }

    /// Asks it to end: SIGTERM, which ends it unless it has a handler for it.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn terminate(&self) -> Result<()> {
        self.child.signal(Signal::TERM)
    }

    /// Ends it: SIGKILL. What it held is recovered before anybody who waits for it learns of the end.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill(&self) -> Result<()> {
        self.child.signal(Signal::KILL)
    }

    /// Interrupts it, as Ctrl-C does: SIGINT.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn interrupt(&self) -> Result<()> {
        self.child.signal(Signal::INT)
    }

    /// Sends it a signal, by number. If it has ended, nothing happens.
    ///
    /// # Errors
    /// `Invalid` for what is no signal, and for real-time signals; `Os` where the system refuses, as for a child that
    /// became another user.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let named = Signal::from_named_raw(signal);
        let named = named.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("{signal} is not the number of a signal that can be sent"))
        })?;
        self.child.signal(named)
    }
}
