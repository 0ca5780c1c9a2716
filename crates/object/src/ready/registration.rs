//! A wait for a descriptor, step by step: for reactors that ginnel does not know, and for those it does.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use ginnel_sync::park::{Arm, SLICE_FIRST};

use super::{EarRef, Hearing, Source};
use crate::error::{ErrorKind, Result};
use crate::select::Waitable;

/// How soon one looks again whom nobody is bound to wake.
const NAP: Duration = Duration::from_millis(1);

/// What a waiter remembers between two looks.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    ear: Option<Arc<EarRef>>,
    number: Option<u64>,
    /// At a word of the object somebody believes that we sleep.
    armed: bool,
    naps: bool,
}

impl Listener {
    /// One that listens at an ear which is open already.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn at(ear: Option<Arc<EarRef>>) -> Self {
        Self { ear, ..Self::default() }
    }

    /// Has it announced itself, and not yet left? Then what it takes is taken as by one who has slept.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
    }

    /// Announces the waiter at `source`. False: look again, something changed. True: look once more, then wait for
    /// `waker` or for [`Listener::fd`] to be readable.
    pub(crate) fn arm(&mut self, source: &Source<'_>, waker: &Waker) -> Result<bool> {
        if let Hearing::Bells { bells, object, line } = source.hearing {
            if self.ear.is_none() {
                self.ear = Some(Arc::new(EarRef::of(object, line)?));
            }
            if let Some(ear) = &self.ear {
                self.number = Some(ear.listen(self.number, waker));
                ear.want(bells);
            }
        }
        self.armed = true;
        let arm = source.port.arm();
        self.naps = matches!(arm, Arm::Nap(_)) || matches!(source.hearing, Hearing::Deaf);
        Ok(arm != Arm::Again)
    }

    /// Takes the bytes away, once the descriptor was readable. Then arm and look again.
    pub(crate) fn drain(&self) -> bool {
        match (&self.ear, self.number) {
            (Some(ear), Some(number)) => ear.drain(number),
            _ => false,
        }
    }

    /// Ends the wait, and hands on what it may have used up. The ear stays open for the next one.
    pub(crate) fn leave(&mut self, source: &Source<'_>) {
        if let (Some(ear), Some(number), Hearing::Bells { bells, .. }) =
            (&self.ear, self.number.take(), &source.hearing)
        {
            ear.leave(number, bells);
        }
        if std::mem::take(&mut self.armed) {
            // Always as one who has slept: whether a byte was for this waiter or for another one here, nobody knows.
            source.port.pass(true);
        }
    }

    /// Is nobody bound to wake it?
    pub(crate) fn is_napping(&self) -> bool {
        self.naps
    }

    /// When to look again, though nothing was heard.
    pub(crate) fn look_again_in(&self) -> Duration {
        if self.naps { NAP } else { SLICE_FIRST }
    }

    /// What becomes readable. None: nothing does.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.ear.as_deref().map(AsFd::as_fd)
    }
}

/// A wait for one handle through a descriptor, for reactors of any kind (`mio`, `epoll`, an event loop in another
/// language).
///
/// ```
/// use ginnel_object::event::Event;
/// use ginnel_object::ready::Registration;
///
/// let event = Event::new()?;
/// let mut wanted = Registration::new(&event)?;
/// assert!(wanted.arm()?); // not set: wait until `wanted.as_fd()` is readable, then `arm` again
/// event.set();
/// assert!(!wanted.arm()?); // it is set
/// assert!(event.is_set());
/// # Ok::<(), ginnel_object::Error>(())
/// ```
/// The descriptor stays readable until the next [`Registration::arm`]. Look again after
/// [`Registration::look_again_in`] even if it is not: whoever was to write into it may have been killed just before.
/// Dropping it takes the wish back.
#[derive(Debug)]
pub struct Registration<H: Waitable> {
    handle: H,
    listener: Listener,
}

impl<H: Waitable> Registration<H> {
    /// A wait for `handle`: a handle, or a reference to one. Opens the descriptor.
    ///
    /// # Errors
    /// `Forked`; `Taken` when a process that is none of ginnel's has this process's address; `Os`; `Unsupported` for a
    /// handle that nobody can be told about.
    pub fn new(handle: H) -> Result<Self> {
        let mut listener = Listener::default();
        match handle.source()?.hearing {
            Hearing::Bells { object, line, .. } => listener.ear = Some(Arc::new(EarRef::of(object, line)?)),
            Hearing::Fd(_) => {}
            Hearing::Deaf => {
                return Err(crate::Error::new(ErrorKind::Unsupported, "this handle is not seen by senders"));
            }
        }
        Ok(Self { handle, listener })
    }

    /// Empties the descriptor and looks. False: the handle is ready, try there. True: it is not, and the descriptor
    /// becomes readable when it may be.
    ///
    /// # Errors
    /// `Forked`, and for locks `Deadlock` where this thread holds it.
    pub fn arm(&mut self) -> Result<bool> {
        self.handle.check()?;
        let source = self.handle.source()?;
        loop {
            self.listener.drain();
            let armed = self.listener.arm(&source, Waker::noop())?;
            if source.port.is_ready() {
                self.listener.leave(&source);
                return Ok(false);
            }
            if armed {
                return Ok(true);
            }
        }
    }

    /// When to call [`Registration::arm`] again, though the descriptor did not become readable: it is the slice after
    /// which a sleeper looks, too. Also the time after which to ask [`Registration::probe`].
    #[must_use]
    pub fn look_again_in(&self) -> Duration {
        self.listener.look_again_in()
    }

    /// Asks whether those live whom the handle waits for, and has the dead recovered. May take milliseconds.
    ///
    /// # Errors
    /// As [`Registration::arm`].
    pub fn probe(&self) -> Result<()> {
        self.handle.source()?.port.probe();
        Ok(())
    }

    /// The handle.
    pub fn get_ref(&self) -> &H {
        &self.handle
    }

    /// The handle, for those that receive with `&mut`.
    pub fn get_mut(&mut self) -> &mut H {
        &mut self.handle
    }
}

impl<H: Waitable> AsFd for Registration<H> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if let Some(fd) = self.listener.fd() {
            return fd;
        }
        match self.handle.source().map(|source| source.hearing) {
            Ok(Hearing::Fd(fd)) => fd,
            // `new` has seen one of the two.
            _ => unreachable!("a registration has a descriptor"),
        }
    }
}

/// For reactors that take a number: `tokio::io::unix::AsyncFd`, `mio::unix::SourceFd`.
impl<H: Waitable> AsRawFd for Registration<H> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<H: Waitable> Drop for Registration<H> {
    fn drop(&mut self) {
        if let Ok(source) = self.handle.source() {
            self.listener.leave(&source);
        }
    }
}
