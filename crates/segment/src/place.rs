//! Where named segments are: a tmpfs directory, and the files in it.
//!
//! A segment `orders` of user 1000 is the file `ginnel.1000.orders`, mode 600. The user is part of the file name, so
//! that nobody can take a name from somebody else in a directory where everybody writes.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat, lstat};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::geteuid;

use crate::Error;
use crate::attach::kind;

/// Longest name of a segment, in bytes.
pub const NAME_MAX: usize = 200;

/// A directory for named segments. The default is `/dev/shm`.
///
/// It must be in a tmpfs: on a disk every message would be written back, and memory could not be set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Default for Place {
    fn default() -> Self {
        Self(PathBuf::from("/dev/shm"))
    }
}

impl Place {
    /// Another directory. It is looked at when it is used.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fails where no segment can live.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |why| Err(Error::BadPlace { of: self.to_string(), why });
        match statfs(self.path()) {
            Ok(system) if system.filesystem_type() != TMPFS_MAGIC => bad("it is not in a tmpfs"),
            Ok(_) if !self.path().is_dir() => bad("it is not a directory"),
            Ok(_) => Ok(()),
            Err(Errno::ENOENT) => bad("it does not exist"),
            Err(Errno::EACCES) => bad("you may not enter it"),
            Err(errno) => Err(Error::os("look at", self, errno)),
        }
    }

    /// The names of this user's segments here, sorted. Some of them may be stale, or gone by now.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        self.check()?;
        let read = |e: std::io::Error| Error::Os { doing: "list", of: self.to_string(), source: e };
        let prefix = prefix();
        let mut names = Vec::new();
        for file in fs::read_dir(self.path()).map_err(read)? {
            let file = file.map_err(read)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_prefix(&prefix));
            names.extend(name.filter(|name| fault(name).is_none()).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the directory {}", self.0.display())
    }
}

/// A name that was found to be good, in its place.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Named {
    pub(crate) fn new(place: &Place, name: &str) -> Result<Self, Error> {
        if let Some(why) = fault(name) {
            return Err(Error::BadName { name: name.to_owned(), why });
        }
        place.check()?;
        Ok(Self { place: place.clone(), name: name.to_owned() })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join(format!("{}{}", prefix(), self.name))
    }

    /// Opens the file if it is there and is one that we trust: ours, private, regular, no link.
    pub(crate) fn open(&self) -> Result<Option<OwnedFd>, Error> {
        // A fifo or device under our name must neither block us nor become our terminal.
        let flags =
            OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match open(&self.path(), flags, Mode::empty()) {
            Ok(fd) => {
                let stat = fstat(&fd).map_err(|errno| Error::os("look at", self, errno))?;
                self.judge(&stat)?;
                Ok(Some(fd))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => match lstat(&self.path()) {
                // Why it could not be opened is told better by what it is than by the system's answer.
                Ok(stat) => self.judge(&stat).and(Err(Error::os("open", self, errno))),
                Err(Errno::ENOENT) => Ok(None),
                Err(_) => Err(Error::os("open", self, errno)),
            },
        }
    }

    /// The inode that the name leads to now, without following anything.
    pub(crate) fn stat(&self) -> Result<Option<FileStat>, Error> {
        match lstat(&self.path()) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::os("look at", self, errno)),
        }
    }

    /// Removes the name, whoever uses it. False: there was none.
    pub(crate) fn unlink(&self) -> Result<bool, Error> {
        match fs::remove_file(self.path()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => {
                let errno = e.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                let found = self.stat()?;
                found.map_or(Ok(()), |stat| self.judge(&stat))?;
                Err(Error::os("remove", self, errno))
            }
        }
    }

    /// Is the descriptor's file the one that the name leads to?
    pub(crate) fn leads_to(&self, fd: impl AsFd) -> Result<bool, Error> {
        let open = fstat(fd).map_err(|errno| Error::os("look at", self, errno))?;
        let named = self.stat()?;
        Ok(named.is_some_and(|named| (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)))
    }

    fn judge(&self, stat: &FileStat) -> Result<(), Error> {
        let of = self.to_string();
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {}
            libc::S_IFLNK => return Err(Error::Symlink { of }),
            _ => return Err(Error::NotAFile { of, kind: kind(stat.st_mode) }),
        }
        let ours = geteuid().as_raw();
        if stat.st_uid != ours {
            return Err(Error::WrongOwner { of, owner: stat.st_uid, ours });
        }
        let mode = stat.st_mode & 0o7777;
        if mode != 0o600 {
            return Err(Error::WrongMode { of, mode });
        }
        Ok(())
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the segment {:?} ({})", self.name, self.path().display())
    }
}

fn prefix() -> String {
    format!("ginnel.{}.", geteuid())
}

/// What keeps a text from being a name.
fn fault(name: &str) -> Option<&'static str> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_MAX {
        Some("it is too long")
    } else if name.starts_with('.') {
        Some("it starts with a dot")
    } else if !name.bytes().all(fine) {
        Some("it has a character that is not allowed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["a", "orders", "A-1_b.c", "x..y", &"n".repeat(NAME_MAX)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\0", "../x", &"n".repeat(NAME_MAX + 1)] {
            assert!(fault(bad).is_some(), "{bad}");
            assert!(matches!(Named::new(&Place::default(), bad), Err(Error::BadName { .. })));
        }
    }

    #[test]
    fn the_user_is_in_the_file_name() {
        let named = Named::new(&Place::default(), "orders").expect("a good name");
        assert_eq!(named.path(), PathBuf::from(format!("/dev/shm/ginnel.{}.orders", geteuid())));
    }

    #[test]
    fn a_file_is_judged_by_kind_then_owner_then_mode() {
        let named = Named::new(&Place::default(), "orders").expect("a good name");
        let file = tempfile::tempfile().expect("a file");
        let mut stat = fstat(&file).expect("it is open");
        let ours = geteuid().as_raw();
        (stat.st_mode, stat.st_uid) = (libc::S_IFREG | 0o600, ours);
        assert!(named.judge(&stat).is_ok());
        stat.st_mode = libc::S_IFREG | 0o640;
        assert!(matches!(named.judge(&stat), Err(Error::WrongMode { mode: 0o640, .. })));
        stat.st_uid = ours + 1;
        assert!(matches!(named.judge(&stat), Err(Error::WrongOwner { owner, .. }) if owner == ours + 1));
        stat.st_mode = libc::S_IFIFO | 0o600;
        assert!(matches!(named.judge(&stat), Err(Error::NotAFile { kind: "fifo", .. })));
        stat.st_mode = libc::S_IFLNK | 0o777;
        assert!(matches!(named.judge(&stat), Err(Error::Symlink { .. })));
    }
}
