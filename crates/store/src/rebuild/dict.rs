//! What the root of a dict reaches: the table, and the nodes in its slots.

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::store::{NodeHead, Root, Shard, Slot, node};

use super::Marked;
use super::census::Census;
use crate::Memory;

/// Marks the table and its nodes. A slot that contradicts becomes TOMB; a root that does, 0.
pub(super) fn mark(memory: Memory<'_>, shard: &Shard, census: &mut Census) -> Marked {
    let mut marked = Marked::default();
    let word = shard.top.root.load(Acquire); // E2
    let Some(slots) = table(memory, word, census) else {
        if word != 0 {
            shard.top.root.store(0, Release); // E2
            marked.lost = shard.counts.len.load(Relaxed).max(1);
        }
        return marked;
    };
    for slot in slots {
        let word = slot.load(Acquire); // E2
        if word == Slot::EMPTY {
            continue;
        }
        marked.used += 1;
        if word == Slot::TOMB {
            continue;
        }
        match Slot::from_bits(word).and_then(|slot| live_node(memory, slot.offset, census)) {
            Some((head, serial)) => {
                marked.len += 1;
                marked.carrying += u64::from(head.parcels > 0);
                marked.serial = marked.serial.max(serial);
            }
            None => {
                slot.store(Slot::TOMB, Release); // E2
                marked.lost += 1;
            }
        }
    }
    marked
}

/// The slots of the table that `root` names, if it is a block of this shard.
fn table<'a>(memory: Memory<'a>, root: u64, census: &mut Census) -> Option<&'a [AtomicU64]> {
    let root = Root::from_bits(root)?;
    let bytes = root.capacity() * 8;
    if !census.mark(root.offset, bytes) {
        return None;
    }
    memory.block(root.offset, bytes).ok()
}

/// Marks a node, if it is one and was finished.
fn live_node(memory: Memory<'_>, offset: u64, census: &mut Census) -> Option<(NodeHead, u64)> {
    let word = |at| memory.word(offset + at).ok().map(|word| word.load(Relaxed));
    let (serial, head, length) = (word(node::SERIAL)?, word(node::HEAD)?, word(node::LENGTH)?);
    let head = NodeHead::from_bits(head, length);
    (serial != 0 && census.mark(offset, head.size())).then_some((head, serial))
}
