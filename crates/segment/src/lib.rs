//! Floor 1 of ginnel: segments. Shared memory that several processes are attached to, each as a participant.
//!
//! A segment is one file of shared memory: a sealed memfd that reaches other processes as a descriptor
//! ([`Segment::create`], [`Segment::attach`], [`fd_passing`]), or a file with a name in a tmpfs directory
//! ([`Segment::open_or_create`]). Its front says what is where; the rest is pages of data, which objects claim
//! ([`Segment::claim_pages`]).
//!
//! Whoever is attached holds the lock on one byte, and the kernel drops that lock when he dies, after his last
//! instruction. So taking it is the proof of death, the turn to repair what he left, and the right to his id
//! (`participants.rs`, the heart of this crate). What there is to repair, a [`Sweep`] knows, which the crate above
//! supplies.
//!
//! Reading order: `options` (how large), `locks` and `fork` (what the kernel keeps for us), `map` (where an offset
//! becomes memory), `segment` (what a process holds), `create`, `front`, `attach`, `heir`, `place` and `named` (how one gets there),
//! `participants` (who lives, who died, who repairs), `bells` (what pollers leave beside a name), `pages` (the arena),
//! [`sealed`] (no segment: the memory of two that do not trust each other), `describe` (for messages and tools).
//!
//! Everything here is control plane: it may make system calls and take milliseconds. The exceptions are
//! [`Segment::check_fork`] and the accessors of words.

mod attach;
mod bells;
mod create;
mod describe;
mod error;
pub mod fd_passing;
mod fork;
mod front;
mod heir;
mod locks;
mod map;
mod named;
mod needs;
mod options;
mod pages;
mod participants;
mod place;
pub mod sealed;
mod segment;

pub use describe::{Described, RunState};
pub use error::{Error, Forked};
pub use fork::{ForkMark, around_forks};
pub use heir::Heir;
pub use map::Mirror;
pub use named::Collected;
pub use options::{Options, default_limit};
pub use place::{NAME_MAX, Place};
pub use segment::{Segment, Sweep};
