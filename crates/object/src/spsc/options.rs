//! How lanes are made, and how their ends are found by name.

use std::sync::Arc;

use ginnel_layout::line::PAGE;
use ginnel_queue::lane::{Lane, Shape};
use ginnel_sync::Mode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Attached, Consumer, Producer, Values, pages_of};
use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, sealed};
use crate::message::Plain;
use crate::seat::Tenure;
use crate::sweep::tag;
use crate::words;

/// Values a lane has room for when nothing else is said.
const CAPACITY: usize = 1024;

/// Bytes of the ring of a lane of bytes when nothing else is said.
const SIZE: usize = 1 << 20;

/// How the ends of a lane wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// Spin while it pays, then sleep. Costs nothing when idle, and a fence a message.
    #[default]
    Adaptive,
    /// Never sleep: lowest latency, a core for each waiting end, no system call ever.
    Spin,
    /// Sleep at once: lowest use of the processor.
    Sleep,
}

impl Wait {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Adaptive => Mode::Adaptive,
            Self::Spin => Mode::Spin,
            Self::Sleep => Mode::Sleep,
        }
    }
}

/// Both ends of a lane.
pub type Ends<T> = (Producer<T>, Consumer<T>);

/// How a lane is made. What is not set has a default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    capacity: Option<usize>,
    size: Option<usize>,
    wait: Wait,
}

/// What a lane can carry: any [`Plain`] type, or `[u8]`. Sealed.
pub trait Payload: payload::Sealed {}

mod payload {
    use super::{Error, Mode, Options, Plain, Result, Shape};

    /// Size and alignment of a value; 0 and 1 for bytes.
    pub trait Sealed {
        const SIZE: usize;
        const ALIGN: usize;

        fn shape(options: &Options, mode: Mode) -> Result<Shape>;
    }

    impl<T: Plain> Sealed for T {
        const SIZE: usize = {
            assert!(size_of::<T>() > 0, "a value of no bytes cannot be sent; use an Event");
            size_of::<T>()
        };
        const ALIGN: usize = align_of::<T>();

        fn shape(options: &Options, mode: Mode) -> Result<Shape> {
            options.shape_of_values(Self::SIZE, Self::ALIGN, mode)
        }
    }

    impl Sealed for [u8] {
        const SIZE: usize = 0;
        const ALIGN: usize = 1;

        fn shape(options: &Options, mode: Mode) -> Result<Shape> {
            options.shape_of_bytes(mode)
        }
    }

    impl<T: Plain> super::Payload for T {}
    impl super::Payload for [u8] {}

    // Named here so that the error path of a shape reads like the rest.
    pub(super) fn refused(what: String) -> Error {
        Error::new(super::ErrorKind::Invalid, what)
    }
}

/// A lane for `capacity` values, both ends in this process; give one away with the processes you start.
///
/// # Errors
/// `Invalid` for a capacity of zero, `TooLarge` for one above 4 GiB, `Full`, `Os`.
pub fn channel<T: Plain>(capacity: usize) -> Result<Ends<T>> {
    Options::new().capacity(capacity).channel()
}

/// A lane of byte messages with `size` bytes of room, both ends in this process.
///
/// # Errors
/// As [`channel`].
pub fn bytes(size: usize) -> Result<Ends<[u8]>> {
    Options::new().size(size).channel()
}

/// The sending end of the lane of that name, which is made with the defaults if there is none.
///
/// # Errors
/// `Taken` while a living process holds it; `Mismatch` when it carries another type; as [`channel`].
pub fn producer<T: Payload + ?Sized>(manager: &Manager, name: &str) -> Result<Producer<T>> {
    Options::new().producer(manager, name)
}

/// The receiving end of the lane of that name, which is made with the defaults if there is none.
///
/// # Errors
/// As [`producer`].
pub fn consumer<T: Payload + ?Sized>(manager: &Manager, name: &str) -> Result<Consumer<T>> {
    Options::new().consumer(manager, name)
}

impl Options {
    /// The defaults: 1024 values, or 1 MiB of bytes; `Wait::Adaptive`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values it holds at least. For a lane of bytes use [`Options::size`].
    #[must_use]
    pub fn capacity(mut self, values: usize) -> Self {
        self.capacity = Some(values);
        self
    }

    /// How many bytes the ring has. Each message takes its length, rounded up to eight, and eight more.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = Some(bytes);
        self
    }

    /// How both ends wait.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes a lane and gives both its ends.
    ///
    /// # Errors
    /// As [`channel`].
    pub fn channel<T: Payload + ?Sized>(&self) -> Result<Ends<T>> {
        let object = make_lane::<T>(&Manager::current()?.arena, None, self)?;
        Ok((take_producer(object.clone(), None)?, take_consumer(object, None)?))
    }

    /// The sending end of the lane of that name, made with these options if there is none.
    ///
    /// # Errors
    /// As [`producer`].
    pub fn producer<T: Payload + ?Sized>(&self, manager: &Manager, name: &str) -> Result<Producer<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    /// The receiving end of the lane of that name, made with these options if there is none.
    ///
    /// # Errors
    /// As [`producer`].
    pub fn consumer<T: Payload + ?Sized>(&self, manager: &Manager, name: &str) -> Result<Consumer<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    fn shape_of_values(&self, size: usize, align: usize, mode: Mode) -> Result<Shape> {
        let capacity = match (self.capacity, self.size) {
            (Some(capacity), _) => capacity,
            (None, Some(bytes)) => bytes / size,
            (None, None) => CAPACITY,
        };
        if capacity == 0 {
            return Err(payload::refused(
                "a lane with room for no value is of no use; ask for one or more".into(),
            ));
        }
        let align = u32::try_from(align).unwrap_or(u32::MAX);
        Shape::of_values(size as u64, align, capacity as u64, mode)
            .ok_or_else(|| too_large(capacity, "values"))
    }

    fn shape_of_bytes(&self, mode: Mode) -> Result<Shape> {
        let size = self.size.unwrap_or(SIZE);
        if size == 0 {
            return Err(payload::refused("a lane with no bytes is of no use; ask for a page or more".into()));
        }
        Shape::of_bytes(size as u64, mode).ok_or_else(|| too_large(size, "bytes"))
    }
}

fn too_large(asked: usize, what: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("a lane for {asked} {what} would be larger than 4 GiB"))
        .with_advice("lower the capacity, or send references to shared blocks")
}

fn kind_of<T: Payload + ?Sized>() -> Kind {
    Kind { tag: tag::LANE, format: format_of(T::SIZE, T::ALIGN) }
}

fn make_lane<T: Payload + ?Sized>(
    arena: &Arc<Arena>,
    name: Option<&str>,
    options: &Options,
) -> Result<ObjectRef> {
    let shape = T::shape(options, options.wait.mode())?;
    let pages = pages_of(&shape).ok_or_else(|| too_large(shape.size as usize, "bytes"))?;
    arena.make(kind_of::<T>(), pages, name, |base| Lane::init(words::new_lane_control(base), &shape))
}

fn values_of<T: Payload + ?Sized>() -> Values {
    Values { size: T::SIZE, align: T::ALIGN }
}

fn take_producer<T: Payload + ?Sized>(object: ObjectRef, ticket: Option<u32>) -> Result<Producer<T>> {
    let (attached, end) = Attached::producer(object, ticket, values_of::<T>())?;
    Ok(Producer::new(end, attached))
}

fn take_consumer<T: Payload + ?Sized>(object: ObjectRef, ticket: Option<u32>) -> Result<Consumer<T>> {
    let (attached, end) = Attached::consumer(object, ticket, values_of::<T>())?;
    Ok(Consumer::new(end, attached))
}

impl<T: Payload + ?Sized> sealed::Sealed for Producer<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        kind_of::<T>()
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        make_lane::<T>(arena, name, &options)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_producer(object, None)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_producer(object, Some(ticket))
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.tenure_of())
    }
}

impl<T: Payload + ?Sized> sealed::Sealed for Consumer<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        kind_of::<T>()
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        make_lane::<T>(arena, name, &options)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_consumer(object, None)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_consumer(object, Some(ticket))
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.tenure_of())
    }

    fn departing(&self) -> Result<bool> {
        Ok(self.end.seen_before())
    }
}

/// An end moves into the message, once the message is sent; anywhere but in a message of the same manager it is an error.
impl<T: Payload + ?Sized> Serialize for Producer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de, T: Payload + ?Sized> Deserialize<'de> for Producer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

/// As for a [`Producer`].
impl<T: Payload + ?Sized> Serialize for Consumer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de, T: Payload + ?Sized> Deserialize<'de> for Consumer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

const _: () = assert!(PAGE >= 128, "a value aligned to 128 bytes is aligned in a ring that starts on a page");
