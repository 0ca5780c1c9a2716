//! Those who send and receive through queues of all kinds while the words of these are overwritten.

use std::hint::black_box;

use ginnel::blocks::{self, Block, Blocks};
use ginnel::queue::Lease;
use ginnel::{Error, Manager, Message, Queue, Raw, mpsc, queue};
use ginnel_object::broadcast;
use ginnel_testkit::rng::Rng;

use super::Kind;
use super::workers::{Op, SUBJECT, TIMEOUT, Worker, end};

pub(super) const POOL: &str = "pool";

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Leases of a queue; more are asked for now and then.
const LEASES: usize = 4;

type Number = Raw<u64>;
type Letter = (Vec<u64>, Option<Block>);

fn options() -> queue::Options {
    queue::Options::bounded(32).leases(LEASES).inline_size(112)
}

fn lanes() -> mpsc::Options {
    mpsc::Options::new().size(4096).senders(3)
}

fn posters() -> broadcast::Options {
    broadcast::Options::new().capacity(32).message_size(112)
}

/// Makes the queue of a round.
pub(super) fn furnish(manager: &Manager, kind: Kind) -> ginnel::Result<()> {
    match kind {
        Kind::Mpsc => drop(lanes().sender::<String>(manager, SUBJECT)?),
        Kind::Broadcast => drop(posters().sender::<Vec<u64>>(manager, SUBJECT)?),
        Kind::Letters => {
            drop(manager.get_or_create_with::<Queue<Letter>>(SUBJECT, options())?);
            drop(manager.get_or_create_with::<Blocks>(POOL, blocks::Options::new(4, BLOCK))?);
        }
        _ => drop(manager.get_or_create_with::<Queue<Number>>(SUBJECT, options())?),
    }
    Ok(())
}

/// What worker `index` does until its handle is given up.
pub(super) fn work(worker: &mut Worker<'_>, manager: &Manager, kind: Kind, index: usize) {
    match (kind, index) {
        (Kind::Mpsc, 1) => take_from_lanes(worker, manager),
        (Kind::Mpsc, _) => send_to_lanes(worker, manager),
        (Kind::Broadcast, 0) => post(worker, manager),
        (Kind::Broadcast, _) => listen(worker, manager),
        (Kind::Letters, 0) => {
            let Some(pool) = worker.note(Op::Open, || open::<Blocks>(manager, POOL)) else { return };
            send(worker, manager, |rng| letter(&pool, rng));
            end(worker, pool);
        }
        (Kind::Letters, _) => receive(worker, manager, index, |(words, block): &Letter| {
            let bytes = block.iter().flat_map(|block| block.iter()).map(|byte| u64::from(*byte));
            words.iter().copied().chain(bytes).fold(0, u64::wrapping_add)
        }),
        (_, 0) => send(worker, manager, |rng| Raw(rng.next_u64())),
        _ => receive(worker, manager, index, |number: &Number| number.0),
    }
}

/// An object that was there when the round began, and may be anything by now.
fn open<T: ginnel::Object>(manager: &Manager, name: &str) -> ginnel::Result<T>
where
    T::Options: Default,
{
    manager.get_or_create(name)
}

/// A message: mostly short, now and then too long for a slot, now and then with a block.
fn letter(pool: &Blocks, rng: &mut Rng) -> Letter {
    let words = if rng.below(16) == 0 { rng.below(200) } else { rng.below(10) };
    let mut block = if rng.below(4) == 0 { pool.try_claim().ok().flatten() } else { None };
    if let Some(block) = &mut block {
        block.fill(7);
        block.truncate(rng.below(BLOCK as u64) as usize);
    }
    ((0..words).collect(), block.map(blocks::BlockMut::freeze))
}

fn send<T: Message>(worker: &mut Worker<'_>, manager: &Manager, make: impl Fn(&mut Rng) -> T) {
    let Some(queue) = worker.note(Op::Open, || open::<Queue<T>>(manager, SUBJECT)) else { return };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let mut value = None;
        // Making it claims a block, perhaps.
        let mut rng = worker.rng.fork(0);
        worker.note(Op::Block, || {
            value = Some(make(&mut rng));
            Ok::<(), Error>(())
        });
        worker.rng = rng;
        let Some(value) = value else { return };
        succeeded = match worker.rng.below(8) {
            0..4 => worker.note(Op::Send, || queue.try_send(value)).is_some(),
            4..7 => worker.note(Op::Send, || queue.send_timeout(value, TIMEOUT)).is_some(),
            _ => look(worker, &queue),
        };
    }
    end(worker, queue);
}

/// What can be asked without waiting.
fn look<T: Message>(worker: &mut Worker<'_>, queue: &Queue<T>) -> bool {
    worker.note(Op::Look, || {
        black_box((queue.len(), queue.is_full(), queue.is_closed(), queue.stats()));
        queue.wait_done_timeout(TIMEOUT).map(drop)
    });
    true
}

/// Worker 1 copies, worker 2 leases.
fn receive<T: Message>(
    worker: &mut Worker<'_>,
    manager: &Manager,
    index: usize,
    read: impl Fn(&T) -> u64 + Copy,
) {
    let Some(queue) = worker.note(Op::Open, || open::<Queue<T>>(manager, SUBJECT)) else { return };
    let mut succeeded = true;
    let mut leases = Vec::new();
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(8) {
            7 => look(worker, &queue),
            0..4 if index == 1 => {
                worker.note(Op::Recv, || queue.try_recv().map(|value| read(&value))).is_some()
            }
            _ if index == 1 => {
                worker.note(Op::Recv, || queue.recv_timeout(TIMEOUT).map(|value| read(&value))).is_some()
            }
            0..3 if !leases.is_empty() => end_lease(worker, &mut leases, read),
            0..5 => lease(worker, &mut leases, || queue.try_lease().map_err(Into::into)),
            _ => lease(worker, &mut leases, || queue.lease_timeout(TIMEOUT).map_err(Into::into)),
        };
    }
    end(worker, leases);
    end(worker, queue);
}

fn lease<T: Message>(
    worker: &Worker<'_>,
    leases: &mut Vec<Lease<T>>,
    lease: impl FnOnce() -> Result<Lease<T>, Error>,
) -> bool {
    let got = worker.note(Op::Lease, lease);
    let succeeded = got.is_some();
    leases.extend(got);
    succeeded
}

fn end_lease<T: Message>(
    worker: &mut Worker<'_>,
    leases: &mut Vec<Lease<T>>,
    read: impl Fn(&T) -> u64,
) -> bool {
    let chosen = worker.rng.below(leases.len() as u64) as usize;
    let (lease, ack) = (leases.swap_remove(chosen), worker.rng.below(4) != 0);
    let ended = worker.note(Op::EndLease, || {
        black_box((read(&lease), lease.redelivered()));
        if ack {
            lease.ack().map(|value| {
                black_box(read(&value));
            })
        } else {
            lease.nack();
            Ok(())
        }
    });
    ended.is_some()
}

fn send_to_lanes(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut sender) = worker.note(Op::Open, || lanes().sender::<String>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let value = "x".repeat(worker.rng.below(100) as usize);
        succeeded = match worker.rng.below(8) {
            0..4 => worker.note(Op::Send, || sender.try_send(value)).is_some(),
            4..7 => worker.note(Op::Send, || sender.send_timeout(value, TIMEOUT)).is_some(),
            _ => worker
                .note(Op::Look, || Ok::<_, Error>(black_box((sender.len(), sender.is_closed()))))
                .is_some(),
        };
    }
    end(worker, sender);
}

fn take_from_lanes(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut receiver) = worker.note(Op::Open, || lanes().receiver::<String>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(8) {
            0..4 => worker.note(Op::Recv, || receiver.try_recv()).is_some(),
            4..7 => worker.note(Op::Recv, || receiver.recv_timeout(TIMEOUT)).is_some(),
            _ => worker
                .note(Op::Look, || Ok::<_, Error>(black_box((receiver.len(), receiver.senders()))))
                .is_some(),
        };
    }
    end(worker, receiver);
}

fn post(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(sender) = worker.note(Op::Open, || posters().sender::<Vec<u64>>(manager, SUBJECT)) else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let value: Vec<u64> = (0..worker.rng.below(10)).collect();
        succeeded = match worker.rng.below(2) {
            0 => worker.note(Op::Send, || sender.try_send(value)).is_some(),
            _ => worker.note(Op::Send, || sender.send_timeout(value, TIMEOUT)).is_some(),
        };
    }
    end(worker, sender);
}

fn listen(worker: &mut Worker<'_>, manager: &Manager) {
    let Some(mut receiver) = worker.note(Op::Open, || posters().receiver::<Vec<u64>>(manager, SUBJECT))
    else {
        return;
    };
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        succeeded = match worker.rng.below(8) {
            0..4 => worker.note(Op::Recv, || receiver.try_recv()).is_some(),
            4..7 => worker.note(Op::Recv, || receiver.recv_timeout(TIMEOUT)).is_some(),
            _ => worker
                .note(Op::Look, || {
                    black_box((receiver.len(), receiver.is_closed(), receiver.take_missed()));
                    receiver.skip_to_latest()
                })
                .is_some(),
        };
    }
    end(worker, receiver);
}
