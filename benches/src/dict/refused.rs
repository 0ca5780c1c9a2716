//! What the harness must refuse: a value that is lost, torn, of another key, or older than it may be.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::drive::{appends, fill, gets, growth, memory, mixed, sets, sum, times, updates};
use super::hashmap::{Locked, LockedVec};
use super::ours::{OurList, Ours, Shared};
use super::repair::Deaths;
use super::value::{Bytes, Form, Plain, Record, Value};
use super::{Map, Sequence};
use crate::drive::Report;
use crate::fault::Fault;
use crate::machine::allowed_cores;
use crate::refused::alone;

/// Milliseconds of a run, in nanoseconds.
const SHORT: u64 = 6_000_000;
/// Entries of a map.
const KEYS: u64 = 500;

/// Does everything itself, and one thing wrong.
#[derive(Debug, Default)]
struct Sloppy {
    values: RefCell<HashMap<u64, Value>>,
    updates: Cell<u64>,
    lose: Option<u64>,
    exchange: Option<u64>,
    forget: Option<u64>,
}

impl Map for Sloppy {
    fn get(&self, key: u64) -> Result<Option<Value>, Fault> {
        let key = if self.exchange == Some(key) { key + 1 } else { key };
        Ok(self.values.borrow().get(&key).copied())
    }

    fn set(&self, key: u64, value: Value) -> Result<(), Fault> {
        if self.lose != Some(key) {
            self.values.borrow_mut().insert(key, value);
        }
        Ok(())
    }

    fn update(&self, key: u64) -> Result<(), Fault> {
        self.updates.set(self.updates.get() + 1);
        if self.forget != Some(self.updates.get()) {
            let old = self.get(key)?;
            self.set(key, old.map_or(Value::of(key, 0), Value::successor))?;
        }
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Fault> {
        Ok(KEYS * 100)
    }
}

impl Sequence for Sloppy {
    fn push(&self, value: Value) -> Result<(), Fault> {
        let place = self.values.borrow().len() as u64;
        self.set(place, value)
    }

    fn len(&self) -> Result<u64, Fault> {
        Ok(self.values.borrow().len() as u64)
    }

    fn at(&self, place: u64) -> Result<Option<Value>, Fault> {
        self.get(place)
    }

    fn clear(&self) -> Result<(), Fault> {
        self.values.borrow_mut().clear();
        Ok(())
    }
}

type Loop<M> = fn(&M) -> Result<Report, Fault>;

/// Every loop over a map.
fn loops<M: Map>() -> [(&'static str, Loop<M>); 6] {
    [
        ("gets", |map| gets(map, KEYS, SHORT)),
        ("sets", |map| sets(map, KEYS, SHORT)),
        ("mixed", |map| mixed(map, KEYS, 7, SHORT)),
        ("memory", |map| memory(map, KEYS)),
        ("growth", |map| growth(map, KEYS, SHORT)),
        ("updates", |map| {
            fill(map, KEYS)?;
            updates(map, KEYS, SHORT)
        }),
    ]
}

fn refusals(sloppy: impl Fn() -> Sloppy) -> Vec<String> {
    let refuse = |(name, run): (&str, Loop<Sloppy>)| {
        let map = sloppy();
        fill(&map, KEYS).expect("it says that it did");
        run(&map).expect_err(name).to_string()
    };
    loops().into_iter().map(refuse).collect()
}

#[test]
fn a_lost_value_is_refused() {
    for said in refusals(|| Sloppy { lose: Some(77), ..Sloppy::default() }) {
        assert!(said.contains("nothing lies under 77"), "{said}");
    }
}

#[test]
fn the_value_of_another_key_is_refused() {
    for said in refusals(|| Sloppy { exchange: Some(77), ..Sloppy::default() }) {
        assert!(said.contains("lies under 77: torn, or of another key"), "{said}");
    }
}

#[test]
fn a_lost_update_is_refused() {
    let map = Sloppy { forget: Some(100), ..Sloppy::default() };
    fill(&map, KEYS).expect("nothing is wrong yet");
    let said = updates(&map, KEYS, SHORT).expect_err("one is missing").to_string();
    assert!(said.contains("were done, and the values count"), "{said}");
}

#[test]
fn a_list_is_looked_at() {
    let said = appends(&Sloppy { lose: Some(7), ..Sloppy::default() }, SHORT).expect_err("one is lost");
    assert!(said.to_string().contains("values, 50000 were put in"), "{said}");
    let said = appends(&Sloppy { exchange: Some(1), ..Sloppy::default() }, SHORT).expect_err("another one");
    assert!(said.to_string().contains("what lies at 1"), "{said}");
    assert!(appends(&Sloppy::default(), SHORT).is_ok_and(|report| !report.rates.is_empty()));
}

fn all_is_right(map: &impl Map, name: &str) {
    fill(map, KEYS).expect(name);
    for (loop_name, run) in loops() {
        let report = run(map).unwrap_or_else(|fault| panic!("{name} {loop_name}: {fault}"));
        assert!(report.received > 0 && !report.rates.is_empty(), "{name} {loop_name}");
    }
}

#[test]
fn maps_that_are_right_are_counted() {
    all_is_right(&Sloppy::default(), "a map of std");
    all_is_right(&Locked::default(), "hashmap");
    assert!(appends(&LockedVec::default(), SHORT).is_ok_and(|report| !report.rates.is_empty()));
}

fn ours_is_right<F: Form>(name: &str) {
    let shared = Shared::new::<ginnel::Dict<u64, F>>(KEYS, ginnel::dict::Options::new()).expect(name);
    let map = Ours(shared.open::<ginnel::Dict<u64, F>>().expect(name));
    all_is_right(&map, name);
    assert!(map.bytes().is_ok_and(|bytes| bytes > 64 * KEYS), "{name}");
}

#[test]
fn our_dicts_do_what_they_are_asked() {
    let _alone = alone();
    ours_is_right::<Bytes>("dict");
    ours_is_right::<Record>("dict-record");
    ours_is_right::<Plain>("dict-raw");
    let shared = Shared::new::<ginnel::List<Bytes>>(50_000, Default::default()).expect("a list");
    let list = OurList(shared.open::<ginnel::List<Bytes>>().expect("the list"));
    assert!(appends(&list, SHORT).is_ok_and(|report| !report.rates.is_empty()));
}

#[test]
fn the_dead_are_mourned() {
    let _alone = alone();
    for is_holder in [false, true] {
        let deaths = Deaths::new(1_000, allowed_cores()[0], is_holder).expect("a dict");
        let report = times(0, 3, || deaths.once()).expect("repaired");
        assert_eq!(report.received, 3);
    }
}

#[test]
fn what_several_do_is_added_window_by_window() {
    let report = |received, rates: &[f64]| Report { received, rates: rates.to_vec(), ..Report::default() };
    let all = sum([report(3, &[1.0, 2.0, 3.0]), report(4, &[10.0, 20.0])]);
    assert_eq!((all.received, all.rates), (7, vec![11.0, 22.0]));
}
