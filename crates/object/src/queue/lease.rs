//! A message that is being worked on, and comes back if the work fails.

use std::fmt;
use std::ops::Deref;

use ginnel_queue::ring::Held;

use super::core::Core;
use crate::carry::Incoming;
use crate::error::Result;

/// A message that stays in the queue's keeping until it is acknowledged.
///
/// [`Lease::ack`] ends it well. Dropping it, [`Lease::nack`], or the death of this process gives the message to
/// another consumer, with [`Lease::redelivered`] one higher. May be moved to another thread.
///
/// ```
/// use ginnel_object::Queue;
///
/// let jobs = Queue::<String>::bounded(8)?;
/// jobs.send("resize cat.png".into())?;
/// drop(jobs.lease()?); // the work failed
/// let again = jobs.lease()?;
/// assert_eq!((again.as_str(), again.redelivered()), ("resize cat.png", 1));
/// again.ack()?;
/// assert!(jobs.wait_done_timeout(std::time::Duration::ZERO)?);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[must_use = "dropping a lease gives the message back"]
pub struct Lease<T> {
    core: Core,
    held: Held,
    /// What the message carries. It stays in the message until the acknowledgement.
    incoming: Option<Incoming>,
    /// `None` only after the end of the lease.
    value: Option<T>,
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("value", &self.value)
            .field("redelivered", &self.redelivered())
            .finish_non_exhaustive()
    }
}

impl<T> Lease<T> {
    pub(super) fn new(core: Core, held: Held, incoming: Option<Incoming>, value: T) -> Self {
        Self { core, held, incoming, value: Some(value) }
    }

    /// The work is done: the message is gone from the queue, and the value is yours.
    ///
    /// # Errors
    /// `Forked` in the child of a bare fork: the lease is the parent's.
    pub fn ack(mut self) -> Result<T> {
        self.core.object().check_fork()?;
        self.core.ring().ack(&self.held);
        // Handles of the value rest on holds of their own, so the tickets may go now.
        drop(self.incoming.take());
        match self.value.take() {
            Some(value) => Ok(value),
            None => unreachable!("the value leaves a lease only here, and the lease ends with it"),
        }
    }

    /// The work failed: gives the message to another consumer. The same as dropping the lease.
    pub fn nack(self) {}

    /// How often the message was given back before, by a `nack` or by a consumer's death.
    #[must_use]
    pub fn redelivered(&self) -> u32 {
        self.held.deliveries.saturating_sub(1)
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if self.value.is_none() || self.core.object().is_forked() {
            return;
        }
        // First the handles, while the message still keeps what they name alive.
        drop(self.value.take());
        if let Some(incoming) = self.incoming.take() {
            incoming.leave();
        }
        self.core.ring().nack(&self.held);
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("the value leaves a lease only when the lease ends"),
        }
    }
}
