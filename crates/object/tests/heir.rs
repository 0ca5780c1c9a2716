//! What the child of a fork inherits: the handles of its parent, counted before the fork, whoever of the two dies when.
//!
//! Each scenario runs in a process of its own (the test `heir_entry`), because it forks.
//!
//! - I1: a child that is forked here uses what is its thread's own and shared memory, allocates (the C library sees to that),
//!   and ends by `_exit`, without what the threads it has not got may have been in the middle of.
//! - I2: a process id that is waited for is that of a child of ours which nobody has waited for yet.
#![allow(unsafe_code, reason = "forks in a process with threads")]

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Barrier as PrivateBarrier;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_object::barrier::Barrier;
use ginnel_object::bridge::{self, Heir};
use ginnel_object::condvar::Condvar;
use ginnel_object::error::{ErrorKind, RecvError, TryRecvError};
use ginnel_object::event::Event;
use ginnel_object::lock::{Lock, RLock};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::mutex::Init;
use ginnel_object::queue::{self, Receiver, Sender};
use ginnel_object::semaphore::{Count, Semaphore};
use ginnel_object::spsc::Producer;
use ginnel_object::{Array, Object, Queue, Value, array};
use ginnel_testkit::child::{self, Child, Exit, Role, fork_child};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LIMIT: Duration = Duration::from_secs(60);

/// The way in for scenarios; by itself it does nothing.
#[test]
fn heir_entry() {
    let Some((name, arguments)) = child::role() else { return };
    match name.as_str() {
        "all kinds" => all_kinds(),
        "sides" => sides(),
        "never enters" => never_enters(),
        "no fork" => no_fork(),
        "generations" => generations(),
        "many" => many(),
        "threads" => threads(),
        "a dying parent" => {
            let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
            dying_parent(&manager, &arguments.get::<String>(1).expect("when"));
        }
        other => panic!("no role {other}"),
    }
}

fn play(role: &str) {
    let _dog = Watchdog::new(role, LIMIT);
    Role::new(role).through_test("heir_entry").play();
}

fn manager() -> Manager {
    Manager::with(Options::new().limit(16 << 20).objects(64).participants(12)).expect("a small manager")
}

/// Forks a child that enters and runs `body` with its arena.
fn fork(manager: &Manager, body: impl FnOnce(Manager)) -> Child {
    let mut heir = Some(Heir::prepare(manager).expect("a row"));
    let child = fork_child(|| {
        let entered = heir.take().expect("prepared").enter().expect("the child that was meant");
        body(entered);
    })
    .expect("forked");
    heir.take().expect("the parent's copy").leave();
    child
}

/// Both sides of one channel.
fn channel(manager: &Manager) -> (Sender<u32>, Receiver<u32>) {
    let sender = manager.create_with::<Sender<u32>>(queue::Options::bounded(8)).expect("made");
    let receiver = bridge::open_at(manager, bridge::address_of(&sender)).expect("there");
    (sender, receiver)
}

/// A gate between parent and child which does not need what is tested.
struct Gate(UnixStream, UnixStream);

impl Gate {
    fn new() -> Self {
        let (one, other) = UnixStream::pair().expect("sockets");
        Self(one, other)
    }

    fn open(&self) {
        (&self.0).write_all(&[1]).expect("written");
    }

    fn pass(&self) {
        (&self.1).read_exact(&mut [0]).expect("opened");
    }
}

/// Nobody is there but this process, and nothing is left in the arena.
fn check_empty(manager: &Manager) {
    let seen = manager.inspect();
    assert_eq!((seen.participants.len(), seen.objects.len()), (1, 0), "{seen:?}");
}

fn again<T: Object>(manager: &Manager, old: Option<T>) -> T {
    let new = bridge::inherit(manager, old.as_ref().expect("there")).expect("inherited");
    assert_eq!(bridge::address_of(&new), bridge::address_of(old.as_ref().expect("there")));
    drop(old);
    new
}

#[test]
fn every_kind_goes_on_in_the_child() {
    play("all kinds");
}

/// Everything is made by the parent, who lets go of it before the child has entered.
struct Things {
    lock: Option<Lock>,
    rlock: Option<RLock>,
    semaphore: Option<Semaphore>,
    condvar: Option<Condvar>,
    event: Option<Event>,
    barrier: Option<Barrier>,
    number: Option<Value<u64>>,
    array: Option<Array<u32>>,
    queue: Option<Queue<String>>,
    sender: Option<Sender<u32>>,
    receiver: Option<Receiver<u32>>,
    producer: Option<Producer<u64>>,
}

impl Things {
    fn make(manager: &Manager) -> Self {
        let (sender, receiver) = channel(manager);
        Self {
            lock: Some(manager.create().expect("made")),
            rlock: Some(manager.create().expect("made")),
            semaphore: Some(manager.create_with(Count::new(2)).expect("made")),
            condvar: Some(manager.create().expect("made")),
            event: Some(manager.create().expect("made")),
            barrier: Some(manager.create().expect("made")),
            number: Some(manager.create_with(Init(Some(7))).expect("made")),
            array: Some(manager.create_with(array::Elements::of([1, 2, 3])).expect("made")),
            queue: Some(manager.create_with(queue::Options::bounded(8)).expect("made")),
            sender: Some(sender),
            receiver: Some(receiver),
            producer: Some(manager.create().expect("made")),
        }
    }

    fn use_in(self, manager: &Manager) {
        let refused = bridge::inherit(manager, self.producer.as_ref().expect("there"));
        assert_eq!(refused.expect_err("the parent's").kind(), ErrorKind::Invalid);
        let lock = again(manager, self.lock);
        drop(lock.lock().expect("nobody holds it"));
        let rlock = again(manager, self.rlock);
        drop((rlock.lock().expect("free"), rlock.lock().expect("mine")));
        let semaphore = again(manager, self.semaphore);
        assert!(semaphore.try_acquire() && semaphore.try_acquire() && !semaphore.try_acquire());
        let condvar = again(manager, self.condvar);
        condvar.notify_all();
        let event = again(manager, self.event);
        event.set();
        event.wait();
        assert!(!again(manager, self.barrier).is_broken());
        let number = again(manager, self.number);
        assert_eq!(number.replace(8).expect("whole"), 7);
        assert_eq!(again(manager, self.array).to_vec().expect("whole"), [1, 2, 3]);
        let queue = again(manager, self.queue);
        assert_eq!(queue.recv().expect("sent by the parent"), "before");
        queue.send("after".into()).expect("room");
        let (sender, receiver) = (again(manager, self.sender), again(manager, self.receiver));
        sender.send(5).expect("room");
        drop(sender);
        assert_eq!(receiver.recv().expect("sent"), 5);
        assert!(matches!(receiver.recv(), Err(RecvError::Closed)), "nobody else has the other side");
        // Not the same again, but more of it.
        let more: Lock = bridge::open_at(manager, bridge::address_of(&lock)).expect("there");
        drop(lock);
        drop(more.lock().expect("free"));
        let address = bridge::address_of(&more);
        assert_eq!(
            bridge::open_at::<Event>(manager, address).expect_err("a lock").kind(),
            ErrorKind::Mismatch
        );
        drop(more);
        let gone = bridge::open_at::<Lock>(manager, address).expect_err("gone");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}

fn all_kinds() {
    let manager = manager();
    let things = Things::make(&manager);
    things.queue.as_ref().expect("there").send("before".into()).expect("room");
    let gate = Gate::new();
    let mut things = Some(things);
    let mut heir = Some(Heir::prepare(&manager).expect("a row"));
    let mut child = fork_child(|| {
        gate.pass();
        let entered = heir.take().expect("prepared").enter().expect("the child that was meant");
        things.take().expect("inherited").use_in(&entered);
        drop(entered);
    })
    .expect("forked");
    drop(things);
    drop(heir);
    assert_eq!(manager.inspect().participants.len(), 2);
    gate.open();
    assert_eq!(child.wait().expect("waited"), Exit::Code(0));
    // It has left in order, so nobody is recovered.
    check_empty(&manager);
    assert_eq!(manager.recover().expect("here"), 0);
}

#[test]
fn a_side_ends_with_the_last_of_parent_and_child() {
    play("sides");
}

fn sides() {
    let manager = manager();
    for how in ["killed", "killed, and never made again", "dropped", "dropped, and never made again"] {
        let (sender, receiver) = channel(&manager);
        let (gate, report) = (Gate::new(), Gate::new());
        let mut held = Some((sender, receiver));
        let mut child = fork(&manager, |entered| {
            let (sender, receiver) = held.take().expect("inherited");
            let sender = (!how.contains("never")).then(|| again(&entered, Some(sender)));
            if let Some(sender) = &sender {
                sender.send(1).expect("room");
            }
            drop(receiver);
            report.open();
            gate.pass();
            // The attachment, too: what was not made again is held until then.
            drop((sender, entered));
            report.open();
            gate.pass();
        });
        let (sender, receiver) = held.take().expect("the parent's copy");
        report.pass();
        drop(sender);
        if !how.contains("never") {
            assert_eq!(receiver.recv().expect("sent"), 1);
        }
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "{how}: the child may send");
        if how.starts_with("killed") {
            assert_eq!(child.kill().expect("killed"), Exit::KILLED);
        } else {
            gate.open();
            report.pass();
        }
        assert!(matches!(receiver.recv(), Err(RecvError::Closed)), "{how}");
        gate.open();
        drop(child);
        drop(receiver);
        check_empty(&manager);
    }
}

#[test]
fn a_child_that_is_killed_before_it_enters_leaves_nothing() {
    play("never enters");
}

fn never_enters() {
    let manager = manager();
    let (sender, receiver) = channel(&manager);
    let gate = Gate::new();
    let heir = Heir::prepare(&manager).expect("a row");
    let mut child = fork_child(|| gate.pass()).expect("forked");
    heir.leave();
    drop(sender);
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "the child may send yet");
    assert_eq!(manager.inspect().objects[0].holders, 2);
    child.kill().expect("killed");
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
    drop(receiver);
    check_empty(&manager);
    // Killed before the parent has left: it sees to it when it does.
    let lock: Lock = manager.create().expect("made");
    let heir = Heir::prepare(&manager).expect("a row");
    let mut child = fork_child(|| gate.pass()).expect("forked");
    child.kill().expect("killed");
    assert_eq!((manager.inspect().objects[0].holders, manager.recover().expect("here")), (2, 0));
    heir.leave();
    assert_eq!((manager.inspect().objects[0].holders, manager.inspect().participants.len()), (1, 1));
    drop(lock);
    check_empty(&manager);
}

#[test]
fn where_no_fork_happens_nothing_is_left() {
    play("no fork");
}

fn no_fork() {
    let manager = manager();
    let lock: Lock = manager.create().expect("made");
    let heir = Heir::prepare(&manager).expect("a row");
    assert_eq!(manager.inspect().participants.len(), 2);
    heir.leave();
    assert_eq!(manager.inspect().participants.len(), 1);
    let heir = Heir::prepare(&manager).expect("a row");
    assert_eq!(heir.enter().expect_err("no child").kind(), ErrorKind::Invalid);
    assert_eq!(manager.inspect().participants.len(), 1);
    // Two forks: whose is it? Neither gets it.
    let mut heir = Some(Heir::prepare(&manager).expect("a row"));
    let mut first = fork_child(|| ()).expect("forked");
    let mut second = fork_child(|| {
        let refused = heir.take().expect("prepared").enter();
        assert_eq!(refused.expect_err("the second").kind(), ErrorKind::Invalid);
    })
    .expect("forked");
    assert_eq!(first.wait().expect("waited"), Exit::Code(0));
    assert_eq!(second.wait().expect("waited"), Exit::Code(0));
    drop(heir);
    assert_eq!(manager.inspect().participants.len(), 1);
    // The table is full of heirs.
    let heirs: Vec<_> = (1..12).map(|_| Heir::prepare(&manager).expect("a row")).collect();
    assert_eq!(Heir::prepare(&manager).expect_err("no row").kind(), ErrorKind::Full);
    drop(heirs);
    drop(lock);
    check_empty(&manager);
}

#[test]
fn a_child_of_a_child_inherits_from_both() {
    play("generations");
}

fn generations() {
    let manager = manager();
    let (mut untouched, mut used) =
        (Some(manager.create::<Lock>().expect("made")), Some(manager.create::<Event>().expect("made")));
    let gate = Gate::new();
    let mut child = fork(&manager, |entered| {
        let (untouched, used) = (untouched.take().expect("here"), used.take().expect("here"));
        let mut event = Some(again(&entered, Some(used)));
        let mut old = Some(untouched);
        let mut grandchild = fork(&entered, |deeper| {
            gate.pass();
            let event = again(&deeper, event.take());
            // A handle of the grandparent's that the parent never used.
            let lock = again(&deeper, old.take());
            drop(lock.lock().expect("free"));
            event.set();
        });
        drop(event);
        gate.open();
        assert_eq!(grandchild.wait().expect("waited"), Exit::Code(0));
        // The lock was not made again here, so it is held until the attachment ends.
        assert_eq!(entered.inspect().objects.len(), 2);
    });
    let used = used.expect("the parent's copy");
    used.wait();
    assert_eq!(child.wait().expect("waited"), Exit::Code(0));
    drop((used, untouched));
    check_empty(&manager);
}

#[test]
fn hundreds_of_forks_leave_nothing() {
    play("many");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("listed").count()
}

fn many() {
    let manager = manager();
    let (sender, receiver) = channel(&manager);
    let mut held = Some(sender);
    let before = descriptors();
    for round in 0..300_u32 {
        let mut child = fork(&manager, |entered| {
            let sender = again(&entered, held.take());
            if round % 3 == 0 {
                process::abort();
            }
            sender.send(round).expect("room");
            // In order, or as a process that is in a hurry: nothing is dropped.
            if round % 3 == 1 {
                std::mem::forget((sender, entered));
            }
        });
        if round % 3 == 0 {
            assert!(matches!(child.wait().expect("waited"), Exit::Signal(_)));
            continue;
        }
        assert_eq!(receiver.recv().expect("sent"), round);
        assert_eq!(child.wait().expect("waited"), Exit::Code(0));
    }
    assert_eq!(descriptors(), before);
    manager.recover().expect("here");
    let seen = manager.inspect();
    assert_eq!((seen.participants.len(), seen.objects[0].holders), (1, 1), "{seen:?}");
    drop(held);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
}

#[test]
fn other_threads_may_do_what_they_like_meanwhile() {
    play("threads");
}

fn threads() {
    let manager = Manager::with(Options::new().limit(16 << 20).objects(512).participants(64)).expect("made");
    let (lock, stop) = (manager.create::<Lock>().expect("made"), AtomicU32::new(0));
    let start = PrivateBarrier::new(4);
    thread::scope(|scope| {
        // Two that open and drop handles, of old objects and of new ones.
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                while stop.load(Relaxed) == 0 {
                    let more: Lock = bridge::open_at(&manager, bridge::address_of(&lock)).expect("there");
                    let new = manager.create::<Event>().expect("made");
                    drop((more, new));
                }
            });
        }
        // One that forks as well, for children of its own.
        scope.spawn(|| {
            start.wait();
            while stop.load(Relaxed) == 0 {
                fork_once(&manager, &lock);
            }
        });
        start.wait();
        (0..150).for_each(|_| fork_once(&manager, &lock));
        stop.store(1, Relaxed);
    });
    manager.recover().expect("here");
    let seen = manager.inspect();
    assert_eq!((seen.participants.len(), seen.objects.len()), (1, 1), "{seen:?}");
    assert_eq!(seen.objects[0].holders, 1, "{seen:?}");
}

/// Forks, whatever threads there are; the child uses the lock and ends.
fn fork_once(manager: &Manager, lock: &Lock) {
    let heir = Heir::prepare(manager).expect("a row");
    // SAFETY: I1.
    let pid = unsafe { nix::libc::fork() };
    assert!(pid >= 0, "forked");
    if pid > 0 {
        heir.leave();
        let mut status = 0;
        // SAFETY: I2.
        let waited = unsafe { nix::libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!((waited, status), (pid, 0));
        return;
    }
    let fine = heir.enter().and_then(|entered| {
        let again: Lock = bridge::inherit(&entered, lock)?;
        drop(again.lock()?);
        drop(again);
        drop(entered);
        Ok(())
    });
    // SAFETY: I1, ends the child at once.
    unsafe { nix::libc::_exit(i32::from(fine.is_err())) }
}

#[test]
fn a_parent_may_die_at_any_point() {
    for when in ["before the fork", "in the fork", "after the fork"] {
        let _dog = Watchdog::new(when, LIMIT);
        let manager = manager();
        let number: Value<u64> = manager.get_or_create("number").expect("made");
        let mut parent = Role::new("a dying parent")
            .through_test("heir_entry")
            .fd(&manager.as_fd())
            .arg(when)
            .spawn()
            .expect("started");
        assert!(matches!(parent.wait().expect("waited"), Exit::Signal(_)), "{when}");
        let seen = manager.inspect();
        let holders = if when == "before the fork" { 2 } else { 3 };
        assert_eq!(seen.objects.iter().map(|object| object.holders).max(), Some(holders), "{when}: {seen:?}");
        if when == "after the fork" {
            // Until the child has run its first instructions it has a copy of its parent's lock, too.
            until(|| number.get() == CHILD_IS_THERE);
            assert_eq!(manager.recover().expect("here"), 1, "the child lives");
            assert_eq!(manager.inspect().objects.len(), 2, "and holds what its parent has made");
            // It has waited for this, then it ends without a word.
            number.set(CHILD_MAY_END).expect("whole");
            until(|| manager.recover().expect("here") == 1);
        } else {
            assert_eq!(manager.recover().expect("here"), 2);
        }
        assert_eq!(manager.inspect().participants.len(), 1);
        assert_eq!(manager.inspect().objects.len(), 1, "{:?}", manager.inspect());
    }
}

const CHILD_IS_THERE: u64 = 1;
const CHILD_MAY_END: u64 = 2;

/// Waits for what another process does, but not for ever: nobody kills a child whose parent has died.
fn until(mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_done() {
        assert!(Instant::now() < end, "nothing has happened for {LIMIT:?}");
        // This is not synchronisation: the others get the processor, and the condition is looked at again.
        thread::sleep(Duration::from_millis(1));
    }
}

extern "C" fn abort_in_the_fork() {
    process::abort();
}

fn dying_parent(manager: &Manager, when: &str) {
    if when == "in the fork" {
        // Registered before those of the arena, so it runs after them.
        // SAFETY: I1, what it calls may be called anywhere.
        assert_eq!(unsafe { nix::libc::pthread_atfork(Some(abort_in_the_fork), None, None) }, 0);
    }
    let number: Value<u64> = manager.get_or_create("number").expect("there");
    let lock: Lock = manager.create().expect("made");
    let heir = Heir::prepare(manager).expect("a row");
    if when == "before the fork" {
        process::abort();
    }
    // SAFETY: I1.
    let pid = unsafe { nix::libc::fork() };
    assert!(pid >= 0, "forked");
    if pid > 0 {
        process::abort();
    }
    let entered = heir.enter().expect("the child that was meant");
    let (number, lock): (Value<u64>, Lock) = (
        bridge::inherit(&entered, &number).expect("inherited"),
        bridge::inherit(&entered, &lock).expect("inherited"),
    );
    number.set(CHILD_IS_THERE).expect("whole");
    until(|| number.get() == CHILD_MAY_END);
    drop(lock.lock().expect("free"));
    // SAFETY: I1, ends the child at once, with all it holds.
    unsafe { nix::libc::_exit(0) }
}

/// A lock that is part of a value whose own bytes it writes, as a binding does.
struct Carried(Option<Lock>);

thread_local! {
    static SEEN: Cell<Option<u32>> = const { Cell::new(None) };
}

impl Serialize for Carried {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lock = self.0.as_ref().expect("one to send");
        let number = bridge::attach_parcel(lock).map_err(serde::ser::Error::custom)?;
        number.expect("a message is being encoded").serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Carried {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        SEEN.set(Some(number));
        assert_eq!(bridge::parcel::<Event>(number).expect_err("a lock").kind(), ErrorKind::Mismatch);
        assert_eq!(bridge::parcel::<Lock>(number + 9).expect_err("none").kind(), ErrorKind::Decode);
        Ok(Self(bridge::parcel(number).map_err(serde::de::Error::custom)?))
    }
}

#[test]
fn a_handle_travels_under_a_number_of_a_message() {
    let manager = manager();
    let queue: Queue<(u32, Carried, Carried)> = manager.create().expect("made");
    let (one, other) = (manager.create::<Lock>().expect("made"), manager.create::<Lock>().expect("made"));
    assert_eq!(bridge::attach_parcel(&one).expect("not forked"), None, "nothing is being encoded");
    assert!(bridge::parcel::<Lock>(0).expect("no error").is_none(), "nor decoded");
    let address = bridge::address_of(&other);
    queue.send((3, Carried(Some(one)), Carried(Some(other)))).expect("sent");
    assert_eq!(manager.inspect().objects.len(), 3, "on their way");
    let (_, one, other) = queue.recv().expect("received");
    assert_eq!(SEEN.take(), Some(1));
    let (one, other) = (one.0.expect("a lock"), other.0.expect("a lock"));
    assert_eq!(bridge::address_of(&other), address);
    drop((one.lock().expect("free"), other.lock().expect("free")));
    drop((one, other));
    assert_eq!(manager.inspect().objects.len(), 1, "the queue");
}

#[test]
fn who_resigns_is_on_no_side_any_more() {
    let one = manager();
    let second = Manager::from_fd(one.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
    let (sender, receiver) = channel(&one);
    let other: Sender<u32> = bridge::open_at(&second, bridge::address_of(&sender)).expect("there");
    sender.send(1).expect("room");
    bridge::resign(&one);
    assert_eq!(receiver.recv().expect("sent"), 1);
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "the other one may send");
    assert!(other.send(2).is_err(), "the only receiver has gone");
    bridge::resign(&second);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
    assert!(sender.send(3).is_err());
    assert_eq!(one.inspect().objects[0].holders, 2, "it is held as before");
    drop((sender, receiver, other));
    assert_eq!(one.inspect().objects.len(), 0);
}

#[test]
fn an_address_names_one_object() {
    let (one, other) = (manager(), manager());
    assert_ne!(bridge::uuid(&one), bridge::uuid(&other));
    let second = Manager::from_fd(one.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
    assert_eq!(bridge::uuid(&one), bridge::uuid(&second));
    let lock: Lock = one.create().expect("made");
    let (index, generation) = bridge::address_of(&lock);
    let same: Lock = bridge::open_at(&second, (index, generation)).expect("there");
    let held = same.lock().expect("free");
    assert!(lock.try_lock().expect("asked").is_none());
    drop(held);
    drop(lock);
    for wrong in [(index, generation + 1), (index + 1, generation), (u32::MAX, generation)] {
        let error = bridge::open_at::<Lock>(&second, wrong).expect_err("no such object");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{wrong:?}");
    }
    drop(same);
    let next: Lock = one.create().expect("made in the same place");
    assert_eq!(bridge::address_of(&next), (index, generation + 1));
    assert!(bridge::open_at::<Lock>(&second, (index, generation)).is_err());
    let producer: Producer<u64> = one.create().expect("made");
    let refused = bridge::open_at::<Producer<u64>>(&second, bridge::address_of(&producer));
    assert_eq!(refused.expect_err("exclusive").kind(), ErrorKind::Invalid);
}
