//! Floor 5 of ginnel: dicts, lists and namespaces in shared memory, without a server.
//!
//! Where Python's `Manager` is a process that owns the data and is asked for each value, here the data lie in the memory of
//! all processes, and each operation is done by whoever wants it. An operation is one step for everybody else, also if its
//! process is killed in the middle.
//!
//! Reading order: `key` and `value` (between types and bytes), [`dict`] with its parts, [`list`] with its parts,
//! [`namespace`] and [`shareable`]. What they stand on is the crate `store` (memory, table, list, repair) and what the
//! crate of objects makes of it (`ginnel_object::bridge::store`: names, lifetime, handles in values).

#![forbid(unsafe_code)]

pub mod dict;
mod key;
pub mod list;
pub mod namespace;
pub mod shareable;
mod value;
mod wraps;

pub use dict::Dict;
pub use key::{Key, Lookup};
pub use list::List;
pub use namespace::Namespace;
pub use shareable::ShareableList;
