//! Operations on a queue, interrupted: the world, and what the survivors must find.
//!
//! The world: a queue that has gone round some times and holds some messages, perhaps with one that was put back,
//! with a send that was given up, or with a process asleep at it. The survivor holds a handle all the time. After the
//! victim's death [`QueueWorld::after_death`] recovers, wakes what has to wake, takes out what there is and compares it with the
//! row of the act: each message once, flagged where somebody had it before, missing only where the victim may have
//! acknowledged it. Then the queue must be as good as new: its whole capacity, all its leases, an orderly end.

mod act;
mod recoverer;
mod sleeper;
mod stopped;
mod subjects;
mod words;

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use ginnel::error::{RecvError, SendError, TryRecvError, TrySendError};
use ginnel::queue::{Lease, OnConsumerDeath, Options, Queue};
use ginnel::{Manager, Raw};
use ginnel_layout::ring::{SlotWord, gate};
use ginnel_testkit::oracle;
use ginnel_testkit::step::{Marks, Moved, Tracee};

use crate::world::{World, during};
use act::{Act, Fate, History, Outcome, Performance, State, state};
pub(super) use recoverer::recover;
use sleeper::Sleeper;
pub(super) use sleeper::Wish;
pub(super) use stopped::{ack_stopped, lease_stopped, pop_stopped, push_stopped};
pub(super) use subjects::{ack, asleep, close, lease, nack, pop, push};
pub(super) use words::RingWords;

/// Lane, sequence number, checksum.
type Message = Raw<[u64; 3]>;

/// The name of the queue.
const QUEUE: &str = "queue";
const CAPACITY: u64 = 4;

/// The victim has come to the end of its operation: 1 with success, 2 without.
const DONE: usize = 0;

/// The sleeper's message, and the survivor's.
const SLEEPERS: u64 = 1 << 40;
const SURVIVORS: u64 = 1 << 41;

/// A message that came out.
#[derive(Debug, Clone, Copy)]
struct Seen {
    sequence: u64,
    /// How often it was delivered before, if that was said.
    again: Option<u32>,
    by_sleeper: bool,
}

struct QueueWorld {
    world: World,
    queue: Queue<Message>,
    words: RingWords,
    before: Range<u64>,
    state: State,
    sleeper: Option<Sleeper>,
    leases: Vec<Lease<Message>>,
    /// One who stands in the middle of something and is to die.
    doomed: Option<Tracee>,
}

fn message(sequence: u64) -> Message {
    let mut words = [0; 3];
    oracle::write(1, sequence, &mut words);
    Raw(words)
}

/// The sequence number of a message, whose bytes must be whole.
fn number(Raw(words): &Message) -> Result<u64, String> {
    match oracle::read(words) {
        Some((1, sequence)) => Ok(sequence),
        _ => Err(format!("corrupt: {words:x?} was never sent")),
    }
}

/// The queue of a world, for another participant.
fn open(manager: &Manager) -> Queue<Message> {
    manager.get(QUEUE).expect("it can be opened").expect("it is there")
}

/// Stops a new participant in the middle of `operation`, where the memory looks as `reached` says.
pub(super) fn stop_where(
    world: &World,
    operation: impl FnOnce(&Manager, &Marks),
    reached: impl Fn() -> bool,
) -> Result<Tracee, String> {
    let mut tracee = Tracee::start(|marks| operation(&world.attach(), marks))
        .map_err(during("start one who will stop half-way"))?;
    while !reached() {
        if tracee.step().map_err(during("go half-way"))? == Moved::Over {
            return Err("it came to its end, and never to where it was to stop".to_owned());
        }
    }
    Ok(tracee)
}

impl QueueWorld {
    fn new(state: State) -> Result<Self, String> {
        let world = World::new()?;
        let options = Options::bounded(CAPACITY as usize)
            .leases(state.leases)
            .on_consumer_death(state.policy)
            .wait(state.wait);
        let queue: Queue<Message> =
            world.manager.get_or_create_with(QUEUE, options).map_err(during("make the queue"))?;
        let words = RingWords::of(&world.manager, QUEUE).ok_or("the queue is not in the directory")?;
        for sequence in 0..state.laps + state.fill {
            queue.try_send(message(sequence)).map_err(during("fill the queue"))?;
            if sequence < state.laps {
                queue.try_recv().map_err(during("go round"))?;
            }
        }
        let before = state.laps..state.laps + state.fill;
        let (sleeper, leases, doomed) = (None, Vec::new(), None);
        let mut this = Self { world, queue, words, before, state, sleeper, leases, doomed };
        this.make_history()?;
        this.sleeper = state.sleeper.map(|wish| Sleeper::start(&this, wish)).transpose()?;
        if let (Some(sleeper), false) = (&this.sleeper, state.later) {
            sleeper.send_to_sleep(&this, &this.queue)?;
        }
        Ok(this)
    }

    /// The victim is prepared: whoever is to come after that comes now.
    fn ready(&self, queue: &Queue<Message>) {
        if let (Some(sleeper), true) = (&self.sleeper, self.state.later) {
            sleeper.send_to_sleep(self, queue).expect("it falls asleep");
        }
    }

    fn make_history(&mut self) -> Result<(), String> {
        let middle = |st| move |this: &Self| this.words.any_slot(st);
        match self.state.history {
            History::Quiet => {}
            History::PutBackInSlot => {
                let at = middle(SlotWord::READING);
                let dead = self.stop_in(Act::Pop, || at(self))?;
                dead.kill().map_err(during("kill a consumer"))?;
                self.world.recover_one()?;
            }
            History::Aborted => {
                let at = middle(SlotWord::WRITING);
                let dead = self.stop_in(Act::Push, || at(self))?;
                dead.kill().map_err(during("kill a producer"))?;
                self.world.recover_one()?;
            }
            History::PutBackInCell => self.queue.try_lease().map_err(during("lease"))?.nack(),
            History::AllLeased => {
                for _ in 0..self.state.leases {
                    self.leases.push(self.queue.try_lease().map_err(during("lease"))?);
                }
            }
            History::Closed => self.queue.close(),
        }
        Ok(())
    }

    /// Stops another participant in the middle of an act.
    fn stop_in(&self, act: Act, reached: impl Fn() -> bool) -> Result<Tracee, String> {
        let sequence = self.before.end;
        let operation = |manager: &Manager, marks: &Marks| {
            Performance { act, queue: &open(manager), sequence }.run(marks, |_| {}, |_| {}, |_| {});
        };
        stop_where(&self.world, operation, reached)
    }

    fn say(&self, success: bool) {
        self.world.results.set(DONE, if success { 1 } else { 2 });
    }

    /// What the survivors find after the death of a victim that was at `act`, of `dead` participants in all.
    fn after_death(mut self, act: Act, dead: RangeInclusive<usize>) -> Result<(), String> {
        self.check_wake(act)?;
        let count = self.world.manager.recover().map_err(during("recover"))?;
        if !dead.contains(&count) {
            return Err(format!("{count} participants were recovered, expected {dead:?}"));
        }
        let outcome = self.outcome();
        if ![Outcome::Unfinished, self.state.expected(act)].contains(&outcome) {
            return Err(format!("{act:?} came to its end with {outcome:?}"));
        }
        self.check_gate(act, outcome)?;
        self.leases.clear();
        let mut seen = Vec::new();
        let own = self.wake(&mut seen)?;
        while let Some(message) = self.next()? {
            seen.push(message);
            if seen.len() as u64 > 2 * CAPACITY + 2 {
                return Err(format!("duplicated: {seen:?}"));
            }
        }
        self.compare(act, outcome, own, &seen)?;
        self.counters(act, outcome, *dead.end() == 1, &seen)?;
        self.works()
    }

    fn outcome(&self) -> Outcome {
        match self.world.results.get(DONE) {
            0 => Outcome::Unfinished,
            1 => Outcome::Success,
            _ => Outcome::Failure,
        }
    }

    /// Whoever came to the end of an act that others slept for has woken them.
    fn check_wake(&self, act: Act) -> Result<(), String> {
        let Some(sleeper) = self.sleeper.as_ref().filter(|_| self.outcome() == Outcome::Success) else {
            return Ok(());
        };
        let owes = match (act, sleeper.wish) {
            (Act::Push | Act::Nack, Wish::Receive | Wish::Lease) | (Act::Pop | Act::Lease, Wish::Send) => {
                true
            }
            // A cell is free now; whether there is a message for it, the state says.
            (Act::Ack, Wish::Lease) => self.state.fill > 1,
            (Act::Ack, Wish::Done) | (Act::Close, _) => true,
            // A plain receive tells without a fence, and may be missed until the slice ends.
            _ => false,
        };
        if owes && !sleeper.is_woken(self) {
            return Err(format!("not woken: who wished to {:?} sleeps on after {act:?}", sleeper.wish));
        }
        Ok(())
    }

    fn check_gate(&self, act: Act, outcome: Outcome) -> Result<(), String> {
        let closed = self.words.gate() & gate::NO_INPUT != 0;
        let right = match (act, outcome) {
            (Act::Close, Outcome::Unfinished) => true,
            (Act::Close, _) => closed,
            _ => closed == (self.state.history == History::Closed),
        };
        if right { Ok(()) } else { Err(format!("closed: {closed}, after {act:?} with {outcome:?}")) }
    }

    /// Gives the sleeper what it waits for, where there is nothing for it, and waits for its end. True: the survivor
    /// sent a message of its own.
    fn wake(&mut self, seen: &mut Vec<Seen>) -> Result<bool, String> {
        let Some(sleeper) = self.sleeper.take() else { return Ok(false) };
        let closed = self.words.gate() & gate::NO_INPUT != 0;
        let mut own = false;
        match sleeper.wish {
            Wish::Receive | Wish::Lease => {
                if !closed && !self.words.has_message() && !Sleeper::is_over(self) {
                    self.queue.try_send(message(SURVIVORS)).map_err(during("send to the sleeper"))?;
                    own = true;
                }
            }
            Wish::Send => {
                if !closed && !self.words.any_slot(SlotWord::FREE) && !Sleeper::is_over(self) {
                    seen.extend(self.next()?);
                }
            }
            Wish::Done => {
                while let Some(message) = self.next()? {
                    seen.push(message);
                }
            }
        }
        seen.extend(sleeper.end(self)?);
        Ok(own)
    }

    /// The next message, as the state says; `None`: there is no more.
    fn next(&self) -> Result<Option<Seen>, String> {
        let got = if self.state.plain {
            self.queue.try_recv().map(|message| (message, None))
        } else {
            self.queue.try_lease().map(|lease| {
                let again = Some(lease.redelivered());
                (lease.ack().unwrap_or(Raw([0; 3])), again)
            })
        };
        match got {
            Ok((message, again)) => Ok(Some(Seen { sequence: number(&message)?, again, by_sleeper: false })),
            Err(TryRecvError::Empty | TryRecvError::Closed) => Ok(None),
            Err(error) => Err(format!("blocked: {error}")),
        }
    }

    /// Compares what came with what must, may and must not come.
    fn compare(&self, act: Act, outcome: Outcome, own: bool, seen: &[Seen]) -> Result<(), String> {
        let fail = |what: String| {
            Err(format!("{what}; {seen:?} came, {:?} was there, {act:?} with {outcome:?}", self.before))
        };
        let victims = if act == Act::Push { self.before.end } else { self.before.start };
        let sent = Sleeper::has_sent(self).then_some(SLEEPERS);
        let push = (act == Act::Push).then_some(victims);
        let others = push.into_iter().chain(sent).chain(own.then_some(SURVIVORS));
        let all: Vec<u64> = self.before.clone().chain(others).collect();
        if let Some(unknown) = seen.iter().find(|seen| !all.contains(&seen.sequence)) {
            return fail(format!(
                "{} came, and was never sent or sent by nobody now alive",
                unknown.sequence
            ));
        }
        for sequence in all {
            let (fate, more) =
                if sequence == victims { act.fate(outcome, self.state.policy) } else { (Fate::Comes, 0..=0) };
            let came: Vec<&Seen> = seen.iter().filter(|seen| seen.sequence == sequence).collect();
            match (came.as_slice(), fate) {
                ([], Fate::IsGone | Fate::MayCome) => {}
                ([one], Fate::Comes | Fate::MayCome) => {
                    let before = self.state.deliveries(sequence.wrapping_sub(self.before.start));
                    let allowed = before + more.start()..=before + more.end();
                    if one.again.is_some_and(|again| !allowed.contains(&again)) {
                        return fail(format!("{sequence} is not flagged {allowed:?} times"));
                    }
                }
                ([], Fate::Comes) => return fail(format!("lost: {sequence}")),
                ([_], Fate::IsGone) => return fail(format!("duplicated: {sequence}")),
                _ => return fail(format!("duplicated: {sequence} came {} times", came.len())),
            }
        }
        // What was put back may overtake; the others keep their order.
        let fresh = seen.iter().filter(|seen| !seen.by_sleeper && seen.again == Some(0));
        if !fresh.map(|seen| seen.sequence).is_sorted() {
            return fail("out of order".to_owned());
        }
        Ok(())
    }

    /// The counters tell of a message that was dropped, and of nothing else. They may miss what somebody did last who
    /// was killed, so they tell `exactly` if the only recovery was that of a survivor.
    fn counters(&self, act: Act, outcome: Outcome, exactly: bool, seen: &[Seen]) -> Result<(), String> {
        let stats = self.queue.stats();
        let came = seen.iter().any(|seen| seen.sequence == self.before.start);
        let most =
            self.state.policy == OnConsumerDeath::Drop && !came && !matches!(act, Act::Push | Act::Close);
        let dropped = match (act, outcome) {
            (Act::Lease, Outcome::Success) => Some(u64::from(most)),
            (Act::Lease | Act::Nack, Outcome::Unfinished) => Some(u64::from(most)),
            (_, Outcome::Success | Outcome::Failure) => Some(0),
            _ => None,
        };
        let dropped = dropped.filter(|_| exactly);
        if stats.dropped > u64::from(most) || dropped.is_some_and(|dropped| dropped != stats.dropped) {
            return Err(format!("{} dropped, by the counters; {seen:?} came", stats.dropped));
        }
        let busy = stats.leased + u64::from(stats.waiting_to_send + stats.waiting_to_receive);
        if stats.depth != 0 || busy != 0 || !stats.owners.is_empty() {
            return Err(format!("left behind in an empty queue: {stats:?}"));
        }
        match self.queue.wait_done_timeout(Duration::ZERO) {
            Ok(true) => Ok(()),
            other => Err(format!("all is acknowledged, and it says {other:?}")),
        }
    }

    /// The queue works as if new: its full capacity, all its leases, an orderly end; and then everything is let go.
    fn works(self) -> Result<(), String> {
        let Self { world, queue, state, before, .. } = self;
        let first = before.end + 1000;
        let mut sent = 0;
        while !queue.is_closed() && sent <= CAPACITY && queue.try_send(message(first + sent)).is_ok() {
            sent += 1;
        }
        if !queue.is_closed() && sent != CAPACITY {
            return Err(format!("blocked: room for {sent} messages, and the queue is made for {CAPACITY}"));
        }
        let mut leases = Vec::new();
        for _ in 0..sent.min(state.leases as u64) {
            leases.push(queue.try_lease().map_err(during("leaked: not all leases can be had"))?);
        }
        match queue.try_lease() {
            Err(TryRecvError::Failed(error)) if error.is_full() && (leases.len() as u64) < sent => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) if leases.len() as u64 == sent => {}
            other => return Err(format!("{other:?} with {} of {sent} leased", leases.len())),
        }
        let mut expected = first;
        for lease in leases {
            let got = number(&lease.ack().map_err(during("acknowledge"))?)?;
            if got != expected {
                return Err(format!("{got} was leased where {expected} was sent"));
            }
            expected += 1;
        }
        for sequence in expected..first + sent {
            let got = number(&queue.try_recv().map_err(during("a message of the survivor's own"))?)?;
            if got != sequence {
                return Err(format!("{got} came where {sequence} was sent"));
            }
        }
        queue.close();
        match (queue.recv(), queue.send(message(0)), queue.try_send(message(0))) {
            (Err(RecvError::Closed), Err(SendError::Closed(_)), Err(TrySendError::Closed(_))) => {}
            other => return Err(format!("it was closed, and says {other:?}")),
        }
        drop(queue);
        world.is_empty_again()
    }
}
