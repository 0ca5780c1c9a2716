//! Where a number of parties meet, in phases; the death of one is told, or its place is free for another.
//!
//! ```text
//! byte 0     BarrierWords    sync::barrier: phase, fate, who leads, who sleeps
//! byte 256   u64[parties]    one ticket for each party: who is in
//! ```
//! The number of parties is read once, when the object is opened, and checked against its pages then; later changes of
//! the word are a broken peer's and move nothing.
//!
//! | killed | what is left | `OnDeath::Break` | `OnDeath::Leave` |
//! |---|---|---|---|
//! | before it is in | nothing | | |
//! | in `wait` | its ticket | recovery: all get `Broken`, until `reset` | recovery: its place is free, a successor completes the phase |
//! | in the action | its ticket, and it leads | the same | the action runs again |
//! | after the turn, before the wake | the next phase, sleepers | recovery wakes all; else a slice of at most 50 ms | the same |

use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::entry::Entry;
use ginnel_layout::line::PAGE;
use ginnel_layout::signal::{BarrierControl, BarrierWords, EACH_AT};
use ginnel_segment::Segment;
use ginnel_sync::Deadline;
use ginnel_sync::barrier::{Arrival, Barrier as Words, BarrierError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::{Arena, Kind, ObjectRef};
use crate::carry;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{Handle, MayBeInterrupted};
use crate::manager::{Manager, sealed};
use crate::sweep::tag;
use crate::words;

/// Most parties of a barrier.
const PARTIES_MAX: u32 = 65536;

impl MayBeInterrupted for BarrierError {
    fn is_interrupted(&self) -> bool {
        *self == Self::Interrupted
    }
}

/// What the death of `dead` means for it.
pub(crate) fn recover(segment: &Segment, entry: &Entry, dead: ParticipantId) {
    let Some(words) = words::front_of::<BarrierWords>(segment, entry) else { return };
    let parties = words.control.parties.load(Relaxed) as usize;
    // Of a count that lies only the wake is left to do.
    let tickets = words::tail_of::<AtomicU64>(segment, entry, EACH_AT, parties).unwrap_or_default();
    Words::new(words, tickets).recover(dead);
}

/// What a party's death does to those who are in the phase with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeath {
    /// The phase is broken: they are told, and so is everybody who comes before a `reset`.
    #[default]
    Break,
    /// Its place is free again: they wait for a successor.
    Leave,
}

/// How a barrier is made. Default: one party, and a death breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many meet, 1 to 65536.
    pub parties: u32,
    /// What a party's death does.
    pub on_death: OnDeath,
}

impl Default for Options {
    fn default() -> Self {
        Self { parties: 1, on_death: OnDeath::Break }
    }
}

/// Where a number of parties, threads of any processes, wait for each other; again and again.
///
/// One of them, no matter which, gets `true` from each phase, after it has run the action, if it brought one. If a party
/// times out, or calls [`Barrier::abort`], or dies ([`OnDeath::Break`]), the barrier is broken: all who wait get the error
/// `Broken`, and so does everybody who comes, until somebody calls [`Barrier::reset`]. What the parties wrote before they
/// came is seen by all of them afterwards.
///
/// Handles are `Clone + Send + Sync`, and may be sent inside messages. More threads than parties may wait; they take
/// turns. After a bare `fork` the child's handles answer `Forked`.
///
/// ```
/// use ginnel_object::barrier::Barrier;
///
/// let meeting = Barrier::new(2)?;
/// let other = { let meeting = meeting.clone(); std::thread::spawn(move || meeting.wait()) };
/// let led = meeting.wait()?;
/// assert_ne!(led, other.join().expect("no panic")?);
/// # Ok::<(), ginnel_object::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Barrier {
    handle: Handle<BarrierWords>,
    parties: u32,
}

impl Barrier {
    /// A barrier of so many parties, which a death breaks, in the manager of this process.
    ///
    /// # Errors
    /// `Invalid` for 0 and above 65536; `Full`, `Forked`, `Os`.
    pub fn new(parties: u32) -> Result<Self> {
        Self::with(Options { parties, ..Options::default() })
    }

    /// A barrier in the manager of this process.
    ///
    /// # Errors
    /// As [`Barrier::new`].
    pub fn with(options: Options) -> Result<Self> {
        Manager::current()?.create_with(options)
    }

    /// Comes, and waits for the others. True for one of them in each phase.
    ///
    /// # Errors
    /// `Broken`; `Forked`; `Corrupted`.
    pub fn wait(&self) -> Result<bool> {
        self.wait_until(Deadline::NEVER, NONE)
    }

    /// Comes only if all others are there. None: they are not, or all places are taken. If another party is killed in
    /// this very moment, and dies leave their places, it waits for the successor.
    ///
    /// # Errors
    /// As [`Barrier::wait`].
    pub fn try_wait(&self) -> Result<Option<bool>> {
        self.handle.check_fork()?;
        let barrier = self.barrier()?;
        if barrier.is_broken() {
            return Err(self.explain(BarrierError::Broken));
        }
        if barrier.waiting() + 1 == self.parties { self.wait().map(Some) } else { Ok(None) }
    }

    /// Comes, and waits up to `timeout`; if the others are not there then, the barrier is broken.
    ///
    /// # Errors
    /// `Timeout`; else as [`Barrier::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        self.wait_until(Deadline::after(timeout), NONE)
    }

    /// Comes, and waits until `deadline`; if the others are not there then, the barrier is broken.
    ///
    /// # Errors
    /// `Timeout`; else as [`Barrier::wait`].
    pub fn wait_deadline(&self, deadline: Instant) -> Result<bool> {
        self.wait_until(Deadline::at(deadline), NONE)
    }

    /// [`Barrier::wait`], with something to be done when all are there, before any of them goes on. Only the action of
    /// the one that gets `true` is run. If it panics, or its process dies, the phase is broken; where the dead leave
    /// their places, another party's action is run then.
    ///
    /// # Errors
    /// As [`Barrier::wait`].
    pub fn wait_with(&self, action: impl FnOnce()) -> Result<bool> {
        self.wait_until(Deadline::NEVER, Some(action))
    }

    /// Breaks it: all who wait, and all who come before a [`Barrier::reset`], get the error `Broken`.
    ///
    /// # Errors
    /// `Forked`; `Corrupted`.
    pub fn abort(&self) -> Result<()> {
        self.handle.check_fork()?;
        self.barrier()?.abort().map_err(|why| self.explain(why))
    }

    /// Makes it whole and empty. Those who wait get the error `Broken`; nobody needs to wait for them.
    ///
    /// # Errors
    /// `Forked`; `Corrupted`.
    pub fn reset(&self) -> Result<()> {
        self.handle.check_fork()?;
        self.barrier()?.reset().map_err(|why| self.explain(why))
    }

    /// Is it broken? It may be old at once.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.barrier().is_ok_and(|barrier| barrier.is_broken())
    }

    /// How many meet.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.parties
    }

    /// How many are there. It may be old at once.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.barrier().map_or(0, |barrier| barrier.waiting())
    }

    /// Begins a wait in slices.
    ///
    /// # Errors
    /// `Forked`; `Corrupted`.
    pub fn visit(&self) -> Result<Visit<'_>> {
        self.handle.check_fork()?;
        Ok(Visit { barrier: self, words: self.barrier()?, arrival: Arrival::in_slices(), is_over: false })
    }

    fn barrier(&self) -> Result<Words<'_>> {
        Ok(Words::new(self.handle.words(), self.handle.tail(EACH_AT, self.parties as usize)?))
    }

    fn wait_until(&self, deadline: Deadline, mut action: Option<impl FnOnce()>) -> Result<bool> {
        self.handle.check_fork()?;
        let (barrier, me, segment) = (self.barrier()?, self.handle.holder(), self.handle.segment());
        let mut arrival = Arrival::default();
        let outcome = self.handle.until(deadline, |waiter, deadline| {
            barrier.wait(&mut arrival, me, waiter, deadline, segment, &mut action)
        });
        outcome.map_err(|why| self.explain(why))
    }

    #[cold]
    fn explain(&self, why: BarrierError) -> Error {
        let handle = &self.handle;
        match why {
            BarrierError::Broken => handle
                .error(ErrorKind::Broken, why.to_string())
                .with_advice("make it whole with reset, when all parties know"),
            BarrierError::TimedOut => handle.error(ErrorKind::Timeout, why.to_string()),
            BarrierError::Interrupted | BarrierError::Corrupted => {
                handle.corrupted("the words of the barrier")
            }
        }
    }
}

/// A wait at a [`Barrier`] in slices, for bindings, which look at other things between them. Dropped before its end it
/// breaks the phase, because its place is taken.
#[derive(Debug)]
#[must_use = "nobody comes before the first slice"]
pub struct Visit<'a> {
    barrier: &'a Barrier,
    words: Words<'a>,
    arrival: Arrival,
    is_over: bool,
}

impl Visit<'_> {
    /// Comes, if it has not, and waits up to `slice`. `None`: not all are there yet, so call it again.
    ///
    /// # Errors
    /// As [`Barrier::wait`]; the visit is over then.
    pub fn wait(&mut self, slice: Duration, action: &mut Option<impl FnOnce()>) -> Result<Option<bool>> {
        let deadline = Deadline::after(slice);
        let (handle, segment) = (&self.barrier.handle, self.barrier.handle.segment());
        let outcome = handle.with_waiter(|waiter| {
            self.words.wait(&mut self.arrival, handle.holder(), waiter, deadline, segment, action)
        });
        self.is_over = outcome != Err(BarrierError::Interrupted);
        match outcome {
            Err(BarrierError::Interrupted) => Ok(None),
            outcome => outcome.map(Some).map_err(|why| self.barrier.explain(why)),
        }
    }

    /// The last look: if not all are there, the barrier is broken.
    ///
    /// # Errors
    /// `Timeout`; else as [`Barrier::wait`].
    pub fn end(&mut self, action: &mut Option<impl FnOnce()>) -> Result<bool> {
        self.arrival.end_slices();
        loop {
            // A signal is no reason to break it.
            if let Some(led) = self.wait(Duration::ZERO, action)? {
                return Ok(led);
            }
        }
    }

    /// Its place among the parties, from 0. Where a death breaks the barrier, no two of a phase have the same.
    #[must_use]
    pub fn place(&self) -> Option<u32> {
        self.arrival.ticket()
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.is_over && !self.barrier.handle.is_forked() {
            self.words.give_up(&self.arrival);
        }
    }
}

/// No action.
const NONE: Option<fn()> = None;

impl sealed::Sealed for Barrier {
    type Options = Options;

    fn kind() -> Kind {
        Kind { tag: tag::BARRIER, format: 0 }
    }

    fn make(arena: &Arc<Arena>, name: Option<&str>, options: Self::Options) -> Result<ObjectRef> {
        let parties = options.parties;
        if parties == 0 || parties > PARTIES_MAX {
            let happened = format!("a barrier has 1 to {PARTIES_MAX} parties, this one {parties}");
            return Err(Error::new(ErrorKind::Invalid, happened));
        }
        let bytes = EACH_AT + parties as usize * size_of::<AtomicU64>();
        arena.make(Self::kind(), bytes.div_ceil(PAGE) as u32, name, |base| {
            let control = &words::new_front::<BarrierWords>(base).control;
            let policy = match options.on_death {
                OnDeath::Break => BarrierControl::BREAK,
                OnDeath::Leave => BarrierControl::LEAVE,
            };
            control.parties.store(parties, Relaxed);
            control.policy.store(policy, Relaxed);
        })
    }

    fn open(object: ObjectRef) -> Result<Self> {
        let handle = Handle::<BarrierWords>::open(object)?;
        let parties = handle.words().control.parties.load(Relaxed);
        if parties == 0 || parties > PARTIES_MAX {
            return Err(handle.corrupted("the number of parties"));
        }
        handle.tail::<AtomicU64>(EACH_AT, parties as usize)?;
        Ok(Self { handle, parties })
    }

    fn object(&self) -> &ObjectRef {
        self.handle.object()
    }
}

/// A handle, inside a message of a queue of the same manager; anywhere else an error.
impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        carry::serialize(self.handle.object(), serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        carry::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SLICE: Duration = Duration::from_millis(1);

    fn barrier(parties: u32) -> Barrier {
        let manager = Manager::new(1 << 20).unwrap();
        manager.create_with(Options { parties, ..Options::default() }).unwrap()
    }

    #[test]
    fn slices_break_nothing_and_every_party_has_a_place_of_its_own() {
        let barrier = barrier(3);
        let visit = || {
            let (mut visit, mut none) = (barrier.visit().unwrap(), NONE);
            let led = loop {
                if let Some(led) = visit.wait(SLICE, &mut none).unwrap() {
                    break led;
                }
            };
            (led, visit.place().unwrap())
        };
        for _ in 0..20 {
            let mut all: Vec<_> = thread::scope(|scope| {
                let parties: Vec<_> = (0..3).map(|_| scope.spawn(visit)).collect();
                parties.into_iter().map(|party| party.join().unwrap()).collect()
            });
            assert_eq!(all.iter().filter(|(led, _)| *led).count(), 1);
            all.sort_unstable_by_key(|(_, place)| *place);
            assert_eq!(all.iter().map(|(_, place)| *place).collect::<Vec<_>>(), [0, 1, 2]);
        }
    }

    #[test]
    fn a_visit_that_ends_too_early_breaks_it() {
        let barrier = barrier(2);
        let (mut visit, mut none) = (barrier.visit().unwrap(), NONE);
        assert_eq!((visit.wait(SLICE, &mut none).unwrap(), barrier.waiting()), (None, 1));
        assert_eq!(visit.end(&mut none).unwrap_err().kind(), ErrorKind::Timeout);
        assert!(barrier.is_broken());
        barrier.reset().unwrap();
        drop(barrier.visit().unwrap());
        assert!(!barrier.is_broken(), "it had not come");
        let mut visit = barrier.visit().unwrap();
        assert_eq!(visit.wait(SLICE, &mut none).unwrap(), None);
        drop(visit);
        assert!(barrier.is_broken());
    }
}
