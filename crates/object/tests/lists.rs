//! Lists of bytes: what one process can see of them, what lies in their elements, and what the dead leave.
//!
//! Children are this test binary again, in a role (the test `lists_entry`).

use std::panic::AssertUnwindSafe;
use std::thread;
use std::time::Duration;

use ginnel_object::manager::{Manager, Options};
use ginnel_object::message::out::Out;
use ginnel_object::store::{Change, Element, RawList, StoreKind, StoreOptions, Ttl, Wraps};
use ginnel_object::{ErrorKind, Message, Mutex, Result};
use ginnel_sync::Deadline;
use ginnel_testkit::child::{self, Role};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;

const LIMIT: Duration = Duration::from_secs(60);
const PUT: Change = Change::Put(Ttl::Keep);

fn manager() -> Manager {
    Manager::with(Options::new().limit(32 << 20).objects(64).participants(6)).expect("a small manager")
}

/// A typed handle, as the crate above has them.
#[derive(Debug, Clone)]
struct Things(RawList);

impl Wraps for Things {
    type Raw = RawList;
    type Options = StoreOptions;
    const KIND: StoreKind = StoreKind::List;

    fn names() -> (String, String) {
        (String::new(), "anything".into())
    }

    fn store(options: StoreOptions) -> Result<StoreOptions> {
        Ok(options)
    }

    fn wrap(raw: RawList) -> Self {
        Self(raw)
    }

    fn raw(&self) -> &RawList {
        &self.0
    }
}

fn list(manager: &Manager) -> RawList {
    manager.get_or_create::<Things>("list").expect("made").0
}

fn write<T: Message>(value: &T) -> impl FnOnce(&mut Out<'_>) -> Result<()> {
    move |out| value.put(out)
}

fn read<T: Message>(bytes: Option<&[u8]>) -> Result<Option<T>> {
    bytes.map(T::from_bytes).transpose()
}

fn text(n: usize) -> String {
    format!("{n}: {}", "x".repeat(n % 40))
}

fn all<T: Message>(list: &RawList) -> Vec<T> {
    let mut all = Vec::new();
    list.slice(0..usize::MAX, |bytes| {
        all.push(T::from_bytes(bytes)?);
        Ok(())
    })
    .expect("whole");
    all
}

fn objects(manager: &Manager) -> usize {
    manager.inspect().objects.len()
}

/// The way in for roles; by itself it does nothing.
#[test]
fn lists_entry() {
    let Some((name, arguments)) = child::role() else { return };
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let words = Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped");
    match name.as_str() {
        "churning" => churn(&manager, &list(&manager), &words),
        other => panic!("no role {other}"),
    }
}

#[test]
fn a_range_is_chosen_under_the_lock() {
    let manager = manager();
    let list = list(&manager);
    list.extend((0..5).map(text).collect::<Vec<_>>().iter().map(write)).unwrap();
    let version = list.version().unwrap();
    let last = |len: usize| Some(len.checked_sub(1)?..len);
    let mut removed = Vec::new();
    let new = [text(7), text(8)];
    list.splice_where(last, new.iter().map(write), |bytes| {
        removed.push(String::from_bytes(bytes)?);
        Ok(())
    })
    .unwrap();
    assert_eq!(removed, [text(4)]);
    assert_eq!(all::<String>(&list), [0, 1, 2, 3, 7, 8].map(text));
    // As one would who has looked at it before.
    let late = |len| list.version().is_ok_and(|now| now == version).then_some(0..len);
    list.splice_where(late, new.iter().map(write), |_| Ok(())).unwrap();
    assert_eq!(list.len(), 6);
    list.audit().unwrap().unwrap();
}

#[test]
fn a_list_does_what_a_vector_does() {
    let manager = manager();
    let list = list(&manager);
    let mut vector: Vec<String> = (0..700).map(text).collect();
    list.extend(vector.iter().map(write)).unwrap();
    assert_eq!((list.len(), list.is_empty()), (700, false));
    list.push(write(&text(1))).unwrap();
    vector.push(text(1));
    assert!(list.insert(3, write(&text(2))).unwrap() && list.insert(702, write(&text(3))).unwrap());
    assert!(!list.insert(704, write(&text(4))).unwrap());
    vector.insert(3, text(2));
    vector.push(text(3));
    assert!(list.set(699, write(&text(5))).unwrap() && !list.set(703, write(&text(5))).unwrap());
    vector[699] = text(5);
    assert_eq!(list.remove(10, read::<String>).unwrap(), Some(vector.remove(10)));
    assert_eq!(list.remove(702, read::<String>).unwrap(), None);
    assert_eq!(list.pop(read::<String>).unwrap(), vector.pop());
    assert_eq!(list.get(256, read::<String>).unwrap().as_ref(), vector.get(256));
    assert_eq!(list.get(701, read::<String>).unwrap(), None);
    assert_eq!(all::<String>(&list), vector);

    let mut removed = Vec::new();
    let taken = |bytes: &[u8]| {
        removed.push(String::from_bytes(bytes)?);
        Ok(())
    };
    list.splice(100..300, [text(6), text(7)].iter().map(write), taken).unwrap();
    assert_eq!(removed, vector.splice(100..300, [text(6), text(7)]).collect::<Vec<_>>());
    let full = [text(8)];
    list.splice_if(|len| len == 0, 0..0, full.iter().map(write), |_| Ok(())).unwrap();
    assert_eq!(all::<String>(&list), vector);
    list.truncate(300).unwrap();
    list.truncate(400).unwrap();
    vector.truncate(300);
    assert_eq!(all::<String>(&list), vector);

    list.rearrange(|elements| {
        elements.reverse();
        let decode = |element: &Element<'_>| element.with(String::from_bytes);
        let odd =
            elements.iter().map(|element| Ok(decode(element)?.len() % 2 == 1)).collect::<Result<Vec<_>>>()?;
        let mut odd = odd.into_iter();
        elements.retain(|_| odd.next() == Some(true));
        Ok(())
    })
    .unwrap();
    vector.reverse();
    vector.retain(|text| text.len() % 2 == 1);
    assert_eq!(all::<String>(&list), vector);
    list.clear().unwrap();
    assert!(list.is_empty() && list.pop(read::<String>).unwrap().is_none());
    list.audit().unwrap().unwrap();
    assert!(list.usage().unwrap().free > 0);
}

#[test]
fn plain_words_have_eight_bytes() {
    let manager = manager();
    let list =
        RawList::make(&manager, "u16", &StoreOptions { plain8: true, ..StoreOptions::default() }).unwrap();
    list.extend((0..1000_u16).map(|n| {
        move |out: &mut Out<'_>| {
            out.extend(&n.to_le_bytes());
            Ok(())
        }
    }))
    .unwrap();
    let number = |bytes: Option<&[u8]>| Ok(bytes.map(|bytes| bytes.to_vec()));
    assert_eq!(list.get(999, number).unwrap(), Some(vec![0xe7, 3, 0, 0, 0, 0, 0, 0]));
    let long = list.push(write(&"far more than eight bytes".to_owned()));
    assert_eq!(long.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(list.len(), 1000);
    list.audit().unwrap().unwrap();
}

#[test]
fn alter_is_one_step_and_takes_no_other_lock() {
    let manager = manager();
    let list = list(&manager);
    list.push(write(&0_u64)).unwrap();
    let add = || {
        list.alter(0, |old, out| {
            let sum = read::<u64>(old)?.unwrap_or(0) + 1;
            sum.put(out)?;
            Ok((PUT, sum))
        })
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| assert!(add().unwrap() > 0)));
        }
    });
    assert_eq!(list.get(0, read::<u64>).unwrap(), Some(2000));
    assert!(list.alter(1, |old, _| Ok((Change::Keep, old.is_none()))).unwrap());
    assert_eq!(list.alter(1, |_, _| Ok((PUT, ()))).unwrap_err().kind(), ErrorKind::Invalid);
    // Reading is allowed in there, what takes a lock is not; an error or a panic changes nothing.
    let inside = list.alter(0, |_, _| {
        assert_eq!(list.get(0, read::<u64>)?, Some(2000));
        list.push(write(&1_u64)).map(|()| (Change::Keep, ()))
    });
    assert_eq!(inside.unwrap_err().kind(), ErrorKind::Deadlock);
    let sorting = list.rearrange(|_| list.pop(|_| Ok(())));
    assert_eq!(sorting.unwrap_err().kind(), ErrorKind::Deadlock);
    let panicked =
        std::panic::catch_unwind(AssertUnwindSafe(|| list.rearrange::<()>(|_| panic!("of the caller"))));
    assert!(panicked.is_err());
    assert_eq!(all::<u64>(&list), [2000]);
    list.alter(0, |_, _| Ok((Change::Remove, ()))).unwrap();
    assert!(list.is_empty());
    list.audit().unwrap().unwrap();
}

#[test]
fn handles_in_elements_live_as_long_as_the_element() {
    let manager = manager();
    let list = list(&manager);
    let there = objects(&manager);
    let total = || manager.create::<Mutex<u64>>().expect("made");
    let kept = || objects(&manager) - there;
    list.extend((0..5).map(|_| write_total(total()))).unwrap();
    assert_eq!(kept(), 5);
    let third = list.get(2, read::<Mutex<u64>>).unwrap().expect("there");
    *third.lock().unwrap() = 7;
    assert_eq!(list.remove(0, |_| Ok(())).map(|()| kept()).unwrap(), 4);
    list.rearrange(|elements| {
        elements.reverse();
        elements[2].with(|bytes| {
            assert_eq!(*Mutex::<u64>::from_bytes(bytes)?.lock()?, 7);
            Ok(())
        })?;
        elements.truncate(3);
        Ok(())
    })
    .unwrap();
    assert_eq!(kept(), 3);
    let popped = list.pop(read::<Mutex<u64>>).unwrap().expect("there");
    assert_eq!(*popped.lock().unwrap(), 7);
    drop(popped);
    assert_eq!(kept(), 3, "the handle from before");
    drop(third);
    assert_eq!(kept(), 2);
    assert!(list.set(0, write_total(total())).unwrap());
    assert_eq!(kept(), 2);
    // Moved to another place, by a value that is decoded and encoded.
    list.alter(1, |old, out| {
        read::<Mutex<u64>>(old)?.expect("there").put(out)?;
        Ok((PUT, ()))
    })
    .unwrap();
    assert_eq!(kept(), 2);
    let mut removed = Vec::new();
    let taken = |bytes: &[u8]| {
        removed.push(Mutex::<u64>::from_bytes(bytes)?);
        Ok(())
    };
    list.splice(1..2, [write_total(total()), write_total(total())], taken).unwrap();
    assert_eq!(kept(), 4);
    drop(removed);
    assert_eq!(kept(), 3);
    list.truncate(1).unwrap();
    assert_eq!(kept(), 1);
    // A list in a list, and whoever frees it frees what is in it.
    let inner = manager.create::<Things>().expect("made");
    inner.0.push(write_total(total())).unwrap();
    drop(inner);
    list.clear().unwrap();
    assert_eq!(kept(), 0);
    list.audit().unwrap().unwrap();
}

fn write_total(total: Mutex<u64>) -> impl FnOnce(&mut Out<'_>) -> Result<()> {
    move |out| total.put(out)
}

#[test]
fn a_change_is_waited_for() {
    let _dog = Watchdog::new("waiting for a list", LIMIT);
    let manager = manager();
    let list = list(&manager);
    let seen = list.version().unwrap();
    assert!(!list.wait_changed(seen, Deadline::after(Duration::from_millis(2))).unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| list.wait_changed(seen, Deadline::NEVER));
        list.push(write(&1_u64)).unwrap();
        assert!(waiting.join().expect("no panic").unwrap());
    });
    assert_ne!(list.version().unwrap(), seen);
}

/// Puts handles into elements and takes them out again, in every way there is, until it is killed.
fn churn(manager: &Manager, list: &RawList, words: &Scratch) -> ! {
    let mut rng = Rng::new(words.get(1));
    let total = || manager.create::<Mutex<u64>>().expect("made");
    loop {
        let at = rng.below(8) as usize;
        match rng.below(12) {
            0..3 if list.len() < 12 => list.push(write_total(total())).expect("room"),
            3 if list.len() < 12 => list.extend([write_total(total()), write_total(total())]).expect("room"),
            4 if list.len() < 12 => drop(list.insert(at, write_total(total())).expect("room")),
            5 => drop(list.set(at, write_total(total())).expect("room")),
            6 => drop(list.pop(read::<Mutex<u64>>).expect("whole")),
            7 => drop(list.remove(at, read::<Mutex<u64>>).expect("whole")),
            8 => list.splice(at..at + 2, [write_total(total())], |_| Ok(())).expect("room"),
            9 => list
                .rearrange(|elements| {
                    elements.reverse();
                    elements.truncate(7);
                    Ok(())
                })
                .expect("room"),
            10 => drop(list.get(at, read::<Mutex<u64>>).expect("whole")),
            _ if rng.below(8) == 0 => list.clear().expect("cleared"),
            _ => list.truncate(6).expect("truncated"),
        }
        words.add(0, 1);
    }
}

#[test]
fn whoever_is_killed_with_handles_in_his_hands_leaves_no_more_than_what_lies_in_elements() {
    let dog = Watchdog::new("churning lists", LIMIT);
    let manager = manager();
    let list = list(&manager);
    let there = objects(&manager);
    let mut rng = Rng::new(23);
    for round in 1..=60 {
        let words = Scratch::new(2).expect("a memfd");
        words.set(1, round);
        let role = Role::new("churning").through_test("lists_entry");
        let mut child = role.fd(&manager).fd(&words).spawn().expect("started");
        dog.waits_for("a child at work");
        let until = rng.below(200);
        while words.get(0) <= until {
            assert_eq!(child.try_wait().expect("asked"), None, "the child ended by itself");
        }
        child.kill().expect("killed");
        assert_eq!(manager.recover().unwrap(), 1);
        let mut kept = 0;
        list.slice(0..usize::MAX, |value| {
            *Mutex::<u64>::from_bytes(value)?.lock()? += 1;
            kept += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((objects(&manager), list.len()), (there + kept, kept), "round {round}");
        list.audit().unwrap().unwrap();
    }
    list.clear().unwrap();
    assert_eq!(objects(&manager), there);
}
