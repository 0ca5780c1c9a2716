//! The ratios of queues: a table of shapes, as every queue is compared with the control of its own shape and with
//! itself as a pair; then a few sentences for what has one shape only.

use std::fmt::Write;

use super::units::{digits, factor, size};
use crate::plan::{Case, Implementation, Row, STRUCTURE, Shape, Wait};
use crate::run::Measured;

/// Columns before the first ratio.
const TITLE_WIDTH: usize = 40;
/// Columns of a ratio.
const CELL_WIDTH: usize = 8;

/// Both tables; empty where no queue was measured.
pub(super) fn tables(rows: &[Measured]) -> String {
    let shapes = shapes(rows);
    let mut text = table(rows, &shapes, "Rate, in times vyukov of the same shape", |row| {
        let control = Row { implementation: Implementation::Vyukov, wait: Some(Wait::Spin), ..*row };
        (row.implementation != Implementation::Vyukov).then_some(control)
    });
    text += &table(rows, &shapes, "Rate, in times its own 1x1", |row| {
        (row.shape != Shape::PAIR).then_some(Row { shape: Shape::PAIR, ..*row })
    });
    text
}

/// The shapes that were measured, in the order of the list.
fn shapes(rows: &[Measured]) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = Vec::new();
    for row in rows.iter().map(|measured| &measured.row).filter(|row| row.is_crowd()) {
        if !shapes.contains(&row.shape) {
            shapes.push(row.shape);
        }
    }
    shapes
}

/// A line for each queue, a column for each shape: its rate over that of the row that `other` names.
fn table(rows: &[Measured], shapes: &[Shape], title: &str, other: impl Fn(&Row) -> Option<Row>) -> String {
    let mut lines: Vec<Row> = Vec::new();
    for row in rows.iter().map(|measured| &measured.row).filter(|row| row.is_crowd()) {
        let line = Row { shape: Shape::PAIR, ..*row };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let mut text = String::new();
    for line in lines {
        let ratio = |&shape: &Shape| {
            let row = Row { shape, ..line };
            Some(rate(rows, &row)? / rate(rows, &other(&row)?)?)
        };
        let ratios: Vec<Option<f64>> = shapes.iter().map(ratio).collect();
        if ratios.iter().any(Option::is_some) {
            // Writing to a string does not fail.
            let _ = write!(text, "  {:<1$}", name(&line), TITLE_WIDTH - 2);
            for ratio in ratios {
                let cell = ratio.map_or("-".to_owned(), factor);
                let _ = write!(text, "{cell:>CELL_WIDTH$}");
            }
            text.push('\n');
        }
    }
    if text.is_empty() {
        return text;
    }
    let columns: String = shapes.iter().map(|shape| format!("{shape:>CELL_WIDTH$}")).collect();
    format!("{title:<TITLE_WIDTH$}{columns}\n{text}\n")
}

fn name(row: &Row) -> String {
    let wait = row.wait.map_or("", |wait| wait.name());
    format!("{}, {}, {} slots, {wait}", row.implementation, size(row.size), row.slots())
}

/// The rate of a row, unless it is zero: a machine that gave one side no time at all says nothing.
fn rate(rows: &[Measured], wanted: &Row) -> Option<f64> {
    rows.iter().find(|measured| measured.row == *wanted)?.per_s.filter(|per_s| *per_s > 0.0)
}

/// What has no shapes to put into columns.
pub(super) fn sentences(rows: &[Measured]) -> Vec<String> {
    let mut text = Vec::new();
    round_trips(rows, &mut text);
    structures(rows, &mut text);
    blocks(rows, &mut text);
    missed(rows, &mut text);
    text
}

fn round_trips(rows: &[Measured], text: &mut Vec<String>) {
    let p50 = |implementation, wait| {
        let wanted = Row::pair(Case::Rtt, implementation, 8, 1, Some(wait));
        let latency = rows.iter().find(|measured| measured.row == wanted)?.latency?;
        Some(latency.p50_ns as f64)
    };
    let others = [
        (Implementation::LimitLine, "the two-line ping-pong"),
        (Implementation::Vyukov, "vyukov"),
        (Implementation::Lane, "the spinning lane"),
    ];
    for (wait, how) in [(Wait::Spin, "awake"), (Wait::Default, "default policy")] {
        let Some(ring) = p50(Implementation::Ring, wait) else { continue };
        let ratio = |(other, what)| Some(format!("{} {what}", factor(ring / p50(other, Wait::Spin)?)));
        let parts: Vec<String> = others.into_iter().filter_map(ratio).collect();
        if !parts.is_empty() {
            text.push(format!("8 B round trip, {how}: two rings take {}", parts.join(", ")));
        }
    }
}

fn structures(rows: &[Measured], text: &mut Vec<String>) {
    let pipe = rate(rows, &Row::pair(Case::Oneway, Implementation::Pipe, STRUCTURE, 1, None));
    let is_ours =
        |row: &&Measured| row.row.implementation == Implementation::Queue && row.row.shape == Shape::PAIR;
    for measured in rows.iter().filter(is_ours) {
        let Some((rate, each)) = measured.per_s.zip(measured.ns_each()) else { continue };
        let beside = pipe.map_or(String::new(), |pipe| format!(", {} a pipe", factor(rate / pipe)));
        let policy = if measured.row.wait == Some(Wait::Default) { "default policy" } else { "awake" };
        let each = digits(each);
        text.push(format!(
            "{STRUCTURE}-byte structure through queue, 1x1, {policy}: {each} ns a message{beside}"
        ));
    }
}

/// The largest block against the smallest: a hand-over does not depend on the size.
fn blocks(rows: &[Measured], text: &mut Vec<String>) {
    let handed = |wait: Wait| {
        let is_such = move |row: &&Measured| row.row.case == Case::Handover && row.row.wait == Some(wait);
        rows.iter().filter(is_such)
    };
    for (wait, how) in [(Wait::Spin, "awake"), (Wait::Default, "default policy")] {
        let smallest = handed(wait).min_by_key(|row| row.row.size);
        let largest = handed(wait).max_by_key(|row| row.row.size);
        let Some((small, large)) = smallest.zip(largest).filter(|(small, large)| small.row != large.row)
        else {
            continue;
        };
        if let Some((fast, slow)) = small.ns_each().zip(large.ns_each()) {
            let (small, large) = (size(small.row.size), size(large.row.size));
            let ratio = factor(slow / fast);
            text.push(format!("blocks, {how}: handing over {large} takes {ratio} of the time of {small}"));
        }
    }
}

/// A rate of received messages says little without those that were missed.
fn missed(rows: &[Measured], text: &mut Vec<String>) {
    for measured in rows {
        if let Some(share) = measured.missed_percent {
            let (row, name) = (&measured.row, name(&measured.row));
            text.push(format!("{name}, {}: each receiver missed {share:.0} %", row.shape));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Crowding;

    fn measured(row: Row, per_s: f64) -> Measured {
        Measured { per_s: Some(per_s), ..Measured::empty(row, Crowding::default()) }
    }

    fn queue(implementation: Implementation, producers: usize, consumers: usize, wait: Wait) -> Row {
        let row = Row::pair(Case::Oneway, implementation, 8, 1, Some(wait));
        Row { shape: Shape::new(producers, consumers), capacity: Some(256), ..row }
    }

    #[test]
    fn a_queue_is_compared_with_its_shape_and_with_its_pair() {
        let rows = [
            measured(queue(Implementation::Vyukov, 1, 1, Wait::Spin), 50e6),
            measured(queue(Implementation::Ring, 1, 1, Wait::Spin), 100e6),
            measured(queue(Implementation::Ring, 1, 1, Wait::Default), 75e6),
            measured(queue(Implementation::Vyukov, 2, 2, Wait::Spin), 20e6),
            measured(queue(Implementation::Ring, 2, 2, Wait::Spin), 60e6),
        ];
        let text = tables(&rows);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "Rate, in times vyukov of the same shape 1x1 2x2",
                "ring, 8 B, 256 slots, spin 2.00x 3.00x",
                "ring, 8 B, 256 slots, default 1.50x -",
                "",
                "Rate, in times its own 1x1 1x1 2x2",
                "vyukov, 8 B, 256 slots, spin - 0.40x",
                "ring, 8 B, 256 slots, spin - 0.60x",
                ""
            ]
        );
    }

    #[test]
    fn a_structure_is_compared_with_a_pipe_of_its_size() {
        let queue = Row { size: STRUCTURE, ..queue(Implementation::Queue, 1, 1, Wait::Default) };
        let pipe = Row::pair(Case::Oneway, Implementation::Pipe, STRUCTURE, 1, None);
        let said = sentences(&[measured(queue, 20e6), measured(pipe, 2e6)]);
        assert_eq!(
            said,
            ["32-byte structure through queue, 1x1, default policy: 50.0 ns a message, 10x a pipe"]
        );
    }

    #[test]
    fn blocks_are_compared_by_size() {
        let block = |size| Row::pair(Case::Handover, Implementation::Blocks, size, 1, Some(Wait::Spin));
        let said = sentences(&[measured(block(64), 10e6), measured(block(4 << 20), 8e6)]);
        assert_eq!(said, ["blocks, awake: handing over 4 MiB takes 1.25x of the time of 64 B"]);
        assert!(sentences(&[measured(block(64), 10e6)]).is_empty());
    }
}
