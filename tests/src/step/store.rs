//! Operations on a dict and a list, interrupted.
//!
//! A dead writer has done its operation or has not begun it. First, while nobody has recovered it and its locks name it
//! still, a survivor reads every key: readers wait for nobody, and find the value of before or that of after, whole. Then
//! the survivor recovers it, and all keys together are those of before or those of after; if the victim had come to the
//! end, those of after. Every block is reached or free, once. Then the store must be as good as new: more puts, and the
//! memory of all of it back in the end.

mod dicts;
mod lists;
mod recoverer;

use std::collections::BTreeMap;

use ginnel::dict::{self, Dict};
use ginnel::{Manager, Raw};
use ginnel_layout::line::PAGE;
use ginnel_object::store::Wraps;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::Subject;

use crate::world::{PARTICIPANTS, World, during};

pub(super) use dicts::{allocate, counter, insert, rehash, remove, replace, transaction, update};
pub(super) use lists::{ends as list_ends, middle as list_middle};
pub(super) use recoverer::recover;

/// The name of the dict, and of the list.
const STORE: &str = "store";
/// The name of the dict whose values change in place.
const COUNTERS: &str = "counters";

/// 1: the victim's operation is over.
const DONE: usize = 0;
/// 1: a recoverer came to its end.
const RECOVERED: usize = 1;

type Map = BTreeMap<u64, String>;

/// A value that tells whether it is whole: one letter, so many times.
fn value(letter: u8, length: usize) -> String {
    char::from(b'a' + letter % 26).to_string().repeat(length)
}

/// A short one.
const SHORT: usize = 24;
/// One that has pages of its own.
const LONG: usize = 8400;

/// A world with room for a store.
fn world() -> Result<World, String> {
    let options = ginnel::manager::Options::new().limit(24 * PAGE).participants(PARTICIPANTS).objects(4);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    Ok(World { manager, results: Scratch::new(16).map_err(during("make words for results"))? })
}

/// What somebody does with a dict, in one step.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// A key that is there, or is not, gets this value.
    Set(u64, u8, usize),
    Remove(u64),
    /// Appends to a value, under the lock.
    Update(u64, u8),
    Clear,
    /// Two keys at once; a key is removed.
    Transaction([(u64, u8); 2], u64),
}

impl Act {
    /// In this process, on ordinary memory.
    fn on(self, map: &mut Map) {
        match self {
            Self::Set(key, letter, length) => drop(map.insert(key, value(letter, length))),
            Self::Remove(key) => drop(map.remove(&key)),
            Self::Update(key, letter) => map.entry(key).or_default().push_str(&value(letter, SHORT)),
            Self::Clear => map.clear(),
            Self::Transaction(sets, removed) => {
                map.extend(sets.map(|(key, letter)| (key, value(letter, SHORT))));
                map.remove(&removed);
            }
        }
    }

    fn perform(self, dict: &Dict<u64, String>) -> ginnel::Result<()> {
        match self {
            Self::Set(key, letter, length) => dict.set(&key, &value(letter, length)).map(drop),
            Self::Remove(key) => dict.discard(&key).map(drop),
            Self::Update(key, letter) => {
                dict.update(key, |old| old.unwrap_or_default() + &value(letter, SHORT)).map(drop)
            }
            Self::Clear => dict.clear(),
            Self::Transaction(sets, removed) => dict.transaction(|all| {
                for (key, letter) in sets {
                    all.insert(key, value(letter, SHORT))?;
                }
                all.remove(&removed)
            }),
        }
    }
}

/// A dict before the act.
#[derive(Debug, Clone, Copy)]
struct Start {
    shards: usize,
    /// Pages of its entries; 0: as many as there are.
    pages: usize,
    history: &'static [Act],
}

struct DictWorld {
    world: World,
    dict: Dict<u64, String>,
    before: Map,
    doomed: Option<ginnel_testkit::step::Tracee>,
}

/// The dict of a world, for another participant.
fn open(manager: &Manager) -> Dict<u64, String> {
    manager.get(STORE).expect("it can be opened").expect("it is there")
}

/// All that is in a dict, as it is at one moment.
fn contents(dict: &Dict<u64, String>) -> Result<Map, String> {
    Ok(dict.snapshot().map_err(during("take a snapshot"))?.into_iter().collect())
}

fn audit(dict: &Dict<u64, String>) -> Result<(), String> {
    dict.raw().audit().map_err(during("the memory of the dict"))
}

impl DictWorld {
    fn new(start: Start) -> Result<Self, String> {
        let world = world()?;
        let mut options = dict::Options::new().shards(start.shards);
        if start.pages > 0 {
            options = options.limit(start.pages * PAGE);
        }
        let dict: Dict<u64, String> =
            world.manager.get_or_create_with(STORE, options).map_err(during("make the dict"))?;
        let mut before = Map::new();
        for act in start.history {
            act.perform(&dict).map_err(during("make its history"))?;
            act.on(&mut before);
        }
        audit(&dict)?;
        Ok(Self { world, dict, before, doomed: None })
    }

    /// Nobody has recovered the dead: what do readers find? They need no lock.
    fn reads(&self, after: &Map) -> Result<(), String> {
        for key in self.before.keys().chain(after.keys()) {
            let found = self.dict.get(key).map_err(during("read beside the dead"))?;
            if found.as_ref() != self.before.get(key) && found.as_ref() != after.get(key) {
                return Err(format!("corrupt: key {key} is {found:?} beside the dead"));
            }
        }
        Ok(())
    }

    /// After the death of at most `dead` participants in or after `act`.
    fn after_death(mut self, act: Act, dead: usize) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("kill who was doomed"))?;
        }
        let mut after = self.before.clone();
        act.on(&mut after);
        self.reads(&after)?;
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if !(1..=dead).contains(&count) {
            return Err(format!("{count} participants were recovered, expected 1 to {dead}"));
        }
        let found = contents(&self.dict)?;
        let is_over = self.world.results.get(DONE) == 1;
        if found != after && (is_over || found != self.before) {
            return Err(format!("lost or in part (the victim was done: {is_over}): {found:?}"));
        }
        if self.dict.len() != found.len() {
            return Err(format!("len is {}, and {} are there", self.dict.len(), found.len()));
        }
        self.goes_on(found)
    }

    /// Its memory is whole, and it goes on.
    fn goes_on(self, mut map: Map) -> Result<(), String> {
        audit(&self.dict)?;
        for act in [Act::Set(70, 1, SHORT), Act::Set(71, 2, 200), Act::Set(70, 3, SHORT), Act::Remove(71)] {
            act.perform(&self.dict).map_err(during("go on"))?;
            act.on(&mut map);
        }
        let found = contents(&self.dict)?;
        if found != map {
            return Err(format!("corrupt: it went on to {found:?}, and should to {map:?}"));
        }
        audit(&self.dict)?;
        drop(self.dict);
        self.world.is_empty_again()
    }
}

fn perform(world: &DictWorld, manager: &Manager, act: Act, marks: &Marks) {
    let dict = open(manager);
    marks.begin();
    let done = act.perform(&dict);
    world.world.results.set(DONE, u64::from(done.is_ok()));
    marks.end();
}

fn subject(what: &str, start: Start, act: Act) -> (String, Subject<'static, DictWorld>) {
    let subject = Subject {
        setup: Box::new(move || DictWorld::new(start)),
        view: Box::new(|world: &DictWorld| world.world.view()),
        victim: Box::new(move |world: &DictWorld, marks| perform(world, &world.world.attach(), act, marks)),
        check: Box::new(move |world, _| world.after_death(act, 1)),
    };
    (what.to_owned(), subject)
}

/// Numbers that change in place.
fn counters(manager: &Manager) -> ginnel::Result<Dict<u64, Raw<u64>>> {
    manager.get_or_create_with(COUNTERS, dict::Options::new().shards(1))
}
