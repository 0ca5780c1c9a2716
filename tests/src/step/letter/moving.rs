//! An end of a lane goes into a message and out of it, while the survivor has the other end.
//!
//! Whatever happens, there are two outcomes: the message is there and its end works, or the survivor is told that the end is
//! gone. Never both, never neither.

use std::time::Duration;

use ginnel::Manager;
use ginnel::error::{RecvTimeoutError, TryRecvError};
use ginnel::queue::{OnConsumerDeath, Queue};
use ginnel::spsc::{self, Consumer, Producer};
use ginnel_object::transit::{self, Token};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::ends::plain;
use super::{LETTERS, options};
use crate::step::{Progress, all};
use crate::world::{World, during};

const LANE: &str = "lane";

/// Words of the victim: a token, in two halves, once it has one.
const TOKEN: [usize; 2] = [2, 3];
/// 1: it was redeemed.
const REDEEMED: usize = 4;

type Letter = (u64, Producer<u64>);

/// What the survivor has.
struct Own {
    rx: Consumer<u64>,
    letters: Queue<Letter>,
}

fn letters_of(manager: &Manager) -> Queue<Letter> {
    manager.get(LETTERS).expect("it can be opened").expect("it is there")
}

fn producer_of(manager: &Manager) -> Producer<u64> {
    manager.get(LANE).expect("it can be opened").expect("it is there")
}

/// A lane, its consumer's end here; its producer's end in a letter, if so.
fn setup(is_sent: bool) -> Result<(World, Own), String> {
    let world = World::new()?;
    let lane = spsc::Options::new().capacity(4);
    let rx = lane.consumer(&world.manager, LANE).map_err(during("make a lane"))?;
    let letters: Queue<Letter> = world
        .manager
        .get_or_create_with(LETTERS, options(OnConsumerDeath::Redeliver))
        .map_err(during("make a queue"))?;
    if is_sent {
        letters.try_send((1, producer_of(&world.manager))).map_err(during("send an end"))?;
    }
    Ok((world, Own { rx, letters }))
}

/// The end works, and the other one is told when it is dropped.
fn works(rx: &mut Consumer<u64>, mut tx: Producer<u64>) -> Result<(), String> {
    tx.try_send(9).map_err(during("send through an end that came"))?;
    let got = rx.try_recv().map_err(during("receive from an end that came"))?;
    drop(tx);
    match rx.try_recv() {
        Err(TryRecvError::Closed) if got == 9 => Ok(()),
        other => Err(format!("corrupt: {got}, then {other:?}; expected 9 and the word that it is closed")),
    }
}

/// The survivor is told that the end is gone.
fn is_told(rx: &mut Consumer<u64>) -> Result<(), String> {
    match rx.recv_timeout(Duration::ZERO) {
        Err(RecvTimeoutError::Closed) => Ok(()),
        Err(RecvTimeoutError::Failed(error)) if error.is_peer_dead() => Ok(()),
        other => Err(format!("lost: nobody has the end, and nobody was told: {other:?}")),
    }
}

/// One of the two outcomes, and then nothing is left.
fn either(world: &World, own: Own) -> Result<(), String> {
    let Own { mut rx, letters } = own;
    world.manager.remove(LANE).map_err(during("remove a name"))?;
    match letters.try_recv() {
        Ok((_, tx)) => works(&mut rx, tx)?,
        Err(TryRecvError::Empty) => is_told(&mut rx)?,
        Err(other) => return Err(format!("the queue of letters: {other:?}")),
    }
    world.manager.remove(LETTERS).map(drop).map_err(during("remove a name"))
}

pub(in crate::step) fn send_end(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = plain(
        || setup(false),
        |_, manager, marks| {
            let (letters, tx) = (letters_of(manager), producer_of(manager));
            marks.begin();
            letters.try_send((1, tx)).expect("there is room");
            marks.end();
        },
        either,
    );
    all(plan, progress, [("the other end here".to_owned(), subject)])
}

pub(in crate::step) fn recv_end(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = plain(
        || setup(true),
        |_, manager, marks| {
            let letters = letters_of(manager);
            marks.begin();
            let letter = letters.try_recv().expect("it was sent");
            marks.end();
            drop(letter);
        },
        either,
    );
    all(plan, progress, [("the other end here".to_owned(), subject)])
}

fn store(world: &World, token: Token) {
    for (word, half) in TOKEN.into_iter().zip(token.to_bytes().as_chunks::<8>().0) {
        world.results.set(word, u64::from_ne_bytes(*half));
    }
}

fn stored(world: &World) -> Option<Token> {
    let mut bytes = [0; 16];
    for (word, half) in TOKEN.into_iter().zip(bytes.as_chunks_mut::<8>().0) {
        *half = world.results.get(word).to_ne_bytes();
    }
    (bytes != [0; 16]).then(|| Token::from_bytes(bytes))
}

/// A token dies with its issuer, and with who redeems it.
pub(in crate::step) fn redeem_end(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let issue: Subject<'static, (World, Own)> = plain(
        || setup(false),
        |_, manager, marks| {
            let tx = producer_of(manager);
            marks.begin();
            let token = transit::issue(&tx).expect("a ticket is free");
            marks.end();
            drop((token, tx));
        },
        either,
    );
    let redeem = plain(
        || {
            let (world, own) = setup(false)?;
            let tx = producer_of(&world.manager);
            store(&world, transit::issue(&tx).map_err(during("issue a token"))?);
            Ok((world, own))
        },
        |world, manager, marks| {
            let token = stored(world).expect("it was issued");
            marks.begin();
            let tx: Producer<u64> = transit::redeem(manager, token).expect("it is good");
            world.results.set(REDEEMED, 1);
            marks.end();
            drop(tx);
        },
        |world, mut own| {
            let token = stored(world).ok_or("it was issued")?;
            match transit::redeem::<Producer<u64>>(&world.manager, token) {
                Ok(_) if world.results.get(REDEEMED) == 1 => {
                    return Err("duplicated: it was redeemed before".into());
                }
                Ok(tx) => works(&mut own.rx, tx)?,
                Err(error) if error.is_not_found() => is_told(&mut own.rx)?,
                Err(error) => return Err(format!("redeem a token: {error}")),
            }
            world.manager.remove(LANE).map_err(during("remove a name"))?;
            world.manager.remove(LETTERS).map(drop).map_err(during("remove a name"))
        },
    );
    let issued = all(plan, &mut *progress, [("issue".to_owned(), issue)])?;
    Ok(issued.and(all(plan, progress, [("redeem".to_owned(), redeem)])?))
}

/// The last handle of a queue goes, with an end in it.
pub(in crate::step) fn drop_with_end(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = plain(
        || {
            let world = World::new()?;
            let lane = spsc::Options::new().capacity(4);
            let rx = lane.consumer(&world.manager, LANE).map_err(during("make a lane"))?;
            Ok((world, rx))
        },
        |_, manager, marks| {
            let letters: Queue<Letter> =
                manager.create_with(options(OnConsumerDeath::Redeliver)).expect("there is room");
            letters.try_send((1, producer_of(manager))).expect("there is room");
            marks.begin();
            drop(letters);
            marks.end();
        },
        |world, mut rx: Consumer<u64>| {
            is_told(&mut rx)?;
            world.manager.remove(LANE).map(drop).map_err(during("remove a name"))
        },
    );
    all(plan, progress, [("the other end here".to_owned(), subject)])
}
