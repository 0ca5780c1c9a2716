//! A third process, asleep at the queue when the victim comes. Whatever happens to the victim, it must wake up.

use std::fs;
use std::time::{Duration, Instant};

use ginnel::Queue;
use ginnel::error::{RecvError, SendError};
use ginnel_layout::ring::gate;
use ginnel_testkit::child::{Child, Exit, fork_child};

use super::{Message, QueueWorld, SLEEPERS, Seen, message, number, open};
use crate::world::during;

/// What the sleeper says: how it ended, which message it got, how often that had been given before.
const HOW: usize = 8;
const SEQUENCE: usize = 9;
const AGAIN: usize = 10;
/// It may go to sleep.
const GO: usize = 11;

const GOT: u64 = 1;
const SENT: u64 = 2;
const CLOSED: u64 = 3;
const DONE: u64 = 4;

/// Nothing in a trial takes that long, also on a machine ten times slower.
const LIMIT: Duration = Duration::from_secs(20);

/// Between two looks: all these processes may share a core.
const PACE: Duration = Duration::from_micros(20);

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::step) enum Wish {
    /// A message.
    Receive,
    /// A message, as a lease.
    Lease,
    /// Room.
    Send,
    /// The last acknowledgement.
    Done,
}

/// The process.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) wish: Wish,
    child: Child,
}

impl Sleeper {
    /// Starts it; it goes to sleep when it is sent.
    pub(super) fn start(world: &QueueWorld, wish: Wish) -> Result<Self, String> {
        let child = fork_child(|| sleep_and_say(world, wish)).map_err(during("fork one who will sleep"))?;
        Ok(Self { wish, child })
    }

    /// Waits until it sleeps.
    pub(super) fn send_to_sleep(&self, world: &QueueWorld, queue: &Queue<Message>) -> Result<(), String> {
        world.world.results.set(GO, 1);
        let start = Instant::now();
        while !(is_announced(world, queue, self.wish) && self.is_asleep()) {
            if start.elapsed() > LIMIT || Self::is_over(world) {
                return Err("the sleeper does not fall asleep".to_owned());
            }
            std::thread::sleep(PACE); // pacing, not synchronisation
        }
        Ok(())
    }

    fn is_asleep(&self) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.pid())).unwrap_or_default();
        text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'))
    }

    /// Is its wait over?
    pub(super) fn is_over(world: &QueueWorld) -> bool {
        world.world.results.get(HOW) != 0
    }

    /// Was it woken, or is it over already? Asked right after an act that was to wake it: its sleep has slices, after
    /// which it would look by itself.
    pub(super) fn is_woken(&self, world: &QueueWorld) -> bool {
        Self::is_over(world) || !self.is_asleep()
    }

    /// Waits for its end. The message it got, if it got one.
    pub(super) fn end(mut self, world: &QueueWorld) -> Result<Option<Seen>, String> {
        let wish = self.wish;
        match self.child.wait_timeout(LIMIT).map_err(during("wait for the sleeper"))? {
            Some(Exit::Code(0)) => {}
            Some(exit) => return Err(format!("the sleeper, who wished to {wish:?}, ended with {exit}")),
            None => return Err(format!("blocked: the sleeper, who wishes to {wish:?}, is not woken")),
        }
        let results = &world.world.results;
        let seen = Seen {
            sequence: results.get(SEQUENCE),
            again: (wish == Wish::Lease).then(|| results.get(AGAIN) as u32),
            by_sleeper: true,
        };
        Ok((results.get(HOW) == GOT).then_some(seen))
    }

    /// Did it send its message?
    pub(super) fn has_sent(world: &QueueWorld) -> bool {
        world.world.results.get(HOW) == SENT
    }
}

/// Its whole life.
fn sleep_and_say(world: &QueueWorld, wish: Wish) {
    let manager = world.world.attach();
    let queue = open(&manager);
    let results = &world.world.results;
    while results.get(GO) == 0 {
        std::thread::sleep(PACE); // pacing, not synchronisation
    }
    let got = |message: &Message| {
        results.set(SEQUENCE, number(message).expect("a whole message"));
        results.set(HOW, GOT);
    };
    match wish {
        Wish::Receive => match queue.recv() {
            Ok(message) => got(&message),
            Err(RecvError::Closed) => results.set(HOW, CLOSED),
            Err(error) => panic!("the sleeper: {error}"),
        },
        Wish::Lease => match queue.lease() {
            Ok(lease) => {
                results.set(AGAIN, u64::from(lease.redelivered()));
                got(&lease.ack().expect("it is ours"));
            }
            Err(RecvError::Closed) => results.set(HOW, CLOSED),
            Err(error) => panic!("the sleeper: {error}"),
        },
        Wish::Send => match queue.send(message(SLEEPERS)) {
            Ok(()) => results.set(HOW, SENT),
            Err(SendError::Closed(_)) => results.set(HOW, CLOSED),
            Err(error) => panic!("the sleeper: {error}"),
        },
        Wish::Done => {
            queue.wait_done().expect("it is a good queue");
            results.set(HOW, DONE);
        }
    }
}

/// Has it announced that it will sleep?
fn is_announced(world: &QueueWorld, queue: &Queue<Message>, wish: Wish) -> bool {
    match wish {
        Wish::Receive => queue.stats().waiting_to_receive > 0,
        Wish::Send => queue.stats().waiting_to_send > 0,
        // Where the cells are taken it waits at their gate, else for a message.
        Wish::Lease => world.words.gate() & gate::CELL_WANTED != 0 || queue.stats().waiting_to_receive > 0,
        Wish::Done => world.words.gate() & gate::DONE_WANTED != 0,
    }
}
