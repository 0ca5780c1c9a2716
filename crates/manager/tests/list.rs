//! Every method of a list, against std's vector; several threads and processes at one list.

mod common;

use std::collections::BTreeSet;

use common::{audit_list, die, manager, watchdog};
use ginnel_manager::list::Options;
use ginnel_manager::shareable::Item;
use ginnel_manager::{List, ShareableList};
use ginnel_object::{Json, Message, Raw, Result};
use ginnel_process::Process;
use ginnel_testkit::rng::Rng;

#[test]
fn each_method_once() {
    let _watchdog = watchdog("methods");
    let words = List::<String>::new().expect("a list");
    assert!(words.is_empty());
    assert_eq!(
        (words.first().expect("ok"), words.last().expect("ok"), words.pop().expect("ok")),
        (None, None, None)
    );
    words.push("be".into()).expect("room");
    words.insert(0, "to".into()).expect("room");
    words.extend(["or", "not"].map(String::from)).expect("room");
    words.extend([]).expect("nothing to do");
    assert_eq!((words.len(), words.is_empty()), (4, false));
    assert_eq!(words.to_vec().expect("no failure"), ["to", "be", "or", "not"]);
    assert_eq!(words.first().expect("no failure").as_deref(), Some("to"));
    assert_eq!(words.last().expect("no failure").as_deref(), Some("not"));
    assert_eq!(words.get_with(0, |bytes| bytes[1..] == *b"to").expect("no failure"), Some(true));
    words.set(3, "nought".into()).expect("room");
    assert_eq!(words.replace(3, "not".into()).expect("room").as_deref(), Some("nought"));
    assert_eq!(words.update(2, |word| word + "!").expect("room").as_deref(), Some("or!"));
    assert!(words.modify(2, |word| word.truncate(2)).expect("room"));
    assert_eq!(words.slice(1..3).expect("no failure"), ["be", "or"]);
    assert_eq!(words.slice(..=0).expect("no failure"), ["to"]);
    assert!(words.slice(4..).expect("no failure").is_empty());
    assert_eq!(words.index(&"or".into()).expect("no failure"), Some(2));
    assert!(
        words.contains(&"to".into()).expect("no failure")
            && !words.contains(&"x".into()).expect("no failure")
    );
    words.extend(["to", "be"].map(String::from)).expect("room");
    assert_eq!(words.count(&"be".into()).expect("no failure"), 2);
    assert!(words.swap(0, 5).expect("room"));
    assert_eq!(words.to_vec().expect("no failure"), ["be", "be", "or", "not", "to", "to"]);
    words.dedup().expect("room");
    words.reverse().expect("room");
    assert_eq!(words.to_vec().expect("no failure"), ["to", "not", "or", "be"]);
    words.sort_by_key(|word| word.len()).expect("room");
    assert_eq!(
        words.to_vec().expect("no failure"),
        ["to", "or", "be", "not"],
        "equal ones stay in their order"
    );
    words.sort().expect("room");
    words.sort_by(|a, b| b.cmp(a)).expect("room");
    assert_eq!(words.to_vec().expect("no failure"), ["to", "or", "not", "be"]);
    assert_eq!(words.splice(1..3, ["x", "y", "z"].map(String::from)).expect("room"), ["or", "not"]);
    assert_eq!(words.drain(..2).expect("room"), ["to", "x"]);
    assert_eq!(words.remove(1).expect("no failure").as_deref(), Some("z"));
    assert_eq!(words.to_vec().expect("no failure"), ["y", "be"]);
    words.retain(|word| word == "be").expect("room");
    words.truncate(5).expect("nothing to do");
    assert_eq!(words.pop().expect("no failure").as_deref(), Some("be"));
    words.extend((0..100).map(|n| n.to_string())).expect("room");
    words.truncate(3).expect("no failure");
    assert_eq!(words.iter().map(|word| word.expect("a word")).collect::<Vec<_>>(), ["0", "1", "2"]);
    words.clear().expect("no failure");
    assert_eq!((words.len(), words.iter().count()), (0, 0));
    assert!(format!("{words:?} {:?}", words.iter()).contains("List"));
    assert!(words.usage().is_ok());
}

/// One random step on both.
fn step<T: Message + Clone + PartialEq + std::fmt::Debug + Ord>(
    list: &List<T>,
    oracle: &mut Vec<T>,
    rng: &mut Rng,
    make: &impl Fn(&mut Rng) -> T,
) {
    let len = oracle.len();
    let at = rng.below(len as u64 + 1) as usize;
    match rng.below(40) {
        0..6 => {
            let value = make(rng);
            list.push(value.clone()).expect("room");
            oracle.push(value);
        }
        6..18 => {
            let value = make(rng);
            list.insert(at, value.clone()).expect("room");
            oracle.insert(at, value);
        }
        18..24 => assert_eq!(list.remove(at).expect("ok"), (at < len).then(|| oracle.remove(at))),
        24..27 => assert_eq!(list.pop().expect("ok"), oracle.pop()),
        27..31 if at < len => {
            let value = make(rng);
            list.set(at, value.clone()).expect("room");
            oracle[at] = value;
        }
        31 => {
            let many: Vec<T> = (0..rng.below(600)).map(|_| make(rng)).collect();
            list.extend(many.clone()).expect("room");
            oracle.extend(many);
        }
        32 => {
            let to = at + rng.below((len - at) as u64 + 1) as usize;
            let many: Vec<T> = (0..rng.below(300)).map(|_| make(rng)).collect();
            let removed = list.splice(at..to, many.clone()).expect("room");
            assert_eq!(removed, oracle.splice(at..to, many).collect::<Vec<_>>());
        }
        33 => {
            list.truncate(len - len / 3).expect("ok");
            oracle.truncate(len - len / 3);
        }
        34 => {
            list.sort().expect("room");
            oracle.sort();
        }
        35 => {
            list.reverse().expect("room");
            oracle.reverse();
        }
        36 => {
            let pivot = make(rng);
            list.retain(|value| *value < pivot).expect("room");
            oracle.retain(|value| *value < pivot);
        }
        _ => assert_eq!(list.get(at).expect("ok"), oracle.get(at).cloned()),
    }
    assert_eq!(list.len(), oracle.len());
}

fn agrees<T: Message + Clone + PartialEq + std::fmt::Debug + Ord>(seed: u64, make: impl Fn(&mut Rng) -> T) {
    let (mut rng, mut oracle) = (Rng::new(seed), Vec::new());
    let list: List<T> = List::with(Options::new().limit(64 << 20)).expect("a list");
    for turn in 0..1500 {
        step(&list, &mut oracle, &mut rng, &make);
        if turn % 50 == 0 {
            assert_eq!(list.to_vec().expect("ok"), oracle);
            assert!(list.iter().map(|value| value.expect("ok")).eq(oracle.iter().cloned()));
        }
    }
    assert_eq!(list.to_vec().expect("ok"), oracle);
    audit_list(&list);
}

#[test]
fn a_long_run_of_random_operations_agrees_with_stds_vector() {
    let _watchdog = watchdog("oracle");
    agrees(1, |rng| rng.next_u64());
    agrees(2, |rng| "x".repeat(rng.below(40) as usize));
    agrees(3, |rng| Raw(rng.next_u64()));
    agrees(4, |rng| Raw(rng.below(1000) as u16));
    agrees(5, |rng| Raw([rng.next_u64(); 3]));
    agrees(6, |rng| vec![rng.below(256) as u8; rng.below(2000) as usize]);
    agrees(7, |rng| rng.below(3) as u8);
}

#[test]
fn values_of_every_size_come_back_whole() {
    let _watchdog = watchdog("sizes");
    let list = List::<Vec<u8>>::new().expect("a list");
    let sizes = [0, 1, 5, 6, 7, 8, 31, 200, 4095, 8192, 8200, 100_000, 1 << 20];
    for size in sizes {
        list.push(vec![size as u8 ^ 1; size]).expect("room");
    }
    for (at, size) in sizes.into_iter().enumerate() {
        assert_eq!(list.get(at).expect("no failure"), Some(vec![size as u8 ^ 1; size]));
    }
    let json = List::<Json<(u8, String)>>::new().expect("a list");
    json.push(Json((1, "x".into()))).expect("room");
    assert_eq!(json.pop().expect("no failure").expect("there").0.1, "x");
    let nothing = List::<()>::new().expect("a list");
    nothing.extend([(); 1000]).expect("room");
    assert_eq!((nothing.len(), nothing.get(999).expect("no failure")), (1000, Some(())));
}

#[test]
fn a_named_list_is_one_for_all_who_open_it() {
    let _watchdog = watchdog("named");
    let manager = manager(4);
    let one: List<u8> = manager.get_or_create("bytes").expect("a list");
    let two: List<u8> = manager.get("bytes").expect("no failure").expect("there");
    one.push(1).expect("room");
    assert_eq!(two.get(0).expect("no failure"), Some(1));
    let before = manager.size();
    drop((one, two));
    assert!(manager.remove("bytes").expect("no failure"));
    assert!(manager.size() < before);
}

#[test]
fn threads_at_both_ends_and_in_the_middle_lose_nothing() {
    let _watchdog = watchdog("threads");
    let (list, taken) = (List::<u64>::new().expect("a list"), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (list, taken) = (&list, &taken);
            scope.spawn(move || {
                for n in 0..2000 {
                    let value = thread * 10_000 + n;
                    if n % 2 == 0 {
                        list.push(value)
                    } else {
                        list.insert(list.len() / 2, value).or_else(|_| list.push(value))
                    }
                    .expect("room");
                    list.get(n as usize).expect("no failure");
                }
            });
            scope.spawn(move || {
                for n in 0..1000 {
                    let gone = if n % 2 == 0 { list.pop() } else { list.remove(0) };
                    if let Some(value) = gone.expect("no failure") {
                        taken.lock().expect("no panic").push(value);
                    }
                }
            });
        }
    });
    audit_list(&list);
    let mut all = taken.into_inner().expect("no panic");
    all.extend(list.to_vec().expect("no failure"));
    all.sort_unstable();
    assert!(all.into_iter().eq((0..2000).chain(10_000..12_000)), "each once");
}

fn appends(list: List<(u8, u32)>, who: u8, count: u32) -> Result<()> {
    for n in (0..count).step_by(4) {
        list.extend((n..n + 4).map(|n| (who, n)))?;
    }
    Ok(())
}

#[test]
fn processes_append_in_their_order_and_batches_stay_together() {
    let _watchdog = watchdog("appends");
    let list = List::new().expect("a list");
    let children: Vec<_> =
        (0..3_u8).map(|who| Process::spawn(appends, (&list, who, 4000_u32)).expect("a child")).collect();
    children.into_iter().for_each(|child| child.join().expect("returns").expect("no failure"));
    let all = list.to_vec().expect("no failure");
    assert_eq!(all.len(), 12_000);
    for batch in all.chunks(4) {
        let (who, first) = batch[0];
        assert!(batch.iter().copied().eq((first..first + 4).map(|n| (who, n))), "{batch:?}");
    }
    for who in 0..3 {
        assert!(all.iter().filter(|(by, _)| *by == who).map(|(_, n)| *n).eq(0..4000));
    }
}

fn takes(list: List<u32>, taken: List<u32>, count: u32) -> Result<()> {
    for _ in 0..count {
        if let Some(value) = list.pop()? {
            taken.push(value)?;
        }
    }
    Ok(())
}

#[test]
fn of_several_who_take_each_gets_another() {
    let _watchdog = watchdog("takes");
    let (list, taken) = (List::from_iter(0..6000).expect("a list"), List::<u32>::new().expect("a list"));
    let children: Vec<_> =
        (0..3).map(|_| Process::spawn(takes, (&list, &taken, 2000_u32)).expect("a child")).collect();
    children.into_iter().for_each(|child| child.join().expect("returns").expect("no failure"));
    assert!(list.is_empty());
    let all: BTreeSet<u32> = taken.to_vec().expect("no failure").into_iter().collect();
    assert_eq!((all.len(), taken.len()), (6000, 6000));
}

fn dies_in_order(list: List<u32>, how: u8) -> Result<()> {
    match how {
        0 => list.sort_by(|_, _| die())?,
        1 => list.retain(|_| die())?,
        2 => drop(list.update(1, |_| die())?),
        _ => list.sort_by_key(|_| -> u8 { die() })?,
    }
    die()
}

#[test]
fn a_process_killed_while_it_orders_a_list_leaves_it_as_it_was() {
    let _watchdog = watchdog("ordered");
    let list = List::from_iter([3, 1, 2]).expect("a list");
    for how in 0..4 {
        assert!(Process::spawn(dies_in_order, (&list, how)).expect("a child").join().is_err());
        assert_eq!(list.to_vec().expect("nothing is locked"), [3, 1, 2]);
        list.push(9).expect("room");
        assert_eq!(list.pop().expect("no failure"), Some(9));
    }
}

fn reads_row(row: ShareableList) -> Result<Vec<Item>> {
    row.set(0, "from the child")?;
    row.to_vec()
}

#[test]
fn a_shareable_list_has_items_of_any_type_and_one_length() {
    let _watchdog = watchdog("shareable");
    let items = || {
        [
            1.into(),
            0.5.into(),
            true.into(),
            "x".into(),
            Item::None,
            vec![1_u8].into(),
            Item::from(None::<i32>),
        ]
    };
    let row = ShareableList::new(items()).expect("a list");
    assert_eq!((row.len(), row.is_empty()), (7, false));
    assert_eq!(row.get(3).expect("no failure"), Some(Item::Str("x".into())));
    assert_eq!(row.get(7).expect("no failure"), None);
    row.set(3, "something much longer than before").expect("room");
    row.set(1, 7_u32).expect("room");
    row.set(2, ()).expect("room");
    assert!(row.set(7, 1).is_err());
    assert_eq!(row.index(7).expect("no failure"), Some(1));
    assert_eq!(row.count(()).expect("no failure"), 3);
    assert_eq!(row.iter().count(), 7);
    let there =
        Process::spawn(reads_row, &row).expect("a child").join().expect("returns").expect("no failure");
    assert_eq!(there[0], Item::Str("from the child".into()));
    assert_eq!(row.to_vec().expect("no failure"), there);

    let manager = manager(4);
    assert!(ShareableList::open(&manager, "row").expect("no failure").is_none());
    let one = ShareableList::open_or_create(&manager, "row", items()).expect("a list");
    one.set(0, 2).expect("room");
    let two = ShareableList::open_or_create(&manager, "row", [Item::None]).expect("a list");
    assert_eq!(
        (two.len(), two.get(0).expect("no failure")),
        (7, Some(Item::Int(2))),
        "who comes second finds it"
    );
    assert_eq!(ShareableList::open(&manager, "row").expect("no failure").map(|row| row.len()), Some(7));
}
