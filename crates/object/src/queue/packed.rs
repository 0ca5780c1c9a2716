//! Messages that a binding makes: bytes of its own format, and the handles that they name.
//!
//! A language whose values take its interpreter's lock to encode cannot wait for room while it encodes. So it packs
//! first ([`Queue::pack`]), which collects what the value carries, and sends the same bytes as often as it takes
//! ([`Queue::send_packed`]), each time for as long as it can be without its interpreter. Receiving needs nothing of its
//! own: such a binding brings a [`Message`] that decodes.

use std::thread;
use std::time::Duration;

use ginnel_queue::ring::RingError;
use ginnel_sync::Deadline;

use super::core::{Core, Patience, Stopped};
use super::{Queue, Sender};
use crate::blocks::Block;
use crate::carry::{self, Outgoing, PARCEL};
use crate::envelope::{self, table_of};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// How soon one who found no memory for a long message looks again.
const NAP: Duration = Duration::from_millis(1);

/// What packed bytes carry. Dropped, it takes that back.
#[derive(Debug, Default)]
pub struct Freight {
    parcels: Option<Outgoing>,
    /// What stands in the queue instead of bytes that are too long for it, and its kind.
    letter: Option<([u8; PARCEL], u32)>,
}

impl Freight {
    /// Does it carry nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parcels.is_none()
    }
}

/// In the child of a bare fork it is the parent's.
impl Drop for Freight {
    fn drop(&mut self) {
        if self.parcels.as_ref().is_some_and(|parcels| parcels.arena().segment().check_fork().is_err()) {
            std::mem::forget(self.parcels.take());
        }
    }
}

/// Why packed bytes were not sent.
#[derive(Debug)]
pub enum Halt {
    /// There is no room, or no memory for a long message, and there was none within the time. Nothing is lost.
    Full,
    /// Nobody may send any more, or nobody receives.
    Closed,
    /// Everything else.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Makes a block part of the message that is packed in this thread, which it leaves with. Its number there.
///
/// # Errors
/// `Encode` outside of [`Queue::pack`], and for a block that is in a message already; `Full`.
pub fn attach_block(block: &Block) -> Result<u16> {
    let mut room = [0; 8];
    let refused = |_| match carry::refusal() {
        Some((kind, why)) => Error::new(kind, why),
        None => Error::new(ErrorKind::Encode, "this block cannot be sent"),
    };
    let number = postcard::to_slice(block, &mut room).map_err(refused)?;
    postcard::from_bytes(number).map_err(refused)
}

/// The block that the message which is decoded in this thread carries under that number.
///
/// # Errors
/// `Decode` where there is none.
pub fn parcel_block(number: u16) -> Result<Block> {
    let mut room = [0; 8];
    let none = |_| Error::new(ErrorKind::Decode, "a block that the message does not carry");
    let number = postcard::to_slice(&number, &mut room).map_err(none)?;
    postcard::from_bytes(number).map_err(none)
}

impl Core {
    fn pack<R>(&self, encode: impl FnOnce() -> R) -> (R, Freight) {
        carry::collecting(self.arena(), || {
            let result = encode();
            (result, Freight { parcels: carry::collected(), letter: None })
        })
    }

    #[inline]
    fn send_packed(
        &self,
        bytes: &[u8],
        freight: &mut Freight,
        timeout: Option<Duration>,
    ) -> Result<(), Halt> {
        self.object().check_fork_fast()?;
        if freight.parcels.is_some() || !self.fits(bytes.len()) {
            return self.send_freight(bytes, freight, timeout);
        }
        let mut claim = self.claim(patience(timeout)).map_err(|why| self.halt(why))?;
        claim.write(0, bytes);
        claim.commit(bytes.len() as u64, 0);
        Ok(())
    }

    #[cold]
    fn send_freight(
        &self,
        bytes: &[u8],
        freight: &mut Freight,
        timeout: Option<Duration>,
    ) -> Result<(), Halt> {
        let Freight { parcels, letter } = freight;
        let packed = parcels.get_or_insert_with(|| Outgoing::none(self.arena()));
        let table = table_of(packed);
        if letter.is_none() && !self.fits(bytes.len() + table.len()) {
            match envelope::enclose(self.arena(), bytes, packed) {
                Ok(enclosed) => *letter = Some(enclosed),
                Err(error) if error.kind() == ErrorKind::Full => return Err(no_memory(timeout)),
                Err(error) => return Err(self.object().name_error(error).into()),
            }
        }
        let mut claim = self.claim(patience(timeout)).map_err(|why| self.halt(why))?;
        packed.set_carrier(self.carrier(claim.position()));
        match letter {
            Some((named, kind)) => {
                claim.write(0, named);
                claim.commit(PARCEL as u64, *kind);
            }
            None => {
                claim.write(0, bytes);
                claim.write(bytes.len() as u64, &table);
                claim.commit((bytes.len() + table.len()) as u64, packed.parcels().len() as u32);
            }
        }
        if let Some(sent) = parcels.take() {
            sent.sent();
        }
        *letter = None;
        Ok(())
    }

    #[cold]
    fn halt(&self, why: RingError) -> Halt {
        match why {
            RingError::WouldBlock
            | RingError::Busy(_)
            | RingError::NoMemory
            | RingError::TimedOut { .. }
            | RingError::Interrupted => Halt::Full,
            RingError::Closed => Halt::Closed,
            other => Halt::Failed(self.error(Stopped::Ring(other))),
        }
    }
}

fn patience(timeout: Option<Duration>) -> Patience {
    timeout.map_or(Patience::None, |time| Patience::Until(Deadline::after(time)))
}

/// Nobody wakes those who wait for memory.
fn no_memory(timeout: Option<Duration>) -> Halt {
    if let Some(time) = timeout {
        thread::sleep(time.min(NAP));
    }
    Halt::Full
}

impl<T: Message> Queue<T> {
    /// Runs `encode`; the handles that are serialized in it go with the message that it makes.
    #[doc(hidden)]
    pub fn pack<R>(&self, encode: impl FnOnce() -> R) -> (R, Freight) {
        self.core.pack(encode)
    }

    /// Sends `bytes` and `freight`, which is empty after it; waits up to `timeout`, or not at all. May be repeated with
    /// the same bytes after `Full`.
    ///
    /// # Errors
    /// See [`Halt`].
    #[doc(hidden)]
    #[inline]
    pub fn send_packed(
        &self,
        bytes: &[u8],
        freight: &mut Freight,
        timeout: Option<Duration>,
    ) -> Result<(), Halt> {
        self.core.send_packed(bytes, freight, timeout)
    }
}

impl<T: Message> Sender<T> {
    /// [`Queue::pack`].
    #[doc(hidden)]
    pub fn pack<R>(&self, encode: impl FnOnce() -> R) -> (R, Freight) {
        self.core.pack(encode)
    }

    /// [`Queue::send_packed`].
    ///
    /// # Errors
    /// See [`Halt`].
    #[doc(hidden)]
    #[inline]
    pub fn send_packed(
        &self,
        bytes: &[u8],
        freight: &mut Freight,
        timeout: Option<Duration>,
    ) -> Result<(), Halt> {
        self.core.send_packed(bytes, freight, timeout)
    }
}
