//! Waiting for several things: by words, with descriptors, and step by step.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::event::Event;
use ginnel_object::lock::{Lock, RLock};
use ginnel_object::once::OnceValue;
use ginnel_object::permits::PermitPool;
use ginnel_object::ready::{Registration, RoomIn};
use ginnel_object::rwlock::RwLock;
use ginnel_object::select::{Exit, Select, Waitable, wait_any};
use ginnel_object::semaphore::Semaphore;
use ginnel_object::{ErrorKind, Mutex, Queue, broadcast, mpsc, queue, spsc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(60);

#[test]
fn nothing_to_wait_for_is_an_error_and_nothing_ready_is_none() {
    assert_eq!(Select::<()>::new().wait().unwrap_err().kind(), ErrorKind::Invalid);
    let (queue, event) = (Queue::<u32>::bounded(2).unwrap(), Event::new().unwrap());
    assert_eq!(wait_any(&[&queue, &event], Some(SHORT)).unwrap(), None);
    let select = Select::new().on(&queue, 'q').on(&event, 'e');
    assert_eq!(select.try_wait().unwrap(), None);
    assert_eq!(select.wait_timeout(SHORT).unwrap(), None);
    assert_eq!(select.wait_deadline(Instant::now() + SHORT).unwrap(), None);
}

#[test]
fn each_kind_of_object_is_seen_to_be_ready() {
    let (event, auto) = (Event::new().unwrap(), Event::auto_reset().unwrap());
    let (semaphore, pool) = (Semaphore::new(0).unwrap(), PermitPool::new(1).unwrap());
    let (lock, rlock, mutex) = (Lock::new().unwrap(), RLock::new().unwrap(), Mutex::new(0_u64).unwrap());
    let (shared, value) = (RwLock::new(0_u64).unwrap(), OnceValue::<u64>::new().unwrap());
    let readers = shared.read_side();
    let queue = Queue::<u32>::bounded(2).unwrap();
    let (sender, receiver) = queue::channel::<u32>(2).unwrap();
    let (mut producer, consumer) = spsc::channel::<u64>(2).unwrap();
    let (mut many, one) = mpsc::channel::<u64>(2).unwrap();
    let (speaker, listener) = broadcast::channel::<u64>(2).unwrap();
    let permit = pool.try_acquire().unwrap().unwrap();
    let started = Barrier::new(2);
    let release = Event::new().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let guards = (lock.lock().unwrap(), rlock.lock().unwrap(), mutex.lock().unwrap());
            let writing = shared.write().unwrap();
            started.wait();
            release.wait();
            drop((guards, writing));
        });
        started.wait();
        let items: [&dyn Waitable; 15] = [
            &event, &auto, &semaphore, &pool, &lock, &rlock, &mutex, &queue, &receiver, &consumer, &one,
            &listener, &shared, &readers, &value,
        ];
        assert_eq!(wait_any(&items, Some(SHORT)).unwrap(), None);
        event.set();
        auto.set();
        semaphore.release(1).unwrap();
        drop(permit);
        release.set();
        value.set(7).unwrap();
        queue.send(1).unwrap();
        sender.send(1).unwrap();
        producer.send(1).unwrap();
        many.send(1).unwrap();
        speaker.send(1).unwrap();
        for (index, item) in items.iter().enumerate() {
            assert_eq!(wait_any(&[*item], Some(LONG)).unwrap(), Some(0), "item {index}");
        }
    });
    // Nothing was taken.
    assert!(event.is_set() && auto.is_set() && semaphore.value() == 1 && pool.available() == 1);
    assert_eq!((queue.len(), receiver.len(), consumer.len(), one.len(), listener.len()), (1, 1, 1, 1, 1));
}

#[test]
fn ends_whose_other_side_is_gone_are_ready() {
    let (sender, receiver) = queue::channel::<u32>(2).unwrap();
    let (producer, consumer) = spsc::channel::<u64>(2).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(wait_any(&[&receiver], Some(LONG)).unwrap(), Some(0)));
        scope.spawn(move || {
            assert_eq!(wait_any(&[&consumer, &Event::new().unwrap()], Some(LONG)).unwrap(), Some(0));
        });
        drop(sender);
        drop(producer);
    });
}

#[test]
fn room_to_send_is_waited_for() {
    let queue = Queue::<u32>::bounded(2).unwrap();
    let (mut producer, mut consumer) = spsc::channel::<u64>(2).unwrap();
    while queue.try_send(1).is_ok() {}
    while producer.try_send(1).is_ok() {}
    let select = Select::new().on_send(&queue, "queue").on_send(&producer, "lane");
    assert_eq!(select.wait_timeout(SHORT).unwrap(), None);
    thread::scope(|scope| {
        scope.spawn(|| queue.recv().unwrap());
        assert_eq!(select.wait().unwrap(), "queue");
        scope.spawn(move || while consumer.try_recv().is_ok() {});
        queue.send(1).unwrap();
        assert_eq!(select.wait().unwrap(), "lane");
    });
}

#[test]
fn a_lock_of_ones_own_is_a_deadlock_and_a_recursive_one_is_ready() {
    let (lock, rlock) = (Lock::new().unwrap(), RLock::new().unwrap());
    let _guards = (lock.lock().unwrap(), rlock.lock().unwrap());
    assert_eq!(wait_any(&[&lock], None).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(wait_any(&[&rlock], None).unwrap(), Some(0));
}

#[test]
fn what_is_ready_comes_before_what_came_last() {
    let queues: Vec<_> = (0..3).map(|_| Queue::<u32>::bounded(2).unwrap()).collect();
    queues.iter().for_each(|queue| queue.send(1).unwrap());
    let select = queues.iter().enumerate().fold(Select::new(), |select, (n, queue)| select.on(queue, n));
    let told: Vec<_> = (0..6).map(|_| select.wait().unwrap()).collect();
    assert_eq!(told, [0, 1, 2, 0, 1, 2]);
    let items: Vec<&dyn Waitable> = queues.iter().map(|queue| queue as &dyn Waitable).collect();
    assert_eq!(wait_any(&items, None).unwrap(), Some(0));
}

/// Several threads wait for two queues at once, with and without descriptors; every message is received.
fn nothing_is_lost(with_fd: bool) {
    const EACH: u32 = 400;
    let queues = [Queue::<u32>::bounded(4).unwrap(), Queue::<u32>::bounded(4).unwrap()];
    let (stop, total) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let (quiet, _other) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut select = Select::new().on(&queues[0], 0).on(&queues[1], 1).on(&stop, 2);
                if with_fd {
                    select = select.on_fd(&quiet, 3);
                }
                loop {
                    match select.wait().unwrap() {
                        2 => return,
                        n => {
                            if queues[n].try_recv().is_ok() {
                                total.release(1).unwrap();
                            }
                        }
                    }
                }
            });
        }
        for queue in &queues {
            scope.spawn(|| (0..EACH).for_each(|n| queue.send(n).unwrap()));
        }
        for _ in 0..2 * EACH {
            assert!(total.acquire_timeout(LONG));
        }
        stop.set();
    });
}

#[test]
fn waiters_of_several_queues_lose_nothing() {
    nothing_is_lost(false);
}

#[test]
fn waiters_that_poll_lose_nothing() {
    nothing_is_lost(true);
}

#[test]
fn a_descriptor_among_objects() {
    let (mut near, far) = UnixStream::pair().unwrap();
    let event = Event::new().unwrap();
    let select = Select::new().on_fd(&far, "fd").on(&event, "event");
    assert_eq!(select.wait_timeout(SHORT).unwrap(), None);
    thread::scope(|scope| {
        scope.spawn(|| near.write_all(b"x").unwrap());
        assert_eq!(select.wait().unwrap(), "fd");
        scope.spawn(|| event.set());
        let told: HashSet<_> = (0..8).map(|_| select.wait().unwrap()).collect();
        assert!(told.contains("fd"));
        while select.wait().unwrap() != "event" {}
    });
}

#[test]
fn the_end_of_a_process_is_waited_for() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let (exit, queue) = (Exit::of(child.id()).unwrap(), Queue::<u32>::bounded(2).unwrap());
    let select = Select::new().on(&exit, "exit").on(&queue, "queue");
    assert_eq!(select.wait_timeout(SHORT).unwrap(), None);
    queue.send(1).unwrap();
    assert_eq!(select.wait().unwrap(), "queue");
    queue.recv().unwrap();
    child.kill().unwrap();
    assert_eq!(select.wait().unwrap(), "exit");
    child.wait().unwrap();
    assert_eq!(select.wait().unwrap(), "exit");
    // A number that no process has any more is one that has ended.
    let gone = Exit::of(child.id()).unwrap();
    assert_eq!(wait_any(&[&gone], None).unwrap(), Some(0));
    assert_eq!(Exit::of(0).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn more_things_than_the_kernel_takes_at_a_time() {
    let manager = ginnel_object::Manager::with(
        ginnel_object::manager::Options::new().limit(16 << 20).objects(256).participants(4),
    )
    .unwrap();
    let events: Vec<Event> = (0..140).map(|_| manager.create::<Event>().unwrap()).collect();
    let select = events.iter().enumerate().fold(Select::new(), |select, (n, event)| select.on(event, n));
    thread::scope(|scope| {
        scope.spawn(|| events[139].set());
        assert_eq!(select.wait().unwrap(), 139);
    });
}

#[test]
fn a_registration_becomes_readable_and_gives_its_wish_back() {
    let queue = Queue::<u32>::bounded(2).unwrap();
    let mut wanted = Registration::new(queue.clone()).unwrap();
    for round in 0..3 {
        assert!(wanted.arm().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| queue.send(round).unwrap());
            let left = Timespec { tv_sec: 60, tv_nsec: 0 };
            let mut fds = [PollFd::from_borrowed_fd(wanted.as_fd(), PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&left)), Ok(1));
        });
        assert!(!wanted.arm().unwrap());
        assert_eq!(wanted.get_mut().try_recv().unwrap(), round);
    }
    // Two of one process share the line.
    let mut other = Registration::new(&queue).unwrap();
    assert!(wanted.arm().unwrap() && other.arm().unwrap());
    drop(wanted);
    queue.send(9).unwrap();
    assert!(!other.arm().unwrap());
}

#[test]
fn polling_and_sleeping_receivers_take_turns() {
    let queue = Queue::<u32>::bounded(4).unwrap();
    let stop = Arc::new(Event::new().unwrap());
    let got = Semaphore::new(0).unwrap();
    let (quiet, _other) = UnixStream::pair().unwrap();
    let mut polled = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(value) = queue.recv() {
                got.release(1).unwrap();
                if value == u32::MAX {
                    return;
                }
            }
        });
        let feeding = scope.spawn(|| {
            for value in 0..400 {
                queue.send(value).unwrap();
                assert!(got.acquire_timeout(LONG));
            }
            stop.set();
            queue.send(u32::MAX).unwrap();
        });
        let select = Select::new().on(&*stop, 's').on(&queue, 'q').on_fd(&quiet, 'f');
        while select.wait().unwrap() == 'q' {
            if queue.try_recv().is_ok() {
                polled += 1;
                got.release(1).unwrap();
            }
        }
        feeding.join().unwrap();
    });
    assert!(polled <= 400);
}

/// With a descriptor in the set, the wait is woken by bells; else by the words.
fn chosen(quiet: Option<&UnixStream>, items: &[&dyn Waitable]) -> Option<usize> {
    let select = items.iter().enumerate().fold(Select::new(), |select, (n, item)| select.on(*item, n));
    match &quiet {
        Some(quiet) => select.on_fd(quiet, usize::MAX).wait_timeout(LONG).unwrap(),
        None => select.wait_timeout(LONG).unwrap(),
    }
}

#[test]
fn readers_and_writers_of_a_lock_are_told_apart() {
    let (near, _far) = UnixStream::pair().unwrap();
    for quiet in [None, Some(&near)] {
        let shared = RwLock::new(0_u64).unwrap();
        let (reads, writes, gone) =
            (Event::new().unwrap(), Event::auto_reset().unwrap(), Event::auto_reset().unwrap());
        let started = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                let writing = shared.write().unwrap();
                started.wait();
                writes.wait();
                drop(writing);
                let reading = shared.read().unwrap();
                gone.set();
                reads.wait();
                drop(reading);
            });
            started.wait();
            let side = shared.read_side();
            assert_eq!(wait_any(&[&shared, &side], Some(SHORT)).unwrap(), None);
            // Let go once others wait, or before that: both must do.
            scope.spawn(|| writes.set());
            assert_eq!(chosen(quiet, &[&side]), Some(0));
            gone.wait();
            // A reader is in the way of writers only.
            assert_eq!(wait_any(&[&shared], Some(SHORT)).unwrap(), None);
            assert_eq!(chosen(quiet, &[&shared, &side]), Some(1));
            drop(shared.try_read().unwrap().expect("free to read"));
            scope.spawn(|| reads.set());
            assert_eq!(chosen(quiet, &[&shared]), Some(0));
            drop(shared.try_write().unwrap().expect("free to write"));
        });
    }
}

#[test]
fn who_reads_or_writes_is_told_that_it_would_wait_for_itself() {
    let shared = RwLock::new(0_u64).unwrap();
    let reading = shared.read().unwrap();
    assert_eq!(wait_any(&[&shared], None).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(wait_any(&[&shared.read_side()], None).unwrap(), Some(0));
    drop(reading);
    let writing = shared.write().unwrap();
    assert_eq!(wait_any(&[&shared], None).unwrap_err().kind(), ErrorKind::Deadlock);
    assert_eq!(wait_any(&[&shared.read_side()], None).unwrap_err().kind(), ErrorKind::Deadlock);
    drop(writing);
    assert_eq!(wait_any(&[&shared, &shared.read_side()], None).unwrap(), Some(0));
}

#[test]
fn a_value_is_seen_by_all_who_wait_for_it() {
    let (near, _far) = UnixStream::pair().unwrap();
    let value = OnceValue::<u64>::new().unwrap();
    let started = Barrier::new(5);
    thread::scope(|scope| {
        for quiet in [None, None, Some(&near), Some(&near)] {
            let (value, started) = (&value, &started);
            scope.spawn(move || {
                started.wait();
                assert_eq!(chosen(quiet, &[value]), Some(0));
                assert_eq!(value.get(), Some(&42));
            });
        }
        started.wait();
        assert_eq!(*value.get_or_init(|| 42).unwrap(), 42);
    });
}

/// The descriptor is readable within a minute.
fn becomes_readable(fd: impl AsFd) {
    let left = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&left)), Ok(1));
}

#[test]
fn registrations_of_readers_of_values_and_of_room() {
    let (shared, value) = (RwLock::new(0_u64).unwrap(), OnceValue::<u64>::new().unwrap());
    let queue = Queue::<u32>::bounded(2).unwrap();
    while queue.try_send(7).is_ok() {}
    let started = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let writing = shared.write().unwrap();
            started.wait();
            started.wait();
            drop(writing);
            value.set(1).unwrap();
            while queue.try_recv().is_ok() {}
        });
        started.wait();
        let mut reads = Registration::new(shared.read_side()).unwrap();
        let mut there = Registration::new(&value).unwrap();
        let mut room = Registration::new(RoomIn(&queue)).unwrap();
        assert!(reads.arm().unwrap() && there.arm().unwrap() && room.arm().unwrap());
        assert_eq!(room.as_raw_fd(), room.as_fd().as_raw_fd());
        started.wait();
        becomes_readable(&reads);
        becomes_readable(&there);
        becomes_readable(&room);
        assert!(!reads.arm().unwrap() && !there.arm().unwrap());
        // A byte says "look": what is left of a message on its way may still be there.
        while room.arm().unwrap() {
            becomes_readable(&room);
        }
    });
}
