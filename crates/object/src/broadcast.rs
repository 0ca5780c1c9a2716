//! One message, every receiver: senders overwrite the oldest, and never wait for a receiver.
//!
//! Each [`Receiver`] gets every message that is sent while it exists, as long as it keeps up: it may be behind by the
//! capacity of the channel. One that is slower misses the oldest, is told how many by [`Receiver::take_missed`], and
//! goes on: lag is a number, never an error that ends a loop. Receivers leave nothing in shared memory; whether there
//! are any, or one was killed, nobody notices.
//!
//! When the last [`Sender`] is gone (dropped, or its process dead), receivers get what is there, then `Closed`. Under a
//! name the channel stays open until the name is removed as well.
//!
//! | killed | consequence |
//! |---|---|
//! | a receiver | none |
//! | a sender, in the middle of a send | nothing was sent; the oldest message is gone, as if it had been |
//! | a sender, after the commit | every receiver gets the message |
//! | the last sender | the channel ends, after everything that was sent |
//!
//! ```
//! use ginnel_object::broadcast;
//!
//! let (prices, mut first) = broadcast::channel::<u32>(4)?;
//! let mut second = first.subscribe()?;
//! for price in 0..6 {
//!     prices.send(price)?;
//! }
//! drop(prices);
//! assert_eq!(first.iter().collect::<Result<Vec<_>, _>>()?, [2, 3, 4, 5]);
//! assert_eq!(first.take_missed(), 2);
//! second.skip_to_latest()?;
//! assert_eq!(second.next()?, Some(5));
//! assert_eq!(second.next()?, None);
//! # Ok::<(), ginnel_object::Error>(())
//! ```
//!
//! Handles and blocks cannot travel in such a message, because it has no single receiver that could own them; ends of
//! a channel can be sent through a [`Queue`](crate::Queue). The protocol, its proof and its crash table: crate
//! `ginnel-queue`, module `broadcast`.

mod options;
mod ready;
mod receiver;
mod sender;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::participant::PARTICIPANTS_MAX;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::broadcast::{Broadcast, BroadcastError};

pub use options::{Options, channel};
pub use receiver::Receiver;
pub use sender::Sender;

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, Result};

/// An attached channel: what both ends have.
#[derive(Debug, Clone)]
struct Channel {
    words: Broadcast,
    object: ObjectRef,
}

/// Who holds a sending end, the dead that nobody noticed yet among them.
fn senders_of(entry: &Entry) -> impl Iterator<Item = ParticipantId> {
    let bit = |index: u16| entry.senders[usize::from(index / 64)].load(Relaxed) >> (index % 64) & 1;
    (0..PARTICIPANTS_MAX).filter(move |index| bit(*index) != 0).map(ParticipantId::from_index)
}

/// Why an operation did not happen.
#[derive(Debug)]
enum Stopped {
    /// The channel says so.
    Channel(BroadcastError),
    /// Everything else.
    Failed(Error),
}

impl From<BroadcastError> for Stopped {
    #[inline(always)]
    fn from(error: BroadcastError) -> Self {
        Self::Channel(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Channel {
    /// Checks the geometry: slots must have room for values of `fixed` bytes. The entry said so as well, but the
    /// pages are another's memory.
    fn new(object: ObjectRef, fixed: Option<usize>) -> Result<Self> {
        let words = object.broadcast()?;
        let room = words.shape().payload_max();
        if fixed.is_none_or(|size| size as u64 <= room) {
            Ok(Self { words, object })
        } else {
            Err(object.corrupted("the geometry of the channel"))
        }
    }

    /// A wait gets long. Asks whether the one in the way lives; where nobody is, whether any sender does: the death of
    /// the last one ends the channel, and perhaps nobody but us is left to notice.
    #[cold]
    fn ask(&self, in_the_way: Option<ParticipantId>) {
        let segment = self.object.arena().segment();
        let senders = segment.entry(self.object.index()).into_iter().flat_map(senders_of);
        let all = in_the_way.is_none().then_some(senders).into_iter().flatten();
        for id in in_the_way.into_iter().chain(all).filter(|id| *id != segment.me()) {
            // True or false, the next look at the channel tells what came of it.
            let _ = segment.is_dead(id);
        }
    }

    #[cold]
    fn error(&self, why: Stopped) -> Error {
        match why {
            Stopped::Channel(error) => self.explain(error),
            Stopped::Failed(error) => self.object.name_error(error),
        }
    }

    /// Says what an operation met.
    #[cold]
    fn explain(&self, error: BroadcastError) -> Error {
        let object = &self.object;
        if let Err(forked) = object.check_fork() {
            return forked;
        }
        let described = |kind, happened: &str| object.name_error(Error::new(kind, happened));
        match error {
            BroadcastError::TooLarge { len, max } => {
                described(ErrorKind::TooLarge, &format!("a message of {len} bytes, where at most {max} fit"))
                    .with_advice("make the channel with a larger message size")
            }
            BroadcastError::Closed => described(ErrorKind::Closed, "the channel was closed"),
            BroadcastError::TimedOut { owner } => described(ErrorKind::Timeout, "the deadline passed")
                .with_owner(owner.and_then(|id| object.arena().describe(id))),
            BroadcastError::Busy(id) => {
                described(ErrorKind::Timeout, "another process is in the middle of the next message")
                    .with_owner(object.arena().describe(id))
            }
            BroadcastError::WouldBlock | BroadcastError::Interrupted => {
                described(ErrorKind::Timeout, "the deadline passed")
            }
            _ => object.corrupted("a word of the channel"),
        }
    }
}
