//! Values, arrays and shared memory: what one process can see of them, and what a killed writer leaves.
//!
//! Children are this test binary again, in a role (the test `values_entry`).

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use ginnel_object::array::{Array, Elements};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::memory::{SharedMemory, Size};
use ginnel_object::mutex::Init;
use ginnel_object::value::{Integer, Value};
use ginnel_object::{ErrorKind, Plain, Queue, queue};
use ginnel_testkit::child::{self, Arguments, Child, Role, fork_child};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);

/// 512 bytes that are all equal in every whole value.
type Large = [u64; 64];

fn manager() -> Manager {
    Manager::with(Options::new().limit(8 << 20).objects(32).participants(6)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

fn value_in<T: Plain + Copy>(manager: &Manager, value: T) -> Value<T> {
    manager.create_with(Init(Some(value))).expect("room")
}

fn whole(value: &Large) -> u64 {
    assert!(value.iter().all(|word| *word == value[0]), "{value:?}");
    value[0]
}

/// The way in for roles; by itself it does nothing.
#[test]
fn values_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    match name.as_str() {
        "updater" => {
            let value: Value<Large> = manager.get("value").expect("asked").expect("made");
            value.update(|_| ready_to_die(&arguments)).expect("never");
        }
        "writer" => {
            let value: Value<Large> = manager.get("value").expect("asked").expect("made");
            let ready = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
            loop {
                let now = value.update(|now| now.map(|word| word + 1)).expect("free");
                ready.set(0, whole(&now));
            }
        }
        "array" => {
            let array: Array<u64> = manager.get("array").expect("asked").expect("made");
            let mut elements = array.write().expect("whole");
            elements[0] = 9;
            ready_to_die(&arguments)
        }
        "array reader" => {
            let array: Array<u64> = manager.get("array").expect("asked").expect("made");
            let _elements = array.read().expect("whole");
            ready_to_die(&arguments)
        }
        "forked" => forked(&manager),
        other => panic!("no role {other}"),
    }
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(arguments: &Arguments) -> ! {
    Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
    loop {
        thread::park();
    }
}

/// Starts a role and waits until its word is not zero.
fn start(manager: &Manager, role: &str, dog: &Watchdog) -> (Child, Scratch) {
    let ready = Scratch::new(1).expect("a memfd");
    let mut child =
        Role::new(role).through_test("values_entry").fd(manager).fd(&ready).spawn().expect("started");
    dog.waits_for("a child that gets ready");
    while ready.get(0) == 0 {
        let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
        assert_eq!(ended, None, "the child ended before it was ready");
    }
    (child, ready)
}

/// What every value can do, whatever its size.
fn goes_through_all<T: Plain + Copy + PartialEq + std::fmt::Debug>(manager: &Manager, one: T, two: T) {
    let value = value_in(manager, one);
    let other = value.clone();
    assert_eq!(value.get(), one);
    value.set(two).expect("free");
    assert_eq!(other.replace(one).expect("free"), two);
    assert_eq!(value.compare_exchange(two, two).expect("free"), Err(one));
    assert_eq!(value.compare_exchange(one, two).expect("free"), Ok(one));
    assert_eq!(
        other
            .update(|now| {
                assert_eq!((now, value.get()), (two, two));
                one
            })
            .expect("free"),
        one
    );
    assert_eq!(value.get(), one);
    assert_ne!(manager.create::<Value<T>>().expect("room").get(), one, "zero at first");
}

#[test]
fn values_of_all_sizes_are_replaced_as_a_whole() {
    let manager = manager();
    goes_through_all(&manager, 1_u8, 200);
    goes_through_all(&manager, [1_u8, 2, 3], [4, 5, 6]);
    goes_through_all(&manager, -1_i32, i32::MIN);
    goes_through_all(&manager, 1.5_f32, -0.0);
    goes_through_all(&manager, f64::MAX, f64::MIN_POSITIVE);
    goes_through_all(&manager, [1_u8; 9], [2; 9]);
    goes_through_all(&manager, [1_u64; 2], [u64::MAX; 2]);
    goes_through_all(&manager, [7_u8; 127], [8; 127]);
    goes_through_all(&manager, [7_u16; 5000], [8; 5000]);
}

fn counts<T: Integer + std::fmt::Debug>(manager: &Manager, [zero, one, least, most]: [T; 4]) {
    let value = value_in(manager, most);
    assert_eq!(value.fetch_add(one).expect("never fails"), most);
    assert_eq!(value.fetch_sub(one).expect("never fails"), least, "it wraps");
    assert_eq!(value.get(), most);
    // Nothing ran over into what lies beside it.
    assert_eq!(value.compare_exchange(most, zero).expect("never fails"), Ok(most));
    assert_eq!(value.fetch_max(one).expect("never fails"), zero);
    assert_eq!(value.fetch_max(zero).expect("never fails"), one);
    assert_eq!(value.fetch_min(one).expect("never fails"), one);
    assert_eq!(value.fetch_min(least).expect("never fails"), one);
    assert_eq!(value.fetch_or(one).expect("never fails"), least);
    assert_eq!(value.update(|_| one).expect("never fails"), one);
    assert_eq!(value.fetch_and(zero).expect("never fails"), one);
    assert_eq!(value.get(), zero);
}

#[test]
fn whole_numbers_count_and_wrap_within_their_own_bytes() {
    let manager = manager();
    counts(&manager, [0, 1, u8::MIN, u8::MAX]);
    counts(&manager, [0, 1, i8::MIN, i8::MAX]);
    counts(&manager, [0, 1, u16::MIN, u16::MAX]);
    counts(&manager, [0, 1, i16::MIN, i16::MAX]);
    counts(&manager, [0, 1, u32::MIN, u32::MAX]);
    counts(&manager, [0, 1, i32::MIN, i32::MAX]);
    counts(&manager, [0, 1, u64::MIN, u64::MAX]);
    counts(&manager, [0, 1, i64::MIN, i64::MAX]);
    counts(&manager, [0, 1, isize::MIN, isize::MAX]);
}

#[test]
fn updates_by_two_participants_are_all_there_and_readers_see_whole_values() {
    const ROUNDS: u64 = 20_000;
    let _dog = Watchdog::new("updates", LIMIT);
    let one = manager();
    let two = second(&one);
    thread::scope(|scope| {
        for manager in [&one, &one, &two] {
            let small = manager.get_or_create::<Value<u64>>("small").expect("made");
            let byte = manager.get_or_create::<Value<u16>>("byte").expect("made");
            let large = manager.get_or_create::<Value<Large>>("large").expect("made");
            scope.spawn(move || {
                let mut last = 0;
                for _ in 0..ROUNDS {
                    small.fetch_add(1).expect("never fails");
                    small.update(|now| now + 1).expect("never fails");
                    byte.fetch_add(1).expect("never fails");
                    large.update(|now| now.map(|word| word + 1)).expect("comes free");
                    let seen = whole(&large.get());
                    assert!(seen > last, "{seen} after {last}");
                    last = seen;
                }
            });
        }
    });
    let small: Value<u64> = two.get("small").expect("asked").expect("made");
    let byte: Value<u16> = two.get("byte").expect("asked").expect("made");
    let large: Value<Large> = two.get("large").expect("asked").expect("made");
    assert_eq!((small.get(), byte.get(), whole(&large.get())), (6 * ROUNDS, (3 * ROUNDS) as u16, 3 * ROUNDS));
}

#[test]
fn an_update_that_panics_or_calls_itself_changes_nothing() {
    let manager = manager();
    let value = value_in(&manager, [5_u64; 2]);
    let panicked = catch_unwind(AssertUnwindSafe(|| value.update(|_| panic!("on purpose"))));
    assert!(panicked.is_err());
    assert_eq!(value.get(), [5; 2]);
    let inner = value.clone();
    let outcome = value.update(|now| {
        assert!(inner.set([9; 2]).expect_err("this thread writes it").is_deadlock());
        assert_eq!(inner.get(), now);
        now.map(|word| word + 1)
    });
    assert_eq!(outcome.expect("free after the panic"), [6; 2]);
}

#[test]
fn a_writer_that_stands_or_dies_in_its_update_keeps_readers_from_nothing() {
    let dog = Watchdog::new("update", LIMIT);
    let manager = manager();
    let value: Value<Large> = manager.get_or_create_with("value", Init(Some([3; 64]))).expect("made");
    let (mut child, _) = start(&manager, "updater", &dog);
    assert_eq!(value.get(), [3; 64]);
    let shown = manager.inspect().objects;
    let owner = shown[0].sync.as_ref().and_then(|sync| sync.owner.as_ref()).expect("somebody writes");
    assert_eq!((shown[0].kind, owner.pid), ("value", child.pid().as_raw() as u32));
    let writer = {
        let value = value.clone();
        thread::spawn(move || value.set([4; 64]))
    };
    child.kill().expect("killed");
    writer.join().expect("no panic").expect("the lock comes free");
    assert_eq!(value.get(), [4; 64]);
}

#[test]
fn writers_that_are_killed_leave_a_whole_value_that_goes_on_counting() {
    let dog = Watchdog::new("killed writers", LIMIT);
    let manager = manager();
    let value: Value<Large> = manager.get_or_create("value").expect("made");
    let mut last = 0;
    for round in 0..40_u64 {
        let (mut child, said) = start(&manager, "writer", &dog);
        // At another place of its work each time, by how long reading takes.
        for _ in 0..1 + round * 37 {
            let seen = whole(&value.get());
            assert!(seen >= last, "{seen} after {last}");
            last = seen;
        }
        child.kill().expect("killed");
        let done = said.get(0);
        let left = whole(&value.get());
        assert!(left == done || left == done + 1, "{left}, and it said {done}");
        last = whole(&value.update(|now| now.map(|word| word + 1)).expect("comes free"));
        assert_eq!(last, left + 1);
    }
}

/// In a process of its own, because a process with several threads must not fork.
#[test]
fn a_forked_child_reads_and_counts_and_takes_no_lock() {
    let dog = Watchdog::new("forked child", LIMIT);
    dog.waits_for("a process of one thread, which forks");
    Role::new("forked").through_test("values_entry").fd(&manager()).play();
}

fn forked(manager: &Manager) {
    let (hits, place) = (value_in(manager, 1_u64), value_in(manager, [1_u64; 2]));
    let array: Array<u64> = manager.create_with(Elements::of([1])).expect("room");
    let memory: SharedMemory = manager.create_with(Size(8)).expect("room");
    let child = fork_child(|| {
        hits.fetch_add(1).expect("never fails");
        memory.write_at(0, &[7]).expect("inside");
        assert_eq!((hits.get(), place.get()), (2, [1; 2]));
        for refused in [place.set([2; 2]).err(), array.get(0).err(), array.set(0, 2).err()] {
            assert_eq!(refused.expect("the handles are the parent's").kind(), ErrorKind::Forked);
        }
    });
    let ended = child.and_then(|mut child| child.wait()).expect("forked");
    assert_eq!(ended, child::Exit::Code(0));
    assert_eq!((hits.get(), memory.to_vec()[0]), (2, 7));
    // One that forks in its closure: the child has the lock in its hands, and neither writes nor gives it back.
    let outcome = place.update(|now| {
        let inner = fork_child(|| ());
        assert_eq!(inner.and_then(|mut child| child.wait()).expect("forked"), child::Exit::Code(0));
        now.map(|word| word + 1)
    });
    assert_eq!(outcome.expect("free"), [2; 2]);
    place.set([3; 2]).expect("given back");
}

#[test]
fn names_messages_and_types_of_values() {
    let manager = manager();
    let hits: Value<u64> = manager.get_or_create_with("hits", Init(Some(41))).expect("made");
    let again: Value<u64> = manager.get_or_create_with("hits", Init(Some(7))).expect("found");
    assert_eq!(again.fetch_add(1).expect("never fails"), 41);
    for error in [
        manager.get::<Value<u32>>("hits").expect_err("8 bytes"),
        manager.get::<Value<[u64; 2]>>("hits").expect_err("8 bytes"),
        manager.get::<Array<u64>>("hits").expect_err("no array"),
        manager.get::<SharedMemory>("hits").expect_err("no memory"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        assert!(error.to_string().contains("found a value of values of 8 bytes"), "{error}");
    }
    let queue =
        manager.create_with::<Queue<(Value<u64>, Array<u8>, SharedMemory)>>(queue::Options::bounded(2));
    let queue = queue.expect("room");
    let array: Array<u8> = manager.create_with(Elements::of([1, 2, 3])).expect("room");
    let memory: SharedMemory = manager.create_with(Size(10)).expect("room");
    memory.write_at(9, b"!").expect("inside");
    queue.send((hits.clone(), array, memory)).expect("room");
    let (value, array, memory) = queue.recv().expect("sent");
    assert_eq!((value.get(), array.to_vec().expect("whole")), (42, vec![1, 2, 3]));
    assert_eq!(memory.to_vec(), b"\0\0\0\0\0\0\0\0\0!");
}

#[test]
fn an_array_is_changed_under_one_lock_and_lends_its_elements() {
    let manager = manager();
    let array: Array<u32> = manager.create_with(Elements::zeroed(3000)).expect("room");
    assert_eq!((array.len(), array.is_empty()), (3000, false));
    array.set(2999, 7).expect("free");
    assert_eq!((array.get(2999).expect("free"), array.get(3000).expect("free")), (Some(7), None));
    assert_eq!(array.set(3000, 1).expect_err("outside").kind(), ErrorKind::Invalid);
    array.fill(2).expect("free");
    assert_eq!(array.read().expect("free").iter().sum::<u32>(), 6000);
    assert_eq!(array.copy_from_slice(&[1, 2]).expect_err("not so many").kind(), ErrorKind::Invalid);
    let squares: Vec<u32> = (0..3000).map(|n| n * n).collect();
    array.copy_from_slice(&squares).expect("as many");
    let (one, two) = (array.read().expect("free"), array.try_read().expect("asked").expect("shared"));
    assert_eq!((one[3], &two[..3]), (9, &squares[..3]));
    assert!(array.try_write().expect("asked").is_none());
    assert!(array.set(0, 1).expect_err("this thread reads").is_deadlock());
    drop((one, two));
    array.write().expect("free").reverse();
    assert_eq!(array.get(2999).expect("free"), Some(0));
    let empty: Array<u64> = manager.create().expect("room");
    assert!(empty.is_empty() && empty.to_vec().expect("free").is_empty());
    let much = manager.create_with::<Array<u64>>(Elements::zeroed(usize::MAX / 2)).expect_err("too many");
    assert_eq!(much.kind(), ErrorKind::TooLarge);
}

#[test]
fn an_array_whose_writer_died_is_repaired_before_it_is_read() {
    let dog = Watchdog::new("array", LIMIT);
    let manager = manager();
    let array: Array<u64> = manager.get_or_create_with("array", Elements::of([1, 2, 3])).expect("made");
    let (mut reader, _) = start(&manager, "array reader", &dog);
    assert!(array.try_write().expect("asked").is_none());
    reader.kill().expect("killed");
    drop(array.write().expect("comes free, and is whole"));
    let (mut writer, _) = start(&manager, "array", &dog);
    let error = array.read_timeout(Duration::from_millis(5)).expect_err("somebody writes");
    assert!(error.is_timeout(), "{error}");
    writer.kill().expect("killed");
    assert!(array.read().expect_err("not repaired").is_owner_died());
    assert!(array.get(0).expect_err("not repaired").is_owner_died());
    assert_eq!(array.write_or_repair(|all| all[0] = 1).expect("repaired")[..], [1, 2, 3]);
    assert_eq!(array.to_vec().expect("whole"), [1, 2, 3]);
}

#[test]
fn bytes_are_written_where_they_belong_and_nowhere_else() {
    let manager = manager();
    let memory: SharedMemory = manager.get_or_create_with("bytes", Size(41)).expect("made");
    let mut oracle = vec![0_u8; 41];
    let mut mark = 0_u8;
    for offset in 0..=41 {
        for len in 0..=41 - offset {
            mark = mark.wrapping_add(1);
            let bytes = vec![mark; len];
            memory.write_at(offset, &bytes).expect("inside");
            oracle[offset..offset + len].copy_from_slice(&bytes);
            let mut out = vec![0; len];
            memory.read_at(offset, &mut out).expect("inside");
            assert_eq!(out, bytes);
            assert_eq!(memory.to_vec(), oracle, "{len} at {offset}");
        }
    }
    for (offset, len) in [(41, 1), (42, 0), (0, 42), (usize::MAX, 1)] {
        assert_eq!(memory.write_at(offset, &vec![1; len]).expect_err("outside").kind(), ErrorKind::Invalid);
    }
    assert_eq!(memory.read_at(41, &mut [0]).expect_err("outside").kind(), ErrorKind::Invalid);
    let other: SharedMemory = second(&manager).get("bytes").expect("asked").expect("made");
    assert_eq!((other.size(), other.to_vec()), (41, oracle));
    let none = manager.create::<SharedMemory>().expect_err("of no bytes");
    assert_eq!(none.kind(), ErrorKind::Invalid);
}

/// Every byte has a writer of its own, and eight of them share a word.
#[test]
fn writers_of_neighbouring_bytes_lose_nothing() {
    let _dog = Watchdog::new("neighbours", LIMIT);
    let manager = manager();
    let memory: SharedMemory = manager.create_with(Size(16)).expect("room");
    thread::scope(|scope| {
        for lane in 0..4_usize {
            let memory = memory.clone();
            scope.spawn(move || {
                for turn in 0..20_000_u32 {
                    let bytes = [turn as u8, (turn >> 8) as u8, lane as u8];
                    memory.write_at(lane * 3, &bytes).expect("inside");
                    let mut out = [0; 3];
                    memory.read_at(lane * 3, &mut out).expect("inside");
                    assert_eq!(out, bytes, "another's write went over it");
                }
            });
        }
    });
}

/// As if its process had died: nobody else can give the lock back.
#[test]
fn a_forgotten_guard_of_an_array_ends_with_its_attachment() {
    let _dog = Watchdog::new("forgotten", LIMIT);
    let manager = manager();
    let array: Array<u64> = manager.get_or_create_with("array", Elements::of([1, 2])).expect("made");
    for is_writer in [true, false] {
        let other = second(&manager);
        let theirs: Array<u64> = other.get("array").expect("asked").expect("made");
        if is_writer {
            std::mem::forget(theirs.write().expect("free"));
        } else {
            std::mem::forget(theirs.read().expect("free"));
        }
        assert!(array.try_write().expect("asked").is_none());
        drop((theirs, other));
        let outcome = array.write();
        assert_eq!(outcome.is_err(), is_writer, "a reader leaves nothing");
        drop(outcome);
        drop(array.write_or_repair(|_| ()).expect("free"));
    }
}
