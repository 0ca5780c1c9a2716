//! Events, and what conditions wait on.
//!
//! A waiter that is killed takes nothing with it: nobody waits for one who waits.

use std::os::fd::RawFd;

use ginnel_object::condvar::{Place, Waiters};
use ginnel_object::event;
use pyo3::prelude::*;

use super::{arm, made_or_found};
use crate::failure::OrRaise;
use crate::home::{Address, Shared};
use crate::readiness::Readiness;
use crate::wait::{Patience, patiently};

/// A flag that processes wait for.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct Event {
    shared: Shared<event::Event>,
    readiness: Readiness<event::Event>,
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*, ctx = None, _at = None))]
    fn new(ctx: Option<&Bound<'_, PyAny>>, _at: Option<Address>) -> PyResult<Self> {
        let _ = ctx;
        let shared = made_or_found(event::Reset::Manual, _at)?;
        Ok(Self { shared, readiness: Readiness::new() })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Is it set?
    fn is_set(&self) -> PyResult<bool> {
        let is_set = self.shared.get()?.is_set();
        self.readiness.settle();
        Ok(is_set)
    }

    /// Sets it, and wakes all who wait. Waits for nobody.
    fn set(&self) -> PyResult<()> {
        self.shared.get()?.set();
        self.readiness.settle();
        Ok(())
    }

    /// Takes the flag back. Who waited when it was set goes on all the same.
    fn clear(&self) -> PyResult<()> {
        self.shared.get()?.clear();
        self.readiness.settle();
        Ok(())
    }

    /// A descriptor that is readable while it is set, as far as this process has looked: whoever finds it readable asks
    /// `is_set`.
    fn fileno(&self) -> PyResult<RawFd> {
        self.readiness.descriptor(true, || Ok(self.shared.get()?.clone()))
    }

    /// For a wait of ours: the descriptor.
    fn _arm(&self) -> PyResult<RawFd> {
        arm(&self.readiness, &self.shared)
    }

    fn _ready(&self) -> PyResult<bool> {
        self.is_set()
    }

    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        self.readiness.probe(py)
    }

    /// Waits until it is set. False: it was not for `timeout` seconds.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let event = self.shared.get()?;
        let since = event.now();
        if event.is_set() {
            return Ok(true);
        }
        let patience = Patience::of(true, timeout)?;
        let waited = patiently(py, patience, |slice| Ok(event.wait_since(since, slice).then_some(())))?;
        Ok(waited.is_some())
    }
}

/// What the waiters of a condition stand in. Its lock is the caller's.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct Condition {
    shared: Shared<Waiters>,
}

/// A place in the row, which is left however the wait ends.
struct Standing<'a> {
    row: &'a Waiters,
    place: Option<Place>,
}

impl Standing<'_> {
    /// True: it was called.
    fn go(&mut self) -> bool {
        self.place.take().is_some_and(|place| self.row.go(place))
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if self.go() {
            // The call is answered by another. Where it cannot be, the arena is damaged, which the next call tells.
            let _ = self.row.notify(1);
        }
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*_args, ctx = None, _at = None))]
    fn new(
        _args: &Bound<'_, pyo3::types::PyTuple>,
        ctx: Option<&Bound<'_, PyAny>>,
        _at: Option<Address>,
    ) -> PyResult<Self> {
        let _ = ctx;
        Ok(Self { shared: made_or_found((), _at)? })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Releases `lock` as often as this thread has acquired it, waits for a call, and acquires it as often again. False:
    /// none came within `timeout` seconds.
    fn _wait(
        &self,
        py: Python<'_>,
        lock: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let patience = Patience::of(true, timeout)?;
        let row = self.shared.get()?;
        let place = row.come().or_raise()?;
        let mut standing = Standing { row, place: Some(place) };
        let depth: u32 = lock.call_method0("_count")?.extract()?;
        for _ in 0..depth {
            lock.call_method0("release")?;
        }
        let waited = patiently(py, patience, |slice| Ok(row.wait(place, slice).then_some(())));
        let outcome = waited.map(|_| standing.go());
        for _ in 0..depth {
            lock.call_method0("acquire")?;
        }
        // Under the lock again: a call that came with an exception is passed on by `standing`.
        outcome
    }

    /// Calls up to `n` of those who wait.
    fn _notify(&self, n: i64) -> PyResult<u32> {
        let most = u32::try_from(n.max(0)).unwrap_or(u32::MAX);
        self.shared.get()?.notify(most).or_raise()
    }

    fn _waiting(&self) -> PyResult<u32> {
        Ok(self.shared.get()?.waiting())
    }
}
