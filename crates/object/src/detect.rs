//! The detector of deadlocks: who waits for which lock, announced in shared memory, and the walk along it.
//!
//! ```text
//! object "ginnel.waits", 4 pages: 2048 words {entry:16 | number:19 | participant:13 | thread:16}, 0: free
//!
//!   me -- announced: waits for --> lock -- its word: held by --> thread -- announced: waits for --> .. --> me
//! ```
//! A thread that is about to wait for a lock writes down which, and then follows the arrows. If they lead back to
//! itself, the wait would never end, and it is told instead. In a cycle everybody holds one lock before it announces
//! its wait for the next, so the last to announce sees the whole cycle (E1): somebody is told. The others go on when
//! that one gives back what it holds. Several of one cycle may be told, if they look at the same moment.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | word | the waiter: by CAS from 0, and back; recovery of it | walkers | E1, E2, E3 | 0 by recovery |
//!
//! Invariants
//! - I1 a word that names a thread is changed by that thread only, or by recovery of its participant.
//! - I2 no two words of a thread are equal: it raises the number at each wait, and starts from the clock, because ids
//!   and tags are used again. (19 bits: 524288 waits of one thread between two readings would be needed.)
//! - I3 who waits neither takes nor gives up a lock.
//! - I4 nobody is told without a cycle. The chain is read twice, word by word the same, and at the second reading each
//!   of its owners lived. By I2 each was waiting at the moment between the readings; by I3 it held then what it was
//!   seen to hold at the second. A dead one is no cycle: recovery frees its locks.
//! - I5 who waits for a lock holds a handle of it; so the entry of a living one's announcement is LIVE, and the same
//!   object all the time. What a dead one announced leads anywhere, but it is looked at as atomics only, and I4 asks.
//!
//! Edges
//! - E1 CAS and fence of one announcer (SeqCst) <-> CAS and fence of another (SeqCst): one of the two sees the other's
//!   announcement, and the locks that it took before.
//! - E2 CAS of an announcer (SeqCst) -> a walker's load of the word (Acquire): what it gave back before. Without it the
//!   walker could see it wait, and hold what it held before that.
//! - E3 the end of an announcement (Release, and a fence behind it) -> a walker's load (Acquire) of the word: the lock
//!   that it took before; or of a lock that it takes afterwards: that it does not wait any more.
//! - E4 (pairs with participants.rs E1) a row that is LIVE again: the words of who had it before are gone.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | announced, walking or asleep | a word of the dead, which leads to a lock that recovery frees | recovery: 0 |
//! | before the CAS, after the store | nothing | nobody |
//!
//! Processes that did not switch it on are not seen; nor are readers of a read-write lock and holders of permits, who
//! have no single owner. A process with the table full (2048 threads that wait) goes on without. Between the moment at
//! which a recoverer has the byte of a dead participant and the store that says so, a few instructions, the dead one
//! seems to live.
//!
//! The table has a name, so it stays while the manager does. A process holds it until it leaves the manager (`arena`,
//! I3); the detector keeps nobody attached.
//!
//! Progress: at most 64 steps of 2048 words, before a wait that found its lock held, and the same again with a question
//! after each owner if they led to a cycle; nothing where the lock was free. Source: our own; the model `detect` of
//! testkit verifies it, and refutes it without the second walk, the numbers, or the question.

use std::cell::Cell;
use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::entry::{Entry, st};
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::{LockWords, OWNER_MASK, THREAD_BITS, WAIT_WORDS, WaitEntry, owner_participant};
use ginnel_layout::participant::state;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_segment::Segment;
use ginnel_sync::Holder;
use ginnel_sync::deadline::now_ns;

use crate::arena::{Arena, Kind, ObjectRef, read_name};
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::sweep::{tag, tag_name};
use crate::words;

/// The name of the table, in every manager where somebody has switched the detector on.
const NAME: &str = "ginnel.waits";

const KIND: Kind = Kind { tag: tag::WAITS, format: 0 };

/// Longest cycle that is found.
const STEPS_MAX: usize = 64;

/// The tag that threads share which came too late to get one of their own.
const SHARED_TAG: u16 = u16::MAX;

thread_local! {
    /// The number of this thread's last wait (I2).
    static NUMBER: Cell<u32> = Cell::new(now_ns() as u32);
}

/// An announced wait. Dropping it ends the announcement.
#[derive(Debug)]
pub(crate) struct Announced<'a> {
    word: &'a AtomicU64,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.word.store(WaitEntry::FREE, Release); // E3
        fence(Release); // E3
    }
}

/// Switches the detector on for this process.
pub(crate) fn enable(arena: &Arc<Arena>) -> Result<()> {
    if arena.waits().is_some() {
        return Ok(());
    }
    let pages = (WAIT_WORDS * size_of::<AtomicU64>()).div_ceil(PAGE) as u32;
    let object = arena.with_names(|| match arena.find(NAME)? {
        Some((object, kind)) if kind == KIND => Ok(object),
        Some((object, _)) => {
            let error = Error::new(ErrorKind::Mismatch, "the name of the table of waits is taken");
            Err(object.name_error(error).with_advice("give that object another name"))
        }
        // All zero: nobody waits.
        None => arena.make(KIND, pages, Some(NAME), |_| ()),
    })?;
    let entry = arena.segment().entry(object.index());
    if entry.and_then(|entry| table_of(arena.segment(), entry)).is_none() {
        return Err(object.corrupted("the size of the table of waits"));
    }
    arena.keep_waits(&object);
    Ok(())
}

fn table_of<'a>(segment: &'a Segment, entry: &Entry) -> Option<&'a [AtomicU64]> {
    words::tail_of(segment, entry, 0, WAIT_WORDS)
}

/// Says that the calling thread is about to wait for a lock that another holds. `None`: the detector is off.
///
/// # Errors
/// `Deadlock` when the wait would never end.
pub(crate) fn announce<'a>(
    lock: &'a ObjectRef,
    words: &LockWords,
    me: Holder,
) -> Result<Option<Announced<'a>>> {
    let Some(waits) = lock.arena().waits() else { return Ok(None) };
    if me.thread() == SHARED_TAG {
        return Ok(None);
    }
    let segment = lock.arena().segment();
    let table = segment
        .entry(waits)
        .and_then(|entry| table_of(segment, entry))
        .ok_or_else(|| lock.corrupted("the table of waits"))?;
    let owner = ((me.participant().bits() as u32) << THREAD_BITS) | u32::from(me.thread());
    NUMBER.set(NUMBER.get().wrapping_add(1));
    let mine = WaitEntry { entry: lock.index() as u16, number: NUMBER.get(), owner };
    let Some(word) = claim(table, mine) else { return Ok(None) };
    let announced = Announced { word };
    fence(SeqCst); // E1
    let Some(chain) = walk(segment, table, words, owner, |_| true) else { return Ok(Some(announced)) };
    match walk(segment, table, words, owner, |id| lives(segment, id)) {
        // I4
        Some(again) if again == chain => Err(describe(lock, owner, &chain)),
        _ => Ok(Some(announced)),
    }
}

fn claim(table: &[AtomicU64], mine: WaitEntry) -> Option<&AtomicU64> {
    // Threads begin at different places, so that they seldom meet.
    let start = (mine.owner.wrapping_mul(0x9e37_79b1) >> 16) as usize % WAIT_WORDS;
    let (after, before) = table.split_at(start.min(table.len()));
    before.iter().chain(after).find(|word| {
        word.load(Relaxed) == WaitEntry::FREE
            && word.compare_exchange(WaitEntry::FREE, mine.bits(), SeqCst, Relaxed).is_ok() // E1, E2
    })
}

/// Follows the arrows from the lock of `words`, as long as they lead to participants that live. `Some`: they lead to
/// `me`, through these waits, of which there is one at least.
fn walk(
    segment: &Segment,
    table: &[AtomicU64],
    words: &LockWords,
    me: u32,
    lives: impl Fn(ParticipantId) -> bool,
) -> Option<Vec<WaitEntry>> {
    let mut chain = Vec::new();
    let mut holder = words.word.load(Acquire) & OWNER_MASK; // E3
    while holder != me && chain.len() < STEPS_MAX {
        // Asked before its word is read: if another lives there by now, the word of the old one is gone (E4).
        if !lives(owner_participant(holder)?) {
            return None;
        }
        let wait = table
            .iter()
            .filter_map(|word| WaitEntry::from_bits(word.load(Acquire))) // E2, E3
            .find(|wait| wait.owner == holder)?;
        chain.push(wait);
        holder = lock_of(segment, wait)?.word.load(Acquire) & OWNER_MASK; // E3
    }
    (holder == me && !chain.is_empty()).then_some(chain)
}

/// Does that participant live, and does nobody recover it? Recovers it otherwise.
fn lives(segment: &Segment, id: ParticipantId) -> bool {
    // While another recovers it, the first answer is that it is not dead yet.
    !segment.is_dead(id)
        && segment.participant(id).is_some_and(|row| state::st(row.state.load(Acquire)) == state::LIVE) // E4
}

/// The line of the lock that somebody waits for (I5).
fn lock_of(segment: &Segment, wait: WaitEntry) -> Option<&LockWords> {
    let entry = segment.entry(u32::from(wait.entry))?;
    let is_lock = matches!(
        entry.tag.load(Relaxed),
        tag::MUTEX | tag::LOCK | tag::RLOCK | tag::RWLOCK | tag::ONCE | tag::ARRAY | tag::VALUE
    );
    if life::state(entry).st == st::LIVE && is_lock { words::front_of(segment, entry) } else { None }
}

/// The cycle in words.
#[cold]
fn describe(lock: &ObjectRef, me: u32, chain: &[WaitEntry]) -> Error {
    let arena = lock.arena();
    let mut sentence = format!("{} waits for {}", thread(arena, me), name_of(arena, lock.index()));
    for wait in chain {
        sentence += &format!(
            ", held by {}, which waits for {}",
            thread(arena, wait.owner),
            name_of(arena, u32::from(wait.entry))
        );
    }
    sentence += &format!(", held by {}", thread(arena, me));
    let holder = chain.first().and_then(|wait| owner_participant(wait.owner));
    lock.name_error(Error::new(ErrorKind::Deadlock, sentence))
        .with_owner(holder.and_then(|id| arena.describe(id)))
        .with_advice("give back what this thread holds, or take the locks in the same order everywhere")
}

fn thread(arena: &Arena, owner: u32) -> String {
    let thread = owner & ((1 << THREAD_BITS) - 1);
    match owner_participant(owner).and_then(|id| arena.describe(id)) {
        Some(who) => format!("process {} \"{}\" (thread {thread})", who.pid, who.name),
        None => format!("a process that has gone (thread {thread})"),
    }
}

fn name_of(arena: &Arena, index: u32) -> String {
    let Some(entry) = arena.segment().entry(index) else { return format!("object #{index}") };
    let name = if entry.named.load(Relaxed) == 0 { None } else { read_name(entry) };
    match name {
        Some(name) => format!("\"{name}\""),
        None => format!("{} #{index}", tag_name(entry.tag.load(Relaxed))),
    }
}

/// What the death of `dead` means for the table.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    for word in table_of(segment, entry).unwrap_or(&[]) {
        let seen = word.load(Relaxed);
        if WaitEntry::from_bits(seen).is_some_and(|wait| owner_participant(wait.owner) == Some(dead)) {
            // Nobody else changes it now (I1).
            word.store(WaitEntry::FREE, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Handle;
    use crate::manager::Manager;

    fn line(manager: &Manager) -> Handle<LockWords> {
        let kind = Kind { tag: tag::LOCK, format: 0 };
        Handle::open(manager.arena.make(kind, 1, None, |_| ()).unwrap()).unwrap()
    }

    fn bits(id: ParticipantId, thread: u32) -> u32 {
        ((id.bits() as u32) << THREAD_BITS) | thread
    }

    /// A cycle of two: `me` waits for the first lock, whose holder `other` waits for the second, which is mine.
    fn cycle(manager: &Manager, other: u32) -> (Handle<LockWords>, Handle<LockWords>, WaitEntry, u32) {
        let (first, second) = (line(manager), line(manager));
        let me = bits(first.me(), 7);
        first.words().word.store(other, Relaxed);
        second.words().word.store(me, Relaxed);
        let wait = WaitEntry { entry: second.object().index() as u16, number: 1, owner: other };
        (first, second, wait, me)
    }

    #[test]
    fn another_wait_for_the_same_lock_is_another_chain() {
        let manager = Manager::new(1 << 20).unwrap();
        let segment = manager.arena.segment();
        let (first, second, wait, me) = cycle(&manager, bits(segment.me(), 8));
        let table = [AtomicU64::new(0), AtomicU64::new(wait.bits())];
        let chain = || walk(segment, &table, first.words(), me, |id| lives(segment, id));
        assert_eq!(chain(), Some(vec![wait]));
        assert_eq!(chain(), chain());
        table[1].store(WaitEntry { number: 2, ..wait }.bits(), Relaxed);
        assert!(chain().is_some_and(|chain| chain != [wait]));
        second.words().word.store(0, Relaxed);
        assert_eq!(chain(), None);
    }

    /// `T2` takes A, gives it back, waits for B until a deadline, and again; it never holds A while it waits. `T1`, which
    /// holds B and waits for A, sees it hold A and then wait for B, in both walks.
    #[test]
    fn two_looks_at_two_waits_are_no_cycle() {
        let manager = Manager::new(1 << 20).unwrap();
        enable(&manager.arena).unwrap();
        let segment = manager.arena.segment();
        let table = manager.arena.waits().and_then(|index| segment.entry(index)).unwrap();
        let table = table_of(segment, table).unwrap();
        let other = Holder::new(segment.me(), 8).unwrap();
        let (a, b, _, me) = cycle(&manager, bits(segment.me(), 8));
        let waits = WaitEntry { entry: a.object().index() as u16, number: 9, owner: me };
        claim(table, waits).unwrap();
        let sees = || {
            a.words().word.store(bits(segment.me(), 8), Relaxed);
            let announced = Cell::new(None);
            // Comes after the look at A and before the one at the table.
            let meanwhile = |_| {
                a.words().word.store(0, Relaxed);
                announced.set(announce(b.object(), b.words(), other).unwrap());
                true
            };
            walk(segment, table, a.words(), me, meanwhile).unwrap()
        };
        let (once, again) = (sees(), sees());
        assert_eq!((once.len(), once[0].entry), (1, b.object().index() as u16));
        assert_ne!(once, again);
    }

    #[test]
    fn threads_of_one_tag_do_not_count_from_the_same_number() {
        let manager = Manager::new(1 << 20).unwrap();
        enable(&manager.arena).unwrap();
        let lock = line(&manager);
        let announced = || {
            let announced = announce(lock.object(), lock.words(), lock.holder()).unwrap().unwrap();
            announced.word.load(Relaxed)
        };
        // Two may be equal by chance; three are not.
        let words = [(); 3].map(|()| std::thread::scope(|scope| scope.spawn(announced).join().unwrap()));
        assert!(words[1..].iter().any(|word| *word != words[0]), "{words:?}");
    }

    #[test]
    fn the_dead_are_in_no_cycle() {
        let manager = Manager::new(1 << 20).unwrap();
        let segment = manager.arena.segment();
        let gone = ParticipantId::from_index(3);
        let (first, _second, wait, me) = cycle(&manager, bits(gone, 8));
        let table = [AtomicU64::new(wait.bits())];
        assert!(walk(segment, &table, first.words(), me, |_| true).is_some());
        assert!(walk(segment, &table, first.words(), me, |id| lives(segment, id)).is_none());
    }

    #[test]
    fn each_wait_has_a_number_of_its_own() {
        let manager = Manager::new(1 << 20).unwrap();
        enable(&manager.arena).unwrap();
        let lock = line(&manager);
        let entry = manager.arena.waits().and_then(|index| lock.segment().entry(index)).unwrap();
        let announced = || -> Vec<u64> {
            let _announced = announce(lock.object(), lock.words(), lock.holder()).unwrap().unwrap();
            let words = table_of(lock.segment(), entry).unwrap();
            words.iter().map(|word| word.load(Relaxed)).filter(|word| *word != WaitEntry::FREE).collect()
        };
        let (one, two) = (announced(), announced());
        assert_eq!((one.len(), two.len()), (1, 1));
        assert_ne!(one, two);
    }
}
