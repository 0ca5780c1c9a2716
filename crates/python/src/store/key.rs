//! Keys: bytes that are equal exactly where Python's `==` and `hash` say that the keys are.
//!
//! A number is written as the simplest type that equals it (`1`, `1.0`, `True` and `Decimal(1)` are one key), a subclass as
//! its base where it is equal to that, a tuple and a frozenset by their elements. Everything else is pickled without a memo,
//! so that the bytes do not depend on which of its parts are the same object.
//!
//! What is found may be another type than what was put in; then the key is [`inexact`](write), and the entry keeps the
//! object beside its value.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple, PyType};

use crate::failure::CorruptedError;
use crate::pickle;

const NONE: u8 = 0;
const INT: u8 = 1;
const BIG: u8 = 2;
const FLOAT: u8 = 3;
const STR: u8 = 4;
const WILD_STR: u8 = 5;
const BYTES: u8 = 6;
const TUPLE: u8 = 7;
const FROZENSET: u8 = 8;
const OTHER: u8 = 9;

/// Whole floats below this are written as i64.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

thread_local! {
    /// A buffer for the next key.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Gives the bytes of a key to `f`, and whether [`read`] gives it back as it is.
///
/// # Errors
/// `TypeError` for what has no hash; what pickling raises; those of `f`.
#[inline]
pub(crate) fn with<R>(key: &Bound<'_, PyAny>, f: impl FnOnce(&[u8], bool) -> PyResult<R>) -> PyResult<R> {
    // Taken, not borrowed: a key's own code may use a dict.
    let mut bytes = SPARE.take();
    bytes.clear();
    let result = write(key, &mut bytes).and_then(|is_exact| f(&bytes, is_exact));
    SPARE.set(bytes);
    result
}

/// Writes a key. False: [`read`] gives one that is equal, of another type.
#[inline]
fn write(key: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    if let Ok(text) = key.cast_exact::<PyString>() {
        write_text(text, out)?;
        return Ok(true);
    }
    if key.is_exact_instance_of::<PyInt>() {
        write_int(key, out)?;
        return Ok(true);
    }
    write_other(key, out)
}

#[inline]
fn write_text(text: &Bound<'_, PyString>, out: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(utf8) = text.to_str() {
        out.push(STR);
        out.extend_from_slice(utf8.as_bytes());
        return Ok(());
    }
    let wild = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    out.push(WILD_STR);
    out.extend_from_slice(wild.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn write_int(number: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    if let Ok(number) = number.extract::<i64>() {
        out.push(INT);
        out.extend_from_slice(&number.to_le_bytes());
        return Ok(());
    }
    let py = number.py();
    let bits: usize = number.call_method0(intern!(py, "bit_length"))?.extract()?;
    let signed = PyDict::new(py);
    signed.set_item("signed", true)?;
    let bytes = number.call_method(intern!(py, "to_bytes"), (bits / 8 + 1, "little"), Some(&signed))?;
    out.push(BIG);
    out.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

fn write_float(number: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    let value: f64 = number.extract()?;
    if value.fract() != 0.0 || !value.is_finite() {
        out.push(FLOAT);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
        return Ok(true);
    }
    if (-INT_END..INT_END).contains(&value) {
        out.push(INT);
        out.extend_from_slice(&(value as i64).to_le_bytes());
    } else {
        write_int(&number.py().get_type::<PyInt>().call1((number,))?, out)?;
    }
    Ok(false)
}

fn write_other(key: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    if key.is_none() {
        out.push(NONE);
        return Ok(true);
    }
    if let Ok(value) = key.cast_exact::<PyBool>() {
        out.push(INT);
        out.extend_from_slice(&i64::from(value.is_true()).to_le_bytes());
        return Ok(false);
    }
    if let Ok(bytes) = key.cast_exact::<PyBytes>() {
        out.push(BYTES);
        out.extend_from_slice(bytes.as_bytes());
        return Ok(true);
    }
    if key.is_exact_instance_of::<PyFloat>() {
        return write_float(key, out);
    }
    // Whatever has no hash is no key.
    let hash = key.hash()?;
    if let Ok(tuple) = key.cast_exact::<PyTuple>() {
        out.push(TUPLE);
        return tuple.iter().try_fold(true, |is_exact, item| Ok(write_part(&item, out)? && is_exact));
    }
    if key.is_exact_instance_of::<PyFrozenSet>() {
        return write_set(key, out);
    }
    if let Some(simple) = simple_of(key, hash)? {
        write(&simple, out)?;
        return Ok(false);
    }
    out.push(OTHER);
    write_pickled(key, out)?;
    Ok(true)
}

/// An element, behind its length.
fn write_part(item: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let is_exact = write(item, out)?;
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    Ok(is_exact)
}

fn write_set(set: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<bool> {
    let mut is_exact = true;
    let mut parts = Vec::new();
    for item in set.try_iter()? {
        let mut part = Vec::new();
        is_exact &= write_part(&item?, &mut part)?;
        parts.push(part);
    }
    parts.sort_unstable();
    out.push(FROZENSET);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(is_exact)
}

/// An object of a simpler type that is the same key. `None`: there is none.
fn simple_of<'py>(key: &Bound<'py, PyAny>, hash: isize) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = key.py();
    let is_same =
        |simple: Bound<'py, PyAny>| Ok((simple.hash()? == hash && key.eq(&simple)?).then_some(simple));
    if let Ok(text) = key.cast::<PyString>() {
        return text.to_str().map_or(Ok(None), |text| is_same(PyString::new(py, text).into_any()));
    }
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return is_same(PyBytes::new(py, bytes.as_bytes()).into_any());
    }
    if let Ok(tuple) = key.cast::<PyTuple>() {
        return is_same(PyTuple::new(py, tuple.iter())?.into_any());
    }
    static SET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let frozenset = SET.get_or_try_init(py, || Ok::<_, PyErr>(py.get_type::<PyFrozenSet>().unbind()))?;
    if key.is_instance(frozenset.bind(py))? {
        return is_same(frozenset.bind(py).call1((key,))?);
    }
    static NUMBER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let number =
        NUMBER.get_or_try_init(py, || Ok::<_, PyErr>(py.import("numbers")?.getattr("Number")?.unbind()))?;
    if !key.is_instance(number.bind(py))? {
        return Ok(None);
    }
    for to in [py.get_type::<PyInt>(), py.get_type::<PyFloat>()] {
        // What cannot be made into one equals none.
        if let Ok(simple) = to.call1((key,))
            && let Some(simple) = is_same(simple)?
        {
            return Ok(Some(simple));
        }
    }
    Ok(None)
}

/// By the C pickler without its memo.
fn write_pickled(key: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let py = key.py();
    let io = py.import("io")?.getattr("BytesIO")?.call0()?;
    let pickler = py.import("pickle")?.getattr("Pickler")?.call1((&io, 5))?;
    pickler.setattr("fast", true)?;
    pickler.call_method1("dump", (key,))?;
    let bytes = io.call_method0("getvalue")?;
    out.extend_from_slice(bytes.cast::<PyBytes>()?.as_bytes());
    Ok(())
}

/// The key of these bytes.
///
/// # Errors
/// [`CorruptedError`] for bytes that [`write`] never writes; what unpickling raises.
pub(crate) fn read<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let corrupted = || CorruptedError::new_err("a key that nobody writes");
    let (tag, rest) = bytes.split_first().ok_or_else(corrupted)?;
    let word = || rest.try_into().map_err(|_| corrupted());
    Ok(match *tag {
        NONE => py.None().into_bound(py),
        INT => i64::from_le_bytes(word()?).into_pyobject(py)?.into_any(),
        FLOAT => PyFloat::new(py, f64::from_bits(u64::from_le_bytes(word()?))).into_any(),
        STR => PyString::new(py, std::str::from_utf8(rest).map_err(|_| corrupted())?).into_any(),
        WILD_STR => PyBytes::new(py, rest).call_method1("decode", ("utf-8", "surrogatepass"))?,
        BYTES => PyBytes::new(py, rest).into_any(),
        BIG => {
            let signed = PyDict::new(py);
            signed.set_item("signed", true)?;
            py.get_type::<PyInt>().call_method(
                "from_bytes",
                (PyBytes::new(py, rest), "little"),
                Some(&signed),
            )?
        }
        TUPLE => PyTuple::new(py, read_parts(py, rest)?)?.into_any(),
        FROZENSET => PyFrozenSet::new(py, read_parts(py, rest)?)?.into_any(),
        OTHER => py.import("pickle")?.getattr("loads")?.call1((PyBytes::new(py, rest),))?,
        _ => return Err(corrupted()),
    })
}

fn read_parts<'py>(py: Python<'py>, mut rest: &[u8]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let corrupted = || CorruptedError::new_err("a key that nobody writes");
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk::<4>().ok_or_else(corrupted)?;
        let (part, behind) =
            behind.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(corrupted)?;
        parts.push(read(py, part)?);
        rest = behind;
    }
    Ok(parts)
}

/// The bytes that keep the object of an inexact key.
///
/// # Errors
/// What pickling raises.
pub(crate) fn original(key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    pickle::encode(key, <[u8]>::to_vec)
}

/// `KeyError` with the key.
pub(crate) fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    pyo3::exceptions::PyKeyError::new_err(key.clone().unbind())
}
