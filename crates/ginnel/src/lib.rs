//! Shared-memory IPC for Rust: messages, locks and names between processes, with no system call while both sides
//! are awake, and no participant whose `kill -9` can lose, duplicate, corrupt or block anything for the others.
//!
//! | you want | use |
//! |---|---|
//! | one producer, one consumer, lowest latency | [`spsc`] |
//! | many producers, many consumers, work that must not be lost | [`queue`] |
//! | many producers, one consumer | [`mpsc`] |
//! | to talk with one other process, both ways | [`mod@pipe`] |
//! | everything to everybody who listens | [`broadcast`] |
//! | large buffers without copying them | [`blocks`] |
//! | data that one process at a time may change | [`sync::Mutex`], [`sync::RwLock`] |
//! | to exclude, to count, to signal, to meet | [`sync`] |
//! | the first of several to be ready | [`select`] |
//! | a function to run in a process of its own | [`Process`] |
//! | many calls of functions, in processes that stay | [`Pool`] |
//! | a map or a list that all processes change | [`Dict`], [`List`], [`Namespace`] |
//! | one value, an array, plain bytes for all | [`Value`], [`Array`], [`SharedMemory`] |
//! | programs that find each other by name | [`Manager::open_or_create`] |
//!
//! Two programs that never heard of each other's process ids:
//!
//! ```
//! use ginnel::{Manager, spsc};
//!
//! # fn main() -> ginnel::Result<()> {
//! // one of them
//! let shop = Manager::open_or_create("doc-shop")?;
//! let mut orders = spsc::producer::<u64>(&shop, "orders")?;
//! orders.send(4711)?;
//!
//! // the other
//! let shop = Manager::open_or_create("doc-shop")?;
//! let mut orders = spsc::consumer::<u64>(&shop, "orders")?;
//! assert_eq!(orders.recv()?, 4711);
//! # Manager::unlink("doc-shop")?;
//! # Ok(())
//! # }
//! ```
//!
//! # What you can rely on
//! - A message is delivered once. If the consumer is killed before it acknowledges, its successor gets the
//!   message again, flagged; if the producer is killed in the middle of a send, nothing was sent.
//! - A dead peer is an error, never a hang. A stopped peer is a timeout that names it: nothing is taken from the
//!   living, however long they are stopped.
//! - Everything that can go wrong is one [`Error`], or a small enum that gives your value back.
//!
//! # What it is not
//! It does not cross machines, and it does not protect you from a process of your own user that writes into your
//! memory on purpose: see `SAFETY.md`.

pub use ginnel_manager::{Dict, List, Namespace};
pub use ginnel_object::{
    Array, Block, Blocks, Error, ErrorKind, Json, Manager, Message, Object, Owner, OwnerState, Plain, Queue,
    Raw, Result, Shared, SharedMemory, Value,
};
pub use ginnel_pipe::pipe;
pub use ginnel_pool::Pool;
pub use ginnel_process::{Failure, Process, spawn};

/// Runs what a child is for inside the real `main`; see [`process::enter`].
#[cfg(feature = "macros")]
pub use ginnel_macros::main;

/// The one error, and the enums that give a value back.
pub mod error {
    pub use ginnel_object::error::{
        Error, ErrorKind, Owner, OwnerState, RecvError, RecvTimeoutError, Result, SendError,
        SendTimeoutError, TryRecvError, TrySendError,
    };
}

/// Arenas with a limit, the names in them, and data that all processes share: maps, lists, values, arrays, bytes.
///
/// ```
/// use ginnel::{Dict, Process, Value};
///
/// fn visit(pages: Dict<String, u64>, visits: Value<u64>) -> ginnel::Result<()> {
///     pages.update("/index".into(), |n| n.unwrap_or(0) + 1)?; // no visit is lost
///     visits.fetch_add(1).map(drop)
/// }
///
/// # fn main() -> ginnel::Result<()> {
/// let (pages, visits) = (Dict::new()?, Value::new(0)?);
/// for child in Process::spawn_all(visit, [(&pages, &visits); 3])? {
///     child.join()??;
/// }
/// assert_eq!((pages.get("/index")?, visits.get()), (Some(3), 3));
/// # Ok(())
/// # }
/// ```
///
/// How they are made, where the defaults do not do: [`dict::Options`], [`list::Options`], [`Init`](manager::Init) for a value,
/// [`Elements`](manager::Elements) for an array, [`Size`](manager::Size) for bytes.
pub mod manager {
    pub use ginnel_manager::{Dict, List, Namespace, ShareableList};
    pub use ginnel_object::array::{Array, Elements};
    pub use ginnel_object::manager::{Inspection, Manager, Object, ObjectInfo, Options};
    pub use ginnel_object::memory::{SharedMemory, Size};
    pub use ginnel_object::mutex::Init;
    pub use ginnel_object::rwlock::{ReadGuard, WriteGuard};
    pub use ginnel_object::value::{Integer, Value};
}

/// What belongs to a [`Dict`].
pub mod dict {
    pub use ginnel_manager::dict::{Dict, Entry, Iter, Keys, Options, Transaction, Values, Watch};
    pub use ginnel_manager::{Key, Lookup};
}

/// What belongs to a [`List`].
pub mod list {
    pub use ginnel_manager::list::{Iter, List, Options};
    pub use ginnel_manager::shareable::{Item, ShareableList};
}

/// One producer, one consumer: the fastest way from one process to another.
pub mod spsc {
    pub use ginnel_object::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
    pub use ginnel_object::spsc::{
        Claim, Consumer, Ends, Loan, Options, Payload, Producer, Wait, bytes, channel, consumer, producer,
    };
}

/// Queues between any number of processes.
pub mod queue {
    pub use ginnel_object::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
    pub use ginnel_object::queue::{
        Lease, OnConsumerDeath, Options, Queue, Receiver, Sender, Stats, channel,
    };
}

/// Pipes between two processes: typed, or of bytes; of one direction, or of two.
///
/// ```
/// use ginnel::{Process, pipe};
/// use ginnel::pipe::Pipe;
///
/// fn double(mut numbers: Pipe<u64>) -> ginnel::Result<()> {
///     while let Some(number) = numbers.next()? {
///         numbers.send(2 * number)?;
///     }
///     Ok(())
/// }
///
/// # fn main() -> ginnel::Result<()> {
/// let (mut ours, theirs) = pipe::<u64>()?;
/// let child = Process::spawn(double, theirs)?; // its end moves there
/// ours.send(21)?;
/// assert_eq!(ours.recv()?, 42);
/// ours.close(); // ends the loop
/// child.join()?
/// # }
/// ```
pub mod pipe {
    pub use ginnel_object::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
    pub use ginnel_object::spsc::Wait;
    pub use ginnel_pipe::{
        BytePipe, ByteReceiver, ByteSender, Options, Pipe, Receiver, RecvIntoError, Sender, bytes, pipe,
        simplex,
    };
    pub use ginnel_pipe::{
        ConnectOptions, Credentials, HALF_OPEN_MAX, Listener, ListenerOptions, Peer, connect,
    };
}

/// Many senders, one receiver; each sender has a lane of its own.
pub mod mpsc {
    pub use ginnel_object::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
    pub use ginnel_object::mpsc::{BATCH, Options, Receiver, Sender, channel, receiver, sender};
}

/// Every message to every receiver that listens; nobody waits for the slow.
pub mod broadcast {
    pub use ginnel_object::broadcast::{Options, Receiver, Sender, channel};
    pub use ginnel_object::error::{
        RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
    };
}

/// Large buffers that travel by reference.
pub mod blocks {
    pub use ginnel_object::blocks::{Block, BlockMut, Blocks, Options, Stats};
    pub use ginnel_object::shared::{Init, Shared};
}

/// Locks between processes, and signals.
pub mod sync {
    pub use ginnel_object::info::SyncInfo;
    pub use ginnel_object::mutex::{Init, Mutex, MutexGuard};

    // Locks.
    pub use ginnel_object::condvar::{Condvar, Guard, WaitTimeoutResult};
    pub use ginnel_object::lock::{Lock, LockGuard, RLock, RLockGuard};
    pub use ginnel_object::rwlock::{ReadGuard, ReadSide, RwLock, WriteGuard};

    // Signals.
    pub use ginnel_object::barrier::{Barrier, OnDeath, Options};
    pub use ginnel_object::event::{Event, Reset};
    pub use ginnel_object::once::{Once, OnceState, OnceValue, SetError};
    pub use ginnel_object::permits::{Permit, PermitPool, Permits};
    pub use ginnel_object::semaphore::{Count, Semaphore};
}

/// Waiting for any of several objects, descriptors and processes.
pub mod select {
    pub use ginnel_object::ready::{Registration, RoomIn};
    pub use ginnel_object::select::{Exit, Select, Waitable, WaitableSend, wait_any};
}

/// Functions in processes of their own.
pub mod process {
    pub use ginnel_process::builder::{Builder, OnParentDeath, Start, Stdio};
    pub use ginnel_process::child::Process;
    pub use ginnel_process::cpus::{available_cpus, cpu_count, pin_current_thread};
    pub use ginnel_process::error::{Panic, ProcessError};
    pub use ginnel_process::info::{Info, children, current, parent};
    pub use ginnel_process::limits::Limits;
    pub use ginnel_process::sandbox::Sandbox;
    pub use ginnel_process::task::{Arg, Task};
    pub use ginnel_process::{enter, preload, start_method, warm};
}

/// Many calls of functions, in worker processes that stay.
///
/// ```
/// use ginnel::Pool;
/// use ginnel::pool::OnWorkerDeath;
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # fn main() -> ginnel::Result<()> {
/// let pool = Pool::builder().workers(2).on_worker_death(OnWorkerDeath::Retry(2)).build()?;
/// let task = pool.spawn(square, 12)?;
/// assert_eq!(pool.map(square, 0..4_u64)?, [0, 1, 4, 9]);
/// assert_eq!(task.join()?, 144);
/// pool.join()?; // waits for all that was given to it
/// # Ok(())
/// # }
/// ```
pub mod pool {
    pub use ginnel_object::spsc::Wait;
    pub use ginnel_pool::{
        Builder, Imap, OnWorkerDeath, Pool, Setup, Stats, Task, TaskError, Worker, attempt, is_cancelled,
        set_progress,
    };
}

/// Handles as futures, on tokio's reactor.
#[cfg(feature = "tokio")]
pub mod tokio {
    pub use ginnel_object::aio::tokio::{Async, Slot};
    pub use ginnel_object::aio::{ByteReader, ByteStream, ByteWriter, Messages, Polling, Sending};
}

/// Handles as futures, on the reactor of smol and async-std.
#[cfg(feature = "async-io")]
pub mod smol {
    pub use ginnel_object::aio::smol::{Async, Slot};
    pub use ginnel_object::aio::{ByteReader, ByteStream, ByteWriter, Messages, Polling, Sending};
}

/// For programs that come from the crates `raw_sync` and `shared_memory`.
#[cfg(feature = "compat")]
pub mod compat {
    pub use ginnel_object::compat::{Event, Shmem};
}
