//! Operations beside a peer that overwrites the segment.
//!
//! A round: a fresh segment with a queue of some kind, a crew, a dict or a list, and a mutex; workers that attach, take their handles and use them;
//! then a scribbler that overwrites words somewhere in it (an area: a page, a ring, or all of it), at a rate that differs
//! from round to round. Whatever the words say, an operation ends in time, with a result or a clean error: no signal, no
//! panic, no hang. What a worker receives may be nonsense; it only must not harm it. Every kind meets every area.
//!
//! | operation | its bound |
//! |---|---|
//! | those with a timeout | the timeout, one slice of 50 ms, and what the machine needs to run it |
//! | `try_*`, attach, recover, inspect, drop | no waiting but for a moment: one second |
//! | whatever takes the lock of the names | its documented patience of 10 s |
//!
//! A worker that sits in an operation of the last kind when its round ends is left alone and looked at again when its
//! patience must be over.
//!
//! [`strangers`] does the same to connections between those who do not trust each other.

mod pool;
mod queues;
mod stores;
pub mod strangers;
mod workers;

use std::ops::Range;
use std::time::{Duration, Instant};

use ginnel::Manager;
use ginnel::manager::Options;
use ginnel::sync::{Init, Mutex};
use ginnel_layout::line::PAGE;
use ginnel_testkit::child::{Child, Exit, fork_child};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, View};
use ginnel_testkit::scribble::Scribbler;
use serde_json::{Value, json};

use crate::world::{during, locate};
use workers::{Log, WORKERS};

/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(250);

/// The bound of operations without a timeout of their own, with room for a busy machine.
const MOMENT: Duration = Duration::from_secs(3);

/// The bound of operations that take the lock of the names, several of which may follow one another in a call.
const PATIENCE: Duration = Duration::from_secs(45);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How long to go on.
    pub time: Duration,
    /// Decides what is overwritten.
    pub seed: u64,
}

/// What the workers exchange messages through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A lane of values.
    Values,
    /// A lane of messages of bytes.
    Bytes,
    /// A queue of values.
    Queue,
    /// A queue of encoded values, some too long for a slot, some with a block.
    Letters,
    /// A lane for each sender.
    Mpsc,
    /// Everything to everybody.
    Broadcast,
    /// A crew: what a pool and its workers share.
    Crew,
    /// A dict, with handles in its values.
    Dict,
    /// A list.
    List,
}

const KINDS: [Kind; 9] = [
    Kind::Queue,
    Kind::Dict,
    Kind::Values,
    Kind::Letters,
    Kind::Bytes,
    Kind::List,
    Kind::Mpsc,
    Kind::Broadcast,
    Kind::Crew,
];

/// Which words are overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    /// Header, participants, directory, tickets, page words.
    Front,
    /// The first page of the queue: its control words.
    Control,
    /// The second, where headers and payloads alternate; the shards of a store.
    Body,
    /// The words of the mutex, or of the blocks or trays where there are any, or the first tables and nodes of a store.
    Other,
    /// All of it.
    Everything,
}

const AREAS: [Area; 5] = [Area::Control, Area::Body, Area::Other, Area::Front, Area::Everything];

impl Area {
    fn words(self, view: &View, kind: Kind) -> Result<Range<usize>, String> {
        let object = |name| {
            let at = locate(view, name).ok_or_else(|| format!("`{name}` is not in the directory"))?;
            Ok::<usize, String>((at / 8) as usize)
        };
        let page = PAGE / 8;
        let body = if matches!(kind, Kind::Values | Kind::Bytes) { 64 } else { page };
        Ok(match self {
            Self::Front => 0..object(workers::SUBJECT)?.min(object(workers::MUTEX)?),
            Self::Control => object(workers::SUBJECT).map(|at| at..at + page)?,
            Self::Body if matches!(kind, Kind::Dict | Kind::List) => {
                object(workers::SUBJECT).map(|at| within(at, &stores::SHARD_WORDS))?
            }
            Self::Body => object(workers::SUBJECT).map(|at| at + page..at + page + body)?,
            Self::Other if kind == Kind::Letters => object(queues::POOL).map(|at| at..at + 64)?,
            Self::Other if kind == Kind::Crew => {
                object(workers::SUBJECT).map(|at| within(at, &pool::TRAYS))?
            }
            Self::Other if matches!(kind, Kind::Dict | Kind::List) => {
                object(workers::SUBJECT).map(|at| within(at, &stores::HEAP_WORDS))?
            }
            Self::Other => object(workers::MUTEX).map(|at| at..at + 32)?,
            Self::Everything => 0..view.words(),
        })
    }
}

/// Words of an object that begins at word `at`.
fn within(at: usize, words: &Range<usize>) -> Range<usize> {
    at + words.start..at + words.end
}

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a round could not be made. What goes wrong in a round is in the figures.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let mut rng = Rng::new(config.seed);
    let (begun, mut rounds, mut faults, mut patient) = (Instant::now(), 0_u64, Vec::new(), Vec::new());
    let mut totals = [0_u64; Log::FIGURES];
    let mut late = 0;
    while begun.elapsed() < config.time {
        // The numbers of the two have no common divisor, so each kind meets each area.
        let (area, kind) = (AREAS[rounds as usize % AREAS.len()], KINDS[rounds as usize % KINDS.len()]);
        let log = round((area, kind), &mut rng, &mut faults, &mut patient)?;
        for (figure, total) in totals.iter_mut().enumerate() {
            *total += log.sum(figure);
        }
        late = late.max(log.latest());
        rounds += 1;
        words.set(at, begun.elapsed().as_millis() as u64);
        words.set(at + 1, rounds);
        words.add(at + 2, 1);
    }
    for (mut child, place, since) in patient {
        words.add(at + 2, 1);
        let rest = PATIENCE.saturating_sub(Instant::now().duration_since(since));
        settle(&mut child, &place, rest, &mut faults)?;
    }
    for fault in &faults {
        eprintln!("hostile: {fault}");
    }
    Ok(json!({
        "who": "segment", "rounds": rounds, "operations": totals.iter().sum::<u64>(), "done": totals[Log::DONE],
        "waited": totals[Log::WAITED], "gone": totals[Log::GONE], "corrupted": totals[Log::CORRUPTED],
        "other_errors": totals[Log::OTHER], "faults": faults.len(), "late_max_ms": late as f64 / 1e6,
        "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// A child that was in an operation with patience when its round ended.
type Patient = (Child, String, Instant);

fn round(
    (area, kind): (Area, Kind),
    rng: &mut Rng,
    faults: &mut Vec<String>,
    patient: &mut Vec<Patient>,
) -> Result<Log, String> {
    let options = Options::new().limit(64 * PAGE).participants(8).objects(16);
    let manager = Manager::with(options).map_err(during("make a segment"))?;
    furnish(&manager, kind).map_err(during("make the objects"))?;
    let range = area.words(&View::readable(&manager).map_err(during("map it"))?, kind)?;
    let log = Log::new().map_err(during("make a log"))?;
    let mut children = Vec::new();
    for index in 0..WORKERS {
        let seed = rng.next_u64();
        let work = || workers::run(&manager, &log, index, seed, ROUND, kind);
        children.push(fork_child(work).map_err(during("fork a worker"))?);
    }
    let (seed, rate) = (rng.next_u64(), 1 << (4 + rng.below(17)));
    // They work undisturbed for a while, so that each has its handles and messages are on their way.
    std::thread::sleep(rng.duration(&(Duration::ZERO..ROUND / 4))); // pacing, not synchronisation
    let mut scribbler = fork_child(|| {
        let view = View::writable(&manager).expect("the segment can be mapped");
        Scribbler::new(view, seed).within(range.clone()).run(rate);
    })
    .map_err(during("fork the scribbler"))?;
    for (index, mut child) in children.into_iter().enumerate() {
        let limit = ROUND + MOMENT;
        if child.wait_timeout(limit).map_err(during("wait for a worker"))?.is_none() && log.is_patient(index)
        {
            patient.push((child, format!("{kind:?}, {area:?}, {}", log.operation(index)), Instant::now()));
            continue;
        }
        let place = format!("{kind:?}, {area:?}, {}", log.operation(index));
        settle(&mut child, &place, Duration::ZERO, faults)?;
    }
    match scribbler.kill().map_err(during("end the scribbler"))? {
        Exit::KILLED => {}
        exit => return Err(format!("the scribbler ended by itself: {exit}")),
    }
    // What is left is let go of beside the ruins, in this very process.
    drop(manager);
    Ok(log)
}

/// Looks how a worker ended, or ends it. `place`: what was overwritten, and the operation it was in.
fn settle(child: &mut Child, place: &str, rest: Duration, faults: &mut Vec<String>) -> Result<(), String> {
    match child.wait_timeout(rest).map_err(during("wait for a worker"))? {
        Some(Exit::Code(0)) => {}
        Some(exit) => faults.push(format!("a worker ended with {exit}: {place}")),
        None => {
            child.kill().map_err(during("end a worker"))?;
            faults.push(format!("a worker hung: {place}"));
        }
    }
    Ok(())
}

/// The queue and the mutex of a round.
fn furnish(manager: &Manager, kind: Kind) -> ginnel::Result<()> {
    match kind {
        Kind::Bytes => drop(workers::lane().producer::<[u8]>(manager, workers::SUBJECT)?),
        Kind::Values => drop(workers::lane().producer::<u64>(manager, workers::SUBJECT)?),
        Kind::Crew => pool::furnish(manager)?,
        Kind::Dict | Kind::List => stores::furnish(manager, kind)?,
        _ => queues::furnish(manager, kind)?,
    }
    drop(manager.get_or_create_with::<Mutex<[u64; 2]>>(workers::MUTEX, Init(Some([0, 0])))?);
    Ok(())
}
