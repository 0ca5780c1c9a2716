//! The end of a process, as something to wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, ErrorKind, Result};
use crate::ready::{Source, sealed};

/// Ready when a process has ended, whether or not anybody has waited for it.
///
/// The process is the one that has this number now: who made it, and has not waited for it, can be sure of that. The
/// descriptor is closed on exec.
#[derive(Debug)]
pub struct Exit(OwnedFd);

impl Exit {
    /// The end of process `pid`. One that does not exist has ended.
    ///
    /// # Errors
    /// `Invalid` for 0 and for numbers that no process has; `Os`.
    pub fn of(pid: u32) -> Result<Self> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(id) = id else {
            return Err(Error::new(ErrorKind::Invalid, format!("no process has the number {pid}")));
        };
        let fd = match pidfd_open(id, PidfdFlags::empty()) {
            // Something that is readable for ever.
            Err(Errno::SRCH) => eventfd(1, EventfdFlags::CLOEXEC),
            opened => opened,
        };
        Ok(Self(fd.map_err(std::io::Error::from)?))
    }
}

impl AsFd for Exit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl sealed::Ready for Exit {
    fn source(&self) -> Result<Source<'_>> {
        Ok(Source::fd(self.0.as_fd()))
    }
}
