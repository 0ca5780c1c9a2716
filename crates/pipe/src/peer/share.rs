//! What goes over the socket beside the messages: managers, and the ends of a trusted pipe.
//!
//! An arena is one trust domain, so none is given to, or taken from, another user.
//!
//! - I1 at most [`KEPT`] things wait to be taken; more are closed on arrival.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use ginnel_object::{Error, ErrorKind, Manager, Result};
use ginnel_sync::Deadline;

use super::link::Link;
use crate::socket;

/// A manager's descriptor comes with it.
const MANAGER: u8 = b'm';
/// What came was received.
const DONE: u8 = b'd';

/// Things that wait to be taken.
const KEPT: usize = 4;

/// Bytes of two tokens.
pub(super) const TOKENS: usize = 32;

/// Something that came over the socket.
#[derive(Debug)]
pub(crate) enum Shared {
    /// A manager, and tokens of objects in it, if it came with some.
    Manager(OwnedFd, Option<[u8; TOKENS]>),
    /// What was sent has been received.
    Done,
    /// It came while this process had no descriptor left.
    Lost,
}

impl Shared {
    /// Bytes of the longest packet.
    pub(super) const LONGEST: usize = 1 + TOKENS;

    /// Keeps what a packet brought, if it is something (I1).
    pub(super) fn keep(all: &mut VecDeque<Self>, bytes: &[u8], mut descriptors: Vec<OwnedFd>) {
        if all.len() >= KEPT {
            return;
        }
        match (bytes, descriptors.pop(), descriptors.is_empty()) {
            ([MANAGER], Some(fd), true) => all.push_back(Self::Manager(fd, None)),
            ([MANAGER, tokens @ ..], Some(fd), true) => {
                if let Ok(tokens) = tokens.try_into() {
                    all.push_back(Self::Manager(fd, Some(tokens)));
                }
            }
            ([DONE], None, _) => all.push_back(Self::Done),
            _ => {}
        }
    }

    pub(super) fn note_lost(all: &mut VecDeque<Self>) {
        if all.len() < KEPT {
            all.push_back(Self::Lost);
        }
    }
}

impl Link {
    /// Is the other side of our own user?
    pub(super) fn check_user(&self) -> Result<()> {
        if self.who.is_own_user() {
            return Ok(());
        }
        let says = format!("the peer is {}, of another user", self.who);
        Err(Error::new(ErrorKind::Denied, says).with_advice("memory is shared within one user only"))
    }

    /// Sends a manager, with tokens of objects in it.
    pub(super) fn share(
        &self,
        manager: &Manager,
        tokens: Option<&[u8; TOKENS]>,
        deadline: Deadline,
    ) -> Result<()> {
        self.check_fork()?;
        if let Some(name) = manager.name() {
            let says = "a manager with a name goes by its name";
            return Err(Error::new(ErrorKind::Invalid, says)
                .with_object(name)
                .with_advice("send the name as a message and open it there"));
        }
        let mut bytes = vec![MANAGER];
        bytes.extend(tokens.into_iter().flatten());
        self.send_packet(&bytes, Some(manager), deadline)
    }

    /// Tells that what came was received.
    pub(super) fn acknowledge(&self, deadline: Deadline) -> Result<()> {
        self.send_packet(&[DONE], None, deadline)
    }

    fn send_packet(&self, bytes: &[u8], manager: Option<&Manager>, deadline: Deadline) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let failed = |why: std::io::Error| socket::refused("share with the peer", &why);
        loop {
            if socket::send(self.socket().as_fd(), bytes, manager.map(AsFd::as_fd)).map_err(failed)? {
                return Ok(());
            }
            if self.look() {
                return Err(self.gone());
            }
            if deadline.passed() {
                return Err(Error::new(ErrorKind::Timeout, "the peer does not empty its socket"));
            }
            // The peer reads its socket when it receives, so there is nothing to be woken by but room.
            let slice = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = poll(&mut [PollFd::new(self.socket(), PollFlags::OUT)], Some(&slice));
        }
    }

    /// The next thing that comes over the socket.
    pub(super) fn open(&self, deadline: Deadline) -> Result<Shared> {
        self.check_fork()?;
        loop {
            self.drain();
            if let Some(shared) = self.shared.borrow_mut().pop_front() {
                return Ok(shared);
            }
            if self.look() {
                return Err(self.gone());
            }
            if deadline.passed() {
                return Err(Error::new(ErrorKind::Timeout, "the peer has shared nothing in time"));
            }
            // The end of its process shows in the socket, too, unless it has left a copy of it to a child.
            let slice = Deadline::after(std::time::Duration::from_millis(50)).min(deadline);
            socket::wait_readable(self.socket().as_fd(), slice)
                .map_err(|why| socket::refused("wait for the peer", &why))?;
        }
    }

    #[cold]
    fn gone(&self) -> Error {
        Error::new(ErrorKind::PeerDied, format!("the peer is gone ({})", self.who))
    }
}

/// The manager that came, attached to.
///
/// # Errors
/// `TooManyFiles`, `Mismatch` for something else; as [`Manager::from_fd`].
pub(super) fn manager_of(shared: Shared) -> Result<(Manager, Option<[u8; TOKENS]>)> {
    match shared {
        Shared::Manager(fd, tokens) => Ok((Manager::from_fd(fd)?, tokens)),
        Shared::Done => Err(Error::new(ErrorKind::Mismatch, "the peer waits for nothing to be shared now")),
        Shared::Lost => {
            Err(Error::new(ErrorKind::TooManyFiles, "no descriptor was left for what the peer shared")
                .with_advice("let it share once more"))
        }
    }
}
