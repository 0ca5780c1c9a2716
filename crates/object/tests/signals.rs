//! Signals between processes, and what a killed one leaves in them.
//!
//! Children are this test binary again, in a role (the test `signal_entry`).

use std::time::{Duration, Instant};

use ginnel_layout::atomic::spin_loop;
use ginnel_object::barrier::{Barrier, OnDeath, Options};
use ginnel_object::event::{Event, Reset};
use ginnel_object::manager::{self, Manager};
use ginnel_object::once::{Once, OnceValue};
use ginnel_object::permits::{PermitPool, Permits};
use ginnel_object::queue::Queue;
use ginnel_object::semaphore::{Count, Semaphore};
use ginnel_object::{ErrorKind, OwnerState};
use ginnel_testkit::child::{self, Child, Exit, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// Within this time of a death the others have to go on, without anybody telling them.
const AFTER_A_DEATH: Duration = Duration::from_millis(100);

/// The way in for roles; by itself it does nothing.
#[test]
fn signal_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let scratch = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    match name.as_str() {
        "echo" => echo(&manager, &scratch),
        "event-waiter" => {
            scratch.set(0, 1);
            find::<Event>(&manager).wait();
        }
        "event-taker" => {
            find::<Event>(&manager).wait();
            ready_to_die(&scratch);
        }
        "semaphore-holder" => {
            find::<Semaphore>(&manager).acquire();
            ready_to_die(&scratch);
        }
        "semaphore-waiter" => {
            scratch.set(0, 1);
            find::<Semaphore>(&manager).acquire();
        }
        "permit-holder" => {
            let pool = find::<PermitPool>(&manager);
            let _some: Vec<_> = (0..2).map(|_| pool.acquire().expect("free")).collect();
            ready_to_die(&scratch);
        }
        "permit-waiter" => {
            scratch.set(0, 1);
            drop(find::<PermitPool>(&manager).acquire());
        }
        "party" => {
            scratch.set(0, 1);
            let _ = find::<Barrier>(&manager).wait();
        }
        "leader" => {
            let _ = find::<Barrier>(&manager).wait_with(|| ready_to_die(&scratch));
        }
        "runner" => find::<Once>(&manager).call_once(|_| ready_to_die(&scratch)).expect("first"),
        "maker" => {
            let value = find::<OnceValue<[u64; 3]>>(&manager);
            value.get_or_init(|| ready_to_die(&scratch)).expect("first");
        }
        "made" => {
            find::<OnceValue<[u64; 3]>>(&manager).set([1, 2, 3]).expect("first");
            ready_to_die(&scratch);
        }
        "forker" => {
            scratch.set(0, 1);
            forker(&manager);
        }
        other => panic!("no role {other}"),
    }
}

/// Holds a permit; its forked child can give it back no more than it can take one, but may signal.
fn forker(manager: &Manager) {
    let pool: PermitPool = find(manager);
    let event: Event = manager.get("event").expect("found").expect("there");
    let semaphore: Semaphore = manager.get("semaphore").expect("found").expect("there");
    let mut permit = Some(pool.acquire().expect("free"));
    let forked = child::fork_child(|| {
        assert!(pool.acquire().expect_err("forked").is_forked());
        assert!(pool.try_acquire().expect_err("forked").is_forked());
        drop(permit.take());
        assert!(!event.wait_timeout(Duration::from_millis(1)) && !semaphore.try_acquire());
        semaphore.release(1).expect("room");
        event.set();
    });
    assert_eq!(forked.expect("forked").wait().expect("waited"), Exit::Code(0));
    assert_eq!(pool.available(), 0);
}

/// The object of that kind that the test made.
fn find<T: manager::Object>(manager: &Manager) -> T {
    manager.get("subject").expect("found").expect("there")
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(scratch: &Scratch) -> ! {
    scratch.set(0, 1);
    loop {
        std::thread::park();
    }
}

/// Answers each event with the next one, until both are asked to stop.
fn echo(manager: &Manager, scratch: &Scratch) {
    let calls: Event = find(manager);
    let answers: Event = manager.get("answers").expect("found").expect("there");
    scratch.set(0, 1);
    for _ in 0..ECHOES {
        calls.wait();
        answers.set();
    }
}

const ECHOES: usize = 200;

struct Place {
    manager: Manager,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let options = manager::Options::new().limit(4 << 20).objects(16).participants(6);
        let manager = Manager::with(options).expect("a small manager");
        Self { manager, dog: Watchdog::new(test, LIMIT) }
    }

    fn with<T: manager::Object>(test: &str, options: T::Options) -> (Self, T) {
        let place = Self::new(test);
        let subject = place.manager.get_or_create_with("subject", options).expect("made");
        (place, subject)
    }

    /// Starts a role and waits until it is ready.
    fn start(&self, role: &str) -> Child {
        let scratch = Scratch::new(1).expect("a memfd");
        let role = Role::new(role).through_test("signal_entry").fd(&self.manager).fd(&scratch);
        let mut child = role.spawn().expect("started");
        self.dog.waits_for("a child that gets ready");
        while scratch.get(0) == 0 {
            let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "the child ended before it was ready");
        }
        child
    }

    /// Starts a role that waits, and gives it two slices to fall asleep.
    fn start_sleeper(&self, role: &str) -> Child {
        let mut child = self.start(role);
        assert_eq!(child.wait_timeout(Duration::from_millis(45)).expect("waited"), None);
        child
    }

    fn ends_well(&self, mut child: Child) {
        self.dog.waits_for("a child that ends");
        assert_eq!(child.wait().expect("waited"), Exit::Code(0));
    }
}

#[test]
fn two_processes_call_each_other() {
    let (place, calls) = Place::with::<Event>("echo", Reset::Auto);
    let answers: Event = place.manager.get_or_create_with("answers", Reset::Auto).expect("made");
    let child = place.start("echo");
    place.dog.waits_for("answers");
    for _ in 0..ECHOES {
        calls.set();
        answers.wait();
    }
    place.ends_well(child);
    assert!(!calls.is_set() && !answers.is_set());
}

#[test]
fn an_event_wakes_all_who_sleep_and_a_killed_one_is_nobodys_loss() {
    let (place, event) = Place::with::<Event>("event", Reset::Manual);
    let mut first = place.start_sleeper("event-waiter");
    let second = place.start_sleeper("event-waiter");
    first.kill().expect("killed");
    event.set();
    event.clear();
    place.ends_well(second);
    assert!(!event.is_set());
    assert!(!event.wait_timeout(Duration::from_millis(1)));
    event.set();
    assert!(event.wait_deadline(Instant::now()) && event.try_wait());
    event.wait();
}

#[test]
fn an_auto_reset_event_goes_to_another_when_a_sleeper_was_killed() {
    let (place, event) = Place::with::<Event>("auto", Reset::Auto);
    let mut first = place.start_sleeper("event-waiter");
    let second = place.start_sleeper("event-waiter");
    first.kill().expect("killed");
    event.set();
    place.ends_well(second);
    event.set();
    place.start("event-taker").kill().expect("killed");
    assert!(!event.is_set(), "the dead one has consumed it");
    assert!(!event.wait_timeout(Duration::from_millis(1)));
}

#[test]
fn a_semaphore_counts_on_after_a_death() {
    let (place, semaphore) = Place::with::<Semaphore>("semaphore", Count::new(2));
    place.start("semaphore-holder").kill().expect("killed");
    assert_eq!(place.manager.recover().expect("not forked"), 1);
    assert_eq!(semaphore.value(), 1, "it belongs to nobody, so it does not come back");
    semaphore.acquire();
    assert!(!semaphore.try_acquire() && !semaphore.acquire_timeout(Duration::from_millis(1)));
    let mut first = place.start_sleeper("semaphore-waiter");
    let second = place.start_sleeper("semaphore-waiter");
    let third = place.start_sleeper("semaphore-waiter");
    first.kill().expect("killed");
    semaphore.release(2).expect("room");
    place.ends_well(second);
    place.ends_well(third);
    assert_eq!(semaphore.value(), 0);
}

#[test]
fn a_bounded_semaphore_says_so() {
    let (_place, semaphore) = Place::with::<Semaphore>("bounded", Count::bounded(1));
    assert_eq!(semaphore.release(1).expect_err("full").kind(), ErrorKind::Invalid);
    semaphore.acquire();
    semaphore.release(1).expect("acquired");
    assert!(semaphore.acquire_deadline(Instant::now()));
    for wrong in [Count::bounded(0), Count::new(u32::MAX)] {
        let manager = Manager::current().expect("there");
        assert_eq!(manager.create_with::<Semaphore>(wrong).expect_err("no").kind(), ErrorKind::Invalid);
    }
}

#[test]
fn permits_of_a_killed_process_come_back_to_whoever_waits() {
    let (place, pool) = Place::with::<PermitPool>("permits", Permits(2));
    let mut holder = place.start("permit-holder");
    assert_eq!((pool.available(), pool.permits()), (0, 2));
    let owner = &pool.holders()[0];
    assert_eq!((owner.pid, &owner.state), (holder.pid().as_raw() as u32, &OwnerState::Running));
    let late = pool.acquire_timeout(Duration::from_millis(1)).expect_err("none is free");
    assert!(late.is_timeout() && late.owner().is_some(), "{late}");
    assert!(pool.try_acquire().expect("sound").is_none());
    let sleeper = place.start_sleeper("permit-waiter");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| pool.acquire().map(|_permit| Instant::now()).expect("sound"));
        // Asleep for at least a slice, so that it is recovery that wakes it.
        assert!(pool.acquire_timeout(Duration::from_millis(50)).is_err());
        let died = Instant::now();
        holder.kill().expect("killed");
        place.dog.waits_for("the permits of the dead");
        let took = waits.join().expect("no panic") - died;
        assert!(took < AFTER_A_DEATH, "{took:?}");
    });
    place.ends_well(sleeper);
    assert_eq!(pool.available(), 2);
}

#[test]
fn a_thread_with_all_permits_is_told_and_a_permit_may_change_threads() {
    let (_place, pool) = Place::with::<PermitPool>("own", Permits(2));
    let first = pool.acquire().expect("free");
    let second = pool.acquire().expect("free");
    assert_ne!(first.number(), second.number());
    assert!(pool.acquire().expect_err("all mine").is_deadlock());
    std::thread::scope(|scope| {
        scope.spawn(move || drop(first));
    });
    drop(second);
    assert_eq!(pool.available(), 2);
    for wrong in [0, 65537] {
        let manager = Manager::current().expect("there");
        let error = manager.create_with::<PermitPool>(Permits(wrong)).expect_err("no");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let many = PermitPool::new(5000).expect("pages");
    let held: Vec<_> = (0..5000).map(|_| many.acquire().expect("free")).collect();
    assert_eq!(many.available(), 0);
    drop(held);
    assert_eq!(many.available(), 5000);
}

#[test]
fn a_child_of_a_bare_fork_may_signal_but_holds_nothing() {
    let (place, pool) = Place::with::<PermitPool>("forked", Permits(1));
    let event: Event = place.manager.get_or_create("event").expect("room");
    let semaphore: Semaphore = place.manager.get_or_create("semaphore").expect("room");
    let forker = place.start("forker");
    place.dog.waits_for("signals of the forked");
    event.wait();
    semaphore.acquire();
    place.ends_well(forker);
    assert_eq!(pool.available(), 1);
}

#[test]
fn handles_travel_in_messages() {
    let (place, letters) = Place::with::<Queue<(Event, Semaphore, PermitPool)>>("travel", Default::default());
    let event: Event = place.manager.create().expect("room");
    let pool = place.manager.create_with::<PermitPool>(Permits(3)).expect("room");
    let semaphore = place.manager.create::<Semaphore>().expect("room");
    letters.send((event.clone(), semaphore.clone(), pool)).expect("room");
    let (same_event, same_semaphore, pool) = letters.recv().expect("sent");
    same_event.set();
    same_semaphore.release(1).expect("room");
    assert!(event.is_set());
    assert_eq!((semaphore.value(), pool.permits(), pool.available()), (1, 3, 3));
}

fn barrier(test: &str, parties: u32, on_death: OnDeath) -> (Place, Barrier) {
    Place::with(test, Options { parties, on_death })
}

#[test]
fn a_killed_party_breaks_the_phase() {
    let (place, barrier) = barrier("break", 3, OnDeath::Break);
    let mut party = place.start_sleeper("party");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| (barrier.wait(), Instant::now()));
        place.dog.waits_for("two parties");
        while barrier.waiting() < 2 {
            spin_loop();
        }
        assert!(party.wait_timeout(Duration::from_millis(45)).expect("waited").is_none());
        let died = Instant::now();
        party.kill().expect("killed");
        place.dog.waits_for("the news of a death");
        let (told, at) = waits.join().expect("no panic");
        assert!(told.expect_err("broken").is_broken());
        assert!(at - died < AFTER_A_DEATH, "{:?}", at - died);
    });
    assert!(barrier.is_broken() && barrier.waiting() == 0);
    assert!(barrier.wait().expect_err("still").is_broken() && barrier.try_wait().is_err());
    barrier.reset().expect("sound");
    let others = [place.start("party"), place.start("party")];
    place.dog.waits_for("three parties");
    barrier.wait().expect("whole again");
    others.into_iter().for_each(|other| place.ends_well(other));
}

#[test]
fn a_killed_party_leaves_its_place_to_another() {
    let (place, barrier) = barrier("leave", 2, OnDeath::Leave);
    for role in ["party", "leader"] {
        let mut party = if role == "party" { place.start_sleeper(role) } else { leader(&place, &barrier) };
        party.kill().expect("killed");
        let successor = place.start("party");
        place.dog.waits_for("a successor");
        let mut ran = false;
        let leads = barrier.wait_with(|| ran = true).expect("two are in");
        assert_eq!(leads, ran);
        // Of the two places of a leader that died, one was the other party's, who goes with the successor.
        place.ends_well(successor);
    }
    assert!(!barrier.is_broken());
}

/// A process that leads a phase, and is in its action. The other party, a thread, is let go by the next.
fn leader(place: &Place, barrier: &Barrier) -> Child {
    let mut other = place.start_sleeper("party");
    let leader = place.start("leader");
    assert!(barrier.try_wait().expect("whole").is_none());
    other.kill().expect("killed");
    leader
}

#[test]
fn a_barrier_counts_its_parties() {
    let (place, barrier) = barrier("counts", 2, OnDeath::Break);
    assert_eq!((barrier.parties(), barrier.waiting(), barrier.try_wait().expect("whole")), (2, 0, None));
    let party = place.start_sleeper("party");
    assert_eq!(barrier.waiting(), 1);
    assert_eq!(barrier.try_wait().expect("whole"), Some(true));
    place.ends_well(party);
    assert!(barrier.wait_timeout(Duration::from_millis(1)).expect_err("alone").is_timeout());
    assert!(barrier.wait_deadline(Instant::now()).expect_err("broken").is_broken());
    barrier.reset().expect("sound");
    barrier.abort().expect("sound");
    assert!(barrier.is_broken());
    for wrong in [0, 65537] {
        assert_eq!(Barrier::new(wrong).expect_err("no").kind(), ErrorKind::Invalid);
    }
    assert!(Barrier::new(1000).expect("pages").try_wait().expect("whole").is_none());
    assert!(Barrier::new(1).expect("room").wait().expect("alone is enough"));
}

#[test]
fn what_a_killed_process_was_running_is_run_again_and_it_says_so() {
    let (place, once) = Place::with::<Once>("once", ());
    let mut runner = place.start("runner");
    let late = once.wait_timeout(Duration::from_millis(1)).expect_err("it hangs");
    assert_eq!(late.owner().map(|owner| owner.pid), Some(runner.pid().as_raw() as u32), "{late}");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| once.wait());
        let calls = scope.spawn(|| {
            let mut told = None;
            once.call_once(|state| told = Some(state.previous_died())).expect("next");
            (told, Instant::now())
        });
        assert!(runner.wait_timeout(Duration::from_millis(45)).expect("waited").is_none());
        let died = Instant::now();
        runner.kill().expect("killed");
        place.dog.waits_for("the next one to run it");
        let (told, at) = calls.join().expect("no panic");
        assert_eq!(told, Some(true));
        assert!(at - died < AFTER_A_DEATH, "{:?}", at - died);
        waits.join().expect("no panic").expect("done");
    });
    once.call_once(|_| panic!("twice")).expect("done");
    assert!(once.is_completed());
    once.wait_deadline(Instant::now()).expect("done");
}

#[test]
fn a_value_is_made_once_whoever_dies() {
    let (place, value) = Place::with::<OnceValue<[u64; 3]>>("value", ());
    assert_eq!(value.get(), None);
    place.start("maker").kill().expect("killed");
    assert_eq!(value.get(), None);
    place.start("made").kill().expect("killed");
    assert_eq!(*value.wait().expect("made"), [1, 2, 3]);
    assert_eq!(*value.get_or_init(|| panic!("twice")).expect("made"), [1, 2, 3]);
    assert_eq!(value.set([9; 3]).expect_err("made").into_inner(), [9; 3]);
    assert_eq!(value.get(), Some(&[1, 2, 3]));
    assert!(place.manager.get::<OnceValue<[u32; 3]>>("subject").expect_err("another size").is_mismatch());
    assert!(place.manager.get::<Once>("subject").expect_err("another kind").is_mismatch());
}

#[test]
fn a_panic_leaves_it_to_the_next_and_a_call_from_inside_is_told() {
    let (place, once) = Place::with::<Once>("panics", ());
    let panics = || once.call_once(|_| panic!("on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    let value = place.manager.create::<OnceValue<u8>>().expect("room");
    once.call_once(|state| {
        assert!(!state.previous_died());
        assert!(once.call_once(|_| ()).expect_err("inside").is_deadlock());
        assert!(value.set(7).is_ok());
    })
    .expect("next");
    assert_eq!(value.get(), Some(&7));
    assert!(value.wait_timeout(Duration::ZERO).is_ok() && value.wait_deadline(Instant::now()).is_ok());
    let other = place.manager.create::<OnceValue<u8>>().expect("room");
    assert!(other.wait_timeout(Duration::from_millis(1)).expect_err("nobody made it").is_timeout());
}
