//! The controls of the experiment: a lane of the harness's own, once right and once broken, and a plain queue that is
//! not made for deaths.
//!
//! The lane: the victim takes the producer's end of a real lane, then sends with the harness's sender. The world, the
//! stepping and the comparison are those of the target `send`. If the broken order came through, the comparison would
//! be worth nothing.
//!
//! The plain queue (Vyukov's) is right as long as nobody dies: it passes when the victim only stands still. Killed in
//! the middle of a push or a pop it blocks the others or loses a message. If it came through, the queues' own sweeps
//! would prove nothing.

use std::ops::Range;

use ginnel::spsc::{self, Producer};
use ginnel_layout::line::PAGE;
use ginnel_testkit::oracle;
use ginnel_testkit::scratch::{Scratch, View};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject, preempt};
use ginnel_testkit::toy::vyukov::Vyukov;
use ginnel_testkit::toy::{Order, ToyLane};

use super::lane::{LANE, LaneWorld, Message, State, message, number, sender_died};
use super::{Progress, all};
use crate::world::{during, locate};

pub(super) fn right(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject(Order::PayloadFirst)])
}

pub(super) fn broken(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject(Order::CommitFirst)])
}

fn subject(order: Order) -> (String, Subject<'static, LaneWorld>) {
    let subject = Subject {
        setup: Box::new(|| LaneWorld::for_sender(State { laps: 300, fill: 3, batch: 1 })),
        view: Box::new(|world: &LaneWorld| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let _end: Producer<Message> = spsc::producer(&manager, LANE).expect("the end is free");
            let view = View::writable(&manager).expect("the segment can be mapped");
            let at = locate(&view, LANE).expect("the lane is in the directory");
            let lane = ToyLane::new(view, at, PAGE as u64, order);
            let mut message = [0; 3];
            oracle::write(1, world.before.end, &mut message);
            marks.begin();
            let sent = lane.send(&message);
            world.world.results.set(1, u64::from(sent));
            world.world.results.set(0, if sent { 1 } else { 2 });
            marks.end();
        }),
        check: Box::new(|world, _| sender_died(world, 1, false)),
    };
    (format!("{order:?}"), subject)
}

const CAPACITY: u64 = 4;

/// What the victim stores: that its operation is over, and the sequence number that it received.
const DONE: usize = Vyukov::words(CAPACITY);
const SEEN: usize = DONE + 1;
const WORDS: usize = SEEN + 1;

/// A plain queue some laps on, with some messages in it.
struct PlainWorld {
    memory: Scratch,
    before: Range<u64>,
    /// What the survivor popped.
    got: Vec<u64>,
}

impl PlainWorld {
    fn new(laps: u64, fill: u64) -> Result<Self, String> {
        let memory = Scratch::new(WORDS).map_err(during("make a queue"))?;
        let world = Self { memory, before: laps..laps + fill, got: Vec::new() };
        let queue = world.queue()?;
        queue.init();
        for sequence in 0..laps + fill {
            if !queue.push(&message(sequence)) || (sequence < laps && queue.pop().is_none()) {
                return Err("the plain queue does not even go round".to_owned());
            }
        }
        Ok(world)
    }

    fn queue(&self) -> Result<Vyukov, String> {
        let view = View::writable(&self.memory).map_err(during("map the queue"))?;
        Ok(Vyukov::new(view, CAPACITY))
    }

    /// The survivor pops all there is.
    fn pop_all(&mut self) -> Result<(), String> {
        let queue = self.queue()?;
        while let Some(message) = queue.pop() {
            self.got.push(number(&message)?);
        }
        Ok(())
    }

    /// There is room for as many messages as the queue is made for, and they come out again.
    fn works(mut self) -> Result<(), String> {
        let queue = self.queue()?;
        let sent = (0..=CAPACITY).take_while(|sequence| queue.push(&message(1000 + sequence))).count();
        self.got.clear();
        self.pop_all()?;
        if sent as u64 == CAPACITY && self.got.len() == sent {
            return Ok(());
        }
        Err(format!(
            "blocked: room for {sent} of {CAPACITY} messages, and {} of them come out",
            self.got.len()
        ))
    }

    /// Nothing lost and nothing blocked: the messages of before, without what the victim popped, with what it pushed.
    fn check(mut self, pushes: bool) -> Result<(), String> {
        self.pop_all()?;
        let done = self.memory.get(DONE) == 1;
        let (victims, all) = if pushes {
            // Its message comes if it had said so, and may come if it had not.
            let victims = self.got.contains(&self.before.end);
            (u64::from(victims || done), self.before.start..self.before.end + u64::from(victims || done))
        } else {
            self.got.extend(done.then(|| self.memory.get(SEEN)));
            self.got.sort_unstable();
            (0, self.before.clone())
        };
        if !self.got.iter().copied().eq(all) {
            return Err(format!(
                "lost: {:?} came; {:?} was there before, the victim sent {victims}, done: {done}",
                self.got, self.before
            ));
        }
        self.works()
    }
}

fn plain(
    pushes: bool,
    laps: u64,
    fill: u64,
    operation: fn(&PlainWorld, &Vyukov) -> Option<u64>,
) -> Subject<'static, PlainWorld> {
    Subject {
        setup: Box::new(move || PlainWorld::new(laps, fill)),
        view: Box::new(|world: &PlainWorld| View::readable(&world.memory).ok()),
        victim: Box::new(move |world: &PlainWorld, marks: &Marks| {
            let queue = world.queue().expect("it can be mapped");
            marks.begin();
            if let Some(sequence) = operation(world, &queue) {
                world.memory.set(SEEN, sequence);
                world.memory.set(DONE, 1);
            }
            marks.end();
        }),
        check: Box::new(move |world, _| world.check(pushes)),
    }
}

fn pushing(laps: u64, fill: u64) -> Subject<'static, PlainWorld> {
    plain(true, laps, fill, |world, queue| {
        let sequence = world.before.end;
        queue.push(&message(sequence)).then_some(sequence)
    })
}

fn popping(laps: u64, fill: u64) -> Subject<'static, PlainWorld> {
    plain(false, laps, fill, |_, queue| queue.pop().map(|message| message[1]))
}

pub(super) fn plain_push(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [("some messages in it".to_owned(), pushing(6, 2))])
}

pub(super) fn plain_pop(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [("some messages in it".to_owned(), popping(6, 2))])
}

/// The same operations, and nobody dies: this must pass, so that the failures above are the deaths'.
pub(super) fn plain_beside(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let mut total = Report::default();
    for mut subject in [pushing(6, 2), popping(6, 2)] {
        total = total.and(preempt(plan, &mut subject, PlainWorld::pop_all, &mut *progress)?);
    }
    Ok(total)
}
