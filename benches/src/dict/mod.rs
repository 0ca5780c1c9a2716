//! Maps that processes share: `ginnel bench --group dict`.
//!
//! 50,000 keys, values of 64 bytes, one process: get, set, and an update that reads and writes in one step. The same mix
//! of nine reads and one write by one process and by two. A list that values are put at the end of. How much memory an
//! entry takes, how long it takes to repair what a killed holder of a lock left, and, where they are asked for by name,
//! how all of it is with 10 thousand, a million and 10 million entries.
//!
//! Every value says its key and how often it was changed, and each of its words follows from those two: one that is torn
//! or of another key refuses the row, and so does an update that is missing in the end.
//!
//! `dict` has values that are encoded as 64 bytes, `dict-record` values of eight numbers, `dict-raw` values that need no
//! encoding; keys are encoded by serde in all of them. `hashmap` is `hashbrown` under std's `RwLock` in one process: what
//! a map costs that nobody shares. LMDB and Python measure themselves in programs of their own.
//!
//! Reading order: [`plan`] (which rows), [`measure`] (the passes), `value`, `drive` (the loops and what they check),
//! `dispatch` (what each row measures), then what is measured: `ours`, `hashmap`, `outside`, `repair`.

mod dispatch;
mod drive;
mod hashmap;
pub mod measure;
mod ours;
mod outside;
pub mod plan;
#[cfg(test)]
mod refused;
mod repair;
mod value;

use crate::fault::Fault;

use value::Value;

/// A map from numbers to values.
trait Map {
    /// What is under a key.
    fn get(&self, key: u64) -> Result<Option<Value>, Fault>;

    /// Puts a value under a key, whatever was there.
    fn set(&self, key: u64, value: Value) -> Result<(), Fault>;

    /// Puts the successor of what is under a key there, in one step.
    fn update(&self, key: u64) -> Result<(), Fault>;

    /// Bytes of memory that it takes.
    fn bytes(&self) -> Result<u64, Fault>;
}

/// Values one after the other.
trait Sequence {
    /// Puts a value behind the last one.
    fn push(&self, value: Value) -> Result<(), Fault>;

    /// How many there are.
    fn len(&self) -> Result<u64, Fault>;

    /// The value at a place.
    fn at(&self, place: u64) -> Result<Option<Value>, Fault>;

    /// Removes all.
    fn clear(&self) -> Result<(), Fault>;
}
