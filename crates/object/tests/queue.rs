//! What can be seen of queues within one process. Kills, stops and hostile peers are in the package `tests`.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ginnel_object::blocks::{self, Block, Blocks};
use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::manager::{self, Manager};
use ginnel_object::queue::{self, OnConsumerDeath, Options, Receiver, Sender};
use ginnel_object::{ErrorKind, Json, Mutex, Queue, Raw};
use serde::{Deserialize, Serialize};

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(60);

fn small() -> Manager {
    Manager::with(manager::Options::new().limit(16 << 20).objects(32).participants(4))
        .expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    id: u64,
    path: Option<String>,
}

#[test]
fn each_kind_of_value_arrives_whole() {
    let job = Job { id: 7, path: Some("a/b".into()) };
    let jobs = Queue::bounded(4).expect("queue");
    jobs.send(job.clone()).expect("room");
    assert_eq!(jobs.recv().expect("there"), job);

    let raw = Queue::bounded(4).expect("queue");
    raw.send(Raw([1.5_f64; 9])).expect("room");
    let Raw(values) = raw.recv().expect("there");
    assert_eq!(values, [1.5; 9]);

    let json = Queue::bounded(4).expect("queue");
    json.send(Json(HashMap::from([("x".to_owned(), 1)]))).expect("room");
    assert_eq!(json.recv().expect("there").0["x"], 1);

    let nothing = Queue::<()>::bounded(1).expect("queue");
    nothing.send(()).expect("room");
    nothing.recv().expect("there");
}

#[test]
fn full_empty_and_late_give_the_value_back() {
    let queue = Queue::<Raw<u32>>::bounded(2).expect("queue");
    assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
    assert!(matches!(queue.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)));
    queue.send(Raw(1)).expect("room");
    queue.try_send(Raw(2)).expect("room");
    assert!(queue.is_full());
    assert_eq!(queue.try_send(Raw(3)).map_err(TrySendError::into_inner), Err(Raw(3)));
    assert!(matches!(queue.send_timeout(Raw(3), SHORT), Err(SendTimeoutError::Timeout(Raw(3)))));
    let mut some = Vec::new();
    assert_eq!(queue.recv_many(&mut some, 10).expect("there"), 2);
    assert_eq!(some, [Raw(1), Raw(2)]);
    assert!(queue.is_empty());
}

#[test]
fn a_closed_queue_gives_what_it_has() {
    let queue = Queue::<u32>::bounded(8).expect("queue");
    queue.send_many(&mut vec![1, 2, 3]).expect("room");
    queue.close();
    assert!(matches!(queue.send(4), Err(SendError::Closed(4))));
    assert_eq!(queue.iter().map(|value| value.expect("whole")).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(matches!(queue.recv(), Err(RecvError::Closed)));
    assert_eq!(queue.next().expect("an end, not an error"), None);
}

#[test]
fn a_channel_ends_with_its_senders_and_with_its_receivers() {
    let (sender, receiver) = queue::channel::<u32>(8).expect("channel");
    let other = sender.clone();
    sender.send(1).expect("room");
    drop(sender);
    other.send(2).expect("room");
    drop(other);
    assert_eq!(receiver.iter().map(|value| value.expect("whole")).collect::<Vec<_>>(), [1, 2]);

    let (sender, receiver) = queue::channel::<u32>(8).expect("channel");
    let other = receiver.clone();
    drop(receiver);
    sender.send(1).expect("one receiver is left");
    drop(other);
    assert!(matches!(sender.send(2), Err(SendError::Closed(2))));
}

#[test]
fn sleepers_are_woken_by_the_end() {
    let (sender, receiver) = queue::channel::<u32>(1).expect("channel");
    let asleep = std::thread::spawn(move || receiver.recv());
    drop(sender);
    assert!(matches!(asleep.join().expect("no panic"), Err(RecvError::Closed)));

    let (sender, receiver) = queue::channel::<u32>(1).expect("channel");
    sender.send(1).expect("room");
    let asleep = std::thread::spawn(move || sender.send(2));
    drop(receiver);
    assert!(matches!(asleep.join().expect("no panic"), Err(SendError::Closed(2))));
}

#[test]
fn many_senders_and_receivers_lose_and_double_nothing() {
    let each = 20_000_u64;
    let queue = Queue::<(u8, u64)>::bounded(64).expect("queue");
    let start = Arc::new(Barrier::new(6));
    let senders: Vec<_> = (0..3_u8)
        .map(|who| {
            let (queue, start) = (queue.sender(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                (0..each).for_each(|n| queue.send((who, n)).expect("open"));
            })
        })
        .collect();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let (queue, start) = (queue.receiver(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                queue.iter().map(|value| value.expect("whole")).collect::<Vec<_>>()
            })
        })
        .collect();
    senders.into_iter().for_each(|thread| thread.join().expect("no panic"));
    queue.close();
    let mut seen = vec![vec![0_u8; each as usize]; 3];
    for thread in receivers {
        let mut last = [None; 3];
        for (who, n) in thread.join().expect("no panic") {
            assert!(last[usize::from(who)] < Some(n), "the order of one sender at one receiver");
            last[usize::from(who)] = Some(n);
            seen[usize::from(who)][n as usize] += 1;
        }
    }
    assert!(seen.iter().flatten().all(|count| *count == 1));
}

#[test]
fn a_lease_comes_back_until_it_is_acknowledged() {
    let queue = Queue::<Job>::bounded(4).expect("queue");
    queue.send(Job { id: 1, path: None }).expect("room");
    for round in 0..3 {
        let lease = queue.lease().expect("there");
        assert_eq!((lease.id, lease.redelivered()), (1, round));
        if round == 1 {
            lease.nack()
        } else {
            drop(lease)
        }
        assert!(!queue.wait_done_timeout(Duration::ZERO).expect("asked"));
    }
    assert_eq!(queue.lease().expect("there").ack().expect("acknowledged").id, 1);
    assert!(queue.wait_done_timeout(Duration::ZERO).expect("asked"));
    assert!(matches!(queue.try_lease(), Err(TryRecvError::Empty)));
}

#[test]
fn a_plain_receive_takes_what_a_lease_gave_back() {
    let queue = Queue::<u32>::bounded(4).expect("queue");
    queue.send_many(&mut vec![1, 2]).expect("room");
    queue.lease().expect("there").nack();
    let mut got = vec![queue.recv().expect("there"), queue.recv().expect("there")];
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
    assert_eq!(queue.stats().redelivered, 1);
}

#[test]
fn leases_are_bounded_and_waited_for() {
    let queue = Options::bounded(8).leases(1).create::<u32>().expect("queue");
    queue.send_many(&mut vec![1, 2]).expect("room");
    let first = queue.lease().expect("there");
    let refused = queue.try_lease().expect_err("one lease is all there is");
    assert!(matches!(refused, TryRecvError::Failed(error) if error.is_full()));
    let other = queue.clone();
    let waiting = std::thread::spawn(move || other.lease_timeout(LONG).expect("freed").ack());
    first.ack().expect("acknowledged");
    assert_eq!(waiting.join().expect("no panic").expect("acknowledged"), 2);
}

#[test]
fn wait_done_waits_for_what_is_leased() {
    let queue = Queue::<u32>::bounded(4).expect("queue");
    queue.send(1).expect("room");
    let lease = queue.lease().expect("there");
    let other = queue.clone();
    let waiting = std::thread::spawn(move || other.wait_done());
    lease.ack().expect("acknowledged");
    waiting.join().expect("no panic").expect("done");
}

#[test]
fn the_end_of_a_work_queue_waits_for_the_leases_of_others() {
    let here = small();
    let jobs: Queue<u32> = here.get_or_create("jobs").expect("made");
    let elsewhere = second(&here);
    let their: Queue<u32> = elsewhere.get("jobs").expect("found").expect("there");
    jobs.send(1).expect("room");
    let lease = their.lease().expect("there");
    jobs.close();
    assert!(matches!(jobs.try_lease(), Err(TryRecvError::Empty)), "it may come back");
    lease.nack();
    assert_eq!(jobs.lease().expect("it came back").ack().expect("acknowledged"), 1);
    assert_eq!(jobs.next_lease().expect("an end").map(|lease| *lease), None);
}

#[test]
fn handles_travel_inside_messages() {
    let here = small();
    let there = second(&here);
    let letters: Queue<(u32, Queue<String>, Mutex<u64>)> = here.get_or_create("letters").expect("made");
    let mailbox: Queue<(u32, Queue<String>, Mutex<u64>)> =
        there.get("letters").expect("found").expect("there");
    let answers = here.create_with::<Queue<String>>(Options::bounded(2)).expect("made");
    let count = here.create::<Mutex<u64>>().expect("made");
    letters.send((3, answers.clone(), count.clone())).expect("room");
    drop(letters);
    let (n, reply, counter) = mailbox.recv().expect("there");
    *counter.lock().expect("free") += u64::from(n);
    reply.send("done".into()).expect("room");
    assert_eq!(answers.recv().expect("answered"), "done");
    assert_eq!(*count.lock().expect("free"), 3);
}

#[test]
fn a_handle_in_a_message_keeps_its_object_and_no_longer() {
    let here = small();
    let empty = here.size();
    let letters = here.create_with::<Queue<Queue<u32>>>(Options::bounded(4)).expect("made");
    let with_letters = here.size();
    let inner = here.create_with::<Queue<u32>>(Options::bounded(4)).expect("made");
    inner.send(5).expect("room");
    letters.send(inner).expect("room");
    assert!(here.size() > with_letters, "the message keeps the queue");
    assert_eq!(letters.recv().expect("there").recv().expect("there"), 5);
    assert_eq!(here.size(), with_letters, "received and dropped");

    letters.send(here.create_with::<Queue<u32>>(Options::bounded(4)).expect("made")).expect("room");
    letters.lease().expect("there").nack();
    assert!(here.size() > with_letters, "given back, so still in the message");
    drop(letters);
    assert_eq!(here.size(), empty, "a queue that goes takes what its messages carry along");
}

#[test]
fn a_send_that_fails_takes_its_handles_back() {
    let here = small();
    let letters = here.create_with::<Queue<Sender<u32>>>(Options::bounded(1)).expect("made");
    let (sender, receiver) = ends(&here);
    letters.send(sender.clone()).expect("room");
    assert!(matches!(letters.try_send(sender), Err(TrySendError::Full(_))));
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "one sender is in the message");
    drop(letters);
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)), "and gone with it");
}

/// A channel in that manager.
fn ends(manager: &Manager) -> (Sender<u32>, Receiver<u32>) {
    let sender = manager.get_or_create("ends").expect("made");
    let receiver = manager.get("ends").expect("found").expect("there");
    assert!(manager.remove("ends").expect("removed"));
    (sender, receiver)
}

#[test]
fn a_named_channel_stays_open_until_its_name_goes() {
    let here = small();
    let sender: Sender<u32> = here.get_or_create("numbers").expect("made");
    sender.send(1).expect("room");
    drop(sender);
    let receiver: Receiver<u32> = here.get("numbers").expect("found").expect("there");
    assert_eq!(receiver.recv().expect("there"), 1);
    assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)), "another sender may come");
    assert!(here.remove("numbers").expect("removed"));
    assert!(matches!(receiver.recv(), Err(RecvError::Closed)));
}

#[test]
fn handles_elsewhere_are_refused() {
    let queue = Queue::<u32>::bounded(1).expect("queue");
    let error = serde_json::to_string(&queue).expect_err("no message");
    assert!(error.to_string().contains("inside a message"), "{error}");
    let other = small();
    let letters = other.create_with::<Queue<Queue<u32>>>(Options::bounded(1)).expect("made");
    let SendError::Failed(_, error) = letters.send(queue).expect_err("another manager") else {
        panic!("not closed")
    };
    assert_eq!(error.kind(), ErrorKind::Encode);
}

#[test]
fn another_type_is_refused_by_name_and_by_bytes() {
    let here = small();
    let _raw: Queue<Raw<u64>> = here.get_or_create("numbers").expect("made");
    assert!(here.get::<Queue<Raw<u32>>>("numbers").expect_err("other size").is_mismatch());
    assert!(here.get::<Queue<u64>>("numbers").expect_err("encoded").is_mismatch());
    let jobs: Queue<Job> = here.get_or_create("jobs").expect("made");
    let words: Queue<(u8, u8, u8, u8, u8)> = here.get("jobs").expect("both encoded").expect("there");
    jobs.send(Job { id: 1, path: None }).expect("room");
    let Err(RecvError::Failed(error)) = words.recv() else { panic!("two bytes are not five") };
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(matches!(words.try_recv(), Err(TryRecvError::Empty)), "it is used up");
}

#[test]
fn impossible_options_are_errors() {
    assert_eq!(Queue::<u32>::bounded(0).expect_err("no room").kind(), ErrorKind::Invalid);
    assert_eq!(Queue::<u32>::bounded(usize::MAX).expect_err("too many").kind(), ErrorKind::TooLarge);
    let here = Manager::with(manager::Options::new().limit(1 << 20)).expect("small");
    let refused = here.create_with::<Queue<u32>>(Options::bounded(1 << 20)).expect_err("above the limit");
    assert!(refused.is_full(), "{refused}");
    assert_eq!(here.size(), 0, "nothing half-made stays");
}

#[test]
fn a_dead_consumers_message_is_dropped_where_that_was_asked_for() {
    let queue = Options::bounded(4).on_consumer_death(OnConsumerDeath::Drop).create::<u32>().expect("queue");
    queue.send(1).expect("room");
    queue.lease().expect("there").nack();
    assert_eq!(queue.recv().expect("a nack is no death"), 1);
}

#[derive(Debug, Serialize, Deserialize)]
struct Frame {
    number: u64,
    pixels: Block,
}

/// A pool of two blocks and a queue of frames.
fn studio(manager: &Manager) -> (Blocks, Queue<Frame>) {
    let blocks = manager.create_with(blocks::Options::new(2, 5000)).expect("made");
    (blocks, manager.create_with(Options::bounded(2)).expect("made"))
}

fn frame(blocks: &Blocks, number: u64) -> Frame {
    let mut pixels = blocks.try_claim().expect("asked").expect("one is free");
    pixels.fill(number as u8);
    Frame { number, pixels: pixels.freeze() }
}

#[test]
fn a_block_changes_hands_inside_a_message() {
    let here = small();
    let (blocks, frames) = studio(&here);
    frames.send(frame(&blocks, 1)).expect("room");
    frames.send(frame(&blocks, 2)).expect("room");
    assert_eq!(blocks.free(), 0);
    let Frame { number, pixels } = frames.recv().expect("there");
    assert_eq!((number, &pixels[..3], pixels.len()), (1, &[1, 1, 1][..], 5000));
    // Passed on without being copied or freed.
    frames.send(Frame { number: 3, pixels }).expect("room");
    assert_eq!(frames.recv().expect("there").number, 2);
    assert_eq!(blocks.free(), 1);
    let last = frames.recv().expect("there");
    assert_eq!((last.number, last.pixels[0]), (3, 1));
    drop(last);
    assert_eq!(blocks.free(), 2);
}

#[test]
fn a_block_stays_with_a_message_that_is_not_sent_or_not_acknowledged() {
    let here = small();
    let (blocks, frames) = studio(&here);
    frames.send(frame(&blocks, 1)).expect("room");
    let lease = frames.lease().expect("there");
    assert_eq!(lease.pixels[0], 1);
    lease.nack();
    assert_eq!(blocks.free(), 1, "it is in the message still");
    let back = frames.lease().expect("there").ack().expect("acknowledged");
    assert_eq!((back.number, back.pixels[0]), (1, 1));
    frames.close();
    let SendError::Closed(back) = frames.send(back).expect_err("closed") else { panic!("closed") };
    assert_eq!(back.pixels[4999], 1, "it came back whole");
    drop(back);
    assert_eq!(blocks.free(), 2);
}

#[test]
fn a_message_keeps_the_pool_of_its_block() {
    let here = small();
    let empty = here.size();
    let (blocks, frames) = studio(&here);
    frames.send(frame(&blocks, 7)).expect("room");
    drop(blocks);
    let got = frames.recv().expect("there");
    assert_eq!(got.pixels[4999], 7);
    frames.send(got).expect("room");
    drop(frames);
    assert_eq!(here.size(), empty, "the queue, the block in it, and the pool that only it kept");
}

#[test]
fn long_messages_pass_through_short_slots() {
    let here = small();
    let letters = here.create_with::<Queue<Vec<u8>>>(Options::bounded(4).inline_size(32)).expect("made");
    let before = here.size();
    for len in [0, 31, 32, 33, 4096, 1 << 20] {
        let text: Vec<u8> = (0..len).map(|n| n as u8).collect();
        letters.send(text.clone()).expect("room");
        assert_eq!(letters.recv().expect("there"), text, "{len} bytes");
        letters.send(text.clone()).expect("room");
        letters.lease().expect("there").nack();
        assert_eq!(letters.lease().expect("again").ack().expect("acknowledged"), text, "{len} bytes");
    }
    assert_eq!(here.size(), before, "the bytes are free again");
    let SendError::Failed(back, error) = letters.send(vec![0; 32 << 20]).expect_err("above the limit") else {
        panic!("not closed")
    };
    assert!(error.is_full() && back.len() == 32 << 20, "{error}");
}

#[test]
fn long_messages_carry_handles_too() {
    let here = small();
    let empty = here.size();
    let queue = here
        .create_with::<Queue<(Vec<u64>, Vec<Queue<u32>>)>>(Options::bounded(4).inline_size(32))
        .expect("made");
    let others: Vec<Queue<u32>> =
        (0..5).map(|_| here.create_with(Options::bounded(1)).expect("made")).collect();
    others[4].send(44).expect("room");
    queue.send((vec![7; 1000], others)).expect("room");
    let (numbers, received) = queue.recv().expect("there");
    assert_eq!((numbers.len(), received.len(), received[4].recv().expect("there")), (1000, 5, 44));
    queue.send((numbers, received)).expect("room");
    drop(queue);
    assert_eq!(here.size(), empty, "nobody will read it, so everything in it is freed");
}

#[test]
fn two_with_a_lease_each_do_not_wait_for_each_other_at_the_end() {
    let here = small();
    let jobs: Queue<u32> = here.get_or_create("jobs").expect("made");
    let elsewhere = second(&here);
    let their: Queue<u32> = elsewhere.get("jobs").expect("found").expect("there");
    jobs.send_many(&mut vec![1, 2]).expect("room");
    let (mine, yours) = (jobs.lease().expect("there"), their.lease().expect("there"));
    jobs.close();
    assert!(jobs.next_lease().expect("an end").is_none());
    assert!(their.next_lease().expect("an end").is_none());
    assert_eq!((mine.ack().expect("acknowledged"), yours.ack().expect("acknowledged")), (1, 2));
}
