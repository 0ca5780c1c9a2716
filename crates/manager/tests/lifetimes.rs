//! Entries with an end, and waiting for a change. No test sleeps: the end of an entry is a change that is waited for.

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::watchdog;
use ginnel_manager::dict::Options;
use ginnel_manager::{Dict, List};
use ginnel_object::event::Event;
use ginnel_object::{Raw, Result};
use ginnel_process::Process;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

/// Waits until the entry has ended.
fn outlive(dict: &Dict<u8, u64>, key: u8) {
    loop {
        let seen = dict.version(&key).expect("no failure");
        if seen == 0 {
            return;
        }
        dict.wait_changed(&key, seen).expect("no failure");
    }
}

#[test]
fn an_entry_ends_for_every_operation() {
    let _watchdog = watchdog("ends");
    let dict = Dict::<u8, u64>::new().expect("a dict");
    dict.set(&9, &9).expect("room");
    for key in 0..8 {
        assert_eq!(dict.insert_for(key, 1, SHORT).expect("room"), None);
    }
    (0..8).for_each(|key| outlive(&dict, key));
    assert_eq!(dict.get(&0).expect("no failure"), None);
    assert!(!dict.contains_key(&0).expect("no failure"));
    assert_eq!(dict.get_with(&0, <[u8]>::len).expect("no failure"), None);
    assert_eq!(dict.remove(&0).expect("no failure"), None);
    assert!(!dict.discard(&1).expect("no failure"));
    assert_eq!(dict.insert(2, 7).expect("room"), None);
    assert!(!dict.set(&3, &7).expect("room"));
    assert_eq!(dict.update(4, |old| old.map_or(7, |_| 0)).expect("room"), 7);
    assert!(!dict.modify(&5, |_| unreachable!("it has ended")).expect("no failure"));
    assert_eq!(dict.compare_exchange(&6, None, Some(7)).expect("no failure"), Ok(()));
    let found = dict.transaction(|t| t.get(&7)).expect("no failure");
    assert_eq!(found, None);
    let mut left: Vec<_> = dict.iter().map(|entry| entry.expect("an entry")).collect();
    left.sort_unstable();
    assert_eq!(left, [(2, 7), (3, 7), (4, 7), (6, 7), (9, 9)]);
    assert_eq!(dict.snapshot().expect("no failure").len(), 5);
    dict.purge().expect("no failure");
    assert_eq!(dict.len(), 5);
    assert_eq!(dict.purge().expect("no failure"), 0);
    // Those without an end stay.
    assert_eq!(dict.get(&9).expect("no failure"), Some(9));
}

#[test]
fn a_dict_may_say_how_long_its_entries_stay() {
    let _watchdog = watchdog("default");
    let dict = Dict::<u8, u64>::with(Options::new().ttl(SHORT)).expect("a dict");
    dict.set(&1, &1).expect("room");
    dict.insert_for(2, 2, LONG).expect("room");
    dict.set_for(&3, &3, LONG).expect("room");
    outlive(&dict, 1);
    assert_eq!(dict.get(&2).expect("no failure"), Some(2));
    // A change keeps the time that an entry has left; a new value has its own.
    dict.update(2, |old| old.unwrap_or(0) + 1).expect("room");
    dict.modify(&3, |value| *value += 1).expect("room");
    assert_eq!(dict.get(&2).expect("no failure"), Some(3));
    dict.set(&2, &5).expect("room");
    outlive(&dict, 2);
    assert_eq!(dict.get(&3).expect("no failure"), Some(4), "it still has its hour");
    dict.transaction(|t| t.insert_for(4, 4, LONG)).expect("room");
    dict.transaction(|t| t.insert(3, 3)).expect("room");
    outlive(&dict, 3);
    assert_eq!(dict.get(&4).expect("no failure"), Some(4));
}

#[test]
fn a_counter_with_an_end_begins_anew() {
    let _watchdog = watchdog("counter");
    let hits = Dict::<u8, Raw<u64>>::new().expect("a dict");
    hits.insert_for(1, Raw(5), SHORT).expect("room");
    loop {
        let seen = hits.version(&1).expect("no failure");
        if seen == 0 {
            break;
        }
        hits.wait_changed(&1, seen).expect("no failure");
    }
    assert_eq!(hits.fetch_add(&1, 3).expect("room"), 0);
    assert_eq!(hits.get(&1).expect("no failure"), Some(Raw(3)));
}

#[test]
fn every_change_is_a_new_version() {
    let _watchdog = watchdog("versions");
    let dict = Dict::<u8, u64>::new().expect("a dict");
    let mut seen = vec![dict.version(&1).expect("no failure")];
    assert_eq!(seen, [0]);
    let mut changed = |what: &str| {
        let version = dict.version(&1).expect("no failure");
        assert!(!seen.contains(&version), "{what}");
        seen.push(version);
    };
    dict.set(&1, &1).expect("room");
    changed("set");
    dict.set(&1, &1).expect("room");
    changed("the same value again");
    dict.update(1, |old| old.unwrap_or(0)).expect("room");
    changed("update");
    dict.transaction(|t| t.insert(1, 2)).expect("room");
    changed("transaction");
    dict.remove(&1).expect("no failure");
    assert_eq!(dict.version(&1).expect("no failure"), 0);
    dict.set(&1, &1).expect("room");
    changed("a new entry");
    let before = dict.version(&1).expect("no failure");
    dict.set(&2, &1).expect("room");
    assert!(dict.compare_exchange(&1, None, None).expect("no failure").is_err());
    assert_eq!(dict.version(&1).expect("no failure"), before, "nothing has changed");
}

#[test]
fn a_change_wakes_all_who_wait_for_it() {
    let _watchdog = watchdog("wake");
    let dict = Dict::<u8, u64>::new().expect("a dict");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (dict, tell) = (&dict, tell.clone());
            scope.spawn(move || {
                let mut watch = dict.watch(&1).expect("a watch");
                tell.send(()).expect("the test waits");
                let mut last = 0;
                while last < 100 {
                    let value = watch.next().expect("no failure").expect("never removed");
                    assert!(value > last, "{value} after {last}");
                    last = value;
                }
            });
        }
        (0..4).for_each(|_| told.recv().expect("a watcher"));
        (1..=100).for_each(|n| assert_eq!(dict.set(&1, &n).expect("room"), n > 1));
    });
}

#[test]
fn a_watch_sees_what_is_there_and_nothing_twice() {
    let _watchdog = watchdog("watch");
    let dict = Dict::<String, u64>::new().expect("a dict");
    dict.set("x", &1).expect("room");
    let mut watch = dict.watch("x").expect("a watch");
    assert!(!watch.is_changed().expect("no failure"));
    assert!(!watch.wait_timeout(Duration::ZERO).expect("no failure"));
    assert!(!watch.wait_deadline(Instant::now()).expect("no failure"));
    dict.set("y", &1).expect("room");
    assert!(!watch.is_changed().expect("no failure"), "another key");
    dict.set("x", &2).expect("room");
    dict.set("x", &3).expect("room");
    assert!(watch.is_changed().expect("no failure") && watch.wait_timeout(LONG).expect("no failure"));
    watch.wait().expect("no failure");
    assert_eq!(watch.next().expect("no failure"), Some(3));
    assert!(!watch.is_changed().expect("no failure"));
    dict.remove("x").expect("no failure");
    assert_eq!(watch.next().expect("no failure"), None);
    assert_eq!(watch.get().expect("no failure"), None);
    dict.insert_for("x".into(), 4, SHORT).expect("room");
    assert_eq!(watch.next().expect("no failure"), Some(4));
    assert_eq!(watch.next().expect("no failure"), None, "its time has passed");
    let seen = dict.version("y").expect("no failure");
    assert!(!dict.wait_changed_timeout("y", seen, SHORT).expect("no failure"));
    assert!(!dict.wait_changed_deadline("y", seen, Instant::now() + SHORT).expect("no failure"));
    assert!(dict.wait_changed_timeout("y", 0, LONG).expect("no failure"));
    assert!(format!("{watch:?}").contains("Watch"));
}

fn answers(config: Dict<String, u64>, ready: Event) -> Result<u64> {
    let mut rate = config.watch("rate")?;
    ready.set();
    loop {
        if let Some(rate) = rate.next()? {
            config.set("seen", &rate)?;
            if rate == 0 {
                return Ok(rate);
            }
        }
    }
}

#[test]
fn processes_talk_through_a_watched_entry() {
    let _watchdog = watchdog("processes");
    let config = Dict::<String, u64>::new().expect("a dict");
    let ready = Event::new().expect("an event");
    let child = Process::spawn(answers, (&config, &ready)).expect("a child");
    ready.wait();
    let mut seen = config.watch("seen").expect("a watch");
    for rate in (0..50).rev() {
        config.set("rate", &rate).expect("room");
        assert_eq!(seen.next().expect("no failure"), Some(rate));
    }
    assert_eq!(child.join().expect("returns").expect("no failure"), 0);
}

#[test]
fn a_list_tells_that_it_changed() {
    let _watchdog = watchdog("list");
    let list = List::<u64>::new().expect("a list");
    let mut seen = vec![list.version().expect("no failure")];
    let mut changed = |what: &str| {
        let version = list.version().expect("no failure");
        assert!(!seen.contains(&version), "{what}");
        seen.push(version);
    };
    list.push(1).expect("room");
    changed("push");
    list.pop().expect("no failure");
    changed("pop");
    list.extend([3, 2]).expect("room");
    changed("extend");
    list.set(0, 3).expect("room");
    changed("set");
    list.sort().expect("room");
    changed("sort");
    list.clear().expect("no failure");
    changed("clear");
    let seen = list.version().expect("no failure");
    assert!(!list.wait_changed_timeout(seen, SHORT).expect("no failure"));
    assert!(!list.wait_changed_deadline(seen, Instant::now()).expect("no failure"));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| list.wait_changed(seen))).collect();
        list.push(5).expect("room");
        waiters.into_iter().for_each(|waiter| waiter.join().expect("no panic").expect("no failure"));
    });
}
