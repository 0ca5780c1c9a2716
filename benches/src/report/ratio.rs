//! The ratios after the table: each compares a row of ours with a control or a rival of the same run.

use super::units::{factor, size};
use crate::plan::{Case, Implementation, Row, Wait};
use crate::run::Measured;

/// Between passes the two-line ping-pong differs by a few percent; by more than this, in percent, where the
/// cores themselves moved apart: a hypervisor put them somewhere else.
const MOVED: f64 = 30.0;

/// A warning where the distance between the two cores changed during the run.
pub(super) fn doubt(rows: &[Measured]) -> Option<String> {
    let line = rows.iter().find(|measured| measured.row.implementation == Implementation::LimitLine)?;
    let spread = line.spread_percent.map(|spread| (Implementation::LimitLine, spread));
    super::doubt(spread.into_iter(), MOVED, "the cores were disturbed or moved")
}

/// One sentence for each comparison whose two rows both have figures.
pub(super) fn sentences(rows: &[Measured]) -> Vec<String> {
    let rows = Rows(rows);
    let mut text = Vec::new();
    rows.round_trips(&mut text);
    rows.one_way(&mut text);
    rows.processor_time(&mut text);
    text
}

/// What is compared, as a sentence begins with it.
fn describe(case: Case, batch: usize, bytes: usize) -> String {
    let batch = if batch == 1 { String::new() } else { format!(", batch {batch}") };
    match case {
        Case::Oneway => format!("{} one-way{batch}", size(bytes)),
        Case::RttSamecore => format!("{} round trip on one core", size(bytes)),
        _ => format!("{} round trip", size(bytes)),
    }
}

struct Rows<'a>(&'a [Measured]);

impl Rows<'_> {
    fn find(
        &self,
        case: Case,
        implementation: Implementation,
        like: (usize, usize),
        wait: Option<Wait>,
    ) -> Option<&Measured> {
        let (size, batch) = like;
        let wanted = Row::pair(case, implementation, size, batch, wait);
        self.0.iter().find(|measured| measured.row == wanted)
    }

    fn p50(
        &self,
        case: Case,
        implementation: Implementation,
        bytes: usize,
        wait: Option<Wait>,
    ) -> Option<f64> {
        Some(self.find(case, implementation, (bytes, 1), wait)?.latency?.p50_ns as f64)
    }

    fn rate(&self, implementation: Implementation, like: (usize, usize), wait: Option<Wait>) -> Option<f64> {
        self.find(Case::Oneway, implementation, like, wait)?.per_s
    }

    /// The sizes that a case was measured with, in order.
    fn sizes(&self, case: Case) -> Vec<usize> {
        let mut sizes: Vec<_> =
            self.0.iter().filter(|row| row.row.case == case).map(|row| row.row.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn round_trips(&self, text: &mut Vec<String>) {
        use Implementation::{Lane, LimitFutex, LimitIndex, LimitLine, Pipe};
        let (spin, sleep, default) = (Some(Wait::Spin), Some(Wait::Sleep), Some(Wait::Default));
        for case in [Case::Rtt, Case::RttSamecore] {
            for bytes in self.sizes(case) {
                let compared = [
                    (spin, "awake", LimitLine, spin, "the two-line ping-pong"),
                    (spin, "awake", LimitIndex, spin, "limit-index"),
                    (default, "default policy", Lane, spin, "the spinning lane"),
                    (sleep, "asleep", LimitFutex, sleep, "the bare futex ping-pong"),
                ];
                let on_one_core =
                    [(default, "default policy", LimitFutex, sleep, "the bare futex ping-pong")];
                let compared = if case == Case::Rtt { &compared[..] } else { &on_one_core[..] };
                for &(ours, how, other, theirs, what) in compared {
                    let pair = self.p50(case, Lane, bytes, ours).zip(self.p50(case, other, bytes, theirs));
                    if let Some((lane, limit)) = pair {
                        let title = describe(case, 1, bytes);
                        text.push(format!("{title}, {how}: the lane takes {} {what}", factor(lane / limit)));
                    }
                }
                let pair = self.p50(case, Lane, bytes, default).zip(self.p50(case, Pipe, bytes, None));
                if let Some((lane, pipe)) = pair {
                    let title = describe(case, 1, bytes);
                    text.push(format!("{title}, default policy: {} as fast as a pipe", factor(pipe / lane)));
                }
            }
        }
    }

    fn one_way(&self, text: &mut Vec<String>) {
        use Implementation::{Lane, LaneCopy, LimitCopy, LimitCopyLarge, LimitIndex, Pipe};
        let (spin, default) = (Some(Wait::Spin), Some(Wait::Default));
        let rows = [
            (Lane, 1, spin),
            (Lane, 32, spin),
            (Lane, 1, default),
            (LaneCopy, 1, spin),
            (LaneCopy, 1, default),
        ];
        for bytes in self.sizes(Case::Oneway) {
            for (ours, batch, wait) in rows {
                let Some(lane) = self.rate(ours, (bytes, batch), wait) else { continue };
                // A lane that copies has no business with a ring that does not.
                let index = self.rate(LimitIndex, (bytes, batch), spin).filter(|_| ours == Lane);
                let others = [
                    (self.rate(Pipe, (bytes, 1), None), "a pipe"),
                    (index, "limit-index"),
                    (self.rate(LimitCopy, (bytes, 1), spin), "limit-copy"),
                    (self.rate(LimitCopyLarge, (bytes, 1), spin), "limit-copy-large"),
                ];
                let parts: Vec<String> = others
                    .into_iter()
                    .filter_map(|(other, what)| Some(format!("{} {what}", factor(lane / other?))))
                    .collect();
                if !parts.is_empty() {
                    let copied = if ours == LaneCopy { ", copied in and out" } else { "" };
                    let policy = if wait == default { ", default policy" } else { "" };
                    let title = describe(Case::Oneway, batch, bytes);
                    text.push(format!("{title}{copied}{policy}: {}", parts.join(", ")));
                }
            }
        }
    }

    fn processor_time(&self, text: &mut Vec<String>) {
        for measured in self.0 {
            if let Some(share) = measured.cpu_percent {
                let what = if measured.row.case == Case::Idle { "idle" } else { "at 100 messages a second" };
                text.push(format!("receiver {what}, default policy: {share:.3} % of a core"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::Percentiles;
    use crate::run::Crowding;

    fn measured(case: Case, implementation: Implementation, batch: usize, wait: Option<Wait>) -> Measured {
        Measured::empty(Row::pair(case, implementation, 64, batch, wait), Crowding::default())
    }

    #[test]
    fn a_row_is_compared_with_the_rows_of_its_own_run() {
        let spin = Some(Wait::Spin);
        let rows = [
            Measured { per_s: Some(2e6), ..measured(Case::Oneway, Implementation::Pipe, 1, None) },
            Measured { per_s: Some(300e6), ..measured(Case::Oneway, Implementation::LimitIndex, 32, spin) },
            Measured { per_s: Some(280e6), ..measured(Case::Oneway, Implementation::Lane, 32, spin) },
        ];
        assert_eq!(sentences(&rows), ["64 B one-way, batch 32: 140x a pipe, 0.93x limit-index"]);
    }

    #[test]
    fn a_line_that_changes_its_length_casts_doubt() {
        let line = measured(Case::Rtt, Implementation::LimitLine, 1, Some(Wait::Spin));
        let steady = Measured { spread_percent: Some(4.0), ..line.clone() };
        assert_eq!(doubt(&[steady]), None);
        let moved = Measured { spread_percent: Some(380.0), ..line };
        assert!(doubt(&[moved]).is_some_and(|text| text.contains("380 %")));
    }

    #[test]
    fn rows_without_a_counterpart_are_not_compared() {
        let latency = Some(Percentiles { p50_ns: 250, p99_ns: 300, p999_ns: 400 });
        let spin = Some(Wait::Spin);
        let lane = Measured { latency, ..measured(Case::Rtt, Implementation::Lane, 1, spin) };
        assert!(sentences(std::slice::from_ref(&lane)).is_empty());
        let latency = Some(Percentiles { p50_ns: 200, p99_ns: 300, p999_ns: 400 });
        let index = Measured { latency, ..measured(Case::Rtt, Implementation::LimitIndex, 1, spin) };
        assert_eq!(sentences(&[index, lane]), ["64 B round trip, awake: the lane takes 1.25x limit-index"]);
    }
}
