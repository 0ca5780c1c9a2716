//! Processes of a test: started, stopped, killed and reaped, so that none survives its test.
//!
//! Two ways to start one. [`Role`] runs the current executable again under a role's name: the ordinary way, and the
//! only one from a process with threads. A program calls [`role`] first thing in `main`; a test binary has one test
//! that does so and returns when there is no role. [`fork_child`] copies a single-threaded process: quick, and the
//! child is at the same instruction each time, which stepping wants.
//!
//! A child dies with its parent (`PR_SET_PDEATHSIG`), and a [`Child`] kills and reaps on drop.
//!
//! Invariants:
//! - I1: a process forks here only while none of its threads can hold a lock that the child needs: it has one thread,
//!   or it was started as a role through a test and its second thread is the test runner, which sleeps until the
//!   test ends. Checked by [`fork_child`] before each fork.
//! - I2: what comes after `_exit` does not run, and nothing of the parent's (buffers, exit handlers) runs before it.
#![allow(unsafe_code, reason = "fork and _exit")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fmt};

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code; 101 after a panic.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// SIGKILL.
    pub const KILLED: Self = Self::Signal(libc::SIGKILL);
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "{signal}"),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// A process that this one started. Killed and reaped on drop.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    exit: Option<Exit>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends SIGKILL and waits for the end. The exit says whether it had ended by itself before.
    ///
    /// # Errors
    /// What the system says; it does not while the child is ours.
    pub fn kill(&mut self) -> io::Result<Exit> {
        self.signal(Signal::SIGKILL)?;
        self.wait()
    }

    /// Sends a signal. Nothing happens when it was reaped already.
    ///
    /// # Errors
    /// What the system says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exit.is_none() {
            signal::kill(self.pid, signal)?;
        }
        Ok(())
    }

    /// Waits for the end, however long it takes. Stops on the way are passed over.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.look(WaitPidFlag::empty())? {
                return Ok(exit);
            }
        }
    }

    /// The exit, if it has ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.look(WaitPidFlag::WNOHANG)
    }

    /// Waits for the end, at most `limit`. `None`: it still runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait_timeout(&mut self, limit: Duration) -> io::Result<Option<Exit>> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid.as_raw()) else {
            return Ok(self.exit);
        };
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        let end = Instant::now() + limit;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: rest.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&rest)) {
                Ok(0) => return Ok(None),
                Ok(_) => return self.wait().map(Some),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn look(&mut self, flags: WaitPidFlag) -> io::Result<Option<Exit>> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        match waitpid(self.pid, Some(flags)) {
            Ok(WaitStatus::Exited(_, code)) => self.exit = Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => self.exit = Some(Exit::Signal(signal as i32)),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.exit)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() {
            // The child is ours and not reaped, so this cannot hit a stranger; errors leave nothing to do.
            let _ = self.kill();
        }
    }
}

/// Forks; the child runs `body` and ends with exit code 0, or 101 if `body` panics.
///
/// What `body` owns is dropped in the parent too, when this returns: let it borrow what the parent goes on to use.
///
/// # Errors
/// `Other` when this process has threads that a fork would leave behind; what the system says when it cannot fork.
pub fn fork_child(body: impl FnOnce()) -> io::Result<Child> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    let runner = usize::from(env::var_os(THROUGH).is_some());
    if threads > 1 + runner {
        return Err(io::Error::other(format!("fork_child in a process with {threads} threads: use a Role")));
    }
    let parent = getpid();
    // SAFETY: I1, checked above.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Child { pid: child, exit: None }),
        ForkResult::Child => {
            let lonely = die_with(parent).is_err();
            let failed = lonely || catch_unwind(AssertUnwindSafe(body)).is_err();
            // SAFETY: I2, ending here without the parent's exit handlers is what is wanted.
            unsafe { libc::_exit(if failed { 101 } else { 0 }) }
        }
    }
}

/// Asks the kernel to kill this process when `parent` ends, and checks that it has not ended yet.
fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
}

const NAME: &str = "GINNEL_TESTKIT_ROLE";
const ARGUMENTS: &str = "GINNEL_TESTKIT_ARGUMENTS";
const PARENT: &str = "GINNEL_TESTKIT_PARENT";
const THROUGH: &str = "GINNEL_TESTKIT_THROUGH";
const SEPARATOR: char = '\u{1f}';

/// The current executable, to be run again as somebody else.
#[derive(Debug)]
pub struct Role {
    name: String,
    arguments: Vec<String>,
    through: Option<String>,
}

impl Role {
    /// A role that the executable knows.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), arguments: Vec::new(), through: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl ToString) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Adds an open file. The child opens it anew through `/proc`, with an open file description of its own, so it has
    /// to stay open here until the child has read its arguments.
    #[must_use]
    pub fn fd(self, fd: &impl AsFd) -> Self {
        let number = fd.as_fd().as_raw_fd();
        self.arg(format!("/proc/{}/fd/{number}", std::process::id()))
    }

    /// For test binaries: the name of the test that calls [`role`].
    #[must_use]
    pub fn through_test(mut self, test: &str) -> Self {
        self.through = Some(test.to_owned());
        self
    }

    /// The command that starts it, for callers who want its output.
    ///
    /// # Errors
    /// When the path of the current executable cannot be had.
    pub fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.env(NAME, &self.name).env(PARENT, std::process::id().to_string());
        command.env(ARGUMENTS, self.arguments.join(&SEPARATOR.to_string()));
        match &self.through {
            Some(test) => {
                command.args([test, "--exact", "--nocapture", "--test-threads=1", "--quiet"]);
                command.env(THROUGH, "1");
            }
            None => {
                command.env_remove(THROUGH);
            }
        }
        Ok(command)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self) -> io::Result<Child> {
        adopt(&self.command()?.spawn()?)
    }

    /// Runs it to its end: what it wrote on its standard output.
    ///
    /// # Panics
    /// Unless it can be started and ends well; then with all that it wrote.
    #[track_caller]
    pub fn play(&self) -> String {
        let output = self.command().and_then(|mut command| command.output()).expect("it can be started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (status, said, complaints) = (output.status, text(output.stdout), text(output.stderr));
        assert!(status.success(), "{}: {status}\n{said}\n{complaints}", self.name);
        said
    }
}

/// A [`Child`] from a started command, which then must not be waited for in another way.
///
/// # Errors
/// When its id is none.
pub fn adopt(child: &std::process::Child) -> io::Result<Child> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Child { pid: Pid::from_raw(pid), exit: None })
}

/// What a role was given.
#[derive(Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// Argument `index`.
    ///
    /// # Errors
    /// When it is missing or does not parse.
    pub fn get<T: std::str::FromStr>(&self, index: usize) -> io::Result<T> {
        let text =
            self.0.get(index).ok_or_else(|| io::Error::other(format!("argument {index} is missing")))?;
        text.parse().map_err(|_| io::Error::other(format!("argument {index}, `{text}`, does not parse")))
    }

    /// The open file that was given as argument `index`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn fd(&self, index: usize) -> io::Result<OwnedFd> {
        let path: String = self.get(index)?;
        Ok(File::options().read(true).write(true).open(path)?.into())
    }
}

/// Under which role this process was started, if under any. Ties its life to its parent's.
#[must_use]
pub fn role() -> Option<(String, Arguments)> {
    let name = env::var(NAME).ok()?;
    let parent = env::var(PARENT).ok()?.parse().ok()?;
    if die_with(Pid::from_raw(parent)).is_err() {
        std::process::exit(101);
    }
    let arguments = env::var(ARGUMENTS).unwrap_or_default();
    let given = if arguments.is_empty() {
        Vec::new()
    } else {
        arguments.split(SEPARATOR).map(str::to_owned).collect()
    };
    Some((name, Arguments(given)))
}

/// Keeps the calling thread, and the children it forks later, on one core.
///
/// # Errors
/// When there is no such core for us.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The cores this process may use.
///
/// # Errors
/// What the system says.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}
