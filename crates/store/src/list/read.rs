//! Reading a list without its lock.
//!
//! ```text
//! again:  m = moves (Acquire)   t = root (Acquire)   directory t: len (Acquire), head, entry
//!         w = word (Acquire)    node w: serial v (Acquire), value copied
//!         fence(Acquire)        word == w (Acquire)?   len > index (Acquire)?   serial == v?   root == t (Acquire)?
//!         moves == m?           a no is `again`
//! ```
//! `list.rs` says what these loads meet (E1 .. E6) and why the answer is exact. After [`TRIES`] the caller takes the
//! lock and reads under it: a damaged list ends there, as [`Error::Corrupted`], and not in a loop.

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::{AtomicU64, fence};
use ginnel_layout::store::{Shard, flag};

use super::directory::Directory;
use super::word::{self, Word};
use crate::node::Opened;
use crate::{Copied, Error, Memory, Pages, Store};

/// How often a reader tries before it asks for the lock.
const TRIES: u32 = 64;

/// What a reader found at an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// The list is not as long as that.
    Absent,
    /// The value, copied, unless it has handles in it, whose parcels can be had under the lock only.
    Found {
        /// Has it handles, and was not copied?
        carrying: bool,
    },
    /// Others changed the list all the time, or it is damaged: take the lock.
    Busy,
}

/// What one look saw: the words to be compared once more.
enum Seen<'a> {
    Absent,
    Word { place: &'a AtomicU64, word: u64, len: &'a AtomicU64, node: Option<Opened<'a>> },
}

impl<'a, P: Pages> Store<'a, P> {
    /// The element `index`, copied into `out`. In a list of plain words these are 8 bytes, whatever was put in.
    ///
    /// Never blocks: readers take no lock, and after a bounded number of tries the answer is [`Element::Busy`].
    #[must_use]
    #[inline]
    pub fn list_get(&self, index: u64, out: &mut Copied) -> Element {
        for _ in 0..TRIES {
            if let Some(found) = self.try_list_get(index, out) {
                return found;
            }
        }
        Element::Busy
    }

    /// How many elements there are. None: others changed the list all the time, or it is damaged: take the lock.
    #[must_use]
    #[inline]
    pub fn list_len(&self) -> Option<u64> {
        let shard = self.shard(0);
        (0..TRIES).find_map(|_| {
            let bracket = Bracket::open(shard);
            let len = match bracket.root {
                0 => Ok(0),
                root => Directory::open(self.memory(), root).map(|directory| directory.len()),
            };
            fence(Acquire); // E3
            len.ok().filter(|_| bracket.holds(shard))
        })
    }

    /// The number of the list's last change. It differs whenever a change was made in between, also where a death
    /// cut it short: a change is counted after it can be seen.
    #[must_use]
    pub fn list_version(&self) -> u64 {
        let shard = self.shard(0);
        let repairs = shard.top.repairs.load(Acquire); // E6
        // The serials are below 2^48 for as long as anybody can count. E6.
        shard.counts.serial.load(Acquire) | (repairs & 0xffff) << 48
    }

    /// Is the node at `offset` an element of this list, with a parcel that `names` knows? Yes where that cannot be found
    /// out, as in a list that others change all the time.
    pub(crate) fn is_linked_in_list(
        &self,
        shard: &Shard,
        offset: u64,
        names: &mut dyn FnMut(&[u8; 16]) -> bool,
    ) -> bool {
        if self.has(flag::PLAIN8) {
            return false;
        }
        for _ in 0..TRIES {
            let bracket = Bracket::open(shard);
            let parcels = match bracket.root {
                0 => Ok(Vec::new()),
                root => parcels(self.memory(), root, offset),
            };
            fence(Acquire); // E3
            if let Ok(parcels) = parcels
                && bracket.holds(shard)
            {
                return parcels.iter().any(names);
            }
        }
        true
    }

    #[inline(always)]
    fn try_list_get(&self, index: u64, out: &mut Copied) -> Option<Element> {
        let shard = self.shard(0);
        let bracket = Bracket::open(shard);
        let seen = look(self.memory(), self.has(flag::PLAIN8), bracket.root, index, out);
        // E3, E4, E5: what was overwritten meanwhile was overwritten after a fence, behind the store that one of the
        // following loads sees, or those of the next try.
        fence(Acquire);
        let found = match seen? {
            Seen::Absent => Element::Absent,
            Seen::Word { place, word, len, node } => {
                let again = place.load(Acquire); // E1
                let len = len.load(Acquire); // E2
                if again != word || len <= index {
                    return None;
                }
                if node.as_ref().is_some_and(|node| !node.is_still()) {
                    return None;
                }
                Element::Found { carrying: node.is_some_and(|node| node.parcel_count() > 0) }
            }
        };
        bracket.holds(shard).then_some(found)
    }
}

/// The two words that say whether a reader looked at one directory all the time.
#[derive(Debug, Clone, Copy)]
struct Bracket {
    moves: u64,
    root: u64,
}

impl Bracket {
    #[inline(always)]
    fn open(shard: &Shard) -> Self {
        let moves = shard.top.moves.load(Acquire); // E4, E5
        Self { moves, root: shard.top.root.load(Acquire) } // E4
    }

    /// The root first: where it is an old block again, it was stored after `moves` was counted. E4.
    #[inline(always)]
    fn holds(self, shard: &Shard) -> bool {
        shard.top.root.load(Acquire) == self.root && shard.top.moves.load(Relaxed) == self.moves // E4
    }
}

/// One look at an element. None: what was found contradicts itself, so somebody was at work.
#[inline(always)]
fn look<'a>(memory: Memory<'a>, plain: bool, root: u64, index: u64, out: &mut Copied) -> Option<Seen<'a>> {
    if root == 0 {
        return Some(Seen::Absent);
    }
    let directory = Directory::open(memory, root).ok()?;
    if index >= directory.len() {
        return Some(Seen::Absent);
    }
    let place = directory.word(&directory.find(index).ok()?, index).ok()?;
    let word = place.load(Acquire); // E1
    let node = copy(memory, plain, word, out, false)?;
    Some(Seen::Word { place, word, len: directory.len_word(), node })
}

/// Copies the value of `word`, if it has parcels only where that is wanted. None: it has none.
#[inline(always)]
fn copy<'a>(
    memory: Memory<'a>,
    plain: bool,
    word: u64,
    out: &mut Copied,
    with_parcels: bool,
) -> Option<Option<Opened<'a>>> {
    if plain {
        out.set(&word.to_le_bytes());
        return Some(None);
    }
    match word::decode(word).ok()? {
        Word::None => None,
        Word::Short { bytes, len } => {
            out.set(&bytes[..len]);
            Some(None)
        }
        Word::Node(offset) => {
            let node = Opened::at(memory, offset)?;
            if with_parcels || node.parcel_count() == 0 {
                node.copy_value(out);
            }
            Some(Some(node))
        }
    }
}

/// The parcels of the node at `offset`, if the directory at `root` reaches it. The caller looks whether the directory
/// still holds.
fn parcels(memory: Memory<'_>, root: u64, offset: u64) -> Result<Vec<[u8; 16]>, Error> {
    let directory = Directory::open(memory, root)?;
    let mut at = None;
    directory.each_word(0..directory.len(), |_, place| {
        let word = place.load(Acquire); // E1
        if word == offset {
            at = Some(place);
        }
        Ok(())
    })?;
    let Some(place) = at else { return Ok(Vec::new()) };
    let gone = Error::Corrupted("an element that is gone");
    let node = Opened::at(memory, offset).ok_or(gone)?;
    let parcels = node.parcels();
    fence(Acquire); // E3
    // Where the word is another by now, the node was taken out; whoever looks once more finds it nowhere.
    let again = place.load(Acquire); // E1
    if again != offset || !node.is_still() {
        return Err(gone);
    }
    Ok(parcels)
}

/// Copies the value of `word` under the lock.
///
/// # Errors
/// [`Error::Corrupted`]: it has none.
pub(super) fn value(memory: Memory<'_>, plain: bool, word: u64, out: &mut Copied) -> Result<bool, Error> {
    match copy(memory, plain, word, out, true) {
        Some(node) => Ok(node.is_some_and(|node| node.parcel_count() > 0)),
        None => Err(Error::Corrupted("an element of a list has no value")),
    }
}
