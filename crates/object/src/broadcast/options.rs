//! How broadcast channels are made.

use std::sync::Arc;

use ginnel_layout::entry::Side;
use ginnel_layout::line::PAGE;
use ginnel_queue::broadcast::Shape;

use super::{Channel, Receiver, Sender};
use crate::arena::{Arena, Kind, ObjectRef};
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, sealed};
use crate::message::Message;
use crate::spsc::Wait;
use crate::sweep::tag;
use crate::words;

/// Messages that a receiver may be behind when nothing else is said.
const CAPACITY: usize = 1024;

/// Bytes of an encoded message of a serde type when nothing else is said: a slot of 512 with its header.
const MESSAGE: usize = 496;

/// How a channel is made. What is not set has a default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    capacity: Option<usize>,
    message_size: Option<usize>,
    wait: Wait,
}

/// A channel whose receivers may be behind by `capacity` messages, in the manager of this process.
///
/// # Errors
/// `Invalid` for a capacity of zero, `TooLarge`, `Full` when the manager has no room, `Os`.
pub fn channel<T: Message>(capacity: usize) -> Result<(Sender<T>, Receiver<T>)> {
    Options::new().capacity(capacity).channel()
}

impl Options {
    /// The defaults: 1024 messages, those of serde types up to 496 bytes; `Wait::Adaptive`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages a receiver may be behind: the next power of two. At least as many as there are senders, else
    /// they wait for each other.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = Some(messages);
        self
    }

    /// How many bytes an encoded message may have; a longer one is `TooLarge`. For [`Raw`](crate::Raw) messages it is
    /// their size. Each place in the channel takes so much.
    #[must_use]
    pub fn message_size(mut self, bytes: usize) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// How everybody waits. With `Wait::Spin` a send is cheaper, and every waiting receiver takes a core.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Makes a channel, and gives a sender and a receiver.
    ///
    /// # Errors
    /// As [`channel`].
    pub fn channel<T: Message>(&self) -> Result<(Sender<T>, Receiver<T>)> {
        let object = self.make::<T>(&Manager::current()?.arena, None)?;
        let sender: Sender<T> = sealed::Sealed::open(object)?;
        let receiver = sender.subscribe()?;
        Ok((sender, receiver))
    }

    /// A sender of the channel of that name, made with these options if there is none.
    ///
    /// # Errors
    /// `Mismatch` when it carries another type; as [`channel`].
    pub fn sender<T: Message>(&self, manager: &Manager, name: &str) -> Result<Sender<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    /// A receiver of the channel of that name, made with these options if there is none. It gets what is sent from now
    /// on.
    ///
    /// # Errors
    /// As [`Options::sender`].
    pub fn receiver<T: Message>(&self, manager: &Manager, name: &str) -> Result<Receiver<T>> {
        manager.get_or_create_with(name, self.clone())
    }

    fn make<T: Message>(&self, arena: &Arc<Arena>, name: Option<&str>) -> Result<ObjectRef> {
        let shape = self.shape(T::FIXED)?;
        let pages = u32::try_from(shape.size().div_ceil(PAGE as u64)).map_err(|_| too_large())?;
        arena.make(Kind::of_messages::<T>(tag::BROADCAST), pages, name, |base| {
            words::new_broadcast(base, &shape)
        })
    }

    fn shape(&self, fixed: Option<usize>) -> Result<Shape> {
        let capacity = self.capacity.unwrap_or(CAPACITY);
        if capacity == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a channel with room for no message is of no use")
                .with_advice("ask for one or more"));
        }
        let payload = fixed.or(self.message_size).unwrap_or(MESSAGE);
        Shape::new(capacity as u64, payload as u64, self.wait.mode()).ok_or_else(too_large)
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::TooLarge, "the channel would be larger than any memory")
        .with_advice("lower the capacity or the message size")
}

impl<T: Message> sealed::Sealed for Sender<T> {
    type Options = Options;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::BROADCAST)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let object = object.with_side(Side::Sender);
        Ok(Self::new(Channel::new(object, T::FIXED)?))
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }
}

/// Receivers are on no side: a channel without them stays open.
impl<T: Message> sealed::Sealed for Receiver<T> {
    type Options = Options;

    fn kind() -> Kind {
        Kind::of_messages::<T>(tag::BROADCAST)
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Options) -> Result<ObjectRef> {
        options.make::<T>(arena, name)
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let object = object.with_side(Side::Neither);
        Self::new(Channel::new(object, T::FIXED)?)
    }

    fn object(&self) -> &ObjectRef {
        self.object_ref()
    }
}
