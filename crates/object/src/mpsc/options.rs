//! How channels are made, and how their ends are found by name.

use std::sync::Arc;

use ginnel_layout::line::PAGE;
use ginnel_layout::mpsc::LANES_MAX;
use ginnel_queue::lane;
use ginnel_queue::mpsc::{Mpsc, Shape};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Channel, Receiver, Sender};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, sealed};
use crate::message::Message;
use crate::seat::Tenure;
use crate::spsc::Wait;
use crate::sweep::tag;
use crate::words;

/// Senders at a time when nothing else is said.
const SENDERS: usize = 16;

/// Messages that a lane has room for when nothing else is said.
const CAPACITY: usize = 256;

/// Bytes that a message of a serde type is taken to need in its lane. Some need more, most need less.
const TYPICAL: usize = 128;

/// Least bytes of the lane of a serde type, so that a rare long message fits all the same.
const LEAST: usize = 16 << 10;

/// How a channel is made. What is not set has a default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    capacity: Option<usize>,
    size: Option<usize>,
    senders: Option<usize>,
    wait: Wait,
}

/// A channel in which each sender has room for `capacity` messages; both ends in this process.
///
/// For a [`Raw`](crate::Raw) type that is exact. Of a serde type it is room for that many messages of 120 bytes each,
/// and 16 KiB at least.
///
/// # Errors
/// `Invalid` for a capacity of zero, `TooLarge` for one above 4 GiB, `Full`, `Os`.
pub fn channel<T: Message>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    Options::new().capacity(capacity).channel()
}

/// A sender of the channel of that name, which is made with the defaults if there is none.
///
/// # Errors
/// `Full` when living senders hold all lanes; `Mismatch` when it carries another type; as [`channel`].
pub fn sender<T: Message>(manager: &Manager, name: &str) -> Result<Sender<T>> {
    Options::new().sender(manager, name)
}

/// The receiver of the channel of that name, which is made with the defaults if there is none.
///
/// # Errors
/// `Taken` while a living process holds it; `Mismatch` when it carries another type; as [`channel`].
pub fn receiver<T: Message>(manager: &Manager, name: &str) -> Result<Receiver<T>> {
    Options::new().receiver(manager, name)
}

impl Options {
    /// The defaults: 16 senders, room for 256 messages each; `Wait::Adaptive`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For how many messages each sender has room, see [`channel`].
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// How many bytes each sender's lane has, instead of a capacity. Each message takes its length, rounded up to
    /// eight, and eight more; the longest that can be sent is 16 bytes less than the size.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = Some(bytes);
        self
    }

    /// How many senders there can be at a time: 1 to 1024. Each takes memory from the beginning.
    #[must_use]
    pub fn senders(mut self, most: usize) -> Self {
        self.senders = Some(most);
        self
    }

    /// How the ends wait.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes a channel and gives both its ends.
    ///
    /// # Errors
    /// As [`channel`].
    pub fn channel<T: Message>(&self) -> Result<(Sender<T>, Receiver<T>)> {
        let object = self.make::<T>(&Manager::current()?.arena, None)?;
        Ok((sealed::Sealed::open(object.clone())?, sealed::Sealed::open(object)?))
    }

    /// A sender of the channel of that name, made with these options if there is none.
    ///
    /// # Errors
    /// As [`sender`].
    pub fn sender<T: Message>(&self, manager: &Manager, name: &str) -> Result<Sender<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    /// The receiver of the channel of that name, made with these options if there is none.
    ///
    /// # Errors
    /// As [`receiver`].
    pub fn receiver<T: Message>(&self, manager: &Manager, name: &str) -> Result<Receiver<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    fn make<T: Message>(&self, arena: &Arc<Arena>, name: Option<&str>) -> Result<ObjectRef> {
        let shape = self.shape(T::FIXED)?;
        let pages = u32::try_from(shape.size().div_ceil(PAGE as u64)).map_err(|_| too_large())?;
        arena.make(Kind::of_messages::<T>(tag::MPSC), pages, name, |base| {
            let (control, lanes) = words::new_mpsc(base, shape.lanes);
            Mpsc::init(control, lanes, &shape);
        })
    }

    fn shape(&self, fixed: Option<usize>) -> Result<Shape> {
        let (capacity, senders) = (self.capacity.unwrap_or(CAPACITY), self.senders.unwrap_or(SENDERS));
        if capacity == 0 || self.size == Some(0) {
            return Err(Error::new(ErrorKind::Invalid, "a channel with room for no message is of no use")
                .with_advice("ask for one or more"));
        }
        let mode = self.wait.mode();
        let lane = match (value_size(fixed), self.size) {
            (0, size) => {
                let bytes = size.unwrap_or_else(|| capacity.saturating_mul(TYPICAL).max(LEAST));
                lane::Shape::of_bytes(bytes as u64, mode)
            }
            (value, None) => lane::Shape::of_values(value, 1, capacity as u64, mode),
            (value, Some(bytes)) => {
                // A record is the value, rounded up to eight, and eight bytes of header.
                let record = value.saturating_add(7) / 8 * 8 + 8;
                lane::Shape::of_values(value, 1, (bytes as u64 / record).max(1), mode)
            }
        };
        let lane = lane.ok_or_else(too_large)?;
        let lanes = u32::try_from(senders).unwrap_or(u32::MAX);
        Shape::new(lanes, lane).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!("a channel for {senders} senders, where 1 to {LANES_MAX} can be"),
            )
            .with_advice("let senders share a process, or use a Queue")
        })
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the lane of a sender would be larger than 4 GiB")
        .with_advice("lower the capacity")
}

/// Bytes of each message as the lanes know it; 0: they differ.
pub(super) fn value_size(fixed: Option<usize>) -> u64 {
    fixed.unwrap_or(0) as u64
}

impl<T: Message> sealed::Sealed for Sender<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::MPSC)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Self::new(Channel::new(object, T::FIXED)?)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        Self::arrive(Channel::new(object, T::FIXED)?, ticket)
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }

    fn tenure(&self) -> Option<&Tenure> {
        self.tenure_of()
    }

    fn other(&self) -> Result<Option<Self>> {
        self.try_clone().map(Some)
    }
}

impl<T: Message> sealed::Sealed for Receiver<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::MPSC)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        Self::new(Channel::new(object, T::FIXED)?, None)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        Self::new(Channel::new(object, T::FIXED)?, Some(ticket))
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(&self.tenure)
    }

    fn departing(&self) -> Result<bool> {
        Ok(self.end.seen_before())
    }
}

/// Another sender goes with the message, once the message is sent; anywhere but in a message of the same manager it is an
/// error, and so it is while living senders hold all lanes.
impl<T: Message> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

/// The end moves into the message, once the message is sent; anywhere but in a message of the same manager it is an error.
impl<T: Message> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
