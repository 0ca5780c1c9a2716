//! The detector of deadlocks: who waits for which lock, announced in shared memory, and the walk along it.
//!
//! ```text
//! object "ginnel.waits", 4 pages: 2048 words {entry:16 | gen:19 | participant:13 | thread:16}, 0: free
//!
//!   me -- announced: waits for --> lock -- its word: held by --> thread -- announced: waits for --> .. --> me
//! ```
//! A thread that is about to wait for a lock writes down which, and then follows the arrows. If they lead back to
//! itself, the wait would never end, and it is told instead. In a cycle everybody holds one lock before it announces
//! its wait for the next, so the last to announce sees the whole cycle (E1): somebody is told. The others go on when
//! that one gives back what it holds.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | word | the waiter: by CAS from 0, and back; recovery of it | walkers | E1 | 0 by recovery |
//!
//! Invariants
//! - I1 a word that names a thread is changed by that thread only, or by recovery of its participant.
//! - I2 nobody is told without a cycle: the chain is read twice, and the lock of each step was held by one who was
//!   announced at both readings. Only a wait that ended by its deadline in that moment may be taken for one that goes on.
//! - I3 who waits for a lock holds a handle of it; so the entry of a valid announcement is LIVE and of that generation.
//!   A stale one is checked against both, and its pages are atomics, whatever they hold.
//!
//! Edges
//! - E1 CAS and fence of one announcer (SeqCst) <-> CAS and fence of another (SeqCst): one of the two sees the other's
//!   announcement, and the locks that it took before.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | announced, walking or asleep | a word of the dead, which leads to a lock that recovery frees | recovery: 0 |
//! | before the CAS, after the store | nothing | nobody |
//!
//! Processes that did not switch it on are not seen; nor are readers of a read-write lock and holders of permits, who
//! have no single owner. A process with the table full (2048 threads that wait) goes on without.
//!
//! Progress: at most 64 steps of 2048 words, before a wait that found its lock held; nothing where it was free.

use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{Relaxed, SeqCst};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::entry::{Entry, st};
use ginnel_layout::line::PAGE;
use ginnel_layout::lock::{LockWords, OWNER_MASK, THREAD_BITS, WAIT_WORDS, WaitEntry, owner_participant};
use ginnel_segment::Segment;
use ginnel_sync::Holder;

use crate::arena::{Arena, Kind, ObjectRef, read_name};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
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

/// The table of waits, held by this process.
///
/// It holds its object, and so the arena that it lies in: a manager with the detector on stays attached until its
/// process ends.
#[derive(Debug)]
pub(crate) struct Waits {
    table: Handle<AtomicU64>,
}

/// An announced wait. Dropping it ends the announcement.
#[derive(Debug)]
pub(crate) struct Announced<'a> {
    word: &'a AtomicU64,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.word.store(WaitEntry::FREE, Relaxed);
    }
}

/// One step of a walk: who holds the lock before it, and for what it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    holder: u32,
    entry: u16,
    generation: u32,
}

/// Switches the detector on for this process.
pub(crate) fn enable(arena: &Arc<Arena>) -> Result<()> {
    if arena.waits().get().is_some() {
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
    let table = Handle::open(object)?;
    table.tail::<AtomicU64>(0, WAIT_WORDS)?;
    // If another thread was first, its table is the same.
    let _ = arena.waits().set(Waits { table });
    Ok(())
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
    let Some(waits) = lock.arena().waits().get() else { return Ok(None) };
    if me.thread() == SHARED_TAG {
        return Ok(None);
    }
    let table = waits.table.tail::<AtomicU64>(0, WAIT_WORDS)?;
    let owner = ((me.participant().bits() as u32) << THREAD_BITS) | u32::from(me.thread());
    let mine = WaitEntry { entry: lock.index() as u16, generation: lock.generation(), owner };
    let Some(word) = claim(table, mine) else { return Ok(None) };
    let announced = Announced { word };
    fence(SeqCst); // E1
    let segment = lock.arena().segment();
    match walk(segment, table, words, owner) {
        Some(chain) if walk(segment, table, words, owner).as_ref() == Some(&chain) => {
            Err(describe(lock, owner, &chain))
        }
        _ => Ok(Some(announced)),
    }
}

fn claim(table: &[AtomicU64], mine: WaitEntry) -> Option<&AtomicU64> {
    // Threads begin at different places, so that they seldom meet.
    let start = (mine.owner.wrapping_mul(0x9e37_79b1) >> 16) as usize % WAIT_WORDS;
    let (after, before) = table.split_at(start.min(table.len()));
    before.iter().chain(after).find(|word| {
        word.load(Relaxed) == WaitEntry::FREE
            && word.compare_exchange(WaitEntry::FREE, mine.bits(), SeqCst, Relaxed).is_ok() // E1
    })
}

/// Follows the arrows from the lock of `words`. `Some`: they lead to `me`, by these steps, of which there is one at least.
fn walk(segment: &Segment, table: &[AtomicU64], words: &LockWords, me: u32) -> Option<Vec<Step>> {
    let mut chain = Vec::new();
    let mut holder = words.word.load(Relaxed) & OWNER_MASK;
    while holder != me && chain.len() < STEPS_MAX {
        owner_participant(holder)?;
        let wait = table
            .iter()
            .filter_map(|word| WaitEntry::from_bits(word.load(Relaxed)))
            .find(|wait| wait.owner == holder)?;
        chain.push(Step { holder, entry: wait.entry, generation: wait.generation });
        holder = lock_of(segment, &wait)?.word.load(Relaxed) & OWNER_MASK;
    }
    (holder == me && !chain.is_empty()).then_some(chain)
}

/// The line of the lock that somebody waits for (I3).
fn lock_of<'a>(segment: &'a Segment, wait: &WaitEntry) -> Option<&'a LockWords> {
    let entry = segment.entry(u32::from(wait.entry))?;
    let state = life::state(entry);
    let same = WaitEntry { generation: state.generation, ..*wait }.bits() == wait.bits();
    let is_lock =
        matches!(entry.tag.load(Relaxed), tag::MUTEX | tag::LOCK | tag::RLOCK | tag::RWLOCK | tag::ONCE);
    if state.st == st::LIVE && same && is_lock { words::front_of(segment, entry) } else { None }
}

/// The cycle in words.
#[cold]
fn describe(lock: &ObjectRef, me: u32, chain: &[Step]) -> Error {
    let arena = lock.arena();
    let mut sentence = format!("{} waits for {}", thread(arena, me), name_of(arena, lock.index()));
    for step in chain {
        sentence += &format!(
            ", held by {}, which waits for {}",
            thread(arena, step.holder),
            name_of(arena, u32::from(step.entry))
        );
    }
    sentence += &format!(", held by {}", thread(arena, me));
    let holder = chain.first().and_then(|step| owner_participant(step.holder));
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
    for word in words::tail_of::<AtomicU64>(segment, entry, 0, WAIT_WORDS).unwrap_or(&[]) {
        let seen = word.load(Relaxed);
        if WaitEntry::from_bits(seen).is_some_and(|wait| owner_participant(wait.owner) == Some(dead)) {
            // Nobody else changes it now (I1).
            word.store(WaitEntry::FREE, Relaxed);
        }
    }
}
