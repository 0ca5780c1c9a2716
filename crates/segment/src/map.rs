//! The mapping: where an offset in a segment becomes memory of this process. No other module does that.
//!
//! Held by the segment. Everything typed that it gives out consists of atomics alone, because other processes write
//! there at any time; pages of data leave as raw pointers. Progress: everything here but mapping is wait-free.
//!
//! - I1: `base` is a shared mapping of the whole file, `geometry.total_len()` bytes, for as long as the [`Map`] lives.
//!   A sealed memfd cannot shrink under it. A named file can be truncated by a process of the same user: that one
//!   can also send us any signal, and gets the same (SIGBUS).
//! - I2: every structure of `ginnel_layout` is valid for all values of its bytes and consists of atomics, so a shared
//!   reference to it is sound while other threads and processes write there.
//! - I3: [`Map::at`] gives only places whose whole length lies within the mapping and whose alignment was checked.
//! - I4: a [`Mirror`] owns its range of addresses: it was reserved for it and nobody else maps or unmaps there.
#![allow(unsafe_code, reason = "the one place where an offset becomes memory")]

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use ginnel_layout::entry::{Entry, TICKETS};
use ginnel_layout::header::{Control, Geometry, Header};
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::participant::ParticipantRecord;
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A whole segment in memory.
#[derive(Debug)]
pub(crate) struct Map {
    memory: MmapRaw,
    geometry: Geometry,
}

impl Map {
    /// Maps the file, whose length the caller has checked against `geometry`.
    pub(crate) fn new(fd: BorrowedFd<'_>, geometry: Geometry) -> Result<Self, Errno> {
        let length = usize::try_from(geometry.total_len()).map_err(|_| Errno::EOVERFLOW)?;
        let memory = MmapOptions::new()
            .len(length)
            .map_raw(fd.as_raw_fd())
            .map_err(|e| e.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))?;
        Ok(Self { memory, geometry })
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn header(&self) -> &Header {
        self.first(0)
    }

    pub(crate) fn control(&self) -> &Control {
        self.first(LINE as u64)
    }

    pub(crate) fn participant(&self, row: u16) -> Option<&ParticipantRecord> {
        self.nth(Geometry::PARTICIPANTS_AT, u64::from(row), u64::from(self.geometry.participants))
    }

    pub(crate) fn entry(&self, index: u32) -> Option<&Entry> {
        self.nth(self.geometry.directory_at(), u64::from(index), u64::from(self.geometry.objects))
    }

    pub(crate) fn ticket(&self, index: usize) -> Option<&AtomicU64> {
        self.nth(self.geometry.tickets_at(), index as u64, TICKETS as u64)
    }

    pub(crate) fn carrier(&self, ticket: usize) -> Option<&AtomicU64> {
        self.nth(self.geometry.carriers_at(), ticket as u64, TICKETS as u64)
    }

    /// The words of the first `pages` pages of data; fewer if there are fewer.
    pub(crate) fn page_words(&self, pages: u64) -> &[AtomicU32] {
        let pages = pages.min(self.geometry.pages);
        let bytes = pages * size_of::<AtomicU32>() as u64;
        let Some(first) = self.at::<AtomicU32>(self.geometry.page_words_at(), bytes) else { return &[] };
        // SAFETY: I1, I2 and I3: all of them lie in the mapping, aligned, and are atomics.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), pages as usize) }
    }

    /// Where `count` pages of data from page `first` begin.
    pub(crate) fn pages(&self, first: u32, count: u32) -> Option<NonNull<u8>> {
        let end = u64::from(first) + u64::from(count);
        if end > self.geometry.pages {
            return None;
        }
        self.at(self.page_offset(first), u64::from(count) * PAGE as u64)
    }

    /// Writes zeros over pages that the caller owns.
    pub(crate) fn clear(&self, first: u32, count: u32) {
        let bytes = u64::from(count) * PAGE as u64;
        for at in (0..bytes).step_by(8) {
            if let Some(word) = self.nth::<AtomicU64>(self.page_offset(first) + at, 0, 1) {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Offset in the file of page `first` of the data.
    pub(crate) fn page_offset(&self, first: u32) -> u64 {
        self.geometry.data_at() + u64::from(first) * PAGE as u64
    }

    fn first<T>(&self, offset: u64) -> &T {
        self.nth(offset, 0, 1).expect("every segment has a first page, and it is mapped")
    }

    fn nth<T>(&self, part: u64, index: u64, count: u64) -> Option<&T> {
        if index >= count {
            return None;
        }
        let size = size_of::<T>() as u64;
        let place = self.at::<T>(part + index * size, size)?;
        // SAFETY: I1, I2 and I3.
        Some(unsafe { place.as_ref() })
    }

    /// The one function that turns an offset into memory.
    fn at<T>(&self, offset: u64, bytes: u64) -> Option<NonNull<T>> {
        let end = offset.checked_add(bytes)?;
        if end > self.memory.len() as u64 || !offset.is_multiple_of(align_of::<T>() as u64) {
            return None;
        }
        // The base of a mapping is aligned to a page, hence to every T. `wrapping_add` stays within it as checked.
        NonNull::new(self.memory.as_mut_ptr().wrapping_add(offset as usize).cast())
    }
}

/// Pages of a segment mapped twice, back to back: a record that crosses the end of the first image goes on in the
/// second, at the same address plus its length.
///
/// Unmapped when dropped. The addresses stay valid as long as it lives, even after the segment itself is dropped;
/// who keeps pointers into it keeps it. In a forked child it is the parent's memory still.
#[derive(Debug)]
pub struct Mirror {
    base: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: I4, a range of addresses belongs to the process, not to a thread; what is read and written there is the
// business of who uses the pointer.
unsafe impl Send for Mirror {}
// SAFETY: I4, the same; no method writes through the pointer.
unsafe impl Sync for Mirror {}

impl Mirror {
    /// Maps `length` bytes of `fd` from `offset` on, twice. All three are multiples of a page.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, length: NonZeroUsize) -> Result<Self, Errno> {
        Self::with(fd, offset, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// The same, for reading only: who writes through the pointer is ended by a signal.
    pub(crate) fn read_only(fd: BorrowedFd<'_>, offset: u64, length: NonZeroUsize) -> Result<Self, Errno> {
        Self::with(fd, offset, length, ProtFlags::PROT_READ)
    }

    fn with(
        fd: BorrowedFd<'_>,
        offset: u64,
        length: NonZeroUsize,
        protection: ProtFlags,
    ) -> Result<Self, Errno> {
        let twice = length.checked_mul(NonZeroUsize::MIN.saturating_add(1)).ok_or(Errno::ENOMEM)?;
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let reserve = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: I4, the kernel chooses a free range, which this call reserves.
        let base = unsafe { mmap_anonymous(None, twice, ProtFlags::PROT_NONE, reserve) }?;
        // From here on the drop of `mirror` gives the whole range back, whatever lies there by then.
        let mirror = Self { base: base.cast(), length };
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED | MapFlags::MAP_POPULATE;
        for image in 0..2 {
            let place = (mirror.as_ptr() as usize + image * length.get()).try_into().ok();
            // SAFETY: I4, the place lies in the range that was reserved just now.
            unsafe { mmap(place, length, protection, flags, fd, offset) }?;
        }
        Ok(mirror)
    }

    /// The first byte of the first image.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Bytes of one image. Twice as many may be addressed.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a mirror of nothing cannot be made")]
    pub fn len(&self) -> usize {
        self.length.get()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // SAFETY: I4, both images are ours, and whoever kept a pointer kept the mirror.
        let _ = unsafe { munmap(self.base.cast(), 2 * self.length.get()) };
    }
}
