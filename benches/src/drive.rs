//! The loops that are measured: what the two processes do between their first message and their last.
//!
//! Every loop is generic over the transport, runs for a time, treats its first fifth as warm-up and ends with
//! a marked message. A loop gives a [`Report`], which the process sends home before it exits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, process_cpu_ns, sleep_until};
use crate::fault::Fault;
use crate::payload::{Checker, Stop, Taken, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// The longest round trip the histogram knows; longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// The producer looks at the clock about this often.
const LOOK_NS: u64 = 50_000;
/// The shortest window of a rate.
const WINDOW_NS: u64 = 1_000_000;
/// Time between two messages of the paced case: 100 a second.
const PACE_NS: u64 = 10_000_000;

/// What a measured process tells the coordinator.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Messages sent by this process, the marked one included.
    pub sent: u64,
    /// Messages received and found right by this process, the marked one included.
    pub received: u64,
    /// Latencies after the warm-up: (nanoseconds, how often), ascending.
    pub latencies: Vec<(u64, u64)>,
    /// Messages (or round trips) a second, one number for each window after the warm-up.
    pub rates: Vec<f64>,
    /// What came from each producer, where there may be several.
    pub taken: Vec<Taken>,
    /// Messages that were overwritten before they were received, as the transport itself says.
    pub missed: u64,
    /// Messages received in each window of the run, where there may be several consumers.
    pub windows: Vec<u64>,
    /// Share of the messages that receivers missed, in percent, where that may happen.
    pub missed_percent: Option<f64>,
    /// Processor time of the process in percent of the time measured, where that was the question.
    pub cpu_percent: Option<f64>,
    /// Resident memory of all processes after the last task beside that after the first tenth, in percent, where that
    /// was the question.
    pub growth_percent: Option<f64>,
    /// Nanoseconds to put one entry into a map, where it was filled for its own sake.
    #[serde(default)]
    pub insert_ns: Option<f64>,
    /// Bytes of memory that an entry of it takes.
    #[serde(default)]
    pub entry_bytes: Option<f64>,
}

/// An empty histogram of nanoseconds with three digits.
///
/// # Errors
/// None in practice: the bounds are constants.
pub fn histogram() -> Result<Histogram<u64>, Fault> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).map_err(|error| Fault::failed("making a histogram", error))
}

/// What a histogram has for [`Report::latencies`].
pub(crate) fn counts(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// The client of a round trip: sends, waits for the answer, and times each turn.
///
/// # Errors
/// A wrong message, or a transport that fails.
pub fn client<T: Transport>(there: &T, back: &T, duration_ns: u64) -> Result<Report, Fault> {
    let (mut producer, mut consumer) = (there.producer()?, back.consumer()?);
    let (mut writer, mut checker) = (Writer::new(there.size()), Checker::new(back.size()));
    let mut histogram = histogram()?;
    let mut rates = Windows::new(duration_ns);
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    loop {
        let before = now_ns();
        producer.send(&mut writer, 1)?;
        consumer.recv(&mut checker, 1).map_err(unexpected_end)?;
        let after = now_ns();
        if after >= warm {
            // A value above the bound is counted as the bound.
            histogram.saturating_record(after - before);
            rates.note(after, checker.count());
        }
        if after >= end {
            break;
        }
    }
    let count = checker.count();
    writer.mark_end();
    producer.send(&mut writer, 1)?;
    expect_end(consumer.recv(&mut checker, 1))?;
    Ok(Report {
        sent: writer.count(),
        received: checker.count(),
        latencies: counts(&histogram),
        rates: rates.finish(now_ns(), count),
        ..Report::default()
    })
}

/// The server of a round trip: answers each message with one of the same number.
///
/// # Errors
/// A wrong message, or a transport that fails.
pub fn server<T: Transport>(there: &T, back: &T) -> Result<Report, Fault> {
    let (mut producer, mut consumer) = (back.producer()?, there.consumer()?);
    let (mut writer, mut checker) = (Writer::new(back.size()), Checker::new(there.size()));
    loop {
        match consumer.recv(&mut checker, 1) {
            Ok(()) => producer.send(&mut writer, 1)?,
            Err(Stop::End) => break,
            Err(Stop::Fault(fault)) => return Err(*fault),
        }
    }
    writer.mark_end();
    producer.send(&mut writer, 1)?;
    Ok(Report { sent: writer.count(), received: checker.count(), ..Report::default() })
}

/// The producer of a one-way run: sends batches until its time is over.
///
/// # Errors
/// A transport that fails.
pub fn produce<T: Transport>(transport: &T, batch: usize, duration_ns: u64) -> Result<Report, Fault> {
    let mut producer = transport.producer()?;
    let mut writer = Writer::new(transport.size());
    let mut before = now_ns();
    let end = before + duration_ns;
    // Batches between two looks at the clock, adapted to the speed of the transport.
    let mut stride = 1_u32;
    while before < end {
        for _ in 0..stride {
            producer.send(&mut writer, batch)?;
        }
        let now = now_ns();
        if now - before < LOOK_NS / 2 {
            stride = (stride * 2).min(1 << 20);
        } else if now - before > LOOK_NS * 2 {
            stride = (stride / 2).max(1);
        }
        before = now;
    }
    writer.mark_end();
    producer.send(&mut writer, 1)?;
    Ok(Report { sent: writer.count(), ..Report::default() })
}

/// The consumer of a one-way run: counts what it receives, in windows.
///
/// # Errors
/// A wrong message, or a transport that fails.
pub fn consume<T: Transport>(transport: &T, batch: usize, duration_ns: u64) -> Result<Report, Fault> {
    let mut consumer = transport.consumer()?;
    let mut checker = Checker::new(transport.size());
    let mut rates = Windows::new(duration_ns);
    let mut begin = None;
    let mut next_look = 1;
    let mut stride = 1;
    let mut before = 0;
    loop {
        match consumer.recv(&mut checker, batch) {
            Ok(()) => {}
            Err(Stop::End) => break,
            Err(Stop::Fault(fault)) => return Err(*fault),
        }
        if checker.count() < next_look {
            continue;
        }
        let now = now_ns();
        let begin = *begin.get_or_insert(now);
        if now - before < LOOK_NS / 2 {
            stride = (stride * 2).min(1 << 25);
        } else if now - before > LOOK_NS * 2 {
            stride = (stride / 2).max(1);
        }
        before = now;
        next_look = checker.count() + stride;
        if now - begin >= duration_ns / 5 {
            rates.note(now, checker.count());
        }
    }
    let rates = rates.finish(now_ns(), checker.count());
    Ok(Report { received: checker.count(), rates, ..Report::default() })
}

/// The producer of the idle and the paced case: one message, then either nothing or one every 10 ms, then the
/// marked one.
///
/// # Errors
/// A transport that fails.
pub fn produce_slowly<T: Transport>(transport: &T, paced: bool, duration_ns: u64) -> Result<Report, Fault> {
    let mut producer = transport.producer()?;
    let mut writer = Writer::new(transport.size());
    let mut next = now_ns();
    let end = next + duration_ns;
    producer.send(&mut writer, 1)?;
    while paced && next + PACE_NS < end {
        next += PACE_NS;
        sleep_until(next);
        producer.send(&mut writer, 1)?;
    }
    sleep_until(end);
    writer.mark_end();
    producer.send(&mut writer, 1)?;
    Ok(Report { sent: writer.count(), ..Report::default() })
}

/// The consumer of the idle and the paced case: its processor time from the first message to the last.
///
/// # Errors
/// A wrong message, or a transport that fails.
pub fn consume_slowly<T: Transport>(transport: &T) -> Result<Report, Fault> {
    let mut consumer = transport.consumer()?;
    let mut checker = Checker::new(transport.size());
    consumer.recv(&mut checker, 1).map_err(unexpected_end)?;
    let (begin, cpu_begin) = (now_ns(), process_cpu_ns());
    loop {
        match consumer.recv(&mut checker, 1) {
            Ok(()) => {}
            Err(Stop::End) => break,
            Err(Stop::Fault(fault)) => return Err(*fault),
        }
    }
    let (time, cpu) = (now_ns() - begin, process_cpu_ns() - cpu_begin);
    let cpu_percent = Some(cpu as f64 * 100.0 / time.max(1) as f64);
    Ok(Report { received: checker.count(), cpu_percent, ..Report::default() })
}

/// Rates: a running count, cut into windows.
#[derive(Debug)]
pub(crate) struct Windows {
    length_ns: u64,
    begin: Option<(u64, u64)>,
    rates: Vec<f64>,
}

impl Windows {
    pub(crate) fn new(duration_ns: u64) -> Self {
        Self { length_ns: WINDOW_NS.max(duration_ns / 200), begin: None, rates: Vec::new() }
    }

    /// At `now`, `count` messages had come.
    #[inline(always)]
    pub(crate) fn note(&mut self, now: u64, count: u64) {
        match self.begin {
            Some((time, before)) if now - time >= self.length_ns => {
                self.rates.push((count - before) as f64 * 1e9 / (now - time) as f64);
                self.begin = Some((now, count));
            }
            Some(_) => {}
            None => self.begin = Some((now, count)),
        }
    }

    /// The rates; where the run was too short for a window, the rate of what there is.
    pub(crate) fn finish(mut self, now: u64, count: u64) -> Vec<f64> {
        if let Some((_, before)) = self.begin
            && self.rates.is_empty()
            && count > before
        {
            self.length_ns = 1;
            self.note(now, count);
        }
        self.rates
    }
}

/// A consumer that is not at its end met the end mark: its sender stopped too early.
fn unexpected_end(stop: Stop) -> Fault {
    match stop {
        Stop::Fault(fault) => *fault,
        Stop::End => Fault::failed("waiting for a message", "the last message of the run came too early"),
    }
}

/// Nothing but the end mark may come now.
fn expect_end(answer: Result<(), Stop>) -> Result<(), Fault> {
    match answer {
        Err(Stop::End) => Ok(()),
        Err(Stop::Fault(fault)) => Err(*fault),
        Ok(()) => Err(Fault::failed("waiting for the last message", "an unmarked message came instead")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_counts_over_the_time_they_took() {
        let mut windows = Windows::new(0);
        for step in 0..=10 {
            windows.note(step * WINDOW_NS, step * 500);
        }
        assert_eq!(windows.rates.len(), 10);
        assert!(windows.rates.iter().all(|rate| (rate - 500_000.0).abs() < 1.0), "{:?}", windows.rates);
    }

    #[test]
    fn a_run_without_a_whole_window_has_one_rate_or_none() {
        let mut windows = Windows::new(0);
        windows.note(0, 7);
        assert_eq!(windows.finish(WINDOW_NS / 2, 107), [100.0 * 2e9 / WINDOW_NS as f64]);
        let mut windows = Windows::new(0);
        windows.note(0, 7);
        assert!(windows.finish(WINDOW_NS / 2, 7).is_empty());
    }

    #[test]
    fn a_window_is_never_shorter_than_its_length() {
        let mut windows = Windows::new(0);
        windows.note(0, 0);
        windows.note(WINDOW_NS - 1, 10);
        assert!(windows.rates.is_empty());
    }
}
