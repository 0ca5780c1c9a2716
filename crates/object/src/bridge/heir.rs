//! Objects by address, and what the child of a fork inherits. For bindings to other languages, whose handles are named by
//! numbers and go on in a forked child, and whose own codecs make messages.

use crate::arena::Will;
use crate::carry::binding;
use crate::error::{Error, ErrorKind, Result};
use crate::manager::{Manager, Object, expect};

/// The random number by which this arena is told from all others.
#[must_use]
pub fn uuid(manager: &Manager) -> [u64; 2] {
    manager.arena.segment().uuid()
}

/// Where the object of a handle is in its arena: its index, and its generation, by which it is told from others that have
/// the same place before and after it.
#[must_use]
pub fn address_of<T: Object>(handle: &T) -> (u32, u32) {
    let object = handle.object();
    (object.index(), object.generation())
}

/// A handle of the object at that address.
///
/// # Errors
/// `NotFound` when it is gone; `Mismatch` when it is of another type; `Invalid` for an end that one process has at a time;
/// `Forked`.
pub fn open_at<T: Object>(manager: &Manager, (index, generation): (u32, u32)) -> Result<T> {
    refuse_exclusive::<T>()?;
    let (object, kind) = manager.arena.upgrade(index, generation)?;
    T::open(expect::<T>(object, kind)?)
}

/// In the child of a fork: the handle `old` of the parent again, for this process. It takes over the hold that was counted
/// for it before the fork, so what it names is there, whatever the parent did meanwhile. Once for each old handle; from the
/// second time on as [`open_at`].
///
/// `manager` is what [`Heir::enter`] gave; with one that was attached otherwise, as [`open_at`].
///
/// # Errors
/// `Invalid` for an end that one process has at a time: it is the parent's. `Mismatch` for a handle of another arena;
/// `NotFound`, `Forked`, `Corrupted`.
pub fn inherit<T: Object>(manager: &Manager, old: &T) -> Result<T> {
    let (object, kind) = manager.arena.inherit(old.object())?;
    refuse_exclusive::<T>()?;
    T::open(expect::<T>(object, kind)?)
}

fn refuse_exclusive<T: Object>() -> Result<()> {
    if T::EXCLUSIVE {
        let why = "an end that one process has at a time has no address, and no forked child inherits it";
        return Err(Error::new(ErrorKind::Invalid, why).with_advice("send it inside a message"));
    }
    Ok(())
}

/// A participant of an arena for the next child that this thread forks, which then holds all that this process holds in
/// the arena at that moment.
///
/// One thread prepares it, forks with `fork` of the C library, and lets it [leave](Heir::leave) in the parent and
/// [enter](Heir::enter) in the child. Dropping it is leaving. Whoever dies in between, and whatever becomes of the fork,
/// leaves nothing: what was counted for a child that is not there is a dead participant's (`arena/heir.rs` has the table).
///
/// In the child the handles of the parent answer `Forked`, as after any fork, and each is [made again](inherit) from the
/// old one. What is not made again is held until the child's attachment ends. Ends that one process has at a time stay the
/// parent's.
#[derive(Debug)]
pub struct Heir {
    will: Will,
}

impl Heir {
    /// Before the fork, in the thread that forks. Some ten microseconds; a quarter of a second while the table of
    /// participants is full.
    ///
    /// # Errors
    /// `Full` when all places stay taken; `Forked`, `TooManyFiles`, `Os`.
    pub fn prepare(manager: &Manager) -> Result<Self> {
        Ok(Self { will: Will::prepare(&manager.arena)? })
    }

    /// After the fork, in the parent, in the same thread. If there is no child, it takes back what was counted for it.
    pub fn leave(self) {
        drop(self.will);
    }

    /// After the fork, in the child: the arena, as a participant of its own.
    ///
    /// # Errors
    /// `Invalid` where no fork happened since [`Heir::prepare`], or more than one did; `Forked` in the child of another
    /// thread; `Os`.
    pub fn enter(self) -> Result<Manager> {
        Ok(Manager { arena: self.will.enter()? })
    }
}

/// For a process that is about to end without dropping its handles: leaves all its sides of channels of the arena, so that
/// whoever waits at the others learns it now, and not when he asks whether it lives. What it still sends is refused as by a
/// closed channel, if it was the last on its side.
pub fn resign(manager: &Manager) {
    manager.arena.resign();
}

/// Makes a handle part of the message that is being encoded in this thread, whatever encodes it. Its number in the message,
/// for [`parcel`]; `None`: no message is.
///
/// # Errors
/// `Invalid` for an end that one process has at a time; `Encode` for an object of another arena; `Full`, `Forked`.
pub fn attach_parcel<T: Object>(handle: &T) -> Result<Option<u32>> {
    binding::attach(handle)
}

/// A handle of what the message that is being decoded in this thread carries under that number; more of them where it is
/// asked more often. `None`: no message is.
///
/// # Errors
/// `Decode` for a number that the message does not carry; `Mismatch` for an object of another type; `Invalid` for an end
/// that one process has at a time.
pub fn parcel<T: Object>(number: u32) -> Result<Option<T>> {
    binding::take(number)
}
