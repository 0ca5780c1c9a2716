//! A message on its way in: bytes that become what the receiver asked for, where they lie.
//!
//! The core decodes a message inside `recv`, where its handles can be had, and before it may be overwritten. What is to
//! become of the bytes is said before, in the thread ([`Want`]).
//!
//! ```text
//! 0xff | bytes     of send_bytes
//! anything else    of send: a pickle, or the crate's codec
//! ```
//!
//! - I1 the memory in [`Want::Into`] is that of a buffer which `recv_bytes_into` holds until the want is taken back,
//!   and its object keeps it in place meanwhile.
#![allow(unsafe_code, reason = "receives into memory that Python lends")]

use std::cell::Cell;
use std::ptr::{self, NonNull};

use ginnel_object::Message;
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::pickle;

/// The first byte of a message of bytes.
pub(super) const BYTES: u8 = 0xff;

/// The first byte of a pickle.
const PICKLE: u8 = 0x80;

/// What a receiver makes of the next message of its thread.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// The object that was sent.
    Object,
    /// Bytes, at most so many.
    Bytes(Option<usize>),
    /// Bytes in that place of that length (I1).
    Into(NonNull<u8>, usize),
}

/// What became of a message.
pub(super) enum Got {
    /// The object, or the bytes; or what decoding it raised.
    Object(PyResult<Py<PyAny>>),
    /// More bytes than wanted.
    TooLong,
    /// So many bytes were written where they were wanted.
    Written(usize),
    /// All of the bytes, which do not fit there.
    TooShort(PyResult<Py<PyAny>>),
}

thread_local! {
    static WANT: Cell<Want> = const { Cell::new(Want::Object) };
}

/// Says what the next message in this thread is to become. Taken back by the drop.
pub(super) struct Wanted(());

impl Wanted {
    pub(super) fn new(want: Want) -> Self {
        WANT.set(want);
        Self(())
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        WANT.set(Want::Object);
    }
}

/// A message that was received.
pub(super) struct Note(pub(super) Got);

impl Message for Note {
    const FIXED: Option<usize> = None;

    fn with_bytes<R>(&self, _: impl FnOnce(&[u8]) -> R) -> Result<R, Error> {
        Err(unsendable())
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        // For this message only: decoding one may receive others.
        let want = WANT.replace(Want::Object);
        Ok(Self(Python::attach(|py| made_of(py, bytes, want))))
    }

    fn put(&self, _: &mut Out<'_>) -> Result<(), Error> {
        Err(unsendable())
    }

    fn take(_: &mut &[u8]) -> Result<Self, Error> {
        Err(unsendable())
    }
}

fn unsendable() -> Error {
    Error::new(ErrorKind::Unsupported, "messages of a connection are sent as bytes")
}

#[inline]
fn made_of(py: Python<'_>, bytes: &[u8], want: Want) -> Got {
    match (want, bytes) {
        (Want::Object, [BYTES, bytes @ ..]) => Got::Object(unpickled(py, bytes)),
        (Want::Object, _) => Got::Object(pickle::decode(py, bytes).map(Bound::unbind)),
        (want, [BYTES, bytes @ ..] | bytes @ [PICKLE, ..]) => given(py, bytes, want),
        (want, _) => match pickle::decode(py, bytes).and_then(|object| pickled(&object)) {
            Ok(bytes) => given(py, bytes.as_bytes(), want),
            Err(why) => Got::Object(Err(why)),
        },
    }
}

fn given(py: Python<'_>, bytes: &[u8], want: Want) -> Got {
    match want {
        Want::Bytes(Some(most)) if bytes.len() > most => Got::TooLong,
        Want::Into(_, room) if bytes.len() > room => {
            Got::TooShort(Ok(PyBytes::new(py, bytes).into_any().unbind()))
        }
        Want::Into(at, _) => {
            // SAFETY: I1; it was just checked that they fit, and `bytes` are the core's.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) };
            Got::Written(bytes.len())
        }
        Want::Object | Want::Bytes(_) => Got::Object(Ok(PyBytes::new(py, bytes).into_any().unbind())),
    }
}

/// What bytes of `send_bytes` are to `recv`: a pickle.
#[cold]
fn unpickled(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyAny>> {
    let bytes = PyBytes::new(py, bytes);
    Ok(py
        .import("multiprocessing.reduction")?
        .getattr("ForkingPickler")?
        .call_method1("loads", (bytes,))?
        .unbind())
}

/// What an object of `send` is to `recv_bytes`: its pickle.
#[cold]
fn pickled<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let pickler = object.py().import("multiprocessing.reduction")?.getattr("ForkingPickler")?;
    let view = pickler.call_method1("dumps", (object,))?;
    Ok(view.call_method0("tobytes")?.cast_into()?)
}
