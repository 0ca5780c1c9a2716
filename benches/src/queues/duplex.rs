//! `duplex`: one direction of our pipe of bytes; a round trip uses both. Sent from a private buffer and received into
//! one, so every message is copied in and out, as with `limit-copy`. The ring is as large as that of the other rows of
//! its size, and never smaller than where nothing is said: messages of more than a quarter of it go in parts.

use ginnel::Object;
use ginnel::pipe::{ByteReceiver, ByteSender, Options};
use zerocopy::IntoBytes;

use crate::arena::{Arena, NAME, failed, wait_of};
use crate::fault::Fault;
use crate::payload::{Accept, Size, Stop, Writer};
use crate::plan::Row;
use crate::transport::{Consumer, Producer, Transport};

/// Bytes of the ring of a pipe where nothing is said.
const RING_LEAST: usize = 256 << 10;
/// More than what belongs to a ring beside its bytes.
const ROOM: usize = 1 << 20;

/// One direction of a pipe, in a manager of its own. Each process takes its end by name.
#[derive(Debug)]
pub struct Duplex<S> {
    arena: Arena,
    options: Options,
    size: S,
}

impl<S: Size> Duplex<S> {
    /// A direction whose ends wait as the row says.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(size: S, row: &Row) -> Result<Self, Fault> {
        let ring = row.ring_size().max(RING_LEAST);
        let options = Options::new().size(ring).wait(wait_of(row));
        Ok(Self { arena: Arena::new(ring + ROOM)?, options, size })
    }

    fn end<T: Object<Options = Options>>(&self) -> Result<End<T>, Fault> {
        let end = self.arena.attach()?.get_or_create_with(NAME, self.options.clone());
        let end = end.map_err(|error| failed("taking an end of the pipe", error))?;
        Ok(End { end, private: vec![0; self.size.words()] })
    }
}

impl<S: Size> Transport for Duplex<S> {
    type Size = S;
    type Producer<'a> = End<ByteSender>;
    type Consumer<'a> = End<ByteReceiver>;

    fn size(&self) -> S {
        self.size
    }

    fn producer(&self) -> Result<End<ByteSender>, Fault> {
        self.end()
    }

    fn consumer(&self) -> Result<End<ByteReceiver>, Fault> {
        self.end()
    }
}

/// Either end, with its private buffer.
#[derive(Debug)]
pub struct End<T> {
    end: T,
    private: Vec<u64>,
}

impl<S: Size> Producer<S> for End<ByteSender> {
    #[inline(always)]
    fn send(&mut self, writer: &mut Writer<S>, count: usize) -> Result<(), Fault> {
        let bytes = writer.size().bytes();
        for _ in 0..count {
            writer.fill(&mut self.private);
            self.end.send(&self.private.as_bytes()[..bytes]).map_err(|error| failed("send", error))?;
        }
        Ok(())
    }
}

impl<S: Size> Consumer<S> for End<ByteReceiver> {
    #[inline(always)]
    fn recv(&mut self, checker: &mut impl Accept<S>, _limit: usize) -> Result<(), Stop> {
        let bytes = checker.size().bytes();
        let received = self.end.recv_into(&mut self.private.as_mut_bytes()[..bytes]);
        checker.accept(received.map_err(|error| failed("recv_into", error))?, &self.private)
    }
}
