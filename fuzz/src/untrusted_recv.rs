//! Both ends of one side of an untrusted connection, whose other side's memory somebody else chose and goes on choosing.
//!
//! ```text
//! input   number of changes 1 | that many changes, 11 each, to the other side's page and ring | script
//! script  operation 1, and for some of them what they need
//! ```
//! The other side also has proper ends, so that a script can get anywhere a correct peer can, and then go wrong. Each
//! operation is bounded, whatever the words say; what comes of it does not matter, but that `Corrupted` stays.
//!
//! - I1 the memory of both sides is leaked, so it outlives every end made of it.
//! - I2 words of a side are reached at indices below the number of its words, at multiples of eight, as atomics.
#![allow(unsafe_code, reason = "lends mapped memory to ends, and writes into it what no correct side would")]

use std::hint::black_box;
use std::ptr::NonNull;

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::peer::PeerControl;
use ginnel_layout::record::kind::LAST_CARRIES;
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::{OtherHalf, OwnHalf, Receiver, Sender, ends};
use ginnel_segment::sealed::{Foreign, Own};
use ginnel_sync::{Deadline, Mode};

use super::patch::{CHANGE, patch};

/// Bytes of either ring.
const RING: u64 = 4096;

/// Words of the page that mean something; behind them come those of the ring.
const FRONT: usize = size_of::<PeerControl>() / 8;

/// All of them.
const WORDS: usize = FRONT + RING as usize / 8;

/// A wait that has to end at once.
const NOW: Deadline = Deadline::at_ns(0);

/// The memory of two sides, for one thread.
#[derive(Debug)]
pub struct World {
    /// What each side writes, and what it sees of the other: ours, then the hostile one's.
    own: &'static [Own; 2],
    sees: &'static [Foreign; 2],
}

impl World {
    /// Takes it, for good.
    ///
    /// # Panics
    /// When there is no memory for it.
    #[must_use]
    pub fn new() -> Self {
        let ((ours, our_fd), (theirs, their_fd)) =
            (Own::create(RING).expect("made"), Own::create(RING).expect("made"));
        let sees = [their_fd, our_fd].map(|fd| Foreign::map(fd, RING).expect("proved"));
        Self { own: Box::leak(Box::new([ours, theirs])), sees: Box::leak(Box::new(sees)) }
    }

    fn word(&self, side: usize, index: usize) -> &AtomicU64 {
        assert!(index < WORDS, "word {index}");
        let own = &self.own[side];
        let (page, ring) = (own.control().cast::<AtomicU64>(), own.ring().cast::<AtomicU64>());
        let base = if index < FRONT { page } else { ring };
        let at = base.as_ptr().wrapping_add(if index < FRONT { index } else { index - FRONT });
        // SAFETY: I1, I2.
        unsafe { &*at }
    }

    fn ends(&self, side: usize) -> (Sender, Receiver) {
        let (own, sees) = (&self.own[side], &self.sees[side]);
        let ring = |at: NonNull<u8>| at;
        // SAFETY: I1; `Own` promises the rest.
        let own = unsafe { OwnHalf::from_raw(own.control(), ring(own.ring()), own.size()) };
        // SAFETY: I1; `Foreign` promises the rest.
        let other = unsafe { OtherHalf::from_raw(sees.control(), ring(sees.ring()), sees.size()) };
        ends(own, other, Mode::Sleep)
    }

    /// Changes what the hostile side has written.
    fn patch(&self, changes: &[u8]) {
        patch(
            changes,
            WORDS,
            |at| self.word(1, at).load(Relaxed),
            |at, new| self.word(1, at).store(new, Relaxed),
        );
    }

    /// Runs the script of `input`; how many of our operations succeeded.
    pub fn run(&self, input: &[u8]) -> usize {
        let Some((count, rest)) = input.split_first() else { return 0 };
        for side in 0..2 {
            (0..WORDS).for_each(|at| self.word(side, at).store(0, Relaxed));
        }
        let (changes, script) = rest.split_at(rest.len().min(usize::from(*count) * CHANGE));
        let (ours, theirs) = (self.ends(0), self.ends(1));
        self.patch(changes);
        let mut run = Run { world: self, ours, theirs, script, corrupted: false, done: 0 };
        while run.step() {}
        run.done
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A script on its way.
struct Run<'a> {
    world: &'a World,
    ours: (Sender, Receiver),
    theirs: (Sender, Receiver),
    script: &'a [u8],
    corrupted: bool,
    done: usize,
}

impl Run<'_> {
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.script.split_first() else { return 0 };
        self.script = rest;
        *byte
    }

    /// A length: short ones, and those about a page.
    fn len(&mut self) -> usize {
        let byte = usize::from(self.byte());
        if byte < 200 { byte } else { 18 * (byte - 26) }
    }

    /// Runs one operation. False: the script is over.
    fn step(&mut self) -> bool {
        if self.script.is_empty() {
            return false;
        }
        let operation = self.byte();
        let extra = operation >> 4;
        let result = match operation & 15 {
            0 | 1 => self.send(extra),
            2..=4 => self.receive(extra),
            5 => self.ours.1.wait(NOW, || extra & 1 == 0),
            6 => {
                let len = self.len() as u64;
                self.ours.0.wait_for_room(len, NOW, || extra & 1 == 0)
            }
            7 => self.poll(extra),
            8 | 9 => {
                let len = self.len();
                let _ = black_box(self.theirs.0.try_send(extra % 6, &[&[extra; 4096][..len.min(4096)]]));
                return true;
            }
            10 | 11 => {
                let _ = black_box(self.theirs.1.peek().map(|_| self.theirs.1.release()));
                return true;
            }
            12 => return self.close(extra),
            _ => {
                let (changes, script) = self.script.split_at(self.script.len().min(CHANGE));
                self.script = script;
                self.world.patch(changes);
                return true;
            }
        };
        self.judge(result);
        true
    }

    fn send(&mut self, kind: u8) -> Result<(), LaneError> {
        let (first, second) = (self.len(), self.len());
        let bytes = [kind; 18 * 256];
        self.ours.0.try_send(kind % 6, &[&bytes[..first], &[], &bytes[..second]]).map(|owed| {
            black_box(owed);
        })
    }

    fn receive(&mut self, extra: u8) -> Result<(), LaneError> {
        let receiver = &mut self.ours.1;
        let (len, kind) = receiver.peek()?;
        assert!(len <= RING - 16 && kind <= LAST_CARRIES, "{len} bytes of kind {kind}");
        assert_eq!(receiver.peek(), Ok((len, kind)), "what was looked at is not looked at again");
        let mut copy = Vec::new();
        receiver.append(u64::from(extra), &mut copy);
        assert_eq!(copy.len() as u64, len.saturating_sub(u64::from(extra)));
        let mut piece = [0; 33];
        let count = receiver.read(len.saturating_sub(u64::from(extra)), &mut piece);
        assert!(count as u64 <= len && count <= usize::from(extra));
        black_box((copy, piece));
        if extra & 8 == 0 {
            black_box(receiver.release());
        }
        Ok(())
    }

    fn poll(&mut self, extra: u8) -> Result<(), LaneError> {
        if extra & 1 == 0 {
            black_box(self.ours.1.arm());
        } else {
            let len = self.len() as u64;
            black_box(self.ours.0.arm(len));
        }
        if extra & 2 == 0 {
            self.ours.0.disarm();
            self.ours.1.disarm();
        }
        Ok(())
    }

    /// Seldom, because little happens after it.
    fn close(&mut self, extra: u8) -> bool {
        match extra {
            1 => self.ours.0.close(),
            2 => self.ours.1.close(),
            3 => self.theirs.0.close(),
            4 => self.theirs.1.close(),
            _ => false,
        };
        true
    }

    fn judge(&mut self, result: Result<(), LaneError>) {
        self.done += usize::from(result.is_ok());
        self.corrupted |= result == Err(LaneError::Corrupted);
        if self.corrupted {
            assert!(self.ours.0.is_closed());
            assert_eq!(self.ours.0.has_room(0), Err(LaneError::Corrupted));
            assert!(self.ours.1.is_ready());
        }
    }
}
