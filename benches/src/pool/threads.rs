//! Threads of one process on two channels of the crate `crossbeam`: what a pool costs of which nobody can kill a part.

use std::thread::scope;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use ginnel_layout::atomic::spin_loop;

use crate::crew::pin_thread;
use crate::fault::Fault;

use super::{Engine, successor};

/// Numbers of one message where many are mapped.
const CHUNK: u64 = 1 << 14;
/// Messages that are out at a time there.
const CHUNKS: usize = 6;

/// The end of the thread that gives tasks out.
#[derive(Debug)]
pub(super) struct Ends {
    tasks: Sender<u64>,
    results: Receiver<u64>,
    is_awake: bool,
}

impl Engine for Ends {
    #[inline(always)]
    fn put(&mut self, number: u64) -> Result<(), Fault> {
        self.tasks.send(number).map_err(gone)
    }

    #[inline(always)]
    fn get(&mut self) -> Result<u64, Fault> {
        receive(&self.results, self.is_awake).ok_or_else(|| gone("the results ended"))
    }
}

fn gone(error: impl std::fmt::Display) -> Fault {
    Fault::failed("talking to a thread", error)
}

/// What comes next; where `is_awake`, without ever sleeping.
#[inline(always)]
fn receive<T>(from: &Receiver<T>, is_awake: bool) -> Option<T> {
    if !is_awake {
        return from.recv().ok();
    }
    loop {
        match from.try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::Empty) => spin_loop(),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}

/// How many threads, how many tasks they have room for, and whether they sleep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Threads {
    pub(super) count: usize,
    pub(super) window: usize,
    /// Never sleeps; each thread then stays on this core.
    pub(super) awake_on: Option<usize>,
}

impl Threads {
    /// Runs `body` beside threads that serve it.
    pub(super) fn run<R>(self, body: impl FnOnce(Ends) -> Result<R, Fault>) -> Result<R, Fault> {
        let (tasks, inbox) = bounded(self.window);
        let (outbox, results) = bounded(self.window);
        let is_awake = self.awake_on.is_some();
        scope(|threads| {
            let serving: Vec<_> = (0..self.count)
                .map(|_| {
                    let (inbox, outbox) = (inbox.clone(), outbox.clone());
                    threads.spawn(move || {
                        self.awake_on.map_or(Ok(()), pin_thread)?;
                        while let Some(number) = receive(&inbox, is_awake) {
                            // Nobody wants the rest.
                            let Ok(()) = outbox.send(successor(number)) else { break };
                        }
                        Ok(())
                    })
                })
                .collect();
            drop((inbox, outbox));
            // The ends go with `body`, and the threads with the ends.
            let outcome = body(Ends { tasks, results, is_awake })?;
            for thread in serving {
                thread.join().map_err(|_| gone("it panicked"))??;
            }
            Ok(outcome)
        })
    }

    /// Maps the numbers below `items`, a message of many at a time.
    pub(super) fn map(self, items: u64) -> Result<Vec<u64>, Fault> {
        let (tasks, inbox) = bounded::<Vec<u64>>(CHUNKS);
        let (outbox, results) = bounded::<Vec<u64>>(CHUNKS);
        scope(move |threads| {
            for _ in 0..self.count {
                let (inbox, outbox) = (inbox.clone(), outbox.clone());
                threads.spawn(move || {
                    for mut numbers in inbox {
                        numbers.iter_mut().for_each(|number| *number = successor(*number));
                        let Ok(()) = outbox.send(numbers) else { break };
                    }
                });
            }
            drop((inbox, outbox));
            let mut values = vec![0; items as usize];
            let mut starts = (0..items).step_by(CHUNK as usize);
            let mut out = 0;
            loop {
                while let Some(start) = (out < CHUNKS).then(|| starts.next()).flatten() {
                    tasks.send((start..items.min(start + CHUNK)).collect()).map_err(gone)?;
                    out += 1;
                }
                if out == 0 {
                    return Ok(values);
                }
                let chunk = results.recv().map_err(gone)?;
                // Its first value says where it belongs; whether that is true is checked with all the others.
                let start = chunk.first().map_or(0, |value| value.wrapping_sub(1)) as usize;
                let place = values.get_mut(start..start.saturating_add(chunk.len()));
                place.ok_or_else(|| gone("a chunk of nowhere"))?.copy_from_slice(&chunk);
                out -= 1;
            }
        })
    }
}
