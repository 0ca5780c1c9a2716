//! `mpsc`: a lane for each sender, one receiver that goes round them. Messages are arrays of words, which cross as
//! their bytes.

use ginnel::Raw;
use ginnel::mpsc::{Options, Receiver, Sender};

use crate::arena::{Arena, NAME, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Fixed, Stop, Writer};
use crate::plan::Row;
use crate::transport::{Consumer, Producer, Transport};

/// A channel in a manager of its own.
#[derive(Debug)]
pub struct Lanes<const N: usize> {
    arena: Arena,
    options: Options,
}

impl<const N: usize> Lanes<N> {
    /// A channel with a lane of the row's capacity for each producer.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(row: &Row) -> Result<Self, Fault> {
        let producers = row.shape.producers;
        // A lane rounds its size up, and has a header for each message.
        let arena = Arena::new(producers * 4 * row.slots() * (row.size + 8))?;
        let options = Options::new().senders(producers).capacity(row.slots()).wait(wait_of(row));
        Ok(Self { arena, options })
    }
}

impl<const N: usize> Transport for Lanes<N> {
    type Size = Fixed<N>;
    type Producer<'a> = LaneSender<N>;
    type Consumer<'a> = LanesReceiver<N>;

    fn size(&self) -> Fixed<N> {
        Fixed
    }

    fn producer(&self) -> Result<LaneSender<N>, Fault> {
        let sender = self.options.sender(&self.arena.attach()?, NAME);
        Ok(LaneSender(sender.map_err(|error| failed("taking a sender's lane", error))?))
    }

    fn consumer(&self) -> Result<LanesReceiver<N>, Fault> {
        let receiver = self.options.receiver(&self.arena.attach()?, NAME);
        Ok(LanesReceiver(receiver.map_err(|error| failed("taking the receiver's end", error))?))
    }
}

/// The sending end of one process.
#[derive(Debug)]
pub struct LaneSender<const N: usize>(Sender<Raw<[u64; N]>>);

impl<const N: usize> Producer<Fixed<N>> for LaneSender<N> {
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

/// The receiving end.
#[derive(Debug)]
pub struct LanesReceiver<const N: usize>(Receiver<Raw<[u64; N]>>);

impl<const N: usize> Consumer<Fixed<N>> for LanesReceiver<N> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<Fixed<N>>, _limit: usize) -> Result<(), Stop> {
        let Raw(message) = self.0.recv().map_err(|error| failed("recv", error))?;
        checker.accept(size_of::<[u64; N]>(), &message)
    }
}
