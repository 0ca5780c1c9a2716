//! How a pool is made.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::line::PAGE;
use ginnel_layout::pool::{SEATS_MAX, SLOTS, TRAYS_MAX};
use ginnel_object::bridge::crew::{Crew, Shape};
use ginnel_object::spsc::Wait;
use ginnel_object::{Error, ErrorKind, Manager, Result};
use ginnel_process::{Process, Task};
use ginnel_sync::Mode;

use crate::inner::Inner;
use crate::pool::Pool;
use crate::worker::{Given, Post, Setup, Work, mode_of, number_of};

/// Tasks that can be out when nothing else is said.
const QUEUE_SIZE: usize = 1024;

/// Part of the memory of the tree that larger arguments and results may lie in.
const TRAYS_PART: u64 = 8;

/// What becomes of a task whose worker died under it: by a signal, by `exit`, for want of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWorkerDeath {
    /// It is reported as [`TaskError::Died`](crate::TaskError::Died). It may have had effects, so nobody repeats it
    /// unasked.
    #[default]
    Fail,
    /// It is given to another worker, at most so often. Not one that was killed for its time, or by
    /// [`Task::kill`](crate::Task::kill).
    Retry(u32),
}

/// How one worker is started: the builder of its process, and its post.
type Start = Box<dyn Fn(&ginnel_process::Builder, Post) -> Result<Process<Result<(), Error>>> + Send + Sync>;

/// What a pool was told, fixed for its life.
pub(crate) struct Plan {
    /// How many workers it begins with.
    pub(crate) workers: usize,
    pub(crate) name: String,
    pub(crate) on_worker_death: OnWorkerDeath,
    pub(crate) task_timeout: Option<Duration>,
    /// Items of a chunk of a map; `None`: by how long they take.
    pub(crate) chunk: Option<usize>,
    pub(crate) wait: Wait,
    process: ginnel_process::Builder,
    start: Start,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("name", &self.name)
            .field("on_worker_death", &self.on_worker_death)
            .field("task_timeout", &self.task_timeout)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// How often a task is given to another worker when its own has died.
    pub(crate) fn retries(&self) -> u32 {
        match self.on_worker_death {
            OnWorkerDeath::Fail => 0,
            OnWorkerDeath::Retry(times) => times,
        }
    }

    /// How threads of this process wait for results.
    pub(crate) fn mode(&self) -> Mode {
        mode_of(number_of(self.wait))
    }

    /// Starts one worker. Blocks for as long as the kernel takes to make a process.
    pub(crate) fn start(&self, crew: &Crew, seat: u32, name: &str) -> Result<Process<Result<(), Error>>> {
        let post = Post { crew: crew.clone(), seat, wait: number_of(self.wait) };
        (self.start)(&self.process.clone().name(name).worker(), post)
    }
}

/// How a pool is made. What is not set has a default.
///
/// ```
/// use ginnel_pool::{OnWorkerDeath, Pool};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// let pool = Pool::builder().workers(2).on_worker_death(OnWorkerDeath::Retry(2)).build()?;
/// assert_eq!(pool.apply(square, 12)?, 144);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder starts nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    name: Option<String>,
    queue_size: usize,
    process: ginnel_process::Builder,
    on_worker_death: OnWorkerDeath,
    task_timeout: Option<Duration>,
    max_tasks: u64,
    max_rss: usize,
    chunk: Option<usize>,
    wait: Wait,
    start: Start,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("name", &self.name)
            .field("queue_size", &self.queue_size)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            workers: None,
            name: None,
            queue_size: QUEUE_SIZE,
            process: Process::builder(),
            on_worker_death: OnWorkerDeath::default(),
            task_timeout: None,
            max_tasks: 0,
            max_rss: 0,
            chunk: None,
            wait: Wait::default(),
            start: starts(|| (), ()),
        }
    }
}

/// How workers with this initializer are started.
fn starts<F, A, S>(initializer: F, args: A) -> Start
where
    F: Task<A, S> + Sync,
    F::Output: Setup,
    A: Send + Sync + 'static,
    S: 'static,
{
    let args = Arc::new(args);
    Box::new(move |builder, post| {
        builder.spawn(Work { initializer, of: PhantomData }, Given(post, Arc::clone(&args)))
    })
}

impl Builder {
    /// How many workers it has, 1 to 250. Without this, as many as this process has processors
    /// ([`available_cpus`](ginnel_process::cpus::available_cpus)).
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What it is called; its workers are `name:1`, `name:2` and so on. Without this, `Pool-1`, `Pool-2` and so on.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many tasks can be out at a time, rounded up to a power of two from 16 to 16384. Without this, 1024. Whoever
    /// has more waits until some of them are over.
    pub fn queue_size(mut self, tasks: usize) -> Self {
        self.queue_size = tasks;
        self
    }

    /// How its workers are started: method, environment, limits, processors and so on. Their names are the pool's, and
    /// they end with this process whatever this builder says.
    pub fn process(mut self, builder: ginnel_process::Builder) -> Self {
        self.process = builder;
        self
    }

    /// What becomes of a task whose worker died under it.
    pub fn on_worker_death(mut self, what: OnWorkerDeath) -> Self {
        self.on_worker_death = what;
        self
    }

    /// How long a task may run, or an item of a map. Its worker is killed then, and replaced; the task comes to
    /// [`TaskError::TimedOut`](crate::TaskError::TimedOut), unless it is over by then. The time in the queue does not count.
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.task_timeout = Some(timeout);
        self
    }

    /// After how many tasks a worker is replaced; a chunk of a map counts as one. For code that leaks. 0, the default:
    /// never.
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.max_tasks = tasks;
        self
    }

    /// Above how many bytes of resident memory a worker is replaced, after the task that it is at. 0, the default: never.
    pub fn max_rss(mut self, bytes: usize) -> Self {
        self.max_rss = bytes;
        self
    }

    /// How many items a chunk of `map` has. Without this, as many as take about 200 µs.
    pub fn chunk(mut self, items: usize) -> Self {
        self.chunk = Some(items);
        self
    }

    /// How workers wait for tasks, and threads of this process for results.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Runs `f` in each worker before its first task: a function, or a closure that captures nothing, that returns
    /// nothing or a `Result<(), E>`. The arguments are sent to each worker that is ever started.
    ///
    /// A worker whose initializer fails takes no task, and another is started. Three failures in a row, without a worker
    /// that came up in between, break the pool: every task comes to that error. Workers that are killed before they come
    /// up count a quarter.
    pub fn initializer<F, A, S>(mut self, f: F, args: A) -> Self
    where
        F: Task<A, S> + Sync,
        F::Output: Setup,
        A: Send + Sync + 'static,
        S: 'static,
    {
        self.start = starts(f, args);
        self
    }

    /// Makes the pool and starts its workers. Blocks until they exist; they may not have set themselves up by then.
    ///
    /// # Errors
    /// `Invalid` for 0 workers, no room in the queue, a chunk of nothing, or no time for a task; in a daemon, and while
    /// the program is ending. `TooLarge` for more than 250 workers or 16384 tasks. `Encode` for arguments of the
    /// initializer that cannot be sent. `Full` when the arena has no room, or no participant left. `Os` when the system
    /// refuses a process. Nothing is left then.
    pub fn build(self) -> Result<Pool> {
        let workers = self.workers.unwrap_or_else(|| ginnel_process::cpus::available_cpus().max(1));
        self.check(workers)?;
        let manager = Manager::current()?;
        let shape = Shape {
            slots: self.queue_size.next_power_of_two().max(*SLOTS.start() as usize) as u32,
            seats: SEATS_MAX,
            tray_bytes: tray_bytes(manager),
            is_timed: self.task_timeout.is_some(),
            max_tasks: self.max_tasks,
            max_rss: self.max_rss as u64,
        };
        let crew = Crew::make(manager, shape)?;
        let plan = Plan {
            workers,
            name: self.name.unwrap_or_else(next_name),
            on_worker_death: self.on_worker_death,
            task_timeout: self.task_timeout,
            chunk: self.chunk,
            wait: self.wait,
            process: self.process,
            start: self.start,
        };
        let inner = Arc::new(Inner::new(crew, plan));
        Pool::begin(inner)
    }

    fn check(&self, workers: usize) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, what));
        if workers == 0 {
            return invalid("a pool without workers would never do anything");
        }
        if self.queue_size == 0 {
            return invalid("a pool that no task can be given to");
        }
        if self.chunk == Some(0) {
            return invalid("a chunk without items would never end a map");
        }
        if self.task_timeout == Some(Duration::ZERO) {
            return invalid("no task is over in no time");
        }
        check_workers(workers)?;
        if self.queue_size > *SLOTS.end() as usize {
            let happened = format!("{} tasks at a time, where at most {} fit", self.queue_size, SLOTS.end());
            return Err(Error::new(ErrorKind::TooLarge, happened));
        }
        Ok(())
    }
}

/// What the next pool without a name is called.
fn next_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("Pool-{}", LAST.fetch_add(1, Relaxed) + 1)
}

/// Bytes for larger arguments and results, in whole pages.
fn tray_bytes(manager: &Manager) -> u64 {
    let part = (manager.limit() as u64 / TRAYS_PART).min(TRAYS_MAX);
    part - part % PAGE as u64
}

/// # Errors
/// `TooLarge`.
pub(crate) fn check_workers(workers: usize) -> Result<()> {
    if workers > SEATS_MAX as usize {
        let happened = format!("{workers} workers, where a pool has at most {SEATS_MAX}");
        return Err(Error::new(ErrorKind::TooLarge, happened));
    }
    Ok(())
}
