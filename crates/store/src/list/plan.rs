//! Which leaves a change of a range replaces, and by how many of which size: arithmetic on private copies.
//!
//! A change touches the leaves that its range touches, and one neighbour where both would stay below a quarter.
//! Words at the end of the list fill leaves one after the other (so that a list that only grows has full leaves, and
//! a reader finds an index by one division); words in the middle are shared out evenly, so that the next insertion
//! at the same place finds room.

use std::ops::Range;

/// Words of the largest leaf. Small under loom, where every word costs.
pub(super) const LEAF_MAX: u64 = if cfg!(loom) { 4 } else { 256 };

/// Words of the smallest leaf.
const LEAF_MIN: u64 = 4;

/// A leaf with fewer words is joined with a neighbour that has fewer, too.
const FEW: u64 = LEAF_MAX / 4;

/// One leaf, as its entry in the directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Where its words are.
    pub(super) offset: u64,
    /// Words it has room for.
    pub(super) cap: u64,
    /// The index of its first element.
    pub(super) start: u64,
}

/// A leaf that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Words it needs room for.
    pub(super) cap: u64,
    /// Words it begins with.
    pub(super) count: u64,
}

/// What a change replaces by what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The leaves that go.
    pub(super) leaves: Range<usize>,
    /// The elements in them.
    pub(super) elements: Range<u64>,
    /// The leaves that come.
    pub(super) made: Vec<Size>,
}

/// The plan for replacing the elements `range` of a list of `len` elements in `leaves` by `added` others. The leaves
/// are those with elements, in order; `range` is within the list.
pub(super) fn plan(leaves: &[Leaf], len: u64, range: &Range<u64>, added: u64) -> Plan {
    let touched = touched(leaves, len, range);
    let elements = elements(leaves, len, &touched);
    let total = elements.end - elements.start - (range.end - range.start) + added;
    let (touched, elements, total) = join(leaves, len, touched, elements, total);
    let last = touched.end == leaves.len();
    let mut made = share(total, last && range.end == len);
    if last && let Some(tail) = made.last_mut() {
        let alone = touched.start == 0 && total <= LEAF_MAX;
        tail.cap =
            if alone { (tail.count + 1).next_power_of_two().clamp(LEAF_MIN, LEAF_MAX) } else { LEAF_MAX };
    }
    Plan { leaves: touched, elements, made }
}

/// The leaves for `total` words: filled one after the other, or evenly.
pub(super) fn share(total: u64, fill: bool) -> Vec<Size> {
    let number = total.div_ceil(LEAF_MAX);
    let mut made = Vec::with_capacity(number as usize);
    let mut left = total;
    for i in 0..number {
        let count = if fill { left.min(LEAF_MAX) } else { left.div_ceil(number - i) };
        made.push(Size { cap: count.next_multiple_of(2).max(LEAF_MIN), count });
        left -= count;
    }
    made
}

/// The leaves with elements of `range`; where it is empty, the one its place is in. None at all for the end of a
/// list whose last leaf is full.
fn touched(leaves: &[Leaf], len: u64, range: &Range<u64>) -> Range<usize> {
    let Some(last) = leaves.last() else { return 0..0 };
    if range.start == len && len - last.start >= LEAF_MAX {
        return leaves.len()..leaves.len();
    }
    let holding = |index: u64| leaves.partition_point(|leaf| leaf.start <= index).saturating_sub(1);
    let first = holding(range.start);
    let after = if range.is_empty() { first } else { holding(range.end - 1) } + 1;
    first..after
}

fn elements(leaves: &[Leaf], len: u64, which: &Range<usize>) -> Range<u64> {
    let start = |at: usize| leaves.get(at).map_or(len, |leaf| leaf.start);
    start(which.start)..start(which.end)
}

/// One neighbour more where both are small.
fn join(
    leaves: &[Leaf],
    len: u64,
    mut touched: Range<usize>,
    elements_of: Range<u64>,
    total: u64,
) -> (Range<usize>, Range<u64>, u64) {
    let is_small = |which: usize| {
        let held = elements(leaves, len, &(which..which + 1));
        held.end - held.start < FEW
    };
    if total >= FEW {
        return (touched, elements_of, total);
    }
    if touched.start > 0 && is_small(touched.start - 1) {
        touched.start -= 1;
    } else if touched.end < leaves.len() && is_small(touched.end) {
        touched.end += 1;
    }
    let wider = elements(leaves, len, &touched);
    let more = (wider.end - wider.start) - (elements_of.end - elements_of.start);
    (touched, wider, total + more)
}
