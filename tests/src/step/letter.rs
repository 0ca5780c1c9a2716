//! Messages that carry something, interrupted.
//!
//! The world: a queue of letters, each a number and what it carries, a handle or a block, which holds the same number.
//! What arrives must be whole; and when all letters and the queue are gone, nothing that they carried may be left: a ticket
//! that was forgotten keeps its object for ever, a block that was forgotten is one less in its pool.

mod cargo;
mod ends;
mod moving;

use std::cell::Cell;

use ginnel::Manager;
use ginnel::error::TryRecvError;
use ginnel::queue::{self, OnConsumerDeath, Queue};
use ginnel_testkit::scratch::View;
use ginnel_testkit::step::{Marks, Tracee};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use OnConsumerDeath::{Drop, Redeliver};

use super::queue::stop_where;
use super::{Progress, all};
use crate::world::{World, during};
pub(super) use cargo::{BLOCKS, Cargo, Ends, pool};
pub(super) use ends::{drop_queue, drop_side};
pub(super) use moving::{drop_with_end, recv_end, redeem_end, send_end};

/// A number, and what carries it.
type Letter<C> = (u64, C);

const LETTERS: &str = "letters";

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;
/// 1: a recoverer came to its end.
const RECOVERED: usize = 1;

struct LetterWorld<C> {
    world: World,
    letters: Queue<Letter<C>>,
    doomed: Option<Tracee>,
}

fn options(policy: OnConsumerDeath) -> queue::Options {
    queue::Options::bounded(4).leases(2).inline_size(48).on_consumer_death(policy)
}

fn letter<C: Cargo>(manager: &Manager, number: u64) -> Letter<C> {
    (number, C::of(manager, number))
}

fn open<C: Cargo>(manager: &Manager) -> Queue<Letter<C>> {
    manager.get(LETTERS).expect("it can be opened").expect("it is there")
}

/// The next letter, by a lease where it may be.
fn next<C: Cargo>(letters: &Queue<Letter<C>>) -> Result<Option<Letter<C>>, String> {
    if !C::LEASED {
        return match letters.try_recv() {
            Ok(letter) => Ok(Some(letter)),
            Err(TryRecvError::Failed(error)) => Err(format!("receive a letter: {error}")),
            Err(_) => Ok(None),
        };
    }
    let Ok(lease) = letters.try_lease() else { return Ok(None) };
    read(&lease)?;
    lease.ack().map(Some).map_err(during("acknowledge"))
}

/// What a letter carries is whole, and is that letter's.
fn read<C: Cargo>((number, cargo): &Letter<C>) -> Result<u64, String> {
    let found = cargo.read()?;
    if found == *number { Ok(found) } else { Err(format!("corrupt: letter {number} came with {found}")) }
}

impl<C: Cargo> LetterWorld<C> {
    fn new(letters_before: u64, policy: OnConsumerDeath) -> Result<Self, String> {
        let world = World::new()?;
        C::prepare(&world.manager)?;
        let letters: Queue<Letter<C>> =
            world.manager.get_or_create_with(LETTERS, options(policy)).map_err(during("make the queue"))?;
        for number in 0..letters_before {
            letters.try_send(letter(&world.manager, number)).map_err(during("send a letter"))?;
        }
        Ok(Self { world, letters, doomed: None })
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    /// After the death of `dead` participants: letters come with working mutexes, in their order, the first and the
    /// last of them perhaps, as `first` and `last` say (`None`: perhaps); and then nothing is left.
    fn after_death(
        mut self,
        dead: usize,
        before: u64,
        first: impl Fn(u64) -> Option<bool>,
        last: impl Fn(u64) -> Option<bool>,
    ) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("kill who was doomed"))?;
        }
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if !(1..=dead).contains(&count) {
            return Err(format!("{count} participants were recovered, expected 1 to {dead}"));
        }
        let done = self.world.results.get(DONE);
        let mut came = Vec::new();
        while let Some(letter) = next(&self.letters)? {
            came.push(read(&letter)?);
            if came.len() > 8 {
                return Err(format!("duplicated: {came:?}"));
            }
        }
        let right =
            |number: u64, rule: Option<bool>| rule.is_none_or(|comes| came.contains(&number) == comes);
        let middle = (1..before).all(|number| came.contains(&number));
        let in_order = came.is_sorted_by(|a, b| a < b) && came.iter().all(|number| *number <= before);
        let ends = (before == 0 || right(0, first(done))) && right(before, last(done));
        if !(middle && in_order && ends) {
            return Err(format!("lost or duplicated: {came:?} came, the victim had said {done}"));
        }
        // The queue goes on: a letter through the whole of it.
        self.letters.try_send(letter(&self.world.manager, 77)).map_err(during("send a letter"))?;
        read(&self.letters.try_recv().map_err(during("receive it"))?)?;
        drop(self.letters);
        C::is_all_back(&self.world.manager)?;
        self.world.is_empty_again()
    }
}

/// What a participant does with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Send,
    Recv,
    Lease,
    Ack,
    Nack,
}

impl Act {
    /// The act between the marks.
    fn perform<C: Cargo>(self, manager: &Manager, number: u64, marks: &Marks, say: impl FnOnce(bool)) {
        let letters = open::<C>(manager);
        let mut new = (self == Self::Send).then(|| letter(manager, number));
        let mut leased =
            matches!(self, Self::Ack | Self::Nack).then(|| letters.try_lease().expect("a letter"));
        let mut letter = None;
        marks.begin();
        let success = match (self, leased.take()) {
            (Self::Send, _) => new.take().is_some_and(|new| letters.try_send(new).is_ok()),
            (Self::Recv, _) => {
                letter = letters.try_recv().ok();
                letter.is_some()
            }
            (Self::Lease, _) => {
                leased = letters.try_lease().ok();
                leased.is_some()
            }
            (Self::Ack, Some(lease)) => {
                letter = lease.ack().ok();
                letter.is_some()
            }
            (Self::Nack, Some(lease)) => {
                lease.nack();
                true
            }
            (Self::Ack | Self::Nack, None) => false,
        };
        say(success);
        marks.end();
        drop((leased, letter));
    }

    /// Whether the first letter comes out, once the act has said `done`.
    fn first(self, done: u64, policy: OnConsumerDeath) -> Option<bool> {
        let keeps = policy == OnConsumerDeath::Redeliver;
        match (self, done) {
            (Self::Send, _) => Some(true),
            (Self::Recv | Self::Ack, 1) => Some(false),
            (Self::Lease, 1) => Some(keeps),
            (Self::Nack, 1) => Some(true),
            (Self::Lease | Self::Nack, _) if keeps => Some(true),
            _ => None,
        }
    }

    /// Whether the letter that it sends comes out.
    fn last(self, done: u64) -> Option<bool> {
        match (self, done) {
            (Self::Send, 1) => Some(true),
            (Self::Send, 0) => None,
            _ => Some(false),
        }
    }
}

fn subject<C: Cargo>(
    act: Act,
    before: u64,
    policy: OnConsumerDeath,
) -> (String, Subject<'static, LetterWorld<C>>) {
    let subject = Subject {
        setup: Box::new(move || LetterWorld::new(before, policy)),
        view: Box::new(|world: &LetterWorld<C>| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            act.perform::<C>(&manager, before, marks, |success| world.say(success));
        }),
        check: Box::new(move |world, _| {
            world.after_death(1, before, |done| act.first(done, policy), |done| act.last(done))
        }),
    };
    (format!("{act:?} with {before} letters, {policy:?}"), subject)
}

pub(super) fn send<C: Cargo>(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject::<C>(Act::Send, 0, Redeliver), subject::<C>(Act::Send, 2, Redeliver)])
}

pub(super) fn recv<C: Cargo>(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject::<C>(Act::Recv, 2, Redeliver), subject::<C>(Act::Recv, 1, Drop)])
}

pub(super) fn lease<C: Cargo>(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    all(plan, progress, [subject::<C>(Act::Lease, 2, Redeliver), subject::<C>(Act::Lease, 1, Drop)])
}

pub(super) fn end_lease<C: Cargo>(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [
        subject::<C>(Act::Ack, 2, Redeliver),
        subject::<C>(Act::Ack, 1, Drop),
        subject::<C>(Act::Nack, 2, Redeliver),
        subject::<C>(Act::Nack, 1, Drop),
    ];
    all(plan, progress, cases)
}

/// Somebody died in `act` after so many changes of the memory; the victim recovers him.
fn recovering<C: Cargo>(
    act: Act,
    changes: u32,
    policy: OnConsumerDeath,
) -> (String, Subject<'static, LetterWorld<C>>) {
    let before = 1;
    let subject = Subject {
        setup: Box::new(move || {
            let mut world = LetterWorld::new(before, policy)?;
            let view = world.world.view().ok_or("the segment can be mapped")?;
            // Attaching, and making the letter to be sent, are changes too: they come before the first look.
            let (seen, left) = (Cell::new(None), Cell::new(changes));
            let reached = || {
                let now = View::fingerprint(&view);
                let moved = seen.replace(Some(now)).is_some_and(|before| before != now);
                left.set(left.get() - u32::from(moved));
                left.get() == 0
            };
            let operation =
                |manager: &Manager, marks: &Marks| act.perform::<C>(manager, before, marks, |_| {});
            world.doomed = Some(stop_where(&world.world, operation, reached)?);
            Ok(world)
        }),
        view: Box::new(|world: &LetterWorld<C>| world.world.view()),
        victim: Box::new(|world: &LetterWorld<C>, marks| {
            let manager = world.world.attach();
            let doomed = world.doomed.as_ref().expect("somebody is to die");
            doomed.kill_from_elsewhere().expect("it can be killed");
            marks.begin();
            let count = manager.recover();
            world.world.results.set(RECOVERED, u64::from(count.is_ok_and(|count| count == 1)));
            marks.end();
        }),
        check: Box::new(move |world, _| {
            let dead = if world.world.results.get(RECOVERED) == 1 { 1 } else { 2 };
            world.after_death(dead, before, |done| act.first(done, policy), |done| act.last(done))
        }),
    };
    (format!("after a death in {act:?}, {changes} changes on, {policy:?}"), subject)
}

/// How far into a recovery the letters are looked at: past the queue and the tickets; past the first object freed
/// where it is not only a sample.
const REACH: usize = 30_000;
const REACH_OF_SAMPLE: usize = 3_000;

/// [`recover`] of what cannot be leased.
pub(super) fn recover_ends(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [
        recovering::<Ends>(Act::Send, 4, Redeliver),
        recovering::<Ends>(Act::Send, 9, Redeliver),
        recovering::<Ends>(Act::Recv, 3, Redeliver),
        recovering::<Ends>(Act::Recv, 8, Redeliver),
        recovering::<Ends>(Act::Recv, 2, Drop),
    ];
    let reach = if plan.is_sample() { REACH_OF_SAMPLE } else { REACH };
    all(&Plan { reach, ..*plan }, progress, cases)
}

pub(super) fn recover<C: Cargo>(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [
        recovering::<C>(Act::Send, 4, Redeliver),
        recovering::<C>(Act::Recv, 3, Redeliver),
        recovering::<C>(Act::Recv, 2, Drop),
        recovering::<C>(Act::Lease, 4, Redeliver),
    ];
    let reach = if plan.is_sample() { REACH_OF_SAMPLE } else { REACH };
    all(&Plan { reach, ..*plan }, progress, cases)
}
