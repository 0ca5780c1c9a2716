//! The table, or the same as JSON.

use std::time::Duration;

use serde::Serialize;

use crate::args::Args;
use crate::ways::{Timing, Way};

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pictures: u32,
    size: String,
    side: u32,
    workers: usize,
    rounds: u32,
    runs: Vec<(Way, Vec<Timing>)>,
    left_out: Vec<(Way, String)>,
}

/// One row: medians of all rounds, in seconds.
#[derive(Debug, Serialize)]
struct Row {
    way: String,
    start: f64,
    work: f64,
    end: f64,
    all: f64,
    pictures_per_second: f64,
    /// How many times as long as rayon took; null where rayon was not run.
    beside_rayon: Option<f64>,
    /// Of all rounds together.
    workers_killed: u64,
}

#[derive(Debug, Serialize)]
struct Absent {
    way: String,
    because: String,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    pictures: u32,
    size: &'a str,
    side: u32,
    workers: usize,
    rounds: u32,
    rows: Vec<Row>,
    left_out: Vec<Absent>,
}

impl Report {
    pub(crate) fn new(args: &Args, workers: usize) -> Self {
        Self {
            pictures: args.pictures,
            size: format!("{}x{}", args.width, args.height),
            side: args.side,
            workers,
            rounds: args.rounds,
            runs: args.ways().into_iter().map(|way| (way, Vec::new())).collect(),
            left_out: Vec::new(),
        }
    }

    pub(crate) fn leave_out(&mut self, way: Way, because: String) {
        self.left_out.push((way, because));
    }

    pub(crate) fn add(&mut self, way: Way, timing: Timing) {
        if let Some((_, timings)) = self.runs.iter_mut().find(|(of, _)| *of == way) {
            timings.push(timing);
        }
    }

    pub(crate) fn print(&self, json: bool) {
        if json { println!("{}", self.json()) } else { print!("{}", self.table()) }
    }

    fn rows(&self) -> Vec<Row> {
        let all_of = |timings: &[Timing]| median(timings, Timing::all);
        let rayon = self.runs.iter().find(|(way, _)| *way == Way::Rayon).and_then(|(_, t)| all_of(t));
        let row = |(way, timings): &(Way, Vec<Timing>)| {
            let all = all_of(timings)?;
            Some(Row {
                way: way.to_string(),
                start: median(timings, |t| t.start)?,
                work: median(timings, |t| t.work)?,
                end: median(timings, |t| t.end)?,
                all,
                pictures_per_second: f64::from(self.pictures) / all,
                beside_rayon: rayon.map(|rayon| all / rayon),
                workers_killed: timings.iter().map(|t| t.killed).sum(),
            })
        };
        self.runs.iter().filter_map(row).collect()
    }

    fn json(&self) -> String {
        let absent =
            |(way, because): &(Way, String)| Absent { way: way.to_string(), because: because.clone() };
        let whole = Whole {
            pictures: self.pictures,
            size: &self.size,
            side: self.side,
            workers: self.workers,
            rounds: self.rounds,
            rows: self.rows(),
            left_out: self.left_out.iter().map(absent).collect(),
        };
        serde_json::to_string_pretty(&whole).unwrap_or_default()
    }

    fn table(&self) -> String {
        let Self { pictures, size, side, workers, rounds, .. } = self;
        let mut text = format!("{pictures} pictures of {size} to {side}, {workers} workers, ");
        text += &format!("median of {rounds}; each thumbnail was looked at\n\n");
        let heads = ["way", "start", "work", "end", "all", "pictures/s", "beside rayon"];
        text += &line(heads.map(String::from));
        let rows = self.rows();
        for row in &rows {
            let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
            let rate = format!("{:.0}", row.pictures_per_second);
            let beside = row.beside_rayon.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
            text +=
                &line([row.way.clone(), ms(row.start), ms(row.work), ms(row.end), ms(row.all), rate, beside]);
        }
        for Row { way, workers_killed, .. } in rows.iter().filter(|row| row.workers_killed > 0) {
            text += &format!("{way:<13} {workers_killed} workers were killed, and no thumbnail is missing\n");
        }
        for (way, because) in &self.left_out {
            text += &format!("{way:<13} not run: {because}\n");
        }
        text
    }
}

fn line([way, times @ ..]: [String; 7]) -> String {
    let times: String = times.iter().map(|time| format!("{time:>13}")).collect();
    format!("{way:<13}{times}\n")
}

/// The middle one, in seconds.
fn median(timings: &[Timing], of: impl Fn(&Timing) -> Duration) -> Option<f64> {
    let mut all: Vec<Duration> = timings.iter().map(of).collect();
    all.sort();
    all.get(all.len() / 2).map(Duration::as_secs_f64)
}
