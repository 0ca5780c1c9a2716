//! Connections whose other side is a rogue: one that has its half, its socket and the futex words of its half, and does
//! with them what it likes.
//!
//! A round: a victim that listens and a rogue that connects; a rogue that listens and a victim that connects. Both rogues
//! commit the same kind of offence (`acts`), both victims go on talking with deadlines. Whatever comes, each of their
//! calls ends in time, with a value of its type or a clean error; what is corrupted stays so; nothing is left open or mapped
//! when they let go. And in the end, with the rogues still at the door, an honest client is served.
//!
//! | call | its bound |
//! |---|---|
//! | those with a timeout | the timeout, one slice of 50 ms, and what the machine needs to run it |
//! | `try_*`, drop | no waiting but for a moment |

mod acts;
mod door;
mod rogue;
mod victim;

use std::time::{Duration, Instant};

use ginnel_object::Checked;
use ginnel_pipe::ConnectOptions;
use ginnel_pipe::handshake::Fingerprint;
use ginnel_testkit::child::{self, Child, Exit, fork_child};
use ginnel_testkit::leak::Snapshot;
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::Scratch;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::acts::{ACTS, Act, Brief, Deeds};
use self::rogue::Way;
use self::victim::{Letter, Numbers, Order, Speech};
use super::workers::Log;
use super::{Config, MOMENT};
use crate::world::during;

/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(120);

/// How much later than its bound a call may come back before that counts as a hang. The machine may be busy.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Runs it, in a process with one thread. `words` from `at` on tell the progress.
///
/// # Errors
/// When a round could not be made. What goes wrong in a round is in the figures.
pub fn run(config: Config, words: &Scratch, at: usize) -> Result<Value, String> {
    let mut rng = Rng::new(config.seed);
    let before = Snapshot::of(std::process::id()).map_err(during("count what is open"))?;
    let (begun, mut rounds, mut faults) = (Instant::now(), 0_u64, Vec::new());
    let mut totals = [0_u64; Log::FIGURES];
    let (mut late, mut deeds) = (0, [0_u64; Deeds::WORDS]);
    // Each act at least once.
    while begun.elapsed() < config.time || rounds < ACTS.len() as u64 {
        let act = ACTS[rounds as usize % ACTS.len()];
        let scene = Scene { act, number: rounds };
        let (log, done) = match rounds % 3 {
            0 => scene.play::<Letter>(&mut rng, &mut faults)?,
            1 => scene.play::<Checked<Order>>(&mut rng, &mut faults)?,
            _ => scene.play::<Numbers>(&mut rng, &mut faults)?,
        };
        for (figure, total) in totals.iter_mut().enumerate() {
            *total += log.sum(figure);
        }
        for (deed, total) in deeds.iter_mut().enumerate() {
            *total += done.get(deed);
        }
        late = late.max(log.latest());
        if log.wrong() > 0 {
            faults.push(format!("{act:?}: {} other answers after `Corrupted`", log.wrong()));
        }
        if log.latest() > LATE_MAX.as_nanos() as u64 {
            faults.push(format!("{act:?}: a call came back {} ms late", log.latest() / 1_000_000));
        }
        rounds += 1;
        words.set(at, begun.elapsed().as_millis() as u64);
        words.set(at + 1, rounds);
        words.add(at + 2, 1);
    }
    faults.extend((0..deeds[Deeds::ALLOWED]).map(|_| "a rogue was allowed something".to_owned()));
    faults.extend(Snapshot::of(std::process::id()).map_err(during("count"))?.leaked_since(&before));
    for fault in &faults {
        eprintln!("hostile: {fault}");
    }
    Ok(json!({
        "who": "strangers", "rounds": rounds, "operations": totals.iter().sum::<u64>(),
        "done": totals[Log::DONE], "waited": totals[Log::WAITED], "gone": totals[Log::GONE],
        "corrupted": totals[Log::CORRUPTED], "other_errors": totals[Log::OTHER],
        "connections": deeds[Deeds::MET], "offences": deeds[Deeds::DONE], "faults": faults.len(),
        "late_max_ms": late as f64 / 1e6, "seconds": config.time.as_secs(), "seed": config.seed,
    }))
}

/// One round.
#[derive(Debug, Clone, Copy)]
struct Scene {
    act: Act,
    number: u64,
}

impl Scene {
    fn play<M: Speech>(self, rng: &mut Rng, faults: &mut Vec<String>) -> Result<(Log, Scratch), String> {
        let text = |error: std::io::Error| error.to_string();
        let log = Log::new().map_err(text)?;
        let deeds = Scratch::new(Deeds::WORDS).map_err(text)?;
        let us = std::process::id();
        let name = format!("ginnel-hostile-{us}-{}", self.number);
        let (door, trap) = (format!("@{name}"), format!("@{name}-trap"));
        let cores = child::cores().map_err(text)?;
        let pin = |index: usize| child::pin(cores[index % cores.len()]).expect("the core is ours");
        let listening = Way::listen(&trap[1..]).map_err(text)?;
        let (first, second) = (rng.next_u64(), rng.next_u64());
        let listener = fork_child(|| {
            pin(0);
            victim::listen::<M>(&log, first, &door, ROUND, us);
        });
        let visitor = fork_child(|| {
            pin(1);
            victim::visit::<M>(&log, second, &trap, ROUND);
        });
        let mut victims = [listener.map_err(text)?, visitor.map_err(text)?];
        let connecting = Way::Connects(name);
        let mut rogues = Vec::new();
        for (index, way) in [&connecting, &listening].into_iter().enumerate() {
            let brief = Brief {
                act: self.act,
                fingerprint: Fingerprint::of::<M, M>(None),
                sample: |rng| M::sample(rng).with_bytes(<[u8]>::to_vec).expect("it is no handle"),
                seed: rng.next_u64(),
                deeds: Deeds::new(&deeds),
            };
            let rogue = fork_child(|| {
                pin(index + 1);
                acts::run(&brief, way);
            });
            rogues.push(rogue.map_err(text)?);
        }
        drop(listening);
        self.hold_up(&rogues, rng)?;
        let begun = Instant::now();
        while log.operation(0) != "Serve" && begun.elapsed() < MOMENT {
            // This is not synchronisation: it only paces.
            std::thread::sleep(Duration::from_micros(200));
        }
        if let Err(why) = talk::<M>(&door, rng) {
            faults.push(format!("{:?}: an honest client was not served: {why}", self.act));
        }
        for victim in &mut victims {
            self.settle(victim, &log, faults)?;
        }
        for rogue in &mut rogues {
            match rogue.kill().map_err(text)? {
                Exit::KILLED => {}
                exit => return Err(format!("a rogue ended by itself: {exit}, {:?}", self.act)),
            }
        }
        Ok((log, deeds))
    }

    /// Lets the round pass; the rogues that are to stop, stop meanwhile for longer than any timeout.
    fn hold_up(self, rogues: &[Child], rng: &mut Rng) -> Result<(), String> {
        let end = Instant::now() + ROUND;
        while Instant::now() < end {
            // This is not synchronisation: it only paces.
            std::thread::sleep(rng.duration(&(Duration::from_millis(1)..Duration::from_millis(20))));
            for rogue in rogues.iter().filter(|_| self.act == Act::Stops) {
                rogue.signal(Signal::SIGSTOP).map_err(during("stop a rogue"))?;
                // This is not synchronisation: it only paces.
                std::thread::sleep(rng.duration(&(Duration::from_millis(1)..Duration::from_millis(30))));
                rogue.signal(Signal::SIGCONT).map_err(during("let a rogue go on"))?;
            }
        }
        Ok(())
    }

    /// Looks how a victim ended.
    fn settle(self, victim: &mut Child, log: &Log, faults: &mut Vec<String>) -> Result<(), String> {
        let place = |index| log.operation(index);
        match victim.wait_timeout(ROUND + MOMENT).map_err(during("wait for a victim"))? {
            Some(Exit::Code(0)) => {}
            Some(exit) => {
                faults.push(format!(
                    "{:?}: a victim ended with {exit}: {}, {}",
                    self.act,
                    place(0),
                    place(1)
                ));
            }
            None => {
                victim.kill().map_err(during("end a victim"))?;
                faults.push(format!("{:?}: a victim hung: {}, {}", self.act, place(0), place(1)));
            }
        }
        Ok(())
    }
}

/// The honest client: tries until it is let in, as there is a crowd, and wants its message back.
fn talk<M: Speech>(door: &str, rng: &mut Rng) -> ginnel::Result<()> {
    let end = Instant::now() + Duration::from_secs(4);
    let left = || end.saturating_duration_since(Instant::now());
    loop {
        let mut peer = match ConnectOptions::new().timeout(left()).connect::<M, M>(door) {
            Ok(peer) => peer,
            Err(_) if !left().is_zero() => continue,
            Err(why) => return Err(why),
        };
        peer.send_timeout(M::sample(rng), left())?;
        return peer.recv_timeout(left()).map(drop).map_err(Into::into);
    }
}
