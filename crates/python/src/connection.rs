//! The ends of pipes: what `Pipe()` gives.
//!
//! A direction is a channel of the core: a ring with a side that sends and one that receives. An end holds the receiving
//! side of one direction, the sending side of the other, or both; any number of processes may hold the same end, as after
//! a fork. When the last of those on a side is gone, closed or dead, the others get `EOFError` or `BrokenPipeError`.
//!
//! A message lies in its slot, or, when it is long, in an object of its own. So that a fast sender of long ones does not
//! take all memory, it waits while many bytes of its own are unread ([`budget`]).
//!
//! An end that is pickled travels as a part of the message it is in (a parcel), or, where that is not a message of ours
//! (the start of a process, somebody else's channel), as a token that is good for one arrival. Either keeps its side
//! alive, so the sender may close its own at once.
//!
//! A killed process leaves nothing half sent or half received; what it had received and not used is gone with it.
//!
//! - I2 a buffer that Python lends keeps its memory in place until it is given back.
#![allow(unsafe_code, reason = "the memory of an object that Python lends for a call")]

mod budget;
mod ends;
mod note;
mod passage;

use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::wait::Patience;

use self::ends::{Ends, Pair};
use self::note::{Got, Want};
use self::passage::Departed;

/// One end of a pipe, in the standard library's manners. The class that programs see adds pickling to it.
#[pyclass(module = "ginnel._ginnel", name = "Connection", subclass, frozen)]
pub(crate) struct Connection {
    /// Taken with the GIL held only, for a moment.
    open: Mutex<Option<Arc<Pair>>>,
    readable: AtomicU32,
    writable: bool,
}

impl Connection {
    fn open(&self) -> MutexGuard<'_, Option<Arc<Pair>>> {
        // An option is always whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn pair(&self) -> PyResult<Arc<Pair>> {
        self.open().clone().ok_or_else(|| PyOSError::new_err("handle is closed"))
    }

    fn to_read(&self) -> PyResult<Arc<Pair>> {
        let pair = self.pair()?;
        if self.readable() { Ok(pair) } else { Err(PyOSError::new_err("connection is write-only")) }
    }

    fn to_write(&self) -> PyResult<Arc<Pair>> {
        let pair = self.pair()?;
        if self.writable { Ok(pair) } else { Err(PyOSError::new_err("connection is read-only")) }
    }

    /// Sends `size` bytes of `buf` from `offset`.
    fn send_part(
        &self,
        buf: &Bound<'_, PyAny>,
        (offset, size): (isize, Option<isize>),
        patience: Patience,
    ) -> PyResult<bool> {
        let pair = self.to_write()?;
        let py = buf.py();
        if let Ok(bytes) = buf.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return pair.send_bytes(py, &bytes[part(bytes.len(), offset, size)?], patience);
        }
        let buffer = PyUntypedBuffer::get(buf)?;
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("the memory is not contiguous"));
        }
        let part = part(buffer.len_bytes(), offset, size)?;
        let Some(at) = NonNull::new(buffer.buf_ptr().cast::<u8>()) else {
            return pair.send_bytes(py, &[], patience);
        };
        // SAFETY: I2: the buffer has so many bytes and keeps them in place; whoever writes them meanwhile, sends what he
        // has written.
        let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), buffer.len_bytes()) };
        pair.send_bytes(py, &bytes[part], patience)
    }

    /// The next message; waits for it.
    fn next(&self, py: Python<'_>, want: Want) -> PyResult<Got> {
        let got = self.to_read()?.recv(py, want, Patience::Forever)?;
        got.ok_or_else(|| PyOSError::new_err("a wait without an end has ended"))
    }

    /// After a message that was too long, and is used up.
    #[cold]
    fn too_long(&self) -> PyErr {
        if self.writable {
            self.readable.store(0, Relaxed);
        } else {
            self.close();
        }
        PyOSError::new_err("bad message length")
    }
}

#[pymethods]
impl Connection {
    #[new]
    fn new(ends: &Ends) -> PyResult<Self> {
        let pair = ends.take()?;
        let (readable, writable) = (pair.is_readable(), pair.is_writable());
        let open = Mutex::new(Some(Arc::new(pair)));
        Ok(Self { open, readable: AtomicU32::new(u32::from(readable)), writable })
    }

    /// Sends an object; waits while there is no room.
    fn send(&self, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        self.to_write()?.send(obj, Patience::Forever).map(drop)
    }

    /// The next object; waits for it.
    fn recv(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.next(py, Want::Object)? {
            Got::Object(object) => object,
            _ => Err(self.too_long()),
        }
    }

    /// Sends the bytes of `buf`, or `size` of them from `offset`; waits while there is no room.
    #[pyo3(signature = (buf, offset = 0, size = None))]
    fn send_bytes(&self, buf: &Bound<'_, PyAny>, offset: isize, size: Option<isize>) -> PyResult<()> {
        self.send_part(buf, (offset, size), Patience::Forever).map(drop)
    }

    /// The next message as bytes; waits for it. A longer one than `maxlength` is lost, and so is the way in.
    #[pyo3(signature = (maxlength = None))]
    fn recv_bytes(&self, py: Python<'_>, maxlength: Option<isize>) -> PyResult<Py<PyAny>> {
        self.to_read()?;
        let most = maxlength.map(usize::try_from).transpose();
        let most = most.map_err(|_| PyValueError::new_err("negative maxlength"))?;
        match self.next(py, Want::Bytes(most))? {
            Got::Object(bytes) => bytes,
            _ => Err(self.too_long()),
        }
    }

    /// The next message, written into `buf` from `offset` on; waits for it. Gives how many bytes.
    #[pyo3(signature = (buf, offset = 0))]
    fn recv_bytes_into(&self, buf: &Bound<'_, PyAny>, offset: isize) -> PyResult<usize> {
        let py = buf.py();
        self.to_read()?;
        let buffer = PyUntypedBuffer::get(buf)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("a writable, contiguous buffer is needed"));
        }
        let offset = usize::try_from(offset).map_err(|_| PyValueError::new_err("negative offset"))?;
        let Some(room) = buffer.len_bytes().checked_sub(offset) else {
            return Err(PyValueError::new_err("offset too large"));
        };
        let at = buffer.buf_ptr().cast::<u8>().wrapping_add(offset);
        let at = NonNull::new(at).unwrap_or(NonNull::dangling());
        match self.next(py, Want::Into(at, room))? {
            Got::Written(count) => Ok(count),
            Got::Object(Err(why)) => Err(why),
            Got::TooShort(bytes) => Err(too_short(py, bytes?)?),
            Got::Object(Ok(_)) | Got::TooLong => Err(self.too_long()),
        }
    }

    /// Is there something to receive, the end included? Waits for it up to `timeout` seconds, or as long as it takes.
    #[pyo3(signature = (timeout = Some(0.0)))]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.into_pyobject(py)?;
        self.to_read()?.poll(py, Patience::of(true, Some(&timeout))?)
    }

    /// A descriptor that is readable while there is something to receive.
    fn fileno(&self) -> PyResult<RawFd> {
        self.pair()?.descriptor(true)
    }

    /// The same for one wait of ours.
    fn _arm(&self) -> PyResult<RawFd> {
        self.pair()?.descriptor(false)
    }

    /// Would `recv` come back at once? Of an end that only sends: would `send`?
    fn _ready(&self) -> PyResult<bool> {
        let pair = self.pair()?;
        if pair.is_readable() { pair.is_ready() } else { pair.has_room() }
    }

    /// Asks whether those live whom `recv` waits for, and has the dead recovered.
    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        let pair = self.pair()?;
        pair.probe(py)
    }

    /// Is there room, or nobody to send to?
    fn _room(&self) -> PyResult<bool> {
        self.to_write()?.has_room()
    }

    /// [`Self::_arm`] for room to send.
    fn _arm_room(&self) -> PyResult<RawFd> {
        self.to_write()?.room_descriptor()
    }

    /// Sends `obj` if there is room now. False: there is none.
    fn _try_send(&self, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.to_write()?.send(obj, Patience::None)
    }

    /// Sends the bytes of `buf` if there is room now. False: there is none.
    fn _try_send_bytes(&self, buf: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.send_part(buf, (0, None), Patience::None)
    }

    /// The next object if there is one now, else `otherwise`.
    fn _try_recv(&self, py: Python<'_>, otherwise: Py<PyAny>) -> PyResult<Py<PyAny>> {
        match self.to_read()?.recv(py, Want::Object, Patience::None)? {
            Some(Got::Object(object)) => object,
            Some(_) => Err(self.too_long()),
            None => Ok(otherwise),
        }
    }

    /// The next message as bytes if there is one now, else `otherwise`.
    fn _try_recv_bytes(&self, py: Python<'_>, otherwise: Py<PyAny>) -> PyResult<Py<PyAny>> {
        match self.to_read()?.recv(py, Want::Bytes(None), Patience::None)? {
            Some(Got::Object(bytes)) => bytes,
            Some(_) => Err(self.too_long()),
            None => Ok(otherwise),
        }
    }

    /// Closes the end, in this process.
    fn close(&self) {
        let pair = self.open().take();
        drop(pair);
    }

    #[getter]
    fn closed(&self) -> bool {
        self.open().is_none()
    }

    #[getter]
    fn readable(&self) -> bool {
        self.readable.load(Relaxed) != 0
    }

    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_why))]
    fn __exit__(&self, _why: &Bound<'_, PyAny>) {
        self.close();
    }

    /// Sends the end off: the arena, and each of its sides. In the message that is being encoded, if it may.
    fn _depart(&self, in_message: bool) -> PyResult<Departed> {
        self.pair()?.depart(in_message)
    }
}

/// Which bytes of `len` these are.
fn part(len: usize, offset: isize, size: Option<isize>) -> PyResult<std::ops::Range<usize>> {
    let offset = usize::try_from(offset).map_err(|_| PyValueError::new_err("offset is negative"))?;
    let Some(rest) = len.checked_sub(offset) else {
        return Err(PyValueError::new_err("buffer length < offset"));
    };
    let size = match size.map(usize::try_from) {
        None => rest,
        Some(Ok(size)) if size <= rest => size,
        Some(Ok(_)) => return Err(PyValueError::new_err("buffer length < offset + size")),
        Some(Err(_)) => return Err(PyValueError::new_err("size is negative")),
    };
    Ok(offset..offset + size)
}

#[cold]
fn too_short(py: Python<'_>, bytes: Py<PyAny>) -> PyResult<PyErr> {
    let class = py.import("multiprocessing.context")?.getattr("BufferTooShort")?;
    Ok(PyErr::from_value(class.call1((bytes,))?))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Ends>()?;
    module.add_class::<Connection>()?;
    module.add_function(wrap_pyfunction!(ends::pipe, module)?)?;
    module.add_function(wrap_pyfunction!(passage::discard, module)?)
}
