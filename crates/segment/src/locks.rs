//! Byte locks on an open file description of their own: the gate, and one byte for each participant.
//!
//! ```text
//! LOCKS + 0        gate: shared by whoever is attached, exclusive by whoever removes the name
//! LOCKS + 1 + i    participant of row i: exclusive while it lives
//! ```
//! The bytes lie far beyond the end of the file, where nothing is stored and locking is allowed all the same. The
//! kernel drops the locks when the last descriptor of the description is closed, which at a death happens after the
//! last instruction of the last thread. So a lock that can be taken proves that its owner can write no more.
//!
//! Why not the mapped descriptor: a forked child inherits the mapping, which would pin the description and the locks.
//! Why not a duplicate: duplicates share one description, and locks of one description never conflict. Why not the
//! classic process locks: closing any descriptor of the file drops them, a false death.
//!
//! An [`Heir`](crate::Heir)'s description is shared on purpose, by a parent and the child that it forks: the lock is
//! there from before the fork until both have closed it, so at no instant nobody has it.
//!
//! Every call here returns at once; nobody ever blocks in a lock.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ginnel_layout::ParticipantId;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::stat::Mode;

use crate::fork::{ForkMark, ParentOnly};
use crate::{Error, Forked};

/// First byte of the locks: beyond the largest segment there can be (16 TiB and a front).
const LOCKS: i64 = 1 << 60;

/// The lock file of one participant.
#[derive(Debug)]
pub(crate) struct LockFile(ParentOnly);

impl LockFile {
    /// Opens the file behind `fd` once more. Through `/proc`, because only there a file without a name has one.
    pub(crate) fn reopen(fd: impl AsFd, mark: ForkMark, of: &dyn std::fmt::Display) -> Result<Self, Error> {
        Ok(Self(ParentOnly::new(open_again(fd, of)?, mark)))
    }

    /// [`LockFile::reopen`] for the next child that this thread forks.
    pub(crate) fn reopen_for_child(
        fd: impl AsFd,
        mark: ForkMark,
        of: &dyn std::fmt::Display,
    ) -> Result<Self, Error> {
        Ok(Self(ParentOnly::for_child(open_again(fd, of)?, mark)))
    }

    /// In that child: the same file, as its own.
    ///
    /// # Errors
    /// [`Forked`] in the child of another thread.
    pub(crate) fn inherited(self, mark: ForkMark) -> Result<Self, Forked> {
        self.0.inherited(mark).map(Self)
    }

    /// Marks the segment as attached. False: somebody removes it right now.
    pub(crate) fn share_gate(&self) -> Result<bool, Errno> {
        self.set(0, libc::F_RDLCK)
    }

    /// Takes the gate alone. False: somebody is attached.
    pub(crate) fn close_gate(&self) -> Result<bool, Errno> {
        self.set(0, libc::F_WRLCK)
    }

    /// Gives the gate back.
    pub(crate) fn leave_gate(&self) {
        let _ = self.set(0, libc::F_UNLCK);
    }

    /// Takes the byte of `id`. False: it lives, or somebody else looks at it right now.
    ///
    /// Must not be asked for an id that this description holds: that always succeeds.
    pub(crate) fn take(&self, id: ParticipantId) -> Result<bool, Errno> {
        self.set(1 + i64::from(id.index()), libc::F_WRLCK)
    }

    /// Gives the byte of `id` back.
    pub(crate) fn give(&self, id: ParticipantId) {
        let _ = self.set(1 + i64::from(id.index()), libc::F_UNLCK);
    }

    fn set(&self, byte: i64, kind: libc::c_int) -> Result<bool, Errno> {
        let Ok(fd) = self.0.fd() else { return Err(Errno::EBADF) };
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: LOCKS + byte,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(fd, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Fails in a forked child, whose copy of the descriptor is closed.
    pub(crate) fn check(&self) -> Result<(), Forked> {
        self.0.fd().map(drop)
    }
}

fn open_again(fd: impl AsFd, of: &dyn std::fmt::Display) -> Result<OwnedFd, Error> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    match open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(own) => Ok(own),
        Err(Errno::ENOENT) => Err(Error::Unsupported { what: "/proc".into() }),
        Err(errno) => Err(Error::os("open the lock file of", of, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    #[test]
    fn two_descriptions_exclude_each_other_and_one_does_not_exclude_itself() {
        let file = memfd_create("locks", MFdFlags::MFD_CLOEXEC).expect("memfd");
        let mark = ForkMark::here().expect("mark");
        let open = || LockFile::reopen(&file, mark, &"the test's file").expect("reopen");
        let (a, b) = (open(), open());
        let id = ParticipantId::from_index(7);
        assert_eq!((a.take(id), b.take(id), a.take(id)), (Ok(true), Ok(false), Ok(true)));
        assert_eq!(b.take(ParticipantId::from_index(8)), Ok(true));
        a.give(id);
        assert_eq!(b.take(id), Ok(true));
        drop(b);
        assert_eq!(a.take(id), Ok(true));
    }

    #[test]
    fn the_gate_is_shared_or_alone() {
        let file = memfd_create("gate", MFdFlags::MFD_CLOEXEC).expect("memfd");
        let mark = ForkMark::here().expect("mark");
        let open = || LockFile::reopen(&file, mark, &"the test's file").expect("reopen");
        let (a, b, c) = (open(), open(), open());
        assert_eq!((a.share_gate(), b.share_gate(), c.close_gate()), (Ok(true), Ok(true), Ok(false)));
        a.leave_gate();
        assert_eq!(c.close_gate(), Ok(false));
        b.leave_gate();
        assert_eq!((c.close_gate(), a.share_gate()), (Ok(true), Ok(false)));
    }
}
