//! Random kills of the senders and receivers of queues, with every message, lease, block and place accounted for.
//!
//! | queue | messages | waits | senders | receivers |
//! |---|---|---|---|---|
//! | `numbers` | raw values, one by one or 16 at once | spins, then sleeps | 2 | one copies, one leases |
//! | `letters` | encoded, one in 64 too long for a slot, every fourth with a block | sleeps | 2 | one copies, one leases |
//!
//! Receivers that lease hold up to four messages, acknowledge them in any order, and give some back. Half of the deaths
//! are recovered at once, the others by whoever meets the dead one; and now and then somebody is stopped for a while.
//!
//! In the end everybody is killed, the rest is taken out, and the queue must be as new: nothing in it, no lease, no owner,
//! all places, leases and blocks to be had; then nothing is left in the segment. What may be missing or come twice is
//! said in `tally`.

mod tally;
mod workers;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel_testkit::kill::Killer;
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::scratch::Scratch;
use serde_json::{Value, json};

use super::scene::{Scene, Toll};
use super::{Config, leaks_inside};
use crate::world::during;
use tally::{Account, Grave};
use workers::{Letters, Numbers, Office};

/// Senders of a queue.
const SENDERS: usize = 2;
/// Receivers of a queue. The first copies.
const RECEIVERS: usize = 2;
/// Leases that a receiver holds at a time.
const LEASES: usize = 4;

/// The time between two kills.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(1)..Duration::from_millis(20);

/// More messages than a sender sends in a second.
const FASTEST: u64 = 4_000_000;

/// Parts of the run whose throughput is told apart.
const PARTS: usize = 10;

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a worker ended by itself or could not take over: then something is wrong that no figure expresses.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let text = |error: std::io::Error| error.to_string();
    let before = Snapshot::of(std::process::id()).map_err(text)?;
    let options = Options::new().limit(8 << 20).participants(16).objects(64);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    let most = FASTEST * (config.time.as_secs() + 1);
    let (numbers, letters) =
        (Office::<Numbers>::new(&manager, most)?, Office::<Letters>::new(&manager, most)?);
    let ready = Scratch::new(2 * (SENDERS + RECEIVERS)).map_err(text)?;
    let graves = [RefCell::new(Vec::new()), RefCell::new(Vec::new())];
    let pace = Pace::default();

    let scene = Scene::new(config, &manager, &ready, ready.words())?;
    let toll = scene.slaughter(
        config,
        PAUSE,
        |scene, killer| {
            hire(scene, &numbers, &graves[0], &ready, 0, killer)?;
            hire(scene, &letters, &graves[1], &ready, SENDERS + RECEIVERS, killer)
        },
        (words, at),
        |time| {
            let sent = numbers.tally.committed() + letters.tally.committed();
            pace.note(time, config.time, sent);
        },
    )?;
    drop(scene);

    manager.recover().map_err(during("recover"))?;
    numbers.settle()?;
    letters.settle()?;
    let mut leaks = numbers.leaks()?;
    leaks.extend(letters.leaks()?);
    let account = numbers.close(&graves[0].borrow()).and(letters.close(&graves[1].borrow()));
    let flagged = numbers.redelivered() + letters.redelivered();
    let at_most_once_more = account.redelivered <= flagged;
    drop((numbers, letters));
    leaks.extend(leaks_inside(&manager)?);
    drop((manager, ready));
    leaks.extend(Snapshot::of(std::process::id()).map_err(text)?.leaked_since(&before));
    for leak in &leaks {
        eprintln!("leaked: {leak}");
    }
    if !at_most_once_more {
        return Err(format!("{} messages came again, and the queues count {flagged}", account.redelivered));
    }
    report(config, toll, account, leaks.len(), &pace)
}

fn report(config: Config, toll: Toll, account: Account, leaked: usize, pace: &Pace) -> Result<Value, String> {
    let [first, lowest, last] = pace.rates();
    if lowest == 0 {
        return Err(format!("for a part of the run nothing was sent; {account:?}"));
    }
    Ok(json!({
        "kills": toll.kills, "lost": account.lost, "duplicated": account.duplicated, "corrupt": account.corrupt,
        "leaked": leaked, "recovery_max_ms": toll.recovery_max as f64 / 1e6, "messages": account.delivered,
        "redelivered": account.redelivered, "open_sends": account.open_sends, "taken_along": account.taken_along,
        "freezes": toll.freezes, "rate_first": first, "rate_lowest": lowest, "rate_last": last,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// Adds the workers of one queue to the killer.
fn hire<'a, K: workers::Kind>(
    scene: &'a Scene<'a>,
    office: &'a Office<'a, K>,
    graves: &'a RefCell<Vec<Grave>>,
    ready: &'a Scratch,
    first: usize,
    killer: &mut Killer<'a>,
) -> Result<(), String> {
    for sender in 0..SENDERS {
        let index = first + sender;
        let work = move || office.send(sender, ready, index);
        let name = format!("sender {sender} of {}", K::NAME);
        scene.hire(killer, name, index, work, move || office.tally.bury_sender(sender))?;
    }
    for receiver in 0..RECEIVERS {
        let index = first + SENDERS + receiver;
        let work = move || office.receive(receiver, ready, index);
        let bury = move || {
            graves.borrow_mut().extend(office.tally.bury_receiver(receiver));
            Ok(())
        };
        scene.hire(killer, format!("receiver {receiver} of {}", K::NAME), index, work, bury)?;
    }
    Ok(())
}

/// When each part of the run was looked at last, and how many messages had been sent by then.
#[derive(Debug, Default)]
struct Pace {
    ends: [Cell<(Duration, u64)>; PARTS],
}

impl Pace {
    fn note(&self, time: Duration, whole: Duration, sent: u64) {
        let part = (time.as_nanos() * PARTS as u128 / whole.as_nanos().max(1)) as usize;
        self.ends[part.min(PARTS - 1)].set((time, sent));
    }

    /// Messages a second: in the first part, in the slowest, in the last. A part in which nobody looked counts for
    /// the next one.
    fn rates(&self) -> [u64; 3] {
        let mut before = (Duration::ZERO, 0);
        let mut rates = Vec::with_capacity(PARTS);
        for end in &self.ends {
            let (time, sent) = end.get();
            if time > before.0 {
                rates.push(((sent - before.1) as f64 / (time - before.0).as_secs_f64()) as u64);
                before = (time, sent);
            }
        }
        let ends = [rates.first(), rates.iter().min(), rates.last()];
        ends.map(|rate| rate.copied().unwrap_or_default())
    }
}
