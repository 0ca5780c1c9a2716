//! Waiting for the end of a child: blocking, as a future, beside others.
//!
//! One who blocks polls the child's descriptor itself, so that no other thread has to run before it wakes. A future
//! leaves its waker with the child; the service finds the end, where nobody else does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ginnel_object::ready::Source;
use ginnel_object::{Message, Result, bridge};
use ginnel_sync::Deadline;
use ginnel_sync::deadline::now_ns;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::child::{Child, End, Process};
use crate::error::ProcessError;

/// How soon one looks again at a child that is dead and that its tracer has not let go.
const NAP: Duration = Duration::from_millis(1);

/// The descriptor of a child that was just started. Where others wait for the children of this process, or SIGCHLD is
/// ignored, the child may have come and gone: then something that is readable for ever, as its descriptor would be.
///
/// # Errors
/// `Os`: no descriptors left.
pub(crate) fn open(pid: Pid) -> Result<OwnedFd> {
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => eventfd(1, EventfdFlags::CLOEXEC),
        opened => opened,
    };
    Ok(fd.map_err(std::io::Error::from)?)
}

/// Waits until a child has ended, and reaps it. One whom others have reaped has ended as well.
pub(crate) fn wait_for(pidfd: BorrowedFd<'_>) {
    let _ = retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED));
}

/// Is there something to read, or the other side gone?
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll_until(fd, Deadline::at_ns(0))
}

/// Waits until there is. False: not until the deadline, or a signal came.
fn poll_until(fd: BorrowedFd<'_>, deadline: Deadline) -> bool {
    let left = deadline.ns().saturating_sub(if deadline.ns() == 0 { 0 } else { now_ns() });
    let timeout = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as _ };
    let timeout = (deadline != Deadline::NEVER).then_some(&timeout);
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout).is_ok_and(|ready| ready > 0)
}

impl Child {
    /// Waits for its end. `None`: it lives on at the deadline.
    pub(crate) fn wait_until(&self, deadline: Deadline) -> Option<End> {
        loop {
            if let Some(end) = self.end() {
                return Some(end);
            }
            if deadline.passed() {
                return None;
            }
            if poll_until(self.pidfd(), deadline) {
                if let Some(end) = self.end() {
                    return Some(end);
                }
                std::thread::sleep(NAP);
            }
        }
    }
}

/// Gives the same as [`Process::join`]. Dropping it, or a reference to it that is awaited, does nothing to the child.
/// Polled again after it was ready, it says how the child ended, without the value.
impl<R: Message> Future for Process<R> {
    type Output = Result<R, ProcessError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.child.end_or_wake(cx.waker()) {
            Some(end) => Poll::Ready(self.child.take(end)),
            None => Poll::Pending,
        }
    }
}

/// The child's pidfd: readable once it has ended. Not to be waited on with `waitid`, which takes the exit code away.
impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }
}

/// Ready when it has ended. The result is there for [`Process::join`].
impl<R> bridge::Ready for Process<R> {
    fn source(&self) -> Result<Source<'_>> {
        Ok(bridge::readable(self.child.pidfd()))
    }
}
