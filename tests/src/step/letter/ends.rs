//! The last handle of a queue, or of one of its sides, goes away.

use ginnel::Manager;
use ginnel::error::{TryRecvError, TrySendError};
use ginnel::queue::{self, OnConsumerDeath, Queue, Receiver, Sender};
use ginnel::sync::{Init, Mutex};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Letter, letter, options, read};
use crate::step::{Progress, all};
use crate::world::{World, during};

/// A mutex that the survivor holds as well, by its name.
const KEPT: &str = "kept";

/// A subject over a plain world.
pub(super) fn plain<W>(
    setup: impl FnMut() -> Result<(World, W), String> + 'static,
    victim: impl Fn(&World, &Manager, &Marks) + 'static,
    check: impl Fn(&World, W) -> Result<(), String> + 'static,
) -> Subject<'static, (World, W)> {
    Subject {
        setup: Box::new(setup),
        view: Box::new(|(world, _)| world.view()),
        victim: Box::new(move |(world, _), marks| victim(world, &world.attach(), marks)),
        check: Box::new(move |(world, own), _| {
            world.recover_one()?;
            check(&world, own)?;
            world.is_empty_again()
        }),
    }
}

/// The last handle of a queue goes, and with it what its letters carry.
pub(in crate::step) fn drop_queue(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = plain(
        || {
            let world = World::new()?;
            let kept = world.manager.get_or_create_with::<Mutex<u64>>(KEPT, Init(Some(1)));
            let kept = kept.map_err(during("make a mutex"))?;
            Ok((world, kept))
        },
        |_, manager, marks| {
            let letters: Queue<Letter<Mutex<u64>>> =
                manager.create_with(options(OnConsumerDeath::Redeliver)).expect("there is room");
            let kept: Mutex<u64> = manager.get(KEPT).expect("it can be opened").expect("it is there");
            letters.try_send((1, kept)).expect("there is room");
            letters.try_send(letter(manager, 2)).expect("there is room");
            marks.begin();
            drop(letters);
            marks.end();
        },
        |_, kept| read(&(1, kept)).map(drop),
    );
    all(plan, progress, [("two letters in it".to_owned(), subject)])
}

const ENDS: &str = "ends";

/// The last handle of one side of a channel goes: the other side hears of it.
pub(in crate::step) fn drop_side(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let sender = plain(
        || {
            let world = World::new()?;
            let ends = world.manager.get_or_create_with::<Receiver<u64>>(ENDS, queue::Options::bounded(4));
            Ok((world, ends.map_err(during("make a channel"))?))
        },
        |_, manager, marks| {
            let sender: Sender<u64> = manager.get(ENDS).expect("it can be opened").expect("it is there");
            sender.try_send(5).expect("there is room");
            manager.remove(ENDS).expect("it has a name");
            marks.begin();
            drop(sender);
            marks.end();
        },
        |_, receiver: Receiver<u64>| match (receiver.try_recv(), receiver.try_recv()) {
            (Ok(5), Err(TryRecvError::Closed)) => Ok(()),
            other => Err(format!("{other:?}; expected 5, then the word that all senders are gone")),
        },
    );
    let receiver = plain(
        || {
            let world = World::new()?;
            let ends = world.manager.get_or_create_with::<Sender<u64>>(ENDS, queue::Options::bounded(4));
            Ok((world, ends.map_err(during("make a channel"))?))
        },
        |_, manager, marks| {
            let receiver: Receiver<u64> = manager.get(ENDS).expect("it can be opened").expect("it is there");
            manager.remove(ENDS).expect("it has a name");
            marks.begin();
            drop(receiver);
            marks.end();
        },
        |_, sender: Sender<u64>| match sender.try_send(5) {
            Err(TrySendError::Closed(5)) => Ok(()),
            other => Err(format!("{other:?}; expected the word that all receivers are gone")),
        },
    );
    let senders = all(plan, &mut *progress, [("the last sender".to_owned(), sender)])?;
    Ok(senders.and(all(plan, progress, [("the last receiver".to_owned(), receiver)])?))
}
