//! A worker and its parent, in one process.

use ginnel_layout::pool::{INLINE_MAX, SMALL_MAX};
use serde::{Deserialize, Serialize};

use super::*;
use crate::crew::{Bits, Cancelled, End, Gen, Order, Packed, Shape, St, Taken, Tray, Trays};
use crate::event::Event;
use crate::manager::Manager;
use crate::message::out::Out;
use crate::message::{Message, Raw};
use crate::{Block, Blocks, Error, ErrorKind};

/// A parent, and a worker that is a participant of its own.
struct Scene {
    _managers: [Manager; 2],
    parent: Crew,
    worker: Sitting,
    ledger: crate::crew::Ledger,
    serial: u32,
}

fn scene(shape: Shape) -> Scene {
    use std::os::fd::AsFd;
    let here = Manager::new(16 << 20).expect("a manager");
    let there = Manager::from_fd(here.as_fd().try_clone_to_owned().expect("dup")).expect("attach");
    let parent: Crew = here.get_or_create_with("crew", shape).expect("made");
    let worker: Crew = there.get("crew").expect("no failure").expect("there");
    parent.seat(0).expect("a seat").set_coming();
    let worker = worker.sit(0, Mode::Sleep).expect("a seat");
    let (ledger, serial) = (parent.ledger(), parent.first_serial());
    Scene { _managers: [here, there], parent, worker, ledger, serial }
}

fn small() -> Shape {
    Shape { slots: 16, tray_bytes: 1 << 20, ..Shape::default() }
}

/// What is submitted besides arguments.
#[derive(Clone, Copy)]
struct Terms<'a> {
    items: u32,
    is_chunk: bool,
    result: Option<&'a Tray>,
}

const SINGLE: Terms<'static> = Terms { items: 1, is_chunk: false, result: None };

impl Scene {
    /// Into slot 0.
    fn submit(&mut self, packed: Packed, terms: Terms<'_>) -> (Gen, Option<Tray>) {
        self.serial = self.serial.wrapping_add(1);
        let order = Order {
            serial: self.serial,
            routine: 7,
            attempt: 0,
            items: terms.items,
            is_chunk: terms.is_chunk,
            is_timed: true,
            result: terms.result,
            bits: Bits::NONE,
        };
        let tray = self.parent.submit(0, &order, packed).expect("free");
        let generation = Gen::of(self.serial);
        assert!(self.parent.hint(&mut self.ledger, 0, generation));
        (generation, tray)
    }

    fn pack<T: Message>(&self, tray: Option<Tray>, value: &T) -> Packed {
        let mut packed = self.parent.pack(tray, |out| value.put(out)).expect("packed");
        if packed.wants().is_some() {
            packed.enclose(&self.parent).expect("a letter");
        }
        packed
    }

    fn next(&mut self) -> Frame<'_> {
        self.worker.next(|| panic!("a task is there")).expect("a task")
    }
}

/// As many bytes as asked for, with the length that postcard puts before them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Payload(String);

fn payload(len: usize) -> Payload {
    Payload("x".repeat(len))
}

#[test]
fn arguments_and_results_of_every_length_cross() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    for len in [0, 1, 14, 15, 16, 17, 190, 191, 300, 5_000, 100_000] {
        for room in [None, Some(len + 8), Some(1)] {
            let lent = room.and_then(|room| trays.get(room));
            let args = room.and_then(|room| trays.get(room));
            let packed = scene.pack(args, &payload(len));
            let terms = Terms { result: lent.as_ref(), ..SINGLE };
            let (generation, kept) = scene.submit(packed, terms);
            let mut frame = scene.next();
            assert_eq!((frame.routine(), frame.items(), frame.attempt(), frame.is_chunk()), (7, 1, 0, false));
            let value: Payload = frame.input(Payload::take).expect("decodes");
            assert_eq!(value, payload(len));
            frame.value(|out| value.put(out)).expect("fits somewhere");
            assert_eq!(frame.commit(), After::Go);
            let taken = scene.parent.take(0, generation, lent).expect("done");
            assert_eq!((taken.end(), taken.took_ns() > 0), (End::Value, true));
            assert_eq!(taken.decode::<Payload>().expect("decodes"), payload(len));
            drop(kept);
            assert_eq!((scene.parent.lease(0).st, trays.bytes_out()), (St::Free, 0));
        }
    }
    let seat = scene.parent.seat(0).expect("a seat");
    assert_eq!((seat.done(), seat.items(), seat.failed(), seat.slot()), (33, 33, 0, None));
    assert!(seat.busy_ns() > 0);
}

#[test]
fn short_ones_stay_in_the_first_line() {
    let mut scene = scene(small());
    let packed = scene.pack(None, &Raw([1_u64, 2]));
    assert_eq!(packed.len(), SMALL_MAX);
    let (generation, _) = scene.submit(packed, SINGLE);
    let mut frame = scene.next();
    let Raw([a, b]) = frame.input(Raw::<[u64; 2]>::take).expect("decodes");
    frame.value(|out| Raw([b, a]).put(out)).expect("fits");
    let _ = frame.commit();
    let slot = &scene.parent.slots()[0];
    assert_eq!(slot.small_args.each_ref().map(|word| word.load(Relaxed)), [1, 2]);
    assert_eq!(slot.small_result.each_ref().map(|word| word.load(Relaxed)), [2, 1]);
    assert!(slot.args.iter().chain(&slot.result).all(|word| word.load(Relaxed) == 0));
    assert_eq!(
        scene.parent.take(0, generation, None).expect("done").decode::<Raw<[u64; 2]>>().expect("whole").0,
        [2, 1]
    );
}

#[test]
fn handles_and_blocks_cross_both_ways_and_are_freed_once() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    let manager = &scene._managers[0].clone();
    let event: Event = manager.get_or_create("event").expect("made");
    let blocks: Blocks =
        manager.get_or_create_with("blocks", crate::blocks::Options::new(2, 64)).expect("made");
    let used = manager.size();
    for room in [None, Some(4096)] {
        let lent = room.and_then(|room| trays.get(room));
        let mut block = blocks.claim().expect("free");
        block[..3].copy_from_slice(b"abc");
        let packed = scene.pack(None, &(event.clone(), block.freeze(), payload(10)));
        assert!(packed.carries());
        let (generation, _) = scene.submit(packed, Terms { result: lent.as_ref(), ..SINGLE });
        let mut frame = scene.next();
        let (theirs, block, text) = frame.input(<(Event, Block, Payload)>::take).expect("decodes");
        theirs.set();
        assert_eq!((&block[..3], &text), (&b"abc"[..], &payload(10)));
        // It belongs to the task, and goes with it.
        assert_eq!(frame.value(|out| block.put(out)).expect_err("not ours").kind(), ErrorKind::Encode);
        frame.value(|out| (theirs.clone(), payload(1000)).put(out)).expect("fits");
        assert_eq!(blocks.free(), 1);
        drop((theirs, block));
        assert_eq!(blocks.free(), 1);
        assert_eq!(frame.commit(), After::Go);
        assert_eq!(blocks.free(), 2);
        let taken = scene.parent.take(0, generation, lent).expect("done");
        assert!(taken.carries());
        let (back, text) = taken.decode::<(Event, Payload)>().expect("decodes");
        assert!(back.is_set());
        assert_eq!(text, payload(1000));
        back.clear();
        drop(back);
        assert_eq!(manager.size(), used);
    }
}

#[test]
fn what_fails_says_why_and_the_next_one_comes() {
    let mut scene = scene(small());
    for end in [End::Panicked, End::Undecodable, End::Unsendable] {
        let packed = scene.pack(None, &5_u8);
        let (generation, _) = scene.submit(packed, SINGLE);
        let mut frame = scene.next();
        let why = frame.input(Payload::take).expect_err("no text");
        assert_eq!(why.kind(), ErrorKind::Decode);
        frame.failed(end, |out| payload(400).put(out));
        let _ = frame.commit();
        let taken = scene.parent.take(0, generation, None).expect("over");
        assert_eq!(taken.end(), end);
        assert_eq!(taken.decode::<Payload>().expect("decodes"), payload(400));
    }
    let seat = scene.parent.seat(0).expect("a seat");
    assert_eq!((seat.done(), seat.failed()), (3, 3));
}

/// A chunk of numbers, and what its worker makes of it.
fn chunk(
    scene: &mut Scene,
    trays: &Trays,
    room: usize,
    run: impl FnOnce(&mut Frame<'_>, &Crew, Gen),
) -> (Taken, Vec<u8>) {
    let items: Vec<u32> = (0..10).collect();
    let tray = trays.get(1).expect("room");
    let packed =
        scene.parent.pack(Some(tray), |out| items.iter().try_for_each(|item| item.put(out))).expect("packed");
    let lent = trays.get(room).expect("room");
    let (generation, kept) = scene.submit(packed, Terms { items: 10, is_chunk: true, result: Some(&lent) });
    let parent = scene.parent.clone();
    let mut frame = scene.next();
    assert!(frame.is_chunk());
    run(&mut frame, &parent, generation);
    assert_eq!(frame.commit(), After::Go);
    let rest = parent.remaining(0).expect("whole");
    let taken = parent.take(0, generation, Some(lent)).expect("over");
    drop(kept);
    (taken, rest)
}

fn numbers(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(u32::take(&mut bytes).expect("whole"));
    }
    found
}

#[test]
fn a_chunk_goes_item_by_item() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    let (taken, rest) = chunk(&mut scene, &trays, 1024, |frame, parent, _| {
        let mut done = 0;
        frame.each(
            |input| {
                assert_eq!(parent.progress(0).items, done);
                done += 1;
                Ok(u32::take(input)? * 100)
            },
            Message::put,
        );
    });
    assert_eq!((taken.end(), taken.progress().items, rest.len()), (End::None, 10, 0));
    assert_eq!(numbers(taken.items()), (0..10).map(|n| n * 100).collect::<Vec<_>>());
    let seat = scene.parent.seat(0).expect("a seat");
    assert_eq!((seat.done(), seat.items(), seat.failed()), (1, 10, 0));
    drop(taken);
    assert_eq!(trays.bytes_out(), 0);
}

#[test]
fn a_chunk_that_is_asked_to_stop_stops_between_items() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    let (taken, rest) = chunk(&mut scene, &trays, 1024, |frame, parent, generation| {
        frame.each(
            |input| {
                let item = u32::take(input)?;
                if item == 4 {
                    assert_eq!(parent.cancel(0, generation), Cancelled::Asked);
                }
                Ok(item)
            },
            Message::put,
        );
        assert!(frame.is_asked());
    });
    assert_eq!((taken.end(), numbers(taken.items())), (End::None, vec![0, 1, 2, 3, 4]));
    assert_eq!(numbers(&rest), [5, 6, 7, 8, 9]);
}

#[test]
fn an_item_that_fails_ends_its_chunk() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    let refused = || Error::new(ErrorKind::Encode, "no");
    for end in [End::Undecodable, End::Unsendable, End::Panicked] {
        let (taken, rest) = chunk(&mut scene, &trays, 1024, |frame, _, _| {
            let call = |input: &mut &[u8]| match u32::take(input)? {
                3 if end == End::Undecodable => Err(refused()),
                3 if end == End::Panicked => panic!("three"),
                item => Ok(item),
            };
            let put = |item: &u32, out: &mut Out<'_>| {
                item.put(out)?;
                if *item == 3 { Err(refused()) } else { Ok(()) }
            };
            let run = std::panic::AssertUnwindSafe(|| frame.each(call, put));
            if std::panic::catch_unwind(run).is_err() {
                frame.failed(End::Panicked, |out| refused().put(out));
            }
        });
        assert_eq!((taken.end(), numbers(taken.items())), (end, vec![0, 1, 2]));
        assert_eq!(numbers(&rest), [3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(taken.decode::<Error>().expect("an error").kind(), ErrorKind::Encode);
    }
}

#[test]
fn a_value_that_does_not_fit_or_carries_something_comes_alone() {
    let mut scene = scene(small());
    let trays = Trays::new(&scene.parent);
    let event: Event = scene._managers[1].get_or_create("event").expect("made");
    let used = scene._managers[0].size();
    for long in [0, 150, 5_000] {
        let (taken, rest) = chunk(&mut scene, &trays, 1024, |frame, _, _| {
            frame.each(u32::take, |item: &u32, out| match *item {
                6 if long == 0 => event.put(out),
                6 => Raw([6_u8; 1000]).put(out),
                item => Raw([item as u8; 150]).put(out),
            });
        });
        assert_eq!((taken.end(), taken.progress().items), (End::Value, 6));
        assert_eq!((taken.items().len(), taken.carries()), (900, true));
        // The one with the extra, and those behind.
        assert_eq!(numbers(&rest), [6, 7, 8, 9]);
        if long == 0 {
            drop(taken.decode::<Event>().expect("a handle"));
        } else {
            assert_eq!(taken.decode::<Raw<[u8; 1000]>>().expect("whole").0, [6; 1000]);
        }
        assert_eq!(scene._managers[0].size(), used);
    }
}

#[test]
fn a_doomed_task_stands_and_its_worker_takes_no_other() {
    let mut scene = scene(small());
    let packed = scene.pack(None, &1_u8);
    let (generation, _) = scene.submit(packed, SINGLE);
    let (parent, worker) = (scene.parent.clone(), scene.worker.crew.me());
    let mut frame = scene.next();
    assert!(parent.doom(0, generation, worker));
    frame.value(|out| 2_u8.put(out)).expect("fits");
    assert_eq!(frame.commit(), After::Doomed);
    assert_eq!(parent.take(0, generation, None).expect("done").decode::<u8>().expect("whole"), 2);
}

#[test]
fn a_worker_leaves_when_it_is_told_tired_or_not() {
    let Scene { parent, mut worker, .. } = scene(small());
    parent.seat(0).expect("a seat").order_leave();
    assert!(worker.next(|| panic!("at once")).is_none());

    let Scene { parent, mut worker, .. } = scene(small());
    parent.stop();
    assert!(worker.next(|| panic!("at once")).is_none());

    let Scene { mut worker, .. } = scene(small());
    assert!(worker.next(|| true).is_none());

    let mut scene = scene(Shape { max_tasks: 2, ..small() });
    for left in [1, 0] {
        let packed = scene.pack(None, &1_u8);
        let (generation, _) = scene.submit(packed, SINGLE);
        let mut frame = scene.next();
        frame.value(|out| 2_u8.put(out)).expect("fits");
        let _ = frame.commit();
        drop(scene.parent.take(0, generation, None));
        let st = scene.parent.seat(0).expect("a seat").word().st;
        assert_eq!(st, if left == 0 { SeatSt::Tired } else { SeatSt::Up });
    }
    let packed = scene.pack(None, &1_u8);
    let _ = scene.submit(packed, SINGLE);
    let parent = scene.parent.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || parent.seat(0).expect("a seat").order_leave());
        assert!(scene.worker.next(|| false).is_none());
    });
    assert_eq!(scene.parent.lease(0).st, St::Ready, "it took nothing");
}

#[test]
fn a_sleeping_worker_is_woken_and_an_asleep_parent_told() {
    let Scene { parent, mut worker, mut ledger, serial, _managers } = scene(small());
    const TASKS: u32 = 500;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..TASKS {
                let mut frame = worker.next(|| false).expect("a task");
                let value: u32 = frame.input(u32::take).expect("decodes");
                frame.value(|out| (value + 1).put(out)).expect("fits");
                let _ = frame.commit();
            }
        });
        let mut waiter = Waiter::new(Mode::Sleep);
        for task in 0..TASKS {
            let serial = serial.wrapping_add(task);
            let order = Order {
                serial,
                routine: 0,
                attempt: 0,
                items: 1,
                is_chunk: false,
                is_timed: false,
                result: None,
                bits: Bits::NONE,
            };
            let packed = parent.pack(None, |out| task.put(out)).expect("packed");
            parent.submit(task % 16, &order, packed).expect("free");
            if parent.hint(&mut ledger, task % 16, Gen::of(serial)) {
                parent.wake();
            }
            let deadline = Deadline::after(std::time::Duration::from_secs(60));
            assert!(parent.wait(&mut waiter, task % 16, Gen::of(serial), deadline, || ()));
            let taken = parent.take(task % 16, Gen::of(serial), None).expect("done");
            assert_eq!(taken.decode::<u32>().expect("whole"), task + 1);
        }
    });
}

#[test]
fn words_that_lie_are_errors_and_no_panics() {
    let mut scene = scene(small());
    let lies: [fn(&ginnel_layout::pool::SlotWords); 5] = [
        |slot| slot.args_head.store(u64::MAX, Relaxed),
        |slot| slot.args_head.store((INLINE_MAX as u64 + 1) << 32, Relaxed),
        |slot| slot.args_head.store(100 << 32 | 1 << 30, Relaxed),
        |slot| slot.args_head.store(8 << 32 | 5, Relaxed),
        |slot| slot.args_head.store(1 << 31 | 1 << 40, Relaxed),
    ];
    for lie in lies {
        let packed = scene.pack(None, &Raw([0xff_u8; 40]));
        let (generation, _) = scene.submit(packed, SINGLE);
        scene.parent.slots()[0].args_tray.store(u32::MAX, Relaxed);
        lie(&scene.parent.slots()[0]);
        let mut frame = scene.next();
        let why = frame.input(<Raw<[u8; 40]>>::take).expect_err("a lie");
        assert!(matches!(why.kind(), ErrorKind::Corrupted | ErrorKind::Decode), "{why}");
        frame.failed(End::Undecodable, |out| why.put(out));
        let _ = frame.commit();
        assert_eq!(scene.parent.take(0, generation, None).expect("over").end(), End::Undecodable);
    }
}

#[test]
fn a_worker_rests_where_others_keep_up() {
    let pace = Pace { head: 1000, taken: 10 };
    assert!(!pace.others_keep_up(1000, 10), "nobody took anything");
    assert!(!pace.others_keep_up(1063, 10), "too few to say");
    assert!(pace.others_keep_up(1064, 10));
    assert!(pace.others_keep_up(1180, 30), "an eighth");
    assert!(!pace.others_keep_up(1180, 31), "more than that: it is needed");
    assert!(!pace.others_keep_up(1100, 110), "all of them");
}
