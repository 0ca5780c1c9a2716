//! An exclusive end of a lane on its way to another process.
//!
//! ```text
//! taken, or received:                      MINE     dropped: the end is given up
//! named by a message that is being made:   TRAVELS  dropped: decided when the message is
//! that message was committed:              GONE     dropped: nothing, it is somebody else's
//! ```
//! The end shares its [`Seat`] with the message that names it, as a block does its hold (`blocks/hold`). What the other
//! processes see is the role word alone: HELD(me), or MOVING with a ticket (`ginnel_queue::lane::role`, with the crash
//! table). So an end that was sent and has come back to this very process is a new one, with a seat of its own, and what
//! is left of the old one touches nothing.
//!
//! Sending: pin a ticket · [`Tenure::travel`] · carrier · COMMIT · [`Seat::sent`]; or [`Seat::stay`], then the ticket is
//! freed. Receiving: RECEIVE · ACKNOWLEDGE · hold the object · arrive · then the ticket is freed. In a message that is
//! leased, and so may come again, ends are refused.
//!
//! Edges
//! - E1 the fate changes (AcqRel) -> whoever reads it (Acquire): what was done with the end before comes before.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_queue::lane::role;
use ginnel_segment::ForkMark;

use crate::arena::ObjectRef;
use crate::error::{Error, ErrorKind, Result};
use crate::sides;

/// Which end of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Post {
    /// That of a lane which sends.
    Producer,
    /// That of a lane which receives.
    Consumer,
    /// That of an mpsc which receives.
    Receiver,
    /// That of an mpsc which sends in this lane.
    Lane(u32),
}

/// The fates of an end.
mod fate {
    pub(super) const MINE: u32 = 0;
    pub(super) const TRAVELS: u32 = 1;
    pub(super) const GONE: u32 = 2;
}

/// What an end and the message that names it have in common.
pub(crate) struct Seat {
    object: ObjectRef,
    post: Post,
    /// One of [`fate`].
    fate: AtomicU32,
    /// The ticket of the message that it is in.
    ticket: AtomicU32,
    /// 1: the message at the head had perhaps been seen when it set out.
    seen: AtomicU32,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("object", &self.object)
            .field("post", &self.post)
            .field("fate", &self.fate.load(Relaxed))
            .finish_non_exhaustive()
    }
}

impl Seat {
    /// Begins its way into a message, with a ticket of ours. `None`: the words say that it is somebody else's.
    fn travel(&self, ticket: u32, seen: bool) -> Option<()> {
        let me = self.object.arena().segment().me();
        self.ticket.store(ticket, Relaxed);
        self.seen.store(seen.into(), Relaxed);
        let departed =
            sides::with_end(&self.object, self.post, |end| role::depart(end.role(), me, ticket, seen));
        if departed == Some(true) { Some(()) } else { None }
    }

    pub(crate) fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// The message was not sent: the end is whole again. Before the ticket is freed.
    pub(crate) fn stay(&self) {
        let me = self.object.arena().segment().me();
        let ticket = self.ticket.load(Relaxed);
        sides::with_end(&self.object, self.post, |end| role::stay(end.role(), me, ticket));
        self.become_if(fate::TRAVELS, fate::MINE);
    }

    /// The message is committed: the end is no longer ours.
    pub(crate) fn sent(&self) {
        self.become_if(fate::TRAVELS, fate::GONE);
    }

    fn is_whole(&self) -> bool {
        self.fate.load(Acquire) == fate::MINE // E1
    }

    fn become_if(&self, from: u32, to: u32) -> bool {
        self.fate.compare_exchange(from, to, AcqRel, Relaxed).is_ok() // E1
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // An end that went away in order has settled its fate. This one was dropped while a message had it, and then
        // the message was not sent.
        if self.object.is_forked() || !self.become_if(fate::MINE, fate::GONE) {
            return;
        }
        let me = self.object.arena().segment().me();
        let seen = self.seen.load(Relaxed) != 0;
        sides::with_end(&self.object, self.post, |end| {
            role::give_up(end.role(), me, seen);
            end.wake_peer();
        });
    }
}

/// What an end keeps beside the end of the lane: whether it may be used, at the price of one load.
pub struct Tenure {
    /// One that fits no process, from when the end was named by a message.
    mark: Cell<ForkMark>,
    seat: Arc<Seat>,
}

impl fmt::Debug for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seat.fmt(f)
    }
}

impl Tenure {
    /// That of an end which was taken just now.
    pub(crate) fn of(object: &ObjectRef, post: Post) -> Self {
        let seat = Arc::new(Seat {
            object: object.clone(),
            post,
            fate: AtomicU32::new(fate::MINE),
            ticket: AtomicU32::new(0),
            seen: AtomicU32::new(0),
        });
        Self { mark: Cell::new(object.fork_mark()), seat }
    }

    /// A ticket for its way; see [`ObjectRef::pin_side`].
    pub(crate) fn pin(&self) -> Result<u32> {
        self.seat.object.pin_side(sides::side_of(self.seat.post))
    }

    /// What the message shares.
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// May the end be used? Not in the child of a bare fork, and not once it was sent: [`Tenure::why`] tells.
    #[inline(always)]
    pub(crate) fn check(&self) -> bool {
        self.mark.get().check().is_ok() || self.check_again()
    }

    #[cold]
    #[inline(never)]
    fn check_again(&self) -> bool {
        let usable = !self.seat.object.is_forked() && self.seat.is_whole();
        if usable {
            // A message had it, which was not sent.
            self.mark.set(self.seat.object.fork_mark());
        }
        usable
    }

    /// Why it may not be used; `None`: it may.
    #[cold]
    pub(crate) fn why(&self) -> Option<Error> {
        let object = &self.seat.object;
        if let Err(forked) = object.check_fork() {
            return Some(forked);
        }
        (!self.seat.is_whole()).then(|| object.name_error(sent_away()))
    }

    /// [`Tenure::check`], with the error.
    ///
    /// # Errors
    /// `Forked`, or `Invalid`: it was sent.
    #[inline(always)]
    pub(crate) fn usable(&self) -> Result<()> {
        if self.check() { Ok(()) } else { self.why().map_or(Ok(()), Err) }
    }

    /// Sets out with a ticket of ours, whose message decides: [`Seat::sent`] or [`Seat::stay`]. `seen`: the message at
    /// the head may have been delivered before.
    ///
    /// # Errors
    /// `Invalid` for an end that was sent; `Corrupted` when the words say that it is somebody else's.
    pub(crate) fn travel(&self, ticket: u32, seen: bool) -> Result<()> {
        let seat = &self.seat;
        if !seat.become_if(fate::MINE, fate::TRAVELS) {
            return Err(seat.object.name_error(sent_away()));
        }
        self.mark.set(self.mark.get().of_nobody());
        seat.travel(ticket, seen).ok_or_else(|| {
            seat.become_if(fate::TRAVELS, fate::GONE);
            seat.object.corrupted("who holds an end")
        })
    }

    /// The end goes away. True, once: it is to be given up in order, with the end of the lane; else it is not ours to
    /// give up.
    pub(crate) fn leave(&self) -> bool {
        !self.seat.object.is_forked() && self.seat.become_if(fate::MINE, fate::GONE)
    }
}

fn sent_away() -> Error {
    Error::new(ErrorKind::Invalid, "this end was sent to another process")
        .with_advice("use it where it was received")
}
