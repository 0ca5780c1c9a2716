//! Several processes at one dict or list, some of which are killed or stopped in the middle.

mod common;

use std::time::Duration;

use common::{audit, audit_list, die, manager, signal, watchdog};
use ginnel_manager::{Dict, List, Namespace};
use ginnel_object::event::Event;
use ginnel_object::{Manager, Raw, Result};
use ginnel_process::Process;
use nix::sys::signal::Signal;

type Counts = Dict<String, u64>;

fn count(counts: Counts, hits: Dict<u8, Raw<u64>>, times: u64) -> Result<()> {
    for turn in 0..times {
        counts.update(format!("k{}", turn % 7), |n| n.unwrap_or(0) + 1)?;
        hits.fetch_add(&((turn % 3) as u8), 1)?;
    }
    Ok(())
}

#[test]
fn no_update_of_any_process_is_lost() {
    let _watchdog = watchdog("updates");
    let counts = Counts::new().expect("a dict");
    let hits = Dict::<u8, Raw<u64>>::new().expect("a dict");
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(count, (&counts, &hits, 3000_u64)).expect("a child")).collect();
    count(counts.clone(), hits.clone(), 3000).expect("no failure");
    for child in children {
        child.join().expect("returns").expect("no failure");
    }
    assert_eq!(counts.snapshot().expect("no failure").values().sum::<u64>(), 12_000);
    assert_eq!(hits.values().map(|hit| hit.expect("a number").0).sum::<u64>(), 12_000);
}

fn pages_of(letters: Dict<u32, Vec<u8>>, first: u32, count: u32) -> Result<()> {
    for n in first..first + count {
        letters.set(&n, &vec![n as u8; (n % 600) as usize])?;
    }
    Ok(())
}

#[test]
fn what_one_process_puts_in_another_finds_also_after_its_end() {
    let _watchdog = watchdog("found");
    let letters = Dict::<u32, Vec<u8>>::new().expect("a dict");
    let children: Vec<_> =
        (0..4).map(|n| Process::spawn(pages_of, (&letters, n * 2000, 2000_u32)).expect("a child")).collect();
    children.into_iter().for_each(|child| child.join().expect("returns").expect("no failure"));
    assert_eq!(letters.len(), 8000);
    for n in 0..8000_u32 {
        assert_eq!(letters.get(&n).expect("no failure"), Some(vec![n as u8; (n % 600) as usize]));
    }
}

fn dies_in_update(counts: Counts, how: u8) -> Result<()> {
    match how {
        0 => drop(counts.update("x".into(), |_| die())?),
        1 => drop(counts.modify("x", |_| die())?),
        2 => drop(counts.alter("y".into(), |_| die())?),
        3 => drop(counts.get_or_insert_with("z".into(), || die())?),
        _ => drop(counts.compare_exchange("x", None, Some(1))?),
    }
    die()
}

#[test]
fn a_process_killed_inside_an_update_has_changed_nothing_and_locks_nothing() {
    let _watchdog = watchdog("in update");
    let counts = Counts::from_iter([("x".to_owned(), 5)]).expect("a dict");
    for how in 0..5 {
        let child = Process::spawn(dies_in_update, (&counts, how)).expect("a child");
        assert!(child.join().is_err());
        assert_eq!(counts.get("x").expect("no failure"), Some(5 + u64::from(how)));
        assert_eq!(
            counts.update("x".into(), |n| n.unwrap_or(0) + 1).expect("no lock is left"),
            6 + u64::from(how)
        );
        assert_eq!(
            (counts.get("y").expect("no failure"), counts.get("z").expect("no failure")),
            (None, None)
        );
        assert_eq!(counts.len(), 1);
        audit(&counts);
    }
}

fn stops_in_update(counts: Counts, inside: Event) -> Result<u64> {
    counts.update("x".into(), |n| {
        inside.set();
        signal(std::process::id(), Signal::SIGSTOP);
        n.unwrap_or(0) + 100
    })
}

#[test]
fn a_stopped_writer_stops_no_reader_and_is_named_to_writers() {
    let _watchdog = watchdog("stopped");
    let counts = Counts::from_iter([("x".to_owned(), 5)]).expect("a dict");
    let inside = Event::new().expect("an event");
    let child = Process::spawn(stops_in_update, (&counts, &inside)).expect("a child");
    inside.wait();
    assert_eq!(counts.get("x").expect("reading waits for nobody"), Some(5));
    let hurried = counts.with_patience(Duration::from_millis(20));
    let error = hurried.set("x", &7).expect_err("the lock is taken");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.owner().map(|owner| owner.pid), Some(child.pid()), "{error}");
    assert!(hurried.snapshot().expect_err("the lock is taken").is_timeout());
    assert_eq!(counts.get("x").expect("reading waits for nobody"), Some(5));
    signal(child.pid(), Signal::SIGCONT);
    assert_eq!(child.join().expect("returns").expect("no failure"), 105);
    assert_eq!(hurried.get("x").expect("no failure"), Some(105));
    hurried.set("x", &1).expect("free again");
}

fn writes_for_ever(dict: Dict<u32, Vec<u32>>, list: List<u32>, started: Event) -> Result<()> {
    for turn in 0_u32.. {
        let key = turn % 50;
        // A value says its key and how long it is in every word.
        let len = turn.wrapping_mul(2_654_435_761) % 700;
        dict.set(&key, &vec![key * 1000 + len; len as usize])?;
        match turn % 5 {
            0 => drop(dict.discard(&((key + 7) % 50))?),
            1 => list.push(turn)?,
            2 => list.insert(0, turn)?,
            3 => drop(list.pop()?),
            _ => drop(list.remove(0)?),
        }
        started.set();
    }
    Ok(())
}

#[test]
fn under_kills_no_value_is_torn_and_nothing_is_locked() {
    let _watchdog = watchdog("kills");
    let dict = Dict::<u32, Vec<u32>>::new().expect("a dict");
    let list = List::<u32>::new().expect("a list");
    for _ in 0..30 {
        let started = Event::new().expect("an event");
        let child = Process::spawn(writes_for_ever, (&dict, &list, &started)).expect("a child");
        started.wait();
        for key in (0..50).cycle().take(500) {
            if let Some(value) = dict.get(&key).expect("no failure") {
                let len = value.len() as u32;
                assert!(value.iter().all(|word| *word == key * 1000 + len), "{key}: {value:?}");
            }
        }
        child.kill().expect("a signal");
        assert!(child.join().is_err());
        dict.set(&50, &vec![50_000]).expect("nothing is locked");
        list.push(1).expect("nothing is locked");
        audit(&dict);
        audit_list(&list);
        assert_eq!(dict.len(), dict.snapshot().expect("no failure").len());
        assert_eq!(list.len(), list.to_vec().expect("no failure").len());
        assert_eq!(list.pop().expect("no failure"), Some(1));
        assert!(dict.discard(&50).expect("no failure"));
    }
}

fn named(name: String) -> Result<()> {
    let manager = Manager::open(&name)?;
    let dict: Counts = manager.get_or_create("counts")?;
    let list: List<String> = manager.get_or_create("words")?;
    let names: Namespace = manager.get_or_create("settings")?;
    dict.update("x".into(), |n| n.unwrap_or(0) + 1)?;
    list.push(format!("{}", dict.len()))?;
    names.set("rate", &0.5)?;
    Ok(())
}

#[test]
fn unrelated_processes_meet_under_a_name() {
    let _watchdog = watchdog("named");
    let name = format!("manager-test-{}", std::process::id());
    let manager = Manager::open_or_create(&name).expect("a manager");
    for turn in 1..=3 {
        let child = Process::spawn(named, name.as_str()).expect("a child");
        child.join().expect("returns").expect("no failure");
        let dict: Counts = manager.get("counts").expect("no failure").expect("the child has made it");
        assert_eq!(dict.get("x").expect("no failure"), Some(turn));
    }
    let words: List<String> = manager.get("words").expect("no failure").expect("there");
    assert_eq!(words.to_vec().expect("no failure"), ["1", "1", "1"]);
    let names: Namespace = manager.get("settings").expect("no failure").expect("there");
    assert_eq!(names.get::<f64>("rate").expect("no failure"), Some(0.5));
    assert!(Manager::unlink(&name).expect("no failure"));
}

#[test]
fn a_dict_of_another_manager_is_of_no_use_to_a_child_of_this_one() {
    let _watchdog = watchdog("elsewhere");
    let dict: Counts = manager(4).create().expect("a dict");
    let event = Event::new().expect("an event");
    assert!(Process::spawn(stops_in_update, (&dict, &event)).is_err());
}
