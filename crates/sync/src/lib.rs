//! Floor 1 of ginnel: how a thread waits, and the locks that are made of it.
//!
//! Everything here works on borrowed words. It knows no segment, no process and no name, so the same code runs
//! on the heap, under loom and in a mapping. The only system calls are those of [`futex`]; the only clock is
//! `CLOCK_MONOTONIC`, which is the same in all processes of a machine.
//!
//! Reading order: [`deadline`] and [`futex`] (what the kernel gives), [`park`] (when to spin, when to sleep, and
//! how nobody sleeps through a message; its book-keeping is in `credit`), [`mutex`] (a lock whose owner may die).
//!
//! Absent on purpose: `sched_yield`, fixed spin counts, process-private futexes, waits without slices.

mod clock;
mod credit;
pub mod deadline;
pub mod futex;
mod machine;
pub mod mutex;
mod pace;
pub mod park;
pub mod shared_wait;
#[cfg(not(loom))]
mod tag;

pub use deadline::Deadline;
pub use mutex::{Holder, LockError, Locked};
pub use park::{Arm, Mode, Policy, Stop, Waiter};
