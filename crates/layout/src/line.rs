//! A line: 128 bytes that one writer keeps to himself.
//!
//! 128 and not 64, because x86 prefetches lines in pairs and some ARM cores have 128-byte lines. The size is
//! part of the format: it does not follow the target, as crossbeam's `CachePadded` does.

use core::ops::Deref;

/// Bytes of a line.
pub const LINE: usize = 128;

/// Bytes of a page of the arena, the unit of claims. Equal to the smallest page of the machines we run on.
pub const PAGE: usize = 4096;

/// A value alone on its 128-byte line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Line<T>(pub T);

impl<T> Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(not(loom))]
const _: () = {
    use crate::atomic::AtomicU64;
    assert!(size_of::<Line<AtomicU64>>() == LINE);
    assert!(align_of::<Line<AtomicU64>>() == LINE);
};
