//! Exclusive ends on their way: what can be seen of it within one process, with two participants of one manager. Kills are
//! in `moving_deaths`.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use ginnel_object::error::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use ginnel_object::manager::Options as ManagerOptions;
use ginnel_object::queue::{self, Queue};
use ginnel_object::select::Select;
use ginnel_object::spsc::{self, Consumer, Payload, Producer};
use ginnel_object::{ErrorKind, Manager, Message, Object, mpsc, transit};
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(60);

/// The same manager, as two participants see it.
fn managers() -> (Manager, Manager) {
    let options = ManagerOptions::new().limit(64 << 20).objects(64).participants(4);
    let here = Manager::with(options).expect("a manager");
    let there = Manager::from_fd(here.as_fd().try_clone_to_owned().expect("dup")).expect("attached");
    (here, there)
}

/// Both ends of a lane without a name, held by the first manager.
fn lane<T: Payload + ?Sized>(manager: &Manager, options: &spsc::Options) -> spsc::Ends<T> {
    let ends =
        (options.producer(manager, "lane").expect("made"), options.consumer(manager, "lane").expect("made"));
    assert!(manager.remove("lane").expect("removed"));
    ends
}

fn numbers(manager: &Manager) -> spsc::Ends<u64> {
    lane(manager, &spsc::Options::new().capacity(100))
}

/// A queue of them, as both see it.
fn post<T: Message>(here: &Manager, there: &Manager) -> (Queue<T>, Queue<T>) {
    let queue = here.get_or_create_with("post", queue::Options::bounded(8)).expect("made");
    let same = there.get("post").expect("found").expect("there");
    assert!(here.remove("post").expect("removed"));
    (queue, same)
}

/// Nothing is left but what the caller holds.
fn assert_objects(manager: &Manager, expected: usize) {
    let objects = manager.inspect().objects;
    assert_eq!(objects.len(), expected, "{objects:?}");
}

#[test]
fn a_producer_moves_and_its_consumer_notices_nothing() {
    let _watchdog = Watchdog::new("producer", LIMIT);
    let (here, there) = managers();
    let (mut tx, mut rx) = numbers(&here);
    let (out, inbox) = post::<(u32, Producer<u64>)>(&here, &there);
    tx.send_many(&[1, 2, 3]).expect("room");
    assert_eq!(rx.recv().expect("sent"), 1);
    out.send((7, tx)).expect("room");
    assert_eq!(rx.recv().expect("sent"), 2);
    assert!(!rx.is_closed(), "it is on its way");
    let (seven, mut tx) = inbox.recv().expect("sent");
    assert_eq!(seven, 7);
    tx.send_many(&[4, 5]).expect("room");
    assert_eq!([rx.recv(), rx.recv(), rx.recv()].map(|got| got.expect("sent")), [3, 4, 5]);
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
    drop((rx, out, inbox));
    assert_objects(&here, 0);
}

#[test]
fn a_consumer_moves_with_everything_that_waits_for_it() {
    let _watchdog = Watchdog::new("consumer", LIMIT);
    let (here, there) = managers();
    let (mut tx, mut rx) = lane::<[u8]>(&here, &spsc::Options::new().size(4096));
    let (out, inbox) = post::<Consumer<[u8]>>(&here, &there);
    let mut next = 0;
    for number in 0..100_u8 {
        tx.send(&vec![number; usize::from(number)]).expect("a receiver");
        if number % 10 == 9 {
            for _ in 0..8 {
                assert_eq!(rx.recv().expect("sent").len(), next, "in order");
                next += 1;
            }
            out.send(rx).expect("room");
            inbox.send(inbox.recv().expect("sent")).expect("room");
            rx = out.recv().expect("sent on");
        }
    }
    // There and back ten times, and the ring has gone round meanwhile.
    tx.close();
    let rest: Vec<_> = std::iter::from_fn(|| rx.next().expect("no error").map(|loan| loan.len())).collect();
    assert_eq!(rest, (80..100).collect::<Vec<_>>());
}

#[test]
fn an_end_that_was_sent_can_only_be_dropped() {
    let _watchdog = Watchdog::new("husk", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let token = transit::issue(&tx).expect("free");
    let mut husk = tx;
    let refused = |error: ginnel_object::Error| {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("was sent"), "{error}");
    };
    match husk.send(1) {
        Err(SendError::Failed(1, error)) => refused(error),
        other => panic!("{other:?}"),
    }
    assert!(matches!(husk.try_send(1), Err(TrySendError::Failed(1, _))));
    refused(transit::issue(&husk).expect_err("gone"));
    refused(Select::new().on_send(&husk, ()).wait().expect_err("gone"));
    let mut tx: Producer<u64> = transit::redeem(&there, token).expect("under way");
    tx.send(1).expect("room");
    drop(husk);
    tx.send(2).expect("the husk took nothing along");
    assert_eq!([rx.recv(), rx.recv()].map(|got| got.expect("sent")), [1, 2]);
    let token = transit::issue(&rx).expect("free");
    match rx.recv() {
        Err(RecvError::Failed(error)) => refused(error),
        other => panic!("{other:?}"),
    }
    assert!(transit::discard(&there, token).expect("attached"));
    assert!(matches!(tx.send(3), Err(SendError::Closed(3))));
}

#[test]
fn an_end_that_comes_back_is_whole_and_what_was_left_of_it_closes_nothing() {
    let _watchdog = Watchdog::new("back", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let mut husks = vec![tx];
    for round in 0..3 {
        let token = transit::issue(husks.last().expect("one")).expect("free");
        let elsewhere: Producer<u64> = transit::redeem(&there, token).expect("under way");
        let token = transit::issue(&elsewhere).expect("free");
        let mut back: Producer<u64> = transit::redeem(&here, token).expect("under way");
        drop(elsewhere);
        back.send(round).expect("room");
        husks.push(back);
    }
    let last = husks.pop().expect("the last");
    drop(husks);
    assert!(!rx.is_closed());
    drop(last);
    let got: Vec<u64> = std::iter::from_fn(|| rx.next().expect("no error").map(|loan| *loan)).collect();
    assert_eq!(got, [0, 1, 2]);
}

#[test]
fn what_was_not_sent_is_whole_again() {
    let _watchdog = Watchdog::new("stay", LIMIT);
    let (here, _there) = managers();
    let (tx, mut rx) = numbers(&here);
    let full =
        here.get_or_create_with::<Queue<Producer<u64>>>("full", queue::Options::bounded(1)).expect("made");
    let (other, _other_rx) = spsc_in(&here, "other");
    full.send(other).expect("room");
    let mut tx = match full.try_send(tx) {
        Err(TrySendError::Full(tx)) => tx,
        other => panic!("{other:?}"),
    };
    tx.send(1).expect("whole");
    assert_eq!(rx.recv().expect("sent"), 1);

    /// Encodes the end, and then fails.
    #[derive(Debug, Deserialize)]
    struct Broken(Producer<u64>);

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::Error;
            Serialize::serialize(&self.0, serializer)?;
            Err(S::Error::custom("broken"))
        }
    }
    let broken =
        here.get_or_create_with::<Queue<Broken>>("broken", queue::Options::bounded(1)).expect("made");
    let mut tx = match broken.send(Broken(tx)) {
        Err(SendError::Failed(Broken(tx), error)) if error.kind() == ErrorKind::Encode => tx,
        other => panic!("{other:?}"),
    };
    tx.send(2).expect("whole");
    assert_eq!(rx.recv().expect("sent"), 2);
    // Twice in one message: the second is refused, and the first stays as well.
    let twice = here.get_or_create_with::<Queue<Twice>>("twice", queue::Options::bounded(1)).expect("made");
    let tx = match twice.send(Twice(tx)) {
        Err(SendError::Failed(Twice(tx), error)) => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("was sent"), "{error}");
            tx
        }
        other => panic!("{other:?}"),
    };
    drop(tx);
    assert!(matches!(rx.recv(), Err(RecvError::Closed)));
}

/// Names its end twice.
#[derive(Debug)]
struct Twice(Producer<u64>);

impl Serialize for Twice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, &self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(Producer<u64>, Producer<u64>)>::deserialize(deserializer).map(|(first, _)| Self(first))
    }
}

fn spsc_in(manager: &Manager, name: &str) -> spsc::Ends<u64> {
    let options = spsc::Options::new().capacity(8);
    (options.producer(manager, name).expect("made"), options.consumer(manager, name).expect("made"))
}

#[test]
fn an_end_that_nobody_will_receive_is_closed() {
    let _watchdog = Watchdog::new("lost", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let (out, inbox) = post::<Producer<u64>>(&here, &there);
    let waiting = thread::spawn(move || rx.recv());
    out.send(tx).expect("room");
    drop(out);
    drop(inbox);
    assert!(matches!(waiting.join().expect("no panic"), Err(RecvError::Closed)));
    let (mut tx, rx) = numbers(&here);
    let (out, inbox) = post::<Consumer<u64>>(&here, &there);
    let waiting = thread::spawn(move || (0..).find_map(|number| tx.send(number).err()));
    out.send(rx).expect("room");
    drop((inbox, out));
    assert!(matches!(waiting.join().expect("no panic"), Some(SendError::Closed(_))));
    assert_objects(&here, 0);
}

#[test]
fn a_name_opens_an_end_again_but_not_one_on_its_way() {
    let _watchdog = Watchdog::new("named", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = spsc_in(&here, "lane");
    let token = transit::issue(&tx).expect("free");
    let taken = there.get::<Producer<u64>>("lane").expect_err("on its way");
    assert_eq!(taken.kind(), ErrorKind::Taken);
    assert!(transit::discard(&there, token).expect("attached"));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Closed)));
    let mut tx = there.get::<Producer<u64>>("lane").expect("free").expect("there");
    tx.send(4).expect("room");
    assert_eq!(rx.recv().expect("sent"), 4);
    drop(tx);
    // A ticket of another journey does nothing to this one.
    let mut tx = here.get::<Producer<u64>>("lane").expect("free").expect("there");
    assert!(transit::redeem::<Producer<u64>>(&there, token).expect_err("used up").is_not_found());
    tx.send(5).expect("room");
    assert_eq!(rx.recv().expect("sent"), 5);
}

#[test]
fn a_token_is_redeemed_once() {
    let _watchdog = Watchdog::new("once", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let mut tx = Some(tx);
    for number in 0..200 {
        let token = transit::issue(tx.as_ref().expect("one")).expect("free");
        let got: Vec<Producer<u64>> = thread::scope(|scope| {
            let redeem = |manager| scope.spawn(move || transit::redeem::<Producer<u64>>(manager, token).ok());
            let threads = [redeem(&here), redeem(&here), redeem(&there)];
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        });
        let [mut one] = <[Producer<u64>; 1]>::try_from(got).expect("exactly one");
        one.send(number).expect("room");
        assert_eq!(rx.recv().expect("sent"), number);
        tx = Some(one);
    }
}

#[test]
fn the_wrong_type_is_refused_and_the_end_closed() {
    let _watchdog = Watchdog::new("mismatch", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let token = transit::issue(&tx).expect("free");
    assert!(transit::redeem::<Consumer<u64>>(&there, token).is_err(), "it is the other end");
    assert!(matches!(rx.recv_timeout(LIMIT), Err(RecvTimeoutError::Closed)));
    let (tx, mut rx) = numbers(&here);
    let token = transit::issue(&tx).expect("free");
    assert!(transit::redeem::<Producer<u32>>(&there, token).expect_err("of another type").is_mismatch());
    assert!(matches!(rx.recv_timeout(LIMIT), Err(RecvTimeoutError::Closed)));
}

#[test]
fn a_lease_refuses_ends_and_gives_the_message_back() {
    let _watchdog = Watchdog::new("lease", LIMIT);
    let (here, there) = managers();
    let (tx, mut rx) = numbers(&here);
    let (out, inbox) = post::<Producer<u64>>(&here, &there);
    out.send(tx).expect("room");
    for _ in 0..2 {
        match inbox.lease() {
            Err(RecvError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Invalid, "{error}"),
            other => panic!("{other:?}"),
        }
    }
    let mut tx = inbox.recv().expect("it came back");
    tx.send(1).expect("room");
    assert_eq!(rx.recv().expect("sent"), 1);
}

#[test]
fn ends_go_round_while_the_other_end_is_at_work() {
    let _watchdog = Watchdog::new("relay", LIMIT);
    const ROUNDS: u64 = 300;
    let (here, there) = managers();
    let (tx, rx) = numbers(&here);
    let (to_there, from_here) = post::<Producer<u64>>(&here, &there);
    let (to_here, from_there) = post::<Consumer<u64>>(&here, &there);
    to_there.send(tx).expect("room");
    to_here.send(rx).expect("room");
    thread::scope(|scope| {
        let producing = [(&here, &to_there), (&there, &from_here)].map(|(_, post)| {
            scope.spawn(move || {
                let mut sent = 0;
                while sent < ROUNDS {
                    let Ok(mut tx) = post.recv_timeout(LIMIT) else { break };
                    let Ok(()) = tx.send(sent) else { break };
                    sent += 1;
                    if post.send(tx).is_err() {
                        break;
                    }
                }
                sent
            })
        });
        let consuming = [&to_here, &from_there].map(|post| {
            scope.spawn(move || {
                let mut got = 0;
                while got < ROUNDS {
                    let Ok(mut rx) = post.recv_timeout(LIMIT) else { break };
                    let Ok(_) = rx.recv_timeout(LIMIT) else { break };
                    got += 1;
                    if post.send(rx).is_err() {
                        break;
                    }
                }
                got
            })
        });
        for thread in producing.into_iter().chain(consuming) {
            assert_eq!(thread.join().expect("no panic"), ROUNDS);
        }
    });
    drop((to_there, from_here, to_here, from_there));
    assert_objects(&here, 0);
}

#[test]
fn the_receiver_and_the_senders_of_a_channel_move() {
    let _watchdog = Watchdog::new("mpsc", LIMIT);
    let (here, there) = managers();
    let options = mpsc::Options::new().capacity(16).senders(3);
    let mut first: mpsc::Sender<String> = options.sender(&here, "many").expect("made");
    let inbox: mpsc::Receiver<String> = options.receiver(&here, "many").expect("made");
    assert!(here.remove("many").expect("removed"));
    let (out, letters) = post::<(mpsc::Sender<String>, mpsc::Receiver<String>)>(&here, &there);
    first.send("before".to_owned()).expect("room");
    let (kept, inbox) = {
        let kept = first.try_clone().expect("a lane");
        out.send((first, inbox)).expect("room");
        (kept, letters.recv().expect("sent"))
    };
    let (mut moved, mut inbox) = inbox;
    moved.send("there".to_owned()).expect("room");
    drop(kept);
    assert_eq!(inbox.senders(), 1);
    let mut got = [inbox.recv().expect("sent"), inbox.recv().expect("sent")];
    got.sort();
    assert_eq!(got, ["before", "there"]);
    // One that is only in a message keeps the channel open.
    let token = transit::issue(&moved).expect("a lane is free");
    drop(moved);
    assert!(matches!(inbox.try_recv(), Err(TryRecvError::Empty)));
    let mut again: mpsc::Sender<String> = transit::redeem(&here, token).expect("under way");
    again.send("again".to_owned()).expect("room");
    assert_eq!(inbox.recv().expect("sent"), "again");
    let token = transit::issue(&again).expect("a lane is free");
    drop(again);
    assert!(transit::discard(&there, token).expect("attached"));
    assert!(matches!(inbox.recv(), Err(RecvError::Closed)));
}

#[test]
fn handles_mean_something_only_inside_messages() {
    let (here, _there) = managers();
    let (tx, _rx) = numbers(&here);
    assert!(serde_json::to_string(&tx).is_err());
    fn is_object<T: Object>() {}
    is_object::<Producer<u64>>();
}
