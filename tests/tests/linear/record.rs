//! How a run is recorded: what each of those who take part tries, when, what came of it, until when.

use ginnel::queue::{Lease, TryRecvError, TrySendError};
use ginnel::{Queue, Raw};
use ginnel_layout::atomic::Ordering::SeqCst;
use ginnel_layout::atomic::fence;
use ginnel_testkit::linear::{Op, What};
use ginnel_testkit::rng::Rng;
use ginnel_testkit::scratch::{Scratch, now_ns};

/// Operations of one of those who take part in a run.
pub(super) const OPS: usize = 7;

/// Most who take part in a run, besides the one who records it.
pub(super) const CREW: usize = 3;

/// The one who records, and receives what is left.
pub(super) const HOME: u8 = CREW as u8;

/// The operations of a run, in words that a kill leaves readable: what is tried, when, what came of it, until when.
pub(super) struct Log {
    pub(super) words: Scratch,
}

const TRIED: usize = 0;
const VALUE: usize = 1;
const CALLED: usize = 2;
const CAME: usize = 3;
const AGAIN: usize = 4;
const END: usize = 5;
const EACH: usize = 6;

/// What is tried.
const PUSH: u64 = 1;
const POP: u64 = 2;
const LEASE: u64 = 3;
const ACK: u64 = 4;
const NACK: u64 = 5;

/// What came: nothing, or something.
const NOTHING: u64 = 1;
const SOMETHING: u64 = 2;

impl Log {
    pub(super) fn new() -> Self {
        Self { words: Scratch::new(1 + (CREW + 1) * 8 * OPS * EACH).expect("a memfd") }
    }

    /// The word by which a run begins.
    pub(super) const GO: usize = 0;

    fn at(who: u8, number: usize) -> usize {
        assert!(number < 8 * OPS, "more operations than there is room for");
        1 + (usize::from(who) * 8 * OPS + number) * EACH
    }

    /// Makes room for the next run.
    pub(super) fn clear(&self) {
        (0..self.words.words()).for_each(|word| self.words.set(word, 0));
    }

    /// Records one operation. The times are taken so that what it loads comes after the first, and what it stores
    /// has left the core before the last.
    fn note(&self, who: u8, number: usize, tried: u64, value: u64, act: impl FnOnce() -> Option<(u64, u64)>) {
        let at = Self::at(who, number);
        self.words.set(at + TRIED, tried);
        self.words.set(at + VALUE, value);
        self.words.set(at + CALLED, now_ns());
        fence(SeqCst);
        let came = act();
        fence(SeqCst);
        let end = now_ns();
        if let Some((value, again)) = came {
            self.words.set(at + VALUE, value);
            self.words.set(at + AGAIN, again);
        }
        self.words.set(at + CAME, if came.is_some() { SOMETHING } else { NOTHING });
        self.words.set(at + END, end);
    }

    /// How many operations `who` has come to the end of.
    pub(super) fn len(&self, who: u8) -> usize {
        (0..8 * OPS).take_while(|number| self.words.get(Self::at(who, *number) + END) != 0).count()
    }

    /// What `who` did. `died`: when it was dead for sure, and when everything was in order again.
    pub(super) fn history(&self, who: u8, died: Option<(u64, u64)>) -> Vec<Op> {
        let mut ops = Vec::new();
        for number in 0..8 * OPS {
            let word = |field| self.words.get(Self::at(who, number) + field);
            let (called, mut end, value) = (word(CALLED), word(END), word(VALUE));
            let again = match word(AGAIN) {
                0 => None,
                flag => Some(flag == SOMETHING),
            };
            let what = match (word(TRIED), word(CAME)) {
                _ if called == 0 => break,
                (PUSH, SOMETHING) if end != 0 => What::Push(value),
                (PUSH, _) if end != 0 => What::Full,
                (POP, SOMETHING) if end != 0 => What::Pop { value, again },
                (LEASE, SOMETHING) if end != 0 => What::Lease { value, again },
                (ACK, _) if end != 0 => What::Ack(value),
                (NACK, _) if end != 0 => What::Nack(value),
                _ if end != 0 => What::Empty,
                (PUSH, _) => What::KilledPush(value),
                (ACK, _) => What::KilledAck(value),
                (NACK, _) => What::KilledNack(value),
                _ => What::KilledPop,
            };
            if end == 0 {
                end = died.expect("nobody who lives leaves an operation open").0;
            }
            ops.push(Op { who, what, called, end });
        }
        ops.extend(died.map(|(called, end)| Op { who, what: What::Death, called, end }));
        ops
    }
}

/// A queue under test, as one of those who take part sees it.
pub(super) trait Subject {
    fn push(&self, value: u64) -> bool;
    fn pop(&self) -> Option<u64>;
}

impl Subject for Queue<Raw<u64>> {
    fn push(&self, value: u64) -> bool {
        match self.try_send(Raw(value)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(error) => panic!("push: {error}"),
        }
    }

    fn pop(&self) -> Option<u64> {
        match self.try_recv() {
            Ok(Raw(value)) => Some(value),
            Err(TryRecvError::Empty) => None,
            Err(error) => panic!("pop: {error}"),
        }
    }
}

/// One who does something, and what it has under leases.
pub(super) struct Hand<'a, S> {
    log: &'a Log,
    who: u8,
    pub(super) number: usize,
    pub(super) leases: Vec<Lease<Raw<u64>>>,
    subject: &'a S,
}

impl<'a, S: Subject> Hand<'a, S> {
    pub(super) fn new(log: &'a Log, who: u8, subject: &'a S) -> Self {
        Self { log, who, number: 0, leases: Vec::new(), subject }
    }

    pub(super) fn push(&mut self) {
        // Distinct in a run.
        let value = 100 * (u64::from(self.who) + 1) + self.number as u64;
        let Self { log, who, number, subject, .. } = *self;
        log.note(who, number, PUSH, value, || subject.push(value).then_some((value, 0)));
        self.number += 1;
    }

    /// False: there was nothing.
    pub(super) fn pop(&mut self) -> bool {
        let Self { log, who, number, subject, .. } = *self;
        let mut came = false;
        log.note(who, number, POP, 0, || {
            let value = subject.pop();
            came = value.is_some();
            value.map(|value| (value, 0))
        });
        self.number += 1;
        came
    }

    pub(super) fn push_or_pop(&mut self, rng: &mut Rng) {
        if rng.below(2) == 0 {
            self.push();
        } else {
            self.pop();
        }
    }
}

impl Hand<'_, Queue<Raw<u64>>> {
    pub(super) fn anything(&mut self, rng: &mut Rng) {
        match rng.below(6) {
            0 | 1 => self.push(),
            2 => drop(self.pop()),
            3 | 4 if !self.leases.is_empty() => self.end_lease(rng.below(3) == 0),
            _ => self.lease(),
        }
    }

    pub(super) fn lease(&mut self) {
        let Self { log, who, number, subject, .. } = *self;
        let mut got = None;
        log.note(who, number, LEASE, 0, || {
            got = match subject.try_lease() {
                Ok(lease) => Some(lease),
                Err(TryRecvError::Empty) => None,
                Err(error) => panic!("lease: {error}"),
            };
            let again = |lease: &Lease<Raw<u64>>| if lease.redelivered() > 0 { SOMETHING } else { NOTHING };
            got.as_ref().map(|lease| (lease.0, again(lease)))
        });
        self.leases.extend(got);
        self.number += 1;
    }

    pub(super) fn end_lease(&mut self, put_back: bool) {
        let Some(lease) = self.leases.pop() else { return };
        let (value, tried) = (lease.0, if put_back { NACK } else { ACK });
        self.log.note(self.who, self.number, tried, value, || {
            if put_back {
                lease.nack();
            } else {
                lease.ack().expect("it is ours");
            }
            Some((value, 0))
        });
        self.number += 1;
    }
}
