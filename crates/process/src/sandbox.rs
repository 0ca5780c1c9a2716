//! What a child may do: an opt-in sandbox.
//!
//! | layer | what it takes away | of the kernel |
//! |---|---|---|
//! | no new privileges | what set-user-id programs would give | always there |
//! | seccomp (`sandbox/seccomp.rs`) | system calls that are not on a list | 4.14 |
//! | Landlock (`sandbox/landlock.rs`) | files that are not beneath a named path | 6.2 |
//!
//! A child enters it after everything else, just before its arguments are read: the arena is mapped and locked by then.
//! There is no way out of it, for its threads and for what it might execute neither. A kernel that cannot do all that was
//! asked for is an error of `spawn`; nothing runs with less.

use std::ffi::OsString;
use std::path::PathBuf;

use ginnel_object::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

mod landlock;
mod seccomp;

/// What a child may do. It limits what a mistake in the child's code, or an intruder in it, can reach; it does not keep
/// it from the arena, in which it takes part like any other.
///
/// ```
/// use ginnel_process::Sandbox;
///
/// let only_numbers = Sandbox::compute();
/// let reads_its_data = Sandbox::compute().read("/usr/share/dict");
/// let writes_there_only = Sandbox::files().read("/usr").write("/tmp/out");
/// # let _ = (only_numbers, reads_its_data, writes_there_only);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a sandbox does nothing until it is given to a builder"]
pub struct Sandbox {
    /// System calls are those of the list only.
    compute: bool,
    paths: Vec<(OsString, Access)>,
}

/// What is permitted beneath a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Access {
    Read,
    Execute,
    Write,
}

impl Sandbox {
    /// For functions that compute: memory, threads, time, chance, ginnel's objects, and the descriptors that are open.
    /// No files, no sockets, no processes, no signals to others; such calls fail with `EPERM`.
    pub fn compute() -> Self {
        Self { compute: true, paths: Vec::new() }
    }

    /// All system calls, but only those files that are permitted. Descriptors that are open stay usable, and so does the
    /// network. Starting programs, children of its own among them, needs [`Sandbox::execute`].
    pub fn files() -> Self {
        Self { compute: false, paths: Vec::new() }
    }

    /// Lets it read what is at `path`, or beneath it. The path must exist when the child starts.
    pub fn read(self, path: impl Into<PathBuf>) -> Self {
        self.permit(path.into(), Access::Read)
    }

    /// Lets it read and execute what is at `path`, or beneath it. A list of system calls forbids execution all the same.
    pub fn execute(self, path: impl Into<PathBuf>) -> Self {
        self.permit(path.into(), Access::Execute)
    }

    /// Lets it read, write, make and remove what is at `path`, or beneath it.
    pub fn write(self, path: impl Into<PathBuf>) -> Self {
        self.permit(path.into(), Access::Write)
    }

    fn permit(mut self, path: PathBuf, access: Access) -> Self {
        self.paths.push((path.into(), access));
        self
    }

    /// Can this kernel do all that a sandbox may ask for?
    #[must_use]
    pub fn is_supported() -> bool {
        seccomp::is_supported() && landlock::is_supported()
    }

    /// Where every way to a file is closed by the list of system calls, no rule about files is needed.
    fn has_rules(&self) -> bool {
        !self.compute || !self.paths.is_empty()
    }

    /// # Errors
    /// `Unsupported` when this kernel cannot do it.
    pub(crate) fn check(&self) -> Result<()> {
        let missing = match () {
            () if self.compute && !seccomp::is_supported() => "seccomp",
            () if self.has_rules() && !landlock::is_supported() => "Landlock of version 3 (Linux 6.2)",
            () => return Ok(()),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("the sandbox needs {missing}, which this kernel lacks"),
        ))
    }

    /// Closes it around this process, for good. On an error part of it may be in force.
    pub(crate) fn enter(&self) -> Result<()> {
        rustix::thread::set_no_new_privs(true)
            .map_err(|why| failed("no new privileges", why.raw_os_error()))?;
        if self.has_rules() {
            landlock::enter(&self.paths)?;
        }
        if self.compute {
            seccomp::enter(!self.paths.is_empty())?;
        }
        Ok(())
    }
}

/// A layer that the kernel refused.
fn failed(layer: &str, code: i32) -> Error {
    let why = std::io::Error::from_raw_os_error(code);
    Error::new(ErrorKind::Os, format!("the sandbox ({layer}) was refused: {why}")).with_os(Some(code))
}

/// The number of the last failed call.
fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
