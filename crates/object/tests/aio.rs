//! Handles on tokio's reactor: what arrives, what a cancelled future leaves, and what a second waiter gets.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ginnel_object::aio::tokio::Async;
use ginnel_object::aio::{self, Reactor};
use ginnel_object::event::Event;
use ginnel_object::lock::Lock;
use ginnel_object::permits::PermitPool;
use ginnel_object::rwlock::RwLock;
use ginnel_object::semaphore::Semaphore;
use ginnel_object::{ErrorKind, Mutex, Queue, queue, spsc};

const LONG: Duration = Duration::from_secs(60);

/// Runs a future on a runtime of its own; a test that hangs fails instead.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async { tokio::time::timeout(LONG, future).await.expect("in time") })
}

/// A waker that counts.
#[derive(Debug, Default)]
struct Count(std::sync::Mutex<u32>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() += 1;
    }
}

/// Polls `future` up to `polls` times, giving the runtime a turn in between, then drops it.
async fn drop_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Count::default()));
    for _ in 0..polls {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[test]
fn a_task_and_a_thread_exchange_messages_both_ways() {
    const ROUNDS: u32 = 2000;
    let (ask, answer) = (Queue::<u32>::bounded(4).unwrap(), Queue::<u32>::bounded(4).unwrap());
    let blocking = {
        let (ask, answer) = (ask.clone(), answer.clone());
        thread::spawn(move || {
            for _ in 0..ROUNDS {
                answer.send(ask.recv().unwrap() + 1).unwrap();
            }
        })
    };
    run(async {
        let (ask, answer) = (Async::new(ask).unwrap(), Async::new(answer).unwrap());
        for round in 0..ROUNDS {
            ask.send(round).await.unwrap();
            assert_eq!(answer.recv().await.unwrap(), round + 1);
        }
    });
    blocking.join().unwrap();
}

#[test]
fn a_task_that_waits_for_room_gets_it() {
    let queue = Queue::<u32>::bounded(2).unwrap();
    while queue.try_send(0).is_ok() {}
    let full = queue.len() as u32;
    let blocking = {
        let queue = queue.clone();
        thread::spawn(move || (0..full + 3).map(|_| queue.recv().unwrap()).sum::<u32>())
    };
    run(async {
        let queue = Async::new(queue).unwrap();
        for _ in 0..2 {
            queue.reserve().await.unwrap().send(10).unwrap();
        }
        queue.send(5).await.unwrap();
    });
    assert_eq!(blocking.join().unwrap(), 25);
}

#[test]
fn tasks_on_clones_share_what_comes() {
    const EACH: u32 = 200;
    let (sender, receiver) = queue::channel::<u32>(4).unwrap();
    let sending = thread::spawn(move || (1..=3 * EACH).for_each(|n| sender.send(n).unwrap()));
    let total = run(async {
        let first = Async::new(receiver).unwrap();
        let second = first.clone();
        let sum = async |receiver: &Async<queue::Receiver<u32>>| {
            let mut sum = 0;
            while let Some(value) = receiver.next().await.unwrap() {
                sum += value;
            }
            sum
        };
        let (a, b, c) = tokio::join!(sum(&first), sum(&first), sum(&second));
        a + b + c
    });
    sending.join().unwrap();
    assert_eq!(total, (1..=3 * EACH).sum::<u32>());
}

#[test]
fn a_receive_dropped_at_any_poll_loses_no_message() {
    for polls in 0..8 {
        let (sender, receiver) = queue::channel::<u32>(4).unwrap();
        run(async {
            let receiver = Async::new(receiver).unwrap();
            let second = receiver.clone();
            let waiting = async { second.recv().await.unwrap() };
            let sending = async {
                let got = drop_after(polls, receiver.recv()).await;
                assert!(got.is_none());
                sender.send(7).unwrap();
                // Perhaps rung, and dropped before it looked.
                tokio::task::yield_now().await;
            };
            let (got, ()) = tokio::join!(waiting, sending);
            assert_eq!(got, 7);
        });
    }
}

#[test]
fn a_rung_receive_that_is_dropped_hands_the_wake_on() {
    for first_dropped in [true, false] {
        let (sender, receiver) = queue::channel::<u32>(4).unwrap();
        let blocking = receiver.clone();
        let asleep = Arc::new(std::sync::Barrier::new(2));
        let sleeper = {
            let asleep = Arc::clone(&asleep);
            thread::spawn(move || {
                asleep.wait();
                blocking.recv().unwrap()
            })
        };
        run(async {
            let receiver = Async::new(receiver).unwrap();
            let mut future = Box::pin(receiver.recv());
            let waker = Waker::from(Arc::new(Count::default()));
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            asleep.wait();
            if first_dropped {
                drop(future);
                sender.send(1).unwrap();
            } else {
                sender.send(1).unwrap();
                drop(future);
            }
        });
        assert_eq!(sleeper.join().unwrap(), 1);
    }
}

#[test]
fn a_reservation_dropped_at_any_poll_holds_up_nobody() {
    for polls in 0..6 {
        let queue = Queue::<u32>::bounded(2).unwrap();
        while queue.try_send(0).is_ok() {}
        run(async {
            let waiting = Async::new(queue.clone()).unwrap();
            assert!(drop_after(polls, waiting.reserve()).await.is_none());
            assert_eq!(queue.recv().unwrap(), 0);
            if let Some(slot) = drop_after(polls, waiting.reserve()).await {
                drop(slot.unwrap());
            }
            while queue.try_recv().is_ok() {}
            queue.send(3).unwrap();
            assert_eq!(waiting.recv().await.unwrap(), 3);
        });
    }
}

#[test]
fn signals_and_locks_are_waited_for() {
    let (event, semaphore) = (Event::auto_reset().unwrap(), Semaphore::new(0).unwrap());
    let (pool, lock) = (PermitPool::new(1).unwrap(), Lock::new().unwrap());
    let (permit, guard) = (pool.try_acquire().unwrap().unwrap(), lock.lock().unwrap());
    let giving = {
        let (event, semaphore) = (event.clone(), semaphore.clone());
        thread::spawn(move || {
            event.set();
            semaphore.release(1).unwrap();
        })
    };
    let other = {
        let lock = lock.clone();
        thread::spawn(move || {
            run(async {
                let lock = Async::new(lock).unwrap();
                drop(lock.lock().await.unwrap());
            });
        })
    };
    run(async {
        let (event, semaphore) = (Async::new(event).unwrap(), Async::new(semaphore).unwrap());
        event.wait().await.unwrap();
        semaphore.acquire().await.unwrap();
        let waiting = Async::new(pool.clone()).unwrap();
        let giving_back = async {
            tokio::task::yield_now().await;
            drop(permit);
            drop(guard);
        };
        let (got, ()) = tokio::join!(waiting.acquire(), giving_back);
        drop(got.unwrap());
    });
    giving.join().unwrap();
    other.join().unwrap();
    assert_eq!(pool.available(), 1);
    assert!(!lock.is_locked());
}

#[test]
fn ends_of_a_lane_are_waited_for() {
    let (mut producer, consumer) = spsc::channel::<u64>(8).unwrap();
    let sending = thread::spawn(move || (0..1000).for_each(|n| producer.send(n).unwrap()));
    run(async {
        let mut consumer = Async::new(consumer).unwrap();
        let mut next = 0;
        while let Some(value) = consumer.next().await.unwrap() {
            assert_eq!(value, next);
            next += 1;
        }
        assert_eq!(next, 1000);
    });
    sending.join().unwrap();

    let (producer, mut consumer) = spsc::channel::<u64>(8).unwrap();
    let receiving = thread::spawn(move || {
        let mut sum = 0;
        while let Some(value) = consumer.next().unwrap() {
            sum += *value;
        }
        sum
    });
    run(async {
        let mut producer = Async::new(producer).unwrap();
        for value in 0..1000 {
            producer.send(value).await.unwrap();
        }
    });
    assert_eq!(receiving.join().unwrap(), (0..1000).sum::<u64>());
}

#[cfg(feature = "futures")]
#[test]
fn receivers_are_streams_and_senders_are_sinks() {
    use std::pin::Pin;

    use futures_core::Stream as _;
    use futures_sink::Sink as _;

    let (sender, receiver) = queue::channel::<u32>(2).unwrap();
    run(async {
        let mut stream = Async::new(receiver).unwrap().into_stream();
        let mut sink = Async::new(sender).unwrap().into_sink();
        let sending = async {
            for value in 0..100 {
                poll_fn(|cx| Pin::new(&mut sink).poll_ready(cx)).await.unwrap();
                Pin::new(&mut sink).start_send(value).unwrap();
            }
            poll_fn(|cx| Pin::new(&mut sink).poll_close(cx)).await.unwrap();
            drop(sink);
        };
        let receiving = async {
            let mut all = Vec::new();
            while let Some(value) = poll_fn(|cx| Pin::new(&mut stream).poll_next(cx)).await {
                all.push(value.unwrap());
            }
            all
        };
        let ((), all) = tokio::join!(sending, receiving);
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    });
}

#[cfg(feature = "async-io")]
#[test]
fn the_other_reactor_wakes_as_well() {
    use ginnel_object::aio::smol;

    let (ask, answer) = (Queue::<u32>::bounded(4).unwrap(), Queue::<u32>::bounded(4).unwrap());
    let echo = {
        let (ask, answer) = (ask.clone(), answer.clone());
        thread::spawn(move || (0..200).for_each(|_| answer.send(ask.recv().unwrap()).unwrap()))
    };
    // Its reactor has a thread of its own, so any executor does.
    run(async {
        let (ask, answer) = (smol::Async::new(ask).unwrap(), smol::Async::new(answer).unwrap());
        for round in 0..200 {
            ask.send(round).await.unwrap();
            assert_eq!(answer.recv().await.unwrap(), round);
        }
    });
    echo.join().unwrap();
}

/// Has another thread hold something: `hold` calls what it is given when it has it, and releases it after that. What
/// this gives makes it go on, and returns when it is released.
fn held_elsewhere(hold: impl FnOnce(&dyn Fn()) + Send + 'static) -> impl FnOnce() {
    let (held, is_held) = mpsc::channel();
    let (free, is_free) = mpsc::channel();
    let keeper = thread::spawn(move || {
        hold(&|| {
            held.send(()).unwrap();
            is_free.recv().unwrap();
        });
    });
    is_held.recv().unwrap();
    move || {
        free.send(()).unwrap();
        keeper.join().unwrap();
    }
}

/// Polls `future` until it is pending, then after `release` until it is ready. Gives its waker, too.
async fn waits<T>(future: impl Future<Output = T>, release: impl FnOnce()) -> (T, Arc<Count>) {
    let mut future = pin!(future);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut release = Some(release);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => {
                assert!(release.is_none(), "ready before it was released");
                return (value, count);
            }
            Poll::Pending => release.take().into_iter().for_each(|release| release()),
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_lock_that_was_waited_for_leaves_nobody_listening() {
    let (lock, mutex, shared) =
        (Lock::new().unwrap(), Mutex::new(0_u64).unwrap(), RwLock::new(0_u64).unwrap());
    run(async {
        let locks = (
            Async::new(lock.clone()).unwrap(),
            Async::new(mutex.clone()).unwrap(),
            Async::new(shared.clone()).unwrap(),
        );
        let mut counts = Vec::new();
        for _ in 0..3 {
            let (lock, mutex, shared) = (lock.clone(), mutex.clone(), shared.clone());
            let release =
                held_elsewhere(move |until_released| in_turn(&lock.lock().unwrap(), until_released));
            let (guard, first) = waits(locks.0.lock(), release).await;
            drop(guard.unwrap());
            let release =
                held_elsewhere(move |until_released| in_turn(&mutex.lock().unwrap(), until_released));
            let (guard, second) = waits(locks.1.lock(), release).await;
            drop(guard.unwrap());
            let release =
                held_elsewhere(move |until_released| in_turn(&shared.write().unwrap(), until_released));
            let (guard, third) = waits(locks.2.write(), release).await;
            drop(guard.unwrap());
            counts.push([first, second, third]);
        }
        // The reactor may keep the last of each.
        for count in counts[..2].iter().flatten() {
            assert_eq!(Arc::strong_count(count), 1);
        }
    });
}

fn in_turn<G>(_guard: &G, until_released: &dyn Fn()) {
    until_released();
}

async fn touch<R: Reactor>(lock: &aio::Async<RwLock<u64>, R>, writes: bool) {
    if writes {
        *lock.write().await.unwrap() += 1;
    } else {
        assert!(*lock.read().await.unwrap() < 100);
    }
}

/// Reads and writes that are dropped after any number of polls, before and after the holder goes, hold up nobody.
async fn dropped_at_any_poll<R: Reactor>() {
    for case in 0..2 * 2 * 2 * 6 {
        let (writes, held_to_write, gone_first, polls) =
            (case & 1 != 0, case & 2 != 0, case & 4 != 0, case / 8);
        if !writes && !held_to_write {
            continue; // nobody waits
        }
        let shared = RwLock::new(0_u64).unwrap();
        let first = aio::Async::<_, R>::new(shared.clone()).unwrap();
        let second = first.clone();
        let held = shared.clone();
        let release = held_elsewhere(move |until_released| {
            if held_to_write {
                in_turn(&held.write().unwrap(), until_released);
            } else {
                in_turn(&held.read().unwrap(), until_released);
            }
        });
        let waker = Waker::from(Arc::new(Count::default()));
        let (mut dropped, mut other) = (Box::pin(touch(&first, writes)), pin!(touch(&second, writes)));
        assert!(other.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..polls {
            assert!(dropped.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            tokio::task::yield_now().await;
        }
        if gone_first {
            release();
            drop(dropped);
        } else {
            drop(dropped);
            release();
        }
        other.await;
        assert!(shared.owner().is_none() && shared.readers().is_empty());
        assert_eq!(*shared.try_write().unwrap().expect("free"), u64::from(writes));
    }
}

#[test]
fn reads_and_writes_dropped_at_any_poll_hold_up_nobody() {
    run(dropped_at_any_poll::<aio::tokio::Tokio>());
    #[cfg(feature = "async-io")]
    run(dropped_at_any_poll::<aio::smol::Smol>());
}

#[test]
fn a_task_that_would_wait_for_its_own_thread_is_told() {
    let shared = Async::new(RwLock::new(0_u64).unwrap()).unwrap();
    run(async {
        let writing = shared.write().await.unwrap();
        assert_eq!(shared.read().await.map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        assert_eq!(shared.write().await.map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        drop(writing);
        let (one, two) = (shared.read().await.unwrap(), shared.read().await.unwrap());
        assert_eq!(shared.write().await.map(drop).unwrap_err().kind(), ErrorKind::Deadlock);
        drop((one, two));
        drop(shared.write().await.unwrap());
    });
}

/// Whatever was waited for is seen, and a poll that is given up leaves nothing behind.
async fn polled_by_hand<R: Reactor>() {
    let waker = Waker::from(Arc::new(Count::default()));
    let queue = aio::Async::<_, R>::new(Queue::<u32>::bounded(2).unwrap()).unwrap();
    let shared = RwLock::new(0_u64).unwrap();
    let reads = aio::Async::<_, R>::new(shared.read_side()).unwrap();
    for polls in 0..4 {
        let held = shared.clone();
        let release = held_elsewhere(move |until_released| in_turn(&held.write().unwrap(), until_released));
        let (mut given_up, mut wanted) = ((queue.polling(), reads.polling()), reads.polling());
        assert!(wanted.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        for _ in 0..polls {
            assert!(given_up.0.poll_ready(&mut Context::from_waker(&waker)).is_pending());
            assert!(given_up.1.poll_ready(&mut Context::from_waker(&waker)).is_pending());
            tokio::task::yield_now().await;
        }
        drop(given_up);
        release();
        poll_fn(|cx| wanted.poll_ready(cx)).await.unwrap();
        drop(shared.try_read().unwrap().expect("free to read"));

        let sender = queue.get_ref().clone();
        let mut room = queue.polling_room();
        poll_fn(|cx| room.poll_ready(cx)).await.unwrap();
        while sender.try_send(polls).is_ok() {}
        assert!(room.poll_ready(&mut Context::from_waker(&waker)).is_pending());
        let receiver = thread::spawn(move || while sender.try_recv().is_ok() {});
        poll_fn(|cx| room.poll_ready(cx)).await.unwrap();
        receiver.join().unwrap();
    }
}

#[test]
fn handles_are_polled_by_hand() {
    run(polled_by_hand::<aio::tokio::Tokio>());
    #[cfg(feature = "async-io")]
    run(polled_by_hand::<aio::smol::Smol>());
}
