//! The control of the experiment: a lane of the harness's own on the same words, once right and once broken.
//!
//! The victim takes the producer's end of a real lane, then sends with the harness's sender. The world, the stepping and
//! the comparison are those of the target `send`. If the broken order came through, the comparison would be worth
//! nothing.

use ginnel::spsc::{self, Producer};
use ginnel_layout::line::PAGE;
use ginnel_testkit::oracle;
use ginnel_testkit::scratch::View;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};
use ginnel_testkit::toy::{Order, ToyLane};

use super::lane::{LANE, LaneWorld, Message, State, sender_died};
use super::{Progress, all};
use crate::world::locate;

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
