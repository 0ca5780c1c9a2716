//! Reading a dict without a lock: a copy, and the proof that it is true.
//!
//! ```text
//! again: m = moves  Acquire;  t = root  Acquire;  r = repairs  Acquire                       E4
//!        each slot on the key's way:  s = slot  Acquire                                      E1
//!          EMPTY: absent, if root == t and moves == m still         another tag: the next one
//!          n = node(s):  v = n.serial  Acquire, 0: again                                     E2
//!          lengths, checked against the memory; key; copy of the value, all Relaxed
//!          fence(Acquire)                                                                    E3
//!          slot == s  Acquire?   n.serial == v?   root == t  Acquire?   moves == m?          no: again
//! ```
//! Readers write nothing. A holder of the lock that sleeps, is stopped or dies in the middle of anything does not hold them
//! up, because what it does is aside until its commit; only changes that *happen* send a reader back to `again`.
//!
//! Proof obligations. An *incarnation* is a block from its `serial = 0` to the next one.
//! - R1 *Whole.* `serial` was v before the copy and after it, so all bytes are those of incarnation v. Its words were
//!   written before v (E2), so the copy shows them or later ones. Later ones come from whoever freed the block (the link),
//!   or took it (`serial = 0` and on). Both are behind a release fence, and so is what went before: the commit that
//!   took the block out of its slot, or `serial = 0`. If the copy shows one of them, the reader's fence makes the last
//!   looks see that, too (E3): then the slot is not s, or it is s again by the commit of another incarnation, and the
//!   acquire of that look shows its serial, which is not v: serials never repeat. The block may also have become
//!   part of something else, in which that word is no serial: then its span changed its purpose, and `moves` shows it.
//!   The same holds for a length or a key that was read from such words.
//! - R2 *Current.* The last look at the slot found s, and the look at the serial after it v. v was loaded with
//!   acquire before, so what came before v is seen: the removal of the incarnation before it from that slot. s was
//!   therefore stored after v was written, and by a commit of v, because another one would show another serial. So v was
//!   in the table at the moment of that look, which lies within the call.
//! - R3 *The same table.* `moves` rises before a root changes. root == t at the end means: it never changed, or it changed
//!   back to a table in the same block; the acquire of that look shows the `moves` of that. So all slots were slots of t,
//!   and t was in force. It must be root first, then `moves`: the other way round two changes fit in between.
//! - R4 *Absent.* Way and table are those of R3. If the key was in the table all the time, it was in one slot (I2 of
//!   `table`), and the way passed it, because no slot becomes EMPTY again (I3 there). So there was a moment without it.
//! - R5 *Version.* `repairs` was read before the value, so a value from before a death in the middle of an in-place store
//!   is never given out with the number that the repair made; the other way round is a change that was not one.
//!
//! Edges (the others of this crate refer to these; the one of the serial is node.rs E2)
//! - E1 commit of a slot (Release) -> the look at the slot (Acquire): the node, its serial included.
//! - E3 (pairs with node.rs E3) fence(Release) after a commit and before the block's first new word, by whoever writes that; fence(Release) after
//!   `serial = 0`; fence(Release) of a rebuild before it links blocks -> the reader's fence(Acquire) before its last looks.
//! - E4 `moves`, fence(Release), root or header of a span (Release) -> root (Acquire), `moves`, at both ends of the call.
//!
//! Progress: a try takes at most as many steps as the table has slots. Each one that fails is somebody's commit; after
//! [`TRIES`] of them the caller takes the lock, where a damaged store shows as such and not as a loop.
//! Source: a sequence lock for each block, whose number also names the commit; our own. Modelled under loom
//! (`tests/loom_read.rs`) and with deaths in testkit (`store`).

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::{AtomicU64, fence, spin_loop};
use ginnel_layout::store::{OFFSET_MASK, Shard, Slot, flag};

use crate::node::{Front, Key, Opened};
use crate::table::Table;
use crate::{Copied, Pages, Store};

/// So often a reader tries without the lock.
pub const TRIES: u32 = if cfg!(loom) { 3 } else { 64 };

/// From how many bytes on a copy is worth a look at whether it will be true.
const LONG: usize = 4096;

/// What a reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// No entry, or one that has expired.
    Absent,
    /// An entry.
    Found {
        /// The number of this value of this key. Never 0.
        version: u64,
        /// It has parcels, so it was not copied: read it under the lock.
        carrying: bool,
        /// Eviction would take it: mark it, with [`crate::Locked::touch`], if the lock is free. Only where entries are
        /// evicted.
        cold: bool,
    },
    /// Others changed the shard all the time, or it is damaged: read it under the lock.
    Busy,
}

/// The version of the value with that serial in a shard that was repaired so often.
#[inline(always)]
pub(crate) const fn version_of(serial: u64, repairs: u64) -> u64 {
    (serial & OFFSET_MASK) | repairs << 48
}

impl<'a, P: Pages> Store<'a, P> {
    /// Copies the value of `key` out. Takes no lock and waits for nobody.
    ///
    /// `now` is `CLOCK_MONOTONIC` in ns, and is only asked for an entry that expires. What is in `out` counts only if this
    /// is [`Read::Found`] and not carrying.
    #[inline(always)]
    pub fn get(&self, key: &Key<'_>, now: impl Fn() -> u64, out: &mut Copied) -> Read {
        self.look(key, &now, &mut |words, bytes| out.fill(words, bytes))
    }

    /// As [`Store::get`], without the value.
    #[inline]
    pub fn version(&self, key: &Key<'_>, now: impl Fn() -> u64) -> Read {
        self.look(key, &now, &mut |_, _| ())
    }

    #[inline(always)]
    fn look(
        &self,
        key: &Key<'_>,
        now: &impl Fn() -> u64,
        take: &mut impl FnMut(&[AtomicU64], usize),
    ) -> Read {
        let shard = self.shard(key.shard(self.shards().len()));
        match self.attempt(shard, key, now, take) {
            Some(read) => read,
            None => self.look_again(shard, key, now, take),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_again(
        &self,
        shard: &'a Shard,
        key: &Key<'_>,
        now: &impl Fn() -> u64,
        take: &mut impl FnMut(&[AtomicU64], usize),
    ) -> Read {
        for _ in 1..TRIES {
            spin_loop();
            if let Some(read) = self.attempt(shard, key, now, take) {
                return read;
            }
        }
        Read::Busy
    }

    /// One try. None: something changed meanwhile, or a word is wild.
    #[inline(always)]
    fn attempt(
        &self,
        shard: &'a Shard,
        key: &Key<'_>,
        now: &impl Fn() -> u64,
        take: &mut impl FnMut(&[AtomicU64], usize),
    ) -> Option<Read> {
        let (memory, view) = (self.memory(), View::of(shard));
        if view.root == 0 {
            return Some(Read::Absent);
        }
        for (_, slot) in Table::at(memory, view.root)?.probe(key.hash32()) {
            let word = slot.load(Acquire); // E1
            if word == Slot::EMPTY {
                return view.is_still().then_some(Read::Absent);
            }
            if (word >> 48) as u16 != key.tag() || word == Slot::TOMB {
                continue;
            }
            let offset = Slot::from_bits(word)?.offset;
            let front = Front::at(memory, offset)?;
            if let Some((node, words, value)) = front.open_plain(memory, offset, key)
                && key.is_in(words)
            {
                let bracket = Bracket { view, slot, word, node };
                return self.copy(&bracket, value, take);
            }
            let bracket = Bracket { view, slot, word, node: front.open(memory, offset)? };
            match self.look_closer(&bracket, key, now, take)? {
                Some(read) => return Some(read),
                None => continue,
            }
        }
        None
    }

    /// A node that expires, or carries something, or is another key's with the same tag. None: something changed
    /// meanwhile; then None: another key's.
    #[inline(never)]
    fn look_closer(
        &self,
        bracket: &Bracket<'a>,
        key: &Key<'_>,
        now: &impl Fn() -> u64,
        take: &mut impl FnMut(&[AtomicU64], usize),
    ) -> Option<Option<Read>> {
        let node = &bracket.node;
        if !key.may_be_of(node.head()) || !key.is_in(node.key_words()) {
            return bracket.is_still().then_some(None);
        }
        let is_gone = node.is_expired(now);
        let read = if node.parcel_count() > 0 {
            bracket.is_still().then(|| bracket.found(true, false))
        } else {
            self.copy(bracket, node.value_words(), take)
        };
        read.map(|read| Some(if is_gone { Read::Absent } else { read }))
    }

    #[inline(always)]
    fn copy(
        &self,
        bracket: &Bracket<'a>,
        value: &[AtomicU64],
        take: &mut impl FnMut(&[AtomicU64], usize),
    ) -> Option<Read> {
        let node = &bracket.node;
        // A length may be that of another incarnation.
        if node.value_len() > LONG && !bracket.is_still() {
            return None;
        }
        take(value, node.value_len());
        let cold = self.has(flag::EVICT) && !node.is_seen();
        bracket.is_still().then(|| bracket.found(false, cold))
    }

    /// Whether the node at `position` (its offset in units of 16 bytes) is in the dict and has a parcel which `names` what
    /// the caller asks about. Takes no lock; in doubt, as in a shard that changes all the time, true.
    pub fn is_linked(&self, position: u64, mut names: impl FnMut(&[u8; 16]) -> bool) -> bool {
        let Some(offset) = position.checked_mul(16).filter(|offset| *offset <= OFFSET_MASK) else {
            return false;
        };
        let owner = (0..self.shards().len()).find(|index| self.pages().owns(*index as u16 + 1, offset));
        let Some(shard) = owner.map(|index| self.shard(index)) else { return false };
        if self.has(flag::LIST) {
            return self.is_linked_in_list(shard, offset, &mut names);
        }
        (0..TRIES).find_map(|_| self.is_linked_in(shard, offset, &mut names)).unwrap_or(true)
    }

    fn is_linked_in(
        &self,
        shard: &'a Shard,
        offset: u64,
        names: &mut dyn FnMut(&[u8; 16]) -> bool,
    ) -> Option<bool> {
        let view = View::of(shard);
        // What is reached has a serial, and lengths that can be.
        let Some(node) = Opened::at(self.memory(), offset).filter(|_| view.root != 0) else {
            return view.is_still().then_some(false);
        };
        let parcels = node.parcels();
        for (_, slot) in Table::at(self.memory(), view.root)?.probe(node.head().hash) {
            let word = slot.load(Acquire); // E1
            let is_it = Slot::from_bits(word).is_some_and(|slot| slot.offset == offset);
            if is_it || word == Slot::EMPTY {
                let is_true = Bracket { view, slot, word, node }.is_still();
                return is_true.then(|| is_it && parcels.iter().any(names));
            }
        }
        None
    }
}

/// What a reader saw of a shard first.
#[derive(Clone, Copy)]
struct View<'a> {
    shard: &'a Shard,
    moves: u64,
    root: u64,
    repairs: u64,
}

impl<'a> View<'a> {
    #[inline(always)]
    fn of(shard: &'a Shard) -> Self {
        let moves = shard.top.moves.load(Acquire); // E4
        let root = shard.top.root.load(Acquire); // E4
        let repairs = shard.top.repairs.load(Acquire); // E4
        Self { shard, moves, root, repairs }
    }

    /// R3.
    #[inline(always)]
    fn is_still(&self) -> bool {
        self.shard.top.root.load(Acquire) == self.root && self.shard.top.moves.load(Relaxed) == self.moves // E4
    }
}

/// A node, and the way that led to it.
struct Bracket<'a> {
    view: View<'a>,
    slot: &'a AtomicU64,
    word: u64,
    node: Opened<'a>,
}

impl Bracket<'_> {
    #[inline(always)]
    fn found(&self, carrying: bool, cold: bool) -> Read {
        Read::Found { version: version_of(self.node.serial(), self.view.repairs), carrying, cold }
    }

    /// Whether all that was read until now was true, R1 to R3.
    #[inline(always)]
    fn is_still(&self) -> bool {
        fence(Acquire); // E3
        // E1
        self.slot.load(Acquire) == self.word && self.node.is_still() && self.view.is_still()
    }
}
