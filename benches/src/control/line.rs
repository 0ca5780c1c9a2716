//! `limit-line`: one word on a 128-byte line of its own. A round trip over two of them is the least that two
//! processes can do to tell each other something. It cannot carry a second message before the first is read,
//! so it has no one-way row.

use ginnel_layout::atomic::{AtomicU64, Ordering, spin_loop};
use ginnel_layout::line::LINE;

use crate::fault::Fault;
use crate::memory::Region;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::transport::{Consumer, Producer, Transport};

/// One word, one way.
#[derive(Debug)]
pub struct Line {
    region: Region,
}

impl Line {
    /// A line of zero.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn new() -> Result<Self, Fault> {
        Ok(Self { region: Region::new(LINE)? })
    }
}

impl Transport for Line {
    type Size = Fixed<1>;
    type Producer<'a> = LineProducer<'a>;
    type Consumer<'a> = LineConsumer<'a>;

    fn size(&self) -> Fixed<1> {
        Fixed
    }

    fn producer(&self) -> Result<LineProducer<'_>, Fault> {
        Ok(LineProducer { word: self.region.word64(0) })
    }

    fn consumer(&self) -> Result<LineConsumer<'_>, Fault> {
        Ok(LineConsumer { word: self.region.word64(0), last: 0 })
    }
}

/// Stores the word.
#[derive(Debug)]
pub struct LineProducer<'a> {
    word: &'a AtomicU64,
}

impl Producer<Fixed<1>> for LineProducer<'_> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<1>>, _count: usize) -> Result<(), Fault> {
        self.word.store(writer.head(), Ordering::Release);
        Ok(())
    }
}

/// Spins until the word changes.
#[derive(Debug)]
pub struct LineConsumer<'a> {
    word: &'a AtomicU64,
    last: u64,
}

impl Consumer<Fixed<1>> for LineConsumer<'_> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<1>>, _limit: usize) -> Result<(), Stop> {
        let word = loop {
            let word = self.word.load(Ordering::Acquire);
            if word != self.last {
                break word;
            }
            spin_loop();
        };
        self.last = word;
        checker.accept(8, &[word])
    }
}
