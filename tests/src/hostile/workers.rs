//! Those who go on working while the segment is overwritten, and their log.
//!
//! Each worker writes down which operation it begins and when, so that a hang has a name. An operation that comes back
//! with an error ends the use of that handle now and then: the worker then attaches anew, as a program would.

use std::io;
use std::time::{Duration, Instant};

use ginnel::error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use ginnel::spsc::{self, Consumer, Producer};
use ginnel::sync::Mutex;
use ginnel::{Error, ErrorKind, Manager};
use ginnel_testkit::child;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, now_ns};

use super::{Kind, pool, queues, stores};
use crate::world::try_attach;

/// The queue of a round, whatever its kind.
pub(super) const SUBJECT: &str = "subject";
pub(super) const MUTEX: &str = "mutex";

/// One that sends, one that receives, one that locks or takes part in another way, and one that makes, removes,
/// recovers and looks.
pub(super) const WORKERS: usize = 4;

/// The timeout of operations that take one.
pub(super) const TIMEOUT: Duration = Duration::from_millis(5);

/// The same for a connection, which takes several turns of both sides.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);

pub(super) fn lane() -> spsc::Options {
    spsc::Options::new().capacity(64).size(4096)
}

/// Operations, for the name of a hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Op {
    Attach = 1,
    Open,
    Send,
    SendMany,
    Claim,
    Recv,
    RecvMany,
    Loan,
    Lease,
    EndLease,
    Block,
    Lock,
    Make,
    Remove,
    Recover,
    Look,
    Drop,
    Accept,
    Connect,
    Poll,
    Select,
    OpenShared,
    Serve,
}

impl Op {
    const ALL: [Self; 23] = [
        Self::Attach,
        Self::Open,
        Self::Send,
        Self::SendMany,
        Self::Claim,
        Self::Recv,
        Self::RecvMany,
        Self::Loan,
        Self::Lease,
        Self::EndLease,
        Self::Block,
        Self::Lock,
        Self::Make,
        Self::Remove,
        Self::Recover,
        Self::Look,
        Self::Drop,
        Self::Accept,
        Self::Connect,
        Self::Poll,
        Self::Select,
        Self::OpenShared,
        Self::Serve,
    ];

    /// Whether it takes the lock of the names, and so has a patience of its own.
    fn is_patient(self) -> bool {
        matches!(self, Self::Open | Self::Make | Self::Remove | Self::Drop)
    }

    /// The longest it may take: its timeout, and a slice.
    fn bound(self) -> Duration {
        let timeout = if self == Self::Connect { CONNECT_TIMEOUT } else { TIMEOUT };
        timeout + Duration::from_millis(50)
    }
}

/// What the workers of a round did: for each its figures, its operation, and how late the latest came back.
#[derive(Debug)]
pub(super) struct Log {
    words: Scratch,
}

impl Log {
    pub(super) const DONE: usize = 0;
    pub(super) const WAITED: usize = 1;
    pub(super) const GONE: usize = 2;
    pub(super) const CORRUPTED: usize = 3;
    pub(super) const OTHER: usize = 4;
    pub(super) const FIGURES: usize = 5;
    const OPERATION: usize = 5;
    const LATE: usize = 6;
    const WRONG: usize = 7;
    const EACH: usize = 8;

    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { words: Scratch::new(WORKERS * Self::EACH)? })
    }

    pub(super) fn sum(&self, figure: usize) -> u64 {
        (0..WORKERS).map(|index| self.words.get(index * Self::EACH + figure)).sum()
    }

    /// The longest time beyond its bound that an operation took, in ns.
    pub(super) fn latest(&self) -> u64 {
        (0..WORKERS).map(|index| self.words.get(index * Self::EACH + Self::LATE)).max().unwrap_or_default()
    }

    /// Answers that were none of those expected.
    pub(super) fn wrong(&self) -> u64 {
        self.sum(Self::WRONG)
    }

    pub(super) fn operation(&self, index: usize) -> String {
        let number = self.words.get(index * Self::EACH + Self::OPERATION);
        Op::ALL.into_iter().find(|op| *op as u64 == number).map_or("none".to_owned(), |op| format!("{op:?}"))
    }

    pub(super) fn is_patient(&self, index: usize) -> bool {
        let number = self.words.get(index * Self::EACH + Self::OPERATION);
        Op::ALL.into_iter().any(|op| op as u64 == number && op.is_patient())
    }
}

/// What came of an operation, as far as the figures are concerned.
pub(super) trait Outcome {
    fn figure(&self) -> usize;
}

impl Outcome for Error {
    fn figure(&self) -> usize {
        match self.kind() {
            ErrorKind::Corrupted | ErrorKind::Mismatch => Log::CORRUPTED,
            ErrorKind::Timeout => Log::WAITED,
            ErrorKind::Closed | ErrorKind::PeerDied | ErrorKind::OwnerDied => Log::GONE,
            _ => Log::OTHER,
        }
    }
}

/// The enums that give a value back, by their variants.
fn enum_figure(waited: bool, closed: bool, failed: Option<&Error>) -> usize {
    match failed {
        Some(error) => error.figure(),
        None if waited => Log::WAITED,
        None if closed => Log::GONE,
        None => Log::OTHER,
    }
}

impl<T> Outcome for SendError<T> {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(_, error) = self { Some(error) } else { None };
        enum_figure(false, matches!(self, Self::Closed(_)), failed)
    }
}

impl<T> Outcome for TrySendError<T> {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(_, error) = self { Some(error) } else { None };
        enum_figure(matches!(self, Self::Full(_)), matches!(self, Self::Closed(_)), failed)
    }
}

impl<T> Outcome for SendTimeoutError<T> {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(_, error) = self { Some(error) } else { None };
        enum_figure(matches!(self, Self::Timeout(_)), matches!(self, Self::Closed(_)), failed)
    }
}

impl Outcome for TryRecvError {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(error) = self { Some(error) } else { None };
        enum_figure(matches!(self, Self::Empty), matches!(self, Self::Closed), failed)
    }
}

impl Outcome for RecvTimeoutError {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(error) = self { Some(error) } else { None };
        enum_figure(matches!(self, Self::Timeout), matches!(self, Self::Closed), failed)
    }
}

impl Outcome for RecvError {
    fn figure(&self) -> usize {
        let failed = if let Self::Failed(error) = self { Some(error) } else { None };
        enum_figure(false, matches!(self, Self::Closed), failed)
    }
}

/// A worker's own view of the round.
pub(super) struct Worker<'a> {
    log: &'a Log,
    at: usize,
    end: Instant,
    pub(super) rng: Rng,
}

impl<'a> Worker<'a> {
    /// Worker `index` of a round that ends after `round`.
    pub(super) fn new(log: &'a Log, index: usize, seed: u64, round: Duration) -> Self {
        Self { log, at: index * Log::EACH, end: Instant::now() + round, rng: Rng::new(seed) }
    }

    /// Runs an operation, notes it, and gives its value if it had one.
    pub(super) fn note<T, E: Outcome>(&self, op: Op, operation: impl FnOnce() -> Result<T, E>) -> Option<T> {
        self.log.words.set(self.at + Log::OPERATION, op as u64);
        let begun = now_ns();
        let result = operation();
        if !op.is_patient() {
            let bound = op.bound().as_nanos() as u64;
            self.log.words.raise(self.at + Log::LATE, (now_ns() - begun).saturating_sub(bound));
        }
        self.log.words.set(self.at + Log::OPERATION, 0);
        let figure = result.as_ref().err().map_or(Log::DONE, Outcome::figure);
        self.log.words.add(self.at + figure, 1);
        result.ok()
    }

    /// An answer was none of those expected.
    pub(super) fn blame(&self) {
        self.log.words.add(self.at + Log::WRONG, 1);
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Whether to go on with a handle after an operation that did not succeed: mostly, since errors must not hurt.
    pub(super) fn goes_on(&mut self, succeeded: bool) -> bool {
        !self.is_over() && (succeeded || self.rng.below(8) != 0)
    }
}

/// Works until the round is over, attaching anew whenever a handle is given up.
pub(super) fn run(manager: &Manager, log: &Log, index: usize, seed: u64, round: Duration, kind: Kind) {
    let cores = child::cores().unwrap_or_default();
    if let Some(core) = cores.get(index % cores.len().max(1)) {
        child::pin(*core).expect("the core is ours");
    }
    let mut worker = Worker::new(log, index, seed, round);
    while !worker.is_over() {
        let Some(own) = worker.note(Op::Attach, || try_attach(manager)) else { continue };
        match (kind, index) {
            (_, 3) => keep_house(&mut worker, &own),
            (Kind::Values, 0) => produce(&mut worker, &own),
            (Kind::Values, 1) => consume(&mut worker, &own),
            (Kind::Bytes, 0) => produce_bytes(&mut worker, &own),
            (Kind::Bytes, 1) => consume_bytes(&mut worker, &own),
            (Kind::Values | Kind::Bytes, _) => lock(&mut worker, &own),
            (Kind::Crew, _) => pool::work(&mut worker, &own, index),
            (Kind::Dict | Kind::List, _) => stores::work(&mut worker, &own, kind),
            _ => queues::work(&mut worker, &own, kind, index),
        }
        worker.note(Op::Drop, || {
            drop(own);
            Ok::<(), Error>(())
        });
    }
}

fn produce(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut producer) = worker.note(Op::Open, || lane().producer::<u64>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(4) {
            0 => worker.note(Op::Send, || producer.try_send(1)).is_some(),
            1 => worker.note(Op::Send, || producer.send_timeout(2, TIMEOUT)).is_some(),
            2 => worker.note(Op::SendMany, || producer.try_send_many(&[3; 16])).is_some(),
            _ => worker.note(Op::Claim, || claim(&mut producer)).is_some(),
        };
    }
    end(worker, producer);
}

fn claim(producer: &mut Producer<u64>) -> Result<(), SendTimeoutError<()>> {
    let mut claim = producer.claim_timeout(TIMEOUT)?;
    *claim = 4;
    claim.commit();
    Ok(())
}

fn consume(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut consumer) = worker.note(Op::Open, || lane().consumer::<u64>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    let mut many = Vec::new();
    while worker.goes_on(succeeded) {
        many.clear();
        succeeded = match worker.rng.below(4) {
            0 => worker.note(Op::Recv, || consumer.try_recv()).is_some(),
            1 => worker.note(Op::Recv, || consumer.recv_timeout(TIMEOUT)).is_some(),
            // The first message is there, so it does not wait.
            2 => worker.note(Op::RecvMany, || recv_many(&mut consumer, &mut many)).is_some(),
            _ => worker
                .note(Op::Loan, || consumer.loan_timeout(TIMEOUT).map(|loan| std::hint::black_box(*loan)))
                .is_some(),
        };
    }
    end(worker, consumer);
}

/// `recv_many` has no form with a timeout, so it runs behind a look; emptied by the scribbler in between, it would wait.
fn recv_many(consumer: &mut Consumer<u64>, into: &mut Vec<u64>) -> Result<u64, TryRecvError> {
    for _ in 0..16 {
        into.push(consumer.try_recv()?);
    }
    Ok(into.iter().copied().fold(0, u64::wrapping_add))
}

fn produce_bytes(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut producer) = worker.note(Op::Open, || lane().producer::<[u8]>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    let room = [5_u8; 600];
    while worker.goes_on(succeeded) {
        let message = &room[..worker.rng.below(600) as usize];
        succeeded = match worker.rng.below(4) {
            0 => worker.note(Op::Send, || producer.try_send(message)).is_some(),
            1 => worker.note(Op::Send, || producer.send_timeout(message, TIMEOUT)).is_some(),
            2 => worker.note(Op::SendMany, || producer.try_send_many(&[message; 4])).is_some(),
            _ => worker
                .note(Op::Claim, || {
                    producer.claim_timeout(message.len(), TIMEOUT).map(|mut claim| {
                        claim.fill(6);
                        claim.commit();
                    })
                })
                .is_some(),
        };
    }
    end(worker, producer);
}

fn consume_bytes(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut consumer) = worker.note(Op::Open, || lane().consumer::<[u8]>(manager, SUBJECT)) else {
        return;
    };
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(3) {
            0 => worker.note(Op::Recv, || consumer.try_recv().map(|bytes| sum(&bytes))).is_some(),
            1 => worker.note(Op::Recv, || consumer.recv_timeout(TIMEOUT).map(|bytes| sum(&bytes))).is_some(),
            _ => worker.note(Op::Loan, || consumer.loan_timeout(TIMEOUT).map(|loan| sum(&loan))).is_some(),
        };
    }
    end(worker, consumer);
}

fn lock(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mutex) = worker.note(Op::Open, || manager.get_or_create::<Mutex<[u64; 2]>>(MUTEX)) else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let change = |mut pair: ginnel::sync::MutexGuard<'_, [u64; 2]>| pair[0] = pair[0].wrapping_add(1);
        succeeded = match worker.rng.below(2) {
            0 => worker.note(Op::Lock, || mutex.lock_timeout(TIMEOUT).map(change)).is_some(),
            _ => worker.note(Op::Lock, || mutex.try_lock().map(|guard| guard.map(change))).is_some(),
        };
    }
    end(worker, mutex);
}

fn keep_house(worker: &mut Worker<'_>, manager: &Manager) {
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(5) {
            // A queue's counters are in the picture.
            0 => worker.note(Op::Recover, || manager.recover()).is_some(),
            1 => worker.note(Op::Look, || Ok::<_, Error>(std::hint::black_box(manager.inspect()))).is_some(),
            2 => worker
                .note(Op::Look, || Ok::<_, Error>(std::hint::black_box(manager.names().len())))
                .is_some(),
            3 => worker.note(Op::Make, || manager.get_or_create::<Mutex<u64>>("other").map(drop)).is_some(),
            _ => worker.note(Op::Remove, || manager.remove("other")).is_some(),
        };
    }
}

/// Lets go of a handle, which is an operation too.
pub(super) fn end<H>(worker: &Worker<'_>, handle: H) {
    worker.note(Op::Drop, || {
        drop(handle);
        Ok::<(), Error>(())
    });
}
