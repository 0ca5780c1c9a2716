//! One wait for a handle, for futures that are written by hand.
//!
//! A handle is shared by tasks and threads, so what a task remembers between two polls (that it is announced, who is
//! to be woken, when to look again) cannot lie in the handle. It lies here, one for each task that waits.

use std::fmt;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use super::core::{Async, Place, Reactor, Wait};
use crate::error::Result;
use crate::ready::RoomIn;
use crate::ready::sealed::{Ready, Room};

/// A wait for a handle, to be polled. Dropping it takes the wish back, and hands on the wake that it may have used up.
///
/// ```
/// use std::future::poll_fn;
/// use std::task::Poll;
///
/// use ginnel_object::aio::tokio::Async;
/// use ginnel_object::semaphore::Semaphore;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let permits = Async::new(Semaphore::new(1)?)?;
/// runtime.block_on(async {
///     let mut polling = permits.polling();
///     // One future over as many handles as are wanted.
///     poll_fn(|cx| loop {
///         match polling.poll_ready(cx) {
///             // Another may have been faster; then poll again, or nobody wakes this task.
///             Poll::Ready(Ok(())) if permits.get_ref().try_acquire() => return Poll::Ready(Ok(())),
///             Poll::Ready(Ok(())) => {}
///             other => return other,
///         }
///     })
///     .await
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct Polling<'a, S: Ready, R: Reactor> {
    place: &'a OnceLock<Place<R>>,
    side: S,
    wait: Wait<R>,
}

impl<S: Ready + fmt::Debug, R: Reactor> fmt::Debug for Polling<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Polling").field(&self.side).finish()
    }
}

impl<S: Ready, R: Reactor> Polling<'_, S, R> {
    /// Ready when the handle is: there is something to receive, to take or to see, or it is closed. Takes nothing, so
    /// try at the handle ([`Async::get_ref`]) then. As long as it is ready, so is each further poll.
    ///
    /// # Errors
    /// `Forked`; `Deadlock` where this thread holds the lock; `Taken` or `Os` where no descriptor is to be had.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let attempt = &mut |side: &mut S, _| {
            side.source().map(|source| source.port.is_ready().then_some(())).transpose()
        };
        self.wait.poll(cx, self.place, &mut self.side, attempt).map(Result::flatten)
    }
}

impl<S: Ready, R: Reactor> Drop for Polling<'_, S, R> {
    fn drop(&mut self) {
        self.wait.leave(&self.side);
    }
}

impl<H, R: Reactor> Async<H, R> {
    /// A wait for something to receive, to take or to see; to read under an `RwLock`, make an `Async` of its
    /// [`ReadSide`](crate::rwlock::ReadSide).
    pub fn polling(&self) -> Polling<'_, &H, R>
    where
        H: Ready,
    {
        let (place, side) = self.place_of(0);
        Polling { place, side, wait: Wait::default() }
    }

    /// A wait for room to send.
    pub fn polling_room(&self) -> Polling<'_, RoomIn<&H>, R>
    where
        H: Room,
    {
        let (place, side) = self.place_of(1);
        Polling { place, side: RoomIn(side), wait: Wait::default() }
    }
}
