//! Waiting for descriptors and objects together: the objects' ears and the given descriptors in one `ppoll`.
//!
//! Each object is armed as for a sleep on its word, and a bell besides. A byte that another waiter of this process takes
//! from under us comes by a descriptor of our own instead ([`crate::ready`], I1).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};

use ginnel_layout::atomic::AtomicU32;
use ginnel_sync::deadline::now_ns;
use ginnel_sync::futex::WaitEnd;
use ginnel_sync::park::Arm;
use ginnel_sync::select::{self, Port};
use ginnel_sync::{Deadline, Stop};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ready::{Hearing, Listener, Source};

/// Wakes a thread out of its poll.
struct Nudge(OwnedFd);

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Full means that it is readable already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// An object as a port whose waiter polls.
struct HeardPort<'a> {
    source: &'a Source<'a>,
    waker: &'a Waker,
    listener: RefCell<Listener>,
    /// What arming met, to be told at the end.
    failed: RefCell<Option<Error>>,
}

impl Port for HeardPort<'_> {
    fn word(&self) -> &AtomicU32 {
        self.source.port.word()
    }

    fn is_ready(&self) -> bool {
        self.source.port.is_ready() || self.failed.borrow().is_some()
    }

    fn arm(&self) -> Arm {
        let mut listener = self.listener.borrow_mut();
        match listener.arm(self.source, self.waker) {
            Ok(false) => Arm::Again,
            Ok(true) if listener.is_napping() => Arm::Nap(0),
            Ok(true) => Arm::Sleep(0),
            Err(why) => {
                *self.failed.borrow_mut() = Some(why);
                Arm::Again
            }
        }
    }

    fn pass(&self, _: bool) {
        self.listener.borrow_mut().leave(self.source);
    }

    fn probe(&self) {
        self.source.port.probe();
    }
}

/// As `select::wait_any`, for sources with descriptors among them.
///
/// # Errors
/// Those of the ears, and of the system.
pub(super) fn wait_any(
    sources: &[Source<'_>],
    first: usize,
    deadline: Deadline,
) -> Result<std::result::Result<usize, Stop>> {
    let nudge = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
    let nudge = Arc::new(Nudge(nudge));
    let waker = Waker::from(Arc::clone(&nudge));
    let heard: Vec<HeardPort<'_>> = sources
        .iter()
        .map(|source| HeardPort {
            source,
            waker: &waker,
            listener: RefCell::default(),
            failed: RefCell::new(None),
        })
        .collect();
    let ports: Vec<&dyn Port> = heard.iter().map(|port| port as &dyn Port).collect();
    let mut sleep = |_: &[(&AtomicU32, u32)], until: Deadline| poll_all(&nudge.0, &heard, until);
    let outcome = select::wait_any_by(&ports, first, deadline, &mut sleep);
    match heard.iter().find_map(|port| port.failed.take()) {
        Some(why) => Err(why),
        None => Ok(outcome),
    }
}

/// Sleeps until a descriptor is readable, and empties those that are ours.
fn poll_all(nudge: &OwnedFd, heard: &[HeardPort<'_>], until: Deadline) -> WaitEnd {
    let listeners: Vec<_> = heard.iter().map(|port| port.listener.borrow()).collect();
    let given = heard.iter().zip(&listeners).filter_map(|(port, listener)| match port.source.hearing {
        Hearing::Fd(fd) => Some(fd),
        Hearing::Bells { .. } => listener.fd(),
        Hearing::Deaf => None,
    });
    let all: Vec<BorrowedFd<'_>> = given.chain([nudge.as_fd()]).collect();
    let mut fds: Vec<PollFd<'_>> =
        all.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let left = until.ns().saturating_sub(now_ns());
    let timeout = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as _ };
    let end = match poll(&mut fds, (until != Deadline::NEVER).then_some(&timeout)) {
        Ok(0) => WaitEnd::TimedOut,
        Ok(_) => WaitEnd::Woken,
        Err(Errno::INTR) => WaitEnd::Interrupted,
        Err(_) => WaitEnd::Changed,
    };
    if end == WaitEnd::Woken {
        let _ = rustix::io::read(nudge, &mut [0; 8]);
        for listener in &listeners {
            listener.drain();
        }
    }
    end
}
