//! Dicts and lists of `ginnel`, made by the coordinator in a manager of their own, opened by each process.

use std::fmt;

use ginnel::{Dict, List, Manager, Object};

use crate::arena::{Arena, NAME, failed};
use crate::fault::Fault;

use super::value::{BYTES, Form, Value};
use super::{Map, Sequence};

/// Room that an arena has for an entry: much more than one takes, as it is only reserved.
const ENTRY_ROOM: usize = 8 * BYTES;
/// Room for an arena whatever is in it.
const ROOM: usize = 64 << 20;

/// An arena in which something has the one name.
#[derive(Debug)]
pub(super) struct Shared(Arena);

impl Shared {
    /// An arena for so many entries, with an object in it.
    pub(super) fn new<T: Object>(entries: u64, options: T::Options) -> Result<Self, Fault> {
        let arena = Arena::new(ROOM + entries as usize * ENTRY_ROOM)?;
        arena
            .manager()
            .get_or_create_with::<T>(NAME, options)
            .map_err(|error| failed("making an object", error))?;
        Ok(Self(arena))
    }

    /// Attaches the calling process, as a participant of its own.
    pub(super) fn attach(&self) -> Result<Manager, Fault> {
        self.0.attach()
    }

    /// The object, for the calling process.
    pub(super) fn open<T: Object>(&self) -> Result<T, Fault> {
        open(&self.attach()?)
    }
}

/// The object of a manager.
pub(super) fn open<T: Object>(manager: &Manager) -> Result<T, Fault> {
    let found = manager.get::<T>(NAME).map_err(|error| failed("opening an object", error))?;
    found.ok_or_else(|| Fault::failed("opening an object", "it has no name"))
}

/// A dict, as one process has it.
pub(super) struct Ours<F>(pub(super) Dict<u64, F>);

impl<F> fmt::Debug for Ours<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Ours").field(&self.0).finish()
    }
}

impl<F: Form> Map for Ours<F> {
    #[inline(always)]
    fn get(&self, key: u64) -> Result<Option<Value>, Fault> {
        Ok(self.0.get(&key).map_err(|error| failed("get", error))?.map(F::into))
    }

    #[inline(always)]
    fn set(&self, key: u64, value: Value) -> Result<(), Fault> {
        self.0.set(&key, &value.into()).map(drop).map_err(|error| failed("set", error))
    }

    #[inline(always)]
    fn update(&self, key: u64) -> Result<(), Fault> {
        let next = |old: Option<F>| match old.map(F::into) {
            Some(value) => value.successor().into(),
            None => Value::of(key, 0).into(),
        };
        self.0.update(key, next).map(drop).map_err(|error| failed("update", error))
    }

    fn bytes(&self) -> Result<u64, Fault> {
        Ok(self.0.usage().map_err(|error| failed("usage", error))?.claimed)
    }
}

/// A list, as one process has it.
pub(super) struct OurList<F>(pub(super) List<F>);

impl<F> fmt::Debug for OurList<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("OurList").field(&self.0).finish()
    }
}

impl<F: Form> Sequence for OurList<F> {
    #[inline(always)]
    fn push(&self, value: Value) -> Result<(), Fault> {
        self.0.push(value.into()).map_err(|error| failed("push", error))
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.0.len() as u64)
    }

    fn at(&self, place: u64) -> Result<Option<Value>, Fault> {
        Ok(self.0.get(place as usize).map_err(|error| failed("get", error))?.map(F::into))
    }

    fn clear(&self) -> Result<(), Fault> {
        self.0.clear().map_err(|error| failed("clear", error))
    }
}
