//! What is done to a queue, in which states of it, and what may become of the message that the victim was at.

use std::ops::RangeInclusive;
use std::time::Duration;

use ginnel::queue::{OnConsumerDeath, Queue};
use ginnel::spsc::Wait;
use ginnel_testkit::step::Marks;

use super::{CAPACITY, Message, Wish, message, number};

/// How the queue stands when the victim comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Messages that have come and gone.
    pub(super) laps: u64,
    /// Messages in it.
    pub(super) fill: u64,
    pub(super) leases: usize,
    pub(super) policy: OnConsumerDeath,
    pub(super) history: History,
    pub(super) sleeper: Option<Wish>,
    /// The sleeper comes when the victim is prepared.
    pub(super) later: bool,
    pub(super) wait: Wait,
    /// The survivor takes the messages out with `recv`, not as leases.
    pub(super) plain: bool,
}

/// What happened to the queue before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum History {
    Quiet,
    /// A consumer died while it read the first message.
    PutBackInSlot,
    /// The first message was leased and given back.
    PutBackInCell,
    /// A producer died in the middle of its send.
    Aborted,
    /// The survivor has all leases there are.
    AllLeased,
    Closed,
}

pub(super) const fn state(laps: u64, fill: u64) -> State {
    State {
        laps,
        fill,
        leases: 2,
        policy: OnConsumerDeath::Redeliver,
        history: History::Quiet,
        sleeper: None,
        later: false,
        wait: Wait::Adaptive,
        plain: false,
    }
}

impl State {
    pub(super) const fn after(self, history: History) -> Self {
        Self { history, ..self }
    }

    pub(super) const fn dropping(self) -> Self {
        Self { policy: OnConsumerDeath::Drop, ..self }
    }

    pub(super) const fn beside(self, wish: Wish) -> Self {
        Self { sleeper: Some(wish), ..self.asleep() }
    }

    pub(super) const fn beside_later(self, wish: Wish) -> Self {
        Self { later: true, ..self.beside(wish) }
    }

    /// Whoever waits sleeps at once.
    pub(super) const fn asleep(self) -> Self {
        Self { wait: Wait::Sleep, ..self }
    }

    pub(super) const fn leases(self, leases: usize) -> Self {
        Self { leases, ..self }
    }

    pub(super) const fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// How that act ends here, if nobody interrupts it.
    pub(super) fn expected(&self, act: Act) -> Outcome {
        let works = match act {
            Act::Push => self.fill < CAPACITY && self.history != History::Closed,
            Act::Pop => self.fill > 0,
            Act::Lease => self.fill > 0 && self.history != History::AllLeased,
            Act::Ack | Act::Nack | Act::Close => true,
            Act::Done => self.fill == 0,
        };
        if works { Outcome::Success } else { Outcome::Failure }
    }

    /// How often message number `index` was delivered before the victim came.
    pub(super) fn deliveries(&self, index: u64) -> u32 {
        u32::from(match self.history {
            History::PutBackInCell | History::PutBackInSlot => index == 0,
            History::AllLeased => index < self.leases as u64,
            _ => false,
        })
    }
}

/// What the victim does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Push,
    Pop,
    Lease,
    /// It leased before, and acknowledges.
    Ack,
    /// It leased before, and gives back.
    Nack,
    Close,
    /// It asks whether all is acknowledged.
    Done,
}

/// How far the victim came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Unfinished,
    Success,
    Failure,
}

/// Whether a message comes out in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Comes,
    MayCome,
    IsGone,
}

impl Act {
    /// What becomes of the message that the victim was at, and how often it was delivered by the victim.
    pub(super) fn fate(self, outcome: Outcome, policy: OnConsumerDeath) -> (Fate, RangeInclusive<u32>) {
        use Outcome::{Failure, Success, Unfinished};
        let keeps = policy == OnConsumerDeath::Redeliver;
        match (self, outcome) {
            (Self::Push, Success) => (Fate::Comes, 0..=0),
            (Self::Push, Failure) => (Fate::IsGone, 0..=0),
            (Self::Push, Unfinished) => (Fate::MayCome, 0..=0),
            (Self::Pop | Self::Ack, Success) => (Fate::IsGone, 0..=0),
            (Self::Close | Self::Done, _) | (_, Failure) => (Fate::Comes, 0..=0),
            (Self::Pop, Unfinished) => (Fate::MayCome, 0..=1),
            (Self::Ack, Unfinished) => (Fate::MayCome, 1..=1),
            (Self::Lease, Success) => (if keeps { Fate::Comes } else { Fate::IsGone }, 1..=1),
            (Self::Lease, Unfinished) => (if keeps { Fate::Comes } else { Fate::MayCome }, 0..=1),
            (Self::Nack, Success) => (Fate::Comes, 1..=1),
            (Self::Nack, Unfinished) => (if keeps { Fate::Comes } else { Fate::MayCome }, 1..=1),
        }
    }
}

/// One act of a participant.
pub(super) struct Performance<'a> {
    pub(super) act: Act,
    pub(super) queue: &'a Queue<Message>,
    /// Of the message it sends, if it sends one.
    pub(super) sequence: u64,
}

impl Performance<'_> {
    /// The act between the marks. `ready` is called before, when all is prepared; `got` hears of a message that came,
    /// and `say` whether the act came to what it was for.
    pub(super) fn run(
        self,
        marks: &Marks,
        ready: impl FnOnce(&Queue<Message>),
        got: impl Fn(u64),
        say: impl FnOnce(bool),
    ) {
        let Self { act, queue, sequence } = self;
        let message = message(sequence);
        let came = |message: &Message| got(number(message).unwrap_or(u64::MAX));
        let leased =
            matches!(act, Act::Ack | Act::Nack).then(|| queue.try_lease().expect("there is a message"));
        leased.iter().for_each(|lease| came(lease));
        let mut lease = None;
        ready(queue);
        marks.begin();
        say(match (act, leased) {
            (Act::Push, _) => queue.try_send(message).is_ok(),
            (Act::Pop, _) => queue.try_recv().inspect(came).is_ok(),
            (Act::Lease, _) => {
                lease = queue.try_lease().inspect(|lease| came(lease)).ok();
                lease.is_some()
            }
            (Act::Ack, Some(lease)) => lease.ack().is_ok(),
            (Act::Nack, Some(lease)) => {
                lease.nack();
                true
            }
            (Act::Close, _) => {
                queue.close();
                true
            }
            (Act::Done, _) => queue.wait_done_timeout(Duration::ZERO).is_ok_and(|done| done),
            (Act::Ack | Act::Nack, None) => false,
        });
        marks.end();
        drop(lease);
    }
}
