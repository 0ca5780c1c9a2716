//! What a pool says of itself.

/// How much a pool has done, and what is under way. A picture of one moment: tasks go on while it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that are ready for tasks.
    pub workers: usize,
    /// Tasks, and chunks of maps, that no worker has taken yet.
    pub waiting: usize,
    /// Tasks, and chunks of maps, that a worker has taken.
    pub running: usize,
    /// Tasks that are over and whose outcome this process has taken, failures among them. A chunk of a map counts once.
    pub done: u64,
    /// Those of `done` that have no value.
    pub failed: u64,
    /// How often a task, or the rest of a chunk, was given to another worker because its worker had died.
    pub retried: u64,
    /// Workers that died otherwise than by order of the pool.
    pub worker_deaths: u64,
    /// Workers that were replaced in order: after so many tasks, or for their size, or by `reload`.
    pub recycled: u64,
}

/// A worker, as it was when asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Worker {
    /// Its process id.
    pub pid: u32,
    /// The name of its process.
    pub name: String,
    /// Tasks, and chunks of maps, that it has done.
    pub tasks: u64,
    /// Items of maps among them.
    pub items: u64,
}
