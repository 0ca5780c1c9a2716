//! Dicts of bytes: what one process can see of them, what lies in their values, and what the dead leave.
//!
//! Children are this test binary again, in a role (the test `dicts_entry`).

mod amended;
mod deaths;

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use ginnel_object::blocks::{self, Blocks};
use ginnel_object::manager::{Manager, Options};
use ginnel_object::store::{
    Change, RawDict, StoreKind, StoreOptions, Ttl, Wraps, Write, deserialize, serialize, without_locks,
};
use ginnel_object::{ErrorKind, Message, Mutex, Result, queue, spsc};
use ginnel_sync::Deadline;
use ginnel_testkit::child::{self, Arguments, Child, Role};
use ginnel_testkit::scratch::Scratch;
use ginnel_testkit::watchdog::Watchdog;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LIMIT: Duration = Duration::from_secs(60);

fn manager() -> Manager {
    Manager::with(Options::new().limit(32 << 20).objects(64).participants(6)).expect("a small manager")
}

/// A second participant of the same manager.
fn second(manager: &Manager) -> Manager {
    Manager::from_fd(manager.as_fd().try_clone_to_owned().expect("dup")).expect("attach")
}

/// A typed handle, as the crate above has them.
#[derive(Debug, Clone)]
struct Words(RawDict);

impl Wraps for Words {
    type Raw = RawDict;
    type Options = StoreOptions;
    const KIND: StoreKind = StoreKind::Dict;

    fn names() -> (String, String) {
        ("bytes".into(), "anything".into())
    }

    fn store(options: StoreOptions) -> Result<StoreOptions> {
        Ok(options)
    }

    fn wrap(raw: RawDict) -> Self {
        Self(raw)
    }

    fn raw(&self) -> &RawDict {
        &self.0
    }
}

impl Serialize for Words {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserialize(deserializer)
    }
}

/// Another one, whose values have another type.
#[derive(Debug)]
struct Numbers(RawDict);

impl Wraps for Numbers {
    type Raw = RawDict;
    type Options = StoreOptions;
    const KIND: StoreKind = StoreKind::Dict;

    fn names() -> (String, String) {
        ("bytes".into(), "u64".into())
    }

    fn store(options: StoreOptions) -> Result<StoreOptions> {
        Ok(options)
    }

    fn wrap(raw: RawDict) -> Self {
        Self(raw)
    }

    fn raw(&self) -> &RawDict {
        &self.0
    }
}

fn dict(manager: &Manager) -> RawDict {
    manager.get_or_create::<Words>("dict").expect("made").0
}

fn put<T: Message>(dict: &RawDict, key: &str, value: &T) -> Result<bool> {
    dict.put(key.as_bytes(), Ttl::Default, |out| value.put(out))
}

fn read<T: Message>(bytes: Option<&[u8]>) -> Result<Option<T>> {
    bytes.map(T::from_bytes).transpose()
}

fn get<T: Message>(dict: &RawDict, key: &str) -> Result<Option<T>> {
    dict.get(key.as_bytes(), read)
}

fn write(dict: &RawDict, key: &str, value: u64) -> Write {
    let packed = dict.pack(|out| value.put(out)).expect("encoded");
    Write { key: key.as_bytes().to_vec(), value: Some((packed, Ttl::Default)) }
}

fn objects(manager: &Manager) -> usize {
    manager.inspect().objects.len()
}

/// The way in for roles; by itself it does nothing.
#[test]
fn dicts_entry() {
    let Some((name, arguments)) = child::role() else { return };
    if name == "forked" {
        return deaths::forked();
    }
    let manager = Manager::from_fd(arguments.fd(0).expect("a manager")).expect("attach");
    let dict = dict(&manager);
    match name.as_str() {
        "holder" => {
            let altered = dict.alter::<()>(b"k", |_, _| ready_to_die(&arguments));
            panic!("{altered:?}");
        }
        "packing" => {
            // Killed with the tickets of a value that never gets there.
            let total = manager.create::<Mutex<u64>>().expect("made");
            let packed = dict.pack(|out| total.put(out));
            assert!(packed.is_ok());
            ready_to_die(&arguments)
        }
        "owner" => {
            let total = manager.create::<Mutex<u64>>().expect("made");
            *total.lock().expect("free") = 7;
            put(&dict, "theirs", &total).expect("room");
            let inner = manager.create::<Words>().expect("made");
            put(&inner.0, "deep", &total).expect("room");
            put(&dict, "inner", &inner).expect("room");
            ready_to_die(&arguments)
        }
        "last" => {
            // The last holder of a dict with something in it, killed.
            let mine = manager.create::<Words>().expect("made");
            let total = manager.create::<Mutex<u64>>().expect("made");
            put(&mine.0, "total", &total).expect("room");
            ready_to_die(&arguments)
        }
        "churning" => deaths::churn(
            &manager,
            &dict,
            &Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped"),
        ),
        "waiting" => {
            Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
            let seen = dict.version(b"news").expect("asked");
            assert!(dict.wait_changed(b"news", seen, Deadline::NEVER).expect("woken"));
        }
        other => panic!("no role {other}"),
    }
}

/// Says that it is ready, and waits for its end.
fn ready_to_die(arguments: &Arguments) -> ! {
    Scratch::from_fd(arguments.fd(1).expect("words")).expect("mapped").set(0, 1);
    loop {
        thread::park();
    }
}

/// Starts a role and waits until it is ready.
fn start(manager: &Manager, role: &str, dog: &Watchdog) -> Child {
    let ready = Scratch::new(1).expect("a memfd");
    let mut child =
        Role::new(role).through_test("dicts_entry").fd(manager).fd(&ready).spawn().expect("started");
    dog.waits_for("a child that gets ready");
    while ready.get(0) == 0 {
        let ended = child.wait_timeout(Duration::from_millis(1)).expect("waited");
        assert_eq!(ended, None, "the child ended before it was ready");
    }
    child
}

#[test]
fn what_was_put_is_read_replaced_and_removed() {
    let manager = manager();
    let dict = dict(&manager);
    assert_eq!(get::<u64>(&dict, "a").unwrap(), None);
    assert!(!put(&dict, "a", &1_u64).unwrap());
    assert!(put(&dict, "a", &2_u64).unwrap());
    assert_eq!(get::<u64>(&dict, "a").unwrap(), Some(2));
    let before = dict.swap(b"a", Ttl::Default, |out| 3_u64.put(out), read::<u64>).unwrap();
    assert_eq!(before, Some(2));
    let long = "x".repeat(70_000);
    for text in ["", "short", &long] {
        put(&dict, "text", &text.to_owned()).unwrap();
        assert_eq!(get::<String>(&dict, "text").unwrap().as_deref(), Some(text));
    }
    assert_eq!((dict.len(), dict.is_empty()), (2, false));
    assert_eq!(dict.take(b"a", read::<u64>).unwrap(), Some(3));
    assert_eq!(dict.take(b"a", read::<u64>).unwrap(), None);
    assert!(dict.remove(b"text").unwrap() && !dict.remove(b"text").unwrap());
    assert!(dict.is_empty());
    let keys = (0..2000).map(|i| format!("key {i}")).collect::<Vec<_>>();
    for (i, key) in keys.iter().enumerate() {
        put(&dict, key, &(i as u64)).unwrap();
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(get::<u64>(&dict, key).unwrap(), Some(i as u64));
    }
    dict.audit().unwrap();
    let mut found = Vec::new();
    for shard in 0..dict.shards() {
        dict.shard(shard, |key, value| {
            found.push((key.to_vec(), u64::from_bytes(value)?));
            Ok(())
        })
        .unwrap();
    }
    let mut whole = Vec::new();
    dict.snapshot(|key, value| {
        whole.push((key.to_vec(), u64::from_bytes(value)?));
        Ok(())
    })
    .unwrap();
    assert_eq!(found, whole);
    assert_eq!(found.len(), 2000);
    let usage = dict.usage().unwrap();
    assert_eq!((usage.shards, usage.entries), (64, 2000));
    let seen = manager.inspect();
    let object = seen.objects.iter().find(|object| object.kind == "dict").expect("it is there");
    assert!(object.size as u64 > usage.claimed && object.store == Some(usage), "{object:?}");
    dict.clear().unwrap();
    assert_eq!((dict.len(), get::<u64>(&dict, &keys[7]).unwrap()), (0, None));
    dict.audit().unwrap();
}

#[test]
fn alter_is_one_step_and_takes_no_other_lock() {
    let manager = manager();
    let dict = dict(&manager);
    let add = |key: &str, more: u64| {
        dict.alter(key.as_bytes(), |old, out| {
            let sum = read::<u64>(old)?.unwrap_or(0) + more;
            sum.put(out)?;
            Ok((Change::Put(Ttl::Keep), sum))
        })
    };
    assert_eq!((add("n", 1).unwrap(), add("n", 2).unwrap()), (1, 3));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| assert!(add("n", 1).unwrap() > 3)));
        }
    });
    assert_eq!(get::<u64>(&dict, "n").unwrap(), Some(2003));
    assert_eq!(dict.word(b"absent", |n| n).unwrap(), None);
    dict.put(b"raw", Ttl::Default, |out| {
        out.extend(&7_u64.to_ne_bytes());
        Ok(())
    })
    .unwrap();
    assert_eq!(dict.word(b"raw", |n| n * 6).unwrap(), Some((7, 42)));
    put(&dict, "text", &"no word at all".to_owned()).unwrap();
    assert_eq!(dict.word(b"text", |n| n).unwrap_err().kind(), ErrorKind::Mismatch);

    // Under the lock of any shard, whatever would take one is refused; reading is not.
    let inside = |old: Option<&[u8]>| {
        assert_eq!(read::<u64>(old).unwrap(), Some(2003));
        for key in ["n", "other", "third"] {
            assert_eq!(put(&dict, key, &0_u64).unwrap_err().kind(), ErrorKind::Deadlock);
            assert_eq!(dict.remove(key.as_bytes()).unwrap_err().kind(), ErrorKind::Deadlock);
        }
        assert_eq!(get::<u64>(&dict, "n").unwrap(), Some(2003));
        assert_eq!(get::<u64>(&dict, "other").unwrap(), None);
    };
    dict.alter(b"n", |old, _| {
        inside(old);
        Ok((Change::Keep, ()))
    })
    .unwrap();
    without_locks(|| assert_eq!(put(&dict, "n", &0_u64).unwrap_err().kind(), ErrorKind::Deadlock));
    let version = dict.version(b"n").unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        dict.alter::<()>(b"n", |_, out| {
            5_u64.put(out)?;
            panic!("in the middle")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(dict.version(b"n").unwrap(), version);
    let gone = dict.alter(b"n", |_, _| Ok((Change::Remove, 1))).unwrap();
    assert_eq!((gone, get::<u64>(&dict, "n").unwrap()), (1, None));
    dict.audit().unwrap();
}

#[test]
fn types_are_checked_when_a_name_is_opened_and_when_a_handle_arrives() {
    let manager = manager();
    let words = manager.get_or_create::<Words>("words").expect("made");
    put(&words.0, "k", &5_u64).unwrap();
    let other = second(&manager);
    let same = other.get::<Words>("words").expect("opened").expect("there");
    assert_eq!(get::<u64>(&same.0, "k").unwrap(), Some(5));
    assert_eq!((same.0.names().unwrap().1.as_str(), same.0.name()), ("anything", Some("words")));
    let wrong = other.get::<Numbers>("words").unwrap_err();
    assert!(wrong.kind() == ErrorKind::Mismatch && wrong.to_string().contains("u64"), "{wrong}");
    assert_eq!(other.get::<Mutex<u64>>("words").unwrap_err().kind(), ErrorKind::Mismatch);
    let outer = dict(&manager);
    put(&outer, "words", &words).unwrap();
    assert!(get::<Words>(&outer, "words").unwrap().is_some());
    let three = StoreOptions { shards: Some(3), ..StoreOptions::default() };
    assert_eq!(manager.create_with::<Words>(three).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn handles_in_values_live_as_long_as_the_value() {
    let manager = manager();
    let dict = dict(&manager);
    let there = objects(&manager);
    let lend = |key: &str| {
        let total = manager.create::<Mutex<u64>>().expect("made");
        *total.lock().unwrap() = 41;
        put(&dict, key, &(7_u64, total)).unwrap();
    };
    let is_kept = || objects(&manager) == there + 1;
    lend("a");
    assert!(is_kept());
    for _ in 0..2 {
        let (seven, total) = get::<(u64, Mutex<u64>)>(&dict, "a").unwrap().expect("there");
        *total.lock().unwrap() += 1;
        assert_eq!(seven, 7);
    }
    let (_, total) = get::<(u64, Mutex<u64>)>(&dict, "a").unwrap().expect("there");
    assert_eq!(*total.lock().unwrap(), 43);
    drop(total);
    assert!(is_kept());
    // Removed, replaced, taken, altered, cleared, in a transaction: it goes with its value.
    assert!(dict.remove(b"a").unwrap());
    assert_eq!(objects(&manager), there);
    lend("a");
    put(&dict, "a", &1_u64).unwrap();
    assert_eq!(objects(&manager), there);
    lend("a");
    let (_, total) = dict.take(b"a", read::<(u64, Mutex<u64>)>).unwrap().expect("there");
    assert!(is_kept());
    drop(total);
    assert_eq!(objects(&manager), there);
    lend("a");
    dict.alter(b"a", |old, out| {
        let (_, total) = read::<(u64, Mutex<u64>)>(old)?.expect("there");
        (8_u64, total).put(out)?;
        Ok((Change::Put(Ttl::Keep), ()))
    })
    .unwrap();
    assert!(is_kept());
    assert_eq!(get::<(u64, Mutex<u64>)>(&dict, "a").unwrap().expect("there").0, 8);
    dict.alter(b"a", |_, _| Ok((Change::Remove, ()))).unwrap();
    assert_eq!(objects(&manager), there);
    lend("a");
    lend("b");
    dict.shard(0, |_, _| Ok(())).unwrap();
    let mut seen = 0;
    dict.snapshot(|_, value| {
        seen += u64::from(<(u64, Mutex<u64>)>::from_bytes(value)?.1.lock().is_ok());
        Ok(())
    })
    .unwrap();
    assert_eq!((seen, objects(&manager)), (2, there + 2));
    dict.clear().unwrap();
    assert_eq!(objects(&manager), there);
    lend("a");
    assert!(dict.commit(&[], vec![write(&dict, "a", 1), write(&dict, "b", 2)]).unwrap());
    assert_eq!(objects(&manager), there);
    lend("a");
    dict.audit().unwrap();
    // A second participant has it after the first is gone; and with the last handle of the dict it goes.
    let other = second(&manager);
    let theirs = self::dict(&other);
    assert!(get::<(u64, Mutex<u64>)>(&theirs, "a").unwrap().is_some());
    manager.remove("dict").unwrap();
    drop(dict);
    assert!(is_kept());
    drop(theirs);
    assert_eq!(objects(&manager), there - 1);
}

#[test]
fn dicts_in_dicts_go_with_the_outermost() {
    let manager = manager();
    let outer = manager.create::<Words>().expect("made");
    let mut inner = outer.clone();
    for depth in 0..20_u64 {
        let next = manager.create::<Words>().expect("made");
        put(&next.0, "depth", &depth).unwrap();
        put(&inner.0, "next", &next).unwrap();
        inner = next;
    }
    drop(inner);
    assert_eq!(objects(&manager), 21);
    let mut at = outer.clone();
    while let Some(next) = get::<Words>(&at.0, "next").unwrap() {
        at = next;
    }
    assert_eq!(get::<u64>(&at.0, "depth").unwrap(), Some(19));
    drop(at);
    drop(outer);
    assert_eq!(objects(&manager), 0);
}

#[test]
fn what_cannot_lie_in_a_store_is_refused_and_stays() {
    let manager = manager();
    let dict = dict(&manager);
    let refused = |error: ginnel_object::Error| assert_eq!(error.kind(), ErrorKind::Encode, "{error}");
    let pool = manager.create_with::<Blocks>(blocks::Options::new(2, 4096)).expect("made");
    let block = pool.claim().expect("free").freeze();
    refused(dict.put(b"block", Ttl::Default, |out| block.put(out)).unwrap_err());
    let sender: spsc::Producer<u64> =
        spsc::Options::new().capacity(100).producer(&manager, "lane").expect("made");
    refused(dict.put(b"end", Ttl::Default, |out| sender.put(out)).unwrap_err());
    refused(put(&dict, "self", &Words(dict.clone())).unwrap_err());
    let elsewhere = Mutex::new(1_u64).expect("made");
    assert!(put(&dict, "elsewhere", &elsewhere).is_err());
    let (tx, rx) = queue::channel::<u64>(4).expect("made");
    drop((tx, rx));
    assert!(dict.is_empty());
    dict.audit().unwrap();
}

#[test]
fn entries_end_by_themselves_and_take_along_what_they_carry() {
    let manager = manager();
    let dict = dict(&manager);
    let there = objects(&manager);
    let moment = Ttl::After(Duration::from_nanos(1));
    let total = manager.create::<Mutex<u64>>().expect("made");
    dict.put(b"carrying", moment, |out| total.put(out)).unwrap();
    dict.put(b"plain", moment, |out| 1_u64.put(out)).unwrap();
    put(&dict, "stays", &2_u64).unwrap();
    drop(total);
    assert_eq!(objects(&manager), there + 1);
    assert_eq!(get::<u64>(&dict, "plain").unwrap(), None);
    assert_eq!(dict.version(b"plain").unwrap(), 0);
    assert!(get::<Mutex<u64>>(&dict, "carrying").unwrap().is_none());
    assert!(!put(&dict, "plain", &3_u64).unwrap(), "an entry that has ended counts as absent");
    dict.put(b"plain", moment, |out| 1_u64.put(out)).unwrap();
    assert_eq!((dict.purge().unwrap(), dict.len()), (2, 1));
    assert_eq!(objects(&manager), there);
    // Replaced after its end, it takes along what it carried as well.
    let total = manager.create::<Mutex<u64>>().expect("made");
    dict.put(b"carrying", moment, |out| total.put(out)).unwrap();
    drop(total);
    assert_eq!(dict.swap(b"carrying", Ttl::Never, |out| 1_u64.put(out), read::<u64>).unwrap(), None);
    assert_eq!(objects(&manager), there);
    dict.audit().unwrap();
}

#[test]
fn a_change_wakes_who_waits_for_it() {
    let dog = Watchdog::new("changes", LIMIT);
    let manager = manager();
    let dict = dict(&manager);
    put(&dict, "k", &0_u64).unwrap();
    let at_once = Deadline::after(Duration::ZERO);
    let seen = dict.version(b"k").unwrap();
    assert!(!dict.wait_changed(b"k", seen, at_once).unwrap());
    assert!(dict.wait_changed(b"k", 0, at_once).unwrap());
    dog.waits_for("waiters that see every change");
    thread::scope(|scope| {
        let waiter = |key: &'static str, last: u64| {
            let dict = dict.clone();
            move || {
                let mut seen = 0;
                loop {
                    assert!(dict.wait_changed(key.as_bytes(), seen, Deadline::NEVER).unwrap());
                    let (version, value) = dict
                        .get_at(key.as_bytes(), |version, value| Ok((version, read::<u64>(value)?)))
                        .unwrap();
                    seen = version;
                    if value == Some(last) {
                        break;
                    }
                }
            }
        };
        let waiters = [scope.spawn(waiter("k", 300)), scope.spawn(waiter("other", 300))];
        for i in 1..=300_u64 {
            put(&dict, "k", &i).unwrap();
            put(&dict, "other", &i).unwrap();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
    // An entry that ends has changed.
    dict.put(b"short", Ttl::After(Duration::from_millis(5)), |out| 1_u64.put(out)).unwrap();
    let seen = dict.version(b"short").unwrap();
    assert!(dict.wait_changed(b"short", seen, Deadline::NEVER).unwrap());
}

#[test]
fn transactions_are_whole_or_not_at_all() {
    let manager = manager();
    let dict = dict(&manager);
    let keys: Vec<String> = (0..100).map(|i| format!("account {i}")).collect();
    let all: Vec<Write> = keys.iter().map(|key| write(&dict, key, 10)).collect();
    assert!(dict.commit(&[], all).unwrap());
    let seen = dict.version(keys[0].as_bytes()).unwrap();
    let reads = [(keys[0].as_bytes().to_vec(), seen)];
    put(&dict, &keys[0], &10_u64).unwrap();
    assert!(!dict.commit(&reads, vec![write(&dict, &keys[1], 99)]).unwrap());
    assert_eq!(get::<u64>(&dict, &keys[1]).unwrap(), Some(10));
    assert!(dict.commit(&[(b"nobody".to_vec(), 0)], Vec::new()).unwrap());
    let removal = |key: &str| Write { key: key.as_bytes().to_vec(), value: None };
    assert!(dict.commit(&[], vec![removal("nobody"), removal(&keys[99]), write(&dict, "new", 1)]).unwrap());
    assert_eq!((dict.len(), get::<u64>(&dict, &keys[99]).unwrap()), (100, None));
    let many = (0..300).map(|i| write(&dict, &format!("{i}"), 1)).collect();
    assert_eq!(dict.commit(&[], many).unwrap_err().kind(), ErrorKind::TooLarge);

    let transfer = |from: &str, to: &str| loop {
        let read_at = |key: &str| {
            dict.get_at(key.as_bytes(), |version, value| Ok((version, read::<u64>(value)?.unwrap()))).unwrap()
        };
        let ((seen_from, a), (seen_to, b)) = (read_at(from), read_at(to));
        let reads = [(from.as_bytes().to_vec(), seen_from), (to.as_bytes().to_vec(), seen_to)];
        if a == 0 || dict.commit(&reads, vec![write(&dict, from, a - 1), write(&dict, to, b + 1)]).unwrap() {
            break;
        }
    };
    thread::scope(|scope| {
        for seed in 0..4_usize {
            let (keys, transfer) = (&keys[..8], &transfer);
            scope.spawn(move || {
                for i in 0..300 {
                    let (from, to) = ((i * 5 + seed) % 8, (i * 3 + 1) % 8);
                    if from != to {
                        transfer(&keys[from], &keys[to]);
                    }
                }
            });
        }
    });
    let sum: u64 = keys[..8].iter().map(|key| get::<u64>(&dict, key).unwrap().unwrap()).sum();
    assert_eq!(sum, 80);
    let doubled = dict.exclusively(|exclusive| {
        let value = exclusive.get_at(keys[3].as_bytes(), |_, value| read::<u64>(value))?.unwrap();
        assert_eq!(put(&dict, "k", &1_u64).unwrap_err().kind(), ErrorKind::Deadlock);
        exclusive.commit(vec![write(&dict, &keys[3], value * 2), write(&dict, "sum", sum)])?;
        Ok(value * 2)
    });
    assert_eq!(get::<u64>(&dict, &keys[3]).unwrap(), Some(doubled.unwrap()));
    dict.audit().unwrap();
}

#[test]
fn memory_of_what_was_removed_is_used_again() {
    let manager = Manager::new(4 << 20).expect("made");
    let options = StoreOptions { shards: Some(1), ..StoreOptions::default() };
    let dict = RawDict::make(&manager, StoreKind::Dict, ("k", "v"), &options).expect("made");
    let fill = |size: usize| {
        let value = vec![7_u8; size];
        let mut count = 0_u64;
        loop {
            match put(&dict, &format!("{count}"), &value) {
                Ok(_) => count += 1,
                Err(why) => {
                    assert_eq!(why.kind(), ErrorKind::Full, "{why}");
                    break count;
                }
            }
        }
    };
    let mut counts = Vec::new();
    for size in [100, 3000, 60_000, 100] {
        counts.push(fill(size));
        assert_eq!(dict.len() as u64, counts[counts.len() - 1]);
        dict.audit().unwrap();
        dict.clear().unwrap();
    }
    assert!(counts[3] > counts[0] * 3 / 4 && counts[0] > 15_000, "{counts:?}");
    // A transaction that finds no room gives back what was given back before, and tries again.
    fill(100);
    for i in 0..5000 {
        dict.remove(format!("{i}").as_bytes()).unwrap();
    }
    let large: Vec<Write> = (0..20)
        .map(|i| {
            let packed = dict.pack(|out| vec![1_u8; 5000].put(out)).unwrap();
            Write { key: format!("large {i}").into_bytes(), value: Some((packed, Ttl::Default)) }
        })
        .collect();
    assert!(dict.commit(&[], large).unwrap());
    dict.audit().unwrap();
    let limited =
        StoreOptions { limit: Some(1 << 20), evict: true, shards: Some(1), ..StoreOptions::default() };
    let manager = Manager::new(16 << 20).expect("made");
    let cache = RawDict::make(&manager, StoreKind::Dict, ("k", "v"), &limited).expect("made");
    for i in 0..20_000_u64 {
        put(&cache, &format!("{i}"), &[i; 8].to_vec()).unwrap();
    }
    assert!(cache.len() > 1000 && cache.usage().unwrap().claimed <= 1 << 20);
    assert_eq!(get::<Vec<u64>>(&cache, "19999").unwrap(), Some(vec![19_999; 8]));
    cache.audit().unwrap();
}

#[test]
fn a_persistent_manager_keeps_what_has_a_name() {
    let directory =
        tempfile::Builder::new().prefix("ginnel-dicts").tempdir_in("/dev/shm").expect("a directory");
    let options = || Options::new().limit(8 << 20).directory(directory.path()).persistent();
    let manager = Manager::open_or_create_with("cache", options()).expect("made");
    assert!(manager.is_persistent());
    let words = manager.get_or_create::<Words>("words").expect("made");
    put(&words.0, "k", &5_u64).unwrap();
    let nameless = manager.create::<Words>().expect("made");
    drop((words, nameless, manager));
    let manager = Manager::open_with("cache", &options()).expect("it is there still");
    assert_eq!((manager.names(), objects(&manager)), (vec!["words".to_owned()], 1));
    let words = manager.get::<Words>("words").expect("opened").expect("there");
    assert_eq!(get::<u64>(&words.0, "k").unwrap(), Some(5));
    // What is not persistent goes with the last.
    let other = options();
    drop(Manager::open_or_create_with("other", Options::new().limit(1 << 20).directory(directory.path())));
    assert!(Manager::open_with("other", &other).is_err_and(|why| why.is_not_found()));
}

#[test]
fn an_isolated_manager_is_not_that_of_this_process() {
    let apart = Manager::isolated().expect("made");
    let words = apart.create::<Words>().expect("made");
    let current = Manager::current().expect("made").create::<Words>().expect("made");
    // Nothing of the one goes into the other.
    assert!(put(&current.0, "words", &words).is_err() && put(&words.0, "words", &current).is_err());
}

#[test]
fn numbers_and_keys_have_their_bounds() {
    let manager = manager();
    let dict = dict(&manager);
    assert!(dict.tick().unwrap() < dict.tick().unwrap());
    let long_key = vec![0; 65_536];
    assert_eq!(dict.version(&long_key).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(dict.version(&long_key[1..]).unwrap(), 0);
    assert!(!dict.put(&long_key[1..], Ttl::Default, |out| 1_u64.put(out)).unwrap());
    assert_eq!(dict.get(&long_key[1..], read::<u64>).unwrap(), Some(1));
    assert!(!dict.put(b"", Ttl::Default, |out| 2_u64.put(out)).unwrap());
    assert_eq!(dict.get(b"", read::<u64>).unwrap(), Some(2));
}
