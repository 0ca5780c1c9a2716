//! Floor 4 of ginnel: functions in child processes.
//!
//! [`Process::spawn`] runs a function in a child, with arguments and a result that cross through the arena of the
//! process tree. Reading order: [`task`] (what can be run), [`builder`] and [`child`] (what users hold), `start` (how
//! a child comes to be) with `zygote`, `boot` (a child's first steps), `service` (the one thread that watches).

pub mod builder;
pub mod child;
pub mod cpus;
pub mod error;
pub mod failure;
pub mod info;
pub mod limits;
pub mod sandbox;
pub mod task;

mod boot;
mod cgroup;
mod hook;
mod image;
#[doc(hidden)]
pub mod macros;
mod panic;
#[doc(hidden)]
pub mod routine;
mod service;
mod start;
mod waiting;
mod zygote;

pub use builder::{Builder, OnParentDeath, Start, Stdio};
pub use child::Process;
pub use error::{Panic, ProcessError};
pub use failure::Failure;
pub use hook::enter;
pub use info::start_method;
pub use limits::Limits;
pub use sandbox::Sandbox;
pub use task::{Arg, Task};
pub use zygote::{preload, warm};
