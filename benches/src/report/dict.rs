//! The table of the group `dict`, and its ratios: each compares our dict with a map of the same run.

use super::Page;
use super::picks::{self, columns, times};
use super::table::Style;
use super::units::{digits, factor, rate, time};
use crate::dict::measure::{Filled, Measured};
use crate::dict::plan::{Case, Implementation};

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
    let rates = ["a second", "best 10 %", "ns each"];
    let filled = ["get", "insert", "bytes an entry"];
    match case {
        Case::Get => ("One process reads", rates),
        Case::Set => ("One process writes", rates),
        Case::Update => ("One process reads and writes in one", rates),
        Case::Mixed1 => ("9 reads, 1 write, one process", rates),
        Case::Mixed2 => ("9 reads, 1 write, two processes", rates),
        Case::ListAppend => ("One process appends to a list", rates),
        Case::Memory => ("Memory", ["", "insert", "bytes an entry"]),
        Case::Repair => ("A killed holder, until all is whole", ["p50", "p99", "p99.9"]),
        Case::Growth10k => ("10 thousand entries", filled),
        Case::Growth1m => ("1 million entries", filled),
        Case::Growth10m => ("10 million entries", filled),
    }
}

fn cells(measured: &Measured) -> [String; 3] {
    let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or("-".to_owned(), show);
    let Filled { insert_ns, entry_bytes } = measured.more;
    if entry_bytes.is_none() {
        return [
            shown(measured.per_s, rate),
            shown(measured.per_s_p90, rate),
            shown(measured.ns_each(), digits),
        ];
    }
    let nanoseconds = |value: f64| format!("{} ns", digits(value));
    let get = measured.ns_each().filter(|_| measured.row.case.is_slow());
    [get.map_or(String::new(), nanoseconds), shown(insert_ns, nanoseconds), shown(entry_bytes, digits)]
}

/// Between passes a map of one process differs by some percent; by more than this, in percent, where the machine was not
/// the same all through.
const MOVED: f64 = 30.0;

fn doubt(rows: &[Measured]) -> Option<String> {
    super::doubt(picks::Rows(rows).spreads(&[Implementation::Hashmap]), MOVED, "somebody else was at work")
}

/// One sentence for each comparison whose two rows both have figures, and for each figure that is wanted by itself.
fn sentences(rows: &[Measured]) -> Vec<String> {
    let rows = picks::Rows(rows);
    let mut text = Vec::new();
    rows.operations(&mut text);
    rows.processes(&mut text);
    rows.memory(&mut text);
    rows.repair(&mut text);
    rows.growth(&mut text);
    text
}

type Rows<'a> = picks::Rows<'a, Case, Implementation, Filled>;

const OURS: [Implementation; 3] = [Implementation::Dict, Implementation::DictRecord, Implementation::DictRaw];
const RIVALS: [Implementation; 3] =
    [Implementation::Hashmap, Implementation::Lmdb, Implementation::PyManager];

impl Rows<'_> {
    /// How many times as much as each rival.
    fn operations(&self, text: &mut Vec<String>) {
        let cases = [Case::Get, Case::Set, Case::Update, Case::Mixed2, Case::ListAppend];
        for (case, ours) in cases.into_iter().flat_map(|case| OURS.map(|ours| (case, ours))) {
            let Some(per_s) = self.rate(case, ours) else { continue };
            let parts: Vec<_> = RIVALS
                .into_iter()
                .filter_map(|other| Some(format!("{} {other}", factor(per_s / self.rate(case, other)?))))
                .collect();
            if !parts.is_empty() {
                text.push(format!("{case}: {ours} {}, {}", rate(per_s), parts.join(", ")));
            }
        }
    }

    /// What a second process adds.
    fn processes(&self, text: &mut Vec<String>) {
        for one in [Implementation::Dict, Implementation::Hashmap] {
            let pair = self.rate(Case::Mixed2, one).zip(self.rate(Case::Mixed1, one));
            let Some((two, alone)) = pair else { continue };
            let who = if one == Implementation::Hashmap { "threads" } else { "processes" };
            text.push(format!("9 reads, 1 write: two {who} of {one} do {} of one", factor(two / alone)));
        }
    }

    fn memory(&self, text: &mut Vec<String>) {
        for ours in OURS {
            let bytes = |one| self.find(Case::Memory, one)?.more.entry_bytes;
            let Some(mine) = bytes(ours) else { continue };
            let other = bytes(Implementation::Hashmap)
                .map_or(String::new(), |theirs| format!(", {} hashmap", factor(mine / theirs)));
            text.push(format!("memory: {ours} {} bytes an entry{other}", digits(mine)));
        }
    }

    fn repair(&self, text: &mut Vec<String>) {
        let Some(ours) = self.p50(Case::Repair, Implementation::Dict) else { return };
        let limit = self.p50(Case::Repair, Implementation::LimitDeath).map_or(String::new(), |limit| {
            format!(", of which {} for a death that left nothing", time(limit.min(ours), false))
        });
        text.push(format!("repair of a shard of 1,000: {}{limit}", time(ours, false)));
    }

    /// By what a larger map is slower, beside what that costs a map of one process.
    fn growth(&self, text: &mut Vec<String>) {
        let get = |case, one| self.find(case, one)?.ns_each();
        let insert = |case, one| self.find(case, one)?.more.insert_ns;
        for large in [Case::Growth1m, Case::Growth10m] {
            let slower = |one| Some(get(large, one)? / get(Case::Growth10k, one)?);
            let Some(mine) = slower(Implementation::Dict) else { continue };
            let theirs = slower(Implementation::Hashmap)
                .map_or(String::new(), |theirs| format!(", that of hashmap {}", factor(theirs)));
            text.push(format!("{large}: a get takes {} of growth-10k{theirs}", factor(mine)));
            let inserted =
                insert(large, Implementation::Dict).zip(insert(Case::Growth10k, Implementation::Dict));
            if let Some((many, few)) = inserted {
                text.push(format!("{large}: an insert takes {} of growth-10k", factor(many / few)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dict::plan::Row;
    use crate::fault::Fault;
    use crate::passes::Percentiles;

    const DICT: Implementation = Implementation::Dict;

    fn timed(case: Case, implementation: Implementation, p50_ns: u64) -> Measured {
        let latency = Some(Percentiles { p50_ns, p99_ns: 2 * p50_ns, p999_ns: 3 * p50_ns });
        Measured { latency, ..Measured::empty(Row { case, implementation }, Filled::default()) }
    }

    fn rated(case: Case, implementation: Implementation, per_s: f64) -> Measured {
        let (per_s, per_s_p90) = (Some(per_s), Some(per_s));
        Measured { per_s, per_s_p90, ..Measured::empty(Row { case, implementation }, Filled::default()) }
    }

    fn filled(case: Case, implementation: Implementation, per_s: f64, insert: f64, bytes: f64) -> Measured {
        let more = Filled { insert_ns: Some(insert), entry_bytes: Some(bytes) };
        Measured { more, ..rated(case, implementation, per_s) }
    }

    #[test]
    fn our_dict_is_compared_with_what_ran_beside_it() {
        let rows = [
            rated(Case::Get, Implementation::Hashmap, 20e6),
            rated(Case::Get, Implementation::Lmdb, 4e6),
            rated(Case::Get, Implementation::PyManager, 20e3),
            rated(Case::Get, DICT, 10e6),
            rated(Case::Get, Implementation::DictRaw, 12e6),
            rated(Case::Mixed1, DICT, 9e6),
            rated(Case::Mixed2, DICT, 16.2e6),
            filled(Case::Memory, Implementation::Hashmap, 1e6, 40.0, 100.0),
            filled(Case::Memory, DICT, 1e6, 160.0, 150.0),
            timed(Case::Repair, Implementation::LimitDeath, 30_000),
            timed(Case::Repair, DICT, 400_000),
            filled(Case::Growth10k, Implementation::Hashmap, 50e6, 30.0, 100.0),
            filled(Case::Growth10k, DICT, 10e6, 150.0, 160.0),
            filled(Case::Growth10m, Implementation::Hashmap, 10e6, 60.0, 100.0),
            filled(Case::Growth10m, DICT, 2.5e6, 300.0, 140.0),
        ];
        assert_eq!(
            sentences(&rows),
            [
                "get: dict 10.0 M/s, 0.50x hashmap, 2.50x lmdb, 500x py-manager",
                "get: dict-raw 12.0 M/s, 0.60x hashmap, 3.00x lmdb, 600x py-manager",
                "9 reads, 1 write: two processes of dict do 1.80x of one",
                "memory: dict 150 bytes an entry, 1.50x hashmap",
                "repair of a shard of 1,000: 400 us, of which 30.0 us for a death that left nothing",
                "growth-10m: a get takes 4.00x of growth-10k, that of hashmap 5.00x",
                "growth-10m: an insert takes 2.00x of growth-10k",
            ]
        );
        let text = table(&rows, Style { width: None });
        assert!(text.contains("100 ns") && text.contains("300 ns") && text.is_ascii(), "{text}");
    }

    #[test]
    fn a_refused_row_has_no_ratio_and_its_reason() {
        let fault = Some(Fault::failed("updates", "9 were done, and the values count 8"));
        let rows = [
            rated(Case::Update, Implementation::Lmdb, 1e6),
            Measured { fault, ..rated(Case::Update, DICT, 2e6) },
        ];
        assert!(sentences(&rows).is_empty());
        assert!(table(&rows, Style { width: None }).contains("REFUSED: updates: 9 were done"));
    }
}
