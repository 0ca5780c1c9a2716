//! Functions in workers that stay: `ginnel bench --group pool`.
//!
//! A task computes `n + 1` from `n`. One worker, one task after the other, awake or asleep; two workers and 512 tasks
//! that are out at a time; ten million numbers mapped; ten thousand tasks with a mebibyte each way; and how long it takes
//! until as many workers are at work as before one was killed. Every result is checked: a value that belongs to no task
//! which is out, or comes twice, refuses the row, and one that never comes stalls it.
//!
//! What starts workers runs in a process of its own for each row and pass. Python and `procspawn` measure themselves in
//! programs of their own, whose figures are taken as they print them.
//!
//! Reading order: [`plan`] (which rows), [`measure`] (the passes), `dispatch` (what each row measures), `drive` and
//! `ledger` (the loops and what they check), then what is measured: `limits`, `pipes`, `threads`, `outside`, `ours`.

mod dispatch;
mod drive;
mod ledger;
mod limits;
pub mod measure;
mod ours;
mod outside;
mod pipes;
pub mod plan;
#[cfg(test)]
mod refused;
mod threads;

use crate::fault::Fault;

/// What computes the successors of numbers somewhere else.
pub(crate) trait Engine {
    /// Gives a number out, which is no more than the loops keep out at a time.
    fn put(&mut self, number: u64) -> Result<(), Fault>;

    /// Waits for a result of one of the numbers that are out.
    fn get(&mut self) -> Result<u64, Fault>;

    /// One number there, its result back, where nothing else is out.
    #[inline(always)]
    fn call(&mut self, number: u64) -> Result<u64, Fault> {
        self.put(number)?;
        self.get()
    }
}

/// The function of every task.
pub(super) fn successor(number: u64) -> u64 {
    number + 1
}
