//! Every method of a namespace.

mod common;

use std::time::Duration;

use common::{manager, watchdog};
use ginnel_manager::{Dict, Namespace};
use ginnel_object::{ErrorKind, Raw, Result};
use ginnel_process::Process;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    layers: Vec<u32>,
    rate: f64,
}

#[test]
fn names_have_values_of_their_own_types() {
    let _watchdog = watchdog("types");
    let names = Namespace::new().expect("a namespace");
    assert!(names.is_empty());
    assert!(!names.set("rate", &0.1).expect("room"));
    names.set("title", &"passage".to_owned()).expect("room");
    names.set("model", &Model { layers: vec![3, 4], rate: 0.2 }).expect("room");
    names.set("bytes", &Raw([7_u32; 4])).expect("room");
    names.set("nothing", &()).expect("room");
    assert_eq!(names.get("rate").expect("no failure"), Some(0.1));
    assert_eq!(names.get::<String>("title").expect("no failure").as_deref(), Some("passage"));
    assert_eq!(names.get("model").expect("no failure"), Some(Model { layers: vec![3, 4], rate: 0.2 }));
    assert_eq!(names.get("bytes").expect("no failure"), Some(Raw([7_u32; 4])));
    assert_eq!(names.get("nothing").expect("no failure"), Some(()));
    assert_eq!(names.get::<u8>("absent").expect("no failure"), None);
    assert_eq!(names.get_or("absent", 5_u8).expect("no failure"), 5);
    assert_eq!(names.get_or("rate", 5.0).expect("no failure"), 0.1);
    assert_eq!(names.names().expect("no failure"), ["bytes", "model", "nothing", "rate", "title"]);
    assert_eq!(names.len(), 5);
    assert!(names.contains("rate").expect("no failure") && !names.contains("absent").expect("no failure"));
    assert_eq!(names.type_of("model").expect("no failure").as_deref(), Some("Model"));
    assert_eq!(names.type_of("bytes").expect("no failure").as_deref(), Some("Raw<[u32; 4]>"));
    assert_eq!(names.type_of("absent").expect("no failure"), None);
    assert!(names.remove("rate").expect("no failure"));
    assert!(!names.remove("rate").expect("no failure"));
    assert!(names.usage().is_ok());
    assert!(format!("{:?}", names.with_patience(Duration::from_secs(1))).contains("Namespace"));
    names.clear().expect("no failure");
    assert!(names.is_empty());
}

#[test]
fn another_type_is_refused_with_both_and_a_new_value_may_have_another() {
    let _watchdog = watchdog("mismatch");
    let names = Namespace::new().expect("a namespace");
    names.set("rate", &0.1).expect("room");
    let error = names.get::<Vec<String>>("rate").expect_err("another type");
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    for word in ["rate", "f64", "Vec<String>"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(names.set("rate", &7_u8).expect("room"), "there was one");
    assert_eq!(names.get::<u8>("rate").expect("no failure"), Some(7));
    assert_eq!(names.get::<f64>("rate").expect_err("no more").kind(), ErrorKind::Mismatch);
    type Tall = ((Vec<Option<String>>, Vec<Option<String>>), (Vec<Option<String>>, Vec<Option<String>>));
    type Taller = ((Tall, Tall), (Tall, Tall));
    assert_eq!(names.get::<Taller>("rate").expect_err("not that").kind(), ErrorKind::Mismatch);
    let error = names.set::<Option<Taller>>("tall", &None).expect_err("too long a name of a type");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

fn trains(names: Namespace) -> Result<f64> {
    let rate: f64 = names.get_or("rate", 1.0)?;
    let losses: Dict<u32, f64> = names.get("losses")?.expect("there");
    losses.set(&1, &(rate * 2.0))?;
    names.set("done", &true)?;
    Ok(rate)
}

#[test]
fn a_namespace_is_shared_and_may_have_handles() {
    let _watchdog = watchdog("shared");
    let names = Namespace::new().expect("a namespace");
    names.set("rate", &0.25).expect("room");
    names.set("losses", &Dict::<u32, f64>::new().expect("a dict")).expect("room");
    let child = Process::spawn(trains, &names).expect("a child");
    assert_eq!(child.join().expect("returns").expect("no failure"), 0.25);
    assert_eq!(names.get("done").expect("no failure"), Some(true));
    let losses: Dict<u32, f64> = names.get("losses").expect("no failure").expect("there");
    assert_eq!(losses.get(&1).expect("no failure"), Some(0.5));

    let manager = manager(4);
    let one: Namespace = manager.get_or_create("settings").expect("a namespace");
    one.set("x", &1_u8).expect("room");
    let two: Namespace = manager.get("settings").expect("no failure").expect("there");
    assert_eq!(two.get::<u8>("x").expect("no failure"), Some(1));
    assert!(manager.inspect().objects.iter().any(|object| object.kind == "namespace"));
}
