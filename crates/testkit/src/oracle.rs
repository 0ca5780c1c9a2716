//! What was sent and what arrived, message by message, across the deaths of those who sent and received.
//!
//! Every message of a lane carries the lane, its sequence number, a body that follows from both, and a checksum. Both
//! ends write into a [`Ledger`], shared words of the harness that a kill leaves readable. A producer writes its intent
//! before a send and its success after; a consumer writes what it has seen before it acknowledges. What a kill
//! leaves open is recorded as a hole: sequence numbers that may be missing. Then:
//!
//! | what | when it is in order |
//! |---|---|
//! | missing | it was in the one send during which its producer was killed, and everything of that send behind it is missing too; or a consumer that copies was killed between taking it and writing it down |
//! | seen again | the lane flagged it as redelivered, and it is the one (or of the batch) seen last |
//! | other bytes | never |
//!
//! ```text
//! word 0     sent       all below are committed; the send in progress begins here
//!      1     intent     the send in progress ends here; equal to `sent`: none
//!      2     next       the consumer has seen all below
//!      3     batch      what the consumer may see again begins here
//!      4..10 delivered, redelivered, excused, lost, duplicated, corrupt
//!      10    holes      how many follow; two words each: {copying consumer's:1 | first:63}, end
//! ```

use std::fmt;
use std::ops::Range;

use crate::rng::mix;
use crate::scratch::Scratch;

const SENT: usize = 0;
const INTENT: usize = 1;
const NEXT: usize = 2;
const BATCH: usize = 3;
const DELIVERED: usize = 4;
const REDELIVERED: usize = 5;
const EXCUSED: usize = 6;
const LOST: usize = 7;
const DUPLICATED: usize = 8;
const CORRUPT: usize = 9;
const HOLES: usize = 10;
const FIRST_HOLE: usize = 11;
const COPYING: u64 = 1 << 63;

/// Least words of a message.
pub const MESSAGE_MIN: usize = 3;

/// Writes message `sequence` of `lane` into `words`: lane, sequence, body, checksum.
///
/// # Panics
/// When there are fewer than [`MESSAGE_MIN`] words.
pub fn write(lane: u64, sequence: u64, words: &mut [u64]) {
    assert!(words.len() >= MESSAGE_MIN, "a message has at least {MESSAGE_MIN} words");
    let last = words.len() - 1;
    for (index, word) in words[..last].iter_mut().enumerate() {
        *word = match index {
            0 => lane,
            1 => sequence,
            _ => body(lane, sequence, index),
        };
    }
    words[last] = checksum(&words[..last]);
}

/// Lane and sequence number of a message. `None`: these are not the bytes of any message.
#[must_use]
pub fn read(words: &[u64]) -> Option<(u64, u64)> {
    let (check, front) = words.split_last().filter(|_| words.len() >= MESSAGE_MIN)?;
    let (lane, sequence) = (front[0], front[1]);
    let intact = front.iter().enumerate().skip(2).all(|(index, word)| *word == body(lane, sequence, index));
    (intact && *check == checksum(front)).then_some((lane, sequence))
}

const fn body(lane: u64, sequence: u64, index: usize) -> u64 {
    mix(sequence ^ mix(lane ^ (index as u64).rotate_left(32)))
}

fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(words.len() as u64, |sum, word| mix(sum.rotate_left(1) ^ word))
}

/// What became of the messages of a lane, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Seen for the first time.
    pub delivered: u64,
    /// Seen again, and flagged so.
    pub redelivered: u64,
    /// Missing, and allowed to be.
    pub excused: u64,
    /// Missing.
    pub lost: u64,
    /// Seen again without the flag, or long after.
    pub duplicated: u64,
    /// Bytes that nobody sent, or of another lane, or sent by nobody yet.
    pub corrupt: u64,
}

impl Account {
    /// Nothing lost, duplicated or corrupt.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.corrupt == 0
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            redelivered: self.redelivered + other.redelivered,
            excused: self.excused + other.excused,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            corrupt: self.corrupt + other.corrupt,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, redelivered, excused, lost, duplicated, corrupt } = self;
        write!(
            f,
            "{delivered} delivered, {redelivered} redelivered, {excused} open sends came to nothing, "
        )?;
        write!(f, "{lost} lost, {duplicated} duplicated, {corrupt} corrupt")
    }
}

/// The record of one lane. One process at a time acts as its producer, one as its consumer.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    words: &'a Scratch,
    at: usize,
    lane: u64,
    holes: usize,
}

impl<'a> Ledger<'a> {
    /// Words that a ledger with room for `holes` deaths needs.
    #[must_use]
    pub const fn words(holes: usize) -> usize {
        FIRST_HOLE + 2 * holes
    }

    /// The ledger of `lane` at word `at`, with room for `holes` deaths.
    #[must_use]
    pub fn new(words: &'a Scratch, at: usize, lane: u64, holes: usize) -> Self {
        Self { words, at, lane, holes }
    }

    /// The producer is about to send `count` messages at once: these.
    pub fn begin(&self, count: u64) -> Range<u64> {
        let first = self.get(SENT);
        self.set(INTENT, first + count);
        first..first + count
    }

    /// The first `count` of the messages begun are committed, the others were not sent.
    pub fn sent(&self, count: u64) {
        let sent = self.get(SENT) + count;
        self.set(SENT, sent);
        self.set(INTENT, sent);
    }

    /// The producer is dead and reaped: what it had begun is open. Its successor goes on behind that.
    ///
    /// # Errors
    /// When there is no room for one more hole.
    pub fn bury_producer(&self) -> Result<(), String> {
        // Killed between the two stores of `sent`, it leaves an intent behind: that is no hole.
        let (sent, intent) = (self.get(SENT), self.get(INTENT));
        if intent > sent {
            self.hole(sent, intent)?;
        }
        self.set(SENT, sent.max(intent));
        self.set(INTENT, sent.max(intent));
        Ok(())
    }

    /// A consumer that copies up to `batch` messages at once, and writes them down afterwards, is dead and reaped.
    ///
    /// # Errors
    /// When there is no room for one more hole.
    pub fn bury_copying_consumer(&self, batch: u64) -> Result<(), String> {
        let next = self.get(NEXT);
        self.hole(next | COPYING, next + batch)
    }

    /// The consumer sees a message, which it has not acknowledged yet. `redelivered`: the lane says so.
    pub fn saw(&self, message: &[u64], redelivered: bool) {
        self.saw_batch(std::iter::once(message), redelivered);
    }

    /// The consumer sees several messages that it will acknowledge together.
    pub fn saw_batch<'m>(&self, messages: impl IntoIterator<Item = &'m [u64]>, redelivered: bool) {
        let again_from = self.get(BATCH);
        let mut next = self.get(NEXT);
        let first = next;
        for message in messages {
            let Some(sequence) = self.accept(message) else {
                self.count(CORRUPT, 1);
                continue;
            };
            if sequence < next {
                let excused = redelivered && sequence >= again_from;
                self.count(if excused { REDELIVERED } else { DUPLICATED }, 1);
                continue;
            }
            self.miss(next, sequence);
            self.count(DELIVERED, 1);
            next = sequence + 1;
        }
        if next > first {
            // Killed between the two, the whole of both batches may be seen again: that errs on the side of the lane
            // by one batch, and only where the flag is set.
            self.set(NEXT, next);
            self.set(BATCH, first);
        }
    }

    /// The consumer looks once more at a message that it has seen and not acknowledged: nobody may have touched it.
    pub fn still(&self, message: &[u64]) {
        if self.accept(message).is_none() {
            self.count(CORRUPT, 1);
        }
    }

    /// Whether all that was sent has been seen. For the last consumer.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.get(NEXT) >= self.get(SENT)
    }

    /// Messages committed so far.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.get(SENT)
    }

    /// Nothing more will come: whatever is missing now is missing for good.
    #[must_use]
    pub fn close(&self) -> Account {
        self.miss(self.get(NEXT), self.get(SENT));
        self.set(NEXT, self.get(SENT).max(self.get(NEXT)));
        self.account()
    }

    /// The figures so far.
    #[must_use]
    pub fn account(&self) -> Account {
        Account {
            delivered: self.get(DELIVERED),
            redelivered: self.get(REDELIVERED),
            excused: self.get(EXCUSED),
            lost: self.get(LOST),
            duplicated: self.get(DUPLICATED),
            corrupt: self.get(CORRUPT),
        }
    }

    /// The sequence number, if this is a message of this lane that somebody may have sent by now.
    fn accept(&self, message: &[u64]) -> Option<u64> {
        let (lane, sequence) = read(message)?;
        (lane == self.lane && sequence < self.get(INTENT).max(self.get(SENT))).then_some(sequence)
    }

    /// Messages `from..to` did not come before `to` did.
    fn miss(&self, from: u64, to: u64) {
        for sequence in from..to {
            let excused = self.open_sends().any(|hole| {
                let inside = hole.range.contains(&sequence);
                // A send takes effect from its front: what is behind a missing message is missing too.
                inside && (hole.copying || !(hole.range.start < to && to < hole.range.end))
            });
            self.count(if excused { EXCUSED } else { LOST }, 1);
        }
    }

    fn open_sends(&self) -> impl Iterator<Item = Hole> {
        let ledger = *self;
        // The newest first: a gap is almost always the last death.
        (0..self.get(HOLES) as usize).rev().map(move |index| {
            let first = ledger.get(FIRST_HOLE + 2 * index);
            let end = ledger.get(FIRST_HOLE + 2 * index + 1);
            Hole { copying: first & COPYING != 0, range: first & !COPYING..end }
        })
    }

    fn hole(&self, first: u64, end: u64) -> Result<(), String> {
        let index = self.get(HOLES) as usize;
        if index == self.holes {
            return Err(format!("the ledger of lane {} has room for {} deaths only", self.lane, self.holes));
        }
        self.set(FIRST_HOLE + 2 * index, first);
        self.set(FIRST_HOLE + 2 * index + 1, end);
        self.set(HOLES, index as u64 + 1);
        Ok(())
    }

    fn get(&self, word: usize) -> u64 {
        self.words.get(self.at + word)
    }

    fn set(&self, word: usize, value: u64) {
        self.words.set(self.at + word, value);
    }

    fn count(&self, word: usize, by: u64) {
        self.words.add(self.at + word, by);
    }
}

#[derive(Debug)]
struct Hole {
    copying: bool,
    range: Range<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: u64 = 7;

    fn scratch() -> Scratch {
        Scratch::new(Ledger::words(4)).expect("a memfd")
    }

    fn message(sequence: u64) -> [u64; 5] {
        let mut words = [0; 5];
        write(LANE, sequence, &mut words);
        words
    }

    /// Sends `count` messages and lets the consumer see `seen`; gives the account at the end.
    fn feed(count: u64, seen: &[(u64, bool)]) -> Account {
        let words = scratch();
        let ledger = Ledger::new(&words, 0, LANE, 4);
        for _ in 0..count {
            ledger.begin(1);
            ledger.sent(1);
        }
        for (sequence, redelivered) in seen {
            ledger.saw(&message(*sequence), *redelivered);
        }
        ledger.close()
    }

    #[test]
    fn a_faithful_lane_is_clean() {
        let account = feed(3, &[(0, false), (1, false), (2, false)]);
        assert_eq!(account, Account { delivered: 3, ..Account::default() });
        assert!(account.is_clean());
    }

    #[test]
    fn a_lost_message_is_found_in_the_middle_and_at_the_end() {
        assert_eq!(feed(3, &[(0, false), (2, false)]).lost, 1);
        assert_eq!(feed(3, &[(0, false), (1, false)]).lost, 1);
    }

    #[test]
    fn a_duplicate_is_found_unless_flagged_and_the_last() {
        assert_eq!(feed(2, &[(0, false), (0, false), (1, false)]).duplicated, 1);
        let flagged = feed(2, &[(0, false), (0, true), (1, false)]);
        assert_eq!((flagged.duplicated, flagged.redelivered), (0, 1));
        assert_eq!(feed(2, &[(0, false), (1, false), (0, true)]).duplicated, 1);
    }

    #[test]
    fn foreign_torn_and_unsent_bytes_are_corrupt() {
        let words = scratch();
        let ledger = Ledger::new(&words, 0, LANE, 4);
        ledger.begin(1);
        ledger.sent(1);
        let mut torn = message(0);
        torn[2] ^= 1;
        let mut foreign = [0; 5];
        write(LANE + 1, 0, &mut foreign);
        for bad in [torn, foreign, message(1), [0; 5]] {
            ledger.saw(&bad, false);
        }
        assert_eq!(ledger.account().corrupt, 4);
    }

    #[test]
    fn the_send_in_flight_may_be_missing_but_only_from_its_end() {
        for (came, lost, excused) in
            [(&[][..], 0, 3), (&[0], 0, 2), (&[0, 1, 2], 0, 0), (&[1], 1, 1), (&[2], 2, 0)]
        {
            let words = scratch();
            let ledger = Ledger::new(&words, 0, LANE, 4);
            ledger.begin(3);
            ledger.bury_producer().expect("room");
            for sequence in came {
                ledger.saw(&message(*sequence), false);
            }
            let next = ledger.begin(1);
            ledger.sent(1);
            ledger.saw(&message(next.start), false);
            let account = ledger.close();
            assert_eq!((account.lost, account.excused), (lost, excused), "came {came:?}");
        }
    }

    #[test]
    fn a_consumer_that_copies_may_take_its_last_batch_along() {
        let words = scratch();
        let ledger = Ledger::new(&words, 0, LANE, 4);
        ledger.begin(4);
        ledger.sent(4);
        ledger.bury_copying_consumer(2).expect("room");
        ledger.saw(&message(2), false);
        assert_eq!((ledger.account().lost, ledger.account().excused), (0, 2));
        assert_eq!(ledger.close().lost, 1);
    }

    #[test]
    fn deaths_without_an_open_send_leave_no_excuse_and_room_is_checked() {
        let words = scratch();
        let ledger = Ledger::new(&words, 0, LANE, 1);
        ledger.begin(1);
        ledger.sent(1);
        ledger.bury_producer().expect("nothing to record");
        assert_eq!(ledger.close().lost, 1);
        ledger.begin(1);
        ledger.bury_producer().expect("room for one");
        ledger.begin(1);
        assert!(ledger.bury_producer().is_err());
    }
}
