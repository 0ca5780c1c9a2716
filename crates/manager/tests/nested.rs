//! Handles as values: dicts in dicts, lists in lists, queues and locks in either; who keeps them alive, and how long.

mod common;

use common::{die, manager, watchdog};
use ginnel_manager::{Dict, List, Namespace};
use ginnel_object::{ErrorKind, Manager, Mutex, Queue, Result};
use ginnel_process::Process;
use serde::{Deserialize, Serialize};

/// Objects in a manager.
fn objects(manager: &Manager) -> usize {
    manager.inspect().objects.len()
}

#[test]
fn a_dict_of_dicts() {
    let _watchdog = watchdog("dicts");
    let manager = manager(16);
    let shops: Dict<String, Dict<String, u32>> = manager.create().expect("a dict");
    let before = objects(&manager);
    for shop in ["north", "south"] {
        let stock: Dict<String, u32> = manager.create().expect("a dict");
        stock.set("nails", &100).expect("room");
        shops.set(shop, &stock).expect("room");
    }
    assert_eq!(objects(&manager), before + 2, "the entries keep them");
    // Who reads twice gets two handles of one dict.
    let (one, two) = (shops.get("north").expect("there"), shops.get("north").expect("there"));
    let (one, two) = (one.expect("a stock"), two.expect("a stock"));
    one.update("nails".into(), |n| n.unwrap_or(0) - 1).expect("room");
    assert_eq!(two.get("nails").expect("no failure"), Some(99));
    for entry in &shops {
        let (shop, stock) = entry.expect("an entry");
        let nails = if shop == "north" { 99 } else { 100 };
        assert_eq!(stock.get("nails").expect("no failure"), Some(nails), "{shop}");
    }
    assert_eq!(shops.snapshot().expect("no failure").len(), 2);
    assert_eq!(shops.values().count(), 2);
    // The entry goes, the handles stay.
    let gone = shops.remove("north").expect("no failure").expect("there");
    assert_eq!(gone.get("nails").expect("no failure"), Some(99));
    drop((gone, one));
    assert_eq!(two.get("nails").expect("no failure"), Some(99));
    drop(two);
    assert_eq!(objects(&manager), before + 1);
    shops.clear().expect("no failure");
    assert_eq!(objects(&manager), before);
    drop(shops);
    assert_eq!(objects(&manager), before - 1);
}

#[test]
fn what_is_replaced_gives_its_handles_back() {
    let _watchdog = watchdog("replaced");
    let manager = manager(16);
    let dict: Dict<u8, Vec<List<u8>>> = manager.create().expect("a dict");
    let before = objects(&manager);
    let lists =
        |count: usize| -> Vec<List<u8>> { (0..count).map(|_| manager.create().expect("a list")).collect() };
    dict.set(&1, &lists(3)).expect("room");
    assert_eq!(objects(&manager), before + 3);
    dict.set(&1, &lists(2)).expect("room");
    assert_eq!(objects(&manager), before + 2);
    assert_eq!(dict.insert(1, lists(1)).expect("room").map(|old| old.len()), Some(2));
    assert_eq!(objects(&manager), before + 1);
    dict.modify(&1, |all| all.extend(lists(2))).expect("room");
    assert_eq!(objects(&manager), before + 3);
    let kept = dict.get(&1).expect("no failure").expect("there");
    kept[0].push(7).expect("room");
    dict.modify(&1, |all| all.truncate(1)).expect("room");
    assert_eq!(dict.get(&1).expect("no failure").expect("there")[0].get(0).expect("no failure"), Some(7));
    drop(kept);
    assert_eq!(objects(&manager), before + 1);
    dict.transaction(|t| t.insert(1, lists(2))).expect("room");
    assert_eq!(objects(&manager), before + 2);
    assert!(
        dict.transaction(|t| {
            t.insert(1, lists(2))?;
            t.rollback();
            Ok(())
        })
        .is_ok()
    );
    assert_eq!(objects(&manager), before + 2, "what was not committed is given back");
    assert!(dict.discard(&1).expect("no failure"));
    assert_eq!(objects(&manager), before);
}

#[test]
fn a_list_of_lists() {
    let _watchdog = watchdog("lists");
    let manager = manager(16);
    let rows: List<List<u32>> = manager.create().expect("a list");
    let before = objects(&manager);
    for row in 0..5 {
        let list: List<u32> = manager.create().expect("a list");
        list.extend(0..row).expect("room");
        rows.push(list).expect("room");
    }
    assert_eq!(rows.get(3).expect("no failure").expect("there").to_vec().expect("no failure"), [0, 1, 2]);
    rows.reverse().expect("room");
    rows.sort_by_key(|row| row.len() % 3).expect("room");
    let lens: Vec<usize> = rows.to_vec().expect("no failure").iter().map(List::len).collect();
    assert_eq!(lens, [3, 0, 4, 1, 2]);
    rows.retain(|row| row.len() > 1).expect("room");
    assert_eq!(objects(&manager), before + 3);
    assert_eq!(rows.pop().expect("no failure").map(|row| row.len()), Some(2));
    assert_eq!(rows.remove(0).expect("no failure").map(|row| row.len()), Some(3));
    assert_eq!(objects(&manager), before + 1);
    rows.set(0, manager.create().expect("a list")).expect("room");
    assert_eq!(rows.get(0).expect("no failure").map(|row| row.len()), Some(0));
    assert_eq!(objects(&manager), before + 1);
    drop(rows);
    assert_eq!(objects(&manager), before - 1);
}

#[derive(Clone, Serialize, Deserialize)]
struct Room {
    jobs: Queue<String>,
    visits: Mutex<u64>,
    notes: Namespace,
    open: bool,
}

fn visit(rooms: Dict<String, Room>, name: String) -> Result<u64> {
    let room = rooms.get(name.as_str())?.expect("there");
    *room.visits.lock()? += 1;
    room.jobs.send(format!("from {}", room.notes.get_or("title", String::new())?))?;
    Ok(*room.visits.lock()?)
}

#[test]
fn queues_and_locks_in_values_work_in_other_processes() {
    let _watchdog = watchdog("rooms");
    let rooms = Dict::<String, Room>::new().expect("a dict");
    let new = || -> Result<Room> {
        let notes = Namespace::new()?;
        notes.set("title", &"attic".to_owned())?;
        Ok(Room { jobs: Queue::bounded(8)?, visits: Mutex::new(0)?, notes, open: true })
    };
    rooms.set("attic", &new().expect("a room")).expect("room");
    for turn in 1..=3 {
        let child = Process::spawn(visit, (&rooms, "attic")).expect("a child");
        assert_eq!(child.join().expect("returns").expect("no failure"), turn);
    }
    let room = rooms.get("attic").expect("no failure").expect("there");
    assert!(room.open);
    assert_eq!(*room.visits.lock().expect("free"), 3);
    assert_eq!(room.jobs.recv().expect("a job"), "from attic");
}

fn fills(outer: Dict<u8, List<u64>>, many: u64) -> Result<()> {
    for n in 0..many {
        let list = List::from_iter([n])?;
        outer.set(&((n % 3) as u8), &list)?;
    }
    die()
}

#[test]
fn what_a_killed_process_put_in_stays_and_what_it_held_goes() {
    let _watchdog = watchdog("killed");
    let manager = Manager::current().expect("a manager");
    // Other tests have objects in there, too, but no lists.
    let lists = || manager.inspect().objects.iter().filter(|object| object.kind == "list").count();
    let outer = Dict::<u8, List<u64>>::new().expect("a dict");
    for many in [1, 2, 3, 7, 20] {
        let child = Process::spawn(fills, (&outer, many)).expect("a child");
        assert!(child.join().is_err());
        manager.recover().expect("no failure");
        assert_eq!(outer.len() as u64, many.min(3));
        for n in many.saturating_sub(3)..many {
            let list = outer.get(&((n % 3) as u8)).expect("no failure").expect("there");
            assert_eq!(list.to_vec().expect("no failure"), [n]);
        }
        outer.clear().expect("no failure");
        common::until(|| {
            manager.recover().expect("no failure");
            lists() == 0
        });
    }
}

#[test]
fn a_dict_cannot_hold_itself() {
    let _watchdog = watchdog("itself");
    #[derive(Clone, Serialize, Deserialize)]
    struct Tree(Vec<Dict<u8, Tree>>);
    let tree = Dict::<u8, Tree>::new().expect("a dict");
    let error = tree.set(&1, &Tree(vec![tree.clone()])).expect_err("it would never be freed");
    assert_eq!(error.kind(), ErrorKind::Encode);
    let branch = Dict::<u8, Tree>::new().expect("a dict");
    tree.set(&1, &Tree(vec![branch])).expect("another one is no harm");
    assert_eq!(tree.get(&1).expect("no failure").expect("there").0.len(), 1);
}
