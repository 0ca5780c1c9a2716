//! Lists: [`List`] is what `ListProxy`, `SharedList` and the values and arrays of a manager are made of.
//!
//! What counts from the end, or looks before it changes, must know the length of the same moment: changes are given the
//! length under the lock, and whoever reads asks before and after for the number of the last change ([`List::at`]).

use std::cell::Cell;
use std::ops::Range;

use ginnel_object::bridge::store::{RawList, StoreOptions};
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::slice::PySliceIndices;
use pyo3::types::{PyDict, PyList, PySlice, PyTuple};

use crate::home::Address;
use crate::pickle;
use crate::store::{self, Held, Row, patiently};

/// A list in shared memory. `_make` or `_open` comes first.
#[pyclass(subclass, frozen, weakref, module = "ginnel._ginnel")]
pub(crate) struct List {
    held: Held<Row>,
}

/// The place that an index means in a list of so many. `None`: none.
fn place(index: isize, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add_unsigned(len)? } else { index };
    usize::try_from(index).ok().filter(|place| *place < len)
}

/// Where `insert` puts something: beyond an end is at that end.
fn gap(index: isize, len: usize) -> usize {
    let index = if index < 0 { index.saturating_add_unsigned(len) } else { index };
    usize::try_from(index).unwrap_or(0).min(len)
}

fn out_of_range(what: &str) -> PyErr {
    PyIndexError::new_err(format!("{what} out of range"))
}

impl List {
    #[inline]
    fn raw(&self) -> PyResult<&RawList> {
        Ok(&self.held.get()?.0)
    }

    /// The element that an index means, as it is at one moment.
    fn at<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let raw = self.raw()?;
        let get = |place: usize| {
            patiently(py, || raw.get(place, |found| Ok(found.map(|bytes| pickle::decode(py, bytes)))))
        };
        if let Ok(place) = usize::try_from(index) {
            return get(place)?.unwrap_or_else(|| Err(out_of_range("list index")));
        }
        loop {
            let version = patiently(py, || raw.version())?;
            let Some(place) = place(index, raw.len()) else { return Err(out_of_range("list index")) };
            let found = get(place)?;
            if patiently(py, || raw.version())? == version
                && let Some(value) = found
            {
                return value;
            }
        }
    }

    /// The elements of a range, as they are at one moment.
    fn range<'py>(&self, py: Python<'py>, range: Range<usize>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let raw = self.raw()?;
        let found = patiently(py, || {
            let mut found = Vec::new();
            raw.slice(range.clone(), |bytes| {
                found.push(pickle::decode(py, bytes));
                Ok(())
            })?;
            Ok(found)
        })?;
        found.into_iter().collect()
    }

    /// Replaces the element of a place. False: there is none.
    fn set(&self, place: usize, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let raw = self.raw()?;
        let set = || raw.set(place, |out| store::put(out, value));
        store::targeting(self.held.place()?, || store::patiently_encoding(value.py(), set))
    }

    /// Makes the range that `range_of` says, under the lock, for the length into `values`. False: it says none.
    fn splice(
        &self,
        py: Python<'_>,
        range_of: impl Fn(usize) -> Option<Range<usize>>,
        values: &[Bound<'_, PyAny>],
    ) -> PyResult<bool> {
        let raw = self.raw()?;
        let is_done = Cell::new(false);
        let once = || {
            let writes = values.iter().map(|value| move |out: &mut Out<'_>| store::put(out, value));
            let range_of = |len| {
                let range = range_of(len);
                is_done.set(range.is_some());
                range
            };
            raw.splice_where(range_of, writes, |_| Ok(()))
        };
        let address = self.held.place()?;
        store::targeting(address, || store::patiently_encoding(py, once))?;
        Ok(is_done.get())
    }
}

/// What `key` says of a list of so many.
fn indices(key: &Bound<'_, PySlice>, len: usize) -> PyResult<PySliceIndices> {
    key.indices(len as isize)
}

/// An index, as `__index__` gives it.
fn index_of(key: &Bound<'_, PyAny>) -> PyResult<isize> {
    if let Ok(index) = key.extract() {
        return Ok(index);
    }
    let what = || format!("list indices must be integers or slices, not {}", key.get_type());
    let number = key.call_method0("__index__").map_err(|_| PyTypeError::new_err(what()))?;
    number.extract().map_err(|_| PyIndexError::new_err("cannot fit 'int' into an index-sized integer"))
}

#[pymethods]
impl List {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { held: Held::new() }
    }

    /// Makes the list, empty, in this process's arena.
    fn _make(&self) -> PyResult<()> {
        self.held.make(StoreOptions::default())
    }

    /// Opens the list at that address.
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

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        if let Ok(index) = key.extract::<isize>() {
            return self.at(py, index);
        }
        let Ok(slice) = key.cast::<PySlice>() else { return self.at(py, index_of(key)?) };
        loop {
            let (version, len) = self._version(py)?;
            let what = indices(slice, len)?;
            if what.step != 1 {
                return self._all(py)?.1.as_any().get_item(slice);
            }
            let start = what.start as usize;
            let values = self.range(py, start..start + what.slicelength)?;
            if self._version(py)?.0 == version {
                return Ok(PyList::new(py, values)?.into_any());
            }
        }
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let Ok(slice) = key.cast::<PySlice>() else {
            let index = index_of(key)?;
            let is_done = match usize::try_from(index) {
                Ok(place) => self.set(place, value)?,
                Err(_) => {
                    let range_of = |len| place(index, len).map(|place| place..place + 1);
                    self.splice(py, range_of, std::slice::from_ref(value))?
                }
            };
            return if is_done { Ok(()) } else { Err(out_of_range("list assignment index")) };
        };
        let values: Vec<_> = value.try_iter()?.collect::<PyResult<_>>()?;
        let values = PyList::new(py, values)?;
        // As a list does it, on a copy.
        loop {
            let (version, all) = self._all(py)?;
            all.as_any().set_item(slice, &values)?;
            if self._replace(py, version, &all)? {
                return Ok(());
            }
        }
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let Ok(slice) = key.cast::<PySlice>() else {
            let index = index_of(key)?;
            let is_done = self.splice(py, |len| place(index, len).map(|place| place..place + 1), &[])?;
            return if is_done { Ok(()) } else { Err(out_of_range("list assignment index")) };
        };
        loop {
            let (version, len) = self._version(py)?;
            let what = indices(slice, len)?;
            let gone = |at: isize| (0..what.slicelength as isize).any(|n| what.start + n * what.step == at);
            let order: Vec<usize> = if what.step == 1 {
                let start = what.start as usize;
                (0..start).chain(start + what.slicelength..len).collect()
            } else {
                (0..len).filter(|at| !gone(*at as isize)).collect()
            };
            if self._arrange(py, version, order)? {
                return Ok(());
            }
        }
    }

    fn append(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, raw) = (value.py(), self.raw()?);
        let address = self.held.place()?;
        let push = || raw.push(|out| store::put(out, value));
        store::targeting(address, || store::patiently_encoding(py, push))
    }

    /// Appends all of them at one moment.
    fn extend(&self, values: &Bound<'_, PyAny>) -> PyResult<()> {
        let values: Vec<_> = values.try_iter()?.collect::<PyResult<_>>()?;
        let Some(first) = values.first() else { return Ok(()) };
        self.splice(first.py(), |len| Some(len..len), &values).map(drop)
    }

    fn insert(&self, index: isize, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let range_of = |len| Some(gap(index, len)..gap(index, len));
        self.splice(value.py(), range_of, std::slice::from_ref(value)).map(drop)
    }

    #[pyo3(signature = (index = -1, /))]
    fn pop<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyAny>> {
        let raw = self.raw()?;
        let is_empty = Cell::new(false);
        let range_of = |len| {
            is_empty.set(len == 0);
            place(index, len).map(|place| place..place + 1)
        };
        let mut popped = None;
        let none: [fn(&mut Out<'_>) -> ginnel_object::Result<()>; 0] = [];
        patiently(py, || {
            raw.splice_where(range_of, none, |bytes| {
                popped = Some(pickle::decode(py, bytes));
                Ok(())
            })
        })?;
        let why = if is_empty.get() { "pop from empty list" } else { "pop index out of range" };
        popped.unwrap_or_else(|| Err(PyIndexError::new_err(why)))
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let raw = self.raw()?;
        patiently(py, || raw.clear())
    }

    /// The number of the last change, and how long it is after that.
    fn _version(&self, py: Python<'_>) -> PyResult<(u64, usize)> {
        let raw = self.raw()?;
        loop {
            let version = patiently(py, || raw.version())?;
            let len = raw.len();
            if patiently(py, || raw.version())? == version {
                return Ok((version, len));
            }
        }
    }

    /// The number of the last change, and all elements after that.
    fn _all<'py>(&self, py: Python<'py>) -> PyResult<(u64, Bound<'py, PyList>)> {
        let raw = self.raw()?;
        loop {
            let version = patiently(py, || raw.version())?;
            let all = self.range(py, 0..usize::MAX)?;
            if patiently(py, || raw.version())? == version {
                return Ok((version, PyList::new(py, all)?));
            }
        }
    }

    /// Makes all of it into these, if nothing has changed since that version.
    fn _replace(&self, py: Python<'_>, version: u64, values: &Bound<'_, PyList>) -> PyResult<bool> {
        let raw = self.raw()?;
        let range_of = |len| raw.version().is_ok_and(|now| now == version).then_some(0..len);
        self.splice(py, range_of, &values.iter().collect::<Vec<_>>())
    }

    /// Leaves these places of it, in that order and none of them twice, if nothing has changed since that version.
    fn _arrange(&self, py: Python<'_>, version: u64, order: Vec<usize>) -> PyResult<bool> {
        let raw = self.raw()?;
        let is_late = Cell::new(false);
        let arrange = || {
            raw.rearrange(|elements| {
                if raw.version()? != version {
                    is_late.set(true);
                    // An error: else the list would have changed for others who look as we did.
                    return Err(Error::new(ErrorKind::Invalid, "the list has changed"));
                }
                let mut old: Vec<_> = elements.drain(..).map(Some).collect();
                elements.extend(order.iter().filter_map(|place| old.get_mut(*place)?.take()));
                Ok(())
            })
        };
        match patiently(py, arrange) {
            Err(_) if is_late.get() => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<List>()
}
