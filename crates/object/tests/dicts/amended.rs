//! Values that are completed under the lock, and removals that look first: what other languages build their dicts on.

use std::cell::Cell;

use ginnel_object::store::{Packed, Ttl};
use ginnel_object::{ErrorKind, Message, Mutex};

use super::{dict, get, manager, objects, put, read};

#[test]
fn a_value_is_completed_under_the_lock() {
    let manager = manager();
    let dict = dict(&manager);
    let mut packed = Packed::plain(vec![7]);
    let seen = Cell::new(None);
    let first = dict.put_packed(b"k", &mut packed, |version, old, new| {
        seen.set(Some((version, old.is_none())));
        new[0] += 1;
        true
    });
    assert!(first.unwrap());
    assert_eq!(seen.take(), Some((0, true)));
    assert_eq!(get::<u8>(&dict, "k").unwrap(), Some(8));

    let version = dict.version(b"k").unwrap();
    let refused = dict.put_packed(b"k", &mut packed, |now, old, new| {
        seen.set(Some((now, old == Some(&*new))));
        false
    });
    assert!(!refused.unwrap());
    assert_eq!(seen.take(), Some((version, true)));
    assert_eq!(dict.version(b"k").unwrap(), version, "nothing happened");
    assert_eq!(packed.into_bytes(), [8]);
    dict.audit().unwrap();
}

#[test]
fn what_a_refused_value_carries_stays_with_it() {
    let manager = manager();
    let dict = dict(&manager);
    let there = objects(&manager);
    let total = manager.create::<Mutex<u64>>().unwrap();
    *total.lock().unwrap() = 7;
    let mut packed = dict.pack(|out| total.put(out)).unwrap();
    drop(total);
    assert!(!dict.put_packed(b"k", &mut packed, |_, _, _| false).unwrap());
    assert_eq!(objects(&manager), there + 1);
    assert!(dict.put_packed(b"k", &mut packed, |_, _, _| true).unwrap());
    drop(packed);
    assert_eq!(*get::<Mutex<u64>>(&dict, "k").unwrap().expect("there").lock().unwrap(), 7);

    // The value that it gives way to is freed with what it carries.
    let mut plain = Packed::plain(vec![0]);
    assert!(dict.put_packed(b"k", &mut plain, |_, _, _| true).unwrap());
    assert_eq!(objects(&manager), there);
    dict.audit().unwrap();
}

#[test]
fn inside_it_nothing_is_locked() {
    let manager = manager();
    let dict = dict(&manager);
    let mut packed = Packed::plain(vec![1]);
    let inner = Cell::new(None);
    let outer = dict.put_packed(b"k", &mut packed, |_, _, _| {
        inner.set(Some(dict.remove(b"other").map_err(|why| why.kind())));
        true
    });
    assert!(outer.unwrap());
    assert_eq!(inner.take(), Some(Err(ErrorKind::Deadlock)));
}

#[test]
fn a_removal_may_look_first() {
    let manager = manager();
    let dict = dict(&manager);
    put(&dict, "k", &5_u32).unwrap();
    let is = |wanted: u32| move |bytes: &[u8]| u32::from_bytes(bytes).is_ok_and(|found| found == wanted);
    assert_eq!(dict.take_if(b"k", is(4), read::<u32>).unwrap(), None);
    assert_eq!(dict.take_if(b"none", is(5), read::<u32>).unwrap(), None);
    assert_eq!(dict.take_if(b"k", is(5), read::<u32>).unwrap(), Some(5));
    assert_eq!(dict.len(), 0);

    let there = objects(&manager);
    let total = manager.create::<Mutex<u64>>().unwrap();
    *total.lock().unwrap() = 7;
    dict.put(b"k", Ttl::Default, |out| total.put(out)).unwrap();
    drop(total);
    let taken = dict.take_if(b"k", |_| true, read::<Mutex<u64>>).unwrap().expect("it is given out");
    assert_eq!(*taken.lock().unwrap(), 7);
    drop(taken);
    assert_eq!(objects(&manager), there);
    dict.audit().unwrap();
}

#[test]
fn ticks_are_counted() {
    let dict = dict(&manager());
    assert_eq!(dict.ticks(), 0);
    assert_eq!((dict.tick().unwrap(), dict.tick().unwrap(), dict.ticks()), (1, 2, 2));
}
