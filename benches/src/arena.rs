//! The shared memory of rows that go through the crate users name: made by the coordinator, attached to by each
//! measured process on its own, as a participant of its own.

use std::os::fd::AsFd;

use ginnel::{Error, Manager, spsc};

use crate::fault::Fault;
use crate::plan::{Row, Wait};

/// The name of the one object in the manager of a row.
pub(crate) const NAME: &str = "bench";
/// Room besides the messages.
const SLACK: usize = 4 << 20;

/// A private manager.
#[derive(Debug)]
pub(crate) struct Arena(Manager);

impl Arena {
    /// An arena with room for an object of `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Result<Self, Fault> {
        Manager::new(bytes + SLACK).map(Self).map_err(|error| failed("making a manager", error))
    }

    /// The coordinator's own handle.
    pub(crate) fn manager(&self) -> &Manager {
        &self.0
    }

    /// Attaches this process. What the fork inherited belongs to the coordinator.
    pub(crate) fn attach(&self) -> Result<Manager, Fault> {
        let fd = self.0.as_fd().try_clone_to_owned().map_err(|error| Fault::failed("dup", error))?;
        Manager::from_fd(fd).map_err(|error| failed("attaching to the manager", error))
    }
}

/// A call into the library that failed.
pub(crate) fn failed(what: &str, error: impl Into<Error>) -> Fault {
    Fault::failed(what, error.into())
}

/// How the ends of the row wait.
pub(crate) fn wait_of(row: &Row) -> spsc::Wait {
    match row.wait {
        Some(Wait::Spin) => spsc::Wait::Spin,
        Some(Wait::Sleep) => spsc::Wait::Sleep,
        Some(Wait::Default) | None => spsc::Wait::Adaptive,
    }
}
