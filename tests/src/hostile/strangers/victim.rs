//! Those who talk to a rogue as to anybody, with deadlines, and look at what they get.

use std::cell::Cell;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ginnel::select::Select;
use ginnel::{Error, Message, Raw};
use ginnel_object::Checked;
use ginnel_pipe::{ConnectOptions, Listener, ListenerOptions, Peer};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::rng::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

use super::super::workers::{CONNECT_TIMEOUT, Log, Op, Outcome, TIMEOUT, Worker, end};

/// Longest message that a victim takes.
const LONGEST: usize = 1 << 18;

/// Longest that it sends: some go in parts.
const LONG: u64 = 40_000;

/// What is talked about.
pub(super) trait Speech: Message {
    fn sample(rng: &mut Rng) -> Self;

    /// Whether it is a value at all.
    fn is_sound(&self) -> bool;
}

/// Not all of its bytes are values.
#[derive(TryFromBytes, IntoBytes, Immutable, KnownLayout, Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Order {
    side: Side,
    is_live: bool,
    padding: [u8; 2],
    sign: char,
    price: u64,
}

#[derive(TryFromBytes, IntoBytes, Immutable, KnownLayout, Debug, Clone, Copy)]
#[repr(u8)]
enum Side {
    Buy = 3,
    Sell = 200,
}

impl Speech for Checked<Order> {
    fn sample(rng: &mut Rng) -> Self {
        let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        Self(Order { side, is_live: rng.below(2) == 0, padding: [0; 2], sign: 'x', price: rng.next_u64() })
    }

    fn is_sound(&self) -> bool {
        Order::try_ref_from_bytes(self.0.as_bytes()).is_ok()
    }
}

/// Of any length.
pub(super) type Letter = (u64, Option<String>, Vec<u8>);

impl Speech for Letter {
    fn sample(rng: &mut Rng) -> Self {
        let text = (rng.below(2) == 0).then(|| "ø".repeat(rng.below(40) as usize));
        let len = if rng.below(32) == 0 { rng.below(LONG) } else { rng.below(3000) };
        (rng.next_u64(), text, vec![7; len as usize])
    }

    fn is_sound(&self) -> bool {
        black_box(self.2.iter().fold(self.0, |sum, byte| sum.wrapping_add(u64::from(*byte))));
        self.2.len() <= LONGEST
            && self.1.as_ref().is_none_or(|text| std::str::from_utf8(text.as_bytes()).is_ok())
    }
}

/// All bytes are values.
pub(super) type Numbers = Raw<[u64; 12]>;

impl Speech for Numbers {
    fn sample(rng: &mut Rng) -> Self {
        Self([rng.next_u64(); 12])
    }

    fn is_sound(&self) -> bool {
        black_box(self.0.iter().copied().fold(0, u64::wrapping_add));
        true
    }
}

/// Lets rogues in for a round, and then, when they still crowd at the door, serves the one honest client, the process
/// `honest`.
pub(super) fn listen<M: Speech>(log: &Log, seed: u64, address: &str, round: Duration, honest: u32) {
    let before = Snapshot::of(std::process::id()).expect("counted");
    {
        let mut worker = Worker::new(log, 0, seed, round);
        let options = ListenerOptions::new().max_message(LONGEST).handshake_timeout(CONNECT_TIMEOUT);
        let Some(listener) = worker.note(Op::Open, || Listener::bind_with(address, options)) else {
            panic!("the name is free");
        };
        while !worker.is_over() {
            if let Some(peer) = worker.note(Op::Accept, || listener.accept_timeout::<M, M>(TIMEOUT)) {
                converse(&mut worker, peer);
            }
        }
        serve::<M>(&worker, &listener, honest);
        end(&worker, listener);
    }
    nothing_is_left(&before);
}

/// Connects to a rogue, again and again.
pub(super) fn visit<M: Speech>(log: &Log, seed: u64, address: &str, round: Duration) {
    let before = Snapshot::of(std::process::id()).expect("counted");
    {
        let mut worker = Worker::new(log, 1, seed, round);
        let options = ConnectOptions::new().max_message(LONGEST).timeout(CONNECT_TIMEOUT);
        while !worker.is_over() {
            if let Some(peer) = worker.note(Op::Connect, || options.connect::<M, M>(address)) {
                converse(&mut worker, peer);
            }
        }
    }
    nothing_is_left(&before);
}

fn nothing_is_left(before: &Snapshot) {
    let leaks = Snapshot::of(std::process::id()).expect("counted").leaked_since(before);
    assert!(leaks.is_empty(), "left behind: {leaks:?}");
}

/// Whatever rogues do at the door, who is no rogue comes in and is answered.
fn serve<M: Speech>(worker: &Worker<'_>, listener: &Listener, honest: u32) {
    let limit = Instant::now() + Duration::from_secs(5);
    let served = worker.note(Op::Serve, || {
        loop {
            let mut peer: Peer<M> = listener.accept_deadline(limit)?;
            if peer.credentials().pid != honest {
                continue;
            }
            let message = peer.recv_deadline(limit)?;
            peer.send_deadline(message, limit)?;
            while peer.next()?.is_some() {}
            return Ok::<(), Error>(());
        }
    });
    assert!(served.is_some(), "an honest client was not served");
}

/// Operations of all kinds, until the rogue is gone or there was enough of it.
fn converse<M: Speech>(worker: &mut Worker<'_>, mut peer: Peer<M>) {
    let (mut is_corrupted, mut after_the_end) = (false, 0);
    for _ in 0..400 {
        let (way, figure) = step(worker, &mut peer);
        if way == Way::Through {
            // Once is for good, in both directions. What is too long is refused before anything is looked at.
            if is_corrupted && !matches!(figure, Log::CORRUPTED | Log::OTHER) {
                worker.blame();
            }
            is_corrupted |= figure == Log::CORRUPTED;
        }
        // What is over is over: a few more operations must not hurt.
        if matches!(figure, Log::GONE | Log::CORRUPTED) {
            after_the_end += 1;
        }
        if after_the_end > 6 || worker.is_over() {
            break;
        }
    }
    end(worker, peer);
}

/// What an operation was about, and what came of it.
type Figure = (Way, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through the two halves.
    Through,
    /// Beside them.
    Beside,
}

/// One operation.
fn step<M: Speech>(worker: &mut Worker<'_>, peer: &mut Peer<M>) -> Figure {
    let choice = worker.rng.below(10);
    let value = M::sample(&mut worker.rng);
    match choice {
        0 => note(worker, Way::Through, Op::Send, || peer.try_send(value)),
        1 | 2 => note(worker, Way::Through, Op::Send, || peer.send_timeout(value, TIMEOUT)),
        3 | 4 => note(worker, Way::Through, Op::Recv, || peer.try_recv().map(look)),
        5 | 6 => note(worker, Way::Through, Op::Recv, || peer.recv_timeout(TIMEOUT).map(look)),
        7 => note(worker, Way::Through, Op::Poll, || peer.poll(TIMEOUT)),
        8 => note(worker, Way::Beside, Op::Select, || is_ready(peer)),
        _ => {
            note(worker, Way::Beside, Op::OpenShared, || peer.open_shared(Instant::now() + TIMEOUT).map(drop))
        }
    }
}

/// Waits for the peer beside something else, and by its descriptor.
fn is_ready<M: Speech>(peer: &Peer<M>) -> ginnel::Result<Option<u8>> {
    let slice = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let _ = poll(&mut [PollFd::new(&peer.as_fd(), PollFlags::IN)], Some(&slice));
    Select::new().on(peer, 1).on_send(peer, 2).wait_timeout(TIMEOUT)
}

fn look<M: Speech>(message: M) {
    assert!(message.is_sound(), "a value that is none");
}

fn note<T, E: Outcome>(
    worker: &Worker<'_>,
    way: Way,
    op: Op,
    operation: impl FnOnce() -> Result<T, E>,
) -> Figure {
    let figure = Cell::new(Log::DONE);
    worker.note(op, || operation().inspect_err(|why| figure.set(why.figure())));
    (way, figure.get())
}
