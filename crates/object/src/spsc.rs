//! One producer, one consumer, no copy but the one you see.
//!
//! A lane carries values of a [`Plain`](crate::Plain) type, or messages of bytes (`Producer<[u8]>`, `Consumer<[u8]>`). Its
//! ends are exclusive: one process holds each at a time, `&mut self`, `Send` but not `Sync`. An end is given up
//! by dropping it, or by dying; the peer is told which, and a successor may then take it. What was sent and not
//! acknowledged is still there for him. An end can be sent to another process, inside a message or as an argument: it
//! moves there, and the peer notices nothing.
//!
//! | the consumer died | the producer died |
//! |---|---|
//! | before it acknowledged a message: a successor gets it again, flagged `redelivered` | in the middle of a send: nothing was sent |
//! | after: the message is done | after the commit: the message arrives |
//!
//! ```
//! use ginnel_object::spsc;
//!
//! let (mut numbers, mut sink) = spsc::channel::<u64>(64)?;
//! numbers.send(7)?;
//! numbers.send_many(&[8, 9])?;
//! numbers.close();
//! let mut sum = 0;
//! while let Some(number) = sink.next()? {
//!     sum += *number;
//! }
//! assert_eq!(sum, 24);
//! # Ok::<(), ginnel_object::Error>(())
//! ```
//!
//! The protocol, its proof and its crash table: crate `ginnel-queue`, module `lane`.

mod consumer;
mod options;
mod producer;
mod ready;

use std::ptr::NonNull;

use ginnel_layout::lane::{LaneControl, RING_AT};
use ginnel_layout::line::PAGE;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_queue::Mirrored;
use ginnel_queue::lane::{self, Lane, LaneError, Shape};
use ginnel_segment::Mirror;

pub use consumer::{Consumer, Loan};
pub use options::{Ends, Options, Payload, Wait, bytes, channel, consumer, producer};
pub use producer::{Claim, Producer};

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, RecvError, RecvTimeoutError, Result, TryRecvError};
use crate::seat::{Post, Tenure};

/// An attached lane: what both ends keep beside the end itself.
///
/// Field order matters: the mapping goes before the reference that keeps its pages from being freed.
#[derive(Debug)]
pub(crate) struct Attached {
    tenure: Tenure,
    /// Keeps the ring mapped.
    _mirror: Mirror,
    pub(crate) object: ObjectRef,
}

/// What a lane is expected to carry: size and alignment of its values; 0 and 1 for bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    pub(crate) size: usize,
    pub(crate) align: usize,
}

impl Values {
    /// Messages of bytes.
    pub(crate) const BYTES: Self = Self { size: 0, align: 1 };
}

impl Attached {
    /// The sending end of a lane object: the one that came with a ticket of ours, or one that nobody living holds.
    ///
    /// # Errors
    /// `Taken`, `Corrupted`, `Forked`, `Os`.
    pub(crate) fn producer(
        object: ObjectRef,
        ticket: Option<u32>,
        values: Values,
    ) -> Result<(Self, lane::Producer)> {
        Self::attach(object, (Post::Producer, ticket), values, |lane, me| match ticket {
            Some(ticket) => lane.arrive_producer(me, ticket),
            None => lane.take_producer(me),
        })
    }

    /// The receiving end.
    ///
    /// # Errors
    /// As [`Attached::producer`].
    pub(crate) fn consumer(
        object: ObjectRef,
        ticket: Option<u32>,
        values: Values,
    ) -> Result<(Self, lane::Consumer)> {
        Self::attach(object, (Post::Consumer, ticket), values, |lane, me| match ticket {
            Some(ticket) => lane.arrive_consumer(me, ticket),
            None => lane.take_consumer(me),
        })
    }

    /// Takes an end. Where it is taken by name, a dead holder is recovered first, and whoever had it on its way.
    fn attach<E>(
        object: ObjectRef,
        (post, ticket): (Post, Option<u32>),
        values: Values,
        take: impl Fn(Lane, ParticipantId) -> Result<E, LaneError>,
    ) -> Result<(Self, E)> {
        object.check_fork()?;
        let (mirror, lane) = Self::map(&object, values)?;
        let segment = object.arena().segment();
        let me = segment.me();
        let taken = match take(lane, me) {
            Err(LaneError::Taken(Some(owner))) if ticket.is_none() => {
                let _ = owner != me && segment.is_dead(owner);
                segment.look_around();
                take(lane, me)
            }
            taken => taken,
        };
        let end = taken.map_err(|why| explain(&object, why))?;
        let tenure = Tenure::of(&object, post);
        Ok((Self { tenure, _mirror: mirror, object }, end))
    }

    /// May the end be used? One load. `explain` says why not.
    #[inline(always)]
    pub(crate) fn check(&self) -> bool {
        self.tenure.check()
    }

    /// What of it a message shares.
    pub(crate) fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// The end goes away. True, once: the end of the lane is to be dropped; else it is not ours to give up.
    pub(crate) fn leave(&self) -> bool {
        self.tenure.leave()
    }

    /// Maps the ring of a lane object and checks its geometry: it must be one for such values. The entry said so as
    /// well, but the control page is another's memory.
    fn map(object: &ObjectRef, values: Values) -> Result<(Mirror, Lane)> {
        let control = object.lane_control()?;
        let shape = Lane::shape_of(control).map_err(|_| object.corrupted("its geometry"))?;
        if shape.value_size != values.size as u64 || shape.value_align as usize != values.align {
            return Err(object.corrupted("its geometry"));
        }
        let ring_pages = u32::try_from(shape.size / PAGE as u64).map_err(|_| object.corrupted("its size"))?;
        let first = object.first_page() + (RING_AT / PAGE as u64) as u32;
        if u64::from(object.pages()) * PAGE as u64 != RING_AT + shape.size {
            return Err(object.corrupted("its size"));
        }
        let mirror = object.arena().segment().map_mirrored(first, ring_pages)?;
        let lane = object.lane_over(NonNull::from(control), &mirror, shape);
        Ok((mirror, lane))
    }

    /// Says what an operation on the lane met.
    #[cold]
    pub(crate) fn explain(&self, error: LaneError) -> Error {
        self.tenure.why().unwrap_or_else(|| explain(&self.object, error))
    }

    fn recv_error(&self, error: LaneError) -> RecvError {
        match error {
            LaneError::Closed => RecvError::Closed,
            other => RecvError::Failed(self.explain(other)),
        }
    }

    fn try_recv_error(&self, error: LaneError) -> TryRecvError {
        match error {
            LaneError::WouldBlock => TryRecvError::Empty,
            LaneError::Closed => TryRecvError::Closed,
            other => TryRecvError::Failed(self.explain(other)),
        }
    }

    fn recv_timeout_error(&self, error: LaneError) -> RecvTimeoutError {
        match error {
            LaneError::TimedOut => RecvTimeoutError::Timeout,
            LaneError::Closed => RecvTimeoutError::Closed,
            other => RecvTimeoutError::Failed(self.explain(other)),
        }
    }
}

/// Says what an operation on the lane in `object` met.
#[cold]
fn explain(object: &ObjectRef, error: LaneError) -> Error {
    let described = |kind, happened: &str| object.name_error(Error::new(kind, happened));
    match error {
        LaneError::PeerDied(owner) => described(ErrorKind::PeerDied, "the process at the other end died")
            .with_owner(owner.and_then(|id| object.arena().describe(id)))
            .with_advice("what was committed before has been delivered; a successor may take its end"),
        LaneError::Taken(owner) => described(ErrorKind::Taken, "this end of the lane is held by another")
            .with_owner(owner.and_then(|id| object.arena().describe(id)))
            .with_advice("it becomes free when that process drops it or dies"),
        LaneError::TooLarge { len, max } => {
            described(ErrorKind::TooLarge, &format!("a message of {len} bytes, where at most {max} fit"))
                .with_advice("make the lane with a larger size, or send in parts")
        }
        LaneError::Corrupted => object.corrupted("a word of the lane"),
        LaneError::Closed => described(ErrorKind::Closed, "the other end was closed"),
        LaneError::WouldBlock | LaneError::TimedOut | LaneError::Interrupted => {
            described(ErrorKind::Timeout, "the deadline passed")
        }
        _ => described(ErrorKind::Os, "the operation failed"),
    }
}

/// Pages of the object that holds a lane of this shape.
fn pages_of(shape: &Shape) -> Option<u32> {
    u32::try_from((RING_AT + shape.size) / PAGE as u64).ok()
}

#[allow(unsafe_code, reason = "lends a mapping to the queue crate, which knows no mappings")]
mod lend {
    //! The ring under a mirrored mapping.
    //!
    //! - I1 the mirror stays mapped as long as the lane: [`super::Attached`] owns it beside the end and both ends
    //!   drop the end first (their field order).
    //! - I2 the control page stays mapped and is not given to another object as long as the `ObjectRef` lives,
    //!   because its holder bit is set (crate `object`, file `life.rs`).
    use core::ptr::NonNull;

    use super::{Lane, LaneControl, Mirror, Mirrored, ObjectRef, Shape};

    impl ObjectRef {
        pub(super) fn lane_over(&self, control: NonNull<LaneControl>, mirror: &Mirror, shape: Shape) -> Lane {
            // A mapping never begins at zero.
            let base = NonNull::new(mirror.as_ptr()).unwrap_or(NonNull::dangling());
            // SAFETY: I1: a mirrored mapping of `shape.size` bytes.
            let ring = unsafe { Mirrored::from_raw(base, shape.size) };
            // SAFETY: I1, I2.
            unsafe { Lane::from_raw(control, ring, shape) }
        }
    }
}
