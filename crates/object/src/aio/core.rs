//! The one operation of all futures: try, arm, try again, be pending.
//!
//! ```text
//!   loop  1 try                    something: leave, Ready
//!         2 bit, arm               the object changed: 1
//!         3 try                    something: leave, Ready
//!         4 descriptor readable    drain, 1
//!         5 slice over             ask for the dead, 1
//!         Pending
//! ```
//! - I1 a future that was armed leaves exactly once: when it gives a value, or when it is dropped.
//!
//! A descriptor is shared by the futures of one `Async`, and a reactor wakes only the one that asked last; the others
//! hear of it from that one ([`crate::ready`], I1).

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ginnel_layout::atomic::spin_loop;

use crate::error::Result;
use crate::ready::sealed::{Ready, Room};
use crate::ready::{EarRef, Hearing, Listener, RoomIn, Source};

/// The longest slice of a pending future.
const SLICE_LONGEST: Duration = Duration::from_millis(50);

/// Looks of a future that nobody is bound to wake: about a microsecond, then a millisecond's timer.
const PATIENT_LOOKS: u32 = 64;

/// What a runtime offers.
pub trait Reactor: fmt::Debug + Sized + Send + Sync + Unpin + 'static {
    /// Ready after a while.
    type Timer: Future + Send;

    /// Watches a copy of `fd`.
    ///
    /// # Errors
    /// Those of the system.
    fn register(fd: BorrowedFd<'_>) -> io::Result<Self>;

    /// Calls `drain` once the descriptor is readable, then forgets that it was.
    fn poll_drain(&self, cx: &mut Context<'_>, drain: &mut dyn FnMut()) -> Poll<io::Result<()>>;

    /// Ready after `after`.
    fn timer(after: Duration) -> Self::Timer;
}

/// A handle whose operations are futures on the reactor `R`.
///
/// Cheap: descriptors are opened by the first operation that waits, in the reactor of the task that polls it.
pub struct Async<H, R: Reactor> {
    handle: H,
    /// To receive, to take or to see; and to send, or to read.
    places: [OnceLock<Place<R>>; 2],
}

/// Where futures of one direction are woken.
pub(super) struct Place<R> {
    /// None: the descriptor is the handle's own.
    ear: Option<Arc<EarRef>>,
    reactor: R,
}

impl<H: fmt::Debug, R: Reactor> fmt::Debug for Async<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Async").field(&self.handle).finish()
    }
}

impl<H: Clone, R: Reactor> Clone for Async<H, R> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), places: Default::default() }
    }
}

impl<H, R: Reactor> Async<H, R> {
    /// Makes futures of the operations of `handle`.
    ///
    /// # Errors
    /// None so far: descriptors are opened when they are needed.
    pub fn new(handle: H) -> Result<Self> {
        Ok(Self::over(handle))
    }

    pub(super) fn over(handle: H) -> Self {
        Self { handle, places: Default::default() }
    }

    /// The handle.
    pub fn get_ref(&self) -> &H {
        &self.handle
    }

    /// The handle back.
    pub fn into_inner(self) -> H {
        self.handle
    }

    /// Where futures of one direction are woken, and the handle itself.
    pub(super) fn place_and_handle(&mut self, direction: usize) -> (&OnceLock<Place<R>>, &mut H) {
        (&self.places[direction], &mut self.handle)
    }

    /// The same for many at once.
    pub(super) fn place_of(&self, direction: usize) -> (&OnceLock<Place<R>>, &H) {
        (&self.places[direction], &self.handle)
    }

    /// A future of what one waits for with the handle.
    pub(super) fn taking<T, F>(&self, attempt: F) -> Op<'_, &H, R, F>
    where
        H: Ready,
        F: FnMut(&mut &H, bool) -> Option<T> + Unpin,
    {
        Op::new(&self.places[0], &self.handle, attempt)
    }

    /// The same for ends that receive with `&mut self`.
    pub(super) fn taking_mut<T, F>(&mut self, attempt: F) -> Op<'_, &mut H, R, F>
    where
        H: Ready,
        F: FnMut(&mut &mut H, bool) -> Option<T> + Unpin,
    {
        Op::new(&self.places[0], &mut self.handle, attempt)
    }

    /// A future of what one waits for with the other side of the handle, which `side` gives.
    pub(super) fn beside<'a, S, T, F>(&'a self, side: impl FnOnce(&'a H) -> S, attempt: F) -> Op<'a, S, R, F>
    where
        S: Ready,
        F: FnMut(&mut S, bool) -> Option<T> + Unpin,
    {
        Op::new(&self.places[1], side(&self.handle), attempt)
    }

    /// A future of room to send.
    pub(super) fn sending<T, F>(&self, attempt: F) -> Op<'_, RoomIn<&H>, R, F>
    where
        H: Room,
        F: FnMut(&mut RoomIn<&H>, bool) -> Option<T> + Unpin,
    {
        Op::new(&self.places[1], RoomIn(&self.handle), attempt)
    }

    /// The same for ends that send with `&mut self`.
    pub(super) fn sending_mut<T, F>(&mut self, attempt: F) -> Op<'_, RoomIn<&mut H>, R, F>
    where
        H: Room,
        F: FnMut(&mut RoomIn<&mut H>, bool) -> Option<T> + Unpin,
    {
        Op::new(&self.places[1], RoomIn(&mut self.handle), attempt)
    }
}

/// What a future remembers from one poll to the next.
pub(super) struct Wait<R: Reactor> {
    listener: Listener,
    /// Made at the first poll that is pending.
    timer: Option<Pin<Box<R::Timer>>>,
    slice: Duration,
}

impl<R: Reactor> Default for Wait<R> {
    fn default() -> Self {
        Self { listener: Listener::default(), timer: None, slice: Duration::ZERO }
    }
}

impl<R: Reactor> Wait<R> {
    /// One poll. `attempt` is told whether this wait is armed.
    pub(super) fn poll<H: Ready, T>(
        &mut self,
        cx: &mut Context<'_>,
        place: &OnceLock<Place<R>>,
        handle: &mut H,
        attempt: &mut dyn FnMut(&mut H, bool) -> Option<T>,
    ) -> Poll<Result<T>> {
        loop {
            if let Some(value) = attempt(handle, self.listener.is_armed()) {
                self.leave(handle);
                return Poll::Ready(Ok(value));
            }
            handle.check()?;
            let source = handle.source()?;
            let reactor = self.listen(&source, place)?;
            if !self.listener.arm(&source, cx.waker())? {
                continue;
            }
            drop(source);
            if let Some(value) = self.attempt_armed(handle, attempt) {
                self.leave(handle);
                return Poll::Ready(Ok(value));
            }
            let listener = &self.listener;
            if let Some(reactor) = reactor
                && let Poll::Ready(heard) = reactor.poll_drain(cx, &mut || {
                    listener.drain();
                })
            {
                heard?;
                continue;
            }
            ready!(self.poll_slice(cx));
            handle.source()?.port.probe();
        }
    }

    /// The attempt that counts, after arming. Where somebody is in the middle of what is waited for, and will wake
    /// nobody at its end, that end is most often some nanoseconds away.
    fn attempt_armed<H, T>(
        &self,
        handle: &mut H,
        attempt: &mut dyn FnMut(&mut H, bool) -> Option<T>,
    ) -> Option<T> {
        let looks = if self.listener.is_napping() { PATIENT_LOOKS } else { 0 };
        attempt(handle, true).or_else(|| {
            (0..looks).find_map(|_| {
                spin_loop();
                attempt(handle, true)
            })
        })
    }

    /// Finds or opens the place, and what watches it. None: nobody can be heard there.
    fn listen<'p>(&mut self, source: &Source<'_>, place: &'p OnceLock<Place<R>>) -> Result<Option<&'p R>> {
        let place = match (place.get(), &source.hearing) {
            (Some(place), _) => place,
            (None, Hearing::Bells { object, line, .. }) => {
                let ear = Arc::new(EarRef::of(object, *line)?);
                let reactor = R::register(ear.as_fd())?;
                place.get_or_init(|| Place { ear: Some(ear), reactor })
            }
            (None, Hearing::Fd(fd)) => {
                let reactor = R::register(*fd)?;
                place.get_or_init(|| Place { ear: None, reactor })
            }
            (None, Hearing::Deaf) => return Ok(None),
        };
        if !self.listener.is_armed() {
            self.listener = Listener::at(place.ear.clone());
        }
        Ok(Some(&place.reactor))
    }

    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| {
            let shortest = self.listener.look_again_in();
            self.slice = (self.slice * 2).max(shortest).min(SLICE_LONGEST);
            Box::pin(R::timer(if self.listener.is_napping() { shortest } else { self.slice }))
        });
        ready!(timer.as_mut().poll(cx));
        self.timer = None;
        Poll::Ready(())
    }

    /// Ends the wait (I1).
    pub(super) fn leave<H: Ready>(&mut self, handle: &H) {
        if self.listener.is_armed()
            && let Ok(source) = handle.source()
        {
            self.listener.leave(&source);
        }
        self.timer = None;
        self.slice = Duration::ZERO;
    }
}

/// One operation.
#[must_use = "futures do nothing unless they are polled"]
pub(super) struct Op<'a, H: Ready, R: Reactor, F> {
    place: &'a OnceLock<Place<R>>,
    handle: H,
    attempt: F,
    wait: Wait<R>,
}

impl<'a, H: Ready, R: Reactor, F> Op<'a, H, R, F> {
    fn new(place: &'a OnceLock<Place<R>>, handle: H, attempt: F) -> Self {
        Self { place, handle, attempt, wait: Wait::default() }
    }
}

impl<H: Ready + Unpin, R: Reactor, T, F: FnMut(&mut H, bool) -> Option<T> + Unpin> Future
    for Op<'_, H, R, F>
{
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let Self { place, handle, attempt, wait } = self.get_mut();
        wait.poll(cx, place, handle, attempt)
    }
}

impl<H: Ready, R: Reactor, F> Drop for Op<'_, H, R, F> {
    fn drop(&mut self) {
        self.wait.leave(&self.handle);
    }
}
