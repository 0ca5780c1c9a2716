//! A message as it lies in its place (a slot or a cell of a queue, a drawer of a process record): taken apart, opened,
//! thrown away.
//!
//! `kind` is the number of parcels, and says whether the bytes are here (`body | table of parcels`) or in an object of
//! their own, which is then what the place names: a *letter*.

use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_segment::Segment;

use crate::arena::Arena;
use crate::carry::{self, Incoming, Outgoing, PARCEL, PARCELS_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::shared::Shared;

/// Set in the `kind` of a message whose bytes lie in an object of their own; the place has its parcel.
pub(crate) const LONG: u32 = 1 << 31;

/// A message taken apart. The rest of its `kind` is the number of its parcels.
enum Message<'a> {
    /// All of it.
    Short { body: &'a [u8], table: &'a [u8] },
    /// Where it is: in an object, `body | table` as well.
    Long { letter: &'a [u8; PARCEL], parcels: usize },
}

impl<'a> Message<'a> {
    /// # Errors
    /// `Corrupted` where the bytes are fewer than the parcels take.
    fn parse(bytes: &'a [u8], kind: u32) -> Result<Self> {
        let parcels = (kind & !LONG) as usize;
        if kind & LONG == 0 {
            return split(bytes, parcels).map(|(body, table)| Self::Short { body, table });
        }
        bytes.first_chunk().map(|letter| Self::Long { letter, parcels }).ok_or_else(impossible)
    }
}

/// The body and the table of parcels.
fn split(bytes: &[u8], parcels: usize) -> Result<(&[u8], &[u8])> {
    let table = parcels.min(PARCELS_MAX) * PARCEL;
    let body = bytes.len().checked_sub(table).filter(|_| parcels <= PARCELS_MAX);
    body.map(|body| bytes.split_at(body)).ok_or_else(impossible)
}

fn impossible() -> Error {
    Error::new(ErrorKind::Corrupted, "a message with an impossible number of handles")
}

/// The table of parcels, as it stands behind the body.
pub(crate) fn table_of(parcels: &Outgoing) -> Vec<u8> {
    parcels.parcels().iter().flat_map(|parcel| parcel.to_bytes()).collect()
}

/// Puts a message that is too long for its place into an object of its own, which becomes the last of its parcels.
/// Gives what stands in the place instead, and the `kind`.
///
/// # Errors
/// `Full` when the manager has no room for it, or the message too many parcels.
pub(crate) fn enclose(
    arena: &Arc<Arena>,
    body: &[u8],
    parcels: &mut Outgoing,
) -> Result<([u8; PARCEL], u32)> {
    let count = parcels.parcels().len() as u32;
    let table = table_of(parcels);
    let letter = if table.is_empty() {
        Shared::of_bytes(arena, body)?
    } else {
        Shared::of_bytes(arena, &[body, &table].concat())?
    };
    parcels.add(letter.letter())?;
    let Some(named) = parcels.parcels().last() else { unreachable!("a parcel was just added") };
    Ok((named.to_bytes(), count | LONG))
}

/// A message whose parcels are ours, not decoded yet.
pub(crate) struct Unpacked<'a> {
    body: &'a [u8],
    /// Where the body is instead, with the parcels behind it.
    letter: Option<Shared<[u8]>>,
    parcels: usize,
    incoming: Incoming,
}

impl<'a> Unpacked<'a> {
    /// RECEIVEs what a message carries. It may be acknowledged after this, not before.
    ///
    /// # Errors
    /// `Corrupted` for a message that names what does not exist; what does was received and is freed.
    pub(crate) fn receive(arena: &Arc<Arena>, bytes: &'a [u8], kind: u32) -> Result<Self> {
        match Message::parse(bytes, kind)? {
            Message::Short { body, table } => {
                let incoming = Incoming::receive(arena, table)?;
                Ok(Self { body, letter: None, parcels: 0, incoming })
            }
            Message::Long { letter, parcels } => {
                let mut incoming = Incoming::receive(arena, letter)?;
                let letter = incoming.letter()?;
                let (_, table) = split(&letter, parcels)?;
                incoming.receive_more(table)?;
                Ok(Self { body: &[], letter: Some(letter), parcels, incoming })
            }
        }
    }

    /// The message may come again; see [`Incoming::leased`].
    pub(crate) fn leased(self) -> Self {
        Self { incoming: self.incoming.leased(), ..self }
    }

    /// Runs `read` on the body; its handles are those that were received. Gives those back, which are freed where
    /// nobody took them. After the acknowledgement, but for a lease.
    pub(crate) fn decode<R>(self, read: impl FnOnce(Result<&[u8]>) -> R) -> (R, Option<Incoming>) {
        let Self { body, letter, parcels, incoming } = self;
        carry::unpacking(incoming, || match &letter {
            None => read(Ok(body)),
            Some(letter) => read(split(letter, parcels).map(|(body, _)| body)),
        })
    }
}

/// What a message carried, all of it ours; its bytes lie where whoever received it kept them.
#[derive(Debug)]
pub(crate) struct Received {
    /// Where they lie instead, with the table behind them.
    letter: Option<(Shared<[u8]>, usize)>,
    incoming: Incoming,
}

impl Received {
    /// [`Unpacked::receive`]: `bytes` are those in the place, with the table behind the body.
    ///
    /// # Errors
    /// As [`Unpacked::receive`].
    pub(crate) fn receive(arena: &Arc<Arena>, bytes: &[u8], kind: u32) -> Result<Self> {
        let Unpacked { letter, parcels, incoming, .. } = Unpacked::receive(arena, bytes, kind)?;
        Ok(Self { letter: letter.map(|letter| (letter, parcels)), incoming })
    }

    /// Bytes of the letter, if there is one.
    pub(crate) fn letter_len(&self) -> Option<usize> {
        self.letter.as_ref().map(|(letter, _)| letter.len())
    }

    /// Runs `read` on the body: that of the letter, or else of `bytes`, which are those of [`Received::receive`]. Its
    /// handles are those that were received. Gives those back, which are freed where nobody took them; after the
    /// acknowledgement.
    pub(crate) fn decode<R>(
        self,
        bytes: &[u8],
        kind: u32,
        read: impl FnOnce(Result<&[u8]>) -> R,
    ) -> (R, Option<Incoming>) {
        let Self { letter, incoming } = self;
        carry::unpacking(incoming, || match &letter {
            None => read(split(bytes, (kind & !LONG) as usize).map(|(body, _)| body)),
            Some((letter, parcels)) => read(split(letter, *parcels).map(|(body, _)| body)),
        })
    }
}

/// Frees what a message carries that nobody will read. It is acknowledged by `acknowledge`, after everything in it was
/// received.
pub(crate) fn discard(segment: &Segment, bytes: &[u8], kind: u32, acknowledge: impl FnOnce()) {
    match Message::parse(bytes, kind) {
        Ok(Message::Short { table, .. }) => carry::discard(segment, table, None, acknowledge),
        Ok(Message::Long { letter, parcels }) => {
            carry::discard(segment, &[], Some((*letter, parcels)), acknowledge);
        }
        Err(_) => acknowledge(),
    }
}

/// Receives, in the name of the dead, what a message carries that goes with its dead consumer.
pub(crate) fn lose(segment: &Segment, bytes: &[u8], kind: u32, dead: ParticipantId) {
    match Message::parse(bytes, kind) {
        Ok(Message::Short { table, .. }) => carry::lose(segment, table, None, dead),
        Ok(Message::Long { letter, parcels }) => carry::lose(segment, &[], Some((*letter, parcels)), dead),
        Err(_) => {}
    }
}

/// What a message of a pipe ends in, if it carries anything: the table of parcels, and how many they are.
pub(crate) fn tail_of(parcels: &Outgoing) -> Vec<u8> {
    let mut tail = table_of(parcels);
    tail.extend((parcels.parcels().len() as u32).to_ne_bytes());
    tail
}

/// The body and the table of parcels of a message that ends in both ([`tail_of`]).
///
/// # Errors
/// `Corrupted` where the bytes are fewer than the parcels take.
pub(crate) fn split_tail(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (bytes, count) = bytes.split_last_chunk().ok_or_else(impossible)?;
    split(bytes, u32::from_ne_bytes(*count) as usize)
}

/// [`discard`] of a message that ends in a table ([`tail_of`]).
pub(crate) fn discard_tailed(segment: &Segment, bytes: &[u8], acknowledge: impl FnOnce()) {
    let table = split_tail(bytes).map_or(&[][..], |(_, table)| table);
    carry::discard(segment, table, None, acknowledge);
}
