//! Floor 2 of ginnel: dicts and lists as algorithms on borrowed memory.
//!
//! A *store* is a front, some shards, and pages of the segment. Nothing here knows what a segment is: a store is given
//! its words, and a [`Pages`] that gives it more of them. That is why the same code runs on the heap, under loom and in
//! a mapping. Writers of a shard take its lock, readers none; one store of 8 bytes commits every change.
//!
//! Reading order: [`memory`] (an offset becomes words in one place), [`pages`] (where pages come from), `lock` (a store,
//! and a shard that is locked), `heap` (blocks of a shard, and the spans they lie in), `rebuild` (what a death leaves is
//! found by what can be reached), `usage`; `node`, `table`, `read`, `write`, `redo`, `evict` (dicts); [`list`].
#![forbid(unsafe_code)]

mod error;
pub mod evict;
#[doc(hidden)]
pub mod ground;
mod heap;
pub mod list;
mod lock;
pub mod memory;
pub mod node;
pub mod pages;
pub mod read;
mod rebuild;
pub mod redo;
pub mod table;
mod usage;
pub mod write;

pub use error::Error;
pub use lock::{Locked, Store};
pub use memory::{Copied, Memory};
pub use pages::{NoPages, Pages};
pub use rebuild::Recovered;
pub use usage::Usage;
