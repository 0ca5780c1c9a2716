//! A consumer that takes over a lane whose control page and ring somebody else chose, and receives to the end.
//!
//! ```text
//! input   choice 1 | changes 11 each, to the image of a proper lane that holds some messages
//!         choice: bit 0 values or bytes, bit 1 loans or copies, bit 2 the ring is laid over with what follows
//! ```

use std::hint::black_box;
use std::ops::Range;

use ginnel_layout::atomic::Ordering::Relaxed;
use ginnel_layout::line::PAGE;
use ginnel_object::Manager;
use ginnel_object::manager::Options;
use ginnel_object::spsc::{self, Consumer, Payload, Producer, Wait};
use ginnel_testkit::scratch::View;

use super::patch::patch;

/// More messages than a ring of one page has; a ring without an end would give them for ever.
const MOST: usize = 1 << 12;

/// The size of a ring.
const RING: usize = 4096;

/// Two lanes in a segment of their own, and what their pages look like.
#[derive(Debug)]
pub struct Lanes {
    manager: Manager,
    view: View,
    /// The words that belong to the lane of values and to that of bytes, and what is in them.
    images: [(Range<usize>, Vec<u64>); 2],
}

const VALUES: &str = "values";
const BYTES: &str = "bytes";

fn options() -> spsc::Options {
    spsc::Options::new().size(RING).wait(Wait::Sleep)
}

impl Lanes {
    /// Makes them, with some messages that were acknowledged and some that were not.
    ///
    /// # Panics
    /// When there is no memory for them.
    #[must_use]
    pub fn new() -> Self {
        let manager =
            Manager::with(Options::new().limit(16 * PAGE).objects(4).participants(4)).expect("a segment");
        let view = View::writable(&manager).expect("mapped");
        let end = |view: &View| (0..view.words()).rev().find(|at| view.word(*at).load(Relaxed) != 0);
        let mut images = [const { (0..0, Vec::new()) }; 2];
        for (image, name) in images.iter_mut().zip([VALUES, BYTES]) {
            if name == VALUES {
                let mut lane: Producer<u64> = options().producer(&manager, name).expect("made");
                lane.send_many(&[1, 2, 3]).expect("there is room");
                lane.send(4).expect("there is room");
            } else {
                let mut lane: Producer<[u8]> = options().producer(&manager, name).expect("made");
                lane.send(b"one").expect("there is room");
                lane.send(&[7; 300]).expect("there is room");
            }
            // Objects lie one after the other, each on pages of its own: control page, then the ring.
            let last = end(&view).expect("something was written");
            let first = last / (PAGE / 8) * (PAGE / 8) - PAGE / 8;
            *image = (first..first + (PAGE + RING) / 8, Vec::new());
            image.1 = image.0.clone().map(|at| view.word(at).load(Relaxed)).collect();
        }
        Self { manager, view, images }
    }

    /// Receives from the lane that `input` makes; how many messages came.
    pub fn run(&self, input: &[u8]) -> usize {
        let Some((choice, changes)) = input.split_first() else { return 0 };
        let (range, image) = &self.images[usize::from(choice & 1)];
        for (at, word) in range.clone().zip(image) {
            self.view.word(at).store(*word, Relaxed);
        }
        let store = |at: usize, word| self.view.word(range.start + at).store(word, Relaxed);
        if choice & 4 == 0 {
            patch(changes, range.len(), |at| self.view.word(range.start + at).load(Relaxed), store);
        } else {
            let words = changes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
            words.take(RING / 8).enumerate().for_each(|(at, word)| store(PAGE / 8 + at, word));
        }
        if choice & 1 == 0 {
            self.receive::<u64>(VALUES, choice & 2 != 0, |value| *value)
        } else {
            self.receive::<[u8]>(BYTES, choice & 2 != 0, |bytes| {
                bytes.iter().map(|byte| u64::from(*byte)).sum()
            })
        }
    }

    fn receive<T: Payload + ?Sized>(&self, name: &str, loans: bool, read: impl Fn(&T) -> u64) -> usize
    where
        Consumer<T>: Receive<T>,
    {
        let Ok(mut lane) = options().consumer::<T>(&self.manager, name) else { return 0 };
        let came = (0..MOST).take_while(|_| lane.receive(loans, &read)).count();
        black_box(lane.len());
        // After an error, and after the end, it must go on being one.
        black_box(lane.receive(!loans, &read));
        came
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}

/// The two kinds of lanes give their messages in different ways.
trait Receive<T: ?Sized> {
    /// False: there was none.
    fn receive(&mut self, loan: bool, read: &impl Fn(&T) -> u64) -> bool;
}

impl Receive<u64> for Consumer<u64> {
    fn receive(&mut self, loan: bool, read: &impl Fn(&u64) -> u64) -> bool {
        if loan {
            self.try_loan().map(|loan| black_box(read(&loan))).is_ok()
        } else {
            self.try_recv().map(|value| black_box(read(&value))).is_ok()
        }
    }
}

impl Receive<[u8]> for Consumer<[u8]> {
    fn receive(&mut self, loan: bool, read: &impl Fn(&[u8]) -> u64) -> bool {
        if loan {
            self.try_loan().map(|loan| black_box(read(&loan))).is_ok()
        } else {
            self.try_recv().map(|bytes| black_box(read(&bytes))).is_ok()
        }
    }
}
