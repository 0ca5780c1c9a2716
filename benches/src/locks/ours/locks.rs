//! Those that one at a time may hold.

use ginnel::sync::{Count, Init, Lock, Mutex, PermitPool, Permits, RLock, RwLock, Semaphore};

use super::Named;
use crate::arena::failed;
use crate::fault::Fault;
use crate::locks::Section;

/// Runs `body` under what a lock gave, and gives it back.
#[inline(always)]
fn under<G, R>(guard: ginnel::Result<G>, body: impl FnOnce() -> R) -> Result<R, Fault> {
    let guard = guard.map_err(|error| failed("locking", error))?;
    let result = body();
    drop(guard);
    Ok(result)
}

/// `mutex`: over a word, which stays as it is.
#[derive(Debug)]
pub(in crate::locks) struct Data(Mutex<u64>);

impl Named<Data> {
    /// Free.
    pub(in crate::locks) fn mutex() -> Result<Self, Fault> {
        Self::new(Init::default(), |_| Ok(()), Data)
    }
}

impl Section for Data {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.lock(), body)
    }
}

/// `lock`: without data.
#[derive(Debug)]
pub(in crate::locks) struct Bare(Lock);

impl Named<Bare> {
    /// Free.
    pub(in crate::locks) fn lock() -> Result<Self, Fault> {
        Self::new((), |_| Ok(()), Bare)
    }
}

impl Section for Bare {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.lock(), body)
    }
}

/// `rlock`: recursive, taken once.
#[derive(Debug)]
pub(in crate::locks) struct Recursive(RLock);

impl Named<Recursive> {
    /// Free.
    pub(in crate::locks) fn rlock() -> Result<Self, Fault> {
        Self::new((), |_| Ok(()), Recursive)
    }
}

impl Section for Recursive {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.lock(), body)
    }
}

/// `rwlock-read`.
#[derive(Debug)]
pub(in crate::locks) struct Reader(RwLock<u64>);

impl Named<Reader> {
    /// Free.
    pub(in crate::locks) fn reader() -> Result<Self, Fault> {
        Self::new(Init::default(), |_| Ok(()), Reader)
    }
}

impl Section for Reader {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.read(), body)
    }
}

/// `rwlock-write`.
#[derive(Debug)]
pub(in crate::locks) struct Writer(RwLock<u64>);

impl Named<Writer> {
    /// Free.
    pub(in crate::locks) fn writer() -> Result<Self, Fault> {
        Self::new(Init::default(), |_| Ok(()), Writer)
    }
}

impl Section for Writer {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.write(), body)
    }
}

/// `semaphore`: one unit as a lock, or none as a signal.
#[derive(Debug)]
pub(in crate::locks) struct Units(Semaphore);

impl Named<Units> {
    /// With `value` units.
    pub(in crate::locks) fn semaphore(value: u32) -> Result<Self, Fault> {
        Self::new(Count::new(value), |_| Ok(()), Units)
    }
}

impl Units {
    #[inline(always)]
    pub(super) fn take(&self) {
        self.0.acquire();
    }

    #[inline(always)]
    pub(super) fn give(&self) -> Result<(), Fault> {
        self.0.release(1).map_err(|error| failed("releasing", error))
    }
}

impl Section for Units {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        self.take();
        let result = body();
        self.give()?;
        Ok(result)
    }
}

/// `permits`: a pool of one.
#[derive(Debug)]
pub(in crate::locks) struct Pool(PermitPool);

impl Named<Pool> {
    /// With its one permit.
    pub(in crate::locks) fn permits() -> Result<Self, Fault> {
        Self::new(Permits(1), |_| Ok(()), Pool)
    }
}

impl Section for Pool {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        under(self.0.acquire(), body)
    }
}
