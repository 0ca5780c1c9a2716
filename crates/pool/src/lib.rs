//! Floor 5 of ginnel: a pool of worker processes, and tasks that survive the workers they run in.
//!
//! [`Pool`] takes functions with arguments, as [`Process`](ginnel_process::Process) does, and gives [`Task`]s. A worker
//! that is killed costs one task, which is run again or reported; nothing ever waits for the dead.
//!
//! Reading order: `pool.rs` and `task.rs` (what users hold), `inner.rs` with `state.rs` (what the pool knows of its
//! tasks, and how a slot is filled, waited for and emptied), `outcome.rs`, then `worker.rs` (the other side) and
//! `supervisor.rs` (the one thread that replaces the dead and decides what becomes of their tasks). Maps are jobs:
//! `job.rs`, `imap.rs`. What is shared with the workers, and every unsafe line about it, is the crew of the crate of
//! objects (`ginnel_object::bridge::crew`).

#![forbid(unsafe_code)]

#[cfg(feature = "progress")]
mod bar;
mod builder;
mod callbacks;
mod error;
mod imap;
mod inner;
mod job;
mod outcome;
mod pool;
mod scope;
mod state;
mod stats;
mod supervisor;
mod task;
mod usual;
mod worker;

pub use builder::{Builder, OnWorkerDeath};
pub use error::TaskError;
pub use imap::Imap;
pub use pool::Pool;
pub use stats::{Stats, Worker};
pub use task::Task;
pub use worker::{Setup, attempt, is_cancelled, set_progress};
