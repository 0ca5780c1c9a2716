//! A crew in one process, whose worker is a participant of its own: what it does can be cut off after any step, and then
//! swept as that of a dead one.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use ginnel_layout::entry::TICKETS;
use ginnel_sync::{Deadline, Mode};

use super::*;
use crate::message::Message;
use crate::message::out::Out;
use crate::sweep::Objects;
use crate::{Block, Blocks, Mutex as Shared, carrier};

/// Longer than any test may take.
const FOR_EVER: Duration = Duration::from_secs(60);

struct Scene {
    here: Manager,
    there: Manager,
    crew: Crew,
    worker: Option<Sitting>,
    trays: Trays,
    ledger: Ledger,
    serial: u32,
    empty: usize,
}

impl Scene {
    fn new() -> Self {
        let here = Manager::new(16 << 20).expect("a manager");
        let there = Manager::from_fd(here.as_fd().try_clone_to_owned().expect("dup")).expect("attached");
        let empty = here.size();
        let shape = Shape { slots: 16, seats: 2, tray_bytes: 1 << 20, ..Shape::default() };
        let crew: Crew = here.get_or_create_with("crew", shape).expect("made");
        let worker: Crew = there.get("crew").expect("no failure").expect("there");
        here.remove("crew").expect("there");
        crew.seat(0).expect("there").set_coming();
        let worker = worker.sit(0, Mode::Sleep).expect("a seat");
        let (trays, ledger, serial) = (Trays::new(&crew), crew.ledger(), crew.first_serial());
        Self { here, there, crew, worker: Some(worker), trays, ledger, serial, empty }
    }

    /// Fills a slot. Gives its generation and the tray of the arguments.
    fn submit(&mut self, slot: u32, packed: Packed, result: Option<&Tray>) -> (Gen, Option<Tray>) {
        self.submit_as(slot, packed, result, None)
    }

    fn submit_as(
        &mut self,
        slot: u32,
        packed: Packed,
        result: Option<&Tray>,
        items: Option<u32>,
    ) -> (Gen, Option<Tray>) {
        self.serial = self.serial.wrapping_add(1);
        let order = Order {
            serial: self.serial,
            routine: 1,
            attempt: 0,
            items: items.unwrap_or(1),
            is_chunk: items.is_some(),
            is_timed: false,
            result,
            bits: Bits::NONE,
        };
        let kept = self.crew.submit(slot, &order, packed).expect("free");
        let generation = Gen::of(self.serial);
        self.crew.hint(&mut self.ledger, slot, generation);
        (generation, kept)
    }

    fn pack(&self, value: &impl Message) -> Packed {
        let mut packed = self.crew.pack(None, |out| value.put(out)).expect("packed");
        packed.enclose(&self.crew).expect("room");
        packed
    }

    fn submit_value(&mut self, slot: u32, value: &impl Message) -> Gen {
        let packed = self.pack(value);
        self.submit(slot, packed, None).0
    }

    /// The worker runs one task.
    fn run<T: Message, R: Message>(&mut self, f: impl FnOnce(T) -> R) -> After {
        let mut frame = next(&mut self.worker);
        let value = frame.input(T::take).expect("decodes");
        let result = f(value);
        frame.value(|out| result.put(out)).expect("sent");
        drop(result);
        frame.commit()
    }

    fn there(&self) -> ParticipantId {
        self.there.arena.segment().me()
    }

    /// Recovers the worker as a dead one. Whoever still uses its handles would be one.
    fn sweep(&mut self) {
        std::mem::forget(self.worker.take());
        let dead = self.there();
        for _ in 0..2 {
            ginnel_segment::Sweep::sweep(&Objects, self.here.arena.segment(), dead);
        }
    }

    /// A new worker, in the place of the dead one.
    fn hire(&mut self) {
        let segment = self.here.as_fd().try_clone_to_owned().expect("dup");
        let there = Manager::from_fd(segment).expect("attached");
        std::mem::forget(std::mem::replace(&mut self.there, there));
        let crew = self.crew_of(&self.there);
        self.crew.seat(0).expect("there").set_coming();
        self.worker = Some(crew.sit(0, Mode::Sleep).expect("a seat"));
    }

    /// As a worker gets it: in its arguments.
    fn crew_of(&self, there: &Manager) -> Crew {
        let ways =
            self.here.get_or_create_with::<crate::Queue<Crew>>("way", crate::queue::Options::bounded(1));
        ways.expect("made").send(self.crew.clone()).expect("room");
        let crew = there.get::<crate::Queue<Crew>>("way").expect("no failure").expect("there").recv();
        self.here.remove("way").expect("there");
        crew.expect("sent")
    }

    fn tickets(&self) -> usize {
        let segment = self.here.arena.segment();
        let used = (0..TICKETS).filter(|i| segment.ticket(*i).is_some_and(|word| word.load(Relaxed) != 0));
        let named = (0..TICKETS).filter(|i| segment.carrier(*i).is_some_and(|word| word.load(Relaxed) != 0));
        used.count() + named.count()
    }

    /// Nothing is on its way, and there is no object but the crew.
    fn assert_clean(&self) {
        assert_eq!((self.tickets(), self.here.inspect().objects.len()), (0, 1), "{:?}", self.here.inspect());
    }

    /// Drops all of it: nothing is left.
    fn assert_gone(self) {
        let Self { here, there, crew, worker, trays, empty, .. } = self;
        drop((crew, worker, trays));
        assert!(here.inspect().objects.is_empty(), "{:?}", here.inspect().objects);
        assert_eq!(here.size(), empty);
        drop(there);
    }

    fn counter(&self) -> Shared<u64> {
        self.here.create().expect("room")
    }
}

fn next(worker: &mut Option<Sitting>) -> Frame<'_> {
    worker.as_mut().expect("it lives").next(|| true).expect("a task")
}

fn long() -> String {
    "ginnel".repeat(1000)
}

#[test]
fn what_a_task_carries_arrives_comes_back_and_is_gone() {
    let mut scene = Scene::new();
    let count = scene.counter();
    for text in [String::new(), "x".repeat(150), long()] {
        let generation = scene.submit_value(3, &(count.clone(), text));
        let back = |(count, text): (Shared<u64>, String)| {
            *count.lock().expect("free") += 1;
            (text, count)
        };
        assert_eq!(scene.run(back), After::Go);
        let taken = scene.crew.take(3, generation, None).expect("done");
        assert!(taken.carries() && taken.end() == End::Value);
        let (text, same): (String, Shared<u64>) = taken.decode().expect("decodes");
        *same.lock().expect("free") += 10;
        drop(text);
    }
    assert_eq!(*count.lock().expect("free"), 33);
    drop(count);
    scene.assert_clean();
    scene.assert_gone();
}

#[test]
fn a_retry_receives_again_what_the_dead_one_had() {
    let mut scene = Scene::new();
    let pool =
        scene.here.get_or_create_with::<Blocks>("blocks", crate::blocks::Options::new(2, 64)).expect("made");
    let mut block = pool.claim().expect("free");
    block[..5].copy_from_slice(b"frame");
    block.truncate(5);
    let count = scene.counter();
    let generation = scene.submit_value(0, &(count.clone(), block.freeze(), long()));
    assert_eq!(pool.free(), 1);
    // It has received everything, has half a result, and dies.
    let mut frame = next(&mut scene.worker);
    let (dead, block, _) = frame.input(<(Shared<u64>, Block, String)>::take).expect("decodes");
    frame.value(|out| (dead.clone(), long()).put(out)).expect("written");
    std::mem::forget((frame, dead, block));
    assert_eq!(scene.crew.lease(0).st, St::Run);
    let dead = scene.there();
    scene.sweep();
    let lease = scene.crew.lease(0);
    assert_eq!((lease.st, lease.owner), (St::Lost, Some(dead)));
    assert_eq!(scene.crew.seat(0).expect("there").word(), SeatWord::of(SeatSt::Gone, dead));
    assert!(!scene.crew.hints().is_any() && scene.crew.retry(0, generation, 1));
    assert!(scene.crew.hint(&mut scene.ledger, 0, generation));
    scene.hire();
    let mut frame = next(&mut scene.worker);
    assert_eq!(frame.attempt(), 1);
    let (again, block, text) = frame.input(<(Shared<u64>, Block, String)>::take).expect("decodes");
    assert_eq!((&*block, text == long()), (&b"frame"[..], true));
    *again.lock().expect("free") += 1;
    drop(block);
    assert_eq!(pool.free(), 1, "it stays with the task until the commit");
    frame.value(|out| 7_u8.put(out)).expect("fits");
    assert_eq!(frame.commit(), After::Go);
    assert_eq!((pool.free(), *count.lock().expect("free")), (2, 1));
    drop(again);
    assert_eq!(scene.crew.take(0, generation, None).expect("done").decode::<u8>().expect("decodes"), 7);
    drop((pool, count));
    scene.here.remove("blocks").expect("there");
    scene.assert_clean();
}

#[test]
fn what_is_cancelled_or_given_up_takes_what_it_carried_with_it() {
    let mut scene = Scene::new();
    let generation = scene.submit_value(0, &(scene.counter(), long()));
    assert_eq!(scene.crew.cancel(0, generation), Cancelled::TakenBack);
    assert_eq!(scene.crew.cancel(0, generation), Cancelled::Over);
    scene.assert_clean();
    // The old hint is still there, and serves the next task: there is only one.
    let tray = scene.trays.get(2000).expect("free");
    let text = (scene.counter(), "x".repeat(1000));
    let packed = scene.crew.pack(Some(tray), |out| text.put(out)).expect("packed");
    drop(text);
    let (generation, kept) = scene.submit(0, packed, None);
    assert!(kept.is_some());
    assert!(!scene.crew.hint(&mut scene.ledger, 0, generation));
    let mut frame = next(&mut scene.worker);
    assert_eq!(scene.crew.cancel(0, generation), Cancelled::Asked);
    assert!(frame.is_asked() && scene.crew.is_asked(0, scene.serial));
    std::mem::forget(frame.input(<(Shared<u64>, String)>::take).expect("decodes"));
    std::mem::forget(frame);
    scene.sweep();
    assert!(!scene.crew.give_up(0, Gen::of(5)) && scene.crew.give_up(0, generation));
    assert!(!scene.crew.give_up(0, generation) && !scene.crew.retry(0, generation, 1));
    drop(kept);
    assert_eq!((scene.crew.lease(0).st, scene.trays.bytes_out()), (St::Free, 0));
    scene.assert_clean();
    // And what was packed for nobody.
    drop(scene.pack(&(scene.counter(), long())));
    scene.assert_clean();
}

#[test]
fn the_last_one_out_frees_what_is_in_every_state() {
    for dies in [false, true] {
        let mut scene = Scene::new();
        let tray = scene.trays.get(3000).expect("free");
        let (count, text) = (scene.counter(), "x".repeat(2000));
        let packed =
            scene.crew.pack(Some(tray), |out| (count.clone(), text.clone()).put(out)).expect("packed");
        let (_, kept) = scene.submit(0, packed, None);
        scene.submit_value(1, &(count.clone(), long()));
        scene.submit_value(2, &(count.clone(), 1_u8));
        // The first two are DONE, the third runs or is LOST, the fourth is READY.
        scene.submit_value(3, &(count.clone(), 1_u8));
        for _ in 0..2 {
            scene.run(|(count, text): (Shared<u64>, String)| (text, count));
        }
        let mut frame = next(&mut scene.worker);
        std::mem::forget(frame.input(<(Shared<u64>, u8)>::take).expect("decodes"));
        frame.value(|out| count.put(out)).unwrap_err();
        std::mem::forget(frame);
        drop(count);
        if dies {
            scene.sweep();
        }
        let states = [0, 1, 2, 3].map(|slot| scene.crew.lease(slot).st);
        assert_eq!(states, [St::Done, St::Done, if dies { St::Lost } else { St::Run }, St::Ready]);
        if !dies {
            // It leaves without a word; its holds go with it.
            scene.sweep();
        }
        drop(kept);
        scene.assert_gone();
    }
}

#[test]
fn a_kill_hits_the_task_it_was_meant_for() {
    let mut scene = Scene::new();
    let there = scene.there();
    let generation = scene.submit_value(0, &1_u64);
    assert!(!scene.crew.doom(0, generation, there));
    let frame = next(&mut scene.worker);
    assert_eq!(scene.crew.seat(0).expect("there").slot(), Some(0));
    assert!(!scene.crew.doom(0, generation, scene.crew.me()));
    assert!(scene.crew.doom(0, generation, there));
    assert_eq!(frame.commit(), After::Doomed);
    assert!(!scene.crew.doom(0, generation, there));
    assert_eq!(scene.crew.take(0, generation, None).expect("done").end(), End::None);
}

#[test]
fn a_lost_chunk_says_what_is_done_and_what_is_left() {
    let mut scene = Scene::new();
    let items: Vec<u64> = (0..400).collect();
    let args = scene.trays.get(4000).expect("free");
    let lent = scene.trays.get(8000).expect("free");
    let put = |out: &mut Out<'_>| items.iter().try_for_each(|item| item.put(out));
    let packed = scene.crew.pack(Some(args), put).expect("packed");
    let (generation, kept) = scene.submit_as(0, packed, Some(&lent), Some(400));
    let mut frame = next(&mut scene.worker);
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let call = |bytes: &mut &[u8]| {
            let item = u64::take(bytes)?;
            assert!(item < 200, "it dies here");
            Ok(item + 1000)
        };
        frame.each(call, u64::put);
    }));
    assert!(died.is_err());
    std::mem::forget(frame);
    assert_eq!(scene.crew.progress(0).items, 200);
    scene.sweep();
    let mut rest = &scene.crew.remaining(0).expect("whole")[..];
    for item in 200..400 {
        assert_eq!(u64::take(&mut rest).expect("whole"), item);
    }
    assert!(rest.is_empty());
    let taken = scene.crew.salvage(0, generation, Some(lent)).expect("lost");
    assert!(scene.crew.give_up(0, generation));
    drop(kept);
    let mut done = taken.items();
    for item in 0..200 {
        assert_eq!(u64::take(&mut done).expect("whole"), item + 1000);
    }
    assert!(done.is_empty() && taken.progress().items == 200);
    assert!(scene.trays.bytes_out() > 0);
    drop(taken);
    assert_eq!(scene.trays.bytes_out(), 0);
}

#[test]
fn whoever_waits_is_told() {
    let mut scene = Scene::new();
    let generation = scene.submit_value(0, &1_u64);
    let crew = scene.crew.clone();
    let joiner = thread::spawn(move || {
        let mut waiter = Waiter::new(Mode::Sleep);
        crew.wait(&mut waiter, 0, generation, Deadline::after(FOR_EVER), || ())
    });
    let crew = scene.crew.clone();
    let in_hall = thread::spawn(move || {
        let mut waiter = Waiter::new(Mode::Sleep);
        let ready = |is_armed| (is_armed && !crew.want(0, generation, Bits::HALL)).then_some(());
        crew.wait_hall(&mut waiter, Deadline::after(FOR_EVER), 0, ready)
    });
    let both = Bits::WAITED.and(Bits::HALL);
    while !scene.crew.lease(0).bits.has(both) {
        ginnel_layout::atomic::spin_loop();
    }
    let seen = scene.crew.arm_desk();
    assert!(scene.crew.want(0, generation, Bits::DESK));
    scene.run(|number: u64| number + 1);
    assert!(joiner.join().expect("no panic"));
    assert_eq!(in_hall.join().expect("no panic"), Some(()));
    // Posted since it was armed: no sleep.
    scene.crew.sleep_desk(seen, Deadline::after(FOR_EVER));
    assert!(!scene.crew.want(0, generation, Bits::DESK));
    let mut waiter = Waiter::new(Mode::Sleep);
    assert!(scene.crew.wait(&mut waiter, 0, generation, Deadline::at_ns(0), || ()));
    assert_eq!(scene.crew.take(0, generation, None).expect("done").decode::<u64>().expect("decodes"), 2);
    assert!(scene.crew.take(0, generation, None).is_err());
    assert!(scene.crew.wait(&mut waiter, 0, generation, Deadline::NEVER, || ()), "it is gone");
    let generation = scene.submit_value(0, &1_u64);
    assert!(!scene.crew.wait(&mut waiter, 0, generation, Deadline::at_ns(0), || ()));
    let never = scene.crew.wait_hall(&mut waiter, Deadline::at_ns(0), 3, |_| None::<()>);
    assert_eq!((never, *scene.crew.hall.lock().expect("whole")), (None, 0));
}

#[test]
fn recovery_wakes_who_sleeps_on_a_task_that_the_dead_one_committed() {
    let mut scene = Scene::new();
    let generation = scene.submit_value(0, &1_u64);
    let crew = scene.crew.clone();
    let joiner = thread::spawn(move || {
        let mut slices = 0;
        let mut waiter = Waiter::new(Mode::Sleep);
        crew.wait(&mut waiter, 0, generation, Deadline::after(FOR_EVER), || slices += 1);
        slices
    });
    let frame = next(&mut scene.worker);
    std::mem::forget(frame);
    while !scene.crew.lease(0).bits.has(Bits::WAITED) {
        ginnel_layout::atomic::spin_loop();
    }
    let slot = scene.crew.slot(0).expect("there");
    assert!(ginnel_queue::dispatch::commit(&slot.lease, generation).has(Bits::WAITED));
    scene.sweep();
    joiner.join().expect("no panic");
    assert_eq!(scene.crew.lease(0).st, St::Done);
}

#[test]
fn parcels_are_on_their_way_with_their_task_and_no_other() {
    let mut scene = Scene::new();
    let generation = scene.submit_value(5, &1_u64);
    let serial = scene.serial;
    let (manager, crew) = (scene.here.clone(), scene.crew.clone());
    let in_flight =
        |serial, place| carrier::is_in_flight(manager.arena.segment(), crew.carrier(5, serial, place), None);
    let both = || [Place::Args, Place::Result].map(|place| in_flight(serial, place));
    assert_eq!(both(), [true, false]);
    assert!(!in_flight(serial + 1, Place::Args));
    let frame = next(&mut scene.worker);
    assert_eq!(both(), [true, false]);
    frame.commit();
    assert_eq!(both(), [false, true]);
    scene.crew.take(5, generation, None).expect("done");
    assert_eq!(both(), [false, false]);
    let nowhere = Carrier { entry: scene.crew.carrier(5, 0, Place::Args).entry, position: 3 };
    assert!(!carrier::is_in_flight(scene.here.arena.segment(), nowhere, None));
}

#[test]
fn words_that_lie_are_errors() {
    let mut scene = Scene::new();
    let done = |scene: &mut Scene| {
        let generation = scene.submit_value(0, &1_u64);
        scene.run(|number: u64| number);
        generation
    };
    let lies = [u64::MAX, 5 << 24, 1 << 30, 8 << 32 | 1 << 31, 193 << 32, 8 << 32 | 1, 100 << 32 | 0xfff];
    for lie in lies {
        let generation = done(&mut scene);
        scene.crew.slot(0).expect("there").result_head.store(lie, Relaxed);
        let taken = scene.crew.take(0, generation, None);
        assert!(taken.is_err_and(|why| why.is_corrupted()), "{lie:x}");
        assert_eq!(scene.crew.lease(0).st, St::Free);
    }
    for lie in lies {
        let generation = scene.submit_value(0, &1_u64);
        scene.crew.slot(0).expect("there").args_head.store(lie, Relaxed);
        let frame = scene
            .worker
            .as_mut()
            .expect("it lives")
            .next(|| true)
            .map(|mut frame| frame.input(u64::take).is_err());
        assert_eq!(frame, Some(true), "{lie:x}");
        scene.sweep();
        let _ = scene.crew.remaining(0);
        assert!(scene.crew.give_up(0, generation));
        scene.hire();
    }
    let shape = &scene.crew.front().shape;
    for (slots, seats) in [(0, 1), (u32::MAX, 1), (16, 0), (16384, 250)] {
        shape.slots.store(slots, Relaxed);
        shape.seats.store(seats, Relaxed);
        let segment = scene.here.arena.segment();
        let entry = segment.entry(scene.crew.handle.object().index()).expect("there");
        recover(segment, entry, scene.crew.me());
        assert!(!is_in_flight(segment, entry, 5));
        assert!(Crew::open_object(scene.crew.handle.object().clone()).is_err());
    }
}

#[test]
fn shapes_that_no_crew_has_are_refused() {
    let manager = Manager::new(1 << 20).expect("a manager");
    let good = Shape { slots: 16, ..Shape::default() };
    for shape in [
        Shape { slots: 17, ..good },
        Shape { seats: 0, ..good },
        Shape { seats: 251, ..good },
        Shape { tray_bytes: u64::MAX, ..good },
        Shape { tray_bytes: 1 << 30, ..good },
    ] {
        assert!(Crew::make(&manager, shape).is_err(), "{shape:?}");
    }
    let shape = Shape { tray_bytes: 5000, max_tasks: 3, max_rss: 4, is_timed: true, ..good };
    let crew = Crew::make(&manager, shape).expect("made");
    assert_eq!(crew.shape(), Shape { tray_bytes: 8192, ..shape });
    assert!(crew.seat(1).is_none() && crew.slot(16).is_none() && crew.trays_place(8, 1).is_none());
    assert!(crew.trays_place(7, 1024).is_some() && crew.trays_place(u32::MAX, usize::MAX).is_none());
    assert_eq!((crew.lease(99).st, crew.began(0), crew.part(0)), (St::Free, None, None));
    crew.stop();
    assert!(crew.is_stopped());
}
