//! Users of a dict and of a list, while their words are overwritten: tables, nodes, lists of free blocks, heads of spans.
//!
//! A key may be gone, a value may be another or nonsense; what is decoded is copied before. Values have handles in them
//! now and then, so that tickets are named by words that lie.

use std::hint::black_box;

use ginnel::sync::Lock;
use ginnel::{Dict, Error, List, Manager, dict, list};

use super::workers::{Op, SUBJECT, TIMEOUT, Worker, end};
use super::{Kind, PAGE};

/// The shards of the dict: their words fit a page.
const SHARDS: usize = 4;
/// Keys and indices are below.
const KEYS: u64 = 200;

/// The pages in which the shards of a store lie, in words from its beginning.
pub(super) const SHARD_WORDS: std::ops::Range<usize> = 2 * PAGE / 8..2 * PAGE / 8 + SHARDS * 96;
/// Where its first tables and nodes are as a rule: behind the object and the mutex.
pub(super) const HEAP_WORDS: std::ops::Range<usize> = 4 * PAGE / 8..10 * PAGE / 8;

type Numbers = (Vec<u64>, Option<Lock>);

fn open_dict(manager: &Manager) -> ginnel::Result<Dict<u64, Numbers>> {
    let options = dict::Options::new().shards(SHARDS);
    Ok(manager.get_or_create_with::<Dict<u64, Numbers>>(SUBJECT, options)?.with_patience(TIMEOUT))
}

fn open_list(manager: &Manager) -> ginnel::Result<List<Numbers>> {
    Ok(manager.get_or_create_with::<List<Numbers>>(SUBJECT, list::Options::new())?.with_patience(TIMEOUT))
}

/// Makes the store of a round, with something in it.
pub(super) fn furnish(manager: &Manager, kind: Kind) -> ginnel::Result<()> {
    if kind == Kind::Dict {
        let dict = open_dict(manager)?;
        (0..KEYS).try_for_each(|key| dict.set(&key, &(vec![key; key as usize % 30], None)).map(drop))
    } else {
        open_list(manager)?.extend((0..KEYS).map(|i| (vec![i; i as usize % 30], None)))
    }
}

/// What a worker does until its handle is given up.
pub(super) fn work(worker: &mut Worker<'_>, manager: &Manager, kind: Kind) {
    if kind == Kind::Dict {
        if let Some(dict) = worker.note(Op::Open, || open_dict(manager)) {
            use_dict(worker, manager, &dict);
            end(worker, dict);
        }
    } else if let Some(list) = worker.note(Op::Open, || open_list(manager)) {
        use_list(worker, manager, &list);
        end(worker, list);
    }
}

/// A value, with a handle in it now and then.
fn value(worker: &mut Worker<'_>, manager: &Manager) -> Numbers {
    let count = if worker.rng.below(40) == 0 { 3000 } else { worker.rng.below(40) };
    let lock =
        if worker.rng.below(16) == 0 { worker.note(Op::Make, || manager.create::<Lock>()) } else { None };
    ((0..count).collect(), lock)
}

fn use_dict(worker: &mut Worker<'_>, manager: &Manager, dict: &Dict<u64, Numbers>) {
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let (key, new) = (worker.rng.below(KEYS), value(worker, manager));
        succeeded = match worker.rng.below(12) {
            0..3 => worker.note(Op::Send, || dict.set(&key, &new)).is_some(),
            3..6 => worker.note(Op::Recv, || dict.get(&key).map(black_box)).is_some(),
            6 => worker.note(Op::Claim, || dict.discard(&key)).is_some(),
            7 => worker.note(Op::Lock, || dict.modify(&key, |value| value.0.push(1))).is_some(),
            8 => worker.note(Op::Lease, || dict.insert(key, new).map(black_box)).is_some(),
            9 => worker.note(Op::Select, || transfer(dict, key)).is_some(),
            10 => worker.note(Op::Poll, || dict.wait_changed_timeout(&key, 0, TIMEOUT)).is_some(),
            _ => worker.note(Op::Look, || look(dict)).is_some(),
        };
    }
}

fn transfer(dict: &Dict<u64, Numbers>, key: u64) -> ginnel::Result<()> {
    let mut tries = 0;
    dict.transaction(|t| {
        tries += 1;
        if tries > 8 {
            return Err(Error::from(std::io::Error::other("enough")));
        }
        let value = t.get(&key)?.unwrap_or_default();
        t.insert(key + 1, value)?;
        t.remove(&key)
    })
}

fn look(dict: &Dict<u64, Numbers>) -> ginnel::Result<()> {
    black_box((dict.len(), dict.usage()?));
    dict.iter().try_for_each(|entry| entry.map(|entry| drop(black_box(entry))))
}

fn use_list(worker: &mut Worker<'_>, manager: &Manager, list: &List<Numbers>) {
    let mut succeeded = true;
    while worker.goes_on(succeeded) {
        let (index, new) = (worker.rng.below(KEYS) as usize, value(worker, manager));
        succeeded = match worker.rng.below(12) {
            0..3 => worker.note(Op::Send, || list.push(new)).is_some(),
            3..6 => worker.note(Op::Recv, || list.get(index).map(black_box)).is_some(),
            6 => worker.note(Op::Claim, || list.pop().map(black_box)).is_some(),
            7 => worker.note(Op::Lock, || list.modify(index, |value| value.0.push(1))).is_some(),
            8 => worker.note(Op::Lease, || list.insert(index, new)).is_some(),
            9 => worker.note(Op::EndLease, || list.remove(index).map(black_box)).is_some(),
            10 => worker.note(Op::Select, || list.reverse()).is_some(),
            _ => worker.note(Op::Look, || list.to_vec().map(|values| drop(black_box(values)))).is_some(),
        };
    }
}
