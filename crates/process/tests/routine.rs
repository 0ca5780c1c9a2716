//! What a worker of a pool calls for a task, with both sides in one process.

use std::sync::Mutex;
use std::time::Duration;

use ginnel_object::bridge::crew::{Bits, Crew, End, Gen, Ledger, Order, Shape, Sitting, Taken, Trays};
use ginnel_object::message::out::Out;
use ginnel_object::{Error, ErrorKind, Json, Manager, Message, Raw, Result};
use ginnel_process::{Panic, Task, routine};
use ginnel_sync::Mode;
use ginnel_testkit::watchdog::Watchdog;

/// A crew with one worker, which is this thread.
struct Place {
    crew: Crew,
    trays: Trays,
    ledger: Mutex<Ledger>,
    sitting: Mutex<Sitting>,
}

impl Place {
    fn new() -> Self {
        let manager = Manager::current().expect("a manager");
        let shape = Shape { slots: 16, tray_bytes: 1 << 20, ..Shape::default() };
        let crew = Crew::make(manager, shape).expect("made");
        let trays = Trays::new(&crew);
        let sitting = Mutex::new(crew.sit(0, Mode::Sleep).expect("a seat"));
        Self { trays, ledger: Mutex::new(crew.ledger()), crew, sitting }
    }

    /// Gives what `write` writes to a routine, as one item or as several.
    fn run(&self, place: u64, items: u32, write: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Taken {
        let args = self.trays.get(1 << 14).expect("room");
        let packed = self.crew.pack(Some(args), write).expect("packed");
        let result = self.trays.get(1 << 14).expect("room");
        let order = Order {
            serial: 1,
            routine: place,
            attempt: 0,
            items,
            is_chunk: items > 1,
            is_timed: false,
            result: Some(&result),
            bits: Bits::NONE,
        };
        let args = self.crew.submit(0, &order, packed).expect("a free slot");
        let mut ledger = self.ledger.lock().expect("no panics");
        self.crew.hint(&mut ledger, 0, Gen::of(1));
        let mut sitting = self.sitting.lock().expect("no panics");
        let mut frame = sitting.next(|| false).expect("a task");
        routine::run(&mut frame);
        let _ = frame.commit();
        let taken = self.crew.take(0, Gen::of(1), Some(result)).expect("it is over");
        drop(args);
        taken
    }

    fn one<F: Task<A, S>, A, S>(&self, f: F, args: A) -> Taken {
        self.run(routine::one::<F, A, S>(f).expect("lies here"), 1, |out| F::write(&args, out))
    }

    fn each<F: Task<A, S>, A, S>(&self, f: F, items: impl IntoIterator<Item = A>) -> Taken {
        let items: Vec<A> = items.into_iter().collect();
        let place = routine::each::<F, A, S>(f).expect("lies here");
        self.run(place, items.len() as u32, |out| items.iter().try_for_each(|item| F::write(item, out)))
    }
}

fn watchdog(test: &str) -> Watchdog {
    Watchdog::new(test, Duration::from_secs(120))
}

/// The results of the items that are done.
fn values<R: Message>(taken: &Taken) -> Vec<R> {
    let mut bytes = taken.items();
    (0..taken.progress().items).map(|_| R::take(&mut bytes).expect("a value")).collect()
}

#[test]
fn one_leaves_the_value_or_why_there_is_none() {
    let _watchdog = watchdog("one");
    let place = Place::new();
    assert_eq!(place.one(|| 42, ()).decode::<i32>().expect("a value"), 42);
    let joined = place.one(|a: String, Json(b): Json<u8>, Raw(c): Raw<[u8; 2]>| format!("{a}{b}{c:?}"), {
        ("x", Json(2), Raw([3, 4]))
    });
    assert_eq!(joined.decode::<String>().expect("a value"), "x2[3, 4]");
    let taken = place.one(|n: u64| -> u64 { panic!("no {n}") }, 7);
    assert_eq!(taken.end(), End::Panicked);
    assert_eq!(taken.decode::<Panic>().expect("a panic").message(), "no 7");
    // Bytes that are no number.
    let f = |n: u64| n;
    let written = routine::one::<_, u64, fn(u64) -> u64>(f).expect("lies here");
    let taken = place.run(written, 1, |out| {
        out.push(0xff);
        Ok(())
    });
    assert_eq!(taken.end(), End::Undecodable);
    assert_eq!(taken.decode::<Error>().expect("an error").kind(), ErrorKind::Decode);
    assert_eq!(place.one(f, 9).decode::<u64>().expect("the worker is whole"), 9);
}

#[test]
fn each_leaves_the_values_up_to_what_ended_it() {
    let _watchdog = watchdog("each");
    let place = Place::new();
    let taken = place.each(|n: u64| n * n, 0..1000_u64);
    assert_eq!((taken.end(), taken.progress().items), (End::None, 1000));
    assert!(values::<u64>(&taken).into_iter().zip(0..).all(|(square, n)| square == n * n));
    let check = |n: u32| {
        assert!(n < 5, "no {n}");
        n.to_string()
    };
    let taken = place.each(check, 0..10_u32);
    assert_eq!((taken.end(), values::<String>(&taken).len()), (End::Panicked, 5));
    assert_eq!(taken.decode::<Panic>().expect("a panic").message(), "no 5");
    let taken = place.each(|n: usize| "x".repeat(n), [1, 2, 20_000, 3]);
    assert_eq!((taken.end(), values::<String>(&taken)), (End::Value, vec!["x".to_owned(), "xx".to_owned()]));
    assert_eq!(taken.decode::<String>().expect("the long one").len(), 20_000);
}

#[test]
fn items_are_stepped_over_one_by_one() {
    fn written<F: Task<A, S>, A, S>(f: F, items: &[A]) -> (routine::Skip, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut out = Out::vec(&mut bytes);
        items.iter().for_each(|item| F::write(item, &mut out).expect("written"));
        drop(out);
        (routine::skip::<F, A, S>(f), bytes)
    }
    let (skip, bytes) = written(|a: String, b: u64| (a, b), &[("one", 1_u64), ("", u64::MAX)]);
    let mut rest = bytes.as_slice();
    skip(&mut rest).expect("the first");
    assert_eq!(rest.len(), 11);
    skip(&mut rest).expect("the second");
    assert!(rest.is_empty() && skip(&mut rest).is_err());
}

#[test]
fn a_number_that_is_no_code_is_an_error() {
    let _watchdog = watchdog("no code");
    let place = Place::new();
    for number in [0, u64::MAX, 1 << 46] {
        let taken = place.run(number, 1, |_| Ok(()));
        assert_eq!(taken.end(), End::Undecodable);
        assert_eq!(taken.decode::<Error>().expect("an error").kind(), ErrorKind::Corrupted);
    }
}
