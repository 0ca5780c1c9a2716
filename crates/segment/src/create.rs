//! Making a segment: complete before anybody can see it.
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | any step of [`Segment::create`] | nothing: a memfd has no name | the kernel |
//! | any step before `linkat` in `named.rs` | nothing: the file has no name yet | the kernel |
//!
//! Progress: no waiting; as long as the system takes to set the front pages aside.

use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ginnel_layout::atomic::{AtomicU64, Ordering};
use ginnel_layout::header::{Geometry, MAGIC, PAGES_A_STEP, layout_hash, segment_flag, segment_state};
use ginnel_layout::{LAYOUT_VERSION, ParticipantId};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use crate::attach::Door;
use crate::fork::ForkMark;
use crate::locks::LockFile;
use crate::map::Map;
use crate::pages::step_range;
use crate::participants::enter;
use crate::place::Named;
use crate::segment::{Segment, Sweep};
use crate::{Error, Options, needs};

/// What every memfd segment carries: nobody can change its length, nor these seals.
pub(crate) const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// `MFD_NOEXEC_SEAL` of Linux 6.3: memory that can never be executed, which some systems insist on.
const NOEXEC: MFdFlags = MFdFlags::from_bits_retain(8);

const NEW: &str = "the new segment";

impl Segment {
    /// Makes a segment without a name and attaches to it. It lives as long as somebody has its descriptor.
    ///
    /// # Errors
    /// [`Error::ZeroCapacity`], [`Error::TooMany`], [`Error::LimitTooLarge`] before anything is touched;
    /// [`Error::TooManyFiles`], [`Error::Unsupported`] or that of the system. Nothing is left behind.
    pub fn create(options: Options, sweep: Box<dyn Sweep>) -> Result<Self, Error> {
        needs::check()?;
        let geometry = options.geometry()?;
        let fd = memfd().map_err(|errno| Error::os("create", &NEW, errno))?;
        let new = Blank::new(fd, geometry, options.persistent, &NEW)?;
        fcntl(&new.door.fd, FcntlArg::F_ADD_SEALS(SEALS)).map_err(|e| Error::os("seal", &NEW, e))?;
        Ok(new.into_segment(None, sweep))
    }
}

/// A segment that nobody knows of yet: complete, and with this process as its first participant.
pub(crate) struct Blank {
    pub(crate) door: Door,
    map: Map,
    uuid: [u64; 2],
}

/// Its maker has the first row.
const MAKER: ParticipantId = ParticipantId::from_index(0);

impl Blank {
    /// Makes an empty file into a segment.
    pub(crate) fn new(
        fd: OwnedFd,
        geometry: Geometry,
        persistent: bool,
        of: &dyn Display,
    ) -> Result<Self, Error> {
        let failed = |doing| move |errno| Error::os(doing, of, errno);
        let mark = ForkMark::here()?;
        ftruncate(&fd, geometry.total_len() as i64).map_err(failed("set the length of"))?;
        set_aside(&fd, 0, geometry.page_words_at()).map_err(failed("set memory aside for"))?;
        let (offset, bytes) = step_range(&geometry, 0, PAGES_A_STEP);
        set_aside(&fd, offset, bytes).map_err(failed("set memory aside for"))?;
        let map = Map::new(fd.as_fd(), geometry).map_err(failed("map"))?;
        let uuid = random();
        write_front(&map, uuid, persistent);
        let locks = LockFile::reopen(&fd, mark, of)?;
        // Nobody else can have opened it, so both locks are there for the taking.
        locks.share_gate().map_err(failed("lock"))?;
        locks.take(MAKER).map_err(failed("lock"))?;
        // LIVE before anybody can see it: the row must never be found locked and FREE.
        enter(&map, MAKER);
        Ok(Self { door: Door { fd: Arc::new(fd), locks, mark, name: None, persistent }, map, uuid })
    }

    /// What the maker holds, once others can find it.
    pub(crate) fn into_segment(self, name: Option<Named>, sweep: Box<dyn Sweep>) -> Segment {
        let Self { mut door, map, uuid } = self;
        door.name = name;
        Segment {
            me: MAKER,
            uuid,
            map: Arc::new(map),
            door,
            busy: Default::default(),
            next_page: AtomicU64::new(0),
            sweep,
        }
    }
}

/// Gives `bytes` of the file from `offset` on memory of their own, or none at all.
pub(crate) fn set_aside(fd: impl AsFd, offset: u64, bytes: u64) -> Result<(), Errno> {
    loop {
        match fallocate(fd.as_fd(), FallocateFlags::empty(), offset as i64, bytes as i64) {
            // A signal came; what had been allocated by this call was given back.
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// A new memfd that can be sealed, close-on-exec.
pub(crate) fn memfd() -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create("ginnel", flags | NOEXEC) {
        Err(Errno::EINVAL) => memfd_create("ginnel", flags),
        result => result,
    }
}

/// Nobody sees the file yet, so plain order will do; publication (a seal and a descriptor passed, or `linkat`) is a
/// system call on both sides.
fn write_front(map: &Map, uuid: [u64; 2], persistent: bool) {
    let (header, geometry) = (map.header(), map.geometry());
    header.version.store(LAYOUT_VERSION, Ordering::Relaxed);
    header.layout_hash.store(layout_hash(), Ordering::Relaxed);
    header.flags.store(if persistent { segment_flag::PERSISTENT } else { 0 }, Ordering::Relaxed);
    header.total_len.store(geometry.total_len(), Ordering::Relaxed);
    for (word, half) in header.uuid.iter().zip(uuid) {
        word.store(half, Ordering::Relaxed);
    }
    header.participants.store(u32::from(geometry.participants), Ordering::Relaxed);
    header.objects.store(geometry.objects, Ordering::Relaxed);
    header.pages.store(geometry.pages, Ordering::Relaxed);
    map.control().grown.store(PAGES_A_STEP, Ordering::Relaxed);
    map.control().state.store(segment_state::READY, Ordering::Relaxed);
    header.magic.store(MAGIC, Ordering::Relaxed);
}

/// 128 bits that no other segment has: the standard library's hasher is keyed by the system's random numbers.
fn random() -> [u64; 2] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    [0, 1].map(|half| {
        RandomState::new().hash_one((std::process::id(), count, half, std::time::SystemTime::now()))
    })
}
