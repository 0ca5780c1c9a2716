//! A list: a directory, leaves of words, nodes. Its writers hold the lock of its one shard, its readers nothing.
//!
//! ```text
//! root       {0:16 | directory:48}                       0: no element yet
//! directory  0   {leaves:32 | cap:32}    8   len         16 + 16 * i   {cap:16 | leaf:48}, start     i < cap
//! leaf       4 .. 256 words of elements; that of the element e is word e - start
//! word       PLAIN8: the value itself; else 0 none, a short value, or the offset of a node (`word.rs`)
//! ```
//! `start` is the index of a leaf's first element. The entries below `leaves` say where leaves are; those whose
//! `start` is `len` or more are *spare*, and begin where the leaf before them is full. Nodes are those of dicts,
//! without a key.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | root | the holder of the lock; a rebuild, if it contradicts | everybody | E4 | in force |
//! | leaves, an entry at or above it | the holder | readers, after `len` | E2 | a spare leaf more |
//! | an entry below `leaves` | nobody; a leaf that changes has a new directory | readers | E4 | as it is |
//! | len | the holder | readers, before and after the word | E2 | in force |
//! | a word below `len` | the holder | readers | E1 | in force |
//! | a word at or above `len` | the holder | readers that are late | E1, E2 | whatever it is: nothing names it |
//!
//! | change | its one store | before it | behind it |
//! |---|---|---|---|
//! | set | the word | the node | the old node is free |
//! | push, extend where there is room | `len` | nodes, leaves, entries, `leaves`, the words | |
//! | pop, truncate | `len` | | the words become 0 (not in a list of plain words), nodes are free, leaves behind the first spare one, too |
//! | insert, remove, slices, sort, reverse, retain, clear, a full directory | `root` | nodes, new leaves for those touched, a new directory, `moves` | what they take the place of is free |
//!
//! Invariants
//! - I1 whatever `root` and a `len` in force reach is whole, at every instant: blocks are filled before the store that
//!   makes them reachable, and overwritten only after one that makes them unreachable.
//! - I2 `moves` is counted between the store after which a directory or a leaf is not reachable and the first write
//!   into it. So whoever finds `moves`, and the root behind which it was counted, as before has looked at the same
//!   blocks as directory and leaves all the time.
//! - I3 elements of one leaf are in it without a gap, the leaves are in order and without a gap, and whoever follows
//!   the last element goes into its leaf or, where that is full, into the next entry.
//! - I4 a word behind `len` is written only when nothing can fail any more before the commit. So a word that a reader
//!   finds there is an element that was popped, or one that is about to be committed, unless a death comes between,
//!   and that one's rebuild counts a move.
//! - I5 a word of a list of plain words is never cleared: 0 is a value, and a reader whose index was popped, pushed
//!   and popped again meanwhile would take it for one. There is no other word that was no element's.
//!
//! Edges
//! - E1 word (Release) -> word (Acquire): the node behind it.
//! - E2 len (Release) -> len (Acquire): words, entries and `leaves` of everything below it.
//! - E3 a fence (Release) after the commit and what is cleared behind it, before any block is free -> the reader's
//!   fence (Acquire) before it looks again: who saw a byte of a block's next life sees that the word, `len` or `root`
//!   does not lead to it any more. Who takes a block anew pays such a fence, too, before the first write.
//! - E4 moves, fence (Release), root (Release) -> root (Acquire), then moves: a root that is an old block again.
//! - E5 moves, fence (Release), the leaf is free -> fence (Acquire), moves: a `len` that is an old number again.
//! - E6 serial of the shard (Release), after the commit -> (Acquire): who knows the number of a change sees it.
//!
//! Why a reader is exact. Say it read `w` at index `i` and all comparisons held. Directory and leaf were these blocks
//! all the time (I2, E3, E4, E5). A word that leads to a node did so while the node was in the incarnation of its
//! serial, so the copy is whole (E3), and it was that of an element. That element was in the list at some moment of
//! the operation: if it was there when the first `len` was read, or was committed later and before the second one,
//! there is nothing to show. Else it was popped before the first `len` was read, and then the word of `i` in force
//! at that moment was another, which it overwrote: it would have been read, unless `w` was pushed once more; or it
//! was still to be committed when the second `len` was read, and then `len` was `i` at most, so that comparison
//! failed (I4).
//!
//! | killed after | what is left | who repairs |
//! |---|---|---|
//! | nodes, leaves, a directory | blocks that nothing reaches | the rebuild: they are free |
//! | entries, `leaves` | a spare leaf | nobody: the next push takes it |
//! | the words behind `len` | words that nothing names | nobody; the rebuild's move keeps readers from them (I4) |
//! | `moves` | a count too many | nobody: a reader looks again |
//! | the commit | the change, and blocks that nothing reaches; the counts of the shard are old | the rebuild |
//! | `leaves` on the way down | a leaf that nothing reaches | the rebuild: it is free |
//!
//! Progress: readers are lock-free: each try that fails is a change that somebody made, and after 64 of them they ask
//! for the lock, so that a damaged list is no loop. Writers block on the lock of the shard. Push and pop cost a few
//! stores; a change in the middle copies a leaf and the directory, 16 bytes for every 256 elements. Source: our own;
//! a directory of leaves as in a B-tree of two levels.

mod build;
mod change;
mod directory;
mod mark;
mod plan;
mod read;
mod word;

pub use build::{Item, Kept, Slot};
pub use change::Change;
pub use read::Element;

pub(crate) use mark::mark;

#[cfg(all(test, not(loom)))]
mod tests;
