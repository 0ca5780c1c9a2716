//! The loops that are measured. A first fifth of the time is warm-up, where there is more than one turn.

use crate::clock::now_ns;
use crate::drive::{Report, Windows, counts, histogram};
use crate::fault::Fault;

use super::ledger::Ledger;
use super::{Engine, successor};

/// Tasks from one look at the clock to the next, where many are out.
const STRIDE: u64 = 32;

/// One task after the other, each timed.
pub(super) fn round_trips(engine: &mut impl Engine, duration_ns: u64) -> Result<Report, Fault> {
    let mut histogram = histogram()?;
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    let mut number = 0;
    loop {
        let before = now_ns();
        let value = engine.call(number)?;
        let after = now_ns();
        if value != successor(number) {
            return Err(Fault::failed("a task", format!("{value} came back where {number} + 1 was due")));
        }
        number += 1;
        if after >= warm {
            // A value above the bound is counted as the bound.
            histogram.saturating_record(after - before);
        }
        if after >= end {
            break;
        }
    }
    Ok(Report { sent: number, received: number, latencies: counts(&histogram), ..Report::default() })
}

/// As many tasks at a time as `window`: how many a second.
pub(super) fn windows(engine: &mut impl Engine, window: usize, duration_ns: u64) -> Result<Report, Fault> {
    let mut ledger = Ledger::new();
    let mut rates = Windows::new(duration_ns);
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    while ledger.out() < window as u64 {
        engine.put(ledger.give()?)?;
    }
    loop {
        for _ in 0..STRIDE {
            ledger.take(engine.get()?)?;
            engine.put(ledger.give()?)?;
        }
        let now = now_ns();
        if now >= warm {
            rates.note(now, ledger.back());
        }
        if now >= end {
            break;
        }
    }
    let (now, count) = (now_ns(), ledger.back());
    while ledger.out() > 0 {
        ledger.take(engine.get()?)?;
    }
    let received = ledger.back();
    Ok(Report { sent: received, received, rates: rates.finish(now, count), ..Report::default() })
}

/// Maps the numbers below `items` with `map`, once more to warm up and then at least once: items a second.
pub(super) fn maps(
    items: u64,
    duration_ns: u64,
    mut map: impl FnMut(u64) -> Result<Vec<u64>, Fault>,
) -> Result<Report, Fault> {
    // A tenth is enough to learn how long an item takes, and to have the memory.
    check_map(&map(items.div_ceil(10))?, items.div_ceil(10))?;
    let end = now_ns() + duration_ns;
    let mut rates = Vec::new();
    let mut received = 0;
    while rates.is_empty() || now_ns() < end {
        let before = now_ns();
        let values = map(items)?;
        let took = now_ns() - before;
        check_map(&values, items)?;
        rates.push(items as f64 * 1e9 / took.max(1) as f64);
        received += items;
    }
    Ok(Report { sent: received, received, rates, ..Report::default() })
}

fn check_map(values: &[u64], items: u64) -> Result<(), Fault> {
    if values.len() as u64 != items {
        return Err(Fault::failed("a map", format!("{} values came back from {items} items", values.len())));
    }
    let wrong = (0..).zip(values).find(|(number, value)| **value != successor(*number));
    match wrong {
        None => Ok(()),
        Some((number, value)) => {
            Err(Fault::failed("a map", format!("{value} came back where {number} + 1 was due")))
        }
    }
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

/// What large tasks carry: a block of words, of which the first is a number and the last its complement. The worker
/// makes the number one higher and leaves the rest, so that copies are all there is to measure.
pub(super) fn large(words: usize) -> Vec<u64> {
    (0..words as u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

/// Puts a number in.
pub(super) fn write_large(block: &mut [u64], number: u64) {
    if let [first, .., last] = block {
        (*first, *last) = (number, !number);
    }
}

/// What the worker does. The last word is looked at, since it is the last to arrive.
pub(super) fn answer_large(block: &mut [u64]) {
    if let [first, .., last] = block
        && *last == !*first
    {
        *first = successor(*first);
    }
}

/// The result that a block brought home. Every 64th is compared with what was sent, word by word.
pub(super) fn read_large(block: &[u64], sent: &[u64]) -> Result<u64, Fault> {
    let torn = || Err(Fault::failed("a task", "its result is not the block that was sent"));
    let ([value, inner @ .., last], [_, known @ .., _]) = (block, sent) else { return torn() };
    let number = value.wrapping_sub(1);
    let is_whole = *last == !number && inner.len() == known.len();
    if !is_whole || (number.is_multiple_of(64) && inner != known) {
        return torn();
    }
    Ok(*value)
}
