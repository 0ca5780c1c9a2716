//! Every method of a dict, against std's map.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use common::{audit, manager, watchdog};
use ginnel_layout::atomic::Ordering;
use ginnel_manager::Dict;
use ginnel_manager::dict::Options;
use ginnel_object::{Checked, ErrorKind, Json, Manager, Raw};
use ginnel_testkit::rng::Rng;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    tags: Vec<String>,
    score: Option<f64>,
}

fn user(n: usize) -> User {
    User { name: format!("user {n}"), tags: vec!["x".repeat(n % 50); n % 4], score: Some(n as f64 / 2.0) }
}

#[test]
fn what_is_put_in_comes_out() {
    let _watchdog = watchdog("put and get");
    let users = Dict::<String, User>::new().expect("a dict");
    assert!(users.is_empty());
    assert_eq!(users.get("ada").expect("no failure"), None);
    assert_eq!(users.insert("ada".into(), user(1)).expect("room"), None);
    assert_eq!(users.insert("ada".into(), user(2)).expect("room"), Some(user(1)));
    assert!(users.set("ada", &user(3)).expect("room"));
    assert!(!users.set("bob", &user(4)).expect("room"));
    assert_eq!((users.len(), users.is_empty()), (2, false));
    assert_eq!(users.get("ada").expect("no failure"), Some(user(3)));
    assert_eq!(users.get(&"bob".to_owned()).expect("no failure"), Some(user(4)));
    assert!(users.contains_key("ada").expect("no failure"));
    assert!(!users.contains_key("eve").expect("no failure"));
    assert_eq!(users.get_or("eve", user(9)).expect("no failure"), user(9));
    assert_eq!(users.get_or("bob", user(9)).expect("no failure"), user(4));
    assert_eq!(users.remove("ada").expect("no failure"), Some(user(3)));
    assert_eq!(users.remove("ada").expect("no failure"), None);
    assert_eq!(users.pop("ada", user(7)).expect("no failure"), user(7));
    assert_eq!(users.pop("bob", user(7)).expect("no failure"), user(4));
    assert_eq!((users.len(), users.get("bob").expect("no failure")), (0, None));
    users.extend((0..10).map(|n| (n.to_string(), user(n)))).expect("room");
    assert!(users.discard("3").expect("no failure"));
    assert!(!users.discard("3").expect("no failure"));
    assert_eq!(users.len(), 9);
    users.clear().expect("no failure");
    assert_eq!((users.len(), users.get("4").expect("no failure")), (0, None));
}

#[test]
fn every_kind_of_value_and_key_crosses() {
    let _watchdog = watchdog("kinds");
    let raw = Dict::<(u8, String), Raw<[u64; 8]>>::new().expect("a dict");
    raw.set(&(1, "x".into()), &Raw([7; 8])).expect("room");
    assert_eq!(raw.get(&(1, "x".into())).expect("no failure"), Some(Raw([7; 8])));
    let sum = raw.get_with(&(1, "x".into()), |bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>());
    assert_eq!(sum.expect("no failure"), Some(56));
    assert_eq!(raw.get_with(&(2, "x".into()), <[u8]>::len).expect("no failure"), None);
    let json = Dict::<Vec<u8>, Json<HashMap<String, u32>>>::new().expect("a dict");
    json.set(&b"k"[..], &Json(HashMap::from([("a".into(), 1)]))).expect("room");
    assert_eq!(json.get(&b"k"[..]).expect("no failure").expect("there").0["a"], 1);
    let checked = Dict::<[u8; 4], Checked<char>>::new().expect("a dict");
    checked.set(&[1, 2, 3, 4], &Checked('ß')).expect("room");
    assert_eq!(checked.get(&[1, 2, 3, 4]).expect("no failure"), Some(Checked('ß')));
    let empty = Dict::<(), ()>::new().expect("a dict");
    assert_eq!(empty.insert((), ()).expect("room"), None);
    assert_eq!(empty.get(&()).expect("no failure"), Some(()));
    let options = Dict::<Option<bool>, Option<Vec<u8>>>::new().expect("a dict");
    options.set(&None, &None).expect("room");
    options.set(&Some(true), &Some(vec![1])).expect("room");
    assert_eq!(options.get(&None).expect("no failure"), Some(None));
    assert_eq!(options.get(&Some(true)).expect("no failure"), Some(Some(vec![1])));
    assert_eq!(options.get(&Some(false)).expect("no failure"), None);
}

#[test]
fn values_and_keys_of_every_size_come_back_whole() {
    let _watchdog = watchdog("sizes");
    let dict = Dict::<String, Vec<u8>>::new().expect("a dict");
    let sizes =
        [0, 1, 7, 8, 9, 31, 100, 127, 128, 129, 255, 256, 1000, 4095, 8000, 8192, 8200, 70_000, 1 << 20];
    for (turn, size) in sizes.into_iter().enumerate() {
        let value: Vec<u8> = (0..size).map(|at| (at * 7 + turn) as u8).collect();
        dict.set("one key", &value).expect("room");
        assert_eq!(dict.get("one key").expect("no failure").as_ref(), Some(&value), "{size} bytes");
        if size < 65_000 {
            let key = "k".repeat(size);
            dict.set(key.as_str(), &value).expect("room");
            assert_eq!(dict.get(key.as_str()).expect("no failure"), Some(value), "a key of {size} bytes");
        }
    }
    let error = dict.set("k".repeat(70_000).as_str(), &vec![]).expect_err("too long a key");
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(dict.get("k".repeat(70_000).as_str()).expect_err("the same").kind(), ErrorKind::TooLarge);
}

#[test]
fn a_long_run_of_random_operations_agrees_with_stds_map() {
    let _watchdog = watchdog("oracle");
    for shards in [1, 4, 64] {
        let (mut rng, mut oracle) = (Rng::new(shards as u64), BTreeMap::new());
        let dict = Dict::<u32, Vec<u8>>::with(Options::new().shards(shards)).expect("a dict");
        for step in 0..6000 {
            let key = rng.below(400) as u32;
            let value = vec![step as u8; rng.below(300) as usize];
            match rng.below(10) {
                0..5 => {
                    let before = oracle.insert(key, value.clone());
                    assert_eq!(dict.insert(key, value).expect("room"), before);
                }
                5..8 => assert_eq!(dict.remove(&key).expect("no failure"), oracle.remove(&key)),
                8 => {
                    let longer = |old: Option<Vec<u8>>| {
                        old.map(|mut old| {
                            old.push(1);
                            old
                        })
                    };
                    let new = longer(oracle.get(&key).cloned());
                    assert_eq!(dict.alter(key, longer).expect("room"), new);
                    if let Some(new) = new {
                        oracle.insert(key, new);
                    }
                }
                _ => assert_eq!(dict.get(&key).expect("no failure").as_ref(), oracle.get(&key)),
            }
            assert_eq!(dict.len(), oracle.len());
        }
        let all: BTreeMap<_, _> = dict.snapshot().expect("no failure").into_iter().collect();
        assert_eq!(all, oracle);
        audit(&dict);
    }
}

#[test]
fn walking_meets_every_entry_once() {
    let _watchdog = watchdog("walking");
    let squares = Dict::from_iter((0..5000_u32).map(|n| (n, u64::from(n) * u64::from(n)))).expect("a dict");
    let mut seen: Vec<(u32, u64)> = squares.iter().map(|entry| entry.expect("an entry")).collect();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq((0..5000_u32).map(|n| (n, u64::from(n) * u64::from(n)))));
    let mut keys: Vec<u32> = squares.keys().map(|key| key.expect("a key")).collect();
    keys.sort_unstable();
    assert!(keys.into_iter().eq(0..5000));
    let sum: u64 = squares.values().map(|value| value.expect("a value")).sum();
    assert_eq!(sum, (0..5000_u64).map(|n| n * n).sum::<u64>());
    assert_eq!(squares.items().count(), 5000);
    // The loop may change what it walks over.
    for entry in &squares {
        let (key, _) = entry.expect("an entry");
        assert!(squares.discard(&key).expect("no failure"));
    }
    assert!(squares.is_empty());
    assert_eq!(squares.iter().count(), 0);
    assert!(format!("{squares:?} {:?} {:?}", squares.iter(), squares.keys()).contains("Dict"));
}

#[test]
fn entries_are_std_s_shape_of_it() {
    let _watchdog = watchdog("entries");
    let stock = Dict::<String, u32>::new().expect("a dict");
    let entry = stock.entry("nails".into());
    assert_eq!(entry.key(), "nails");
    assert_eq!(entry.get().expect("no failure"), None);
    assert_eq!(stock.entry("nails".into()).and_modify(|n| *n += 1).get().expect("no failure"), None);
    assert!(stock.is_empty());
    assert_eq!(stock.entry("nails".into()).or_insert(100).expect("room"), 100);
    assert_eq!(stock.entry("nails".into()).or_insert(5).expect("room"), 100);
    let less = |n: &mut u32| *n -= 1;
    assert_eq!(stock.entry("nails".into()).and_modify(less).or_insert(5).expect("room"), 99);
    assert_eq!(
        stock.entry("nails".into()).and_modify(less).and_modify(|n| *n *= 2).get().expect("room"),
        Some(196)
    );
    assert_eq!(stock.entry("glue".into()).and_modify(less).or_insert_with(|| 3).expect("room"), 3);
    assert_eq!(stock.entry("tape".into()).or_default().expect("room"), 0);
    assert_eq!(stock.entry("tape".into()).insert(4).expect("room"), Some(0));
    assert_eq!(stock.entry("tape".into()).remove().expect("no failure"), Some(4));
    assert_eq!(
        stock.entry("nails".into()).or_insert_with(|| unreachable!("it is there")).expect("room"),
        196
    );
    assert_eq!(stock.get_or_insert_with("wire".into(), || 8).expect("room"), 8);
    assert_eq!(stock.get_or_insert_with("wire".into(), || unreachable!("it is there")).expect("room"), 8);
}

#[test]
fn changes_are_made_where_the_value_is() {
    let _watchdog = watchdog("changes");
    let users = Dict::from_iter([(1_u8, user(1))]).expect("a dict");
    let renamed = users.update(1, |old| User { name: "ada".into(), ..old.expect("there") }).expect("room");
    assert_eq!(renamed.name, "ada");
    assert_eq!(users.update(2, |old| old.unwrap_or(user(2))).expect("room"), user(2));
    assert!(users.modify(&1, |user| user.tags.push("new".into())).expect("room"));
    assert_eq!(
        users.get(&1).expect("no failure").expect("there").tags.last().map(String::as_str),
        Some("new")
    );
    assert!(!users.modify(&3, |_| unreachable!("there is none")).expect("no failure"));
    assert_eq!(users.modify_with(&1, |user| user.tags.pop()).expect("room"), Some(Some("new".into())));
    assert_eq!(users.modify_with(&3, |_| 1).expect("no failure"), None);
    assert_eq!(users.alter(2, |_| None).expect("no failure"), None);
    assert_eq!(users.alter(2, |old| old).expect("no failure"), None);
    assert_eq!((users.len(), users.contains_key(&2).expect("no failure")), (1, false));
    assert_eq!(users.alter(2, |_| Some(user(5))).expect("room"), Some(user(5)));
    let exchange =
        |expected: Option<&User>, new| users.compare_exchange(&2, expected, new).expect("no failure");
    assert_eq!(exchange(Some(&user(4)), None), Err(Some(user(5))));
    assert_eq!(exchange(None, Some(user(4))), Err(Some(user(5))));
    assert_eq!(exchange(Some(&user(5)), Some(user(6))), Ok(()));
    assert_eq!(exchange(Some(&user(6)), None), Ok(()));
    assert_eq!(exchange(Some(&user(6)), None), Err(None));
    assert_eq!(exchange(None, Some(user(7))), Ok(()));
    assert_eq!(users.get(&2).expect("no failure"), Some(user(7)));
}

#[test]
fn numbers_of_every_width_are_counted() {
    let _watchdog = watchdog("numbers");
    let wide = Dict::<String, Raw<i64>>::new().expect("a dict");
    assert_eq!(wide.fetch_add("n", -5).expect("room"), 0);
    assert_eq!(wide.fetch_sub("n", 10).expect("room"), -5);
    assert_eq!(wide.fetch_max("n", 7).expect("room"), -15);
    assert_eq!(wide.fetch_min("n", i64::MIN).expect("room"), 7);
    assert_eq!(wide.fetch_sub("n", 1).expect("room"), i64::MIN);
    assert_eq!(wide.get("n").expect("no failure"), Some(Raw(i64::MAX)), "it wraps around");
    let before = wide.version("n").expect("no failure");
    wide.fetch_add("n", 0).expect("room");
    assert_ne!(wide.version("n").expect("no failure"), before, "a count is a change");
    let narrow = Dict::<u8, Raw<u16>>::new().expect("a dict");
    assert_eq!(narrow.fetch_add(&1, u16::MAX).expect("room"), 0);
    assert_eq!(narrow.fetch_add(&1, 2).expect("room"), u16::MAX);
    assert_eq!(narrow.fetch_max(&1, 3).expect("room"), 1);
    assert_eq!(narrow.get(&1).expect("no failure"), Some(Raw(3)));
    let size = Dict::<u8, Raw<usize>>::new().expect("a dict");
    assert_eq!(size.fetch_add(&1, 4).expect("room"), 0);
    assert_eq!(size.fetch_add(&1, 4).expect("room"), 4);
}

#[test]
fn a_named_dict_is_one_for_all_who_open_it() {
    let _watchdog = watchdog("named");
    let (here, there) = (manager(8), manager(8));
    let ours: Dict<String, u32> = here.get_or_create("ages").expect("a dict");
    let again: Dict<String, u32> = here.get("ages").expect("no failure").expect("there");
    assert!(there.get::<Dict<String, u32>>("ages").expect("no failure").is_none());
    ours.set("ada", &36).expect("room");
    assert_eq!(again.get("ada").expect("no failure"), Some(36));
    assert!(format!("{ours:?}").contains("ages"));
    drop((ours, again));
    let back: Dict<String, u32> = here.get_or_create("ages").expect("a dict");
    assert_eq!(back.get("ada").expect("no failure"), Some(36), "the name keeps it");
    assert!(here.remove("ages").expect("no failure"));
    assert_eq!(back.get("ada").expect("no failure"), Some(36), "the handle keeps it");
    let fresh: Dict<String, u32> = here.get_or_create("ages").expect("a dict");
    assert!(fresh.is_empty());
    let options = Options::new().shards(2).limit(1 << 20);
    let small: Dict<u8, u8> = here.get_or_create_with("small", options).expect("a dict");
    small.set(&1, &1).expect("room");
    assert!(here.inspect().objects.iter().any(|object| object.kind == "dict"));
}

#[test]
fn memory_goes_back_with_the_last_handle() {
    let _watchdog = watchdog("freed");
    let manager = manager(64);
    let before = manager.size();
    for _ in 0..20 {
        // Twenty of them together would not fit.
        let dict: Dict<u32, Vec<u8>> = manager.create().expect("a dict");
        (0..2000).for_each(|n| assert!(!dict.set(&n, &vec![1; 5000]).expect("room")));
        assert!(manager.size() > before + 2000 * 5000);
    }
    assert_eq!(manager.size(), before);
}

#[test]
fn memory_of_removed_values_is_used_again() {
    let _watchdog = watchdog("reuse");
    let manager = manager(16);
    let dict: Dict<u32, Vec<u8>> = manager.create_with(Options::new().shards(4)).expect("a dict");
    for round in 0..30_u32 {
        // Other sizes each time: what was cut for one has to serve the next.
        let size = 100 + (round as usize % 7) * 900;
        let entries = 6_000_000 / (size + 200) as u32;
        (0..entries).for_each(|n| assert!(!dict.set(&n, &vec![round as u8; size]).expect("room")));
        assert_eq!(dict.get(&(entries - 1)).expect("no failure"), Some(vec![round as u8; size]));
        if round % 3 == 0 {
            dict.clear().expect("no failure");
        } else {
            (0..entries).for_each(|n| assert!(dict.discard(&n).expect("no failure")));
        }
        assert!(dict.is_empty());
        audit(&dict);
    }
    let usage = dict.usage().expect("no failure");
    assert!(format!("{usage:?}").contains("Usage"), "{usage:?}");
}

#[test]
fn threads_of_one_process_share_a_handle() {
    let _watchdog = watchdog("threads");
    let counts = Dict::<String, u64>::new().expect("a dict");
    let hits = Dict::<u8, Raw<u64>>::new().expect("a dict");
    let reads = ginnel_layout::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (counts, hits, reads) = (&counts, &hits, &reads);
            scope.spawn(move || {
                for turn in 0..2000_u64 {
                    counts.update(format!("k{}", turn % 5), |n| n.unwrap_or(0) + 1).expect("room");
                    hits.fetch_add(&((turn % 3) as u8), 1).expect("room");
                    if counts.get(&format!("k{}", (turn + thread) % 5)).expect("no failure").is_some() {
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let total: u64 = counts.values().map(|count| count.expect("a count")).sum();
    assert_eq!((total, counts.len()), (8000, 5));
    assert_eq!(hits.values().map(|count| count.expect("a count").0).sum::<u64>(), 8000);
    assert!(reads.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_handle_outside_a_message_says_so() {
    let _watchdog = watchdog("outside");
    let dict = Dict::<u8, u8>::new().expect("a dict");
    let mut bytes = Vec::new();
    let mut out = ginnel_object::message::out::Out::vec(&mut bytes);
    let error = ginnel_object::Message::put(&dict, &mut out).expect_err("means nothing there");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(Manager::current().is_ok());
    assert!(dict.with_patience(Duration::from_secs(1)).is_empty());
}
