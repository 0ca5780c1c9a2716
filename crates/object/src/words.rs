//! Where an object's pages become its words: the one place of this crate that does so.
//!
//! - I1 an [`ObjectRef`] keeps its object LIVE, its pages mapped and its own (`arena`, I2), so what is borrowed
//!   here lives as long as the reference; the types are all atomics, so they may be shared with any process.
//! - I2 while `recover` of `life` repairs an entry, the dead participant's bit keeps the object LIVE (`life`, I4).
//! - I3 an object's first page is aligned to a page, and every type here is smaller than one.
//! - I4 while an entry is CREATING, its pages are the maker's alone; he writes them at once and lets go.
#![allow(unsafe_code, reason = "turns pages into the words of an object, in this file only")]

use std::ptr::NonNull;

use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::entry::Entry;
use ginnel_layout::lane::LaneControl;
use ginnel_layout::line::LINE;
use ginnel_segment::Segment;

use crate::arena::ObjectRef;
use crate::error::Result;

/// The words of a mutex object; its data follow on the next line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub(crate) struct MutexWords {
    /// The word of `sync::mutex`.
    pub(crate) word: AtomicU32,
    spare: AtomicU32,
    reserved: [AtomicU64; 15],
}

const _: () = assert!(size_of::<MutexWords>() == LINE);

/// Bytes of an object from its beginning to the data of a mutex.
pub(crate) const MUTEX_DATA_AT: usize = LINE;

impl ObjectRef {
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

/// Writes the first data of a mutex that is being made.
pub(crate) fn write_mutex_data(base: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: I4; the maker claimed room for `MUTEX_DATA_AT + bytes.len()`.
    let data = unsafe { base.add(MUTEX_DATA_AT) };
    // SAFETY: I4; fresh pages overlap nothing.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr(), bytes.len()) }
}

/// The control page of the lane in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn lane_of<'a>(segment: &'a Segment, entry: &Entry) -> Option<&'a LaneControl> {
    let base = first_page_of(segment, entry)?;
    // SAFETY: I2, I3.
    Some(unsafe { base.cast::<LaneControl>().as_ref() })
}

/// The words of the mutex in an entry, for recovery (I2). `None`: the entry lies.
pub(crate) fn mutex_of<'a>(segment: &'a Segment, entry: &Entry) -> Option<&'a MutexWords> {
    let base = first_page_of(segment, entry)?;
    // SAFETY: I2, I3.
    Some(unsafe { base.cast::<MutexWords>().as_ref() })
}

fn first_page_of(segment: &Segment, entry: &Entry) -> Option<NonNull<u8>> {
    use ginnel_layout::atomic::Ordering::Relaxed;
    segment.page(entry.first_page.load(Relaxed), 1)
}
