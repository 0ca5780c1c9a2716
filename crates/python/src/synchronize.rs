//! Locks, semaphores, events, conditions and barriers, in the manners of `multiprocessing.synchronize`.
//!
//! The Python classes inherit these and the standard library's, so that `isinstance` holds and the methods that
//! programs call are native. What each has in common is here: how it is made, or found by its address.
//!
//! Reading order: [`semlock`] (what has `acquire` and `release`), [`signal`] (event and condition), [`meeting`] (barrier).

mod meeting;
mod semlock;
mod signal;

use std::os::fd::RawFd;

use ginnel::Object;
use ginnel_object::select::Waitable;
use pyo3::prelude::*;

use crate::failure::OrRaise;
use crate::home::{self, Address, Shared};
use crate::readiness::Readiness;

/// A new object, or the one at that address.
fn made_or_found<H: Object>(options: H::Options, at: Option<Address>) -> PyResult<Shared<H>> {
    if let Some(address) = at {
        return Shared::at(address);
    }
    let manager = home::manager()?;
    Ok(Shared::new(manager.create_with(options).or_raise()?, &manager))
}

/// The descriptor for one wait of ours: readable as soon as the object may be had.
fn arm<H>(readiness: &Readiness<H>, shared: &Shared<H>) -> PyResult<RawFd>
where
    H: Object + Waitable + Clone + Send + 'static,
{
    readiness.descriptor(false, || Ok(shared.get()?.clone()))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<semlock::Lock>()?;
    module.add_class::<semlock::RLock>()?;
    module.add_class::<semlock::Semaphore>()?;
    module.add_class::<signal::Event>()?;
    module.add_class::<signal::Condition>()?;
    module.add_class::<meeting::Barrier>()
}
