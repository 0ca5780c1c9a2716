//! A lane between two processes that do not trust each other: records of bytes, each way in the sender's own memory.
//!
//! ```text
//! A's half  written by A, sealed: B can only read         B's half  written by B, A can only read
//!   head    what A has taken of B's ring    <- B's sender    head    what B has taken of A's ring    <- A's sender
//!   lines   A wakes B                       <- B sleeps      lines   B wakes A                       <- A sleeps
//!   wants   A sleeps, A polls, A has left   <- B looks       wants   B sleeps, B polls, B has left   <- A looks
//!   ring    | header 8 | payload .. | 0     <- B receives    ring    | header 8 | payload .. | 0     <- A receives
//! ```
//! The trusted lane ([`crate::lane`]) lets both ends write one control page. Here every word has one writer, so a flag
//! cannot be cleared by whoever served it. Instead each request carries a new odd number, and whoever serves it remembers
//! the number (`layout::peer`). There are no roles and no successors: the memory dies with its connection, so a place is
//! plain bytes since the beginning.
//!
//! Send: 1 payload behind the tail · 2 header of the *next* record := 0 · 3 header := valid, Release: the COMMIT · 4 fence,
//! the other's wants. Receive: header, once · check · copy out, in pieces if need be · `head` := next, Release: the
//! ACKNOWLEDGEMENT · fence, the other's wants. A record has a kind (`layout::record::kind`), which means nothing here.
//!
//! Whoever wants a record or room asks in one of two ways: asleep on a line of the other's, or polling a socket, over which
//! the crate above sends a byte whenever an operation here says that one is owed. A request of each kind is served once.
//!
//! Invariants
//! - I1 our half is mapped as long as an end is used, and nobody but this process writes there.
//! - I2 the other's half is mapped as long as an end is used, may be writable for nobody here, and changes at any time to
//!   anything. It is read by single atomic loads, and by the copy in `memory.rs`; no reference to its payload exists, and
//!   no pointer into it leaves that file.
//! - I3 what an end decides by is private: its place, the size of either ring, the requests that it has served. A foreign
//!   word is loaded once, compared with what is possible, and used. One that is impossible is `Corrupted`, for both ends
//!   and for good.
//! - I4 the word at our first unpublished place is 0: step 2 before step 3, as in the trusted lane.
//! - I5 `tail - head <= size - 8` for what an honest other side takes, and is enforced: room is only what it has released.
//!
//! Edges
//! - E1 commit (Release) -> header load (with a fence, Acquire): payload, and the zero behind it.
//! - E2 acknowledgement (Release) -> head load (with a fence, Acquire): the receiver has finished reading.
//! - E3 closed (Release) -> closed load (with a fence, Acquire): everything that was committed before. The ring is looked
//!   at once more after it.
//! - E4 request, fence (SeqCst), look <-> commit or acknowledgement, fence (SeqCst), look at the requests: one of the two
//!   sees the other's store.
//! - E5 mark, request (Release) -> request load (with a fence, Acquire), then mark and wake: the mark is that of this
//!   request and no earlier one; and the `seq` that serves a request rises after it, so the value that was loaded before
//!   the request is an older one, and the futex refuses to sleep on it. Hence the load of `seq` itself orders nothing.
//!
//! Loads that order are relaxed loads with a fence behind them, because the language lets only those act on memory that
//! is mapped for reading.
//!
//! | one side killed | what is left | the other side |
//! |---|---|---|
//! | sender before 3 | bytes nobody looks at | gets what was committed, then `PeerDied` when `alive` says so |
//! | sender after 3, before its wake | a receiver that sleeps | takes the record at the end of its slice, a poller at the hangup |
//! | receiver before the acknowledgement | `head` unchanged | its sender finds the ring full until `alive` says no |
//! | receiver after it, before its wake | a sender that sleeps | the end of its slice, or the hangup |
//! | either, while it sleeps or polls | a request by nobody | one wake or one byte in vain |
//!
//! Nothing is repaired, as nobody takes such an end over: both halves go with the two processes.
//!
//! What the other side can do at worst: send any record of possible length, say that there is room or none, wake or not
//! wake, ask for a wake at each record (one system call a record), and lie about when it woke, which moves the length of
//! our next spins within their bounds. Each call is bounded all the same: `try_*` by the copy,
//! a wait by its deadline and a slice. Source: as the trusted lane; the numbered requests are our own.

mod memory;
mod receiver;
mod sender;

use core::cell::Cell;
use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence};
use ginnel_layout::lane::RING_MAX;
use ginnel_layout::line::PAGE;
use ginnel_layout::peer::{PeerControl, Want, Wants};
use ginnel_layout::record::GRANULE;
use ginnel_layout::wait::WaitLine;
use ginnel_sync::park::{Stop, Waiter};
use ginnel_sync::{Arm, Deadline, Mode, park};

use crate::lane::LaneError;

pub use memory::{OtherHalf, OwnHalf};
pub use receiver::Receiver;
pub use sender::Sender;

/// Rings are whole pages, so that they can be mapped twice. A model's ring is a few granules on the heap.
const RING_UNIT: u64 = if cfg!(loom) { 64 } else { PAGE as u64 };

/// Can a ring have `size` bytes?
fn is_ring_size(size: u64) -> bool {
    size >= RING_UNIT && size.is_multiple_of(RING_UNIT) && size < RING_MAX
}

/// The two ends of this side: what it sends lies in `own`, what it receives in `other`.
///
/// They may go to two threads. Both are done with when one finds the other side corrupted.
#[must_use]
pub fn ends(own: OwnHalf, other: OtherHalf, mode: Mode) -> (Sender, Receiver) {
    let fate = Fate::default();
    (Sender::new(own, other, mode, fate.clone()), Receiver::new(own, other, mode, fate))
}

/// Bytes of a record of `len` bytes of payload. A length that no ring can hold gives a record that none can hold.
#[inline(always)]
fn record_size(len: u64) -> u64 {
    GRANULE + (len.saturating_add(GRANULE - 1) & !(GRANULE - 1)).min(u64::MAX / 2)
}

/// Whether the other side has written what no correct one does. Shared by the two ends, in private memory.
#[derive(Debug, Clone, Default)]
struct Fate(Arc<AtomicU32>);

impl Fate {
    #[inline(always)]
    fn is_sealed(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    fn seal(&self) {
        self.0.store(1, Relaxed);
    }
}

/// What an end asks for, or serves: records or room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A receiver waits for a record.
    Message,
    /// A sender waits for room.
    Room,
}

impl What {
    #[inline(always)]
    fn want(self, wants: &Wants) -> &Want {
        match self {
            Self::Message => &wants.message,
            Self::Room => &wants.room,
        }
    }

    /// The line of the one who is asked.
    #[inline(always)]
    fn line(self, control: &PeerControl) -> &WaitLine {
        match self {
            Self::Message => &control.message,
            Self::Room => &control.room,
        }
    }
}

/// The requests of the other side that an end has served.
#[derive(Debug, Default)]
struct Served {
    asleep: u64,
    armed: u64,
}

impl Served {
    /// After a commit or an acknowledgement: wakes the other side, if it asks for that and it is `worth` it. True: it asks
    /// for a byte, which the caller owes it now.
    #[inline(always)]
    fn look(&mut self, own: OwnHalf, other: OtherHalf, what: What, worth: impl FnOnce() -> bool) -> bool {
        fence(SeqCst); // E4
        let (asleep, armed) = other.wants(what);
        if !is_new(asleep, self.asleep) && !is_new(armed, self.armed) {
            return false;
        }
        fence(Acquire); // E5
        worth() && self.serve(own, what, asleep, armed)
    }

    #[cold]
    #[inline(never)]
    fn serve(&mut self, own: OwnHalf, what: What, asleep: u64, armed: u64) -> bool {
        if is_new(asleep, self.asleep) {
            self.asleep = asleep;
            park::wake_one(what.line(own.control()));
        }
        let owed = is_new(armed, self.armed);
        if owed {
            self.armed = armed;
        }
        owed
    }
}

/// Does the word ask for something, and not for what was served last?
#[inline(always)]
fn is_new(request: u64, served: u64) -> bool {
    request & 1 != 0 && request != served
}

/// The requests of one of our ends. A number is never used twice.
#[derive(Debug, Clone, Copy)]
struct Requests {
    own: OwnHalf,
    what: What,
}

impl Requests {
    /// Announces that this end is about to sleep on the other's line. The caller looks once more, then sleeps.
    fn sleep(self, line: &WaitLine) -> Arm {
        let seq = line.seq.load(Relaxed);
        Self::renew(&self.want().asleep);
        Arm::Sleep(seq)
    }

    /// Waits until `attempt` says something else than `WouldBlock`; as long as `alive` does not say, at the end of a slice,
    /// that the other side is gone.
    fn wait(
        self,
        other: OtherHalf,
        waiter: &mut Waiter,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<(), LaneError>,
        mut alive: impl FnMut() -> bool,
    ) -> Result<(), LaneError> {
        let line = other.line(self.what);
        let gone = Cell::new(false);
        let ready = |_| match attempt() {
            Err(LaneError::WouldBlock) if gone.get() => Some(Err(LaneError::PeerDied(None))),
            Err(LaneError::WouldBlock) => None,
            result => Some(result),
        };
        let at_slice_end = || gone.set(gone.get() || !alive());
        let result = waiter.wait_seq(line, deadline, ready, || self.sleep(line), at_slice_end);
        self.wake_up();
        match result {
            Ok(result) => result,
            Err(Stop::TimedOut) => Err(LaneError::TimedOut),
            Err(Stop::Interrupted) => Err(LaneError::Interrupted),
        }
    }

    /// Announces that this end is about to poll, and looks once more. False: it need not, and does not.
    fn poll(self, is_ready: impl FnOnce() -> bool) -> bool {
        Self::renew(&self.want().armed);
        let armed = !is_ready();
        if !armed {
            self.turn_away();
        }
        armed
    }

    /// Nobody sleeps here any more.
    fn wake_up(self) {
        Self::withdraw(&self.want().asleep);
    }

    /// Nobody polls here any more.
    fn turn_away(self) {
        Self::withdraw(&self.want().armed);
    }

    fn want(&self) -> &Want {
        self.what.want(&self.own.control().wants)
    }

    /// The next odd number. The word is written by this end alone (I1), so it is also where the number is kept.
    fn renew(word: &ginnel_layout::atomic::AtomicU64) {
        word.store((word.load(Relaxed) | 1).wrapping_add(2), Release); // E5
        fence(SeqCst); // E4
    }

    fn withdraw(word: &ginnel_layout::atomic::AtomicU64) {
        let request = word.load(Relaxed);
        if request & 1 != 0 {
            word.store(request.wrapping_add(1), Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn records_take_what_they_need_and_never_wrap() {
        assert_eq!([0, 1, 8, 9].map(record_size), [8, 16, 16, 24]);
        for len in [u64::MAX - 16, u64::MAX - 7, u64::MAX] {
            assert!(record_size(len) > u64::MAX / 4, "{len}");
        }
    }

    #[test]
    fn a_request_is_new_once() {
        assert!(is_new(3, 1) && !is_new(3, 3) && !is_new(2, 1) && !is_new(0, 0));
        let word = ginnel_layout::atomic::AtomicU64::new(0);
        let mut last = 0;
        for round in 0..10 {
            Requests::renew(&word);
            let request = word.load(Relaxed);
            assert!(is_new(request, last), "round {round}: {request} after {last}");
            last = request;
            if round % 2 == 0 {
                Requests::withdraw(&word);
                assert!(!is_new(word.load(Relaxed), last));
            }
        }
    }
}
