//! What nobody shares: `hashbrown` and `Vec` under std's `RwLock`, in one process. Values are copied in and out.

use std::sync::{PoisonError, RwLock};

use hashbrown::HashMap;

use crate::fault::Fault;

use super::value::Value;
use super::{Map, Sequence};

/// A map under a lock.
#[derive(Debug, Default)]
pub(super) struct Locked(RwLock<HashMap<u64, Value>>);

impl Map for Locked {
    #[inline(always)]
    fn get(&self, key: u64) -> Result<Option<Value>, Fault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied())
    }

    #[inline(always)]
    fn set(&self, key: u64, value: Value) -> Result<(), Fault> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        Ok(())
    }

    #[inline(always)]
    fn update(&self, key: u64) -> Result<(), Fault> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.entry(key).and_modify(|value| *value = value.successor()).or_insert(Value::of(key, 0));
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Fault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).allocation_size() as u64)
    }
}

/// A vector under a lock.
#[derive(Debug, Default)]
pub(super) struct LockedVec(RwLock<Vec<Value>>);

impl Sequence for LockedVec {
    #[inline(always)]
    fn push(&self, value: Value) -> Result<(), Fault> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(value);
        Ok(())
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn at(&self, place: u64) -> Result<Option<Value>, Fault> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(place as usize).copied())
    }

    fn clear(&self) -> Result<(), Fault> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }
}
