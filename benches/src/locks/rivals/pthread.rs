//! `pthread` and `pthread-robust`: the mutex of the C library, shared between processes.
//!
//! Invariants: I1: the mutex lies in a region that lives as long as its handles, at its start, so aligned to a page.
//! I2: it is made once by the coordinator, before any process that uses it is forked. I3: attributes are used
//! between their making and their end only.
#![allow(unsafe_code, reason = "calls the C library")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use ginnel_layout::line::LINE;
use nix::errno::Errno;
use nix::libc::{self, pthread_mutex_t, pthread_mutexattr_t};

use crate::fault::Fault;
use crate::locks::{Exclusion, Section};
use crate::memory::Region;

const _: () = assert!(size_of::<pthread_mutex_t>() <= LINE);

/// A mutex of the C library.
#[derive(Debug)]
pub(crate) struct Pthread(Region);

impl Pthread {
    /// An ordinary one.
    pub(crate) fn new() -> Result<Self, Fault> {
        Self::with_robustness(libc::PTHREAD_MUTEX_STALLED)
    }

    /// One that tells the next locker of the death of its holder.
    pub(crate) fn robust() -> Result<Self, Fault> {
        Self::with_robustness(libc::PTHREAD_MUTEX_ROBUST)
    }

    fn with_robustness(robustness: libc::c_int) -> Result<Self, Fault> {
        let made = Self(Region::new(LINE)?);
        let mut attributes = MaybeUninit::<pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: I3: this makes them.
        check("pthread_mutexattr_init", unsafe { libc::pthread_mutexattr_init(attributes) })?;
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: I3.
        check("setpshared", unsafe { libc::pthread_mutexattr_setpshared(attributes, shared) })?;
        // SAFETY: I3.
        check("setrobust", unsafe { libc::pthread_mutexattr_setrobust(attributes, robustness) })?;
        // SAFETY: I1, I2, I3.
        check("pthread_mutex_init", unsafe { libc::pthread_mutex_init(made.place().as_ptr(), attributes) })?;
        // SAFETY: I3: this ends them.
        check("pthread_mutexattr_destroy", unsafe { libc::pthread_mutexattr_destroy(attributes) })?;
        Ok(made)
    }

    fn place(&self) -> NonNull<pthread_mutex_t> {
        self.0.words(0, LINE / 8).cast()
    }
}

impl Exclusion for Pthread {
    type Section<'a> = PthreadSection<'a>;

    fn open(&self) -> Result<PthreadSection<'_>, Fault> {
        Ok(PthreadSection { place: self.place(), _region: &self.0 })
    }
}

/// The mutex in the hands of one process.
#[derive(Debug)]
pub(crate) struct PthreadSection<'a> {
    place: NonNull<pthread_mutex_t>,
    _region: &'a Region,
}

impl Section for PthreadSection<'_> {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        // SAFETY: I1, I2.
        check("pthread_mutex_lock", unsafe { libc::pthread_mutex_lock(self.place.as_ptr()) })?;
        let result = body();
        // SAFETY: I1, I2; taken just now.
        check("pthread_mutex_unlock", unsafe { libc::pthread_mutex_unlock(self.place.as_ptr()) })?;
        Ok(result)
    }
}

#[inline(always)]
fn check(what: &str, answer: libc::c_int) -> Result<(), Fault> {
    if answer == 0 { Ok(()) } else { Err(Fault::failed(what, Errno::from_raw(answer))) }
}
