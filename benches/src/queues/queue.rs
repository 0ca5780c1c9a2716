//! `queue`: what most programs will use, a `Queue<T>` of a small structure. Each message is encoded by the sender and
//! decoded by the receiver, as for any type that serde knows. The words of a message are the fields of the structure.

use ginnel::queue::{Options, Queue};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, NAME, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::plan::{Row, STRUCTURE};
use crate::transport::{Consumer, Producer, Transport};

/// Words of the structure.
const WORDS: usize = 4;
/// More than a slot of such a queue has, with its word and its share of everything else.
const SLOT_SIZE: usize = 256;

/// A record as programs send them. As it lies in memory it has 32 bytes; encoded it has some more, as the words of a
/// checked message are large numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Trade {
    number: u64,
    price: f64,
    buyer: u32,
    seller: u32,
    at_ns: u64,
}

const _: () = assert!(size_of::<Trade>() == STRUCTURE && WORDS * 8 == STRUCTURE);

impl Trade {
    fn from_words([number, price, parties, at_ns]: [u64; WORDS]) -> Self {
        let (buyer, seller) = ((parties >> 32) as u32, parties as u32);
        Self { number, price: f64::from_bits(price), buyer, seller, at_ns }
    }

    fn words(&self) -> [u64; WORDS] {
        let parties = u64::from(self.buyer) << 32 | u64::from(self.seller);
        [self.number, self.price.to_bits(), parties, self.at_ns]
    }
}

/// A queue in a manager of its own.
#[derive(Debug)]
pub struct Trades(Arena);

impl Trades {
    /// A queue of the row's capacity.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        let arena = Arena::new(row.slots() * SLOT_SIZE)?;
        let options = Options::bounded(row.slots()).wait(wait_of(row));
        let queue = arena.manager().get_or_create_with::<Queue<Trade>>(NAME, options);
        queue.map_err(|error| failed("making the queue", error))?;
        Ok(Self(arena))
    }

    fn end(&self) -> Result<End, Fault> {
        let queue = self.0.attach()?.get(NAME).map_err(|error| failed("opening the queue", error))?;
        Ok(End(queue.ok_or_else(|| Fault::failed("opening the queue", "it has no name"))?))
    }
}

impl Transport for Trades {
    type Size = Fixed<WORDS>;
    type Producer<'a> = End;
    type Consumer<'a> = End;

    fn size(&self) -> Fixed<WORDS> {
        Fixed
    }

    fn producer(&self) -> Result<End, Fault> {
        self.end()
    }

    fn consumer(&self) -> Result<End, Fault> {
        self.end()
    }
}

/// A handle of a process of its own.
#[derive(Debug)]
pub struct End(Queue<Trade>);

impl Producer<Fixed<WORDS>> for End {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<WORDS>>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut words = [0; WORDS];
            writer.fill(&mut words);
            self.0.send(Trade::from_words(words)).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

impl Consumer<Fixed<WORDS>> for End {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<WORDS>>, _limit: usize) -> Result<(), Stop> {
        let trade = self.0.recv().map_err(|error| failed("recv", error))?;
        checker.accept(STRUCTURE, &trade.words())
    }
}
