//! The sending core: bytes and parcels into records.
//!
//! - I4 the end is dropped once, by `Drop`.

use std::mem::ManuallyDrop;

use ginnel_layout::entry::Carrier;
use ginnel_layout::record::{GRANULE, kind};
use ginnel_queue::lane::{LaneError, Producer};
use ginnel_sync::Deadline;

use super::{Stopped, too_long};
use crate::carry::{self, Outgoing};
use crate::envelope;
use crate::error::Result;
use crate::message::Message;
use crate::spsc::Attached;

/// Bytes of a part of a long message.
pub(super) const PART: usize = 32 << 10;

/// The sending end of a simplex, whatever its messages are.
#[derive(Debug)]
pub(crate) struct Out {
    way: Way,
    attached: Attached,
}

/// The lane, and how messages are cut.
#[derive(Debug)]
struct Way {
    /// Dropped by hand: before the mapping it works on, and not at all in a forked child, or once it was sent.
    end: ManuallyDrop<Producer>,
    /// Longest payload of a message that is one record.
    whole: usize,
    /// Payload of a part of a longer one.
    part: usize,
    /// Longest message.
    max: u64,
}

/// How far a long message is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Progress {
    begun: bool,
    sent: usize,
}

impl Drop for Out {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.attached.leave() {
            // SAFETY: I4: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.way.end) }
        }
    }
}

impl Out {
    pub(super) fn new(end: Producer, attached: Attached, max: u64) -> Self {
        let quarter = (end.shape().size / 4 - 2 * GRANULE) as usize;
        let way = Way { end: ManuallyDrop::new(end), whole: quarter, part: quarter.min(PART), max };
        Self { way, attached }
    }

    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    pub(super) fn producer(&self) -> &Producer {
        &self.way.end
    }

    /// Longest message, in bytes.
    pub(super) fn max(&self) -> u64 {
        self.way.max
    }

    /// Longest message that is one record.
    pub(super) fn whole(&self) -> usize {
        self.way.whole
    }

    /// # Errors
    /// `Forked`; `Invalid` when it was sent.
    #[inline(always)]
    fn check(&self) -> Result<()> {
        if self.attached.check() { Ok(()) } else { self.attached.tenure().usable() }
    }

    /// Sends bytes; waits until `deadline`, if there is one.
    #[inline(always)]
    pub(super) fn send_bytes(&mut self, body: &[u8], deadline: Option<Deadline>) -> Result<(), Stopped> {
        self.check()?;
        self.way.send(&self.attached, body, deadline)
    }

    /// Sends as many of the messages as fit now with one commit: at least one. None of them is long.
    #[inline]
    pub(super) fn send_batch(&mut self, bodies: &[&[u8]], deadline: Deadline) -> Result<usize, Stopped> {
        self.check()?;
        match self.way.end.try_send_batch(bodies) {
            Err(LaneError::WouldBlock) => {
                self.way.wait_for_room(&self.attached, bodies[0].len(), deadline)?;
                Ok(self.way.end.try_send_batch(bodies)?)
            }
            result => Ok(result?),
        }
    }

    /// Sends a value; waits until `deadline`, if there is one.
    #[inline(always)]
    pub(super) fn send<T: Message>(&mut self, value: &T, deadline: Option<Deadline>) -> Result<(), Stopped> {
        self.check()?;
        let Self { way, attached } = self;
        if T::FIXED.is_some() {
            return value.with_bytes(|body| way.send(attached, body, deadline))?;
        }
        carry::collecting(attached.object.arena(), || {
            value.with_bytes(|body| match carry::collected() {
                None => way.send(attached, body, deadline),
                Some(parcels) => way.send_carrying(attached, body, parcels, deadline),
            })
        })?
    }

    /// Encodes a value, and gives the bytes and what they carry.
    pub(super) fn encode<T: Message, R>(
        &mut self,
        value: &T,
        f: impl FnOnce(&mut Self, &[u8], Option<Outgoing>) -> R,
    ) -> Result<R> {
        self.check()?;
        let arena = std::sync::Arc::clone(self.attached.object.arena());
        carry::collecting(&arena, || value.with_bytes(|body| f(self, body, carry::collected())))
    }

    /// Must a message of so many bytes, its table among them, go in parts?
    pub(super) fn is_long(&self, len: usize) -> bool {
        len > self.way.whole
    }

    /// # Errors
    /// `TooLarge` when a message of such a body and such a table can never be sent.
    pub(super) fn check_long(&self, body: usize, table: usize) -> Result<(), Stopped> {
        self.way.check_long(body, table)
    }

    /// Sends what is left of a long message, as much as fits now. True: that was all.
    pub(super) fn send_parts(
        &mut self,
        body: &[u8],
        table: &[u8],
        parcels: &mut Option<Outgoing>,
        progress: &mut Progress,
    ) -> Result<bool, Stopped> {
        self.check()?;
        self.way.send_parts(&self.attached, (body, table), parcels, progress, None)
    }
}

impl Way {
    #[inline(always)]
    fn send(&mut self, attached: &Attached, body: &[u8], deadline: Option<Deadline>) -> Result<(), Stopped> {
        if body.len() > self.whole {
            return self.send_long(attached, body, None, deadline);
        }
        match (self.end.try_send(body), deadline) {
            (Err(LaneError::WouldBlock), Some(deadline)) => {
                self.wait_for_room(attached, body.len(), deadline)?;
                Ok(self.end.try_send(body)?)
            }
            (result, _) => Ok(result?),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait_for_room(
        &mut self,
        attached: &Attached,
        len: usize,
        deadline: Deadline,
    ) -> Result<(), LaneError> {
        loop {
            match self.end.wait_for_room(len as u64, deadline, attached.object.arena().segment()) {
                Err(LaneError::Interrupted) => {}
                result => return result,
            }
        }
    }

    /// Makes sure that a record of `len` bytes can be sent; waits for it, if it may.
    fn room(&mut self, attached: &Attached, len: usize, deadline: Option<Deadline>) -> Result<(), LaneError> {
        match (self.end.has_room(len as u64), deadline) {
            (Err(LaneError::WouldBlock), Some(deadline)) => self.wait_for_room(attached, len, deadline),
            (result, _) => result,
        }
    }

    #[cold]
    fn send_carrying(
        &mut self,
        attached: &Attached,
        body: &[u8],
        parcels: Outgoing,
        deadline: Option<Deadline>,
    ) -> Result<(), Stopped> {
        let table = envelope::tail_of(&parcels);
        let len = body.len() + table.len();
        if len > self.whole {
            return self.send_long(attached, body, Some((parcels, &table)), deadline);
        }
        self.room(attached, len, deadline)?;
        self.commit_carrying(attached, kind::CARRIES, &[body, &table], parcels)
    }

    /// Sends a record with a table, for which there is room.
    fn commit_carrying(
        &mut self,
        attached: &Attached,
        kind: u8,
        payload: &[&[u8]],
        parcels: Outgoing,
    ) -> Result<(), Stopped> {
        parcels.check_way(&attached.object)?;
        parcels.set_carrier(Carrier { entry: attached.object.index() as u16, position: self.end.place() });
        self.end.try_send_parts(kind, payload)?;
        parcels.sent(); // I2
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn send_long(
        &mut self,
        attached: &Attached,
        body: &[u8],
        carried: Option<(Outgoing, &[u8])>,
        deadline: Option<Deadline>,
    ) -> Result<(), Stopped> {
        let (mut parcels, table) = carried.map_or((None, &[][..]), |(parcels, table)| (Some(parcels), table));
        let Some(deadline) = deadline else {
            return self.send_at_once(attached, body, table, parcels);
        };
        self.check_long(body.len(), table.len())?;
        // Dropped before its end, it leaves parts that belong to nothing (I1).
        let progress = &mut Progress::default();
        self.send_parts(attached, (body, table), &mut parcels, progress, Some(deadline)).map(drop)
    }

    /// Sends a message that is longer than usual as one record, if there is room for it now.
    fn send_at_once(
        &mut self,
        attached: &Attached,
        body: &[u8],
        table: &[u8],
        parcels: Option<Outgoing>,
    ) -> Result<(), Stopped> {
        let (len, half) = (body.len() + table.len(), self.end.shape().size as usize / 2);
        if len + 2 * GRANULE as usize > half {
            let advice = "it goes in parts between which its sender waits: use `send`, or make a larger ring";
            return Err(too_long(len as u64, half as u64 - 2 * GRANULE, advice));
        }
        self.check_long(body.len(), table.len())?;
        self.room(attached, len, None)?;
        match parcels {
            None => Ok(self.end.try_send(body)?),
            Some(parcels) => self.commit_carrying(attached, kind::CARRIES, &[body, table], parcels),
        }
    }

    fn check_long(&self, body: usize, table: usize) -> Result<(), Stopped> {
        if body as u64 > self.max {
            return Err(too_long(body as u64, self.max, "raise `max_message`, or send in pieces"));
        }
        let most = self.end.shape().len_max();
        if table as u64 > most {
            return Err(too_long(table as u64, most, "it carries more handles than the ring can hold"));
        }
        Ok(())
    }

    /// Sends parts until all is sent, or there is no room and no time to wait for it. True: all is sent.
    fn send_parts(
        &mut self,
        attached: &Attached,
        (body, table): (&[u8], &[u8]),
        parcels: &mut Option<Outgoing>,
        progress: &mut Progress,
        deadline: Option<Deadline>,
    ) -> Result<bool, Stopped> {
        loop {
            let rest = &body[progress.sent..];
            let len = (body.len() as u64).to_ne_bytes();
            let head = if progress.begun { &[][..] } else { &len[..] };
            let is_last = progress.begun && (rest.is_empty() || rest.len() + table.len() <= self.part);
            let bytes = if is_last { rest } else { &rest[..rest.len().min(self.part - head.len())] };
            let wanted = head.len() + bytes.len() + if is_last { table.len() } else { 0 };
            match self.room(attached, wanted, deadline) {
                Err(LaneError::WouldBlock) => return Ok(false),
                result => result?,
            }
            match (is_last, parcels.take()) {
                (true, Some(parcels)) => {
                    self.commit_carrying(attached, kind::LAST_CARRIES, &[bytes, table], parcels)?;
                }
                (true, None) => self.end.try_send_parts(kind::LAST, &[bytes])?,
                (false, kept) => {
                    *parcels = kept;
                    let kind = if progress.begun { kind::MORE } else { kind::FIRST };
                    self.end.try_send_parts(kind, &[head, bytes])?;
                }
            }
            *progress = Progress { begun: true, sent: progress.sent + bytes.len() };
            if is_last {
                return Ok(true);
            }
        }
    }
}
