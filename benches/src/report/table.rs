//! The table: a block for each case and size, a line for each row, a bar where the terminal has room for it.

use std::fmt::Write;

use super::picks::times;
use super::units::{digits, rate, size};
use super::{Page, pipes, queues, ratio, verdict};
use crate::plan::Case;
use crate::run::Measured;

/// What the table may use.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Columns of the terminal; `None` where the table does not go to one.
    pub width: Option<usize>,
}

/// Columns of a line before its bar.
const FIGURES_WIDTH: usize = 73;
/// A shorter bar says nothing.
const BAR_MIN: usize = 8;
/// A longer bar says no more.
const BAR_MAX: usize = 60;

/// Everything that is said of the group of messages.
pub fn page(rows: &[Measured], style: Style) -> Page {
    let mut ratios = ratio::sentences(rows);
    ratios.extend(queues::sentences(rows));
    ratios.extend(pipes::sentences(rows));
    Page { tables: table(rows, style) + &queues::tables(rows), ratios, doubt: ratio::doubt(rows) }
}

/// The whole table.
fn table(rows: &[Measured], style: Style) -> String {
    let mut text = String::new();
    for block in rows.chunk_by(|left, right| title(left) == title(right)) {
        heading(&mut text, &block[0]);
        let longest = block.iter().filter_map(weight).fold(0.0, f64::max);
        for measured in block {
            line(&mut text, measured, longest, style);
        }
        text.push('\n');
    }
    text
}

fn title(measured: &Measured) -> String {
    let row = &measured.row;
    match row.case {
        Case::Oneway if row.is_crowd() => {
            // More processes than cores: said beside the shape, as it rules everything below.
            let shared = if measured.more.is_oversubscribed { ", cores shared" } else { "" };
            format!("{} of {}, {} slots{shared}", row.shape, size(row.size), row.slots())
        }
        Case::Rtt => format!("Round trip, {}", size(row.size)),
        Case::RttSamecore => format!("Round trip on one core, {}", size(row.size)),
        Case::Oneway => format!("One way, {}", size(row.size)),
        Case::Handover => format!("Blocks of {}, handed over untouched", size(row.size)),
        Case::Idle => "A receiver that waits and gets nothing".to_owned(),
        Case::Paced => "A receiver at 100 messages a second".to_owned(),
    }
}

fn heading(text: &mut String, measured: &Measured) {
    let columns = match measured.row.case {
        Case::Rtt | Case::RttSamecore => ["p50", "p99", "p99.9"],
        Case::Oneway if measured.row.is_crowd() => ["median", "p90", "ns each"],
        Case::Handover => ["median", "p90", "ns each"],
        Case::Oneway => ["median", "p90", "MB/s"],
        Case::Idle | Case::Paced => ["CPU", "", ""],
    };
    // Writing to a string does not fail.
    let _ = write!(text, "{:<40}", title(measured));
    let _ = writeln!(text, "{}", columns.map(|name| format!("{name:>11}")).concat().trim_end());
}

/// What the bar of a row shows: the median time, the rate, the share of a core.
fn weight(measured: &Measured) -> Option<f64> {
    match measured.row.case {
        Case::Rtt | Case::RttSamecore => Some(measured.latency?.p50_ns as f64),
        Case::Oneway | Case::Handover => measured.per_s,
        Case::Idle | Case::Paced => None,
    }
}

fn line(text: &mut String, measured: &Measured, longest: f64, style: Style) {
    let row = &measured.row;
    let batch = if row.batch == 1 { String::new() } else { format!("batch {}", row.batch) };
    let wait = row.wait.map_or("", |wait| wait.name());
    let mut figures = format!("  {:<16}{batch:<10}{wait:<12}", row.implementation);
    match &measured.fault {
        Some(fault) => figures.push_str(&verdict(fault)),
        None => {
            for cell in cells(measured, style.width.is_some()) {
                let _ = write!(figures, "{cell:>11}");
            }
            if let Some((bar, share)) = weight(measured).zip(bar_width(style)).filter(|_| longest > 0.0) {
                let _ = write!(figures, "  {}", draw(bar / longest, share));
            }
        }
    }
    text.push_str(figures.trim_end());
    text.push('\n');
}

fn cells(measured: &Measured, unicode: bool) -> [String; 3] {
    if let Some(share) = measured.cpu_percent {
        return [format!("{share:.3} %"), String::new(), String::new()];
    }
    if let Some(latency) = measured.latency {
        return times(latency, unicode);
    }
    let rates = [measured.per_s, measured.per_s_p90].map(|value| value.map_or("-".to_owned(), rate));
    let [median, p90] = rates;
    let per_message = measured.row.is_crowd() || measured.row.case == Case::Handover;
    let last = if per_message { measured.ns_each() } else { measured.mb_per_s() };
    [median, p90, last.map_or("-".to_owned(), digits)]
}

/// Columns for bars, where there are enough.
fn bar_width(style: Style) -> Option<usize> {
    let room = style.width?.checked_sub(FIGURES_WIDTH + 2)?;
    (room >= BAR_MIN).then_some(room.min(BAR_MAX))
}

/// A bar of `share` of `width` columns, in eighths of a column, at least one eighth.
fn draw(share: f64, width: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = ((share * width as f64 * 8.0).round() as usize).clamp(1, width * 8);
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::passes::Percentiles;
    use crate::plan::{Implementation, Row, Wait};
    use crate::run::Crowding;

    fn rtt(implementation: Implementation, p50_ns: u64, fault: Option<Fault>) -> Measured {
        let latency = Percentiles { p50_ns, p99_ns: p50_ns * 2, p999_ns: p50_ns * 40 };
        let row = Row::pair(Case::Rtt, implementation, 8, 1, Some(Wait::Spin));
        let latency = fault.is_none().then_some(latency);
        Measured { latency, fault, ..Measured::empty(row, Crowding::default()) }
    }

    fn rows() -> Vec<Measured> {
        vec![
            rtt(Implementation::LimitLine, 200, None),
            rtt(Implementation::Pipe, 80_000, None),
            rtt(Implementation::PosixMq, 0, Some(Fault::Unsupported("no queues here".into()))),
        ]
    }

    #[test]
    fn a_table_that_goes_to_a_file_is_plain() {
        let text = table(&rows(), Style { width: None });
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("200 ns") && text.contains("80.0 us") && text.contains("- no queues here"));
    }

    #[test]
    fn a_table_on_a_terminal_fits_its_width() {
        for width in [60, 80, 90, 200] {
            let text = table(&rows(), Style { width: Some(width) });
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(longest <= width.max(FIGURES_WIDTH), "{longest} > {width}\n{text}");
            assert_eq!(text.contains('█'), width >= FIGURES_WIDTH + 2 + BAR_MIN);
        }
    }

    #[test]
    fn bars_are_never_empty_and_never_too_long() {
        assert_eq!(draw(0.0, 10), "▏");
        assert_eq!(draw(1.0, 10).chars().count(), 10);
        assert_eq!(draw(0.25, 10), "██▌");
    }
}
