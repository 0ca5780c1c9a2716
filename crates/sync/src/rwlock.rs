//! A lock that many may share to read, or one may have to write.
//!
//! ```text
//! line 0 LockWords: the writer | line 1 inside @0, cells @4, present[4] @8 | line 2 drained | line 3 opened
//! line 4 ..  one ReaderCell for each participant of the segment: how many of its threads read
//! ```
//! A reader counts in its own participant's cell, which no other process writes; so readers of different processes share
//! no line that changes. A writer takes the word, as any mutex, and then waits until all cells are zero. The two see
//! each other, because each writes its own word before it looks at the other's:
//!
//! ```text
//!   reader                                   writer
//!   cell += 1         SeqCst, E3             word = me         CAS
//!   word: free? in                           fence(SeqCst)     E3
//!   else cell -= 1, post `drained`; wait     all cells 0? in; else wait on `drained`
//! ```
//! A look at the word before the own count loses: both find the other one absent, and both go in.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | lock | as in `mutex` | all | E1, E3 | names the dead until recovery |
//! | inside | the writer: 1 after draining, 0 before its unlock swap | recovery of the writer | program order | 1: the data need repair |
//! | cells | the maker | all | before the object is known | as it is |
//! | present | a participant, at its first handle; recovery | writers | E3 | cleared |
//! | readers of a cell | threads of its participant; recovery of it | writers | E2, E3 | 0 by recovery |
//! | drained, opened | see `park` and `gate` | | | woken by recovery |
//!
//! Invariants
//! - I1 a writer is inside only while the word names it and every present cell was zero after that. A reader is inside
//!   only while it counts in its cell and saw the word free after that.
//! - I2 `inside` is 1 while the writer may write; so a writer that dies in front of readers leaves no debt.
//! - I3 one thread at a time waits on `drained`: the one that the word names.
//!
//! Edges
//! - E1 (pairs with mutex.rs E1) the writer's unlock swap (Release) -> the reader's look at the word (Acquire): the data.
//! - E2 a reader's leaving (Release) -> the writer's look at the cell (Acquire): the reader is done.
//! - E3 cell += 1, then the word (SeqCst) <-> the word, then a fence, then the cells (SeqCst): one of the two sees the
//!   other. `present` is set before the first count of its participant, and is found by the same argument.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | reader, after its count | its cell above zero | recovery: 0, and wakes the writer that drains |
//! | reader, leaving, before its post | cell down, a writer asleep | recovery wakes `drained`; else the slice |
//! | writer that drains | the word names it, inside 0 | freed, no debt; readers woken |
//! | writer inside | the word names it, inside 1 | DIRTY: told to all until one repairs |
//! | writer after inside = 0, before its swap | the word names it | freed without new debt |
//! | writer after its swap, before its wake | readers asleep | recovery wakes `opened`; else the slice |
//! | recovery between DIRTY and inside = 0 | word with DIRTY, inside 1 | the next recovery does the same again |
//!
//! Progress: an uncontended read is two atomic additions and a load, on lines of its own process but for the word. A
//! writer looks at one cell for each participant that has a handle. No fairness: a writer that waits keeps new readers
//! out, and a stream of writers may keep readers out for long. Source: the distributed readers' counter ("big reader"
//! lock), with a mutex whose owner is known for the writers.

use std::cell::Cell;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::fence;
use ginnel_layout::lock::{LockWords, OWNER_MASK, ReaderCell, RwControl, RwLockWords};
use ginnel_layout::{Liveness, ParticipantId};

use crate::deadline::Deadline;
use crate::gate;
use crate::mutex::{self, Holder, LockError, Locked};
use crate::park::{self, Arm, Stop, Waiter};

/// Bit 30 of the word: somebody died inside, see `mutex`.
const DIRTY: u32 = 1 << 30;

/// Slices in a row after which one that is proven dead, whose words no recovery touches, is called corruption.
const UNSWEPT_MAX: u32 = 3;

/// The words of a lock, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RwLock<'a> {
    /// Everything before the cells.
    pub words: &'a RwLockWords,
    /// A cell for each participant, by index.
    pub cells: &'a [ReaderCell],
}

/// What became of the wish to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Granted; give it back with [`RwLock::leave`].
    Granted,
    /// Not granted: a writer died inside, and nobody has repaired the data since.
    NeedsRepair,
}

/// What one look at the word says to a reader.
enum Seen {
    Free(Read),
    Writer(u32),
}

impl<'a> RwLock<'a> {
    fn lock(self) -> &'a LockWords {
        &self.words.lock
    }

    fn control(self) -> &'a RwControl {
        &self.words.control
    }

    /// Says that this participant has a handle, so that writers look at its cell. Before its first read.
    pub fn enroll(self, me: ParticipantId) {
        let (index, bit) = place_of(me);
        if self.control().present[index].load(Relaxed) & bit == 0 {
            self.control().present[index].fetch_or(bit, SeqCst); // E3
        }
    }

    /// Counts a thread of `me` in that reads already. Never waits, because no writer can be in meanwhile.
    ///
    /// # Errors
    /// [`LockError::Corrupted`] when there is no cell for `me`.
    #[inline]
    pub fn read_again(self, me: ParticipantId) -> Result<(), LockError> {
        self.cell(me)?.readers.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Reads if no writer has it. `None`: one has, perhaps the caller.
    ///
    /// # Errors
    /// [`LockError::Corrupted`].
    #[inline(always)]
    pub fn try_read(self, me: Holder) -> Result<Option<Read>, LockError> {
        let cell = self.cell(me.participant())?;
        // The commit, taken back below if it was too early.
        cell.readers.fetch_add(1, SeqCst); // E3
        loom_fence();
        let word = self.lock().word.load(SeqCst); // E1, E3
        if word & (OWNER_MASK | DIRTY) == 0 {
            return Ok(Some(Read::Granted));
        }
        self.leave(me.participant())?;
        Ok(if word & OWNER_MASK == 0 { Some(Read::NeedsRepair) } else { None })
    }

    /// Reads; waits until `deadline` while a writer has it. `liveness` is asked about the writer at the end of each
    /// slice (20 ms, then up to 50).
    ///
    /// # Errors
    /// See [`LockError`]; `Deadlock`: the calling thread writes.
    #[inline(always)]
    pub fn read(
        self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Read, LockError> {
        match self.try_read(me)? {
            Some(read) => Ok(read),
            None => self.wait_read(me, waiter, deadline, liveness),
        }
    }

    /// What [`RwLock::read`] does after [`RwLock::try_read`] gave nothing.
    ///
    /// # Errors
    /// As [`RwLock::read`].
    #[cold]
    #[inline(never)]
    pub fn wait_read(
        self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
    ) -> Result<Read, LockError> {
        if mutex::is_held_by(self.lock(), me) {
            return Err(LockError::Deadlock);
        }
        let unswept = Cell::new(0);
        let ready = || {
            if unswept.get() >= UNSWEPT_MAX {
                return Some(Err(LockError::Corrupted));
            }
            // A look first, so that waiting readers do not disturb the writer's count.
            match self.look() {
                Seen::Free(Read::Granted) => self.try_read(me).transpose(),
                Seen::Free(read) => Some(Ok(read)),
                Seen::Writer(_) => None,
            }
        };
        let probe = || {
            let gone = match self.look() {
                Seen::Writer(owner) => self.is_gone(owner, me, liveness),
                Seen::Free(_) => false,
            };
            unswept.set(if gone { unswept.get() + 1 } else { 0 });
        };
        match gate::wait(waiter, &self.words.opened, deadline, ready, probe) {
            Ok(outcome) => outcome,
            Err(Stop::Interrupted) => Err(LockError::Interrupted),
            Err(Stop::TimedOut) => {
                let owner = mutex::owner(&self.lock().word).map(Holder::participant);
                Err(LockError::TimedOut { owner })
            }
        }
    }

    fn look(self) -> Seen {
        let word = self.lock().word.load(Acquire); // E1
        match word & OWNER_MASK {
            0 if word & DIRTY == 0 => Seen::Free(Read::Granted),
            0 => Seen::Free(Read::NeedsRepair),
            owner => Seen::Writer(owner),
        }
    }

    /// Is that writer dead and recovered, and the word names it still?
    fn is_gone(self, owner: u32, me: Holder, liveness: &dyn Liveness) -> bool {
        let Some(writer) = Holder::from_bits(owner) else { return true };
        writer.participant() != me.participant()
            && liveness.is_dead(writer.participant())
            && self.lock().word.load(Relaxed) & OWNER_MASK == owner
    }

    /// Gives a read back.
    ///
    /// # Errors
    /// [`LockError::Corrupted`] when there is no cell for `me`.
    #[inline(always)]
    pub fn leave(self, me: ParticipantId) -> Result<(), LockError> {
        let cell = self.cell(me)?;
        cell.readers.fetch_sub(1, SeqCst); // E2, E3
        loom_fence();
        let word = self.lock().word.load(SeqCst); // E3
        if word & OWNER_MASK != 0 {
            park::post(&self.words.drained);
        }
        Ok(())
    }

    /// Takes it to write; waits until `deadline` for writers and readers.
    ///
    /// # Errors
    /// See [`LockError`]; `TimedOut` names a writer or a reader.
    pub fn write(
        self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &impl Liveness,
    ) -> Result<Locked, LockError> {
        let locked = mutex::lock_in(self.lock(), me, waiter, deadline, liveness)?;
        self.drain(locked, me, waiter, deadline, liveness)
    }

    /// The second half of [`RwLock::write`], for one who has the word.
    ///
    /// # Errors
    /// As [`RwLock::write`]; the word was given back.
    #[inline]
    pub fn drain(
        self,
        locked: Locked,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
    ) -> Result<Locked, LockError> {
        match self.enter(locked) {
            Ok(inside) => Ok(inside),
            Err(locked) => match self.wait_drained(me, waiter, deadline, liveness) {
                Ok(()) => {
                    self.control().inside.store(1, Relaxed);
                    Ok(locked)
                }
                Err(why) => {
                    self.give_up(locked);
                    Err(why)
                }
            },
        }
    }

    /// Goes inside, if nobody reads, with the word that the caller has. Never waits.
    ///
    /// # Errors
    /// The word back: somebody reads. New readers stay out until it is given to [`RwLock::drain`] or
    /// [`RwLock::give_up`].
    #[inline]
    pub fn enter(self, locked: Locked) -> Result<Locked, Locked> {
        fence(SeqCst); // E3
        if self.reader().is_some() {
            return Err(locked);
        }
        self.control().inside.store(1, Relaxed);
        Ok(locked)
    }

    /// Writes if nobody has it. `None`: somebody has.
    ///
    /// # Errors
    /// [`LockError::Corrupted`].
    pub fn try_write(self, me: Holder) -> Result<Option<Locked>, LockError> {
        let Some(locked) = mutex::try_lock_in(self.lock(), me)? else { return Ok(None) };
        Ok(self.enter(locked).map_err(|locked| self.give_up(locked)).ok())
    }

    /// Could a writer come in, at about this moment?
    #[must_use]
    pub fn is_free(self) -> bool {
        self.lock().word.load(Relaxed) & OWNER_MASK == 0 && self.reader().is_none()
    }

    /// Announces a writer that waits for several things, as [`mutex::arm`]. Readers do not wake it, so while only they
    /// are in the way it is to nap.
    #[must_use]
    pub fn arm_write(self) -> Arm {
        match mutex::arm(self.lock()) {
            Arm::Again if self.reader().is_some() => Arm::Nap(self.lock().word.load(Relaxed)),
            arm => arm,
        }
    }

    /// Gives the writer's possession back, as [`mutex::unlock_in`].
    #[inline]
    pub fn unlock(self, locked: Locked, consistent: bool) {
        self.control().inside.store(0, Relaxed);
        mutex::unlock_in(self.lock(), locked, consistent);
        gate::post_all(&self.words.opened);
    }

    /// Gives the word back without having been inside.
    pub fn give_up(self, locked: Locked) {
        mutex::unlock_in(self.lock(), locked, false);
        gate::post_all(&self.words.opened);
    }

    #[cold]
    #[inline(never)]
    fn wait_drained(
        self,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
    ) -> Result<(), LockError> {
        let unswept = Cell::new(0);
        let ready = || {
            if unswept.get() >= UNSWEPT_MAX {
                return Some(Err(LockError::Corrupted));
            }
            self.reader().is_none().then_some(Ok(()))
        };
        let probe = || {
            let mut gone = false;
            for id in self.readers().filter(|id| *id != me.participant()) {
                gone |= liveness.is_dead(id) && self.reads(id);
            }
            unswept.set(if gone { unswept.get() + 1 } else { 0 });
        };
        match waiter.wait(&self.words.drained, deadline, ready, probe) {
            Ok(outcome) => outcome,
            Err(Stop::Interrupted) => Err(LockError::Interrupted),
            Err(Stop::TimedOut) => Err(LockError::TimedOut { owner: self.reader() }),
        }
    }

    /// Participants that read, at about this moment; one that is about to find a writer may be among them.
    pub fn readers(self) -> impl Iterator<Item = ParticipantId> + 'a {
        self.control().present.iter().enumerate().flat_map(move |(index, word)| {
            let mut bits = word.load(SeqCst); // E3
            std::iter::from_fn(move || {
                while bits != 0 {
                    let at = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let id = ParticipantId::from_index((index * 64 + at) as u16);
                    if self.reads(id) {
                        return Some(id);
                    }
                }
                None
            })
        })
    }

    #[inline]
    fn reader(self) -> Option<ParticipantId> {
        self.readers().next()
    }

    fn reads(self, id: ParticipantId) -> bool {
        let cell = self.cells.get(usize::from(id.index()));
        cell.is_some_and(|cell| cell.readers.load(Acquire) != 0) // E2
    }

    #[inline(always)]
    fn cell(self, me: ParticipantId) -> Result<&'a ReaderCell, LockError> {
        self.cells.get(usize::from(me.index())).ok_or(LockError::Corrupted)
    }

    /// Repairs the lock after the death of `dead`, and wakes all who wait. Idempotent, and repeated by the next
    /// recoverer if this one dies. The caller has proof of the death and is the only one to recover `dead` now.
    pub fn recover(self, dead: ParticipantId) {
        let word = &self.lock().word;
        if mutex::owner(word).is_some_and(|writer| writer.participant() == dead)
            && self.control().inside.load(Relaxed) != 0
        {
            // The debt first: a recoverer that dies between the two is repeated, and finds `inside` again.
            mark_dirty(self.lock(), dead);
            self.control().inside.store(0, Relaxed);
        }
        mutex::recover_in(self.lock(), dead, false);
        if let Ok(cell) = self.cell(dead) {
            cell.readers.store(0, Release); // E2
        }
        let (index, bit) = place_of(dead);
        self.control().present[index].fetch_and(!bit, Relaxed);
        park::wake_all(&self.words.drained);
        park::wake_all(&self.words.opened);
    }
}

/// The order of a SeqCst addition before a SeqCst load, for loom, which knows it of fences only.
#[inline(always)]
fn loom_fence() {
    if cfg!(loom) {
        fence(SeqCst); // E3
    }
}

/// Puts DIRTY into the word of a dead writer. A CAS, because sleepers set W there, too.
fn mark_dirty(words: &LockWords, dead: ParticipantId) {
    let mut seen = words.word.load(Relaxed);
    while Holder::from_bits(seen).is_some_and(|writer| writer.participant() == dead) {
        match words.word.compare_exchange(seen, seen | DIRTY, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

/// The place of a participant among words of bits. Participants have indexes below 256.
fn place_of(id: ParticipantId) -> (usize, u64) {
    (usize::from(id.index() / 64) % 4, 1 << (id.index() % 64))
}
