//! A row of waiters, of whom a notification reaches as many as it says, in the order in which they came.
//!
//! ```text
//! slots    {word: u32, owner: u32} each
//! word     0: nobody's | {0:1 | TAKEN:2 | owner:29} | {0:1 | WAITS or CALLED:2 | number:29}
//! owner    participant and thread, as in the word of a lock; of the last that wrote it
//! ```
//!
//! | field | written by | read by | ordering | after a crash |
//! |---|---|---|---|---|
//! | word | its waiter: 0 -> TAKEN -> WAITS, and -> 0 when it goes; a notifier WAITS -> CALLED; recovery of the waiter -> 0 | notifiers | E1, E2 | that of the dead until recovery |
//! | owner | its waiter, while TAKEN | recovery, who asks for the dead | E1 | names the dead; of no account where word is 0 or TAKEN |
//! | next | waiters +1 | waiters | none: numbers only | as it is |
//! | high | waiters, to one more than their slot, upwards | notifiers | none: the lock of the condition | as it is |
//!
//! ```text
//! come      slot by slot: CAS 0 -> {TAKEN, me}; owner = me; n = next; word = {WAITS, n} (Release): COMMIT
//! wait      sleeps on word while it is {WAITS, n}; each slice: do those live who are CALLED?
//! go        CAS {WAITS, n} -> 0: COMMIT, was not called.  fails: it is {CALLED, n}; word = 0: was called
//! notify k  of all that are WAITS, the first k by number: CAS {WAITS, n} -> {CALLED, n}: COMMIT; wake it; fails: the next one
//! recover   slots of d that are not CALLED -> 0; for each that is: notify 1; -> 0
//! ```
//! A call names a number and not an owner, because the one whom a notifier chose may have gone, and come again to the
//! same slot, before the CAS. By the owner it would be called again, before those who came in between:
//! ```text
//!   recovery of A, notify 1        B (slot 1, number 2)           C (number 3)       another, notify 1
//!   chooses B
//!                                                                                    calls B
//!                                  goes; comes: slot 1, number 4
//!   CAS {WAITS, B} would succeed   called twice                   sleeps
//! ```
//! Each waiter sleeps on a word of its own, so a wake reaches whom it is for and nobody else returns. A notifier waits
//! for nobody: not for a waiter that is stopped, nor for one that is dead. A call to one that is dead already, or dies
//! before it has gone, is passed on by recovery, so `notify 1` reaches one that lives, if there is one:
//! ```text
//!   A (killed)            B (waits)              notifier                 recovery of A
//!                                                slot of A: CALLED
//!                                                                         CALLED: notify 1: B
//! ```
//! If nobody waits any more who came before the notification, one that came after it may get it: a return for nothing.
//! Where nobody else notices the death, those who wait do: at the end of each slice they ask about all who are CALLED. A
//! recoverer that dies between the two is repeated by the next, which may call one more: a return for nothing, too, which
//! only a death within a death costs.
//!
//! Invariants
//! - I1 a word that is not 0 is changed by its owner, by a notifier from WAITS to CALLED, or by recovery of its owner.
//! - I2 the caller of `come` holds the lock of the condition, and so does that of `notify`: so those who came before a
//!   notification are seen by it. Nothing breaks without; it may be missed then.
//!
//! Edges
//! - E1 {WAITS} (Release) -> a look (Acquire): the owner. A word that is WAITS or CALLED with an owner that is dead is of
//!   that owner: whoever had the slot later has written another owner before it was WAITS.
//! - E2 CALLED (Release) -> the look of the waiter (Acquire): what the notifier did before.
//!
//! | killed | what is left | who repairs, and the outcome |
//! |---|---|---|
//! | waiter, TAKEN or WAITS | a slot that names it | recovery: 0; a call meanwhile is passed on |
//! | waiter, CALLED, or gone with it | the same; or nothing | recovery passes the call on; or it has consumed it |
//! | notifier, between CALLED and the wake | a sleeper that was called | it looks at the end of its slice |
//! | notifier, among several | some called | the others wait for the next notification: it died in the middle of it |
//!
//! Progress: `come` and `notify` look at each slot once, lock-free; `wait` sleeps in slices. Source: the list of waiters
//! of ordinary condition variables, in words that recovery can read.

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use ginnel_layout::lock::{OWNER_MASK, owner_participant};
use ginnel_layout::{Liveness, ParticipantId};

use crate::deadline::Deadline;
use crate::futex;
use crate::mutex::Holder;
use crate::park::{Arm, Stop, Waiter};

const STATE: u32 = 0b11 << 29;
const TAKEN: u32 = 0b01 << 29;
const WAITS: u32 = 0b10 << 29;
const CALLED: u32 = 0b11 << 29;

/// Owner or number.
const WHOSE: u32 = OWNER_MASK;
const NUMBER_BITS: u32 = WHOSE.count_ones();

const _: () = assert!(STATE & WHOSE == 0 && WHOSE.trailing_ones() == NUMBER_BITS);

/// Words of one slot.
pub const SLOT_WORDS: usize = 2;

/// What a row has beside its slots.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// The next number.
    pub next: &'a AtomicU32,
    /// No slot from this one on was ever used.
    pub high: &'a AtomicU32,
}

/// A row of slots in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    heads: Heads<'a>,
    slots: &'a [[AtomicU32; SLOT_WORDS]],
}

/// A place in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "whoever came has to go"]
pub struct Place {
    slot: u32,
    number: u32,
}

impl Place {
    /// Which slot it is.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

impl<'a> Row<'a> {
    /// The row of these words; one that is left over at the end is of no slot.
    #[must_use]
    pub fn new(heads: Heads<'a>, words: &'a [AtomicU32]) -> Self {
        Self { heads, slots: words.as_chunks().0 }
    }

    /// Comes: from now on, notifications reach the caller. `None`: all places are taken.
    pub fn come(&self, me: Holder) -> Option<Place> {
        for (slot, [word, owner]) in self.slots.iter().enumerate() {
            // E1: the owner that a look finds was written after this.
            let is_free = word.load(Relaxed) == 0
                && word.compare_exchange(0, TAKEN | me.bits(), Acquire, Relaxed).is_ok();
            if is_free {
                owner.store(me.bits(), Relaxed);
                let number = self.heads.next.fetch_add(1, Relaxed) & WHOSE;
                self.raise(slot as u32 + 1);
                word.store(WAITS | number, Release); // E1
                return Some(Place { slot: slot as u32, number });
            }
        }
        None
    }

    fn raise(&self, to: u32) {
        let high = &self.heads.high;
        let mut seen = high.load(Relaxed);
        while seen < to {
            match high.compare_exchange(seen, to, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
    }

    /// Waits until it is called. Does not go.
    ///
    /// At the end of each slice `liveness` is asked about those who were called and have not gone: where one is dead, its
    /// recovery passes the call on, and it may be this one's.
    ///
    /// # Errors
    /// [`Stop::TimedOut`] at the deadline, [`Stop::Interrupted`] after a signal.
    pub fn wait(
        &self,
        place: Place,
        me: Holder,
        waiter: &mut Waiter,
        deadline: Deadline,
        liveness: &dyn Liveness,
    ) -> Result<(), Stop> {
        let Some([word, _]) = self.slots.get(place.slot as usize) else { return Ok(()) };
        let waits = WAITS | place.number;
        // Whatever else is there is no wait of ours any more.
        let ready = |_| (word.load(Acquire) != waits).then_some(()); // E2
        waiter.wait_word(word, deadline, ready, || Arm::Sleep(waits), || self.probe(me, liveness))
    }

    fn probe(&self, me: Holder, liveness: &dyn Liveness) {
        for [word, owner] in self.used() {
            let is_called = word.load(Acquire) & STATE == CALLED; // E1
            let owner = owner_participant(owner.load(Relaxed));
            if let (true, Some(owner)) = (is_called, owner)
                && owner != me.participant()
            {
                // The answer is in the words afterwards.
                let _ = liveness.is_dead(owner);
            }
        }
    }

    /// The slots that somebody may have.
    fn used(&self) -> &'a [[AtomicU32; SLOT_WORDS]] {
        // Who came under the lock that the caller holds has raised it.
        let high = self.heads.high.load(Relaxed) as usize;
        self.slots.get(..high).unwrap_or(self.slots)
    }

    /// Goes. True: it was called.
    pub fn go(&self, place: Place) -> bool {
        let Some([word, _]) = self.slots.get(place.slot as usize) else { return false };
        // E2
        match word.compare_exchange(WAITS | place.number, 0, AcqRel, Acquire) {
            Ok(_) => false,
            Err(seen) if seen == CALLED | place.number => {
                word.store(0, Release); // E1
                true
            }
            Err(_) => false,
        }
    }

    /// Calls up to `most` of those who wait, those first who came first. Gives how many.
    ///
    /// Never waits for anybody. A caller killed in the middle has called some of them.
    pub fn notify(&self, most: u32) -> u32 {
        if most == u32::MAX {
            return self.waiting().filter(Seen::call).count() as u32;
        }
        let (mut called, mut last) = (0, None);
        while called < most {
            let later = self.waiting().filter(|slot| last.is_none_or(|last| is_before(last, slot.number)));
            let first = later.reduce(|a, b| if is_before(b.number, a.number) { b } else { a });
            let Some(first) = first else { break };
            last = Some(first.number);
            called += u32::from(first.call());
        }
        called
    }

    /// How many wait and were not called. It may be old at once.
    #[must_use]
    pub fn waiting_now(&self) -> u32 {
        self.waiting().count() as u32
    }

    fn waiting(&self) -> impl Iterator<Item = Seen<'a>> + use<'a> {
        self.used().iter().filter_map(|[word, _]| {
            let seen = word.load(Relaxed);
            (seen & STATE == WAITS).then_some(Seen { word, number: seen & WHOSE })
        })
    }

    /// What the death of `dead` means. Idempotent, but for a call that is passed on.
    ///
    /// The caller has proof of the death and is the only one to recover `dead` now.
    pub fn recover(&self, dead: ParticipantId) {
        // It waits no more, so that no call reaches it.
        for slot in self.slots {
            let (seen, owner) = look(slot);
            if owner == Some(dead) && seen & STATE != CALLED {
                let _ = slot[0].compare_exchange(seen, 0, AcqRel, Relaxed); // E1
            }
        }
        for slot in self.slots {
            if look(slot).1 == Some(dead) {
                self.notify(1);
                slot[0].store(0, Release); // E1
            }
        }
    }
}

/// The word of a slot, and whose it is. For one who asks about the dead: another answer may be old.
fn look([word, owner]: &[AtomicU32; SLOT_WORDS]) -> (u32, Option<ParticipantId>) {
    let seen = word.load(Acquire); // E1
    let owner = match seen & STATE {
        WAITS | CALLED => owner.load(Relaxed),
        TAKEN => seen,
        _ => 0,
    };
    (seen, owner_participant(owner))
}

/// One that waited when it was seen.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    word: &'a AtomicU32,
    number: u32,
}

impl Seen<'_> {
    /// Calls it. False: it has gone, or was called by another.
    fn call(&self) -> bool {
        // E2
        let is_called =
            self.word.compare_exchange(WAITS | self.number, CALLED | self.number, Release, Relaxed).is_ok();
        if is_called {
            futex::wake(self.word, 1);
        }
        is_called
    }
}

/// By half the circle.
fn is_before(number: u32, other: u32) -> bool {
    (other.wrapping_sub(number) << (u32::BITS - NUMBER_BITS)).cast_signed() > 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use ginnel_layout::atomic::spin_loop;

    use super::*;
    use crate::park::Mode;

    /// Longer than any test may take: a wait that ends so late ends as an error.
    const FOR_EVER: Duration = Duration::from_secs(60);

    #[derive(Default)]
    struct Memory {
        next: AtomicU32,
        high: AtomicU32,
        words: [AtomicU32; 9],
    }

    impl Memory {
        fn row(&self) -> Row<'_> {
            Row::new(Heads { next: &self.next, high: &self.high }, &self.words)
        }
    }

    fn holder(participant: u16) -> Holder {
        Holder::new(ParticipantId::from_index(participant), 7).unwrap()
    }

    /// Nobody is dead, but for who was named; that one is recovered when it is asked for.
    struct Dead<'a>(&'a Row<'a>, Option<ParticipantId>);

    impl Liveness for Dead<'_> {
        fn is_dead(&self, id: ParticipantId) -> bool {
            let is_it = self.1 == Some(id);
            if is_it {
                self.0.recover(id);
            }
            is_it
        }
    }

    fn waits(row: &Row<'_>, place: Place, limit: Duration) -> Result<(), Stop> {
        row.wait(place, holder(9), &mut Waiter::new(Mode::Sleep), Deadline::after(limit), &Dead(row, None))
    }

    fn is_called(row: &Row<'_>, place: Place) -> bool {
        waits(row, place, Duration::ZERO).is_ok()
    }

    #[test]
    fn as_many_are_called_as_it_says_and_in_their_order() {
        let memory = Memory { next: AtomicU32::new(WHOSE - 1), ..Memory::default() };
        let row = memory.row();
        let gone = row.come(holder(1)).unwrap();
        let [a, b, c] = [1, 2, 3].map(|id| row.come(holder(id)).unwrap());
        assert_eq!(row.come(holder(9)), None, "four slots");
        assert!(!row.go(gone));
        let d = row.come(holder(4)).unwrap();
        assert_eq!((d.slot(), row.waiting_now()), (0, 4));
        assert_eq!(row.notify(2), 2);
        assert_eq!([a, b, c, d].map(|place| is_called(&row, place)), [true, true, false, false]);
        assert_eq!(row.notify(u32::MAX), 2);
        assert_eq!([a, b, c, d].map(|place| row.go(place)), [true; 4]);
        assert_eq!((row.notify(1), row.notify(u32::MAX), row.waiting_now()), (0, 0, 0));
    }

    #[test]
    fn a_call_to_the_dead_is_passed_on_and_their_places_are_free() {
        let memory = Memory::default();
        let row = memory.row();
        let (dead, lives) = (row.come(holder(1)).unwrap(), row.come(holder(2)).unwrap());
        let also_dead = row.come(holder(1)).unwrap();
        assert_eq!(row.notify(1), 1);
        assert!(is_called(&row, dead) && !is_called(&row, lives));
        row.recover(ParticipantId::from_index(1));
        assert!(row.go(lives) && !row.go(dead) && !row.go(also_dead));
        assert_eq!(row.waiting_now(), 0);
        row.recover(ParticipantId::from_index(1));
        let _ = [1, 2, 3, 4].map(|id| row.come(holder(id)).unwrap());
        assert_eq!(row.waiting_now(), 4);
    }

    #[test]
    fn who_has_gone_and_come_again_is_another() {
        let memory = Memory::default();
        let row = memory.row();
        let first = row.come(holder(1)).unwrap();
        let chosen = row.waiting().next().unwrap();
        assert!(!row.go(first));
        let again = row.come(holder(1)).unwrap();
        assert_eq!((first.slot(), again.slot()), (0, 0));
        assert!(!chosen.call() && !row.go(first) && !is_called(&row, again));
        assert!(!row.go(again));
    }

    #[test]
    fn who_waits_asks_for_the_dead_who_were_called() {
        let memory = Memory::default();
        let row = memory.row();
        let (_dead, lives) = (row.come(holder(1)).unwrap(), row.come(holder(2)).unwrap());
        assert_eq!(row.notify(1), 1);
        let liveness = Dead(&row, Some(ParticipantId::from_index(1)));
        let deadline = Deadline::after(FOR_EVER);
        assert_eq!(row.wait(lives, holder(2), &mut Waiter::new(Mode::Sleep), deadline, &liveness), Ok(()));
        assert!(row.go(lives));
    }

    #[test]
    fn sleepers_are_woken_one_by_one_and_time_runs_out_for_the_rest() {
        let memory = Memory::default();
        let row = memory.row();
        let places = [1, 2, 3].map(|id| row.come(holder(id)).unwrap());
        thread::scope(|scope| {
            let sleeping: Vec<_> =
                places[..2].iter().map(|place| scope.spawn(|| waits(&row, *place, FOR_EVER))).collect();
            for sleeper in sleeping {
                assert_eq!(row.notify(1), 1);
                sleeper.join().unwrap().unwrap();
            }
            assert_eq!(waits(&row, places[2], Duration::from_millis(30)), Err(Stop::TimedOut));
        });
        assert_eq!(places.map(|place| row.go(place)), [true, true, false]);
    }

    #[test]
    fn whatever_the_order_every_call_reaches_one() {
        const CALLS: u32 = 3000;
        let memory = Memory::default();
        let row = memory.row();
        let got = AtomicU32::new(0);
        thread::scope(|scope| {
            for id in 1..4 {
                let (row, got) = (&row, &got);
                scope.spawn(move || {
                    while got.load(Relaxed) < CALLS {
                        let place = row.come(holder(id)).unwrap();
                        let _ = waits(row, place, Duration::from_millis(1));
                        if row.go(place) {
                            got.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
            let mut called = 0;
            while called < CALLS {
                called += row.notify(1 + called % 2);
                spin_loop();
            }
            let end = Deadline::after(FOR_EVER);
            while got.load(Relaxed) < called {
                assert!(!end.passed());
                spin_loop();
            }
            assert_eq!(got.load(Relaxed), called);
        });
    }
}
