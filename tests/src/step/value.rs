//! Writing a value that is larger than a word, and an array, interrupted.
//!
//! A value of three numbers is always the old one or the new one, and whoever writes next is let in without being told of
//! anything. An array is half-written by whoever dies inside: that is told, as with a read-write lock.

use ginnel::manager::{Elements, Init};
use ginnel::{Array, Manager, Value};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{World, during};

type Data = [u64; 3];

const OLD: Data = [1; 3];
const NEW: Data = [2; 3];
const LATER: Data = [3; 3];

/// 1: the victim's operation is over.
const DONE: usize = 0;

struct Both {
    world: World,
    value: Value<Data>,
    array: Array<u64>,
}

impl Both {
    fn new() -> Result<Self, String> {
        let world = World::new()?;
        let (value, array) = open(&world.manager).map_err(during("make a value and an array"))?;
        Ok(Self { world, value, array })
    }

    /// Nothing is left.
    fn end(self) -> Result<(), String> {
        let Self { world, value, array } = self;
        drop((value, array));
        world.is_empty_again()
    }
}

fn open(manager: &Manager) -> ginnel::Result<(Value<Data>, Array<u64>)> {
    let value = manager.get_or_create_with("value", Init(Some(OLD)))?;
    Ok((value, manager.get_or_create_with("array", Elements::of(OLD))?))
}

fn subject(
    victim: impl Fn(&Value<Data>, &Array<u64>) -> ginnel::Result<()> + 'static,
    mut check: impl FnMut(Both, bool) -> Result<(), String> + 'static,
) -> Subject<'static, Both> {
    Subject {
        setup: Box::new(Both::new),
        view: Box::new(|both: &Both| both.world.view()),
        victim: Box::new(move |both: &Both, marks: &Marks| {
            let manager = both.world.attach();
            let (value, array) = open(&manager).expect("they are there");
            marks.begin();
            let outcome = victim(&value, &array);
            both.world.results.set(DONE, u64::from(outcome.is_ok()));
            marks.end();
        }),
        check: Box::new(move |both: Both, _| {
            let done = both.world.results.get(DONE) == 1;
            check(both, done)
        }),
    }
}

/// What a survivor finds: the old value or the new one, before anybody is recovered and after it.
fn whole(both: Both, done: bool) -> Result<(), String> {
    let found = both.value.get();
    both.world.recover_one()?;
    if found != both.value.get() || (found != NEW && (done || found != OLD)) {
        return Err(format!("{found:?}, then {:?}; the victim was done: {done}", both.value.get()));
    }
    let owner = |object: ginnel::manager::ObjectInfo| object.sync.and_then(|sync| sync.owner);
    if let Some(owner) = both.world.manager.inspect().objects.into_iter().find_map(owner) {
        return Err(format!("still locked by {owner}"));
    }
    let made = both.value.update(|value| if value == found { LATER } else { OLD });
    if made.map_err(during("update"))? != LATER || both.value.get() != LATER {
        return Err(format!("{:?} after an update to {LATER:?}", both.value.get()));
    }
    both.end()
}

pub(super) fn set(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let set = subject(|value, _| value.set(NEW), whole);
    let swap = subject(|value, _| value.compare_exchange(OLD, NEW).map(drop), whole);
    all(plan, progress, [("set".to_owned(), set), ("compare_exchange".to_owned(), swap)])
}

pub(super) fn update(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = subject(|value, _| value.update(|old| old.map(|word| word + 1)).map(drop), whole);
    all(plan, progress, [("free".to_owned(), subject)])
}

pub(super) fn array(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let write = subject(
        |_, array| array.copy_from_slice(&NEW),
        |both, done| {
            both.world.recover_one()?;
            let found = match both.array.to_vec() {
                Ok(whole) if whole == NEW || (!done && whole == OLD) => whole,
                Ok(other) => return Err(format!("{other:?}; the victim was done: {done}")),
                Err(error) if error.is_owner_died() && !done => {
                    let repaired = both.array.write_or_repair(|all| all.copy_from_slice(&LATER));
                    repaired.map_err(during("repair"))?.to_vec()
                }
                Err(error) => return Err(format!("the array does not come back: {error}")),
            };
            both.array.set(0, 9).map_err(during("set"))?;
            if both.array.to_vec().map_err(during("read"))? != [9, found[1], found[2]] {
                return Err("a change of one element is lost".to_owned());
            }
            both.end()
        },
    );
    let read = subject(
        |_, array| array.get(1).map(drop),
        |both, _| {
            both.world.recover_one()?;
            both.array.set(1, 5).map_err(during("write behind a dead reader"))?;
            both.end()
        },
    );
    all(plan, progress, [("write".to_owned(), write), ("read".to_owned(), read)])
}
