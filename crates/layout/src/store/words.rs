//! The words of a store, taken apart and put together.

use crate::participant::{OWNER_BITS, ParticipantId};

/// Offsets are multiples of this.
pub const GRAIN: u64 = 16;

/// The bits of a word that hold an offset.
pub const OFFSET_MASK: u64 = (1 << 48) - 1;

/// Is this the offset of a block? Whether it is in bounds is not known yet.
const fn is_place(offset: u64) -> bool {
    offset != 0 && offset.is_multiple_of(GRAIN)
}

/// The word that names the table of a dict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The table has `2^bits` slots.
    pub bits: u32,
    /// Where it is.
    pub offset: u64,
}

impl Root {
    /// Fewest bits: 8 slots.
    pub const BITS_MIN: u32 = 3;
    /// Most bits.
    pub const BITS_MAX: u32 = 32;

    /// Takes the word of a dict apart. `None`: no table yet (0), or a word that nobody of ours stores.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let (bits, offset) = ((word >> 56) as u32, word & OFFSET_MASK);
        let possible = bits >= Self::BITS_MIN && bits <= Self::BITS_MAX && (word >> 48) & 0xff == 0;
        if possible && is_place(offset) { Some(Self { bits, offset }) } else { None }
    }

    /// Puts it together.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        ((self.bits as u64) << 56) | self.offset
    }

    /// How many slots.
    #[must_use]
    #[inline(always)]
    pub const fn capacity(self) -> u64 {
        1 << self.bits
    }
}

/// A slot that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The upper bits of the key's hash.
    pub tag: u16,
    /// Where the node is.
    pub offset: u64,
}

impl Slot {
    /// Never used since the table was made.
    pub const EMPTY: u64 = 0;
    /// Removed.
    pub const TOMB: u64 = 1;

    /// Takes a word apart. `None`: EMPTY, TOMB, or a word that nobody of ours stores.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let offset = word & OFFSET_MASK;
        if is_place(offset) { Some(Self { tag: (word >> 48) as u16, offset }) } else { None }
    }

    /// Puts it together.
    #[must_use]
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        ((self.tag as u64) << 48) | self.offset
    }
}

/// What the pages of a span are for.
pub mod kind {
    /// Nothing.
    pub const FREE: u8 = 1;
    /// Blocks of one class.
    pub const SLAB: u8 = 2;
    /// One large block.
    pub const RUN: u8 = 3;
}

/// The first word of a span, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Pages of it, at least 1.
    pub pages: u32,
    /// [`kind`].
    pub kind: u8,
    /// The class of a SLAB's blocks; 0 otherwise.
    pub class: u8,
}

impl Span {
    /// Bytes before the block of a RUN, and before the first block of a slab, but for [`BIG`](super::BIG) classes. A
    /// processor's line, so that blocks lie on as few of them as can be.
    pub const HEAD: u64 = 64;

    const CHECK: u64 = 0x5ba1;

    /// A span of `kind` that is no slab.
    #[must_use]
    pub const fn new(pages: u32, kind: u8) -> Self {
        Self { pages, kind, class: 0 }
    }

    /// A slab.
    #[must_use]
    pub const fn slab(pages: u32, class: usize) -> Self {
        Self { pages, kind: kind::SLAB, class: class as u8 }
    }

    /// Bytes before the first block of a slab of class `class`. The classes from [`BIG`](super::BIG) on keep away from the
    /// offsets that a block with pages of its own has, modulo [`BIG_STEP`](super::BIG_STEP).
    #[must_use]
    #[inline(always)]
    pub const fn head_of(class: usize) -> u64 {
        if class < super::BIG { Self::HEAD } else { 2 * Self::HEAD }
    }

    /// Takes a word apart. `None`: no span begins here.
    #[must_use]
    #[inline]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let (pages, kind, class) = ((word >> 32) as u32, (word >> 8) as u8, word as u8);
        let possible = match kind {
            kind::FREE | kind::RUN => class == 0,
            kind::SLAB => (class as usize) < super::CLASSES,
            _ => false,
        };
        if pages > 0 && (word >> 16) & 0xffff == Self::CHECK && possible {
            Some(Self { pages, kind, class })
        } else {
            None
        }
    }

    /// Puts it together.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        ((self.pages as u64) << 32) | (Self::CHECK << 16) | ((self.kind as u64) << 8) | self.class as u64
    }
}

/// Where the words of a node are, and its flags.
pub mod node {
    /// Number of the node; 0 while it is being written.
    pub const SERIAL: u64 = 0;
    /// The word of [`super::NodeHead`].
    pub const HEAD: u64 = 8;
    /// `{vlen:32 | seen:32}`.
    pub const LENGTH: u64 = 16;
    /// Bytes before the key, or before the deadline.
    pub const FIXED: u64 = 24;
    /// Bytes of one parcel.
    pub const PARCEL: u64 = 16;
    /// Flag: a deadline stands before the key.
    pub const EXPIRES: u8 = 1;
}

/// The second and third word of a node, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeHead {
    /// 32 bits of the key's hash.
    pub hash: u32,
    /// Bytes of the key.
    pub klen: u16,
    /// See [`node`].
    pub flags: u8,
    /// How many parcels.
    pub parcels: u8,
    /// Bytes of the value.
    pub vlen: u32,
}

impl NodeHead {
    /// Takes the words apart; `seen` is left away.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(head: u64, length: u64) -> Self {
        Self {
            hash: (head >> 32) as u32,
            klen: (head >> 16) as u16,
            flags: (head >> 8) as u8,
            parcels: head as u8,
            vlen: (length >> 32) as u32,
        }
    }

    /// The second word.
    #[must_use]
    #[inline(always)]
    pub const fn head(self) -> u64 {
        ((self.hash as u64) << 32)
            | ((self.klen as u64) << 16)
            | ((self.flags as u64) << 8)
            | self.parcels as u64
    }

    /// The third word, not seen yet.
    #[must_use]
    #[inline(always)]
    pub const fn length(self) -> u64 {
        (self.vlen as u64) << 32
    }

    /// Where the key begins, from the node's first byte.
    #[must_use]
    #[inline(always)]
    pub const fn key_at(self) -> u64 {
        node::FIXED + if self.flags & node::EXPIRES != 0 { 8 } else { 0 }
    }

    /// Where the value begins.
    #[must_use]
    #[inline(always)]
    pub const fn value_at(self) -> u64 {
        self.key_at() + pad8(self.klen as u64)
    }

    /// Where the parcels begin.
    #[must_use]
    #[inline(always)]
    pub const fn parcels_at(self) -> u64 {
        self.value_at() + pad8(self.vlen as u64)
    }

    /// Bytes of the whole node.
    #[must_use]
    #[inline(always)]
    pub const fn size(self) -> u64 {
        self.parcels_at() + self.parcels as u64 * node::PARCEL
    }
}

const fn pad8(bytes: u64) -> u64 {
    (bytes + 7) & !7
}

/// The commit word of a transaction, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedoWord {
    /// Whose transaction it is.
    pub owner: ParticipantId,
    /// How many entries count.
    pub count: u16,
}

impl RedoWord {
    /// No transaction.
    pub const NONE: u64 = 0;

    /// Takes a word apart. `None`: none, or a word that nobody of ours stores.
    #[must_use]
    pub const fn from_bits(word: u64) -> Option<Self> {
        let count = word as u16;
        let possible = word >> (16 + OWNER_BITS) == 0 && count as usize <= super::REDO_MAX;
        match ParticipantId::from_bits(word >> 16 & ((1 << OWNER_BITS) - 1)) {
            Some(owner) if possible => Some(Self { owner, count }),
            _ => None,
        }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.owner.bits() << 16) | self.count as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip() {
        let root = Root { bits: 20, offset: OFFSET_MASK - 15 };
        assert_eq!(Root::from_bits(root.bits()), Some(root));
        let slot = Slot { tag: 0xffff, offset: 16 };
        assert_eq!(Slot::from_bits(slot.bits()), Some(slot));
        for span in [Span::new(u32::MAX, kind::FREE), Span::new(1, kind::RUN), Span::slab(7, 30)] {
            assert_eq!(Span::from_bits(span.bits()), Some(span));
        }
        let head = NodeHead { hash: u32::MAX, klen: u16::MAX, flags: 1, parcels: u8::MAX, vlen: u32::MAX };
        assert_eq!(NodeHead::from_bits(head.head(), head.length() | 1), head);
        let redo = RedoWord { owner: ParticipantId::from_index(8190), count: 224 };
        assert_eq!(RedoWord::from_bits(redo.bits()), Some(redo));
    }

    #[test]
    fn impossible_words_are_refused() {
        for word in [0, 1 << 56, (3 << 56) | 8, 3 << 56, (33 << 56) | 16, (3 << 56) | (1 << 48) | 16] {
            assert_eq!(Root::from_bits(word), None, "{word:#x}");
        }
        for word in [Slot::EMPTY, Slot::TOMB, 0xffff << 48, (1 << 48) | 17] {
            assert_eq!(Slot::from_bits(word), None, "{word:#x}");
        }
        let free = Span::new(1, kind::FREE).bits();
        for word in [0, free & !(1 << 32), free ^ (1 << 16), free | 1, free & !0xff00, u64::MAX] {
            assert_eq!(Span::from_bits(word), None, "{word:#x}");
        }
        for word in [0, 1, (1 << 16) | 225, 1 << 29, u64::MAX] {
            assert_eq!(RedoWord::from_bits(word), None, "{word:#x}");
        }
    }

    #[test]
    fn parts_of_a_node_follow_each_other() {
        let head = NodeHead { hash: 0, klen: 9, flags: 0, parcels: 2, vlen: 64 };
        assert_eq!((head.key_at(), head.value_at(), head.parcels_at(), head.size()), (24, 40, 104, 136));
        let expires = NodeHead { flags: node::EXPIRES, ..head };
        assert_eq!((expires.key_at(), expires.size()), (32, 144));
    }
}
