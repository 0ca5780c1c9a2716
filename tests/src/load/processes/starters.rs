//! Those who start children, what their children do, and the account of it.

use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use ginnel::process::{Builder, ProcessError, Start};
use ginnel::sync::Mutex;
use ginnel::{Message, Process};
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::atomic::{AtomicU32, spin_loop};
use ginnel_testkit::rng::Rng;

use crate::world::during;

/// The longest time that a child is left before it is killed: some come to their end before, some to their beginning not.
const LONGEST: u64 = 2500;
/// A message that does not fit a record.
const LONG: usize = 40_000;
/// A join that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);

type Pair = Mutex<[u64; 2]>;

/// What all children share.
#[derive(Debug)]
pub(super) struct Things {
    pair: Pair,
}

/// What became of everything.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) starts: u64,
    pub(super) returned: u64,
    /// SIGKILLs sent to children.
    pub(super) killed: u64,
    /// Killed ones without a value: whether they had counted, nobody knows.
    pub(super) open: u64,
    /// Values of those that count.
    counted: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) corrupt: u64,
    pub(super) recovery_max: Duration,
    pub(super) faults: Vec<String>,
}

impl Account {
    fn fault(&mut self, what: String) {
        // The first say most.
        if self.faults.len() < 20 {
            self.faults.push(what);
        }
    }
}

/// What is half done is taken back.
fn repair(pair: &mut [u64; 2]) {
    pair[0] = pair[1];
}

/// Counts, and says the number that follows on `number`.
fn count(pair: Pair, number: u64) -> u64 {
    let mut pair = pair.lock_or_repair(repair).expect("it comes free");
    pair[0] += 1;
    pair[1] += 1;
    number + 1
}

/// A value of its own for each number.
fn fill(number: u64, length: usize) -> Vec<u64> {
    (0..length as u64 / 8).map(|index| index ^ number).collect()
}

/// Sends a long message back, and a lock of its own with the number in it.
fn carry(long: Vec<u64>, number: u64) -> (Vec<u64>, Mutex<u64>) {
    (long, Mutex::new(number).expect("there is room"))
}

/// Takes a lock and keeps it until it is killed.
fn hold(pair: Pair) {
    let _pair = pair.lock_or_repair(repair).expect("it comes free");
    loop {
        std::thread::park();
    }
}

impl Things {
    pub(super) fn new() -> ginnel::Result<Self> {
        Ok(Self { pair: Mutex::new([0, 0])? })
    }

    /// Compares what was counted with what came back.
    pub(super) fn settle(self, account: &mut Account) -> Result<(), String> {
        let [first, second] = *self.pair.lock_or_repair(repair).map_err(during("lock the numbers"))?;
        let (least, most) = (account.counted, account.counted + account.open);
        if first != second {
            account.corrupt += 1;
            account.fault(format!("{first} and {second} behind the mutex"));
        }
        if !(least..=most).contains(&first) {
            account.lost += least.saturating_sub(first);
            account.duplicated += first.saturating_sub(most);
            account.fault(format!("{first} counted, {least} to {most} expected"));
        }
        Ok(())
    }
}

/// Starts until it is over, and adds its account to the total after each start.
pub(super) fn work(
    things: &Things,
    mut rng: Rng,
    is_over: &AtomicU32,
    total: &StdMutex<Account>,
) -> Result<(), String> {
    let mut number = rng.next_u64() >> 32;
    while is_over.load(Relaxed) == 0 {
        number += 1;
        let method = if rng.below(4) == 0 { Start::Exec } else { Start::Auto };
        let builder = Process::builder().start(method);
        match rng.below(8) {
            0 => {
                let child = builder.spawn(hold, &things.pair).map_err(during("start a holder"))?;
                let trial = Trial { number, delay: Some(rng.below(LONGEST)), counts: false };
                trial.end(child, total, |()| false);
            }
            1 | 2 => carrying(&builder, number, &mut rng, total)?,
            _ => {
                let child =
                    builder.spawn(count, (&things.pair, number)).map_err(during("start a counter"))?;
                Trial::new(number, &mut rng, true).end(child, total, |value| value == number + 1);
            }
        }
    }
    Ok(())
}

/// A start with much to carry.
fn carrying(builder: &Builder, number: u64, rng: &mut Rng, total: &StdMutex<Account>) -> Result<(), String> {
    let length = if rng.below(2) == 0 { LONG } else { 64 };
    let long = fill(number, length);
    let child = builder.spawn(carry, (long.as_slice(), number)).map_err(during("start a carrier"))?;
    Trial::new(number, rng, false)
        .end(child, total, |(back, own)| back == long && own.lock().is_ok_and(|own| *own == number));
    Ok(())
}

/// One child's way to its end.
struct Trial {
    number: u64,
    /// After so many microseconds it is killed.
    delay: Option<u64>,
    counts: bool,
}

impl Trial {
    /// Two of three are killed.
    fn new(number: u64, rng: &mut Rng, counts: bool) -> Self {
        let delay = (rng.below(3) != 0).then(|| rng.below(LONGEST));
        Self { number, delay, counts }
    }

    fn end<R: Message>(
        &self,
        child: Process<R>,
        total: &StdMutex<Account>,
        is_right: impl FnOnce(R) -> bool,
    ) {
        let sent = self.delay.map(|delay| {
            let end = Instant::now() + Duration::from_micros(delay);
            while Instant::now() < end {
                spin_loop();
            }
            let sent = Instant::now();
            (sent, child.kill())
        });
        let has_ended = child.wait_timeout(PATIENCE);
        let took = sent.as_ref().map(|(sent, _)| sent.elapsed());
        let joined = if has_ended { Some(child.join()) } else { None };

        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.starts += 1;
        total.killed += u64::from(sent.is_some());
        total.recovery_max = total.recovery_max.max(took.unwrap_or_default());
        match joined {
            Some(Ok(value)) => {
                total.returned += 1;
                total.counted += u64::from(self.counts);
                if !is_right(value) {
                    total.corrupt += 1;
                    total.fault(format!("start {} came back with another value", self.number));
                }
            }
            Some(Err(ProcessError::Killed { signal: 9, .. })) if sent.is_some() => {
                total.open += u64::from(self.counts);
            }
            other => {
                total.lost += 1;
                total.open += u64::from(self.counts);
                let how = other.map_or("it does not end".into(), |other| format!("{:?}", other.err()));
                total.fault(format!("start {}, killed after {:?} us: {how}", self.number, self.delay));
            }
        }
    }
}
