//! One process, one instruction at a time.
//!
//! A [`Tracee`] is a forked child that prepares itself (attaches, takes its roles), stops at its first mark, runs one
//! operation and stops at its second mark. Between the marks the tracer moves it by single steps, or from system call
//! to system call, and may kill it or let it go on at any place.
//!
//! A [`Place`] is told by windows: window `w` begins when the `w`-th system call of the operation has returned (window
//! 0 at the first mark) and ends in front of the next one. A step within a window is one instruction; a `rep`
//! instruction counts once per repetition, as the processor traps there. To reach window `w` costs two stops a system
//! call, so the far end of a long operation is near.
//!
//! Within a window a breakpoint leads near a place that a scout has been to ([`far`]).
//!
//! A step costs two context switches: about 22 us where tracer and child share a core and four times that where they
//! do not, so the caller pins itself first.

pub mod far;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::child::{Child, Exit, fork_child};
use far::{Breakpoint, Route};

/// A place in an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// System calls of the operation that have returned.
    pub window: usize,
    /// Instructions since then.
    pub step: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {} after system call {}", self.step, self.window)
    }
}

/// Where a move led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Still in the operation.
    Inside,
    /// At the second mark: the operation is over.
    Over,
}

/// The two marks of a traced child.
#[derive(Debug)]
pub struct Marks(Pid);

impl Marks {
    /// The operation begins.
    ///
    /// # Panics
    /// When the process cannot stop itself.
    #[inline(never)]
    pub fn begin(&self) {
        kill(self.0, Signal::SIGSTOP).expect("a process may stop itself");
    }

    /// The operation is over. What it returned must be stored before.
    ///
    /// # Panics
    /// When the process cannot stop itself.
    #[inline(never)]
    pub fn end(&self) {
        kill(self.0, Signal::SIGSTOP).expect("a process may stop itself");
    }
}

/// A child under the tracer's hand. Killed and reaped on drop.
#[derive(Debug)]
pub struct Tracee {
    child: Child,
    place: Place,
    /// Which instructions are system calls, of those it came by. Code does not change.
    code: RefCell<HashMap<u64, bool>>,
    /// The address of the next instruction, if it was asked for since the last move.
    at: Cell<Option<u64>>,
}

impl Tracee {
    /// Forks a child that runs `body` up to its first mark.
    ///
    /// # Errors
    /// When the fork fails, or the child ends before its first mark.
    pub fn start(body: impl FnOnce(&Marks)) -> io::Result<Self> {
        let child = fork_child(|| {
            ptrace::traceme().expect("a fresh child has no tracer");
            body(&Marks(getpid()));
        })?;
        let tracee = Self { child, place: Place::default(), code: RefCell::default(), at: Cell::default() };
        loop {
            match tracee.wait()? {
                Stop::Mark => break,
                // Its own children end while it prepares itself.
                Stop::Hit(Signal::SIGCHLD) => ptrace::cont(tracee.pid(), Signal::SIGCHLD)?,
                stop => {
                    return Err(io::Error::other(format!(
                        "the child did not reach its first mark: {stop:?}"
                    )));
                }
            }
        }
        ptrace::setoptions(tracee.pid(), Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)?;
        Ok(tracee)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid().as_raw() as u32
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Executes one instruction; a system call counts as one, and opens the next window.
    ///
    /// # Errors
    /// When the child ends or is hit by a signal, which is a fault of the operation.
    pub fn step(&mut self) -> io::Result<Moved> {
        let opens = self.at_system_call()?;
        ptrace::step(self.pid(), None)?;
        match self.wait()? {
            Stop::Trap if opens => self.place = Place { window: self.place.window + 1, step: 0 },
            Stop::Trap => self.place.step += 1,
            Stop::Mark => return Ok(Moved::Over),
            stop => return Err(self.fault(stop)),
        }
        Ok(Moved::Inside)
    }

    /// Runs to `place`, or to the end of the operation if it comes first. If a window turns out shorter than the
    /// place asked for, it stops in front of the system call that ends it.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run_to(&mut self, place: Place) -> io::Result<Moved> {
        while self.place.window < place.window {
            if self.pass_system_call()? == Moved::Over {
                return Ok(Moved::Over);
            }
        }
        while self.place.step < place.step && !self.at_system_call()? {
            if self.step()? == Moved::Over {
                return Ok(Moved::Over);
            }
        }
        Ok(Moved::Inside)
    }

    /// [`run_to`](Self::run_to) by a route that a scout found for that place. A run that goes another way than the
    /// scout's may end at another place: in front of a system call, which it can then not be stepped over.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run_by(&mut self, route: Option<Route>, place: Place) -> io::Result<Moved> {
        if self.run_to(Place { step: 0, ..place })? == Moved::Over {
            return Ok(Moved::Over);
        }
        if let Some(route) = route
            && let Ok(breakpoint) = Breakpoint::set(self.pid(), route.address)
        {
            for meeting in 1..=route.meetings {
                match self.meet(&breakpoint)? {
                    Some(Moved::Inside) if meeting == route.meetings => self.place.step = route.step,
                    Some(Moved::Inside) => {
                        if self.step()? == Moved::Over {
                            return Ok(Moved::Over);
                        }
                        breakpoint.set_again(self.pid())?;
                    }
                    Some(Moved::Over) => return Ok(Moved::Over),
                    None => return Ok(Moved::Inside),
                }
            }
        }
        self.run_to(place)
    }

    /// Runs to a breakpoint, which is gone then. `None`: a system call came first; the child stands in front of it,
    /// and cannot be stepped.
    fn meet(&mut self, breakpoint: &Breakpoint) -> io::Result<Option<Moved>> {
        ptrace::syscall(self.pid(), None)?;
        let stop = self.wait()?;
        if matches!(stop, Stop::Mark) {
            return Ok(Some(Moved::Over));
        }
        let met = matches!(stop, Stop::Trap) && breakpoint.is_met(self.pid())?;
        breakpoint.clear(self.pid())?;
        self.at.set(None);
        match stop {
            _ if met => Ok(Some(Moved::Inside)),
            Stop::SystemCall => Ok(None),
            stop => Err(self.fault(stop)),
        }
    }

    /// Lets it go on to the end of the operation, at full speed.
    ///
    /// # Errors
    /// When it ends or is hit by a signal.
    pub fn finish(&mut self) -> io::Result<()> {
        ptrace::cont(self.pid(), None)?;
        match self.wait()? {
            Stop::Mark => Ok(()),
            stop => Err(self.fault(stop)),
        }
    }

    /// Lets go of it and leaves it stopped, as SIGSTOP stops a process that nobody traces.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn leave_stopped(&mut self) -> io::Result<()> {
        ptrace::detach(self.pid(), Signal::SIGSTOP)?;
        match self.wait()? {
            Stop::Mark => Ok(()),
            stop => Err(self.fault(stop)),
        }
    }

    /// SIGCONT for one that was [left stopped](Self::leave_stopped): it goes on to the end of the operation.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn go_on(&mut self) -> io::Result<()> {
        kill(self.pid(), Signal::SIGCONT)?;
        match self.wait()? {
            Stop::Mark => Ok(()),
            stop => Err(self.fault(stop)),
        }
    }

    /// SIGKILL, for a process that is not its parent (a victim that was forked later, and is to meet a dead one):
    /// waits until it holds no file and no lock any more, and leaves it to its parent to be reaped.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill_from_elsewhere(&self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.pid().as_raw()).ok_or(io::ErrorKind::NotFound)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        kill(self.pid(), Signal::SIGKILL)?;
        while let Err(error) = poll(&mut [PollFd::new(&handle, PollFlags::IN)], None) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// SIGKILL, and waits until nothing of it is left.
    ///
    /// # Errors
    /// When it did not die of that.
    pub fn kill(mut self) -> io::Result<()> {
        match self.child.kill()? {
            Exit::KILLED => Ok(()),
            exit => Err(io::Error::other(format!("the child ended with {exit} before it was killed"))),
        }
    }

    /// The address of the next instruction.
    ///
    /// # Errors
    /// When the child cannot be looked at.
    pub fn address(&self) -> io::Result<u64> {
        if let Some(at) = self.at.get() {
            return Ok(at);
        }
        let at = ptrace::syscall_info(self.pid())?.instruction_pointer;
        self.at.set(Some(at));
        Ok(at)
    }

    /// Whether the next instruction is a system call.
    ///
    /// # Errors
    /// When the child cannot be looked at.
    pub fn at_system_call(&self) -> io::Result<bool> {
        let at = self.address()?;
        if let Some(known) = self.code.borrow().get(&at) {
            return Ok(*known);
        }
        // At the very end of a mapping a whole word cannot be read; no system call of a C library stands there.
        let code = ptrace::read(self.pid(), at as ptrace::AddressType).unwrap_or_default();
        let is_call = if cfg!(target_arch = "x86_64") {
            code & 0xffff == 0x050f
        } else {
            code & 0xffff_ffff == 0xd400_0001
        };
        self.code.borrow_mut().insert(at, is_call);
        Ok(is_call)
    }

    /// From anywhere in a window to the beginning of the next.
    fn pass_system_call(&mut self) -> io::Result<Moved> {
        for _ in ["entry", "return"] {
            ptrace::syscall(self.pid(), None)?;
            match self.wait()? {
                Stop::SystemCall => {}
                Stop::Mark => return Ok(Moved::Over),
                stop => return Err(self.fault(stop)),
            }
        }
        // The second mark is itself a system call, and the stop it causes comes after its return.
        self.place = Place { window: self.place.window + 1, step: 0 };
        Ok(Moved::Inside)
    }

    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn wait(&self) -> io::Result<Stop> {
        self.at.set(None);
        loop {
            return Ok(match waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)) {
                Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => Stop::Trap,
                Ok(WaitStatus::Stopped(_, Signal::SIGSTOP)) => Stop::Mark,
                Ok(WaitStatus::Stopped(_, signal)) => Stop::Hit(signal),
                Ok(WaitStatus::PtraceSyscall(_)) => Stop::SystemCall,
                Ok(other) => Stop::Other(other),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            });
        }
    }

    fn fault(&self, stop: Stop) -> io::Error {
        io::Error::other(format!("the operation did not come through: {stop:?} near {}", self.place))
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "the contents are for the message of a fault")]
enum Stop {
    Trap,
    SystemCall,
    Mark,
    Hit(Signal),
    Other(WaitStatus),
}
