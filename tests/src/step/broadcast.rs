//! Operations on a broadcast channel, interrupted.
//!
//! The world: four places, a sender and two receivers of the survivor's, of which one has received nothing yet.

use std::ops::Range;

use ginnel::Raw;
use ginnel::broadcast::{Options, Receiver, Sender, TryRecvError};
use ginnel_testkit::oracle;
use ginnel_testkit::step::{Marks, Tracee};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::queue::stop_where;
use super::{Progress, all};
use crate::world::{World, during};

type Message = Raw<[u64; 3]>;

const CHANNEL: &str = "channel";
const CAPACITY: u64 = 4;

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;
/// 1: a recoverer came to its end.
const RECOVERED: usize = 1;

/// What the survivor sends afterwards begins here.
const LATER: u64 = 1 << 40;

struct Channel {
    world: World,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    /// All that was sent, from the first that the receiver has not received.
    sent: Range<u64>,
    doomed: Option<Tracee>,
}

fn options() -> Options {
    Options::new().capacity(CAPACITY as usize)
}

fn message(sequence: u64) -> Message {
    let mut words = [0; 3];
    oracle::write(1, sequence, &mut words);
    Raw(words)
}

fn number(Raw(words): &Message) -> Result<u64, String> {
    match oracle::read(words) {
        Some((1, sequence)) => Ok(sequence),
        _ => Err(format!("corrupt: {words:x?} was never sent")),
    }
}

/// The send of a participant, between the marks.
fn broadcast(world: &World, manager: &ginnel::Manager, sequence: u64, marks: &Marks) {
    let sender = options().sender(manager, CHANNEL).expect("it is there");
    marks.begin();
    let sent = sender.try_send(message(sequence)).is_ok();
    world.results.set(DONE, if sent { 1 } else { 2 });
    marks.end();
}

impl Channel {
    /// A receiver that has received `laps` messages, and for which `fill` more are there.
    fn new(laps: u64, fill: u64) -> Result<Self, String> {
        let world = World::new()?;
        let sender: Sender<Message> =
            options().sender(&world.manager, CHANNEL).map_err(during("make the channel"))?;
        let mut receiver = sender.subscribe().map_err(during("subscribe"))?;
        for sequence in 0..laps + fill {
            sender.send(message(sequence)).map_err(during("send"))?;
            if sequence < laps {
                receiver.try_recv().map_err(during("go round"))?;
            }
        }
        Ok(Self { world, sender, receiver, sent: laps..laps + fill, doomed: None })
    }

    /// All that the receiver gets now.
    fn receive(&mut self) -> Result<Vec<u64>, String> {
        let mut came = Vec::new();
        loop {
            match self.receiver.try_recv() {
                Ok(message) => came.push(number(&message)?),
                Err(TryRecvError::Empty) => return Ok(came),
                other => return Err(format!("{other:?} after {came:?}")),
            }
            if came.len() as u64 > CAPACITY {
                return Err(format!("duplicated: {came:?}"));
            }
        }
    }

    /// After the death of a sender: the message came or it did not, as it had said. The oldest may be gone, counted as
    /// missed, where there was no free place; a send that died is counted as given up, where it had begun. Nothing else
    /// is missing. Then the channel works.
    fn sender_died(mut self, dead: usize) -> Result<(), String> {
        if let Some(doomed) = self.doomed.take() {
            doomed.kill().map_err(during("kill who was doomed"))?;
        }
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if !(1..=dead).contains(&count) {
            return Err(format!("{count} participants were recovered, expected 1 to {dead}"));
        }
        let came = self.receive()?;
        let (missed, aborted) = (self.receiver.take_missed(), self.receiver.take_aborted());
        let victims = came.contains(&self.sent.end);
        let claimed = victims || aborted > 0;
        let there = self.sent.clone().count() as u64;
        let full = there == CAPACITY;
        let first = self.sent.start + u64::from(full && claimed);
        let right = match self.world.results.get(DONE) {
            0 => aborted + u64::from(victims) <= 1,
            1 => victims && aborted == 0,
            _ => false,
        };
        let expected = first..self.sent.end + u64::from(victims);
        if !right || !came.iter().copied().eq(expected.clone()) || missed != u64::from(full && claimed) {
            return Err(format!(
                "{came:?} came, {missed} missed and {aborted} given up; expected {expected:?}, it had said {}",
                self.world.results.get(DONE)
            ));
        }
        self.works()
    }

    /// A whole ring and a half goes through, and the end is orderly.
    fn works(mut self) -> Result<(), String> {
        for lap in 0..2 {
            for sequence in 0..CAPACITY {
                let message = message(LATER + lap * CAPACITY + sequence);
                self.sender.try_send(message).map_err(during("blocked: send afterwards"))?;
            }
            let came = self.receive()?;
            if !came.iter().copied().eq(LATER + lap * CAPACITY..LATER + (lap + 1) * CAPACITY) {
                return Err(format!("{came:?} came afterwards"));
            }
        }
        if (self.receiver.take_missed(), self.receiver.take_aborted()) != (0, 0) {
            return Err("something is counted as missed afterwards".to_owned());
        }
        self.sender.close();
        match self.receiver.try_recv() {
            Err(TryRecvError::Closed) => {}
            other => return Err(format!("it was closed, and says {other:?}")),
        }
        drop((self.sender, self.receiver));
        self.world.is_empty_again()
    }
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |laps, fill| {
        let subject = Subject {
            setup: Box::new(move || Channel::new(laps, fill)),
            view: Box::new(|channel: &Channel| channel.world.view()),
            victim: Box::new(|channel: &Channel, marks: &Marks| {
                broadcast(&channel.world, &channel.world.attach(), channel.sent.end, marks);
            }),
            check: Box::new(|channel: Channel, _| channel.sender_died(1)),
        };
        (format!("after {laps}, {fill} not received"), subject)
    };
    all(plan, progress, [case(0, 0), case(7, 2), case(7, CAPACITY)])
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| Channel::new(7, 2)),
        view: Box::new(|channel: &Channel| channel.world.view()),
        victim: Box::new(|channel: &Channel, marks: &Marks| {
            let manager = channel.world.attach();
            let mut receiver: Receiver<Message> = options().receiver(&manager, CHANNEL).expect("it is there");
            let sender = options().sender(&manager, CHANNEL).expect("it is there");
            sender.try_send(message(channel.sent.end)).expect("there is always room");
            marks.begin();
            let got = receiver.recv().map(|message| number(&message));
            channel.world.results.set(DONE, u64::from(got.is_ok()));
            marks.end();
        }),
        check: Box::new(|channel: Channel, _| {
            // The victim's message was sent before it died.
            channel.world.results.set(DONE, 1);
            channel.sender_died(1)
        }),
    };
    all(plan, progress, [("two not received".to_owned(), subject)])
}

/// How far into a recovery the channel is done.
const REACH: usize = 2500;

pub(super) fn recover(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |laps, fill| {
        let subject = Subject {
            setup: Box::new(move || {
                let mut channel = Channel::new(laps, fill)?;
                let view = channel.world.view().ok_or("the segment can be mapped")?;
                let start = std::cell::Cell::new(None);
                let claimed = || {
                    let now = view.fingerprint();
                    start.replace(Some(now)).is_some_and(|before| before != now)
                };
                let (world, next) = (&channel.world, channel.sent.end);
                let doomed =
                    stop_where(world, |manager, marks| broadcast(world, manager, next, marks), claimed)?;
                channel.doomed = Some(doomed);
                Ok(channel)
            }),
            view: Box::new(|channel: &Channel| channel.world.view()),
            victim: Box::new(|channel: &Channel, marks: &Marks| {
                let manager = channel.world.attach();
                channel.doomed.as_ref().expect("somebody is to die").kill_from_elsewhere().expect("killed");
                marks.begin();
                let count = manager.recover();
                channel.world.results.set(RECOVERED, u64::from(count.is_ok_and(|count| count == 1)));
                marks.end();
            }),
            check: Box::new(|channel: Channel, _| {
                let recovered = channel.world.results.get(RECOVERED) == 1;
                channel.sender_died(if recovered { 1 } else { 2 })
            }),
        };
        (format!("after {laps}, {fill} not received"), subject)
    };
    all(&Plan { reach: REACH, ..*plan }, progress, [case(7, 2), case(7, CAPACITY)])
}
