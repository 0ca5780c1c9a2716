//! What the dead leave in a dict, who waits for one that is stopped, and what a forked child may do.

use std::time::Duration;

use ginnel_object::manager::Manager;
use ginnel_object::store::{Change, RawDict, Ttl, Write};
use ginnel_object::{ErrorKind, Message, Mutex, OwnerState};
use ginnel_sync::Deadline;
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use nix::sys::signal::Signal;

use super::{LIMIT, Words, get, manager, objects, put, read, start};

#[test]
fn the_lock_of_a_killed_holder_comes_free_and_a_stopped_one_is_named() {
    let dog = Watchdog::new("holder", LIMIT);
    let manager = manager();
    let dict = super::dict(&manager);
    put(&dict, "k", &1_u64).unwrap();
    let mut child = start(&manager, "holder", &dog);
    child.signal(Signal::SIGSTOP).expect("stopped");
    // Readers need no lock.
    assert_eq!(get::<u64>(&dict, "k").unwrap(), Some(1));
    let hasty = dict.clone().with_patience(Duration::from_millis(30));
    let why = put(&hasty, "k", &2_u64).unwrap_err();
    assert!(why.is_timeout(), "{why}");
    let owner = why.owner().expect("it has an owner");
    assert_eq!((owner.pid, owner.state), (child.pid().as_raw() as u32, OwnerState::Stopped));
    child.kill().expect("killed");
    dog.waits_for("the lock of a dead one");
    assert!(put(&hasty.with_patience(LIMIT), "k", &2_u64).unwrap());
    assert_eq!(get::<u64>(&dict, "k").unwrap(), Some(2));
    assert_eq!(dict.usage().unwrap().repairs, 1);
    dict.audit().unwrap();
}

#[test]
fn what_the_dead_put_into_values_stays_and_what_they_did_not_goes() {
    let dog = Watchdog::new("tickets", LIMIT);
    let manager = manager();
    let dict = super::dict(&manager);
    let there = objects(&manager);
    start(&manager, "packing", &dog).kill().expect("killed");
    assert_eq!(manager.recover().unwrap(), 1);
    assert_eq!(objects(&manager), there, "a ticket that no node names");
    start(&manager, "last", &dog).kill().expect("killed");
    assert_eq!(manager.recover().unwrap(), 1);
    assert_eq!(objects(&manager), there, "a dict that nobody holds");

    start(&manager, "owner", &dog).kill().expect("killed");
    assert_eq!(manager.recover().unwrap(), 1);
    assert_eq!(objects(&manager), there + 2);
    let total = get::<Mutex<u64>>(&dict, "theirs").unwrap().expect("there");
    assert_eq!(*total.lock().unwrap(), 7);
    drop(total);
    // The ids of the dead are others' by now; they die as well, and what they did not put there stays.
    start(&manager, "packing", &dog).kill().expect("killed");
    assert_eq!(manager.recover().unwrap(), 1);
    assert_eq!(objects(&manager), there + 2);
    dict.remove(b"theirs").unwrap();
    let inner = get::<Words>(&dict, "inner").unwrap().expect("there");
    assert_eq!(*get::<Mutex<u64>>(&inner.0, "deep").unwrap().expect("there").lock().unwrap(), 7);
    drop(inner);
    put(&dict, "inner", &0_u64).unwrap();
    assert_eq!(objects(&manager), there);
    dict.audit().unwrap();
}

/// Puts handles into values and takes them out again, in every way there is, until it is killed.
pub(super) fn churn(manager: &Manager, dict: &RawDict, words: &Scratch) -> ! {
    let mut rng = Rng::new(words.get(1));
    let total = || manager.create::<Mutex<u64>>().expect("made");
    let packed = |key: String| {
        let value = dict.pack(|out| total().put(out)).expect("encoded");
        Write { key: key.into_bytes(), value: Some((value, Ttl::Default)) }
    };
    loop {
        let key = format!("{}", rng.below(6));
        match rng.below(10) {
            0..3 => drop(put(dict, &key, &total()).expect("room")),
            3 => drop(dict.remove(key.as_bytes()).expect("removed")),
            4 => drop(dict.take(key.as_bytes(), read::<Mutex<u64>>).expect("taken")),
            5 => drop(dict.swap(key.as_bytes(), Ttl::Default, |out| total().put(out), read::<Mutex<u64>>)),
            6 => dict
                .alter(key.as_bytes(), |old, out| {
                    let put = read::<Mutex<u64>>(old)?.map(|total| total.put(out)).transpose()?;
                    Ok((if put.is_some() { Change::Put(Ttl::Keep) } else { Change::Keep }, ()))
                })
                .expect("altered"),
            7 => drop(dict.commit(&[], vec![packed(key), packed("both".into())]).expect("room")),
            8 => drop(get::<Mutex<u64>>(dict, &key).expect("whole")),
            _ if rng.below(8) == 0 => dict.clear().expect("cleared"),
            _ => drop(dict.commit(
                &[],
                vec![
                    Write { key: b"both".to_vec(), value: None },
                    Write { key: key.into_bytes(), value: None },
                ],
            )),
        }
        words.add(0, 1);
    }
}

#[test]
fn whoever_is_killed_with_handles_in_his_hands_leaves_no_more_than_what_lies_in_values() {
    let dog = Watchdog::new("churning", LIMIT);
    let manager = manager();
    let dict = super::dict(&manager);
    let there = objects(&manager);
    let mut rng = Rng::new(22);
    for round in 1..=60 {
        let words = Scratch::new(2).expect("a memfd");
        words.set(1, round);
        let role = Role::new("churning").through_test("dicts_entry");
        let mut child = role.fd(&manager).fd(&words).spawn().expect("started");
        dog.waits_for("a child at work");
        let until = rng.below(200);
        while words.get(0) <= until {
            let ended = child.try_wait().expect("asked");
            assert_eq!(ended, None, "the child ended by itself");
        }
        child.kill().expect("killed");
        assert_eq!(manager.recover().unwrap(), 1);
        let mut kept = 0;
        dict.snapshot(|_, value| {
            *Mutex::<u64>::from_bytes(value)?.lock()? += 1;
            kept += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(objects(&manager), there + kept, "round {round}");
        dict.audit().unwrap();
    }
    dict.clear().unwrap();
    assert_eq!(objects(&manager), there);
}

#[test]
fn a_waiter_in_another_process_is_woken() {
    let dog = Watchdog::new("waiting", LIMIT);
    let manager = manager();
    let dict = super::dict(&manager);
    let mut child = start(&manager, "waiting", &dog);
    dog.waits_for("a process that waits for news");
    let mut news = 0_u64;
    // It may have looked before or after any of these.
    while child.wait_timeout(Duration::from_millis(1)).expect("waited").is_none() {
        news += 1;
        put(&dict, "news", &news).unwrap();
    }
    assert!(news > 0);
}

#[test]
fn the_child_of_a_bare_fork_is_told() {
    Role::new("forked").through_test("dicts_entry").play();
}

/// In a process of its own, because a process with several threads must not fork.
pub(super) fn forked() {
    let manager = manager();
    let dict = super::dict(&manager);
    put(&dict, "k", &1_u64).unwrap();
    let mut copy = Some(dict.clone());
    let child = child::fork_child(|| {
        let refused = |why: ginnel_object::Error| assert_eq!(why.kind(), ErrorKind::Forked);
        refused(get::<u64>(&dict, "k").unwrap_err());
        refused(put(&dict, "k", &2_u64).unwrap_err());
        refused(dict.remove(b"k").unwrap_err());
        refused(dict.alter(b"k", |_, _| Ok((Change::Remove, ()))).unwrap_err());
        refused(dict.clear().unwrap_err());
        refused(dict.wait_changed(b"k", 0, Deadline::NEVER).unwrap_err());
        refused(dict.commit(&[], Vec::new()).unwrap_err());
        drop(copy.take());
    });
    let ended = child.and_then(|mut child| child.wait()).expect("forked");
    assert_eq!(ended, child::Exit::Code(0));
    drop(copy);
    assert_eq!(get::<u64>(&dict, "k").unwrap(), Some(1));
    dict.audit().unwrap();
}
