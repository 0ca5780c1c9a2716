//! The one trait of the measurements: something that carries messages one way, from one process to another.
//!
//! The coordinator makes a [`Transport`] before it forks; the two measured processes then each take their
//! end. A round trip uses two transports. The hot loops are generic over the ends, so that a send of a few
//! nanoseconds is not a call through a table of functions.

use crate::fault::Fault;
use crate::payload::{Accept, Size, Stop, Writer};

/// A way for messages, made before the fork.
pub trait Transport {
    /// What is known of the size of a message.
    type Size: Size;
    /// The end that sends.
    type Producer<'a>: Producer<Self::Size>
    where
        Self: 'a;
    /// The end that receives.
    type Consumer<'a>: Consumer<Self::Size>
    where
        Self: 'a;

    /// The size of its messages.
    fn size(&self) -> Self::Size;

    /// Takes the sending end. Called once, in the producer's process.
    ///
    /// # Errors
    /// Whatever keeps the end from being taken.
    fn producer(&self) -> Result<Self::Producer<'_>, Fault>;

    /// Takes the receiving end. Called once, in the consumer's process.
    ///
    /// # Errors
    /// Whatever keeps the end from being taken.
    fn consumer(&self) -> Result<Self::Consumer<'_>, Fault>;
}

/// The end that sends.
pub trait Producer<S: Size> {
    /// Writes and sends the writer's next `count` messages, as one batch where the transport knows batches.
    /// Waits for room, each transport in its own way.
    ///
    /// # Errors
    /// A transport that fails; a full one waits.
    fn send(&mut self, writer: &mut Writer<S>, count: usize) -> Result<(), Fault>;
}

/// The end that receives.
pub trait Consumer<S: Size> {
    /// Waits for a message, then hands what is there to the checker, at most `limit` messages, and gives
    /// their room back.
    ///
    /// # Errors
    /// What the checker says, or a transport that fails.
    fn recv(&mut self, checker: &mut impl Accept<S>, limit: usize) -> Result<(), Stop>;

    /// Messages that this end says it missed, as its transport may overwrite what is not received in time.
    fn missed(&mut self) -> u64 {
        0
    }
}
