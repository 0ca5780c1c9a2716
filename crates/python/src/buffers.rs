//! Large buffers, which travel in a block beside their message instead of inside it.
//!
//! Pickle's protocol 5 names the buffers of arrays and their like. They are copied once, side by side, into a block of a
//! pool that this process keeps; the message carries the block. Who receives it gets the objects over the block itself:
//! a [`Slot`] lends its bytes, and pins it as long as a view of it is alive. One process owns a block at a time, so they
//! may be written. A message whose sender or receiver is killed keeps or frees its block with it (`queue::blocks`).
//!
//! Messages that are too long for their place in a queue travel in a block as well, and are copied out.
//!
//! Pinned blocks are missing in the pool. So who receives one of a pool that is nearly used up copies instead, and who
//! finds none free puts the buffers into the pickle.
//!
//! ```text
//! byte 0     0x7E      with blocks
//! byte 1     number    u16, that of the block in its message
//! byte 3     count     u16
//! byte 5     lengths   u64 each
//! then       message   a pickle, or what the block holds instead of buffers: `bytes`, or a message of its own
//! ```
//! Invariants
//! - I1 a `Pinned` has the only `Block` of an acknowledged message, so its bytes are this process's own, mapped and
//!   in nobody else's hands until the `Pinned` is dropped.
//! - I2 a `Slot` lies inside its `Pinned`, which it keeps; who has a view has the `Slot`.
//! - I3 a buffer that Python exports as contiguous is readable for its length while the export lasts and the GIL is held.
#![allow(unsafe_code, reason = "copies between buffers of Python and blocks, and lends blocks to Python")]

mod fork;
mod pools;

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use ginnel::Block;
use ginnel_object::queue::{attach_block, parcel_block};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use pyo3::{ffi, types::PyList};

use crate::failure::OrRaise;

/// With what a message begins whose buffers lie in a block.
pub(crate) const WITH_BLOCK: u8 = 0x7e;

/// In place of a pickle: the message is `bytes`, and they lie in the block.
pub(crate) const ONLY_BYTES: u8 = 0x7d;

/// In place of a pickle: the message lies in the block, all of it.
const WHOLE: u8 = 0x7c;

/// Buffers below this are pickled: to pin one costs more than to copy it.
pub(crate) const LARGE: usize = 32 << 10;

/// Most buffers in a message.
const BUFFERS_MAX: usize = 64;

/// Buffers begin at multiples of this.
const ALIGN: usize = 64;

/// Bytes before the lengths.
const HEAD: usize = 5;

/// Copies `buffers` into a block of the message that is packed now. Gives what stands before the rest of the message;
/// `None`: there is no block for them now.
pub(crate) fn stow(py: Python<'_>, buffers: &[PyUntypedBuffer]) -> PyResult<Option<Vec<u8>>> {
    let total = buffers.iter().map(|buffer| buffer.len_bytes().next_multiple_of(ALIGN)).sum();
    let fits = buffers.len() <= BUFFERS_MAX;
    let Some(mut block) = fits.then(|| pools::claim(py, total)).flatten() else { return Ok(None) };
    let mut head = vec![WITH_BLOCK, 0, 0];
    head.extend((buffers.len() as u16).to_le_bytes());
    let mut at = 0;
    for buffer in buffers {
        let len = buffer.len_bytes();
        head.extend((len as u64).to_le_bytes());
        if let Some(into) = block.get_mut(at..at + len) {
            into.copy_from_slice(bytes_of(py, buffer));
        }
        at += len.next_multiple_of(ALIGN);
    }
    block.truncate(at);
    let number = attach_block(&block.freeze()).or_raise()?;
    head[1..3].copy_from_slice(&number.to_le_bytes());
    Ok(Some(head))
}

/// Do its bytes lie one after the other?
pub(crate) fn is_whole(buffer: &PyUntypedBuffer) -> bool {
    buffer.is_c_contiguous() || buffer.is_fortran_contiguous()
}

/// Appends the bytes of a buffer, as they lie in memory.
///
/// # Errors
/// `BufferError` where they do not lie one after the other.
pub(crate) fn append(py: Python<'_>, buffer: &PyUntypedBuffer, out: &mut Vec<u8>) -> PyResult<()> {
    if !is_whole(buffer) {
        return Err(PyBufferError::new_err("the bytes of this buffer do not lie one after the other"));
    }
    out.extend_from_slice(bytes_of(py, buffer));
    Ok(())
}

/// The bytes of a buffer that is whole. To be copied at once, before anything else of Python runs.
fn bytes_of<'a>(_gil: Python<'_>, buffer: &'a PyUntypedBuffer) -> &'a [u8] {
    let Some(start) = NonNull::new(buffer.buf_ptr()) else { return &[] };
    // SAFETY: I3; the exporter may be shared memory that others write, which makes the copy as torn as theirs.
    unsafe { slice::from_raw_parts(start.as_ptr().cast::<u8>(), buffer.len_bytes()) }
}

/// Puts a message that is longer than `most` into a block as a whole, if one is free, while it is packed: that costs a
/// fraction of what an object of its own does.
pub(crate) fn shorten(py: Python<'_>, message: &mut Vec<u8>, most: usize) -> PyResult<()> {
    if message.len() <= most || message.first() == Some(&WITH_BLOCK) {
        return Ok(());
    }
    let len = message.len();
    let Some(mut block) = pools::claim(py, len) else { return Ok(()) };
    block.truncate(len);
    block.copy_from_slice(message);
    let number = attach_block(&block.freeze()).or_raise()?;
    message.clear();
    message.push(WITH_BLOCK);
    message.extend(number.to_le_bytes());
    message.extend(1_u16.to_le_bytes());
    message.extend((len as u64).to_le_bytes());
    message.push(WHOLE);
    Ok(())
}

/// What a message with a block consists of.
pub(crate) enum Unstowed<'py, 'a> {
    /// It is these.
    Bytes(Bound<'py, PyAny>),
    /// It was in the block as a whole.
    Message(Vec<u8>),
    /// These, and a pickle of the rest.
    Beside(Bound<'py, PyList>, &'a [u8]),
}

/// Takes the block of a message that begins with [`WITH_BLOCK`].
///
/// # Errors
/// `ValueError` for bytes that no sender makes.
pub(crate) fn unstow<'py, 'a>(py: Python<'py>, bytes: &'a [u8]) -> PyResult<Unstowed<'py, 'a>> {
    let broken = || PyValueError::new_err("these bytes are no message");
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(broken)?;
    let number = u16::from_le_bytes([head[1], head[2]]);
    let count = usize::from(u16::from_le_bytes([head[3], head[4]]));
    let (lengths, rest) = rest.split_at_checked(8 * count).ok_or_else(broken)?;
    let lengths = lengths.as_chunks::<8>().0;
    let block = parcel_block(number).or_raise()?;
    if let ([only], [what @ (ONLY_BYTES | WHOLE)]) = (lengths, rest) {
        let len = usize::try_from(u64::from_le_bytes(*only))?;
        let bytes = block.get(..len).ok_or_else(broken)?;
        return Ok(match *what {
            WHOLE => Unstowed::Message(bytes.to_vec()),
            _ if IN_PLACE.get() => {
                let pinned = Pinned::new(block);
                Unstowed::Bytes(Slot { pinned, at: 0, len }.view(py)?.into_any())
            }
            _ => Unstowed::Bytes(PyBytes::new(py, bytes).into_any()),
        });
    }
    let copies = KEEPS_NOTHING.get() || block.is_scarce();
    let pinned = Pinned::new(block);
    let buffers = PyList::empty(py);
    let (mut at, room) = (0, pinned.place.len());
    for len in lengths {
        let len = usize::try_from(u64::from_le_bytes(*len))?;
        if len > room || at > room - len {
            return Err(broken());
        }
        let slot = Slot { pinned: Arc::clone(&pinned), at, len };
        if copies {
            buffers.append(PyByteArray::new(py, slot.bytes()))?;
        } else {
            buffers.append(slot.view(py)?)?;
        }
        at += len.next_multiple_of(ALIGN);
    }
    Ok(Unstowed::Beside(buffers, rest))
}

thread_local! {
    static KEEPS_NOTHING: Cell<bool> = const { Cell::new(false) };
    static IN_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `decode`, which copies what lies in blocks: the message may come again, and the blocks with it.
pub(crate) fn keeping_nothing<R>(decode: impl FnOnce() -> R) -> R {
    let before = KEEPS_NOTHING.replace(true);
    let result = decode();
    KEEPS_NOTHING.set(before);
    result
}

/// Runs `decode`, which gives bytes alone as a view of where they lie.
pub(crate) fn in_place<R>(decode: impl FnOnce() -> R) -> R {
    let before = IN_PLACE.replace(true);
    let result = decode();
    IN_PLACE.set(before);
    result
}

/// A block that is filled by Python before it is sent, as `bytes`.
pub(crate) struct Draft {
    pinned: Arc<Pinned>,
    size: usize,
}

impl Draft {
    /// `None`: no block of that size is free, nor memory for another one.
    pub(crate) fn new(py: Python<'_>, size: usize) -> Option<Self> {
        let mut block = pools::claim(py, size)?;
        block.truncate(size);
        Some(Self { pinned: Pinned::new(block.freeze()), size })
    }

    pub(crate) fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        Slot { pinned: Arc::clone(&self.pinned), at: 0, len: self.size }.view(py)
    }

    /// Does a view of it exist?
    pub(crate) fn is_viewed(&self) -> bool {
        Arc::strong_count(&self.pinned) > 1
    }

    /// The message, with the block in it, while it is packed. No view may be left.
    ///
    /// # Errors
    /// `ValueError` for more bytes than there are.
    pub(crate) fn message(&self, size: Option<usize>) -> PyResult<Vec<u8>> {
        let size = size.unwrap_or(self.size);
        if size > self.size {
            return Err(PyValueError::new_err("more bytes than were reserved"));
        }
        let number = attach_block(&self.pinned.block).or_raise()?;
        let mut message = vec![WITH_BLOCK];
        message.extend(number.to_le_bytes());
        message.extend(1_u16.to_le_bytes());
        message.extend((size as u64).to_le_bytes());
        message.push(ONLY_BYTES);
        Ok(message)
    }
}

/// A block that views keep.
struct Pinned {
    /// Given back with this.
    block: Block,
    place: NonNull<[u8]>,
}

// SAFETY: the pointer is into shared memory that the block keeps mapped (I1), wherever it is used from.
unsafe impl Send for Pinned {}
// SAFETY: I1, as above; the bytes are read and written under the GIL, by Python's rules for buffers.
unsafe impl Sync for Pinned {}

impl Pinned {
    fn new(block: Block) -> Arc<Self> {
        let place = block.place();
        let pinned = Arc::new(Self { block, place });
        fork::keep(pinned.place);
        pinned
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        fork::forget(self.place);
    }
}

/// A part of a block, as a buffer.
#[pyclass(module = "ginnel._ginnel", frozen)]
pub(crate) struct Slot {
    pinned: Arc<Pinned>,
    at: usize,
    len: usize,
}

impl Slot {
    fn view(self, py: Python<'_>) -> PyResult<Bound<'_, PyMemoryView>> {
        PyMemoryView::from(Bound::new(py, self)?.as_any())
    }

    fn start(&self) -> NonNull<u8> {
        // SAFETY: I2: `at` was checked against the length.
        unsafe { self.pinned.place.cast::<u8>().add(self.at) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: I1, I2: nobody has a view yet when this is called, so nobody writes.
        unsafe { slice::from_raw_parts(self.start().as_ptr(), self.len) }
    }
}

#[pymethods]
impl Slot {
    /// # Safety
    /// `view` is a buffer record to be filled: the interpreter calls this, nobody else.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let slot = slf.get();
        let start = slot.start().as_ptr().cast();
        // SAFETY: I2: the view holds `slf`; `view` is the interpreter's to fill.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, slot.len as isize, 0, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Slot>()?;
    fork::register(module)
}
