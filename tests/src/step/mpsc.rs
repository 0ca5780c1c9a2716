//! Operations on an mpsc channel, interrupted.
//!
//! The world: two lanes. The survivor has a sender and has sent through it; where the victim receives, the survivor
//! has both senders.

use std::ops::Range;

use ginnel::Raw;
use ginnel::mpsc::{Options, Receiver, Sender, TryRecvError, TrySendError};
use ginnel_testkit::oracle;
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{World, during};

type Message = Raw<[u64; 3]>;

const CHANNEL: &str = "channel";
const LANES: usize = 2;

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;
/// The sequence number that the victim received, plus one.
const SEEN: usize = 1;

/// What the victim sends begins here.
const VICTIMS: u64 = 1 << 40;

struct Channel {
    world: World,
    sender: Option<Sender<Message>>,
    receiver: Option<Receiver<Message>>,
    before: Range<u64>,
}

fn options() -> Options {
    Options::new().capacity(16).senders(LANES)
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

impl Channel {
    fn new(laps: u64, fill: u64) -> Result<Self, String> {
        let world = World::new()?;
        let mut sender: Sender<Message> =
            options().sender(&world.manager, CHANNEL).map_err(during("take a sender"))?;
        let mut receiver: Receiver<Message> =
            options().receiver(&world.manager, CHANNEL).map_err(during("take the receiver"))?;
        for sequence in 0..laps + fill {
            sender.try_send(message(sequence)).map_err(during("send"))?;
            if sequence < laps {
                receiver.try_recv().map_err(during("go round"))?;
            }
        }
        Ok(Self { world, sender: Some(sender), receiver: Some(receiver), before: laps..laps + fill })
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    /// All that is there now, and whether the first of it is flagged. The end must be as `ended` says.
    fn receive(receiver: &mut Receiver<Message>, ended: bool) -> Result<(Vec<u64>, bool), String> {
        let (mut came, mut flagged) = (Vec::new(), Vec::new());
        loop {
            match receiver.try_recv() {
                Ok(message) => came.push(number(&message)?),
                Err(TryRecvError::Empty) if !ended => break,
                Err(TryRecvError::Closed) if ended => break,
                other => return Err(format!("{other:?} after {came:?}; it has ended: {ended}")),
            }
            flagged.push(receiver.redelivered());
            if came.len() > 64 {
                return Err(format!("duplicated: {came:?}"));
            }
        }
        if flagged.iter().skip(1).any(|flag| *flag) {
            return Err(format!("{flagged:?} are flagged of {came:?}"));
        }
        Ok((came, flagged.first().copied().unwrap_or(false)))
    }

    /// All lanes can be taken and used, and then the channel ends and is gone.
    fn works(self) -> Result<(), String> {
        let Self { world, sender, receiver, .. } = self;
        let mut receiver = match receiver {
            Some(receiver) => receiver,
            None => options().receiver(&world.manager, CHANNEL).map_err(during("take the dead one's end"))?,
        };
        let mut senders: Vec<Sender<Message>> = sender.into_iter().collect();
        while senders.len() < LANES {
            senders.push(options().sender(&world.manager, CHANNEL).map_err(during("take a lane"))?);
        }
        if options().sender::<Message>(&world.manager, CHANNEL).is_ok() {
            return Err("there are more lanes than there were made".to_owned());
        }
        for (index, sender) in (0..).zip(&mut senders) {
            sender.try_send(message(100 + index)).map_err(during("send"))?;
        }
        drop(senders);
        let (mut came, _) = Self::receive(&mut receiver, true)?;
        came.sort_unstable();
        if came != [100, 101] {
            return Err(format!("{came:?} came of 100 and 101"));
        }
        drop(receiver);
        world.is_empty_again()
    }

    /// After the death of a sender: what was there, and the victim's message if it may be.
    fn sender_died(mut self) -> Result<(), String> {
        self.world.recover_one()?;
        let mut receiver = self.receiver.take().ok_or("the survivor has no receiver")?;
        let (came, flag) = Self::receive(&mut receiver, false)?;
        let done = self.world.results.get(DONE);
        let victims = came.contains(&VICTIMS);
        let mut sorted = came.clone();
        sorted.sort_unstable();
        let all = self.before.clone().chain(victims.then_some(VICTIMS));
        if flag || !sorted.iter().copied().eq(all) || (done == 1) != victims && done != 0 {
            return Err(format!("lost or duplicated: {came:?} came of {:?}; it said {done}", self.before));
        }
        self.receiver = Some(receiver);
        self.works()
    }

    /// After the death of the receiver: its successor gets what the victim had not acknowledged; what it had seen
    /// comes only with a flag.
    fn receiver_died(mut self) -> Result<(), String> {
        self.world.recover_one()?;
        match self.sender.as_mut().map(|sender| sender.try_send(message(VICTIMS))) {
            Some(Err(TrySendError::Failed(_, error))) if error.is_peer_dead() => {}
            other => return Err(format!("{other:?}; expected the word that the receiver died")),
        }
        let mut receiver: Receiver<Message> =
            options().receiver(&self.world.manager, CHANNEL).map_err(during("take the dead one's end"))?;
        let (came, flagged) = Self::receive(&mut receiver, false)?;
        let (done, seen) = (self.world.results.get(DONE), self.world.results.get(SEEN));
        let first = came.first().copied().unwrap_or(self.before.end);
        let taken = first.wrapping_sub(self.before.start);
        let right = match done {
            0 => taken <= 1 && (taken == 1 || seen == 0 || flagged),
            1 => taken == 1,
            _ => taken == 0,
        };
        if !came.iter().copied().eq(first..self.before.end) || !right {
            return Err(format!(
                "{came:?} came of {:?}, flagged: {flagged}; it said {done}, {seen}",
                self.before
            ));
        }
        self.receiver = Some(receiver);
        self.works()
    }
}

fn subject(
    setup: impl FnMut() -> Result<Channel, String> + 'static,
    victim: impl Fn(&Channel, &Marks) + 'static,
    check: fn(Channel) -> Result<(), String>,
) -> Subject<'static, Channel> {
    Subject {
        setup: Box::new(setup),
        view: Box::new(|channel: &Channel| channel.world.view()),
        victim: Box::new(victim),
        check: Box::new(move |channel, _| check(channel)),
    }
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |laps, fill| {
        let sending = |channel: &Channel, marks: &Marks| {
            let manager = channel.world.attach();
            let mut sender = options().sender(&manager, CHANNEL).expect("a lane is free");
            marks.begin();
            let sent = sender.try_send(message(VICTIMS)).is_ok();
            channel.say(sent);
            marks.end();
        };
        let setup = move || Channel::new(laps, fill);
        (format!("after {laps}, {fill} in another lane"), subject(setup, sending, Channel::sender_died))
    };
    all(plan, progress, [case(0, 0), case(7, 2)])
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let case = |laps, fill| {
        let receiving = |channel: &Channel, marks: &Marks| {
            let manager = channel.world.attach();
            let mut receiver: Receiver<Message> =
                options().receiver(&manager, CHANNEL).expect("the end is free");
            marks.begin();
            let got = receiver.try_recv();
            channel.world.results.set(SEEN, got.as_ref().map_or(0, |message| message.0[1] + 1));
            channel.say(got.is_ok());
            marks.end();
        };
        let setup = move || Ok(Channel { receiver: None, ..Channel::new(laps, fill)? });
        (format!("after {laps}, {fill} in it"), subject(setup, receiving, Channel::receiver_died))
    };
    all(plan, progress, [case(0, 0), case(7, 2), case(3, 1)])
}

pub(super) fn ends(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let taking = |channel: &Channel, marks: &Marks| {
        let manager = channel.world.attach();
        marks.begin();
        let sender = options().sender::<Message>(&manager, CHANNEL).expect("a lane is free");
        drop(sender);
        marks.end();
    };
    let receiving = |channel: &Channel, marks: &Marks| {
        let manager = channel.world.attach();
        marks.begin();
        let receiver = options().receiver::<Message>(&manager, CHANNEL).expect("the end is free");
        drop(receiver);
        marks.end();
    };
    let none_lost = |mut channel: Channel| {
        channel.world.recover_one()?;
        let mut receiver = match channel.receiver.take() {
            Some(receiver) => receiver,
            None => options().receiver(&channel.world.manager, CHANNEL).map_err(during("take the end"))?,
        };
        let (came, _) = Channel::receive(&mut receiver, false)?;
        if !came.iter().copied().eq(channel.before.clone()) {
            return Err(format!("lost or duplicated: {came:?} came of {:?}", channel.before));
        }
        channel.receiver = Some(receiver);
        channel.works()
    };
    let cases = [
        ("a sender".to_owned(), subject(|| Channel::new(7, 2), taking, none_lost)),
        (
            "the receiver".to_owned(),
            subject(|| Ok(Channel { receiver: None, ..Channel::new(7, 2)? }), receiving, none_lost),
        ),
    ];
    all(plan, progress, cases)
}
