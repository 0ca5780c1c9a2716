//! What travels inside a message besides bytes: handles, exclusive ends, and blocks.
//!
//! A handle that is serialized inside a message becomes a *parcel*: a ticket that keeps its object alive (`life`), with
//! which an exclusive end may travel (`seat`), or a block that changes hands. The bytes of the message name it by a
//! number; a table at the end of the message says what it is. Which message is being made or read is known to the
//! thread, because serde passes nothing along.
//!
//! Sending: pin each handle while serializing · claim a place in the queue · write the place beside each parcel (its
//! carrier) · write and COMMIT. Receiving: RECEIVE each parcel (it is ours now) · ACKNOWLEDGE · make handles of the
//! tickets · free the tickets. The order is that of the model `lifetime` of testkit.

pub(crate) mod binding;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use ginnel_layout::ParticipantId;
use ginnel_layout::entry::{Carrier, Ticket};
use ginnel_queue::blocks::{BlockId, Pool};
use ginnel_segment::Segment;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::blocks::{Block, Hold, OpenPool};
use crate::error::{Error, ErrorKind, Result};
use crate::life;
use crate::manager::{Object, expect, sealed};
use crate::seat::{Seat, Tenure};
use crate::shared::{self, Shared};
use crate::words;

/// Bytes of a parcel in the table of a message.
pub(crate) const PARCEL: usize = 16;

/// Most parcels in a message.
pub(crate) const PARCELS_MAX: usize = 1024;

/// A parcel as the table of a message names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parcel {
    /// A handle in transit.
    Ticket { ticket: u32, generation: u32 },
    /// A block of the pool whose handle is the parcel `pool` of the same message, before this one.
    Block { pool: u16, id: BlockId },
}

impl Parcel {
    pub(crate) fn to_bytes(self) -> [u8; PARCEL] {
        let mut bytes = [0; PARCEL];
        match self {
            Self::Ticket { ticket, generation } => {
                bytes[0] = 1;
                bytes[4..8].copy_from_slice(&ticket.to_ne_bytes());
                bytes[8..12].copy_from_slice(&generation.to_ne_bytes());
            }
            Self::Block { pool, id } => {
                bytes[0] = 2;
                bytes[2..4].copy_from_slice(&pool.to_ne_bytes());
                bytes[4..8].copy_from_slice(&id.index.to_ne_bytes());
                bytes[8..].copy_from_slice(&id.generation.to_ne_bytes());
            }
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; PARCEL]) -> Option<Self> {
        let half = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match bytes[0] {
            1 => Some(Self::Ticket { ticket: half(4), generation: half(8) }),
            2 => {
                let (_, generation) = bytes.split_last_chunk::<8>()?;
                let id = BlockId { index: half(4), generation: u64::from_ne_bytes(*generation) };
                Some(Self::Block { pool: u16::from_ne_bytes([bytes[2], bytes[3]]), id })
            }
            _ => None,
        }
    }
}

/// Frees what a message carries that nobody will read. The message is acknowledged by `acknowledge`, after everything
/// in it was received.
/// `letter` is the parcel of its bytes, where they do not lie in the slot, and the number of parcels beside them.
pub(crate) fn discard(
    segment: &Segment,
    table: &[u8],
    letter: Option<([u8; PARCEL], usize)>,
    acknowledge: impl FnOnce(),
) {
    let table = whole_table(segment, table, letter);
    let mut tickets: Vec<Option<(u32, Ticket)>> = Vec::new();
    let mut blocks: Vec<(Pool, BlockId)> = Vec::new();
    for bytes in table.as_slice().as_chunks::<PARCEL>().0 {
        let mut received = None;
        match Parcel::from_bytes(*bytes) {
            Some(Parcel::Ticket { ticket, generation }) => {
                received = life::receive(segment, ticket, generation).map(|mine| (ticket, mine));
            }
            Some(Parcel::Block { pool, id }) => {
                let ticket = tickets.get(usize::from(pool)).copied().flatten();
                let entry = ticket.and_then(|(_, mine)| segment.entry(u32::from(mine.entry)));
                let pool = entry.and_then(|entry| words::pool_of(segment, entry));
                blocks.extend(
                    pool.filter(|pool| pool.receive(segment.me(), id).is_ok()).map(|pool| (pool, id)),
                );
            }
            None => {}
        }
        tickets.push(received);
    }
    acknowledge();
    for (pool, id) in blocks {
        pool.clear_carrier(id);
        pool.release(segment.me(), id);
    }
    for (ticket, _) in tickets.into_iter().flatten() {
        life::unpin(segment, ticket);
    }
}

/// What a message carries that is dropped with its dead consumer. Blocks are freed: a generation later they are nobody
/// else's to free again. Tickets have none of their own, so they only become the dead one's. May be repeated.
pub(crate) fn lose(
    segment: &Segment,
    table: &[u8],
    letter: Option<([u8; PARCEL], usize)>,
    dead: ParticipantId,
) {
    let table = whole_table(segment, table, letter);
    let parcels: Vec<_> =
        table.as_chunks::<PARCEL>().0.iter().map(|bytes| Parcel::from_bytes(*bytes)).collect();
    for parcel in &parcels {
        if let Some(Parcel::Block { pool, id }) = parcel
            && let Some(Some(Parcel::Ticket { ticket, .. })) = parcels.get(usize::from(*pool))
            && let Some(pool) =
                life::entry_of_ticket(segment, *ticket).and_then(|entry| words::pool_of(segment, entry))
            && pool.receive(segment.me(), *id).is_ok()
        {
            pool.release(segment.me(), *id);
        }
    }
    for parcel in parcels.into_iter().flatten() {
        if let Parcel::Ticket { ticket, generation } = parcel {
            life::receive_as(segment, ticket, generation, dead);
        }
    }
}

/// The table of a message, with what stands beside the bytes of a long one, and last the parcel of those.
fn whole_table(segment: &Segment, table: &[u8], letter: Option<([u8; PARCEL], usize)>) -> Vec<u8> {
    let mut table = table.to_vec();
    if let Some((parcel, count)) = letter {
        if let Some(Parcel::Ticket { ticket, .. }) = Parcel::from_bytes(parcel) {
            // The ticket keeps the bytes alive, whoever owns it.
            let entry = life::entry_of_ticket(segment, ticket);
            let tail =
                entry.and_then(|entry| shared::tail_of(segment, entry, count.min(PARCELS_MAX) * PARCEL));
            table.extend(tail.unwrap_or_default());
        }
        table.extend(parcel);
    }
    table
}

/// The parcels of a message that is being made. Dropped before the commit, it takes them back.
///
/// One pointer, because most messages have none, and an `Option` of it goes from hand to hand in a register.
#[derive(Debug)]
pub(crate) struct Outgoing(Box<Parcels>);

#[derive(Debug)]
struct Parcels {
    arena: Arc<Arena>,
    parcels: Vec<Parcel>,
    blocks: Vec<Arc<Hold>>,
    ends: Vec<Arc<Seat>>,
}

impl Outgoing {
    /// Nothing yet.
    pub(crate) fn none(arena: &Arc<Arena>) -> Self {
        let arena = Arc::clone(arena);
        Self(Box::new(Parcels { arena, parcels: Vec::new(), blocks: Vec::new(), ends: Vec::new() }))
    }

    pub(crate) fn parcels(&self) -> &[Parcel] {
        &self.0.parcels
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.0.arena
    }

    /// May they stay where many can look at them? Not with blocks, or ends that one process has at a time.
    pub(crate) fn is_shareable(&self) -> bool {
        self.0.blocks.is_empty() && self.0.ends.is_empty()
    }

    /// Were they collected for a message in this arena?
    pub(crate) fn is_of(&self, arena: &Arc<Arena>) -> bool {
        Arc::ptr_eq(&self.0.arena, arena)
    }

    /// May it go through the pipe in `object`? Not with an end of that pipe: nobody could ever receive it, and its ticket
    /// would keep the pipe for good.
    ///
    /// # Errors
    /// `Invalid`.
    pub(crate) fn check_way(&self, object: &ObjectRef) -> Result<()> {
        if self.0.ends.iter().all(|end| end.object().index() != object.index()) {
            return Ok(());
        }
        let why = Error::new(ErrorKind::Invalid, "an end of a pipe cannot be sent through that pipe");
        Err(object.name_error(why).with_advice("send it through another one"))
    }

    /// Writes beside each parcel which message carries it. Before the commit.
    pub(crate) fn set_carrier(&self, carrier: Carrier) {
        for parcel in &self.0.parcels {
            if let Parcel::Ticket { ticket, .. } = *parcel {
                life::set_carrier(self.0.arena.segment(), ticket, carrier);
            }
        }
        self.0.blocks.iter().for_each(|block| block.set_carrier(carrier));
    }

    /// The message is committed: what it carries is no longer ours.
    pub(crate) fn sent(mut self) {
        self.0.parcels.clear();
        self.0.blocks.drain(..).for_each(|block| block.sent());
        self.0.ends.drain(..).for_each(|end| end.sent());
    }

    /// Adds a handle; its number in the message.
    pub(crate) fn add(&mut self, object: &ObjectRef) -> Result<u16> {
        self.add_ticket(object, || object.pin())
    }

    fn add_ticket(&mut self, object: &ObjectRef, pin: impl FnOnce() -> Result<u32>) -> Result<u16> {
        if self.0.parcels.len() >= PARCELS_MAX {
            let why = format!("a message carries at most {PARCELS_MAX} handles");
            return Err(Error::new(ErrorKind::Full, why));
        }
        let ticket = pin()?;
        self.0.parcels.push(Parcel::Ticket { ticket, generation: object.generation() });
        Ok(self.0.parcels.len() as u16 - 1)
    }

    /// Adds an exclusive end, which leaves its owner.
    fn add_end<T: Object>(&mut self, end: &T) -> Result<u16> {
        let Some(tenure) = end.tenure() else { return self.add(end.object()) };
        tenure.usable()?;
        let seen = end.departing()?;
        let mut departed = Ok(());
        let number = self.add_ticket(end.object(), || {
            let ticket = tenure.pin()?;
            departed = tenure.travel(ticket, seen);
            Ok(ticket)
        })?;
        // Where it could not set out, the ticket goes with the message, which is not sent.
        departed?;
        self.keep_end(tenure);
        Ok(number)
    }

    /// Decides about an end that set out, with the message.
    pub(crate) fn keep_end(&mut self, tenure: &Tenure) {
        self.0.ends.push(Arc::clone(tenure.seat()));
    }

    /// Adds a block, behind a handle of its pool.
    fn add_block(&mut self, block: &Block) -> Result<u16> {
        let pool = self.add(block.hold().object())?;
        let refused =
            || Error::new(ErrorKind::Encode, "this block is in a message already, or belongs to a lease");
        let id = block.travel().ok_or_else(refused)?;
        self.0.parcels.push(Parcel::Block { pool, id });
        self.0.blocks.push(Arc::clone(block.hold()));
        Ok(self.0.parcels.len() as u16 - 1)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.blocks.drain(..).for_each(|block| block.stay());
        // Before their tickets, which decide what becomes of them as long as they travel.
        self.0.ends.drain(..).for_each(|end| end.stay());
        for parcel in self.0.parcels.drain(..) {
            if let Parcel::Ticket { ticket, generation } = parcel
                && life::receive(self.0.arena.segment(), ticket, generation).is_some()
            {
                life::unpin(self.0.arena.segment(), ticket);
            }
        }
    }
}

/// The parcels of a message that was received, all of them ours. Dropped, after the acknowledgement, it frees what
/// nobody took.
#[derive(Debug)]
pub(crate) struct Incoming {
    arena: Arc<Arena>,
    parcels: Vec<Received>,
    lease: Lease,
}

/// Is the message leased, or a value that stays where it is, so that it may come again?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    No,
    Yes,
    /// Yes, and it has an exclusive end in it: whoever had made that his could not give it back.
    Refused,
}

/// A parcel that is ours.
#[derive(Debug, Clone)]
enum Received {
    Ticket(u32, Ticket),
    Block(Arc<Hold>),
    /// Not ours: a hold on what a ticket names that stays where it is.
    Held(Box<(ObjectRef, Kind)>),
}

impl Incoming {
    /// RECEIVE: makes the parcels ours. The message may be acknowledged after this, not before.
    ///
    /// # Errors
    /// `Corrupted` for a parcel that does not exist; those before it are ours and are freed.
    pub(crate) fn receive(arena: &Arc<Arena>, table: &[u8]) -> Result<Self> {
        let mut incoming = Self { arena: Arc::clone(arena), parcels: Vec::new(), lease: Lease::No };
        for bytes in table.as_chunks::<PARCEL>().0 {
            let received = incoming.receive_one(*bytes)?;
            incoming.parcels.push(received);
        }
        Ok(incoming)
    }

    /// Looks at parcels that stay where they are, while the caller keeps them from being received: holds of ours on what
    /// they name, which are let go with this.
    ///
    /// # Errors
    /// `Corrupted` for a parcel that does not exist, or is no handle.
    pub(crate) fn peek(arena: &Arc<Arena>, table: &[[u8; PARCEL]]) -> Result<Self> {
        let corrupted = || Error::new(ErrorKind::Corrupted, "a value names a handle that does not exist");
        let look = |bytes: &[u8; PARCEL]| {
            let Some(Parcel::Ticket { ticket, generation }) = Parcel::from_bytes(*bytes) else { return None };
            let there = life::look_at_ticket(arena.segment(), ticket, generation)?;
            Some(Received::Held(Box::new(arena.hold_ticket(there)?)))
        };
        let parcels: Option<Vec<_>> = table.iter().map(look).collect();
        let parcels = parcels.ok_or_else(corrupted)?;
        Ok(Self { arena: Arc::clone(arena), parcels, lease: Lease::Yes })
    }

    fn receive_one(&self, bytes: [u8; PARCEL]) -> Result<Received> {
        let corrupted = || Error::new(ErrorKind::Corrupted, "a message names a handle that does not exist");
        match Parcel::from_bytes(bytes).ok_or_else(corrupted)? {
            Parcel::Ticket { ticket, generation } => {
                let mine = life::receive(self.arena.segment(), ticket, generation).ok_or_else(corrupted)?;
                Ok(Received::Ticket(ticket, mine))
            }
            Parcel::Block { pool, id } => {
                let Some(Received::Ticket(_, mine)) = self.parcels.get(usize::from(pool)) else {
                    return Err(corrupted());
                };
                let (object, _) = self.arena.hold_ticket(*mine).ok_or_else(corrupted)?;
                let pool = Arc::new(OpenPool::open(object)?);
                Ok(Received::Block(Hold::receive(&pool, id)?))
            }
        }
    }

    /// RECEIVEs what lies beside a long message, whose bytes are the only parcel so far: the numbers of the others
    /// begin at zero, as their sender counted them.
    pub(crate) fn receive_more(&mut self, table: &[u8]) -> Result<()> {
        let letter = std::mem::take(&mut self.parcels);
        let more = table.as_chunks::<PARCEL>().0.iter().try_for_each(|bytes| {
            let received = self.receive_one(*bytes)?;
            self.parcels.push(received);
            Ok(())
        });
        self.parcels.extend(letter);
        more
    }

    /// The bytes of a long message: the only parcel so far.
    pub(crate) fn letter(&self) -> Result<Shared<[u8]>> {
        let Some(Received::Ticket(_, mine)) = self.parcels.last() else {
            return Err(Error::new(ErrorKind::Corrupted, "a long message that names no bytes"));
        };
        let found = self.arena.hold_ticket(*mine);
        let (object, kind) =
            found.ok_or_else(|| Error::new(ErrorKind::Corrupted, "the bytes of a long message are gone"))?;
        <Shared<[u8]> as sealed::Sealed>::open(expect::<Shared<[u8]>>(object, kind)?)
    }

    /// The message may come again: exclusive ends in it are refused.
    pub(crate) fn leased(mut self) -> Self {
        self.lease = Lease::Yes;
        self
    }

    /// Was an exclusive end in it refused? Then it is to be given back.
    pub(crate) fn is_refused(&self) -> bool {
        self.lease == Lease::Refused
    }

    /// The lease ends without an acknowledgement: the parcels stay in the message.
    pub(crate) fn leave(mut self) {
        for parcel in self.parcels.drain(..) {
            if let Received::Block(block) = parcel {
                block.leave();
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Blocks before the tickets of their pools.
        for parcel in &self.parcels {
            if let Received::Block(block) = parcel {
                block.acknowledged();
            }
        }
        for parcel in self.parcels.drain(..) {
            if let Received::Ticket(ticket, _) = parcel {
                life::unpin(self.arena.segment(), ticket);
            }
        }
    }
}

thread_local! {
    /// The address of the arena whose message is being made in this thread; 0: none. Only compared.
    static ARENA: Cell<usize> = const { Cell::new(0) };
    /// What it carries, as soon as it carries anything.
    static OUT: RefCell<Option<Outgoing>> = const { RefCell::new(None) };
    /// Why a handle was refused last. Formats do not hand the text of an error on.
    static REFUSED: RefCell<Option<(ErrorKind, String)>> = const { RefCell::new(None) };
    /// What is being read.
    static IN: RefCell<Option<Incoming>> = const { RefCell::new(None) };
}

/// Runs `encode`, whose handles become parcels of a message in `arena`.
#[inline(always)]
pub(crate) fn collecting<R>(arena: &Arc<Arena>, encode: impl FnOnce() -> R) -> R {
    let before = ARENA.replace(Arc::as_ptr(arena) as usize);
    // A message made inside a message collects for itself.
    let _restore = Restore { before, out: if before == 0 { None } else { OUT.take() } };
    encode()
}

/// Puts back what was being collected before, also if the encoding panics.
struct Restore {
    before: usize,
    out: Option<Outgoing>,
}

impl Drop for Restore {
    #[inline(always)]
    fn drop(&mut self) {
        ARENA.set(self.before);
        if self.before != 0 || OUT.with_borrow(Option::is_some) {
            drop(OUT.replace(self.out.take()));
        }
    }
}

/// The parcels collected so far, for the message that is now complete. `None`: there are none.
#[inline(always)]
pub(crate) fn collected() -> Option<Outgoing> {
    OUT.take()
}

/// Was anything collected so far?
#[inline(always)]
pub(crate) fn is_collecting_any() -> bool {
    OUT.with_borrow(Option::is_some)
}

/// Runs `decode`, whose handles are taken from `incoming`; gives both back.
pub(crate) fn unpacking<R>(incoming: Incoming, decode: impl FnOnce() -> R) -> (R, Option<Incoming>) {
    let before = IN.replace(Some(incoming));
    let result = decode();
    (result, IN.replace(before))
}

/// Runs `f` with what the message that is being made in this thread carries.
fn outgoing<E: serde::ser::Error>(
    object: &ObjectRef,
    f: impl FnOnce(&mut Outgoing) -> Result<u16>,
) -> std::result::Result<u16, E> {
    let arena = object.arena();
    let refused = |why: &str| Err(Error::new(ErrorKind::Encode, why));
    let number = match ARENA.get() {
        0 => refused("a handle means something only inside a message of a ginnel queue"),
        active if active != Arc::as_ptr(arena) as usize => {
            refused("a handle can only be sent through a queue of the same manager")
        }
        _ => OUT.with_borrow_mut(|out| f(out.get_or_insert_with(|| Outgoing::none(arena)))),
    };
    number.map_err(refuse)
}

/// What serde is told about a handle that cannot go. [`refusal`] gives it back with its kind.
fn refuse<E: serde::ser::Error>(why: Error) -> E {
    let text = why.to_string();
    REFUSED.set(Some((why.kind(), text.clone())));
    E::custom(text)
}

/// Why the encoding that just failed in this thread did, if that was because of a handle.
#[cold]
pub(crate) fn refusal() -> Option<(ErrorKind, String)> {
    REFUSED.take()
}

/// Serializes a handle: as the number of its parcel.
pub(crate) fn serialize<S: Serializer>(
    object: &ObjectRef,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    outgoing(object, |out| out.add(object))?.serialize(serializer)
}

/// Serializes an exclusive end, which moves into the message, once the message is sent.
pub(crate) fn serialize_end<T: Object, S: Serializer>(
    end: &T,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let other = end.other().map_err(refuse)?;
    let end = other.as_ref().unwrap_or(end);
    outgoing(end.object(), |out| out.add_end(end))?.serialize(serializer)
}

/// Runs `f` with the parcel of that number of the message that is being read in this thread.
fn incoming<R, E: serde::de::Error>(
    number: u16,
    f: impl FnOnce(&mut Incoming, &Received) -> std::result::Result<R, String>,
) -> std::result::Result<R, E> {
    let found = IN.with_borrow_mut(|slot| match slot {
        None => Err("a handle can only be received in a message of a ginnel queue".to_owned()),
        Some(incoming) => {
            let parcel = incoming.parcels.get(usize::from(number)).cloned();
            f(incoming, &parcel.ok_or("a handle that was not sent")?)
        }
    });
    found.map_err(E::custom)
}

/// Makes a handle of its parcel.
pub(crate) fn deserialize<'de, T: Object, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    let number = u16::deserialize(deserializer)?;
    let ((object, kind), ticket) = incoming(number, |incoming, parcel| match parcel {
        // An exclusive end, which alone would ask for its ticket, does not lie where it can be looked at.
        Received::Held(held) if !T::EXCLUSIVE => Ok(((held.0.clone(), held.1), u32::MAX)),
        _ if T::EXCLUSIVE && incoming.lease != Lease::No => {
            incoming.lease = Lease::Refused;
            Err("an exclusive end in a message that may come again".to_owned())
        }
        Received::Block(_) | Received::Held(_) => Err("a block where a handle was expected".to_owned()),
        Received::Ticket(ticket, mine) => {
            let held = incoming.arena.hold_ticket(*mine);
            held.map(|held| (held, *ticket)).ok_or_else(|| "a handle of an object that is gone".to_owned())
        }
    })?;
    expect::<T>(object, kind).and_then(|object| T::arrive(object, ticket)).map_err(D::Error::custom)
}

/// A block moves into the message, once the message is sent.
impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        outgoing(self.hold().object(), |out| out.add_block(self))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        incoming(number, |_, parcel| match parcel {
            Received::Ticket(..) | Received::Held(_) => Err("a handle where a block was expected".to_owned()),
            Received::Block(hold) => Ok(Self::of(Arc::clone(hold))),
        })
    }
}
