//! Ends that are used through `&mut`, of pipes and connections, as futures.
//!
//! What these traits say of an end is all that its futures need; the crate of pipes implements them for its own.

use super::core::{Async, Reactor};
use super::queues::{now, settled, until_closed};
use crate::error::{RecvError, Result, SendError, TryRecvError};
use crate::message::Message;
use crate::ready::sealed::{Ready, Room};
use crate::simplex::bytes::{ByteReceiver, ByteSender};
use crate::simplex::{Letter, Receiver, Sender};

/// An exclusive end that receives.
#[doc(hidden)]
pub trait Inlet: Ready {
    /// What it receives.
    type Item;

    /// The end's own.
    ///
    /// # Errors
    /// `Empty`, and the end's own.
    fn try_recv(&mut self) -> std::result::Result<Self::Item, TryRecvError>;
}

/// An exclusive end that sends.
#[doc(hidden)]
pub trait Outlet: Room {
    /// What it sends.
    type Item;

    /// What is left of a message that is under way. Dropped before its end, the message was not sent.
    type Letter: Default + Unpin;

    /// Goes on with sending what `value` holds. `None`: there is no room now. Else `value` was taken.
    fn advance(
        &mut self,
        value: &mut Option<Self::Item>,
        letter: &mut Self::Letter,
    ) -> Option<std::result::Result<(), SendError<Self::Item>>>;
}

impl<H: Inlet, R: Reactor> Async<H, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&mut self) -> std::result::Result<H::Item, RecvError> {
        self.taking_mut(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&mut self) -> Result<Option<H::Item>> {
        until_closed(self.recv().await)
    }
}

impl<H: Outlet, R: Reactor> Async<H, R> {
    /// Sends `value` when there is room; a long message part by part. Cancelled, it has sent nothing, and the value is
    /// gone.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn send(&mut self, value: H::Item) -> std::result::Result<(), SendError<H::Item>> {
        let (mut value, mut letter) = (Some(value), H::Letter::default());
        let outcome = self.sending_mut(|end, _| end.0.advance(&mut value, &mut letter)).await;
        settled(outcome, value)
    }
}

impl<T: Message> Inlet for Receiver<T> {
    type Item = T;

    fn try_recv(&mut self) -> std::result::Result<T, TryRecvError> {
        Self::try_recv(self)
    }
}

impl<T: Message> Outlet for Sender<T> {
    type Item = T;
    type Letter = Letter;

    fn advance(
        &mut self,
        value: &mut Option<T>,
        letter: &mut Letter,
    ) -> Option<std::result::Result<(), SendError<T>>> {
        Self::advance(self, value, letter)
    }
}

impl Inlet for ByteReceiver {
    type Item = Vec<u8>;

    fn try_recv(&mut self) -> std::result::Result<Vec<u8>, TryRecvError> {
        Self::try_recv(self)
    }
}

impl Outlet for ByteSender {
    type Item = Vec<u8>;
    type Letter = Letter;

    fn advance(
        &mut self,
        value: &mut Option<Vec<u8>>,
        letter: &mut Letter,
    ) -> Option<std::result::Result<(), SendError<Vec<u8>>>> {
        Self::advance(self, value, letter)
    }
}
