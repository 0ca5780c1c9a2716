//! The loops that are measured. A first fifth of the time is warm-up, and what the loops left is looked at in the end.

use crate::clock::now_ns;
use crate::drive::{Report, Windows, counts, histogram};
use crate::fault::Fault;

use super::value::Value;
use super::{Map, Sequence};

/// Operations from one look at the clock to the next.
const STRIDE: u64 = 64;
/// From one key to the next: far enough to be somewhere else in memory, and prime.
const STEP: u64 = 7919;
/// Values that a list has when it is emptied.
const LIST: u64 = 50_000;

/// All keys below a number, again and again, in an order that no memory follows.
#[derive(Debug)]
struct Keys {
    next: u64,
    step: u64,
    count: u64,
}

impl Keys {
    fn new(count: u64, first: u64) -> Self {
        Self { next: first % count, step: STEP % count, count }
    }

    #[inline(always)]
    fn next(&mut self) -> u64 {
        let key = self.next;
        let next = key + self.step;
        self.next = if next >= self.count { next - self.count } else { next };
        key
    }
}

/// Puts every key below `keys` in: the nanoseconds of one, on the average.
pub(super) fn fill(map: &impl Map, keys: u64) -> Result<f64, Fault> {
    let before = now_ns();
    for key in 0..keys {
        map.set(key, Value::of(key, 0))?;
    }
    Ok((now_ns() - before) as f64 / keys.max(1) as f64)
}

/// Fills a map, and says how long one entry took and how much memory it has.
pub(super) fn memory(map: &impl Map, keys: u64) -> Result<Report, Fault> {
    let insert_ns = fill(map, keys)?;
    let entry_bytes = map.bytes()? as f64 / keys.max(1) as f64;
    check_all(map, keys)?;
    Ok(Report {
        received: keys,
        rates: vec![1e9 / insert_ns.max(1e-3)],
        insert_ns: Some(insert_ns),
        entry_bytes: Some(entry_bytes),
        ..Report::default()
    })
}

/// Fills a map, then reads it.
pub(super) fn growth(map: &impl Map, keys: u64, duration_ns: u64) -> Result<Report, Fault> {
    let filled = memory(map, keys)?;
    let read = gets(map, keys, duration_ns)?;
    Ok(Report { rates: read.rates, received: read.received, ..filled })
}

/// Reads.
pub(super) fn gets(map: &impl Map, keys: u64, duration_ns: u64) -> Result<Report, Fault> {
    let mut order = Keys::new(keys, 0);
    rates(duration_ns, |_| get(map, order.next()))
}

/// Replaces.
pub(super) fn sets(map: &impl Map, keys: u64, duration_ns: u64) -> Result<Report, Fault> {
    let mut order = Keys::new(keys, 0);
    let report = rates(duration_ns, |turn| {
        let key = order.next();
        map.set(key, Value::of(key, turn))
    })?;
    check_all(map, keys)?;
    Ok(report)
}

/// Reads and writes in one step. The values count the steps, so none can be lost unseen.
pub(super) fn updates(map: &impl Map, keys: u64, duration_ns: u64) -> Result<Report, Fault> {
    let mut order = Keys::new(keys, 0);
    let report = rates(duration_ns, |_| map.update(order.next()))?;
    let counted = check_all(map, keys)?;
    if counted != report.sent {
        let text = format!("{} were done, and the values count {counted}", report.sent);
        return Err(Fault::failed("updates", text));
    }
    Ok(report)
}

/// Nine reads, one write. Several processes may be at it, each of which begins at another key.
pub(super) fn mixed(map: &impl Map, keys: u64, first: u64, duration_ns: u64) -> Result<Report, Fault> {
    let mut order = Keys::new(keys, first);
    let report = rates(duration_ns, |turn| {
        let key = order.next();
        if turn % 10 == 9 { map.set(key, Value::of(key, turn)) } else { get(map, key) }
    })?;
    check_all(map, keys)?;
    Ok(report)
}

/// Puts values at the end of a list, which is looked at and emptied now and then, outside the time.
pub(super) fn appends(list: &impl Sequence, duration_ns: u64) -> Result<Report, Fault> {
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    let mut rates = Vec::new();
    let mut sent = 0;
    loop {
        let before = now_ns();
        for place in 0..LIST {
            list.push(Value::of(place, sent))?;
        }
        let after = now_ns();
        if after >= warm {
            rates.push(LIST as f64 * 1e9 / (after - before).max(1) as f64);
        }
        check_list(list, sent)?;
        list.clear()?;
        sent += LIST;
        if after >= end {
            break;
        }
    }
    Ok(Report { sent, received: sent, rates, ..Report::default() })
}

/// An operation that says how many nanoseconds it took: for so long, and `least` times.
pub(super) fn times(
    duration_ns: u64,
    least: u64,
    mut once: impl FnMut() -> Result<u64, Fault>,
) -> Result<Report, Fault> {
    let mut histogram = histogram()?;
    once()?;
    let end = now_ns() + duration_ns;
    let mut count = 0;
    while count < least || now_ns() < end {
        histogram.saturating_record(once()?);
        count += 1;
    }
    Ok(Report { sent: count, received: count, latencies: counts(&histogram), ..Report::default() })
}

/// What all processes of a row got done, window by window.
pub(super) fn sum(reports: impl IntoIterator<Item = Report>) -> Report {
    let mut reports = reports.into_iter();
    let mut all = reports.next().unwrap_or_default();
    for report in reports {
        // One may have had a window more; what it did alone is not what all do together.
        all.rates.truncate(report.rates.len());
        all.rates.iter_mut().zip(&report.rates).for_each(|(sum, rate)| *sum += rate);
        all.received += report.received;
    }
    all
}

#[inline(always)]
fn get(map: &impl Map, key: u64) -> Result<(), Fault> {
    map.get(key)?.ok_or_else(|| missing(key))?.check(key)
}

/// How often `once` goes in a second; it is told its turn.
#[inline(always)]
fn rates(duration_ns: u64, mut once: impl FnMut(u64) -> Result<(), Fault>) -> Result<Report, Fault> {
    let mut rates = Windows::new(duration_ns);
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    let mut turn = 0;
    loop {
        for _ in 0..STRIDE {
            once(turn)?;
            turn += 1;
        }
        let now = now_ns();
        if now >= warm {
            rates.note(now, turn);
        }
        if now >= end {
            return Ok(Report {
                sent: turn,
                received: turn,
                rates: rates.finish(now, turn),
                ..Report::default()
            });
        }
    }
}

/// Every key has a value of its own: how often all of them were changed.
fn check_all(map: &impl Map, keys: u64) -> Result<u64, Fault> {
    let mut rounds = 0_u64;
    for key in 0..keys {
        let value = map.get(key)?.ok_or_else(|| missing(key))?;
        value.check(key)?;
        rounds = rounds.wrapping_add(value.round());
    }
    Ok(rounds)
}

fn check_list(list: &impl Sequence, round: u64) -> Result<(), Fault> {
    let len = list.len()?;
    if len != LIST {
        return Err(Fault::failed("a list", format!("it has {len} values, {LIST} were put in")));
    }
    for place in [0, 1, LIST / 2, LIST - 1] {
        if list.at(place)? != Some(Value::of(place, round)) {
            return Err(Fault::failed("a list", format!("what lies at {place} was not put there")));
        }
    }
    Ok(())
}

#[cold]
fn missing(key: u64) -> Fault {
    Fault::failed("a map", format!("nothing lies under {key}"))
}
