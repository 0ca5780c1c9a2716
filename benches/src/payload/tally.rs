//! The check of messages from several producers, at one consumer of several.
//!
//! A consumer sees the messages of each producer in their order; where it has them all to itself, without a gap.
//! Where consumers share them, each keeps a count and a fingerprint for each producer, and the coordinator
//! adds those up: nothing is lost and nothing doubled where count and fingerprint are what the producer's
//! numbers give. The fingerprint is a sum of scrambled numbers, so that a lost message and a doubled one do not
//! cancel each other.

use serde::{Deserialize, Serialize};

use super::{Accept, END, NUMBER_BITS, Size, Stop, damage, is_right};
use crate::fault::Fault;

/// What a consumer got from one producer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Messages.
    pub count: u64,
    /// Sum of their scrambled numbers.
    pub fingerprint: u64,
}

impl Taken {
    /// Puts the shares of two consumers together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            fingerprint: self.fingerprint.wrapping_add(other.fingerprint),
        }
    }
}

/// What all consumers together must have got from `producer`, if it sent `count` messages.
pub fn expected(producer: usize, count: u64) -> Taken {
    let first = (producer as u64) << NUMBER_BITS;
    let fingerprint = (1..=count).fold(0_u64, |sum, number| sum.wrapping_add(scrambled(first + number)));
    Taken { count, fingerprint }
}

/// Spreads a number over 64 bits, in such a way that sums of results say nothing of sums of numbers.
#[inline(always)]
fn scrambled(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// One producer, as a consumer knows it.
#[derive(Debug, Clone, Copy)]
struct From {
    /// Word 0 of the last message that came, without the mark.
    last: u64,
    taken: Taken,
}

/// Checks the messages of several producers. Lives in a consumer.
#[derive(Debug)]
pub struct Tally<S> {
    size: S,
    from: Vec<From>,
    /// Whether other consumers take messages too.
    is_shared: bool,
    count: u64,
}

impl<S: Size> Tally<S> {
    /// A tally of `producers` producers whose messages all come to this consumer.
    pub fn of_all(size: S, producers: usize) -> Self {
        let from = |producer| From { last: (producer as u64) << NUMBER_BITS, taken: Taken::default() };
        Self { size, from: (0..producers).map(from).collect(), is_shared: false, count: 0 }
    }

    /// A tally of `producers` producers of whose messages others get a share.
    pub fn of_a_share(size: S, producers: usize) -> Self {
        Self { is_shared: true, ..Self::of_all(size, producers) }
    }

    /// Messages accepted so far.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// What came, producer by producer.
    pub fn taken(&self) -> Vec<Taken> {
        self.from.iter().map(|from| from.taken).collect()
    }

    #[cold]
    fn wrong_length(&self, bytes: usize) -> Stop {
        let expected = self.size.bytes() as u64;
        Fault::Length { sequence: self.count + 1, expected, found: bytes as u64 }.into()
    }

    #[cold]
    fn out_of_turn(&self, word: u64) -> Stop {
        let number = word & !END;
        let (producer, found) = (number >> NUMBER_BITS, number & ((1 << NUMBER_BITS) - 1));
        let Some(from) = self.from.get(producer as usize) else {
            return Fault::Stranger { word }.into();
        };
        let expected = (from.last + 1) & ((1 << NUMBER_BITS) - 1);
        let fault = if number > from.last {
            Fault::Skipped { expected, found }
        } else {
            Fault::Repeated { expected, found }
        };
        fault.of_producer(producer).into()
    }

    #[cold]
    fn damaged(&self, number: u64, words: &[u64]) -> Stop {
        let plain = number & ((1 << NUMBER_BITS) - 1);
        damage(number, words).at(plain).of_producer(number >> NUMBER_BITS).into()
    }
}

impl<S: Size> Accept<S> for Tally<S> {
    #[inline(always)]
    fn size(&self) -> S {
        self.size
    }

    #[inline(always)]
    fn accept(&mut self, bytes: usize, words: &[u64]) -> Result<(), Stop> {
        let count = self.size.words();
        if bytes != self.size.bytes() || words.len() < count {
            return Err(self.wrong_length(bytes));
        }
        let words = &words[..count];
        let number = words[0] & !END;
        let is_shared = self.is_shared;
        match self.from.get_mut((number >> NUMBER_BITS) as usize) {
            Some(from) if number == from.last + 1 || (is_shared && number > from.last) => {
                from.last = number;
                from.taken.count += 1;
                from.taken.fingerprint = from.taken.fingerprint.wrapping_add(scrambled(number));
            }
            _ => return Err(self.out_of_turn(words[0])),
        }
        self.count += 1;
        if !is_right(number, words) {
            return Err(self.damaged(number, words));
        }
        if words[0] == number { Ok(()) } else { Err(Stop::End) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fixed, Writer};
    use super::*;

    const SIZE: Fixed<4> = Fixed;

    fn sent(producer: usize, count: usize) -> Vec<[u64; 4]> {
        let mut writer = Writer::of(SIZE, producer);
        (0..count)
            .map(|_| {
                let mut words = [0; 4];
                writer.fill(&mut words);
                words
            })
            .collect()
    }

    fn fault(result: Result<(), Stop>) -> Fault {
        match result {
            Err(Stop::Fault(fault)) => *fault,
            other => panic!("a fault was due, not {other:?}"),
        }
    }

    #[test]
    fn shares_add_up_to_what_was_sent() {
        let mut consumers = [Tally::of_a_share(SIZE, 2), Tally::of_a_share(SIZE, 2)];
        for (turn, pair) in sent(0, 99).iter().zip(&sent(1, 99)).enumerate() {
            consumers[turn % 2].accept(32, pair.0).expect("in order");
            consumers[turn % 3 % 2].accept(32, pair.1).expect("in order");
        }
        for producer in 0..2 {
            let shares = consumers.each_ref().map(|consumer| consumer.taken()[producer]);
            assert_eq!(shares[0].and(shares[1]), expected(producer, 99));
        }
    }

    #[test]
    fn a_lost_and_a_doubled_message_do_not_cancel() {
        // The sum of the numbers is the same: 2 and 4 are lost, 3 came to three consumers.
        let mut consumers = [(); 3].map(|()| Tally::of_a_share(SIZE, 1));
        let messages = sent(0, 5);
        for (consumer, number) in [(0, 1), (0, 3), (1, 3), (2, 3), (0, 5)] {
            consumers[consumer].accept(32, &messages[number - 1]).expect("in order for this consumer");
        }
        let all = consumers.iter().map(|consumer| consumer.taken()[0]).reduce(Taken::and);
        let due = expected(0, 5);
        assert_eq!(all.map(|taken| taken.count), Some(due.count));
        assert_ne!(all, Some(due));
    }

    #[test]
    fn a_gap_is_a_fault_only_where_nobody_else_takes() {
        let messages = sent(1, 3);
        let mut alone = Tally::of_all(SIZE, 2);
        let mut shares = Tally::of_a_share(SIZE, 2);
        shares.accept(32, &messages[1]).expect("another consumer may have the first");
        let skipped = Fault::Skipped { expected: 1, found: 2 }.of_producer(1);
        assert_eq!(fault(alone.accept(32, &messages[1])), skipped);
        let repeated = Fault::Repeated { expected: 3, found: 1 }.of_producer(1);
        assert_eq!(fault(shares.accept(32, &messages[0])), repeated);
    }

    #[test]
    fn content_of_another_producer_is_seen() {
        let (mut mixed, other) = (sent(0, 1)[0], sent(1, 1)[0]);
        mixed[2] = other[2];
        let damaged = Fault::Damaged { sequence: 1, byte: 16 }.of_producer(0);
        assert_eq!(fault(Tally::of_all(SIZE, 2).accept(32, &mixed)), damaged);
        assert_eq!(fault(Tally::of_all(SIZE, 1).accept(32, &other)), Fault::Stranger { word: other[0] });
    }
}
