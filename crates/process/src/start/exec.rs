//! By running the program again.
//!
//! The kernel makes a fresh process of the program's own file, with a boot line in its environment; the hook takes over
//! before `main`. `/proc/self/exe` names the very file that runs, also when its path leads to a newer one by now. A
//! library cannot be run: there a small program is, which never comes to its `main` because the library is loaded into
//! it first (`LD_PRELOAD`). It is `false`: should our hook not take over, its exit code says that nothing was done.
//!
//! What a child inherits is what any execution does, but for signals: none is blocked, and none ignored except SIGHUP
//! where the starter ignores it, because it was told to outlive its terminal. Descriptors of ours are numbered from 10,
//! so that they never take the place of a standard stream that is closed.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use ginnel_object::{Error, ErrorKind, Manager, Result};
use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{Mode as FileMode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, WaitOptions, getpid, waitpid};

use super::{Launched, Plan};
use crate::boot::{Line, Mode, Name, PRELOAD, VARIABLE};
use crate::builder::{Redirect, Settings};
use crate::{hook, image, service, waiting};

/// The file of this program, whatever became of its name.
const PROGRAM: &str = "/proc/self/exe";

/// Programs that do nothing, for libraries to be loaded into. The first says by its exit code that it ran.
const HOSTS: [&str; 4] = ["/bin/false", "/usr/bin/false", "/bin/true", "/usr/bin/true"];

/// Our descriptors in a child are not below this.
const FIRST_NUMBER: i32 = 10;

/// Starts the child of a plan.
///
/// Blocks until the kernel has loaded the program. One that ends with its parent is started by the service thread: the
/// kernel watches the thread that started it, not the process.
///
/// # Errors
/// `Os` when the system refuses; `Unsupported` where the program has no hook; `Mismatch` for a library whose file was
/// replaced; `Invalid` for a variable that no environment can hold.
pub(crate) fn launch(plan: &Plan<'_>) -> Result<Launched> {
    if plan.ends_with_parent { service::current()?.run(|| start(plan)) } else { start(plan) }
}

fn start(plan: &Plan<'_>) -> Result<Launched> {
    let other;
    let arena = if ptr::eq(plan.manager, Manager::current()?) {
        arena()?
    } else {
        other = high(plan.manager.as_fd())?;
        &other
    };
    let line = Line {
        arena: arena.as_raw_fd(),
        ticket: plan.ticket.ticket,
        generation: plan.ticket.generation,
        ends_with_parent: plan.ends_with_parent,
        name: Name::of(plan.name),
        ..line(Mode::Child)
    };
    spawn(plan.settings, line, &[arena])
}

/// Starts the zygote, which gets the arena's descriptor for its children and the board for itself. It has to be called on
/// the service thread.
///
/// # Errors
/// As [`launch`].
pub(crate) fn run_zygote(board: BorrowedFd<'_>) -> Result<Launched> {
    let (arena, board) = (arena()?, high(board)?);
    let line = Line {
        arena: arena.as_raw_fd(),
        board: board.as_raw_fd(),
        ends_with_parent: true,
        ..line(Mode::Zygote)
    };
    spawn(&Settings::default(), line, &[arena, &board])
}

/// What all lines of this process have in common.
fn line(mode: Mode) -> Line {
    Line {
        mode,
        in_main: hook::enters_in_main(),
        arena: -1,
        board: -1,
        ticket: 0,
        generation: 0,
        starter: getpid().as_raw_nonzero().get().unsigned_abs(),
        ends_with_parent: false,
        image: image::fingerprint(),
        preload: 0,
        name: Name::default(),
    }
}

/// The arena's descriptor under a number that a child can have it by; it is closed by every other execution.
fn arena() -> Result<&'static OwnedFd> {
    static ARENA: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(known) = ARENA.get() {
        return Ok(known);
    }
    let made = high(Manager::current()?.as_fd())?;
    Ok(ARENA.get_or_init(|| made))
}

/// A copy of a descriptor that is not in the way of standard streams.
pub(crate) fn high(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(fd, FIRST_NUMBER).map_err(|why| refused("duplicate a descriptor", why.raw_os_error()))
}

/// Makes the process. `passed` keep their numbers.
fn spawn(settings: &Settings, mut line: Line, passed: &[&OwnedFd]) -> Result<Launched> {
    if !hook::is_linked() {
        return Err(Error::new(ErrorKind::Unsupported, "the constructors of this program were not called")
            .with_advice("start it by its loader, and keep its section .init_array"));
    }
    let library = if image::is_program() { None } else { Some(image::Library::own()?) };
    let path = match library {
        None => PROGRAM,
        Some(_) => host()?,
    };
    line.preload = library.map_or(0, |library| library.as_os_str().len() as u32);
    let environment = environment(settings, &line, library)?;
    let (actions, _copies) = actions(settings, passed)?;
    let attributes = attributes().map_err(|why| refused("prepare a process", why as i32))?;
    let pid = posix_spawn(path, &actions, &attributes, arguments(), &environment)
        .map_err(|why| refused("start a process", why as i32))?;
    launched(pid.as_raw())
}

/// A new child of this process, by its number.
pub(crate) fn launched(pid: i32) -> Result<Launched> {
    let pid = Pid::from_raw(pid).ok_or_else(|| refused("start a process", Errno::ECHILD as i32))?;
    waiting::open(pid).map(|pidfd| Launched { pid, pidfd }).inspect_err(|_| {
        // Nobody could wait for it by a descriptor.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    })
}

pub(crate) fn refused(what: &str, code: i32) -> Error {
    let why = std::io::Error::from_raw_os_error(code);
    Error::new(ErrorKind::Os, format!("the system refused to {what}: {why}")).with_os(Some(code))
}

/// A program that a library can be loaded into.
fn host() -> Result<&'static str> {
    HOSTS.into_iter().find(|path| Path::new(path).exists()).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "there is no program that a library could be loaded into")
            .with_advice("install /bin/true")
    })
}

/// The child's command line is the starter's: it is what users of `ps` look for.
fn arguments() -> &'static [CString] {
    static ARGUMENTS: OnceLock<Vec<CString>> = OnceLock::new();
    ARGUMENTS.get_or_init(|| env::args_os().filter_map(|text| CString::new(text.into_vec()).ok()).collect())
}

/// The starter's environment, with the builder's changes, and the line.
fn environment(settings: &Settings, line: &Line, library: Option<&Path>) -> Result<Vec<CString>> {
    let mut variables: Vec<(OsString, OsString)> =
        if settings.env_clear { Vec::new() } else { env::vars_os().collect() };
    for (key, value) in &settings.env {
        variables.retain(|(known, _)| known != key);
        variables.extend(value.iter().map(|value| (key.clone(), value.clone())));
    }
    variables.retain(|(known, _)| known != VARIABLE);
    variables.push((VARIABLE.into(), line.to_string().into()));
    if let Some(library) = library {
        let theirs = variables.iter().position(|(known, _)| known == PRELOAD);
        let theirs = theirs.map(|index| variables.swap_remove(index).1);
        variables.push((PRELOAD.into(), preload(library, theirs)?));
    }
    variables.into_iter().map(|(key, value)| variable(key, &value)).collect()
}

/// Our library, then theirs.
fn preload(library: &Path, theirs: Option<OsString>) -> Result<OsString> {
    let bytes = library.as_os_str().as_bytes();
    if bytes.iter().any(|byte| matches!(byte, b':' | b' ')) {
        let text = format!("the loader cannot be told to load {}", library.display());
        return Err(Error::new(ErrorKind::Unsupported, text)
            .with_advice("install the library at a path without colons and spaces"));
    }
    let mut value = library.as_os_str().to_os_string();
    if let Some(theirs) = theirs {
        value.push(":");
        value.push(theirs);
    }
    Ok(value)
}

fn variable(key: OsString, value: &OsStr) -> Result<CString> {
    let mut bytes = key.into_vec();
    // The kernel's own rule for names; a first `=` belongs to the name in some programs.
    let good = !bytes.is_empty() && !bytes.iter().skip(1).any(|byte| *byte == b'=');
    bytes.push(b'=');
    bytes.extend_from_slice(value.as_bytes());
    CString::new(bytes).ok().filter(|_| good).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            "a variable of an environment has an empty name, or a zero byte, or `=` in its name",
        )
    })
}

/// What the new process does with descriptors before it is the program. The copies must live until it is there.
fn actions(settings: &Settings, passed: &[&OwnedFd]) -> Result<(PosixSpawnFileActions, Vec<OwnedFd>)> {
    let mut copies = Vec::new();
    let failed = |why: Errno| refused("redirect a stream", why as i32);
    let mut redirect = |actions: &mut PosixSpawnFileActions, number, fd: BorrowedFd<'_>| -> Result<()> {
        // From a high number, so that no stream is taken from where another was put before.
        let copy = high(fd)?;
        actions.add_dup2(copy.as_raw_fd(), number).map_err(failed)?;
        copies.push(copy);
        Ok(())
    };
    let mut actions = PosixSpawnFileActions::init().map_err(failed)?;
    for (number, stream) in (0..).zip(&settings.stdio) {
        match stream {
            Redirect::Inherit => {}
            Redirect::Null => redirect(&mut actions, number, null()?.as_fd())?,
            Redirect::Fd(fd) => redirect(&mut actions, number, fd.as_fd())?,
        }
    }
    for fd in passed {
        // Onto itself: that keeps it open.
        actions.add_dup2(fd.as_raw_fd(), fd.as_raw_fd()).map_err(failed)?;
    }
    Ok((actions, copies))
}

fn null() -> Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, FileMode::empty())
        .map_err(|why| refused("open /dev/null", why.raw_os_error()))
}

fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    let mut defaults = SigSet::all();
    for kept in [Signal::SIGHUP, Signal::SIGKILL, Signal::SIGSTOP] {
        defaults.remove(kept);
    }
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&defaults)?;
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(environment: &[CString], variable: &str) -> bool {
        environment.iter().any(|one| one.as_bytes() == variable.as_bytes())
    }

    #[test]
    fn an_environment_is_the_starters_with_changes() {
        let set = |key: &str, value: Option<&str>| (key.into(), value.map(Into::into));
        let env = vec![set("A", Some("1")), set("A", Some("2")), set("B", Some("3")), set("B", None)];
        let settings = Settings { env_clear: true, env, ..Settings::default() };
        let made = environment(&settings, &line(Mode::Child), None).expect("can be made");
        assert!(has(&made, "A=2") && made.len() == 2, "{made:?}");
        let made = environment(&Settings::default(), &line(Mode::Child), None).expect("can be made");
        assert_eq!(made.len(), env::vars_os().count() + 1);
        for bad in ["", "A=B", "A\0"] {
            let settings = Settings { env: vec![set(bad, Some("1"))], ..Settings::default() };
            let error = environment(&settings, &line(Mode::Child), None).expect_err("is no name");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn a_library_comes_first_and_the_line_says_how_long_it_is() {
        let library = Path::new("/lib/ours.so");
        let env = vec![(PRELOAD.into(), Some("theirs.so".into()))];
        let settings = Settings { env_clear: true, env, ..Settings::default() };
        let made = environment(&settings, &line(Mode::Child), Some(library)).expect("can be made");
        assert!(has(&made, "LD_PRELOAD=/lib/ours.so:theirs.so"), "{made:?}");
        let error = preload(Path::new("/a b/c.so"), None).expect_err("cannot be listed");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
