//! Operations on a pipe between those who trust each other, interrupted: messages that are one record, that carry a
//! handle, that go in parts; and the end of either end.
//!
//! The world: a simplex of one page under a name. The survivor has the end that the victim does not use.

use std::ops::Range;

use ginnel::Manager;
use ginnel::error::{TryRecvError, TrySendError};
use ginnel::pipe::{Options, Pipe, Receiver, Sender};
use ginnel::sync::{Init, Mutex};
use ginnel_testkit::step::Marks;
use ginnel_testkit::sweep::{Fault, Plan, Report, Subject};

use super::{Progress, all};
use crate::world::{World, during};

/// A number, a handle of something that holds it, perhaps, and bytes that follow from it.
type Letter = (u64, Option<Mutex<u64>>, Vec<u8>);

const THERE: &str = "there";
const BACK: &str = "back";

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;
/// The number of the message that the victim received, plus one.
const SEEN: usize = 1;

/// The heir's own message.
const OWN: u64 = 1 << 40;

/// What a message looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    carries: bool,
    /// Bytes: more than a quarter of the page go in parts.
    len: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { carries: false, len: 20 },
    Shape { carries: true, len: 20 },
    Shape { carries: false, len: 2100 },
    Shape { carries: true, len: 2100 },
];

fn letter(manager: &Manager, number: u64, shape: Shape) -> Letter {
    let handle = shape.carries.then(|| manager.create_with(Init(Some(number))).expect("there is room"));
    (number, handle, vec![number as u8; shape.len])
}

/// The number of a message, which must be whole.
fn read((number, handle, bytes): &Letter) -> Result<u64, String> {
    if bytes.iter().any(|byte| *byte != *number as u8) {
        return Err(format!("corrupt: {} bytes of message {number}", bytes.len()));
    }
    match handle.as_ref().map(|mutex| mutex.lock().map(|held| *held)).transpose() {
        Ok(held) if held.is_none_or(|held| held == *number) => Ok(*number),
        other => Err(format!("corrupt: message {number} came with {other:?}")),
    }
}

fn sender(manager: &Manager, name: &str) -> ginnel::Result<Sender<Letter>> {
    manager.get_or_create_with(name, Options::new().size(4096))
}

fn receiver(manager: &Manager, name: &str) -> ginnel::Result<Receiver<Letter>> {
    manager.get_or_create_with(name, Options::new().size(4096))
}

struct PipeWorld {
    world: World,
    tx: Option<Sender<Letter>>,
    rx: Option<Receiver<Letter>>,
    before: Range<u64>,
}

impl PipeWorld {
    /// Some laps, then `before` messages of these shapes are in it.
    fn new(laps: u64, before: &[Shape]) -> Result<Self, String> {
        let world = World::new()?;
        let mut tx = sender(&world.manager, THERE).map_err(during("make a pipe"))?;
        let mut rx = receiver(&world.manager, THERE).map_err(during("take its other end"))?;
        for number in 0..laps {
            tx.try_send(letter(&world.manager, number, SHAPES[0])).map_err(during("go round"))?;
            rx.try_recv().map_err(during("go round"))?;
        }
        for (number, shape) in (laps..).zip(before) {
            // It fits, if in parts, so it does not wait.
            tx.send(letter(&world.manager, number, *shape)).map_err(during("fill the pipe"))?;
        }
        let before = laps..laps + before.len() as u64;
        Ok(Self { world, tx: Some(tx), rx: Some(rx), before })
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    /// Everything that is there, and which of it is flagged. It ends as `ended` says.
    fn receive(
        rx: &mut Receiver<Letter>,
        ended: impl Fn(&TryRecvError) -> bool,
    ) -> Result<(Vec<u64>, Vec<u64>), String> {
        let (mut came, mut flagged) = (Vec::new(), Vec::new());
        loop {
            match rx.try_recv() {
                Ok(letter) => {
                    came.push(read(&letter)?);
                    flagged.extend(rx.redelivered().then_some(letter.0));
                }
                Err(why) if ended(&why) => return Ok((came, flagged)),
                Err(why) => return Err(format!("{why:?} after {came:?}")),
            }
            if came.len() > 64 {
                return Err(format!("duplicated: {came:?}"));
            }
        }
    }

    /// The pipe works as if new, with messages of all shapes; then everything is let go.
    fn works(self, mut tx: Sender<Letter>, mut rx: Receiver<Letter>) -> Result<(), String> {
        for (number, shape) in (100..).zip(SHAPES) {
            tx.send(letter(&self.world.manager, number, shape)).map_err(during("send"))?;
            let came = rx.try_recv().map_err(during("receive"))?;
            if read(&came)? != number || rx.redelivered() {
                return Err(format!("{} came instead of {number}", came.0));
            }
        }
        drop(tx);
        match rx.try_recv() {
            Err(TryRecvError::Closed) => {}
            other => return Err(format!("{other:?}; expected the word that it is closed")),
        }
        drop(rx);
        self.world.is_empty_again()
    }
}

/// A ticket that is given up, or not yet had, is searched for in some hundred thousand instructions that change nothing.
fn reaching(plan: &Plan) -> Plan {
    Plan { reach: if plan.is_sample() { 20_000 } else { 60_000 }, ..*plan }
}

fn is_dead(why: &TryRecvError) -> bool {
    matches!(why, TryRecvError::Failed(error) if error.is_peer_dead())
}

/// What was there, then the victim's message or not; with its successor's behind it, if that one came first.
fn sender_died(mut this: PipeWorld, heir_first: bool) -> Result<(), String> {
    this.world.recover_one()?;
    let mut rx = this.rx.take().ok_or("the survivor has no receiver")?;
    let mut heir = None;
    if heir_first {
        let mut tx = sender(&this.world.manager, THERE).map_err(during("take the dead one's end"))?;
        // Behind what a dead one began there may be no room for it.
        let own = tx.try_send(letter(&this.world.manager, OWN, SHAPES[0])).is_ok();
        heir = Some((tx, own));
    }
    let (mut came, flagged) = match &heir {
        Some(_) => PipeWorld::receive(&mut rx, TryRecvError::is_empty)?,
        None => PipeWorld::receive(&mut rx, is_dead)?,
    };
    if matches!(heir, Some((_, true))) && came.pop() != Some(OWN) {
        return Err(format!("lost: the heir's own message is not the last, behind {came:?}"));
    }
    let (done, before) = (this.world.results.get(DONE), this.before.clone());
    let sent = came.last() == Some(&before.end);
    let all = before.start..before.end + u64::from(sent);
    if !came.iter().copied().eq(all) || !flagged.is_empty() || (done == 1 && !sent) {
        return Err(format!(
            "lost or duplicated: {came:?} of {before:?}, {flagged:?} flagged; it said {done}"
        ));
    }
    let tx = match heir {
        Some((tx, _)) => tx,
        None => sender(&this.world.manager, THERE).map_err(during("take the dead one's end"))?,
    };
    this.works(tx, rx)
}

/// All but the first come; that one as the victim had seen it or not.
fn receiver_died(mut this: PipeWorld, first: Shape) -> Result<(), String> {
    this.world.recover_one()?;
    let mut tx = this.tx.take().ok_or("the survivor has no sender")?;
    match tx.try_send(letter(&this.world.manager, OWN, SHAPES[0])) {
        Err(TrySendError::Failed(_, error)) if error.is_peer_dead() => {}
        // Full comes first: it is found without looking at the peer.
        Err(TrySendError::Full(_)) => {}
        other => return Err(format!("{other:?}; expected the word that the receiver died")),
    }
    let mut rx = receiver(&this.world.manager, THERE).map_err(during("take the dead one's end"))?;
    let (came, flagged) = PipeWorld::receive(&mut rx, TryRecvError::is_empty)?;
    let (seen, before) = (this.world.results.get(SEEN), this.before.clone());
    let again = came.first() == Some(&before.start);
    // Only the one that the victim was at may be flagged, be it that it had it or the one behind it in hand.
    let flags = flagged.iter().all(|number| Some(number) == came.first()) && flagged.len() <= 1;
    let rest = before.start + u64::from(!again)..before.end;
    if !came.iter().copied().eq(rest) || !flags || (again && seen != 0) {
        return Err(format!(
            "lost or duplicated: {came:?} of {before:?}, {flagged:?} flagged; it had seen {seen}, {first:?}"
        ));
    }
    this.works(tx, rx)
}

pub(super) fn send(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let states: [(u64, &'static [Shape]); 3] = [(0, &[]), (70, &SHAPES[..1]), (40, &SHAPES[1..2])];
    let cases = SHAPES.into_iter().flat_map(|shape| states.map(|state| (shape, state)));
    let cases = cases.enumerate().map(|(index, (shape, (laps, before)))| {
        let heir_first = index % 2 == 1;
        let subject = Subject {
            setup: Box::new(move || PipeWorld::new(laps, before).map(|this| PipeWorld { tx: None, ..this })),
            view: Box::new(|this: &PipeWorld| this.world.view()),
            victim: Box::new(move |this, marks: &Marks| {
                let manager = this.world.attach();
                let mut tx = sender(&manager, THERE).expect("the end is free");
                let letter = letter(&manager, this.before.end, shape);
                marks.begin();
                let sent = tx.send(letter);
                this.say(sent.is_ok());
                marks.end();
            }),
            check: Box::new(move |this, _| sender_died(this, heir_first)),
        };
        (format!("{shape:?} after {laps}, {before:?}; the heir comes first: {heir_first}"), subject)
    });
    all(&reaching(plan), progress, cases)
}

pub(super) fn recv(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let cases = SHAPES.into_iter().zip([0, 70, 30, 100]).map(|(shape, laps)| {
        let subject = Subject {
            setup: Box::new(move || {
                PipeWorld::new(laps, &[shape, SHAPES[1]]).map(|this| PipeWorld { rx: None, ..this })
            }),
            view: Box::new(|this: &PipeWorld| this.world.view()),
            victim: Box::new(|this, marks: &Marks| {
                let manager = this.world.attach();
                let mut rx = receiver(&manager, THERE).expect("the end is free");
                marks.begin();
                let got = rx.try_recv();
                if let Ok(letter) = &got {
                    this.world.results.set(SEEN, letter.0 + 1);
                }
                this.say(got.is_ok());
                marks.end();
            }),
            check: Box::new(move |this, _| receiver_died(this, shape)),
        };
        (format!("{shape:?}"), subject)
    });
    all(&reaching(plan), progress, cases)
}

/// One end of a duplex pipe goes, with messages in both directions; the survivor has the other.
pub(super) fn close(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let gone = |why: &TryRecvError| matches!(why, TryRecvError::Closed) || is_dead(why);
    let subject = Subject {
        setup: Box::new(|| {
            let world = World::new()?;
            let rx = receiver(&world.manager, THERE).map_err(during("make a pipe"))?;
            let mut tx = sender(&world.manager, BACK).map_err(during("make a pipe"))?;
            tx.try_send(letter(&world.manager, 5, SHAPES[1])).map_err(during("send"))?;
            Ok(PipeWorld { world, tx: Some(tx), rx: Some(rx), before: 1..3 })
        }),
        view: Box::new(|this: &PipeWorld| this.world.view()),
        victim: Box::new(|this: &PipeWorld, marks: &Marks| {
            let manager = this.world.attach();
            let tx = sender(&manager, THERE).expect("the end is free");
            let rx = receiver(&manager, BACK).expect("the end is free");
            let mut pipe = Pipe::join(tx, rx);
            for (number, shape) in this.before.clone().zip(SHAPES) {
                pipe.send(letter(&manager, number, shape)).expect("there is room");
            }
            marks.begin();
            pipe.close();
            this.say(true);
            marks.end();
        }),
        check: Box::new(move |mut this, _| {
            this.world.recover_one()?;
            let (rx, tx) = (this.rx.take(), this.tx.take());
            let (mut rx, mut tx) = (rx.ok_or("no receiver")?, tx.ok_or("no sender")?);
            let (came, _) = PipeWorld::receive(&mut rx, gone)?;
            if !came.iter().copied().eq(this.before.clone()) {
                return Err(format!("lost or duplicated: {came:?} of {:?}", this.before));
            }
            match tx.try_send(letter(&this.world.manager, 9, SHAPES[1])) {
                Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Failed(_, error)) if error.is_peer_dead() => {}
                other => return Err(format!("{other:?}; expected the word that the receiver is gone")),
            }
            if this.world.results.get(DONE) == 1 && !matches!(rx.try_recv(), Err(TryRecvError::Closed)) {
                return Err("it had closed in order, and that was not told".to_owned());
            }
            drop((rx, tx));
            this.world.is_empty_again()
        }),
    };
    all(&reaching(plan), progress, [("both directions, messages in both".to_owned(), subject)])
}

/// The last end of a pipe goes, with messages in it that carry something and that have not been received.
pub(super) fn abandon(plan: &Plan, progress: Progress<'_>) -> Result<Report, Fault> {
    let subject = Subject {
        setup: Box::new(|| PipeWorld::new(0, &[]).map(|this| PipeWorld { tx: None, rx: None, ..this })),
        view: Box::new(|this: &PipeWorld| this.world.view()),
        victim: Box::new(|this: &PipeWorld, marks: &Marks| {
            let manager = this.world.attach();
            let mut tx = sender(&manager, BACK).expect("there is room");
            let rx = receiver(&manager, BACK).expect("the end is free");
            tx.try_send(letter(&manager, 1, SHAPES[1])).expect("there is room");
            tx.send(letter(&manager, 2, SHAPES[3])).expect("there is room");
            manager.remove(BACK).expect("it has a name");
            drop(tx);
            marks.begin();
            drop(rx);
            marks.end();
        }),
        check: Box::new(|this, _| {
            this.world.recover_one()?;
            this.world.is_empty_again()
        }),
    };
    all(&reaching(plan), progress, [("two messages in it".to_owned(), subject)])
}
