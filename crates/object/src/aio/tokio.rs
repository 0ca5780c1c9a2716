//! Handles on tokio's reactor.

use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::core;
pub use crate::queue::Slot;

/// A handle whose operations are futures of a tokio runtime, which needs its I/O and its time driver (`enable_all`).
///
/// ```
/// use ginnel_object::Queue;
/// use ginnel_object::aio::tokio::Async;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// runtime.block_on(async {
///     let jobs = Async::new(Queue::<u32>::bounded(8)?)?;
///     let worker = std::thread::spawn({ let jobs = jobs.get_ref().clone(); move || jobs.send(7) });
///     assert_eq!(jobs.recv().await?, 7);
///     worker.join().expect("no panic")?;
///     Ok(())
/// })
/// # }
/// ```
///
/// # Panics
/// Its futures, when they are polled outside of such a runtime and have to wait.
pub type Async<H> = core::Async<H, Tokio>;

/// A descriptor in tokio's reactor.
#[derive(Debug)]
pub struct Tokio(UnixDatagram);

impl core::Reactor for Tokio {
    type Timer = tokio::time::Sleep;

    fn register(fd: BorrowedFd<'_>) -> io::Result<Self> {
        UnixDatagram::from_std(fd.try_clone_to_owned()?.into()).map(Self)
    }

    fn poll_drain(&self, cx: &mut Context<'_>, drain: &mut dyn FnMut()) -> Poll<io::Result<()>> {
        ready!(self.0.poll_recv_ready(cx))?;
        // "Would block" makes tokio forget that it was readable, as far as was known before the drain: a byte that comes
        // now is a new event.
        let _ = self.0.try_io(Interest::READABLE, || {
            drain();
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        Poll::Ready(Ok(()))
    }

    fn timer(after: Duration) -> Self::Timer {
        tokio::time::sleep(after)
    }
}
