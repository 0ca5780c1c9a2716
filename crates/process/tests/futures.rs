//! Children as futures, and beside other things in a select.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use ginnel_object::event::Event;
use ginnel_object::lock::Lock;
use ginnel_object::ready::Registration;
use ginnel_object::select::{Select, wait_any};
use ginnel_object::{Manager, Queue};
use ginnel_process::{Process, ProcessError};
use ginnel_testkit::block_on::{Bell, block_on};
use ginnel_testkit::watchdog::Watchdog;

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

fn after(go: Event, value: u32) -> u32 {
    go.wait();
    value
}

#[test]
fn a_child_is_a_future_without_a_runtime() {
    let _watchdog = watchdog("without a runtime");
    let go = Event::new().expect("an event");
    for value in 0..50 {
        let child = Process::spawn(after, (&go, value)).expect("a child");
        if value == 0 {
            thread::scope(|scope| {
                scope.spawn(|| go.set());
                assert_eq!(block_on(child).expect("a value"), 0);
            });
        } else {
            assert_eq!(block_on(child).expect("a value"), value);
        }
    }
}

#[test]
fn many_are_awaited_under_tokio() {
    let _watchdog = watchdog("tokio");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let go = Event::new().expect("an event");
        let children = Process::spawn_all(after, (0..16).map(|value| (&go, value))).expect("children");
        let tasks: Vec<_> = children.into_iter().map(tokio::spawn).collect();
        tokio::task::yield_now().await;
        go.set();
        for (value, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.expect("the task").expect("a value") as usize, value);
        }
    });
}

#[test]
fn a_wait_that_is_given_up_does_nothing_to_the_child() {
    let _watchdog = watchdog("given up");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let go = Event::new().expect("an event");
        let mut child = Process::spawn(after, (&go, 5)).expect("a child");
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut child).await.is_err());
        assert!(child.is_alive());
        go.set();
        assert_eq!(child.await.expect("a value"), 5);

        let never = Event::new().expect("an event");
        let child = Process::spawn(after, (&never, 5)).expect("a child");
        child.kill().expect("it lives");
        assert!(matches!(child.await, Err(ProcessError::Killed { signal: 9, .. })));
    });
}

#[test]
fn the_waker_is_called_by_whoever_finds_the_end() {
    let _watchdog = watchdog("whoever");
    let go = Event::new().expect("an event");
    let mut child = Process::spawn(after, (&go, 1)).expect("a child");
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(pin!(&mut child).poll(&mut Context::from_waker(&waker)).is_pending());
    go.set();
    child.wait();
    bell.wait();
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(&mut child).poll(&mut context), Poll::Ready(Ok(1))));
    // Once more: no panic, and no value.
    assert!(matches!(pin!(&mut child).poll(&mut context), Poll::Ready(Err(ProcessError::Exited(0)))));
}

#[test]
fn one_that_is_watched_rings_at_its_end_and_is_recovered_by_then() {
    let _watchdog = watchdog("watched");
    for is_killed in [false, true] {
        let (go, lock) = (Event::new().expect("an event"), Lock::new().expect("a lock"));
        let body = |go: Event, lock: Lock| {
            let held = lock.lock().expect("it is free");
            go.wait();
            // It ends in order, and holds the lock all the same.
            std::mem::forget(held);
            std::mem::forget(lock);
        };
        let child = Process::spawn(body, (&go, &lock)).expect("a child");
        let bell = Arc::new(Bell::default());
        assert!(!child.watch(&Waker::from(Arc::clone(&bell))));
        while lock.try_lock().is_ok_and(|held| held.is_some()) {}
        if is_killed {
            child.kill().expect("it lives");
        } else {
            go.set();
        }
        bell.wait();
        assert!(child.watch(Waker::noop()));
        assert!(lock.try_lock().expect("recovered").is_some());
    }
}

#[test]
fn a_child_stands_in_a_select_beside_a_queue() {
    let _watchdog = watchdog("select");
    let (queue, go) = (Queue::<u32>::bounded(8).expect("a queue"), Event::new().expect("an event"));
    let body = |queue: Queue<u32>, go: Event| {
        (0..100).for_each(|n| queue.send(n).expect("it is open"));
        go.wait();
        "done".to_owned()
    };
    let child = Process::spawn(body, (&queue, &go)).expect("a child");
    let select = Select::new().on(&queue, "queue").on(&child, "child");
    let mut sum = 0;
    for _ in 0..100 {
        assert_eq!(select.wait().expect("waits"), "queue");
        sum += queue.recv().expect("a message");
    }
    assert_eq!(sum, 4950);
    assert_eq!(select.wait_timeout(Duration::from_millis(5)).expect("waits"), None);
    go.set();
    assert_eq!(select.wait().expect("waits"), "child");
    drop(select);
    assert_eq!(child.join().expect("a value"), "done");
}

#[test]
fn the_first_of_several_children_and_a_registration() {
    let _watchdog = watchdog("first");
    let events: Vec<_> = (0..3).map(|_| Event::new().expect("an event")).collect();
    let children: Vec<_> =
        (0..3_usize).map(|n| Process::spawn(after, (&events[n], n as u32)).expect("a child")).collect();
    events[1].set();
    let all: Vec<&dyn ginnel_object::select::Waitable> = children.iter().map(|child| child as _).collect();
    assert_eq!(wait_any(&all, None).expect("waits"), Some(1));
    let mut wanted = Registration::new(&children[2]).expect("a descriptor");
    assert!(wanted.arm().expect("arms"));
    events[2].set();
    children[2].wait();
    assert!(!wanted.arm().expect("looks"));
    events[0].set();
    drop(wanted);
    for (n, child) in children.into_iter().enumerate() {
        assert_eq!(child.join().expect("a value") as usize, n);
    }
    assert!(Manager::current().is_ok());
}
