//! Waiting until a list changes.

use std::time::{Duration, Instant};

use ginnel_object::{Message, Result};
use ginnel_sync::Deadline;

use super::List;

/// Every change of a list gives it a new version. Versions are compared for equality only.
impl<T: Message> List<T> {
    /// The version of the list now. Takes no lock.
    ///
    /// # Errors
    /// `Forked`, `Corrupted`.
    pub fn version(&self) -> Result<u64> {
        self.raw.version()
    }

    /// Waits until the version of the list is another than `seen`.
    ///
    /// A writer that dies right after its change may leave the waiters asleep; they look again by themselves, a second
    /// later at most.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ginnel_manager::List;
    ///
    /// let jobs = List::<u32>::new()?;
    /// let seen = jobs.version()?;
    /// assert!(!jobs.wait_changed_timeout(seen, Duration::ZERO)?);
    /// jobs.push(1)?;
    /// jobs.wait_changed(seen)?;
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Deadlock` inside a closure under a lock, `Forked`, `Corrupted`.
    pub fn wait_changed(&self, seen: u64) -> Result<()> {
        self.raw.wait_changed(seen, Deadline::NEVER).map(drop)
    }

    /// [`List::wait_changed`], up to `timeout`. False: it had not changed by then.
    ///
    /// # Errors
    /// As [`List::wait_changed`].
    pub fn wait_changed_timeout(&self, seen: u64, timeout: Duration) -> Result<bool> {
        self.raw.wait_changed(seen, Deadline::after(timeout))
    }

    /// [`List::wait_changed`], until `deadline`. False: it had not changed by then.
    ///
    /// # Errors
    /// As [`List::wait_changed`].
    pub fn wait_changed_deadline(&self, seen: u64, deadline: Instant) -> Result<bool> {
        self.raw.wait_changed(seen, Deadline::at(deadline))
    }
}
