//! The forms of an operation, and what stopped it in the words of each.

use ginnel_queue::ring::RingError;
use ginnel_sync::Deadline;

use super::core::{Core, Patience, Stopped};
use crate::error::{
    Error, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use crate::message::Message;

impl Core {
    /// Sends; waits as long as it takes.
    #[inline]
    pub(super) fn send_waiting<T: Message>(&self, value: T) -> Result<(), SendError<T>> {
        match self.send(&value, Patience::Until(Deadline::NEVER)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_error(why, value)),
        }
    }

    /// Sends; never waits.
    #[inline]
    pub(super) fn send_now<T: Message>(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.send(&value, Patience::None) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.try_send_error(why, value)),
        }
    }

    /// Sends; waits until `deadline`.
    pub(super) fn send_until<T: Message>(
        &self,
        value: T,
        deadline: Deadline,
    ) -> Result<(), SendTimeoutError<T>> {
        match self.send(&value, Patience::Until(deadline)) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.send_timeout_error(why, value)),
        }
    }

    pub(super) fn error(&self, why: Stopped) -> Error {
        match why {
            Stopped::Ring(error) => self.explain(error),
            Stopped::Failed(error) => error,
        }
    }

    #[cold]
    pub(super) fn send_error<V>(&self, why: Stopped, value: V) -> SendError<V> {
        match why {
            Stopped::Ring(RingError::Closed) => SendError::Closed(value),
            other => SendError::Failed(value, self.error(other)),
        }
    }

    #[cold]
    fn try_send_error<V>(&self, why: Stopped, value: V) -> TrySendError<V> {
        match why {
            Stopped::Ring(RingError::WouldBlock | RingError::Busy(_) | RingError::NoMemory) => {
                TrySendError::Full(value)
            }
            Stopped::Ring(RingError::Closed) => TrySendError::Closed(value),
            other => TrySendError::Failed(value, self.error(other)),
        }
    }

    #[cold]
    fn send_timeout_error<V>(&self, why: Stopped, value: V) -> SendTimeoutError<V> {
        match why {
            Stopped::Ring(RingError::TimedOut { owner: None }) => SendTimeoutError::Timeout(value),
            Stopped::Ring(RingError::Closed) => SendTimeoutError::Closed(value),
            other => SendTimeoutError::Failed(value, self.error(other)),
        }
    }

    #[cold]
    pub(super) fn recv_error(&self, why: Stopped) -> RecvError {
        match why {
            Stopped::Ring(RingError::Closed) => RecvError::Closed,
            other => RecvError::Failed(self.error(other)),
        }
    }

    #[cold]
    pub(super) fn try_recv_error(&self, why: Stopped) -> TryRecvError {
        match why {
            Stopped::Ring(RingError::WouldBlock | RingError::Busy(_)) => TryRecvError::Empty,
            Stopped::Ring(RingError::Closed) => TryRecvError::Closed,
            other => TryRecvError::Failed(self.error(other)),
        }
    }

    #[cold]
    pub(super) fn recv_timeout_error(&self, why: Stopped) -> RecvTimeoutError {
        match why {
            Stopped::Ring(RingError::TimedOut { owner: None }) => RecvTimeoutError::Timeout,
            Stopped::Ring(RingError::Closed) => RecvTimeoutError::Closed,
            other => RecvTimeoutError::Failed(self.error(other)),
        }
    }
}
