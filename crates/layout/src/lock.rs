//! Locks and what belongs to them: the words of mutex, lock, recursive lock, read-write lock, condition variable,
//! once, and of the table in which waiters for locks announce themselves.
//!
//! ```text
//! LockWords, line 0 of everything that has one owner
//! byte 0     4      8      48           80         88         96          104      108       112 .. 128
//!      word  depth  bells  sleepers[4]  contended  waited_ns  watched_at  watched  dead_pid  dead_name[2]
//!
//! RwLockWords   0 LockWords   128 {inside @0, cells @4, present[4] @8}   256 drained   384 opened   512 ReaderCell[cells]   data
//! CondvarWords  0 {notified @0, sleepers[4] @8}   128 line; with format 1 a row of waiters lies behind it (`sync::waiters`)
//! OnceWords     0 LockWords   128 {state @0}   256 done   384 data
//! wait word     {entry:16 | number:19 | participant:13 | thread:16}, 0: free
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | word | see `sync::mutex` | everybody | names the dead until recovery |
//! | depth | the holder | the holder | stale; 1 at the next taking |
//! | bells | see [`crate::wait`] | cold wake path | see there |
//! | sleepers | a waiter its bit at its first arm, and at its end; recovery the dead one's | tools | cleared by recovery |
//! | contended, waited_ns | a waiter that slept, when it leaves | tools; turns of the wake path | may miss the last of the dead |
//! | watched, watched_at | the first sleeper that finds another owner in `watched` | tools | stale: compared with word |
//! | dead_pid, dead_name | recovery, before it frees the word | a locker that is told | of the last that died inside |
//! | inside | the writer: 1 after draining, 0 before its unlock | recovery of it | 1: the data need repair |
//! | cells | the maker, once | everybody | as it is |
//! | present | a participant at its first handle; recovery | writers | cleared by recovery |
//! | readers | threads of the cell's participant; recovery 0 | writers | 0 by recovery |
//! | notified | notifiers | tools | as it is |
//! | state | whoever ran it, 1 when done | everybody | NEW or DONE, never between |
//! | wait word | the waiter; recovery 0 | walkers | 0 by recovery |

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::LINE;
use crate::participant::{OWNER_BITS, ParticipantId};
use crate::wait::{Bells, WaitLine};

/// Bits of a thread's tag in every word of the house; the participant stands above it.
pub const THREAD_BITS: u32 = 16;

/// Bits of an owner, participant and thread together: the low 29 of a lock's word. 0 = nobody.
pub const OWNER_MASK: u32 = (1 << (THREAD_BITS + OWNER_BITS)) - 1;

/// The participant in the owner bits of a word. `None`: nobody.
#[must_use]
pub const fn owner_participant(owner: u32) -> Option<ParticipantId> {
    ParticipantId::from_bits(((owner & OWNER_MASK) >> THREAD_BITS) as u64)
}

/// Nobody, or somebody with both a participant and a thread; a half owner no word of ours can hold.
pub(crate) const fn is_owner_whole(owner: u32) -> bool {
    (owner >> THREAD_BITS == 0) == (owner as u16 == 0)
}

/// The line of a lock: who holds it, who waits, and what is worth telling people.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct LockWords {
    /// The word of `sync::mutex`.
    pub word: AtomicU32,
    /// How often its holder has taken it, where it may be taken again.
    pub depth: AtomicU32,
    /// Who wants a byte when it becomes free.
    pub bells: Bells,
    /// Who sleeps for it: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    /// How many waiters slept for it.
    pub contended: AtomicU64,
    /// How long they waited together, ns.
    pub waited_ns: AtomicU64,
    /// `CLOCK_MONOTONIC` of the moment at which `watched` was first seen to hold it, ns.
    pub watched_at: AtomicU64,
    /// The owner bits that a sleeper saw.
    pub watched: AtomicU32,
    /// Process id of the last that died with it.
    pub dead_pid: AtomicU32,
    /// The first 16 bytes of its name.
    pub dead_name: [AtomicU64; 2],
}

/// What a read-write lock has beside its writer's word.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct RwControl {
    /// 1: the writer has the data.
    pub inside: AtomicU32,
    /// How many cells there are: the participants of the segment.
    pub cells: AtomicU32,
    /// Whose cells have to be looked at: one bit a participant.
    pub present: [AtomicU64; 4],
    #[cfg(not(loom))]
    reserved: [AtomicU64; 11],
}

/// How many threads of one participant read. Alone on its line.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct ReaderCell {
    /// The threads.
    pub readers: AtomicU32,
    #[cfg(not(loom))]
    spare: AtomicU32,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 15],
}

/// The fixed part of a read-write lock; behind it the cells, then the data.
#[repr(C)]
#[derive(Debug, Default)]
pub struct RwLockWords {
    /// The writer.
    pub lock: LockWords,
    /// Readers.
    pub control: RwControl,
    /// Where the writer in possession waits for the last reader.
    pub drained: WaitLine,
    /// Where readers wait for the writer.
    pub opened: WaitLine,
}

/// Counters of a condition variable.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct CondvarControl {
    /// How often it was notified.
    pub notified: AtomicU64,
    /// Who sleeps there: one bit a participant. For people.
    pub sleepers: [AtomicU64; 4],
    #[cfg(not(loom))]
    reserved: [AtomicU64; 11],
}

/// A condition variable.
#[repr(C)]
#[derive(Debug, Default)]
pub struct CondvarWords {
    /// Counters.
    pub control: CondvarControl,
    /// Where its waiters sleep. `flag` is the latest `seq` that one of them announced.
    pub line: WaitLine,
}

/// Was it run?
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct OnceControl {
    /// [`OnceControl::NEW`] or [`OnceControl::DONE`].
    pub state: AtomicU32,
    #[cfg(not(loom))]
    spare: AtomicU32,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 15],
}

impl OnceControl {
    /// Nobody has run it to its end.
    pub const NEW: u32 = 0;
    /// It was run.
    pub const DONE: u32 = 1;
}

/// Something that is run once; a value follows on the next line.
#[repr(C)]
#[derive(Debug, Default)]
pub struct OnceWords {
    /// Who runs it.
    pub lock: LockWords,
    /// Was it run?
    pub control: OnceControl,
    /// Where others wait until it was.
    pub done: WaitLine,
}

/// Words of the table of waits.
pub const WAIT_WORDS: usize = 2048;

const NUMBER_BITS: u32 = 19;
const NUMBER_SHIFT: u32 = THREAD_BITS + OWNER_BITS;
const ENTRY_SHIFT: u32 = NUMBER_SHIFT + NUMBER_BITS;

const _: () = assert!(ENTRY_SHIFT == 48);

/// A word of the table of waits, taken apart: that thread waits for that lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitEntry {
    /// The lock's entry in the directory.
    pub entry: u16,
    /// The low 19 bits of a number that the thread raises at each wait, so that no two words of it are equal: a word
    /// seen twice was there in between. It needs no generation of the entry, which lives while somebody waits for it.
    pub number: u32,
    /// Who waits: owner bits as in the word of a lock, never 0.
    pub owner: u32,
}

impl WaitEntry {
    /// The word that nobody uses.
    pub const FREE: u64 = 0;

    /// Takes a word apart. `None`: free, or a word that no waiter of ours writes.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let owner = word as u32 & OWNER_MASK;
        if owner == 0 || !is_owner_whole(owner) {
            return None;
        }
        let number = (word >> NUMBER_SHIFT) as u32 & ((1 << NUMBER_BITS) - 1);
        Some(Self { entry: (word >> ENTRY_SHIFT) as u16, number, owner })
    }

    /// Puts it together. Bits of the number above the 19th are left away.
    #[must_use]
    pub const fn bits(self) -> u64 {
        let number = self.number as u64 & ((1 << NUMBER_BITS) - 1);
        ((self.entry as u64) << ENTRY_SHIFT) | (number << NUMBER_SHIFT) | (self.owner & OWNER_MASK) as u64
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<LockWords>() == LINE);
    assert!(offset_of!(LockWords, depth) == 4);
    assert!(offset_of!(LockWords, bells) == 8);
    assert!(offset_of!(LockWords, sleepers) == 48);
    assert!(offset_of!(LockWords, contended) == 80);
    assert!(offset_of!(LockWords, watched_at) == 96);
    assert!(offset_of!(LockWords, dead_pid) == 108);
    assert!(offset_of!(LockWords, dead_name) == 112);
    assert!(size_of::<RwControl>() == LINE);
    assert!(offset_of!(RwControl, present) == 8);
    assert!(size_of::<ReaderCell>() == LINE);
    assert!(size_of::<RwLockWords>() == 4 * LINE);
    assert!(offset_of!(RwLockWords, opened) == 3 * LINE);
    assert!(size_of::<CondvarControl>() == LINE);
    assert!(offset_of!(CondvarWords, line) == LINE);
    assert!(size_of::<OnceControl>() == LINE);
    assert!(size_of::<OnceWords>() == 3 * LINE);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn wait_words_survive_the_round_trip() {
        let entry = WaitEntry { entry: 0xfedc, number: 0x7_ffff, owner: OWNER_MASK };
        assert_eq!(WaitEntry::from_bits(entry.bits()), Some(entry));
        let longer = WaitEntry { number: 0xff_ffff, ..entry };
        assert_eq!(WaitEntry::from_bits(longer.bits()), Some(entry));
        assert_eq!(owner_participant(OWNER_MASK), ParticipantId::from_bits(8191));
    }

    #[test]
    fn free_words_and_half_owners_are_no_wait() {
        assert_eq!(WaitEntry::from_bits(WaitEntry::FREE), None);
        assert_eq!(WaitEntry::from_bits(7), None);
        assert_eq!(WaitEntry::from_bits(7 << THREAD_BITS), None);
        assert_eq!(owner_participant(7), None);
    }
}
