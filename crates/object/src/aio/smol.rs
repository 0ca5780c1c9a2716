//! Handles on the reactor of `async-io`: smol, async-std, and executors of one's own.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::Timer;

use super::core;
pub use crate::queue::Slot;

/// A handle whose operations are futures for any executor; the reactor of `async-io` runs in a thread of its own.
pub type Async<H> = core::Async<H, Smol>;

/// A descriptor in the reactor of `async-io`.
#[derive(Debug)]
pub struct Smol(async_io::Async<OwnedFd>);

impl core::Reactor for Smol {
    type Timer = Timer;

    fn register(fd: BorrowedFd<'_>) -> io::Result<Self> {
        async_io::Async::new_nonblocking(fd.try_clone_to_owned()?).map(Self)
    }

    fn poll_drain(&self, cx: &mut Context<'_>, drain: &mut dyn FnMut()) -> Poll<io::Result<()>> {
        ready!(self.0.poll_readable(cx))?;
        drain();
        Poll::Ready(Ok(()))
    }

    fn timer(after: Duration) -> Self::Timer {
        Timer::after(after)
    }
}
