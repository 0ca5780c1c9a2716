//! For programs that come from the crates `raw_sync` and `shared_memory`: the traits of the one over events that notice
//! more, and the segments of the other.
//!
//! Memory of `shared_memory` knows no participants, so nothing in it can tell that somebody died: an [`Event`] there is
//! an event, and a wake that a killed process owed comes at the end of a slice of 50 ms at most.

mod event;
mod shmem;

pub use event::Event;
pub use shmem::Shmem;
