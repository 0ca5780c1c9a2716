//! The receiving core: records into bytes and parcels.
//!
//! - I4 the end is dropped once, by `Drop`.

use std::mem::ManuallyDrop;

use ginnel_layout::record::kind;
use ginnel_queue::lane::{Consumer, LaneError};
use ginnel_sync::Deadline;

use super::Stopped;
use super::gather::Gathered;
use crate::carry::{self, Incoming};
use crate::envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::spsc::Attached;

/// The receiving end of a simplex, whatever its messages are.
#[derive(Debug)]
pub(crate) struct In {
    way: Way,
    attached: Attached,
}

/// The lane, and what was taken out of it.
#[derive(Debug)]
struct Way {
    /// Dropped by hand: before the mapping it works on, and not at all in a forked child, or once it was sent.
    end: ManuallyDrop<Consumer>,
    gathered: Gathered,
    /// Longest message.
    max: u64,
    /// May the message received last have been delivered before?
    redelivered: bool,
}

/// Where the next message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// In the ring: so many bytes.
    Record(usize),
    /// In the ring, with a table behind the body: so many bytes altogether.
    Carrying(usize),
    /// Here.
    Gathered,
}

/// What became of an attempt to receive into memory of the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// Received: so many bytes.
    Received(usize),
    /// It needs so many, and stays.
    TooShort(usize),
}

impl Drop for In {
    #[allow(unsafe_code, reason = "ManuallyDrop::drop, once, here")]
    fn drop(&mut self) {
        if self.attached.leave() {
            // SAFETY: I4: called once, as the value goes away; nobody touches the end again.
            unsafe { ManuallyDrop::drop(&mut self.way.end) }
        }
    }
}

impl In {
    pub(super) fn new(mut end: Consumer, attached: Attached, max: u64) -> Self {
        end.take_parts();
        let way = Way { end: ManuallyDrop::new(end), gathered: Gathered::default(), max, redelivered: false };
        Self { way, attached }
    }

    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    pub(super) fn consumer(&self) -> &Consumer {
        &self.way.end
    }

    /// Longest message, in bytes.
    pub(super) fn max(&self) -> u64 {
        self.way.max
    }

    /// May the message received last have been delivered before, to a receiver that died?
    pub(super) fn redelivered(&self) -> bool {
        self.way.redelivered
    }

    /// Is a whole message in this end's own memory?
    pub(super) fn has_gathered(&self) -> bool {
        self.way.gathered.is_complete()
    }

    /// # Errors
    /// `Forked`; `Invalid` when it was sent.
    #[inline(always)]
    fn check(&self) -> Result<()> {
        if self.attached.check() { Ok(()) } else { self.attached.tenure().usable() }
    }

    /// Before it is sent to another process: may the message at its head have been delivered before?
    ///
    /// # Errors
    /// `Invalid` in the middle of a message.
    pub(super) fn departing(&self) -> Result<bool> {
        if self.way.gathered.is_nothing() {
            return Ok(self.way.end.seen_before());
        }
        let why = Error::new(ErrorKind::Invalid, "this end has received a part of its next message already");
        Err(self.attached.object.name_error(why).with_advice("receive that message, then send the end"))
    }

    /// Waits until a whole message is here, or the end of them. False: neither came until `deadline`.
    pub(super) fn poll(&mut self, deadline: Option<Deadline>) -> Result<bool, Stopped> {
        self.check()?;
        match self.way.find(&self.attached, deadline) {
            Ok(_) | Err(Stopped::Lane(LaneError::Closed | LaneError::PeerDied(_))) => Ok(true),
            Err(Stopped::Lane(LaneError::WouldBlock | LaneError::TimedOut)) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Receives a value; waits until `deadline`, if there is one.
    #[inline(always)]
    pub(super) fn recv<T: Message>(&mut self, deadline: Option<Deadline>) -> Result<T, Stopped> {
        self.check()?;
        let Self { way, attached } = self;
        let Found::Record(len) = way.find(attached, deadline)? else {
            return way.recv_slowly(attached);
        };
        Ok(T::received(len, |into| {
            way.end.read_at(0, into);
            way.release();
            Ok(())
        })?)
    }

    /// Receives bytes; waits until `deadline`, if there is one.
    pub(super) fn recv_bytes(&mut self, deadline: Option<Deadline>) -> Result<Vec<u8>, Stopped> {
        self.check()?;
        let Self { way, attached } = self;
        match way.find(attached, deadline)? {
            Found::Record(_) => {
                let loan = way.end.loan(1);
                let body = loan.bytes().to_vec();
                way.redelivered = loan.redelivered();
                Ok(body)
            }
            Found::Gathered => Ok(way.take_gathered()),
            Found::Carrying(_) => Err(attached.object.corrupted("handles among bytes").into()),
        }
    }

    /// Receives bytes to where they are to be; waits until `deadline`, if there is one.
    #[inline]
    pub(super) fn recv_into(
        &mut self,
        into: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<Placed, Stopped> {
        self.check()?;
        let Self { way, attached } = self;
        way.recv_into(attached, into, deadline)
    }

    /// [`In::recv_into`] of a message of which `taken` bytes, at least one, were read before.
    #[cold]
    pub(super) fn recv_rest(
        &mut self,
        into: &mut [u8],
        taken: &mut usize,
        deadline: Option<Deadline>,
    ) -> Result<Placed, Stopped> {
        self.check()?;
        let len = match self.way.find(&self.attached, deadline)? {
            Found::Gathered => self.way.gathered.total(),
            Found::Record(len) | Found::Carrying(len) => len,
        };
        match len.saturating_sub(*taken) {
            rest if rest > into.len() => Ok(Placed::TooShort(rest)),
            rest => self.read(&mut into[..rest], taken, deadline).map(Placed::Received),
        }
    }

    /// Copies what comes next of the messages, as if they were one stream. `taken` bytes of the next one were copied
    /// before. Skips messages of no bytes.
    pub(super) fn read(
        &mut self,
        into: &mut [u8],
        taken: &mut usize,
        deadline: Option<Deadline>,
    ) -> Result<usize, Stopped> {
        self.check()?;
        let Self { way, attached } = self;
        loop {
            let found = way.find(attached, deadline)?;
            let len = match found {
                Found::Record(len) => len,
                Found::Gathered => way.gathered.total(),
                Found::Carrying(_) => return Err(attached.object.corrupted("handles among bytes").into()),
            };
            let count = into.len().min(len.saturating_sub(*taken));
            match found {
                Found::Gathered => into[..count].copy_from_slice(&way.gathered.body()[*taken..][..count]),
                _ => way.end.read_at(*taken as u64, &mut into[..count]),
            }
            *taken += count;
            if *taken >= len {
                *taken = 0;
                match found {
                    Found::Gathered => way.gathered.clear(),
                    _ => way.release(),
                }
            }
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
        }
    }
}

impl Way {
    /// Acknowledges the record at the head.
    #[inline(always)]
    fn release(&mut self) {
        self.redelivered = self.end.seen_before();
        self.end.release_one();
    }

    /// The next message; waits until `deadline`, if there is one.
    #[inline(always)]
    fn find(&mut self, attached: &Attached, deadline: Option<Deadline>) -> Result<Found, Stopped> {
        if self.gathered.is_nothing() {
            let first = match (self.end.peek_kind(), deadline) {
                (Err(LaneError::WouldBlock), Some(deadline)) => self.wait(attached, deadline),
                (result, _) => result,
            };
            if let Ok((len, kind::WHOLE)) = first {
                return Ok(Found::Record(len as usize));
            }
        }
        self.find_slowly(attached, deadline)
    }

    /// Waits for a record.
    #[inline(never)]
    fn wait(&mut self, attached: &Attached, deadline: Deadline) -> Result<(u64, u8), LaneError> {
        loop {
            match self.end.wait_for_message(deadline, attached.object.arena().segment()) {
                Err(LaneError::Interrupted) => {}
                result => return result.and_then(|()| self.end.peek_kind()),
            }
        }
    }

    #[inline(never)]
    fn find_slowly(&mut self, attached: &Attached, deadline: Option<Deadline>) -> Result<Found, Stopped> {
        loop {
            if self.gathered.is_complete() {
                return Ok(Found::Gathered);
            }
            let (len, kind) = self.record(attached, deadline)?;
            match kind {
                kind::WHOLE | kind::CARRIES => {
                    self.gathered.clear(); // I1
                    let len = len as usize;
                    return Ok(if kind == kind::WHOLE { Found::Record(len) } else { Found::Carrying(len) });
                }
                kind::FIRST => self.begin(attached)?,
                _ if self.gathered.is_begun() => self.go_on(attached, kind)?,
                _ => self.skip(attached, kind),
            }
        }
    }

    /// Length and kind of the next record; waits until `deadline`, if there is one.
    #[inline]
    fn record(&mut self, attached: &Attached, deadline: Option<Deadline>) -> Result<(u64, u8), Stopped> {
        let found = match (self.end.peek_kind(), deadline) {
            (Err(LaneError::WouldBlock), Some(deadline)) => self.wait(attached, deadline),
            (result, _) => result,
        };
        if let Err(LaneError::Closed | LaneError::PeerDied(_)) = found {
            self.gathered.clear(); // I1
        }
        Ok(found?)
    }

    /// Bytes of the long message whose first part is at the head.
    fn announced(&self, attached: &Attached, len: u64) -> Result<usize, Stopped> {
        let mut total = [0; 8];
        if len < total.len() as u64 {
            return Err(attached.object.corrupted("the first part of a message").into());
        }
        self.end.read_at(0, &mut total);
        let total = u64::from_ne_bytes(total);
        if total > self.max {
            return Err(attached.object.corrupted("the length of a message").into());
        }
        Ok(total as usize)
    }

    /// The first part of a long message is at the head.
    fn begin(&mut self, attached: &Attached) -> Result<(), Stopped> {
        let (len, _) = self.end.peek_kind()?;
        let total = self.announced(attached, len)?;
        self.gathered.begin(total, self.end.seen_before())?;
        let loan = self.end.loan(1);
        // `announced` has seen that there are eight.
        let fits = self.gathered.append(&loan.bytes()[size_of::<u64>()..]);
        drop(loan);
        self.fits(attached, fits)
    }

    /// A further part is at the head.
    fn go_on(&mut self, attached: &Attached, kind: u8) -> Result<(), Stopped> {
        let loan = self.end.loan(1);
        let fits = match kind {
            kind::MORE => self.gathered.append(loan.bytes()),
            kind::LAST => self.gathered.append(loan.bytes()) && self.gathered.complete(None),
            _ => {
                let received = envelope::split_tail(loan.bytes()).and_then(|(rest, table)| {
                    let fits = self.gathered.append(rest);
                    let parcels = Incoming::receive(attached.object.arena(), table)?; // I2
                    Ok(fits && self.gathered.complete(Some(parcels)))
                });
                // A message that names what does not exist is used up all the same: it would never get better.
                received.inspect_err(|_| self.gathered.clear())?
            }
        };
        drop(loan);
        self.fits(attached, fits)
    }

    fn fits(&mut self, attached: &Attached, fits: bool) -> Result<(), Stopped> {
        if fits {
            return Ok(());
        }
        self.gathered.clear();
        Err(attached.object.corrupted("the length of a message").into())
    }

    /// A part of a message whose beginning went with a receiver that died.
    #[cold]
    fn skip(&mut self, attached: &Attached, kind: u8) {
        let loan = self.end.loan(1);
        if kind::carries(kind)
            && let Ok((_, table)) = envelope::split_tail(loan.bytes())
        {
            let table = table.to_vec();
            carry::discard(attached.object.arena().segment(), &table, None, || drop(loan));
        }
    }

    /// Receives what [`Way::find`] found, where it is no record without a table.
    #[cold]
    #[inline(never)]
    fn recv_slowly<T: Message>(&mut self, attached: &Attached) -> Result<T, Stopped> {
        if self.gathered.is_complete() {
            self.redelivered = self.gathered.redelivered();
            let value = match self.gathered.parcels() {
                None => T::from_bytes(self.gathered.body()),
                Some(parcels) => carry::unpacking(parcels, || T::from_bytes(self.gathered.body())).0,
            };
            self.gathered.clear();
            return Ok(value?);
        }
        let loan = self.end.loan(1);
        let message = loan.bytes().to_vec();
        self.redelivered = loan.redelivered();
        let received = envelope::split_tail(&message).and_then(|(body, table)| {
            Ok((body, Incoming::receive(attached.object.arena(), table)?)) // I2
        });
        drop(loan);
        let (body, parcels) = received.map_err(|why| attached.object.name_error(why))?;
        Ok(carry::unpacking(parcels, || T::from_bytes(body)).0?)
    }

    /// The body that was gathered, for good.
    fn take_gathered(&mut self) -> Vec<u8> {
        self.redelivered = self.gathered.redelivered();
        self.gathered.take()
    }

    #[inline]
    fn recv_into(
        &mut self,
        attached: &Attached,
        into: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<Placed, Stopped> {
        if self.gathered.is_nothing() {
            loop {
                let (len, kind) = self.record(attached, deadline)?;
                match kind {
                    kind::WHOLE => return Ok(self.place(len as usize, into)),
                    kind::FIRST => {
                        let total = self.announced(attached, len)?;
                        if total > into.len() {
                            return Ok(Placed::TooShort(total));
                        }
                        if let Some(placed) = self.place_long(attached, (len, total), into, deadline)? {
                            return Ok(placed);
                        }
                        // Its sender began another one.
                    }
                    kind::CARRIES => return Err(attached.object.corrupted("handles among bytes").into()),
                    _ => self.skip(attached, kind),
                }
            }
        }
        if self.gathered.is_begun() && self.gathered.total() > into.len() {
            return Ok(Placed::TooShort(self.gathered.total()));
        }
        match self.find_slowly(attached, deadline)? {
            Found::Record(len) => Ok(self.place(len, into)),
            Found::Carrying(_) => Err(attached.object.corrupted("handles among bytes").into()),
            Found::Gathered => {
                let len = self.gathered.total();
                let Some(room) = into.get_mut(..len) else { return Ok(Placed::TooShort(len)) };
                room.copy_from_slice(self.gathered.body());
                self.redelivered = self.gathered.redelivered();
                self.gathered.clear();
                Ok(Placed::Received(len))
            }
        }
    }

    /// Receives the record at the head, which is a whole message.
    #[inline(always)]
    fn place(&mut self, len: usize, into: &mut [u8]) -> Placed {
        let Some(room) = into.get_mut(..len) else { return Placed::TooShort(len) };
        self.end.read_at(0, room);
        self.release();
        Placed::Received(len)
    }

    /// Receives the long message whose first part, of `len` bytes, is at the head. `None`: its sender gave it up. What
    /// is there when the deadline comes is kept.
    fn place_long(
        &mut self,
        attached: &Attached,
        (mut len, total): (u64, usize),
        into: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<Option<Placed>, Stopped> {
        let into = &mut into[..total];
        let redelivered = self.end.seen_before();
        // Behind the length, the first part has bytes of the body.
        let (mut at, mut skipped) = (0, size_of::<u64>());
        loop {
            let bytes = len as usize - skipped;
            let is_last = match self.end.peek_kind()?.1 {
                kind::FIRST if skipped > 0 => false,
                kind::MORE => false,
                kind::LAST => true,
                _ => return Ok(None), // I1
            };
            let room = into.get_mut(at..at + bytes);
            let fits = room.map(|room| self.end.read_at(skipped as u64, room)).is_some();
            self.end.release_one();
            at += bytes;
            if !fits || (is_last && at != total) {
                return Err(attached.object.corrupted("the length of a message").into());
            }
            if is_last {
                self.redelivered = redelivered;
                return Ok(Some(Placed::Received(total)));
            }
            skipped = 0;
            len = match self.record(attached, deadline) {
                Ok((len, _)) => len,
                Err(why @ Stopped::Lane(LaneError::WouldBlock | LaneError::TimedOut)) => {
                    self.gathered.begin(total, redelivered)?;
                    self.gathered.append(&into[..at]);
                    return Err(why);
                }
                Err(why) => return Err(why),
            };
        }
    }
}
