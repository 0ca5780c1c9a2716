//! What threads tell each other with: the words of semaphore, permit pool, event and barrier.
//!
//! ```text
//! SemaphoreWords  0 {value @0, max @4, sleepers[4] @8, acquired @40}   128 line
//! PermitWords     0 {count @0, hint @4, sleepers[4] @8}                128 line   256 u32[count]: owner bits, 0: free
//! EventWords      0 {state @0, auto @4, sleepers[4] @8, sets @40}      128 line
//! BarrierWords    0 {parties @0, policy @4, state @8, fates @16, sleepers[4] @24}   128 line   256 u64[parties]: tickets
//!
//! state of an event    {gen:31 | SET:1}
//! state of a barrier   {phase:32 | leader: thread:16 participant:13 | spare:2 | BROKEN:1}
//! ticket of a barrier  {phase:32 | version:3 | participant:13 | thread:16}
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | value | takers, releasers | everybody | as it is: a count belongs to nobody |
//! | max, count, auto, parties, policy | the maker, once | everybody | as it is |
//! | permit | its taker, its holder 0, recovery of the holder 0 | takers | 0 by recovery |
//! | state of an event | set, clear, a consumer | everybody | as it is |
//! | state of a barrier | the turner, the leader, who breaks or resets; recovery | everybody | broken, or the leader taken out |
//! | ticket | who arrives; recovery | parties | freed, or its phase broken |
//! | fates | `reset`, by CAS, before the phase moves | waiters, before they arrive and late | of the phase that is broken still: true |
//! | sleepers | a waiter its bit; recovery the dead one's | tools | cleared by recovery |
//! | hint, acquired, sets | everybody | takers; tools | hints and counters, as they are |

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::lock::{OWNER_MASK, THREAD_BITS, is_owner_whole};
use crate::participant::OWNER_BITS;
use crate::wait::WaitLine;

/// The count of a semaphore.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct SemaphoreControl {
    /// How many may still pass.
    pub value: AtomicU32,
    /// The most that `value` may become; [`SemaphoreControl::UNBOUNDED`] for none in particular.
    pub max: AtomicU32,
    /// Who sleeps there: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    /// How often it was acquired.
    pub acquired: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 10],
}

impl SemaphoreControl {
    /// `max` of a semaphore that nobody bounds.
    pub const UNBOUNDED: u32 = u32::MAX >> 1;
}

/// A semaphore.
#[repr(C)]
#[derive(Debug, Default)]
pub struct SemaphoreWords {
    /// The count.
    pub control: SemaphoreControl,
    /// Where its waiters sleep.
    pub line: WaitLine,
}

/// How many permits there are; the permits follow behind the line of waiters.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct PermitControl {
    /// How many.
    pub count: AtomicU32,
    /// Where the next taker begins to look.
    pub hint: AtomicU32,
    /// Who sleeps there: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    #[cfg(not(loom))]
    reserved: [AtomicU64; 11],
}

impl PermitControl {
    /// Most permits of a pool.
    pub const COUNT_MAX: u32 = 65536;
}

/// The fixed part of a permit pool; behind it one word a permit.
#[repr(C)]
#[derive(Debug, Default)]
pub struct PermitWords {
    /// How many.
    pub control: PermitControl,
    /// Where its waiters sleep.
    pub line: WaitLine,
}

/// The state of an event.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct EventControl {
    /// `{gen:31 | SET:1}`.
    pub state: AtomicU32,
    /// 1: whoever waited for it clears it.
    pub auto: AtomicU32,
    /// Who sleeps there: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    /// How often it was set.
    pub sets: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 10],
}

impl EventControl {
    /// The bit of `state` that says: set.
    pub const SET: u32 = 1;
    /// What a `set` adds to `state`, beside the bit: one generation. The carry falls off the top.
    pub const ONE_GENERATION: u32 = 2;
}

/// An event.
#[repr(C)]
#[derive(Debug, Default)]
pub struct EventWords {
    /// Its state.
    pub control: EventControl,
    /// Where its waiters sleep.
    pub line: WaitLine,
}

/// The state of a barrier.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct BarrierControl {
    /// How many meet.
    pub parties: AtomicU32,
    /// [`BarrierControl::BREAK`] or [`BarrierControl::LEAVE`].
    pub policy: AtomicU32,
    /// [`BarrierState`].
    pub state: AtomicU64,
    /// `{next:32 | bits:32}`: bit k says that phase `next - 1 - k` was broken; no later one was.
    pub fates: AtomicU64,
    /// Who sleeps there: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    #[cfg(not(loom))]
    reserved: [AtomicU64; 9],
}

impl BarrierControl {
    /// A party that dies breaks the phase.
    pub const BREAK: u32 = 0;
    /// A party that dies leaves its ticket to a successor.
    pub const LEAVE: u32 = 1;
}

/// The fixed part of a barrier; behind it one ticket a party.
#[repr(C)]
#[derive(Debug, Default)]
pub struct BarrierWords {
    /// Its state.
    pub control: BarrierControl,
    /// Where its parties sleep.
    pub line: WaitLine,
}

/// Where the words of a pool or a barrier begin that are one for each permit or party.
pub const EACH_AT: usize = 256;

const PHASE_SHIFT: u32 = 32;
const LEADER_THREAD_SHIFT: u32 = 16;
const LEADER_SHIFT: u32 = 3;
const STATE_SPARE: u64 = 0b110;
const BROKEN: u64 = 1;
const VERSION_SHIFT: u32 = THREAD_BITS + OWNER_BITS;

const _: () = assert!(VERSION_SHIFT == 29 && LEADER_SHIFT + OWNER_BITS == LEADER_THREAD_SHIFT);

/// The state word of a barrier, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierState {
    /// Rises at every turn; wraps.
    pub phase: u32,
    /// Who runs the action: owner bits as in the word of a lock. 0: nobody.
    pub leader: u32,
    /// Nobody gets through until a reset.
    pub is_broken: bool,
}

impl BarrierState {
    /// Takes a word apart. `None`: a word that no barrier of ours holds.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let thread = (word >> LEADER_THREAD_SHIFT) as u32 & ((1 << THREAD_BITS) - 1);
        let participant = (word >> LEADER_SHIFT) as u32 & ((1 << OWNER_BITS) - 1);
        let leader = (participant << THREAD_BITS) | thread;
        if word & STATE_SPARE != 0 || !is_owner_whole(leader) {
            return None;
        }
        Some(Self { phase: (word >> PHASE_SHIFT) as u32, leader, is_broken: word & BROKEN != 0 })
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let leader = (self.leader & OWNER_MASK) as u64;
        let thread = leader & ((1 << THREAD_BITS) - 1);
        ((self.phase as u64) << PHASE_SHIFT)
            | (thread << LEADER_THREAD_SHIFT)
            | ((leader >> THREAD_BITS) << LEADER_SHIFT)
            | self.is_broken as u64
    }
}

/// A ticket of a barrier, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarrierTicket {
    /// One more than the phase that its owner arrived for.
    pub phase: u32,
    /// Rises when recovery frees the ticket; three bits, wraps.
    pub version: u8,
    /// Who arrived: owner bits as in the word of a lock. 0: nobody.
    pub owner: u32,
}

impl BarrierTicket {
    /// Takes a word apart. `None`: a word that no barrier of ours holds.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let owner = word as u32 & OWNER_MASK;
        if !is_owner_whole(owner) {
            return None;
        }
        Some(Self { phase: (word >> PHASE_SHIFT) as u32, version: (word >> VERSION_SHIFT) as u8 & 7, owner })
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        ((self.phase as u64) << PHASE_SHIFT)
            | ((self.version as u64 & 7) << VERSION_SHIFT)
            | (self.owner & OWNER_MASK) as u64
    }

    /// Has its owner arrived for `phase`?
    #[must_use]
    pub const fn is_for(self, phase: u32) -> bool {
        self.owner != 0 && self.phase == phase.wrapping_add(1)
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SemaphoreControl>() == LINE);
    assert!(offset_of!(SemaphoreControl, acquired) == 40);
    assert!(size_of::<PermitControl>() == LINE);
    assert!(offset_of!(PermitControl, sleepers) == 8);
    assert!(size_of::<EventControl>() == LINE);
    assert!(offset_of!(EventControl, sets) == 40);
    assert!(size_of::<BarrierControl>() == LINE);
    assert!(offset_of!(BarrierControl, state) == 8);
    assert!(offset_of!(BarrierControl, sleepers) == 24);
    assert!(size_of::<SemaphoreWords>() == 2 * LINE && size_of::<EventWords>() == 2 * LINE);
    assert!(size_of::<PermitWords>() == EACH_AT && size_of::<BarrierWords>() == EACH_AT);
    assert!(offset_of!(BarrierWords, line) == LINE);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_barrier_survive_the_round_trip() {
        for leader in [0, OWNER_MASK, (1 << THREAD_BITS) | 2] {
            for is_broken in [false, true] {
                let state = BarrierState { phase: u32::MAX, leader, is_broken };
                assert_eq!(BarrierState::from_bits(state.bits()), Some(state));
            }
        }
        assert_eq!(BarrierState { phase: 0, leader: 0, is_broken: false }.bits(), 0);
    }

    #[test]
    fn tickets_survive_the_round_trip() {
        let ticket = BarrierTicket { phase: 0xdead_beef, version: 7, owner: OWNER_MASK };
        assert_eq!(BarrierTicket::from_bits(ticket.bits()), Some(ticket));
        assert!(ticket.is_for(0xdead_beee) && !ticket.is_for(0xdead_beef));
        let freed = BarrierTicket { version: 0, owner: 0, ..ticket };
        assert!(!freed.is_for(0xdead_beee));
        assert_eq!(BarrierTicket::from_bits(freed.bits()), Some(freed));
    }

    #[test]
    fn a_fresh_ticket_is_of_no_phase() {
        let fresh = BarrierTicket { phase: 0, version: 0, owner: 0 };
        assert_eq!(fresh.bits(), 0);
        assert!(!fresh.is_for(u32::MAX) && !fresh.is_for(0));
    }

    #[test]
    fn words_that_nobody_writes_are_refused() {
        assert_eq!(BarrierState::from_bits(0b10), None);
        assert_eq!(BarrierState::from_bits(1 << LEADER_SHIFT), None);
        assert_eq!(BarrierState::from_bits(1 << LEADER_THREAD_SHIFT), None);
        assert_eq!(BarrierTicket::from_bits(9), None);
    }
}
