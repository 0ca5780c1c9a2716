//! Who is at the other end of a socket: its numbers, and how to learn that it has ended.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use ginnel_object::{Error, Result};

use crate::socket;

/// Who connected, as the kernel recorded it then: the process that called `connect`, or the one that called `listen`.
///
/// Numbers are as this process's namespaces see them. A process that this pid namespace does not show has the pid 0, a user
/// that this user namespace does not map is 65534.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// Its process id then. For messages: the number may belong to another process by now.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of user {}", self.pid, self.uid)
    }
}

impl Credentials {
    /// Of the other end of a connected socket.
    pub(crate) fn of(socket: &impl AsFd) -> Result<Self> {
        let found = getsockopt(socket, PeerCredentials)
            .map_err(|why| socket::refused("ask who is at the other end", &why.into()))?;
        Ok(Self { pid: found.pid().unsigned_abs(), uid: found.uid(), gid: found.gid() })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(uid: u32) -> Self {
        Self { pid: 1, uid, gid: uid }
    }

    /// Is it the user of this process?
    pub(crate) fn is_own_user(&self) -> bool {
        self.uid == own_uid()
    }
}

/// The effective user of this process.
pub(crate) fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// A descriptor that becomes readable when the process at the other end has ended.
///
/// Kernels before 6.5 cannot name that process but by its number. Where the process had ended before, and another has its
/// number by now, that one is watched instead, and its end taken for the peer's. `None`: there is no such process any
/// more, or it is not to be seen from here; then the end of the connection is the only sign.
///
/// # Errors
/// `TooManyFiles`, `Full`.
pub(crate) fn pidfd_of(socket: &impl AsFd, who: &Credentials) -> Result<Option<OwnedFd>> {
    match getsockopt(socket, PeerPidfd) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::ENOPROTOOPT) => by_number(who.pid),
        Err(why @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(no_pidfd(why.into())),
        Err(_) => Ok(None),
    }
}

fn by_number(pid: u32) -> Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(why @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(no_pidfd(why.into())),
        Err(_) => Ok(None),
    }
}

#[cold]
fn no_pidfd(why: std::io::Error) -> Error {
    socket::refused("watch the process at the other end", &why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn runs(pidfd: &OwnedFd) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&at_once)) == Ok(0)
    }

    #[test]
    fn a_pair_of_our_own_is_us_and_alive() {
        let (one, _two) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a pair");
        let who = Credentials::of(&one).expect("somebody");
        assert_eq!((who.pid, who.uid), (std::process::id(), own_uid()));
        assert!(who.is_own_user());
        assert!(runs(&pidfd_of(&one, &who).expect("files").expect("we are")));
        assert!(runs(&by_number(who.pid).expect("files").expect("we are")), "the way of older kernels");
        assert!(by_number(0).expect("no such").is_none());
    }
}
