//! `raw_sync`: locks and events of the crate of that name, in shared memory. The processes of a row use the handles
//! that the coordinator made: they are valid after a fork, as the mapping is.
//!
//! Invariants: I1: the object lies in a region that is dropped after the handle, at its start, so aligned to a page,
//! and there is room for it: its size is checked. I2: it is made once by the coordinator, before any process that uses it is
//! forked; nobody else writes to the region.
#![allow(unsafe_code, reason = "gives memory to the crate")]

use std::fmt;
use std::ptr::NonNull;

use ginnel_layout::line::LINE;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit, Mutex};

use crate::fault::Fault;
use crate::locks::{Exclusion, Section, Signal, SignalEnd};
use crate::memory::Region;

/// Bytes for either object.
const ROOM: usize = 4 * LINE;

/// A mutex of the crate.
pub(crate) struct RawMutex {
    /// Before the region, which must outlive it.
    lock: Box<dyn LockImpl>,
    _region: Region,
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").finish_non_exhaustive()
    }
}

impl RawMutex {
    /// In a region of its own.
    pub(crate) fn new() -> Result<Self, Fault> {
        let (region, place) = room(Mutex::size_of(None))?;
        // SAFETY: I1, I2. The protected data have no place: the crate only hands the pointer out.
        let made = unsafe { Mutex::new(place.as_ptr(), place.as_ptr()) };
        let (lock, _) = made.map_err(|error| Fault::failed("making a mutex of raw_sync", error))?;
        Ok(Self { lock, _region: region })
    }
}

impl Exclusion for RawMutex {
    type Section<'a> = &'a RawMutex;

    fn open(&self) -> Result<&Self, Fault> {
        Ok(self)
    }
}

impl Section for &RawMutex {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        let guard = self.lock.lock().map_err(|error| Fault::failed("locking", error))?;
        let result = body();
        drop(guard);
        Ok(result)
    }
}

/// An event of the crate that clears itself.
pub(crate) struct RawEvent {
    /// Before the region, which must outlive it.
    event: Box<dyn EventImpl>,
    _region: Region,
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawEvent").finish_non_exhaustive()
    }
}

impl RawEvent {
    /// In a region of its own, not set.
    pub(crate) fn new() -> Result<Self, Fault> {
        let (region, place) = room(Event::size_of(None))?;
        // SAFETY: I1, I2.
        let made = unsafe { Event::new(place.as_ptr(), true) };
        let (event, _) = made.map_err(|error| Fault::failed("making an event of raw_sync", error))?;
        Ok(Self { event, _region: region })
    }
}

impl Signal for RawEvent {
    type End<'a> = &'a RawEvent;

    fn open(&self) -> Result<&Self, Fault> {
        Ok(self)
    }
}

impl SignalEnd for &RawEvent {
    fn set(&mut self) -> Result<(), Fault> {
        self.event.set(EventState::Signaled).map_err(|error| Fault::failed("setting an event", error))
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.event.wait(Timeout::Infinite).map_err(|error| Fault::failed("waiting for an event", error))
    }
}

/// A region with room for `size` bytes, and some for the crate's own alignment.
fn room(size: usize) -> Result<(Region, NonNull<u8>), Fault> {
    if size + 64 > ROOM {
        return Err(Fault::Unsupported(format!("an object of {size} bytes has no room")));
    }
    let region = Region::new(ROOM)?;
    let place = region.words(0, ROOM / 8).cast();
    Ok((region, place))
}
