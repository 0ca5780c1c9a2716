//! A connection to a process that need not be trusted.
//!
//! Each side writes its messages into memory of its own, which the other can only read; each copies what it reads, and
//! looks at the copy. So the other side can send anything, or nothing, and that is all it can do (`SAFETY.md`).
//!
//! Reading order: this file (what programs see), `link` (one side of a connection, untyped), `gather` (long messages), `ready`
//! (peers among several things to wait for), `aio` (peers as futures), `share` (arenas over the socket), `trust` (from a
//! connection to a pipe).

#[cfg(any(feature = "tokio", feature = "async-io"))]
mod aio;
mod gather;
mod link;
mod ready;
mod share;
mod trust;

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::{Error, ErrorKind, Manager, Message, Result};
use ginnel_queue::lane::LaneError;
use ginnel_sync::Deadline;

use self::gather::Front;
use crate::credentials::Credentials;

pub(crate) use self::link::{Link, Parts};

/// One side of a connection: sends `S` and receives `R`. Made by [`connect`](crate::connect) and by
/// [`Listener::accept`](crate::Listener::accept).
///
/// Nothing of the other side is trusted. Messages are copied before they are decoded; a message that is no value of `R`
/// is the error `Decode`, and the next one is received as if nothing were. Handles of objects (queues, locks, blocks) cannot
/// cross, and the error `Encode` says so: see [`Peer::share`].
///
/// Exclusive, `Send` and not `Sync`, and bound to its process: after a bare `fork` the child's copy answers `Forked` and
/// leaves the parent's alone. Dropping it closes: the other side receives what was sent, then `Closed`. If this process
/// is killed, the other is told `PeerDied` instead, within 50 ms.
///
/// A message is delivered whole or not at all. One that is longer than a quarter of the ring goes in parts; if the deadline
/// of its sender passes in the middle, the receiver drops them.
pub struct Peer<S, R = S> {
    pub(crate) link: Link,
    pub(crate) types: PhantomData<fn(S) -> R>,
}

impl<S, R> fmt::Debug for Peer<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("who", &self.link.who).finish_non_exhaustive()
    }
}

impl<S: Message, R: Message> Peer<S, R> {
    /// Connects to the listener at `address`, a path or `@name`: [`connect`](crate::connect).
    ///
    /// # Errors
    /// As [`ConnectOptions::connect`](crate::ConnectOptions::connect).
    pub fn connect(address: impl AsRef<Path>) -> Result<Self> {
        crate::connect(address)
    }
}

impl<S, R> Peer<S, R> {
    /// Who is at the other end, as the kernel recorded it when the connection was made.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.link.who
    }

    /// Closes in order, as dropping it does.
    pub fn close(self) {}

    /// Lets the other side attach to `manager`, which it opens with [`Peer::open_shared`]. From then on both can do in it
    /// what any of its participants can, at any time: named queues, locks and whatever else is in it.
    ///
    /// The other side need not be waiting. Waits, up to five seconds, where its socket is full.
    ///
    /// # Errors
    /// `Denied`: the peer is of another user; `Invalid`: the manager has a name, so it is opened by that; `PeerDied`: the
    /// peer is gone; `Timeout`, `Forked`, `Os`.
    pub fn share(&mut self, manager: &Manager) -> Result<()> {
        self.link.check_user()?;
        self.link.share(manager, None, Deadline::after(SHARE_PATIENCE))
    }

    /// Attaches to the manager that the other side shares; waits for it until `deadline`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use ginnel_object::{Manager, Queue};
    /// use ginnel_pipe::{Listener, Peer, connect};
    ///
    /// # let listener = Listener::bind("@ginnel-doc-share")?;
    /// # let client = std::thread::spawn(|| {
    /// let mut server: Peer<()> = connect("@ginnel-doc-share")?;
    /// let manager = server.open_shared(Instant::now() + Duration::from_secs(5))?;
    /// let jobs: Queue<u32> = manager.get_or_create("jobs")?;
    /// jobs.send(7)?;
    /// # Ok::<(), ginnel_object::Error>(()) });
    /// # let mut peer: Peer<()> = listener.accept()?;
    /// # let manager = Manager::new(1 << 20)?;
    /// # peer.share(&manager)?;
    /// # assert_eq!(manager.get_or_create::<Queue<u32>>("jobs")?.recv()?, 7);
    /// # client.join().expect("no panic")?;
    /// # Ok::<(), ginnel_object::Error>(())
    /// ```
    /// # Errors
    /// `Denied`: the peer is of another user, or what it shares is no manager; `PeerDied`: it is gone; `Timeout`,
    /// `TooManyFiles`, `Forked`; as [`Manager::from_fd`].
    pub fn open_shared(&mut self, deadline: Instant) -> Result<Manager> {
        self.link.check_user()?;
        let shared = self.link.open(Deadline::at(deadline))?;
        share::manager_of(shared).map(|(manager, _)| manager)
    }
}

/// How long sharing may take.
const SHARE_PATIENCE: Duration = Duration::from_secs(5);

impl<S: Message, R> Peer<S, R> {
    /// Sends `value`; waits for room.
    ///
    /// # Errors
    /// `Closed`: the peer has closed. `Failed` with `PeerDied`; `TooLarge`: longer than the peer takes; `Encode`;
    /// `Corrupted`: the peer breaks the rules, for good; `Forked`. The value comes back and was not sent.
    pub fn send(&mut self, value: S) -> Result<(), SendError<S>> {
        match self.send_until(&value, Deadline::NEVER) {
            Ok(()) => Ok(()),
            Err(Unsent::Lane(LaneError::Closed)) => Err(SendError::Closed(value)),
            Err(why) => Err(SendError::Failed(value, self.unsent(why))),
        }
    }

    /// Sends `value` if there is room for all of it. Never waits.
    ///
    /// # Errors
    /// `Full`; else as [`Peer::send`]; `Failed` with `TooLarge` also for what is longer than half the ring.
    pub fn try_send(&mut self, value: S) -> Result<(), TrySendError<S>> {
        let link = &mut self.link;
        let sent = value.with_bytes(|body| link.try_send(body));
        match settle(sent) {
            Ok(()) => Ok(()),
            Err(Unsent::Lane(LaneError::WouldBlock)) => Err(TrySendError::Full(value)),
            Err(Unsent::Lane(LaneError::Closed)) => Err(TrySendError::Closed(value)),
            Err(why) => Err(TrySendError::Failed(value, self.unsent(why))),
        }
    }

    /// Sends `value`; waits for room up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Peer::send`]. The peer does not get any of it then.
    pub fn send_timeout(&mut self, value: S, timeout: Duration) -> Result<(), SendTimeoutError<S>> {
        self.send_by(value, Deadline::after(timeout))
    }

    /// Sends `value`; waits for room until `deadline`.
    ///
    /// # Errors
    /// As [`Peer::send_timeout`].
    pub fn send_deadline(&mut self, value: S, deadline: Instant) -> Result<(), SendTimeoutError<S>> {
        self.send_by(value, Deadline::at(deadline))
    }

    fn send_by(&mut self, value: S, deadline: Deadline) -> Result<(), SendTimeoutError<S>> {
        match self.send_until(&value, deadline) {
            Ok(()) => Ok(()),
            Err(Unsent::Lane(LaneError::TimedOut)) => Err(SendTimeoutError::Timeout(value)),
            Err(Unsent::Lane(LaneError::Closed)) => Err(SendTimeoutError::Closed(value)),
            Err(why) => Err(SendTimeoutError::Failed(value, self.unsent(why))),
        }
    }

    fn send_until(&mut self, value: &S, deadline: Deadline) -> Result<(), Unsent> {
        let link = &mut self.link;
        settle(value.with_bytes(|body| link.send(body, deadline)))
    }

    #[cold]
    fn unsent(&self, why: Unsent) -> Error {
        match why {
            Unsent::Lane(why) => self.link.error(why),
            Unsent::Encode(why) => why,
        }
    }
}

impl<S, R: Message> Peer<S, R> {
    /// The next message; waits for it.
    ///
    /// # Errors
    /// `Closed`: the peer has closed, and everything it sent has been received. `Failed` with `PeerDied`: it was killed, and
    /// every message it had sent whole has been received; `Decode`: the message is no `R`, and used up; `Corrupted`: the
    /// peer breaks the rules, for good; `Forked`.
    pub fn recv(&mut self) -> Result<R, RecvError> {
        match self.recv_until(Deadline::NEVER) {
            Ok(value) => Ok(value),
            Err(Unread::Lane(LaneError::Closed)) => Err(RecvError::Closed),
            Err(why) => Err(RecvError::Failed(self.unread(why))),
        }
    }

    /// The next message, if it is there as a whole. Never waits.
    ///
    /// # Errors
    /// `Empty`, also while a long message is on its way; else as [`Peer::recv`].
    pub fn try_recv(&mut self) -> Result<R, TryRecvError> {
        match self.link.front().map_err(Unread::Lane).and_then(|front| self.take(front)) {
            Ok(value) => Ok(value),
            Err(Unread::Lane(LaneError::WouldBlock)) => Err(TryRecvError::Empty),
            Err(Unread::Lane(LaneError::Closed)) => Err(TryRecvError::Closed),
            Err(why) => Err(TryRecvError::Failed(self.unread(why))),
        }
    }

    /// The next message; waits for it up to `timeout`.
    ///
    /// # Errors
    /// `Timeout`; else as [`Peer::recv`]. What has come of a long message is kept for the next call.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<R, RecvTimeoutError> {
        self.recv_by(Deadline::after(timeout))
    }

    /// The next message; waits for it until `deadline`.
    ///
    /// # Errors
    /// As [`Peer::recv_timeout`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<R, RecvTimeoutError> {
        self.recv_by(Deadline::at(deadline))
    }

    /// The next message; waits for it. `None`: the peer has closed.
    ///
    /// # Errors
    /// As [`Peer::recv`], but for `Closed`.
    #[allow(
        clippy::should_implement_trait,
        reason = "its errors stand outside, for `?` in the head of a loop"
    )]
    pub fn next(&mut self) -> Result<Option<R>> {
        match self.recv() {
            Ok(value) => Ok(Some(value)),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Failed(why)) => Err(why),
        }
    }

    /// The messages until the peer closes. An error of the connection is given once, and ends it; one of a message
    /// (`Decode`) does not.
    pub fn iter(&mut self) -> impl Iterator<Item = Result<R>> + '_ {
        let mut over = false;
        std::iter::from_fn(move || {
            if over {
                return None;
            }
            let next = self.next().transpose();
            over = next
                .as_ref()
                .is_none_or(|one| one.as_ref().is_err_and(|why| why.kind() != ErrorKind::Decode));
            next
        })
    }

    /// Waits up to `timeout` until the next message, or the end, is there: then `recv` does not wait. False: nothing was.
    ///
    /// # Errors
    /// As [`Peer::recv`], but for `Closed` and `Decode`.
    pub fn poll(&mut self, timeout: Duration) -> Result<bool> {
        match self.link.wait_front(Deadline::after(timeout)) {
            Ok(_) | Err(LaneError::Closed) => Ok(true),
            Err(LaneError::TimedOut) => Ok(false),
            Err(why) => Err(self.link.error(why)),
        }
    }

    fn recv_by(&mut self, deadline: Deadline) -> Result<R, RecvTimeoutError> {
        match self.recv_until(deadline) {
            Ok(value) => Ok(value),
            Err(Unread::Lane(LaneError::TimedOut)) => Err(RecvTimeoutError::Timeout),
            Err(Unread::Lane(LaneError::Closed)) => Err(RecvTimeoutError::Closed),
            Err(why) => Err(RecvTimeoutError::Failed(self.unread(why))),
        }
    }

    fn recv_until(&mut self, deadline: Deadline) -> Result<R, Unread> {
        let front = self.link.wait_front(deadline).map_err(Unread::Lane)?;
        self.take(front)
    }

    /// Copies the message at the front, decodes the copy, and is done with it either way.
    fn take(&mut self, front: Front) -> Result<R, Unread> {
        let link = &self.link;
        let value = match front {
            Front::Whole(len) => R::received(len, |into| {
                if link.copy_whole(into) {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Decode, "a message is shorter than it was"))
            }),
            Front::Gathered => R::from_bytes(link.gathered()),
        };
        self.link.taken(front);
        value.map_err(Unread::Decode)
    }

    #[cold]
    fn unread(&self, why: Unread) -> Error {
        match why {
            Unread::Lane(why) => self.link.error(why),
            Unread::Decode(why) => why,
        }
    }
}

/// Why a value was not sent.
enum Unsent {
    Lane(LaneError),
    Encode(Error),
}

fn settle(sent: Result<Result<(), LaneError>>) -> Result<(), Unsent> {
    match sent {
        Ok(sent) => sent.map_err(Unsent::Lane),
        Err(why) => Err(Unsent::Encode(why)),
    }
}

/// Why no value was received.
enum Unread {
    Lane(LaneError),
    Decode(Error),
}

/// The socket, which is readable when there may be something to receive: then receive until `Empty`, and only then poll
/// again. It is of no other use; whoever reads it takes the wakes away.
///
/// From the first call on, the other side writes a byte into it after each `Empty`.
impl<S, R> AsFd for Peer<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.poll_fd()
    }
}
