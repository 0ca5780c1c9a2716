//! One JSON object a row. The same fields for every row and every group; null where one does not apply.
//!
//! Besides the fields that are always there: `reason` says why a row has no figures, `per_s_p90` is the 90th
//! percentile of the rate's windows, `cpu_percent` the receiver's share of a core, `missed_percent` the
//! share of messages that the receivers of a broadcast missed, `oversubscribed` whether a row of
//! several producers and consumers had more processes than cores. The group `locks` has `processes`, how many took
//! part, `smaller_share`, the part of the holds that the process with the fewest had, and `fairness`, the fewest
//! holds of a process by the most. The group `pool` has `workers`, and for large tasks `growth_percent`, by how much
//! the resident memory of all processes grew from the first tenth of the tasks to the last. The group
//! `dict` has `processes`, `entries` and, where a map was filled for its own sake, `insert_ns` and `entry_bytes`, the memory
//! of an entry. Each stands only where it has a value.

use serde::Serialize;

use crate::passes::Measured;
use crate::plan::Group;
use crate::{dict, locks, pool, process, run};

#[derive(Default, Serialize)]
struct Line<'a> {
    group: &'a str,
    case: &'a str,
    #[serde(rename = "impl")]
    implementation: &'a str,
    size: Option<usize>,
    batch: Option<usize>,
    producers: Option<usize>,
    consumers: Option<usize>,
    capacity: Option<usize>,
    wait: Option<&'a str>,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    per_s: Option<f64>,
    mb_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_s_p90: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oversubscribed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    insert_ns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smaller_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fairness: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<'a> Line<'a> {
    /// What every group has: the names of the case and of the implementation, and the figures.
    fn of<R, M>(group: Group, [case, implementation]: [&'a str; 2], measured: &Measured<R, M>) -> Self {
        Self {
            group: group.name(),
            case,
            implementation,
            p50_ns: measured.latency.map(|latency| latency.p50_ns),
            p99_ns: measured.latency.map(|latency| latency.p99_ns),
            p999_ns: measured.latency.map(|latency| latency.p999_ns),
            per_s: measured.per_s.map(tenths),
            per_s_p90: measured.per_s_p90.map(tenths),
            cpu_percent: measured.cpu_percent.map(|share| (share * 1e4).round() / 1e4),
            missed_percent: measured.missed_percent.map(tenths),
            reason: measured.fault.as_ref().map(ToString::to_string),
            ..Self::default()
        }
    }
}

/// The row as one line of JSON, without the line's end.
///
/// # Errors
/// None in practice: every field can be written as JSON.
pub fn line(measured: &run::Measured) -> serde_json::Result<String> {
    let row = &measured.row;
    serde_json::to_string(&Line {
        size: Some(row.size),
        batch: Some(row.batch),
        producers: Some(row.shape.producers),
        consumers: Some(row.shape.consumers),
        capacity: row.capacity,
        wait: row.wait.map(|wait| wait.name()),
        mb_per_s: measured.mb_per_s().map(tenths),
        oversubscribed: row.is_crowd().then_some(measured.more.is_oversubscribed),
        ..Line::of(Group::Queue, [row.case.name(), row.implementation.name()], measured)
    })
}

/// A row of the group `locks` as one line of JSON, without the line's end.
///
/// # Errors
/// None in practice: every field can be written as JSON.
pub fn locks_line(measured: &locks::measure::Measured) -> serde_json::Result<String> {
    let row = &measured.row;
    let thousandths = |value: f64| (value * 1e3).round() / 1e3;
    serde_json::to_string(&Line {
        processes: Some(row.case.processes()),
        smaller_share: measured.more.smaller.map(thousandths),
        fairness: measured.more.fairness.map(thousandths),
        ..Line::of(Group::Locks, [row.case.name(), row.implementation.name()], measured)
    })
}

/// A row of the group `process` as one line of JSON, without the line's end.
///
/// # Errors
/// None in practice: every field can be written as JSON.
pub fn process_line(measured: &process::measure::Measured) -> serde_json::Result<String> {
    let row = &measured.row;
    serde_json::to_string(&Line::of(Group::Process, [row.case.name(), row.implementation.name()], measured))
}

/// A row of the group `pool` as one line of JSON, without the line's end.
///
/// # Errors
/// None in practice: every field can be written as JSON.
pub fn pool_line(measured: &pool::measure::Measured) -> serde_json::Result<String> {
    let row = &measured.row;
    serde_json::to_string(&Line {
        size: Some(row.case.size()),
        workers: Some(row.case.workers()),
        mb_per_s: measured.mb_per_s().map(tenths),
        growth_percent: measured.more.growth_percent.map(tenths),
        ..Line::of(Group::Pool, [row.case.name(), row.implementation.name()], measured)
    })
}

/// A row of the group `dict` as one line of JSON, without the line's end.
///
/// # Errors
/// None in practice: every field can be written as JSON.
pub fn dict_line(measured: &dict::measure::Measured) -> serde_json::Result<String> {
    let row = &measured.row;
    serde_json::to_string(&Line {
        processes: Some(row.case.processes()),
        entries: row.case.entries(),
        insert_ns: measured.more.insert_ns.map(tenths),
        entry_bytes: measured.more.entry_bytes.map(tenths),
        ..Line::of(Group::Dict, [row.case.name(), row.implementation.name()], measured)
    })
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::plan::{Case, Implementation, Row};

    #[test]
    fn every_field_is_there_and_null_where_it_does_not_apply() {
        let row = Row::pair(Case::Oneway, Implementation::PosixMq, 1 << 20, 1, None);
        let fault = Some(Fault::Unsupported("too large".into()));
        let measured = Measured { fault, ..Measured::empty(row, run::Crowding::default()) };
        assert_eq!(
            line(&measured).expect("JSON"),
            "{\"group\":\"queue\",\"case\":\"oneway\",\"impl\":\"posix-mq\",\"size\":1048576,\"batch\":1,\
             \"producers\":1,\"consumers\":1,\"capacity\":null,\"wait\":null,\"p50_ns\":null,\"p99_ns\":null,\"p999_ns\":null,\
             \"per_s\":null,\"mb_per_s\":null,\"reason\":\"too large\"}"
        );
    }
}
