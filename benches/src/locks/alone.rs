//! One thread takes a lock and releases it, over and over, on a core of its own; nobody else wants it.

use crate::clock::now_ns;
use crate::drive::{Report, Windows};
use crate::fault::Fault;

use super::{Exclusion, Section};

/// Holds between two looks at the clock: the clock then costs a tenth of a nanosecond for each.
const STRIDE: u32 = 256;

/// The life of the process.
pub(crate) fn run(lock: &impl Exclusion, duration_ns: u64) -> Result<Report, Fault> {
    let mut section = lock.open()?;
    let mut windows = Windows::new(duration_ns);
    let begin = now_ns();
    let (warm, end) = (begin + duration_ns / 5, begin + duration_ns);
    let mut count = 0;
    loop {
        for _ in 0..STRIDE {
            section.with(|| ())?;
        }
        count += u64::from(STRIDE);
        let now = now_ns();
        if now >= warm {
            windows.note(now, count);
        }
        if now >= end {
            return Ok(Report { received: count, rates: windows.finish(now, count), ..Report::default() });
        }
    }
}
