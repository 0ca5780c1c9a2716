//! The barrier.
//!
//! A party that dies breaks it, as one that gives up does: the others are told, and nobody waits for ever.

use ginnel::ErrorKind;
use ginnel_object::barrier;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::made_or_found;
use crate::failure::{OrRaise, raised};
use crate::home::{Address, Shared};
use crate::wait::{Patience, patiently};

static BROKEN: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// `threading.BrokenBarrierError` for all that breaks it.
fn broken(py: Python<'_>, why: &ginnel::Error) -> PyErr {
    if !matches!(why.kind(), ErrorKind::Broken | ErrorKind::Timeout) {
        return raised(why);
    }
    match BROKEN.import(py, "threading", "BrokenBarrierError") {
        Ok(class) => PyErr::from_type(class.clone(), why.to_string()),
        Err(why) => why,
    }
}

/// Where a number of parties wait for each other.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct Barrier {
    shared: Shared<barrier::Barrier>,
}

#[pymethods]
impl Barrier {
    #[new]
    #[pyo3(signature = (parties = 1, *_args, _at = None, **_named))]
    fn new(
        parties: i64,
        _args: &Bound<'_, PyTuple>,
        _at: Option<Address>,
        _named: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let invalid = || PyValueError::new_err("a barrier has 1 to 65536 parties");
        let parties = u32::try_from(parties).map_err(|_| invalid())?;
        let options = barrier::Options { parties, on_death: barrier::OnDeath::Break };
        Ok(Self { shared: made_or_found(options, _at)? })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Comes, and waits for the others: the number of its place among them. `action` runs in one of them before any goes
    /// on.
    fn _wait(
        &self,
        py: Python<'_>,
        action: Option<Py<PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u32> {
        let patience = Patience::of(true, timeout)?;
        let barrier = self.shared.get()?;
        let mut failed = None;
        let mut act = action.map(|action| {
            let failed = &mut failed;
            move || {
                if let Err(why) = Python::attach(|py| action.call0(py)) {
                    *failed = Some(why);
                    // Breaks the phase that it leads; it fails only where that is told to all anyway.
                    let _ = barrier.abort();
                }
            }
        });
        let mut visit = barrier.visit().or_raise()?;
        let waited = patiently(py, patience, |slice| Ok(visit.wait(slice, &mut act).transpose()))?;
        let outcome = match waited {
            Some(outcome) => outcome,
            None => py.detach(|| visit.end(&mut act)),
        };
        let place = visit.place().unwrap_or(0);
        drop(visit);
        drop(act);
        match (failed, outcome) {
            (Some(why), _) => Err(why),
            (None, Ok(_)) => Ok(place),
            (None, Err(why)) => Err(broken(py, &why)),
        }
    }

    /// Makes it whole and empty. Who waits is told that it is broken.
    fn reset(&self) -> PyResult<()> {
        self.shared.get()?.reset().or_raise()
    }

    /// Breaks it: who waits is told, and so is everybody who comes before a `reset`.
    fn abort(&self) -> PyResult<()> {
        self.shared.get()?.abort().or_raise()
    }

    /// How many meet.
    #[getter]
    fn parties(&self) -> PyResult<u32> {
        Ok(self.shared.get()?.parties())
    }

    /// How many are there.
    #[getter]
    fn n_waiting(&self) -> PyResult<u32> {
        Ok(self.shared.get()?.waiting())
    }

    /// Is it broken?
    #[getter]
    fn broken(&self) -> PyResult<bool> {
        Ok(self.shared.get()?.is_broken())
    }
}
