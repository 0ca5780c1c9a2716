//! Typed pipes: between threads, between processes, and what is left when one of them is gone.

use std::thread;
use std::time::{Duration, Instant};

use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::event::Event;
use ginnel_object::select::Select;
use ginnel_object::spsc::Wait;
use ginnel_object::{ErrorKind, Manager, Message, Queue, Raw, Result};
use ginnel_pipe::{Options, Pipe, Receiver, Sender, pipe, simplex};
use ginnel_process::{Process, ProcessError};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

/// Longer than anybody waits for what is there.
const LONG: Duration = Duration::from_secs(60);

/// Shorter than anybody waits for what never comes.
const SHORT: Duration = Duration::from_millis(5);

/// Text of a length that depends on the number: most of it short, some longer than the smallest ring.
fn text(number: u64) -> String {
    let len = if number.is_multiple_of(17) { 20_000 + number * 13 % 7001 } else { number * 37 % 501 };
    "x".repeat(len as usize)
}

fn small() -> Options {
    Options::new().size(4096)
}

#[test]
fn messages_of_all_lengths_arrive_in_order() {
    let _watchdog = watchdog("lengths");
    for wait in [Wait::Adaptive, Wait::Sleep, Wait::Spin] {
        let (mut ours, mut theirs) =
            Pipe::<(u64, String), u64>::pair_with(&small().wait(wait)).expect("a pipe");
        let echo = thread::spawn(move || {
            let mut seen = 0;
            while let Some((number, letters)) = theirs.next().expect("alive") {
                assert_eq!((number, letters), (seen, text(seen)));
                theirs.send(number).expect("alive");
                seen += 1;
            }
            seen
        });
        for number in 0..300 {
            ours.send((number, text(number))).expect("alive");
            assert_eq!(ours.recv().expect("alive"), number);
        }
        ours.close();
        assert_eq!(echo.join().expect("no panic"), 300);
    }
}

#[test]
fn batches_arrive_whole_and_what_is_long_goes_between_them() {
    let _watchdog = watchdog("batches");
    let (mut tx, mut rx) = small().channel::<String>().expect("a simplex");
    let sender = thread::spawn(move || {
        let mut values: Vec<_> = (0..2000).map(text).collect();
        tx.send_many(&mut values).expect("alive");
        assert!(values.is_empty());
    });
    let mut received = Vec::new();
    while received.len() < 2000 {
        let before = received.len();
        let count = rx.recv_many(&mut received, 64).expect("alive");
        assert!((1..=64).contains(&count) && received.len() == before + count);
    }
    assert!(received.iter().zip(0..).all(|(letters, number)| *letters == text(number)));
    sender.join().expect("no panic");
    assert!(rx.recv_many(&mut received, 1).expect_err("closed").is_closed());
    assert_eq!(rx.recv_many(&mut received, 0).expect("nothing was asked for"), 0);
}

#[test]
fn what_was_not_sent_of_a_batch_stays() {
    let (mut tx, rx) = simplex::<u32>().expect("a simplex");
    drop(rx);
    let mut values = vec![1, 2, 3];
    assert!(tx.send_many(&mut values).expect_err("closed").is_closed());
    assert_eq!(values, [1, 2, 3]);
}

#[test]
fn closing_is_told_after_the_last_message_in_every_form() {
    let (mut ours, mut theirs) = pipe::<u32>().expect("a pipe");
    assert!(matches!(ours.try_recv(), Err(TryRecvError::Empty)));
    assert!(matches!(ours.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)));
    assert!(matches!(ours.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout)));
    theirs.send(1).expect("alive");
    theirs.send(2).expect("alive");
    theirs.close();
    assert!(ours.is_closed());
    assert!(matches!(ours.send(7), Err(SendError::Closed(7))));
    assert!(matches!(ours.try_send(7), Err(TrySendError::Closed(7))));
    assert!(matches!(ours.send_timeout(7, LONG), Err(SendTimeoutError::Closed(7))));
    assert_eq!(ours.iter().map(|value| value.expect("alive")).collect::<Vec<_>>(), [1, 2]);
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
    assert!(matches!(ours.try_recv(), Err(TryRecvError::Closed)));
    assert!(matches!(ours.recv_timeout(LONG), Err(RecvTimeoutError::Closed)));
    assert_eq!(ours.next().expect("an end, not an accident"), None);
}

#[test]
fn halves_close_one_after_the_other() {
    let (ours, theirs) = pipe::<u32>().expect("a pipe");
    let (mut tx, mut rx) = ours.split();
    let (mut back, mut inbox) = theirs.split();
    tx.send(1).expect("alive");
    drop(tx);
    assert_eq!(inbox.recv().expect("sent before"), 1);
    assert!(matches!(inbox.recv(), Err(RecvError::Closed)));
    back.send(2).expect("the other direction is open");
    assert_eq!(rx.recv().expect("sent"), 2);
    drop(rx);
    assert!(matches!(back.send(3), Err(SendError::Closed(3))));
}

#[test]
fn a_full_pipe_says_so_and_waits() {
    let _watchdog = watchdog("full");
    let (mut tx, mut rx) = small().channel::<Raw<[u8; 512]>>().expect("a simplex");
    let mut sent = 0;
    while tx.try_send(Raw([sent; 512])).is_ok() {
        sent += 1;
    }
    assert!(sent >= 6, "{sent} messages in a page");
    assert!(matches!(tx.try_send(Raw([0; 512])), Err(TrySendError::Full(_))));
    assert!(matches!(tx.send_timeout(Raw([0; 512]), SHORT), Err(SendTimeoutError::Timeout(_))));
    let waiting = thread::spawn(move || tx.send(Raw([sent; 512])).map_err(drop));
    for number in 0..=sent {
        assert_eq!(rx.recv().expect("alive"), Raw([number; 512]));
    }
    waiting.join().expect("no panic").expect("there was room at last");
}

#[test]
fn poll_looks_waits_and_gathers() {
    let _watchdog = watchdog("poll");
    let (mut tx, mut rx) = small().channel::<String>().expect("a simplex");
    assert!(!rx.poll(Duration::ZERO).expect("alive"));
    assert!(!rx.poll(SHORT).expect("alive"));
    tx.send("short".into()).expect("alive");
    assert!(rx.poll(Duration::ZERO).expect("alive"));
    assert!(rx.poll(LONG).expect("alive"), "looking takes nothing");
    assert_eq!(rx.recv().expect("alive"), "short");
    let long = thread::spawn(move || tx.send("y".repeat(100_000)));
    assert!(rx.poll(LONG).expect("alive"), "the parts come in while it waits");
    long.join().expect("no panic").expect("it needed nobody to receive");
    assert_eq!(rx.len(), 1);
    assert_eq!(rx.try_recv().expect("all of it is here").len(), 100_000);
    assert!(rx.poll(LONG).expect("alive"), "the end is something to see");
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_long_message_that_times_out_was_not_sent() {
    let _watchdog = watchdog("half");
    let (mut tx, mut rx) = small().channel::<String>().expect("a simplex");
    for round in 0..3 {
        let half = tx.send_timeout("half".repeat(10_000), SHORT);
        assert!(matches!(half, Err(SendTimeoutError::Timeout(value)) if value.len() == 40_000));
        assert!(matches!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)), "it is not whole");
        match round {
            0 => tx.send("whole".into()).expect("room"),
            1 => thread::scope(|scope| {
                scope.spawn(|| tx.send("w".repeat(30_000)).expect("room in time"));
                assert_eq!(rx.recv().expect("the next one").len(), 30_000);
                drop(rx.try_recv());
            }),
            _ => break,
        }
        if round == 0 {
            assert_eq!(rx.recv().expect("the next one"), "whole");
        }
    }
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Closed)), "what was begun is dropped");
}

#[test]
fn a_receiver_that_times_out_keeps_what_came() {
    let _watchdog = watchdog("keeps");
    let (mut tx, mut rx) = small().channel::<String>().expect("a simplex");
    let (begun, go) = (Event::new().expect("an event"), Event::new().expect("an event"));
    thread::scope(|scope| {
        scope.spawn(|| {
            begun.wait();
            tx.send("z".repeat(50_000)).expect("alive");
            go.set();
        });
        begun.set();
        let mut waits = 0;
        let letters = loop {
            match rx.recv_timeout(Duration::from_micros(50)) {
                Ok(letters) => break letters,
                Err(RecvTimeoutError::Timeout) => waits += 1,
                Err(other) => panic!("{other} after {waits} waits"),
            }
        };
        assert_eq!(letters, "z".repeat(50_000));
        go.wait();
    });
}

#[test]
fn what_is_too_long_is_refused_and_nothing_is_sent() {
    let (mut tx, mut rx) = small().max_message(10_000).channel::<String>().expect("a simplex");
    assert_eq!((tx.max_message(), rx.max_message()), (10_000, 10_000));
    let Err(SendError::Failed(back, why)) = tx.send("x".repeat(10_001)) else { panic!("it was sent") };
    assert_eq!((back.len(), why.kind()), (10_001, ErrorKind::TooLarge));
    let refused = tx.try_send("x".repeat(5_000));
    assert!(
        matches!(&refused, Err(TrySendError::Failed(_, why)) if why.kind() == ErrorKind::TooLarge),
        "not without waiting: {refused:?}"
    );
    tx.try_send("x".repeat(1_500)).expect("longer than a part, but there is room for it");
    assert_eq!(rx.try_recv().expect("whole").len(), 1_500);
    assert!(rx.is_empty() && tx.is_empty());
}

#[test]
fn sizes_that_nobody_can_have_are_refused() {
    let refused =
        |size| Options::new().size(size).channel::<u8>().map(drop).expect_err("no such size").kind();
    assert_eq!(refused(0), ErrorKind::Invalid);
    assert_eq!(refused(1 << 32), ErrorKind::TooLarge);
}

#[test]
fn select_sees_messages_room_and_the_end() {
    let _watchdog = watchdog("select");
    let (mut ours, mut theirs) = Pipe::<Raw<[u8; 900]>>::pair_with(&small()).expect("a pipe");
    let other = Event::new().expect("an event");
    {
        let select = Select::new().on(&ours, 1).on(&other, 2);
        assert_eq!(select.wait_timeout(SHORT).expect("waits"), None);
        thread::scope(|scope| {
            scope.spawn(|| theirs.send(Raw([1; 900])).expect("alive"));
            assert_eq!(select.wait().expect("waits"), 1);
        });
    }
    ours.recv().expect("it was ready");
    while ours.try_send(Raw([2; 900])).is_ok() {}
    {
        let select = Select::new().on_send(&ours, 3).on(&other, 2);
        assert_eq!(select.wait_timeout(SHORT).expect("waits"), None);
        thread::scope(|scope| {
            scope.spawn(|| while theirs.try_recv().is_ok() {});
            assert_eq!(select.wait().expect("waits"), 3);
        });
    }
    drop(theirs);
    assert_eq!(Select::new().on(&ours, 4).on(&other, 2).wait().expect("waits"), 4);
    assert!(matches!(ours.recv(), Err(RecvError::Closed)));
}

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u64,
    filler: String,
    answer: Sender<u64>,
    also: Queue<u64>,
}

#[test]
fn handles_travel_in_messages_of_any_length() {
    let _watchdog = watchdog("handles");
    let (mut ours, mut theirs) = Pipe::<Order, u8>::pair_with(&small()).expect("a pipe");
    let also = Queue::bounded(8).expect("a queue");
    let worker = thread::spawn(move || {
        while let Some(mut order) = theirs.next().expect("alive") {
            order.answer.send(order.number + order.filler.len() as u64).expect("alive");
            order.also.send(order.number).expect("alive");
        }
    });
    for (number, len) in [(0, 0), (1, 900), (2, 1000), (3, 1100), (4, 70_000), (5, 3)] {
        let (answer, mut answers) = simplex().expect("a simplex");
        let order = Order { number, filler: "f".repeat(len), answer, also: also.clone() };
        ours.send(order).expect("alive");
        assert_eq!(answers.recv().expect("alive"), number + len as u64);
        assert_eq!(also.recv().expect("alive"), number);
        assert!(matches!(answers.recv(), Err(RecvError::Closed)), "the worker dropped it");
    }
    drop(ours);
    worker.join().expect("no panic");
}

#[test]
fn handles_that_were_not_sent_come_back_whole() {
    let _watchdog = watchdog("back");
    let (mut tx, mut rx) = small().channel::<Order>().expect("a simplex");
    let (answer, mut answers) = simplex().expect("a simplex");
    let order =
        Order { number: 1, filler: "f".repeat(70_000), answer, also: Queue::bounded(1).expect("a queue") };
    let Err(SendTimeoutError::Timeout(mut order)) = tx.send_timeout(order, SHORT) else {
        panic!("nobody receives")
    };
    order.answer.send(9).expect("it is ours again");
    assert_eq!(answers.recv().expect("alive"), 9);
    assert!(matches!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout)));
    drop(rx);
    let Err(SendError::Closed(order)) = tx.send(order) else { panic!("nobody is there") };
    drop(order);
    assert!(matches!(answers.recv(), Err(RecvError::Closed)));
}

#[test]
fn an_end_that_was_sent_is_of_no_use_here() {
    let (ours, theirs) = pipe::<u32>().expect("a pipe");
    let (mut letters, mut mailbox) = simplex::<Pipe<u32>>().expect("a simplex");
    letters.send(theirs).expect("alive");
    let mut theirs = mailbox.recv().expect("alive");
    let mut ours = ours;
    ours.send(1).expect("alive");
    assert_eq!(theirs.recv().expect("alive"), 1, "it goes on where it came to");
    theirs.send(2).expect("alive");
    assert_eq!(ours.recv().expect("alive"), 2);
}

#[test]
fn an_end_in_the_middle_of_a_message_stays_here() {
    let _watchdog = watchdog("middle");
    let (mut tx, mut rx) = small().channel::<String>().expect("a simplex");
    drop(tx.send_timeout("half".repeat(10_000), SHORT));
    assert!(!rx.poll(SHORT).expect("alive"));
    let (mut letters, _mailbox) = simplex::<Receiver<String>>().expect("a simplex");
    let Err(SendError::Failed(mut rx, why)) = letters.send(rx) else { panic!("it went") };
    assert_eq!(why.kind(), ErrorKind::Invalid, "{why}");
    tx.send("whole".into()).expect("room");
    assert_eq!(rx.recv().expect("alive"), "whole");
    letters.send(rx).expect("now it may go");
}

#[test]
fn an_end_does_not_go_through_its_own_pipe() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Own(Receiver<Own>);
    let (mut tx, rx) = simplex::<Own>().expect("a simplex");
    let Err(SendError::Failed(_, why)) = tx.send(Own(rx)) else { panic!("it went") };
    assert_eq!(why.kind(), ErrorKind::Invalid, "{why}");
}

// Processes.

fn double(mut numbers: Pipe<u64>) -> Result<u64> {
    let mut done = 0;
    while let Some(number) = numbers.next()? {
        numbers.send(2 * number)?;
        done += 1;
    }
    Ok(done)
}

#[test]
fn an_end_moves_to_a_child() {
    let _watchdog = watchdog("child");
    let (mut ours, theirs) = pipe::<u64>().expect("a pipe");
    let child = Process::spawn(double, theirs).expect("a child");
    for number in 0..1000 {
        ours.send(number).expect("alive");
        assert_eq!(ours.recv().expect("alive"), 2 * number);
    }
    ours.close();
    assert_eq!(child.join().expect("in order").expect("no error"), 1000);
}

fn talk(mut words: Sender<String>) -> Result<()> {
    (0..500).try_for_each(|number| Ok(words.send(text(number))?))
}

fn listen(mut words: Receiver<String>) -> Result<u64> {
    let mut number = 0;
    while let Some(word) = words.next()? {
        assert_eq!(word, text(number));
        number += 1;
    }
    Ok(number)
}

#[test]
fn two_children_talk_through_a_pipe_that_the_parent_only_made() {
    let _watchdog = watchdog("two children");
    let (tx, rx) = small().channel().expect("a simplex");
    let listener = Process::spawn(listen, rx).expect("a child");
    let talker = Process::spawn(talk, tx).expect("a child");
    talker.join().expect("in order").expect("no error");
    assert_eq!(listener.join().expect("in order").expect("no error"), 500);
}

fn relay(mut mailbox: Receiver<Pipe<u64>>) -> Result<u64> {
    double(mailbox.recv()?)
}

#[test]
fn an_end_goes_through_a_pipe_to_a_child() {
    let _watchdog = watchdog("through a pipe");
    let (mut letters, mailbox) = simplex().expect("a simplex");
    let child = Process::spawn(relay, mailbox).expect("a child");
    let (mut ours, theirs) = pipe::<u64>().expect("a pipe");
    ours.send(1).expect("the other end is still here");
    letters.send(theirs).expect("alive");
    ours.send(2).expect("it is on its way, or there");
    assert_eq!((ours.recv().expect("alive"), ours.recv().expect("alive")), (2, 4));
    drop(ours);
    assert_eq!(child.join().expect("in order").expect("no error"), 2);
}

/// Sends a whole message, then the beginning of a long one, for which there is no room.
fn half(mut words: Sender<String>, begun: Event) -> Result<()> {
    words.send("whole".into())?;
    begun.set();
    words.send("h".repeat(1 << 20))?;
    Ok(())
}

/// Returns when the child does nothing any more.
fn stop<R: Message>(child: &Process<R>) {
    child.signal(19).expect("SIGSTOP");
    let stat = format!("/proc/{}/stat", child.pid());
    // pid (name) state ..; the name may hold anything.
    let state = || std::fs::read_to_string(&stat).expect("our child");
    while !state().rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_peer_killed_in_the_middle_of_a_long_message() {
    let _watchdog = watchdog("killed");
    for gathers in [false, true] {
        let (tx, mut rx) = small().channel().expect("a simplex");
        let begun = Event::new().expect("an event");
        let child = Process::spawn(half, (tx, &begun)).expect("a child");
        begun.wait();
        if gathers {
            assert_eq!(rx.recv().expect("sent before"), "whole");
            Select::new().on(&rx, ()).wait().expect("the first part");
            stop(&child);
            assert!(!rx.poll(Duration::ZERO).expect("alive"), "no more than the ring held");
        }
        // It cannot get to the end of it, as nobody makes room, or it is stopped.
        child.kill().expect("it is ours");
        assert!(matches!(child.join(), Err(ProcessError::Killed { signal: 9, .. })));
        if !gathers {
            assert_eq!(rx.recv().expect("sent before"), "whole");
        }
        let Err(RecvError::Failed(why)) = rx.recv() else { panic!("half a message") };
        assert_eq!(why.kind(), ErrorKind::PeerDied, "{why}");
        assert!(rx.next().is_err_and(|why| why.is_peer_dead()), "it stays so");
    }
}

fn sink(mut words: Receiver<String>, begun: Event) -> Result<()> {
    let _ = words.poll(SHORT);
    begun.set();
    loop {
        thread::park();
    }
}

#[test]
fn a_receiver_that_is_killed_ends_a_send() {
    let _watchdog = watchdog("receiver killed");
    let (mut tx, rx) = small().channel().expect("a simplex");
    let begun = Event::new().expect("an event");
    let child = Process::spawn(sink, (rx, &begun)).expect("a child");
    begun.wait();
    let sending = thread::spawn(move || tx.send("x".repeat(1 << 20)));
    child.kill().expect("it is ours");
    let Err(SendError::Failed(value, why)) = sending.join().expect("no panic") else { panic!("sent") };
    assert_eq!((value.len(), why.kind()), (1 << 20, ErrorKind::PeerDied), "{why}");
    drop(child.join());
}

#[test]
fn a_stopped_peer_is_a_timeout_and_goes_on() {
    let _watchdog = watchdog("stopped");
    let (mut ours, theirs) = pipe::<u64>().expect("a pipe");
    let child = Process::spawn(double, theirs).expect("a child");
    ours.send(1).expect("alive");
    assert_eq!(ours.recv().expect("alive"), 2);
    child.signal(19).expect("SIGSTOP");
    ours.send(2).expect("there is room");
    assert!(matches!(ours.recv_timeout(Duration::from_millis(100)), Err(RecvTimeoutError::Timeout)));
    assert!(!ours.is_closed(), "nothing is taken from the living");
    child.signal(18).expect("SIGCONT");
    assert_eq!(ours.recv().expect("alive"), 4);
    drop(ours);
    child.join().expect("in order").expect("no error");
}

#[test]
fn a_successor_skips_the_rest_of_what_another_had_begun() {
    let _watchdog = watchdog("successor");
    let manager = Manager::current().expect("an arena");
    let mut tx = manager.get_or_create_with::<Sender<String>>("successor", small()).expect("its end");
    let mut rx = manager.get::<Receiver<String>>("successor").expect("free").expect("there");
    loop {
        let sending = thread::spawn(move || {
            let sent = tx.send("h".repeat(1 << 20));
            (tx, sent)
        });
        Select::new().on(&rx, ()).wait().expect("waits");
        // It takes in what is there, and perhaps all, if the sender keeps pace.
        let all = rx.poll(Duration::ZERO).expect("alive");
        if !all {
            Select::new().on(&rx, ()).wait().expect("waits");
            drop(rx);
            let sent;
            (tx, sent) = sending.join().expect("no panic");
            assert!(matches!(sent, Err(SendError::Closed(value)) if value.len() == 1 << 20));
            break;
        }
        assert_eq!(rx.recv().expect("alive").len(), 1 << 20);
        tx = sending.join().expect("no panic").0;
    }
    let mut rx = manager.get::<Receiver<String>>("successor").expect("free").expect("there");
    thread::scope(|scope| {
        scope.spawn(|| tx.send("next".into()).expect("the successor makes room"));
        assert_eq!(rx.recv().expect("alive"), "next");
    });
    manager.remove("successor").expect("its name");
}

fn leave(mut words: Sender<u32>, how: u32) -> Result<()> {
    words.send(1)?;
    match how {
        0 => Ok(()),
        _ => panic!("the end is dropped on the way out"),
    }
}

#[test]
fn a_child_that_ends_by_itself_closes_in_order() {
    let _watchdog = watchdog("ends");
    for how in [0, 1] {
        let (tx, mut rx) = simplex().expect("a simplex");
        let child = Process::spawn(leave, (tx, how)).expect("a child");
        assert_eq!(rx.recv().expect("sent"), 1);
        assert!(matches!(rx.recv(), Err(RecvError::Closed)));
        drop(child.join());
    }
}
