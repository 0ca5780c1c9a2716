//! Where a store's pages come from.

use std::fmt;

/// Bytes of a page.
#[cfg(not(loom))]
pub const PAGE: u64 = ginnel_layout::line::PAGE as u64;

/// Bytes of a page; few, because a model checker looks at each word.
#[cfg(loom)]
pub const PAGE: u64 = 512;

/// Gives pages to the shards of one store, and takes them back.
///
/// The pages of a *part* are those of one shard; shard `i` is part `i + 1`. Only the holder of that shard's lock, or
/// whoever recovers its dead holder, calls these with that part. Offsets are in bytes from the first page of the
/// memory that the store looks at, and lengths in pages.
pub trait Pages {
    /// Gives `pages` pages in a row to `part`: all zero, with memory behind them, and never the page at offset 0, because
    /// 0 ends every list.
    ///
    /// A caller killed meanwhile leaves pages that are the part's and zero, with or without memory.
    ///
    /// # Errors
    /// [`NoPages`]; nothing was taken then.
    fn claim(&self, part: u16, pages: u32) -> Result<u64, NoPages>;

    /// Does the page at `offset` belong to `part`? False also for an offset beyond the memory.
    fn owns(&self, part: u16, offset: u64) -> bool;

    /// Calls `each` with the pages of `part`: as many in a row as possible, with memory behind each of them, in the
    /// order of their offsets.
    fn runs(&self, part: u16, each: &mut dyn FnMut(u64, u32));

    /// Gives pages back. Doing it again changes nothing.
    fn release(&self, part: u16, offset: u64, pages: u32);
}

/// Why there are no pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPages {
    /// So many in a row are not left.
    Full,
    /// The machine has no memory for them.
    NoMemory,
    /// The file system of the segment has no room for them.
    NoSpace,
    /// Something else, which whoever made the [`Pages`] knows.
    Other,
}

impl fmt::Display for NoPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the segment is full",
            Self::NoMemory => "the machine has none",
            Self::NoSpace => "the file system has no room",
            Self::Other => "the segment gave none",
        })
    }
}
