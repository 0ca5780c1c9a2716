//! Floor 3 of ginnel: what users hold. Handles, names, lifetime, errors.
//!
//! The floors below know memory (`segment`), words (`sync`, `queue`) and nothing of each other. Here they become
//! objects: made in an arena, found by name, held by processes, recovered when a holder dies.
//!
//! Reading order: [`error`], [`message`], [`manager`] (arenas and names), [`spsc`] and [`mutex`] (the objects),
//! [`transit`] (handles on their way to another process), then what carries them: `arena` (handles of this process), `life` (when an object is freed: the proof), `sweep`
//! (what a death means for each kind), `words` (pages as words). The crate of processes builds on `bridge`.

#[cfg(any(feature = "tokio", feature = "async-io"))]
pub mod aio;
pub mod array;
pub mod barrier;
pub mod blocks;
#[doc(hidden)]
pub mod bridge;
pub mod broadcast;
#[cfg(feature = "compat")]
pub mod compat;
pub mod condvar;
#[doc(hidden)]
pub mod crew;
pub mod error;
pub mod event;
pub mod info;
pub mod lock;
pub mod manager;
pub mod memory;
pub mod message;
pub mod mpsc;
pub mod mutex;
pub mod once;
pub mod permits;
pub mod queue;
pub mod ready;
pub mod rwlock;
pub mod select;
pub mod semaphore;
pub mod shared;
pub mod simplex;
pub mod spsc;
#[doc(hidden)]
pub mod store;
pub mod transit;
pub mod value;

mod arena;
mod carrier;
mod carry;
mod detect;
mod envelope;
mod handle;
mod life;
mod process_record;
mod seat;
mod sides;
mod sweep;
mod words;

pub use array::Array;
pub use blocks::{Block, BlockMut, Blocks};
pub use error::{Error, ErrorKind, Owner, OwnerState, Result};
pub use manager::{Manager, Object};
pub use memory::SharedMemory;
pub use message::{Checked, Json, Message, Plain, Raw};
pub use mutex::{Mutex, MutexGuard};
pub use queue::Queue;
pub use shared::Shared;
pub use value::Value;
