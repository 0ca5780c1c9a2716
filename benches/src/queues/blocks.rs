//! `blocks`: large buffers that change hands by a message of a `Queue`, from a pool that producer and consumer share.
//!
//! [`Frames`] fills each block in place and checks it in place, as `lane` does with its messages. [`Handover`] neither
//! fills nor touches it: its rows show what claiming, sending, receiving and giving back cost by themselves, which
//! must not depend on the size. There the number that is checked travels beside the block, in the message.

use ginnel::blocks::{Block, Blocks, Options as PoolOptions};
use ginnel::queue::{Options, Queue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zerocopy::FromBytes;

use crate::arena::{Arena, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Dynamic, Fixed, Size, Stop, Writer};
use crate::plan::Row;
use crate::transport::{Consumer, Producer, Transport};

/// The names of the two objects.
const POOL: &str = "pool";
const QUEUE: &str = "queue";
/// Blocks of a pool from which blocks are handed over, whatever their size: few enough for their words to stay in the
/// first-level cache.
const HANDED_OVER: usize = 8;
/// What a block takes at least, and room for its words and for the queue.
const PAGE: usize = 4096;

/// A pool, and a queue for messages `T` with blocks in them.
#[derive(Debug)]
struct Shared(Arena);

impl Shared {
    fn new<T: Serialize + DeserializeOwned + Send + 'static>(row: &Row, count: usize) -> Result<Self, Fault> {
        let arena = Arena::new(count * (row.size.next_multiple_of(PAGE) + PAGE))?;
        let pool = PoolOptions::new(count, row.size);
        let pool = arena.manager().get_or_create_with::<Blocks>(POOL, pool);
        pool.map_err(|error| failed("making the pool", error))?;
        let queue = Options::bounded(count).wait(wait_of(row));
        let queue = arena.manager().get_or_create_with::<Queue<T>>(QUEUE, queue);
        queue.map_err(|error| failed("making the queue", error))?;
        Ok(Self(arena))
    }

    fn end<T: Serialize + DeserializeOwned + Send + 'static>(&self) -> Result<End<T>, Fault> {
        let missing = || Fault::failed("opening an object", "it has no name");
        let manager = self.0.attach()?;
        let pool = manager.get(POOL).map_err(|error| failed("opening the pool", error))?;
        let queue = manager.get(QUEUE).map_err(|error| failed("opening the queue", error))?;
        Ok(End { pool: pool.ok_or_else(missing)?, queue: queue.ok_or_else(missing)? })
    }
}

/// The handles of one process.
#[derive(Debug)]
pub struct End<T> {
    pool: Blocks,
    queue: Queue<T>,
}

/// Blocks that are filled and checked.
#[derive(Debug)]
pub struct Frames {
    shared: Shared,
    size: Dynamic,
}

impl Frames {
    /// As many blocks as the row has slots.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        Ok(Self { shared: Shared::new::<Block>(row, row.slots())?, size: Dynamic(row.size / 8) })
    }
}

impl Transport for Frames {
    type Size = Dynamic;
    type Producer<'a> = End<Block>;
    type Consumer<'a> = End<Block>;

    fn size(&self) -> Dynamic {
        self.size
    }

    fn producer(&self) -> Result<End<Block>, Fault> {
        self.shared.end()
    }

    fn consumer(&self) -> Result<End<Block>, Fault> {
        self.shared.end()
    }
}

impl Producer<Dynamic> for End<Block> {
    fn send(&mut self, writer: &mut Writer<Dynamic>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut block = self.pool.claim().map_err(|error| failed("claim", error))?;
            writer.fill(<[u64]>::mut_from_bytes(&mut block).map_err(|_| misaligned())?);
            self.queue.send(block.freeze()).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

impl Consumer<Dynamic> for End<Block> {
    fn recv(&mut self, checker: &mut impl Accept<Dynamic>, _limit: usize) -> Result<(), Stop> {
        let block = self.queue.recv().map_err(|error| failed("recv", error))?;
        let words = <[u64]>::ref_from_bytes(&block[..block.len() / 8 * 8]).map_err(|_| misaligned())?;
        checker.accept(block.len(), words)
    }
}

/// A block with the number of its message beside it.
type Numbered = (u64, Block);

/// Blocks that only change hands.
#[derive(Debug)]
pub struct Handover {
    shared: Shared,
    block_size: usize,
}

impl Handover {
    /// A pool of blocks of the row's size.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        Ok(Self { shared: Shared::new::<Numbered>(row, HANDED_OVER)?, block_size: row.size })
    }
}

impl Transport for Handover {
    type Size = Fixed<1>;
    type Producer<'a> = End<Numbered>;
    type Consumer<'a> = Receiver;

    fn size(&self) -> Fixed<1> {
        Fixed
    }

    fn producer(&self) -> Result<End<Numbered>, Fault> {
        self.shared.end()
    }

    fn consumer(&self) -> Result<Receiver, Fault> {
        Ok(Receiver { end: self.shared.end()?, block_size: self.block_size })
    }
}

impl Producer<Fixed<1>> for End<Numbered> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<1>>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let block = self.pool.claim().map_err(|error| failed("claim", error))?;
            self.queue.send((writer.head(), block.freeze())).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

/// The receiving handles, which know how large a block must be.
#[derive(Debug)]
pub struct Receiver {
    end: End<Numbered>,
    block_size: usize,
}

impl Consumer<Fixed<1>> for Receiver {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<1>>, _limit: usize) -> Result<(), Stop> {
        let (number, block) = self.end.queue.recv().map_err(|error| failed("recv", error))?;
        // The length of the block stands for that of the message.
        let bytes = if block.len() == self.block_size { checker.size().bytes() } else { block.len() };
        checker.accept(bytes, &[number])
    }
}

/// Blocks begin at pages; one that does not is a defect.
#[cold]
fn misaligned() -> Fault {
    Fault::failed("looking at a block", "it does not begin at a multiple of 8 bytes")
}
