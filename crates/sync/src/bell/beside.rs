//! Ears beside a named segment: sockets that have a file in its directory.
//!
//! An abstract address belongs to a network namespace. A file is found by everybody who finds the segment, and its
//! permissions guard it. Who rings knows no path, only the key; so each attachment to a named segment keeps its
//! directory open and says here under which number ([`Directory`]). A file is reached as `/proc/self/fd/<number>/<file>`,
//! whatever the process has changed its directory to, and however long the path is.
//!
//! Reaching a file by name costs three times what an abstract address costs. So each thread keeps its last few
//! connections, and a byte through one of them costs the same as one to an abstract address. A connection to an ear that
//! is closed fails, and is then made anew: the listener may have a new one.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | DIRECTORIES | who attaches and detaches | who listens and who rings | gone with the process |
//! | a thread's connections | the thread | the thread | gone with the thread |
//!
//! - I1 a number in DIRECTORIES is that of an open directory; it is taken out before it is closed. Who read it just
//!   before looks for a file with a random name in whatever has the number by then, and finds none.
//! - I2 nothing here is locked, so a child of a fork may ring and listen, whatever the other threads were doing.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | listener, from `bind` until the file is removed | the file, at which nobody listens | recovery of the listener, or the collector |
//!
//! Progress: sending is wait-free, one system call where there is a connection, else four.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::wait::{BellFile, segment_bits};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix, bind, connect, send as send_to_peer};

use super::real::new_socket;

/// Named segments a process can be attached to with ears beside them: as many as the usual limit of descriptors allows.
const SLOTS: usize = 512;

/// `{descriptor + 1 : 32 | segment : 32}`, or 0.
static DIRECTORIES: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

/// Connections a thread keeps.
const MOST: usize = 16;

thread_local! {
    static CONNECTIONS: RefCell<Vec<(BellFile, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// Where the ears beside a segment are: keep one as long as the segment is attached.
///
/// Without it, for one beyond the 512th in a process, and where files cannot be made in the directory, a poller is rung
/// at an abstract address as if the segment had no name. A process that cannot look into the directory does not reach
/// the pollers that have a file there; they look again at the end of their slice.
#[derive(Debug)]
pub struct Directory {
    segment: u32,
    slot: Option<usize>,
    _fd: OwnedFd,
}

impl Directory {
    /// Says that the ears of `segment`, as in [`super::key_beside`], are in the directory behind `fd` (`O_PATH` will do).
    #[must_use]
    pub fn new(segment: u32, fd: OwnedFd) -> Self {
        let segment = segment_bits(segment);
        let word = ((fd.as_raw_fd() as u64 + 1) << 32) | u64::from(segment);
        let take = |slot: &AtomicU64| slot.compare_exchange(0, word, Relaxed, Relaxed).is_ok();
        Self { segment, slot: DIRECTORIES.iter().position(take), _fd: fd }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            DIRECTORIES[slot].store(0, Relaxed);
        }
        // Other threads keep theirs until they end, or need the place.
        let forget = |kept: &RefCell<Vec<(BellFile, OwnedFd)>>| {
            kept.borrow_mut().retain(|(file, _)| file.segment() != self.segment);
        };
        let _ = CONNECTIONS.try_with(forget);
    }
}

/// The paths at which a file may be: one for each attachment of this process to its segment.
fn paths(file: BellFile) -> impl Iterator<Item = String> {
    DIRECTORIES.iter().filter_map(move |slot| {
        let word = slot.load(Relaxed);
        let ours = word != 0 && word as u32 == file.segment();
        ours.then(|| format!("/proc/self/fd/{}/{file}", (word >> 32) - 1))
    })
}

/// The file of an ear. It goes with this, unless this is the copy that a forked child has.
#[derive(Debug)]
pub(super) struct Name {
    file: BellFile,
    inode: (u64, u64),
    process: u32,
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        // Another thread may have made a new ear since, whose file has the same name.
        let gone = |path: &String| {
            inode(path).is_ok_and(|inode| inode == self.inode) && fs::remove_file(path).is_ok()
        };
        let _ = paths(self.file).find(gone);
    }
}

fn inode(path: &str) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Opens an ear at `file`. None: it cannot be there.
pub(super) fn listen(file: BellFile) -> Option<(OwnedFd, Name)> {
    paths(file).find_map(|path| listen_at(&path, file).ok())
}

fn listen_at(path: &str, file: BellFile) -> io::Result<(OwnedFd, Name)> {
    let (socket, address) = (new_socket()?, SocketAddrUnix::new(path)?);
    // The file inherits this, so it is never open to others, whatever the umask.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    if let Err(why) = bind(&socket, &address) {
        // Only this participant listens here, so it is what an earlier one left: or of an ear that is being dropped.
        if why != Errno::ADDRINUSE {
            return Err(why.into());
        }
        fs::remove_file(path)?;
        bind(&socket, &address)?;
    }
    let name = Name { file, inode: inode(path)?, process: std::process::id() };
    // The umask may have taken away even the owner's rights.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((socket, name))
}

/// Sends a byte to who listens at `file`. True: it was sent, or there are enough already.
pub(super) fn send(file: BellFile) -> bool {
    let through_kept = |kept: &RefCell<Vec<(BellFile, OwnedFd)>>| {
        let mut kept = kept.borrow_mut();
        if let Some(at) = kept.iter().position(|(known, _)| *known == file) {
            if post(&kept[at].1) {
                return true;
            }
            kept.remove(at);
        }
        let Some(socket) = reach(file).filter(post) else { return false };
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push((file, socket));
        true
    };
    // A thread that is ending keeps none.
    CONNECTIONS.try_with(through_kept).unwrap_or_else(|_| reach(file).is_some_and(|socket| post(&socket)))
}

/// A socket whose bytes go to who listens at `file`. It is never connected to anything else, because a forked child
/// shares it.
fn reach(file: BellFile) -> Option<OwnedFd> {
    paths(file).find_map(|path| {
        let socket = new_socket().ok()?;
        connect(&socket, &SocketAddrUnix::new(path.as_str()).ok()?).ok()?;
        Some(socket)
    })
}

fn post(socket: &OwnedFd) -> bool {
    loop {
        match send_to_peer(socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Ok(_) | Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use ginnel_layout::ParticipantId;
    use ginnel_layout::wait::Bells;

    use super::super::{Ear, key_beside, ring_one, want};
    use super::*;

    /// A directory for one test, which goes with what is in it.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let path = PathBuf::from(format!("/dev/shm/ginnel-bell-{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn open(&self, segment: u32) -> Directory {
            Directory::new(segment, File::open(&self.0).unwrap().into())
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const ME: ParticipantId = ParticipantId::from_index(3);

    fn rings(key: u64) -> bool {
        let bells = Bells::default();
        want(&bells, key, ME);
        ring_one(&bells)
    }

    /// A segment that no other test, and no other run at the same time, has.
    fn segment(number: u32) -> u32 {
        std::process::id() * 16 + number
    }

    #[test]
    fn an_ear_has_a_file_of_its_owner_alone_as_long_as_it_lives() {
        let (place, segment) = (Place::new("file"), segment(1));
        let (directory, key) = (place.open(segment), key_beside(segment, 9));
        assert!(!rings(key));
        let ear = Ear::open(key, ME).unwrap();
        let file = place.0.join(BellFile { key, listener: ME }.to_string());
        assert_eq!(fs::symlink_metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert!(rings(key) && ear.drain() && !ear.drain());
        drop(ear);
        assert!(!rings(key) && place.files() == 0);
        // The connection of this thread led to the ear that is gone.
        let ear = Ear::open(key, ME).unwrap();
        assert!(rings(key) && ear.drain());
        drop((ear, directory));
        assert_eq!(place.files(), 0);
    }

    #[test]
    fn what_a_killed_one_left_is_taken_over_and_not_taken_away_by_a_late_drop() {
        let (place, segment) = (Place::new("late"), segment(2));
        let (_directory, key) = (place.open(segment), key_beside(segment, 9));
        let old = Ear::open(key, ME).unwrap();
        let new = Ear::open(key, ME).unwrap();
        drop(old);
        assert!(rings(key) && new.drain() && place.files() == 1);
    }

    #[test]
    fn a_full_queue_of_bytes_is_readable_and_blocks_nobody() {
        let (place, segment) = (Place::new("full"), segment(3));
        let (_directory, key) = (place.open(segment), key_beside(segment, 9));
        let ear = Ear::open(key, ME).unwrap();
        assert!((0..2000).all(|_| rings(key)) && ear.drain());
    }

    #[test]
    fn where_no_file_can_be_made_the_abstract_address_serves() {
        let (place, segment) = (Place::new("none"), segment(4));
        let key = key_beside(segment, 9);
        let ear = Ear::open(key, ME).unwrap();
        assert!(rings(key) && ear.drain());
        // Nor does it matter that who rings knows where a file would be.
        let _directory = place.open(segment);
        assert!(rings(key) && ear.drain() && place.files() == 0);
        // A directory that is removed while it is open takes no files.
        let gone = Place::new("gone");
        let _gone = gone.open(segment + 1);
        fs::remove_dir(&gone.0).unwrap();
        let ear = Ear::open(key_beside(segment + 1, 9), ME).unwrap();
        assert!(rings(key_beside(segment + 1, 9)) && ear.drain());
    }

    #[test]
    fn more_listeners_than_connections_are_all_heard() {
        let (place, segment) = (Place::new("many"), segment(6));
        let _directory = place.open(segment);
        let keys: Vec<u64> = (0..MOST as u32 + 3).map(|line| key_beside(segment, line)).collect();
        let ears: Vec<Ear> = keys.iter().map(|key| Ear::open(*key, ME).unwrap()).collect();
        for _ in 0..2 {
            assert!(keys.iter().zip(&ears).all(|(key, ear)| rings(*key) && ear.drain()));
        }
        CONNECTIONS.with(|kept| assert_eq!(kept.borrow().len(), MOST));
    }
}
