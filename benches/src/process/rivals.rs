//! What else starts processes: a bare fork, the C library, the standard library, Python.
//!
//! Invariants
//! - I1 the process that forks has one thread, so nothing that the child needs is locked; the child runs a few lines of
//!   this file and leaves by `_exit`, so nothing of its parent's runs twice.
#![allow(unsafe_code, reason = "forks, and leaves the child without running the parent's exit handlers")]

use std::ffi::CStr;
use std::process::{Command, Stdio};

use ginnel_layout::atomic::Ordering;
use ginnel_layout::line::LINE;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::io::Errno;
use rustix::thread::futex;

use crate::clock::now_ns;
use crate::fault::Fault;
use crate::memory::Region;

use super::pace::{checked, successor};

const TRUE: &CStr = c"/bin/true";

/// Children by a bare fork.
#[derive(Debug)]
pub(crate) struct Forks(Region);

impl Forks {
    /// Shared memory for the results of `count` children.
    pub(crate) fn new(count: u64) -> Result<Self, Fault> {
        Ok(Self(Region::new(count as usize * LINE)?))
    }

    fn start(&self, body: impl FnOnce()) -> Result<Pid, Fault> {
        // SAFETY: I1.
        match unsafe { fork() }.map_err(|error| Fault::failed("fork", error))? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                body();
                // SAFETY: I1.
                unsafe { nix::libc::_exit(0) }
            }
        }
    }

    /// Leaves a number in line `at`.
    fn leave(&self, at: u64, value: u64) {
        self.0.word64(at as usize * LINE).store(value, Ordering::Release);
    }

    fn result(&self, at: u64) -> u64 {
        self.0.word64(at as usize * LINE).swap(0, Ordering::Acquire)
    }

    /// From the call to the value.
    pub(super) fn join(&self, number: u64) -> Result<u64, Fault> {
        checked(number, |number| {
            let pid = self.start(|| self.leave(0, successor(number)))?;
            reap(pid)?;
            Ok(self.result(0))
        })
    }

    /// From the call to the first instruction.
    pub(super) fn body(&self) -> Result<u64, Fault> {
        let before = now_ns();
        let pid = self.start(|| self.leave(0, now_ns()))?;
        reap(pid)?;
        Ok(self.result(0).saturating_sub(before))
    }

    /// A child that runs, and waits to be killed.
    pub(crate) fn idle(&self) -> Result<Pid, Fault> {
        // The half of the first word that changes.
        let word = self.0.word32(0);
        let pid = self.start(|| {
            self.leave(0, 1);
            // Nobody is left to hear of a failure.
            let _ = futex::wake(word.futex_word(), futex::Flags::empty(), 1);
            loop {
                std::thread::park();
            }
        })?;
        while self.result(0) == 0 {
            // It may have been put on this core, so this side sleeps.
            match futex::wait(word.futex_word(), futex::Flags::empty(), 0, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(Fault::failed("futex wait", error)),
            }
        }
        Ok(pid)
    }

    /// Kills a child and waits for its end.
    pub(crate) fn end(&self, pid: Pid) -> Result<(), Fault> {
        kill(pid, Signal::SIGKILL).map_err(|error| Fault::failed("kill", error))?;
        match waitpid(pid, None).map_err(|error| Fault::failed("waitpid", error))? {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => Ok(()),
            other => Err(Fault::failed("killing a child", format!("{other:?}"))),
        }
    }

    /// From SIGKILL to the end of the wait for it.
    pub(super) fn kill(&self) -> Result<u64, Fault> {
        let pid = self.idle()?;
        let before = now_ns();
        self.end(pid)?;
        Ok(now_ns() - before)
    }

    /// So many at a time.
    pub(super) fn churn(&self, count: u64) -> Result<u64, Fault> {
        let before = now_ns();
        let pids = (0..count).map(|number| self.start(|| self.leave(number, successor(number))));
        let pids = pids.collect::<Result<Vec<_>, _>>()?;
        pids.into_iter().try_for_each(reap)?;
        let took = now_ns() - before;
        match (0..count).find(|number| self.result(*number) != successor(*number)) {
            None => Ok(took),
            Some(number) => Err(Fault::failed("starting children", format!("no result from {number}"))),
        }
    }
}

/// Waits for a child, which must end well.
fn reap(pid: Pid) -> Result<(), Fault> {
    match waitpid(pid, None).map_err(|error| Fault::failed("waitpid", error))? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(Fault::failed("waiting for a child", format!("{other:?}"))),
    }
}

/// `posix_spawn` as it is by default, with this environment.
#[derive(Debug)]
pub(super) struct Spawns {
    actions: PosixSpawnFileActions,
    attributes: PosixSpawnAttr,
    environment: Vec<std::ffi::CString>,
}

impl Spawns {
    pub(super) fn new() -> Result<Self, Fault> {
        let failed = |error| Fault::failed("preparing posix_spawn", error);
        let variable = |(mut key, value): (std::ffi::OsString, std::ffi::OsString)| {
            key.push("=");
            key.push(value);
            std::ffi::CString::new(key.into_encoded_bytes()).ok()
        };
        Ok(Self {
            actions: PosixSpawnFileActions::init().map_err(failed)?,
            attributes: PosixSpawnAttr::init().map_err(failed)?,
            environment: std::env::vars_os().filter_map(variable).collect(),
        })
    }

    fn start(&self) -> Result<Pid, Fault> {
        posix_spawn(TRUE, &self.actions, &self.attributes, &[TRUE], &self.environment)
            .map_err(|error| Fault::failed("posix_spawn", error))
    }

    /// From the call to the end.
    pub(super) fn join(&self) -> Result<u64, Fault> {
        let before = now_ns();
        reap(self.start()?)?;
        Ok(now_ns() - before)
    }

    /// So many at a time.
    pub(super) fn churn(&self, count: u64) -> Result<u64, Fault> {
        let before = now_ns();
        let pids = (0..count).map(|_| self.start()).collect::<Result<Vec<_>, _>>()?;
        pids.into_iter().try_for_each(reap)?;
        Ok(now_ns() - before)
    }
}

/// The standard library's way to run a program.
pub(super) fn command() -> Result<u64, Fault> {
    let before = now_ns();
    let status = Command::new("/bin/true").status().map_err(|error| Fault::failed("Command", error))?;
    let took = now_ns() - before;
    if status.success() { Ok(took) } else { Err(Fault::failed("Command", status)) }
}

/// Dies with its parent, makes itself as large as asked, and prints the nanoseconds of each turn.
const SCRIPT: &str = "\
import ctypes, multiprocessing, sys, time
ctypes.CDLL(None).prctl(1, 9)
turns, size, many = map(int, sys.argv[1:])
heap = bytearray(b'x') * size
Process = multiprocessing.get_context('fork').Process
def nothing(): pass
def turn():
    before = time.perf_counter_ns()
    children = [Process(target=nothing) for _ in range(many)]
    for child in children: child.start()
    for child in children: child.join()
    took = time.perf_counter_ns() - before
    if any(child.exitcode for child in children): sys.exit('a child failed')
    return took
for _ in range(3): turn()
for _ in range(turns): print(turn())
";

/// So many turns of Python, each of `many` processes, with `size` bytes touched: nanoseconds of each.
pub(super) fn python(turns: u64, size: usize, many: u64) -> Result<Vec<u64>, Fault> {
    let numbers = [turns.to_string(), size.to_string(), many.to_string()];
    let command = Command::new("python3").arg("-c").arg(SCRIPT).args(numbers).stdin(Stdio::null()).output();
    let output =
        command.map_err(|error| Fault::Unsupported(format!("python3 does not run here: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it does not say why").to_owned();
        return Err(Fault::Unsupported(format!("python3 does not do it here: {last}")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let times: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if times.len() as u64 == turns { Ok(times) } else { Err(Fault::failed("reading Python's times", text)) }
}
