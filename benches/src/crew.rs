//! Measured processes and the coordinator that sleeps meanwhile: two of them ([`Pair`](crate::pair::Pair)), or as
//! many as a row says.
//!
//! The processes are forked, not started anew: the coordinator has no threads (the command line never makes
//! one), so a fork is sound, and the rows may then share anonymous memory, sockets and queues that have no
//! name. Nothing can outlive the run: each child asks the kernel to be killed with its parent, and everything
//! shared vanishes with its last holder.
//!
//! A child sends its report home through a pipe and exits; the coordinator sleeps in `poll` on all pipes and
//! on the signals that ask it to stop. The end of a pipe is the end of its process.
//!
//! Invariants: I1: the child runs only code of this crate and of the transport, and leaves by `_exit`, so no
//! destructor or exit handler of the coordinator runs twice. I2: where other threads exist (the tests of this
//! crate), the child relies on nothing that they might hold: glibc keeps its allocator usable after a fork.
#![allow(unsafe_code, reason = "forks, and leaves the child without running the parent's exit handlers")]

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe2};

use crate::drive::Report;
use crate::fault::Fault;

/// Ctrl-C and its relatives, held back so that the coordinator can clean up.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From now on SIGINT, SIGTERM and SIGHUP end a run cleanly instead of the process at once.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn hold() -> Result<Self, Fault> {
        let held = held_signals();
        held.thread_block().map_err(|error| Fault::failed("holding back signals", error))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&held, flags).map_err(|error| Fault::failed("signalfd", error))?;
        Ok(Self(fd))
    }
}

fn held_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
}

/// One process of a row, before it starts.
pub struct Member<'a> {
    /// What faults call it.
    pub role: String,
    /// Where it runs, and nowhere else.
    pub core: usize,
    /// What it does.
    pub body: Box<dyn FnOnce() -> Result<Report, Fault> + 'a>,
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Member").field("role", &self.role).field("core", &self.core).finish()
    }
}

/// The coordinator's view of processes that run.
#[derive(Debug)]
pub struct Crew<'a> {
    /// How long they may take before they count as stalled.
    pub patience: Duration,
    /// What may end the run early.
    pub signals: Option<&'a Signals>,
}

impl Crew<'_> {
    /// Runs every member in a process of its own and gives their reports, in the same order.
    ///
    /// # Errors
    /// The first fault that one of them reports; [`Fault::Died`], [`Fault::Stalled`] or [`Fault::Interrupted`] where
    /// there is no report. All processes are gone in any case.
    pub fn run(&self, members: Vec<Member<'_>>) -> Result<Vec<Report>, Fault> {
        let mut children = Vec::with_capacity(members.len());
        for member in members {
            children.push(Child::start(member)?);
        }
        self.wait(&mut children)?;
        children.iter_mut().map(Child::report).collect()
    }

    /// Sleeps until all processes ended. One that reports a fault ends the wait: the others may be waiting
    /// for it for ever.
    fn wait(&self, children: &mut [Child]) -> Result<(), Fault> {
        let deadline = Instant::now() + self.patience;
        while children.iter().any(|child| !child.ended) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Stalled { seconds: self.patience.as_secs() });
            }
            if self.sleep(children, left)? {
                return Err(Fault::Interrupted);
            }
            for child in children.iter_mut() {
                if child.ended && !child.checked {
                    child.checked = true;
                    child.peek_fault()?;
                }
            }
        }
        Ok(())
    }

    /// Sleeps in `poll` and reads what came. True where a signal asks to stop.
    fn sleep(&self, children: &mut [Child], left: Duration) -> Result<bool, Fault> {
        let timeout = PollTimeout::try_from(left.as_millis().min(60_000) + 1).unwrap_or(PollTimeout::MAX);
        let open = || children.iter().filter(|child| !child.ended);
        let mut watched: Vec<_> =
            open().map(|child| PollFd::new(child.reports.as_fd(), PollFlags::POLLIN)).collect();
        watched.extend(self.signals.map(|signals| PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Fault::failed("poll", error)),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for (child, ready) in children.iter_mut().filter(|child| !child.ended).zip(ready) {
            if ready {
                child.read()?;
            }
        }
        let Some(signals) = self.signals else { return Ok(false) };
        match signals.0.read_signal() {
            Ok(signal) => Ok(signal.is_some()),
            Err(error) => Err(Fault::failed("reading signals", error)),
        }
    }
}

/// A measured process, killed and reaped when this is dropped.
#[derive(Debug)]
struct Child {
    role: String,
    pid: Pid,
    reports: std::fs::File,
    received: Vec<u8>,
    ended: bool,
    checked: bool,
    reaped: Option<WaitStatus>,
}

impl Child {
    fn start(member: Member<'_>) -> Result<Self, Fault> {
        let (reports, home) =
            pipe2(OFlag::O_CLOEXEC).map_err(|error| Fault::failed("making a report pipe", error))?;
        let parent = getpid();
        // SAFETY: I1, I2.
        let forked = unsafe { fork() }.map_err(|error| Fault::failed("fork", error))?;
        match forked {
            ForkResult::Parent { child } => {
                // The other end lives in the child alone, so the pipe ends with it.
                drop(home);
                Ok(Self {
                    role: member.role,
                    pid: child,
                    reports: reports.into(),
                    received: Vec::new(),
                    ended: false,
                    checked: false,
                    reaped: None,
                })
            }
            ForkResult::Child => {
                drop(reports);
                run_child(member, parent, home);
                // SAFETY: I1.
                unsafe { nix::libc::_exit(0) }
            }
        }
    }

    fn read(&mut self) -> Result<(), Fault> {
        let mut piece = [0; 16_384];
        match self.reports.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(count) => self.received.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::failed("reading a report", error)),
        }
        Ok(())
    }

    /// The fault that the child reported, if it did.
    fn peek_fault(&mut self) -> Result<(), Fault> {
        self.report().map(drop)
    }

    fn report(&mut self) -> Result<Report, Fault> {
        if self.received.is_empty() {
            let status = self.reap().map_or("unknown".to_owned(), |status| format!("{status:?}"));
            return Err(Fault::Died { role: self.role.clone(), status });
        }
        serde_json::from_slice::<Result<Report, Fault>>(&self.received)
            .map_err(|error| Fault::failed("decoding a report", error))?
    }

    fn reap(&mut self) -> Option<WaitStatus> {
        if self.reaped.is_none() {
            self.reaped = loop {
                match waitpid(self.pid, None) {
                    Err(Errno::EINTR) => {}
                    other => break other.ok(),
                }
            };
        }
        self.reaped
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            // The pid is ours until it is reaped, so nobody else can be hit.
            let _ = kill(self.pid, Signal::SIGKILL);
            self.reap();
        }
    }
}

/// The life of a measured process.
fn run_child(Member { role, core, body }: Member<'_>, parent: Pid, home: OwnedFd) {
    let outcome = prepare_child(core, parent).and_then(|()| {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Fault::Panicked { role, message })
        })
    });
    // Where the coordinator is gone there is nobody to tell.
    if let Ok(bytes) = serde_json::to_vec(&outcome) {
        let _ = std::fs::File::from(home).write_all(&bytes);
    }
}

/// Dies with its parent, takes signals again, and stays on its core.
fn prepare_child(core: usize, parent: Pid) -> Result<(), Fault> {
    set_pdeathsig(Signal::SIGKILL).map_err(|error| Fault::failed("prctl(PR_SET_PDEATHSIG)", error))?;
    if getppid() != parent {
        return Err(Fault::Interrupted);
    }
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&held_signals()), None)
        .map_err(|error| Fault::failed("taking signals again", error))?;
    pin_thread(core)
}

/// Lets the calling thread use all of `cores`.
///
/// # Errors
/// Where this process may not use one of them.
pub(crate) fn spread_thread(cores: &[usize]) -> Result<(), Fault> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).map_err(|error| Fault::failed(format!("naming core {core}"), error))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| Fault::failed("giving all cores back", error))
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// Where this process may not use that core.
pub(crate) fn pin_thread(core: usize) -> Result<(), Fault> {
    let mut cores = CpuSet::new();
    cores.set(core).map_err(|error| Fault::failed(format!("naming core {core}"), error))?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .map_err(|error| Fault::failed(format!("pinning to core {core}"), error))
}
