//! `posix-sem`: the unnamed semaphore of the C library, shared between processes; as a lock of one unit, and as a
//! signal.
//!
//! Invariants: I1: the semaphore lies in a region that lives as long as its handles, at its start, so aligned to a
//! page. I2: it is made once by the coordinator, before any process that uses it is forked.
#![allow(unsafe_code, reason = "calls the C library")]

use std::ptr::NonNull;

use ginnel_layout::line::LINE;
use nix::errno::Errno;
use nix::libc::{self, sem_t};

use crate::fault::Fault;
use crate::locks::{Exclusion, Section, Signal, SignalEnd};
use crate::memory::Region;

const _: () = assert!(size_of::<sem_t>() <= LINE);

/// A semaphore of the C library.
#[derive(Debug)]
pub(crate) struct PosixSem(Region);

impl PosixSem {
    /// With `value` units.
    pub(crate) fn new(value: u32) -> Result<Self, Fault> {
        let made = Self(Region::new(LINE)?);
        // SAFETY: I1, I2.
        check("sem_init", unsafe { libc::sem_init(made.place().as_ptr(), 1, value) })?;
        Ok(made)
    }

    fn place(&self) -> NonNull<sem_t> {
        self.0.words(0, LINE / 8).cast()
    }

    fn end(&self) -> PosixSemEnd<'_> {
        PosixSemEnd { place: self.place(), _region: &self.0 }
    }
}

impl Exclusion for PosixSem {
    type Section<'a> = PosixSemEnd<'a>;

    fn open(&self) -> Result<PosixSemEnd<'_>, Fault> {
        Ok(self.end())
    }
}

impl Signal for PosixSem {
    type End<'a> = PosixSemEnd<'a>;

    fn open(&self) -> Result<PosixSemEnd<'_>, Fault> {
        Ok(self.end())
    }
}

/// The semaphore in the hands of one process.
#[derive(Debug)]
pub(crate) struct PosixSemEnd<'a> {
    place: NonNull<sem_t>,
    _region: &'a Region,
}

impl PosixSemEnd<'_> {
    #[inline(always)]
    fn post(&self) -> Result<(), Fault> {
        // SAFETY: I1, I2.
        check("sem_post", unsafe { libc::sem_post(self.place.as_ptr()) })
    }

    #[inline(always)]
    fn take(&self) -> Result<(), Fault> {
        loop {
            // SAFETY: I1, I2.
            match check("sem_wait", unsafe { libc::sem_wait(self.place.as_ptr()) }) {
                Err(_) if Errno::last() == Errno::EINTR => {}
                answer => return answer,
            }
        }
    }
}

impl Section for PosixSemEnd<'_> {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        self.take()?;
        let result = body();
        self.post()?;
        Ok(result)
    }
}

impl SignalEnd for PosixSemEnd<'_> {
    fn set(&mut self) -> Result<(), Fault> {
        self.post()
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.take()
    }
}

#[inline(always)]
fn check(what: &str, answer: libc::c_int) -> Result<(), Fault> {
    if answer == 0 { Ok(()) } else { Err(Fault::failed(what, Errno::last())) }
}
