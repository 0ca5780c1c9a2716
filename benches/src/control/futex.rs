//! `limit-futex`: one word and a shared futex. The receiver always goes to sleep in the kernel, the sender
//! always wakes: the least that two sleeping processes can do. The kernel looks at the word before it puts the
//! receiver to sleep, so no wake is lost.

use ginnel_layout::atomic::{AtomicU32, AtomicU64, Ordering};
use ginnel_layout::line::LINE;
use rustix::io::Errno;
use rustix::thread::futex;

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// The futex word is at the start of the line, the message beside it on the same line.
const WORD: usize = 0;
const VALUE: usize = 8;

/// One word, one way, asleep.
#[derive(Debug)]
pub struct Futex {
    region: Region,
}

impl Futex {
    /// A line of zero.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self { region: Region::new(LINE)? })
    }
}

impl Transport for Futex {
    type Size = Fixed<1>;
    type Producer<'a> = FutexEnd<'a>;
    type Consumer<'a> = FutexEnd<'a>;

    fn size(&self) -> Fixed<1> {
        Fixed
    }

    fn producer(&self) -> Result<FutexEnd<'_>, Fault> {
        Ok(FutexEnd { word: self.region.word32(WORD), value: self.region.word64(VALUE), turn: 0 })
    }

    fn consumer(&self) -> Result<FutexEnd<'_>, Fault> {
        self.producer()
    }
}

/// Either end: both count the turns.
#[derive(Debug)]
pub struct FutexEnd<'a> {
    word: &'a AtomicU32,
    value: &'a AtomicU64,
    turn: u32,
}

impl Producer<Fixed<1>> for FutexEnd<'_> {
    fn send(&mut self, writer: &mut Writer<Fixed<1>>, _count: usize) -> Result<(), Fault> {
        self.turn = self.turn.wrapping_add(1);
        self.value.store(writer.head(), Ordering::Relaxed);
        self.word.store(self.turn, Ordering::Release);
        // No private flag: the word is shared between processes.
        futex::wake(self.word.futex_word(), futex::Flags::empty(), 1)
            .map_err(|error| Fault::failed("futex wake", error))?;
        Ok(())
    }
}

impl Consumer<Fixed<1>> for FutexEnd<'_> {
    fn recv(&mut self, checker: &mut impl Accept<Fixed<1>>, _limit: usize) -> Result<(), Stop> {
        loop {
            match futex::wait(self.word.futex_word(), futex::Flags::empty(), self.turn, None) {
                // EAGAIN: the word had changed before we slept.
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(Fault::failed("futex wait", error).into()),
            }
            let turn = self.word.load(Ordering::Acquire);
            if turn != self.turn {
                self.turn = turn;
                break;
            }
        }
        checker.accept(8, &[self.value.load(Ordering::Relaxed)])
    }
}
