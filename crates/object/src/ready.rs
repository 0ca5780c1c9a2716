//! Readiness: what a handle has to offer to those who wait for several things, and the descriptors behind it.
//!
//! A [`Source`] is what one wait needs of a handle: a [`Port`] to arm and to look at, and where its wakers look for those
//! who poll. An [`Ear`](ginnel_sync::bell::Ear) is one descriptor a process and line, shared by all its waiters, who
//! are counted here in private memory.
//!
//! Two waiters of one line hear the same bytes, and whoever drains takes them from the other. A reactor that looks only
//! after that reports nothing. So:
//!
//! - I1 whoever drains a byte, or leaves while others listen, wakes all others that listen there.
//! - I2 this participant's bit is taken back only by the last listener of a line.
//!
//! The child of a fork has copies of the sockets, which hear nothing that it is told; they are closed with the handles that it
//! inherited. Until then the address of a parent that has died stays taken.
//!
//! Nothing here is shared memory; what a killed process leaves is a bit (`bell`), a socket, which the kernel closes, and
//! beside a named segment the socket's file, which its recovery removes.

mod registration;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::wait::Bells;
use ginnel_segment::Segment;
use ginnel_sync::bell;
use ginnel_sync::park::Arm;
use ginnel_sync::select::Port;

use crate::arena::{Arena, ObjectRef};
use crate::error::{Error, ErrorKind, Result};

pub(crate) use registration::Listener;
pub use registration::Registration;

/// Where this process listens, one place for each line that somebody polls.
#[derive(Debug)]
pub(crate) struct Ears {
    table: Mutex<HashMap<u64, Arc<Listening>>>,
    /// Where the ears beside a named segment are, also those of others, which are rung from here.
    _directory: Option<bell::Directory>,
}

/// One ear, and who listens.
#[derive(Debug)]
struct Listening {
    ear: bell::Ear,
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    next: u64,
    all: Vec<(u64, Waker)>,
}

impl Listening {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        // A panic of a waker's clone leaves the list as it was.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share in an ear. The last one closes it.
pub(crate) struct EarRef {
    arena: Arc<Arena>,
    key: u64,
    /// There until the drop.
    listening: Option<Arc<Listening>>,
}

impl fmt::Debug for EarRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listening().fmt(f)
    }
}

impl Ears {
    /// For an attachment. Who cannot open the directory listens at an abstract address.
    pub(crate) fn of(segment: &Segment) -> Self {
        let directory = segment.directory().ok().flatten();
        let directory = directory.map(|fd| bell::Directory::new(segment.uuid()[0] as u32, fd));
        Self { table: Mutex::default(), _directory: directory }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Arc<Listening>>> {
        // A panic while the map is locked cannot leave it half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EarRef {
    /// The ear of line `line` of `object`.
    ///
    /// # Errors
    /// `Forked`; `Taken` when a stranger listens at its address; `Os`.
    pub(crate) fn of(object: &ObjectRef, line: u8) -> Result<Self> {
        object.check_fork()?;
        let (arena, key) = (object.arena(), key_of(object, line));
        let me = arena.segment().me();
        let mut table = arena.ears().table();
        let listening = match table.get(&key) {
            Some(listening) => Arc::clone(listening),
            None => {
                let ear = bell::Ear::open(key, me).map_err(|why| object.name_error(why_deaf(&why)))?;
                let listening = Arc::new(Listening { ear, listeners: Mutex::default() });
                table.insert(key, Arc::clone(&listening));
                listening
            }
        };
        Ok(Self { arena: Arc::clone(arena), key, listening: Some(listening) })
    }

    fn listening(&self) -> &Listening {
        self.listening.as_deref().expect("it is there until the drop")
    }

    fn me(&self) -> ParticipantId {
        self.arena.segment().me()
    }

    /// Begins to listen, or goes on with another waker. Gives the number to go on with.
    pub(crate) fn listen(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut listeners = self.listening().listeners();
        if let Some(number) = number
            && let Some((_, known)) = listeners.all.iter_mut().find(|(other, _)| *other == number)
        {
            known.clone_from(waker);
            return number;
        }
        listeners.next += 1;
        let number = listeners.next;
        listeners.all.push((number, waker.clone()));
        number
    }

    /// Ends to listen (I1, I2).
    pub(crate) fn leave(&self, number: u64, bells: &Bells) {
        let mut listeners = self.listening().listeners();
        listeners.all.retain(|(other, _)| *other != number);
        if listeners.all.is_empty() {
            // Rung or not, whoever leaves passes on.
            let _ = bell::unwant(bells, self.me());
        } else {
            wake_others(listeners, number);
        }
    }

    /// Asks for a byte at the next wake.
    pub(crate) fn want(&self, bells: &Bells) {
        bell::want(bells, self.key, self.me());
    }

    /// Takes the bytes that are there, for all who listen (I1). True: there were some.
    pub(crate) fn drain(&self, number: u64) -> bool {
        let heard = self.listening().ear.drain();
        if heard {
            wake_others(self.listening().listeners(), number);
        }
        heard
    }
}

fn wake_others(listeners: MutexGuard<'_, Listeners>, number: u64) {
    if listeners.all.len() <= 1 {
        let only_me = listeners.all.iter().all(|(other, _)| *other == number);
        if only_me {
            return;
        }
    }
    let others: Vec<Waker> =
        listeners.all.iter().filter(|(other, _)| *other != number).map(|(_, waker)| waker.clone()).collect();
    // A waker may run anything, this list included.
    drop(listeners);
    others.iter().for_each(Waker::wake_by_ref);
}

impl Drop for EarRef {
    fn drop(&mut self) {
        // In the child of a fork only the copy of the socket goes: a thread that is not there may have the lock.
        if self.arena.segment().check_fork().is_err() {
            return;
        }
        let mut table = self.arena.ears().table();
        let Some(mine) = self.listening.take() else { return };
        // New shares are made under this lock only, so nobody can take one between the look and the removal.
        if Arc::strong_count(&mine) == 2 {
            table.remove(&self.key);
        }
        // Closed under the lock, too: else who opens the same address finds it taken.
        drop(mine);
    }
}

impl AsFd for EarRef {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listening().ear.as_fd()
    }
}

/// The same in every process: which segment, which object (and which of those that had its entry), which line of it.
fn key_of(object: &ObjectRef, line: u8) -> u64 {
    let segment = object.arena().segment();
    let generation = object.generation() & 0xfff;
    let line = (object.index() << 16) | (generation << 4) | u32::from(line & 0xf);
    let key = if segment.name().is_some() { bell::key_beside } else { bell::key };
    key(segment.uuid()[0] as u32, line)
}

fn why_deaf(why: &std::io::Error) -> Error {
    if why.kind() == std::io::ErrorKind::AddrInUse {
        return Error::new(ErrorKind::Taken, "another process listens where this one is to be woken")
            .with_advice("it is no process of ginnel; find it with `ss -xl`");
    }
    Error::new(ErrorKind::Os, format!("no socket to be woken through: {why}")).with_os(why.raw_os_error())
}

/// What one wait needs of a handle.
pub struct Source<'a> {
    pub(crate) port: Box<dyn Port + 'a>,
    pub(crate) hearing: Hearing<'a>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("hearing", &self.hearing).finish_non_exhaustive()
    }
}

/// How one who cannot sleep on the word learns that it is time to look.
#[derive(Debug)]
pub(crate) enum Hearing<'a> {
    /// By a byte.
    Bells { bells: &'a Bells, object: &'a ObjectRef, line: u8 },
    /// By this descriptor becoming readable.
    Fd(BorrowedFd<'a>),
    /// Not at all: it looks again each millisecond.
    Deaf,
}

impl<'a> Source<'a> {
    /// Something with bells. `line` tells the lines of one object apart.
    pub(crate) fn heard(port: impl Port + 'a, bells: &'a Bells, object: &'a ObjectRef, line: u8) -> Self {
        Self { port: Box::new(port), hearing: Hearing::Bells { bells, object, line } }
    }

    /// A descriptor that becomes readable.
    #[doc(hidden)]
    #[must_use]
    pub fn fd(fd: BorrowedFd<'a>) -> Self {
        Self { port: Box::new(FdPort { fd, word: AtomicU32::new(0) }), hearing: Hearing::Fd(fd) }
    }

    /// Something that looks by itself, and is heard of by a descriptor that becomes readable once it is armed.
    #[doc(hidden)]
    pub fn port_and_fd(port: impl Port + 'a, fd: BorrowedFd<'a>) -> Self {
        Self { port: Box::new(port), hearing: Hearing::Fd(fd) }
    }
}

/// The receiving sides' line, and the only one of most objects.
pub(crate) const LINE: u8 = 0;
/// The sending sides' line.
pub(crate) const ROOM_LINE: u8 = 1;
/// The line of those who would read under a read-write lock.
pub(crate) const READ_LINE: u8 = 1;

/// Sealed traits of [`crate::select`]: for the crates of this workspace, and nobody else.
#[doc(hidden)]
pub mod sealed {
    use super::{Result, Source};

    /// Something to receive, to take or to see.
    pub trait Ready {
        /// Borrowed for one wait. Given as well to one that ends its wait, whatever it has taken meanwhile.
        fn source(&self) -> Result<Source<'_>>;

        /// Before a wait: would the calling thread wait for itself?
        fn check(&self) -> Result<()> {
            Ok(())
        }
    }

    /// Something to send into.
    pub trait Room {
        /// Borrowed for one wait.
        fn room(&self) -> Result<Source<'_>>;
    }
}

/// The room to send into a handle, as something to wait for like any other: [`Registration`] and the futures take it,
/// where [`Select::on_send`](crate::select::Select::on_send) needs no wrapper.
///
/// ```
/// use ginnel_object::Queue;
/// use ginnel_object::ready::{Registration, RoomIn};
///
/// let queue = Queue::<u32>::bounded(2)?;
/// let mut room = Registration::new(RoomIn(&queue))?;
/// assert!(!room.arm()?); // there is some
/// while queue.try_send(7).is_ok() {}
/// assert!(room.arm()?); // wait until `room.as_fd()` is readable, then `arm` again
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RoomIn<H>(pub H);

impl<H: sealed::Room> sealed::Ready for RoomIn<H> {
    fn source(&self) -> Result<Source<'_>> {
        self.0.room()
    }
}

impl<T: sealed::Room + ?Sized> sealed::Room for &T {
    fn room(&self) -> Result<Source<'_>> {
        (**self).room()
    }
}

impl<T: sealed::Room + ?Sized> sealed::Room for &mut T {
    fn room(&self) -> Result<Source<'_>> {
        (**self).room()
    }
}

/// A descriptor as a port. It has no word: who waits for one polls.
struct FdPort<'a> {
    fd: BorrowedFd<'a>,
    word: AtomicU32,
}

impl Port for FdPort<'_> {
    fn word(&self) -> &AtomicU32 {
        &self.word
    }

    fn is_ready(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::from_borrowed_fd(self.fd, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Hung up or broken is ready as well: the attempt says which.
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    fn arm(&self) -> Arm {
        Arm::Sleep(0)
    }

    fn pass(&self, _: bool) {}

    fn probe(&self) {}
}
