//! The rows of queues: any number of producers and consumers, beside the bare queue of the same capacity.
//!
//! The ring is measured at every shape with words of 8 bytes, at the capacity of all other rows and at a small one, at
//! which the two sides meet all the time; a pair and two pairs also with 64 bytes. The control has the same rows.

use super::{Case, Implementation, Row, Selection, Shape, Wait, admits};

/// The shapes of every queue that can have them. On two cores all but the first have more processes than cores.
const SHAPES: [Shape; 5] =
    [Shape::PAIR, Shape::new(2, 1), Shape::new(1, 2), Shape::new(2, 2), Shape::new(4, 4)];
/// The capacity of the rows that have no other reason: as in the other one-way rows of small messages.
const CAPACITY: usize = 1024;
/// So few that the sides meet.
const SMALL_CAPACITY: usize = 256;
/// Bytes of the structure that goes through `queue`, as it lies in memory.
pub const STRUCTURE: usize = 32;
/// Sizes of messages, in bytes.
const SIZES: [usize; 3] = [8, STRUCTURE, 64];
/// The most bytes of messages that a queue holds. Larger messages are not for slots; see [`Implementation::Blocks`].
const HELD_MAX: usize = 16 << 20;
/// Sizes of blocks that are handed over, in bytes.
const BLOCKS: [usize; 2] = [64, 4 << 20];

impl Implementation {
    /// Whether it is a queue with ends for several processes, or the control of those.
    pub fn is_queue(self) -> bool {
        matches!(self, Self::Vyukov | Self::Ring | Self::Mpsc | Self::Broadcast | Self::Queue)
    }

    /// Whether messages of that size go through it, and so many processes may hold its ends.
    fn admits_shape(self, size: usize, shape: Shape) -> bool {
        match self {
            Self::Queue => size == STRUCTURE,
            Self::Mpsc => shape.consumers == 1,
            _ => true,
        }
    }

    /// What the list has of it where nothing is asked for. The control is there for whoever has the same row.
    fn is_listed(self, size: usize, capacity: usize, shape: Shape, wait: Wait) -> bool {
        let is_square = shape == Shape::PAIR || shape == Shape::new(2, 2);
        match (self, size, capacity) {
            (Self::Ring | Self::Vyukov, 8, CAPACITY) => true,
            (Self::Ring | Self::Vyukov, 8, SMALL_CAPACITY) => wait == Wait::Spin,
            (Self::Ring | Self::Vyukov, 64, CAPACITY) => wait == Wait::Spin && is_square,
            (Self::Vyukov, STRUCTURE, CAPACITY) => shape == Shape::PAIR,
            (Self::Queue, STRUCTURE, CAPACITY) => wait == Wait::Default || shape == Shape::PAIR,
            (Self::Mpsc, 8, CAPACITY) => true,
            (Self::Broadcast, 8, CAPACITY) => is_square || shape == Shape::new(1, 2),
            _ => false,
        }
    }
}

impl Selection {
    /// The rows of queues, in the order of the table.
    pub(super) fn queue_rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for &size in or_default(&self.sizes, &SIZES) {
            for &capacity in or_default(&self.capacities, &[CAPACITY, SMALL_CAPACITY]) {
                for &shape in or_default(&self.shapes, &SHAPES) {
                    rows.extend(self.block(size, capacity, shape));
                }
            }
        }
        self.add_pipe(&mut rows);
        rows
    }

    /// Blocks that change hands, unfilled and untouched.
    pub(super) fn handover_rows(&self) -> Vec<Row> {
        let waits = || [Wait::Spin, Wait::Default].into_iter().filter(|wait| admits(&self.waits, wait));
        if !admits(&self.implementations, &Implementation::Blocks) {
            return Vec::new();
        }
        let row = |size, wait| Row::pair(Case::Handover, Implementation::Blocks, size, 1, Some(wait));
        let sizes = or_default(&self.sizes, &BLOCKS);
        sizes.iter().flat_map(|&size| waits().map(move |wait| row(size, wait))).collect()
    }

    /// The rows that are compared with each other. The control alone is nothing to compare.
    fn block(&self, size: usize, capacity: usize, shape: Shape) -> Vec<Row> {
        let mut rows = Vec::new();
        let is_asked = !(self.sizes.is_empty() && self.capacities.is_empty() && self.shapes.is_empty());
        for &implementation in Implementation::ALL.iter().filter(|one| one.is_queue()) {
            let is_possible = implementation.admits_shape(size, shape) && size * capacity <= HELD_MAX;
            if !is_possible || !self.asks_for(implementation) {
                continue;
            }
            for wait in
                self.waits_of(implementation).into_iter().flatten().filter(|wait| *wait != Wait::Sleep)
            {
                if is_asked || implementation.is_listed(size, capacity, shape, wait) {
                    let row = Row::pair(Case::Oneway, implementation, size, 1, Some(wait));
                    rows.push(Row { shape, capacity: Some(capacity), ..row });
                }
            }
        }
        let is_wanted = |row: &Row| admits(&self.implementations, &row.implementation);
        if rows.iter().any(is_wanted) { rows } else { Vec::new() }
    }

    /// What users hold is compared with a pipe, at the size of its structure.
    fn add_pipe(&self, rows: &mut Vec<Row>) {
        let is_pair = |row: &Row| row.implementation == Implementation::Queue && row.shape == Shape::PAIR;
        if self.sizes.is_empty() && rows.iter().any(is_pair) {
            rows.push(Row::pair(Case::Oneway, Implementation::Pipe, STRUCTURE, 1, None));
        }
    }
}

fn or_default<'a, T>(asked: &'a [T], default: &'a [T]) -> &'a [T] {
    if asked.is_empty() { default } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(selection: Selection) -> Vec<Row> {
        selection.queue_rows()
    }

    fn asked(implementation: Implementation) -> Selection {
        Selection { implementations: vec![implementation], ..Selection::default() }
    }

    fn find(
        rows: &[Row],
        implementation: Implementation,
        shape: Shape,
        capacity: usize,
        wait: Wait,
    ) -> Option<Row> {
        let wanted = |row: &&Row| {
            let like = (row.implementation, row.shape, row.capacity, row.wait);
            like == (implementation, shape, Some(capacity), Some(wait))
        };
        rows.iter().find(wanted).copied()
    }

    #[test]
    fn the_control_comes_along_with_a_queue_and_not_alone() {
        assert!(rows(asked(Implementation::Pipe)).is_empty());
        assert!(
            rows(asked(Implementation::Vyukov))
                .iter()
                .all(|row| row.implementation == Implementation::Vyukov)
        );
        let rows = rows(asked(Implementation::Ring));
        for ring in rows.iter().filter(|row| row.implementation == Implementation::Ring) {
            let control = Row { implementation: Implementation::Vyukov, wait: Some(Wait::Spin), ..*ring };
            assert!(rows.contains(&control), "{ring:?}");
        }
    }

    #[test]
    fn every_must_show_row_is_in_the_default_plan() {
        let rows = rows(Selection::default());
        for shape in SHAPES {
            for capacity in [CAPACITY, SMALL_CAPACITY] {
                assert!(find(&rows, Implementation::Ring, shape, capacity, Wait::Spin).is_some());
                assert!(find(&rows, Implementation::Vyukov, shape, capacity, Wait::Spin).is_some());
            }
            assert!(find(&rows, Implementation::Ring, shape, CAPACITY, Wait::Default).is_some());
            assert!(find(&rows, Implementation::Queue, shape, CAPACITY, Wait::Default).is_some());
        }
        assert!(find(&rows, Implementation::Mpsc, Shape::new(2, 1), CAPACITY, Wait::Spin).is_some());
        assert!(find(&rows, Implementation::Broadcast, Shape::new(1, 2), CAPACITY, Wait::Default).is_some());
        assert!(find(&rows, Implementation::Mpsc, Shape::new(1, 2), CAPACITY, Wait::Spin).is_none());
        let handed = Selection::default().handover_rows();
        assert_eq!(handed.len(), BLOCKS.len() * 2);
        assert!(rows.len() < 60, "{} rows: a quick run would take too long", rows.len());
    }

    #[test]
    fn what_is_asked_for_is_measured() {
        let shape = Shape::new(3, 2);
        let selection =
            Selection { shapes: vec![shape], capacities: vec![64], sizes: vec![128], ..Selection::default() };
        let rows = selection.rows();
        assert!(find(&rows, Implementation::Ring, shape, 64, Wait::Spin).is_some_and(|row| row.size == 128));
        assert!(rows.iter().all(|row| row.shape == shape));
    }

    #[test]
    fn no_row_needs_gigabytes() {
        let sizes = vec![8, 4 << 10, 4 << 20];
        let rows = rows(Selection { sizes, capacities: vec![2, 1 << 16], ..Selection::default() });
        assert!(rows.iter().all(|row| row.size * row.slots() <= HELD_MAX));
        assert!(rows.iter().any(|row| row.size == 4 << 20));
    }
}
