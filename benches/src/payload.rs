//! What a message holds, how the producer writes it and how the consumer checks it.
//!
//! A message of `n` words of 64 bits:
//! ```text
//! word 0        last:1 | producer:15 | number of the message among its producer's, from 1:48
//! word 1..n     a base that depends on producer and number, plus the index of the word
//! ```
//! The last message of a run is marked. The base differs for every message and the words differ within one, so content of an older message, of
//! another page of the same message, or of half a message is seen. The producer writes every word of every
//! message. The consumer checks the length, word 0 and the last word of every message, one word a page of
//! every message, and every word of each message up to 64 bytes and of every 64th above.
//!
//! [`Checker`] is for one producer and one consumer; [`Tally`] for any number of both.
//!
//! [`Size`] is known to the compiler ([`Fixed`]) where the transport's slots are typed, so that controls and
//! lanes are compiled with the same knowledge; [`Dynamic`] serves transports that copy bytes anyway.

use crate::fault::Fault;

mod tally;

pub use tally::{Taken, Tally, expected};

/// Marks the last message of a run, in word 0.
const END: u64 = 1 << 63;
/// Bits of a message's number; above them stands its producer.
const NUMBER_BITS: u32 = 48;
/// Messages up to this many words are checked word by word, every time.
const SMALL_WORDS: usize = 8;
/// Above [`SMALL_WORDS`], each message whose number is a multiple of this is checked word by word.
const WHOLE_EVERY: u64 = 64;
/// Words of a page: one of them is checked in every message.
const PAGE_WORDS: usize = 512;

/// The size of the messages of a row.
pub trait Size: Copy + 'static {
    /// Words of 64 bits in a message; at least one.
    fn words(self) -> usize;

    /// Bytes in a message.
    fn bytes(self) -> usize {
        self.words() * 8
    }
}

/// A size the compiler knows: `N` words.
#[derive(Debug, Clone, Copy)]
pub struct Fixed<const N: usize>;

impl<const N: usize> Size for Fixed<N> {
    #[inline(always)]
    fn words(self) -> usize {
        N
    }
}

/// A size known at run time: that many words.
#[derive(Debug, Clone, Copy)]
pub struct Dynamic(pub usize);

impl Size for Dynamic {
    #[inline(always)]
    fn words(self) -> usize {
        self.0
    }
}

/// The base of message `sequence`: an odd multiplier spreads neighbours far apart.
#[inline(always)]
fn base(sequence: u64) -> u64 {
    sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Writes messages, one number after the other. Lives in the producer.
#[derive(Debug)]
pub struct Writer<S> {
    size: S,
    first: u64,
    next: u64,
    mark: u64,
}

impl<S: Size> Writer<S> {
    /// A writer whose first message has number 1.
    pub fn new(size: S) -> Self {
        Self::of(size, 0)
    }

    /// The same for one producer of several, which are numbered from 0.
    pub fn of(size: S, producer: usize) -> Self {
        let first = ((producer as u64) << NUMBER_BITS) + 1;
        Self { size, first, next: first, mark: 0 }
    }

    /// The size of its messages.
    #[inline(always)]
    pub fn size(&self) -> S {
        self.size
    }

    /// Writes the next message over the whole of `words`.
    ///
    /// # Panics
    /// Where `words` is not as long as a message.
    #[inline(always)]
    pub fn fill(&mut self, words: &mut [u64]) {
        let count = self.size.words();
        let words = &mut words[..count];
        let sequence = self.next;
        self.next += 1;
        words[0] = sequence | self.mark;
        let base = base(sequence);
        for (index, word) in words.iter_mut().enumerate().skip(1) {
            *word = base.wrapping_add(index as u64);
        }
    }

    /// Word 0 of the next message, for transports that carry one word.
    #[inline(always)]
    pub fn head(&mut self) -> u64 {
        let sequence = self.next;
        self.next += 1;
        sequence | self.mark
    }

    /// From now on messages are marked as the last.
    pub fn mark_end(&mut self) {
        self.mark = END;
    }

    /// Messages written so far.
    pub fn count(&self) -> u64 {
        self.next - self.first
    }
}

/// Why a consumer stops taking messages.
#[derive(Debug)]
pub enum Stop {
    /// The last message of the run came, and was right.
    End,
    /// A message was wrong, or the transport failed.
    Fault(Box<Fault>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

/// What a consumer hands its messages to.
pub trait Accept<S: Size> {
    /// The size of the messages.
    fn size(&self) -> S;

    /// Checks the next message: `bytes` is the length the transport reported, `words` its content.
    ///
    /// # Errors
    /// [`Stop::End`] for a message that is marked as the last, [`Stop::Fault`] for one that is not due or not right.
    fn accept(&mut self, bytes: usize, words: &[u64]) -> Result<(), Stop>;
}

/// Checks messages, one number after the other. Lives in the consumer.
#[derive(Debug)]
pub struct Checker<S> {
    size: S,
    next: u64,
}

impl<S: Size> Checker<S> {
    /// A checker that waits for message 1.
    pub fn new(size: S) -> Self {
        Self { size, next: 1 }
    }

    /// Messages accepted so far.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.next - 1
    }

    #[cold]
    fn wrong_length(&self, bytes: usize) -> Stop {
        Fault::Length { sequence: self.next, expected: self.size.bytes() as u64, found: bytes as u64 }.into()
    }

    /// Word 0 is not the number that was due: the end of the run, or a fault.
    #[cold]
    fn unexpected(&mut self, words: &[u64]) -> Stop {
        let (expected, found) = (self.next, words[0] & !END);
        if found == expected {
            self.next += 1;
            return if whole_is_right(expected, words) { Stop::End } else { damage(expected, words).into() };
        }
        if found > expected {
            Fault::Skipped { expected, found }.into()
        } else {
            Fault::Repeated { expected, found }.into()
        }
    }
}

impl<S: Size> Accept<S> for Checker<S> {
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
        let sequence = self.next;
        if words[0] != sequence {
            return Err(self.unexpected(words));
        }
        self.next += 1;
        if is_right(sequence, words) { Ok(()) } else { Err(damage(sequence, words).into()) }
    }
}

/// What is looked at in message `sequence`: everything where it is short or its turn, samples otherwise.
#[inline(always)]
fn is_right(sequence: u64, words: &[u64]) -> bool {
    if words.len() <= SMALL_WORDS || sequence.is_multiple_of(WHOLE_EVERY) {
        whole_is_right(sequence, words)
    } else {
        samples_are_right(sequence, words)
    }
}

/// Every word after the first, folded without a branch so that the loop runs at the speed of the copy.
#[inline(always)]
fn whole_is_right(sequence: u64, words: &[u64]) -> bool {
    let base = base(sequence);
    let mut wrong = 0;
    for (index, word) in words.iter().enumerate().skip(1) {
        wrong |= word ^ base.wrapping_add(index as u64);
    }
    wrong == 0
}

/// The last word and one word a page.
#[inline(always)]
fn samples_are_right(sequence: u64, words: &[u64]) -> bool {
    let base = base(sequence);
    let last = words.len() - 1;
    let mut wrong = words[last] ^ base.wrapping_add(last as u64);
    for index in (PAGE_WORDS..words.len()).step_by(PAGE_WORDS) {
        wrong |= words[index] ^ base.wrapping_add(index as u64);
    }
    wrong == 0
}

/// Names what is wrong with a message that has the right number.
#[cold]
fn damage(sequence: u64, words: &[u64]) -> Fault {
    let base = base(sequence);
    let differs = |index: &usize| words[*index] != base.wrapping_add(*index as u64);
    let last = words.len() - 1;
    match (1..words.len()).find(differs) {
        Some(first) if first < last && !differs(&last) => Fault::Damaged { sequence, byte: first as u64 * 8 },
        _ => Fault::Torn { sequence },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<S: Size>(size: S, count: usize) -> Vec<Vec<u64>> {
        let mut writer = Writer::new(size);
        (0..count)
            .map(|_| {
                let mut words = vec![0; size.words()];
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
    fn what_was_written_is_accepted() {
        for words in [1, 2, 8, 9, 128, 8192] {
            let size = Dynamic(words);
            let mut checker = Checker::new(size);
            for message in sent(size, 130) {
                checker.accept(size.bytes(), &message).expect("an untouched message is right");
            }
            assert_eq!(checker.count(), 130);
        }
    }

    #[test]
    fn the_end_mark_is_seen_and_checked() {
        let mut writer = Writer::new(Fixed::<4>);
        writer.mark_end();
        let mut words = [0; 4];
        writer.fill(&mut words);
        assert!(matches!(Checker::new(Fixed::<4>).accept(32, &words), Err(Stop::End)));
        words[3] ^= 1;
        assert_eq!(fault(Checker::new(Fixed::<4>).accept(32, &words)), Fault::Torn { sequence: 1 });
    }

    #[test]
    fn every_single_wrong_word_of_a_small_message_is_seen() {
        let message = &sent(Fixed::<8>, 1)[0];
        for index in 0..8 {
            let mut changed = message.clone();
            changed[index] ^= 1 << 40;
            fault(Checker::new(Fixed::<8>).accept(64, &changed));
        }
    }

    #[test]
    fn a_page_of_another_message_is_seen_at_once() {
        let size = Dynamic(4 * PAGE_WORDS);
        let messages = sent(size, 2);
        let mut checker = Checker::new(size);
        checker.accept(size.bytes(), &messages[0]).expect("the first message is right");
        let mut mixed = messages[1].clone();
        mixed[2 * PAGE_WORDS..3 * PAGE_WORDS].copy_from_slice(&messages[0][2 * PAGE_WORDS..3 * PAGE_WORDS]);
        let byte = 2 * PAGE_WORDS as u64 * 8;
        assert_eq!(fault(checker.accept(size.bytes(), &mixed)), Fault::Damaged { sequence: 2, byte });
    }

    #[test]
    fn pages_that_changed_places_are_seen() {
        let size = Dynamic(4 * PAGE_WORDS);
        let mut message = sent(size, 1).remove(0);
        let (left, right) = message.split_at_mut(2 * PAGE_WORDS);
        left[PAGE_WORDS..].swap_with_slice(&mut right[..PAGE_WORDS]);
        fault(Checker::new(size).accept(size.bytes(), &message));
    }

    #[test]
    fn a_single_word_is_seen_within_64_messages() {
        let size = Dynamic(128);
        let mut checker = Checker::new(size);
        let refused = sent(size, 64).into_iter().position(|mut message| {
            message[77] ^= 1;
            checker.accept(size.bytes(), &message).is_err()
        });
        assert!(refused.is_some());
    }

    #[test]
    fn a_wrong_length_is_seen() {
        let message = &sent(Fixed::<2>, 1)[0];
        let found = fault(Checker::new(Fixed::<2>).accept(8, message));
        assert_eq!(found, Fault::Length { sequence: 1, expected: 16, found: 8 });
    }
}
