//! What a child is told of its starter's settings, and how it takes them on.
//!
//! The block lies in the record of the child, in a place of fixed size. It holds what the builder was told and, where a
//! zygote lives, in what the starter differs from it by now: variables and the working directory. After an execution
//! most of it holds already; taking it on again changes nothing.
//!
//! Invariants
//! - I1 a child takes its settings on while it has one thread: before its function, and before anything of ginnel starts
//!   one. The zygote has one as well, or it is not used.
//! - I2 an ignored signal runs no code of ours.

#![allow(unsafe_code, reason = "changes the environment and the signals of a new process")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{self, Path};

use ginnel_object::{Error, ErrorKind, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::builder::Settings;
use crate::limits::Limits;
use crate::sandbox::Sandbox;
use crate::zygote::taken;
use crate::{cgroup, image, info};

/// Bytes of the block in a record.
const ROOM: usize = 880;

/// The settings of one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) name: String,
    pub(crate) parent_name: String,
    pub(crate) daemon: bool,
    worker: bool,
    env_clear: bool,
    /// Set, or removed; in this order.
    env: Vec<(OsString, Option<OsString>)>,
    cwd: Option<OsString>,
    cpus: Option<Vec<u16>>,
    nice: Option<i8>,
    limits: Limits,
    sandbox: Option<Sandbox>,
    cgroup: Option<OsString>,
    /// Where the function is in the image.
    pre_run: Option<u64>,
}

impl Boot {
    /// What a child of that name is to be told.
    ///
    /// # Errors
    /// `Invalid` for settings that no child can take on. `Unsupported` for a sandbox beyond this kernel.
    pub(crate) fn of(settings: &Settings, name: &str) -> Result<Self> {
        let mut env = if settings.env_clear { Vec::new() } else { taken::changed_variables() };
        for (key, value) in &settings.env {
            check_variable(key, value.as_deref())?;
            env.push((key.clone(), value.clone()));
        }
        let cwd = match &settings.cwd {
            Some(path) => Some(absolute(path)?),
            None => taken::changed_directory(),
        };
        if let Some(sandbox) = &settings.sandbox {
            sandbox.check()?;
        }
        Ok(Self {
            name: name.into(),
            parent_name: info::current().name,
            daemon: settings.daemon,
            worker: settings.worker,
            env_clear: settings.env_clear,
            env,
            cwd,
            cpus: settings.cpus.as_deref().map(check_cpus).transpose()?,
            nice: settings.nice.map(check_nice).transpose()?,
            limits: settings.limits.clone(),
            sandbox: settings.sandbox.clone(),
            cgroup: settings.cgroup.as_deref().map(absolute).transpose()?,
            pre_run: settings.pre_run.map(place_of).transpose()?,
        })
    }

    /// Leaves variables out of the block, for a child that gets its whole environment at its execution. True: there
    /// were some.
    pub(crate) fn leave_environment(&mut self) -> bool {
        self.env_clear = false;
        !mem::take(&mut self.env).is_empty()
    }

    /// # Errors
    /// `TooLarge`.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let bytes = postcard::to_allocvec(self).map_err(|why| {
            Error::new(ErrorKind::Encode, format!("the settings of a child cannot be sent: {why}"))
        })?;
        if bytes.len() > ROOM {
            let text =
                format!("the settings of a child have {} bytes; there is room for {ROOM}", bytes.len());
            return Err(Error::new(ErrorKind::TooLarge, text).with_advice("pass long values as arguments"));
        }
        Ok(bytes)
    }

    /// # Errors
    /// `Decode`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        postcard::from_bytes(bytes).map_err(|why| {
            Error::new(ErrorKind::Decode, format!("the settings of a child cannot be read: {why}"))
        })
    }

    /// Makes this process what they say. The sandbox comes last, as it would forbid the rest.
    ///
    /// # Errors
    /// What could not be done, in words that name the setting.
    pub(crate) fn apply(&self) -> Result<()> {
        if let Some(directory) = &self.cgroup {
            cgroup::enter(Path::new(directory))?;
        }
        self.change_environment();
        if let Some(path) = &self.cwd {
            env::set_current_dir(path).map_err(|why| {
                let text = format!("the working directory cannot be {}: {why}", path.display());
                Error::new(ErrorKind::Os, text).with_os(why.raw_os_error())
            })?;
        }
        if let Some(cpus) = &self.cpus {
            let mut set = CpuSet::new();
            cpus.iter().for_each(|cpu| set.set(usize::from(*cpu)));
            sched_setaffinity(None, &set)
                .map_err(|why| refused(&format!("it cannot run on the processors {cpus:?}"), why))?;
        }
        if let Some(nice) = self.nice {
            setpriority_process(None, i32::from(nice))
                .map_err(|why| refused(&format!("its nice value cannot be {nice}"), why))?;
        }
        self.limits.apply()?;
        if self.worker {
            // SAFETY: I2.
            let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
        }
        if let Some(offset) = self.pre_run {
            function_at(offset)?()?;
        }
        self.sandbox.as_ref().map_or(Ok(()), Sandbox::enter)
    }

    fn change_environment(&self) {
        if self.env_clear {
            for (key, _) in env::vars_os() {
                // SAFETY: I1.
                unsafe { env::remove_var(key) };
            }
        }
        for (key, value) in &self.env {
            match value {
                // SAFETY: I1.
                Some(value) => unsafe { env::set_var(key, value) },
                // SAFETY: I1.
                None => unsafe { env::remove_var(key) },
            }
        }
    }
}

fn refused(what: &str, why: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Os, format!("{what}: {why}")).with_os(Some(why.raw_os_error()))
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, text)
}

/// What the C library would refuse, or take for something else.
fn check_variable(key: &OsStr, value: Option<&OsStr>) -> Result<()> {
    let bad_key = key.is_empty() || key.as_bytes().iter().any(|byte| matches!(byte, b'=' | 0));
    if bad_key || value.is_some_and(|value| value.as_bytes().contains(&0)) {
        return Err(invalid(format!("{} cannot be a variable of the environment", key.display())));
    }
    Ok(())
}

fn check_cpus(cpus: &[usize]) -> Result<Vec<u16>> {
    let known = |cpu: &usize| u16::try_from(*cpu).ok().filter(|cpu| usize::from(*cpu) < CpuSet::MAX_CPU);
    let numbers: Option<Vec<u16>> = cpus.iter().map(known).collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    numbers.ok_or_else(|| invalid(format!("{cpus:?} is no set of processors")))
}

fn check_nice(nice: i32) -> Result<i8> {
    let value = i8::try_from(nice).ok().filter(|nice| (-20..=19).contains(nice));
    value.ok_or_else(|| invalid(format!("{nice} is no nice value: they go from -20 to 19")))
}

fn absolute(path: &Path) -> Result<OsString> {
    path::absolute(path)
        .map(Into::into)
        .map_err(|why| invalid(format!("{} is no path: {why}", path.display())))
}

fn place_of(run: fn() -> Result<()>) -> Result<u64> {
    image::offset_of_code(run as *const ())
}

fn function_at(offset: u64) -> Result<fn() -> Result<()>> {
    let gone = || Error::new(ErrorKind::Mismatch, "the function `pre_run` is not in this program");
    image::pre_run_at(offset).ok_or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(env: &[(&str, Option<&str>)]) -> Settings {
        let pair = |(key, value): &(&str, Option<&str>)| ((*key).into(), value.map(Into::into));
        Settings { env: env.iter().map(pair).collect(), ..Settings::default() }
    }

    #[test]
    fn a_block_is_read_as_it_was_written() {
        let run: fn() -> Result<()> = || Ok(());
        let asked = Settings {
            cpus: Some(vec![0]),
            nice: Some(7),
            limits: Limits::new().files(9),
            cwd: Some("here".into()),
            pre_run: Some(run),
            ..settings(&[("A", Some("1")), ("B", None)])
        };
        let boot = Boot::of(&asked, "x").unwrap();
        assert_eq!(Boot::decode(&boot.encode().unwrap()).unwrap(), boot);
        assert!(Path::new(boot.cwd.as_ref().unwrap()).is_absolute());
        let found = function_at(boot.pre_run.unwrap()).unwrap();
        assert_eq!((found as *const ()).addr(), (run as *const ()).addr());
    }

    #[test]
    fn what_no_child_can_be_is_refused() {
        let refused = |asked: &Settings| Boot::of(asked, "x").unwrap_err().kind() == ErrorKind::Invalid;
        assert!(refused(&settings(&[("", Some("1"))])));
        assert!(refused(&settings(&[("A=", Some("1"))])));
        assert!(refused(&settings(&[("A", Some("\0"))])));
        assert!(refused(&Settings { nice: Some(20), ..Settings::default() }));
        assert!(refused(&Settings { cpus: Some(vec![]), ..Settings::default() }));
        assert!(refused(&Settings { cpus: Some(vec![1 << 20]), ..Settings::default() }));
    }

    #[test]
    fn an_environment_that_is_too_long_can_be_left_out() {
        let mut boot = Boot::of(&settings(&[("A", Some(&"x".repeat(ROOM)))]), "x").unwrap();
        assert_eq!(boot.encode().unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(boot.leave_environment());
        assert!(boot.encode().is_ok());
        let mut boot = Boot::of(&Settings::default(), &"x".repeat(ROOM)).unwrap();
        assert_eq!(boot.encode().unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(!boot.leave_environment());
    }

    #[test]
    fn noise_is_no_block() {
        assert_eq!(Boot::decode(&[0xff; 64]).unwrap_err().kind(), ErrorKind::Decode);
        assert_eq!(Boot::decode(&[]).unwrap_err().kind(), ErrorKind::Decode);
    }
}
