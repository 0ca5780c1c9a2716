//! Dicts: [`Dict`] is what `DictProxy` and `SharedDict` are made of, a store of entries in the order of their insertion.
//!
//! An entry's key is [`key`]'s bytes. Its value:
//! ```text
//! serial: u64 | length of the original: u32 | the original, pickled | the value, as crate::pickle writes it
//! ```
//! Serials grow with each insertion, and stay when a value is replaced, as its place in the order does. The original is the
//! key as it was first put in, where its bytes alone would give another type (`1` for `True`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use ginnel_object::bridge::store::{Packed, RawDict, StoreOptions};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::failure::CorruptedError;
use crate::home::Address;
use crate::pickle;
use crate::store::{self, Held, Table, key, patiently};

/// Shards of a dict: Python's writers rarely meet.
const SHARDS: u32 = 8;

/// Bytes in front of an entry's original.
const HEAD: usize = 12;

/// What stands in front of a value.
#[derive(Clone, Copy)]
struct Entry<'b> {
    serial: u64,
    original: &'b [u8],
    value: &'b [u8],
}

impl<'b> Entry<'b> {
    fn of(bytes: &'b [u8]) -> Option<Self> {
        let (serial, rest) = bytes.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (original, value) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        Some(Self { serial: u64::from_le_bytes(*serial), original, value })
    }

    fn read(bytes: &'b [u8]) -> PyResult<Self> {
        Self::of(bytes).ok_or_else(|| CorruptedError::new_err("a value that nobody writes"))
    }

    fn key<'py>(&self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self.original.is_empty() { key::read(py, bytes) } else { pickle::decode(py, self.original) }
    }
}

/// When a value is put.
#[derive(Clone, Copy)]
enum When {
    Always,
    Absent,
    /// The version is this (0: there is none).
    Still(u64),
}

/// The keys of a moment, the newest last: for `popitem`, again and again.
struct Order {
    /// Insertions before that moment.
    ticks: u64,
    keys: Vec<(u64, Box<[u8]>)>,
}

/// A dict in shared memory. `_make` or `_open` comes first.
#[pyclass(subclass, frozen, weakref, module = "ginnel._ginnel")]
pub(crate) struct Dict {
    held: Held<Table>,
    order: Mutex<Option<Order>>,
}

impl Dict {
    #[inline]
    fn raw(&self) -> PyResult<&RawDict> {
        Ok(&self.held.get()?.0)
    }

    fn order(&self) -> MutexGuard<'_, Option<Order>> {
        // It is replaced as a whole.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key, and its version.
    #[inline]
    fn look<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<(u64, Option<Bound<'py, PyAny>>)> {
        let (py, raw) = (key.py(), self.raw()?);
        key::with(key, |bytes, _| {
            let (version, value) = patiently(py, || {
                raw.get_at(bytes, |version, found| {
                    let decode = |found| Entry::read(found).and_then(|entry| pickle::decode(py, entry.value));
                    Ok((version, found.map(decode)))
                })
            })?;
            Ok((version, value.transpose()?))
        })
    }

    /// Puts a value where `when` says so. False: it did not.
    fn put(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, when: When) -> PyResult<bool> {
        let raw = self.raw()?;
        key::with(key, |bytes, is_exact| {
            let mut original = if is_exact { Vec::new() } else { key::original(key)? };
            loop {
                let mut packed = self.packed(raw, &original, value)?;
                let (is_put, other) = put_over(key.py(), raw, bytes, &mut packed, when)?;
                store::reuse(packed);
                match other {
                    // The entry keeps another object for the same key: once more, with that.
                    Some(other) => original = other,
                    None => return Ok(is_put),
                }
            }
        })
    }

    /// A value behind its head, whose serial comes later.
    #[inline]
    fn packed(&self, raw: &RawDict, original: &[u8], value: &Bound<'_, PyAny>) -> PyResult<Packed> {
        let len = (original.len() as u32).to_le_bytes();
        let head: [&[u8]; 3] = [&[0; 8], &len, original];
        match store::plain(&head, value) {
            Some(packed) => Ok(packed),
            None => store::packed(self.held.place()?, |write| raw.pack(write), &head, value),
        }
    }

    fn each<'py>(
        &self,
        py: Python<'py>,
        mut each: impl FnMut(&[u8], Entry<'_>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let raw = self.raw()?;
        let mut all = patiently(py, || {
            let mut all = Vec::with_capacity(raw.len());
            raw.snapshot(|key, found| {
                let serial = Entry::of(found).map_or(0, |entry| entry.serial);
                all.push((serial, Entry::read(found).and_then(|entry| each(key, entry))));
                Ok(())
            })?;
            Ok(all)
        })?;
        all.sort_by_key(|(serial, _)| *serial);
        let items: PyResult<Vec<_>> = all.into_iter().map(|(_, item)| item).collect();
        PyList::new(py, items?)
    }

    /// The bytes of the newest key, and its serial. `None`: there are none.
    fn newest(&self, py: Python<'_>) -> PyResult<Option<(u64, Box<[u8]>)>> {
        let raw = self.raw()?;
        let ticks = raw.ticks();
        let known =
            self.order().as_mut().filter(|order| order.ticks == ticks).and_then(|order| order.keys.pop());
        if known.is_some() {
            return Ok(known);
        }
        let mut keys = patiently(py, || {
            let mut keys = Vec::new();
            raw.snapshot(|key, found| {
                keys.push((Entry::of(found).map_or(0, |entry| entry.serial), key.into()));
                Ok(())
            })?;
            Ok(keys)
        })?;
        keys.sort_unstable_by_key(|(serial, _)| *serial);
        let newest = keys.pop();
        *self.order() = Some(Order { ticks, keys });
        Ok(newest)
    }
}

/// Puts `packed` where `when` says so, with the serial and the original of the entry that is there. Whether it did; the
/// original of the entry, where another one has to be packed.
fn put_over(
    py: Python<'_>,
    raw: &RawDict,
    key: &[u8],
    packed: &mut Packed,
    when: When,
) -> PyResult<(bool, Option<Vec<u8>>)> {
    let mut other = None;
    let is_put = patiently(py, || {
        raw.put_packed(key, packed, |version, old, new| {
            let is_wanted = match when {
                When::Always => true,
                When::Absent => version == 0,
                When::Still(seen) => version == seen,
            };
            is_wanted && take_over(raw, old.and_then(Entry::of), new, &mut other)
        })
    })?;
    Ok((is_put, other))
}

/// Makes the head of a new value that of the one that it replaces. False: its original has another length, and is this.
fn take_over(raw: &RawDict, old: Option<Entry<'_>>, new: &mut [u8], other: &mut Option<Vec<u8>>) -> bool {
    let Some(len) = Entry::of(new).map(|entry| entry.original.len()) else { return false };
    let Some(old) = old else {
        // The only error is that of a fork, and this process was asked about that.
        new[..8].copy_from_slice(&raw.tick().unwrap_or(0).to_le_bytes());
        return true;
    };
    if old.original.len() != len {
        *other = Some(old.original.to_vec());
        return false;
    }
    new[..8].copy_from_slice(&old.serial.to_le_bytes());
    new[HEAD..HEAD + len].copy_from_slice(old.original);
    true
}

#[pymethods]
impl Dict {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { held: Held::new(), order: Mutex::new(None) }
    }

    /// Makes the dict, empty, in this process's arena.
    #[pyo3(signature = (shards = SHARDS))]
    fn _make(&self, shards: u32) -> PyResult<()> {
        self.held.make(StoreOptions { shards: Some(shards), ..StoreOptions::default() })
    }

    /// Opens the dict at that address.
    fn _open(&self, address: Address) -> PyResult<()> {
        self.held.open(address)
    }

    fn address(&self) -> PyResult<Address> {
        self.held.address()
    }

    /// Its plain address while it is put into itself, which would keep it for ever. `None`: it is not.
    fn _own_value(&self) -> PyResult<Option<Address>> {
        self.held.own_value()
    }

    /// From now on this handle is unusable.
    fn _close(&self) {
        self.held.close();
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.raw()?.len())
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let raw = self.raw()?;
        key::with(key, |bytes, _| Ok(patiently(key.py(), || raw.version(bytes))? != 0))
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.look(key)?.1.ok_or_else(|| key::missing(key))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(key, value, When::Always).map(drop)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let raw = self.raw()?;
        let was_there = key::with(key, |bytes, _| patiently(key.py(), || raw.remove(bytes)))?;
        if was_there { Ok(()) } else { Err(key::missing(key)) }
    }

    #[pyo3(signature = (key, default = None, /))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.look(key)?.1.or(default))
    }

    #[pyo3(signature = (key, default = None, /))]
    fn setdefault<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let default = default.unwrap_or_else(|| key.py().None().into_bound(key.py()));
        loop {
            if let (_, Some(value)) = self.look(key)? {
                return Ok(value);
            }
            if self.put(key, &default, When::Absent)? {
                return Ok(default);
            }
        }
    }

    #[pyo3(signature = (key, /, *default))]
    fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, raw) = (key.py(), self.raw()?);
        let taken = key::with(key, |bytes, _| {
            patiently(py, || {
                raw.take(bytes, |found| Ok(found.map(|found| pickle::decode(py, Entry::read(found)?.value))))
            })
        })?;
        match taken {
            Some(value) => value,
            None => default.get_item(0).map_err(|_| key::missing(key)),
        }
    }

    /// Takes the entry out that was put in last.
    fn popitem<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let raw = self.raw()?;
        while let Some((serial, key)) = self.newest(py)? {
            let is_it = |found: &[u8]| Entry::of(found).is_none_or(|entry| entry.serial == serial);
            let taken = patiently(py, || {
                raw.take_if(&key, is_it, |found| {
                    let read = |found| {
                        let entry = Entry::read(found)?;
                        Ok((entry.key(py, &key)?, pickle::decode(py, entry.value)?))
                    };
                    Ok(found.map(read))
                })
            })?;
            // Else somebody was faster.
            if let Some(item) = taken {
                return item;
            }
        }
        Err(PyKeyError::new_err("popitem(): dictionary is empty"))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let raw = self.raw()?;
        patiently(py, || raw.clear())
    }

    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.each(py, |bytes, entry| entry.key(py, bytes))
    }

    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.each(py, |_, entry| pickle::decode(py, entry.value))
    }

    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.each(py, |bytes, entry| {
            let item = (entry.key(py, bytes)?, pickle::decode(py, entry.value)?);
            Ok(item.into_pyobject(py)?.into_any())
        })
    }

    /// The value of a key and its version, `(0, default)` where there is none.
    #[pyo3(signature = (key, default = None, /))]
    fn _versioned<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(u64, Option<Bound<'py, PyAny>>)> {
        let (version, value) = self.look(key)?;
        Ok((version, value.or(default)))
    }

    /// Puts a value, if the key still has that version.
    fn _replace(&self, key: &Bound<'_, PyAny>, version: u64, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.put(key, value, When::Still(version))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Dict>()
}
