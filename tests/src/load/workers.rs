//! The processes that are killed: what each does, and what it writes down while it does it.

use std::thread;
use std::time::Duration;

use ginnel::manager::Options as Segment;
use ginnel::spsc::{
    self, Consumer, Options, Producer, RecvTimeoutError, SendTimeoutError, TryRecvError, Wait,
};
use ginnel::sync::{Init, Mutex, MutexGuard};
use ginnel::{ErrorKind, Manager, Plain};
use ginnel_layout::line::PAGE;
use ginnel_testkit::oracle::{self, Ledger, MESSAGE_MIN};
use ginnel_testkit::rng::mix;
use ginnel_testkit::scratch::Scratch;

use super::Books;
use crate::world::{during, try_attach};

/// A value of a typed lane: lane, sequence number, a body, checksum.
type Message = [u64; 4];

/// Longest wait of a worker for its peer, which may be dead and not replaced yet.
const A_WHILE: Duration = Duration::from_millis(50);

/// Most words of a message of bytes.
const WORDS: usize = 250;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Batches(usize),
    Bytes,
}

/// A lane under load.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    kind: Kind,
    wait: Wait,
}

pub(super) const LANES: &[Lane] = &[
    Lane { name: "orders", kind: Kind::Single, wait: Wait::Adaptive },
    Lane { name: "ticks", kind: Kind::Batches(16), wait: Wait::Adaptive },
    Lane { name: "blobs", kind: Kind::Bytes, wait: Wait::Sleep },
];

impl Lane {
    fn options(&self) -> Options {
        Options::new().capacity(256).size(16 << 10).wait(self.wait)
    }

    fn producer<T: spsc::Payload + ?Sized>(&self, manager: &Manager) -> Producer<T> {
        self.options().producer(manager, self.name).expect("the predecessor is dead, so its end is free")
    }

    fn consumer<T: spsc::Payload + ?Sized>(&self, manager: &Manager) -> Consumer<T> {
        self.options().consumer(manager, self.name).expect("the predecessor is dead, so its end is free")
    }
}

/// A worker's own participant: what it inherited is worth nothing in a forked child.
fn attach(manager: &Manager) -> Manager {
    try_attach(manager).expect("there is a place for each worker")
}

/// A send that did not happen because the peer is dead or slow is taken back; anything else ends the worker.
fn expected<T>(error: &SendTimeoutError<T>) -> bool {
    match error {
        SendTimeoutError::Timeout(_) => true,
        // Its successor is about to come; spinning on the error would only keep it from the core.
        SendTimeoutError::Failed(_, error) if error.is_peer_dead() => {
            thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
            true
        }
        _ => false,
    }
}

/// Sends for ever.
pub(super) fn produce(manager: &Manager, books: &Books, lane: usize, index: usize) {
    let manager = attach(manager);
    let (spec, ledger) = (&LANES[lane], books.ledger(lane));
    match spec.kind {
        Kind::Single => produce_single(spec.producer(&manager), &ledger, lane, || books.ready(index)),
        Kind::Batches(size) => {
            produce_batches(spec.producer(&manager), &ledger, lane, size, || books.ready(index))
        }
        Kind::Bytes => produce_bytes(spec.producer(&manager), &ledger, lane, || books.ready(index)),
    }
}

fn produce_single(mut producer: Producer<Message>, ledger: &Ledger<'_>, lane: usize, ready: impl FnOnce()) {
    ready();
    let mut message = Message::default();
    loop {
        oracle::write(lane as u64, ledger.begin(1).start, &mut message);
        match producer.send_timeout(message, A_WHILE) {
            Ok(()) => ledger.sent(1),
            Err(error) if expected(&error) => ledger.sent(0),
            Err(error) => panic!("send: {error}"),
        }
    }
}

fn produce_batches(
    mut producer: Producer<Message>,
    ledger: &Ledger<'_>,
    lane: usize,
    size: usize,
    ready: impl FnOnce(),
) {
    ready();
    let mut batch = vec![Message::default(); size];
    loop {
        let numbers = ledger.begin(size as u64);
        for (message, sequence) in batch.iter_mut().zip(numbers) {
            oracle::write(lane as u64, sequence, message);
        }
        match producer.try_send_many(&batch) {
            Ok(sent) => ledger.sent(sent as u64),
            Err(spsc::TrySendError::Full(_)) => {
                ledger.sent(0);
                // Waits for room by sending one alone.
                oracle::write(lane as u64, ledger.begin(1).start, &mut batch[0]);
                match producer.send_timeout(batch[0], A_WHILE) {
                    Ok(()) => ledger.sent(1),
                    Err(error) if expected(&error) => ledger.sent(0),
                    Err(error) => panic!("send: {error}"),
                }
            }
            Err(spsc::TrySendError::Failed(_, error)) if error.is_peer_dead() => {
                ledger.sent(0);
                thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
            }
            Err(error) => panic!("send_many: {error}"),
        }
    }
}

fn produce_bytes(mut producer: Producer<[u8]>, ledger: &Ledger<'_>, lane: usize, ready: impl FnOnce()) {
    ready();
    let mut words = [0; WORDS];
    loop {
        let sequence = ledger.begin(1).start;
        let length = MESSAGE_MIN + (mix(sequence) % (WORDS - MESSAGE_MIN) as u64) as usize;
        oracle::write(lane as u64, sequence, &mut words[..length]);
        match producer.claim_timeout(8 * length, A_WHILE) {
            Ok(mut claim) => {
                for (place, word) in claim.chunks_exact_mut(8).zip(&words) {
                    place.copy_from_slice(&word.to_ne_bytes());
                }
                claim.commit();
                ledger.sent(1);
            }
            Err(error) if expected(&error) => ledger.sent(0),
            Err(error) => panic!("claim: {error}"),
        }
    }
}

/// Receives for ever.
pub(super) fn consume(manager: &Manager, books: &Books, lane: usize, index: usize) {
    let manager = attach(manager);
    let (spec, ledger) = (&LANES[lane], books.ledger(lane));
    if spec.kind == Kind::Bytes {
        let mut consumer: Consumer<[u8]> = spec.consumer(&manager);
        books.ready(index);
        receive(|| consumer.loan_timeout(A_WHILE).map(|loan| saw_bytes(&ledger, &loan, loan.redelivered())));
    } else {
        let mut consumer: Consumer<Message> = spec.consumer(&manager);
        books.ready(index);
        // Written down before the loan goes, which acknowledges.
        receive(|| {
            consumer.loan_timeout(A_WHILE).map(|loan| {
                ledger.saw(&*loan, loan.redelivered());
                ledger.still(&*loan);
            })
        });
    }
}

fn receive(mut next: impl FnMut() -> Result<(), RecvTimeoutError>) {
    loop {
        match next() {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Failed(error)) if error.is_peer_dead() => {
                thread::sleep(Duration::from_micros(100)); // pacing, not synchronisation
            }
            Err(error) => panic!("receive: {error}"),
        }
    }
}

fn saw_bytes(ledger: &Ledger<'_>, bytes: &[u8], redelivered: bool) {
    let mut words = [0; WORDS];
    let length = (bytes.len() / 8).min(WORDS);
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.try_into().map_or(0, u64::from_ne_bytes);
    }
    ledger.saw(&words[..length], redelivered);
    ledger.still(&words[..length]);
}

/// Takes out what is left in a lane when everybody is dead.
pub(super) fn drain(manager: &Manager, books: &Books, lane: usize) -> Result<(), String> {
    let (spec, ledger) = (&LANES[lane], books.ledger(lane));
    let ended = |error: TryRecvError| match error {
        TryRecvError::Failed(error) if error.is_peer_dead() => Ok(()),
        other => Err(format!("{}: {other}; expected the word that the producer died", spec.name)),
    };
    if spec.kind == Kind::Bytes {
        let mut consumer: Consumer<[u8]> =
            spec.options().consumer(manager, spec.name).map_err(during("take a dead one's end"))?;
        loop {
            match consumer.try_loan() {
                Ok(loan) => saw_bytes(&ledger, &loan, loan.redelivered()),
                Err(error) => return ended(error),
            }
        }
    }
    let mut consumer: Consumer<Message> =
        spec.options().consumer(manager, spec.name).map_err(during("take a dead one's end"))?;
    loop {
        match consumer.try_loan() {
            Ok(loan) => ledger.saw(&*loan, loan.redelivered()),
            Err(error) => return ended(error),
        }
    }
}

/// One of those who count behind a mutex.
///
/// ```text
/// word at + 2*index    done      increments that were made and noted
///         + 1          intent    one more than `done` while one is made
/// word at + 8          inside    who is inside, index + 1
///         + 9          wrong     how often somebody else was inside too, or the numbers were unequal
///         + 10         open      increments during which a counter was killed
/// ```
#[derive(Debug)]
pub(super) struct Counter<'a> {
    pub(super) words: &'a Scratch,
    pub(super) at: usize,
    pub(super) index: usize,
}

const INSIDE: usize = 8;
const WRONG: usize = 9;
const OPEN: usize = 10;
const COUNTER: &str = "counter";

impl Counter<'_> {
    /// Counts for ever.
    pub(super) fn count(&self, manager: &Manager, books: &Books, index: usize) {
        let manager = attach(manager);
        let mutex = numbers(&manager).expect("there is room for the mutex");
        let (done, intent) = (self.at + 2 * self.index, self.at + 2 * self.index + 1);
        let mut first = true;
        loop {
            let next = self.words.get(done) + 1;
            self.words.set(intent, next);
            let (mut pair, whole) = enter(&mutex);
            if std::mem::take(&mut first) {
                books.ready(index);
            }
            let me = self.index as u64 + 1;
            self.words.set(self.at + INSIDE, me);
            if whole && pair[0] != pair[1] {
                self.words.add(self.at + WRONG, 1);
            }
            pair[0] += 1;
            std::hint::black_box(&mut pair);
            pair[1] = pair[0];
            if self.words.get(self.at + INSIDE) != me {
                self.words.add(self.at + WRONG, 1);
            }
            drop(pair);
            self.words.set(done, next);
        }
    }

    /// It is dead and reaped: whether its last increment was made is open.
    pub(super) fn bury(&self) {
        let (done, intent) = (self.at + 2 * self.index, self.at + 2 * self.index + 1);
        if self.words.get(intent) > self.words.get(done) {
            self.words.add(self.at + OPEN, 1);
        }
        self.words.set(intent, self.words.get(done));
    }

    /// How many increments are lost, how many were made twice, and how often somebody was let in wrongly.
    pub(super) fn settle(&self, manager: &Manager) -> Result<(u64, u64, u64), String> {
        let mutex = numbers(manager).map_err(during("open the counter"))?;
        let made = enter(&mutex).0[0];
        let noted: u64 = (0..Books::COUNTERS).map(|index| self.words.get(self.at + 2 * index)).sum();
        let most = noted + self.words.get(self.at + OPEN);
        Ok((noted.saturating_sub(made), made.saturating_sub(most), self.words.get(self.at + WRONG)))
    }
}

fn numbers(manager: &Manager) -> ginnel::Result<Mutex<[u64; 2]>> {
    manager.get_or_create_with(COUNTER, Init(Some([0, 0])))
}

/// Locks; repairs if a holder died, by finishing what it had begun. False: it had to.
fn enter(mutex: &Mutex<[u64; 2]>) -> (MutexGuard<'_, [u64; 2]>, bool) {
    match mutex.lock() {
        Ok(guard) => (guard, true),
        Err(error) if error.is_owner_died() => {
            let finish = |pair: &mut [u64; 2]| pair[1] = pair[0];
            (mutex.lock_or_repair(finish).expect("it can be repaired"), false)
        }
        Err(error) => panic!("lock: {error}"),
    }
}

/// Those who open a named segment and leave it again.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) name: String,
}

impl Opener {
    /// Comes and goes for ever.
    pub(super) fn come_and_go(&self, books: &Books, index: usize) {
        let options = || Segment::new().limit(4 * PAGE).participants(16).objects(4);
        let mut first = true;
        loop {
            let manager = Manager::open_or_create_with(&self.name, options()).expect("it can be opened");
            let mutex: Mutex<u64> = get_or_make(&manager, "visits");
            match mutex.lock_or_repair(|_| {}) {
                Ok(mut visits) => *visits += 1,
                Err(error) => panic!("visit: {error}"),
            }
            if std::mem::take(&mut first) {
                books.ready(index);
            }
        }
    }

    /// What is left of the segment when a last one has looked after it.
    pub(super) fn leaks(&self) -> Result<Vec<String>, String> {
        match Manager::collect(&self.name) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("collect {}: {error}", self.name)),
        }
        let left = Manager::list().map_err(during("list the names"))?;
        Ok(left
            .into_iter()
            .filter(|name| *name == self.name)
            .map(|name| format!("the name {name}"))
            .collect())
    }
}

fn get_or_make<T: Plain>(manager: &Manager, name: &str) -> Mutex<T> {
    manager.get_or_create(name).expect("there is room")
}
