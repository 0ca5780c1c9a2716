//! Messages one way: encoded, with handles in them if need be, and of any length.
//!
//! A simplex is a lane of bytes ([`crate::spsc`]) and what makes it one of messages. Its ends are exclusive: one process
//! holds each at a time, `&mut self`, `Send` but not `Sync`; an end can be sent to another process. The crate of pipes
//! puts two of them together.
//!
//! ```text
//! short     | WHOLE body |                                        | CARRIES body, table of parcels, their number |
//! long      | FIRST length of the body, bytes | MORE bytes | ..  | LAST bytes |  or  | LAST_CARRIES bytes, table, number |
//! ```
//! A message that fits into a quarter of the ring is one record, and never touches the heap. A longer one goes in parts:
//! its sender waits for room between them, its receiver gathers them in private memory.
//!
//! - I1 a message exists once its record, or the last of its parts, is committed. A part that is followed by the beginning
//!   of another message, or by the end of the sender, belongs to nothing: the receiver drops what it gathered.
//! - I2 what a message carries becomes the message's with that commit, and the receiver's before it acknowledges the
//!   record with the table.
//! - I3 between two operations a sender is never in the middle of a message: one whose deadline comes, or whose future is
//!   dropped, has sent nothing, and begins anew. A receiver may be: what it has gathered is in memory of its own.
//!
//! | killed | what is left | outcome |
//! |---|---|---|
//! | the sender, before the commit of a record or of the last part | parts perhaps | nothing was sent; then `PeerDied` |
//! | the sender, after it | the message | it arrives; then `PeerDied` |
//! | the receiver, before it acknowledges a record | the record | a successor gets the message again, flagged |
//! | the receiver, in the middle of a long message | the parts it had not taken | that message is lost with it; a successor skips the rest |
//!
//! ```
//! use ginnel_object::simplex;
//!
//! let (mut tx, mut rx) = simplex::channel::<(u32, String)>()?;
//! tx.send((7, "seven".to_owned()))?;
//! drop(tx);
//! assert_eq!(rx.next()?, Some((7, "seven".to_owned())));
//! assert_eq!(rx.next()?, None);
//! # Ok::<(), ginnel_object::Error>(())
//! ```

#[doc(hidden)]
pub mod bytes;

mod gather;
mod intake;
mod options;
mod out;
mod ready;
mod receiver;
mod sender;

pub use options::{Ends, Options, channel};
pub use receiver::Receiver;
pub use sender::{Letter, Sender};

use ginnel_queue::lane::LaneError;

use crate::error::{
    Error, ErrorKind, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use crate::spsc::Attached;

/// Why an operation did not happen.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The lane says so.
    Lane(LaneError),
    /// Everything else.
    Failed(Error),
}

impl From<LaneError> for Stopped {
    #[inline(always)]
    fn from(error: LaneError) -> Self {
        Self::Lane(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Stopped {
    #[cold]
    fn error(self, attached: &Attached) -> Error {
        match self {
            Self::Lane(error) => attached.explain(error),
            Self::Failed(error) => error,
        }
    }

    #[cold]
    fn send_error<V>(self, value: V, attached: &Attached) -> SendError<V> {
        match self {
            Self::Lane(LaneError::Closed) => SendError::Closed(value),
            other => SendError::Failed(value, other.error(attached)),
        }
    }

    #[cold]
    fn try_send_error<V>(self, value: V, attached: &Attached) -> TrySendError<V> {
        match self {
            Self::Lane(LaneError::WouldBlock) => TrySendError::Full(value),
            Self::Lane(LaneError::Closed) => TrySendError::Closed(value),
            other => TrySendError::Failed(value, other.error(attached)),
        }
    }

    #[cold]
    fn send_timeout_error<V>(self, value: V, attached: &Attached) -> SendTimeoutError<V> {
        match self {
            Self::Lane(LaneError::TimedOut) => SendTimeoutError::Timeout(value),
            Self::Lane(LaneError::Closed) => SendTimeoutError::Closed(value),
            other => SendTimeoutError::Failed(value, other.error(attached)),
        }
    }

    #[cold]
    fn recv_error(self, attached: &Attached) -> RecvError {
        match self {
            Self::Lane(LaneError::Closed) => RecvError::Closed,
            other => RecvError::Failed(other.error(attached)),
        }
    }

    #[cold]
    fn try_recv_error(self, attached: &Attached) -> TryRecvError {
        match self {
            Self::Lane(LaneError::WouldBlock) => TryRecvError::Empty,
            Self::Lane(LaneError::Closed) => TryRecvError::Closed,
            other => TryRecvError::Failed(other.error(attached)),
        }
    }

    #[cold]
    fn recv_timeout_error(self, attached: &Attached) -> RecvTimeoutError {
        match self {
            Self::Lane(LaneError::TimedOut) => RecvTimeoutError::Timeout,
            Self::Lane(LaneError::Closed) => RecvTimeoutError::Closed,
            other => RecvTimeoutError::Failed(other.error(attached)),
        }
    }
}

#[cold]
fn too_long(len: u64, max: u64, advice: &str) -> Stopped {
    Error::new(ErrorKind::TooLarge, format!("a message of {len} bytes, where at most {max} are taken"))
        .with_advice(advice)
        .into()
}
