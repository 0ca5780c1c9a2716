//! The acts of one process at a queue, each in several states.

use std::time::Duration;

use ginnel::Queue;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Act, CAPACITY, History, Message, Performance, QueueWorld, State, Wish, message, open, state};
use crate::step::{Progress, all};

/// A wait that comes to nothing. A trial in that state lasts as long, so it is short.
const MOMENT: Duration = Duration::from_micros(200);

/// That act, by a participant of its own.
fn subject(act: Act, state: State) -> (String, Subject<'static, QueueWorld>) {
    let subject = Subject {
        setup: Box::new(move || QueueWorld::new(state)),
        view: Box::new(|world: &QueueWorld| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let performance = Performance { act, queue: &open(&manager), sequence: world.before.end };
            performance.run(marks, |queue| world.ready(queue), |_| {}, |success| world.say(success));
        }),
        check: Box::new(move |world, _| world.after_death(act, 1..=1)),
    };
    (format!("{act:?} at {state:?}"), subject)
}

fn run<const N: usize>(
    plan: &Plan,
    progress: Progress<'_>,
    act: Act,
    states: [State; N],
) -> Result<Report, Fault> {
    all(plan, progress, states.map(|state| subject(act, state)))
}

pub(in crate::step) fn push(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let states = [
        state(0, 0),
        state(7, 3).plain(),
        state(5, CAPACITY),
        state(6, 1).after(History::Aborted),
        state(6, 1).after(History::Closed),
        state(3, 0).beside(Wish::Receive),
        state(3, 0).beside(Wish::Lease),
    ];
    run(plan, progress, Act::Push, states)
}

pub(in crate::step) fn pop(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let states = [
        state(0, 0),
        state(7, 3),
        state(6, 2).plain(),
        state(5, 2).after(History::PutBackInSlot),
        state(5, 2).after(History::PutBackInCell),
        state(6, 1).after(History::Aborted),
        state(6, 1).after(History::Closed),
        state(6, 0).after(History::Closed),
        state(5, 2).dropping(),
        state(5, CAPACITY).beside(Wish::Send),
        state(5, 1).beside(Wish::Done),
    ];
    run(plan, progress, Act::Pop, states)
}

pub(in crate::step) fn lease(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let states = [
        state(0, 0),
        state(7, 3),
        state(6, 2).plain(),
        state(5, 2).after(History::PutBackInSlot),
        state(5, 2).after(History::PutBackInCell),
        state(6, 1).after(History::Aborted),
        state(6, 2).after(History::Closed),
        state(6, 0).after(History::Closed),
        state(5, 3).after(History::AllLeased),
        state(5, 2).dropping(),
        state(5, CAPACITY).beside(Wish::Send),
    ];
    run(plan, progress, Act::Lease, states)
}

/// The states of a victim that has the first message on lease.
const LEASED: [State; 9] = [
    state(7, 3),
    state(5, 2).after(History::PutBackInSlot),
    state(6, 2).after(History::Closed),
    state(5, 2).dropping(),
    state(5, 2).plain(),
    state(5, 1).leases(1),
    state(5, 2).leases(1).beside_later(Wish::Lease),
    state(5, 1).beside_later(Wish::Receive),
    state(5, 1).beside_later(Wish::Done),
];

pub(in crate::step) fn ack(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    run(plan, progress, Act::Ack, LEASED)
}

pub(in crate::step) fn nack(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    run(plan, progress, Act::Nack, LEASED)
}

pub(in crate::step) fn close(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let states = [
        state(7, 3),
        state(6, 0).beside(Wish::Receive),
        state(6, 0).beside(Wish::Lease),
        state(5, CAPACITY).beside(Wish::Send),
    ];
    run(plan, progress, Act::Close, states)
}

/// A wait by itself, that comes to nothing.
fn waiting(
    act: Act,
    state: State,
    wait: fn(&Queue<Message>) -> bool,
) -> (String, Subject<'static, QueueWorld>) {
    let subject = Subject {
        victim: Box::new(move |world: &QueueWorld, marks: &Marks| {
            let queue = open(&world.world.attach());
            marks.begin();
            let success = wait(&queue);
            world.say(success);
            marks.end();
        }),
        ..subject(act, state).1
    };
    (format!("{act:?}, in vain, at {state:?}"), subject)
}

pub(in crate::step) fn asleep(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [
        waiting(Act::Push, state(5, CAPACITY).asleep(), |queue| {
            queue.send_timeout(message(0), MOMENT).is_ok()
        }),
        waiting(Act::Pop, state(5, 0).asleep(), |queue| queue.recv_timeout(MOMENT).is_ok()),
        waiting(Act::Lease, state(5, 3).after(History::AllLeased).asleep(), |queue| {
            queue.lease_timeout(MOMENT).is_ok()
        }),
        waiting(Act::Done, state(5, 2).asleep(), |queue| {
            queue.wait_done_timeout(MOMENT).is_ok_and(|done| done)
        }),
        waiting(Act::Pop, state(5, 0), |queue| queue.recv_timeout(MOMENT).is_ok()),
    ];
    all(plan, progress, cases)
}
