//! How a simplex is made, and how its ends are taken.

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::lane::RING_AT;
use ginnel_layout::line::PAGE;
use ginnel_queue::lane::{Lane, Shape};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bytes::{ByteReceiver, ByteSender};
use super::intake::In;
use super::out::Out;
use super::{Receiver, Sender};
use crate::arena::{Arena, Kind, ObjectRef, format_of};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, sealed};
use crate::message::Message;
use crate::seat::Tenure;
use crate::spsc::{Attached, Values, Wait};
use crate::sweep::tag;
use crate::words;

/// Bytes of the ring when nothing else is said.
const SIZE: usize = 256 << 10;

/// The longest message when nothing else is said.
const MAX_MESSAGE: usize = 1 << 30;

/// Both ends of a simplex.
pub type Ends<T> = (Sender<T>, Receiver<T>);

/// How a simplex is made: each direction of a pipe is one. What is not set has a default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    size: Option<usize>,
    max_message: Option<usize>,
    wait: Wait,
}

/// A simplex with the defaults, both ends in this process; give one away.
///
/// # Errors
/// `Full` when the manager has no room; `Os`.
pub fn channel<T: Message>() -> Result<Ends<T>> {
    Options::new().channel()
}

impl Options {
    /// The defaults: a ring of 256 KiB, messages of up to 1 GiB, `Wait::Adaptive`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the ring, rounded up to whole pages. Each message takes its encoded length, rounded up to eight, and
    /// eight more; one that does not fit into a quarter of the ring goes in parts.
    #[must_use]
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = Some(bytes);
        self
    }

    /// The longest message, encoded, in bytes. Longer ones are refused by the sender with `TooLarge`.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = Some(bytes);
        self
    }

    /// How both ends wait.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes a simplex and gives both its ends.
    ///
    /// # Errors
    /// `Invalid` for a size of zero; `TooLarge` for one above 4 GiB; `Full` when the manager has no room; `Os`.
    pub fn channel<T: Message>(&self) -> Result<Ends<T>> {
        let object = self.make(&Manager::current()?.arena, None, kind_of::<T>())?;
        Ok((Sender::new(take_out(object.clone(), None)?), Receiver::new(take_in(object, None)?)))
    }

    /// Makes one for bytes as they are.
    ///
    /// # Errors
    /// As [`Options::channel`].
    #[doc(hidden)]
    pub fn bytes(&self) -> Result<(ByteSender, ByteReceiver)> {
        let object = self.make(&Manager::current()?.arena, None, KIND_OF_BYTES)?;
        Ok((ByteSender::new(take_out(object.clone(), None)?), ByteReceiver::new(take_in(object, None)?)))
    }

    fn make(&self, arena: &Arc<Arena>, name: Option<&str>, kind: Kind) -> Result<ObjectRef> {
        let size = self.size.unwrap_or(SIZE);
        if size == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a pipe with no bytes is of no use; ask for a page or more",
            ));
        }
        let too_large = || {
            Error::new(
                ErrorKind::TooLarge,
                format!("a pipe with a ring of {size} bytes would be larger than 4 GiB"),
            )
            .with_advice("messages may be longer than the ring")
        };
        let shape = Shape::of_bytes(size as u64, self.wait.mode()).ok_or_else(too_large)?;
        let pages = u32::try_from((RING_AT + shape.size) / PAGE as u64).map_err(|_| too_large())?;
        let max = self.max_message.unwrap_or(MAX_MESSAGE) as u64;
        arena.make(kind, pages, name, |base| {
            let control = words::new_lane_control(base);
            Lane::init(control, &shape);
            control.geometry.max_message.store(max, Relaxed);
        })
    }
}

/// An object that carries bytes as they are.
const KIND_OF_BYTES: Kind = Kind { tag: tag::PIPE, format: format_of(0, 1) };

fn kind_of<T: Message>() -> Kind {
    Kind::of_messages::<T>(tag::PIPE)
}

fn take_out(object: ObjectRef, ticket: Option<u32>) -> Result<Out> {
    let (attached, end) = Attached::producer(object, ticket, Values::BYTES)?;
    let max = max_of(&attached)?;
    Ok(Out::new(end, attached, max))
}

fn take_in(object: ObjectRef, ticket: Option<u32>) -> Result<In> {
    let (attached, end) = Attached::consumer(object, ticket, Values::BYTES)?;
    let max = max_of(&attached)?;
    Ok(In::new(end, attached, max))
}

fn max_of(attached: &Attached) -> Result<u64> {
    Ok(attached.object.lane_control()?.geometry.max_message.load(Relaxed))
}

impl<T: Message> sealed::Sealed for Sender<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        kind_of::<T>()
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make(arena, name, Self::kind())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_out(object, None).map(Self::new)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_out(object, Some(ticket)).map(Self::new)
    }

    fn object(&self) -> &ObjectRef {
        &self.out.attached().object
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.out.attached().tenure())
    }
}

/// It moves into the message, once the message is sent; anywhere but in a message of the same manager it is an error.
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

impl<T: Message> sealed::Sealed for Receiver<T> {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        kind_of::<T>()
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make(arena, name, Self::kind())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_in(object, None).map(Self::new)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_in(object, Some(ticket)).map(Self::new)
    }

    fn object(&self) -> &ObjectRef {
        &self.intake.attached().object
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.intake.attached().tenure())
    }

    fn departing(&self) -> Result<bool> {
        self.intake.departing()
    }
}

/// As for a [`Sender`]; in the middle of a long message it is an error as well.
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

impl sealed::Sealed for ByteSender {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        KIND_OF_BYTES
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make(arena, name, Self::kind())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_out(object, None).map(Self::new)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_out(object, Some(ticket)).map(Self::new)
    }

    fn object(&self) -> &ObjectRef {
        &self.out.attached().object
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.out.attached().tenure())
    }
}

/// As for a [`Sender`].
impl Serialize for ByteSender {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ByteSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

impl sealed::Sealed for ByteReceiver {
    type Options = Options;

    const EXCLUSIVE: bool = true;

    fn kind() -> Kind {
        KIND_OF_BYTES
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make(arena, name, Self::kind())
    }

    fn open(object: ObjectRef) -> Result<Self> {
        take_in(object, None).map(Self::new)
    }

    fn arrive(object: ObjectRef, ticket: u32) -> Result<Self> {
        take_in(object, Some(ticket)).map(Self::new)
    }

    fn object(&self) -> &ObjectRef {
        &self.intake.attached().object
    }

    fn tenure(&self) -> Option<&Tenure> {
        Some(self.intake.attached().tenure())
    }

    fn departing(&self) -> Result<bool> {
        self.departing()
    }
}

/// As for a [`Receiver`].
impl Serialize for ByteReceiver {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize_end(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ByteReceiver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}
