//! `std-mutex`: the mutex of the standard library. It works between threads only, so its rows stay in one process.

use std::sync::Mutex;

use crate::fault::Fault;
use crate::locks::{Exclusion, Section};

/// A mutex on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Standard(Mutex<()>);

impl Exclusion for Standard {
    type Section<'a> = &'a Standard;

    fn open(&self) -> Result<&Self, Fault> {
        Ok(self)
    }
}

impl Section for &Standard {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        let guard = self.0.lock().map_err(|error| Fault::failed("locking", error))?;
        let result = body();
        drop(guard);
        Ok(result)
    }
}
