//! `lane`: our queue, through the crate that users name.
//!
//! The coordinator makes a private manager; each process attaches to it by its descriptor, as a participant of
//! its own, and takes its end of the lane by role. A single message is written in place (`claim`, `commit`)
//! and read in place (`loan`, dropped). A batch is written to a private array, handed over with one
//! `send_many`, taken with one `recv_many` and checked in a private array; `limit-index` does the same.
//! `lane-copy` sends from a private buffer and copies what it receives into one, as `limit-copy` does.

use ginnel::Manager;
use ginnel::spsc::{self, Options};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::arena::{Arena, NAME, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Dynamic, Fixed, Size, Stop, Writer};
use crate::plan::Row;
use crate::transport::{Consumer, Producer, Transport};

/// The arena and what the lane in it is made with.
#[derive(Debug)]
struct Shared {
    arena: Arena,
    options: Options,
    batch: usize,
}

impl Shared {
    fn new(row: &Row, options: Options) -> Result<Self, Fault> {
        let arena = Arena::new(4 * row.ring_size())?;
        Ok(Self { arena, options: options.wait(wait_of(row)), batch: row.batch })
    }

    fn attach(&self) -> Result<Manager, Fault> {
        self.arena.attach()
    }
}

/// A lane of arrays, for the sizes that the compiler knows.
#[derive(Debug)]
pub struct Lane<const N: usize>(Shared);

impl<const N: usize> Lane<N> {
    /// A lane as large as the row says.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        Ok(Self(Shared::new(row, Options::new().capacity(row.slots()))?))
    }
}

impl<const N: usize> Transport for Lane<N> {
    type Size = Fixed<N>;
    type Producer<'a> = LaneProducer<N>;
    type Consumer<'a> = LaneConsumer<N>;

    fn size(&self) -> Fixed<N> {
        Fixed
    }

    fn producer(&self) -> Result<LaneProducer<N>, Fault> {
        let end = self.0.options.producer(&self.0.attach()?, NAME);
        let end = end.map_err(|error| failed("taking the producer's end", error))?;
        Ok(LaneProducer { end, batch: private(self.0.batch)? })
    }

    fn consumer(&self) -> Result<LaneConsumer<N>, Fault> {
        let end = self.0.options.consumer(&self.0.attach()?, NAME);
        let end = end.map_err(|error| failed("taking the consumer's end", error))?;
        Ok(LaneConsumer { end, batch: private(self.0.batch)? })
    }
}

/// The private array of a batch; empty where messages go one by one. Never on the stack: it may be large.
fn private<const N: usize>(batch: usize) -> Result<Vec<[u64; N]>, Fault> {
    let len = if batch > 1 { batch } else { 0 };
    <[u64; N]>::new_vec_zeroed(len).map_err(|_| Fault::failed("allocating a batch", "no memory"))
}

/// The sending end.
#[derive(Debug)]
pub struct LaneProducer<const N: usize> {
    end: spsc::Producer<[u64; N]>,
    batch: Vec<[u64; N]>,
}

impl<const N: usize> Producer<Fixed<N>> for LaneProducer<N> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<N>>, count: usize) -> Result<(), Fault> {
        if count == 1 {
            let mut claim = self.end.claim().map_err(|error| failed("claim", error))?;
            writer.fill(claim.as_mut_slice());
            claim.commit();
            return Ok(());
        }
        let batch = &mut self.batch[..count];
        for message in &mut *batch {
            writer.fill(message);
        }
        self.end.send_many(batch).map_err(|error| failed("send_many", error))
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct LaneConsumer<const N: usize> {
    end: spsc::Consumer<[u64; N]>,
    batch: Vec<[u64; N]>,
}

impl<const N: usize> Consumer<Fixed<N>> for LaneConsumer<N> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<N>>, limit: usize) -> Result<(), Stop> {
        if limit == 1 {
            let loan = self.end.loan().map_err(|error| failed("loan", error))?;
            return checker.accept(size_of::<[u64; N]>(), loan.as_slice());
        }
        self.batch.clear();
        self.end.recv_many(&mut self.batch, limit).map_err(|error| failed("recv_many", error))?;
        self.batch.iter().try_for_each(|message| checker.accept(size_of::<[u64; N]>(), message))
    }
}

/// A lane of bytes, for any other size. Its rows have no batches.
#[derive(Debug)]
pub struct ByteLane {
    shared: Shared,
    size: Dynamic,
}

impl ByteLane {
    /// A lane as large as the row says.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        // Each message has a header of eight bytes.
        let options = Options::new().size(row.ring_size() + row.slots() * 8);
        Ok(Self { shared: Shared::new(row, options)?, size: Dynamic(row.size / 8) })
    }
}

impl Transport for ByteLane {
    type Size = Dynamic;
    type Producer<'a> = ByteProducer;
    type Consumer<'a> = ByteConsumer;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<ByteProducer, Fault> {
        let end = self.shared.options.producer(&self.shared.attach()?, NAME);
        Ok(ByteProducer(end.map_err(|error| failed("taking the producer's end", error))?))
    }

    fn consumer(&self) -> Result<ByteConsumer, Fault> {
        let end = self.shared.options.consumer(&self.shared.attach()?, NAME);
        Ok(ByteConsumer(end.map_err(|error| failed("taking the consumer's end", error))?))
    }
}

/// The sending end.
#[derive(Debug)]
pub struct ByteProducer(spsc::Producer<[u8]>);

impl Producer<Dynamic> for ByteProducer {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut claim = self.0.claim(writer.size().bytes()).map_err(|error| failed("claim", error))?;
            let words = <[u64]>::mut_from_bytes(&mut claim).map_err(|_| misaligned())?;
            writer.fill(words);
            claim.commit();
        }
        Ok(())
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct ByteConsumer(spsc::Consumer<[u8]>);

impl Consumer<Dynamic> for ByteConsumer {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let loan = self.0.loan().map_err(|error| failed("loan", error))?;
        let whole_words = loan.len() / 8 * 8;
        let words = <[u64]>::ref_from_bytes(&loan[..whole_words]).map_err(|_| misaligned())?;
        checker.accept(loan.len(), words)
    }
}

/// `lane-copy`: a lane of bytes with a private buffer at each end.
#[derive(Debug)]
pub struct CopyLane(ByteLane);

impl CopyLane {
    /// A lane as large as the row says.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        ByteLane::new(row).map(Self)
    }
}

impl Transport for CopyLane {
    type Size = Dynamic;
    type Producer<'a> = CopyProducer;
    type Consumer<'a> = CopyConsumer;

    fn size(&self) -> Dynamic {
        self.0.size
    }

    fn producer(&self) -> Result<CopyProducer, Fault> {
        Ok(CopyProducer { end: self.0.producer()?.0, private: vec![0; self.0.size.words()] })
    }

    fn consumer(&self) -> Result<CopyConsumer, Fault> {
        Ok(CopyConsumer { end: self.0.consumer()?.0, private: vec![0; self.0.size.words()] })
    }
}

/// The sending end, with its private buffer.
#[derive(Debug)]
pub struct CopyProducer {
    end: spsc::Producer<[u8]>,
    private: Vec<u64>,
}

impl Producer<Dynamic> for CopyProducer {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            writer.fill(&mut self.private);
            self.end.send(self.private.as_bytes()).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

/// The receiving end, with its private buffer.
#[derive(Debug)]
pub struct CopyConsumer {
    end: spsc::Consumer<[u8]>,
    private: Vec<u64>,
}

impl Consumer<Dynamic> for CopyConsumer {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let loan = self.end.loan().map_err(|error| failed("loan", error))?;
        let bytes = loan.len();
        // A wrong length is for the checker to refuse; until then only what both have is copied.
        let common = bytes.min(self.private.len() * 8);
        self.private.as_mut_bytes()[..common].copy_from_slice(&loan[..common]);
        drop(loan);
        checker.accept(bytes, &self.private)
    }
}

/// Records begin at multiples of eight bytes; one that does not is a defect of the lane.
#[cold]
fn misaligned() -> Fault {
    Fault::failed("looking at a message", "it does not begin at a multiple of 8 bytes")
}
