//! Floor 0 of ginnel: the words that lie in shared memory, and nothing that runs.
//!
//! Every structure here is `repr(C)`, built from `u32` and `u64` atomics, grouped on 128-byte [`Line`]s, and
//! valid when all its bytes are zero. No pointer, `bool`, `enum` or `usize` is ever stored: a place in a
//! segment is an offset from its first byte. The algorithms that work on these words live in the crates
//! above and borrow them, so the same code runs on the heap, under loom and in a mapping.
//!
//! Reading order: [`atomic`] (the one door to atomics), [`mod@line`], [`participant`] (who owns a word, and
//! [`Liveness`]), [`header`] (the front page of a segment), [`entry`] (its objects), [`record`] and [`lane`]
//! (a queue), [`peer`] (the same between two that do not trust each other), [`wait`] (the line a sleeper waits on),
//! [`lock`] and [`signal`] (what is made of such lines), [`value`] (one value), [`process`] (what a starter and its child share),
//! [`pool`] (what a pool and its workers do), [`store`] (what a dict or a list is made of).
#![cfg_attr(not(loom), no_std)]

pub mod atomic;
pub mod blocks;
pub mod broadcast;
pub mod entry;
pub mod header;
pub mod lane;
pub mod line;
pub mod lock;
pub mod mpsc;
pub mod participant;
pub mod peer;
pub mod pool;
pub mod process;
pub mod record;
pub mod ring;
pub mod signal;
pub mod store;
pub mod value;
pub mod wait;

pub use line::Line;
pub use participant::{Liveness, ParticipantId};

/// Version of everything in this crate. Segments of another version are refused at attach.
///
/// Rises with every change of an offset, a size or the meaning of a word.
pub const LAYOUT_VERSION: u32 = 7;
