//! From the call that sets a signal to the moment at which the process that slept runs again.
//!
//! The waiter says that it is about to wait; the setter, on the other core, then gives it time to fall asleep, notes
//! the moment, and sets. How often the waiter really slept is counted by the kernel and checked: a waiter that
//! was still spinning would flatter whoever spins longest.
//!
//! ```text
//! 0    turn   u64   turns that the waiter has begun; waiter
//! 128  set    u64   moment of the last setting; setter, before it sets
//! 136  last   u64   1: nothing follows; setter, before it sets
//! ```

use ginnel_layout::atomic::{AtomicU64, Ordering, spin_loop};
use ginnel_layout::line::LINE;
use nix::sys::resource::{UsageWho, getrusage};

use crate::clock::now_ns;
use crate::drive::{Report, Windows, counts, histogram};
use crate::fault::Fault;
use crate::memory::Region;

use super::{Signal, SignalEnd};

/// Longer than anybody spins before going to sleep, with room to get there.
const SETTLE_NS: u64 = 150_000;
/// Of a hundred waits, so many must have been slept through.
const ASLEEP_PERCENT: u64 = 90;

/// What the two processes share besides the signal.
#[derive(Debug)]
pub(crate) struct Board(Region);

impl Board {
    /// All zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        Ok(Self(Region::new(2 * LINE)?))
    }

    fn turn(&self) -> &AtomicU64 {
        self.0.word64(0)
    }

    fn set_at(&self) -> &AtomicU64 {
        self.0.word64(LINE)
    }

    fn last(&self) -> &AtomicU64 {
        self.0.word64(LINE + 8)
    }
}

/// The life of the process that is woken.
pub(crate) fn waiter(signal: &impl Signal, board: &Board, duration_ns: u64) -> Result<Report, Fault> {
    let mut end = signal.open()?;
    let (mut histogram, mut rates) = (histogram()?, Windows::new(duration_ns));
    let slept_before = sleeps()?;
    let warm = now_ns() + duration_ns / 5;
    let mut turns = 0;
    loop {
        turns += 1;
        board.turn().store(turns, Ordering::Release);
        end.wait()?;
        let now = now_ns();
        if now >= warm {
            histogram.saturating_record(now.saturating_sub(board.set_at().load(Ordering::Acquire)));
            rates.note(now, turns);
        }
        if board.last().load(Ordering::Acquire) == 1 {
            break;
        }
    }
    let slept = sleeps()?.saturating_sub(slept_before);
    if slept * 100 < turns * ASLEEP_PERCENT {
        return Err(Fault::failed(
            "waiting asleep",
            format!("the waiter slept {slept} times in {turns} waits"),
        ));
    }
    let latencies = counts(&histogram);
    Ok(Report { received: turns, latencies, rates: rates.finish(now_ns(), turns), ..Report::default() })
}

/// The life of the process that sets.
pub(crate) fn setter(signal: &impl Signal, board: &Board, duration_ns: u64) -> Result<Report, Fault> {
    let mut end = signal.open()?;
    let stop = now_ns() + duration_ns;
    for turn in 1.. {
        while board.turn().load(Ordering::Acquire) < turn {
            spin_loop();
        }
        let due = now_ns() + SETTLE_NS;
        while now_ns() < due {
            spin_loop();
        }
        let now = now_ns();
        board.last().store(u64::from(now >= stop), Ordering::Release);
        board.set_at().store(now_ns(), Ordering::Release);
        end.set()?;
        if now >= stop {
            return Ok(Report { sent: turn, ..Report::default() });
        }
    }
    Err(Fault::failed("setting", "the turns have run out"))
}

/// How often this process gave its core up to wait.
fn sleeps() -> Result<u64, Fault> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| Fault::failed("getrusage", error))?;
    Ok(usage.voluntary_context_switches() as u64)
}
