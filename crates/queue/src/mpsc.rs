//! The mpsc: many producers, one consumer, messages of any length. A lane for each producer, and a consumer that
//! goes round.
//!
//! ```text
//! control  | how many lanes | census | not_empty: the consumer sleeps here, its role |
//! lanes    | tail head not_full | tail head not_full | ..     a control each, and the producer's role
//! rings    | message message 0 .. | 0 .. | message 0 .. | ..  a ring each, see `lane`
//! ```
//! Producers share nothing that they write but a line to wake, so they do not slow each other down, and what holds
//! for a lane (one commit instruction, nothing to repair, the order of what one producer sends) holds here.
//!
//! | word | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | role of a lane's producer | who takes it (CAS), who holds it, recovery | the consumer when it finds nothing | E3, E4 | HELD(d) becomes DEAD |
//! | role of the consumer | the same | every producer at each send | E3, E4 | HELD(d) becomes DEAD |
//! | census `{takings, used}` | a producer that has taken a lane (CAS) | the consumer at each turn | E5 | a taking is missing: that lane sent nothing |
//! | not_empty | see `sync::park`; all producers post, one consumer sleeps | | E1 of `park` | recovery wakes |
//!
//! Take: a lane whose producer is gone (VACANT, CLOSED, DEAD), an empty one before others: CAS its role · walk to its
//! tail · census: one taking more, and `used` beyond this lane. The messages of its predecessor, if there are any,
//! come first: the successor goes on behind them, as in a lane. Send: as in a lane, but post to the shared line.
//! Receive: up to [`BATCH`] messages of one lane, then the next lane (of those below `used`) that has any.
//! Nothing found: census · for each lane its role: HELD? then there is nothing *now*. Gone? look once more · census
//! again: if nobody took a lane meanwhile, all who ever came are gone: `Closed`.
//!
//! Invariants
//! - I1 the lanes are as many as the geometry says and their controls lie one after the other, mapped as long as the
//!   [`Mpsc`] or an end made from it is used (promised by the caller of [`Mpsc::from_raw`]).
//! - I2 a message is committed only in a lane below `used`: the census is raised between taking and sending. So the
//!   consumer, which looks at those only, misses none.
//! - I3 between two messages of one lane, while more of it wait, each other lane gives at most [`BATCH`].
//! - I4 what the lanes say is checked as in a lane. A lane that holds what no correct producer writes is given up:
//!   `Corrupted`, as soon as nothing is left in the others.
//!
//! Edges
//! - E3 (pairs with lane.rs E3) role given up or recovered (Release) -> role load after finding nothing (Acquire):
//!   everything the holder committed before. The ring is looked at once more after it.
//! - E4 (pairs with lane.rs E4) role given up or taken -> role load of who looks for a lane (Acquire): a successor sees
//!   what its predecessor did.
//! - E5 census raised (AcqRel) -> census load (Acquire): the role of that taking. A producer that came from another
//!   one (a clone) raised it before that one could go, so it is in the second census of whoever saw that one gone.
//! - The sleep and wake handshake (fences) belongs to `sync::park`: the consumer announces itself on the shared line
//!   and looks at all lanes after it; each producer commits, then looks at the line. Releases are posted without a
//!   fence, as in a lane; once a round, and before each wait, a fence makes up for it (E6).
//! - E6 (pairs with park.rs E1) releases, then the flags of the lanes' producers: one fence for all of them.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | producer after taking, before the census | role HELD(d) | `recover`: DEAD. It sent nothing; the lane is taken again |
//! | producer in the middle of a send | as in `lane` | nobody: nothing was sent |
//! | producer after a commit, before its wake | the consumer may sleep | `recover` wakes it, else its slice ends |
//! | producer, any time | messages committed | the consumer gets them all; a successor sends behind them |
//! | the last producer | role HELD(d), the consumer asleep | `recover` makes it DEAD and wakes: messages, then `Closed` |
//! | consumer before an acknowledgement | head unchanged | its successor gets the message again, flagged |
//! | consumer after it, before its wake | a producer may sleep | `recover`, else the slice |
//! | consumer, any time | role HELD(d) | `recover`: producers are told; a successor goes on at the heads |
//! | while an end is on its way | role MOVING(t) | see `lane::role` |
//! | recoverer | a prefix of it | the next recoverer repeats all of it |
//!
//! Progress: sending as in a lane. Receiving looks at each used lane at most once a turn. Taking is lock-free.
//! Source: one lane a producer is Lamport's queue many times over; the census, the reuse of lanes and the recovery
//! are our own, modelled in testkit (`mpsc`).

mod receiver;

use core::fmt;
use core::ptr::NonNull;

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use ginnel_layout::lane::{Cursor, LaneControl, Role};
use ginnel_layout::line::PAGE;
use ginnel_layout::mpsc::{Census, LANES_MAX, MpscControl, rings_at};
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::park;

pub use receiver::{Receiver, ReceiverPort};

use crate::Mirrored;
use crate::lane::{self, Lane, LaneError, Producer, role};

/// Most messages that the consumer takes from one lane while another has some (I3).
pub const BATCH: u32 = 32;

/// What is to be agreed when an mpsc is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How many lanes, which is how many producers at a time: 1 to 1024.
    pub lanes: u32,
    /// What each lane is like.
    pub lane: lane::Shape,
}

impl Shape {
    /// `None`: too many lanes, or none.
    #[must_use]
    pub fn new(lanes: u32, lane: lane::Shape) -> Option<Self> {
        (1..=LANES_MAX).contains(&lanes).then_some(Self { lanes, lane })
    }

    /// Bytes of everything: the controls and the rings.
    #[must_use]
    pub fn size(&self) -> u64 {
        rings_at(self.lanes) + u64::from(self.lanes) * self.lane.size
    }

    /// Where the ring of lane `index` begins, in bytes from the control.
    #[must_use]
    pub fn ring_at(&self, index: u32) -> u64 {
        rings_at(self.lanes) + u64::from(index) * self.lane.size
    }
}

/// An mpsc in borrowed memory, its geometry checked and copied. Its rings are mapped by who needs them.
#[derive(Clone, Copy)]
pub struct Mpsc {
    control: NonNull<MpscControl>,
    lanes: NonNull<[LaneControl]>,
    shape: lane::Shape,
}

#[allow(unsafe_code, reason = "the controls outlive the mpsc by the contract of from_raw")]
mod borrowed {
    //! The unsafe steps of an mpsc: borrowing its controls, and saying that it may change threads.
    use super::{Lane, LaneControl, Mirrored, Mpsc, MpscControl, NonNull};

    // SAFETY: I1; all shared words are atomics.
    unsafe impl Send for Mpsc {}

    impl Mpsc {
        #[inline(always)]
        pub(crate) fn control(&self) -> &MpscControl {
            // SAFETY: I1.
            unsafe { self.control.as_ref() }
        }

        #[inline(always)]
        pub(crate) fn lanes(&self) -> &[LaneControl] {
            // SAFETY: I1.
            unsafe { self.lanes.as_ref() }
        }

        /// Lane `index` over its ring, with the line that all share.
        ///
        /// # Safety
        /// `ring` was made by [`Mirrored::from_raw`] over the ring of that lane and stays mapped as long as the lane
        /// or an end of it is used.
        pub(crate) unsafe fn lane(&self, index: u32, ring: Mirrored) -> Option<Lane> {
            let control = NonNull::from(self.lanes().get(index as usize)?);
            let not_empty = NonNull::from(&self.control().not_empty);
            // SAFETY: I1 for the control and the line; the contract of this function for the ring.
            Some(unsafe { Lane::from_raw_sharing(control, not_empty, ring, self.shape) })
        }
    }
}

impl fmt::Debug for Mpsc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mpsc").field("shape", &self.shape()).finish_non_exhaustive()
    }
}

impl Mpsc {
    /// Writes the words of a new mpsc. The rest of its pages is zero already.
    ///
    /// Each lane begins at another place of its page: the places that an idle consumer looks at would all be in the
    /// same set of the cache else.
    ///
    /// # Panics
    /// Unless there are as many `lanes` as `shape` says.
    pub fn init(control: &MpscControl, lanes: &[LaneControl], shape: &Shape) {
        assert_eq!(lanes.len(), shape.lanes as usize, "as many lanes as agreed");
        shape.lane.write(&control.geometry.lane);
        control.geometry.lanes.store(shape.lanes, Relaxed);
        for (index, lane) in (0..).zip(lanes) {
            let offset = (index * START_STEP) % shape.lane.size.min(PAGE as u64);
            let start = Cursor { offset, ..Cursor::default() }.bits();
            lane.head.store(start, Relaxed);
            lane.tail.store(start, Relaxed);
        }
    }

    /// Reads the geometry of an mpsc, once, and checks it against the bytes that it has.
    ///
    /// # Errors
    /// `Corrupted` when no creator writes such a geometry.
    pub fn shape_of(control: &MpscControl, bytes: u64) -> Result<Shape, LaneError> {
        let lane = lane::Shape::read(&control.geometry.lane)?;
        let shape = Shape::new(control.geometry.lanes.load(Relaxed), lane).ok_or(LaneError::Corrupted)?;
        if shape.size() == bytes { Ok(shape) } else { Err(LaneError::Corrupted) }
    }

    /// An mpsc over its controls.
    ///
    /// # Safety
    /// I1: both point to words that stay mapped as long as the mpsc or an end made from it is used.
    #[allow(unsafe_code, reason = "the promise is the caller's; nothing unsafe happens here")]
    #[must_use]
    pub unsafe fn from_raw(
        control: NonNull<MpscControl>,
        lanes: NonNull<[LaneControl]>,
        shape: &Shape,
    ) -> Self {
        assert_eq!(lanes.len(), shape.lanes as usize, "as many lanes as agreed");
        Self { control, lanes, shape: shape.lane }
    }

    /// What was agreed.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { lanes: self.lanes.len() as u32, lane: self.shape }
    }

    /// A lane that a producer may take now: one that nobody living holds, an empty one before others. `None`: all are
    /// held; ask liveness about the [`Mpsc::holders`].
    #[must_use]
    pub fn vacancy(&self) -> Option<u32> {
        let mut second = None;
        for (index, lane) in (0..).zip(self.lanes()) {
            let role = lane.not_full.role.load(Acquire); // E4
            if Role::from_bits(role).st != Role::VACANT && !Role::is_gone(role) {
                continue;
            }
            // Hints are good enough: the successor goes on behind whatever is there.
            if lane.head.load(Relaxed) == lane.tail.load(Relaxed) {
                return Some(index);
            }
            second = second.or(Some(index));
        }
        second
    }

    /// Who holds the lanes, lane by lane, or has sent them away; the dead that nobody recovered yet are among them.
    pub fn holders(&self) -> impl Iterator<Item = ParticipantId> {
        self.lanes().iter().filter_map(|lane| {
            let role = Role::from_bits(lane.not_full.role.load(Acquire)); // E3
            role.owner.filter(|_| matches!(role.st, Role::HELD | Role::MOVING))
        })
    }

    /// Takes the producer's end of lane `index` for `me`, if nobody living holds it.
    ///
    /// # Errors
    /// `Taken` while a participant holds it; `Corrupted`.
    ///
    /// # Safety
    /// `ring` was made by [`Mirrored::from_raw`] over the ring of that lane and stays mapped as long as the end is
    /// used.
    #[allow(unsafe_code, reason = "passes the promise on")]
    pub unsafe fn take_producer(
        self,
        index: u32,
        ring: Mirrored,
        me: ParticipantId,
    ) -> Result<Producer, LaneError> {
        // SAFETY: the contract of this function is that one's.
        let lane = unsafe { self.lane(index, ring) }.ok_or(LaneError::Corrupted)?;
        let producer = lane.take_producer(me)?;
        let census = &self.control().census;
        let mut word = census.load(Acquire); // E5
        loop {
            let more = Census::from_bits(word).with(index).bits();
            // E5: before the first commit (I2), and before whoever asked for this end goes on.
            match census.compare_exchange(word, more, AcqRel, Acquire) {
                Ok(_) => return Ok(producer),
                Err(there) => word = there,
            }
        }
    }

    /// The lane whose producer's end travels with that ticket.
    #[must_use]
    pub fn lane_of(&self, ticket: u32) -> Option<u32> {
        let travels = |lane: &LaneControl| Role::ticket_of(lane.not_full.role.load(Acquire)) == Some(ticket); // E4
        self.lanes().iter().position(travels).map(|index| index as u32)
    }

    /// Takes the producer's end of lane `index` that came with a ticket of ours. It was counted when it was taken first.
    ///
    /// # Errors
    /// `Taken` when another end came with it, or none; `Corrupted`.
    ///
    /// # Safety
    /// As [`Mpsc::take_producer`].
    #[allow(unsafe_code, reason = "passes the promise on")]
    pub unsafe fn arrive_producer(
        self,
        index: u32,
        ring: Mirrored,
        me: ParticipantId,
        ticket: u32,
    ) -> Result<Producer, LaneError> {
        // SAFETY: the contract of this function is that one's.
        let lane = unsafe { self.lane(index, ring) }.ok_or(LaneError::Corrupted)?;
        lane.arrive_producer(me, ticket)
    }

    /// Asks about those who hold the lanes, for one who waits for them.
    pub(crate) fn probe(&self, liveness: &dyn Liveness) {
        let (mut before, mut moving) = (None, false);
        for lane in self.lanes() {
            let role = Role::from_bits(lane.not_full.role.load(Acquire)); // E3
            moving |= role.st == Role::MOVING;
            let owner = role.owner.filter(|owner| role.st == Role::HELD && before != Some(*owner));
            if let Some(owner) = owner {
                before = Some(owner);
                // True or false, the next look at the words tells what came of it.
                let _ = liveness.is_dead(owner);
            }
        }
        if moving {
            liveness.look_around();
        }
    }

    /// Takes the consumer's end for `me`, if nobody living holds it. The successor of a dead consumer gets the
    /// messages at which that one may have stood once more, flagged.
    ///
    /// # Errors
    /// `Taken` while a participant holds it; `Corrupted`.
    ///
    /// # Safety
    /// There are as many `rings` as lanes. Each was made by [`Mirrored::from_raw`] over the ring of the lane of that
    /// number and stays mapped as long as the end is used.
    #[allow(unsafe_code, reason = "passes the promise on")]
    pub unsafe fn take_receiver(self, rings: &[Mirrored], me: ParticipantId) -> Result<Receiver, LaneError> {
        // SAFETY: the contract of this function is that one's.
        unsafe { self.receiver_after(rings, me, |role| role::take(role, me)) }
    }

    /// Takes the consumer's end that came with a ticket of ours.
    ///
    /// # Errors
    /// `Taken` when another end came with it, or none; `Corrupted`.
    ///
    /// # Safety
    /// As [`Mpsc::take_receiver`].
    #[allow(unsafe_code, reason = "passes the promise on")]
    pub unsafe fn arrive_receiver(
        self,
        rings: &[Mirrored],
        me: ParticipantId,
        ticket: u32,
    ) -> Result<Receiver, LaneError> {
        // SAFETY: the contract of this function is that one's.
        unsafe { self.receiver_after(rings, me, |role| role::arrive(role, me, ticket)) }
    }

    /// # Safety
    /// As [`Mpsc::take_receiver`].
    #[allow(unsafe_code, reason = "passes the promise on")]
    unsafe fn receiver_after(
        self,
        rings: &[Mirrored],
        me: ParticipantId,
        take: impl FnOnce(&AtomicU32) -> Result<u32, LaneError>,
    ) -> Result<Receiver, LaneError> {
        let lanes = (0..).zip(rings).map(|(index, ring)| {
            // SAFETY: the contract of this function is that one's.
            unsafe { self.lane(index, *ring) }
        });
        let lanes: Option<Vec<Lane>> = lanes.collect();
        let lanes = lanes.filter(|lanes| lanes.len() == self.lanes().len()).ok_or(LaneError::Corrupted)?;
        let role = &self.control().not_empty.role;
        let before = take(role)?;
        Receiver::new(self, lanes, me, role::after_death(before))
            .inspect_err(|_| role::put_back(role, me, before))
    }

    /// Repairs what the dead participant `dead` left. The caller holds its byte lock. Idempotent: the next
    /// recoverer may repeat any prefix of it.
    pub fn recover(control: &MpscControl, lanes: &[LaneControl], dead: ParticipantId) {
        role::recover_role(&control.not_empty.role, dead);
        for lane in lanes {
            role::recover_role(&lane.not_full.role, dead);
        }
        // Always, and last: the dead one may have been killed between its commit and its wake.
        park::wake_all(&control.not_empty);
        for lane in lanes {
            park::wake_all(&lane.not_full);
        }
    }
}

/// Bytes from the beginning of one lane to that of the next, within their pages.
const START_STEP: u64 = 128;
