//! Floor 2 of ginnel: queues as algorithms on borrowed memory.
//!
//! Nothing here knows what a segment is, who mapped it, or how a process is found dead: a queue is given its
//! words, and a [`ginnel_layout::Liveness`] to ask when it has waited long enough. That is why the same code
//! runs on the heap, under loom and in a mapping.
//!
//! Reading order: [`lane`] (one producer, one consumer: the words, the protocol, the crash table), then its
//! two ends, then `mirrored` (the bytes under it); [`untrusted`] (the same between two that do not trust each other);
//! [`ring`] (many to many, leases; the same), then its parts, then `slots` (the memory under it).

mod mirrored;
mod slots;

pub mod blocks;
pub mod broadcast;
pub mod dispatch;
pub mod lane;
pub mod mpsc;
pub mod ring;
pub mod untrusted;

pub use mirrored::Mirrored;
