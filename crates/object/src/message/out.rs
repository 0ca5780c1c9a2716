//! Where the bytes of a value go: a vector, or a place of fixed size and, once they no longer fit, private memory.
//!
//! Who fills a place with several values one after the other says [`Out::mark`] before each. A value that does not fit
//! goes on in private memory, from its first byte, and [`Out::spilled`] gives it back whole; the place then ends with
//! the value before it.
//!
//! Invariants
//! - I1 `at` is valid for writes of `room` bytes as long as the `Out` lives, and nobody else writes or reads those:
//!   it is the spare part of a slice or vector that is borrowed for `'a`, the buffer of a vector that lies in the `Out`,
//!   or a place of which the caller of `Out::place` promised it.
//! - I2 `len <= room`, and the first `len` bytes at `at` were written.
#![allow(
    unsafe_code,
    reason = "writes the bytes of a value where they are to lie, after one look at the room"
)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

use postcard::ser_flavors::Flavor;

use crate::carry;

/// More bytes than any number has, encoded.
const NUMBER: usize = 11;

/// Room that a spilled value gets at least.
const SPILL: usize = 1024;

/// A destination of bytes. Appending never fails.
#[doc(hidden)]
pub struct Out<'a> {
    at: NonNull<u8>,
    len: usize,
    room: usize,
    /// Bytes in front of `at` that count: those before the mark, once a value has spilled.
    base: usize,
    mark: usize,
    rest: Rest<'a>,
}

/// What is behind the room.
enum Rest<'a> {
    Vector(&'a mut Vec<u8>),
    /// Nothing.
    Place(PhantomData<&'a mut [u8]>),
    /// It has been left: it is this, and the bytes go into `kept`.
    Spilled {
        at: NonNull<u8>,
        room: usize,
        kept: Vec<u8>,
    },
}

impl fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("len", &self.len()).field("is_spilled", &self.is_spilled()).finish()
    }
}

impl<'a> Out<'a> {
    /// Appends to `bytes`. What stands there already counts as written.
    #[must_use]
    pub fn vec(bytes: &'a mut Vec<u8>) -> Self {
        let len = bytes.len();
        Self {
            at: pointer_of(bytes),
            len,
            room: bytes.capacity(),
            base: 0,
            mark: len,
            rest: Rest::Vector(bytes),
        }
    }

    /// Writes to `room` from its beginning.
    #[must_use]
    pub fn stack(room: &'a mut [u8]) -> Self {
        Self::bounded(NonNull::from(&mut *room).cast(), room.len())
    }

    /// Writes to `room` bytes at `at`.
    ///
    /// # Safety
    /// They are valid for writes for `'a`, and nobody else reads or writes them until the `Out` is dropped.
    pub(crate) unsafe fn place(at: NonNull<u8>, room: usize) -> Self {
        Self::bounded(at, room)
    }

    fn bounded(at: NonNull<u8>, room: usize) -> Self {
        Self { at, len: 0, room, base: 0, mark: 0, rest: Rest::Place(PhantomData) }
    }

    /// Bytes written, spilled ones and all.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        self.base + self.len
    }

    /// Was nothing written?
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that still fit without a spill or a new buffer.
    #[inline(always)]
    #[must_use]
    pub fn room(&self) -> usize {
        self.room - self.len
    }

    /// Appends.
    #[inline(always)]
    pub fn extend(&mut self, data: &[u8]) {
        if data.len() > self.room - self.len {
            self.grow(data.len());
        }
        // SAFETY: I1, I2: `len <= room`.
        let to = unsafe { self.at.add(self.len) };
        // SAFETY: I1: there is room for them now, and nobody else has it, so `data` does not lie there.
        unsafe { copy(data, to) };
        self.len += data.len();
    }

    /// Appends one byte.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        if self.len == self.room {
            self.grow(1);
        }
        // SAFETY: I1, I2: `len < room` now.
        let to = unsafe { self.at.add(self.len) };
        // SAFETY: I1.
        unsafe { to.write(byte) };
        self.len += 1;
    }

    /// The next value begins here.
    #[inline(always)]
    pub fn mark(&mut self) {
        self.mark = self.len();
    }

    /// Forgets what was written behind the first `to` bytes. Those before the mark of a spilled value can be forgotten,
    /// too; more than there are cannot.
    pub fn truncate(&mut self, to: usize) {
        if to <= self.base && self.is_spilled() {
            drop(self.spilled());
        }
        self.len = self.len.min(to.saturating_sub(self.base));
        self.mark = self.mark.min(self.len());
    }

    /// Did the value since the mark not fit?
    #[inline(always)]
    #[must_use]
    pub fn is_spilled(&self) -> bool {
        matches!(self.rest, Rest::Spilled { .. })
    }

    /// All bytes since the mark, where they did not fit. The `Out` then ends at the mark, in its place.
    pub fn spilled(&mut self) -> Option<Vec<u8>> {
        let Rest::Spilled { at, room, kept } = &mut self.rest else { return None };
        let (at, room, mut kept) = (*at, *room, std::mem::take(kept));
        // SAFETY: I1, I2: `at` was the buffer of `kept`, whose first `len` bytes were written.
        unsafe { kept.set_len(self.len) };
        // What was there before the mark is as it was.
        (self.at, self.room, self.len, self.base) = (at, room, self.base, 0);
        self.mark = self.len;
        self.rest = Rest::Place(PhantomData);
        Some(kept)
    }

    /// All bytes since the mark, spilled or not. The `Out` then ends at the mark.
    pub fn cut(&mut self) -> Vec<u8> {
        if let Some(bytes) = self.spilled() {
            return bytes;
        }
        let since = self.len - self.mark;
        // SAFETY: I1, I2: `mark <= len`.
        let from = unsafe { self.at.add(self.mark) };
        // SAFETY: I1, I2: they were written by us, and nobody else writes there.
        let bytes = unsafe { NonNull::slice_from_raw_parts(from, since).as_ref() }.to_vec();
        self.len = self.mark;
        bytes
    }

    /// Has a handle or a block become part of the message that this thread is making?
    #[inline(always)]
    #[must_use]
    pub fn carries(&self) -> bool {
        carry::is_collecting_any()
    }

    /// Takes back the handles and blocks of the message that this thread is making.
    #[cold]
    pub fn forget_parcels(&mut self) {
        drop(carry::collected());
    }

    /// Makes room for `more` bytes: in a larger buffer, or beside the place.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let bytes = match &mut self.rest {
            Rest::Vector(bytes) => &mut **bytes,
            Rest::Spilled { kept, .. } => kept,
            Rest::Place(_) => {
                let since = self.len - self.mark;
                let mut kept = Vec::with_capacity((since + more).next_power_of_two().max(SPILL));
                // SAFETY: I1, I2: `mark <= len`.
                let from = unsafe { self.at.add(self.mark) };
                // SAFETY: I1, I2: they were written by us, and nobody else writes there.
                kept.extend_from_slice(unsafe { NonNull::slice_from_raw_parts(from, since).as_ref() });
                let (at, room) = (self.at, self.room);
                (self.at, self.room, self.len, self.base) =
                    (pointer_of(&mut kept), kept.capacity(), since, self.mark);
                self.rest = Rest::Spilled { at, room, kept };
                return;
            }
        };
        // SAFETY: I1, I2: `at` is its buffer.
        unsafe { bytes.set_len(self.len) };
        bytes.reserve(more);
        (self.at, self.room) = (pointer_of(bytes), bytes.capacity());
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Rest::Vector(bytes) = &mut self.rest {
            // SAFETY: I1, I2: `at` is its buffer.
            unsafe { bytes.set_len(self.len) };
        }
    }
}

fn pointer_of(bytes: &mut Vec<u8>) -> NonNull<u8> {
    // SAFETY: the pointer of a vector is never null (I1).
    unsafe { NonNull::new_unchecked(bytes.as_mut_ptr()) }
}

/// Copies, without a call where the bytes are few: numbers are most of what is encoded.
///
/// # Safety
/// `to` is valid for writes of `data.len()` bytes, which do not overlap `data`.
#[inline(always)]
unsafe fn copy(data: &[u8], to: NonNull<u8>) {
    match data.len() {
        // SAFETY: the contract of this function.
        0..NUMBER => unsafe { one_by_one(data, to) },
        // SAFETY: the contract; 8 <= len <= 16.
        NUMBER..=16 => unsafe { both_ends::<8>(data, to) },
        // SAFETY: the contract of this function.
        _ => unsafe { to.copy_from_nonoverlapping(NonNull::from(data).cast(), data.len()) },
    }
}

/// Copies a few bytes, mostly those of a number, which its encoder has just stored one by one. A wider load would wait
/// until those stores have left the processor, and with it all that depends on the bytes, as the hash of a key.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
unsafe fn one_by_one(data: &[u8], to: NonNull<u8>) {
    for (at, byte) in data.iter().enumerate() {
        // Volatile, because else a compiler makes one load of them.
        // SAFETY: the contract of this function: `data` is a slice, and its bytes are valid for reads.
        let byte = unsafe { std::ptr::from_ref(byte).read_volatile() };
        // SAFETY: the contract: it stays inside.
        let to = unsafe { to.add(at) };
        // SAFETY: the contract.
        unsafe { to.write(byte) };
    }
}

/// Copies the first and the last `N` bytes, which is all of them: there are `N` to `2 * N`.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
unsafe fn both_ends<const N: usize>(data: &[u8], to: NonNull<u8>) {
    let (Some(first), Some(last)) = (data.first_chunk::<N>(), data.last_chunk::<N>()) else { return };
    // SAFETY: the contract: the first `N` bytes of them.
    unsafe { to.cast::<[u8; N]>().write_unaligned(*first) };
    // SAFETY: the contract: it stays inside.
    let end = unsafe { to.add(data.len() - N) };
    // SAFETY: the contract: the last `N` bytes of them.
    unsafe { end.cast::<[u8; N]>().write_unaligned(*last) };
}

/// postcard writes here.
impl Flavor for &mut Out<'_> {
    type Output = ();

    #[inline(always)]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.extend(data);
        Ok(())
    }

    #[inline(always)]
    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// serde_json writes here.
impl io::Write for Out<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.extend(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
