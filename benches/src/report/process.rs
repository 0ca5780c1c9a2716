//! The table of the group `process`, and its ratios: each compares a row of ours with a rival of the same run.

use super::Page;
use super::picks::{self, columns, times};
use super::table::Style;
use super::units::{factor, rate, time};
use crate::process::measure::Measured;
use crate::process::plan::{Case, Implementation};

/// Everything that is said of the group.
pub fn page(rows: &[Measured], style: Style) -> Page {
    Page { tables: table(rows, style), ratios: sentences(rows), doubt: doubt(rows) }
}

fn table(rows: &[Measured], style: Style) -> String {
    picks::Rows(rows).table(heading, |measured| match measured.latency {
        Some(latency) => columns(times(latency, style.width.is_some())),
        None => columns([measured.per_s, measured.per_s_p90].into_iter().flatten().map(rate)),
    })
}

fn heading(case: Case) -> (&'static str, [&'static str; 3]) {
    let times = ["p50", "p99", "p99.9"];
    match case {
        Case::StartJoin => ("Start, result, reaped", times),
        Case::StartJoin1g => ("The same, the starter has 1 GiB", times),
        Case::SpareBody => ("Start until the function runs", times),
        Case::KillSeen => ("SIGKILL until the starter knows", times),
        Case::Churn64 => ("64 at a time, all joined", ["a second", "best 10 %", ""]),
    }
}

/// Between passes a process that is made differs by a few percent; by more than this, in percent, where the machine
/// was not the same all through.
const MOVED: f64 = 50.0;

fn doubt(rows: &[Measured]) -> Option<String> {
    let rivals = [Implementation::PosixSpawnTrue, Implementation::Fork];
    super::doubt(picks::Rows(rows).spreads(&rivals), MOVED, "somebody else was at work")
}

/// One sentence for each comparison whose two rows both have figures, and for each time that is wanted by itself.
fn sentences(rows: &[Measured]) -> Vec<String> {
    let rows = picks::Rows(rows);
    let mut text = Vec::new();
    rows.starts(&mut text);
    rows.times(&mut text);
    rows.churn(&mut text);
    text
}

type Rows<'a> = picks::Rows<'a, Case, Implementation, ()>;

impl Rows<'_> {
    fn starts(&self, text: &mut Vec<String>) {
        let compared = [
            (Implementation::Zygote, Implementation::PythonFork),
            (Implementation::Zygote, Implementation::PosixSpawnTrue),
            (Implementation::Reexec, Implementation::PosixSpawnTrue),
            (Implementation::Spare, Implementation::PosixSpawnTrue),
        ];
        for case in [Case::StartJoin, Case::StartJoin1g] {
            for (ours, other) in compared {
                let Some((mine, theirs)) = self.p50(case, ours).zip(self.p50(case, other)) else { continue };
                let ratio = mine as f64 / theirs as f64;
                // Two digits after the point say too little of what is much faster.
                let ratio = if ratio < 0.1 { format!("{ratio:.3}x") } else { factor(ratio) };
                text.push(format!("{case}: {ours} takes {}, {ratio} {other}", time(mine, false)));
            }
        }
    }

    fn times(&self, text: &mut Vec<String>) {
        if let Some(begins) = self.p50(Case::SpareBody, Implementation::Spare) {
            text.push(format!(
                "spare-body: a spare runs the function {} after the call",
                time(begins, false)
            ));
        }
        for ours in [Implementation::Zygote, Implementation::Reexec, Implementation::Spare] {
            let Some(latency) = self.find(Case::KillSeen, ours).and_then(|row| row.latency) else { continue };
            let (p50, p99) = (time(latency.p50_ns, false), time(latency.p99_ns, false));
            text.push(format!("kill-seen: a killed {ours} child is known of after {p50}, p99 {p99}"));
        }
    }

    fn churn(&self, text: &mut Vec<String>) {
        let per_s = |one| self.rate(Case::Churn64, one);
        for ours in [Implementation::Zygote, Implementation::Reexec] {
            for other in [Implementation::PosixSpawnTrue, Implementation::PythonFork] {
                if let Some((mine, theirs)) = per_s(ours).zip(per_s(other)) {
                    text.push(format!("churn-64: {ours} {}, {} {other}", rate(mine), factor(mine / theirs)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::passes::Percentiles;
    use crate::process::plan::Row;

    fn measured(case: Case, implementation: Implementation, p50_ns: u64) -> Measured {
        let latency = Some(Percentiles { p50_ns, p99_ns: 2 * p50_ns, p999_ns: 3 * p50_ns });
        Measured { latency, ..Measured::empty(Row { case, implementation }, ()) }
    }

    #[test]
    fn ratios_are_those_of_one_case() {
        let rows = [
            measured(Case::StartJoin1g, Implementation::PosixSpawnTrue, 500_000),
            measured(Case::StartJoin1g, Implementation::PythonFork, 36_000_000),
            measured(Case::StartJoin1g, Implementation::Zygote, 360_000),
            measured(Case::StartJoin, Implementation::Reexec, 750_000),
            measured(Case::KillSeen, Implementation::Zygote, 120_000),
        ];
        assert_eq!(
            sentences(&rows),
            [
                "start-join-1g: zygote takes 360 us, 0.010x python-fork",
                "start-join-1g: zygote takes 360 us, 0.72x posix-spawn-true",
                "kill-seen: a killed zygote child is known of after 120 us, p99 240 us",
            ]
        );
    }

    #[test]
    fn a_refused_row_has_no_ratio_and_its_reason() {
        let fault = Some(Fault::failed("starting by the zygote", "fell back to Exec"));
        let rows = [
            measured(Case::StartJoin, Implementation::PosixSpawnTrue, 500_000),
            Measured { fault, ..measured(Case::StartJoin, Implementation::Zygote, 1) },
        ];
        assert!(sentences(&rows).is_empty());
        assert!(table(&rows, Style { width: None }).contains("REFUSED: starting by the zygote: fell back"));
    }

    #[test]
    fn a_rival_that_moves_casts_doubt() {
        let rival = measured(Case::StartJoin, Implementation::PosixSpawnTrue, 500_000);
        assert_eq!(doubt(&[Measured { spread_percent: Some(9.0), ..rival.clone() }]), None);
        assert!(doubt(&[Measured { spread_percent: Some(80.0), ..rival }]).is_some());
    }
}
