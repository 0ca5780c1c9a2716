//! The table of the group `locks`, and its ratios: each compares a row of ours with a control or a rival of the
//! same run.

use super::Page;
use super::picks::{self, columns, times};
use super::table::Style;
use super::units::{digits, factor, rate};
use crate::locks::measure::{Measured, SHARE_MIN, Shares};
use crate::locks::plan::{Case, Implementation};

/// The rivals between processes that a contended lock is compared with.
const RIVALS: [Implementation; 3] =
    [Implementation::Pthread, Implementation::RawSync, Implementation::PosixSem];
/// Our own locks.
const LOCKS: [Implementation; 7] = [
    Implementation::Mutex,
    Implementation::Lock,
    Implementation::RLock,
    Implementation::RwLockRead,
    Implementation::RwLockWrite,
    Implementation::Semaphore,
    Implementation::Permits,
];
/// Our own signals.
const SIGNALS: [Implementation; 6] = [
    Implementation::Event,
    Implementation::EventAuto,
    Implementation::Semaphore,
    Implementation::Condvar,
    Implementation::Queue,
    Implementation::Tokio,
];

/// Everything that is said of the group.
pub fn page(rows: &[Measured], style: Style) -> Page {
    Page { tables: table(rows, style), ratios: sentences(rows), doubt: doubt(rows) }
}

fn table(rows: &[Measured], style: Style) -> String {
    picks::Rows(rows).table(heading, |measured| {
        let void = if measured.is_void() { "  void" } else { "" };
        columns(cells(measured, style.width.is_some())) + void
    })
}

fn heading(case: Case) -> (&'static str, [&'static str; 3]) {
    match case {
        Case::Uncontended => ("Lock and unlock, alone", ["ns each", "best 10 %", "a second"]),
        Case::Contended => ("2 processes, hold and think 100 ns", ["a second", "ns each", "smaller share"]),
        Case::Oversub => ("8 processes on 2 cores, the same", ["a second", "ns each", "min / max"]),
        Case::Wake => ("Set until a sleeping waiter runs", ["p50", "p99", "p99.9"]),
        Case::EventRtt => ("There and back by two signals", ["p50", "p99", "p99.9"]),
        Case::AsyncRtt => ("There and back over two queues", ["p50", "p99", "p99.9"]),
        Case::AsyncRttSamecore => ("The same on one core", ["p50", "p99", "p99.9"]),
    }
}

fn cells(measured: &Measured, unicode: bool) -> [String; 3] {
    let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".to_owned(), show);
    let (per_s, each) = (shown(measured.per_s, rate), shown(measured.ns_each(), digits));
    match measured.row.case {
        Case::Uncontended => {
            let best = measured.per_s_p90.filter(|per_s| *per_s > 0.0).map(|per_s| 1e9 / per_s);
            [each, shown(best, digits), per_s]
        }
        Case::Contended => [per_s, each, shown(measured.more.smaller, digits)],
        Case::Oversub => [per_s, each, shown(measured.more.fairness, digits)],
        Case::Wake | Case::EventRtt | Case::AsyncRtt | Case::AsyncRttSamecore => measured
            .latency
            .map_or_else(|| ["-", "-", "-"].map(str::to_owned), |latency| times(latency, unicode)),
    }
}

/// Between passes the limits that never sleep differ by a few percent; by more than this, in percent, where the
/// cores themselves moved apart, or somebody else took one.
const MOVED: f64 = 30.0;

fn doubt(rows: &[Measured]) -> Option<String> {
    let steady = [Implementation::LimitLine, Implementation::LimitCas];
    super::doubt(picks::Rows(rows).spreads(&steady), MOVED, "the cores were disturbed or moved")
}

/// One sentence for each comparison whose two rows both have figures.
fn sentences(rows: &[Measured]) -> Vec<String> {
    let rows = picks::Rows(rows);
    let mut text = Vec::new();
    rows.alone(&mut text);
    rows.contended(&mut text);
    rows.oversubscribed(&mut text);
    rows.signals(&mut text);
    text
}

type Rows<'a> = picks::Rows<'a, Case, Implementation, Shares>;

impl Rows<'_> {
    fn alone(&self, text: &mut Vec<String>) {
        let case = Case::Uncontended;
        let compared = [
            (Implementation::PthreadRobust, "pthread-robust"),
            (Implementation::StdMutex, "std-mutex"),
            (Implementation::LimitCas, "limit-cas"),
        ];
        for ours in LOCKS {
            let Some(rate) = self.rate(case, ours) else { continue };
            for (other, name) in compared {
                if let Some(theirs) = self.rate(case, other) {
                    text.push(format!("alone: {ours} takes {} {name}", factor(theirs / rate)));
                }
            }
        }
    }

    fn contended(&self, text: &mut Vec<String>) {
        let case = Case::Contended;
        let rivals = RIVALS.iter().filter(|one| !self.find(case, **one).is_some_and(Measured::is_void));
        let rated = rivals.filter_map(|one| Some((*one, self.rate(case, *one)?)));
        let Some((best, theirs)) = rated.max_by(|left, right| left.1.total_cmp(&right.1)) else { return };
        for ours in LOCKS {
            let Some(measured) = self.find(case, ours) else { continue };
            let Some((rate, share)) = measured.per_s.zip(measured.more.smaller) else { continue };
            let void = if measured.is_void() { format!(", void below {SHARE_MIN}") } else { String::new() };
            text.push(format!(
                "2 processes: {ours} {} the best of pthread, raw_sync and posix-sem ({best}), smaller share {}{void}",
                factor(rate / theirs),
                digits(share)
            ));
        }
    }

    fn oversubscribed(&self, text: &mut Vec<String>) {
        let case = Case::Oversub;
        let Some(limit) = self.rate(case, Implementation::LimitFutex) else { return };
        for ours in LOCKS {
            let Some(measured) = self.find(case, ours) else { continue };
            if let Some((rate, fairness)) = measured.per_s.zip(measured.more.fairness) {
                text.push(format!(
                    "8 processes on 2 cores: {ours} {} the plain futex mutex, min / max {}",
                    factor(rate / limit),
                    digits(fairness)
                ));
            }
        }
    }

    fn signals(&self, text: &mut Vec<String>) {
        let compared = [
            (Case::Wake, "set until a sleeping waiter runs", "the bare futex wake"),
            (Case::EventRtt, "there and back by two signals", "the bare futex ping-pong"),
            (Case::AsyncRtt, "there and back over two queues", "the bare futex ping-pong"),
            (
                Case::AsyncRttSamecore,
                "there and back over two queues on one core",
                "the bare futex ping-pong",
            ),
        ];
        for (case, what, limit) in compared {
            let others = [
                (Implementation::LimitFutex, limit),
                (Implementation::RawSync, "raw_sync's event"),
                (Implementation::LimitLine, "one line that goes to and fro"),
            ];
            for ours in SIGNALS {
                for (other, name) in others {
                    let pair = self.p50(case, ours).zip(self.p50(case, other));
                    let Some((time, theirs)) = pair.map(|(time, theirs)| (time as f64, theirs as f64)) else {
                        continue;
                    };
                    text.push(if time * 10.0 < theirs {
                        format!("{what}: {ours} is {} as fast as {name}", factor(theirs / time))
                    } else {
                        format!("{what}: {ours} takes {} {name}", factor(time / theirs))
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::plan::Row;
    use crate::passes::Percentiles;

    fn measured(case: Case, implementation: Implementation, per_s: f64) -> Measured {
        let rate = Some(per_s);
        Measured {
            per_s: rate,
            per_s_p90: rate,
            ..Measured::empty(Row { case, implementation }, Shares::default())
        }
    }

    #[test]
    fn a_lock_that_one_process_keeps_is_no_rival() {
        let shared = |implementation, per_s, share| Measured {
            more: Shares { smaller: Some(share), fairness: None },
            ..measured(Case::Contended, implementation, per_s)
        };
        let rows = [
            shared(Implementation::Pthread, 4e6, 0.48),
            shared(Implementation::RawSync, 9e6, 0.1),
            shared(Implementation::Mutex, 5e6, 0.45),
        ];
        let expected = "2 processes: mutex 1.25x the best of pthread, raw_sync and posix-sem (pthread), \
                        smaller share 0.45";
        assert_eq!(sentences(&rows), [expected]);
        assert!(table(&rows, Style { width: None }).contains("0.10  void"));
    }

    #[test]
    fn a_limit_that_moves_casts_doubt() {
        let limit = measured(Case::Contended, Implementation::LimitCas, 9e6);
        let steady = Measured { spread_percent: Some(4.0), ..limit.clone() };
        assert_eq!(doubt(&[steady]), None);
        let moved = Measured { spread_percent: Some(90.0), ..limit };
        assert!(
            doubt(&[moved]).is_some_and(|text| text.contains("contended limit-cas") && text.contains("90 %"))
        );
    }

    #[test]
    fn times_are_compared_as_times() {
        let alone = [
            measured(Case::Uncontended, Implementation::PthreadRobust, 40e6),
            measured(Case::Uncontended, Implementation::Mutex, 80e6),
        ];
        assert_eq!(sentences(&alone), ["alone: mutex takes 0.50x pthread-robust"]);
        let woken = |implementation, p50_ns| Measured {
            latency: Some(Percentiles { p50_ns, p99_ns: p50_ns, p999_ns: p50_ns }),
            ..measured(Case::Wake, implementation, 1.0)
        };
        let rows = [woken(Implementation::LimitFutex, 30_000), woken(Implementation::Event, 33_000)];
        assert_eq!(
            sentences(&rows),
            ["set until a sleeping waiter runs: event takes 1.10x the bare futex wake"]
        );
    }
}
