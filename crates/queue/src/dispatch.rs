//! Dispatch: tasks lie in slots, a word each says whose turn it is, and a ring of hints says where to look.
//!
//! ```text
//!           offer            claim            commit
//!   FREE ----------> READY ----------> RUN(w) ----------> DONE
//!    ^                 |  ^               | lose            |
//!    |   cancel        |  |    retry      v                 |
//!    +-----------------+  +------------- LOST               |
//!    +--------------------- give_up ------+      free       |
//!    +------------------------------------------------------+
//! ```
//! The words are those of `ginnel_layout::pool`. One parent offers, takes results and frees; any number of workers claim
//! and commit; whoever recovers a dead worker makes LOST of what it ran. The lease is the truth: a hint says nothing but
//! "look at this slot", so one that comes late, or twice, costs a look, and one that is lost with its reader is written
//! again.
//!
//! The bits of a lease say who is to be told when the task is over. They are set by CAS while it is not, and the commit
//! is a swap: so either the swap returns the bit, or whoever set it finds that the task is over. A claim, a loss and a
//! retry keep them.
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | lease | the transitions above | everybody | E1 E2 E3 | RUN(d) becomes LOST |
//! | place of a hint, tail | the parent | workers | E4 | the parent's: its pool goes with it |
//! | head | workers, by CAS | all | E4 E5 | one hint further than anybody has looked, at most |
//!
//! Invariants
//! - I1 only FREE slots are filled, by the parent; only the owner of RUN writes results.
//! - I2 a slot has at most one hint in `[head, tail)`. So a ring of as many places as slots has room for every hint.
//! - I3 a READY slot has a hint in `[head, tail)`, or somebody has popped it and not looked yet, or died there; the last
//!   is why the parent offers the hints of READY slots again after every death ([`Ledger::offer`]).
//!
//! Edges
//! - E1 READY (Release) -> claim (Acquire): what the parent wrote into the slot.
//! - E2 the commit (Release) -> whoever finds DONE (Acquire): results.
//! - E3 every other transition (AcqRel): what was known to whoever made it.
//! - E4 tail (Release) -> `pop` (Acquire): the hints below; head by CAS (Release) -> the parent (Acquire), before it
//!   writes over a place: the look at that place came before.
//! - E5 a parent that finds its slot's last hint still in the ring, and a worker that pops it: READY, fence(SeqCst), load
//!   of head, against the CAS of head (SeqCst) and then that of the lease (SeqCst). One of the two sees the other: the
//!   parent that the hint is gone, or the worker that the slot is READY.
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | worker after `pop`, before its claim | READY without a hint | the parent: I3 |
//! | after its claim | RUN(d) | [`lose`] by recovery, then [`retry`] or [`give_up`] by the parent |
//! | after its commit, before it tells anybody | DONE, bits returned to a dead one | recovery wakes whoever may sleep there |
//!
//! Progress: everything is lock-free; `offer`, `commit` and `free` are wait-free. Source: our own; the model `pool` of
//! testkit verifies it, with the mutations that it must refuse.

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, AtomicU64, fence};
use ginnel_layout::pool::{Bits, Gen, Hint, Lease, St};

/// The lease as it is. `None`: a word that no correct process stores.
#[inline(always)]
pub fn look(word: &AtomicU32) -> Option<Lease> {
    Lease::from_bits(word.load(Acquire)) // E1 E2
}

/// Makes a filled slot READY. It was FREE, and is the caller's.
#[inline(always)]
pub fn offer(word: &AtomicU32, generation: Gen, bits: Bits) {
    word.store(Lease::of(St::Ready, generation, bits).bits(), Release); // E1
}

/// Claims a slot, whatever task is in it by now. Gives the lease that the caller owns. `None`: it is not READY.
#[inline]
pub fn claim(word: &AtomicU32, hinted: Gen, me: ParticipantId) -> Option<Lease> {
    if cfg!(loom) {
        fence(SeqCst); // E5: loom takes SeqCst accesses for AcqRel, but knows fences.
    }
    let mut seen = Lease::of(St::Ready, hinted, Bits::NONE);
    loop {
        let mine = Lease { st: St::Run, owner: Some(me), ..seen };
        let claimed = word.compare_exchange(seen.bits(), mine.bits(), SeqCst, SeqCst); // E1 E5
        match claimed {
            Ok(_) => return Some(mine),
            Err(found) => seen = Lease::from_bits(found).filter(|lease| lease.st == St::Ready)?,
        }
    }
}

/// The commit: the task of the caller's lease is over. Gives the bits that the lease had: who is to be told.
#[inline(always)]
pub fn commit(word: &AtomicU32, generation: Gen) -> Bits {
    let done = Lease::of(St::Done, generation, Bits::NONE);
    let was = word.swap(done.bits(), AcqRel); // E2
    match Lease::from_bits(was) {
        Some(lease) => lease.bits,
        // Nobody could have been told otherwise.
        None => Bits::WAITED.and(Bits::HALL).and(Bits::DESK),
    }
}

/// Changes the lease of a task by CAS. `to` gives what it becomes; `None`: nothing, and then so does this.
fn change(
    word: &AtomicU32,
    generation: Gen,
    mut to: impl FnMut(Lease) -> Option<Lease>,
) -> Option<(Lease, Lease)> {
    let mut bits = word.load(Acquire); // E3
    loop {
        let seen = Lease::from_bits(bits).filter(|lease| lease.generation == generation)?;
        let next = to(seen)?;
        let changed = word.compare_exchange(bits, next.bits(), AcqRel, Acquire); // E3
        match changed {
            Ok(_) => return Some((seen, next)),
            Err(found) => bits = found,
        }
    }
}

/// Adds bits to the lease of a task that is not over. Gives the word with them, to sleep on. `None`: the task is over, so
/// that nobody will be told any more.
#[inline]
pub fn want(word: &AtomicU32, generation: Gen, bits: Bits) -> Option<u32> {
    let is_out = |lease: &Lease| matches!(lease.st, St::Ready | St::Run | St::Lost);
    let with = |lease: Lease| Lease { bits: lease.bits.and(bits), ..lease };
    change(word, generation, |lease| Some(lease).filter(is_out).map(with)).map(|(_, lease)| lease.bits())
}

/// Takes a task back that nobody has claimed. Gives the bits that its lease had. `None`: somebody has.
pub fn cancel(word: &AtomicU32, generation: Gen) -> Option<Bits> {
    from_to(word, generation, St::Ready, |lease| Lease::of(St::Free, lease.generation, Bits::NONE))
}

/// Marks a task that `owner` runs: its worker will be killed. Whoever commits such a lease takes no other task, so that
/// the kill can hit nothing else. False: it does not run it any more.
#[must_use]
pub fn doom(word: &AtomicU32, generation: Gen, owner: ParticipantId) -> bool {
    let is_his = |lease: &Lease| lease.st == St::Run && lease.owner == Some(owner);
    let with = |lease: Lease| Lease { bits: lease.bits.and(Bits::KILL), ..lease };
    change(word, generation, |lease| Some(lease).filter(is_his).map(with)).is_some()
}

/// Recovery: what the dead one runs is LOST; who is to be told stays, and so does its name, for people. False: it does
/// not run this.
pub fn lose(word: &AtomicU32, dead: ParticipantId) -> bool {
    let mut bits = word.load(Acquire); // E3
    loop {
        let is_his = |lease: &Lease| lease.st == St::Run && lease.owner == Some(dead);
        let Some(seen) = Lease::from_bits(bits).filter(is_his) else { return false };
        let lost = Lease { st: St::Lost, bits: seen.bits.without(Bits::KILL), ..seen };
        let changed = word.compare_exchange(bits, lost.bits(), AcqRel, Acquire); // E3
        match changed {
            Ok(_) => return true,
            Err(found) => bits = found,
        }
    }
}

/// Makes a LOST task READY once more; who is to be told stays. False: it is not LOST.
#[must_use]
pub fn retry(word: &AtomicU32, generation: Gen) -> bool {
    from_to(word, generation, St::Lost, |lease| Lease::of(St::Ready, lease.generation, lease.bits)).is_some()
}

/// Frees a LOST task. Gives the bits that its lease had. `None`: it is not LOST.
pub fn give_up(word: &AtomicU32, generation: Gen) -> Option<Bits> {
    from_to(word, generation, St::Lost, |lease| Lease::of(St::Free, lease.generation, Bits::NONE))
}

fn from_to(word: &AtomicU32, generation: Gen, from: St, to: impl Fn(Lease) -> Lease) -> Option<Bits> {
    let changed = change(word, generation, |lease| Some(lease).filter(|lease| lease.st == from).map(&to));
    changed.map(|(was, _)| was.bits)
}

/// Frees a slot whose task is DONE, after everything in it was received. It is the caller's.
#[inline(always)]
pub fn free(word: &AtomicU32, generation: Gen) {
    word.store(Lease::of(St::Free, generation, Bits::NONE).bits(), Release); // E3
}

/// The ring of hints.
#[derive(Debug, Clone, Copy)]
pub struct Hints<'a> {
    head: &'a AtomicU64,
    tail: &'a AtomicU64,
    /// As many as there are slots: a power of two.
    places: &'a [AtomicU32],
}

impl<'a> Hints<'a> {
    /// A ring of these words. `None`: the number of places is no power of two.
    #[must_use]
    pub fn new(head: &'a AtomicU64, tail: &'a AtomicU64, places: &'a [AtomicU32]) -> Option<Self> {
        places.len().is_power_of_two().then_some(Self { head, tail, places })
    }

    fn place(&self, position: u64) -> &AtomicU32 {
        &self.places[position as usize & (self.places.len() - 1)]
    }

    /// The hints that nobody has taken. A number that no correct process leaves counts as none.
    fn between(&self, head: u64) -> Option<u64> {
        let tail = self.tail.load(Acquire); // E4
        Some(tail.wrapping_sub(head)).filter(|count| (1..=self.places.len() as u64).contains(count))
    }

    /// Takes the oldest hint. The slot is the reader's to check.
    #[inline]
    pub fn pop(&self) -> Option<Hint> {
        let mut head = self.head.load(Acquire); // E4
        loop {
            self.between(head)?;
            let hint = Hint::from_bits(self.place(head).load(Relaxed));
            let next = head.wrapping_add(1);
            let popped = self.head.compare_exchange(head, next, SeqCst, Acquire); // E4 E5
            match popped {
                Ok(_) => return Some(hint),
                Err(found) => head = found,
            }
        }
    }

    /// Is there a hint?
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.between(self.head.load(Acquire)).is_some() // E4
    }
}

/// What the parent knows of its hints: where the last one of each slot is. Private memory.
#[derive(Debug)]
pub struct Ledger {
    tail: u64,
    /// Not above the head: as it was seen last.
    head: u64,
    /// The position of each slot's last hint, plus one. 0: it never had one.
    last: Box<[u64]>,
}

impl Ledger {
    /// Of so many slots, whose ring is fresh.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self { tail: 0, head: 0, last: vec![0; slots as usize].into() }
    }

    /// Sees to it that a READY slot has a hint, and only one (I2). True: there is a new one, and whoever is idle is owed a
    /// wake. Call it after the slot was made READY, not before.
    #[inline]
    pub fn offer(&mut self, hints: &Hints<'_>, slot: u32, generation: Gen) -> bool {
        let Some(last) = self.last.get_mut(slot as usize) else { return false };
        if *last > self.head {
            fence(SeqCst); // E5
            self.head = hints.head.load(Acquire); // E4
            if *last > self.head {
                return false;
            }
        }
        let room = hints.places.len() as u64;
        if self.tail.wrapping_sub(self.head) >= room {
            self.head = hints.head.load(Acquire); // E4
            if self.tail.wrapping_sub(self.head) >= room {
                // Only where somebody else writes these words.
                return false;
            }
        }
        hints.place(self.tail).store(Hint { slot, generation }.bits(), Relaxed);
        self.tail = self.tail.wrapping_add(1);
        *last = self.tail;
        hints.tail.store(self.tail, Release); // E4
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ME: ParticipantId = ParticipantId::from_index(3);
    const OTHER: ParticipantId = ParticipantId::from_index(4);

    fn word(lease: Lease) -> AtomicU32 {
        AtomicU32::new(lease.bits())
    }

    fn generation() -> Gen {
        Gen::of(2050)
    }

    fn ready(bits: Bits) -> AtomicU32 {
        word(Lease::of(St::Ready, generation(), bits))
    }

    fn run(bits: Bits) -> AtomicU32 {
        word(Lease { owner: Some(ME), ..Lease::of(St::Run, generation(), bits) })
    }

    #[test]
    fn a_task_goes_its_way() {
        let lease = AtomicU32::new(0);
        offer(&lease, generation(), Bits::HALL);
        let mine = claim(&lease, generation(), ME).expect("ready");
        assert_eq!((mine.st, mine.owner, mine.bits), (St::Run, Some(ME), Bits::HALL));
        assert_eq!(claim(&lease, generation(), OTHER), None);
        assert!(want(&lease, generation(), Bits::WAITED).is_some());
        assert_eq!(commit(&lease, mine.generation), Bits::HALL.and(Bits::WAITED));
        assert_eq!(want(&lease, generation(), Bits::WAITED), None);
        assert_eq!(look(&lease), Some(Lease::of(St::Done, generation(), Bits::NONE)));
        free(&lease, generation());
        assert_eq!(look(&lease), Some(Lease::of(St::Free, generation(), Bits::NONE)));
    }

    #[test]
    fn an_old_hint_serves_the_next_task() {
        let lease = ready(Bits::WAITED);
        let mine = claim(&lease, Gen::of(7), ME).expect("ready");
        assert_eq!((mine.generation, mine.bits), (generation(), Bits::WAITED));
    }

    #[test]
    fn what_is_lost_keeps_its_bits_but_the_kill() {
        let all = Bits::WAITED.and(Bits::HALL).and(Bits::DESK).and(Bits::CEASE);
        let lease = run(all);
        assert!(!doom(&lease, generation(), OTHER) && !doom(&lease, Gen::of(1), ME));
        assert!(doom(&lease, generation(), ME));
        assert!(!lose(&lease, OTHER));
        assert!(lose(&lease, ME) && !lose(&lease, ME));
        assert_eq!(look(&lease), Some(Lease { owner: Some(ME), ..Lease::of(St::Lost, generation(), all) }));
        assert!(!doom(&lease, generation(), ME));
        assert!(want(&lease, generation(), Bits::WAITED).is_some());
        assert!(retry(&lease, generation()) && !retry(&lease, generation()));
        assert_eq!(look(&lease), Some(Lease::of(St::Ready, generation(), all)));
        assert!(claim(&lease, generation(), OTHER).is_some());
    }

    #[test]
    fn only_ready_is_cancelled_and_only_lost_is_given_up() {
        assert_eq!(cancel(&ready(Bits::HALL), generation()), Some(Bits::HALL));
        assert_eq!(cancel(&ready(Bits::HALL), Gen::of(1)), None);
        assert_eq!(cancel(&run(Bits::NONE), generation()), None);
        let lost = word(Lease::of(St::Lost, generation(), Bits::WAITED));
        assert_eq!(cancel(&lost, generation()), None);
        assert_eq!(give_up(&lost, generation()), Some(Bits::WAITED));
        for other in [ready(Bits::NONE), run(Bits::NONE)] {
            assert_eq!(give_up(&other, generation()), None);
            assert!(!retry(&other, generation()));
        }
    }

    #[test]
    fn a_slot_has_at_most_one_hint_whatever_becomes_of_its_tasks() {
        const SLOTS: usize = 16;
        let (head, tail) = (AtomicU64::new(0), AtomicU64::new(0));
        let places: [AtomicU32; SLOTS] = Default::default();
        let hints = Hints::new(&head, &tail, &places).expect("a power of two");
        let leases: [AtomicU32; SLOTS] = Default::default();
        let mut ledger = Ledger::new(SLOTS as u32);
        let (mut serial, mut seed) = (0_u32, 88_172_645_463_325_252_u64);
        for _ in 0..100_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let slot = seed as usize % SLOTS;
            let lease = &leases[slot];
            let seen = look(lease).expect("ours");
            match (seen.st, seed >> 32 & 3) {
                (St::Free, _) => {
                    serial += 1;
                    offer(lease, Gen::of(serial), Bits::NONE);
                    ledger.offer(&hints, slot as u32, Gen::of(serial));
                }
                (St::Ready, 0) => assert!(cancel(lease, seen.generation).is_some()),
                (St::Ready, 1) => {
                    ledger.offer(&hints, slot as u32, seen.generation);
                }
                (St::Ready, _) => {
                    if let Some(hint) = hints.pop() {
                        claim(&leases[hint.slot as usize], hint.generation, ME);
                    }
                }
                (St::Run, 0) => assert!(lose(lease, ME)),
                (St::Run, _) => {
                    commit(lease, seen.generation);
                }
                (St::Lost, 0) => assert!(give_up(lease, seen.generation).is_some()),
                (St::Lost, _) => {
                    assert!(retry(lease, seen.generation));
                    ledger.offer(&hints, slot as u32, seen.generation);
                }
                (St::Done, _) => free(lease, seen.generation),
            }
            check(&leases, &head, &tail, &places);
        }
        assert!(serial > 10_000);
    }

    /// I2, and I3 where nobody dies between a pop and a claim.
    fn check(leases: &[AtomicU32], head: &AtomicU64, tail: &AtomicU64, places: &[AtomicU32]) {
        let mut hinted = vec![false; leases.len()];
        for position in head.load(Relaxed)..tail.load(Relaxed) {
            let hint = Hint::from_bits(places[position as usize % places.len()].load(Relaxed));
            assert!(!std::mem::replace(&mut hinted[hint.slot as usize], true), "two hints of a slot");
        }
        for (lease, hinted) in leases.iter().zip(hinted) {
            assert!(look(lease).expect("ours").st != St::Ready || hinted, "READY without a hint");
        }
    }

    #[test]
    fn words_that_lie_end_no_loop_and_index_nothing() {
        let (head, tail) = (AtomicU64::new(u64::MAX), AtomicU64::new(5));
        let places: [AtomicU32; 16] = Default::default();
        places.iter().for_each(|place| place.store(u32::MAX, Relaxed));
        let hints = Hints::new(&head, &tail, &places).expect("a power of two");
        assert!(hints.is_any() && hints.pop().is_some());
        head.store(1 << 40, Relaxed);
        assert!(!hints.is_any() && hints.pop().is_none());
        let mut ledger = Ledger::new(16);
        assert!(ledger.offer(&hints, 3, generation()) && !ledger.offer(&hints, 16, generation()));
        let lease = AtomicU32::new(u32::MAX);
        assert_eq!((look(&lease), claim(&lease, generation(), ME)), (None, None));
        assert!(!lose(&lease, ME) && want(&lease, generation(), Bits::WAITED).is_none());
        assert!(commit(&lease, generation()).has(Bits::WAITED));
    }
}
