//! What has `acquire` and `release`: the interface of `_multiprocessing.SemLock`, for three kinds.
//!
//! A lock has a holder, so that its death can be told; yet any thread of any process may release it, and to acquire it
//! twice in a thread blocks, as the standard library's does. Guards are therefore forgotten at once, and the release is
//! that of whoever holds it. A recursive lock is released by its holder only.

use std::mem;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use ginnel::{ErrorKind, Owner};
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_object::{lock, semaphore};
use pyo3::exceptions::{PyAssertionError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{arm, made_or_found};
use crate::failure::{OrRaise, raised};
use crate::home::{Address, Shared};
use crate::readiness::Readiness;
use crate::wait::{Patience, patiently};

/// As in the standard library.
const RECURSIVE_MUTEX: u32 = 0;
const SEMAPHORE: u32 = 1;
const SEM_VALUE_MAX: u32 = u32::MAX >> 1;

const EINVAL: i32 = 22;

/// `None` for a timeout, which is no error in Python.
fn unless_late<T>(outcome: ginnel::Result<T>) -> PyResult<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(why) if why.kind() == ErrorKind::Timeout => Ok(None),
        Err(why) => Err(raised(&why)),
    }
}

/// Who died with a lock before its present holder got it. Touched with the lock of the interpreter only, so no fork
/// finds it locked.
#[derive(Default)]
struct Died {
    is_told: AtomicU32,
    who: Mutex<Option<(u32, String)>>,
}

impl Died {
    /// By each that acquires it; who dies seldom costs nothing.
    #[inline]
    fn note(&self, who: Option<&Owner>) {
        if who.is_some() || self.is_told.load(Relaxed) != 0 {
            self.note_anew(who);
        }
    }

    #[cold]
    fn note_anew(&self, who: Option<&Owner>) {
        *self.who.lock().unwrap_or_else(PoisonError::into_inner) = who.map(|who| (who.pid, who.name.clone()));
        self.is_told.store(u32::from(who.is_some()), Relaxed);
    }

    fn told(&self) -> Option<(u32, String)> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A lock that any thread of any process may release. It comes free when its holder dies.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct Lock {
    shared: Shared<lock::Lock>,
    readiness: Readiness<lock::Lock>,
    died: Died,
}

#[pymethods]
impl Lock {
    #[classattr]
    const SEM_VALUE_MAX: u32 = SEM_VALUE_MAX;

    #[new]
    #[pyo3(signature = (*, ctx = None, _at = None))]
    fn new(ctx: Option<&Bound<'_, PyAny>>, _at: Option<Address>) -> PyResult<Self> {
        let _ = ctx;
        let shared = made_or_found((), _at)?;
        Ok(Self { shared, readiness: Readiness::new(), died: Died::default() })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Acquires it. False: not within `timeout` seconds, or at all if `block` is false.
    #[pyo3(signature = (block = true, timeout = None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let lock = self.shared.get()?;
        if let Some(guard) = lock.try_lock().or_raise()? {
            self.died.note(guard.previous_owner_died());
            mem::forget(guard);
            return Ok(true);
        }
        let waited = patiently(py, Patience::of(block, timeout)?, |slice| {
            let guard = unless_late(lock.lock_unowned(slice))?;
            Ok(guard.map(|guard| {
                let died = guard.previous_owner_died().cloned();
                mem::forget(guard);
                died
            }))
        })?;
        Ok(waited.map(|died| self.died.note(died.as_ref())).is_some())
    }

    /// Releases it, whoever holds it.
    fn release(&self) -> PyResult<()> {
        self.shared.get()?.release_unowned().map_err(|why| match why.kind() {
            ErrorKind::Invalid => PyValueError::new_err("semaphore or lock released too many times"),
            _ => raised(&why),
        })
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release()
    }

    fn _count(&self) -> PyResult<u32> {
        Ok(u32::from(self.shared.get()?.is_ours()))
    }

    fn _is_mine(&self) -> PyResult<bool> {
        Ok(self.shared.get()?.is_mine())
    }

    fn _get_value(&self) -> PyResult<u32> {
        Ok(u32::from(!self._is_zero()?))
    }

    fn _is_zero(&self) -> PyResult<bool> {
        Ok(self.shared.get()?.is_locked())
    }

    /// For a wait of ours: the descriptor. `None`: look again in a moment. A thread that holds it itself is not told when
    /// another releases it.
    fn _arm(&self) -> PyResult<Option<RawFd>> {
        if self._is_mine()? {
            return Ok(None);
        }
        arm(&self.readiness, &self.shared).map(Some)
    }

    fn _ready(&self) -> PyResult<bool> {
        Ok(!self._is_zero()?)
    }

    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        self.readiness.probe(py)
    }

    /// The standard library's hook for the child of a fork, where nothing is left to do.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn _after_fork(&self) {}

    #[getter]
    fn handle(&self) -> PyResult<u32> {
        Ok(self.address()?.1)
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn kind(&self) -> u32 {
        SEMAPHORE
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn maxvalue(&self) -> u32 {
        1
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn name(&self) -> Option<String> {
        None
    }

    /// `(pid, name)` of the process that died while it held the lock, if this process has acquired it since: what the
    /// lock protects may be half done. `None` again at the next `acquire`.
    #[getter]
    fn previous_owner_died(&self) -> Option<(u32, String)> {
        self.died.told()
    }
}

/// A lock that its holder may acquire again. It comes free when its holder dies.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct RLock {
    shared: Shared<lock::RLock>,
    readiness: Readiness<lock::RLock>,
    died: Died,
}

#[pymethods]
impl RLock {
    #[classattr]
    const SEM_VALUE_MAX: u32 = SEM_VALUE_MAX;

    #[new]
    #[pyo3(signature = (*, ctx = None, _at = None))]
    fn new(ctx: Option<&Bound<'_, PyAny>>, _at: Option<Address>) -> PyResult<Self> {
        let _ = ctx;
        let shared = made_or_found((), _at)?;
        Ok(Self { shared, readiness: Readiness::new(), died: Died::default() })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Acquires it, or once more. False: not within `timeout` seconds, or at all if `block` is false.
    #[pyo3(signature = (block = true, timeout = None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let lock = self.shared.get()?;
        if let Some(guard) = lock.try_lock().or_raise()? {
            self.note(lock, guard.previous_owner_died());
            mem::forget(guard);
            return Ok(true);
        }
        let waited = patiently(py, Patience::of(block, timeout)?, |slice| {
            let guard = unless_late(lock.lock_timeout(slice))?;
            Ok(guard.map(|guard| {
                let died = guard.previous_owner_died().cloned();
                mem::forget(guard);
                died
            }))
        })?;
        Ok(waited.map(|died| self.note(lock, died.as_ref())).is_some())
    }

    /// Releases it once. It is the holder's to release.
    fn release(&self) -> PyResult<()> {
        if self.shared.get()?.release_forgotten().or_raise()? {
            return Ok(());
        }
        Err(PyAssertionError::new_err("attempt to release recursive lock not owned by thread"))
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release()
    }

    fn _count(&self) -> PyResult<u32> {
        Ok(self.shared.get()?.depth_of_ours())
    }

    fn _is_mine(&self) -> PyResult<bool> {
        Ok(self.shared.get()?.is_mine())
    }

    fn _get_value(&self) -> PyResult<u32> {
        Ok(u32::from(!self._is_zero()?))
    }

    fn _is_zero(&self) -> PyResult<bool> {
        Ok(self.shared.get()?.is_locked())
    }

    /// For a wait of ours: the descriptor.
    fn _arm(&self) -> PyResult<RawFd> {
        arm(&self.readiness, &self.shared)
    }

    fn _ready(&self) -> PyResult<bool> {
        Ok(!self._is_zero()? || self._is_mine()?)
    }

    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        self.readiness.probe(py)
    }

    /// The standard library's hook for the child of a fork, where nothing is left to do.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn _after_fork(&self) {}

    #[getter]
    fn handle(&self) -> PyResult<u32> {
        Ok(self.address()?.1)
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn kind(&self) -> u32 {
        RECURSIVE_MUTEX
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn maxvalue(&self) -> u32 {
        1
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn name(&self) -> Option<String> {
        None
    }

    /// As of a lock.
    #[getter]
    fn previous_owner_died(&self) -> Option<(u32, String)> {
        self.died.told()
    }
}

impl RLock {
    /// Of the first of a thread's acquisitions; those inside it know nothing.
    #[inline]
    fn note(&self, lock: &lock::RLock, died: Option<&Owner>) {
        if lock.depth_of_ours() == 1 {
            self.died.note(died);
        }
    }
}

/// A count that anybody raises and that `acquire` lowers.
#[pyclass(module = "ginnel._ginnel", frozen, subclass)]
pub(super) struct Semaphore {
    shared: Shared<semaphore::Semaphore>,
    readiness: Readiness<semaphore::Semaphore>,
    maxvalue: u32,
    ours: Ours,
}

/// How often this process has acquired it and not released it, which is for those who look only.
///
/// `place` is that of the handle: another one in a child, which has acquired nothing.
#[derive(Default)]
struct Ours {
    place: AtomicU64,
    count: AtomicU32,
    /// That acquired last.
    thread: AtomicU64,
}

thread_local! {
    /// Its place is the thread's name.
    static HERE: u8 = const { 0 };
}

fn thread() -> u64 {
    HERE.with(|here| std::ptr::from_ref(here).addr() as u64)
}

impl Ours {
    #[inline]
    fn add(&self, semaphore: &semaphore::Semaphore, change: i32) {
        let place = std::ptr::from_ref(semaphore).addr() as u64;
        if self.place.load(Relaxed) != place {
            self.count.store(0, Relaxed);
            self.place.store(place, Relaxed);
        }
        // Under the lock of the interpreter, so nothing comes between.
        self.count.store(self.count.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }
}

#[pymethods]
impl Semaphore {
    #[classattr]
    const SEM_VALUE_MAX: u32 = SEM_VALUE_MAX;

    #[new]
    #[pyo3(signature = (value = 1, *, maxvalue = SEM_VALUE_MAX, ctx = None, _at = None))]
    fn new(
        value: i64,
        maxvalue: u32,
        ctx: Option<&Bound<'_, PyAny>>,
        _at: Option<Address>,
    ) -> PyResult<Self> {
        let _ = ctx;
        let invalid = || PyOSError::new_err((EINVAL, "Invalid argument"));
        let value = u32::try_from(value).ok().filter(|value| *value <= maxvalue).ok_or_else(invalid)?;
        let count = match maxvalue {
            // Of the core's none is bounded by 0; this one never counts.
            0 | SEM_VALUE_MAX => semaphore::Count::new(value),
            _ => semaphore::Count::bounded(maxvalue),
        };
        let shared = made_or_found(count, _at)?;
        Ok(Self { shared, readiness: Readiness::new(), maxvalue, ours: Ours::default() })
    }

    fn address(&self) -> PyResult<Address> {
        self.shared.address()
    }

    /// Lowers the count. False: it was 0 for `timeout` seconds, or is 0 now if `block` is false.
    #[pyo3(signature = (block = true, timeout = None))]
    fn acquire(&self, py: Python<'_>, block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let semaphore = self.shared.get()?;
        let is_acquired = semaphore.try_acquire()
            || patiently(py, Patience::of(block, timeout)?, |slice| {
                Ok(semaphore.acquire_timeout(slice).then_some(()))
            })?
            .is_some();
        if is_acquired {
            self.ours.add(semaphore, 1);
            self.ours.thread.store(thread(), Relaxed);
        }
        Ok(is_acquired)
    }

    /// Raises the count.
    fn release(&self) -> PyResult<()> {
        let semaphore = self.shared.get()?;
        if self.maxvalue == 0 || semaphore.release(1).is_err() {
            return Err(PyValueError::new_err("semaphore or lock released too many times"));
        }
        self.ours.add(semaphore, -1);
        Ok(())
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, None)
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release()
    }

    fn _count(&self) -> PyResult<i32> {
        let semaphore = self.shared.get()?;
        self.ours.add(semaphore, 0);
        Ok(self.ours.count.load(Relaxed).cast_signed())
    }

    fn _is_mine(&self) -> PyResult<bool> {
        Ok(self._count()? > 0 && self.ours.thread.load(Relaxed) == thread())
    }

    fn _get_value(&self) -> PyResult<u32> {
        Ok(self.shared.get()?.value())
    }

    fn _is_zero(&self) -> PyResult<bool> {
        Ok(self._get_value()? == 0)
    }

    /// For a wait of ours: the descriptor.
    fn _arm(&self) -> PyResult<RawFd> {
        arm(&self.readiness, &self.shared)
    }

    fn _ready(&self) -> PyResult<bool> {
        Ok(!self._is_zero()?)
    }

    fn _probe(&self, py: Python<'_>) -> PyResult<()> {
        self.readiness.probe(py)
    }

    /// The standard library's hook for the child of a fork, where nothing is left to do.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn _after_fork(&self) {}

    #[getter]
    fn handle(&self) -> PyResult<u32> {
        Ok(self.address()?.1)
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn kind(&self) -> u32 {
        SEMAPHORE
    }

    #[getter]
    fn maxvalue(&self) -> u32 {
        self.maxvalue
    }

    #[getter]
    #[expect(clippy::unused_self, reason = "an attribute in Python")]
    fn name(&self) -> Option<String> {
        None
    }
}
