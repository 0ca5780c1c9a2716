//! The operations of queues as futures.

use super::core::{Async, Reactor};
use crate::broadcast;
use crate::error::{RecvError, Result, SendError, TryRecvError, TrySendError};
use crate::message::{Message, Plain};
use crate::mpsc;
use crate::queue::{Lease, Queue, Receiver, Sender, Slot};
use crate::spsc;

/// None: nothing there now.
pub(super) fn now<T>(
    tried: std::result::Result<T, TryRecvError>,
) -> Option<std::result::Result<T, RecvError>> {
    match tried {
        Ok(value) => Some(Ok(value)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => Some(Err(RecvError::Closed)),
        Err(TryRecvError::Failed(error)) => Some(Err(RecvError::Failed(error))),
    }
}

/// Of a loop: `None` at the end.
pub(super) fn until_closed<T>(received: std::result::Result<T, RecvError>) -> Result<Option<T>> {
    match received {
        Ok(value) => Ok(Some(value)),
        Err(RecvError::Closed) => Ok(None),
        Err(RecvError::Failed(error)) => Err(error),
    }
}

/// Tries to send what `value` holds; puts it back where there is no room.
pub(super) fn sent<T>(
    value: &mut Option<T>,
    send: impl FnOnce(T) -> std::result::Result<(), TrySendError<T>>,
) -> Option<std::result::Result<(), SendError<T>>> {
    match send(value.take()?) {
        Ok(()) => Some(Ok(())),
        Err(TrySendError::Full(back)) => {
            *value = Some(back);
            None
        }
        Err(TrySendError::Closed(back)) => Some(Err(SendError::Closed(back))),
        Err(TrySendError::Failed(back, error)) => Some(Err(SendError::Failed(back, error))),
    }
}

/// The wait itself failed: the value goes back.
pub(super) fn settled<T>(
    outcome: Result<std::result::Result<(), SendError<T>>>,
    value: Option<T>,
) -> std::result::Result<(), SendError<T>> {
    match (outcome, value) {
        (Ok(sent), _) => sent,
        (Err(error), Some(value)) => Err(SendError::Failed(value, error)),
        (Err(_), None) => unreachable!("a failed wait leaves the value where it was"),
    }
}

impl<T: Message, R: Reactor> Async<Queue<T>, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&self) -> std::result::Result<T, RecvError> {
        self.taking(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&self) -> Result<Option<T>> {
        until_closed(self.recv().await)
    }

    /// The next message as a lease. Cancelled, it has leased nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Full` while all leases are out.
    pub async fn lease(&self) -> std::result::Result<Lease<T>, RecvError> {
        self.taking(|end, _| now(end.try_lease())).await.map_err(RecvError::Failed)?
    }

    /// Sends `value` when there is room. Cancelled, it has sent nothing, and the value is gone: reserve
    /// first where that matters.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn send(&self, value: T) -> std::result::Result<(), SendError<T>> {
        let mut value = Some(value);
        let outcome = self.sending(|end, _| sent(&mut value, |value| end.0.try_send(value))).await;
        settled(outcome, value)
    }

    /// The next place in the queue. Nothing is taken while it is pending. Send at once, and do not await in between:
    /// receivers wait for it.
    ///
    /// # Errors
    /// As that of the handle; `Taken` or `Os` where no descriptor is to be had.
    pub async fn reserve(&self) -> Result<Slot<'_, T>> {
        let end = self.get_ref();
        self.sending(|_, _| end.try_reserve().transpose()).await?
    }
}

impl<T: Message, R: Reactor> Async<Receiver<T>, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&self) -> std::result::Result<T, RecvError> {
        self.taking(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&self) -> Result<Option<T>> {
        until_closed(self.recv().await)
    }

    /// The next message as a lease. Cancelled, it has leased nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Full` while all leases are out.
    pub async fn lease(&self) -> std::result::Result<Lease<T>, RecvError> {
        self.taking(|end, _| now(end.try_lease())).await.map_err(RecvError::Failed)?
    }
}

impl<T: Message, R: Reactor> Async<Sender<T>, R> {
    /// Sends `value` when there is room. Cancelled, it has sent nothing, and the value is gone: reserve
    /// first where that matters.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn send(&self, value: T) -> std::result::Result<(), SendError<T>> {
        let mut value = Some(value);
        let outcome = self.sending(|end, _| sent(&mut value, |value| end.0.try_send(value))).await;
        settled(outcome, value)
    }

    /// The next place in the queue. Nothing is taken while it is pending. Send at once, and do not await in between:
    /// receivers wait for it.
    ///
    /// # Errors
    /// As that of the handle; `Taken` or `Os` where no descriptor is to be had.
    pub async fn reserve(&self) -> Result<Slot<'_, T>> {
        let end = self.get_ref();
        self.sending(|_, _| end.try_reserve().transpose()).await?
    }
}

impl<T: Plain, R: Reactor> Async<spsc::Consumer<T>, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&mut self) -> std::result::Result<T, RecvError> {
        self.taking_mut(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&mut self) -> Result<Option<T>> {
        until_closed(self.recv().await)
    }
}

impl<T: Plain, R: Reactor> Async<spsc::Producer<T>, R> {
    /// Sends `value` when there is room. Cancelled, it has sent nothing, and the value is gone.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn send(&mut self, value: T) -> std::result::Result<(), SendError<T>> {
        let mut value = Some(value);
        let outcome = self.sending_mut(|end, _| sent(&mut value, |value| end.0.try_send(value))).await;
        settled(outcome, value)
    }
}

impl<T: Message, R: Reactor> Async<mpsc::Receiver<T>, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&mut self) -> std::result::Result<T, RecvError> {
        self.taking_mut(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&mut self) -> Result<Option<T>> {
        until_closed(self.recv().await)
    }
}

impl<T: Message, R: Reactor> Async<broadcast::Receiver<T>, R> {
    /// The next message. Cancelled, it has received nothing.
    ///
    /// # Errors
    /// As that of the handle; `Failed` with `Taken` or `Os` where no descriptor is to be had.
    pub async fn recv(&mut self) -> std::result::Result<T, RecvError> {
        self.taking_mut(|end, _| now(end.try_recv())).await.map_err(RecvError::Failed)?
    }

    /// The next message. `None`: closed and empty.
    ///
    /// # Errors
    /// As [`Async::recv`], but for `Closed`.
    pub async fn next(&mut self) -> Result<Option<T>> {
        until_closed(self.recv().await)
    }
}
