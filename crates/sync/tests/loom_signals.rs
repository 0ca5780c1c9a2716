//! Models: events, semaphores, permits, barriers and things run once, under every interleaving loom finds within its
//! bounds. Time stands still, so no slice ends and a single lost wake is a deadlock that loom reports.
//!
//! Two of them show that the models can fail: an event without its generation, and one whose `set` leaves a flag alone
//! that is set. Deaths with everything that may happen around them are in the models of testkit.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test --release -p ginnel-sync --test loom_signals`.
#![cfg(loom)]

use std::sync::Arc;

use ginnel_layout::Liveness;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed};
use ginnel_layout::atomic::{AtomicU32, AtomicU64};
use ginnel_layout::lock::OnceWords;
use ginnel_layout::participant::ParticipantId;
use ginnel_layout::signal::{
    BarrierControl, BarrierTicket, BarrierWords, EventControl, EventWords, PermitWords, SemaphoreControl,
    SemaphoreWords,
};
use ginnel_sync::barrier::{Arrival, Barrier, BarrierError};
use ginnel_sync::futex::model::set_time_ns;
use ginnel_sync::permits::Pool;
use ginnel_sync::{Deadline, Holder, LockError, Mode, Waiter, event, gate, once, semaphore};
use loom::thread;

fn model(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions);
    }
    builder.check(scenario);
}

struct AllLive;

impl Liveness for AllLive {
    fn is_dead(&self, _: ParticipantId) -> bool {
        false
    }
}

fn waiter() -> Waiter {
    Waiter::new(Mode::Sleep)
}

fn id(index: u16) -> ParticipantId {
    ParticipantId::from_index(index)
}

fn holder(index: u16) -> Holder {
    Holder::new(id(index), 1).expect("a thread")
}

/// An event, and what is written before it is set.
#[derive(Default)]
struct Told {
    event: EventWords,
    news: AtomicU32,
}

impl Told {
    fn new(auto: u32, state: u32) -> Arc<Self> {
        let told = Self::default();
        told.event.control.auto.store(auto, Relaxed);
        told.event.control.state.store(state, Relaxed);
        Arc::new(told)
    }

    fn wait(&self, since: event::Since, index: u16) {
        event::wait(&self.event, since, id(index), &mut waiter(), Deadline::NEVER).expect("no deadline");
    }
}

#[test]
fn a_pulse_lets_all_by_who_came_before_it() {
    model(2, || {
        let told = Told::new(0, 0);
        let since = event::now(&told.event);
        let waiters: Vec<_> = (0..2)
            .map(|index| {
                let told = Arc::clone(&told);
                thread::spawn(move || {
                    told.wait(since, index);
                    assert_eq!(told.news.load(Relaxed), 1);
                })
            })
            .collect();
        told.news.store(1, Relaxed);
        event::set(&told.event);
        event::clear(&told.event);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_generation_a_pulse_is_slept_through() {
    model(2, || {
        let told = Told::new(0, 0);
        let waits = {
            let told = Arc::clone(&told);
            thread::spawn(move || {
                let ready = || event::is_set(&told.event).then_some(());
                gate::wait(&mut waiter(), &told.event.line, Deadline::NEVER, ready, || ()).unwrap();
            })
        };
        event::set(&told.event);
        event::clear(&told.event);
        waits.join().unwrap();
    });
}

/// The consumer clears, looks, and waits only if there was nothing to see.
fn consume(set: fn(&EventWords)) {
    let told = Told::new(0, EventControl::SET);
    let consumer = {
        let told = Arc::clone(&told);
        thread::spawn(move || {
            event::clear(&told.event);
            while told.news.load(Relaxed) == 0 {
                told.wait(event::now(&told.event), 1);
                event::clear(&told.event);
            }
        })
    };
    told.news.store(1, Relaxed);
    set(&told.event);
    consumer.join().unwrap();
}

#[test]
fn who_clears_before_it_looks_misses_nothing() {
    model(3, || consume(event::set));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_set_that_leaves_a_set_flag_alone_is_missed() {
    model(3, || {
        consume(|event| {
            if event.control.state.load(Acquire) & EventControl::SET == 0 {
                event::set(event);
            }
        });
    });
}

#[test]
fn an_auto_reset_event_that_each_sets_again_lets_everybody_by() {
    model(2, || {
        let told = Told::new(1, 0);
        let waiters: Vec<_> = (0..2)
            .map(|index| {
                let told = Arc::clone(&told);
                thread::spawn(move || {
                    told.wait(event::now(&told.event), index);
                    // One at a time is here.
                    told.news.store(told.news.load(Relaxed) + 1, Relaxed);
                    event::set(&told.event);
                })
            })
            .collect();
        event::set(&told.event);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert!(event::is_set(&told.event));
        assert_eq!(told.news.load(Relaxed), 2);
    });
}

fn acquire(words: &SemaphoreWords, deadline: Deadline) -> bool {
    semaphore::acquire(words, id(0), &mut waiter(), deadline).is_ok()
}

fn new_semaphore() -> Arc<SemaphoreWords> {
    let words = SemaphoreWords::default();
    words.control.max.store(SemaphoreControl::UNBOUNDED, Relaxed);
    Arc::new(words)
}

#[test]
fn one_release_of_two_reaches_two_sleepers() {
    model(2, || {
        let words = new_semaphore();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let words = Arc::clone(&words);
                thread::spawn(move || assert!(acquire(&words, Deadline::NEVER)))
            })
            .collect();
        semaphore::release(&words, 2).unwrap();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(semaphore::value(&words.control), 0);
    });
}

#[test]
fn one_who_leaves_a_semaphore_at_its_deadline_takes_no_wake_with_it() {
    model(2, || {
        let words = new_semaphore();
        let hasty = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                if acquire(&words, Deadline::at_ns(1)) {
                    semaphore::release(&words, 1).unwrap();
                }
            })
        };
        let patient = {
            let words = Arc::clone(&words);
            thread::spawn(move || assert!(acquire(&words, Deadline::NEVER)))
        };
        semaphore::release(&words, 1).unwrap();
        set_time_ns(1);
        hasty.join().unwrap();
        patient.join().unwrap();
    });
}

#[derive(Default)]
struct Permits<const N: usize> {
    words: PermitWords,
    permits: Vec<AtomicU32>,
}

impl<const N: usize> Permits<N> {
    fn new() -> Arc<Self> {
        Arc::new(Self { words: PermitWords::default(), permits: (0..N).map(|_| AtomicU32::new(0)).collect() })
    }

    fn pool(&self) -> Pool<'_> {
        Pool::new(&self.words, &self.permits)
    }

    fn use_one(&self, index: u16) {
        let taken = self.pool().acquire(holder(index), &mut waiter(), Deadline::NEVER, &AllLive);
        self.pool().release(taken.expect("no deadline"));
    }
}

#[test]
fn two_share_one_permit() {
    model(2, || {
        let pool = Permits::<1>::new();
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.use_one(1))
        };
        pool.use_one(0);
        other.join().unwrap();
        assert_eq!(pool.pool().available(), 1);
    });
}

#[test]
fn permits_of_the_dead_reach_those_who_wait() {
    model(2, || {
        let pool = Permits::<2>::new();
        for _ in 0..2 {
            let _lost = pool.pool().try_acquire(holder(7)).unwrap().expect("free");
        }
        let waiters: Vec<_> = (0..2)
            .map(|index| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.use_one(index))
            })
            .collect();
        pool.pool().recover(id(7));
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(pool.pool().available(), 2);
    });
}

/// A barrier, and what each party has written before it came.
struct Meeting {
    words: BarrierWords,
    tickets: Vec<AtomicU64>,
    came: Vec<AtomicU32>,
}

impl Meeting {
    fn new(parties: u32, policy: u32) -> Arc<Self> {
        let words = BarrierWords::default();
        words.control.parties.store(parties, Relaxed);
        words.control.policy.store(policy, Relaxed);
        Arc::new(Self {
            words,
            tickets: (0..parties).map(|_| AtomicU64::new(0)).collect(),
            came: (0..parties).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    fn barrier(&self) -> Barrier<'_> {
        Barrier::new(&self.words, &self.tickets)
    }

    /// Party `index` comes; all others that are alive have come when it goes on.
    fn wait(&self, index: u16, deadline: Deadline) -> Result<bool, BarrierError> {
        self.came[usize::from(index)].store(1, Relaxed);
        let mut action = None::<fn()>;
        let (mut arrival, me) = (Arrival::default(), holder(index));
        let led = self.barrier().wait(&mut arrival, me, &mut waiter(), deadline, &AllLive, &mut action)?;
        assert!(self.came.iter().all(|came| came.load(Relaxed) == 1));
        Ok(led)
    }
}

#[test]
fn two_parties_meet_and_one_leads() {
    for policy in [BarrierControl::BREAK, BarrierControl::LEAVE] {
        model(2, move || {
            let meeting = Meeting::new(2, policy);
            let other = {
                let meeting = Arc::clone(&meeting);
                thread::spawn(move || meeting.wait(1, Deadline::NEVER).unwrap())
            };
            let mine = meeting.wait(0, Deadline::NEVER).unwrap();
            assert_ne!(mine, other.join().unwrap());
        });
    }
}

#[test]
fn a_deadline_and_an_arrival_agree() {
    model(2, || {
        let meeting = Meeting::new(2, BarrierControl::BREAK);
        let other = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(1, Deadline::at_ns(1)))
        };
        set_time_ns(1);
        let mine = meeting.wait(0, Deadline::NEVER);
        match other.join().unwrap() {
            Ok(led) => assert_eq!(mine, Ok(!led)),
            Err(why) => assert_eq!((why, mine), (BarrierError::TimedOut, Err(BarrierError::Broken))),
        }
    });
}

#[test]
fn a_reset_tells_those_who_wait() {
    model(2, || {
        let meeting = Meeting::new(2, BarrierControl::BREAK);
        let other = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(1, Deadline::at_ns(1)))
        };
        meeting.barrier().reset().unwrap();
        set_time_ns(1);
        assert!(matches!(other.join().unwrap(), Err(BarrierError::Broken | BarrierError::TimedOut)));
    });
}

/// A ticket for the first phase, of one that does nothing any more.
fn ticket_of(index: u64) -> u64 {
    BarrierTicket { phase: 1, version: 0, owner: ((index as u32 + 1) << 16) | 1 }.bits()
}

#[test]
fn one_who_waits_with_the_dead_is_told_or_they_were_all() {
    model(3, || {
        let meeting = Meeting::new(2, BarrierControl::BREAK);
        meeting.tickets[0].store(ticket_of(7), Relaxed);
        meeting.came[1].store(1, Relaxed);
        let other = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(0, Deadline::NEVER))
        };
        meeting.barrier().recover(id(7));
        // The dead one was in when it died.
        assert!(matches!(other.join().unwrap(), Ok(true) | Err(BarrierError::Broken)));
    });
}

#[test]
fn one_without_a_ticket_takes_the_place_of_the_dead() {
    model(3, || {
        let meeting = Meeting::new(2, BarrierControl::LEAVE);
        meeting.tickets[0].store(ticket_of(7), Relaxed);
        // A party that is stopped.
        meeting.tickets[1].store(ticket_of(5), Relaxed);
        meeting.came[1].store(1, Relaxed);
        let late = {
            let meeting = Arc::clone(&meeting);
            thread::spawn(move || meeting.wait(0, Deadline::NEVER))
        };
        meeting.barrier().recover(id(7));
        assert_eq!(late.join().unwrap(), Ok(true));
    });
}

fn run_once(words: &OnceWords, news: &AtomicU32, index: u16) {
    let begun: Result<_, LockError> =
        once::begin(words, holder(index), &mut waiter(), Deadline::NEVER, &AllLive);
    if let Some(run) = begun.expect("no deadline") {
        news.store(news.load(Relaxed) + 1, Relaxed);
        once::finish(words, run);
    }
    assert_eq!(news.load(Relaxed), 1);
}

#[test]
fn of_two_one_runs_it_and_who_waits_sees_it() {
    model(2, || {
        let shared = Arc::new((OnceWords::default(), AtomicU32::new(0)));
        let threads = [
            {
                let shared = Arc::clone(&shared);
                thread::spawn(move || run_once(&shared.0, &shared.1, 1))
            },
            {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    once::wait(&shared.0, id(2), &mut waiter(), Deadline::NEVER, &AllLive).unwrap();
                    assert_eq!(shared.1.load(Relaxed), 1);
                })
            },
        ];
        run_once(&shared.0, &shared.1, 0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
