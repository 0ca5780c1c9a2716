//! Receivers as streams, senders as sinks: one wait that lasts from item to item.

use std::fmt;
#[cfg(feature = "futures")]
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::core::{Async, Reactor, Wait};
use super::queues::now;
use crate::broadcast;
use crate::error::{Error, RecvError, Result, TryRecvError, TrySendError};
use crate::message::{Message, Plain};
use crate::mpsc;
use crate::queue::{Queue, Receiver, Sender};
use crate::ready::RoomIn;
use crate::ready::sealed::{Ready, Room};
use crate::spsc;

mod ends {
    use super::{TryRecvError, TrySendError};

    /// An end that receives.
    pub trait Receives {
        /// What it receives.
        type Item;

        /// The handle's own.
        fn try_recv(&mut self) -> Result<Self::Item, TryRecvError>;
    }

    /// An end that sends.
    pub trait Sends<T> {
        /// The handle's own.
        fn try_send(&mut self, value: T) -> Result<(), TrySendError<T>>;
    }
}

use ends::{Receives, Sends};

impl<T: Message> Receives for Queue<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Message> Receives for Receiver<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Plain> Receives for spsc::Consumer<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Message> Receives for mpsc::Receiver<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Message> Receives for broadcast::Receiver<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Message> Sends<T> for Queue<T> {
    fn try_send(&mut self, value: T) -> std::result::Result<(), TrySendError<T>> {
        Self::try_send(self, value)
    }
}

impl<T: Message> Sends<T> for Sender<T> {
    fn try_send(&mut self, value: T) -> std::result::Result<(), TrySendError<T>> {
        Self::try_send(self, value)
    }
}

impl<T: Plain> Sends<T> for spsc::Producer<T> {
    fn try_send(&mut self, value: T) -> std::result::Result<(), TrySendError<T>> {
        Self::try_send(self, value)
    }
}

impl<H: Ready + Receives, R: Reactor> Async<H, R> {
    /// The messages as a stream (with the feature `futures`), or to be polled by hand.
    pub fn into_stream(self) -> Messages<H, R> {
        Messages { end: self, wait: Wait::default() }
    }
}

impl<H: Room, R: Reactor> Async<H, R> {
    /// A sink (with the feature `futures`) for messages, or to be polled by hand.
    pub fn into_sink<T>(self) -> Sending<H, T, R>
    where
        H: Sends<T>,
    {
        Sending { end: self, wait: Wait::default(), kept: None }
    }
}

/// What an end receives, until it is closed and empty. Nothing is received but by a poll that gives it.
pub struct Messages<H: Ready, R: Reactor> {
    end: Async<H, R>,
    wait: Wait<R>,
}

impl<H: Ready + fmt::Debug, R: Reactor> fmt::Debug for Messages<H, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Messages").field(&self.end).finish()
    }
}

impl<H: Ready + Receives, R: Reactor> Messages<H, R> {
    /// The next message; `None` at the end.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<H::Item>>> {
        let (place, handle) = self.end.place_and_handle(0);
        let attempt = &mut |end: &mut &mut H, _| now(end.try_recv());
        let received = ready!(self.wait.poll(cx, place, &mut &mut *handle, attempt));
        Poll::Ready(match received.map_err(RecvError::Failed).flatten() {
            Ok(value) => Some(Ok(value)),
            Err(RecvError::Closed) => None,
            Err(RecvError::Failed(error)) => Some(Err(error)),
        })
    }
}

impl<H: Ready, R: Reactor> Drop for Messages<H, R> {
    fn drop(&mut self) {
        self.wait.leave(self.end.get_ref());
    }
}

#[cfg(feature = "futures")]
impl<H: Ready + Receives + Unpin, R: Reactor> futures_core::Stream for Messages<H, R> {
    type Item = Result<H::Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx)
    }
}

/// What is to be sent through an end. Holds one message at most, that found no room.
pub struct Sending<H: Room, T, R: Reactor> {
    end: Async<H, R>,
    wait: Wait<R>,
    kept: Option<T>,
}

impl<H: Room + fmt::Debug, T, R: Reactor> fmt::Debug for Sending<H, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sending").field(&self.end).finish()
    }
}

impl<H: Room + Sends<T>, T, R: Reactor> Sending<H, T, R> {
    /// Sends `value`, or keeps it until there is room. Call it after [`Sending::poll_flush`] was ready.
    ///
    /// # Errors
    /// As `try_send` of the handle, but for `Full`.
    pub fn start_send(&mut self, value: T) -> Result<()> {
        let (_, handle) = self.end.place_and_handle(1);
        match handle.try_send(value) {
            Err(TrySendError::Full(value)) => {
                self.kept = Some(value);
                Ok(())
            }
            sent => sent.map_err(Error::from),
        }
    }

    /// Ready when everything is sent.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.kept.is_none() {
            return Poll::Ready(Ok(()));
        }
        let Self { end, wait, kept } = self;
        let (place, handle) = end.place_and_handle(1);
        let attempt = &mut |end: &mut RoomIn<&mut H>, _| match end.0.try_send(kept.take()?) {
            Err(TrySendError::Full(value)) => {
                *kept = Some(value);
                None
            }
            sent => Some(sent.map_err(Error::from)),
        };
        wait.poll(cx, place, &mut RoomIn(handle), attempt).map(Result::flatten)
    }
}

impl<H: Room, T, R: Reactor> Drop for Sending<H, T, R> {
    fn drop(&mut self) {
        self.wait.leave(&RoomIn(self.end.get_ref()));
    }
}

#[cfg(feature = "futures")]
impl<H: Room + Sends<T> + Unpin, T: Unpin, R: Reactor> futures_sink::Sink<T> for Sending<H, T, R> {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn start_send(self: Pin<&mut Self>, value: T) -> Result<()> {
        self.get_mut().start_send(value)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().poll_flush(cx)
    }
}
