//! The pool of the crate `procspawn`.

use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use procspawn::{JoinHandle, Pool};

/// Tasks that are out at a time. Each holds descriptors, of which a process has a thousand as a rule.
const WINDOW: usize = 128;
/// Tasks from one look at the clock to the next.
const STRIDE: u64 = 64;

fn successor(number: u64) -> u64 {
    number + 1
}

fn pool(workers: usize) -> Result<Pool, String> {
    Pool::new(workers).map_err(|error| format!("starting the workers: {error}"))
}

fn checked(number: u64, task: JoinHandle<u64>) -> Result<(), String> {
    match task.join() {
        Ok(value) if value == successor(number) => Ok(()),
        Ok(value) => Err(format!("{value} came back where {number} + 1 was due")),
        Err(error) => Err(format!("waiting for a task: {error}")),
    }
}

/// One task after the other.
pub(crate) fn round_trips(seconds: f64, workers: usize) -> Result<(), String> {
    let pool = pool(workers)?;
    let begin = Instant::now();
    let (warm, end) = (begin + share(seconds, 0.2), begin + share(seconds, 1.0));
    let mut times = Vec::new();
    for number in 0.. {
        let before = Instant::now();
        checked(number, pool.spawn(number, successor))?;
        let after = Instant::now();
        if after >= warm {
            times.push((after - before).as_nanos());
        }
        if after >= end {
            break;
        }
    }
    print(times)
}

/// As many as the window holds, the oldest joined first.
pub(crate) fn windows(seconds: f64, workers: usize) -> Result<(), String> {
    let pool = pool(workers)?;
    let begin = Instant::now();
    let (warm, end) = (begin + share(seconds, 0.2), begin + share(seconds, 1.0));
    let mut out = VecDeque::new();
    let mut rates = Vec::new();
    let mut before = begin;
    for number in 0.. {
        if out.len() == WINDOW {
            let (number, task) = out.pop_front().ok_or("no task is out")?;
            checked(number, task)?;
        }
        out.push_back((number, pool.spawn(number, successor)));
        if number % STRIDE != 0 {
            continue;
        }
        let now = Instant::now();
        if now >= warm {
            rates.push((STRIDE as f64 / (now - before).as_secs_f64()) as u64);
        }
        before = now;
        if now >= end {
            break;
        }
    }
    for (number, task) in out {
        checked(number, task)?;
    }
    print(rates)
}

fn share(seconds: f64, part: f64) -> Duration {
    Duration::from_secs_f64(seconds * part)
}

fn print<T: ToString>(figures: Vec<T>) -> Result<(), String> {
    let lines: Vec<_> = figures.iter().map(T::to_string).collect();
    writeln!(stdout(), "{}", lines.join("\n")).map_err(|error| format!("writing figures: {error}"))
}
