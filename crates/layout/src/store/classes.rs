//! The sizes of blocks: 16 bytes apart up to 128, then four to each doubling, so that a block is never a quarter too
//! large.
//!
//! ```text
//! class  0  1  2  3  4   5   6  |  7   8   9  10  | 11 .. 14     | .. | 27 .. 30
//! bytes 32 48 64 80 96 112 128  | 160 192 224 256 | 320 .. 512   | .. | 5120 .. 8192
//! ```

/// How many classes there are.
pub const CLASSES: usize = 31;

/// Bytes of the largest class. What is larger gets pages of its own.
pub const CLASS_MAX: u64 = 8192;

/// From this class on a block may as well have pages of its own, in shards that have few: then it is a RUN, and where it
/// begins shows that. For slabs of these classes begin their blocks elsewhere, modulo [`BIG_STEP`].
pub const BIG: usize = 22;

/// All classes from [`BIG`] on are multiples of this.
pub const BIG_STEP: u64 = 512;

/// Classes of the first, even part.
const EVEN: u64 = 7;

/// The class of blocks for `bytes`. Anything above [`CLASS_MAX`] has none.
#[must_use]
#[inline(always)]
pub const fn class_of(bytes: u64) -> Option<usize> {
    if bytes <= 128 {
        // 0 to 32 bytes are class 0.
        return Some((bytes.saturating_sub(17) >> 4) as usize);
    }
    if bytes > CLASS_MAX {
        return None;
    }
    let last = bytes - 1;
    let log = u64::BITS as u64 - 1 - last.leading_zeros() as u64;
    Some((EVEN + (log - 7) * 4 + ((last >> (log - 2)) & 3)) as usize)
}

/// Bytes of a block of class `class`, which is below [`CLASSES`].
#[must_use]
#[inline(always)]
pub const fn class_size(class: usize) -> u64 {
    let class = class as u64;
    if class < EVEN {
        return 32 + class * 16;
    }
    let (log, quarter) = (7 + (class - EVEN) / 4, (class - EVEN) % 4);
    (5 + quarter) << (log - 2)
}

const _: () = {
    let mut class = 0;
    let mut before = 0;
    while class < CLASSES {
        let size = class_size(class);
        assert!(size > before && size.is_multiple_of(16));
        assert!(matches!(class_of(size), Some(found) if found == class));
        assert!(matches!(class_of(before + 1), Some(found) if found == class));
        assert!(class < BIG || size.is_multiple_of(BIG_STEP));
        before = size;
        class += 1;
    }
    assert!(class_size(BIG) == 2048 && before == CLASS_MAX && class_of(CLASS_MAX + 1).is_none());
    assert!(matches!(class_of(0), Some(0)));
};
