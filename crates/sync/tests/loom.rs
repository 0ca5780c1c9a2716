//! Models: every interleaving of a few threads, with the stores of each seen late by the others where no edge
//! forbids it. Time stands still, so no slice ends and a single lost wake is a deadlock that loom reports.
//!
//! The real code is run first. Then the same handshake is written out with one fault at a time, to show that the
//! models can fail, and that each step of the real code is needed.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use ginnel_layout::atomic::{AtomicU32, fence};
use ginnel_layout::wait::WaitLine;
use ginnel_layout::{Liveness, ParticipantId};
use ginnel_sync::futex::{self, model::set_time_ns};
use ginnel_sync::park::{post, wake_all};
use ginnel_sync::{Deadline, Holder, LockError, Mode, Stop, Waiter, mutex};
use loom::thread;

/// The shortest time: it ends deadlines, and no slice.
const TICK: u64 = 1;
/// The first slice ends here.
const SLICE: u64 = 20_000_000;

fn model(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(2);
    }
    builder.check(scenario);
}

/// A line and the word that says what was committed on it.
#[derive(Default)]
struct Channel {
    line: WaitLine,
    data: AtomicU32,
}

impl Channel {
    fn commit(&self, value: u32) {
        self.data.store(value, Release);
        post(&self.line);
    }

    fn wait_for(&self, mode: Mode, value: u32, deadline: Deadline) -> Result<(), Stop> {
        let ready = || (self.data.load(Acquire) >= value).then_some(());
        Waiter::new(mode).wait(&self.line, deadline, ready, || {})
    }
}

#[test]
fn two_messages_reach_a_sleeper() {
    for mode in [Mode::Sleep, Mode::Adaptive] {
        model(move || {
            let channel = Arc::new(Channel::default());
            let sender = {
                let channel = Arc::clone(&channel);
                thread::spawn(move || (1..=2).for_each(|value| channel.commit(value)))
            };
            for value in 1..=2 {
                assert_eq!(channel.wait_for(mode, value, Deadline::NEVER), Ok(()));
            }
            sender.join().unwrap();
        });
    }
}

#[test]
fn a_message_each_way() {
    model(|| {
        let (there, back) = (Arc::new(Channel::default()), Arc::new(Channel::default()));
        let peer = {
            let (there, back) = (Arc::clone(&there), Arc::clone(&back));
            thread::spawn(move || {
                for value in 1..=2 {
                    there.wait_for(Mode::Sleep, value, Deadline::NEVER).unwrap();
                    back.commit(value);
                }
            })
        };
        for value in 1..=2 {
            there.commit(value);
            back.wait_for(Mode::Sleep, value, Deadline::NEVER).unwrap();
        }
        peer.join().unwrap();
    });
}

#[test]
fn a_spinner_needs_no_post() {
    model(|| {
        let channel = Arc::new(Channel::default());
        let sender = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || channel.data.store(1, Release))
        };
        assert_eq!(channel.wait_for(Mode::Spin, 1, Deadline::NEVER), Ok(()));
        sender.join().unwrap();
    });
}

#[test]
fn a_deadline_beside_a_message_leaves_a_line_that_works() {
    model(|| {
        let channel = Arc::new(Channel::default());
        let sender = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                set_time_ns(TICK);
                (1..=2).for_each(|value| channel.commit(value));
            })
        };
        let _ = channel.wait_for(Mode::Sleep, 1, Deadline::at_ns(TICK));
        assert_eq!(channel.wait_for(Mode::Sleep, 2, Deadline::NEVER), Ok(()));
        sender.join().unwrap();
    });
}

/// Where the waker dies.
#[derive(Clone, Copy)]
enum Dies {
    BeforeThePost,
    AfterTheFlag,
}

/// A commit by one who dies, and then `recovery`.
fn death_of_a_waker(dies: Dies, recovery: fn(&WaitLine)) {
    model(move || {
        let channel = Arc::new(Channel::default());
        let waker = {
            let channel = Arc::clone(&channel);
            thread::spawn(move || {
                channel.data.store(1, Release);
                if let Dies::AfterTheFlag = dies {
                    fence(SeqCst);
                    if channel.line.flag.load(Relaxed) != 0 {
                        channel.line.flag.store(0, Relaxed);
                    }
                }
                recovery(&channel.line);
            })
        };
        assert_eq!(channel.wait_for(Mode::Sleep, 1, Deadline::NEVER), Ok(()));
        waker.join().unwrap();
    });
}

#[test]
fn recovery_pays_the_wake_of_the_dead() {
    death_of_a_waker(Dies::BeforeThePost, wake_all);
    death_of_a_waker(Dies::AfterTheFlag, wake_all);
}

#[test]
#[should_panic(expected = "deadlock")]
fn recovery_must_wake() {
    death_of_a_waker(Dies::AfterTheFlag, |_| {});
}

#[test]
#[should_panic(expected = "deadlock")]
fn recovery_must_not_trust_the_flag() {
    death_of_a_waker(Dies::AfterTheFlag, post);
}

/// What is wrong with a handshake.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    NoFenceOfTheWaker,
    NoFenceOfTheSleeper,
    SeqReadAfterArming,
    NoSecondLook,
    SeqBeforeFlag,
}

impl Fault {
    fn wait_for(self, channel: &Channel, value: u32) {
        let Channel { line, data } = channel;
        while data.load(Acquire) < value {
            let early = line.seq.load(Acquire);
            line.flag.store(1, Relaxed);
            if self != Self::NoFenceOfTheSleeper {
                fence(SeqCst);
            }
            if self != Self::NoSecondLook && data.load(Acquire) >= value {
                line.flag.store(0, Relaxed);
                return;
            }
            let seq = if self == Self::SeqReadAfterArming { line.seq.load(Acquire) } else { early };
            futex::wait(&line.seq, seq, Deadline::NEVER);
        }
    }

    fn commit(self, channel: &Channel, value: u32) {
        let Channel { line, data } = channel;
        data.store(value, Release);
        if self != Self::NoFenceOfTheWaker {
            fence(SeqCst);
        }
        if line.flag.load(Relaxed) == 0 {
            return;
        }
        if self == Self::SeqBeforeFlag {
            line.seq.fetch_add(1, Release);
            line.flag.store(0, Relaxed);
        } else {
            line.flag.store(0, Relaxed);
            line.seq.fetch_add(1, Release);
        }
        futex::wake(&line.seq, 1);
    }

    fn run(self) {
        model(move || {
            let channel = Arc::new(Channel::default());
            let sender = {
                let channel = Arc::clone(&channel);
                thread::spawn(move || (1..=2).for_each(|value| self.commit(&channel, value)))
            };
            (1..=2).for_each(|value| self.wait_for(&channel, value));
            sender.join().unwrap();
        });
    }
}

#[test]
fn the_written_out_handshake_is_right_without_a_fault() {
    Fault::Nothing.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_waker_needs_its_fence() {
    Fault::NoFenceOfTheWaker.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_sleeper_needs_its_fence() {
    Fault::NoFenceOfTheSleeper.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn seq_is_read_before_arming() {
    Fault::SeqReadAfterArming.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_sleeper_looks_again_after_arming() {
    Fault::NoSecondLook.run();
}

#[test]
#[should_panic(expected = "deadlock")]
fn the_flag_is_cleared_before_seq_rises() {
    Fault::SeqBeforeFlag.run();
}

/// Nobody can be asked: no slice ends in these models.
struct Unasked;

impl Liveness for Unasked {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

/// A lock and what it protects: ordinary loads and stores, so a broken lock loses counts.
#[derive(Default)]
struct Guarded {
    word: AtomicU32,
    count: AtomicU32,
}

fn holder(index: u16) -> Holder {
    Holder::new(ParticipantId::from_index(index), 1).unwrap()
}

impl Guarded {
    fn count_once(&self, index: u16, deadline: Deadline) -> Result<bool, LockError> {
        let locked =
            mutex::lock(&self.word, holder(index), &mut Waiter::new(Mode::Sleep), deadline, &Unasked)?;
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
        let told = locked.told();
        mutex::unlock(&self.word, locked, true);
        Ok(told)
    }
}

fn lockers(threads: u16, turns: u32) {
    model(move || {
        let guarded = Arc::new(Guarded::default());
        let run = |index| {
            let guarded = Arc::clone(&guarded);
            move || (0..turns).for_each(|_| assert_eq!(guarded.count_once(index, Deadline::NEVER), Ok(false)))
        };
        let others: Vec<_> = (1..threads).map(|index| thread::spawn(run(index))).collect();
        run(0)();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(guarded.count.load(Relaxed), u32::from(threads) * turns);
        assert_eq!(guarded.word.load(Relaxed), 0);
    });
}

#[test]
fn two_lockers_twice() {
    lockers(2, 2);
}

#[test]
fn three_lockers() {
    lockers(3, 1);
}

#[test]
fn a_sleeper_that_gives_up_passes_its_wake_on() {
    model(|| {
        let guarded = Arc::new(Guarded::default());
        let held = mutex::try_lock(&guarded.word, holder(0)).unwrap().unwrap();
        let run = |index, deadline| {
            let guarded = Arc::clone(&guarded);
            move || guarded.count_once(index, deadline)
        };
        let hasty = thread::spawn(run(1, Deadline::at_ns(TICK)));
        let patient = thread::spawn(run(2, Deadline::NEVER));
        set_time_ns(TICK);
        mutex::unlock(&guarded.word, held, true);
        // Overtakes the woken one, perhaps.
        assert_eq!(run(0, Deadline::NEVER)(), Ok(false));
        let counted = u32::from(hasty.join().unwrap().is_ok());
        assert_eq!(patient.join().unwrap(), Ok(false));
        assert_eq!(guarded.count.load(Relaxed), counted + 2);
    });
}

#[test]
fn the_end_of_a_slice_finds_a_dead_holder() {
    /// Knows of one death, and recovers it.
    struct Register {
        dead: AtomicU32,
        guarded: Arc<Guarded>,
    }

    impl Liveness for Register {
        fn is_dead(&self, id: ParticipantId) -> bool {
            let dead = self.dead.load(Acquire) == id.bits() as u32;
            if dead {
                mutex::recover(&self.guarded.word, id);
            }
            dead
        }
    }

    model(|| {
        let guarded = Arc::new(Guarded::default());
        let register = Arc::new(Register { dead: AtomicU32::new(0), guarded: Arc::clone(&guarded) });
        let dying = {
            let (guarded, register) = (Arc::clone(&guarded), Arc::clone(&register));
            thread::spawn(move || {
                let me = holder(0);
                let locked = mutex::try_lock(&guarded.word, me).unwrap();
                register.dead.store(me.participant().bits() as u32, Release);
                set_time_ns(SLICE);
                locked.is_some()
            })
        };
        let mut waiter = Waiter::new(Mode::Sleep);
        let got = mutex::lock(&guarded.word, holder(1), &mut waiter, Deadline::NEVER, &*register).unwrap();
        let told = got.told();
        mutex::unlock(&guarded.word, got, true);
        // It died before it had the lock, or after we were done with it; otherwise we were told.
        let took = dying.join().unwrap();
        assert!(took || !told);
    });
}

/// What the holder of a lock had done when it died.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    TheLock,
    TheWakeOwed,
}

/// A holder dies, two wait for the lock, and then `recovery`.
fn death_of_a_holder(left: Left, recovery: fn(&AtomicU32)) {
    model(move || {
        let guarded = Arc::new(Guarded::default());
        let _left_behind = mutex::try_lock(&guarded.word, holder(0)).unwrap().unwrap();
        let run = |index| {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || guarded.count_once(index, Deadline::NEVER))
        };
        let lockers = [run(1), run(2)];
        if left == Left::TheWakeOwed {
            guarded.word.swap(0, Release);
        }
        recovery(&guarded.word);
        let told = lockers.map(|locker| u32::from(locker.join().unwrap().unwrap()));
        // The first of the two repairs, so only that one is told.
        assert_eq!(told.iter().sum::<u32>(), u32::from(left == Left::TheLock));
        assert_eq!(guarded.count.load(Relaxed), 2);
    });
}

fn recover_first(word: &AtomicU32) {
    mutex::recover(word, ParticipantId::from_index(0));
}

#[test]
fn the_lock_of_the_dead_goes_on_to_the_living() {
    death_of_a_holder(Left::TheLock, recover_first);
}

#[test]
fn the_wake_that_the_dead_owed_is_paid() {
    death_of_a_holder(Left::TheWakeOwed, recover_first);
}

#[test]
#[should_panic(expected = "deadlock")]
fn recovery_wakes_even_where_it_changed_nothing() {
    death_of_a_holder(Left::TheWakeOwed, |_| {});
}

#[test]
#[should_panic(expected = "deadlock")]
fn recovery_of_a_lock_without_a_wake_leaves_sleepers() {
    // DIRTY alone, and nobody woken.
    death_of_a_holder(Left::TheLock, |word| word.store(1 << 30, Release));
}

/// The rules of a lock without an owner that is put to sleep on. Both are needed.
#[derive(Clone, Copy)]
struct Rules {
    /// Who slept takes the word with W.
    keep_w: bool,
    /// Who slept and gives up leaves W behind.
    leave_w: bool,
}

impl Rules {
    const W: u32 = 1 << 31;

    fn lock(self, word: &AtomicU32, me: u32, deadline: Deadline) -> bool {
        let mut slept = false;
        loop {
            let w = if slept && self.keep_w { Self::W } else { 0 };
            let seen = match word.compare_exchange(0, me | w, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(seen) => seen,
            };
            let armed = seen | Self::W;
            let leaves = slept && deadline.passed();
            if leaves && !self.leave_w {
                return false;
            }
            if seen == armed || word.compare_exchange(seen, armed, Relaxed, Relaxed).is_ok() {
                if leaves {
                    return false;
                }
                futex::wait(word, armed, deadline);
                slept = true;
            }
        }
    }

    fn unlock(word: &AtomicU32) {
        if word.swap(0, Release) & Self::W != 0 {
            futex::wake(word, 1);
        }
    }

    /// The lock is held and given back, taken again, and waited for by two, one of them with a deadline.
    fn run(self, deadline: Deadline) {
        model(move || {
            let word = Arc::new(AtomicU32::new(1));
            let run = |me, deadline| {
                let word = Arc::clone(&word);
                thread::spawn(move || {
                    if self.lock(&word, me, deadline) {
                        Self::unlock(&word);
                    }
                })
            };
            let others = [run(2, deadline), run(3, Deadline::NEVER)];
            if deadline != Deadline::NEVER {
                set_time_ns(TICK);
            }
            Self::unlock(&word);
            if self.lock(&word, 1, Deadline::NEVER) {
                Self::unlock(&word);
            }
            for other in others {
                other.join().unwrap();
            }
        });
    }
}

#[test]
fn the_written_out_lock_is_right_with_both_rules() {
    Rules { keep_w: true, leave_w: true }.run(Deadline::NEVER);
    Rules { keep_w: true, leave_w: true }.run(Deadline::at_ns(TICK));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_that_takes_the_lock_without_w_leaves_another_asleep() {
    Rules { keep_w: false, leave_w: true }.run(Deadline::NEVER);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_that_just_gives_up_leaves_another_asleep() {
    Rules { keep_w: true, leave_w: false }.run(Deadline::at_ns(TICK));
}
