//! Those who send and receive until they are killed, and what they write down while they do it.

use std::marker::PhantomData;
use std::thread;
use std::time::Duration;

use ginnel::blocks::{self, Block, Blocks};
use ginnel::manager::Object;
use ginnel::queue::{Lease, Options, RecvTimeoutError, SendTimeoutError, TryRecvError};
use ginnel::spsc::Wait;
use ginnel::{Manager, Message, Queue, Raw};
use ginnel_testkit::oracle;
use ginnel_testkit::rng::{Rng, mix};
use ginnel_testkit::scratch::{Scratch, now_ns};

use super::super::scene::say_ready;
use super::tally::{Account, Grave, Key, Seen, Tally};
use super::{LEASES, RECEIVERS};
use crate::world::{during, try_attach};

/// Longest wait of a worker for the others, all of which may be dead.
const A_WHILE: Duration = Duration::from_millis(50);

/// What a queue carries, and how it is made.
pub(super) trait Kind: 'static {
    const NAME: &'static str;
    /// How many messages are sent at once, now and then.
    const BATCH: u64;
    type Value: Message;

    fn options() -> Options;
    /// Message `key`; with a block, if one can be had in time.
    fn write(key: Key, blocks: &Blocks) -> Self::Value;
    /// The words of a message. `None`: its parts do not belong together.
    fn words(value: &Self::Value) -> Option<Vec<u64>>;
}

/// Values as their bytes.
#[derive(Debug)]
pub(super) struct Numbers;

impl Kind for Numbers {
    const NAME: &'static str = "numbers";
    const BATCH: u64 = 16;
    type Value = Raw<[u64; 5]>;

    fn options() -> Options {
        Options::bounded(128).leases(RECEIVERS * LEASES)
    }

    fn write(key: Key, _: &Blocks) -> Self::Value {
        let mut words = [0; 5];
        oracle::write(key.sender as u64, key.number, &mut words);
        Raw(words)
    }

    fn words(value: &Self::Value) -> Option<Vec<u64>> {
        Some(value.0.to_vec())
    }
}

/// Encoded values, some with a block.
#[derive(Debug)]
pub(super) struct Letters;

/// Words of a letter, at most, that is short or long, beyond three.
const SHORT: usize = 12;
const LONG: usize = 200;

/// Words of a block.
const BLOCK: usize = 500;

/// The pool of both queues' run; fewer blocks than letters that want one.
const POOL: &str = "pool";
const BLOCKS: usize = 12;

impl Kind for Letters {
    const NAME: &'static str = "letters";
    const BATCH: u64 = 3;
    type Value = (Vec<u64>, Option<Block>);

    fn options() -> Options {
        Options::bounded(16).leases(RECEIVERS * LEASES).inline_size(240).wait(Wait::Sleep)
    }

    fn write(key: Key, blocks: &Blocks) -> Self::Value {
        let length = mix(key.number);
        // Most fit into a slot; one in 64 does not, and travels as an object of its own.
        let most = if length.is_multiple_of(64) { LONG } else { SHORT };
        let mut words = vec![0; 3 + (length >> 32) as usize % most];
        oracle::write(key.sender as u64, key.number, &mut words);
        let wants_one = key.number.is_multiple_of(4);
        let block = wants_one.then(|| blocks.claim_timeout(A_WHILE).ok()).flatten().map(|mut block| {
            let mut content = [0; BLOCK];
            oracle::write(key.sender as u64, key.number, &mut content);
            for (place, word) in block.chunks_exact_mut(8).zip(content) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            block.truncate(8 * BLOCK);
            block.freeze()
        });
        (words, block)
    }

    fn words((words, block): &Self::Value) -> Option<Vec<u64>> {
        if let Some(block) = block {
            let content: Vec<u64> =
                block.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
            let own = oracle::read(words)?;
            if content.len() != BLOCK || oracle::read(&content)? != own {
                return None;
            }
        }
        Some(words.clone())
    }
}

/// A queue of the run, its books, and the supervisor's handle.
#[derive(Debug)]
pub(super) struct Office<'a, K: Kind> {
    manager: &'a Manager,
    queue: Queue<K::Value>,
    blocks: Blocks,
    pub(super) tally: Tally,
    kind: PhantomData<K>,
}

impl<'a, K: Kind> Office<'a, K> {
    pub(super) fn new(manager: &'a Manager, most: u64) -> Result<Self, String> {
        let make = during("make the objects of the run");
        Ok(Self {
            manager,
            queue: manager.get_or_create_with(K::NAME, K::options()).map_err(make)?,
            blocks: pool(manager).map_err(make)?,
            tally: Tally::new(most).map_err(during("make the books"))?,
            kind: PhantomData,
        })
    }

    /// What a worker has of its own: nothing that it inherited is worth anything after a fork.
    fn enter(&self) -> (Queue<K::Value>, Blocks) {
        let own = try_attach(self.manager).expect("there is a place for each worker");
        let queue = get(&own, K::NAME);
        (queue, get(&own, POOL))
    }

    /// Sends for ever.
    pub(super) fn send(&self, sender: usize, ready: &Scratch, index: usize) {
        let (queue, blocks) = self.enter();
        let mut rng = Rng::new(now_ns());
        say_ready(ready, index);
        loop {
            if rng.below(8) == 0 {
                let first = self.tally.begin(sender, K::BATCH);
                let numbers = first..first + K::BATCH;
                let mut batch = numbers.map(|number| K::write(Key { sender, number }, &blocks)).collect();
                queue.send_many(&mut batch).expect("it is not closed");
                self.tally.sent(sender, K::BATCH);
                continue;
            }
            let number = self.tally.begin(sender, 1);
            match queue.send_timeout(K::write(Key { sender, number }, &blocks), A_WHILE) {
                Ok(()) => self.tally.sent(sender, 1),
                Err(SendTimeoutError::Timeout(_)) => self.tally.sent(sender, 0),
                // Somebody is stopped in the middle of the next place.
                Err(SendTimeoutError::Failed(_, error)) if error.is_timeout() => self.tally.sent(sender, 0),
                Err(error) => panic!("send: {error}"),
            }
        }
    }

    /// Receives for ever: the first receiver copies, the others lease.
    pub(super) fn receive(&self, receiver: usize, ready: &Scratch, index: usize) {
        let (queue, _blocks) = self.enter();
        say_ready(ready, index);
        if receiver == 0 {
            loop {
                self.tally.receives(receiver, true);
                match queue.recv_timeout(A_WHILE) {
                    Ok(value) => {
                        self.see(receiver, &value, Seen::Copied);
                    }
                    Err(error) => is_slow(error),
                }
                self.tally.receives(receiver, false);
            }
        }
        let mut hands: [Option<(Key, Lease<K::Value>)>; LEASES] = std::array::from_fn(|_| None);
        let mut rng = Rng::new(now_ns());
        loop {
            let hand = rng.below(LEASES as u64) as usize;
            match hands[hand].take() {
                Some(held) => self.end(receiver, hand, held, &mut rng),
                None => match queue.lease_timeout(A_WHILE) {
                    Ok(lease) => hands[hand] = self.begin(receiver, hand, lease),
                    Err(error) => is_slow(error),
                },
            }
        }
    }

    /// Writes down what a receiver sees.
    fn see(&self, receiver: usize, value: &K::Value, seen: Seen) -> Option<Key> {
        let key = self.tally.read(&K::words(value).unwrap_or_default())?;
        self.tally.saw(receiver, key, seen);
        Some(key)
    }

    /// Writes down what a receiver has under a lease: first that it may come again, then that it came.
    fn begin(&self, receiver: usize, hand: usize, lease: Lease<K::Value>) -> Option<(Key, Lease<K::Value>)> {
        let key = self.tally.read(&K::words(&lease).unwrap_or_default())?;
        self.tally.leases(receiver, hand, Some(key));
        let seen = if lease.redelivered() == 0 { Seen::First } else { Seen::Again };
        self.tally.saw(receiver, key, seen);
        Some((key, lease))
    }

    /// Ends a lease; one in 64 by giving the message back.
    fn end(&self, receiver: usize, hand: usize, (key, lease): (Key, Lease<K::Value>), rng: &mut Rng) {
        // Nobody may have touched it meanwhile.
        if self.tally.read(&K::words(&lease).unwrap_or_default()).is_some_and(|again| again != key) {
            self.tally.read(&[]);
        }
        if rng.below(64) == 0 {
            self.tally.once_more(key);
            lease.nack();
        } else {
            lease.ack().expect("it is ours");
        }
        self.tally.leases(receiver, hand, None);
    }

    /// Takes out what is left when everybody is dead.
    pub(super) fn settle(&self) -> Result<(), String> {
        let receiver = RECEIVERS - 1;
        loop {
            match self.queue.try_lease() {
                Ok(lease) => {
                    if let Some((_, lease)) = self.begin(receiver, 0, lease) {
                        drop(lease.ack().map_err(during("acknowledge the rest"))?);
                    }
                    self.tally.leases(receiver, 0, None);
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(error) => return Err(format!("the rest of {}: {error}", K::NAME)),
            }
        }
    }

    /// Whether the queue is as new, and the pool full: what is not. After [`Office::settle`] of all queues.
    pub(super) fn leaks(&self) -> Result<Vec<String>, String> {
        let mut leaks = Vec::new();
        let mut expect = |fine: bool, what: String| {
            if !fine {
                leaks.push(format!("{}: {what}", K::NAME));
            }
        };
        let stats = self.queue.stats();
        let done = self.queue.wait_done_timeout(Duration::ZERO).map_err(during("ask whether it is done"))?;
        expect(done, "it is empty, and not done".into());
        expect(stats.depth == 0 && stats.leased == 0 && stats.owners.is_empty(), format!("{stats:?}"));
        let free = self.blocks.free();
        expect(free == self.blocks.count(), format!("{free} blocks are free: {:?}", self.blocks.stats()));
        self.is_as_new().unwrap_or_else(|what| expect(false, what));
        Ok(leaks)
    }

    /// All places can be filled, and all leases be had.
    fn is_as_new(&self) -> Result<(), String> {
        let (capacity, leases) = (self.queue.capacity(), RECEIVERS * LEASES);
        // Not counted: their numbers were never begun.
        let value = |number: usize| K::write(Key { sender: 0, number: 4 * number as u64 + 1 }, &self.blocks);
        for number in 0..capacity {
            self.queue
                .try_send(value(number))
                .map_err(|error| format!("place {number} of {capacity}: {error}"))?;
        }
        let take = |number: usize| {
            self.queue.try_lease().map_err(|error| format!("lease {number} of {leases}: {error}"))
        };
        let held: Vec<Lease<K::Value>> = (0..leases.min(capacity)).map(take).collect::<Result<_, _>>()?;
        held.into_iter().try_for_each(|lease| lease.ack().map(drop)).map_err(during("acknowledge"))?;
        let rest = self.queue.drain().count();
        if rest + leases.min(capacity) == capacity {
            Ok(())
        } else {
            Err(format!("{rest} came of {capacity}"))
        }
    }

    pub(super) fn close(&self, graves: &[Grave]) -> Account {
        let account = self.tally.close(graves);
        if account.lost + account.duplicated + account.corrupt > 0 {
            eprintln!("{}: {account:?}", K::NAME);
        }
        account
    }

    /// How often a message was given back, as the queue counts it.
    pub(super) fn redelivered(&self) -> u64 {
        self.queue.stats().redelivered
    }
}

fn pool(manager: &Manager) -> ginnel::Result<Blocks> {
    manager.get_or_create_with(POOL, blocks::Options::new(BLOCKS, 8 * BLOCK))
}

fn get<T: Object>(manager: &Manager, name: &str) -> T {
    manager.get(name).expect("it can be opened").expect("the supervisor keeps it")
}

/// That nothing came in time is no fault; anything else ends the worker.
fn is_slow(error: RecvTimeoutError) {
    match error {
        RecvTimeoutError::Timeout => {}
        RecvTimeoutError::Failed(error) if error.is_timeout() || error.is_full() => {
            thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
        }
        error => panic!("receive: {error}"),
    }
}
