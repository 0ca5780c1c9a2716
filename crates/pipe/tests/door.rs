//! The door: who is let in, who is not, and what it costs the others. Most clients here are made by hand.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ginnel_layout::line::PAGE;
use ginnel_object::error::RecvError;
use ginnel_object::{Error, ErrorKind, Raw, Result};
use ginnel_pipe::handshake::{
    CLIENT_HELLO, Client, Failure, Fingerprint, Key, LONGEST, REFUSED, Refusal, SERVER_HELLO, Server, Terms,
};
use ginnel_pipe::{ConnectOptions, HALF_OPEN_MAX, Listener, ListenerOptions, Peer, connect};
use ginnel_segment::sealed::Own;
use ginnel_testkit::child::{self, Child, Exit, Role, fork_child};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

/// Long enough for a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(60);

const KEY: &[u8] = b"sixteen bytes or more";
const RING: u64 = 4 * PAGE as u64;

/// The way in for roles; by itself it does nothing.
#[test]
fn door_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let address: String = arguments.get(0).expect("an address");
    match name.as_str() {
        "client" => client(&address),
        "deaf" => deaf(&address),
        "poor" => poor(&address),
        "poor-client" => poor_client(&address),
        "counting" => counting(&address),
        "extra" => extra(&address),
        "forked" => forked(&address),
        other => panic!("no role {other}"),
    }
}

fn role(name: &str, address: &str) -> Child {
    Role::new(name).through_test("door_entry").arg(address).spawn().expect("started")
}

fn place(test: &str) -> String {
    format!("@ginnel-door-{}-{test}", std::process::id())
}

fn path(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ginnel-door-{}-{test}.sock", std::process::id()))
}

fn kind_of<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("refused").kind()
}

/// A listener that sends back what it gets, in a thread of its own, until `stop` is sent.
fn serve(listener: &Listener) -> Result<()> {
    loop {
        let mut peer: Peer<String> = listener.accept()?;
        match peer.recv() {
            Ok(text) if text == "stop" => return Ok(()),
            Ok(text) => drop(peer.send(text)),
            Err(_) => {}
        }
    }
}

/// Runs `clients` against a listener that serves, which it does to the end.
fn with_door(test: &str, options: ListenerOptions, good: &ConnectOptions, clients: impl FnOnce(&str)) -> u64 {
    let _dog = Watchdog::new(test, LIMIT);
    let address = place(test);
    let listener = Listener::bind_with(&address, options).expect("a free name");
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener));
        clients(&address);
        ask(&address, good, "hello");
        let mut last: Peer<String> = good.connect(&address).expect("it serves");
        last.send("stop".into()).expect("it serves");
        server.join().expect("no panic").expect("no error");
    });
    listener.refused()
}

/// The listener answers.
fn ask(address: &str, options: &ConnectOptions, text: &str) {
    let mut peer: Peer<String> = options.connect(address).expect("it serves");
    peer.send(text.into()).expect("it serves");
    assert_eq!(peer.recv().expect("it serves"), text);
}

/// A client made by hand.
struct Knock {
    socket: OwnedFd,
}

impl Knock {
    fn at(address: &str) -> Self {
        let to = SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).expect("a name");
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        rustix::net::connect(&socket, &to).expect("somebody listens");
        Self { socket }
    }

    fn say(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        // Who has hung up already is told in its own answer.
        let _ = rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    }

    /// The next packet; empty when the other has hung up.
    fn hear(&self) -> Vec<u8> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })), Ok(1), "no answer");
        let mut bytes = [0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        bytes[..received.map_or(0, |message| message.bytes)].to_vec()
    }

    /// Why it was refused.
    fn refusal(&self) -> Option<Refusal> {
        Refusal::read(&self.hear())
    }

    /// Has the listener hung up?
    fn is_over(&self) -> bool {
        self.hear().is_empty()
    }
}

fn terms(key: Option<&[u8]>) -> Terms {
    Terms { key: key.and_then(Key::new), ring: RING, longest: 1000, ring_max: 1 << 30 }
}

fn number_of(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).expect("it is open").st_ino
}

/// A client's packet for a listener that has just said hello, for memory with that number.
fn hello_for(server: &[u8], key: Option<&[u8]>, memory: u64) -> [u8; CLIENT_HELLO] {
    let fingerprint = Fingerprint::of::<String, String>(None);
    let mut client = Client::new(terms(key), &fingerprint, [5; 32]);
    client.take_hello(server).expect("the listener's first packet is good");
    client.hello(memory)
}

#[test]
fn only_who_knows_the_key_comes_in() {
    let keyed = ConnectOptions::new().key(KEY);
    let refused = with_door("key", ListenerOptions::new().key(KEY), &keyed, |address| {
        for wrong in [ConnectOptions::new(), ConnectOptions::new().key(b"another"), keyed.clone().key(b"x")] {
            let why = wrong.connect::<String, String>(address).expect_err("it does not know it");
            assert!(why.is_denied(), "{why}");
        }
        ask(address, &keyed, "right");
    });
    assert_eq!(refused, 3);
    // A client with a key does not talk to a listener without one.
    with_door("no-key", ListenerOptions::new(), &ConnectOptions::new(), |address| {
        assert!(keyed.connect::<String, String>(address).expect_err("no proof").is_denied());
    });
}

#[test]
fn only_users_who_are_named_come_in_or_are_talked_to() {
    let _dog = Watchdog::new("users", LIMIT);
    let (ours, address) = (rustix::process::geteuid().as_raw(), place("users"));
    let options = ListenerOptions::new().allow_uid(ours + 1);
    let listener = Listener::bind_with(&address, options).expect("a free name");
    thread::scope(|scope| {
        let client = scope.spawn(|| connect::<u8, u8>(&address));
        let nobody = listener.accept_timeout::<u8, u8>(Duration::from_millis(500));
        assert_eq!(kind_of(nobody), ErrorKind::Timeout);
        assert!(client.join().expect("no panic").expect_err("not allowed").is_denied());
    });
    assert_eq!(listener.refused(), 1);
    drop(listener);
    let both = ListenerOptions::new().allow_uid(ours + 1).allow_uid(ours);
    with_door("users", both, &ConnectOptions::new().allow_uid(ours), |address| {
        let other = ConnectOptions::new().allow_uid(ours + 1);
        assert!(other.connect::<String, String>(address).expect_err("not that user").is_denied());
    });
}

#[test]
fn other_types_versions_and_sizes_are_refused() {
    let good = ConnectOptions::new();
    with_door("types", ListenerOptions::new(), &good, |address| {
        assert!(connect::<u32, String>(address).expect_err("another type").is_mismatch());
        assert!(connect::<Raw<u64>, String>(address).expect_err("another codec").is_mismatch());
        assert!(
            good.clone()
                .protocol("chat")
                .connect::<String, String>(address)
                .is_err_and(|why| why.is_mismatch())
        );
        let large = good.clone().ring(1 << 30).connect::<String, String>(address);
        assert_eq!(kind_of(large), ErrorKind::TooLarge);
        assert_eq!(kind_of(good.clone().ring(0).connect::<u8, u8>(address)), ErrorKind::Invalid);
        assert_eq!(kind_of(good.clone().key(b"").connect::<u8, u8>(address)), ErrorKind::Invalid);
        assert_eq!(kind_of(good.clone().max_message(0).connect::<u8, u8>(address)), ErrorKind::Invalid);
        let knock = Knock::at(address);
        let mut hello = hello_for(&knock.hear(), None, 0);
        hello[8] = 200;
        knock.say(&hello, &[]);
        assert_eq!(knock.refusal(), Some(Refusal::Version));
    });
}

#[test]
fn a_packet_that_was_recorded_opens_nothing() {
    let keyed = ConnectOptions::new().key(KEY);
    with_door("replay", ListenerOptions::new().key(KEY), &keyed, |address| {
        let (_own, memory) = Own::create(RING).expect("room");
        let first = Knock::at(address);
        let hello = hello_for(&first.hear(), Some(KEY), number_of(&memory));
        first.say(&hello, &[memory.as_fd()]);
        assert_eq!(Refusal::read(&first.hear()), None, "it was let in");
        drop(first);
        let again = Knock::at(address);
        assert_eq!(again.hear().len(), SERVER_HELLO);
        again.say(&hello, &[memory.as_fd()]);
        assert_eq!(again.refusal(), Some(Refusal::Key));
        assert!(again.is_over());
    });
}

#[test]
fn silent_clients_hold_up_nobody() {
    let options = ListenerOptions::new().handshake_timeout(LIMIT);
    with_door("silent", options, &ConnectOptions::new(), |address| {
        let mut silent: Vec<Knock> = (0..HALF_OPEN_MAX + 1).map(|_| Knock::at(address)).collect();
        ask(address, &ConnectOptions::new(), "through all of them");
        let oldest = silent.remove(0);
        assert_eq!(oldest.hear().len(), SERVER_HELLO);
        assert_eq!(oldest.refusal(), Some(Refusal::Busy), "it had to make room");
        let youngest = silent.pop().expect("many");
        let (_own, memory) = Own::create(RING).expect("room");
        youngest.say(&hello_for(&youngest.hear(), None, number_of(&memory)), &[memory.as_fd()]);
        assert_eq!(Refusal::read(&youngest.hear()), None, "it was only slow");
    });
}

#[test]
fn a_client_that_is_too_slow_is_dropped() {
    let options = ListenerOptions::new().handshake_timeout(Duration::from_millis(20));
    let refused = with_door("slow", options, &ConnectOptions::new(), |address| {
        let slow = Knock::at(address);
        assert_eq!(slow.hear().len(), SERVER_HELLO);
        assert_eq!(slow.refusal(), Some(Refusal::Busy));
        assert!(slow.is_over());
    });
    assert_eq!(refused, 1);
}

#[test]
fn garbage_is_refused() {
    let mut rng = Rng::new(7);
    with_door("garbage", ListenerOptions::new(), &ConnectOptions::new(), |address| {
        let (_own, memory) = Own::create(RING).expect("room");
        for round in 0..300_usize {
            let knock = Knock::at(address);
            let mut bytes = hello_for(&knock.hear(), None, number_of(&memory)).to_vec();
            match round % 3 {
                0 => bytes.truncate(round % CLIENT_HELLO),
                1 => bytes.resize(CLIENT_HELLO + 1 + round * 9, 7),
                _ => bytes.iter_mut().take(24 + round / 3).for_each(|byte| *byte = rng.next_u64() as u8),
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
            knock.say(&bytes, &[memory.as_fd()]);
            let why = knock.refusal();
            assert!(why.is_some(), "round {round}");
            assert!(knock.is_over());
        }
    });
}

#[test]
fn a_packet_without_bytes_is_a_hangup() {
    with_door("empty", ListenerOptions::new(), &ConnectOptions::new(), |address| {
        let knock = Knock::at(address);
        assert_eq!(knock.hear().len(), SERVER_HELLO);
        knock.say(&[], &[]);
        assert!(knock.is_over());
    });
}

/// What a hostile client might pass for its memory.
fn no_memory() -> Vec<(&'static str, OwnedFd)> {
    let size = PAGE as u64 + RING;
    let memfd = |seals: SealFlags, size: u64| {
        let fd = memfd_create("door", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
        rustix::fs::ftruncate(&fd, size).expect("sized");
        rustix::fs::fcntl_add_seals(&fd, seals).expect("sealed");
        fd
    };
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::FUTURE_WRITE;
    let flags = SocketFlags::CLOEXEC;
    let (socket, _) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let file = path("no-memory");
    let mut regular = File::create(&file).expect("a file");
    regular.write_all(&vec![0; size as usize]).expect("written");
    std::fs::remove_file(&file).expect("removed");
    vec![
        ("a socket", socket),
        ("a pipe", reader.into()),
        ("its other end", writer.into()),
        ("a regular file", regular.into()),
        ("a directory", File::open("/").expect("there is one").into()),
        ("unsealed", memfd(SealFlags::empty(), size)),
        ("sealed in part", memfd(SealFlags::SHRINK | SealFlags::GROW, size)),
        ("without the seal of writing", memfd(all - SealFlags::FUTURE_WRITE, size)),
        ("too small", memfd(all, size - PAGE as u64)),
        ("too large", memfd(all, size + PAGE as u64)),
        ("empty", memfd(all, 0)),
        ("zeroes", memfd(all, size)),
    ]
}

#[test]
fn what_is_no_sealed_memory_is_refused() {
    with_door("memory", ListenerOptions::new(), &ConnectOptions::new(), |address| {
        for (what, fd) in no_memory() {
            let knock = Knock::at(address);
            knock.say(&hello_for(&knock.hear(), None, number_of(&fd)), &[fd.as_fd()]);
            assert_eq!(knock.refusal(), Some(Refusal::Memory), "{what}");
            assert!(knock.is_over(), "{what}");
        }
        let none = Knock::at(address);
        none.say(&hello_for(&none.hear(), None, 0), &[]);
        assert_eq!(none.refusal(), Some(Refusal::Memory));
    });
}

#[test]
fn descriptors_too_many_are_closed() {
    let _dog = Watchdog::new("extra", LIMIT);
    assert_eq!(role("extra", &place("extra")).wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
}

/// Sends more descriptors than anybody wants to a listener of its own.
fn extra(address: &str) {
    let listener = Listener::bind(address).expect("a free name");
    let (_own, memory) = Own::create(RING).expect("room");
    let before = open_files();
    for count in [2, 3, 100, 253] {
        let knock = Knock::at(address);
        assert!(listener.try_accept::<String, String>().expect("no error").is_none());
        let hello = hello_for(&knock.hear(), None, number_of(&memory));
        knock.say(&hello, &vec![memory.as_fd(); count]);
        assert!(listener.try_accept::<String, String>().expect("no error").is_none());
        assert!(knock.refusal().is_some(), "{count}");
        drop(knock);
        assert_eq!(open_files(), before, "{count}");
    }
    // After the handshake, too: what nobody expects is closed.
    let knock = Knock::at(address);
    assert!(listener.try_accept::<String, String>().expect("no error").is_none());
    knock.say(&hello_for(&knock.hear(), None, number_of(&memory)), &[memory.as_fd()]);
    let mut peer = listener.try_accept::<String, String>().expect("no error").expect("it is in");
    let before = open_files();
    for kind in [b'w', b'm', b'd', b'x', 0, 255] {
        for (len, count) in [(1, 0), (1, 1), (1, 2), (2, 1), (33, 1), (40, 3), (500, 1)] {
            let mut bytes = vec![7; len];
            bytes[0] = kind;
            knock.say(&bytes, &vec![memory.as_fd(); count]);
            assert!(peer.try_recv().expect_err("no message").is_empty());
            let _ = peer.open_shared(Instant::now());
        }
    }
    // Where a manager's descriptor was expected, four wait for someone who opens it; none of them is one.
    while peer.open_shared(Instant::now()).is_err_and(|why| !why.is_timeout()) {}
    assert_eq!(open_files(), before);
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("readable").count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("readable").lines().count()
}

/// Connects a thousand times.
fn client(address: &str) {
    let _dog = Watchdog::new("client", LIMIT);
    let mut before = (0, 0);
    for round in 0..1000_u32 {
        let mut peer: Peer<u32> = connect(address).expect("it serves");
        peer.send(round).expect("it serves");
        assert_eq!(peer.recv().expect("it serves"), round);
        drop(peer);
        if round == 10 {
            before = (open_files(), mappings());
        }
    }
    assert_eq!(open_files(), before.0);
    assert!(mappings() <= before.1 + 4, "{} mappings before, {} after", before.1, mappings());
}

/// Serves a thousand.
fn counting(address: &str) {
    let _dog = Watchdog::new("counting", LIMIT);
    let listener = Listener::bind(address).expect("a free name");
    let answer = || {
        let mut peer: Peer<u32> = listener.accept().expect("no error");
        let number = peer.recv().expect("it lives");
        peer.send(number).expect("it lives");
        number
    };
    while answer() < 10 {}
    let before = (open_files(), mappings());
    while answer() < 999 {}
    assert_eq!(open_files(), before.0);
    assert!(mappings() <= before.1 + 4, "{} mappings before, {} after", before.1, mappings());
}

#[test]
fn a_thousand_connections_leave_nothing() {
    let _dog = Watchdog::new("thousand", LIMIT);
    let file = path("thousand");
    let mut server = role("counting", file.to_str().expect("text"));
    until_somebody_listens(file.to_str().expect("text"));
    let mut child = role("client", file.to_str().expect("text"));
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    assert_eq!(server.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    assert!(!file.exists());
}

/// Takes all descriptors that this process may have.
fn take_all() -> Vec<File> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("readable");
    setrlimit(Resource::RLIMIT_NOFILE, 100, hard).expect("lowered");
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// A listener with hardly any descriptors, and then with some.
fn poor(address: &str) {
    let _dog = Watchdog::new("poor", LIMIT);
    let listener = Listener::bind(address).expect("a free name");
    let open = open_files();
    let mut taken = take_all();
    let (mut served, mut refused) = (0, 0);
    let answer = |mut peer: Peer<u32>| {
        let number = peer.recv().expect("it lives");
        peer.send(number).expect("it lives");
    };
    // With each round there is one descriptor more: enough for nothing, for the socket, for its pidfd, for the memory ..
    for spare in 0..8 {
        loop {
            match listener.accept_timeout(Duration::from_millis(300)) {
                Ok(peer) => {
                    answer(peer);
                    served += 1;
                }
                Err(why) if why.kind() == ErrorKind::TooManyFiles => {
                    refused += 1;
                    break;
                }
                Err(why) if why.kind() == ErrorKind::Timeout => break,
                Err(why) => panic!("{spare} descriptors: {why}"),
            }
        }
        taken.pop();
    }
    assert!(refused >= 3, "{refused} of 8 rounds lacked descriptors");
    taken.clear();
    for _ in served..20 {
        answer(listener.accept().expect("there are descriptors again"));
    }
    // Those that a client had given up are noticed now.
    let nobody = listener.try_accept::<u32, u32>().expect("no error");
    assert!(nobody.is_none());
    assert_eq!(open_files(), open);
}

#[test]
fn a_listener_without_descriptors_says_so_and_serves_later() {
    let _dog = Watchdog::new("poor", LIMIT);
    let address = place("poor");
    let mut child = role("poor", &address);
    let mut served = 0;
    while served < 20 {
        match connect::<u32, u32>(&address) {
            Ok(mut peer) => {
                peer.send(served).expect("it lives");
                assert_eq!(peer.recv().expect("it lives"), served);
                served += 1;
            }
            // Not there yet; told to try again; or not accepted in time.
            Err(why) => assert!(
                matches!(why.kind(), ErrorKind::NotFound | ErrorKind::Full | ErrorKind::Timeout),
                "{why}"
            ),
        }
    }
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
}

/// Connects with hardly any descriptors.
fn poor_client(address: &str) {
    let open = open_files();
    let mut taken = take_all();
    // The socket, the pidfd, our memory, the listener's memory when ours is passed on: three at a time.
    for spare in 0..3 {
        assert_eq!(kind_of(connect::<u32, u32>(address)), ErrorKind::TooManyFiles, "{spare}");
        taken.pop();
    }
    let mut peer: Peer<u32> = connect(address).expect("three are enough");
    peer.send(u32::MAX).expect("it lives");
    drop((peer, taken));
    assert_eq!(open_files(), open);
}

#[test]
fn a_client_without_descriptors_says_so() {
    let _dog = Watchdog::new("poor-client", LIMIT);
    let address = place("poor-client");
    let listener = Listener::bind(&address).expect("a free name");
    let mut child = role("poor-client", &address);
    loop {
        let mut peer: Peer<u32> = listener.accept().expect("no error");
        match peer.recv() {
            Ok(number) => break assert_eq!(number, u32::MAX),
            Err(why) => assert!(matches!(why, RecvError::Closed), "{why}"),
        }
    }
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
}

#[test]
fn clients_killed_at_any_moment_cost_nobody_anything() {
    let _dog = Watchdog::new("killed-clients", LIMIT);
    let address = place("killed-clients");
    let listener = Listener::bind(&address).expect("a free name");
    let mut rng = Rng::new(11);
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            loop {
                let mut peer: Peer<u32> = listener.accept().expect("no error, whatever clients do");
                match peer.recv() {
                    Ok(u32::MAX) => return,
                    Ok(number) => drop(peer.send(number)),
                    Err(RecvError::Closed) => {}
                    Err(RecvError::Failed(why)) => assert!(why.is_peer_dead(), "{why}"),
                }
            }
        });
        for _ in 0..20 {
            let mut child = role("client", &address);
            let limit = Duration::from_micros(rng.below(20_000));
            let _ = child.wait_timeout(limit).expect("waited");
            child.kill().expect("killed");
        }
        let mut last: Peer<u32> = connect(&address).expect("it serves");
        last.send(u32::MAX).expect("it serves");
        server.join().expect("no panic");
    });
}

/// Listens and never accepts.
fn deaf(address: &str) {
    let _listener = Listener::bind(address).expect("a free name");
    loop {
        thread::park();
    }
}

/// Waits until somebody listens there.
fn until_somebody_listens(address: &str) {
    let quick = ConnectOptions::new().timeout(Duration::from_millis(1));
    while kind_of(quick.connect::<u8, u8>(address)) == ErrorKind::NotFound {}
}

#[test]
fn a_listener_that_never_accepts_or_is_killed_costs_a_deadline() {
    let _dog = Watchdog::new("deaf", LIMIT);
    let file = path("deaf");
    let address = file.to_str().expect("text");
    let mut child = role("deaf", address);
    until_somebody_listens(address);
    let begun = Instant::now();
    let late = ConnectOptions::new().timeout(Duration::from_millis(50)).connect::<u8, u8>(address);
    assert_eq!(kind_of(late), ErrorKind::Timeout);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    thread::scope(|scope| {
        let waits = scope.spawn(|| ConnectOptions::new().timeout(LIMIT * 10).connect::<u8, u8>(address));
        child.kill().expect("killed");
        // Connected before the kill, or after it.
        let kind = kind_of(waits.join().expect("no panic"));
        assert!(matches!(kind, ErrorKind::Closed | ErrorKind::NotFound), "{kind:?}");
    });
    // It has left its socket, which is replaced.
    assert!(file.exists());
    assert_eq!(kind_of(connect::<u8, u8>(&file)), ErrorKind::NotFound);
    let listener = Listener::bind(&file).expect("the other is dead");
    assert_eq!(kind_of(Listener::bind(&file)), ErrorKind::Taken);
    drop(listener);
    assert!(!file.exists() && !path("deaf.sock.lock").exists());
}

#[test]
fn of_those_who_want_a_dead_path_one_gets_it() {
    let _dog = Watchdog::new("race", LIMIT);
    let file = path("race");
    for _ in 0..20 {
        drop(std::os::unix::net::UnixListener::bind(&file).expect("bound"));
        let winners: Vec<Listener> = thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Listener::bind(&file))).collect();
            all.into_iter()
                .filter_map(|one| match one.join().expect("no panic") {
                    Ok(listener) => Some(listener),
                    Err(why) => {
                        assert!(why.is_taken(), "{why}");
                        None
                    }
                })
                .collect()
        });
        assert_eq!(winners.len(), 1);
        thread::scope(|scope| {
            scope.spawn(|| connect::<u8, u8>(&file).expect("it listens"));
            winners[0].accept::<u8, u8>().expect("it connects");
        });
    }
    assert!(!file.exists());
}

/// A listener made by hand, which does what `script` says to one client.
fn false_listener(test: &str, script: impl FnOnce(&Knock) + Send) -> Error {
    let _dog = Watchdog::new(test, LIMIT);
    let address = place(test);
    let name = SocketAddrUnix::new_abstract_name(&address.as_bytes()[1..]).expect("a name");
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &name).expect("free");
    rustix::net::listen(&socket, 4).expect("listens");
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = rustix::net::accept(&socket).expect("it connects");
            script(&Knock { socket: client });
        });
        let options = ConnectOptions::new().key(KEY).timeout(Duration::from_secs(30));
        options.connect::<String, String>(&address).expect_err("no listener of ours")
    })
}

#[test]
fn a_false_listener_gets_nowhere() {
    let server = || Server::new(terms(Some(KEY)).into(), [1; 32]);
    let why = false_listener("mute", |_| {});
    assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    let why = false_listener("leaves", |client| client.say(&server().hello(), &[]));
    assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    let why = false_listener("says-yes", |client| {
        client.say(&server().hello(), &[]);
        let (_own, memory) = Own::create(RING).expect("room");
        // The client's own proof, sent back.
        let hello = client.hear();
        let mut welcome = server().hello()[..16].to_vec();
        welcome[12] = 3;
        welcome[14] = 0;
        welcome.extend(&hello[CLIENT_HELLO - 32..]);
        client.say(&welcome, &[memory.as_fd()]);
    });
    assert!(why.is_denied(), "{why}");
    let why = false_listener("no-memory", |client| {
        let mut server = server();
        client.say(&server.hello(), &[]);
        let fingerprint = Fingerprint::of::<String, String>(None);
        let hello = client.hear();
        // It cannot know the number of the client's memory without its descriptor, so it has no proof to check.
        let _ = server.take(&hello, 1, 0, &fingerprint);
        client.say(&[3; 48], &[]);
    });
    assert_eq!(why.kind(), ErrorKind::Corrupted, "{why}");
    let why = false_listener("garbage-listener", |client| client.say(&[0; 64], &[]));
    assert_eq!(why.kind(), ErrorKind::Corrupted, "{why}");
    let why = false_listener("refuses", |client| client.say(&Refusal::Types.packet(), &[]));
    assert!(why.is_mismatch(), "{why}");
    assert_eq!(Refusal::Types.packet().len(), REFUSED);
    let mut client = Client::new(terms(None), &Fingerprint::of::<u8, u8>(None), [0; 32]);
    assert_eq!(client.take_hello(&Refusal::User.packet()), Err(Failure::Refused(Refusal::User)));
}

#[test]
fn nobody_there_and_no_address_are_told_apart() {
    assert_eq!(kind_of(connect::<u8, u8>("/nowhere/at all")), ErrorKind::NotFound);
    assert_eq!(kind_of(connect::<u8, u8>(place("nobody"))), ErrorKind::NotFound);
    assert_eq!(kind_of(connect::<u8, u8>("x".repeat(200))), ErrorKind::Invalid);
    assert_eq!(kind_of(Listener::bind("x".repeat(200))), ErrorKind::Invalid);
    assert_eq!(kind_of(Listener::bind("@")), ErrorKind::Invalid);
    assert_eq!(kind_of(Listener::bind("/nowhere/at all")), ErrorKind::NotFound);
    let stream = std::os::unix::net::UnixListener::bind(path("stream")).expect("bound");
    assert!(connect::<u8, u8>(path("stream")).expect_err("another kind").is_mismatch());
    drop(stream);
    std::fs::remove_file(path("stream")).expect("removed");
}

fn forked(address: &str) {
    let listener = Listener::bind(address).expect("free");
    let mut inherited = Some(listener);
    let mut child = fork_child(|| {
        let listener = inherited.take().expect("inherited");
        assert_eq!(kind_of(listener.try_accept::<u8, u8>()), ErrorKind::Forked);
        drop(listener);
    })
    .expect("forked");
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    let listener = inherited.take().expect("the child took its own copy");
    let mut peer: Peer<u8> = listener.accept().expect("it still listens at its path");
    peer.send(1).expect("it lives");
}

#[test]
fn a_forked_child_leaves_the_listener_to_its_parent() {
    let _dog = Watchdog::new("forked", LIMIT);
    let file = path("forked");
    let mut child = role("forked", file.to_str().expect("text"));
    let mut peer: Peer<u8> = loop {
        match connect(&file) {
            Ok(peer) => break peer,
            Err(why) => assert!(why.is_not_found(), "{why}"),
        }
    };
    assert_eq!(peer.recv().expect("it lives"), 1);
    assert_eq!(child.wait_timeout(LIMIT).expect("waited"), Some(Exit::Code(0)));
    assert!(!file.exists());
}
