//! Two measured processes and the coordinator that sleeps meanwhile.
//!
//! The processes are forked, not started anew: the coordinator has no threads (the command line never makes
//! one), so a fork is sound, and the rows may then share anonymous memory, sockets and queues that have no
//! name. Nothing can outlive the run: each child asks the kernel to be killed with its parent, and everything
//! shared vanishes with its last holder.
//!
//! A child sends its report home through a pipe and exits; the coordinator sleeps in `poll` on both pipes and
//! on the signals that ask it to stop. The end of a pipe is the end of its process.
//!
//! Invariants: I1: the child runs only code of this crate and of the transport, and leaves by `_exit`, so no
//! destructor or exit handler of the coordinator runs twice. I2: where other threads exist (the tests of this
//! crate), the child relies on nothing that they might hold: glibc keeps its allocator usable after a fork.
#![allow(unsafe_code, reason = "forks, and leaves the child without running the parent's exit handlers")]

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

/// Where the two processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// Of the client, or the consumer.
    pub client: usize,
    /// Of the server, or the producer.
    pub server: usize,
}

/// The coordinator's view of a pair that runs.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Where the two run.
    pub cores: Cores,
    /// How long they may take before they count as stalled.
    pub patience: Duration,
    /// What may end the run early.
    pub signals: Option<&'a Signals>,
}

impl Pair<'_> {
    /// Runs `client` and `server`, each in a process of its own, and gives both reports.
    ///
    /// # Errors
    /// The first fault that either reports; [`Fault::Died`], [`Fault::Stalled`] or [`Fault::Interrupted`] where
    /// there is no report. Both processes are gone in any case.
    pub fn run(
        &self,
        client: impl FnOnce() -> Result<Report, Fault>,
        server: impl FnOnce() -> Result<Report, Fault>,
    ) -> Result<(Report, Report), Fault> {
        let mut children = [
            Child::start("client", self.cores.client, client)?,
            Child::start("server", self.cores.server, server)?,
        ];
        self.wait(&mut children)?;
        let [client, server] = &mut children;
        let (client, server) = (client.report()?, server.report()?);
        check_counts(&client, &server)?;
        Ok((client, server))
    }

    /// Sleeps until both processes ended. One that reports a fault ends the wait: the other one may be waiting
    /// for it for ever.
    fn wait(&self, children: &mut [Child; 2]) -> Result<(), Fault> {
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
    fn sleep(&self, children: &mut [Child; 2], left: Duration) -> Result<bool, Fault> {
        let timeout = PollTimeout::try_from(left.as_millis().min(60_000) + 1).unwrap_or(PollTimeout::MAX);
        let [first, second] = &mut *children;
        let open = [!first.ended, !second.ended];
        let mut watched = Vec::with_capacity(3);
        watched.extend(open[0].then(|| PollFd::new(first.reports.as_fd(), PollFlags::POLLIN)));
        watched.extend(open[1].then(|| PollFd::new(second.reports.as_fd(), PollFlags::POLLIN)));
        watched.extend(self.signals.map(|signals| PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Fault::failed("poll", error)),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut ready = ready.into_iter();
        for (child, open) in children.iter_mut().zip(open) {
            if open && ready.next() == Some(true) {
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

/// Everything that one side sent was received by the other.
fn check_counts(client: &Report, server: &Report) -> Result<(), Fault> {
    for (sent, received) in [(client.sent, server.received), (server.sent, client.received)] {
        if sent != received {
            return Err(Fault::Count { sent, received });
        }
    }
    Ok(())
}

/// A measured process, killed and reaped when this is dropped.
#[derive(Debug)]
struct Child {
    role: &'static str,
    pid: Pid,
    reports: std::fs::File,
    received: Vec<u8>,
    ended: bool,
    checked: bool,
    reaped: Option<WaitStatus>,
}

impl Child {
    fn start(
        role: &'static str,
        core: usize,
        body: impl FnOnce() -> Result<Report, Fault>,
    ) -> Result<Self, Fault> {
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
                    role,
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
                run_child(role, core, parent, home, body);
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
            return Err(Fault::Died { role: self.role.to_owned(), status });
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
fn run_child(
    role: &str,
    core: usize,
    parent: Pid,
    home: OwnedFd,
    body: impl FnOnce() -> Result<Report, Fault>,
) {
    let outcome = prepare_child(core, parent).and_then(|()| {
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Fault::Panicked { role: role.to_owned(), message })
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
    let mut cores = CpuSet::new();
    cores.set(core).map_err(|error| Fault::failed(format!("naming core {core}"), error))?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .map_err(|error| Fault::failed(format!("pinning to core {core}"), error))
}
