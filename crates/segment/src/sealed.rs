//! The memory of an untrusted connection: each side makes a file that only it can write, and passes it to the other.
//!
//! ```text
//! byte 0      page of words (`layout::peer`)
//! byte 4096   the ring, `size` bytes, mapped twice by both sides
//! ```
//! A side makes its file, sets all of its memory aside, maps it for writing, and then seals it: against shrinking and
//! growing, against further writable mappings and `write` (`F_SEAL_FUTURE_WRITE`), and against further seals. Seals cannot
//! be taken off. So whoever gets the descriptor can prove all of that before it touches the memory, and can map it for
//! reading only.
//!
//! | what a hostile maker may try | what stops it |
//! |---|---|
//! | pass a file on a disk, of a file system of its own, of huge pages, a socket | it is no memfd, or carries no seals: refused |
//! | shorten it later, so that our next load is a SIGBUS | `F_SEAL_SHRINK` |
//! | punch a hole, so that the next load has to find memory | refused with `F_SEAL_FUTURE_WRITE`; holes from before read as zeros |
//! | announce a ring that is longer or shorter than the file | its length is compared with what was agreed |
//! | change the length in the page after we looked | it is read once, and only to be compared |
//! | say anything else in page or ring | `queue::untrusted`, which believes nothing |
//!
//! And against a maker, the other side can do nothing: what it has is a mapping that cannot be written.
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | any step | nothing: a memfd has no name, and goes with its last descriptor and mapping | the kernel |
//!
//! Progress: no waiting; as long as the system takes to set the memory aside, or to map it. In a forked child an [`Own`] is
//! the parent's memory still, which both could then write: whoever holds one checks for forks.
//!
//! - I1 only [`Own::create`] maps a file of its own for writing, and only before the seals; the pointers it gives are valid
//!   as long as the [`Own`] lives.
//! - I2 a [`Foreign`] maps a file whose length cannot change, for reading; its pointers are valid as long as it lives.

use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

use ginnel_layout::lane::RING_MAX;
use ginnel_layout::line::PAGE;
use ginnel_layout::peer::{MAGIC, PeerFront, RING_AT, VERSION};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::stat::fstat;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::ftruncate;

use crate::attach::{FUTURE_WRITE, prove_sealed};
use crate::create::{SEALS, memfd, set_aside};
use crate::map::Mirror;
use crate::{Error, needs};

pub use ginnel_layout::peer::PeerControl;

/// The smallest ring, in bytes; all are multiples of it.
pub const RING_MIN: u64 = PAGE as u64;

/// What the file of a side carries: nobody can change its length, map it anew for writing, nor change these seals.
const ALL: SealFlag = SEALS.union(FUTURE_WRITE);

const NEW: &str = "the memory of a connection";

/// Can a ring have `size` bytes? For sizes that a stranger announces; whether we want to map so much is another question.
#[must_use]
pub const fn is_ring_size(size: u64) -> bool {
    size >= RING_MIN && size.is_multiple_of(PAGE as u64) && size < RING_MAX
}

/// The memory that this process writes and the other side reads.
///
/// Unmapped when dropped; the other side keeps what it has mapped. `Send` and `Sync`, as it gives out addresses only.
#[derive(Debug)]
pub struct Own {
    page: MmapRaw,
    ring: Mirror,
}

impl Own {
    /// Makes it, with a ring of `ring` bytes, and the descriptor to be passed to the other side. The descriptor is of no
    /// use here after that: drop it.
    ///
    /// # Errors
    /// [`Error::BadRing`], [`Error::TooManyFiles`], [`Error::NoSpace`], [`Error::NoMemory`], [`Error::Unsupported`], or that
    /// of the system. Nothing is left behind.
    pub fn create(ring: u64) -> Result<(Self, OwnedFd), Error> {
        needs::check()?;
        let failed = |doing| move |errno| Error::os(doing, &NEW, errno);
        let length = ring_length(ring)?;
        let fd = memfd().map_err(failed("create"))?;
        ftruncate(&fd, (RING_AT + ring) as i64).map_err(failed("set the length of"))?;
        set_aside(&fd, 0, RING_AT + ring).map_err(|errno| match errno {
            Errno::ENOMEM => Error::NoMemory { of: NEW.to_owned(), asked: RING_AT + ring },
            _ => failed("set memory aside for")(errno),
        })?;
        pwrite(&fd, &front(ring), 0).map_err(failed("write"))?;
        let page = MmapOptions::new().len(PAGE).populate().map_raw(fd.as_raw_fd());
        let page = page.map_err(|error| failed("map")(errno_of(&error)))?;
        let ring = Mirror::new(fd.as_fd(), RING_AT, length).map_err(failed("map"))?;
        // From here on there is no other way to write there than by these two mappings (I1).
        fcntl(&fd, FcntlArg::F_ADD_SEALS(ALL)).map_err(failed("seal"))?;
        Ok((Self { page, ring }, fd))
    }

    /// Our words.
    #[must_use]
    pub fn control(&self) -> NonNull<PeerControl> {
        start(self.page.as_mut_ptr()).cast()
    }

    /// The first byte of our ring, which is mapped twice.
    #[must_use]
    pub fn ring(&self) -> NonNull<u8> {
        start(self.ring.as_ptr())
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.ring.len() as u64
    }
}

/// The memory that the other side writes and this process can only read.
///
/// Unmapped when dropped. `Send` and `Sync`, as it gives out addresses only. Nothing in it is to be believed.
#[derive(Debug)]
pub struct Foreign {
    page: MmapRaw,
    ring: Mirror,
}

impl Foreign {
    /// Proves what the other side passed, and maps it for reading. `ring` is the size of its ring as it was agreed, which the
    /// caller has compared with what it is willing to map. The descriptor is closed.
    ///
    /// # Errors
    /// [`Error::BadRing`], [`Error::NotAFile`], [`Error::NotShmem`], [`Error::MissingSeals`], [`Error::WrongSize`],
    /// [`Error::WrongPeer`], or that of the system. Nothing was mapped then.
    pub fn map(fd: OwnedFd, ring: u64) -> Result<Self, Error> {
        needs::check()?;
        let of = format!("the memory that the peer passed as descriptor {}", fd.as_raw_fd());
        let failed = |doing| {
            let of = &of;
            move |errno| Error::os(doing, of, errno)
        };
        let length = ring_length(ring)?;
        prove_sealed(&fd, ALL, &of)?;
        let (found, expected) = (fstat(&fd).map_err(failed("look at"))?.st_size as u64, RING_AT + ring);
        if found != expected {
            return Err(Error::WrongSize { of, expected, found });
        }
        let mut bytes = [0; FRONT];
        let read = pread(&fd, &mut bytes, 0).map_err(failed("read"))?;
        if let Some(what) = difference(&bytes[..read], ring) {
            return Err(Error::WrongPeer { of, what });
        }
        let page = MmapOptions::new().len(PAGE).populate().map_raw_read_only(fd.as_raw_fd());
        let page = page.map_err(|error| failed("map")(errno_of(&error)))?;
        let ring = Mirror::read_only(fd.as_fd(), RING_AT, length).map_err(failed("map"))?;
        Ok(Self { page, ring })
    }

    /// Its words. Mapped for reading only: load, never store.
    #[must_use]
    pub fn control(&self) -> NonNull<PeerControl> {
        start(self.page.as_mut_ptr()).cast()
    }

    /// The first byte of its ring, which is mapped twice, for reading only.
    #[must_use]
    pub fn ring(&self) -> NonNull<u8> {
        start(self.ring.as_ptr())
    }

    /// Bytes of the ring.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.ring.len() as u64
    }
}

/// Bytes of the front that say something.
const FRONT: usize = 24;

/// The front of a file with a ring of `ring` bytes.
fn front(ring: u64) -> [u8; FRONT] {
    let mut bytes = [0; FRONT];
    bytes[offset_of!(PeerFront, magic)..][..8].copy_from_slice(&MAGIC.to_ne_bytes());
    bytes[offset_of!(PeerFront, version)..][..4].copy_from_slice(&VERSION.to_ne_bytes());
    bytes[offset_of!(PeerFront, size)..][..8].copy_from_slice(&ring.to_ne_bytes());
    bytes
}

/// How what was read differs from what it should be.
fn difference(found: &[u8], ring: u64) -> Option<&'static str> {
    let expected = front(ring);
    let differs = |at: usize, len: usize| found.get(at..at + len) != Some(&expected[at..at + len]);
    if differs(offset_of!(PeerFront, magic), 8) {
        Some("another magic number")
    } else if differs(offset_of!(PeerFront, version), 4) {
        Some("another version")
    } else {
        (found != expected).then_some("another size of the ring")
    }
}

fn ring_length(ring: u64) -> Result<NonZeroUsize, Error> {
    let length = usize::try_from(ring).ok().and_then(NonZeroUsize::new);
    length.filter(|_| is_ring_size(ring)).ok_or(Error::BadRing { asked: ring })
}

fn start(mapping: *mut u8) -> NonNull<u8> {
    NonNull::new(mapping).expect("nothing is mapped at zero")
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_front_is_compared() {
        assert_eq!(difference(&front(4096), 4096), None);
        assert_eq!(difference(&front(8192), 4096), Some("another size of the ring"));
        assert_eq!(difference(&front(4096)[..20], 4096), Some("another size of the ring"));
        for (at, what) in [
            (0, "another magic number"),
            (7, "another magic number"),
            (8, "another version"),
            (12, "another size of the ring"),
            (23, "another size of the ring"),
        ] {
            let mut bytes = front(4096);
            bytes[at] ^= 1;
            assert_eq!(difference(&bytes, 4096), Some(what), "byte {at}");
        }
        assert_eq!(difference(&[], 4096), Some("another magic number"));
    }

    #[test]
    fn rings_are_whole_pages_below_four_gigabytes() {
        for good in [4096, 8192, RING_MAX - 4096] {
            assert!(is_ring_size(good), "{good}");
        }
        for bad in [0, 1, 4095, 4097, RING_MAX, u64::MAX, u64::MAX - 4095] {
            assert!(!is_ring_size(bad), "{bad}");
            assert!(matches!(Own::create(bad), Err(Error::BadRing { asked }) if asked == bad), "{bad}");
        }
    }
}
