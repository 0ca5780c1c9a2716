//! Waiting for any of several things: queues, locks, signals, descriptors, processes.
//!
//! Where all of them are objects, one `futex_waitv` sleeps on all their words. With a descriptor among them, or where
//! the system forbids that call, the wait polls the given descriptors together with the ears of the objects
//! ([`crate::ready`]); then a wake costs a datagram instead of a futex wake.
//!
//! Nothing is taken: a wait says what is ready, and the caller tries there. Another may be faster; then try again.

mod exit;
mod polled;
mod ports;

use std::cell::Cell;
use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ginnel_sync::select::{self, Port};
use ginnel_sync::{Deadline, Stop, futex};

use crate::error::{Error, ErrorKind, Result};
use crate::ready::{Hearing, Source, sealed};

pub use exit::Exit;

/// What can be waited for, for something to receive, to take or to see: receiving ends and queues, locks (that they are
/// free; of an `RwLock`, for a writer, of its [`ReadSide`](crate::rwlock::ReadSide) for a reader), signals, [`Exit`].
pub trait Waitable: sealed::Ready {}

impl<T: sealed::Ready + ?Sized> Waitable for T {}

/// What can be waited for, for room to send: sending ends and queues.
pub trait WaitableSend: sealed::Room {}

impl<T: sealed::Room + ?Sized> WaitableSend for T {}

impl<T: sealed::Ready + ?Sized> sealed::Ready for &T {
    fn source(&self) -> Result<Source<'_>> {
        (**self).source()
    }

    fn check(&self) -> Result<()> {
        (**self).check()
    }
}

impl<T: sealed::Ready + ?Sized> sealed::Ready for &mut T {
    fn source(&self) -> Result<Source<'_>> {
        (**self).source()
    }

    fn check(&self) -> Result<()> {
        (**self).check()
    }
}

/// The index of the first in `items` that is ready; waits for one, up to `timeout` (`None`: as long as it takes).
/// `None`: none was ready by then.
///
/// Always the first of several: [`Select`] is fair.
///
/// # Errors
/// As [`Select::wait`].
pub fn wait_any(items: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Option<usize>> {
    let select =
        items.iter().enumerate().fold(Select::new(), |select, (index, item)| select.on(*item, index));
    select.wait_until(timeout.map_or(Deadline::NEVER, Deadline::after))
}

/// One thing among several.
enum Item<'a> {
    Ready(&'a dyn Waitable),
    Room(&'a dyn WaitableSend),
    Fd(&'a dyn AsFd),
}

impl Item<'_> {
    fn source(&self) -> Result<Source<'_>> {
        match self {
            Self::Ready(item) => item.check().and_then(|()| item.source()),
            Self::Room(item) => item.room(),
            Self::Fd(fd) => Ok(Source::fd(fd.as_fd())),
        }
    }
}

/// A set of things to wait for, each with a label.
///
/// ```
/// use ginnel_object::event::Event;
/// use ginnel_object::select::Select;
/// use ginnel_object::Queue;
///
/// let (jobs, stop) = (Queue::<u32>::bounded(8)?, Event::new()?);
/// jobs.send(7)?;
/// let select = Select::new().on(&jobs, "job").on(&stop, "stop");
/// assert_eq!(select.wait()?, "job");
/// assert_eq!(jobs.try_recv().ok(), Some(7));
/// stop.set();
/// assert_eq!(select.wait()?, "stop");
/// # Ok::<(), ginnel_object::Error>(())
/// ```
/// Fair: after a label was given, the next wait begins to look behind it, so something that is ready is told of after at
/// most all the others. Ends that receive with `&mut self` are borrowed while the set exists: make it anew for each
/// wait.
///
/// Takes nothing, so what is ready may be gone when the caller tries. A process killed in a wait leaves what its
/// sleepers leave: nothing that others wait for.
pub struct Select<'a, L> {
    items: Vec<(Item<'a>, L)>,
    next: Cell<usize>,
    interruptible: bool,
}

impl<L: fmt::Debug> fmt::Debug for Select<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.items.iter().map(|(_, label)| label)).finish()
    }
}

impl<L> Default for Select<'_, L> {
    fn default() -> Self {
        Self { items: Vec::new(), next: Cell::new(0), interruptible: false }
    }
}

impl<'a, L: Copy> Select<'a, L> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for `what` as well, and says `label` when there is something to receive, to take or to see.
    #[must_use]
    pub fn on(self, what: &'a dyn Waitable, label: L) -> Self {
        self.with(Item::Ready(what), label)
    }

    /// The same for room to send into `what`. An end that sends messages of bytes is ready when half of it is free.
    #[must_use]
    pub fn on_send(self, what: &'a dyn WaitableSend, label: L) -> Self {
        self.with(Item::Room(what), label)
    }

    /// The same for a descriptor that becomes readable, hung up or broken. With one in the set, a wake from an object
    /// costs a datagram.
    #[must_use]
    pub fn on_fd(self, fd: &'a dyn AsFd, label: L) -> Self {
        self.with(Item::Fd(fd), label)
    }

    /// A signal handler that runs in a waiting thread ends the wait, with the error `Os` of `EINTR`.
    #[must_use]
    pub fn interruptible(self) -> Self {
        Self { interruptible: true, ..self }
    }

    fn with(mut self, item: Item<'a>, label: L) -> Self {
        self.items.push((item, label));
        self
    }

    /// The label of something that is ready; waits for it.
    ///
    /// # Errors
    /// `Invalid` for an empty set; `Forked`; `Deadlock` where this thread holds a lock of the set; `Os`, also after a
    /// signal if it is interruptible; with a descriptor in the set `Taken` and `Os` as
    /// [`Registration::new`](crate::ready::Registration::new).
    pub fn wait(&self) -> Result<L> {
        loop {
            if let Some(label) = self.wait_until(Deadline::NEVER)? {
                return Ok(label);
            }
        }
    }

    /// The label of something that is ready now. Never waits.
    ///
    /// # Errors
    /// As [`Select::wait`].
    pub fn try_wait(&self) -> Result<Option<L>> {
        self.wait_until(Deadline::at_ns(0))
    }

    /// As [`Select::wait`], up to `timeout`. `None`: nothing was ready by then.
    ///
    /// # Errors
    /// As [`Select::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<L>> {
        self.wait_until(Deadline::after(timeout))
    }

    /// As [`Select::wait`], until `deadline`.
    ///
    /// # Errors
    /// As [`Select::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<L>> {
        self.wait_until(Deadline::at(deadline))
    }

    fn wait_until(&self, deadline: Deadline) -> Result<Option<L>> {
        if self.items.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "there is nothing to wait for"));
        }
        let sources = self.items.iter().map(|(item, _)| item.source()).collect::<Result<Vec<_>>>()?;
        let has_fds = sources.iter().any(|source| matches!(source.hearing, Hearing::Fd(_)));
        let by_words = !has_fds && sources.len() <= futex::WORDS_MAX && futex::can_wait_any();
        let ports: Vec<&dyn Port> = sources.iter().map(|source| &*source.port).collect();
        loop {
            let outcome = if by_words {
                select::wait_any(&ports, self.next.get(), deadline)
            } else {
                polled::wait_any(&sources, self.next.get(), deadline)?
            };
            match outcome {
                Ok(index) => {
                    self.next.set(index + 1);
                    return Ok(self.items.get(index).map(|(_, label)| *label));
                }
                Err(Stop::TimedOut) => return Ok(None),
                Err(Stop::Interrupted) if self.interruptible => {
                    return Err(std::io::Error::from(rustix::io::Errno::INTR).into());
                }
                Err(Stop::Interrupted) => {}
            }
        }
    }
}
