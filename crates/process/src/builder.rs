//! How a child is started: the builder, and what it was told.
//!
//! A builder only collects. What it collected reaches a child by two ways: what the kernel does at an execution
//! (descriptors, environment, directory) is done there by the starter, and everything is told to the child in its boot
//! block (`boot/settings.rs`), which is all that a clone of the zygote has.

#![allow(unsafe_code, reason = "hands the promise of who forks on")]

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ginnel_object::bridge::{self, Head, Record};
use ginnel_object::message::out::Out;
use ginnel_object::{Manager, Message, Result};

use crate::boot::settings::Boot;
use crate::cgroup::OomKills;
use crate::child::{Child, Kind, Process};
use crate::limits::Limits;
use crate::sandbox::Sandbox;
use crate::start::{self, Launched, Plan};
use crate::task::{self, Task};
use crate::{image, info, service};

/// By which method a child is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// The fastest that can do what is asked.
    #[default]
    Auto,
    /// By the zygote, or not at all.
    Zygote,
    /// By running the program again. Slower; with a layout of its memory that no other child has, and with all that
    /// the zygote does not take along: user and group, file creation mask, namespaces, capabilities of this moment.
    Exec,
}

/// What happens to a child when its starter dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnParentDeath {
    /// It is killed. Daemons always are.
    Kill,
    /// It goes on, and finishes.
    Continue,
}

/// Where a standard stream of a child leads.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// Where the starter's leads.
    #[default]
    Inherit,
    /// To `/dev/null`.
    Null,
    /// To this descriptor. Every child that the builder starts gets a copy of its own.
    Fd(OwnedFd),
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Self {
        Self::Fd(file.into())
    }
}

/// A [`Stdio`] as the builder keeps it.
#[derive(Debug, Clone, Default)]
pub(crate) enum Redirect {
    #[default]
    Inherit,
    Null,
    Fd(Arc<OwnedFd>),
}

impl From<Stdio> for Redirect {
    fn from(stdio: Stdio) -> Self {
        match stdio {
            Stdio::Inherit => Self::Inherit,
            Stdio::Null => Self::Null,
            Stdio::Fd(fd) => Self::Fd(Arc::new(fd)),
        }
    }
}

/// What a builder was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) daemon: bool,
    /// Of a pool.
    pub(crate) worker: bool,
    pub(crate) start: Start,
    pub(crate) on_parent_death: Option<OnParentDeath>,
    pub(crate) env_clear: bool,
    /// Set, or removed; in the order of the calls.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) cwd: Option<PathBuf>,
    /// Standard input, output, error.
    pub(crate) stdio: [Redirect; 3],
    pub(crate) cpus: Option<Vec<usize>>,
    pub(crate) nice: Option<i32>,
    pub(crate) limits: Limits,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) pre_run: Option<fn() -> Result<()>>,
}

impl Settings {
    /// Can a clone of the zygote be made what is asked? Its standard streams are those of the zygote.
    pub(crate) fn fits_zygote(&self) -> bool {
        self.stdio.iter().all(|stream| matches!(stream, Redirect::Inherit))
    }

    /// Is the child killed when its starter dies?
    fn ends_with_parent(&self) -> bool {
        self.daemon || self.worker || self.on_parent_death == Some(OnParentDeath::Kill)
    }
}

/// How children are started: as `std::thread::Builder`, and reusable.
///
/// ```
/// use ginnel_process::Process;
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let child = Process::builder().name("squarer").nice(5).env("LEVEL", "3").spawn(square, 12)?;
/// assert_eq!(child.name(), "squarer");
/// assert_eq!(child.join()?, 144);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
///
/// A setting that the child cannot take on (a directory that is gone, a limit that is not its to raise) ends it before
/// the function runs, and `join` says which it was.
#[derive(Debug, Clone, Default)]
#[must_use = "a builder starts nothing until `spawn`"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// Its name, instead of `Process-1`, `Process-2` and so on. It need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// It ends when the program does, however that ends, and nobody waits for it. It may have no children.
    pub fn daemon(mut self) -> Self {
        self.settings.daemon = true;
        self
    }

    /// Sets a variable of its environment. The other variables are the starter's.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.settings.env.push((key.into(), Some(value.into())));
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.settings.env.push((key.into(), None));
        self
    }

    /// Empties its environment, but for what [`Builder::env`] sets, before or after this.
    pub fn env_clear(mut self) -> Self {
        self.settings.env_clear = true;
        self
    }

    /// Its working directory, instead of the starter's. A relative path begins at the starter's.
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.cwd = Some(path.into());
        self
    }

    /// Its standard input. Anything but [`Stdio::Inherit`] is given by running the program again.
    pub fn stdin(mut self, stdio: impl Into<Stdio>) -> Self {
        self.settings.stdio[0] = stdio.into().into();
        self
    }

    /// Its standard output; as [`Builder::stdin`].
    pub fn stdout(mut self, stdio: impl Into<Stdio>) -> Self {
        self.settings.stdio[1] = stdio.into().into();
        self
    }

    /// Its standard error; as [`Builder::stdin`].
    pub fn stderr(mut self, stdio: impl Into<Stdio>) -> Self {
        self.settings.stdio[2] = stdio.into().into();
        self
    }

    /// By which method it is started.
    pub fn start(mut self, start: Start) -> Self {
        self.settings.start = start;
        self
    }

    /// What happens to it when this process dies. Without this, daemons are killed and others go on.
    pub fn on_parent_death(mut self, what: OnParentDeath) -> Self {
        self.settings.on_parent_death = Some(what);
        self
    }

    /// The processors it may run on, counted from 0.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.settings.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// Its nice value, from -20 (first) to 19 (last). Below the starter's needs a privilege.
    pub fn nice(mut self, nice: i32) -> Self {
        self.settings.nice = Some(nice);
        self
    }

    /// What it may use of the machine.
    ///
    /// ```
    /// use ginnel_process::{Limits, Process};
    ///
    /// fn descriptors_left() -> usize {
    ///     (0..).map_while(|_| std::fs::File::open("/dev/null").ok()).collect::<Vec<_>>().len()
    /// }
    ///
    /// let child = Process::builder().limits(Limits::new().files(32)).spawn(descriptors_left, ())?;
    /// assert!(child.join()? < 32);
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// What it may do: which files it may open, which system calls it may make.
    ///
    /// ```
    /// use ginnel_process::{Process, Sandbox};
    ///
    /// fn can_read() -> bool {
    ///     std::fs::read("/etc/hostname").is_ok() || std::fs::read("/proc/self/stat").is_ok()
    /// }
    ///
    /// if Sandbox::is_supported() {
    ///     let child = Process::builder().sandbox(Sandbox::compute()).spawn(can_read, ())?;
    ///     assert!(!child.join()?);
    /// }
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.settings.sandbox = Some(sandbox);
        self
    }

    /// The directory of the control group that it runs in, of version 1 or 2, which exists and which it may enter. With the
    /// memory controller there, `Killed` says whether the kernel killed it for want of memory.
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.cgroup = Some(directory.into());
        self
    }

    /// Runs in the child, after all other settings but the sandbox and before the arguments are read. An error of it is
    /// the end of the child.
    ///
    /// A function, or a closure that captures nothing.
    pub fn pre_run(mut self, run: fn() -> Result<()>) -> Self {
        self.settings.pre_run = Some(run);
        self
    }

    /// It works for a pool of this process: it is killed when this process dies and ended when it exits, as a daemon, but
    /// may have children; Ctrl-C at the terminal is this process's to answer.
    #[doc(hidden)]
    pub fn worker(mut self) -> Self {
        self.settings.worker = true;
        self
    }

    /// Runs `f` in a child with these settings: a function, or a closure that captures nothing. One argument is given
    /// bare, several as a tuple, none as `()`.
    ///
    /// Returns when the child exists; it may not have run yet. Blocks for as long as the kernel takes to make a
    /// process. May be called from any thread, and inside a child that is no daemon. A child lives in the arena of its
    /// starter, so the arguments may hold any handle.
    ///
    /// # Errors
    /// `Encode` or `TooLarge` when the arguments or the settings cannot be sent. `Full` when the arena has no room, or no
    /// participant left. `Invalid` in a daemon, and while the program is ending. `Unsupported` when the sandbox is more
    /// than this kernel can do. `Os` when the system refuses a process. Nothing was started then.
    pub fn spawn<F, A, S>(&self, f: F, args: A) -> Result<Process<F::Output>>
    where
        F: Task<A, S>,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "this closure captures variables: pass them as arguments, or use spawn!"
            )
        };
        let _ = f;
        let thunk = image::offset_of(task::entry::<F, A, S>)?;
        let child = self.begin(thunk, |out| F::write(&args, out), start::launch)?;
        Ok(Process::new(child))
    }

    /// Runs `f` in a copy of this process, so it may capture whatever there is. Its result comes back like any other's,
    /// and so does a panic. The handles that it captured are this process's and fail there (`Forked`); those that it
    /// makes itself work. Settings hold, but for streams and the start method.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    ///
    /// # Safety
    /// No other thread of this process may be in the middle of anything that `f` needs: it does not exist in the child,
    /// and what it has locked stays locked there, the allocator included. A program with one thread has no such thing;
    /// the one that ginnel starts for its own needs is taken care of.
    pub unsafe fn fork<R: Message>(&self, f: impl FnOnce() -> R) -> Result<Process<R>> {
        // SAFETY: the contract of this function.
        let launch = |plan: &Plan<'_>| unsafe { start::fork::launch(plan, f) };
        Ok(Process::new(self.begin(0, |_| Ok(()), launch)?))
    }

    /// What all starts have in common: the record, with arguments and settings, and what becomes of it.
    fn begin(
        &self,
        thunk: u64,
        write: impl FnOnce(&mut Out<'_>) -> Result<()>,
        launch: impl FnOnce(&Plan<'_>) -> Result<Launched>,
    ) -> Result<Arc<Child>> {
        service::current()?.check_intake()?;
        let manager = Manager::current()?;
        let args = bridge::seal(manager, write)?;
        let numbered = info::next_name();
        let name = self.settings.name.clone().unwrap_or(numbered);
        let (boot, settings) = self.boot_block(&name)?;
        let head = Head { thunk, image: image::fingerprint() };
        let record = Record::make(manager, head, &boot, args)?;
        let ticket = record.ticket()?;
        let ends_with_parent = settings.ends_with_parent();
        let plan = Plan { settings: &settings, name: &name, manager, ticket, ends_with_parent };
        let oom_kills = settings.cgroup.as_deref().map(OomKills::of);
        let kind = Kind { daemon: settings.daemon, worker: settings.worker };
        match launch(&plan) {
            Ok(launched) => Ok(Child::new(name, kind, record, ticket, oom_kills, launched)),
            Err(error) => {
                record.settle(ticket);
                Err(error)
            }
        }
    }

    /// One child for each item, which is its argument or the tuple of its arguments.
    ///
    /// # Errors
    /// As [`Builder::spawn`], for the first that could not be started. Those started before it are killed.
    pub fn spawn_all<F, I, S>(&self, f: F, items: I) -> Result<Vec<Process<F::Output>>>
    where
        I: IntoIterator,
        F: Task<I::Item, S>,
    {
        let mut started = Vec::new();
        for item in items {
            match self.spawn(f, item) {
                Ok(child) => started.push(child),
                Err(error) => {
                    // One that has ended by itself is not there to be killed.
                    started.iter().for_each(|child| drop(child.kill()));
                    started.iter().for_each(Process::wait);
                    return Err(error);
                }
            }
        }
        Ok(started)
    }

    /// The boot block, and the settings to start with. An environment that is too long for the block is left to an
    /// execution, which takes one of any length.
    fn boot_block(&self, name: &str) -> Result<(Vec<u8>, Cow<'_, Settings>)> {
        let mut boot = Boot::of(&self.settings, name)?;
        match boot.encode() {
            Err(_) if boot.leave_environment() => {
                let settings = Settings { start: Start::Exec, ..self.settings.clone() };
                Ok((boot.encode()?, Cow::Owned(settings)))
            }
            bytes => Ok((bytes?, Cow::Borrowed(&self.settings))),
        }
    }
}
