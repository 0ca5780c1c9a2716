//! Small messages of plain values, without pickle.
//!
//! What is made of exact `None`, `bool`, `int` (64 bits), `float`, `str`, `bytes`, `list`, `tuple` and `dict`, and is not
//! large, is written and read here. Everything else is pickle's: subclasses, big numbers, lone surrogates, and a
//! container that is met twice, because it would arrive as two. Pickle's own reducers are never asked about these types
//! either, so nobody can tell the difference, but for the identity of equal immutable values in one message.
//!
//! ```text
//! value     tag, then by tag
//! NONE FALSE TRUE         nothing
//! INT                     zigzag varint
//! FLOAT                   8 bytes, little endian
//! STR BYTES               varint length, bytes
//! LIST TUPLE              varint length, values
//! DICT                    varint length, keys and values in turn
//! ```
//! No tag is 0x80, with which a pickle begins. Reading trusts nothing: bytes that are no message are an exception.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

mod tag {
    pub(super) const NONE: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const STR: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const TUPLE: u8 = 8;
    pub(super) const DICT: u8 = 9;
}

/// Values in a message, containers among them.
const ITEMS_MAX: usize = 64;

/// Containers in containers.
const DEPTH_MAX: usize = 8;

/// Bytes of a message. One `str` or `bytes` alone may have more.
const BYTES_MAX: usize = 4096;

/// Bytes of one `str` or `bytes` alone. More are better off in a block.
const LONELY_MAX: usize = 32 << 10;

/// How deep a message may be that is read: what is written is far from it.
const DEPTH_READ: usize = 32;

/// Appends `obj` to `out`. False: it is for pickle, and `out` is as it was.
#[inline]
pub(crate) fn encode(obj: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let mut writer = Writer::new(out);
    let done = writer.lonely(obj).unwrap_or_else(|| writer.value(obj, 0).is_some());
    if !done {
        out.truncate(before);
    }
    done
}

/// Appends the message of one `bytes` with this content.
pub(crate) fn encode_bytes(content: &[u8], out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.run(tag::BYTES, content);
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    items: usize,
    /// The containers so far, by address; they live until the end of the message.
    seen: [usize; ITEMS_MAX],
    containers: usize,
}

impl<'a> Writer<'a> {
    #[inline]
    fn new(out: &'a mut Vec<u8>) -> Self {
        let limit = out.len() + BYTES_MAX;
        Self { out, limit, items: 0, seen: [0; ITEMS_MAX], containers: 0 }
    }

    /// A message that is one long value. `None`: it is none.
    #[inline]
    fn lonely(&mut self, obj: &Bound<'_, PyAny>) -> Option<bool> {
        if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
            let bytes = bytes.as_bytes();
            let fits = bytes.len() < LONELY_MAX;
            if fits {
                self.run(tag::BYTES, bytes);
            }
            return Some(fits);
        }
        let text = obj.cast_exact::<PyString>().ok()?;
        // A lone surrogate has no UTF-8.
        let text = text.to_str().ok().filter(|text| text.len() < LONELY_MAX);
        Some(text.map(|text| self.run(tag::STR, text.as_bytes())).is_some())
    }

    /// `None`: it is for pickle.
    fn value(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        self.items += 1;
        if self.items > ITEMS_MAX || self.out.len() > self.limit {
            return None;
        }
        if let Ok(text) = obj.cast_exact::<PyString>() {
            return self.bounded(tag::STR, text.to_str().ok()?.as_bytes());
        }
        if let Ok(number) = obj.cast_exact::<PyInt>() {
            let number: i64 = number.extract().ok()?;
            self.out.push(tag::INT);
            self.varint(((number << 1) ^ (number >> 63)) as u64);
            return Some(());
        }
        if obj.is_none() {
            self.out.push(tag::NONE);
            return Some(());
        }
        if let Ok(truth) = obj.cast_exact::<PyBool>() {
            self.out.push(if truth.is_true() { tag::TRUE } else { tag::FALSE });
            return Some(());
        }
        if let Ok(number) = obj.cast_exact::<PyFloat>() {
            self.out.push(tag::FLOAT);
            self.out.extend_from_slice(&number.value().to_le_bytes());
            return Some(());
        }
        if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
            return self.bounded(tag::BYTES, bytes.as_bytes());
        }
        self.container(obj, depth)
    }

    fn container(&mut self, obj: &Bound<'_, PyAny>, depth: usize) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        if let Ok(list) = obj.cast_exact::<PyList>() {
            self.first_sight(obj)?;
            self.head(tag::LIST, list.len())?;
            return list.iter().try_for_each(|item| self.value(&item, depth + 1));
        }
        if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
            // There is one empty tuple only.
            if !tuple.is_empty() {
                self.first_sight(obj)?;
            }
            self.head(tag::TUPLE, tuple.len())?;
            return tuple.iter_borrowed().try_for_each(|item| self.value(&item, depth + 1));
        }
        let dict = obj.cast_exact::<PyDict>().ok()?;
        self.first_sight(obj)?;
        self.head(tag::DICT, dict.len())?;
        dict.iter().try_for_each(|(key, item)| {
            self.value(&key, depth + 1)?;
            self.value(&item, depth + 1)
        })
    }

    fn first_sight(&mut self, obj: &Bound<'_, PyAny>) -> Option<()> {
        let address = obj.as_ptr() as usize;
        let (seen, free) = self.seen.split_at_mut(self.containers);
        if seen.contains(&address) {
            return None;
        }
        *free.first_mut()? = address;
        self.containers += 1;
        Some(())
    }

    fn head(&mut self, tag: u8, len: usize) -> Option<()> {
        self.out.push(tag);
        self.varint(len as u64);
        (len <= ITEMS_MAX).then_some(())
    }

    fn bounded(&mut self, tag: u8, bytes: &[u8]) -> Option<()> {
        if self.out.len() + bytes.len() > self.limit {
            return None;
        }
        self.run(tag, bytes);
        Some(())
    }

    fn run(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}

/// The value in `bytes`, all of them, which are private memory.
///
/// # Errors
/// `ValueError` for what [`encode`] does not write; what Python says to a dict with a key that is none.
#[inline]
pub(crate) fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let mut reader = Reader { bytes };
    let value = reader.value(py, 0)?;
    if reader.bytes.is_empty() { Ok(value) } else { Err(broken()) }
}

#[cold]
fn broken() -> PyErr {
    PyValueError::new_err("these bytes are no message")
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn value<'py>(&mut self, py: Python<'py>, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.byte()? {
            tag::NONE => py.None().into_bound(py),
            tag::FALSE => PyBool::new(py, false).to_owned().into_any(),
            tag::TRUE => PyBool::new(py, true).to_owned().into_any(),
            tag::INT => {
                let number = self.varint()?;
                ((number >> 1) as i64 ^ -((number & 1) as i64)).into_pyobject(py)?.into_any()
            }
            tag::FLOAT => {
                let (head, rest) = self.bytes.split_first_chunk().ok_or_else(broken)?;
                self.bytes = rest;
                PyFloat::new(py, f64::from_le_bytes(*head)).into_any()
            }
            tag::STR => PyString::from_bytes(py, self.run()?)?.into_any(),
            tag::BYTES => PyBytes::new(py, self.run()?).into_any(),
            _ if depth == DEPTH_READ => return Err(broken()),
            tag::LIST => Items::read(self, py, depth, |items| PyList::new(py, items))?.into_any(),
            tag::TUPLE => Items::read(self, py, depth, |items| PyTuple::new(py, items))?.into_any(),
            tag::DICT => {
                let dict = PyDict::new(py);
                for _ in 0..self.count()? {
                    let key = self.value(py, depth + 1)?;
                    dict.set_item(key, self.value(py, depth + 1)?)?;
                }
                dict.into_any()
            }
            _ => return Err(broken()),
        })
    }

    #[inline]
    fn byte(&mut self) -> PyResult<u8> {
        let (&first, rest) = self.bytes.split_first().ok_or_else(broken)?;
        self.bytes = rest;
        Ok(first)
    }

    #[inline]
    fn varint(&mut self) -> PyResult<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(broken())
    }

    /// How many values follow: not more than there are bytes, so memory for them can be taken at once.
    fn count(&mut self) -> PyResult<usize> {
        let count = self.varint()?;
        usize::try_from(count).ok().filter(|count| *count <= self.bytes.len()).ok_or_else(broken)
    }

    #[inline]
    fn run(&mut self) -> PyResult<&'a [u8]> {
        let len = self.count()?;
        self.bytes.split_off(..len).ok_or_else(broken)
    }
}

/// The values of a list or tuple, one after the other. After an error the rest is `None`s, and all is thrown away.
struct Items<'r, 'a, 'py> {
    reader: &'r mut Reader<'a>,
    py: Python<'py>,
    left: usize,
    depth: usize,
    failed: &'r mut Option<PyErr>,
}

impl<'r, 'a, 'py> Items<'r, 'a, 'py> {
    fn read<T>(
        reader: &'r mut Reader<'a>,
        py: Python<'py>,
        depth: usize,
        collect: impl FnOnce(Items<'_, 'a, 'py>) -> PyResult<T>,
    ) -> PyResult<T> {
        let left = reader.count()?;
        let mut failed = None;
        let made = collect(Items { reader, py, left, depth: depth + 1, failed: &mut failed });
        failed.map_or(made, Err)
    }
}

impl<'py> Iterator for Items<'_, '_, 'py> {
    type Item = Bound<'py, PyAny>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.failed.is_none() {
            match self.reader.value(self.py, self.depth) {
                Ok(value) => return Some(value),
                Err(why) => *self.failed = Some(why),
            }
        }
        Some(self.py.None().into_bound(self.py))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Items<'_, '_, '_> {}
