//! Operations on a lane, interrupted.
//!
//! The world: a lane that has gone round some times and holds some messages. The survivor holds the end that the victim
//! does not use. What a survivor must find is said by [`sender_died`] and [`receiver_died`].

use std::ops::Range;
use std::time::Duration;

use ginnel::spsc::{self, Consumer, Options, Producer};
use ginnel_testkit::oracle;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{World, during};

/// More messages than a ring of one page can hold, even under shared headers.
const MOST: usize = 4096 / size_of::<Message>();

/// Lane, sequence number, checksum.
pub(super) type Message = [u64; 3];

/// The name of the lane.
pub(super) const LANE: &str = "lane";

/// The victim has come to the end of its operation.
const DONE: usize = 0;
/// How many messages the victim sent, or has seen.
const COUNT: usize = 1;

/// The heir's own message.
const OWN: u64 = 1 << 40;

/// What a victim stores in [`DONE`].
const SUCCESS: u64 = 1;
const FAILURE: u64 = 2;

/// How a lane stands when the victim comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Messages that have come and gone.
    pub(super) laps: u64,
    /// Messages in it; [`FULL`]: as many as fit.
    pub(super) fill: u64,
    /// How many messages were sent at once.
    pub(super) batch: usize,
}

const FULL: u64 = u64::MAX;

/// Empty and new, some laps on, at the seam of the ring, nearly full.
const STATES: [State; 4] = [
    State { laps: 0, fill: 0, batch: 1 },
    State { laps: 300, fill: 3, batch: 1 },
    State { laps: 127, fill: 1, batch: 1 },
    State { laps: 50, fill: FULL, batch: 1 },
];

pub(super) struct LaneWorld {
    pub(super) world: World,
    pub(super) before: Range<u64>,
    producer: Option<Producer<Message>>,
    consumer: Option<Consumer<Message>>,
    capacity: usize,
    /// Messages under one header.
    record: u64,
}

impl LaneWorld {
    fn new(state: State) -> Result<Self, String> {
        let world = World::new()?;
        let options = Options::new().capacity(16);
        let mut producer =
            options.producer::<Message>(&world.manager, LANE).map_err(during("make the lane"))?;
        let mut consumer =
            options.consumer::<Message>(&world.manager, LANE).map_err(during("take its other end"))?;
        for sequence in 0..state.laps {
            producer.try_send(message(sequence)).map_err(during("go round"))?;
            consumer.try_recv().map_err(during("go round"))?;
        }
        let capacity = producer.capacity();
        let mut next = state.laps;
        while next - state.laps < state.fill {
            let batch: Vec<Message> = (next..next + state.batch as u64).map(message).collect();
            let sent = if state.batch == 1 {
                usize::from(producer.try_send(batch[0]).is_ok())
            } else {
                producer.try_send_many(&batch).map_err(during("fill the lane"))?
            };
            next += sent as u64;
            if sent < batch.len() {
                break;
            }
        }
        let before = state.laps..next;
        Ok(Self {
            world,
            before,
            producer: Some(producer),
            consumer: Some(consumer),
            capacity,
            record: state.batch as u64,
        })
    }

    /// The survivor keeps the consumer; the producer's end is free.
    pub(super) fn for_sender(state: State) -> Result<Self, String> {
        Ok(Self { producer: None, ..Self::new(state)? })
    }

    /// The survivor keeps the producer; the consumer's end is free.
    fn for_receiver(state: State) -> Result<Self, String> {
        Ok(Self { consumer: None, ..Self::new(state)? })
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { SUCCESS } else { FAILURE });
    }

    /// The lane works as if new: it takes its full capacity and gives it back; and then everything is let go.
    fn works(self, mut producer: Producer<Message>, mut consumer: Consumer<Message>) -> Result<(), String> {
        let first = self.before.end + 1000;
        let mut sent = 0;
        while producer.try_send(message(first + sent)).is_ok() {
            sent += 1;
        }
        if sent != self.capacity as u64 {
            return Err(format!("room for {sent} messages, and the lane is made for {}", self.capacity));
        }
        for sequence in first..first + sent {
            let got = consumer.try_recv().map_err(during("a message of the survivor's own"))?;
            if number(&got)? != sequence {
                return Err(format!("{got:x?} came where {sequence} was sent"));
            }
        }
        match consumer.try_recv() {
            Err(error) if error.is_empty() => {}
            other => return Err(format!("more came than was sent: {other:?}")),
        }
        drop((producer, consumer));
        self.world.is_empty_again()
    }
}

pub(super) fn message(sequence: u64) -> Message {
    let mut words = [0; 3];
    oracle::write(1, sequence, &mut words);
    words
}

/// The sequence number of a message, whose bytes must be whole.
pub(super) fn number(message: &Message) -> Result<u64, String> {
    match oracle::read(message) {
        Some((1, sequence)) => Ok(sequence),
        _ => Err(format!("corrupt: {message:x?} was never sent")),
    }
}

/// What the survivor finds after the death of a producer that was sending `batch` messages.
///
/// All that was there before; then of the victim's messages none, or all of those it could send: exactly these if it
/// had said so. Then the word that it died. Then its end can be taken, and the lane is as good as new.
///
/// With `heir_first` the end is taken before anything is received: then the heir has to find the true end of what the
/// dead one committed, and goes on behind it.
pub(super) fn sender_died(mut world: LaneWorld, batch: u64, heir_first: bool) -> Result<(), String> {
    world.world.recover_one()?;
    let mut consumer = world.consumer.take().ok_or("the survivor has no consumer")?;
    // Committed is what a consumer could have taken by now; no heir may take that back.
    let committed = consumer.len() as u64;
    let take =
        || spsc::producer::<Message>(&world.world.manager, LANE).map_err(during("take the dead one's end"));
    let mut heir = heir_first.then(take).transpose()?;
    let own = heir.as_mut().is_some_and(|heir| heir.try_send(message(OWN)).is_ok());
    let mut found = Vec::new();
    loop {
        match consumer.try_recv() {
            Ok(message) => found.push(number(&message)?),
            Err(spsc::TryRecvError::Failed(error)) if error.is_peer_dead() && heir.is_none() => break,
            Err(spsc::TryRecvError::Empty) if heir.is_some() => break,
            Err(error) => {
                return Err(format!("after {found:?}: {error}; expected the word that the producer died"));
            }
        }
        if consumer.redelivered() {
            return Err(format!("{found:?} is flagged as redelivered, and no consumer died"));
        }
        if found.len() > MOST {
            return Err(format!("duplicated: {found:?}"));
        }
    }
    if own && found.pop() != Some(OWN) {
        return Err(format!("lost: the heir's own message is not the last, behind {found:?}"));
    }
    let before = world.before.clone();
    let victims =
        found.len().checked_sub(before.clone().count()).ok_or(format!("lost: only {found:?} came"))? as u64;
    if !found.iter().copied().eq(before.start..before.end + victims) {
        return Err(format!("lost or duplicated: {found:?}, and {before:?} was there before"));
    }
    if before.clone().count() as u64 + victims != committed {
        return Err(format!("lost: {found:?} came, and {committed} were committed"));
    }
    let (done, said) = (world.world.results.get(DONE), world.world.results.get(COUNT));
    let allowed = match done {
        SUCCESS => victims == said,
        FAILURE => victims == 0,
        _ => victims <= batch,
    };
    if !allowed {
        return Err(format!("{victims} messages of the victim's came; it had said {done} and {said}"));
    }
    let producer = heir.map_or_else(take, Ok)?;
    world.works(producer, consumer)
}

/// What the survivor finds after the death of a consumer that was taking up to `batch` messages.
///
/// All that the victim had not acknowledged, from the first on. What the victim had seen comes only if it is flagged;
/// what it had not seen is missing only if `copies`: it may have died between acknowledging and saying so.
fn receiver_died(mut world: LaneWorld, batch: u64, copies: bool) -> Result<(), String> {
    world.world.recover_one()?;
    let mut producer = world.producer.take().ok_or("the survivor has no producer")?;
    match producer.try_send(message(0)) {
        Err(spsc::TrySendError::Failed(_, error)) if error.is_peer_dead() => {}
        // Full comes first: it is found without looking at the peer.
        Err(spsc::TrySendError::Full(_)) => {}
        other => return Err(format!("{other:?}; expected the word that the consumer died")),
    }
    let mut consumer: Consumer<Message> =
        spsc::consumer(&world.world.manager, LANE).map_err(during("take the dead one's end"))?;
    let mut found = Vec::new();
    let mut flagged = Vec::new();
    while let Ok(message) = consumer.try_recv() {
        let sequence = number(&message)?;
        found.push(sequence);
        flagged.extend(consumer.redelivered().then_some(sequence));
        if found.len() > MOST {
            return Err(format!("duplicated: {found:?}"));
        }
    }
    let before = world.before.clone();
    let first = found.first().copied().unwrap_or(before.end);
    if !before.contains(&first) && first != before.end || !found.iter().copied().eq(first..before.end) {
        return Err(format!("lost or duplicated: {found:?} came, of {before:?}"));
    }
    let (acknowledged, done) = (first - before.start, world.world.results.get(DONE) != 0);
    let seen = world.world.results.get(COUNT);
    if let Some(again) = (first..before.start + seen).find(|sequence| !flagged.contains(sequence)) {
        return Err(format!("duplicated: {again} came again without a flag; the victim had seen {seen}"));
    }
    // The flag may err on the safe side, but not beyond what the victim may have held or stood on.
    if flagged.len() as u64 > batch.max(world.record).max(1) {
        return Err(format!("{flagged:?} are flagged, and the victim took {batch} at most"));
    }
    let most = if copies && !done { batch } else { seen };
    if acknowledged > most || (done && acknowledged < seen) {
        return Err(format!("lost: {acknowledged} are gone, the victim had seen {seen} (done: {done})"));
    }
    world.works(producer, consumer)
}

/// A subject whose victim sends.
fn sending(
    state: State,
    batch: u64,
    heir_first: bool,
    operation: impl Fn(&LaneWorld, Producer<Message>, &Marks) + 'static,
) -> (String, Subject<'static, LaneWorld>) {
    let subject = Subject {
        setup: Box::new(move || LaneWorld::for_sender(state)),
        view: Box::new(|world: &LaneWorld| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let producer = spsc::producer(&manager, LANE).expect("the end is free");
            operation(world, producer, marks);
        }),
        check: Box::new(move |world, _| sender_died(world, batch, heir_first)),
    };
    (format!("{state:?}, {batch} at once, the heir comes first: {heir_first}"), subject)
}

/// A subject whose victim receives.
fn receiving(
    state: State,
    batch: u64,
    copies: bool,
    operation: impl Fn(&LaneWorld, Consumer<Message>, &Marks) + 'static,
) -> (String, Subject<'static, LaneWorld>) {
    let subject = Subject {
        setup: Box::new(move || LaneWorld::for_receiver(state)),
        view: Box::new(|world: &LaneWorld| world.world.view()),
        victim: Box::new(move |world, marks| {
            let manager = world.world.attach();
            let consumer = spsc::consumer(&manager, LANE).expect("the end is free");
            operation(world, consumer, marks);
        }),
        check: Box::new(move |world, _| receiver_died(world, batch, copies)),
    };
    (format!("{state:?}, {batch} at once"), subject)
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = [false, true].into_iter().flat_map(|heir_first| STATES.map(|state| (state, heir_first)));
    let subjects = cases.map(|(state, heir_first)| {
        sending(state, 1, heir_first, move |world, mut producer, marks| {
            let message = message(world.before.end);
            marks.begin();
            // The plain form waits while the lane is full, which is for ever here.
            let sent = if state.fill == FULL {
                producer.try_send(message).is_ok()
            } else {
                producer.send(message).is_ok()
            };
            world.world.results.set(COUNT, u64::from(sent));
            world.say(sent);
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn send_many(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let nearly_full = State { laps: 9, fill: 120, batch: 1 };
    let cases = [(STATES[0], 3), (STATES[1], 32), (STATES[2], 3), (nearly_full, 32), (STATES[3], 3)];
    let cases = [false, true]
        .into_iter()
        .flat_map(|heir_first| cases.map(|(state, batch)| (state, batch, heir_first)));
    let subjects = cases.map(|(state, batch, heir_first)| {
        sending(state, batch, heir_first, move |world, mut producer, marks| {
            let next = world.before.end;
            let messages: Vec<Message> = (next..next + batch).map(message).collect();
            marks.begin();
            let sent = producer.try_send_many(&messages);
            world.world.results.set(COUNT, *sent.as_ref().unwrap_or(&0) as u64);
            world.say(sent.is_ok());
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn claim_commit(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subjects = [STATES[0], STATES[2]].map(|state| {
        sending(state, 1, true, |world, mut producer, marks| {
            let message = message(world.before.end);
            marks.begin();
            let claim = producer.try_claim();
            let claimed = claim.is_ok();
            if let Ok(mut claim) = claim {
                *claim = message;
                claim.commit();
            }
            world.world.results.set(COUNT, u64::from(claimed));
            world.say(claimed);
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn claim_abort(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subjects = [STATES[0], STATES[2]].map(|state| {
        sending(state, 0, false, |world, mut producer, marks| {
            let message = message(world.before.end);
            marks.begin();
            if let Ok(mut claim) = producer.try_claim() {
                *claim = message;
            }
            world.say(false);
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let batched = State { laps: 20, fill: 6, batch: 3 };
    let cases = [STATES[0], STATES[1], STATES[2], STATES[3], batched];
    let subjects = cases.map(|state| {
        receiving(state, 1, true, |world, mut consumer, marks| {
            marks.begin();
            let got = consumer.try_recv();
            world.world.results.set(COUNT, u64::from(got.is_ok()));
            world.say(got.is_ok());
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn recv_many(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let batched = State { laps: 20, fill: 12, batch: 4 };
    let cases = [State { fill: 12, ..STATES[1] }, batched, State { batch: 32, fill: 32, ..batched }];
    let subjects = cases.map(|state| {
        receiving(state, 8, true, |world, mut consumer, marks| {
            let mut into = Vec::with_capacity(8);
            marks.begin();
            let got = consumer.recv_many(&mut into, 8);
            world.world.results.set(COUNT, *got.as_ref().unwrap_or(&0) as u64);
            world.say(got.is_ok());
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn loan_release(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let batched = State { laps: 20, fill: 6, batch: 3 };
    let cases = [STATES[0], STATES[1], STATES[2], STATES[3], batched];
    let subjects = cases.map(|state| {
        receiving(state, 1, false, |world, mut consumer, marks| {
            marks.begin();
            if let Ok(loan) = consumer.try_loan() {
                // Seen, and said so, before it is acknowledged.
                world.world.results.set(COUNT, u64::from(loan[1] == world.before.start));
            }
            world.say(true);
            marks.end();
        })
    });
    all(plan, progress, subjects)
}

pub(super) fn recv_asleep(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    // One trial in this state lasts as long as the sleep, so it is short.
    let subject = receiving(STATES[0], 0, false, |world, mut consumer, marks| {
        marks.begin();
        let got = consumer.recv_timeout(Duration::from_micros(200));
        world.say(got.is_ok());
        marks.end();
    });
    all(plan, progress, [subject])
}

/// Taking an end changes one word; a victim that dies at it leaves an end that the survivor takes.
pub(super) fn take_ends(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| LaneWorld::for_receiver(STATES[1])),
        view: Box::new(|world: &LaneWorld| world.world.view()),
        victim: Box::new(|world, marks| {
            let manager = world.world.attach();
            marks.begin();
            let consumer = spsc::consumer::<Message>(&manager, LANE);
            world.world.results.set(2, u64::from(consumer.is_ok()));
            marks.end();
        }),
        check: Box::new(|mut world, _| {
            if world.world.results.get(2) == 1 {
                return receiver_died(world, 0, false);
            }
            world.world.recover_one()?;
            let producer = world.producer.take().ok_or("the survivor has no producer")?;
            let mut consumer: Consumer<Message> =
                spsc::consumer(&world.world.manager, LANE).map_err(during("take the end"))?;
            for sequence in world.before.clone() {
                let got = consumer.try_recv().map_err(during("a message from before"))?;
                if number(&got)? != sequence {
                    return Err(format!("{got:x?} came instead of {sequence}"));
                }
            }
            world.works(producer, consumer)
        }),
    };
    all(plan, progress, [("a lane with messages".to_owned(), subject)])
}
