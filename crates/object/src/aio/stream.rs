//! Receivers as streams, senders as sinks: one wait that lasts from item to item.

use std::fmt;
#[cfg(feature = "futures")]
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::core::{Async, Reactor, Wait};
use super::ends::{Inlet, Outlet};
use super::queues::{now, sent};
use crate::broadcast;
use crate::error::{Error, RecvError, Result, SendError, TryRecvError};
use crate::message::{Message, Plain};
use crate::mpsc;
use crate::queue::{Queue, Receiver, Sender};
use crate::ready::RoomIn;
use crate::ready::sealed::{Ready, Room};
use crate::spsc;

mod ends {
    use super::{SendError, TryRecvError};

    /// An end that receives.
    pub trait Receives {
        /// What it receives.
        type Item;

        /// The handle's own.
        fn try_recv(&mut self) -> Result<Self::Item, TryRecvError>;
    }

    /// An end that sends.
    pub trait Sends<T> {
        /// What is left of a message that is under way.
        type Letter: Default + Unpin;

        /// Goes on with sending what `value` holds. `None`: there is no room now. Else `value` was taken.
        fn advance(
            &mut self,
            value: &mut Option<T>,
            letter: &mut Self::Letter,
        ) -> Option<Result<(), SendError<T>>>;
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
    type Letter = ();

    fn advance(
        &mut self,
        value: &mut Option<T>,
        _: &mut (),
    ) -> Option<std::result::Result<(), SendError<T>>> {
        sent(value, |value| self.try_send(value))
    }
}

impl<T: Message> Sends<T> for Sender<T> {
    type Letter = ();

    fn advance(
        &mut self,
        value: &mut Option<T>,
        _: &mut (),
    ) -> Option<std::result::Result<(), SendError<T>>> {
        sent(value, |value| self.try_send(value))
    }
}

impl<T: Plain> Sends<T> for spsc::Producer<T> {
    type Letter = ();

    fn advance(
        &mut self,
        value: &mut Option<T>,
        _: &mut (),
    ) -> Option<std::result::Result<(), SendError<T>>> {
        sent(value, |value| self.try_send(value))
    }
}

impl<H: Inlet> Receives for H {
    type Item = <H as Inlet>::Item;

    fn try_recv(&mut self) -> std::result::Result<Self::Item, TryRecvError> {
        Inlet::try_recv(self)
    }
}

impl<H: Outlet> Sends<<H as Outlet>::Item> for H {
    type Letter = <H as Outlet>::Letter;

    fn advance(
        &mut self,
        value: &mut Option<<H as Outlet>::Item>,
        letter: &mut Self::Letter,
    ) -> Option<std::result::Result<(), SendError<<H as Outlet>::Item>>> {
        Outlet::advance(self, value, letter)
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
        Sending { end: self, wait: Wait::default(), kept: None, letter: H::Letter::default() }
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
pub struct Sending<H: Room + Sends<T>, T, R: Reactor> {
    end: Async<H, R>,
    wait: Wait<R>,
    kept: Option<T>,
    letter: H::Letter,
}

impl<H: Room + Sends<T> + fmt::Debug, T, R: Reactor> fmt::Debug for Sending<H, T, R> {
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
        let Self { end, kept, letter, .. } = self;
        *kept = Some(value);
        end.place_and_handle(1).1.advance(kept, letter).unwrap_or(Ok(())).map_err(Error::from)
    }

    /// Ready when everything is sent.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.kept.is_none() {
            return Poll::Ready(Ok(()));
        }
        let Self { end, wait, kept, letter } = self;
        let (place, handle) = end.place_and_handle(1);
        let attempt =
            &mut |end: &mut RoomIn<&mut H>, _| Some(end.0.advance(kept, letter)?.map_err(Error::from));
        wait.poll(cx, place, &mut RoomIn(handle), attempt).map(Result::flatten)
    }
}

impl<H: Room + Sends<T>, T, R: Reactor> Drop for Sending<H, T, R> {
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
