//! What goes wrong says so, and leaves everything as it was.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use common::{manager, watchdog};
use ginnel_manager::dict::{self, Options};
use ginnel_manager::{Dict, List, Namespace};
use ginnel_object::blocks::Blocks;
use ginnel_object::{Error, ErrorKind, Mutex, Raw, Result};

/// Two programs whose type has one name and two shapes.
mod theirs {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Setting(pub(super) String);
}

mod ours {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(super) struct Setting(pub(super) [bool; 3]);
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("fails").kind()
}

#[test]
fn a_name_of_another_type_is_refused_with_both() {
    let _watchdog = watchdog("types");
    let manager = manager(8);
    let _ages: Dict<String, u32> = manager.get_or_create("ages").expect("a dict");
    let _names: List<String> = manager.get_or_create("names").expect("a list");
    let refused = |error: Error, words: [&str; 2]| {
        assert!(error.is_mismatch(), "{error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    };
    refused(manager.get::<Dict<String, i32>>("ages").expect_err("other values"), ["i32", "u32"]);
    refused(manager.get_or_create::<Dict<u8, u32>>("ages").expect_err("other keys"), ["u8", "String"]);
    refused(manager.get::<List<u32>>("ages").expect_err("no list"), ["list", "dict"]);
    refused(manager.get::<Namespace>("ages").expect_err("no namespace"), ["namespace", "dict"]);
    refused(manager.get::<List<u64>>("names").expect_err("other elements"), ["u64", "String"]);
    refused(manager.get::<Mutex<u64>>("names").expect_err("no mutex"), ["mutex", "list"]);
    assert!(manager.get::<Dict<String, u32>>("ages").expect("no failure").is_some());
}

#[test]
fn a_value_that_cannot_be_decoded_stays_until_it_is_replaced() {
    let _watchdog = watchdog("undecodable");
    let manager = manager(8);
    let written: Dict<u8, theirs::Setting> = manager.get_or_create("settings").expect("a dict");
    let read: Dict<u8, ours::Setting> = manager.get_or_create("settings").expect("types of one name");
    written.set(&1, &theirs::Setting("x".into())).expect("room");
    assert_eq!(kind(read.get(&1)), ErrorKind::Decode);
    assert_eq!(kind(read.update(1, |_| unreachable!("nothing to give it"))), ErrorKind::Decode);
    assert_eq!(kind(read.modify(&1, |_| unreachable!("nothing to give it"))), ErrorKind::Decode);
    assert_eq!(kind(read.snapshot()), ErrorKind::Decode);
    assert_eq!(read.iter().map(kind).collect::<Vec<_>>(), [ErrorKind::Decode]);
    assert_eq!(read.keys().map(|key| key.expect("a key")).collect::<Vec<_>>(), [1]);
    assert_eq!(written.get(&1).expect("as it was"), Some(theirs::Setting("x".into())));
    // What replaces or removes it has done so when it says that it could not read it.
    let new = ours::Setting([true, false, true]);
    assert_eq!(kind(read.insert(1, new.clone())), ErrorKind::Decode);
    assert_eq!(read.get(&1).expect("replaced"), Some(new));
    written.set(&1, &theirs::Setting("x".into())).expect("room");
    assert_eq!(kind(read.remove(&1)), ErrorKind::Decode);
    assert!(written.is_empty());

    let written: List<theirs::Setting> = manager.get_or_create("list").expect("a list");
    let read: List<ours::Setting> = manager.get_or_create("list").expect("types of one name");
    written.extend([theirs::Setting("b".into()), theirs::Setting("a".into())]).expect("room");
    assert_eq!(kind(read.get(0)), ErrorKind::Decode);
    assert_eq!(kind(read.to_vec()), ErrorKind::Decode);
    assert_eq!(kind(read.retain(|_| false)), ErrorKind::Decode);
    assert_eq!(kind(read.update(1, |value| value)), ErrorKind::Decode);
    assert_eq!(written.to_vec().expect("as it was").len(), 2);
    assert_eq!(kind(read.pop()), ErrorKind::Decode);
    assert_eq!(written.to_vec().expect("one is gone"), [theirs::Setting("b".into())]);
}

#[test]
fn full_is_an_error_and_what_is_there_stays() {
    let _watchdog = watchdog("full");
    let manager = manager(4);
    let options = Options::new().shards(1).limit(256 << 10);
    let limited: Dict<u32, Vec<u8>> = manager.create_with(options).expect("a dict");
    let fill = |dict: &Dict<u32, Vec<u8>>| {
        let mut filled = 0;
        loop {
            match dict.set(&filled, &vec![filled as u8; 1000]) {
                Ok(_) => filled += 1,
                Err(error) => {
                    assert!(error.is_full(), "{error}");
                    return filled;
                }
            }
        }
    };
    let filled = fill(&limited);
    assert!((100..262).contains(&filled), "{filled} of 1000 bytes in 256 KiB");
    assert_eq!(limited.len(), filled as usize);
    (0..filled).for_each(|n| assert_eq!(limited.get(&n).expect("no failure"), Some(vec![n as u8; 1000])));
    assert!(limited.insert(0, vec![0; 1 << 20]).expect_err("too much").is_full());
    assert!(limited.update(0, |_| vec![0; 1 << 20]).expect_err("too much").is_full());
    let error = limited.transaction(|t| t.insert(1, vec![0; 1 << 20])).expect_err("too much");
    assert!(error.is_full(), "{error}");
    assert_eq!(limited.get(&0).expect("no failure"), Some(vec![0; 1000]));
    // Half of it goes, and as much fits again.
    (0..filled / 2).for_each(|n| assert!(limited.discard(&n).expect("no failure")));
    (0..filled / 2).for_each(|n| assert!(!limited.set(&n, &vec![1; 1000]).expect("room again")));

    // The limit of the manager: whoever is there shares it.
    let list: List<u64> = manager.create().expect("a list");
    let other: Dict<u32, Vec<u8>> = manager.create().expect("a dict");
    let filled = fill(&other);
    assert!(filled > 1000, "{filled}");
    let error = list.extend(0..1_000_000).expect_err("too much");
    assert!(error.is_full(), "{error}");
    assert!(list.is_empty(), "all or nothing");
    drop(other);
    list.extend(0..10_000).expect("room again");
}

#[test]
fn a_cache_makes_room_instead() {
    let _watchdog = watchdog("evict");
    let options = Options::new().shards(1).limit(256 << 10).evict();
    let cache: Dict<u32, Vec<u8>> = manager(4).create_with(options).expect("a dict");
    for n in 0..3000_u32 {
        cache.set(&n, &vec![n as u8; 1000]).expect("it makes room");
        assert_eq!(cache.get(&n).expect("no failure"), Some(vec![n as u8; 1000]), "the newest stays");
    }
    assert!((50..262).contains(&cache.len()), "{}", cache.len());
}

#[test]
fn impossible_options_are_refused() {
    let _watchdog = watchdog("options");
    let manager = manager(4);
    for shards in [0, 3, 65, 128, usize::MAX] {
        let made = manager.create_with::<Dict<u8, u8>>(Options::new().shards(shards));
        assert_eq!(kind(made), ErrorKind::Invalid, "{shards}");
    }
}

#[test]
fn inside_an_update_only_reading_is_allowed() {
    let _watchdog = watchdog("deadlock");
    let dict = Dict::from_iter([(1_u8, 10_u64), (2, 20)]).expect("a dict");
    let other = Dict::from_iter([(1_u8, 1_u64)]).expect("a dict");
    let list = List::from_iter([1_u64, 2]).expect("a list");
    let names = Namespace::new().expect("a namespace");
    names.set("x", &1_u8).expect("room");
    let inside = || {
        assert_eq!(dict.get(&1).expect("a read"), Some(10));
        assert_eq!(dict.get(&2).expect("a read"), Some(20));
        assert!(dict.version(&2).expect("a read") != 0);
        assert_eq!((list.get(1).expect("a read"), list.len()), (Some(2), 2));
        assert_eq!(names.get::<u8>("x").expect("a read"), Some(1));
        for refused in [
            kind(dict.insert(1, 0)),
            kind(dict.set(&2, &0)),
            kind(other.set(&9, &0)),
            kind(other.remove(&1)),
            kind(other.update(1, |_| unreachable!("not inside"))),
            kind(other.transaction(|t| t.insert(1, 1))),
            kind(other.snapshot()),
            kind(other.clear()),
            kind(list.push(1)),
            kind(list.to_vec()),
            kind(list.sort()),
            kind(names.set("y", &1_u8)),
        ] {
            assert_eq!(refused, ErrorKind::Deadlock);
        }
    };
    dict.update(1, |old| {
        inside();
        old.expect("there") + 1
    })
    .expect("room");
    assert_eq!(dict.get(&1).expect("no failure"), Some(11));
    dict.set(&1, &10).expect("allowed again");
    assert!(dict.modify(&1, |_| inside()).expect("room"));
    dict.alter(1, |old| {
        inside();
        old
    })
    .expect("room");
    assert_eq!(
        dict.get_or_insert_with(3, || {
            inside();
            30
        })
        .expect("room"),
        30
    );
    list.retain(|_| {
        inside_list(&dict, &list);
        true
    })
    .expect("room");
    dict.transaction(|t| {
        assert_eq!(kind(dict.set(&1, &0)), ErrorKind::Deadlock);
        assert_eq!(kind(list.push(1)), ErrorKind::Deadlock);
        t.insert(1, 10)
    })
    .expect("room");
    assert_eq!((dict.len(), other.len(), list.len(), names.len()), (3, 1, 2, 1));
}

fn inside_list(dict: &Dict<u8, u64>, list: &List<u64>) {
    assert_eq!(list.get(0).expect("a read"), Some(1));
    assert_eq!(kind(list.push(1)), ErrorKind::Deadlock);
    assert_eq!(kind(dict.set(&1, &0)), ErrorKind::Deadlock);
}

#[test]
fn a_panic_in_a_closure_changes_nothing() {
    let _watchdog = watchdog("panics");
    let dict = Dict::from_iter([(1_u8, "x".to_owned())]).expect("a dict");
    let list = List::from_iter([3, 1, 2]).expect("a list");
    let panics = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    panics(&|| drop(dict.update(1, |_| panic!("no"))));
    panics(&|| drop(dict.update(2, |_| panic!("no"))));
    panics(&|| {
        drop(dict.modify(&1, |text| {
            text.push('y');
            panic!("no")
        }))
    });
    panics(&|| drop(dict.alter(1, |_| panic!("no"))));
    panics(&|| {
        drop(dict.transaction::<()>(|t| {
            t.remove(&1)?;
            panic!("no")
        }))
    });
    panics(&|| drop(list.sort_by(|_, _| panic!("no"))));
    panics(&|| drop(list.retain(|_| panic!("no"))));
    panics(&|| drop(list.update(0, |_| panic!("no"))));
    // Nothing is locked, nothing is forbidden, nothing has changed.
    assert_eq!(dict.snapshot().expect("no failure"), [(1, "x".to_owned())].into());
    assert_eq!(list.to_vec().expect("no failure"), [3, 1, 2]);
    dict.set(&1, &"z".into()).expect("no lock is left");
    list.push(4).expect("no lock is left");
}

#[test]
fn what_one_process_has_at_a_time_is_no_value() {
    let _watchdog = watchdog("exclusive");
    let blocks = Blocks::new(2, 64).expect("blocks");
    let dict = Dict::<u8, ginnel_object::Block>::new().expect("a dict");
    let block = blocks.claim().expect("a block").freeze();
    assert_eq!(kind(dict.set(&1, &block)), ErrorKind::Encode);
    assert_eq!(blocks.free(), 1, "it is still ours");
    drop(block);
    assert_eq!((blocks.free(), dict.len()), (2, 0));
    let (sender, _receiver) = ginnel_object::spsc::channel::<u64>(4).expect("a lane");
    let ends = List::<ginnel_object::spsc::Producer<u64>>::new().expect("a list");
    assert_eq!(kind(ends.push(sender)), ErrorKind::Encode);
    // A handle of another manager means nothing in this one.
    let foreign: Dict<u8, u8> = manager(4).create().expect("a dict");
    let dicts = Dict::<u8, Dict<u8, u8>>::new().expect("a dict");
    assert_eq!(kind(dicts.set(&1, &foreign)), ErrorKind::Encode);
}

#[test]
fn places_that_a_list_does_not_have() {
    let _watchdog = watchdog("places");
    let list = List::from_iter([1_u8, 2]).expect("a list");
    assert_eq!(kind(list.set(2, 0)), ErrorKind::Invalid);
    assert_eq!(kind(list.insert(3, 0)), ErrorKind::Invalid);
    assert_eq!(list.remove(2).expect("no failure"), None);
    assert_eq!(list.get(usize::MAX).expect("no failure"), None);
    assert_eq!(list.replace(2, 0).expect("no failure"), None);
    assert!(!list.swap(0, 2).expect("no failure"));
    assert!(list.set(7, 0).expect_err("no such place").to_string().contains("place 7 in a list of 2"));
    assert_eq!(list.to_vec().expect("no failure"), [1, 2]);
}

#[test]
fn options_can_be_looked_at() {
    let options = dict::Options::new().ttl(Duration::from_secs(1)).shards(2).evict();
    assert!(format!("{options:?}").contains("evict"));
    let _: Raw<u8> = Raw(1);
}
