//! What the harness must refuse: a task that is lost, done twice, or done wrong.

use std::collections::VecDeque;

use super::Engine;
use super::drive::{answer_large, large, maps, read_large, round_trips, times, windows, write_large};
use super::limits::Memcpy;
use super::ours::Ours;
use super::pipes::{Giver, Wires};
use super::plan::Case;
use super::threads::Threads;
use crate::fault::Fault;
use crate::machine::allowed_cores;
use crate::refused::alone;

/// Milliseconds of a run, in nanoseconds.
const SHORT: u64 = 5_000_000;

/// Does everything itself, and one thing wrong.
#[derive(Debug, Default)]
struct Sloppy {
    out: VecDeque<u64>,
    lose: Option<u64>,
    repeat: Option<u64>,
    miscount: Option<u64>,
}

impl Engine for Sloppy {
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        if self.lose != Some(number) {
            self.out.push_back(number + if self.miscount == Some(number) { 3000 } else { 1 });
        }
        if self.repeat == Some(number) {
            self.out.push_back(number + 1);
        }
        Ok(())
    }

    fn get(&mut self) -> Result<u64, Fault> {
        // Where a real one would wait until the row counts as stalled.
        self.out.pop_front().ok_or(Fault::Stalled { seconds: 0 })
    }
}

fn refusals(mut engine: impl FnMut() -> Sloppy) -> [String; 2] {
    let single = round_trips(&mut engine(), SHORT).expect_err("one at a time");
    let many = windows(&mut engine(), 512, SHORT).expect_err("many at a time");
    [single.to_string(), many.to_string()]
}

#[test]
fn a_lost_task_is_refused() {
    let [single, many] = refusals(|| Sloppy { lose: Some(600), ..Sloppy::default() });
    assert!(single.contains("did not end"), "{single}");
    // The others go on for a while, but somebody misses it in the end.
    assert!(many.contains("did not end") || many.contains("the result of 600"), "{many}");
}

#[test]
fn a_task_done_twice_is_refused() {
    let [single, many] = refusals(|| Sloppy { repeat: Some(600), ..Sloppy::default() });
    assert!(single.contains("601 came back where 601 + 1 was due"), "{single}");
    assert!(many.contains("601 came back a second time"), "{many}");
}

#[test]
fn a_wrong_value_is_refused() {
    let [single, many] = refusals(|| Sloppy { miscount: Some(600), ..Sloppy::default() });
    assert!(single.contains("3600 came back where 600 + 1 was due"), "{single}");
    assert!(many.contains("3600 came back, the successor of no number"), "{many}");
}

#[test]
fn an_engine_that_is_right_is_counted() {
    let report = round_trips(&mut Sloppy::default(), SHORT).expect("right");
    assert!(report.received > 0 && !report.latencies.is_empty());
    let report = windows(&mut Sloppy::default(), 512, SHORT).expect("right");
    assert!(report.received > 512 && report.sent == report.received && !report.rates.is_empty());
}

#[test]
fn maps_are_looked_at_item_by_item() {
    let right = |items: u64| (1..=items).collect::<Vec<_>>();
    assert_eq!(maps(1000, 0, |items| Ok(right(items))).expect("right").rates.len(), 1);
    let wrong = |items: u64| {
        let mut values = right(items);
        values.swap(3, 4);
        Ok(values)
    };
    let fault = maps(1000, 0, wrong).expect_err("two were exchanged");
    assert!(fault.to_string().contains("5 came back where 3 + 1 was due"), "{fault}");
    let fault = maps(1000, 0, |items| Ok(right(items - 1))).expect_err("one is missing");
    assert!(fault.to_string().contains("99 values"), "{fault}");
}

#[test]
fn blocks_are_looked_at_from_end_to_end() {
    let mut block = large(512);
    for number in [0, 63, 64] {
        write_large(&mut block, number);
        let sent = block.clone();
        assert!(read_large(&block, &sent).is_err(), "nobody has answered");
        let mut back = block.clone();
        answer_large(&mut back);
        assert_eq!(read_large(&back, &sent), Ok(number + 1));
        assert!(read_large(&back[..511], &sent).is_err());
        *back.last_mut().expect("words") ^= 1;
        assert!(read_large(&back, &sent).is_err());
    }
    write_large(&mut block, 64);
    let mut back = block.clone();
    answer_large(&mut back);
    back[200] ^= 1;
    assert!(read_large(&back, &block).is_err());
}

#[test]
fn copies_of_one_process_are_whole() {
    let report = windows(&mut Memcpy::new(512), 1, SHORT).expect("right");
    assert!(report.received > 64);
}

#[test]
fn what_takes_time_is_counted_without_the_first() {
    let mut turn = 0;
    let report = times(0, 5, || {
        turn += 1;
        Ok(turn * 100)
    });
    let report = report.expect("nothing is wrong");
    assert_eq!((report.received, turn), (5, 6));
    assert_eq!(report.latencies.iter().map(|(_, count)| count).sum::<u64>(), 5);
}

#[test]
fn threads_do_what_they_are_asked() {
    let threads = Threads { count: 2, window: 512, awake_on: None };
    let report = threads.run(|mut ends| windows(&mut ends, 512, SHORT)).expect("right");
    assert!(report.received > 512);
    let values = threads.map(100_000).expect("right");
    assert_eq!(values, (1..=100_000).collect::<Vec<_>>());
}

#[test]
fn our_workers_do_what_they_are_asked() {
    let _alone = alone();
    let core = allowed_cores()[0];
    let ours = |case| Ours::new(case, core).expect("a pool");
    let report = round_trips(&mut ours(Case::RttAsleep), SHORT).expect("right");
    assert!(report.received > 0);
    let report = windows(&mut ours(Case::Chunk1), 512, SHORT).expect("right");
    assert!(report.received > 512);
    let pool = ours(Case::Large);
    let report = pool.large(Case::Large, 40).expect("right");
    assert!(report.received >= 40 && report.growth_percent.is_some() && !report.rates.is_empty());
    let values = pool.map(100_000).expect("right");
    assert_eq!(values, (1..=100_000).collect::<Vec<_>>());
    let pool = ours(Case::Kill);
    for _ in 0..3 {
        assert!(pool.replace().expect("another one comes") > 0);
    }
}

#[test]
fn workers_on_pipes_do_what_they_are_asked() {
    let wires = Wires::new(2, false, false).expect("pipes");
    std::thread::scope(|threads| {
        let workers: Vec<_> = wires.iter().map(|wires| threads.spawn(|| wires.serve())).collect();
        let mut giver = Giver::new(&wires);
        let report = windows(&mut giver, 512, SHORT);
        giver.end().expect("room");
        let done =
            workers.into_iter().map(|worker| worker.join().expect("no panic").expect("right").received);
        assert_eq!(report.expect("right").sent, done.sum::<u64>());
    });
    std::thread::scope(|threads| {
        let workers: Vec<_> = wires.iter().map(|wires| threads.spawn(|| wires.serve_chunks())).collect();
        let mut giver = Giver::new(&wires);
        let values = giver.map(100_000);
        let sent = giver.end_chunks().expect("room");
        let done =
            workers.into_iter().map(|worker| worker.join().expect("no panic").expect("right").received);
        assert_eq!(sent, done.sum::<u64>());
        assert_eq!(values.expect("right"), (1..=100_000).collect::<Vec<_>>());
    });
}
