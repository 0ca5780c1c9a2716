//! Values as bytes: the codec where it can, else pickle.
//!
//! Pickling is what `multiprocessing` does: a pickler that knows the reducers of `copyreg` and those that programs have
//! registered with `ForkingPickler`. Making one costs five times what it does for a small message, so each thread keeps
//! one, in C, which writes into a buffer of ours. A reducer that sends a message itself finds it in use and gets
//! another.
//!
//! A message begins with a byte below 0x40 (codec), with 0x80, as each pickle does, or with 0x7E (`buffers`). 0xFF is for
//! those whose messages are not always values.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Message};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};

use crate::buffers::{self, Unstowed};
use crate::codec;

/// With what a pickle begins.
const PICKLE: u8 = 0x80;

/// The protocol that is written: the first with buffers beside the bytes. Every Python here reads it.
const PROTOCOL: u8 = 5;

/// The largest buffer that a thread keeps for its next message.
const KEPT: usize = 1 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static PICKLER: RefCell<Option<Pickler>> = const { RefCell::new(None) };
}

/// Lends the thread's buffer, empty.
pub(crate) fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let result = f(&mut scratch);
    if scratch.capacity() <= KEPT {
        SCRATCH.set(scratch);
    }
    result
}

/// Gives the bytes of `obj` to `f`. They are private memory; `f` may give the GIL up.
///
/// # Errors
/// What pickle says of an object that it cannot pickle.
#[inline]
pub(crate) fn encode<R>(obj: &Bound<'_, PyAny>, f: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    with_scratch(|bytes| {
        if !codec::encode(obj, bytes) {
            pickle(obj, bytes)?;
        }
        Ok(f(bytes))
    })
}

/// The value in `bytes`, which are private memory.
///
/// # Errors
/// What pickle or a constructor says; `ValueError` for bytes that are neither. Never panics.
#[inline]
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if bytes.first() == Some(&buffers::WITH_BLOCK) { unpack(py, bytes) } else { decode_short(py, bytes) }
}

/// [`decode`] of what has no block.
#[inline]
fn decode_short<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if bytes.first() == Some(&PICKLE) {
        return loads(py)?.call1((PyBytes::new(py, bytes),));
    }
    codec::decode(py, bytes)
}

fn loads(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    LOADS.import(py, "_pickle", "loads")
}

/// The value of a message with a block.
#[cold]
fn unpack<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let (buffers, rest) = match buffers::unstow(py, bytes)? {
        Unstowed::Bytes(bytes) => return Ok(bytes),
        Unstowed::Message(message) => return decode_short(py, &message),
        Unstowed::Beside(buffers, rest) => (buffers, rest),
    };
    let beside = PyDict::new(py);
    beside.set_item(intern!(py, "buffers"), buffers)?;
    loads(py)?.call((PyBytes::new(py, rest),), Some(&beside))
}

/// Encodes for a message that can carry a block, while it is packed: large buffers go there. `out` is empty.
///
/// # Errors
/// What pickle says of an object that it cannot pickle.
#[cold]
pub(crate) fn pack(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let py = obj.py();
    if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
        match buffers::stow(py, &[PyUntypedBuffer::get(obj)?])? {
            Some(head) => {
                out.extend(head);
                out.push(buffers::ONLY_BYTES);
            }
            None => codec::encode_bytes(bytes.as_bytes(), out),
        }
        return Ok(());
    }
    let beside = dump(obj, out, true)?;
    if beside.is_empty() {
        return Ok(());
    }
    if let Some(head) = buffers::stow(py, &beside)? {
        out.splice(0..0, head);
        return Ok(());
    }
    out.clear();
    dump(obj, out, false).map(drop)
}

/// Appends the pickle of `obj`.
///
/// # Errors
/// What pickle says of an object that it cannot pickle.
#[cold]
pub(crate) fn pickle(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    dump(obj, out, false).map(drop)
}

/// Appends the pickle of `obj`; gives its large buffers, which are not in it, if they are to stay `beside` it.
fn dump(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>, beside: bool) -> PyResult<Vec<PyUntypedBuffer>> {
    let py = obj.py();
    let pickler = match PICKLER.take() {
        Some(pickler) if pickler.is_current(py)? => pickler,
        _ => Pickler::new(py)?,
    };
    // A pickler that has failed is thrown away: nobody says what is left in it.
    let buffers = pickler.dump(obj, out, beside)?;
    PICKLER.set(Some(pickler));
    Ok(buffers)
}

/// Asked for each buffer that an object offers to leave out of the pickle.
#[pyclass(frozen)]
struct Gather {
    found: Mutex<Vec<PyUntypedBuffer>>,
    is_on: AtomicU32,
}

#[pymethods]
impl Gather {
    /// Is it to go into the pickle?
    fn __call__(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        if self.is_on.load(Relaxed) == 0 {
            return Ok(true);
        }
        let buffer = PyUntypedBuffer::get(buffer)?;
        if buffer.len_bytes() < buffers::LARGE
            || !(buffer.is_c_contiguous() || buffer.is_fortran_contiguous())
        {
            return Ok(true);
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        Ok(false)
    }
}

/// Where pickle writes.
#[pyclass(frozen)]
struct Sink(Mutex<Vec<u8>>);

#[pymethods]
impl Sink {
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(data) = data.cast::<PyBytes>() {
            bytes.extend_from_slice(data.as_bytes());
            return Ok(data.as_bytes().len());
        }
        let view = PyUntypedBuffer::get(data)?;
        buffers::append(data.py(), &view, &mut bytes)?;
        Ok(view.len_bytes())
    }
}

/// A pickler of this thread.
struct Pickler {
    sink: Py<Sink>,
    gather: Py<Gather>,
    dump: Py<PyAny>,
    clear: Py<PyAny>,
    reducers: (usize, usize),
}

/// The tables of reducers: that of everybody, and that of `multiprocessing`.
fn tables(py: Python<'_>) -> PyResult<(&Bound<'_, PyDict>, &Bound<'_, PyDict>)> {
    static COPYREG: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    static EXTRA: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let copyreg = COPYREG.import(py, "copyreg", "dispatch_table")?;
    let extra = EXTRA.get_or_try_init(py, || {
        let forking = py.import("multiprocessing.reduction")?.getattr("ForkingPickler")?;
        PyResult::Ok(forking.getattr("_extra_reducers")?.cast_into::<PyDict>()?.unbind())
    })?;
    Ok((copyreg, extra.bind(py)))
}

impl Pickler {
    fn new(py: Python<'_>) -> PyResult<Self> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let sink = Py::new(py, Sink(Mutex::new(Vec::new())))?;
        let gather = Py::new(py, Gather { found: Mutex::default(), is_on: AtomicU32::new(0) })?;
        let pickler = CLASS.import(py, "_pickle", "Pickler")?.call1((&sink, PROTOCOL, true, &gather))?;
        let (copyreg, extra) = tables(py)?;
        let all = copyreg.copy()?;
        all.update(extra.as_mapping())?;
        pickler.setattr("dispatch_table", all)?;
        let (dump, clear) = (pickler.getattr("dump")?.unbind(), pickler.getattr("clear_memo")?.unbind());
        Ok(Self { sink, gather, dump, clear, reducers: (copyreg.len(), extra.len()) })
    }

    /// Were no reducers registered since?
    fn is_current(&self, py: Python<'_>) -> PyResult<bool> {
        let (copyreg, extra) = tables(py)?;
        Ok(self.reducers == (copyreg.len(), extra.len()))
    }

    fn dump(
        &self,
        obj: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        beside: bool,
    ) -> PyResult<Vec<PyUntypedBuffer>> {
        let py = obj.py();
        let swap = |out: &mut Vec<u8>| {
            let mut inside = self.sink.get().0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *inside, out);
        };
        let gather = self.gather.get();
        gather.is_on.store(u32::from(beside), Relaxed);
        swap(out);
        let dumped = self.dump.bind(py).call1((obj,));
        swap(out);
        dumped?;
        self.clear.bind(py).call0()?;
        Ok(std::mem::take(&mut *gather.found.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A value that is received. Whoever receives it without the GIL takes the GIL for the time of the decoding.
pub(crate) struct Item(pub(crate) PyResult<Py<PyAny>>);

impl Message for Item {
    const FIXED: Option<usize> = None;

    fn with_bytes<R>(&self, _: impl FnOnce(&[u8]) -> R) -> ginnel::Result<R> {
        Err(only_packed())
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> ginnel::Result<Self> {
        Ok(Python::attach(|py| Self(decode(py, bytes).map(Bound::unbind))))
    }

    fn put(&self, _: &mut Out<'_>) -> ginnel::Result<()> {
        Err(only_packed())
    }

    fn take(bytes: &mut &[u8]) -> ginnel::Result<Self> {
        Self::from_bytes(std::mem::take(bytes))
    }
}

fn only_packed() -> Error {
    Error::new(ErrorKind::Unsupported, "values of Python are sent as packed bytes")
}

/// The bytes that stand for `obj` in a message.
#[pyfunction]
fn _dumps<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    encode(obj, |bytes| PyBytes::new(obj.py(), bytes))
}

/// The object that `data` stands for.
#[pyfunction]
fn _loads<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, data)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_dumps, module)?)?;
    module.add_function(wrap_pyfunction!(_loads, module)?)
}
