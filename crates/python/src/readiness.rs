//! Readiness: descriptors of objects, for those who wait for several things at once.
//!
//! An object lies in memory and has no descriptor. One that is asked for gets one, a [`Registration`]; nobody pays
//! before. There are two uses, and an object may be in both:
//!
//! - **`fileno()`** goes to code that knows nothing of us (`selectors`, an event loop) and expects what a pipe gives:
//!   readable as long as there is something to take. From then on whoever takes or looks here settles the descriptor
//!   ([`Readiness::settle`]): still ready, a byte lies in it; not ready, it is empty and armed. A thread of ours asks
//!   now and then whether those live whom it waits for ([`keeper`]), because whoever polls does not.
//! - **a wait of our own** (`connection.wait`, the forms of asyncio) arms it for that wait, looks at the object itself
//!   afterwards, and settles nothing.
//!
//! A registration belongs to the process that made it. In the child of a fork the next use makes another one; the
//! descriptor that the child inherited is closed then.
//!
//! Locks: `current` is taken with the GIL held only, and a fork holds the GIL, so it is free in every child. The inner
//! one may be held by the keeper while somebody forks; the child never takes that one, it makes a new one.

mod keeper;

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ginnel_layout::atomic::Ordering::{Acquire, Release};
use ginnel_layout::atomic::{AtomicU32, spin_loop};
use ginnel_object::ready::Registration;
use ginnel_object::select::{Waitable, wait_any};
use pyo3::prelude::*;

use crate::failure::OrRaise;

/// Attempts to arm while another process is in the middle of what is waited for. After them the descriptor is made
/// readable: who looks finds it done, or waits for that process's next instructions.
const TRIES: u32 = 64;

/// The descriptor of one object in this process, if there is one.
pub(crate) struct Readiness<H: Waitable> {
    /// The process that has a public descriptor, 0: none. What a hot path looks at.
    public: AtomicU32,
    current: Mutex<Option<Owned<H>>>,
}

/// A registration, and whose.
struct Owned<H: Waitable> {
    pid: u32,
    open: Arc<Mutex<Open<H>>>,
}

struct Open<H: Waitable> {
    registration: Registration<H>,
    /// Where a byte makes it readable.
    address: Option<SocketAddr>,
    /// A byte of our own lies in it.
    rung: bool,
    /// It was armed at the last attempt.
    listens: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What lies in here is right after each step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is `handle` ready now?
///
/// # Errors
/// As those of a wait for it.
pub(crate) fn is_ready(handle: &impl Waitable) -> PyResult<bool> {
    Ok(wait_any(&[handle], Some(Duration::ZERO)).or_raise()?.is_some())
}

impl<H: Waitable + Send + 'static> Readiness<H> {
    pub(crate) const fn new() -> Self {
        Self { public: AtomicU32::new(0), current: Mutex::new(None) }
    }

    /// The descriptor, armed: readable now if `handle` is ready, or else as soon as it may be. For everybody (`public`)
    /// it stays right from now on, else until the next time that something is taken.
    ///
    /// # Errors
    /// When there is no descriptor to be had, or the object is broken.
    pub(crate) fn descriptor(&self, public: bool, handle: impl FnOnce() -> PyResult<H>) -> PyResult<RawFd> {
        let pid = std::process::id();
        let mut current = locked(&self.current);
        if current.as_ref().is_none_or(|owned| owned.pid != pid) {
            // The one inherited goes first: its address may be that of the new one.
            *current = None;
            let registration = Registration::new(handle()?).or_raise()?;
            *current = Some(Owned { pid, open: Arc::new(Mutex::new(Open::of(registration)?)) });
        }
        let Some(owned) = current.as_ref() else { unreachable!("it was just made") };
        let mut open = locked(&owned.open);
        open.settle()?;
        let fd = open.registration.as_raw_fd();
        drop(open);
        if public && self.public.load(Acquire) != pid {
            self.public.store(pid, Release);
            let open = Arc::downgrade(&owned.open);
            keeper::watch(pid, open);
        }
        Ok(fd)
    }

    /// After something was taken, or looked for: makes the public descriptor right again. One load where there is none.
    #[inline]
    pub(crate) fn settle(&self) {
        if self.public.load(Acquire) != 0 {
            self.settle_public();
        }
    }

    #[cold]
    fn settle_public(&self) {
        let pid = std::process::id();
        let current = locked(&self.current);
        if let Some(owned) =
            current.as_ref().filter(|owned| owned.pid == pid && self.public.load(Acquire) == pid)
        {
            // An object that broke says so to whoever uses it next.
            let _ = locked(&owned.open).settle();
        }
    }

    /// For who has waited in vain: asks whether those live whom it waits for, and has the dead recovered. Without the GIL:
    /// it may take milliseconds.
    ///
    /// # Errors
    /// When the object is broken.
    pub(crate) fn probe(&self, py: Python<'_>) -> PyResult<()> {
        let pid = std::process::id();
        let open = locked(&self.current)
            .as_ref()
            .filter(|owned| owned.pid == pid)
            .map(|owned| Arc::clone(&owned.open));
        match open {
            Some(open) => py.detach(|| locked(&open).registration.probe()).or_raise(),
            None => Ok(()),
        }
    }
}

impl<H: Waitable> Open<H> {
    fn of(registration: Registration<H>) -> PyResult<Self> {
        let socket = UnixDatagram::from(registration.as_fd().try_clone_to_owned()?);
        Ok(Self { registration, address: socket.local_addr().ok(), rung: false, listens: false })
    }

    /// Readable if it is ready, else empty and armed.
    fn settle(&mut self) -> PyResult<()> {
        for _ in 0..TRIES {
            if is_ready(self.registration.get_ref())? {
                self.ring();
                return Ok(());
            }
            let armed = self.registration.arm().or_raise()?;
            // It may have taken our byte. One more than needed does no harm, one less would be for ever.
            self.rung = false;
            if !armed {
                self.listens = false;
                continue;
            }
            // One that did not listen has not emptied it.
            if !std::mem::replace(&mut self.listens, true) {
                continue;
            }
            let nobody_rings = self.registration.look_again_in() < Duration::from_millis(2);
            if !nobody_rings {
                return Ok(());
            }
            spin_loop();
        }
        self.ring();
        Ok(())
    }

    /// Makes the descriptor readable.
    fn ring(&mut self) {
        static FROM: OnceLock<Option<UnixDatagram>> = OnceLock::new();
        let from = FROM.get_or_init(|| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(socket)
        });
        if let (false, Some(from), Some(address)) = (self.rung, from, &self.address) {
            // Where there is no room for one more byte, it is readable.
            let _ = from.send_to_addr(&[1], address);
            self.rung = true;
        }
    }
}

impl<H: Waitable + Send> keeper::Kept for Mutex<Open<H>> {
    fn look(&self) {
        // Who is in it looks himself.
        if let Ok(mut open) = self.try_lock() {
            let _ = open.registration.probe();
            // Another handle of the object may have emptied it, which has the same socket.
            open.rung = false;
            let _ = open.settle();
        }
    }
}
