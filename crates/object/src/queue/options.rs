//! What a queue is made with.

use std::sync::Arc;

use ginnel_layout::line::PAGE;
use ginnel_queue::ring::{OnDeath, Shape};

use super::{Queue, Receiver, Sender};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::manager::Manager;
use crate::message::Message;
use crate::spsc::Wait;
use crate::sweep::tag;
use crate::words;

/// What becomes of a message whose consumer dies before it has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnConsumerDeath {
    /// Another consumer gets it, and is told that it may have been seen before.
    #[default]
    Redeliver,
    /// It is dropped and counted, see [`Stats::dropped`](super::Stats::dropped).
    Drop,
}

/// How a queue is made. Start with [`Options::bounded`] or [`Options::unbounded`].
#[derive(Debug, Clone)]
pub struct Options {
    /// None: as many as there is room for.
    capacity: Option<usize>,
    grows: bool,
    exact: bool,
    inline_size: Option<usize>,
    leases: Option<usize>,
    on_consumer_death: OnConsumerDeath,
    wait: Wait,
}

/// Messages of a queue that is made without options.
const CAPACITY: usize = 1024;

/// Bytes of an encoded message that lie in its slot, where nothing else is asked for: two lines less the header.
const INLINE: usize = 112;

/// Messages of an unbounded queue, where nothing else is asked for and the manager is large enough.
const UNBOUNDED_MAX: usize = 1 << 20;

/// An unbounded queue has four chunks at least.
const UNBOUNDED_MIN: usize = 4 * CHUNK_MIN as usize;

const CHUNK_MIN: u64 = 64;
const CHUNK_BYTES: u64 = 256 << 10;

/// Leases at a time, where nothing else is asked for.
const LEASES: usize = 64;

impl Default for Options {
    /// 1024 messages.
    fn default() -> Self {
        Self::bounded(CAPACITY)
    }
}

impl Options {
    /// A queue for at least `capacity` messages: the next power of two, unless [`Options::exactly`] is said.
    #[must_use]
    pub fn bounded(capacity: usize) -> Self {
        Self::of(Some(capacity), false)
    }

    /// A queue whose memory comes and goes with its messages. It holds a million of them, or as many as fit into a
    /// quarter of the manager's limit; the pages for them are reserved at once, and count against the limit, but take
    /// no memory. Sending waits when it is full, and fails (`Full`) when the machine has no memory for more.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::of(None, true)
    }

    /// An unbounded queue for at least `messages`: the next power of two. Where they do not fit into the manager,
    /// making the queue fails. Of a bounded queue this is the capacity.
    #[must_use]
    pub fn limit(mut self, messages: usize) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// It is full with exactly as many messages as were asked for, where it would otherwise have the next power of two.
    #[must_use]
    pub fn exactly(mut self) -> Self {
        self.exact = true;
        self
    }

    fn of(capacity: Option<usize>, grows: bool) -> Self {
        Self {
            capacity,
            grows,
            exact: false,
            inline_size: None,
            leases: None,
            on_consumer_death: OnConsumerDeath::default(),
            wait: Wait::default(),
        }
    }

    /// What becomes of messages whose consumer dies before it has acknowledged them.
    #[must_use]
    pub fn on_consumer_death(mut self, policy: OnConsumerDeath) -> Self {
        self.on_consumer_death = policy;
        self
    }

    /// How many bytes of an encoded message its slot has. For [`Raw`](crate::Raw) messages it is their size.
    #[must_use]
    pub fn inline_size(mut self, bytes: usize) -> Self {
        self.inline_size = Some(bytes);
        self
    }

    /// How many leases can be out at a time; 64 if nothing is said. More wait.
    #[must_use]
    pub fn leases(mut self, most: usize) -> Self {
        self.leases = Some(most);
        self
    }

    /// How the handles of the queue wait.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    /// `Invalid` for a capacity of zero, `TooLarge`, `Full` when the manager has no room, `Os`.
    pub fn create<T: Message>(self) -> Result<Queue<T>> {
        Manager::current()?.create_with(self)
    }

    /// Makes a queue with two sides, which closes when one of them is empty.
    ///
    /// # Errors
    /// As [`Options::create`].
    pub fn channel<T: Message>(self) -> Result<(Sender<T>, Receiver<T>)> {
        let object = self.make::<T>(&Manager::current()?.arena, None, tag::CHANNEL)?;
        super::sides_of(object)
    }

    pub(super) fn make<T: Message>(
        self,
        arena: &Arc<Arena>,
        name: Option<&str>,
        tag: u32,
    ) -> Result<ObjectRef> {
        let shape = self.shape(T::FIXED, arena.segment().geometry().pages * PAGE as u64)?;
        let too_many = |_| too_large(shape.capacity as usize);
        let pages = u32::try_from(shape.size().div_ceil(PAGE as u64)).map_err(too_many)?;
        let with_memory = u32::try_from(shape.fixed_size().div_ceil(PAGE as u64)).map_err(too_many)?;
        let kind = Kind::of_messages::<T>(tag);
        arena.make_partly(kind, (pages, with_memory), name, |base| words::new_ring(base, &shape))
    }

    /// What is to be made in a manager of `limit` bytes.
    fn shape(&self, fixed: Option<usize>, limit: u64) -> Result<Shape> {
        let Some(capacity) = self.capacity else {
            let mut shape = self.shape_for(UNBOUNDED_MAX, fixed)?;
            while shape.size() > limit / 4 && shape.capacity as usize > UNBOUNDED_MIN {
                shape = self.shape_for(shape.capacity as usize / 2, fixed)?;
            }
            return Ok(shape);
        };
        if capacity == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a queue with room for no message is of no use")
                .with_advice("ask for one or more"));
        }
        self.shape_for(if self.grows { capacity.max(UNBOUNDED_MIN) } else { capacity }, fixed)
    }

    fn shape_for(&self, asked: usize, fixed: Option<usize>) -> Result<Shape> {
        // Without a capacity, or with one below that of the smallest that grows, there are more slots than asked for.
        let exactly = self.capacity.unwrap_or(asked) as u64;
        let capacity = asked.checked_next_power_of_two().ok_or_else(|| too_large(asked))?;
        let payload = fixed.or(self.inline_size).unwrap_or(INLINE);
        let policy = match self.on_consumer_death {
            OnConsumerDeath::Redeliver => OnDeath::Redeliver,
            OnConsumerDeath::Drop => OnDeath::Drop,
        };
        let leases = self.leases.unwrap_or(LEASES).max(1);
        let shape = Shape::new(capacity as u64, payload as u64, leases as u64, policy, self.wait.mode());
        let shape = if self.grows { shape.and_then(in_chunks) } else { shape };
        let shape = if self.exact { shape.and_then(|shape| shape.limited(exactly)) } else { shape };
        shape.ok_or_else(|| too_large(asked))
    }
}

/// Chunks of about 256 KiB, so that their two system calls are shared by a thousand messages and more; four of them
/// at least. 64 slots are whole pages, whatever their size.
fn in_chunks(shape: Shape) -> Option<Shape> {
    let slots = (CHUNK_BYTES / shape.slot_size).max(1).ilog2();
    shape.chunked((1 << slots).clamp(CHUNK_MIN, shape.capacity / 4))
}

fn too_large(capacity: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("a queue for {capacity} messages would be larger than any memory"),
    )
    .with_advice("lower the capacity")
}
