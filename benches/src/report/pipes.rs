//! The ratios of pipes and connections: a round trip beside the two-line ping-pong and a Unix stream, one way beside the
//! copies and what the kernel offers.

use super::units::{factor, size};
use crate::plan::{Case, Implementation, Row, Wait};
use crate::run::Measured;

/// What is compared, and what a reader calls it.
const OURS: [(Implementation, Wait, &str); 3] = [
    (Implementation::Duplex, Wait::Spin, "duplex, awake"),
    (Implementation::Duplex, Wait::Default, "duplex, default policy"),
    (Implementation::Peer, Wait::Default, "peer, default policy"),
];

/// One sentence for each row of ours that has a counterpart.
pub(super) fn sentences(rows: &[Measured]) -> Vec<String> {
    let mut text = Vec::new();
    for case in [Case::Rtt, Case::Oneway] {
        for bytes in sizes(rows, case) {
            for (ours, wait, name) in OURS {
                let row = Row::pair(case, ours, bytes, 1, Some(wait));
                let parts = if case == Case::Rtt { round_trip(rows, &row) } else { one_way(rows, &row) };
                if let Some(parts) = parts.filter(|parts| !parts.is_empty()) {
                    let what = if case == Case::Rtt { "round trip" } else { "one-way" };
                    text.push(format!("{} {what}, {name}: {}", size(bytes), parts.join(", ")));
                }
            }
        }
    }
    text
}

/// The sizes that pipes were measured with, in order.
fn sizes(rows: &[Measured], case: Case) -> Vec<usize> {
    let is_ours = |row: &Row| row.case == case && OURS.iter().any(|(ours, ..)| row.implementation == *ours);
    let mut sizes: Vec<_> = rows.iter().map(|row| row.row).filter(is_ours).map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn find<'a>(rows: &'a [Measured], wanted: &Row) -> Option<&'a Measured> {
    rows.iter().find(|measured| measured.row == *wanted)
}

fn round_trip(rows: &[Measured], row: &Row) -> Option<Vec<String>> {
    let p50 = |row: &Row| Some(find(rows, row)?.latency?.p50_ns as f64);
    let ours = p50(row)?;
    // The ping-pong carries a word, whatever the others carry.
    let line = Row::pair(row.case, Implementation::LimitLine, 8, 1, Some(Wait::Spin));
    let unix = Row { implementation: Implementation::UnixStream, wait: None, ..*row };
    let slower = p50(&line).map(|line| format!("takes {} the two-line ping-pong", factor(ours / line)));
    let faster = p50(&unix).map(|unix| format!("{} as fast as a Unix stream", factor(unix / ours)));
    Some(slower.into_iter().chain(faster).collect())
}

fn one_way(rows: &[Measured], row: &Row) -> Option<Vec<String>> {
    let rate = |row: &Row| find(rows, row)?.per_s.filter(|per_s| *per_s > 0.0);
    let ours = rate(row)?;
    let others = [
        (Implementation::LimitCopy, Some(Wait::Spin), "limit-copy"),
        (Implementation::LimitCopyLarge, Some(Wait::Spin), "limit-copy-large"),
        (Implementation::UnixStream, None, "a Unix stream"),
        (Implementation::UnixSeqpacket, None, "a Unix seqpacket"),
        (Implementation::Pipe, None, "a pipe of the kernel"),
    ];
    let ratio = |(implementation, wait, what)| {
        let other = rate(&Row { implementation, wait, ..*row })?;
        Some(format!("{} {what}", factor(ours / other)))
    };
    Some(others.into_iter().filter_map(ratio).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::Percentiles;
    use crate::run::Crowding;

    fn rtt(implementation: Implementation, size: usize, wait: Option<Wait>, p50_ns: u64) -> Measured {
        let latency = Some(Percentiles { p50_ns, p99_ns: 2 * p50_ns, p999_ns: 3 * p50_ns });
        let row = Row::pair(Case::Rtt, implementation, size, 1, wait);
        Measured { latency, ..Measured::empty(row, Crowding::default()) }
    }

    fn stream(implementation: Implementation, wait: Option<Wait>, per_s: f64) -> Measured {
        let row = Row::pair(Case::Oneway, implementation, 1 << 20, 1, wait);
        Measured { per_s: Some(per_s), ..Measured::empty(row, Crowding::default()) }
    }

    #[test]
    fn a_round_trip_is_compared_with_the_line_and_a_unix_stream() {
        let rows = [
            rtt(Implementation::LimitLine, 8, Some(Wait::Spin), 200),
            rtt(Implementation::UnixStream, 64, None, 20_000),
            rtt(Implementation::Duplex, 64, Some(Wait::Spin), 250),
        ];
        let said = "64 B round trip, duplex, awake: takes 1.25x the two-line ping-pong, 80x as fast as a Unix stream";
        assert_eq!(sentences(&rows), [said]);
        assert!(sentences(&rows[2..]).is_empty());
    }

    #[test]
    fn a_stream_is_compared_with_the_copies() {
        let rows = [
            stream(Implementation::LimitCopy, Some(Wait::Spin), 10_000.0),
            stream(Implementation::UnixStream, None, 2_000.0),
            stream(Implementation::Peer, Some(Wait::Default), 8_000.0),
            stream(Implementation::Duplex, Some(Wait::Spin), 9_000.0),
        ];
        assert_eq!(
            sentences(&rows),
            [
                "1 MiB one-way, duplex, awake: 0.90x limit-copy, 4.50x a Unix stream",
                "1 MiB one-way, peer, default policy: 0.80x limit-copy, 4.00x a Unix stream",
            ]
        );
    }
}
