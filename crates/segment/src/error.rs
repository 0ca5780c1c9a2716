//! What can go wrong with a segment: one variant for each kind, each saying what happened, to what, and what to do.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

/// The handle was made before a `fork` and is used in the child.
///
/// The child shares the parent's memory but is no participant: it must attach anew (or be started by `exec`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this handle belongs to the process before fork(); attach to the segment anew in the child")]
pub struct Forked;

/// Why a segment could not be made, found, attached or used.
///
/// `of` names the segment, file or directory concerned, as a person would.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// See [`Forked`].
    #[error(transparent)]
    Forked(#[from] Forked),

    /// The name cannot be a segment's.
    #[error("{name:?} cannot name a segment: {why}; use 1 to 200 of A-Z a-z 0-9 . _ - and no dot in front")]
    BadName {
        /// What was asked for.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },

    /// A count or size in the options, or of pages asked for, is zero.
    #[error("a segment with no {what} is of no use; ask for one or more")]
    ZeroCapacity {
        /// What there would be none of.
        what: &'static str,
    },

    /// A count is above what the layout can hold.
    #[error("{asked} {what} are too many; a segment has {most} at most")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many were asked for.
        asked: u64,
        /// How many there can be.
        most: u64,
    },

    /// The limit is more memory than this machine, or this cgroup, has. Nothing was touched.
    #[error("a limit of {asked} bytes is more than the {machine} bytes of memory there are; lower the limit")]
    LimitTooLarge {
        /// Bytes asked for.
        asked: u64,
        /// Bytes of memory, or what the cgroup may use of them.
        machine: u64,
    },

    /// No segment has this name.
    #[error("{of} does not exist; create it, or check the name, the directory and the user")]
    NotFound {
        /// Which segment.
        of: String,
    },

    /// The file does not start as a segment does.
    #[error("{of} is not a ginnel segment (wrong magic number); remove it or choose another name")]
    WrongMagic {
        /// Which file.
        of: String,
    },

    /// Made by a build of another layout.
    #[error("{of} has layout {found}, this build has {ours}; run both sides from one version of ginnel")]
    OtherLayout {
        /// Which segment.
        of: String,
        /// Version and hash in the segment.
        found: String,
        /// Version and hash of this build.
        ours: String,
    },

    /// The header contradicts itself.
    #[error("{of} has a damaged header ({what}); remove it and create it anew")]
    BadHeader {
        /// Which segment.
        of: String,
        /// Which field.
        what: &'static str,
    },

    /// Shorter or longer than its header says.
    #[error(
        "{of} is {found} bytes long and should be {expected}; it was truncated or is no segment: remove it"
    )]
    WrongSize {
        /// Which segment.
        of: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },

    /// Belongs to another user.
    #[error(
        "{of} belongs to user {owner}, not to you (user {ours}); choose another name or run as its owner"
    )]
    WrongOwner {
        /// Which file.
        of: String,
        /// Its owner.
        owner: u32,
        /// The effective user id of this process.
        ours: u32,
    },

    /// Others than the owner may open it, or the owner may not.
    #[error("{of} has mode {mode:03o} and must have 600; check who made it, then chmod or remove it")]
    WrongMode {
        /// Which file.
        of: String,
        /// Its permission bits.
        mode: u32,
    },

    /// A directory, fifo, device or socket.
    #[error("{of} is a {kind}, not a regular file; remove it or choose another name")]
    NotAFile {
        /// Which path.
        of: String,
        /// What it is.
        kind: &'static str,
    },

    /// A symbolic link, which is never followed.
    #[error("{of} is a symbolic link, which is not followed; remove it or choose another name")]
    Symlink {
        /// Which path.
        of: String,
    },

    /// The descriptor is no shared memory of the kernel, so touching it could block or fail.
    #[error("{of} is no memfd (a file on a disk or in huge pages); pass the descriptor of a segment")]
    NotShmem {
        /// Which descriptor.
        of: String,
    },

    /// The memfd could be truncated under our feet.
    #[error("{of} lacks the seals {missing}; pass the descriptor of a segment, which ginnel seals")]
    MissingSeals {
        /// Which descriptor.
        of: String,
        /// Names of the missing seals.
        missing: String,
    },

    /// No ring can have this size.
    #[error("a ring of {asked} bytes cannot be; ask for whole pages (4096 bytes), below 4 GiB")]
    BadRing {
        /// Bytes asked for.
        asked: u64,
    },

    /// What a peer passed is no memory of a peer, or not what was agreed on.
    #[error(
        "{of} is not what was agreed ({what}); refuse the peer, or run both sides from one version of ginnel"
    )]
    WrongPeer {
        /// Which descriptor.
        of: String,
        /// What differs.
        what: &'static str,
    },

    /// The descriptor, or the memory behind it, cannot be written.
    #[error("{of} is open for reading only or sealed against writing; pass a descriptor open for both")]
    ReadOnly {
        /// Which descriptor.
        of: String,
    },

    /// An object whose kind this build does not know, so it could not be recovered after a death.
    #[error("object {entry} of {of} has the unknown kind {tag}; run both sides from one version of ginnel")]
    UnknownObject {
        /// Which segment.
        of: String,
        /// Index of its entry.
        entry: u32,
        /// The tag.
        tag: u32,
    },

    /// Every participant's row is taken by a living one.
    #[error("{of} has all {participants} participants; let one leave, or create it with more")]
    TableFull {
        /// Which segment.
        of: String,
        /// Rows of the table.
        participants: u16,
    },

    /// Every entry of the object directory is taken.
    #[error("{of} has all {objects} objects; drop some, or create it with more")]
    DirectoryFull {
        /// Which segment.
        of: String,
        /// Entries of the directory.
        objects: u32,
    },

    /// No such entry.
    #[error("{of} has no object entry {entry}; it has {objects}")]
    NoSuchEntry {
        /// Which segment.
        of: String,
        /// What was asked for.
        entry: u32,
        /// Entries of the directory.
        objects: u32,
    },

    /// No such pages.
    #[error("{of} has no pages {first}..{end}; it has {pages}")]
    NoSuchPages {
        /// Which segment.
        of: String,
        /// First page asked for.
        first: u64,
        /// One behind the last.
        end: u64,
        /// Pages there are.
        pages: u64,
    },

    /// The arena has no run of free pages that long within its limit. Nothing was touched.
    #[error(
        "{of} has no {asked} free pages in a row of its {pages} (4 KiB each); free objects or raise the limit"
    )]
    Full {
        /// Which segment.
        of: String,
        /// Pages asked for.
        asked: u64,
        /// Pages there are, free or not.
        pages: u64,
    },

    /// The file system has no memory left. What had been taken is given back.
    #[error("the file system of {of} is full; free space there, or use a larger tmpfs")]
    NoSpace {
        /// Which segment.
        of: String,
    },

    /// The machine, or the cgroup, has no memory left. What had been taken is given back.
    #[error(
        "there is no memory for {of} (asked {asked} bytes); free memory, or lower the limit of the segment"
    )]
    NoMemory {
        /// Which segment.
        of: String,
        /// Bytes asked for.
        asked: u64,
    },

    /// The process or the system has no descriptor left.
    #[error("no file descriptor is left for {of}; close some, or raise RLIMIT_NOFILE (ulimit -n)")]
    TooManyFiles {
        /// Which segment.
        of: String,
    },

    /// Somebody removed, or is removing, the segment all the time that the caller was willing to wait.
    #[error("{of} was being removed for all of {patience:?}; try again, or see who holds it (`ginnel ls`)")]
    GateBusy {
        /// Which segment.
        of: String,
        /// How long the caller waited.
        patience: Duration,
    },

    /// The directory for named segments cannot be used.
    #[error(
        "{of} cannot hold segments: {why}; use /dev/shm or another tmpfs directory that you may write to"
    )]
    BadPlace {
        /// Which directory.
        of: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The system lacks something that ginnel cannot do without.
    #[error("this system lacks {what}; ginnel needs Linux 5.16 or newer, pages of 4 KiB, and /proc")]
    Unsupported {
        /// What is missing.
        what: String,
    },

    /// The message on the socket carries no descriptor, or more than the kernel could hand over.
    #[error("no descriptor came over the socket ({why}); send one segment a message with fd_passing::send")]
    NoDescriptor {
        /// What came instead.
        why: &'static str,
    },

    /// A system call failed in a way that has no variant of its own.
    #[error("cannot {doing} {of}: {source}")]
    Os {
        /// What was being done.
        doing: &'static str,
        /// To what.
        of: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The error for a failed system call, with its own variant where it has one.
    pub(crate) fn os(doing: &'static str, of: &dyn std::fmt::Display, errno: Errno) -> Self {
        let of = of.to_string();
        match errno {
            Errno::EMFILE | Errno::ENFILE => Self::TooManyFiles { of },
            Errno::ENOSPC | Errno::EDQUOT => Self::NoSpace { of },
            _ => Self::Os { doing, of, source: errno.into() },
        }
    }
}
