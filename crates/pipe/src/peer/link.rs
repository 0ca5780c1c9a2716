//! A connection, untyped: two halves of memory, a socket, and who is at the other end.
//!
//! The socket carries nothing of a message. It says that the other side is there, wakes those who poll (a byte, and only
//! while they have asked for it), and takes what is shared beside the messages ([`super::share`]).
//!
//! - I1 `ends` borrow the memory of `own` and `foreign`, which lie in the same struct and are unmapped after the ends are
//!   dropped: fields are dropped in the order of their declaration. Nothing gives the ends away.
//! - I2 while somebody polls the socket, it is readable, or a byte is asked for, or the last look found a message. A byte is
//!   asked for from the beginning, and taken only by [`Link::drain`].
//! - I3 whoever finds that the other side has broken the rules seals the fate of both ends (`untrusted`, I3; `gather`), and
//!   every operation asks for that first: it is `Corrupted` for good, also once the other side has hung up.
//!
//! | killed | what is left | the other side |
//! |---|---|---|
//! | in a send | a record nobody sees, or a message without its last part | `PeerDied` after the last whole message |
//! | in a receive | nothing | `PeerDied` at the next send that has no room, or at the hangup |
//! | in a close | a closed mark, or none | `Closed`, or `PeerDied` |
#![allow(unsafe_code, reason = "lends two mappings to the lanes")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ginnel_layout::record::kind;
use ginnel_object::{Error, ErrorKind, Result};
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::{self, OtherHalf, OwnHalf};
use ginnel_segment::ForkMark;
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_sync::deadline::now_ns;
use ginnel_sync::{Deadline, Mode};

use super::gather::{Front, Gather, TOTAL};
use super::share::Shared;
use crate::credentials::Credentials;
use crate::socket::{self, Packet};

/// The byte that wakes.
const WAKE: u8 = b'w';

/// Packets taken from the socket in one go: a peer that sends more is read on at the next look.
const DRAINED_MAX: u32 = 64;

/// How long one who never waits believes that the other side is there.
const TRUST_NS: u64 = 20_000_000;

/// Bytes of a part, at most.
const PART_MAX: usize = 32 << 10;

/// What a handshake has brought together.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) socket: OwnedFd,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) who: Credentials,
    pub(crate) own: Own,
    pub(crate) foreign: Foreign,
    /// Longest message that this side takes.
    pub(crate) longest: u64,
    /// Longest message that the other takes.
    pub(crate) their_longest: u64,
    pub(crate) is_listener: bool,
}

/// The two ends; dropped before the memory (I1).
#[derive(Debug)]
struct Ends {
    sender: untrusted::Sender,
    receiver: untrusted::Receiver,
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// There until the drop.
    ends: Option<Ends>,
    _own: Own,
    _foreign: Foreign,
    socket: OwnedFd,
    pidfd: Option<OwnedFd>,
    pub(super) who: Credentials,
    pub(super) is_listener: bool,
    mark: ForkMark,
    gather: Gather,
    their_longest: u64,
    whole_max: usize,
    part_max: usize,
    /// The other side has hung up, or its process has ended.
    gone: Cell<bool>,
    /// When somebody looked whether it has.
    looked_ns: Cell<u64>,
    /// Somebody polls the socket by himself.
    polled: Cell<bool>,
    /// The byte that was asked for at the beginning is still to come, or in the socket.
    fresh: Cell<bool>,
    pub(super) shared: RefCell<VecDeque<Shared>>,
}

impl Link {
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let Parts { socket, pidfd, who, own, foreign, longest, their_longest, is_listener } = parts;
        // SAFETY: I1.
        let mine = unsafe { OwnHalf::from_raw(own.control(), own.ring(), own.size()) };
        // SAFETY: I1.
        let theirs = unsafe { OtherHalf::from_raw(foreign.control(), foreign.ring(), foreign.size()) };
        let ring = usize::try_from(own.size()).unwrap_or(usize::MAX);
        let (sender, receiver) = untrusted::ends(mine, theirs, Mode::Adaptive);
        // I2. Where something is there already, its sender was faster than this.
        let fresh = receiver.arm();
        Ok(Self {
            ends: Some(Ends { sender, receiver }),
            _own: own,
            _foreign: foreign,
            socket,
            pidfd,
            who,
            is_listener,
            mark: ForkMark::here()?,
            gather: Gather::new(longest),
            their_longest,
            whole_max: ring / 4,
            part_max: (ring / 8).min(PART_MAX),
            gone: Cell::new(false),
            looked_ns: Cell::new(0),
            polled: Cell::new(false),
            fresh: Cell::new(fresh),
            shared: RefCell::default(),
        })
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("they are there until the drop")
    }

    pub(super) fn check_fork(&self) -> Result<()> {
        Ok(self.mark.check()?)
    }

    /// In a forked child every operation fails, and [`Link::error`] says why, whatever is given here.
    #[inline(always)]
    fn check(&self) -> Result<(), LaneError> {
        if self.mark.check().is_err() || self.ends().sender.is_corrupted() {
            Err(LaneError::Corrupted)
        } else {
            Ok(())
        }
    }

    /// Sends what is left of `body` from `*at` on, as far as there is room. An error in the middle gives the message up.
    pub(super) fn send_some(&mut self, body: &[u8], at: &mut usize) -> Result<(), LaneError> {
        self.check()?;
        if body.len() as u64 > self.their_longest {
            return Err(LaneError::TooLarge { len: body.len() as u64, max: self.their_longest });
        }
        if self.gone.get() {
            return Err(self.end_of_sending());
        }
        if body.len() <= self.whole_max {
            return self.commit(kind::WHOLE, &[body]);
        }
        let total = (body.len() as u64).to_le_bytes();
        loop {
            let rest = &body[*at..];
            let part = &rest[..rest.len().min(self.part_max)];
            match (*at == 0, part.len() == rest.len()) {
                (true, _) => self.commit(kind::FIRST, &[&total, part])?,
                (false, false) => self.commit(kind::MORE, &[part])?,
                (false, true) => return self.commit(kind::LAST, &[part]),
            }
            *at += part.len();
        }
    }

    /// Sends all of `body`; waits for room.
    pub(super) fn send(&mut self, body: &[u8], deadline: Deadline) -> Result<(), LaneError> {
        let mut at = 0;
        loop {
            match self.send_some(body, &mut at) {
                Err(LaneError::WouldBlock) => self.wait_for_room(body.len() - at, deadline)?,
                result => return result,
            }
        }
    }

    /// Sends all of `body`, or nothing.
    pub(super) fn try_send(&mut self, body: &[u8]) -> Result<(), LaneError> {
        self.check()?;
        if body.len() > self.whole_max {
            // Each part has a header, its rounding, and the first a length.
            let parts = body.len().div_ceil(self.part_max);
            let needed = (body.len() + 16 * parts + TOTAL) as u64;
            let most = self.ends().sender.len_max() / 2;
            if needed > most && body.len() as u64 <= self.their_longest {
                return Err(LaneError::TooLarge { len: body.len() as u64, max: most });
            }
            if let Some(ends) = &mut self.ends
                && needed <= most
            {
                ends.sender.has_room(needed)?;
            }
        }
        match self.send_some(body, &mut 0) {
            Err(LaneError::WouldBlock) if self.look_again() => Err(self.end_of_sending()),
            result => result,
        }
    }

    /// Bytes of the record for which one waits who has `left` bytes to send.
    fn next_len(&self, left: usize) -> u64 {
        if left <= self.whole_max { left as u64 } else { (self.part_max + TOTAL) as u64 }
    }

    fn wait_for_room(&mut self, left: usize, deadline: Deadline) -> Result<(), LaneError> {
        let len = self.next_len(left).min(self.ends().sender.len_max());
        let Self { ends: Some(ends), socket, pidfd, gone, .. } = self else { return Err(LaneError::Closed) };
        let alive = || !note(gone, socket, pidfd.as_ref());
        match ends.sender.wait_for_room(len, deadline, alive) {
            Err(LaneError::Interrupted) => Ok(()),
            result => result,
        }
    }

    fn commit(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), LaneError> {
        let Some(ends) = &mut self.ends else { return Err(LaneError::Closed) };
        if ends.sender.try_send(kind, parts)? {
            wake(&self.socket);
        }
        Ok(())
    }

    /// What a sender is told whose other side is gone.
    fn end_of_sending(&self) -> LaneError {
        if self.ends().sender.is_closed() { LaneError::Closed } else { LaneError::PeerDied(None) }
    }

    /// The next message, if it is there.
    pub(super) fn front(&mut self) -> Result<Front, LaneError> {
        self.check()?;
        match self.advance() {
            Err(LaneError::WouldBlock) => self.front_again(),
            result => result,
        }
    }

    /// Nothing was there. Where somebody polls, the socket is emptied and a byte asked for.
    #[cold]
    #[inline(never)]
    fn front_again(&mut self) -> Result<Front, LaneError> {
        loop {
            let asked = self.polled.get() && self.arm();
            let gone = self.look_again();
            // What was committed before the end is given first.
            match self.advance() {
                Err(LaneError::WouldBlock) if gone => return Err(LaneError::PeerDied(None)),
                Err(LaneError::WouldBlock) if self.polled.get() && !asked => {}
                result => return result,
            }
        }
    }

    /// Waits until a message is at the front.
    pub(super) fn wait_front(&mut self, deadline: Deadline) -> Result<Front, LaneError> {
        loop {
            match self.front() {
                Err(LaneError::WouldBlock) => {}
                result => return result,
            }
            let Self { ends: Some(ends), socket, pidfd, gone, .. } = self else {
                return Err(LaneError::Closed);
            };
            let alive = || !note(gone, socket, pidfd.as_ref());
            match ends.receiver.wait(deadline, alive) {
                Ok(()) | Err(LaneError::Interrupted) => {}
                Err(why) => return Err(why),
            }
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<Front, LaneError> {
        let Self { ends: Some(ends), gather, socket, .. } = self else { return Err(LaneError::Closed) };
        gather.advance(&mut ends.receiver, &mut |owed| {
            if owed {
                wake(socket);
            }
        })
    }

    /// Copies the message at the front, which is whole in the ring. False: it is not as long as it was.
    pub(super) fn copy_whole(&self, into: &mut [u8]) -> bool {
        self.ends().receiver.read(0, into) == into.len()
    }

    /// The message at the front, which was gathered.
    pub(super) fn gathered(&self) -> &[u8] {
        self.gather.bytes()
    }

    /// Done with the message at the front.
    pub(super) fn taken(&mut self, front: Front) {
        self.gather.taken();
        if front == Front::Gathered {
            return;
        }
        if let Some(ends) = &mut self.ends
            && ends.receiver.release()
        {
            wake(&self.socket);
        }
    }

    /// Asks, now and then, whether the other side is there. True: it is gone.
    fn look_again(&self) -> bool {
        let now = now_ns();
        if !self.gone.get() && now.saturating_sub(self.looked_ns.get()) >= TRUST_NS {
            self.looked_ns.set(now);
            return self.look();
        }
        self.gone.get()
    }

    /// Asks whether the other side is there. True: it is gone.
    pub(super) fn look(&self) -> bool {
        note(&self.gone, &self.socket, self.pidfd.as_ref())
    }

    /// Empties the socket, and asks for a byte at the next message. False: look now.
    pub(super) fn arm(&self) -> bool {
        self.drain();
        !self.gone.get() && self.ends().receiver.arm()
    }

    /// The same for room.
    pub(super) fn arm_room(&self) -> bool {
        self.drain();
        !self.gone.get() && self.ends().sender.arm(self.room_len())
    }

    pub(super) fn disarm(&self) {
        if !self.polled.get() {
            self.ends().receiver.disarm();
        }
    }

    pub(super) fn disarm_room(&self) {
        self.ends().sender.disarm();
    }

    /// Is there something to receive, or to be told?
    pub(super) fn is_ready(&self) -> bool {
        self.gone.get() || self.check().is_err() || self.ends().receiver.is_ready()
    }

    /// Is there room for a record of any message, or something to be told?
    pub(super) fn has_room(&self) -> bool {
        self.gone.get() || self.check().is_err() || self.ends().sender.is_ready(self.room_len())
    }

    /// Room for every record that a message goes in.
    fn room_len(&self) -> u64 {
        self.whole_max as u64
    }

    /// The socket, for one who polls it; from now on a look that finds nothing asks for a byte (I2).
    pub(super) fn poll_fd(&self) -> BorrowedFd<'_> {
        if !self.polled.replace(true) && !self.fresh.get() {
            self.arm();
        }
        self.socket.as_fd()
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Takes what is in the socket.
    pub(super) fn drain(&self) {
        self.fresh.set(false);
        for _ in 0..DRAINED_MAX {
            let mut bytes = [0; Shared::LONGEST];
            match socket::receive(self.socket.as_fd(), &mut bytes) {
                Ok(Packet::Nothing) => return,
                Ok(Packet::Some(len, descriptors)) => {
                    if bytes[..len] != [WAKE] {
                        Shared::keep(&mut self.shared.borrow_mut(), &bytes[..len], descriptors);
                    }
                }
                Ok(Packet::TooManyFiles) => Shared::note_lost(&mut self.shared.borrow_mut()),
                Ok(Packet::Oversized) => {}
                Ok(Packet::End) | Err(_) => {
                    self.gone.set(true);
                    return;
                }
            }
        }
    }

    /// Says in words what went wrong.
    #[cold]
    pub(super) fn error(&self, why: LaneError) -> Error {
        if let Err(forked) = self.check_fork() {
            return forked;
        }
        let who = &self.who;
        match why {
            LaneError::PeerDied(_) => Error::new(ErrorKind::PeerDied, format!("the peer has died ({who})")),
            LaneError::TooLarge { len, max } if len > self.their_longest => Error::new(
                ErrorKind::TooLarge,
                format!("a message of {len} bytes; the peer takes {max} at most"),
            )
            .with_advice("let it raise its `max_message`"),
            LaneError::TooLarge { len, max } => {
                let says = format!("a message of {len} bytes; {max} at most go without waiting");
                Error::new(ErrorKind::TooLarge, says).with_advice("use `send`, or a larger ring")
            }
            LaneError::Closed => Error::new(ErrorKind::Closed, format!("the peer has closed ({who})")),
            LaneError::TimedOut | LaneError::WouldBlock | LaneError::Interrupted => {
                Error::new(ErrorKind::Timeout, "the peer was not ready in time")
            }
            _ => Error::new(ErrorKind::Corrupted, format!("the peer has written what none writes ({who})"))
                .with_advice("the connection is of no use any more: drop it"),
        }
    }
}

/// Whether the other side is gone, which it stays.
fn note(gone: &Cell<bool>, socket: &OwnedFd, pidfd: Option<&OwnedFd>) -> bool {
    if !gone.get() && socket::is_gone(socket.as_fd(), pidfd.map(AsFd::as_fd)) {
        gone.set(true);
    }
    gone.get()
}

/// Pays a byte. A socket that is full wakes as well, and one that is closed needs none.
#[cold]
fn wake(socket: &OwnedFd) {
    let _ = socket::send(socket.as_fd(), &[WAKE], None);
}

impl Drop for Link {
    /// Closes in order. A forked child has inherited the connection and leaves it to its parent.
    fn drop(&mut self) {
        if self.mark.check().is_err() {
            std::mem::forget(self.ends.take());
        }
    }
}

#[cfg(test)]
mod tests;
