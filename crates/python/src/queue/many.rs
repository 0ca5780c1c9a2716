//! Several objects a call.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::{Channel, Truth};
use crate::pickle::Item;
use crate::wait::Patience;

impl Channel {
    pub(super) fn put_all(
        slf: &Bound<'_, Self>,
        objs: &Bound<'_, PyAny>,
        patience: Patience,
    ) -> PyResult<usize> {
        Self::check_open(slf)?;
        let mut count = 0;
        for obj in objs.try_iter()? {
            Self::send_object(slf, &obj?, || Ok(patience))?;
            count += 1;
        }
        Ok(count)
    }

    pub(super) fn get_all<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<usize>,
        block: Truth,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(slf.py());
        if limit == Some(0) {
            return Ok(list);
        }
        list.append(Self::get(slf, block, timeout)?)?;
        let inner = slf.get().inner()?;
        let queue = inner.queue.get()?;
        while limit.is_none_or(|limit| list.len() < limit) {
            match queue.try_recv() {
                Ok(Item(value)) => list.append(value?)?,
                // Whatever it is, the next call tells; what came before must not be lost.
                Err(_) => break,
            }
        }
        inner.readiness.settle();
        Ok(list)
    }
}
