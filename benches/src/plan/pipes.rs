//! The rows of pipes and connections: few, as what carries them is measured at every size.

use super::{Case, Implementation, Row, Selection};

/// Longer messages do not go through `peer` here: its messages are arrays on the stack, of which a program that is not
/// optimised keeps many copies.
pub(super) const PEER_SIZE_MAX: usize = if cfg!(debug_assertions) { 64 << 10 } else { 1 << 20 };
/// Size of the round trips, in bytes.
const RTT_SIZE: usize = 64;
/// Sizes of the one-way rows: messages that are one record, and streams of those that go in parts.
const ONEWAY_SIZES: [usize; 4] = [8, 64, 64 << 10, 1 << 20];

impl Implementation {
    /// Whether it is what two processes talk through.
    pub(super) fn is_pipe(self) -> bool {
        matches!(self, Self::Duplex | Self::Peer)
    }
}

impl Selection {
    /// Whether the row of a pipe stays in the list.
    pub(super) fn keeps_pipe(&self, row: &Row) -> bool {
        let is_listed = match row.case {
            Case::Rtt => row.size == RTT_SIZE,
            _ => ONEWAY_SIZES.contains(&row.size),
        };
        (is_listed || !self.sizes.is_empty()) && self.is_awake_or_asked(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Wait;
    use super::*;

    fn has(rows: &[Row], case: Case, implementation: Implementation, size: usize, wait: Wait) -> bool {
        rows.contains(&Row::pair(case, implementation, size, 1, Some(wait)))
    }

    #[test]
    fn every_must_show_row_is_in_the_default_plan() {
        let rows = Selection::default().rows();
        assert!(has(&rows, Case::Rtt, Implementation::Duplex, 64, Wait::Spin));
        assert!(has(&rows, Case::Rtt, Implementation::Duplex, 64, Wait::Default));
        assert!(has(&rows, Case::Rtt, Implementation::Peer, 64, Wait::Default));
        for size in ONEWAY_SIZES {
            assert!(has(&rows, Case::Oneway, Implementation::Duplex, size, Wait::Spin));
            let is_carried = has(&rows, Case::Oneway, Implementation::Peer, size, Wait::Default);
            assert_eq!(is_carried, size <= PEER_SIZE_MAX);
            // What it is compared with.
            assert!(rows.contains(&Row::pair(Case::Oneway, Implementation::UnixStream, size, 1, None)));
        }
        let pipes = rows.iter().filter(|row| row.implementation.is_pipe()).count();
        assert!(pipes < 20, "{pipes} rows: a quick run would take too long");
    }

    #[test]
    fn what_is_asked_for_is_measured() {
        let asked = |sizes, waits| {
            Selection { implementations: vec![Implementation::Duplex], sizes, waits, ..Selection::default() }
                .rows()
        };
        assert!(has(&asked(vec![4096], vec![]), Case::Oneway, Implementation::Duplex, 4096, Wait::Default));
        let asleep = asked(vec![], vec![Wait::Sleep]);
        assert!(has(&asleep, Case::Rtt, Implementation::Duplex, RTT_SIZE, Wait::Sleep));
        let asked = Selection { waits: vec![Wait::Spin], ..Selection::default() };
        assert!(asked.rows().iter().all(|row| row.implementation != Implementation::Peer));
    }
}
