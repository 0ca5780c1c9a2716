//! What can be seen of the objects within one process. Kills, stops and hostile peers are in the package `tests`.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ginnel_object::error::{RecvTimeoutError, TryRecvError, TrySendError};
use ginnel_object::manager::Options;
use ginnel_object::spsc::{self, Wait};
use ginnel_object::{ErrorKind, Manager, Mutex};

fn manager() -> Manager {
    Manager::with(Options::new().limit(8 << 20).objects(16).participants(4)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

#[test]
fn values_arrive_in_order_whatever_the_batches() {
    for wait in [Wait::Adaptive, Wait::Spin, Wait::Sleep] {
        let (mut tx, mut rx) = spsc::Options::new().capacity(100).wait(wait).channel::<u64>().expect("lane");
        let sender = std::thread::spawn(move || {
            let mut next = 0_u64;
            for round in 0..300_u64 {
                let batch: Vec<u64> = (next..next + round % 40).collect();
                next += batch.len() as u64;
                tx.send_many(&batch).expect("room");
                tx.send(next).expect("room");
                next += 1;
            }
            next
        });
        let mut expected = 0;
        let mut some = Vec::new();
        loop {
            if expected % 3 == 0 {
                match rx.recv() {
                    Ok(value) => some.push(value),
                    Err(_) => break,
                }
            } else if expected % 3 == 1 {
                match rx.next().expect("alive") {
                    Some(loan) => some.push(*loan),
                    None => break,
                }
            } else if rx.recv_many(&mut some, 17).is_err() {
                break;
            }
            for value in some.drain(..) {
                assert_eq!(value, expected);
                expected += 1;
            }
        }
        assert_eq!(sender.join().expect("no panic"), expected);
    }
}

#[test]
fn messages_of_bytes_keep_their_lengths_and_contents() {
    let (mut tx, mut rx) = spsc::bytes(4096).expect("lane");
    assert_eq!(tx.max_len(), 4096 - 16);
    let sender = std::thread::spawn(move || {
        for len in (0..4080).step_by(7) {
            let message: Vec<u8> = (0..len).map(|i| (i * 31 + len) as u8).collect();
            tx.send(&message).expect("room");
            let mut claim = tx.claim(len).expect("room");
            claim.copy_from_slice(&message);
            claim.commit_len(len / 2);
            tx.send_many(&[&message[..len / 3], &message[..len / 5]]).expect("room");
        }
    });
    for len in (0..4080).step_by(7) {
        let message: Vec<u8> = (0..len).map(|i| (i * 31 + len) as u8).collect();
        for part in [len, len / 2, len / 3, len / 5] {
            assert_eq!(*rx.loan().expect("sent"), message[..part]);
        }
    }
    assert!(rx.next().expect("closed in order").is_none());
    sender.join().expect("no panic");
}

#[test]
fn full_and_empty_give_the_value_back_and_time_out() {
    let (mut tx, mut rx) = spsc::channel::<[u64; 8]>(3).expect("lane");
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    assert!(matches!(rx.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout)));
    let capacity = tx.capacity();
    assert!(capacity >= 3);
    for i in 0..capacity {
        tx.try_send([i as u64; 8]).expect("room");
    }
    assert_eq!(tx.len(), capacity);
    assert_eq!(rx.len(), capacity);
    let Err(TrySendError::Full(back)) = tx.try_send([99; 8]) else { panic!("full") };
    assert_eq!(back, [99; 8]);
    assert!(tx.send_deadline([98; 8], Instant::now()).expect_err("full").is_timeout());
    assert!(tx.claim_timeout(Duration::ZERO).expect_err("full").is_timeout());
    assert!(tx.try_claim().expect_err("full").is_full());
    assert_eq!(rx.recv().expect("there"), [0; 8]);
    // A claim that is dropped sends nothing.
    let _: spsc::Claim<'_, _> = tx.try_claim().expect("room");
    assert_eq!(rx.len(), capacity - 1);
}

#[test]
fn dropping_an_end_is_told_to_the_other() {
    let (mut tx, rx) = spsc::channel::<u32>(4).expect("lane");
    drop(rx);
    assert!(tx.is_closed());
    assert!(matches!(tx.try_send(1), Err(TrySendError::Closed(1))));
    let (mut tx, mut rx) = spsc::channel::<u32>(4).expect("lane");
    tx.send(5).expect("room");
    tx.close();
    assert!(rx.is_closed());
    assert_eq!(rx.recv().expect("sent before"), 5);
    assert!(rx.recv().expect_err("closed").is_closed());
}

#[test]
fn large_alignments_are_kept() {
    #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
    #[repr(C, align(64))]
    struct Wide([u8; 64]);
    let (mut tx, mut rx) = spsc::channel::<Wide>(5).expect("lane");
    for round in 0..100_u8 {
        let mut claim = tx.claim().expect("room");
        assert_eq!(std::ptr::from_ref(&*claim).addr() % 64, 0);
        claim.0 = [round; 64];
        claim.commit();
        let loan = rx.loan().expect("sent");
        assert_eq!(std::ptr::from_ref(&*loan).addr() % 64, 0);
        assert_eq!(loan.0, [round; 64]);
    }
}

#[test]
fn names_lead_to_the_same_object_and_types_are_checked() {
    let one = manager();
    let two = second(&one);
    let mut tx = spsc::producer::<u64>(&one, "numbers").expect("made");
    let mut rx = spsc::consumer::<u64>(&two, "numbers").expect("found");
    tx.send(3).expect("room");
    assert_eq!(rx.recv().expect("sent"), 3);
    assert_eq!(two.names(), ["numbers"]);
    let taken = spsc::producer::<u64>(&two, "numbers").expect_err("held");
    assert!(taken.is_taken() && taken.owner().expect("known").pid == std::process::id(), "{taken}");
    for error in [
        spsc::producer::<u32>(&two, "numbers").expect_err("another size"),
        spsc::producer::<[u8]>(&two, "numbers").expect_err("bytes"),
        two.get::<Mutex<u64>>("numbers").expect_err("another kind"),
    ] {
        assert!(error.is_mismatch(), "{error}");
        assert_eq!(error.object(), Some("numbers"));
    }
    // The end is free again, and what was not received is still there.
    tx.send(4).expect("room");
    drop(tx);
    drop(rx);
    let mut rx = spsc::consumer::<u64>(&one, "numbers").expect("found");
    assert_eq!(rx.try_recv().expect("kept"), 4);
    assert!(!rx.redelivered());
}

#[test]
fn an_object_lives_while_it_is_held_or_named() {
    let one = manager();
    let two = second(&one);
    let empty = one.size();
    let mutex = one.get_or_create_with("m", ginnel_object::mutex::Init(Some(5_u64))).expect("made");
    let other: Mutex<u64> = two.get("m").expect("no error").expect("found");
    assert!(one.size() > empty);
    assert!(two.remove("m").expect("names"));
    assert!(!two.remove("m").expect("names"));
    drop::<Mutex<u64>>(mutex);
    assert_eq!(*other.lock().expect("whole"), 5);
    drop(other);
    assert_eq!(one.size(), empty, "the last hold frees the pages");
    drop(one.get_or_create::<Mutex<u64>>("n").expect("made"));
    assert!(one.size() > empty, "the name holds it");
    assert_eq!(*one.get::<Mutex<u64>>("n").expect("names").expect("found").lock().expect("whole"), 0);
}

#[test]
fn what_nobody_can_satisfy_is_refused_before_anything_is_touched() {
    let manager = manager();
    let empty = manager.size();
    assert_eq!(Manager::new(0).expect_err("no limit").kind(), ErrorKind::Invalid);
    assert!(matches!(
        Manager::new(usize::MAX / 2).expect_err("absurd").kind(),
        ErrorKind::TooLarge | ErrorKind::Full
    ));
    assert_eq!(spsc::channel::<u64>(0).expect_err("no room").kind(), ErrorKind::Invalid);
    assert_eq!(spsc::channel::<u64>(usize::MAX).expect_err("absurd").kind(), ErrorKind::TooLarge);
    let full = spsc::Options::new().capacity(2 << 20).producer::<u64>(&manager, "large").expect_err("limit");
    assert!(full.is_full(), "{full}");
    for name in ["", &"x".repeat(65)] {
        assert_eq!(manager.get::<Mutex<u64>>(name).expect_err("name").kind(), ErrorKind::Invalid);
    }
    let mut left = Vec::new();
    while let Ok(mutex) = manager.create::<Mutex<u64>>() {
        left.push(mutex);
    }
    assert_eq!(left.len(), 16);
    assert!(manager.create::<Mutex<u64>>().expect_err("directory").is_full());
    left.clear();
    assert_eq!(manager.size(), empty, "nothing half-made stays behind");
    let (mut tx, _rx) = spsc::bytes(4096).expect("lane");
    let large = ginnel_object::Error::from(tx.try_send(&[0; 4096]).expect_err("never fits"));
    assert_eq!(large.kind(), ErrorKind::TooLarge);
    for len in [4096, u32::MAX as usize, usize::MAX - 7, usize::MAX] {
        let large = ginnel_object::Error::from(tx.claim(len).expect_err("never fits"));
        assert_eq!(large.kind(), ErrorKind::TooLarge, "{len}");
    }
}

#[test]
fn a_mutex_excludes_and_says_when_it_is_taken_twice() {
    let mutex = Mutex::new(0_u64).expect("made");
    let guard = mutex.lock().expect("free");
    assert_eq!(mutex.lock().expect_err("own").kind(), ErrorKind::Deadlock);
    let other = mutex.clone();
    let timed_out = std::thread::spawn(move || other.lock_timeout(Duration::from_millis(5)).map(drop));
    let error = timed_out.join().expect("no panic").expect_err("held");
    assert!(error.is_timeout() && error.owner().expect("known").pid == std::process::id(), "{error}");
    assert!(mutex.owner().is_some());
    drop(guard);
    assert!(mutex.owner().is_none());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mutex = mutex.clone();
            std::thread::spawn(move || (0..10_000).for_each(|_| *mutex.lock().expect("whole") += 1))
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(*mutex.lock().expect("free"), 40_000);
}

#[test]
fn a_token_keeps_its_object_alive_and_is_good_once() {
    use ginnel_object::transit;
    let one = manager();
    let two = second(&one);
    let empty = one.size();
    let mutex = one.create_with(ginnel_object::mutex::Init(Some(7_u64))).expect("made");
    let token = transit::issue(&mutex).expect("a ticket");
    drop::<Mutex<u64>>(mutex);
    assert!(one.size() > empty, "the ticket holds it");
    let token = transit::Token::from_bytes(token.to_bytes());
    assert!(transit::redeem::<Mutex<u64>>(&manager(), token).expect_err("elsewhere").is_mismatch());
    let mutex: Mutex<u64> = transit::redeem(&two, token).expect("good");
    assert_eq!(*mutex.lock().expect("whole"), 7);
    assert!(transit::redeem::<Mutex<u64>>(&two, token).expect_err("used up").is_not_found());
    let token = transit::issue(&mutex).expect("a ticket");
    drop(mutex);
    assert!(transit::discard(&one, token).expect("here"));
    assert!(!transit::discard(&one, token).expect("here"));
    assert_eq!(one.size(), empty, "nothing holds it any more");
}
