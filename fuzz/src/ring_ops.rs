//! A ring whose memory somebody else chose, and a script of operations on it, by four participants.
//!
//! ```text
//! input   shape 4 | changes before the ring is opened 1 | that many changes, 11 each | script
//! script  operation 1, and for some of them what they need
//! ```
//!
//! Each operation is bounded, whatever the words say; what comes of it does not matter. Changes may also come between
//! operations, as from a peer that scribbles.
//!
//! - I1 the memory of the ring is leaked, made of atomics, aligned to 128, and used by one thread; so it outlives every
//!   copy of a ring, and nothing else accesses it while an operation runs.
#![allow(unsafe_code, reason = "lends heap memory to a ring")]

use std::cell::Cell;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Duration;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::{Line, Liveness, ParticipantId};
use ginnel_queue::ring::{Held, OnDeath, Ring, Shape};
use ginnel_sync::{Deadline, Mode, Waiter};

use super::patch::{CHANGE, patch};

/// Lines of memory. Rings of up to this size are accepted, whatever is written into their geometry.
const LINES: usize = 128;

/// Words of it.
const WORDS: usize = LINES * 16;

/// Who takes part.
const PARTICIPANTS: u16 = 4;

/// The memory of a ring, for one thread.
#[derive(Debug)]
pub struct Memory {
    lines: &'static [Line<[AtomicU64; 16]>],
}

impl Memory {
    /// Takes it, for good.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: Box::leak((0..LINES).map(|_| Line::default()).collect()) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.lines[at / 16][at % 16]
    }

    fn patch(&self, changes: &[u8]) {
        patch(changes, WORDS, |at| self.word(at).load(Relaxed), |at, new| self.word(at).store(new, Relaxed));
    }

    /// Runs the script of `input`; how many of its operations succeeded.
    pub fn run(&self, input: &[u8]) -> usize {
        let Some(([capacity, payload, cells, way, count], rest)) = input.split_first_chunk::<5>() else {
            return 0;
        };
        (0..WORDS).for_each(|at| self.word(at).store(0, Relaxed));
        let policy = if way & 1 == 0 { OnDeath::Redeliver } else { OnDeath::Drop };
        let mode = if way & 2 == 0 { Mode::Sleep } else { Mode::Spin };
        let shape =
            Shape::new(1 << (capacity % 5), u64::from(payload % 200), u64::from(cells % 5), policy, mode);
        let Some(shape) = shape else { return 0 };
        let base = NonNull::from(self.lines).cast();
        // SAFETY: I1; the largest of these shapes takes 9.3 KiB.
        unsafe { Ring::init(base, &shape) };
        let (changes, script) = rest.split_at(rest.len().min(usize::from(*count) * CHANGE));
        self.patch(changes);
        // SAFETY: I1.
        let Ok(ring) = (unsafe { Ring::from_raw(base, 8 * WORDS as u64) }) else { return 0 };
        let mut run = Run { memory: self, ring, script, held: Vec::new(), done: 0 };
        while run.step() {}
        run.done
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// A script on its way.
struct Run<'a> {
    memory: &'a Memory,
    ring: Ring,
    script: &'a [u8],
    held: Vec<Held>,
    done: usize,
}

/// Says that everybody with an odd number is dead, and recovers them, but for every fourth time.
struct Rumour<'a> {
    ring: &'a Ring,
    asked: Cell<u32>,
}

impl Liveness for Rumour<'_> {
    fn is_dead(&self, id: ParticipantId) -> bool {
        self.asked.set(self.asked.get() + 1);
        let dead = id.index() % 2 == 1;
        if dead && !self.asked.get().is_multiple_of(4) {
            self.ring.recover(id);
        }
        dead
    }
}

impl Run<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.script.split_first() else { return 0 };
        self.script = rest;
        *byte
    }

    /// Runs one operation. False: the script is over.
    fn step(&mut self) -> bool {
        if self.script.is_empty() {
            return false;
        }
        let operation = self.byte();
        let me = ParticipantId::from_index(u16::from(operation >> 4) % PARTICIPANTS);
        let succeeded = match operation & 15 {
            0..=2 => self.send(me, operation & 15 == 2),
            3 | 4 => self.take(me, true),
            5 => self.take(me, false),
            6 | 7 => self.lease(me),
            8 | 9 => self.end_lease(operation & 1 == 0),
            10 => {
                self.ring.recover(me);
                true
            }
            11 => self.look(),
            12 | 13 => self.wait(me),
            14 => {
                // Seldom, because little happens after it.
                let bits = self.byte();
                if bits < 32 {
                    self.ring.close(u32::from(bits));
                }
                self.ring.closed() == 0
            }
            _ => {
                let (changes, script) = self.script.split_at(self.script.len().min(CHANGE));
                self.script = script;
                self.memory.patch(changes);
                true
            }
        };
        self.done += usize::from(succeeded);
        true
    }

    fn send(&mut self, me: ParticipantId, abort: bool) -> bool {
        let room = self.ring.shape().payload_max();
        let len = u64::from(self.byte()) % (room + 1);
        let Ok(mut claim) = self.ring.try_claim(me) else { return false };
        claim.write(0, &vec![7; len as usize]);
        black_box(claim.position());
        if !abort {
            claim.commit(len, 1);
        }
        true
    }

    fn take(&self, me: ParticipantId, release: bool) -> bool {
        let Ok(taken) = self.ring.try_take(me) else { return false };
        let mut bytes = vec![0; taken.len() as usize];
        taken.read(0, &mut bytes);
        black_box((bytes, taken.kind(), taken.deliveries()));
        if release {
            taken.release();
        }
        true
    }

    fn lease(&mut self, me: ParticipantId) -> bool {
        let Ok(held) = self.ring.try_lease(me) else { return false };
        let mut bytes = vec![0; held.len as usize];
        self.ring.read_cell(&held, 0, &mut bytes);
        black_box(bytes);
        self.held.push(held);
        true
    }

    fn end_lease(&mut self, ack: bool) -> bool {
        let Some(held) = self.held.pop() else { return false };
        if ack { self.ring.ack(&held) } else { self.ring.nack(&held) }
    }

    fn look(&mut self) -> bool {
        let position = u64::from(self.byte());
        black_box((self.ring.stats(), self.ring.in_flight(position), self.ring.is_done())).2
    }

    /// Waits with a deadline that has passed, or passes at once.
    fn wait(&mut self, me: ParticipantId) -> bool {
        let (ring, what) = (self.ring, self.byte());
        let deadline = Deadline::after(Duration::from_micros(if what < 16 { 50 } else { 0 }));
        let mut waiter = Waiter::new(ring.shape().mode);
        let liveness = Rumour { ring: &ring, asked: Cell::new(0) };
        match what % 4 {
            0 => {
                ring.wait_claim(me, &mut waiter, deadline, &liveness).map(|claim| claim.commit(0, 0)).is_ok()
            }
            1 => ring.wait_take(me, &mut waiter, deadline, &liveness).map(|taken| taken.release()).is_ok(),
            2 => match ring.wait_lease(me, &mut waiter, deadline, &liveness) {
                Ok(held) => {
                    self.held.push(held);
                    true
                }
                Err(_) => false,
            },
            _ => ring.wait_done(&mut waiter, deadline, &liveness).is_ok(),
        }
    }
}
