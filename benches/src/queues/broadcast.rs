//! `broadcast`: every message to every receiver. Senders never wait for a receiver: one that is too slow misses
//! messages, and is told how many. They are counted here, and no fault: what was received and what was missed must
//! together be what was sent. Messages are arrays of words, which cross as their bytes.

use ginnel::Raw;
use ginnel::broadcast::{Options, Receiver, Sender};

use crate::arena::{Arena, NAME, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::plan::Row;
use crate::transport::{Consumer, Producer, Transport};

/// A channel in a manager of its own.
#[derive(Debug)]
pub struct Channel<const N: usize> {
    arena: Arena,
    options: Options,
}

impl<const N: usize> Channel<N> {
    /// A channel of the row's capacity.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        // A slot has a header and is rounded up.
        let arena = Arena::new(4 * row.slots() * (row.size + 64))?;
        Ok(Self { arena, options: Options::new().capacity(row.slots()).wait(wait_of(row)) })
    }
}

impl<const N: usize> Transport for Channel<N> {
    type Size = Fixed<N>;
    type Producer<'a> = Speaker<N>;
    type Consumer<'a> = Listener<N>;

    fn size(&self) -> Fixed<N> {
        Fixed
    }

    fn producer(&self) -> Result<Speaker<N>, Fault> {
        let sender = self.options.sender(&self.arena.attach()?, NAME);
        Ok(Speaker(sender.map_err(|error| failed("opening the sender", error))?))
    }

    fn consumer(&self) -> Result<Listener<N>, Fault> {
        let receiver = self.options.receiver(&self.arena.attach()?, NAME);
        let receiver = receiver.map_err(|error| failed("opening the receiver", error))?;
        Ok(Listener { receiver, missed: 0 })
    }
}

/// The sending end of one process.
#[derive(Debug)]
pub struct Speaker<const N: usize>(Sender<Raw<[u64; N]>>);

impl<const N: usize> Producer<Fixed<N>> for Speaker<N> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<Fixed<N>>, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            let mut message = [0; N];
            writer.fill(&mut message);
            self.0.send(Raw(message)).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

/// The receiving end of one process.
#[derive(Debug)]
pub struct Listener<const N: usize> {
    receiver: Receiver<Raw<[u64; N]>>,
    missed: u64,
}

impl<const N: usize> Consumer<Fixed<N>> for Listener<N> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<N>>, _limit: usize) -> Result<(), Stop> {
        let Raw(message) = self.receiver.recv().map_err(|error| failed("recv", error))?;
        checker.accept(size_of::<[u64; N]>(), &message)
    }

    fn missed(&mut self) -> u64 {
        self.missed += self.receiver.take_missed();
        self.missed
    }
}
