//! Objects that come back if the work on them fails.

use std::sync::{Mutex, PoisonError};

use ginnel::error::TryRecvError;
use ginnel::queue::Lease as CoreLease;
use pyo3::prelude::*;

use super::{Channel, Truth, empty, unreceived, within};
use crate::buffers::keeping_nothing;
use crate::failure::OrRaise;
use crate::pickle::Item;
use crate::wait::{Patience, patiently};

/// An object that is being worked on. Dropped, it goes back to the queue, and so it does when this process dies.
#[pyclass(module = "ginnel._ginnel", frozen)]
pub(crate) struct Lease {
    lease: Mutex<Option<CoreLease<Item>>>,
    #[pyo3(get)]
    value: Py<PyAny>,
    /// How often it was given to somebody before.
    #[pyo3(get)]
    redelivered: u32,
}

impl Lease {
    fn of(py: Python<'_>, lease: CoreLease<Item>) -> PyResult<Self> {
        let value = match &lease.0 {
            Ok(value) => value.clone_ref(py),
            Err(why) => {
                let why = why.clone_ref(py);
                // Nobody else could read it either.
                let _ = lease.ack().or_raise()?;
                return Err(why);
            }
        };
        let redelivered = lease.redelivered();
        Ok(Self { lease: Mutex::new(Some(lease)), value, redelivered })
    }

    fn end(&self) -> Option<CoreLease<Item>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Lease {
    /// The work is done.
    fn ack(&self) -> PyResult<()> {
        self.end().map_or(Ok(()), |lease| lease.ack().or_raise().map(drop))
    }

    /// Gives it back, at once.
    fn nack(&self) {
        drop(self.end());
    }
}

impl Channel {
    pub(super) fn next_lease(
        slf: &Bound<'_, Self>,
        block: Truth,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Lease> {
        Self::check_open(slf)?;
        let queue = slf.get().queue()?;
        let py = slf.py();
        let leased = match keeping_nothing(|| queue.try_lease()) {
            Ok(lease) => Some(lease),
            Err(TryRecvError::Empty) => {
                let patience = Patience::of(block.0, timeout)?;
                patiently(py, patience, |slice| keeping_nothing(|| within(queue.lease_timeout(slice))))?
            }
            Err(why) => return Err(unreceived(why)),
        };
        slf.get().inner()?.readiness.settle();
        Lease::of(py, leased.ok_or_else(|| empty(py))?)
    }
}
