//! There and back by two signals: the client sets the first and waits for the second, the server the other way
//! round. Both wait as the signal does by default, so who spins before it sleeps may never sleep here.

use ginnel_layout::atomic::{AtomicU64, Ordering};

use crate::clock::now_ns;
use crate::drive::{Report, Windows, counts, histogram};
use crate::fault::Fault;

use super::{Signal, SignalEnd};

/// The life of the client, which times each turn. `last` is set before the last signal.
pub(crate) fn client(
    there: &impl Signal,
    back: &impl Signal,
    last: &AtomicU64,
    duration_ns: u64,
) -> Result<Report, Fault> {
    let (mut there, mut back) = (there.open()?, back.open()?);
    let (mut histogram, mut rates) = (histogram()?, Windows::new(duration_ns));
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    let mut turns = 0;
    loop {
        let before = now_ns();
        if before >= end {
            last.store(1, Ordering::Release);
        }
        there.set()?;
        back.wait()?;
        let after = now_ns();
        turns += 1;
        if before >= end {
            break;
        }
        if after >= warm {
            histogram.saturating_record(after - before);
            rates.note(after, turns);
        }
    }
    let latencies = counts(&histogram);
    let rates = rates.finish(now_ns(), turns);
    Ok(Report { sent: turns, received: turns, latencies, rates, ..Report::default() })
}

/// The life of the server.
pub(crate) fn server(there: &impl Signal, back: &impl Signal, last: &AtomicU64) -> Result<Report, Fault> {
    let (mut there, mut back) = (there.open()?, back.open()?);
    let mut turns = 0;
    loop {
        there.wait()?;
        turns += 1;
        // Read before the answer: after it the client may be done.
        let is_last = last.load(Ordering::Acquire) == 1;
        back.set()?;
        if is_last {
            return Ok(Report { sent: turns, received: turns, ..Report::default() });
        }
    }
}
