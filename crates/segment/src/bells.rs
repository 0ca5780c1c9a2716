//! Files beside a named segment at which its pollers listen: removing what the dead left of them.
//!
//! A poller makes its file and removes it (`ginnel_sync::bell`). What is known here is whose a file is, by its name
//! ([`BellFile`]), and who is gone:
//!
//! | killed | files left | who removes them |
//! |---|---|---|
//! | a poller | its own of this segment | `kill_poller_beside_others`: its recovery, before its row is FREE and its id somebody else's |
//! | all who are attached | all of this segment | `kill_poller_and_everybody`: `collect`, with the gate held alone, before the name; or the recovery of each |
//! | all who are attached to what has lost its name | the same | `kill_poller_whose_segment_has_lost_its_name`: the next `collect`, `unlink` or creation in the directory, as nobody listens |
//! | who removes them | the rest | the next one that does |
//!
//! - I1: the first two need no look at the socket: whose id is locked, or whose gate is held alone, can make none.
//! - I2: a file that is listed has a listener or will never have one: the kernel binds and publishes a socket under the
//!   lock of the directory, which listing takes.
//!
//! All of it may be repeated. A file that cannot be removed
//! is left: it costs who rings there a system call.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use ginnel_layout::ParticipantId;
use ginnel_layout::wait::{BellFile, segment_bits};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::Error;
use crate::place::Place;
use crate::segment::Segment;

impl Segment {
    /// The directory in which its name is, for those who listen or ring beside it. `None`: it has no name.
    ///
    /// # Errors
    /// That of the system.
    pub fn directory(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(named) = &self.door.name else { return Ok(None) };
        self.check_fork()?;
        open_directory(&named.place)
            .map(Some)
            .map_err(|errno| Error::os("open the directory of", self, errno))
    }

    /// Removes the files of a dead participant, whose byte we hold.
    pub(crate) fn remove_bells_of(&self, dead: ParticipantId) {
        let Some(named) = &self.door.name else { return };
        let ours = segment_bits(self.uuid[0] as u32);
        remove(&named.place, |file, _| file.segment() == ours && file.listener == dead);
    }
}

/// Removes the files of a segment that nobody can be attached to, if its number is known, and those at which nobody
/// listens.
pub(crate) fn sweep(place: &Place, dead: Option<[u64; 2]>) {
    let dead = dead.map(|uuid| segment_bits(uuid[0] as u32));
    remove(place, |file, directory| Some(file.segment()) == dead || is_deaf(file, directory));
}

fn remove(place: &Place, which: impl Fn(BellFile, &OwnedFd) -> bool) {
    let (Ok(directory), Ok(files)) = (open_directory(place), fs::read_dir(place.path())) else { return };
    for found in files.map_while(Result::ok) {
        let Some(file) = found.file_name().to_str().and_then(BellFile::parse) else { continue };
        // Of others' files in a directory for all the kernel lets us remove none.
        if found.file_type().is_ok_and(|kind| kind.is_socket()) && which(file, &directory) {
            let _ = fs::remove_file(found.path());
        }
    }
}

fn is_deaf(file: BellFile, directory: &OwnedFd) -> bool {
    // Through the descriptor, because the address of a socket is short.
    let path = format!("/proc/self/fd/{}/{file}", directory.as_raw_fd());
    let kind = (AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let Ok(socket) = socket_with(kind.0, kind.1, kind.2, None) else { return false };
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    connect(&socket, &address) == Err(rustix::io::Errno::CONNREFUSED)
}

fn open_directory(place: &Place) -> Result<OwnedFd, Errno> {
    open(place.path(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}
