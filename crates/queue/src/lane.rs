//! The lane: a queue from one producer to one consumer, with the commit inside the data.
//!
//! ```text
//! ring   | header 8 | payload, rounded up to 8 | header 8 | payload .. | 0 | old bytes ..
//!          ^ head: acknowledged up to here                               ^ tail: the next header, zero
//! ```
//! A record is a header word (`layout::record`) and its payload. For values whose alignment is above eight
//! the header takes that much room, so that the payload is aligned. Many small values may share one header, and
//! a long message of bytes may be several records: the header says which part (`record::kind`).
//! The consumer polls the header at its head; nothing else tells it that a message is there, so a message
//! costs one transfer of its own cache line and no index line.
//!
//! Send: 1 payload at `tail + room` · 2 header of the *next* record := 0 · 3 header := valid, Release: the
//! COMMIT · 4 tail hint. A batch does 1 for every record, 2 after the last, and 3 for the first one last.
//! Receive: header, Acquire · check · copy or loan · `head` := next, Release: the ACKNOWLEDGEMENT.
//!
//! Invariants
//! - I1 the word at the first unpublished place is 0, always: step 2 comes before step 3. So stale payload
//!   is never taken for a header, and a successor finds the true end by walking valid headers.
//! - I2 `tail - head <= size - 8`: there is always room for the zero of I1.
//! - I3 an end's own place is private; the words in memory are outputs. A peer's word is read once, checked
//!   against the ring, used, and if it is impossible the end is poisoned for good (`Corrupted`).
//! - I4 a role word names its holder from the instruction that takes it to the one that gives it up, or names the ticket
//!   that the end travels with; only the holder, the ticket's owner, or who recovers him changes it (`role`).
//!
//! Edges
//! - E1 commit (step 3, Release) -> header load (Acquire): payload, later records of the batch, the zero.
//! - E2 acknowledgement (Release) -> head load when the producer believes the ring full (Acquire): the
//!   consumer has finished reading what is overwritten next.
//! - E3 role given up or recovered (Release) -> role load after finding nothing (Acquire): everything the
//!   holder committed before. The ring is looked at once more after it.
//! - E4 role taken (AcqRel on the role word): a successor sees all its predecessor did; the death of the
//!   predecessor was ordered before by the kernel (byte lock) and by recovery's store.
//! - The sleep and wake handshake (fences) belongs to `sync::park`. A commit posts with its fence, because a
//!   consumer may wait for this very message. A release posts without: a producer sleeps only when the lane is full,
//!   is worth waking at half only (docs/decisions/0007), and the consumer posts with the fence before it waits.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | producer before 3 | bytes nobody looks at | nobody: the message was never sent, the room is used again |
//! | producer after 3, before 4 | a hint one batch behind | the successor walks the headers: nothing lost |
//! | producer after 3, before its wake | a consumer may sleep | `recover` wakes it, else its slice ends |
//! | producer with a claim | as before 3 | nobody |
//! | consumer before the acknowledgement | head unchanged | its successor gets the message again, flagged |
//! | consumer after it, before its wake | a producer may sleep | `recover`, else the slice |
//! | consumer with a loan of many values | head unchanged | the same; all values of that record are flagged |
//! | either end, any time | role HELD(d) | `recover` makes it DEAD: the peer is told, a successor may take it |
//! | while an end is on its way | role MOVING(t) | see `role` |
//! | recoverer | role HELD or DEAD, wakes perhaps missing | the next recoverer repeats all of it |
//!
//! Progress: `try_*` is wait-free but for the copy, and takes bounded time whatever the peer writes; taking
//! an end walks at most the ring. Source: Lamport's queue with the commit moved into the data (as in
//! FastForward), batches published as in MCRingBuffer; the recovery is our own, modelled in testkit.

mod consumer;
mod producer;
pub mod role;
mod undelivered;

use core::fmt;
use core::ptr::NonNull;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::lane::{Cursor, LaneControl, LaneGeometry, RING_MAX, Role, wait_mode};
use ginnel_layout::line::PAGE;
use ginnel_layout::record::{GRANULE, PAYLOAD_MAX, RecordHeader};
use ginnel_layout::wait::WaitLine;
use ginnel_sync::park::{self, Mode};

pub use consumer::Consumer;
pub(crate) use consumer::End as Reader;
#[cfg(not(loom))]
pub use consumer::Loan;
pub use consumer::ready::ConsumerPort;
pub(crate) use consumer::ready::{arm, disarm, probe};
pub use producer::{Claim, Producer, ProducerPort};

use crate::Mirrored;

/// Why an operation on a lane did not happen. Small and `Copy`: the crates above say it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneError {
    /// Full, or empty. Only from `try_*`.
    WouldBlock,
    /// The deadline passed.
    TimedOut,
    /// A signal arrived while asleep; nothing happened, call again.
    Interrupted,
    /// The peer gave up its end in order. For a consumer: and everything it sent has been received.
    Closed,
    /// The peer died with its end. For a consumer: and everything it committed has been received.
    PeerDied(Option<ParticipantId>),
    /// The message can never fit: its length and the most that fits, in bytes.
    TooLarge {
        /// Bytes asked for.
        len: u64,
        /// Bytes possible.
        max: u64,
    },
    /// The end is held by this participant.
    Taken(Option<ParticipantId>),
    /// A word held what no correct peer writes. This end refuses to go on.
    Corrupted,
}

/// Rings are whole pages, so that they can be mapped twice. A model's ring is a few granules on the heap.
const RING_UNIT: u64 = if cfg!(loom) { 64 } else { PAGE as u64 };

/// What is to be agreed when a lane is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the ring: whole pages, at most 4 GiB.
    pub size: u64,
    /// Bytes of a value; 0 = messages of bytes.
    pub value_size: u64,
    /// Alignment of a value, a power of two up to 128; 1 for bytes.
    pub value_align: u32,
    /// How both ends wait.
    pub mode: Mode,
}

impl Shape {
    /// The shape of a lane for at least `capacity` values of `size` bytes sent one by one.
    /// `None`: no ring is that large.
    #[must_use]
    pub fn of_values(size: u64, align: u32, capacity: u64, mode: Mode) -> Option<Self> {
        let one = Self { size: 0, value_size: size, value_align: align, mode };
        let bytes = one.record_size(size).checked_mul(capacity)?.checked_add(GRANULE)?;
        one.with_size(bytes)
    }

    /// The shape of a lane for messages of bytes, `size` bytes of ring.
    #[must_use]
    pub fn of_bytes(size: u64, mode: Mode) -> Option<Self> {
        Self { size: 0, value_size: 0, value_align: 1, mode }.with_size(size)
    }

    fn with_size(self, bytes: u64) -> Option<Self> {
        let size = bytes.checked_next_multiple_of(RING_UNIT)?.max(RING_UNIT);
        let shape = Self { size, ..self };
        shape.is_valid().then_some(shape)
    }

    fn is_valid(&self) -> bool {
        let fits_once = self.value_size == 0 || self.record_size(self.value_size) + GRANULE <= self.size;
        self.size >= RING_UNIT
            && self.size.is_multiple_of(RING_UNIT)
            && self.size < RING_MAX
            && self.value_size <= PAYLOAD_MAX
            && self.value_align.is_power_of_two()
            && self.value_align <= 128
            && fits_once
    }

    /// Writes it into the pages of what is being made.
    pub(crate) fn write(&self, g: &LaneGeometry) {
        g.size.store(self.size, Relaxed);
        g.value_size.store(self.value_size, Relaxed);
        g.value_align.store(self.value_align, Relaxed);
        let wait = match self.mode {
            Mode::Adaptive => wait_mode::ADAPTIVE,
            Mode::Spin => wait_mode::SPIN,
            Mode::Sleep => wait_mode::SLEEP,
        };
        g.wait.store(wait, Relaxed);
    }

    /// Reads it, once, and checks it.
    pub(crate) fn read(g: &LaneGeometry) -> Result<Self, LaneError> {
        let mode = match g.wait.load(Relaxed) {
            wait_mode::ADAPTIVE => Mode::Adaptive,
            wait_mode::SPIN => Mode::Spin,
            wait_mode::SLEEP => Mode::Sleep,
            _ => return Err(LaneError::Corrupted),
        };
        let shape = Self {
            size: g.size.load(Relaxed),
            value_size: g.value_size.load(Relaxed),
            value_align: g.value_align.load(Relaxed),
            mode,
        };
        if shape.is_valid() { Ok(shape) } else { Err(LaneError::Corrupted) }
    }

    /// Bytes the header takes: eight, or more to keep the payload aligned.
    #[inline(always)]
    pub(crate) fn room(&self) -> u64 {
        u64::from(self.value_align).max(GRANULE)
    }

    /// Bytes a record of `len` bytes of payload takes.
    #[inline(always)]
    pub(crate) fn record_size(&self, len: u64) -> u64 {
        record_size(self.room(), len)
    }

    /// Longest payload that can ever be sent.
    #[must_use]
    pub fn len_max(&self) -> u64 {
        self.size - GRANULE - self.room()
    }

    /// Values that fit when sent one by one. 0 for messages of bytes, whose lengths nobody knows.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        if self.value_size == 0 {
            return 0;
        }
        (self.size - GRANULE) / self.record_size(self.value_size)
    }
}

/// Bytes of a record whose header takes `unit` bytes, a power of two of at least a granule.
///
/// A length that no ring can hold gives a record that no ring can hold, without wrapping.
#[inline(always)]
fn record_size(unit: u64, len: u64) -> u64 {
    unit + ((len.min(PAYLOAD_MAX) + (unit - 1)) & !(unit - 1))
}

const _: () = assert!(PAYLOAD_MAX + GRANULE >= RING_MAX - PAGE as u64, "no ring takes the longest payload");

/// A lane in borrowed memory, its geometry checked and copied.
#[derive(Clone, Copy)]
pub struct Lane {
    control: NonNull<LaneControl>,
    /// The line its consumer sleeps on: its own, or one that it shares with other lanes (`mpsc`).
    not_empty: NonNull<WaitLine>,
    /// The same line, if a commit is to be posted to it: where ends may sleep.
    posted: Option<NonNull<WaitLine>>,
    ring: Mirrored,
    shape: Shape,
    /// `shape.room()`, which the hot path asks for several times a message.
    unit: u64,
}

#[allow(unsafe_code, reason = "the control page outlives the lane by the contract of from_raw")]
mod borrowed {
    //! The two unsafe steps of a lane: borrowing its control page, and saying that it may change threads.
    //!
    //! - I5 the control page, and the line the consumer sleeps on, are mapped as long as the [`super::Lane`] or an
    //!   end made from it is used (promised by the caller of [`super::Lane::from_raw`] or
    //!   [`super::Lane::from_raw_sharing`]); all of it is atomics.
    use super::{Lane, LaneControl, WaitLine};

    // SAFETY: I5; all shared words are atomics.
    unsafe impl Send for Lane {}

    impl Lane {
        #[inline(always)]
        pub(crate) fn control(&self) -> &LaneControl {
            // SAFETY: I5.
            unsafe { self.control.as_ref() }
        }

        #[inline(always)]
        pub(crate) fn not_empty(&self) -> &WaitLine {
            // SAFETY: I5.
            unsafe { self.not_empty.as_ref() }
        }

        /// The line that commits are posted to, if any.
        #[inline(always)]
        pub(crate) fn posted(&self) -> Option<&WaitLine> {
            // SAFETY: I5.
            self.posted.map(|line| unsafe { line.as_ref() })
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Lane {
    /// Writes the geometry of a new lane. The rest of the page and the ring are zero already.
    pub fn init(control: &LaneControl, shape: &Shape) {
        shape.write(&control.geometry);
    }

    /// Reads the geometry of a lane, once, and checks it.
    ///
    /// # Errors
    /// `Corrupted` when no creator writes such a geometry.
    pub fn shape_of(control: &LaneControl) -> Result<Shape, LaneError> {
        Shape::read(&control.geometry)
    }

    /// A lane over a control page and a ring of the size that `shape` says.
    ///
    /// # Safety
    /// `control` points to a [`LaneControl`] that stays mapped (I5), and `ring` was made by
    /// [`Mirrored::from_raw`] over the ring of the same lane, as long as the lane or an end of it is used.
    #[allow(unsafe_code, reason = "finds the line in the control page that the caller promises")]
    #[must_use]
    pub unsafe fn from_raw(control: NonNull<LaneControl>, ring: Mirrored, shape: Shape) -> Self {
        // SAFETY: the contract of this function: the control page stays mapped, and the line is in it.
        let not_empty = NonNull::from(unsafe { &control.as_ref().not_empty });
        // SAFETY: the contract of this function, and the line stays mapped with the control page.
        unsafe { Self::from_raw_sharing(control, not_empty, ring, shape) }
    }

    /// The same, for a lane whose consumer sleeps on another line, with its role: that of many lanes.
    ///
    /// # Safety
    /// As [`Lane::from_raw`], and `not_empty` points to a [`WaitLine`] that stays mapped as long.
    #[allow(unsafe_code, reason = "the promise is the caller's; nothing unsafe happens here")]
    #[must_use]
    pub(crate) unsafe fn from_raw_sharing(
        control: NonNull<LaneControl>,
        not_empty: NonNull<WaitLine>,
        ring: Mirrored,
        shape: Shape,
    ) -> Self {
        assert_eq!(ring.size(), shape.size, "a ring of another size than its lane");
        let posted = (shape.mode != Mode::Spin).then_some(not_empty);
        Self { control, not_empty, posted, ring, shape, unit: shape.room() }
    }

    /// Bytes a record of `len` bytes of payload takes.
    #[inline(always)]
    fn record_size(&self, len: u64) -> u64 {
        record_size(self.unit, len)
    }

    /// What was agreed.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Takes the producer's end for `me`, if nobody living holds it.
    ///
    /// # Errors
    /// `Taken` while a participant holds it (ask liveness, then try again); `Corrupted`.
    pub fn take_producer(self, me: ParticipantId) -> Result<Producer, LaneError> {
        let before = role::take(&self.control().not_full.role, me)?;
        self.producer_after(me, before)
    }

    /// Takes the producer's end that came with a ticket of ours.
    ///
    /// # Errors
    /// `Taken` when another end came with it, or none; `Corrupted`.
    pub fn arrive_producer(self, me: ParticipantId, ticket: u32) -> Result<Producer, LaneError> {
        let before = role::arrive(&self.control().not_full.role, me, ticket)?;
        self.producer_after(me, before)
    }

    fn producer_after(self, me: ParticipantId, before: u32) -> Result<Producer, LaneError> {
        let role = &self.control().not_full.role;
        let tail = self.find_tail().inspect_err(|_| role::put_back(role, me, before))?;
        Ok(Producer::new(self, me, tail))
    }

    /// Takes the consumer's end for `me`, if nobody living holds it. The successor of a dead consumer gets
    /// the message at which that one stood once more, flagged.
    ///
    /// # Errors
    /// `Taken` while a participant holds it; `Corrupted`.
    pub fn take_consumer(self, me: ParticipantId) -> Result<Consumer, LaneError> {
        let before = role::take(&self.not_empty().role, me)?;
        self.consumer_after(me, before)
    }

    /// Takes the consumer's end that came with a ticket of ours.
    ///
    /// # Errors
    /// As [`Lane::arrive_producer`].
    pub fn arrive_consumer(self, me: ParticipantId, ticket: u32) -> Result<Consumer, LaneError> {
        let before = role::arrive(&self.not_empty().role, me, ticket)?;
        self.consumer_after(me, before)
    }

    fn consumer_after(self, me: ParticipantId, before: u32) -> Result<Consumer, LaneError> {
        let role = &self.not_empty().role;
        let head = self.checked_head().inspect_err(|_| role::put_back(role, me, before))?;
        Ok(Consumer::new(self, me, head, role::after_death(before)))
    }

    /// Is the consumer's end without a holder that could come back to it: given up, or left by a death?
    #[must_use]
    pub fn consumer_is_gone(&self) -> bool {
        Role::is_gone(self.not_empty().role.load(Acquire)) // E3
    }

    /// The same for the producer's end.
    #[must_use]
    pub fn producer_is_gone(&self) -> bool {
        Role::is_gone(self.control().not_full.role.load(Acquire)) // E3
    }

    /// Repairs what the dead participant `dead` left. The caller holds its byte lock. Idempotent: the next
    /// recoverer may repeat any prefix of it.
    pub fn recover(control: &LaneControl, dead: ParticipantId) {
        role::recover_role(&control.not_empty.role, dead);
        role::recover_role(&control.not_full.role, dead);
        // Always, and last: the dead one may have been killed between its commit and its wake.
        park::wake_all(&control.not_empty);
        park::wake_all(&control.not_full);
    }

    /// Messages from a place on, within `bytes` of it.
    pub(crate) fn count(&self, from: Cursor, bytes: u64) -> u64 {
        self.walk(from, bytes).messages.saturating_sub(u64::from(from.index))
    }

    /// The acknowledged place, which must lie where a record can begin (I3).
    pub(crate) fn checked_head(&self) -> Result<Cursor, LaneError> {
        let head = Cursor::from_bits(self.control().head.load(Acquire)); // E2
        let possible = head.offset < self.shape.size && head.offset.is_multiple_of(self.unit);
        if possible { Ok(head) } else { Err(LaneError::Corrupted) }
    }

    /// The place of the first header that is zero: where a successor of the producer goes on (I1).
    fn find_tail(&self) -> Result<Cursor, LaneError> {
        let size = self.shape.size;
        let head = Cursor { index: 0, ..self.checked_head()? };
        let hint = Cursor { index: 0, ..Cursor::from_bits(self.control().tail.load(Acquire)) }; // E4
        // Where the hint lags behind the acknowledgement (by the batch that was committed and taken meanwhile),
        // the walk starts from the acknowledgement, which lies on a header as well.
        let (start, used) = match head.distance(hint, size) {
            Some(used) if hint.offset.is_multiple_of(self.unit) => (hint, used),
            _ => (head, 0),
        };
        let walk = self.walk(start, (size - GRANULE).saturating_sub(used));
        if walk.overran { Err(LaneError::Corrupted) } else { Ok(walk.end) }
    }

    /// Walks the published records from `place` on, over at most `room` bytes of them: at most the ring.
    fn walk(&self, mut place: Cursor, room: u64) -> Walk {
        let (mut walked, mut messages) = (0, 0);
        // E1
        while let Some(header) = RecordHeader::from_bits(self.ring.header(place.offset).load(Acquire)) {
            walked += self.record_size(u64::from(header.len));
            if walked > room {
                return Walk { end: place, messages, overran: true };
            }
            messages += u64::from(header.count);
            place = place.advance(self.record_size(u64::from(header.len)), self.shape.size);
        }
        Walk { end: place, messages, overran: false }
    }

    /// Gives an end up: role, then the wake of whoever waits for it. As DEAD of nobody, where a successor has
    /// not yet got past what a dead one may have seen: the flag must outlive it.
    pub(crate) fn give_up(role: &AtomicU32, me: ParticipantId, st: u32, peer_sleeps_on: &WaitLine) {
        let owner = (st == Role::CLOSED).then_some(me);
        let closed = Role { owner, st }.bits();
        // Only the holder or the recoverer of its death may write; the holder is alive here.
        let _ = role.compare_exchange(Role::held(me), closed, Release, Relaxed); // E3
        park::wake_all(peer_sleeps_on);
    }
}

/// Where an end stands: the words of a [`Cursor`], kept ready so that moving on is two additions.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// As [`Cursor::bits`].
    word: u64,
    /// Bytes from the start of the ring.
    offset: u64,
}

/// What a byte adds to the word of a [`Place`] (whole granules only), and what a lap adds.
const BYTE_SHIFT: u32 = 13;

/// What the word of a place has below the place itself: values taken.
const PLACE_SHIFT: u32 = 16;

const LAP: u64 = 1 << 48;

impl Place {
    fn new(cursor: Cursor) -> Self {
        Self { word: cursor.bits(), offset: cursor.offset }
    }

    fn cursor(self) -> Cursor {
        Cursor::from_bits(self.word)
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        self.word
    }

    #[inline(always)]
    fn offset(self) -> u64 {
        self.offset
    }

    /// Values taken from the record here.
    #[inline(always)]
    fn index(self) -> u16 {
        self.word as u16
    }

    /// Takes values from the record here.
    #[inline(always)]
    fn take(&mut self, values: u16) {
        self.word += u64::from(values);
    }

    /// Moves on to the record behind this one of `bytes`.
    #[inline(always)]
    fn next_record(&mut self, bytes: u64, size: u64) {
        self.word &= !u64::from(u16::MAX);
        self.advance(bytes, size);
    }

    /// Moves on by `bytes`, a multiple of a granule and at most `size`. The index must be zero.
    #[inline(always)]
    fn advance(&mut self, bytes: u64, size: u64) {
        self.offset += bytes;
        self.word = self.word.wrapping_add(bytes << BYTE_SHIFT);
        if self.offset >= size {
            self.offset -= size;
            self.word = self.word.wrapping_add(LAP).wrapping_sub(size << BYTE_SHIFT);
        }
    }
}

/// What a walk over the headers found.
struct Walk {
    /// The first place without a record, or the one whose record would overrun.
    end: Cursor,
    messages: u64,
    overran: bool,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_place_moves_as_a_cursor_does() {
        let size = 3 * PAGE as u64;
        let mut cursor = Cursor { lap: 0xfffe, offset: size - 16, index: 0 };
        let mut place = Place::new(cursor);
        for step in [8, 8, 4096, size - 8, size, 16].into_iter().cycle().take(200) {
            place.advance(step, size);
            cursor = cursor.advance(step, size);
            assert_eq!((place.cursor(), place.offset()), (cursor, cursor.offset));
        }
    }

    #[test]
    fn shapes_hold_what_they_promise() {
        for (size, align, capacity) in [(8, 8, 1), (8, 8, 1000), (24, 4, 7), (64, 64, 100), (1, 1, 5000)] {
            let shape = Shape::of_values(size, align, capacity, Mode::Spin).expect("fits");
            assert!(shape.capacity() >= capacity, "{shape:?}");
            assert!(shape.len_max() >= size, "{shape:?}");
        }
        assert_eq!(Shape::of_values(8, 8, u64::MAX, Mode::Spin), None);
        assert_eq!(Shape::of_values(8, 3, 1, Mode::Spin), None);
        assert_eq!(Shape::of_bytes(RING_MAX, Mode::Spin), None);
        let largest = Shape::of_bytes(RING_MAX - PAGE as u64, Mode::Spin).expect("below the limit");
        for len in [largest.len_max() + 1, PAYLOAD_MAX, PAYLOAD_MAX + 1, u64::MAX] {
            assert!(largest.record_size(len) + GRANULE > largest.size, "{len} bytes would pass");
        }
    }
}
