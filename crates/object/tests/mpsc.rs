//! What can be seen of a channel with many senders within one process. Kills are in the package `tests`.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::manager::Options as ManagerOptions;
use ginnel_object::mpsc::{self, BATCH, Options, Receiver, Sender};
use ginnel_object::spsc::Wait;
use ginnel_object::{ErrorKind, Manager, Queue, Raw};

fn manager() -> Manager {
    Manager::with(ManagerOptions::new().limit(16 << 20).objects(16).participants(4)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

/// Text of a length that depends on the number.
fn text(number: u64) -> String {
    "x".repeat((number * 37 % 501) as usize)
}

#[test]
fn what_each_sender_sends_arrives_in_its_order() {
    for wait in [Wait::Adaptive, Wait::Sleep] {
        let options = Options::new().size(4096).senders(8).wait(wait);
        let (first, mut inbox) = options.channel::<(u8, u64, String)>().expect("a channel");
        let mut senders = vec![first];
        senders.extend((1..8).map(|_| senders[0].try_clone().expect("a lane is free")).collect::<Vec<_>>());
        let threads: Vec<_> = (0_u8..)
            .zip(senders)
            .map(|(me, mut sender)| {
                thread::spawn(move || {
                    for number in 0..1000 {
                        sender.send((me, number, text(number))).expect("the receiver lives");
                    }
                })
            })
            .collect();
        let mut next = [0; 8];
        for message in inbox.iter() {
            let (from, number, letters) = message.expect("it decodes");
            assert_eq!(number, next[usize::from(from)], "of sender {from}");
            assert_eq!(letters, text(number));
            next[usize::from(from)] += 1;
        }
        assert_eq!(next, [1000; 8]);
        for sender in threads {
            sender.join().expect("no panic");
        }
        assert!(matches!(inbox.recv(), Err(RecvError::Closed)), "an end is an end");
    }
}

#[test]
fn spinners_exchange_messages_without_a_sleep() {
    let options = Options::new().capacity(8).senders(2).wait(Wait::Spin);
    let (mut there, mut inbox) = options.channel::<Raw<u64>>().expect("a channel");
    let (mut back, mut answers) = options.channel::<Raw<u64>>().expect("a channel");
    let echo = thread::spawn(move || {
        while let Some(Raw(number)) = inbox.next().expect("alive") {
            back.send(Raw(number + 1)).expect("alive");
        }
    });
    for number in 0..100 {
        there.send(Raw(number)).expect("alive");
        assert_eq!(answers.recv().expect("alive"), Raw(number + 1));
    }
    drop(there);
    echo.join().expect("no panic");
}

/// Each lane waits for at most a batch of every other one.
#[test]
fn a_flood_in_one_lane_leaves_the_others_their_turn() {
    let (mut flood, mut inbox) = mpsc::channel::<Raw<u64>>(2000).expect("a channel");
    let (mut calm, mut trickle) = (flood.clone(), flood.clone());
    for number in 0..2000 {
        flood.send(Raw(number)).expect("room");
    }
    for number in 0..100 {
        calm.send(Raw(number)).expect("room");
    }
    trickle.send(Raw(0)).expect("room");
    let mut waiting = [2000_u32, 100, 1];
    let mut since = [0; 3];
    for received in 0..2101 {
        inbox.try_recv().expect("it was sent");
        let lane = inbox.lane();
        waiting[lane] -= 1;
        for other in 0..3 {
            since[other] = if other == lane || waiting[other] == 0 { 0 } else { since[other] + 1 };
            assert!(since[other] <= 2 * BATCH, "lane {other} at message {received}");
        }
    }
    assert_eq!(waiting, [0; 3]);
    // The one that comes while the flood goes on is served within a batch.
    for number in 0..1000 {
        flood.send(Raw(number)).expect("room");
    }
    for _ in 0..10 {
        inbox.recv().expect("it was sent");
    }
    trickle.send(Raw(7)).expect("room");
    let before = (0..).take_while(|_| inbox.recv().is_ok() && inbox.lane() != 2).count();
    assert!(before <= BATCH as usize, "{before} messages went before it");
}

#[test]
fn lanes_of_the_gone_are_used_again_and_what_they_left_arrives_first() {
    let (mut first, mut inbox) = Options::new().senders(2).channel::<u32>().expect("a channel");
    let second = first.try_clone().expect("a lane is free");
    let full = first.try_clone().expect_err("both lanes are held");
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    let mut third = first.clone();
    match third.send(30) {
        Err(SendError::Failed(30, error)) => assert!(error.is_full(), "{error}"),
        other => panic!("{other:?}"),
    }
    first.send(10).expect("room");
    drop(first);
    third.send(31).expect("the lane is free now");
    assert_eq!(inbox.senders(), 2);
    // Far more than there are lanes, one after the other, before anybody looks.
    drop(second);
    for number in 40..90 {
        let mut short = third.try_clone().expect("the last one is gone");
        short.send(number).expect("room");
    }
    drop(third);
    let mut got: Vec<u32> = inbox.iter().map(|message| message.expect("it decodes")).collect();
    assert!(
        got.windows(2).filter(|pair| pair[0] > pair[1]).count() <= 1,
        "two lanes, each in order: {got:?}"
    );
    got.sort_unstable();
    let expected: Vec<u32> = [10, 31].into_iter().chain(40..90).collect();
    assert_eq!(got, expected);
}

#[test]
fn the_end_comes_after_the_last_message_of_the_last_sender() {
    let manager = manager();
    let mut inbox: Receiver<u32> = mpsc::receiver(&manager, "inbox").expect("made");
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)), "nobody came yet");
    let mut early: Sender<u32> = mpsc::sender(&manager, "inbox").expect("a lane is free");
    let mut late = early.clone();
    early.send(1).expect("room");
    drop(early);
    assert_eq!(inbox.recv().expect("sent"), 1);
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)), "one sender is left");
    late.send(2).expect("room");
    drop(late);
    assert_eq!(inbox.try_recv().expect("sent"), 2);
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Closed)));
    assert!(inbox.next().expect("an end is no error").is_none());
    // Whoever opens the name afterwards begins anew.
    let mut again: Sender<u32> = mpsc::sender(&manager, "inbox").expect("a lane is free");
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)));
    again.send(3).expect("room");
    assert_eq!(inbox.recv().expect("sent"), 3);
}

#[test]
fn a_sleeping_receiver_is_told_of_the_end() {
    let (sender, mut inbox) = Options::new().wait(Wait::Sleep).channel::<u32>().expect("a channel");
    let other = sender.clone();
    let sleeper = thread::spawn(move || inbox.recv());
    drop(sender);
    drop(other);
    assert!(matches!(sleeper.join().expect("no panic"), Err(RecvError::Closed)));
}

#[test]
fn senders_are_told_when_the_receiver_goes_and_a_successor_finds_what_is_left() {
    let manager = manager();
    let mut sender: Sender<u32> = mpsc::sender(&manager, "inbox").expect("made");
    let mut other = sender.clone();
    assert!(!sender.is_closed(), "there was none yet");
    sender.send(1).expect("room");
    other.send(10).expect("room");
    let mut inbox: Receiver<u32> = mpsc::receiver(&second(&manager), "inbox").expect("free");
    let taken = mpsc::receiver::<u32>(&manager, "inbox").expect_err("it is held");
    assert!(taken.is_taken(), "{taken}");
    let first = inbox.recv().expect("sent");
    drop(inbox);
    assert!(sender.is_closed());
    assert!(matches!(sender.send(2), Err(SendError::Closed(2))));
    assert!(matches!(other.try_send(20), Err(TrySendError::Closed(20))));
    let mut successor: Receiver<u32> = mpsc::receiver(&manager, "inbox").expect("free again");
    assert_eq!(successor.recv().expect("left"), 11 - first);
    assert!(!successor.redelivered(), "the first one left in order");
    other.send(20).expect("there is a receiver");
    assert_eq!(successor.recv().expect("sent"), 20);
}

#[test]
fn waits_end_at_their_deadlines_and_when_there_is_room() {
    let (mut sender, mut inbox) = mpsc::channel::<Raw<[u64; 8]>>(1).expect("a channel");
    let start = Instant::now();
    let short = Duration::from_millis(30);
    assert!(matches!(inbox.recv_timeout(short), Err(RecvTimeoutError::Timeout)));
    assert!(matches!(inbox.recv_deadline(start + short), Err(RecvTimeoutError::Timeout)));
    assert!(start.elapsed() >= short);
    let mut sent = 0;
    let full = loop {
        match sender.try_send(Raw([sent; 8])) {
            Ok(()) => sent += 1,
            Err(full) => break full,
        }
    };
    assert!(full.is_full() && sent >= 1, "{full:?} after {sent}");
    assert_eq!(full.into_inner(), Raw([sent; 8]), "it comes back");
    let start = Instant::now();
    assert!(matches!(sender.send_timeout(Raw([0; 8]), short), Err(SendTimeoutError::Timeout(_))));
    assert!(start.elapsed() >= short);
    let blocked = thread::spawn(move || sender.send(Raw([u64::MAX; 8])));
    for number in 0..sent {
        assert_eq!(inbox.recv().expect("sent"), Raw([number; 8]));
    }
    assert_eq!(inbox.recv().expect("the sender got its room"), Raw([u64::MAX; 8]));
    blocked.join().expect("no panic").expect("sent");
}

#[test]
fn what_does_not_fit_or_decode_is_an_error_of_that_message_only() {
    let manager = manager();
    let mut bytes: Sender<Vec<u8>> =
        Options::new().size(4096).senders(2).sender(&manager, "inbox").expect("made");
    match bytes.send(vec![0; bytes.max_len()]) {
        Err(SendError::Failed(value, error)) => {
            assert_eq!((value.len(), error.kind()), (bytes.max_len(), ErrorKind::TooLarge), "{error}");
        }
        other => panic!("{other:?}"),
    }
    bytes.send(vec![0xff; 3]).expect("room");
    bytes.send(b"yes".to_vec()).expect("room");
    let mut inbox: Receiver<String> = mpsc::receiver(&manager, "inbox").expect("both are encoded");
    match inbox.recv() {
        Err(RecvError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Decode, "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(inbox.recv().expect("the next one is whole"), "yes");
    let mismatch = mpsc::sender::<Raw<u32>>(&manager, "inbox").expect_err("of another kind");
    assert!(mismatch.is_mismatch(), "{mismatch}");
}

#[test]
fn a_handle_cannot_travel_in_a_message() {
    let queue = Queue::<u32>::bounded(4).expect("room");
    let (mut sender, mut inbox) = mpsc::channel::<(u32, Queue<u32>)>(4).expect("a channel");
    match sender.send((7, queue)) {
        Err(SendError::Failed((7, queue), error)) => {
            assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
            queue.send(1).expect("it came back whole");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)));
}

#[test]
fn impossible_options_are_refused() {
    let kind = |options: Options| options.channel::<u32>().expect_err("impossible").kind();
    assert_eq!(kind(Options::new().capacity(0)), ErrorKind::Invalid);
    assert_eq!(kind(Options::new().size(0)), ErrorKind::Invalid);
    assert_eq!(kind(Options::new().senders(0)), ErrorKind::Invalid);
    assert_eq!(kind(Options::new().senders(1025)), ErrorKind::Invalid);
    assert_eq!(kind(Options::new().capacity(usize::MAX)), ErrorKind::TooLarge);
    let nothing = Options::new().senders(1).channel::<Raw<[u8; 0]>>();
    let (mut sender, mut inbox) = nothing.expect("a message of no bytes is one all the same");
    sender.send(Raw([])).expect("room");
    assert_eq!(inbox.recv().expect("sent"), Raw([]));
}

#[test]
fn memory_comes_back_with_the_last_end() {
    let manager = manager();
    let before = manager.size();
    let inbox: Receiver<u32> = manager.create_with(Options::new().senders(3)).expect("room");
    assert!(manager.size() > before);
    drop(inbox);
    assert_eq!(manager.size(), before);
}
