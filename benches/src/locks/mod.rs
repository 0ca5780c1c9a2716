//! Locks, semaphores and events: `ginnel bench --group locks`.
//!
//! A lock is measured alone, between two processes on two cores, and between eight on two cores. Each time it is
//! held, a word that it protects is read, about 100 ns of computation follow, and the word is written back one
//! higher: a lock that lets two in at once loses an increment, and its row is refused. A signal is measured from the
//! call that sets it to the moment at which a process that slept runs, and there and back.
//!
//! Reading order: [`plan`] (which rows), [`measure`] (the passes), `dispatch` (what each row measures), `alone`,
//! `contended`, `wake`, `round_trip` (the loops), then what is measured: `limits`, `rivals`, `ours`.

mod alone;
mod contended;
mod dispatch;
mod limits;
pub mod measure;
mod ours;
pub mod plan;
#[cfg(test)]
mod refused;
mod rivals;
mod round_trip;
mod wake;
mod work;

use crate::fault::Fault;

/// Something that one at a time may hold; made by the coordinator, opened by each process that takes part.
pub(crate) trait Exclusion {
    /// The handle of one process.
    type Section<'a>: Section
    where
        Self: 'a;

    /// Opens it in the calling process.
    fn open(&self) -> Result<Self::Section<'_>, Fault>;
}

/// A lock in the hands of one process.
pub(crate) trait Section {
    /// Takes the lock, runs `body`, and gives the lock back.
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault>;
}

/// Something that one process sets and another waits for; made by the coordinator, opened by each.
pub(crate) trait Signal {
    /// The handle of one process.
    type End<'a>: SignalEnd
    where
        Self: 'a;

    /// Opens it in the calling process.
    fn open(&self) -> Result<Self::End<'_>, Fault>;
}

/// A signal in the hands of one process. Settings and waits alternate, so none is ever set twice.
pub(crate) trait SignalEnd {
    /// Sets it.
    fn set(&mut self) -> Result<(), Fault>;

    /// Waits until it is set, and clears it.
    fn wait(&mut self) -> Result<(), Fault>;
}
