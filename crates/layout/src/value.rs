//! One value that is read and replaced as a whole: the words of `Value`.
//!
//! ```text
//! ValueWords   0 LockWords (who writes a value of more than 8 bytes)   128 {word @0}
//! behind it, only for values of more than 8 bytes: two copies, each on lines of its own
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | lock | writers of a value of more than 8 bytes | such writers | names the dead until recovery |
//! | word, up to 8 bytes | everybody: it is the value, in its first bytes; the others are 0 | everybody | as it is |
//! | word, more than 8 bytes | the holder of the lock: which number the newest whole copy has | everybody | as it is |
//! | copies | the holder of the lock: the one whose number is not in `word` | everybody | the other one is half written, perhaps |

use crate::atomic::AtomicU64;
use crate::line::LINE;
use crate::lock::LockWords;

/// What readers of a value look at first. Alone on its line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ValueControl {
    /// The value, or the number of its newest whole copy: number n lies in copy `n & 1`.
    pub word: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 15],
}

/// The fixed part of a value.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ValueWords {
    /// Who writes it.
    pub lock: LockWords,
    /// The value, or the number of its newest whole copy.
    pub control: ValueControl,
}

/// Where the copies begin.
pub const COPIES_AT: usize = 2 * LINE;

/// Bytes from the beginning of one copy to the beginning of the other, for values of `size` bytes.
#[must_use]
pub const fn copy_stride(size: usize) -> usize {
    size.div_ceil(LINE) * LINE
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<ValueControl>() == LINE);
    assert!(offset_of!(ValueWords, control) == LINE);
    assert!(size_of::<ValueWords>() == COPIES_AT);
    assert!(copy_stride(9) == LINE && copy_stride(LINE) == LINE && copy_stride(LINE + 1) == 2 * LINE);
};
