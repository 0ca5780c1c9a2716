//! The limits: what is the least that must happen, however a pool is made. None survives anything.
//!
//! Round trips are those of [`control`](crate::control). Here are blocks that are copied there and back, and a worker that
//! is made again by hand.

use crate::clock::now_ns;
use crate::control::copy::{Copy, CopyEnd};
use crate::drive::Report;
use crate::fault::Fault;
use crate::process::rivals::Forks;
use crate::transport::Transport;

use super::Engine;
use super::drive::{answer_large, large, read_large, write_large};

/// In place of a number: there will be no more.
const END: u64 = u64::MAX;

/// The process that sends blocks and gets them back: two copies here, two there, at the same time.
#[derive(Debug)]
pub(super) struct Copies<'a> {
    there: CopyEnd<'a>,
    back: CopyEnd<'a>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(there: &'a Copy, back: &'a Copy) -> Result<Self, Fault> {
        let (mut there, back) = (there.producer()?, back.consumer()?);
        *there.private() = large(there.private().len());
        Ok(Self { there, back })
    }

    /// Tells the other side that there will be no more.
    pub(super) fn end(mut self) {
        if let Some(first) = self.there.private().first_mut() {
            *first = END;
        }
        self.there.copy_in();
    }
}

impl Engine for Copies<'_> {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        write_large(self.there.private(), number);
        self.there.copy_in();
        Ok(())
    }

    fn get(&mut self) -> Result<u64, Fault> {
        self.back.copy_out();
        read_large(self.back.private(), self.there.private())
    }
}

/// The other side.
pub(super) fn serve(there: &Copy, back: &Copy) -> Result<Report, Fault> {
    let (mut there, mut back) = (there.consumer()?, back.producer()?);
    let mut received = 0;
    loop {
        there.copy_out();
        if there.private().first() == Some(&END) {
            return Ok(Report { received, ..Report::default() });
        }
        std::mem::swap(there.private(), back.private());
        answer_large(back.private());
        back.copy_in();
        received += 1;
    }
}

/// Both sides of a task in one process: four copies, through buffers that never leave this core.
#[derive(Debug)]
pub(super) struct Memcpy {
    /// Mine, there, theirs, back.
    buffers: [Vec<u64>; 4],
}

impl Memcpy {
    pub(super) fn new(words: usize) -> Self {
        Self { buffers: [large(words), vec![0; words], vec![0; words], vec![0; words]] }
    }
}

impl Engine for Memcpy {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        let [mine, there, theirs, back] = &mut self.buffers;
        write_large(mine, number);
        there.copy_from_slice(mine);
        theirs.copy_from_slice(there);
        answer_large(theirs);
        back.copy_from_slice(theirs);
        Ok(())
    }

    fn get(&mut self) -> Result<u64, Fault> {
        let [mine, _, theirs, back] = &mut self.buffers;
        // The result lands where the worker's arguments lay: there is no fifth buffer in a task, either.
        theirs.copy_from_slice(back);
        read_large(theirs, mine)
    }
}

/// One forked worker after the other, each killed where it idles.
#[derive(Debug)]
pub(super) struct Forked {
    forks: Forks,
    worker: nix::unistd::Pid,
}

impl Forked {
    pub(super) fn new() -> Result<Self, Fault> {
        let forks = Forks::new(1)?;
        let worker = forks.idle()?;
        Ok(Self { forks, worker })
    }

    /// From SIGKILL until the next one runs.
    pub(super) fn replace(&mut self) -> Result<u64, Fault> {
        let before = now_ns();
        self.forks.end(self.worker)?;
        self.worker = self.forks.idle()?;
        Ok(now_ns() - before)
    }

    /// Leaves none.
    pub(super) fn end(self) -> Result<(), Fault> {
        self.forks.end(self.worker)
    }
}
