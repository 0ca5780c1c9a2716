//! What one process learns of another through locks and signals: who stands in the way, who died, who waits for whom.
//!
//! Children are this test binary again, in a role (the test `lock_entry`).

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use ginnel::manager::Options;
use ginnel::select::{Select, Waitable, wait_any};
use ginnel::sync::{
    Barrier, Condvar, Event, Init, Lock, Mutex, Once, OnceValue, PermitPool, Permits, RLock, RwLock,
    Semaphore,
};
use ginnel::{Error, ErrorKind, Manager, Owner, OwnerState};
use ginnel_testkit::child::{self, Arguments, Child, Exit, Role, fork_child};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

/// A wait in vain.
const MOMENT: Duration = Duration::from_millis(60);

/// The words between the processes: a child is ready; the parent lets them go on; what is counted.
const READY: usize = 0;
const GO: usize = 1;
const COUNT: usize = 2;
const WORDS: usize = COUNT + 8;

/// The way in for roles; by itself it does nothing.
#[test]
fn lock_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "holder" => holder(&arguments),
        "waiter" => waiter(&arguments),
        "crossed" => crossed(&arguments),
        "crowd" => crowd(&arguments),
        "chooser" => chooser(&arguments),
        "forked" => forked(),
        other => panic!("no role {other}"),
    }
}

/// A named manager that is gone at the end of its test, and words to talk to children.
struct Place {
    name: String,
    manager: Manager,
    words: Scratch,
    dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("locks-{}-{test}", std::process::id());
        let options = Options::new().limit(1 << 20).participants(12).objects(16);
        let manager = Manager::open_or_create_with(&name, options).expect("a fresh name");
        Self { name, manager, words: Scratch::new(WORDS).expect("a memfd"), dog: Watchdog::new(test, LIMIT) }
    }

    /// Starts a role, with a number for it.
    fn start(&self, role: &str, number: usize) -> Child {
        let role = Role::new(role).through_test("lock_entry").arg(&self.name).fd(&self.words).arg(number);
        role.spawn().expect("started")
    }

    /// Waits until so many have said that they are ready.
    fn until_ready(&self, count: u64, children: &mut [Child]) {
        self.dog.waits_for("children that get ready");
        while self.words.get(READY) < count {
            for child in &mut *children {
                let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
                assert_eq!(ended, None, "a child ended before it was ready");
            }
        }
    }
}

/// The child's side of a [`Place`].
fn opened(arguments: &Arguments) -> (Manager, Scratch, usize) {
    let name: String = arguments.get(0).expect("a name");
    let words = Scratch::from_fd(arguments.fd(1).expect("a descriptor")).expect("mapped");
    (Manager::open(&name).expect("the parent made it"), words, arguments.get(2).expect("a number"))
}

/// One of everything that has an owner.
struct Owned {
    mutex: Mutex<u64>,
    lock: Lock,
    recursive: RLock,
    shared: RwLock<u64>,
    permits: PermitPool,
}

impl Owned {
    fn open(manager: &Manager) -> ginnel::Result<Self> {
        Ok(Self {
            mutex: manager.get_or_create_with("mutex", Init(Some(0)))?,
            lock: manager.get_or_create("lock")?,
            recursive: manager.get_or_create("recursive")?,
            shared: manager.get_or_create_with("shared", Init(Some(0)))?,
            permits: manager.get_or_create_with("permits", Permits(1))?,
        })
    }
}

/// Holds one of everything until it is killed.
fn holder(arguments: &Arguments) {
    let (manager, words, _) = opened(arguments);
    let all = Owned::open(&manager).expect("they are there");
    let _mutex = all.mutex.lock().expect("free");
    let _lock = all.lock.lock().expect("free");
    let _recursive = (all.recursive.lock().expect("free"), all.recursive.lock().expect("ours"));
    let _shared = all.shared.write().expect("free");
    let _permit = all.permits.acquire().expect("free");
    words.add(READY, 1);
    loop {
        thread::park();
    }
}

fn names(error: &Error, child: &Child, state: OwnerState) {
    assert!(error.is_timeout(), "{error}");
    let Owner { pid, state: found, .. } = error.owner().unwrap_or_else(|| panic!("no owner: {error}"));
    assert_eq!((*pid as i32, *found), (child.pid().as_raw(), state), "{error}");
}

#[test]
fn a_timeout_names_the_stopped_owner_and_nothing_is_taken_from_it() {
    let place = Place::new("stopped");
    let all = Owned::open(&place.manager).expect("there is room");
    let mut children = [place.start("holder", 0)];
    place.until_ready(1, &mut children);
    let [mut holder] = children;
    holder.signal(Signal::SIGSTOP).expect("it is ours");
    place.dog.waits_for("timeouts");
    let stopped = OwnerState::Stopped;
    names(&all.mutex.lock_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    names(&all.lock.lock_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    names(&all.recursive.lock_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    names(&all.shared.write_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    names(&all.shared.read_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    names(&all.permits.acquire_timeout(MOMENT).map(drop).expect_err("held"), &holder, stopped);
    assert_eq!(place.manager.recover().expect("looked"), 0, "a stopped one is alive");
    holder.signal(Signal::SIGCONT).expect("it is ours");
    holder.kill().expect("it is ours");
    place.dog.waits_for("what the dead one held");
    assert!(all.mutex.lock().expect_err("it died with it").is_owner_died());
    let pid = holder.pid().as_raw() as u32;
    let died = |owner: Option<&Owner>| owner.map(|owner| (owner.pid, owner.state));
    assert_eq!(died(all.lock.lock().expect("free").previous_owner_died()), Some((pid, OwnerState::Dead)));
    assert_eq!(
        died(all.recursive.lock().expect("free").previous_owner_died()),
        Some((pid, OwnerState::Dead))
    );
    assert!(all.shared.read().map(drop).expect_err("it died with it").is_owner_died());
    drop(all.permits.acquire().expect("it came back"));
    // Once told, once repaired.
    assert!(all.lock.lock().expect("free").previous_owner_died().is_none());
    drop(all.mutex.lock_or_repair(|data| *data = 7).expect("free"));
    drop(all.shared.write_or_repair(|data| *data = 7).expect("free"));
    assert_eq!((*all.mutex.lock().expect("whole"), *all.shared.read().expect("whole")), (7, 7));
}

/// Waits at a condition variable until it is killed.
fn waiter(arguments: &Arguments) {
    let (manager, words, _) = opened(arguments);
    let mutex: Mutex<u64> = manager.get_or_create("mutex").expect("it is there");
    let condvar: Condvar = manager.get_or_create("condvar").expect("it is there");
    let mut guard = mutex.lock().expect("free");
    words.add(READY, 1);
    loop {
        guard = condvar.wait(guard).expect("a good mutex");
        if *guard > 0 {
            *guard -= 1;
            words.add(COUNT, 1);
        }
    }
}

#[test]
fn a_notify_does_not_wait_for_those_who_died_waiting() {
    let place = Place::new("notify");
    let mutex: Mutex<u64> = place.manager.get_or_create("mutex").expect("there is room");
    let condvar: Condvar = place.manager.get_or_create("condvar").expect("there is room");
    let mut children: Vec<Child> = (0..3).map(|number| place.start("waiter", number)).collect();
    place.until_ready(3, &mut children);
    // Whoever says that it is ready holds the mutex until it waits.
    drop(mutex.lock().expect("free"));
    place.dog.waits_for("notifies of the dead");
    for child in &mut children[..2] {
        child.kill().expect("it is ours");
    }
    let start = Instant::now();
    for _ in 0..100 {
        condvar.notify_one();
        condvar.notify_many(2);
        condvar.notify_all();
    }
    assert!(start.elapsed() < Duration::from_secs(1), "300 notifies took {:?}", start.elapsed());
    // The living one is not kept from its notify by the dead, who may have been first in the row.
    place.dog.waits_for("the one who lives");
    *mutex.lock().expect("nobody died with it") += 1;
    condvar.notify_one();
    while place.words.get(COUNT) == 0 {
        assert_eq!(children[2].wait_timeout(Duration::from_millis(1)).expect("waited"), None);
    }
}

/// Takes the lock of its number and then the next one, which another has. Says how the second came out.
fn crossed(arguments: &Arguments) {
    let (manager, words, number) = opened(arguments);
    manager.detect_deadlocks().expect("there is room");
    let open =
        |number: usize| -> Lock { manager.get_or_create(&format!("lock-{}", number % 3)).expect("there") };
    let (first, second) = (open(number), open(number + 1));
    let guard = first.lock().expect("free");
    words.add(READY, 1);
    while words.get(GO) == 0 {
        thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
    }
    match second.lock() {
        Ok(inner) => drop(inner),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
            let text = error.to_string();
            let has = |what: String| assert!(text.contains(&what), "{what} is not in: {text}");
            (0..3).for_each(|number| has(format!("lock-{number}")));
            (0..3).for_each(|number| has(format!("{}", words.get(COUNT + 1 + number))));
            words.add(COUNT, 1);
        }
    }
    drop(guard);
}

#[test]
fn a_cycle_of_three_processes_is_named_to_one_of_them_and_the_others_go_on() {
    let place = Place::new("cycle");
    let mut children: Vec<Child> = (0..3).map(|number| place.start("crossed", number)).collect();
    for (number, child) in children.iter().enumerate() {
        place.words.set(COUNT + 1 + number, child.pid().as_raw() as u64);
    }
    place.until_ready(3, &mut children);
    place.words.set(GO, 1);
    place.dog.waits_for("an end of the deadlock");
    for child in &mut children {
        assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    }
    let told = place.words.get(COUNT);
    assert!((1..=3).contains(&told), "{told} were told");
}

/// Waits for a writer to go and for a value, and reads until it is killed. Woken by the words, or by bells.
fn chooser(arguments: &Arguments) {
    let (manager, words, by_bells) = opened(arguments);
    let shared: RwLock<u64> = manager.get_or_create("shared").expect("it is there");
    let value: OnceValue<u64> = manager.get_or_create("value").expect("it is there");
    let (quiet, _far) = UnixStream::pair().expect("descriptors");
    let until = |what: &dyn Waitable| {
        let select = Select::new().on(what, 0);
        let select = if by_bells == 1 { select.on_fd(&quiet, 1) } else { select };
        words.add(READY, 1);
        assert_eq!(select.wait().expect("nothing goes wrong"), 0);
    };
    until(&shared.read_side());
    let _reading = shared.try_read().expect("whole").expect("no writer");
    words.add(COUNT, 1);
    until(&value);
    assert_eq!(value.get(), Some(&7));
    words.add(COUNT, 1);
    loop {
        thread::park();
    }
}

#[test]
fn a_select_sees_writers_go_values_come_and_holders_die() {
    for by_bells in [0, 1] {
        let place = Place::new("select");
        let shared: RwLock<u64> =
            place.manager.get_or_create_with("shared", Init(Some(0))).expect("there is room");
        let value: OnceValue<u64> = place.manager.get_or_create("value").expect("there is room");
        let writing = shared.write().expect("free");
        let mut children = vec![place.start("chooser", by_bells)];
        place.until_ready(1, &mut children);
        assert_eq!(place.words.get(COUNT), 0);
        drop(writing);
        place.until_ready(2, &mut children);
        assert_eq!(place.words.get(COUNT), 1);
        value.set(7).expect("nobody else sets it");
        place.dog.waits_for("a child that sees the value");
        while place.words.get(COUNT) < 2 {
            let ended = children[0].wait_timeout(Duration::from_millis(1)).expect("waited");
            assert_eq!(ended, None, "a child ended before it saw the value");
        }
        // It reads, so one may read, and may write once it is dead.
        let side = shared.read_side();
        assert_eq!(wait_any(&[&shared], Some(MOMENT)).expect("waited"), None);
        assert_eq!(wait_any(&[&shared, &side], None).expect("waited"), Some(1));
        children[0].kill().expect("it is ours");
        place.dog.waits_for("the death of a reader");
        assert_eq!(wait_any(&[&shared], None).expect("waited"), Some(0));
        drop(shared.try_write().expect("whole").expect("the reader is dead"));
        // A writer that died is something to be told of.
        children.push(place.start("holder", 0));
        place.until_ready(3, &mut children[1..]);
        place.dog.waits_for("the death of a writer");
        assert_eq!(wait_any(&[&shared, &side], Some(MOMENT)).expect("waited"), None);
        children[1].kill().expect("it is ours");
        assert_eq!(wait_any(&[&side], None).expect("waited"), Some(0));
        assert!(shared.try_read().map(drop).expect_err("it died with it").is_owner_died());
    }
}

/// More than there are cores, all at one lock, one semaphore, one barrier.
const CROWD: usize = 8;
const TURNS: u64 = 400;

fn crowd(arguments: &Arguments) {
    let (manager, words, number) = opened(arguments);
    let all = Owned::open(&manager).expect("they are there");
    let semaphore: Semaphore = manager.get_or_create("semaphore").expect("it is there");
    let barrier: Barrier = manager.get_or_create_with("barrier", everybody()).expect("it is there");
    words.add(READY, 1);
    assert!(barrier.wait_timeout(LIMIT).is_ok(), "all come");
    for turn in 0..TURNS {
        *all.mutex.lock().expect("nobody dies") += 1;
        *all.shared.write().expect("nobody dies") += 1;
        assert!(*all.shared.read().expect("nobody dies") > turn);
        let inner = (all.recursive.lock().expect("nobody dies"), all.recursive.lock().expect("ours"));
        drop((all.permits.acquire().expect("nobody dies"), inner));
        semaphore.release(1).expect("not bounded");
        semaphore.acquire();
    }
    words.set(COUNT + number % 8, 1 + u64::from(barrier.wait_timeout(LIMIT).expect("all come")));
}

fn everybody() -> ginnel::sync::Options {
    ginnel::sync::Options { parties: CROWD as u32, on_death: ginnel::sync::OnDeath::Break }
}

#[test]
fn more_processes_than_cores_all_come_through() {
    let place = Place::new("crowd");
    let all = Owned::open(&place.manager).expect("there is room");
    let mut children: Vec<Child> = (0..CROWD).map(|number| place.start("crowd", number)).collect();
    place.dog.waits_for("a crowd");
    for child in &mut children {
        assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    }
    let (turns, said) = (CROWD as u64 * TURNS, (0..CROWD).map(|number| place.words.get(COUNT + number)));
    assert_eq!((*all.mutex.lock().expect("whole"), *all.shared.read().expect("whole")), (turns, turns));
    assert_eq!(said.sum::<u64>(), CROWD as u64 + 1, "one of them led");
    let semaphore: Semaphore = place.manager.get_or_create("semaphore").expect("it is there");
    assert_eq!((semaphore.value(), all.permits.available()), (0, 1));
}

/// Starts a role that needs a process with one thread, and waits for its end.
#[test]
fn what_a_forked_child_inherited_is_of_no_use_and_the_parent_keeps_its_own() {
    let _dog = Watchdog::new("forked", LIMIT);
    Role::new("forked").through_test("lock_entry").play();
}

fn forked() {
    let options = Options::new().limit(1 << 20).participants(4).objects(16);
    let manager = Manager::with(options).expect("a segment");
    let all = Owned::open(&manager).expect("there is room");
    let barrier: Barrier = manager.get_or_create_with("barrier", everybody()).expect("there is room");
    let once: Once = manager.get_or_create("once").expect("there is room");
    let semaphore: Semaphore = manager.get_or_create("semaphore").expect("there is room");
    let event: Event = manager.get_or_create("event").expect("there is room");
    let (lock, permit) = (all.lock.lock().expect("free"), all.permits.acquire().expect("free"));
    let read = all.shared.read().expect("free");
    // The child takes its copies of them out of here.
    let guards = Cell::new(Some((lock, permit, read)));
    let mut child = fork_child(|| {
        let forked = |error: Error| assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
        forked(all.mutex.lock().map(drop).expect_err("not ours"));
        forked(all.mutex.try_lock().map(drop).expect_err("not ours"));
        forked(all.lock.lock().map(drop).expect_err("not ours"));
        forked(all.recursive.lock().map(drop).expect_err("not ours"));
        forked(all.shared.read().map(drop).expect_err("not ours"));
        forked(all.shared.write().map(drop).expect_err("not ours"));
        forked(all.permits.acquire().map(drop).expect_err("not ours"));
        forked(barrier.wait().map(drop).expect_err("not ours"));
        forked(barrier.reset().expect_err("not ours"));
        forked(once.call_once(|_| panic!("not ours")).expect_err("not ours"));
        // Nobody owns these, so they work on.
        semaphore.release(1).expect("anybody may");
        event.set();
        // Guards that came along are the parent's.
        drop(guards.take());
    })
    .expect("forked");
    assert_eq!(child.wait().expect("waited"), Exit::Code(0));
    assert!(event.is_set() && semaphore.try_acquire());
    assert!(all.lock.is_locked() && all.permits.available() == 0 && all.shared.readers().len() == 1);
    drop(guards);
    assert!(!all.lock.is_locked() && all.permits.available() == 1 && all.shared.readers().is_empty());
}
