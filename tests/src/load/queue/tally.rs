//! Every message of a queue, by its sender: whether it was sent, and how often it was seen.
//!
//! Each sender and each receiver writes down what it is about to do and what it has done, in words that a kill leaves
//! readable. When one is dead and reaped, what it left open is settled:
//!
//! | killed | what is open | what follows |
//! |---|---|---|
//! | sender in a send | the messages it had begun | each of them may be missing |
//! | receiver with leases | the messages under them | each of them may come once more |
//! | receiver that copies | the one message it may have taken and not written down | one of those that were sent by then, and that it had not passed yet, may be missing |
//!
//! Everything else has to come exactly once.
//!
//! ```text
//! a sender    sent | intent | holes | first, end of each hole | .. | a byte for each message
//! a receiver  receives | leases x 4 | seen, by sender x 4
//! a byte      seen by a copy:2 | seen first by a lease:2 | seen again by a lease:2 | may come once more:2    (3: or more)
//! ```

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_testkit::oracle;
use ginnel_testkit::scratch::Scratch;

use super::{LEASES, RECEIVERS, SENDERS};

/// How a message was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// By one who copies it, and is not told whether it was delivered before.
    Copied = 0,
    /// Under a lease, not flagged.
    First = 2,
    /// Under a lease, flagged.
    Again = 4,
}

/// Where the count of repetitions that are allowed stands in a byte.
const ONCE_MORE: u32 = 6;

/// Deaths in a send that there is room for, by sender.
const HOLES: usize = 1 << 13;

const SENT: usize = 0;
const INTENT: usize = 1;
const HOLE_COUNT: usize = 2;
const FIRST_HOLE: usize = 3;
const BYTES: usize = FIRST_HOLE + 2 * HOLES;

const RECEIVES: usize = 0;
const LEASED: usize = 1;
const PASSED: usize = LEASED + LEASES;
const RECEIVER: usize = PASSED + SENDERS;

/// A message: its sender and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) sender: usize,
    pub(super) number: u64,
}

impl Key {
    fn bits(self) -> u64 {
        (self.sender as u64 + 1) << 48 | self.number
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let sender = (bits >> 48).checked_sub(1)?;
        Some(Self { sender: sender as usize, number: bits & ((1 << 48) - 1) })
    }
}

/// The books of a run.
#[derive(Debug)]
pub(super) struct Tally {
    senders: Vec<Scratch>,
    receivers: Scratch,
    /// Messages that a sender may send.
    most: u64,
}

/// What became of all messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) delivered: u64,
    pub(super) redelivered: u64,
    /// Open sends that came to nothing.
    pub(super) open_sends: u64,
    /// Missing, and probably in the hands of a receiver that copies when it was killed.
    pub(super) taken_along: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) corrupt: u64,
}

/// A receiver that copies was killed: of each sender's messages in these ranges, one in all may be missing.
#[derive(Debug, Clone)]
pub(super) struct Grave([(u64, u64); SENDERS]);

impl Tally {
    /// Room for `most` messages of each sender. The memory is taken as messages are sent.
    pub(super) fn new(most: u64) -> std::io::Result<Self> {
        let words = BYTES + most.div_ceil(8) as usize;
        let senders = (0..SENDERS).map(|_| Scratch::new(words)).collect::<std::io::Result<_>>()?;
        // Behind the receivers: messages that nobody sent.
        Ok(Self { senders, receivers: Scratch::new(RECEIVERS * RECEIVER + 1)?, most })
    }

    const CORRUPT: usize = RECEIVERS * RECEIVER;

    /// The sender is about to send `count` messages: the first of their numbers.
    pub(super) fn begin(&self, sender: usize, count: u64) -> u64 {
        let words = &self.senders[sender];
        let first = words.get(SENT);
        assert!(first + count <= self.most, "the books have room for {} messages of a sender", self.most);
        words.set(INTENT, first + count);
        first
    }

    /// The first `count` of them are sent, the others are not.
    pub(super) fn sent(&self, sender: usize, count: u64) {
        let words = &self.senders[sender];
        let sent = words.get(SENT) + count;
        words.set(SENT, sent);
        words.set(INTENT, sent);
    }

    /// The sender is dead and reaped.
    pub(super) fn bury_sender(&self, sender: usize) -> Result<(), String> {
        let words = &self.senders[sender];
        let (sent, intent) = (words.get(SENT), words.get(INTENT));
        if intent > sent {
            let holes = words.get(HOLE_COUNT) as usize;
            if holes == HOLES {
                return Err(format!("the books have room for {HOLES} deaths of a sender"));
            }
            words.set(FIRST_HOLE + 2 * holes, sent);
            words.set(FIRST_HOLE + 2 * holes + 1, intent);
            words.set(HOLE_COUNT, holes as u64 + 1);
        }
        words.set(SENT, sent.max(intent));
        words.set(INTENT, sent.max(intent));
        Ok(())
    }

    /// The message in these words, unless nobody can have sent it.
    pub(super) fn read(&self, words: &[u64]) -> Option<Key> {
        let known = oracle::read(words).filter(|(sender, number)| {
            let words = self.senders.get(*sender as usize);
            words.is_some_and(|words| *number < words.get(INTENT).max(words.get(SENT)))
        });
        if known.is_none() {
            self.receivers.add(Self::CORRUPT, 1);
        }
        known.map(|(sender, number)| Key { sender: sender as usize, number })
    }

    /// The receiver is about to receive by copy, or has finished and written down what it got.
    pub(super) fn receives(&self, receiver: usize, begins: bool) {
        self.receivers.set(receiver * RECEIVER + RECEIVES, u64::from(begins));
    }

    /// The receiver has a message under its lease `index`, or no longer.
    pub(super) fn leases(&self, receiver: usize, index: usize, key: Option<Key>) {
        self.receivers.set(receiver * RECEIVER + LEASED + index, key.map_or(0, Key::bits));
    }

    /// A message was seen.
    pub(super) fn saw(&self, receiver: usize, key: Key, seen: Seen) {
        self.count(key, seen as u32);
        if seen != Seen::Again {
            self.receivers.raise(receiver * RECEIVER + PASSED + key.sender, key.number + 1);
        }
    }

    /// A message that was seen will be given back.
    pub(super) fn once_more(&self, key: Key) {
        self.count(key, ONCE_MORE);
    }

    /// The receiver is dead and reaped. If it may have taken a message along, where that one is.
    pub(super) fn bury_receiver(&self, receiver: usize) -> Option<Grave> {
        let at = receiver * RECEIVER;
        for index in 0..LEASES {
            if let Some(key) = Key::from_bits(self.receivers.get(at + LEASED + index)) {
                self.once_more(key);
                self.leases(receiver, index, None);
            }
        }
        let open = self.receivers.get(at + RECEIVES) != 0;
        self.receives(receiver, false);
        open.then(|| {
            Grave(std::array::from_fn(|sender| {
                let words = &self.senders[sender];
                (self.receivers.get(at + PASSED + sender), words.get(INTENT).max(words.get(SENT)))
            }))
        })
    }

    /// Messages sent so far, about.
    pub(super) fn committed(&self) -> u64 {
        self.senders.iter().map(|words| words.get(SENT)).sum()
    }

    /// Adds one to two bits of a message's byte, up to 3.
    fn count(&self, key: Key, shift: u32) {
        let word = self.senders[key.sender].word(BYTES + (key.number / 8) as usize);
        let shift = 8 * (key.number % 8) as u32 + shift;
        let mut old = word.load(Relaxed);
        while old >> shift & 3 != 3 {
            match word.compare_exchange(old, old + (1 << shift), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Nothing more will come: what became of everything.
    pub(super) fn close(&self, graves: &[Grave]) -> Account {
        let mut account = Account { corrupt: self.receivers.get(Self::CORRUPT), ..Account::default() };
        let mut missing = Vec::new();
        for (sender, words) in self.senders.iter().enumerate() {
            let holes: Vec<(u64, u64)> = (0..words.get(HOLE_COUNT) as usize)
                .map(|hole| (words.get(FIRST_HOLE + 2 * hole), words.get(FIRST_HOLE + 2 * hole + 1)))
                .collect();
            for number in 0..words.get(SENT) {
                let byte = words.get(BYTES + (number / 8) as usize) >> (8 * (number % 8));
                account.add(byte);
                if byte & 0x3f == 0 {
                    let open = holes.partition_point(|(first, _)| *first <= number);
                    if open > 0 && number < holes[open - 1].1 {
                        account.open_sends += 1;
                    } else {
                        missing.push(Key { sender, number });
                    }
                }
            }
        }
        account.taken_along = matched(&missing, graves);
        account.lost = missing.len() as u64 - account.taken_along;
        account
    }
}

impl Account {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            redelivered: self.redelivered + other.redelivered,
            open_sends: self.open_sends + other.open_sends,
            taken_along: self.taken_along + other.taken_along,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            corrupt: self.corrupt + other.corrupt,
        }
    }

    fn add(&mut self, byte: u64) {
        let field = |shift: u32| byte >> shift & 3;
        let [copied, first, again] = [Seen::Copied, Seen::First, Seen::Again].map(|seen| field(seen as u32));
        let (seen, once_more) = (copied + first + again, field(ONCE_MORE));
        self.delivered += u64::from(seen > 0);
        self.redelivered += seen.saturating_sub(1);
        let too_often = if once_more == 3 { 0 } else { seen.saturating_sub(1 + once_more) };
        // A copy is acknowledged before it is seen, and only the first delivery of all is not flagged.
        self.duplicated += too_often.max(copied.saturating_sub(1)).max(first.saturating_sub(1));
    }
}

/// How many of the missing messages can have been taken along, each by another dead receiver.
fn matched(missing: &[Key], graves: &[Grave]) -> u64 {
    let mut taken_by: Vec<Option<usize>> = vec![None; graves.len()];
    let places = 0..missing.len();
    places
        .filter(|place| find_grave(*place, missing, graves, &mut vec![false; graves.len()], &mut taken_by))
        .count() as u64
}

/// Finds a grave for a missing message; those that have one already move on where they can.
fn find_grave(
    place: usize,
    missing: &[Key],
    graves: &[Grave],
    tried: &mut Vec<bool>,
    taken_by: &mut Vec<Option<usize>>,
) -> bool {
    let Key { sender, number } = missing[place];
    for (index, Grave(ranges)) in graves.iter().enumerate() {
        let (first, end) = ranges[sender];
        if tried[index] || !(first..end).contains(&number) {
            continue;
        }
        tried[index] = true;
        let free = match taken_by[index] {
            None => true,
            Some(other) => find_grave(other, missing, graves, tried, taken_by),
        };
        if free {
            taken_by[index] = Some(place);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> Tally {
        let tally = Tally::new(64).expect("memfds");
        tally.begin(0, count);
        tally.sent(0, count);
        tally
    }

    const fn key(number: u64) -> Key {
        Key { sender: 0, number }
    }

    #[test]
    fn each_message_seen_once_is_clean() {
        let tally = sent(3);
        tally.saw(0, key(0), Seen::Copied);
        tally.saw(1, key(1), Seen::First);
        // Its first holder died before it wrote it down.
        tally.saw(1, key(2), Seen::Again);
        assert_eq!(tally.close(&[]), Account { delivered: 3, ..Account::default() });
    }

    #[test]
    fn a_missing_message_is_lost() {
        let tally = sent(2);
        tally.saw(0, key(1), Seen::Copied);
        assert_eq!(tally.close(&[]).lost, 1);
    }

    #[test]
    fn a_second_sight_is_a_duplicate_unless_its_holder_died_or_gave_it_back() {
        for seen in [Seen::Copied, Seen::First, Seen::Again] {
            let tally = sent(1);
            tally.saw(0, key(0), Seen::First);
            tally.saw(1, key(0), seen);
            assert_eq!(tally.close(&[]).duplicated, 1, "{seen:?}");
        }
        for (seen, duplicated) in [(Seen::Copied, 0), (Seen::Again, 0), (Seen::First, 1)] {
            let tally = sent(1);
            tally.leases(0, 2, Some(key(0)));
            tally.saw(0, key(0), Seen::First);
            assert!(tally.bury_receiver(0).is_none());
            tally.saw(1, key(0), seen);
            let account = tally.close(&[]);
            assert_eq!((account.duplicated, account.redelivered), (duplicated, 1), "{seen:?}");
        }
    }

    #[test]
    fn an_open_send_may_be_missing() {
        let tally = sent(1);
        tally.saw(0, key(0), Seen::Copied);
        tally.begin(0, 2);
        tally.bury_sender(0).expect("room");
        assert_eq!((tally.close(&[]).open_sends, tally.close(&[]).lost), (2, 0));
        tally.saw(0, key(2), Seen::Copied);
        assert_eq!((tally.close(&[]).open_sends, tally.close(&[]).lost), (1, 0));
    }

    #[test]
    fn a_receiver_that_copies_takes_one_message_along_and_not_two() {
        let tally = sent(3);
        tally.saw(0, key(0), Seen::Copied);
        tally.receives(0, true);
        let grave = tally.bury_receiver(0).expect("it was receiving");
        let account = tally.close(std::slice::from_ref(&grave));
        assert_eq!((account.taken_along, account.lost), (1, 1));
        assert_eq!(tally.close(&[grave.clone(), grave]).lost, 0);
        // What it has seen, it cannot have taken along after that.
        let tally = sent(2);
        tally.saw(0, key(1), Seen::Copied);
        tally.receives(0, true);
        let grave = tally.bury_receiver(0).expect("it was receiving");
        assert_eq!(tally.close(&[grave]).lost, 1);
    }

    #[test]
    fn what_nobody_sent_is_corrupt() {
        let tally = sent(1);
        let mut words = [0; 5];
        for (lane, number) in [(0, 1), (SENDERS as u64, 0)] {
            oracle::write(lane, number, &mut words);
            assert_eq!(tally.read(&words), None);
        }
        oracle::write(0, 0, &mut words);
        assert_eq!(tally.read(&words), Some(key(0)));
        words[2] ^= 1;
        assert_eq!(tally.read(&words), None);
        assert_eq!(tally.close(&[]).corrupt, 3);
    }
}
