//! The table of the group `pool`, and its ratios: each compares our pool with a limit or a rival of the same run.

use super::Page;
use super::picks::{self, columns, times};
use super::table::Style;
use super::units::{digits, factor, rate, time};
use crate::pool::measure::{Measured, Memory};
use crate::pool::plan::{Case, Implementation};

/// Everything that is said of the group.
pub fn page(rows: &[Measured], style: Style) -> Page {
    Page { tables: table(rows, style), ratios: sentences(rows), doubt: doubt(rows) }
}

fn table(rows: &[Measured], style: Style) -> String {
    picks::Rows(rows).table(heading, |measured| match measured.latency {
        Some(latency) => columns(times(latency, style.width.is_some())),
        None => columns(cells(measured)),
    })
}

fn heading(case: Case) -> (&'static str, [&'static str; 3]) {
    let times = ["p50", "p99", "p99.9"];
    match case {
        Case::Rtt => ("One task, one worker, both awake", times),
        Case::RttAsleep => ("One task, one worker, both asleep", times),
        Case::Chunk1 => ("2 workers, 512 tasks out at a time", ["tasks a second", "best 10 %", "ns each"]),
        Case::Auto => ("2 workers, numbers mapped", ["items a second", "best 10 %", "ns each"]),
        Case::Large => ("2 workers, 1 MiB there, 1 MiB back", ["tasks a second", "GB/s each way", "memory"]),
        Case::Kill => ("SIGKILL until as many work again", times),
    }
}

fn cells(measured: &Measured) -> [String; 3] {
    let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".to_owned(), show);
    let per_s = shown(measured.per_s, rate);
    if measured.row.case == Case::Large {
        let growth =
            measured.more.growth_percent.map_or("-".to_owned(), |percent| format!("{percent:+.1} %"));
        return [per_s, shown(measured.mb_per_s().map(|mb_per_s| mb_per_s / 1e3), digits), growth];
    }
    [per_s, shown(measured.per_s_p90, rate), shown(measured.ns_each(), digits)]
}

/// Between passes the limits differ by some percent; by more than this, in percent, where the machine was not the same
/// all through.
const MOVED: f64 = 50.0;

fn doubt(rows: &[Measured]) -> Option<String> {
    let steady = [Implementation::LimitLine, Implementation::LimitFutex];
    super::doubt(picks::Rows(rows).spreads(&steady), MOVED, "the cores were disturbed or moved")
}

/// One sentence for each comparison whose two rows both have figures, and for each figure that is wanted by itself.
fn sentences(rows: &[Measured]) -> Vec<String> {
    let rows = picks::Rows(rows);
    let mut text = Vec::new();
    rows.round_trips(&mut text);
    rows.rates(&mut text);
    rows.large(&mut text);
    rows.kills(&mut text);
    text
}

type Rows<'a> = picks::Rows<'a, Case, Implementation, Memory>;

const OURS: Implementation = Implementation::Pool;
const RIVALS: [Implementation; 4] =
    [Implementation::Pipes, Implementation::Threads, Implementation::Procspawn, Implementation::PyPool];

/// A ratio; two digits after the point say too little of what is much faster.
fn ratio(value: f64) -> String {
    if value < 0.1 { format!("{value:.3}x") } else { factor(value) }
}

impl Rows<'_> {
    fn round_trips(&self, text: &mut Vec<String>) {
        for (case, how) in [(Case::Rtt, "awake"), (Case::RttAsleep, "asleep")] {
            let Some(ours) = self.p50(case, OURS) else { continue };
            let limits = [Implementation::LimitLine, Implementation::LimitFutex];
            let parts: Vec<_> = limits
                .into_iter()
                .chain(RIVALS)
                .filter_map(|other| {
                    Some(format!("{} {other}", ratio(ours as f64 / self.p50(case, other)? as f64)))
                })
                .collect();
            let parts = if parts.is_empty() { String::new() } else { format!(", {}", parts.join(", ")) };
            text.push(format!("round trip {how}: {}{parts}", time(ours, false)));
        }
    }

    fn rates(&self, text: &mut Vec<String>) {
        for (case, what) in [(Case::Chunk1, "tasks one by one"), (Case::Auto, "items mapped")] {
            let Some(ours) = self.rate(case, OURS) else { continue };
            let parts: Vec<_> = RIVALS
                .into_iter()
                .filter_map(|other| Some(format!("{} {other}", factor(ours / self.rate(case, other)?))))
                .collect();
            let parts = if parts.is_empty() { String::new() } else { format!(", {}", parts.join(", ")) };
            text.push(format!("{what}: {}{parts}", rate(ours)));
        }
    }

    fn large(&self, text: &mut Vec<String>) {
        let Some(measured) = self.find(Case::Large, OURS) else { return };
        let limits = [Implementation::LimitCopy, Implementation::LimitCopyLarge, Implementation::LimitMemcpy];
        let rated = limits.into_iter().filter_map(|limit| Some((limit, self.rate(Case::Large, limit)?)));
        // The fastest of them is what the machine can do.
        let best = rated.max_by(|left, right| left.1.total_cmp(&right.1));
        if let Some((ours, (limit, theirs))) = measured.per_s.zip(best) {
            text.push(format!("1 MiB there and back: {} of {limit}", ratio(ours / theirs)));
        }
        if let Some(percent) = measured.more.growth_percent {
            text.push(format!(
                "1 MiB there and back: memory {percent:+.1} % from the first tenth to the end"
            ));
        }
    }

    fn kills(&self, text: &mut Vec<String>) {
        let Some(latency) = self.find(Case::Kill, OURS).and_then(|row| row.latency) else { return };
        let parts: Vec<_> = [Implementation::LimitFork, Implementation::PyPool]
            .into_iter()
            .filter_map(|other| {
                let theirs = self.p50(Case::Kill, other)?;
                Some(format!(", {} {other}", ratio(latency.p50_ns as f64 / theirs as f64)))
            })
            .collect();
        let (p50, p99) = (time(latency.p50_ns, false), time(latency.p99_ns, false));
        text.push(format!("a worker killed: full strength after {p50}, p99 {p99}{}", parts.concat()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::passes::Percentiles;
    use crate::pool::plan::Row;

    fn timed(case: Case, implementation: Implementation, p50_ns: u64) -> Measured {
        let latency = Some(Percentiles { p50_ns, p99_ns: 2 * p50_ns, p999_ns: 3 * p50_ns });
        Measured { latency, ..Measured::empty(Row { case, implementation }, Memory::default()) }
    }

    fn rated(case: Case, implementation: Implementation, per_s: f64) -> Measured {
        let (per_s, per_s_p90) = (Some(per_s), Some(per_s));
        Measured { per_s, per_s_p90, ..Measured::empty(Row { case, implementation }, Memory::default()) }
    }

    #[test]
    fn our_pool_is_compared_with_what_ran_beside_it() {
        let memory = Memory { growth_percent: Some(0.42) };
        let rows = [
            timed(Case::Rtt, Implementation::PyPool, 180_000),
            timed(Case::Rtt, OURS, 900),
            timed(Case::RttAsleep, Implementation::LimitFutex, 60_000),
            timed(Case::RttAsleep, OURS, 72_000),
            rated(Case::Chunk1, Implementation::Pipes, 1.6e6),
            rated(Case::Chunk1, Implementation::PyPool, 53e3),
            rated(Case::Chunk1, OURS, 2e6),
            rated(Case::Auto, OURS, 24e6),
            rated(Case::Large, Implementation::LimitCopy, 4000.0),
            rated(Case::Large, Implementation::LimitCopyLarge, 3000.0),
            Measured { more: memory, ..rated(Case::Large, OURS, 3200.0) },
            timed(Case::Kill, Implementation::PyPool, 100_000_000),
            timed(Case::Kill, OURS, 600_000),
        ];
        assert_eq!(
            sentences(&rows),
            [
                "round trip awake: 900 ns, 0.005x py-pool",
                "round trip asleep: 72.0 us, 1.20x limit-futex",
                "tasks one by one: 2.00 M/s, 1.25x pipes, 38x py-pool",
                "items mapped: 24.0 M/s",
                "1 MiB there and back: 0.80x of limit-copy",
                "1 MiB there and back: memory +0.4 % from the first tenth to the end",
                "a worker killed: full strength after 600 us, p99 1.20 ms, 0.006x py-pool",
            ]
        );
        let text = table(&rows, Style { width: None });
        assert!(text.contains("3.36") && text.contains("+0.4 %") && text.is_ascii(), "{text}");
    }

    #[test]
    fn a_refused_row_has_no_ratio_and_its_reason() {
        let fault = Some(Fault::failed("a task", "601 came back a second time"));
        let rows = [
            rated(Case::Chunk1, Implementation::Pipes, 1.6e6),
            Measured { fault, ..rated(Case::Chunk1, OURS, 2e6) },
        ];
        assert!(sentences(&rows).is_empty());
        assert!(table(&rows, Style { width: None }).contains("REFUSED: a task: 601 came back"));
    }
}
