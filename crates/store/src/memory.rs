//! The words of a store's pages: here, and nowhere else, an offset becomes memory.
//!
//! The view is of all data pages of the segment, because a wild word may name any offset: whatever is in bounds is
//! words that may be looked at, and whatever is not is [`Error::Corrupted`]. Every word is an atomic, so that nobody
//! ever holds a reference to bytes which another process writes.

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;

use crate::Error;

/// All words that an offset may name. A copy is the same view.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a>(&'a [AtomicU64]);

impl<'a> Memory<'a> {
    /// A view of these words; the first one has the offset 0.
    #[must_use]
    #[inline(always)]
    pub const fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// Bytes of it.
    #[must_use]
    #[inline(always)]
    pub const fn len(self) -> u64 {
        self.0.len() as u64 * 8
    }

    /// Is there nothing at all?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The word in which the byte at `offset` lies.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: out of bounds.
    #[inline(always)]
    pub fn word(self, offset: u64) -> Result<&'a AtomicU64, Error> {
        match self.0.get((offset >> 3) as usize) {
            Some(word) => Ok(word),
            None => Err(out_of_bounds()),
        }
    }

    /// The words of `bytes` bytes from `offset` on, the last one whole.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: not all of them are in bounds.
    #[inline(always)]
    pub fn block(self, offset: u64, bytes: u64) -> Result<&'a [AtomicU64], Error> {
        self.look(offset, bytes).ok_or_else(out_of_bounds)
    }

    /// [`Self::block`], for whoever looks again where the words are none.
    #[inline(always)]
    pub(crate) fn look(self, offset: u64, bytes: u64) -> Option<&'a [AtomicU64]> {
        let first = offset >> 3;
        let last = first.saturating_add(bytes.div_ceil(8));
        self.0.get(first as usize..last as usize)
    }

    /// Copies `bytes` bytes from `offset` on. Whether they belong together is for the caller to find out.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: not all of them are in bounds.
    #[inline(always)]
    pub fn read(self, offset: u64, bytes: u64, out: &mut Copied) -> Result<(), Error> {
        out.fill(self.block(offset, bytes)?, bytes as usize);
        Ok(())
    }

    /// Writes bytes from `offset` on; the rest of the last word becomes 0. The caller owns the block.
    ///
    /// # Errors
    /// [`Error::Corrupted`]: not all of them are in bounds; nothing was written.
    #[inline(always)]
    pub fn write(self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let words = self.block(offset, bytes.len() as u64)?;
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter().zip(whole) {
            word.store(u64::from_le_bytes(*chunk), Relaxed);
        }
        if let Some(word) = words.get(whole.len()) {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_le_bytes(last), Relaxed);
        }
        Ok(())
    }

    /// Are these bytes the same as those from `offset` on?
    ///
    /// # Errors
    /// [`Error::Corrupted`]: not all of them are in bounds.
    #[inline(always)]
    pub fn equals(self, offset: u64, bytes: &[u8]) -> Result<bool, Error> {
        let words = self.block(offset, bytes.len() as u64)?;
        let (whole, rest) = bytes.as_chunks::<8>();
        let same =
            words.iter().zip(whole).all(|(word, chunk)| word.load(Relaxed) == u64::from_le_bytes(*chunk));
        let Some(word) = words.get(whole.len()).filter(|_| same) else { return Ok(same) };
        Ok(word.load(Relaxed).to_le_bytes().starts_with(rest))
    }
}

#[cold]
#[inline(never)]
fn out_of_bounds() -> Error {
    Error::Corrupted("an offset is out of bounds")
}

/// Bytes that a [`Copied`] has room for without asking the allocator.
const INLINE: usize = 256;

/// A private copy of bytes from a store: on the stack while they are few. May be used again and again.
#[derive(Debug, Clone)]
pub struct Copied {
    inline: [u8; INLINE],
    more: Vec<u8>,
    len: usize,
}

impl Default for Copied {
    fn default() -> Self {
        Self::new()
    }
}

impl Copied {
    /// An empty one.
    #[must_use]
    #[inline(always)]
    pub const fn new() -> Self {
        Self { inline: [0; INLINE], more: Vec::new(), len: 0 }
    }

    /// What was copied last.
    #[must_use]
    #[inline(always)]
    pub fn as_bytes(&self) -> &[u8] {
        let bytes: &[u8] = if self.len <= INLINE { &self.inline } else { &self.more };
        bytes.get(..self.len).unwrap_or_default()
    }

    /// Forgets what was copied.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes the first `bytes` bytes of these words. Where there are fewer, takes all.
    #[inline(always)]
    pub fn fill(&mut self, words: &[AtomicU64], bytes: usize) {
        self.len = bytes.min(words.len() * 8);
        let room: &mut [u8] = if bytes <= INLINE { &mut self.inline } else { self.spill(words.len()) };
        let (chunks, _) = room.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.load(Relaxed).to_le_bytes();
        }
    }

    /// Takes a private copy of private bytes.
    pub fn set(&mut self, bytes: &[u8]) {
        self.len = bytes.len();
        match self.inline.get_mut(..bytes.len()) {
            Some(room) => room.copy_from_slice(bytes),
            None => {
                self.more.clear();
                self.more.extend_from_slice(bytes);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self, words: usize) -> &mut [u8] {
        self.more.resize(words * 8, 0);
        &mut self.more
    }
}
