//! The usual bounded queue for many producers and many consumers, as it stands in programs whose threads die
//! together: correct between the living, and not made for deaths. The experiment's control.
//!
//! ```text
//! word 0   tail   the next position to be pushed     cell i   sequence | three words of a message
//! word 1   head   the next position to be popped     cells begin at word 2, position p lies in cell p mod capacity
//! ```
//! | step of a push | killed after it |
//! |---|---|
//! | CAS tail: t to t+1, the claim | nobody knows who claimed cell t: consumers stand before it for ever, and so does the queue |
//! | three words written | the same |
//! | sequence of the cell: t+1 | it was sent |
//!
//! | step of a pop | killed after it |
//! |---|---|
//! | CAS head: h to h+1, the claim | message h is lost, and a lap later producers stand before its cell for ever |
//! | three words read | the same, but for whoever heard of the message |
//! | sequence of the cell: h+capacity | it was received |
//!
//! Source: Vyukov's bounded queue: a sequence number for each cell, and two counters that are claimed by CAS.

use ginnel_layout::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::scratch::View;

const TAIL: usize = 0;
const HEAD: usize = 1;
const CELLS: usize = 2;
const MESSAGE: usize = 3;
const CELL: usize = 1 + MESSAGE;

/// A queue in a mapped file.
#[derive(Debug)]
pub struct Vyukov {
    view: View,
    capacity: u64,
}

impl Vyukov {
    /// Words that a queue of `capacity` messages takes.
    #[must_use]
    pub const fn words(capacity: u64) -> usize {
        CELLS + capacity as usize * CELL
    }

    /// The queue of `capacity` messages at the beginning of `view`.
    ///
    /// # Panics
    /// When the view is too small, or the capacity no power of two.
    #[must_use]
    pub fn new(view: View, capacity: u64) -> Self {
        assert!(capacity.is_power_of_two() && Self::words(capacity) <= view.words());
        Self { view, capacity }
    }

    /// Makes zeroed words an empty queue.
    pub fn init(&self) {
        for position in 0..self.capacity {
            self.view.word(self.cell(position)).store(position, Relaxed);
        }
    }

    /// Pushes one message; false: there is no room.
    #[must_use]
    pub fn push(&self, message: &[u64; MESSAGE]) -> bool {
        let Some(position) = self.claim(TAIL, 0) else { return false };
        let cell = self.cell(position);
        for (index, word) in message.iter().enumerate() {
            self.view.word(cell + 1 + index).store(*word, Relaxed);
        }
        self.view.word(cell).store(position + 1, Release);
        true
    }

    /// Pops one message; `None`: there is none.
    #[must_use]
    pub fn pop(&self) -> Option<[u64; MESSAGE]> {
        let position = self.claim(HEAD, 1)?;
        let cell = self.cell(position);
        let message = std::array::from_fn(|index| self.view.word(cell + 1 + index).load(Relaxed));
        self.view.word(cell).store(position + self.capacity, Release);
        Some(message)
    }

    /// Claims the next position of one side, whose cell is ready for that side when its sequence is `ready` beyond
    /// the position.
    fn claim(&self, side: usize, ready: u64) -> Option<u64> {
        let counter = self.view.word(side);
        let mut position = counter.load(Relaxed);
        loop {
            let sequence = self.view.word(self.cell(position)).load(Acquire);
            if sequence < position + ready {
                return None;
            }
            if sequence > position + ready {
                position = counter.load(Relaxed);
                continue;
            }
            match counter.compare_exchange(position, position + 1, AcqRel, Relaxed) {
                Ok(_) => return Some(position),
                Err(now) => position = now,
            }
        }
    }

    fn cell(&self, position: u64) -> usize {
        CELLS + (position % self.capacity) as usize * CELL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::time::Duration;

    /// Between two looks: there may be fewer cores than threads.
    const PACE: Duration = Duration::from_micros(10);

    fn queue(memory: &Scratch, capacity: u64) -> Vyukov {
        Vyukov::new(View::writable(memory).expect("mapped"), capacity)
    }

    #[test]
    fn it_keeps_the_order_over_laps_and_knows_full_and_empty() {
        let memory = Scratch::new(Vyukov::words(4)).expect("a memfd");
        let it = queue(&memory, 4);
        it.init();
        for lap in 0..5 {
            assert_eq!(it.pop(), None);
            for n in 0..4 {
                assert!(it.push(&[lap, n, lap ^ n]));
            }
            assert!(!it.push(&[0; 3]));
            for n in 0..4 {
                assert_eq!(it.pop(), Some([lap, n, lap ^ n]));
            }
        }
    }

    #[test]
    fn two_producers_and_two_consumers_lose_nothing() {
        const EACH: u64 = 5_000;
        let memory = Scratch::new(Vyukov::words(8)).expect("a memfd");
        queue(&memory, 8).init();
        let sum = std::thread::scope(|threads| {
            for who in 0..2 {
                let it = queue(&memory, 8);
                threads.spawn(move || {
                    for n in 0..EACH {
                        while !it.push(&[who, n, who ^ n]) {
                            std::thread::sleep(PACE); // pacing, not synchronisation
                        }
                    }
                });
            }
            let consumers: Vec<_> = (0..2)
                .map(|_| {
                    let it = queue(&memory, 8);
                    threads.spawn(move || {
                        let mut sum = 0;
                        for _ in 0..EACH {
                            let [who, n, check] = loop {
                                match it.pop() {
                                    Some(message) => break message,
                                    None => std::thread::sleep(PACE), // pacing, not synchronisation
                                }
                            };
                            assert_eq!(check, who ^ n);
                            sum += n;
                        }
                        sum
                    })
                })
                .collect();
            consumers.into_iter().map(|thread| thread.join().expect("no panic")).sum::<u64>()
        });
        assert_eq!(sum, EACH * (EACH - 1));
    }
}
