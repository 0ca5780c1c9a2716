//! Where an object's pages become its words: the one place of this crate that does so.
//!
//! - I1 an [`ObjectRef`] keeps its object LIVE, its pages mapped and its own (`arena`, I2), so what is borrowed
//!   here lives as long as the reference; the types are all atomics, so they may be shared with any process.
//! - I2 while `recover` of `life` repairs an entry, the dead participant's bit keeps the object LIVE (`life`, I4).
//! - I3 an object's first page is aligned to a page, and every type here is smaller than one, unless its size is
//!   checked against the object's pages.
//! - I5 whatever lies in data pages, whole words of it may be looked at as atomics at any time: nobody holds a reference
//!   that forbids it to bytes of pages that are a store's, and what a store's words name elsewhere is not believed.
//! - I4 while an entry is CREATING, its pages are the maker's alone; he writes them at once and lets go.
#![allow(unsafe_code, reason = "turns pages into the words of an object, in this file only")]

use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::entry::Entry;
use ginnel_layout::lane::{LaneControl, RING_AT};
use ginnel_layout::line::{LINE, PAGE};
use ginnel_layout::mpsc::{LANES_AT, MpscControl};
use ginnel_queue::blocks::{Pool, Shape as PoolShape};
use ginnel_queue::broadcast::{Broadcast, Shape as BroadcastShape};
use ginnel_queue::mpsc::{Mpsc, Shape as MpscShape};
use ginnel_queue::ring::{Ring, Shape};
use ginnel_segment::Segment;

use crate::arena::ObjectRef;
use crate::error::Result;
use crate::handle::Shared;

/// Bytes of an object from its beginning to the data of a mutex.
pub(crate) const MUTEX_DATA_AT: usize = LINE;

impl ObjectRef {
    /// The ring of a queue, its geometry checked.
    pub(crate) fn ring(&self) -> Result<Ring> {
        let bytes = self.pages() as usize * PAGE;
        let base = self.base(bytes)?;
        // SAFETY: I1: the pages stay mapped and the object's own as long as the handle, which is kept beside the ring.
        unsafe { Ring::from_raw(base, bytes as u64) }.map_err(|_| self.corrupted("the geometry of the queue"))
    }

    /// The lanes of an mpsc, their geometry checked.
    pub(crate) fn mpsc(&self) -> Result<Mpsc> {
        let bytes = self.pages() as usize * PAGE;
        let (control, lanes, shape) = mpsc_words(self.base(bytes)?, bytes as u64)
            .ok_or_else(|| self.corrupted("the geometry of the channel"))?;
        // SAFETY: I1: the pages stay mapped and the object's own as long as the handle, which is kept beside the mpsc.
        Ok(unsafe { Mpsc::from_raw(control, lanes, &shape) })
    }

    /// The words of a pool of blocks, its geometry checked.
    pub(crate) fn pool(&self) -> Result<Pool> {
        let bytes = self.pages() as usize * PAGE;
        let base = self.base(bytes)?;
        // SAFETY: I1: the pages stay mapped and the object's own as long as the handle, which is kept beside the pool.
        unsafe { Pool::from_raw(base, bytes as u64) }.map_err(|_| self.corrupted("the geometry of the pool"))
    }

    /// The words of a broadcast channel, its geometry checked.
    pub(crate) fn broadcast(&self) -> Result<Broadcast> {
        let bytes = self.pages() as usize * PAGE;
        let base = self.base(bytes)?;
        // SAFETY: I1: the pages stay mapped and the object's own as long as the handle, which is kept beside the words.
        unsafe { Broadcast::from_raw(base, bytes as u64) }
            .map_err(|_| self.corrupted("the geometry of the channel"))
    }

    /// How many elements a shared value says it has.
    pub(crate) fn shared_len(&self) -> Result<usize> {
        let base = self.base(size_of::<AtomicU64>())?;
        // SAFETY: I1, I3.
        let len = unsafe { base.cast::<AtomicU64>().as_ref() };
        Ok(len.load(ginnel_layout::atomic::Ordering::Relaxed) as usize)
    }

    /// The control page of a lane.
    pub(crate) fn lane_control(&self) -> Result<&LaneControl> {
        let base = self.base(size_of::<LaneControl>())?;
        // SAFETY: I1, I3.
        Ok(unsafe { base.cast::<LaneControl>().as_ref() })
    }
}

/// The control page of a lane that is being made.
pub(crate) fn new_lane_control<'a>(base: NonNull<u8>) -> &'a LaneControl {
    // SAFETY: I3, I4.
    unsafe { base.cast::<LaneControl>().as_ref() }
}

/// The controls of an mpsc that is being made.
pub(crate) fn new_mpsc<'a>(base: NonNull<u8>, lanes: u32) -> (&'a MpscControl, &'a [LaneControl]) {
    let lanes = lanes_behind(base, lanes);
    // SAFETY: I3, I4.
    let control = unsafe { base.cast::<MpscControl>().as_ref() };
    // SAFETY: I3, I4; the maker claimed room for that many.
    (control, unsafe { lanes.as_ref() })
}

fn lanes_behind(base: NonNull<u8>, lanes: u32) -> NonNull<[LaneControl]> {
    // SAFETY: I1, I2 or I4, whoever calls: the object has room for that many controls.
    let first = unsafe { base.add(LANES_AT as usize) };
    NonNull::slice_from_raw_parts(first.cast(), lanes as usize)
}

/// The controls in the `bytes` of an mpsc, and its geometry. `None`: the words lie.
fn mpsc_words(
    base: NonNull<u8>,
    bytes: u64,
) -> Option<(NonNull<MpscControl>, NonNull<[LaneControl]>, MpscShape)> {
    let control = base.cast::<MpscControl>();
    // SAFETY: I1 or I2, whoever calls; I3.
    let shape = Mpsc::shape_of(unsafe { control.as_ref() }, bytes).ok()?;
    Some((control, lanes_behind(base, shape.lanes), shape))
}

/// Writes the ring of a queue that is being made.
pub(crate) fn new_ring(base: NonNull<u8>, shape: &Shape) {
    // SAFETY: I4; the maker claimed pages for `shape.size()` bytes.
    unsafe { Ring::init(base, shape) }
}

/// Writes the words of a broadcast channel that is being made.
pub(crate) fn new_broadcast(base: NonNull<u8>, shape: &BroadcastShape) {
    // SAFETY: I3, I4; the maker claimed pages for `shape.size()` bytes, and fresh pages are zero.
    unsafe { Broadcast::init(base, shape) }
}

/// The words at the beginning of an object that is being made, for its first values.
pub(crate) fn new_front<'a, W: Shared>(base: NonNull<u8>) -> &'a W {
    const { assert!(size_of::<W>() <= PAGE && align_of::<W>() <= PAGE) };
    // SAFETY: I3, I4; fresh pages are zero, and W is valid then.
    unsafe { base.cast::<W>().as_ref() }
}

/// Writes the first data, `at` bytes behind the beginning of an object that is being made. The maker has claimed room
/// for them.
pub(crate) fn write_data(base: NonNull<u8>, at: usize, bytes: &[u8]) {
    // SAFETY: I4; the maker claimed room for `at + bytes.len()`.
    let data = unsafe { base.add(at) };
    // SAFETY: I4; fresh pages overlap nothing.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr(), bytes.len()) }
}

/// Writes the words of a pool of blocks that is being made.
pub(crate) fn init_pool(base: NonNull<u8>, shape: &PoolShape) {
    // SAFETY: I3, I4; the maker claimed room for `shape.total()`, and fresh pages are zero.
    unsafe { Pool::init(base, shape) }
}

/// Writes the length and the data of a shared value that is being made.
pub(crate) fn init_shared(base: NonNull<u8>, len: usize, data_at: usize, bytes: &[u8]) {
    // SAFETY: I3, I4.
    let word = unsafe { base.cast::<AtomicU64>().as_ref() };
    word.store(len as u64, ginnel_layout::atomic::Ordering::Relaxed);
    // SAFETY: I4; the maker claimed room for `data_at + bytes.len()`.
    let data = unsafe { base.add(data_at) };
    // SAFETY: I4; fresh pages overlap nothing.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr(), bytes.len()) }
}

/// The last `count` bytes of the shared slice of bytes in an entry (I2). `None`: the entry lies.
pub(crate) fn shared_tail(segment: &Segment, entry: &Entry, data_at: usize, count: usize) -> Option<Vec<u8>> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    // SAFETY: I2, I3.
    let len = unsafe { base.cast::<AtomicU64>().as_ref() }.load(Relaxed) as usize;
    let fits = len.checked_add(data_at).is_some_and(|end| end <= pages as usize * PAGE) && count <= len;
    if !fits {
        return None;
    }
    let mut tail = vec![0; count];
    // SAFETY: I2: inside the object's pages, as was just checked.
    let from = unsafe { base.add(data_at + len - count) };
    // SAFETY: I2, as above; nobody writes a shared value any more, and a fresh vector overlaps nothing.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), tail.as_mut_ptr(), count) }
    Some(tail)
}

/// The pool of blocks in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn pool_of(segment: &Segment, entry: &Entry) -> Option<Pool> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    // SAFETY: I2, I3: the pages are mapped as long as the segment, and the pool is used under its borrow.
    unsafe { Pool::from_raw(base, u64::from(pages) * PAGE as u64) }.ok()
}

/// Bytes of a page.
pub(crate) const PAGE_BYTES: u64 = PAGE as u64;

/// All words of all data pages of a segment, whoever's they are. `None`: the segment lies about their number.
pub(crate) fn memory_of(segment: &Segment) -> Option<&[AtomicU64]> {
    let pages = u32::try_from(segment.geometry().pages).unwrap_or(u32::MAX);
    let base = segment.page(0, pages)?;
    let words = NonNull::slice_from_raw_parts(base.cast(), pages as usize * (PAGE / size_of::<AtomicU64>()));
    // SAFETY: all of them are mapped as long as the segment, aligned to a page, and atomics, so whatever bytes there are,
    // are a value (I5).
    Some(unsafe { words.as_ref() })
}

/// The control page of the lane in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn lane_of<'a>(segment: &'a Segment, entry: &Entry) -> Option<&'a LaneControl> {
    let base = first_page_of(segment, entry)?;
    // SAFETY: I2, I3.
    Some(unsafe { base.cast::<LaneControl>().as_ref() })
}

/// The control page and the ring of the pipe in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn pipe_of<'a>(segment: &'a Segment, entry: &Entry) -> Option<(&'a LaneControl, &'a [AtomicU64])> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let control = lane_of(segment, entry)?;
    let bytes = entry.pages.load(Relaxed) as usize * PAGE;
    let words = bytes.checked_sub(RING_AT as usize)? / size_of::<AtomicU64>();
    Some((control, tail_of(segment, entry, RING_AT as usize, words)?))
}

/// The controls of the mpsc in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn mpsc_of<'a>(
    segment: &'a Segment,
    entry: &Entry,
) -> Option<(&'a MpscControl, &'a [LaneControl])> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    let (control, lanes, _) = mpsc_words(base, u64::from(pages) * PAGE as u64)?;
    // SAFETY: I2, I3.
    let control = unsafe { control.as_ref() };
    // SAFETY: I2; as many as the geometry, which was checked against the bytes, has room for.
    Some((control, unsafe { lanes.as_ref() }))
}

/// The ring of the queue in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn ring_of(segment: &Segment, entry: &Entry) -> Option<Ring> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    // SAFETY: I2: the pages are mapped as long as the segment, and the ring is used under its borrow.
    unsafe { Ring::from_raw(base, u64::from(pages) * PAGE as u64) }.ok()
}

/// The words of the broadcast channel in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn broadcast_of(segment: &Segment, entry: &Entry) -> Option<Broadcast> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    // SAFETY: I2: the pages are mapped as long as the segment, and the words are used under its borrow.
    unsafe { Broadcast::from_raw(base, u64::from(pages) * PAGE as u64) }.ok()
}

/// The words at the beginning of the object in an entry, for recovery (I2) and for tools. `None`: the entry lies.
pub(crate) fn front_of<'a, W: Shared>(segment: &'a Segment, entry: &Entry) -> Option<&'a W> {
    const { assert!(size_of::<W>() <= PAGE && align_of::<W>() <= PAGE) };
    let base = first_page_of(segment, entry)?;
    // SAFETY: I2, I3; W is atomics only, so whatever bytes there are, are a value.
    Some(unsafe { base.cast::<W>().as_ref() })
}

/// `count` words `at` bytes behind the beginning of the object in an entry, for recovery (I2) and for tools. `None`:
/// the entry, or whoever said how many there are, lies.
pub(crate) fn tail_of<'a, W: Shared>(
    segment: &'a Segment,
    entry: &Entry,
    at: usize,
    count: usize,
) -> Option<&'a [W]> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    let pages = entry.pages.load(Relaxed);
    if !has_room::<W>(pages as usize * PAGE, at, count) {
        return None;
    }
    let base = segment.page(entry.first_page.load(Relaxed), pages)?;
    // SAFETY: I2: inside the object's pages, as was just checked.
    let first = unsafe { base.add(at) };
    let words = NonNull::slice_from_raw_parts(first.cast(), count);
    // SAFETY: I2; aligned and inside, as was just checked; W is atomics only.
    Some(unsafe { words.as_ref() })
}

/// Do `count` words fit `at` bytes behind the beginning of so many bytes, aligned as they want?
pub(crate) fn has_room<W>(bytes: usize, at: usize, count: usize) -> bool {
    let end = count.checked_mul(size_of::<W>()).and_then(|len| len.checked_add(at));
    at.is_multiple_of(align_of::<W>()) && end.is_some_and(|end| end <= bytes)
}

fn first_page_of(segment: &Segment, entry: &Entry) -> Option<NonNull<u8>> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    segment.page(entry.first_page.load(Relaxed), 1)
}
