//! Bytes without a copy: written where they travel, and read where they arrived.

use std::sync::{Arc, Mutex, PoisonError};

use ginnel_object::queue::Freight;
use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use super::{Channel, Truth};
use crate::buffers::{self, Draft};
use crate::wait::Patience;

/// Room for one message of bytes. `buffer` is to be filled; `commit` puts it, and dropping it puts nothing.
#[pyclass(module = "ginnel._ginnel", frozen)]
pub(crate) struct Reservation {
    channel: Py<Channel>,
    draft: Mutex<Option<Arc<Draft>>>,
    /// Where to write.
    #[pyo3(get)]
    buffer: Py<PyMemoryView>,
}

impl Channel {
    pub(super) fn draft(slf: &Bound<'_, Self>, size: usize) -> PyResult<Reservation> {
        let py = slf.py();
        let draft =
            Draft::new(py, size).ok_or_else(|| PyMemoryError::new_err("no block of that size is free"))?;
        let draft = Arc::new(draft);
        let buffer = draft.view(py)?.unbind();
        Ok(Reservation { channel: slf.clone().unbind(), draft: Mutex::new(Some(draft)), buffer })
    }

    /// `get` of bytes where they lie, if they came in a block.
    pub(super) fn get_in_place(
        slf: &Bound<'_, Self>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyMemoryView>> {
        let patience = Patience::of(block.0, timeout)?;
        let value = buffers::in_place(|| Self::get_with(slf, || Ok(patience)))?;
        let value = value.bind(slf.py());
        match value.cast::<PyMemoryView>() {
            Ok(view) => Ok(view.clone().unbind()),
            Err(_) => Ok(PyMemoryView::from(value)?.unbind()),
        }
    }
}

#[pymethods]
impl Reservation {
    /// Puts what was written, or its first `size` bytes; `buffer` is released. What is still looked at elsewhere cannot be
    /// put: `BufferError`.
    #[pyo3(signature = (size = None, block = Truth(true), timeout = None))]
    fn commit(
        &self,
        py: Python<'_>,
        size: Option<usize>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let slf = self.channel.bind(py);
        Channel::check_open(slf)?;
        self.buffer.bind(py).call_method0(intern!(py, "release"))?;
        let mut mine = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        if mine.as_ref().is_some_and(|draft| draft.is_viewed()) {
            return Err(PyBufferError::new_err("another view of the buffer exists"));
        }
        let draft = mine.take().ok_or_else(|| PyValueError::new_err("this was put already"))?;
        drop(mine);
        let (message, mut freight): (PyResult<Vec<u8>>, Freight) =
            slf.get().queue()?.pack(|| draft.message(size));
        Channel::send(slf, &message?, &mut freight, || Patience::of(block.0, timeout))
    }
}
