//! The limits: what a lock, and a signal, must do at least on this machine. None survives anything.

use ginnel_layout::atomic::{AtomicU32, Ordering, spin_loop};
use ginnel_layout::line::LINE;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::fault::Fault;
use crate::memory::Region;

use super::{Exclusion, Section, Signal, SignalEnd};

/// `limit-cas`: one word, taken by a compare-and-swap and given back by a swap. It never sleeps.
#[derive(Debug)]
pub(crate) struct Cas(Region);

impl Cas {
    /// A line of zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        Ok(Self(Region::new(LINE)?))
    }
}

impl Exclusion for Cas {
    type Section<'a> = CasSection<'a>;

    fn open(&self) -> Result<CasSection<'_>, Fault> {
        Ok(CasSection(self.0.word32(0)))
    }
}

/// The word in the hands of one process.
#[derive(Debug)]
pub(crate) struct CasSection<'a>(&'a AtomicU32);

impl Section for CasSection<'_> {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        while self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        let result = body();
        self.0.swap(0, Ordering::Release);
        Ok(result)
    }
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const WAITED_FOR: u32 = 2;

/// `limit-futex` as a lock: free, taken, taken and waited for. Whoever finds it taken goes to sleep at once.
#[derive(Debug)]
pub(crate) struct FutexMutex(Region);

impl FutexMutex {
    /// A line of zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        Ok(Self(Region::new(LINE)?))
    }
}

impl Exclusion for FutexMutex {
    type Section<'a> = FutexSection<'a>;

    fn open(&self) -> Result<FutexSection<'_>, Fault> {
        Ok(FutexSection(self.0.word32(0)))
    }
}

/// The word in the hands of one process.
#[derive(Debug)]
pub(crate) struct FutexSection<'a>(&'a AtomicU32);

impl FutexSection<'_> {
    #[cold]
    #[inline(never)]
    fn wait(&self) -> Result<(), Fault> {
        while self.0.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            sleep(self.0, WAITED_FOR)?;
        }
        Ok(())
    }
}

impl Section for FutexSection<'_> {
    #[inline(always)]
    fn with<R>(&mut self, body: impl FnOnce() -> R) -> Result<R, Fault> {
        if self.0.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait()?;
        }
        let result = body();
        if self.0.swap(FREE, Ordering::Release) == WAITED_FOR {
            wake(self.0)?;
        }
        Ok(result)
    }
}

/// `limit-futex` as a signal: a word that counts. The waiter always goes to sleep, the setter always wakes.
#[derive(Debug)]
pub(crate) struct BareFutex(Region);

impl BareFutex {
    /// A line of zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        Ok(Self(Region::new(LINE)?))
    }
}

impl Signal for BareFutex {
    type End<'a> = BareFutexEnd<'a>;

    fn open(&self) -> Result<BareFutexEnd<'_>, Fault> {
        Ok(BareFutexEnd { word: self.0.word32(0), turn: 0 })
    }
}

/// Either end: both count the turns.
#[derive(Debug)]
pub(crate) struct BareFutexEnd<'a> {
    word: &'a AtomicU32,
    turn: u32,
}

impl SignalEnd for BareFutexEnd<'_> {
    fn set(&mut self) -> Result<(), Fault> {
        self.turn = self.turn.wrapping_add(1);
        self.word.store(self.turn, Ordering::Release);
        wake(self.word)
    }

    fn wait(&mut self) -> Result<(), Fault> {
        loop {
            sleep(self.word, self.turn)?;
            let turn = self.word.load(Ordering::Acquire);
            if turn != self.turn {
                self.turn = turn;
                return Ok(());
            }
        }
    }
}

/// `limit-line`: a word that counts, and a waiter that spins on it: what one line costs on its way to the other core.
#[derive(Debug)]
pub(crate) struct Lines(Region);

impl Lines {
    /// A line of zero.
    pub(crate) fn new() -> Result<Self, Fault> {
        Ok(Self(Region::new(LINE)?))
    }
}

impl Signal for Lines {
    type End<'a> = LineEnd<'a>;

    fn open(&self) -> Result<LineEnd<'_>, Fault> {
        Ok(LineEnd { word: self.0.word32(0), turn: 0 })
    }
}

/// Either end: both count the turns.
#[derive(Debug)]
pub(crate) struct LineEnd<'a> {
    word: &'a AtomicU32,
    turn: u32,
}

impl SignalEnd for LineEnd<'_> {
    fn set(&mut self) -> Result<(), Fault> {
        self.turn = self.turn.wrapping_add(1);
        self.word.store(self.turn, Ordering::Release);
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Fault> {
        self.turn = self.turn.wrapping_add(1);
        while self.word.load(Ordering::Acquire) != self.turn {
            spin_loop();
        }
        Ok(())
    }
}

/// Sleeps while the word is `expected`. It may return without a reason.
fn sleep(word: &AtomicU32, expected: u32) -> Result<(), Fault> {
    match futex::wait(word.futex_word(), futex::Flags::empty(), expected, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(Fault::failed("futex wait", error)),
    }
}

/// Wakes one. No private flag: the word is shared between processes.
fn wake(word: &AtomicU32) -> Result<(), Fault> {
    futex::wake(word.futex_word(), futex::Flags::empty(), 1)
        .map(drop)
        .map_err(|error| Fault::failed("futex wake", error))
}
