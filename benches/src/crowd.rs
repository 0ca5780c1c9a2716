//! Several producers and several consumers of one queue, each a process: their loops, and what must come out.
//!
//! All meet before the first message and take the same moment as the beginning, so that what the consumers count
//! in the windows of the run can be added up. A producer sends until the time is over, then marked messages tell
//! the consumers that nothing follows. Who marks, and how many marks a consumer waits for, depends on how messages
//! find their consumer ([`Delivery`]). Then the totals: nothing lost, nothing doubled, for each producer.

use std::time::Duration;

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use ginnel_layout::line::LINE;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::clock::now_ns;
use crate::crew::{Crew, Member, Signals};
use crate::drive::Report;
use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Stop, Taken, Tally, Writer, expected};
use crate::plan::Shape;
use crate::transport::{Consumer, Producer, Transport};

/// A process looks at the clock about this often, and at the latest after [`STRIDE_MAX`] messages: where a core is
/// shared, a queue that was fast a moment ago may be stuck for milliseconds.
const LOOK_NS: u64 = 20_000;
/// Messages between two looks at the clock, at most.
const STRIDE_MAX: u64 = 256;
/// The shortest window of a rate where each process has a core.
const WINDOW_NS: u64 = 1_000_000;
/// The shortest window where they take turns: several turns of each.
const SHARED_WINDOW_NS: u64 = 25_000_000;

/// How messages find their consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Each goes to one of the consumers, in the order of sending. The last producer to finish marks one message
    /// for each consumer: they come after everything else.
    Shared,
    /// Each goes to the only consumer; producers do not wait for each other's messages. Each marks its last.
    Lanes,
    /// Each goes to every consumer, unless it is overwritten before. The last producer to finish marks one message.
    Everyone,
}

/// What a run gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages a second, one number for each window after the warm-up. Where everybody gets every message, it is the
    /// rate of one consumer.
    pub rates: Vec<f64>,
    /// Share of the messages that a consumer missed, in percent; where everybody gets every message.
    pub missed_percent: Option<f64>,
}

/// A run of several producers and consumers.
#[derive(Debug)]
pub struct Crowd<'a> {
    /// How many of each.
    pub shape: Shape,
    /// How messages find their consumer.
    pub delivery: Delivery,
    /// For how long messages are sent.
    pub duration: Duration,
    /// The cores that may be used.
    pub cores: &'a [usize],
    /// How long beyond that the processes may take before they count as stalled.
    pub grace: Duration,
    /// What may end the run early.
    pub signals: Option<&'a Signals>,
}

impl Crowd<'_> {
    /// Runs all processes.
    ///
    /// # Errors
    /// The first fault of a process; a message of any producer that nobody received, or that was received twice.
    pub fn run<T: Transport>(&self, way: &T) -> Result<Outcome, Fault> {
        let meeting = Meeting::new(self.shape.processes())?;
        let mut members = Vec::new();
        for number in 0..self.shape.consumers {
            members.push(Member {
                role: format!("consumer {number}"),
                core: Shape::consumer_core(number, self.cores),
                body: Box::new(|| self.consume(way, &meeting)),
            });
        }
        for number in 0..self.shape.producers {
            let meeting = &meeting;
            members.push(Member {
                role: format!("producer {number}"),
                core: Shape::producer_core(number, self.cores),
                body: Box::new(move || self.produce(way, meeting, number)),
            });
        }
        let crew = Crew { patience: self.duration + self.grace, signals: self.signals };
        let reports = crew.run(members)?;
        let (consumers, producers) = reports.split_at(self.shape.consumers);
        self.check_totals(producers, consumers)?;
        let missed: u64 = consumers.iter().map(|consumer| consumer.missed).sum();
        let sent: u64 = producers.iter().map(|producer| producer.sent).sum();
        let share = missed as f64 * 100.0 / (sent * consumers.len() as u64).max(1) as f64;
        let missed_percent = (self.delivery == Delivery::Everyone).then_some(share);
        Ok(Outcome { rates: self.rates(consumers), missed_percent })
    }

    fn produce<T: Transport>(&self, way: &T, meeting: &Meeting, number: usize) -> Result<Report, Fault> {
        let mut producer = way.producer()?;
        let mut writer = Writer::of(way.size(), number);
        let mut before = meeting.begin()?;
        let end = before + self.nanoseconds();
        let mut stride = Stride(1);
        while before < end {
            for _ in 0..stride.0 {
                producer.send(&mut writer, 1)?;
            }
            let now = now_ns();
            stride.adapt(now - before);
            before = now;
        }
        let is_last = meeting.finished() == self.shape.producers;
        let marks = match self.delivery {
            Delivery::Shared if is_last => self.shape.consumers,
            Delivery::Everyone if is_last => 1,
            Delivery::Shared | Delivery::Everyone => 0,
            Delivery::Lanes => 1,
        };
        writer.mark_end();
        for _ in 0..marks {
            producer.send(&mut writer, 1)?;
        }
        Ok(Report { sent: writer.count(), ..Report::default() })
    }

    fn consume<T: Transport>(&self, way: &T, meeting: &Meeting) -> Result<Report, Fault> {
        let mut consumer = way.consumer()?;
        let producers = self.shape.producers;
        let has_gaps = match self.delivery {
            Delivery::Shared => self.shape.consumers > 1,
            Delivery::Lanes => false,
            Delivery::Everyone => true,
        };
        let tally = if has_gaps { Tally::of_a_share } else { Tally::of_all };
        let mut tally = tally(way.size(), producers);
        let mut marks = if self.delivery == Delivery::Lanes { producers } else { 1 };
        let mut windows = Windows::new(meeting.begin()?, self.nanoseconds(), self.window_ns());
        let (mut before, mut stride, mut next_look) = (now_ns(), Stride(1), 1);
        loop {
            match consumer.recv(&mut tally, 1) {
                Ok(()) => {}
                Err(Stop::End) => {
                    marks -= 1;
                    if marks == 0 {
                        break;
                    }
                }
                Err(Stop::Fault(fault)) => return Err(*fault),
            }
            if tally.count() >= next_look {
                let now = now_ns();
                windows.note(now, tally.count());
                stride.adapt(now - before);
                before = now;
                next_look = tally.count() + stride.0;
            }
        }
        let (received, taken, missed) = (tally.count(), tally.taken(), consumer.missed());
        Ok(Report { received, taken, missed, windows: windows.counts, ..Report::default() })
    }

    fn nanoseconds(&self) -> u64 {
        self.duration.as_nanos() as u64
    }

    fn is_oversubscribed(&self) -> bool {
        self.shape.processes() > self.cores.len()
    }

    fn window_ns(&self) -> u64 {
        let shortest = if self.is_oversubscribed() { SHARED_WINDOW_NS } else { WINDOW_NS };
        // After the warm-up a window must fit, however short the run.
        shortest.max(self.nanoseconds() / 200).min(self.nanoseconds() * 2 / 5)
    }

    /// What was received of each producer is what it sent, once altogether or once by everybody.
    fn check_totals(&self, producers: &[Report], consumers: &[Report]) -> Result<(), Fault> {
        if self.delivery == Delivery::Everyone {
            return consumers.iter().try_for_each(|consumer| check_listener(producers, consumer));
        }
        for (number, producer) in producers.iter().enumerate() {
            let shares = consumers.iter().filter_map(|consumer| consumer.taken.get(number).copied());
            let taken = shares.reduce(Taken::and).unwrap_or_default();
            compare(taken, expected(number, producer.sent))
                .map_err(|fault| fault.of_producer(number as u64))?;
        }
        Ok(())
    }

    /// The rates of the windows after the first fifth, all consumers together.
    fn rates(&self, consumers: &[Report]) -> Vec<f64> {
        let windows = consumers.iter().map(|consumer| consumer.windows.len()).min().unwrap_or(0);
        let share = if self.delivery == Delivery::Everyone { consumers.len() } else { 1 };
        let seconds = self.window_ns() as f64 / 1e9 * share as f64;
        let count = |window| consumers.iter().map(|consumer| consumer.windows[window]).sum::<u64>();
        (windows.div_ceil(5)..windows).map(|window| count(window) as f64 / seconds).collect()
    }
}

/// Somebody who gets everything: what came and what it was told it missed is what was sent. Of whom it missed is not
/// known, so the producers are looked at one by one only where it missed nothing.
fn check_listener(producers: &[Report], consumer: &Report) -> Result<(), Fault> {
    if consumer.missed > 0 {
        let sent: u64 = producers.iter().map(|producer| producer.sent).sum();
        let accounted = consumer.received + consumer.missed;
        return if accounted == sent { Ok(()) } else { Err(Fault::Count { sent, received: accounted }) };
    }
    producers.iter().enumerate().try_for_each(|(number, producer)| {
        let taken = consumer.taken.get(number).copied().unwrap_or_default();
        compare(taken, expected(number, producer.sent)).map_err(|fault| fault.of_producer(number as u64))
    })
}

fn compare(taken: Taken, due: Taken) -> Result<(), Fault> {
    if taken.count != due.count {
        Err(Fault::Count { sent: due.count, received: taken.count })
    } else if taken != due {
        Err(Fault::Exchanged)
    } else {
        Ok(())
    }
}

/// Messages between two looks at the clock, adapted to the speed of the queue.
#[derive(Debug)]
struct Stride(u64);

impl Stride {
    fn adapt(&mut self, elapsed_ns: u64) {
        if elapsed_ns < LOOK_NS / 2 {
            self.0 = (self.0 * 2).min(STRIDE_MAX);
        } else if elapsed_ns > LOOK_NS * 2 {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

/// What a consumer received in each window since the common beginning.
#[derive(Debug)]
pub(crate) struct Windows {
    begin: u64,
    length_ns: u64,
    pub(crate) counts: Vec<u64>,
    noted: u64,
}

impl Windows {
    pub(crate) fn new(begin: u64, duration_ns: u64, length_ns: u64) -> Self {
        Self { begin, length_ns, counts: vec![0; (duration_ns / length_ns) as usize], noted: 0 }
    }

    /// At `now`, `count` messages had come. Those since the last note count as of now.
    pub(crate) fn note(&mut self, now: u64, count: u64) {
        let window = (now - self.begin) / self.length_ns;
        if let Some(counted) = self.counts.get_mut(window as usize) {
            *counted += count - self.noted;
        }
        self.noted = count;
    }
}

/// Where the processes meet before they begin, and producers say that they have finished.
///
/// ```text
/// 0    gone   u32   0 until the last has come; what the others sleep on
/// 8    begin  u64   the common beginning, written before `gone`
/// 128  here   u64   processes that have come
/// 256  done   u64   producers that have finished
/// ```
#[derive(Debug)]
pub(crate) struct Meeting {
    region: Region,
    processes: usize,
}

impl Meeting {
    pub(crate) fn new(processes: usize) -> Result<Self, Fault> {
        Ok(Self { region: Region::new(3 * LINE)?, processes })
    }

    fn gone(&self) -> &AtomicU32 {
        self.region.word32(0)
    }

    fn moment(&self) -> &AtomicU64 {
        self.region.word64(8)
    }

    /// Sleeps until all are here, then gives the moment at which the last one came.
    pub(crate) fn begin(&self) -> Result<u64, Fault> {
        let before = self.region.word64(LINE).fetch_add(1, Ordering::AcqRel);
        if before + 1 == self.processes as u64 {
            self.moment().store(now_ns(), Ordering::Relaxed);
            self.gone().store(1, Ordering::Release);
            futex::wake(self.gone().futex_word(), futex::Flags::empty(), i32::MAX as u32)
                .map_err(|error| Fault::failed("waking the other processes", error))?;
        }
        while self.gone().load(Ordering::Acquire) == 0 {
            match futex::wait(self.gone().futex_word(), futex::Flags::empty(), 0, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(Fault::failed("waiting for the other processes", error)),
            }
        }
        Ok(self.moment().load(Ordering::Relaxed))
    }

    /// One more producer has finished; gives how many have by now. Whoever is last has seen what the others sent.
    fn finished(&self) -> usize {
        self.region.word64(2 * LINE).fetch_add(1, Ordering::AcqRel) as usize + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_came_in_it() {
        let mut windows = Windows::new(1000, 40, 10);
        for (now, count) in [(1000, 1), (1009, 5), (1010, 6), (1035, 9), (1040, 20), (9999, 30)] {
            windows.note(now, count);
        }
        assert_eq!(windows.counts, [5, 1, 0, 3]);
    }

    #[test]
    fn rates_are_added_up_or_shared() {
        let report = |windows: [u64; 10]| Report { windows: windows.to_vec(), ..Report::default() };
        let consumers = [report([9; 10]), report([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
        let mut crowd = Crowd {
            shape: Shape::new(1, 2),
            delivery: Delivery::Shared,
            duration: Duration::from_millis(250),
            cores: &[0, 1],
            grace: Duration::ZERO,
            signals: None,
        };
        let rates: Vec<f64> = [12, 13, 14, 15, 16, 17, 18, 19].map(|count| f64::from(count) * 40.0).to_vec();
        assert_eq!(crowd.rates(&consumers), rates);
        crowd.delivery = Delivery::Everyone;
        assert_eq!(crowd.rates(&consumers)[0], 240.0);
    }

    #[test]
    fn totals_that_differ_are_refused() {
        let crowd = Crowd {
            shape: Shape::new(1, 2),
            delivery: Delivery::Everyone,
            duration: Duration::ZERO,
            cores: &[0],
            grace: Duration::ZERO,
            signals: None,
        };
        let sent = [Report { sent: 7, ..Report::default() }];
        let got = |count| Report { taken: vec![expected(0, count)], ..Report::default() };
        crowd.check_totals(&sent, &[got(7), got(7)]).expect("both got everything");
        let fault = crowd.check_totals(&sent, &[got(7), got(6)]).expect_err("one message is missing");
        assert_eq!(fault, Fault::Count { sent: 7, received: 6 }.of_producer(0));
        let other = Report { taken: vec![Taken { fingerprint: 1, ..expected(0, 7) }], ..Report::default() };
        let fault = crowd.check_totals(&sent, &[got(7), other]).expect_err("others came");
        assert_eq!(fault, Fault::Exchanged.of_producer(0));
        let slow = |missed| Report { received: 4, missed, ..got(4) };
        crowd.check_totals(&sent, &[got(7), slow(3)]).expect("what is missing was said to be missed");
        let fault = crowd.check_totals(&sent, &[got(7), slow(2)]).expect_err("one more is missing");
        assert_eq!(fault, Fault::Count { sent: 7, received: 6 });
    }
}
