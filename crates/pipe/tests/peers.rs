//! Two processes that need not trust each other, connected: messages of all kinds and lengths, ends, deaths, stops.
//!
//! Children are this test binary again, in a role (the test `peers_entry`). They connect to the listener of the test, so
//! that a connection is also the sign that a child is ready.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::line::PAGE;
use ginnel_object::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use ginnel_object::event::Event;
use ginnel_object::lock::Lock;
use ginnel_object::select::Select;
use ginnel_object::{Checked, Error, ErrorKind, Json, Manager, Message, Queue, Raw, Result};
use ginnel_pipe::{ConnectOptions, Listener, ListenerOptions, Peer, connect};
use ginnel_testkit::child::{self, Child, Exit, Role, fork_child};
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

const MIB: usize = 1 << 20;

/// The way in for roles; by itself it does nothing.
#[test]
fn peers_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let address: String = arguments.get(0).expect("an address");
    match name.as_str() {
        "echo" => echo(&address),
        "types" => types(&address),
        "long" => long(&address),
        "few" => few(&address),
        "silent" => silent(&address),
        "forked" => forked(&address),
        "sharer" => sharer(&address),
        "truster" => truster(&address),
        other => panic!("no role {other}"),
    }
    .expect("a role ends well");
}

/// A listener at a name of its own, and an end to all waits.
struct Place {
    listener: Listener,
    address: String,
    _dog: Watchdog,
}

impl Place {
    fn new(test: &str) -> Self {
        Self::with(test, ListenerOptions::new())
    }

    fn with(test: &str, options: ListenerOptions) -> Self {
        let address = format!("@ginnel-peers-{}-{test}", std::process::id());
        let listener = Listener::bind_with(&address, options).expect("a free name");
        Self { listener, address, _dog: Watchdog::new(test, LIMIT) }
    }

    /// Starts a role and accepts its connection.
    fn start<S: Message, R: Message>(&self, role: &str) -> (Child, Peer<S, R>) {
        let child = Role::new(role).through_test("peers_entry").arg(&self.address).spawn().expect("started");
        (child, self.listener.accept().expect("it connects"))
    }

    /// Two peers in this very process.
    fn pair<S: Message, R: Message>(&self) -> (Peer<S, R>, Peer<R, S>) {
        self.pair_with(&ConnectOptions::new())
    }

    fn pair_with<S: Message, R: Message>(&self, options: &ConnectOptions) -> (Peer<S, R>, Peer<R, S>) {
        thread::scope(|scope| {
            let client = scope.spawn(|| options.connect(&self.address));
            let ours = self.listener.accept().expect("it connects");
            (ours, client.join().expect("no panic").expect("connected"))
        })
    }
}

fn ended_well(mut child: Child) {
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
}

/// Sends back what it gets.
fn echo(address: &str) -> Result<()> {
    let mut peer: Peer<Vec<u8>> = connect(address)?;
    while let Some(message) = peer.next()? {
        peer.send(message)?;
    }
    Ok(())
}

#[test]
fn messages_of_all_lengths_come_back_as_they_were() {
    let place = Place::new("lengths");
    let (child, mut peer) = place.start::<Vec<u8>, Vec<u8>>("echo");
    assert_eq!(peer.credentials().pid, child.pid().as_raw().unsigned_abs());
    for len in [0, 1, 7, 8, 100, 4096, 64 << 10, (64 << 10) + 1, 300_000, MIB, 5 * MIB] {
        let message: Vec<u8> = (0..len).map(|index| (index * 7 % 251) as u8).collect();
        peer.send(message.clone()).expect("it lives");
        assert!(peer.recv().expect("it lives") == message, "{len} bytes");
    }
    peer.close();
    ended_well(child);
}

#[test]
fn more_than_the_ring_goes_both_ways() {
    let place = Place::with("both-ways", ListenerOptions::new().ring(PAGE));
    let (mut one, mut two) = place.pair_with::<Vec<u8>, Vec<u8>>(&ConnectOptions::new().ring(3 * PAGE));
    let messages: Vec<Vec<u8>> = (1..20_u8).map(|number| vec![number; usize::from(number) * 9999]).collect();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            for message in &messages {
                two.send(message.clone()).expect("it lives");
                assert!(two.recv().expect("it lives") == *message);
            }
        });
        for message in &messages {
            assert!(one.recv().expect("it lives") == *message);
            one.send(message.clone()).expect("it lives");
        }
        other.join().expect("no panic");
    });
}

/// One of each way to cross.
type Serde = (u32, Option<String>, Vec<f64>);

fn types(address: &str) -> Result<()> {
    let mut peer: Peer<Serde, Raw<[u32; 4]>> = connect(address)?;
    let Raw(numbers) = peer.recv()?;
    peer.send((numbers[3], Some("text".into()), vec![0.5]))?;
    let mut peer: Peer<Checked<bool>, Json<Serde>> = connect(address)?;
    let Json((number, text, _)) = peer.recv()?;
    peer.send(Checked(number == 4 && text.is_none()))?;
    Ok(())
}

#[test]
fn a_value_crosses_as_its_type_says() {
    let place = Place::new("types");
    let (child, mut peer) = place.start::<Raw<[u32; 4]>, Serde>("types");
    peer.send(Raw([1, 2, 3, 4])).expect("it lives");
    assert_eq!(peer.recv().expect("it lives"), (4, Some("text".into()), vec![0.5]));
    let mut peer: Peer<Json<Serde>, Checked<bool>> = place.listener.accept().expect("it connects again");
    peer.send(Json((4, None, vec![]))).expect("it lives");
    assert_eq!(peer.recv().expect("it lives"), Checked(true));
    ended_well(child);
    assert!(matches!(peer.recv(), Err(RecvError::Closed)));
}

#[test]
fn a_message_that_is_no_value_is_an_error_of_that_message_only() {
    let place = Place::with("decode", ListenerOptions::new().protocol("bytes"));
    let options = ConnectOptions::new().protocol("bytes");
    let (mut ours, mut theirs) = thread::scope(|scope| {
        let client = scope.spawn(|| options.connect::<Raw<u8>, u64>(&place.address).expect("connected"));
        let ours: Peer<u64, Checked<bool>> = place.listener.accept().expect("it connects");
        (ours, client.join().expect("no panic"))
    });
    for byte in [1, 2, 0] {
        theirs.send(Raw(byte)).expect("it lives");
    }
    assert_eq!(ours.recv().expect("true"), Checked(true));
    let Err(RecvError::Failed(why)) = ours.recv() else { panic!("2 is no bool") };
    assert_eq!(why.kind(), ErrorKind::Decode);
    assert_eq!(ours.recv().expect("false"), Checked(false));
    theirs.send(Raw(7)).expect("it lives");
    theirs.send(Raw(1)).expect("it lives");
    drop(theirs);
    let all: Vec<bool> = ours.iter().map(|one| one.is_ok()).collect();
    assert_eq!(all, [false, true]);
}

#[test]
fn handles_cannot_cross_and_the_error_says_so() {
    let place = Place::new("handles");
    let (mut one, _two) = place.pair::<Queue<u8>, ()>();
    let queue = Queue::bounded(2).expect("room");
    let Err(SendError::Failed(_, why)) = one.send(queue) else { panic!("no handle crosses") };
    assert_eq!(why.kind(), ErrorKind::Encode, "{why}");
}

#[test]
fn nobody_is_sent_more_than_it_takes() {
    let place = Place::with("too-large", ListenerOptions::new().max_message(1000));
    let (mut ours, mut theirs) = place.pair::<Vec<u8>, Vec<u8>>();
    let Err(SendError::Failed(value, why)) = theirs.send(vec![1; 999]) else { panic!("1001 bytes encoded") };
    assert_eq!((value.len(), why.kind()), (999, ErrorKind::TooLarge), "{why}");
    theirs.send(vec![1; 998]).expect("1000 bytes encoded");
    assert_eq!(ours.recv().expect("it lives").len(), 998);
}

#[test]
fn what_never_waits_says_full_or_too_large() {
    let place = Place::new("never-waits");
    let (mut one, mut two) = place.pair_with::<Vec<u8>, Vec<u8>>(&ConnectOptions::new().ring(4 * PAGE));
    let Err(TrySendError::Failed(_, why)) = two.try_send(vec![0; 3 * PAGE]) else {
        panic!("above half the ring")
    };
    assert_eq!(why.kind(), ErrorKind::TooLarge);
    assert!(matches!(one.try_recv(), Err(TryRecvError::Empty)));
    let mut sent = 0_u32;
    loop {
        match two.try_send(vec![sent as u8; 3000]) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full(value)) => break assert_eq!(value.len(), 3000),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(sent >= 3, "{sent}");
    for number in 0..sent {
        assert_eq!(one.try_recv().expect("it was sent"), vec![number as u8; 3000]);
    }
    two.try_send(vec![9; 6000]).expect("in parts, at once");
    assert_eq!(one.try_recv().expect("whole"), vec![9; 6000]);
}

#[test]
fn a_deadline_in_the_middle_of_a_message_drops_it_whole() {
    let place = Place::new("middle");
    let (mut one, mut two) = place.pair::<Vec<u8>, Vec<u8>>();
    let Err(SendTimeoutError::Timeout(value)) = one.send_timeout(vec![1; MIB], Duration::from_millis(20))
    else {
        panic!("nobody receives")
    };
    assert!(matches!(two.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout)));
    thread::scope(|scope| {
        scope.spawn(|| {
            one.send(vec![2; 10]).expect("it lives");
            one.send(value).expect("it lives");
        });
        assert_eq!(two.recv().expect("the next one"), vec![2; 10]);
        assert!(two.recv().expect("and the value that came back") == vec![1; MIB]);
    });
}

/// Begins a message that is longer than the ring, and is killed in it.
fn long(address: &str) -> Result<()> {
    let mut peer: Peer<Vec<u8>> = connect(address)?;
    peer.send(vec![1; 10])?;
    peer.send(vec![2; 8 * MIB])?;
    unreachable!("it is killed")
}

#[test]
fn a_peer_killed_in_the_middle_of_a_message_has_not_sent_it() {
    let place = Place::new("killed");
    let (mut child, mut peer) = place.start::<Vec<u8>, Vec<u8>>("long");
    assert_eq!(peer.recv().expect("it was whole"), vec![1; 10]);
    // It has nothing to wait for but room, which there is none of once the ring is full of parts.
    while !sleeps(&child) {
        assert_eq!(child.try_wait().expect("waited"), None);
    }
    assert_eq!(child.kill().expect("killed"), Exit::KILLED);
    let killed = Instant::now();
    let Err(RecvError::Failed(why)) = peer.recv() else { panic!("it was not whole") };
    assert!(why.is_peer_dead(), "{why}");
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let Err(RecvError::Failed(again)) = peer.recv() else { panic!("it stays so") };
    assert!(again.is_peer_dead());
    match peer.send(vec![0; 8 * MIB]) {
        Err(SendError::Failed(value, why)) => assert!(value.len() == 8 * MIB && why.is_peer_dead(), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Do all its threads sleep?
fn sleeps(child: &Child) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", child.pid())) else { return false };
    tasks
        .flatten()
        .all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stat.contains(") S ")))
}

/// Sends three, then leaves in order.
fn few(address: &str) -> Result<()> {
    let mut peer: Peer<u32, ()> = connect(address)?;
    for number in 0..3 {
        peer.send(number)?;
    }
    Ok(())
}

#[test]
fn who_leaves_in_order_is_heard_to_the_end() {
    let place = Place::new("order");
    let (child, mut peer) = place.start::<(), u32>("few");
    ended_well(child);
    assert!(peer.poll(Duration::ZERO).expect("no error"));
    assert_eq!(peer.iter().collect::<Result<Vec<u32>>>().expect("no error"), [0, 1, 2]);
    assert!(peer.poll(Duration::ZERO).expect("the end is there, too"));
    assert!(matches!(peer.recv(), Err(RecvError::Closed)));
    assert!(matches!(peer.try_recv(), Err(TryRecvError::Closed)));
    assert!(matches!(peer.send(()), Err(SendError::Closed(()))));
}

/// Says nothing until it is spoken to.
fn silent(address: &str) -> Result<()> {
    let mut peer: Peer<Vec<u8>> = connect(address)?;
    match peer.recv() {
        Ok(message) => Ok(peer.send(message)?),
        Err(_) => Ok(()),
    }
}

#[test]
fn a_peer_that_is_stopped_costs_a_deadline_and_goes_on_later() {
    let place = Place::new("stopped");
    let (child, mut peer) = place.start::<Vec<u8>, Vec<u8>>("silent");
    child.signal(Signal::SIGSTOP).expect("stopped");
    let soon = Duration::from_millis(60);
    assert!(matches!(peer.recv_timeout(soon), Err(RecvTimeoutError::Timeout)));
    let begun = Instant::now();
    assert!(peer.send_timeout(vec![1; MIB], soon).expect_err("it takes nothing").is_timeout());
    assert!(begun.elapsed() >= soon);
    assert!(!peer.poll(Duration::from_millis(1)).expect("it lives"));
    child.signal(Signal::SIGCONT).expect("continued");
    peer.send(vec![3; 3]).expect("it lives");
    assert_eq!(peer.recv().expect("it lives"), vec![3; 3]);
    ended_well(child);
}

/// One wait of each kind, which a death ends.
fn wait_until_dead(kind: u32, peer: &mut Peer<Vec<u8>>) {
    let is_dead = |why: Error| assert!(why.is_peer_dead(), "{kind}: {why}");
    match kind {
        0 => is_dead(peer.recv().expect_err("killed").into()),
        1 => is_dead(peer.send(vec![0; 8 * MIB]).expect_err("killed").into()),
        2 => is_dead(peer.poll(LIMIT).expect_err("killed")),
        3 => loop {
            match peer.try_recv() {
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Failed(why)) => break is_dead(why),
                other => panic!("{other:?}"),
            }
        },
        4 => {
            assert_eq!(Select::new().on(&*peer, 1).wait_timeout(LIMIT).expect("no error"), Some(1));
            is_dead(peer.recv().expect_err("killed").into());
        }
        _ => {
            let mut fds = [PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })), Ok(1));
            match peer.try_recv() {
                Err(TryRecvError::Failed(why)) => is_dead(why),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_killed_peer_ends_every_kind_of_wait() {
    let place = Place::new("kinds");
    for kind in 0..6 {
        let (mut child, mut peer) = place.start::<Vec<u8>, Vec<u8>>("silent");
        thread::scope(|scope| {
            let wait = scope.spawn(|| wait_until_dead(kind, &mut peer));
            child.kill().expect("killed");
            wait.join().expect("no panic");
        });
    }
}

#[test]
fn peers_are_waited_for_among_other_things() {
    let place = Place::new("select");
    let (mut one, mut two) = place.pair::<u32, u32>();
    let stop = Event::new().expect("room");
    let soon = Duration::from_millis(30);
    assert_eq!(Select::new().on(&one, 1).on(&stop, 2).wait_timeout(soon).expect("no error"), None);
    for round in 0..100 {
        thread::scope(|scope| {
            scope.spawn(|| two.send(round).expect("it lives"));
            assert_eq!(Select::new().on(&one, 1).on(&stop, 2).wait().expect("no error"), 1);
        });
        assert_eq!(one.try_recv().expect("it is there"), round);
    }
    stop.set();
    assert_eq!(Select::new().on(&one, 1).on(&stop, 2).wait().expect("no error"), 2);
    assert_eq!(Select::new().on_send(&one, 3).wait().expect("there is room"), 3);
    while one.try_send(7).is_ok() {}
    assert_eq!(Select::new().on_send(&one, 3).wait_timeout(soon).expect("no error"), None);
    thread::scope(|scope| {
        scope.spawn(|| while two.recv_timeout(soon).is_ok() {});
        assert_eq!(Select::new().on_send(&one, 3).wait().expect("there will be room"), 3);
    });
}

fn is_readable(peer: &Peer<u32>, seconds: i64) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).expect("polled") == 1
}

#[test]
fn the_socket_is_readable_while_something_may_be_there() {
    let place = Place::new("fd");
    let (mut one, mut two) = place.pair::<u32, u32>();
    two.send(1).expect("it lives");
    assert!(is_readable(&one, 60), "what came before anybody polled");
    assert_eq!(one.try_recv().ok(), Some(1));
    assert!(matches!(one.try_recv(), Err(TryRecvError::Empty)));
    assert!(!is_readable(&one, 0), "nothing is there, and it was drained");
    for round in 0..1000 {
        thread::scope(|scope| {
            scope.spawn(|| {
                two.send(round).expect("it lives");
                two.send(round).expect("it lives");
            });
            let mut got = 0;
            while got < 2 {
                assert!(is_readable(&one, 60), "round {round}");
                while let Ok(number) = one.try_recv() {
                    assert_eq!(number, round);
                    got += 1;
                }
            }
        });
    }
}

fn forked(address: &str) -> Result<()> {
    let mut inherited: Option<Peer<u32>> = Some(connect(address)?);
    let mut child = fork_child(|| {
        let mut peer = inherited.take().expect("inherited");
        let is_forked = |why: Error| assert!(why.is_forked(), "{why}");
        is_forked(peer.recv().expect_err("not ours").into());
        is_forked(peer.try_recv().expect_err("not ours").into());
        is_forked(peer.send(1).expect_err("not ours").into());
        is_forked(peer.poll(Duration::ZERO).expect_err("not ours"));
        is_forked(peer.open_shared(Instant::now()).expect_err("not ours"));
    })
    .expect("forked");
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    let mut peer = inherited.take().expect("the child took its own copy");
    peer.send(2)?;
    assert_eq!(peer.recv()?, 3);
    Ok(())
}

#[test]
fn a_forked_child_leaves_the_connection_to_its_parent() {
    let place = Place::new("forked");
    let (child, mut peer) = place.start::<u32, u32>("forked");
    assert_eq!(peer.recv().expect("the parent goes on"), 2);
    peer.send(3).expect("it lives");
    ended_well(child);
}

/// Uses what the other side shares.
fn sharer(address: &str) -> Result<()> {
    let mut peer: Peer<(), ()> = connect(address)?;
    let manager = peer.open_shared(Instant::now() + LIMIT)?;
    let lock: Lock = manager.get_or_create("lock")?;
    let numbers: Queue<u32> = manager.get_or_create("numbers")?;
    let held = lock.lock()?;
    for number in 0..10 {
        numbers.send(number)?;
    }
    drop(held);
    peer.recv()?;
    Ok(())
}

#[test]
fn an_arena_is_shared_through_the_door() {
    let place = Place::new("share");
    let manager = Manager::new(MIB).expect("room");
    let (child, mut peer) = place.start::<(), ()>("sharer");
    peer.share(&manager).expect("the same user");
    let numbers: Queue<u32> = manager.get_or_create("numbers").expect("room");
    let all: Vec<u32> = (0..10).map(|_| numbers.recv().expect("they come")).collect();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    let lock: Lock = manager.get_or_create("lock").expect("room");
    drop(lock.lock().expect("the other gives it up"));
    peer.send(()).expect("it lives");
    ended_well(child);
    let nothing = peer.open_shared(Instant::now() + LIMIT).expect_err("it has gone");
    assert!(nothing.is_peer_dead(), "{nothing}");
}

/// Goes on in the arena of the other side.
fn truster(address: &str) -> Result<()> {
    let peer: Peer<Queue<u32>, String> = connect(address)?;
    let mut pipe = peer.trust()?;
    let text = pipe.recv()?;
    let queue = Queue::bounded(4)?;
    queue.send(text.len() as u32)?;
    // A handle of this process's own arena cannot cross, one of the shared arena can.
    assert_eq!(pipe.send(queue).expect_err("another arena").into_inner().len(), 1);
    pipe.recv()?;
    Ok(())
}

#[test]
fn a_connection_becomes_a_pipe() {
    let place = Place::new("trust");
    let (child, peer) = place.start::<String, Queue<u32>>("truster");
    let mut pipe = peer.trust().expect("the same user");
    pipe.send("text".into()).expect("it lives");
    pipe.send(String::new()).expect("it lives");
    assert!(matches!(pipe.recv(), Err(RecvError::Closed)));
    ended_well(child);
}

#[test]
fn trust_that_is_not_returned_is_given_up() {
    let place = Place::new("no-trust");
    let (one, two) = place.pair::<u32, u32>();
    drop(two);
    assert!(one.trust().expect_err("it has gone").is_peer_dead());
    let (mut child, peer) = place.start::<Vec<u8>, Vec<u8>>("silent");
    thread::scope(|scope| {
        let waits = scope.spawn(|| peer.trust());
        child.kill().expect("killed");
        assert!(waits.join().expect("no panic").expect_err("it was killed").is_peer_dead());
    });
    // Who only shares gives no pipe.
    let (mut one, two) = place.pair::<u32, u32>();
    one.share(&Manager::new(MIB).expect("room")).expect("the same user");
    assert!(two.trust().expect_err("no pipe came").is_mismatch());
}
