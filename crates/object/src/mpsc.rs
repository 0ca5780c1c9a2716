//! Many senders, one receiver. Each sender has a lane of its own, so senders never hold each other up.
//!
//! What one sender sends arrives in its order; between senders there is no order. The receiver goes round the lanes
//! and takes at most [`BATCH`] messages from one while another has some: a sender that floods the channel cannot
//! starve the others. [`Sender`]s are cloned, each clone takes a lane; a lane whose sender is gone goes to the next
//! one. The [`Receiver`] is exclusive: one process holds it at a time, `&mut self`, `Send` but not `Sync`. Both can be sent
//! to another process, inside a message or as an argument: a receiver moves there, of a sender another one goes.
//!
//! | a sender died | the receiver died |
//! |---|---|
//! | in the middle of a send: nothing was sent | before it had a message: a successor gets it again, flagged `redelivered` |
//! | after the commit: the message arrives | after: the message is done |
//! | the last of them: the channel ends, after everything committed | senders are told `PeerDied` until there is a successor |
//!
//! ```
//! use ginnel_object::mpsc;
//!
//! let (mut first, mut inbox) = mpsc::channel::<String>(64)?;
//! let mut second = first.try_clone()?;
//! first.send("one".to_owned())?;
//! second.send("two".to_owned())?;
//! drop((first, second));
//! let mut words = Vec::new();
//! while let Some(word) = inbox.next()? {
//!     words.push(word);
//! }
//! words.sort();
//! assert_eq!(words, ["one", "two"]);
//! # Ok::<(), ginnel_object::Error>(())
//! ```
//!
//! The protocol and its crash table: crate `ginnel-queue`, module `mpsc`.

mod options;
mod ready;
mod receiver;
mod sender;

use ginnel_layout::Liveness;
use ginnel_layout::line::PAGE;
use ginnel_queue::lane::{LaneError, Producer};
use ginnel_queue::mpsc::{self as queue, Mpsc};
use ginnel_segment::Mirror;

pub use ginnel_queue::mpsc::BATCH;
pub use options::{Options, channel, receiver, sender};
pub use receiver::Receiver;
pub use sender::Sender;

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, Result};

/// An attached channel: what both ends keep beside the end itself.
#[derive(Debug, Clone)]
struct Channel {
    mpsc: Mpsc,
    object: ObjectRef,
}

/// Why an operation did not happen.
#[derive(Debug)]
enum Stopped {
    /// The lanes say so.
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

impl Channel {
    /// Checks the geometry: the channel must be one for values of `fixed` bytes, or of any length. The entry said so
    /// as well, but the pages are another's memory.
    fn new(object: ObjectRef, fixed: Option<usize>) -> Result<Self> {
        let mpsc = object.mpsc()?;
        if mpsc.shape().lane.value_size == options::value_size(fixed) {
            Ok(Self { mpsc, object })
        } else {
            Err(object.corrupted("its geometry"))
        }
    }

    fn map(&self, lane: u32) -> Result<Mirror> {
        let shape = self.mpsc.shape();
        let page =
            |bytes: u64| u32::try_from(bytes / PAGE as u64).map_err(|_| self.object.corrupted("its size"));
        let first = self.object.first_page() + page(shape.ring_at(lane))?;
        Ok(self.object.arena().segment().map_mirrored(first, page(shape.lane.size)?)?)
    }

    /// Takes the lane whose sender came with a ticket of ours.
    fn arrive_lane(&self, ticket: u32) -> Result<(u32, Producer, Mirror)> {
        self.object.check_fork()?;
        let me = self.object.arena().segment().me();
        let Some(lane) = self.mpsc.lane_of(ticket) else { return Err(self.explain(LaneError::Taken(None))) };
        let mirror = self.map(lane)?;
        let producer = self.arrived_producer(lane, &mirror, me, ticket).map_err(|why| self.explain(why))?;
        Ok((lane, producer, mirror))
    }

    /// Takes a free lane for a sender. Dead holders are recovered first, if all are held.
    fn take_lane(&self) -> Result<(u32, Producer, Mirror)> {
        self.object.check_fork()?;
        let segment = self.object.arena().segment();
        let me = segment.me();
        loop {
            let Some(lane) = self.mpsc.vacancy() else {
                let others: Vec<_> = self.mpsc.holders().filter(|owner| *owner != me).collect();
                // Not `any`: each of them is asked.
                let dead = others.into_iter().filter(|owner| segment.is_dead(*owner)).count();
                // And senders may be on their way in messages whose readers died.
                if dead == 0 && segment.recover_dead() == 0 {
                    return Err(self.no_lane());
                }
                continue;
            };
            let mirror = self.map(lane)?;
            match self.producer_over(lane, &mirror, me) {
                Ok(producer) => return Ok((lane, producer, mirror)),
                // Another sender was faster; there may be a lane left.
                Err(LaneError::Taken(_)) => {}
                Err(why) => return Err(self.explain(why)),
            }
        }
    }

    #[cold]
    fn no_lane(&self) -> Error {
        let lanes = self.mpsc.shape().lanes;
        let happened = format!("all {lanes} lanes of the channel are held by living senders");
        self.object
            .name_error(Error::new(ErrorKind::Full, happened))
            .with_advice("drop one of them, or make the channel for more senders")
    }

    /// Takes the receiver's end: the one that came with a ticket of ours, or one that nobody living holds. A dead holder
    /// is recovered first, and whoever had it on its way.
    fn take_receiver(&self, ticket: Option<u32>) -> Result<(queue::Receiver, Vec<Mirror>)> {
        self.object.check_fork()?;
        let mirrors = (0..self.mpsc.shape().lanes).map(|lane| self.map(lane)).collect::<Result<Vec<_>>>()?;
        let segment = self.object.arena().segment();
        let me = segment.me();
        let taken = match self.receiver_over(&mirrors, me, ticket) {
            Err(LaneError::Taken(Some(owner))) if ticket.is_none() => {
                let _ = owner != me && segment.is_dead(owner);
                segment.look_around();
                self.receiver_over(&mirrors, me, ticket)
            }
            taken => taken,
        };
        Ok((taken.map_err(|why| self.explain(why))?, mirrors))
    }

    /// Says what an operation met.
    #[cold]
    fn explain(&self, error: LaneError) -> Error {
        let object = &self.object;
        if let Err(forked) = object.check_fork() {
            return forked;
        }
        let described = |kind, happened: &str| object.name_error(Error::new(kind, happened));
        let who = |owner: Option<_>| owner.and_then(|id| object.arena().describe(id));
        match error {
            LaneError::PeerDied(owner) => described(ErrorKind::PeerDied, "the receiving process died")
                .with_owner(who(owner))
                .with_advice("what was sent waits for a successor, which may take the receiving end"),
            LaneError::Taken(owner) => described(ErrorKind::Taken, "the receiving end is held by another")
                .with_owner(who(owner))
                .with_advice("it becomes free when that process drops it or dies"),
            LaneError::TooLarge { len, max } => {
                described(ErrorKind::TooLarge, &format!("a message of {len} bytes, where at most {max} fit"))
                    .with_advice("make the channel with a larger size, or send in parts")
            }
            LaneError::Corrupted => object.corrupted("a word of a lane"),
            LaneError::Closed => described(ErrorKind::Closed, "the other end was closed"),
            LaneError::WouldBlock | LaneError::TimedOut | LaneError::Interrupted => {
                described(ErrorKind::Timeout, "the deadline passed")
            }
            _ => described(ErrorKind::Os, "the operation failed"),
        }
    }

    #[cold]
    fn error(&self, why: Stopped) -> Error {
        match why {
            Stopped::Lane(error) => self.explain(error),
            Stopped::Failed(error) => error,
        }
    }
}

#[allow(unsafe_code, reason = "lends mappings to the queue crate, which knows no mappings")]
mod lend {
    //! The ends over their mirrored mappings.
    //!
    //! - I1 a mirror stays mapped as long as the end over it: [`super::Sender`] and [`super::Receiver`] own both and
    //!   drop the end first.
    //! - I2 the controls stay mapped and are not given to another object as long as the `ObjectRef` lives, because
    //!   its holder bit is set (crate `object`, file `life.rs`).
    //! - I3 each mirror was made by [`super::Channel::map`] for the lane of its number.
    use core::ptr::NonNull;

    use ginnel_layout::ParticipantId;
    use ginnel_queue::Mirrored;

    use super::{Channel, LaneError, Mirror, Producer, queue};

    fn ring(mirror: &Mirror) -> Mirrored {
        // A mapping never begins at zero.
        let base = NonNull::new(mirror.as_ptr()).unwrap_or(NonNull::dangling());
        // SAFETY: I1: a mirrored mapping of that many bytes.
        unsafe { Mirrored::from_raw(base, mirror.len() as u64) }
    }

    impl Channel {
        pub(super) fn producer_over(
            &self,
            lane: u32,
            mirror: &Mirror,
            me: ParticipantId,
        ) -> Result<Producer, LaneError> {
            // SAFETY: I1, I2, I3.
            unsafe { self.mpsc.take_producer(lane, ring(mirror), me) }
        }

        pub(super) fn arrived_producer(
            &self,
            lane: u32,
            mirror: &Mirror,
            me: ParticipantId,
            ticket: u32,
        ) -> Result<Producer, LaneError> {
            // SAFETY: I1, I2, I3.
            unsafe { self.mpsc.arrive_producer(lane, ring(mirror), me, ticket) }
        }

        pub(super) fn receiver_over(
            &self,
            mirrors: &[Mirror],
            me: ParticipantId,
            ticket: Option<u32>,
        ) -> Result<queue::Receiver, LaneError> {
            let rings: Vec<Mirrored> = mirrors.iter().map(ring).collect();
            match ticket {
                // SAFETY: I1, I2, I3.
                Some(ticket) => unsafe { self.mpsc.arrive_receiver(&rings, me, ticket) },
                // SAFETY: I1, I2, I3.
                None => unsafe { self.mpsc.take_receiver(&rings, me) },
            }
        }
    }
}
