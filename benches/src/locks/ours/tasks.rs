//! A queue of words as a signal: between two processes that block, or towards a task on tokio's reactor.

use ginnel::Queue;
use ginnel::tokio::Async;
use tokio::runtime::{Builder, Runtime};

use super::Named;
use crate::arena::failed;
use crate::fault::Fault;
use crate::locks::{Signal, SignalEnd};

/// `queue`: who waits blocks.
#[derive(Debug)]
pub(in crate::locks) struct Words(Queue<u64>);

impl Named<Words> {
    /// Empty.
    pub(in crate::locks) fn words() -> Result<Self, Fault> {
        Self::new(ginnel::queue::Options::bounded(64), |_| Ok(()), Words)
    }
}

impl SignalEnd for Words {
    fn set(&mut self) -> Result<(), Fault> {
        self.0.send(1).map_err(|error| failed("send", error))
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.0.recv().map(|_| ()).map_err(|error| failed("recv", error))
    }
}

/// `tokio`: the same queue, for a process that waits in a task.
#[derive(Debug)]
pub(in crate::locks) struct Tasks<'a>(pub(in crate::locks) &'a Named<Words>);

/// A runtime with the one thread that measures.
#[derive(Debug)]
pub(in crate::locks) struct Task {
    runtime: Runtime,
    words: Async<Queue<u64>>,
}

impl Signal for Tasks<'_> {
    type End<'a>
        = Task
    where
        Self: 'a;

    fn open(&self) -> Result<Task, Fault> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Fault::failed("making a runtime", error))?;
        let words = Async::new(self.0.handle()?.0).map_err(|error| failed("arming a queue", error))?;
        Ok(Task { runtime, words })
    }
}

impl SignalEnd for Task {
    fn set(&mut self) -> Result<(), Fault> {
        self.runtime.block_on(self.words.send(1)).map_err(|error| failed("send", error))
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.runtime.block_on(self.words.recv()).map(|_| ()).map_err(|error| failed("recv", error))
    }
}
