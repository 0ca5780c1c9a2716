//! `eventfd`: a counter in the kernel, written to set and read to wait; inherited by the processes of the row.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::fault::Fault;
use crate::locks::{Signal, SignalEnd};

/// A counter of the kernel.
#[derive(Debug)]
pub(crate) struct Eventfd(EventFd);

impl Eventfd {
    /// At zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)
            .map(Self)
            .map_err(|error| Fault::failed("eventfd", error))
    }
}

impl Signal for Eventfd {
    type End<'a> = &'a Eventfd;

    fn open(&self) -> Result<&Self, Fault> {
        Ok(self)
    }
}

impl SignalEnd for &Eventfd {
    fn set(&mut self) -> Result<(), Fault> {
        self.0.write(1).map(drop).map_err(|error| Fault::failed("writing to an eventfd", error))
    }

    fn wait(&mut self) -> Result<(), Fault> {
        loop {
            match self.0.read() {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Fault::failed("reading an eventfd", error)),
            }
        }
    }
}
