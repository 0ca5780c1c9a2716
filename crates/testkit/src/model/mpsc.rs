//! The mpsc: a lane for each producer, one consumer, one line that all post to. What lanes do by themselves is in the
//! model `lane`; here is what they share.
//!
//! ```text
//! lane      messages 0 .. sent, head (acknowledged up to here), hint (where the producer was)
//! roles     of each lane's producer, and of the consumer: VACANT  HELD(o)  CLOSED  DEAD: its holder died with it
//! census    takings (how often a lane was taken), used (lanes from here on were never taken)
//! line      flag (the consumer sleeps), seq (the futex)
//!
//! take      a lane that nobody holds: CAS role -> HELD(me); start at hint, or at head if that is further; walk to the
//!           first header that is zero; census: takings + 1, used beyond this lane
//! clone     a producer lets another one take a lane, and goes on when that one has it
//! send      COMMIT at the end of the walk; hint; flag? flag = 0; seq += 1; wake
//! close     role = CLOSED; seq += 1; wake
//! receive   census: used. for each lane below: a message at its head? read it; head += 1: the ACKNOWLEDGEMENT
//! nothing   census. for each lane: HELD? then not now. gone? look once more. census again, and takings the same:
//!           CLOSED. else: not now
//! wait      s = seq; flag = 1; receive, nothing: as above; futex_wait(seq, s); again
//! consumer  CAS role -> HELD(me); read all heads; was it DEAD? flag the message at each head, if one is there now
//!           gives it up: CLOSED; but DEAD again where flagged messages have not been read yet
//! recover d role HELD(d) -> DEAD; then always: seq += 1 and wake
//! ```
//! All processors agree on one order here; the fences are the business of the models `lane` and of loom.
//!
//! What must hold: a message is sent at the true end of its lane (else it overwrites another or leaves a hole), and
//! arrives once; again only if it is flagged. CLOSED is said only if there was a moment since the consumer began to
//! look at which nobody had a lane, and everything sent before that moment had been received. At the end everything is
//! received, and CLOSED was said if the producers went: nobody sleeps for ever.
//!
//! What each mutation breaks stands at `Bug`.

mod cases;
mod consumer;
mod producer;

pub(super) use cases::cases;

use super::check::{Model, Steps, Who};

const LANES: usize = 2;
const PRODUCERS: usize = 3;
/// The actor that receives.
const CONSUMER: usize = PRODUCERS;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Role {
    #[default]
    Vacant,
    Held(u8),
    Closed,
    Dead,
}

impl Role {
    fn is_free(self) -> bool {
        !matches!(self, Role::Held(_))
    }
}

/// Where a producer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Sends {
    /// Waits to be cloned.
    #[default]
    Unborn,
    /// Wants a lane.
    Out,
    CensusEarly,
    Hint,
    Head,
    Walk,
    Census,
    Idle,
    /// Waits for the clone that it makes to have its lane.
    Cloning(u8),
    Commit,
    LateCensus,
    StoreHint,
    PostFlag,
    PostClear,
    PostBump,
    PostWake,
    PostClearLate,
    CloseBump,
    CloseWake,
    /// Has sent everything and closed.
    Gone,
    Dead(Repair),
}

/// How far the repair after a death is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Repair {
    /// Nobody has the lock.
    NotBegun,
    Role,
    Bump,
    Wake,
    Reuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Producer {
    at: Sends,
    lane: u8,
    position: u8,
    /// Messages that it will still send.
    left: u8,
}

impl Producer {
    /// Has a lane, and the consumer may know.
    fn has_joined(&self) -> bool {
        use Sends::{
            Cloning, Commit, Idle, LateCensus, PostBump, PostClear, PostClearLate, PostFlag, PostWake,
            StoreHint,
        };
        matches!(
            self.at,
            Idle | Cloning(_)
                | Commit
                | LateCensus
                | StoreHint
                | PostFlag
                | PostClear
                | PostBump
                | PostWake
                | PostClearLate
        )
    }
}

/// Where the consumer is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Receives {
    #[default]
    Out,
    ReadHead(u8),
    /// Begins to look.
    Census,
    Look(u8),
    Disarm(u8),
    Read(u8),
    Ack(u8),
    CheckCensus,
    CheckRole(u8),
    CheckLook(u8),
    CheckAgain,
    Seq,
    Arm,
    ArmLate,
    Sleep,
    Asleep,
    /// Was told CLOSED.
    Told,
    Dead(Repair),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Consumer {
    at: Receives,
    /// Has announced itself.
    armed: bool,
    /// `seq` has moved since it was loaded.
    moved: bool,
    after_death: bool,
    used: u8,
    takings: u8,
    position: [u8; LANES],
    to_flag: [bool; LANES],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Lane {
    role: Role,
    /// Messages committed: the true end.
    sent: u8,
    hint: u8,
    head: u8,
    /// Messages given to the program at least once.
    given: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    lanes: [Lane; LANES],
    role: Role,
    takings: u8,
    used: u8,
    flag: bool,
    producers: [Producer; PRODUCERS],
    consumer: Consumer,
    /// Since the consumer began to look there was a moment without producers, and what had been sent by then.
    quiet: bool,
    owed: [u8; LANES],
    kills: u8,
    closes: u8,
}

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    None,
    /// A lane is taken as if it were empty while messages wait in it: the first of them is overwritten.
    TakeAsEmpty,
    /// A producer posts to a line of its own lane, where nobody sleeps.
    PostToOwnLine,
    /// The consumer looks, and announces itself then: a message in between wakes nobody.
    ArmAfterLook,
    /// It looks at one lane only after it has announced itself.
    LookAtOneLane,
    /// The flag is cleared after the wake: it wipes out the flag of the next sleep.
    ClearAfterWake,
    /// Recovery does not wake: the dead may have cleared the flag and died before its wake.
    SilentRecovery,
    /// Recovery wakes, but leaves the role HELD(d): the end is never told.
    RoleStaysHeld,
    /// The last close does not wake.
    SilentClose,
    /// The census is not looked at again: a clone in a lane that was passed already is not noticed.
    OneCensus,
    /// The census is raised before the lane is taken: it is the same twice, and the taking lies in between.
    CensusBeforeTaking,
    /// The census is raised after the first commit: the consumer does not look at that lane.
    CensusAfterCommit,
    /// A lane is found gone, and its last message was not there yet when it was looked at.
    NoLastLook,
    /// The successor of a dead consumer flags nothing.
    NoFlag,
    /// It flags one lane only, although the dead one may have stood at any.
    FlagOneLane,
    /// It closes before it has read all that it is to flag, and its own successor does not know any more.
    CloseForgetsFlag,
    /// The acknowledgement comes before the message is read.
    AckBeforeRead,
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
struct Mpsc {
    lanes: u8,
    /// Producers that begin by themselves, and how many messages each sends.
    producers: u8,
    messages: u8,
    /// Producers that come as clones of others, and send one message each.
    clones: u8,
    kills: u8,
    /// How often the consumer may close and another take over.
    closes: u8,
    /// Producers that have sent everything keep their lanes. Else they close, and that wakes the consumer once more.
    stay: bool,
    bug: Bug,
}

impl State {
    /// `seq` goes up.
    fn bump(&mut self) {
        let consumer = &mut self.consumer;
        consumer.moved |= consumer.at != Receives::Asleep && (consumer.armed || consumer.at == Receives::Arm);
    }

    fn wake(&mut self) {
        if self.consumer.at == Receives::Asleep {
            self.consumer = Consumer { at: Receives::Seq, armed: false, ..self.consumer };
        }
    }

    /// Drops what nobody will look at again, so that states which differ in nothing else are one.
    fn forget(&mut self) {
        use Receives::{CheckAgain, CheckLook, CheckRole, Look, ReadHead};
        for producer in &mut self.producers {
            if matches!(producer.at, Sends::Gone | Sends::Out | Sends::Dead(_)) {
                (producer.lane, producer.position) = (0, 0);
            }
        }
        let consumer = &mut self.consumer;
        match consumer.at {
            CheckRole(_) | CheckLook(_) | CheckAgain => {}
            Look(_) => consumer.takings = 0,
            _ => (consumer.takings, consumer.used) = (0, 0),
        }
        consumer.after_death &= matches!(consumer.at, ReadHead(_));
    }

    /// Remembers the first moment without producers since the consumer began to look.
    fn note_quiet(&mut self) {
        use Receives::{CheckAgain, CheckLook, CheckRole};
        let looks = matches!(self.consumer.at, CheckRole(_) | CheckLook(_) | CheckAgain);
        if !looks {
            (self.quiet, self.owed) = (false, [0; LANES]);
        } else if !self.quiet && !self.producers.iter().any(Producer::has_joined) {
            self.quiet = true;
            self.owed = self.lanes.map(|lane| lane.sent);
        }
    }
}

impl Model for Mpsc {
    type State = State;

    fn initial(&self) -> State {
        let mut s = State::default();
        for (k, producer) in s.producers.iter_mut().enumerate() {
            let first = k < self.producers as usize;
            let born = first || k < (self.producers + self.clones) as usize;
            producer.at = if first { Sends::Out } else { Sends::Unborn };
            producer.left = if first { self.messages } else { u8::from(born) };
        }
        s
    }

    fn steps(&self, s: &State, out: &mut Steps<State>) {
        let mut found = Vec::new();
        for k in 0..PRODUCERS {
            self.kill_producer(s, k, &mut found);
            self.proceed_producer(s, k, &mut found, out);
        }
        self.kill_consumer(s, &mut found);
        self.proceed_consumer(s, &mut found, out);
        for (who, what, mut next) in found {
            next.note_quiet();
            next.forget();
            out.add(who, what, next);
        }
    }

    fn invariant(&self, s: &State) -> Result<(), String> {
        for lane in &s.lanes {
            if lane.head > lane.sent || lane.given > lane.sent {
                return Err(format!("received what was not sent: {lane:?}"));
            }
        }
        Ok(())
    }

    fn goal(&self, s: &State) -> bool {
        let done = |producer: &Producer| match producer.at {
            Sends::Gone | Sends::Unborn => true,
            Sends::Idle => self.stay && producer.left == 0,
            _ => false,
        };
        let received = |lane: &Lane| lane.head == lane.sent && lane.given == lane.sent;
        let told = self.stay || s.consumer.at == Receives::Told;
        s.producers.iter().all(done) && s.lanes.iter().all(received) && told
    }
}

/// Steps found so far: who, what, and the state after it.
type Found = Vec<(Who, &'static str, State)>;
