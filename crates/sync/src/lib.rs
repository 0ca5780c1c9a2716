//! Floor 1 of ginnel: how a thread waits, and the locks that are made of it.
//!
//! Everything here works on borrowed words. It knows no segment, no process and no name, so the same code runs
//! on the heap, under loom and in a mapping. The only system calls are those of [`futex`]; the only clock is
//! `CLOCK_MONOTONIC`, which is the same in all processes of a machine.
//!
//! Reading order: [`deadline`] and [`futex`] (what the kernel gives), [`park`] (when to spin, when to sleep, and
//! how nobody sleeps through a message; its book-keeping is in `credit`), [`shared_wait`] and [`gate`] (the same for
//! many on one line), [`mutex`] (a lock whose owner may die), [`rwlock`], [`condvar`], [`waiters`], [`semaphore`], [`permits`],
//! [`event`], [`barrier`], [`once`], [`twin`] (a value that is always whole), then [`select`] and [`bell`] (waiting for several things, and from a reactor).
//!
//! Absent on purpose: `sched_yield`, fixed spin counts, process-private futexes, waits without slices.

pub mod barrier;
pub mod bell;
mod clock;
pub mod condvar;
mod credit;
pub mod deadline;
pub mod event;
pub mod futex;
pub mod gate;
mod machine;
pub mod mutex;
pub mod once;
mod pace;
pub mod park;
pub mod permits;
pub mod rwlock;
pub mod select;
pub mod semaphore;
pub mod shared_wait;
#[cfg(not(loom))]
mod tag;
pub mod twin;
pub mod waiters;

pub use deadline::Deadline;
pub use mutex::{Holder, LockError, Locked};
pub use park::{Arm, Mode, Policy, Stop, Waiter};
