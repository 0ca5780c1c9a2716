//! Locks: what one process can see of them, and what a killed holder leaves.
//!
//! Children are this test binary again, in a role (the test `locks_entry`).

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::condvar::Condvar;
use ginnel_object::lock::{Lock, RLock};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::rwlock::RwLock;
use ginnel_object::{ErrorKind, Mutex, Owner, OwnerState};
use ginnel_testkit::child::{self, Arguments, Child, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// By when the next taker must have the lock, after a death.
const AFTER_DEATH: Duration = Duration::from_millis(100);

fn manager() -> Manager {
    Manager::with(Options::new().limit(8 << 20).objects(16).participants(6)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

/// The way in for roles; by itself it does nothing.
#[test]
fn locks_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let (lock, rlock, mutex) = handles(&manager);
    match name.as_str() {
        "lock" => {
            let _held = lock.lock().expect("free");
            ready_to_die(&arguments)
        }
        "rlock" => {
            let _held = rlock.lock().expect("free");
            let _deeper = rlock.lock().expect("mine");
            ready_to_die(&arguments)
        }
        "mutex" => {
            let mut held = mutex.lock().expect("free");
            *held = 13;
            ready_to_die(&arguments)
        }
        "all" => {
            let _held = (lock.lock(), rlock.lock(), mutex.lock());
            ready_to_die(&arguments)
        }
        "reader" => {
            let shelf = shelf(&manager);
            let _held = shelf.read().expect("whole");
            ready_to_die(&arguments)
        }
        "writer" => {
            let shelf = shelf(&manager);
            let mut held = shelf.write().expect("whole");
            held[0] = 9;
            ready_to_die(&arguments)
        }
        "drainer" => {
            Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
            drop(shelf(&manager).write());
        }
        "waiter" => {
            let news = manager.get_or_create::<Condvar>("news").expect("made");
            let guard = mutex.lock().expect("whole");
            Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
            drop(news.wait_while(guard, |_| true));
        }
        other => panic!("no role {other}"),
    }
}

fn handles(manager: &Manager) -> (Lock, RLock, Mutex<u64>) {
    (
        manager.get_or_create("lock").expect("made"),
        manager.get_or_create("rlock").expect("made"),
        manager.get_or_create("mutex").expect("made"),
    )
}

fn shelf(manager: &Manager) -> RwLock<[u64; 2]> {
    manager.get_or_create("shelf").expect("made")
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(arguments: &Arguments) -> ! {
    Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
    loop {
        thread::park();
    }
}

/// Starts a role and waits until it is ready.
fn start(manager: &Manager, role: &str, dog: &Watchdog) -> Child {
    let ready = Scratch::new(1).expect("a memfd");
    let mut child =
        Role::new(role).through_test("locks_entry").fd(manager).fd(&ready).spawn().expect("started");
    dog.waits_for("a child that gets ready");
    while ready.get(0) == 0 {
        let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
        assert_eq!(ended, None, "the child ended before it was ready");
    }
    child
}

fn is_of(owner: Option<&Owner>, child: &Child, state: OwnerState) -> bool {
    owner.is_some_and(|owner| owner.pid == child.pid().as_raw() as u32 && owner.state == state)
}

#[test]
fn the_next_taker_of_a_lock_is_told_once_who_died() {
    let dog = Watchdog::new("told", LIMIT);
    let manager = manager();
    let (lock, _, _) = handles(&manager);
    let mut child = start(&manager, "lock", &dog);
    assert!(is_of(lock.owner().as_ref(), &child, OwnerState::Running), "{:?}", lock.owner());
    let error = lock.lock_timeout(Duration::from_millis(5)).expect_err("held");
    assert!(error.is_timeout() && is_of(error.owner(), &child, OwnerState::Running), "{error}");
    assert!(lock.try_lock().expect("asked").is_none());

    child.kill().expect("killed");
    let death = Instant::now();
    let guard = lock.lock().expect("comes free");
    assert!(death.elapsed() < AFTER_DEATH, "{:?}", death.elapsed());
    assert!(is_of(guard.previous_owner_died(), &child, OwnerState::Dead), "{guard:?}");
    drop(guard);
    assert!(lock.lock().expect("free").previous_owner_died().is_none(), "told once");
}

#[test]
fn a_sleeper_gets_the_lock_of_a_killed_holder() {
    let dog = Watchdog::new("sleeper", LIMIT);
    let manager = manager();
    let (lock, _, _) = handles(&manager);
    let mut child = start(&manager, "lock", &dog);
    let sleeper = {
        let lock = lock.clone();
        thread::spawn(move || lock.lock().map(|guard| (Instant::now(), guard.previous_owner_died().cloned())))
    };
    dog.waits_for("a sleeper that is seen");
    while lock.info().waiting.is_empty() {
        thread::park_timeout(Duration::from_millis(1));
    }
    let info = lock.info();
    assert!(
        is_of(info.owner.as_ref(), &child, OwnerState::Running) && info.held_at_least.is_some(),
        "{info:?}"
    );
    child.kill().expect("killed");
    let death = Instant::now();
    let (got, told) = sleeper.join().expect("no panic").expect("comes free");
    assert!(got.saturating_duration_since(death) < AFTER_DEATH);
    assert!(is_of(told.as_ref(), &child, OwnerState::Dead));
    let info = lock.info();
    assert!(info.owner.is_none() && info.waiting.is_empty(), "{info:?}");
    assert!(info.contended == 1 && info.waited > Duration::ZERO, "{info:?}");
}

#[test]
fn a_recursive_lock_is_free_however_deep_its_holder_died() {
    let dog = Watchdog::new("deep", LIMIT);
    let manager = manager();
    let (_, rlock, _) = handles(&manager);
    let mut child = start(&manager, "rlock", &dog);
    assert!(rlock.try_lock().expect("asked").is_none());
    child.kill().expect("killed");
    let death = Instant::now();
    let guard = rlock.lock().expect("comes free");
    assert!(death.elapsed() < AFTER_DEATH);
    assert!(is_of(guard.previous_owner_died(), &child, OwnerState::Dead));
    assert!(rlock.lock().expect("mine").previous_owner_died().is_none());
    drop(guard);
    assert!(!rlock.is_locked(), "its depth began anew");
}

#[test]
fn a_mutex_fails_until_it_is_repaired_and_says_who_died() {
    let dog = Watchdog::new("repair", LIMIT);
    let manager = manager();
    let (_, _, mutex) = handles(&manager);
    let mut child = start(&manager, "mutex", &dog);
    child.kill().expect("killed");
    let death = Instant::now();
    let error = mutex.lock().expect_err("not repaired");
    assert!(death.elapsed() < AFTER_DEATH);
    assert!(error.is_owner_died() && is_of(error.owner(), &child, OwnerState::Dead), "{error}");
    assert!(mutex.try_lock().expect_err("not repaired").is_owner_died());
    assert_eq!(*mutex.lock_or_repair(|data| *data += 1).expect("repaired"), 14);
    assert_eq!(*mutex.lock().expect("whole"), 14);
}

#[test]
fn whoever_looks_recovers_all_that_one_death_left() {
    let dog = Watchdog::new("all", LIMIT);
    let manager = manager();
    let (lock, rlock, mutex) = handles(&manager);
    start(&manager, "all", &dog).kill().expect("killed");
    assert_eq!(manager.recover().expect("not forked"), 1);
    assert!(lock.try_lock().expect("asked").expect("free").previous_owner_died().is_some());
    assert!(rlock.try_lock().expect("asked").expect("free").previous_owner_died().is_some());
    assert!(mutex.try_lock().expect_err("not repaired").is_owner_died());
}

#[test]
fn a_thread_that_holds_a_lock_is_told_so_and_may_take_a_recursive_one_again() {
    let _dog = Watchdog::new("again", LIMIT);
    let manager = manager();
    let (lock, rlock, _) = handles(&manager);
    let other = lock.clone();
    let guard = lock.lock().expect("free");
    assert!(other.lock().expect_err("held by this thread").is_deadlock());
    assert!(other.try_lock().expect("asked").is_none());
    drop(guard);

    let outer = rlock.lock().expect("free");
    let inner = rlock.clone();
    let inner = inner.try_lock().expect("asked").expect("mine");
    // Not in the order they were taken.
    drop(outer);
    assert!(rlock.is_locked());
    thread::scope(|scope| {
        let taken = scope.spawn(|| rlock.try_lock().expect("asked").is_some());
        assert!(!taken.join().expect("no panic"));
    });
    drop(inner);
    assert!(!rlock.is_locked() && rlock.owner().is_none());
}

#[test]
fn a_lock_may_be_released_for_a_holder_that_forgot_its_guard() {
    let manager = manager();
    let (lock, rlock, _) = handles(&manager);
    let error = lock.release_unowned().expect_err("free");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    thread::scope(|scope| {
        scope.spawn(|| std::mem::forget((lock.lock(), rlock.lock(), rlock.lock()))).join().expect("no panic");
    });
    lock.release_unowned().expect("held");
    rlock.release_unowned().expect("held");
    assert!(lock.try_lock().expect("asked").is_some() && rlock.try_lock().expect("asked").is_some());
}

#[test]
fn two_participants_exclude_each_other_under_contention() {
    const ROUNDS: u64 = 5_000;
    let _dog = Watchdog::new("contention", LIMIT);
    let one = manager();
    let two = second(&one);
    let total = Scratch::new(1).expect("a memfd");
    thread::scope(|scope| {
        for manager in [&one, &one, &two, &two] {
            let (lock, rlock, mutex) = handles(manager);
            let total = &total;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if round % 2 == 0 {
                        let _guard = lock.lock().expect("comes free");
                        *mutex.lock().expect("whole") += 1;
                    } else {
                        let _outer = rlock.lock().expect("comes free");
                        let _inner = rlock.lock_timeout(LIMIT).expect("mine");
                        let seen = total.get(0);
                        total.set(0, seen + 1);
                    }
                }
            });
        }
    });
    let (_, _, mutex) = handles(&one);
    assert_eq!((*mutex.lock().expect("whole"), total.get(0)), (2 * ROUNDS, 2 * ROUNDS));
    assert!(
        one.inspect().objects.iter().all(|object| object.sync.as_ref().is_some_and(|s| s.owner.is_none()))
    );
}

#[test]
fn names_messages_and_deadlines() {
    let manager = manager();
    let (lock, _, _) = handles(&manager);
    assert_eq!(manager.get::<RLock>("lock").expect_err("another kind").kind(), ErrorKind::Mismatch);
    let queue = manager.create_with::<ginnel_object::Queue<Lock>>(ginnel_object::queue::Options::bounded(2));
    let queue = queue.expect("room");
    queue.send(lock.clone()).expect("room");
    let guard = lock.lock_deadline(Instant::now()).expect("free, so taken even at the deadline");
    let arrived = queue.recv().expect("sent");
    assert!(arrived.is_locked());
    assert_eq!(arrived.owner().expect("held").pid, std::process::id());
    drop(guard);
    assert!(arrived.try_lock().expect("asked").is_some());
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    const ROUNDS: u64 = 2_000;
    let _dog = Watchdog::new("shelf", LIMIT);
    let one = manager();
    let two = second(&one);
    thread::scope(|scope| {
        for (index, manager) in [&one, &two, &one, &two].into_iter().enumerate() {
            let shelf = shelf(manager);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    if (round + index as u64).is_multiple_of(4) {
                        let mut data = shelf.write().expect("whole");
                        data[0] += 1;
                        data[1] += 1;
                    } else {
                        let outer = shelf.read().expect("whole");
                        let inner = shelf.read().expect("whole, and never waits");
                        assert_eq!((outer[0], inner[0]), (inner[1], outer[1]));
                    }
                }
            });
        }
    });
    assert_eq!(*shelf(&one).read().expect("whole"), [ROUNDS, ROUNDS]);
    assert!(shelf(&two).readers().is_empty() && shelf(&two).owner().is_none());
}

#[test]
fn a_thread_that_reads_is_told_when_it_wants_to_write_and_the_other_way_round() {
    let _dog = Watchdog::new("both", LIMIT);
    let manager = manager();
    let shelf = shelf(&manager);
    let read = shelf.read().expect("whole");
    assert_eq!(shelf.readers().len(), 1);
    assert!(shelf.write().expect_err("reads").is_deadlock());
    assert!(shelf.try_write().expect("asked").is_none());
    thread::scope(|scope| {
        let timeout = scope.spawn(|| shelf.write_timeout(Duration::from_millis(5)).expect_err("read"));
        let error = timeout.join().expect("no panic");
        assert!(error.is_timeout() && error.owner().is_some_and(|o| o.pid == std::process::id()), "{error}");
    });
    drop(read);
    let write = shelf.write().expect("free");
    assert!(shelf.read().expect_err("writes").is_deadlock());
    assert!(shelf.try_read().expect("asked").is_none() && shelf.try_write().expect("asked").is_none());
    assert!(shelf.owner().is_some());
    drop(write);
    assert!(shelf.try_write().expect("asked").is_some() && shelf.try_read().expect("asked").is_some());
}

#[test]
fn a_killed_reader_leaves_nothing_and_a_killed_writer_data_to_repair() {
    let dog = Watchdog::new("killed", LIMIT);
    let manager = manager();
    let shelf = shelf(&manager);
    let mut child = start(&manager, "reader", &dog);
    assert!(shelf.try_read().expect("asked").is_some() && shelf.try_write().expect("asked").is_none());
    assert!(is_of(shelf.readers().first(), &child, OwnerState::Running));
    child.kill().expect("killed");
    let death = Instant::now();
    shelf.write().expect("whole")[1] = 7;
    assert!(death.elapsed() < AFTER_DEATH, "{:?}", death.elapsed());

    let mut child = start(&manager, "writer", &dog);
    assert!(shelf.try_read().expect("asked").is_none());
    child.kill().expect("killed");
    let death = Instant::now();
    let error = shelf.read().expect_err("not repaired");
    assert!(death.elapsed() < AFTER_DEATH, "{:?}", death.elapsed());
    assert!(error.is_owner_died() && is_of(error.owner(), &child, OwnerState::Dead), "{error}");
    assert!(shelf.write().expect_err("not repaired").is_owner_died());
    assert!(shelf.try_read().expect_err("not repaired").is_owner_died());
    assert_eq!(*shelf.write_or_repair(|data| data[0] += 1).expect("repaired"), [10, 7]);
    assert_eq!(*shelf.read().expect("whole"), [10, 7]);
}

#[test]
fn a_writer_killed_in_front_of_readers_leaves_no_debt() {
    let dog = Watchdog::new("drainer", LIMIT);
    let manager = manager();
    let shelf = shelf(&manager);
    let read = shelf.read().expect("whole");
    let mut child = start(&manager, "drainer", &dog);
    dog.waits_for("a writer that waits for this reader");
    while shelf.owner().is_none() {
        thread::park_timeout(Duration::from_millis(1));
    }
    thread::scope(|scope| {
        let other = scope.spawn(|| shelf.read().map(|data| *data));
        let again = shelf.read().expect("a reader may read again");
        child.kill().expect("killed");
        let death = Instant::now();
        assert_eq!(other.join().expect("no panic").expect("whole"), [0, 0]);
        assert!(death.elapsed() < AFTER_DEATH, "{:?}", death.elapsed());
        drop(again);
    });
    drop(read);
    assert!(shelf.try_write().expect("whole").is_some());
}

#[test]
fn those_who_wait_for_news_are_woken_and_find_what_changed() {
    const JOBS: u64 = 500;
    let _dog = Watchdog::new("news", LIMIT);
    let one = manager();
    let two = second(&one);
    let news = |manager: &Manager| manager.get_or_create::<Condvar>("news").expect("made");
    let (_, _, jobs) = handles(&one);
    thread::scope(|scope| {
        let workers: Vec<_> = [&one, &two, &two]
            .map(|manager| {
                let (news, (_, _, jobs)) = (news(manager), handles(manager));
                scope.spawn(move || {
                    let mut done = 0;
                    loop {
                        let mut left = news.wait_while(jobs.lock()?, |jobs| *jobs == 0)?;
                        if *left == u64::MAX {
                            return Ok::<u64, ginnel_object::Error>(done);
                        }
                        *left -= 1;
                        done += 1;
                    }
                })
            })
            .into_iter()
            .collect();
        let news = news(&one);
        for job in 0..JOBS {
            *jobs.lock().expect("whole") += 1;
            if job % 2 == 0 { news.notify_one() } else { news.notify_many(2) }
        }
        while *jobs.lock().expect("whole") != 0 {
            thread::park_timeout(Duration::from_millis(1));
        }
        *jobs.lock().expect("whole") = u64::MAX;
        news.notify_all();
        let done: u64 =
            workers.into_iter().map(|worker| worker.join().expect("no panic").expect("whole")).sum();
        assert_eq!(done, JOBS);
    });
}

#[test]
fn a_wait_ends_at_its_time_with_the_lock_held_as_deep_as_before() {
    let _dog = Watchdog::new("time", LIMIT);
    let manager = manager();
    let news = manager.create::<Condvar>().expect("room");
    let (lock, rlock, mutex) = handles(&manager);
    let short = Duration::from_millis(3);
    let (guard, outcome) = news.wait_timeout(lock.lock().expect("free"), short).expect("taken again");
    assert!(outcome.timed_out() && lock.is_locked());
    drop(guard);
    let outer = rlock.lock().expect("free");
    let inner = rlock.lock().expect("mine");
    let (inner, _) = news.wait_deadline(inner, Instant::now() + short).expect("taken again");
    drop(inner);
    assert!(rlock.is_locked(), "the outer one holds it still");
    drop(outer);
    assert!(!rlock.is_locked());
    let guard = mutex.lock().expect("whole");
    let (guard, outcome) = news.wait_timeout_while(guard, short, |_| true).expect("taken again");
    assert!(outcome.timed_out());
    let (_guard, outcome) = news.wait_timeout_while(guard, short, |_| false).expect("not even waited");
    assert!(!outcome.timed_out());
}

#[test]
fn a_killed_waiter_holds_up_nobody() {
    let dog = Watchdog::new("waiter", LIMIT);
    let manager = manager();
    let news = manager.get_or_create::<Condvar>("news").expect("made");
    let (_, _, mutex) = handles(&manager);
    let mut child = start(&manager, "waiter", &dog);
    dog.waits_for("a waiter that sleeps");
    while news.info().waiting.is_empty() {
        thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(*mutex.lock_timeout(LIMIT).expect("a waiter holds no lock"), 0);
    child.kill().expect("killed");
    news.notify_all();
    assert_eq!(manager.recover().expect("not forked"), 1);
    assert!(news.info().waiting.is_empty());
    let guard = mutex.lock().expect("a waiter leaves no debt");
    assert!(news.wait_timeout(guard, Duration::from_millis(1)).expect("whole").1.timed_out());
}
