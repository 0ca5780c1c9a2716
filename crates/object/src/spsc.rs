//! One producer, one consumer, no copy but the one you see.
//!
//! A lane carries values of a [`Plain`](crate::Plain) type, or messages of bytes (`Producer<[u8]>`, `Consumer<[u8]>`). Its
//! ends are exclusive: one process holds each at a time, `&mut self`, `Send` but not `Sync`. An end is given up
//! by dropping it, or by dying; the peer is told which, and a successor may then take it. What was sent and not
//! acknowledged is still there for him.
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
use ginnel_queue::Mirrored;
use ginnel_queue::lane::{Lane, LaneError, Shape};
use ginnel_segment::Mirror;

pub use consumer::{Consumer, Loan};
pub use options::{Ends, Options, Payload, Wait, bytes, channel, consumer, producer};
pub use producer::{Claim, Producer};

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, RecvError, RecvTimeoutError, Result, TryRecvError};

/// An attached lane: what both ends keep beside the end itself.
///
/// Field order matters: the mapping goes before the reference that keeps its pages from being freed.
#[derive(Debug)]
struct Attached {
    /// Keeps the ring mapped.
    _mirror: Mirror,
    object: ObjectRef,
}

impl Attached {
    /// Maps the ring of a lane object and checks its geometry: it must be one for values of `size` bytes, aligned
    /// to `align`. The entry said so as well, but the control page is another's memory.
    fn new(object: ObjectRef, size: usize, align: usize) -> Result<(Self, Lane)> {
        let control = object.lane_control()?;
        let shape = Lane::shape_of(control).map_err(|_| object.corrupted("its geometry"))?;
        if shape.value_size != size as u64 || shape.value_align as usize != align {
            return Err(object.corrupted("its geometry"));
        }
        let ring_pages = u32::try_from(shape.size / PAGE as u64).map_err(|_| object.corrupted("its size"))?;
        let first = object.first_page() + (RING_AT / PAGE as u64) as u32;
        if u64::from(object.pages()) * PAGE as u64 != RING_AT + shape.size {
            return Err(object.corrupted("its size"));
        }
        let mirror = object.arena().segment().map_mirrored(first, ring_pages)?;
        let lane = object.lane_over(NonNull::from(control), &mirror, shape);
        Ok((Self { _mirror: mirror, object }, lane))
    }

    /// Says what an operation on the lane met.
    #[cold]
    fn explain(&self, error: LaneError) -> Error {
        let object = &self.object;
        if let Err(forked) = object.check_fork() {
            return forked;
        }
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
