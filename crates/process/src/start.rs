//! Choosing how a child starts, and starting it.
//!
//! | method | what it is | when |
//! |---|---|---|
//! | zygote | a process that was made of the program once, and clones itself | by default |
//! | spare | a child that the zygote has made before anybody asked | where there is one |
//! | exec | the program is run again, and its child part takes over before `main` | what the zygote cannot give; where there is none |
//! | fork | a copy of this process | `unsafe`, asked for |
//!
//! A start is over when the number of the process is known. It fails before that, with nothing left behind, or it is a
//! child whose end will be told.

use std::os::fd::OwnedFd;

use ginnel_object::bridge::BootTicket;
use ginnel_object::{Error, ErrorKind, Manager, Result};
use rustix::process::Pid;

use crate::builder::{Settings, Start};
use crate::service;

pub(crate) mod exec;
pub(crate) mod fork;

/// What is to be started.
pub(crate) struct Plan<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) name: &'a str,
    pub(crate) manager: &'static Manager,
    pub(crate) ticket: BootTicket,
    /// Does it end with its starter (PDEATHSIG)?
    pub(crate) ends_with_parent: bool,
}

/// A child that was started: nobody else waits for this number.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// Starts the child by the best method that can do it.
///
/// # Errors
/// `Os` when the system refuses; `Unsupported` when the zygote is asked for by name and cannot be had. Nothing runs
/// then. The ticket is not discarded here.
pub(crate) fn launch(plan: &Plan<'_>) -> Result<Launched> {
    let wanted = plan.settings.start;
    if wanted == Start::Exec {
        return exec::launch(plan);
    }
    if plan.settings.fits_zygote()
        && let Some(zygote) = service::current()?.zygote()
        && let Some(launched) = zygote.launch(plan)?
    {
        return Ok(launched);
    }
    if wanted == Start::Zygote {
        return Err(Error::new(ErrorKind::Unsupported, "the zygote cannot start this process")
            .with_advice("leave the method to ginnel, or start it by running the program again"));
    }
    exec::launch(plan)
}
