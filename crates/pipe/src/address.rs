//! Where a listener is found: a path, or a name in the abstract namespace; and who owns a path.
//!
//! The socket file of a listener that was killed stays. A file cannot be bound over and unlinking somebody else's is a
//! race, so there is a second file, `<path>.lock`, and whoever holds its lock (`flock`) owns the path. The kernel drops
//! the lock with its last holder, so a lock that is free means that no listener lives.
//!
//! ```text
//!   1 open `<path>.lock`, make it if there is none
//!   2 lock it, at once or not at all           taken: somebody listens here
//!   3 is it still the file of that name?       no: its owner has just left and removed it; from 1
//!   4 a socket is at the path: does it answer? yes: somebody who knows no lock listens here
//!                                              no: remove it
//!   5 bind, listen                             the path is ours
//!   6 on leaving: remove the socket if it is the one of 5, remove the lock file, close
//! ```
//! - I1 the socket and the lock file are removed only under the lock of the file that has the name, so of two who follow
//!   these steps one at most is past 3.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | before 5 | a lock file, unlocked, perhaps a dead socket | the next owner, at 1 and 4; else nobody is in the way |
//! | after 5 | a dead socket and an unlocked lock file | the same |
//! | in 6 | one of the two, or none | the same |
//!
//! Abstract names have none of this: the kernel frees them with the socket.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use ginnel_object::{Error, ErrorKind, Result};
use ginnel_segment::ForkMark;

use crate::socket;

/// How often a lock file may be replaced under our hands.
const REPLACED_MAX: u32 = 100;

/// Bytes of a path, or of a name behind its `@`.
const NAME_MAX: usize = 107;

/// A place to listen at, or to connect to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Address {
    /// A path, or `@name`.
    pub(crate) fn new(text: &Path) -> Self {
        match text.as_os_str().as_bytes().strip_prefix(b"@") {
            Some(name) => Self::Abstract(name.to_vec()),
            None => Self::Path(text.to_path_buf()),
        }
    }

    /// As the system calls want it.
    ///
    /// # Errors
    /// `Invalid`: empty, longer than 107 bytes, with a zero in it.
    pub(crate) fn to_socket(&self) -> Result<SocketAddrUnix> {
        let (made, len) = match self {
            Self::Path(path) => (SocketAddrUnix::new(path), path.as_os_str().len()),
            Self::Abstract(name) => (SocketAddrUnix::new_abstract_name(name), name.len()),
        };
        match made {
            Ok(_) if len == 0 => Err(self.error(ErrorKind::Invalid, "an address without a name")),
            Ok(address) if len <= NAME_MAX => Ok(address),
            Ok(_) | Err(Errno::NAMETOOLONG) => Err(self
                .error(ErrorKind::Invalid, "the address of a socket has 107 bytes at most")
                .with_advice("choose a shorter path, or an abstract name (`@name`)")),
            Err(why) => Err(self.error(ErrorKind::Invalid, &format!("no address: {why}"))),
        }
    }

    #[cold]
    pub(crate) fn error(&self, kind: ErrorKind, happened: &str) -> Error {
        Error::new(kind, happened).with_object(self.to_string())
    }

    #[cold]
    fn refused(&self, doing: &str, why: Errno) -> Error {
        let kind = match why {
            Errno::NOENT => ErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::ROFS => ErrorKind::Denied,
            Errno::NOTDIR => ErrorKind::Invalid,
            Errno::ADDRINUSE => ErrorKind::Taken,
            _ => return socket::refused(doing, &why.into()).with_object(self.to_string()),
        };
        self.error(kind, &format!("cannot {doing}: {why}")).with_os(Some(why.raw_os_error()))
    }

    /// A socket that listens here, and the claim to the path. `open`: other users may connect.
    ///
    /// # Errors
    /// `Taken` while another listens here; `Invalid`, `NotFound` (the directory), `Denied`, `TooManyFiles`, `Os`.
    pub(crate) fn listen(&self, open: bool, backlog: i32) -> Result<(OwnedFd, Option<Claim>)> {
        let address = self.to_socket()?;
        let mut claim = match self {
            Self::Path(path) => Some(Claim::of(path.clone(), self)?),
            Self::Abstract(_) => None,
        };
        let failed = |why: Errno| self.refused("listen there", why);
        let socket = new_socket().map_err(failed)?;
        // What bind gives the file, less the umask.
        let mode = if open { 0o666 } else { 0o600 };
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode)).map_err(failed)?;
        rustix::net::bind(&socket, &address).map_err(failed)?;
        if let Some(claim) = &mut claim {
            if open {
                rustix::fs::chmod(&claim.path, Mode::from_raw_mode(mode)).map_err(failed)?;
            }
            claim.socket = look(&claim.path).map_err(failed)?.map(|stat| identity(&stat));
        }
        rustix::net::listen(&socket, backlog).map_err(failed)?;
        Ok((socket, claim))
    }
}

/// A packet socket that never waits.
pub(crate) fn new_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The right to listen at a path.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    lock_path: PathBuf,
    /// Locked as long as it is open here.
    lock: OwnedFd,
    /// Which file bind has made.
    socket: Option<(u64, u64)>,
    mark: ForkMark,
}

impl Claim {
    /// Steps 1 to 4.
    fn of(path: PathBuf, address: &Address) -> Result<Self> {
        let mark = ForkMark::here()?;
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let failed = |why: Errno| address.refused("lock the path", why);
        for _ in 0..REPLACED_MAX {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let lock = rustix::fs::open(&lock_path, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(taken(address)),
                Err(why) => return Err(failed(why)),
            }
            let ours = identity(&rustix::fs::fstat(&lock).map_err(failed)?);
            if look(&lock_path).map_err(failed)?.is_some_and(|stat| identity(&stat) == ours) {
                let claim = Self { path, lock_path, lock, socket: None, mark };
                claim.remove_the_dead(address)?;
                return Ok(claim);
            }
        }
        Err(taken(address))
    }

    /// Step 4.
    fn remove_the_dead(&self, address: &Address) -> Result<()> {
        let failed = |why: Errno| address.refused("look who listens there", why);
        match look(&self.path).map_err(failed)? {
            None => return Ok(()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {}
            Some(_) => {
                return Err(address
                    .error(ErrorKind::Taken, "there is a file of this name, and it is no socket")
                    .with_advice("choose another path; nothing was removed"));
            }
        }
        let probe = new_socket().map_err(failed)?;
        match rustix::net::connect(&probe, &address.to_socket()?) {
            Err(Errno::CONNREFUSED) => rustix::fs::unlink(&self.path).map_err(failed),
            Err(Errno::NOENT) => Ok(()),
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(taken(address)),
            Err(why) => Err(failed(why)),
        }
    }
}

impl Drop for Claim {
    /// Step 6. A forked child has inherited the claim and leaves it to its parent.
    fn drop(&mut self) {
        if self.mark.check().is_err() {
            return;
        }
        let is = |path: &Path, this: (u64, u64)| {
            look(path).is_ok_and(|found| found.is_some_and(|stat| identity(&stat) == this))
        };
        // Nothing is left to do where these fail: the next listener removes what is dead.
        if let Some(socket) = self.socket
            && is(&self.path, socket)
        {
            let _ = rustix::fs::unlink(&self.path);
        }
        if rustix::fs::fstat(&self.lock).is_ok_and(|stat| is(&self.lock_path, identity(&stat))) {
            let _ = rustix::fs::unlink(&self.lock_path);
        }
    }
}

#[cold]
fn taken(address: &Address) -> Error {
    address
        .error(ErrorKind::Taken, "another listener has this address")
        .with_advice("end it, or choose another address")
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// What is at a path, links not followed.
fn look(path: &Path) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(why) => Err(why),
    }
}

/// Connects within `left`; the socket does not wait afterwards.
///
/// # Errors
/// `NotFound`: nobody listens there; `Denied`: no right to write to the socket file; `Timeout`: the listener accepts
/// nobody and its backlog is full; `Mismatch`: a socket of another kind; `Invalid`, `TooManyFiles`, `Os`.
pub(crate) fn connect(address: &Address, left: std::time::Duration) -> Result<OwnedFd> {
    let failed = |why: io::Error| socket::refused("connect", &why).with_object(address.to_string());
    let to = address.to_socket()?;
    let made =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|why| failed(why.into()))?;
    // A local connect waits for a place in the backlog only, and as long as it may wait to send. Zero would mean for ever.
    let left = left.clamp(std::time::Duration::from_millis(1), std::time::Duration::from_secs(1 << 30));
    rustix::net::sockopt::set_socket_timeout(&made, rustix::net::sockopt::Timeout::Send, Some(left))
        .map_err(|why| failed(why.into()))?;
    let end = std::time::Instant::now() + left;
    loop {
        match rustix::net::connect(made.as_fd(), &to) {
            Ok(()) => break,
            Err(Errno::INTR) if std::time::Instant::now() < end => {}
            Err(Errno::INTR | Errno::AGAIN) => {
                let says = "nobody accepted the connection in time";
                return Err(address.error(ErrorKind::Timeout, says));
            }
            Err(why @ (Errno::NOENT | Errno::CONNREFUSED)) => {
                return Err(address
                    .error(ErrorKind::NotFound, "nobody listens there")
                    .with_os(Some(why.raw_os_error())));
            }
            Err(Errno::PROTOTYPE) => {
                let says = "a socket of another kind listens there, none of ginnel's";
                return Err(address.error(ErrorKind::Mismatch, says));
            }
            Err(why) => return Err(address.refused("connect", why)),
        }
    }
    rustix::io::ioctl_fionbio(&made, true).map_err(|why| failed(why.into()))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of<T: fmt::Debug>(answer: Result<T>) -> ErrorKind {
        answer.expect_err("refused").kind()
    }

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ginnel-address-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        for bad in ["", "@", &"x".repeat(108), &format!("@{}", "x".repeat(108)), "a\0b"] {
            assert_eq!(kind_of(Address::new(Path::new(bad)).to_socket()), ErrorKind::Invalid, "{bad:?}");
        }
        for good in ["a", "@a", &"x".repeat(107), &format!("@{}", "x".repeat(107)), "./@a"] {
            Address::new(Path::new(good)).to_socket().expect("an address");
        }
    }

    #[test]
    fn a_path_has_one_owner_and_is_gone_with_it() {
        let path = place("one");
        let address = Address::new(&path);
        let first = address.listen(false, 8).expect("free");
        assert_eq!(kind_of(address.listen(false, 8)), ErrorKind::Taken);
        drop(first);
        assert!(!path.exists() && !path.with_extension("lock").exists());
        drop(address.listen(true, 8).expect("free again"));
    }

    #[test]
    fn the_socket_of_a_dead_listener_is_replaced_and_other_files_are_not() {
        let path = place("stale");
        let dead = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let address = Address::new(&path);
        assert_eq!(kind_of(address.listen(false, 8)), ErrorKind::Taken, "it lives, and knows no locks");
        drop(dead);
        assert!(path.exists());
        drop(address.listen(false, 8).expect("it was dead"));
        std::fs::write(&path, "mine").expect("written");
        assert_eq!(kind_of(address.listen(false, 8)), ErrorKind::Taken);
        assert_eq!(std::fs::read(&path).expect("still there"), b"mine");
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn a_socket_that_another_has_put_there_is_left_alone() {
        let path = place("replaced");
        let ours = Address::new(&path).listen(false, 8).expect("free");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "another's").expect("written");
        drop(ours);
        assert_eq!(std::fs::read(&path).expect("still there"), b"another's");
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn an_abstract_name_is_taken_or_free() {
        let address = Address::new(Path::new(&format!("@ginnel-address-{}", std::process::id())));
        let first = address.listen(false, 8).expect("free");
        assert_eq!(kind_of(address.listen(false, 8)), ErrorKind::Taken);
        drop(first);
        drop(address.listen(false, 8).expect("free again"));
    }
}
