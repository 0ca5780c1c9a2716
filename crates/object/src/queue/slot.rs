//! A place in a queue, taken before the message is there.

use std::fmt;
use std::marker::PhantomData;

use ginnel_queue::ring::{Claim, RingError};

use super::core::{Core, Patience, Stopped};
use super::{Queue, Sender};
use crate::error::{Result, SendError};
use crate::message::Message;

/// Room for one message. [`Slot::send`] fills it; dropping it sends nothing.
///
/// Receivers that come to it wait for it while it exists, and a process killed with one has sent nothing. So send at
/// once, and do not wait for anything in between.
#[must_use = "dropped, it sends nothing, and receivers wait for it meanwhile"]
pub struct Slot<'a, T> {
    core: &'a Core,
    claim: Claim<'a>,
    payload: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Slot<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("position", &self.claim.position()).finish_non_exhaustive()
    }
}

impl<T: Message> Slot<'_, T> {
    /// Sends `value` in it. Never waits.
    ///
    /// # Errors
    /// `Failed` with `Full` when there is no memory for what a message too long for a slot takes, `TooLarge`, `Encode`,
    /// `Forked`; then nothing was sent.
    pub fn send(self, value: T) -> Result<(), SendError<T>> {
        let Self { core, claim, .. } = self;
        core.send_in(&value, || Ok(claim)).map_err(|why| core.send_error(why, value))
    }
}

impl Core {
    /// A slot, if there is room now.
    fn try_reserve<T: Message>(&self) -> Result<Option<Slot<'_, T>>> {
        self.object().check_fork_fast()?;
        match self.claim(Patience::None) {
            Ok(claim) => Ok(Some(Slot { core: self, claim, payload: PhantomData })),
            Err(RingError::WouldBlock | RingError::Busy(_) | RingError::NoMemory) => Ok(None),
            Err(why) => Err(self.error(Stopped::Ring(why))),
        }
    }
}

impl<T: Message> Queue<T> {
    /// Takes the next place in the queue, for a message that is sent at once. None: it is full now. Never waits.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Corrupted`.
    pub fn try_reserve(&self) -> Result<Option<Slot<'_, T>>> {
        self.core.try_reserve()
    }
}

impl<T: Message> Sender<T> {
    /// Takes the next place in the queue, for a message that is sent at once. None: it is full now. Never waits.
    ///
    /// # Errors
    /// `Closed`, `Forked`, `Corrupted`.
    pub fn try_reserve(&self) -> Result<Option<Slot<'_, T>>> {
        self.core.try_reserve()
    }
}
