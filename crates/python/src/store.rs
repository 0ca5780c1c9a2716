//! What dicts and lists of Python have in common: the objects, their operations' waits, and how values get in and out.
//!
//! The locks of a store are taken with the GIL held and given up before it is: no Python runs under them, for whoever
//! waited for such a lock with the GIL would wait for a thread that waits for the GIL. So what has to look and change in
//! one step looks first, computes, and changes only what is still as it was seen.
//!
//! A lock's holder may be a process that is stopped. So waits have slices here, too: [`patiently`].

pub(crate) mod key;

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_object::bridge;
use ginnel_object::bridge::store::{Packed, RawDict, RawList, StoreKind, StoreOptions, Wraps};
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Object, Result};
use pyo3::exceptions::{PyConnectionRefusedError, PyRuntimeError};
use pyo3::prelude::*;

use crate::codec;
use crate::failure::{OrRaise, raised};
use crate::home::{self, Address, Shared};
use crate::pickle;
use crate::wait::SLICE;

/// A dict's memory. Keys are [`key`]'s, values those of [`crate::dict`].
pub(crate) struct Table(pub(crate) RawDict);

/// A list's memory: each element is a message.
pub(crate) struct Row(pub(crate) RawList);

/// What a value is, for programs in other languages that open it by name.
const ANY: &str = "Python object";

impl Wraps for Table {
    type Raw = RawDict;
    type Options = StoreOptions;
    const KIND: StoreKind = StoreKind::Dict;

    fn names() -> (String, String) {
        (ANY.to_owned(), ANY.to_owned())
    }

    fn store(options: StoreOptions) -> Result<StoreOptions> {
        Ok(options)
    }

    fn wrap(raw: RawDict) -> Self {
        Self(raw.with_patience(SLICE))
    }

    fn raw(&self) -> &RawDict {
        &self.0
    }
}

impl Wraps for Row {
    type Raw = RawList;
    type Options = StoreOptions;
    const KIND: StoreKind = StoreKind::List;

    fn names() -> (String, String) {
        (String::new(), ANY.to_owned())
    }

    fn store(options: StoreOptions) -> Result<StoreOptions> {
        Ok(options)
    }

    fn wrap(raw: RawList) -> Self {
        Self(raw.with_patience(SLICE))
    }

    fn raw(&self) -> &RawList {
        &self.0
    }
}

/// The object that an instance of one of the classes stands for. They are made in two steps, as Python makes objects.
pub(crate) struct Held<H: Object> {
    /// With the arena's uuid.
    made: OnceLock<(Shared<H>, (u64, u64))>,
    is_closed: AtomicU32,
}

impl<H: Object> Held<H> {
    pub(crate) const fn new() -> Self {
        Self { made: OnceLock::new(), is_closed: AtomicU32::new(0) }
    }

    /// The handle, in this process.
    ///
    /// # Errors
    /// `ConnectionRefusedError` after [`Held::close`]; `RuntimeError` before it is made.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&H> {
        match self.made.get() {
            Some((shared, _)) if self.is_closed.load(Relaxed) == 0 => shared.get(),
            made => Err(unusable(made.is_some())),
        }
    }

    /// Index and generation, also after [`Held::close`].
    ///
    /// # Errors
    /// `RuntimeError` before it is made.
    pub(crate) fn place(&self) -> PyResult<(u32, u32)> {
        let (shared, _) = self.made.get().ok_or_else(|| unusable(false))?;
        Ok(bridge::address_of(shared.get()?))
    }

    /// Where it is, for a pickle: [`Shared::address`].
    ///
    /// # Errors
    /// As that; `RuntimeError` before it is made.
    pub(crate) fn address(&self) -> PyResult<Address> {
        self.made.get().ok_or_else(|| unusable(false))?.0.address()
    }

    /// Where it is, while this thread encodes a value of this very store, which would keep it for ever.
    ///
    /// # Errors
    /// As [`Held::place`].
    pub(crate) fn own_value(&self) -> PyResult<Option<Address>> {
        let (_, arena) = self.made.get().ok_or_else(|| unusable(false))?;
        let (index, generation) = self.place()?;
        Ok((TARGET.get() == Some((index, generation))).then_some((*arena, index, generation)))
    }

    /// # Errors
    /// Where there is no room; `RuntimeError` when it is made already.
    pub(crate) fn make(&self, options: H::Options) -> PyResult<()> {
        let manager = home::manager()?;
        let shared = Shared::new(manager.create_with(options).or_raise()?, &manager);
        self.set(shared, home::uuid(&manager))
    }

    /// # Errors
    /// When it is gone, or of another kind; `RuntimeError` when it is made already.
    pub(crate) fn open(&self, address: Address) -> PyResult<()> {
        self.set(Shared::at(address)?, address.0)
    }

    fn set(&self, shared: Shared<H>, arena: (u64, u64)) -> PyResult<()> {
        self.made.set((shared, arena)).map_err(|_| PyRuntimeError::new_err("this object is made already"))
    }

    /// From now on it is unusable in this process.
    pub(crate) fn close(&self) {
        self.is_closed.store(1, Relaxed);
    }
}

#[cold]
fn unusable(is_made: bool) -> PyErr {
    if is_made {
        return PyConnectionRefusedError::new_err("the manager of this object has shut down");
    }
    PyRuntimeError::new_err("this object was not made yet")
}

/// Does `attempt` until it needs no lock that somebody keeps for longer than a slice. Signals are answered in between.
///
/// # Errors
/// Those of `attempt`; what a signal handler raised.
#[inline]
pub(crate) fn patiently<T>(py: Python<'_>, mut attempt: impl FnMut() -> Result<T>) -> PyResult<T> {
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(why) if why.kind() == ErrorKind::Timeout => breathe(py)?,
            Err(why) => return Err(raised(&why)),
        }
    }
}

#[cold]
fn breathe(py: Python<'_>) -> PyResult<()> {
    // Another thread that waits for the GIL gets it now.
    py.detach(|| ());
    py.check_signals()
}

/// The largest buffer that a thread keeps for its next value.
const KEPT: usize = 1 << 16;

thread_local! {
    /// A buffer for the next value.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The store for which this thread encodes a value: its index and generation.
    static TARGET: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
    /// What encoding a value raised.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Encodes a value of Python's own types behind `head`. `None`: it is to be pickled.
#[inline]
pub(crate) fn plain(head: &[&[u8]], value: &Bound<'_, PyAny>) -> Option<Packed> {
    let mut bytes = SPARE.take();
    bytes.clear();
    head.iter().for_each(|part| bytes.extend_from_slice(part));
    if codec::encode(value, &mut bytes) {
        return Some(Packed::plain(bytes));
    }
    SPARE.set(bytes);
    None
}

/// Keeps the memory of a value for the next one.
#[inline]
pub(crate) fn reuse(packed: Packed) {
    let bytes = packed.into_bytes();
    if bytes.capacity() <= KEPT {
        SPARE.set(bytes);
    }
}

/// Encodes a value behind `head`. Handles in it become parcels.
///
/// # Errors
/// What pickling raises; `Encode` for what cannot lie in a store.
pub(crate) fn packed(
    of: (u32, u32),
    pack: impl FnOnce(&mut dyn FnMut(&mut Out<'_>) -> Result<()>) -> Result<Packed>,
    head: &[&[u8]],
    value: &Bound<'_, PyAny>,
) -> PyResult<Packed> {
    let mut write = |out: &mut Out<'_>| {
        head.iter().for_each(|bytes| out.extend(bytes));
        put(out, value)
    };
    told(targeting(of, || pack(&mut write)))
}

/// Appends an encoded value.
///
/// # Errors
/// `Encode`: [`told`] has what was raised.
pub(crate) fn put(out: &mut Out<'_>, value: &Bound<'_, PyAny>) -> Result<()> {
    pickle::encode(value, |bytes| out.extend(bytes)).map_err(|why| {
        RAISED.set(Some(why));
        Error::new(ErrorKind::Encode, "a value cannot be pickled")
    })
}

/// The result of something that encodes values: what that raised is raised.
///
/// # Errors
/// As said.
pub(crate) fn told<T>(outcome: Result<T>) -> PyResult<T> {
    outcome.map_err(|why| RAISED.take().unwrap_or_else(|| raised(&why)))
}

/// Runs `encode` for a store that several values go into.
pub(crate) fn targeting<R>(of: (u32, u32), encode: impl FnOnce() -> R) -> R {
    let outer = TARGET.replace(Some(of));
    let result = encode();
    TARGET.set(outer);
    result
}

/// [`patiently`] for what encodes values.
///
/// # Errors
/// As that, and what pickling raises.
pub(crate) fn patiently_encoding<T>(py: Python<'_>, mut attempt: impl FnMut() -> Result<T>) -> PyResult<T> {
    loop {
        match attempt() {
            Err(why) if why.kind() == ErrorKind::Timeout => breathe(py)?,
            outcome => return told(outcome),
        }
    }
}
