//! Both ends at once: the victim stands still at each instruction, its peer works, the victim goes on.
//!
//! Nobody dies here. The peer does as much as it can (takes all there is; sends until the lane is full), which is every
//! schedule with one preemption, run on the real code. All messages must come, each once, in order, without a flag.

use std::ops::Range;

use ginnel::spsc::{self, Consumer, Options, Producer};
use ginnel_testkit::step::{Marks, Moved};
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject, preempt};

use super::Progress;
use super::lane::{LANE, Message, message, number};
use crate::world::{World, during};

/// How many messages the victim sends or has received.
const COUNT: usize = 1;

/// The sequence numbers that the victim received.
const SEEN: Range<usize> = 2..10;

struct Both {
    world: World,
    producer: Option<Producer<Message>>,
    consumer: Option<Consumer<Message>>,
    /// The next number to be sent.
    next: u64,
    /// What the survivor received.
    got: Vec<u64>,
}

impl Both {
    fn new(laps: u64, fill: u64) -> Result<Self, String> {
        let world = World::new()?;
        let options = Options::new().capacity(16);
        let mut producer =
            options.producer::<Message>(&world.manager, LANE).map_err(during("make the lane"))?;
        let mut consumer =
            options.consumer::<Message>(&world.manager, LANE).map_err(during("take its other end"))?;
        for sequence in 0..laps + fill {
            if producer.try_send(message(sequence)).is_err() {
                return Ok(Self {
                    world,
                    producer: Some(producer),
                    consumer: Some(consumer),
                    next: sequence,
                    got: Vec::new(),
                });
            }
            if sequence < laps {
                consumer.try_recv().map_err(during("go round"))?;
            }
        }
        Ok(Self {
            world,
            producer: Some(producer),
            consumer: Some(consumer),
            next: laps + fill,
            got: Vec::new(),
        })
    }

    /// The survivor takes all there is.
    fn take_all(&mut self) -> Result<(), String> {
        let consumer = self.consumer.as_mut().ok_or("the survivor has no consumer")?;
        while let Ok(message) = consumer.try_recv() {
            self.got.push(number(&message)?);
            if consumer.redelivered() {
                return Err(format!("{:?} is flagged, and nobody died", self.got.last()));
            }
        }
        Ok(())
    }

    /// The survivor sends until there is no room.
    fn send_all(&mut self) -> Result<(), String> {
        let producer = self.producer.as_mut().ok_or("the survivor has no producer")?;
        while producer.try_send(message(self.next)).is_ok() {
            self.next += 1;
        }
        Ok(())
    }

    /// All messages from `first` up to `end` came to the survivor, or to the victim before that.
    fn complete(self, first: u64, end: u64) -> Result<(), String> {
        let victims = self.world.results.get(COUNT) as usize;
        let seen = SEEN.take(victims).map(|word| self.world.results.get(word));
        let all: Vec<u64> = seen.chain(self.got.iter().copied()).collect();
        if all.iter().copied().eq(first..end) {
            return Ok(());
        }
        Err(format!(
            "lost or duplicated: {all:?} came, of which {victims} to the victim; {first}..{end} were sent"
        ))
    }
}

/// The laps and fills of the states: new, at the seam, full.
const STATES: [(u64, u64); 3] = [(0, 1), (127, 2), (50, u64::MAX - 50)];

fn run(
    plan: &Plan,
    progress: Progress<'_>,
    subject: impl Fn(u64, u64) -> Subject<'static, Both>,
    peer: fn(&mut Both) -> Result<(), String>,
) -> Result<Report, Fault> {
    let mut total = Report::default();
    for (laps, fill) in STATES {
        let report = preempt(plan, &mut subject(laps, fill), peer, &mut *progress).map_err(|mut fault| {
            fault.what = format!("after {laps}, with {fill} in it: {}", fault.what);
            fault.trials += total.trials;
            fault
        })?;
        total = total.and(report);
    }
    Ok(total)
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = |laps, fill| Subject {
        setup: Box::new(move || Ok(Both { producer: None, ..Both::new(laps, fill)? })),
        view: Box::new(|both: &Both| both.world.view()),
        victim: Box::new(|both: &Both, marks: &Marks| {
            let manager = both.world.attach();
            let mut producer: Producer<Message> = spsc::producer(&manager, LANE).expect("the end is free");
            let messages = [both.next, both.next + 1, both.next + 2].map(message);
            marks.begin();
            let sent = producer.try_send_many(&messages).unwrap_or(0);
            let more =
                if sent == 3 { usize::from(producer.try_send(message(both.next + 3)).is_ok()) } else { 0 };
            both.world.results.set(COUNT, (sent + more) as u64);
            marks.end();
        }),
        check: Box::new(move |mut both: Both, _: Moved| {
            both.take_all()?;
            let end = both.next + both.world.results.get(COUNT);
            both.world.results.set(COUNT, 0);
            both.complete(laps, end)
        }),
    };
    run(plan, progress, subject, Both::take_all)
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = |laps, fill| Subject {
        setup: Box::new(move || Ok(Both { consumer: None, ..Both::new(laps, fill)? })),
        view: Box::new(|both: &Both| both.world.view()),
        victim: Box::new(|both: &Both, marks: &Marks| {
            let manager = both.world.attach();
            let mut consumer: Consumer<Message> = spsc::consumer(&manager, LANE).expect("the end is free");
            marks.begin();
            let mut count = 0;
            while count < 3 {
                let Ok(message) = consumer.try_recv() else { break };
                both.world.results.set(SEEN.start + count, message[1]);
                count += 1;
            }
            if let Ok(loan) = consumer.try_loan() {
                both.world.results.set(SEEN.start + count, loan[1]);
                count += 1;
            }
            both.world.results.set(COUNT, count as u64);
            marks.end();
        }),
        check: Box::new(move |mut both: Both, _: Moved| {
            both.world.recover_one()?;
            both.consumer = Some(spsc::consumer(&both.world.manager, LANE).map_err(during("take the end"))?);
            // It died after its last acknowledgement, so the first message may be flagged; it is a new one all the same.
            let consumer = both.consumer.as_mut().ok_or("just taken")?;
            if let Ok(message) = consumer.try_recv() {
                both.got.push(number(&message)?);
            }
            both.take_all()?;
            let end = both.next;
            both.complete(laps, end)
        }),
    };
    run(plan, progress, subject, Both::send_all)
}
