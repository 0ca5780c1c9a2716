//! How many processes a row has, and on which cores they run.

use std::fmt;
use std::str::FromStr;

/// The most producers, and the most consumers, that can be asked for.
const MOST: usize = 16;

/// Producers and consumers of a row, written `2x1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Processes that send.
    pub producers: usize,
    /// Processes that receive.
    pub consumers: usize,
}

impl Shape {
    /// One of each.
    pub const PAIR: Self = Self::new(1, 1);

    /// So many of each.
    pub const fn new(producers: usize, consumers: usize) -> Self {
        Self { producers, consumers }
    }

    /// Processes together.
    pub fn processes(self) -> usize {
        self.producers + self.consumers
    }

    /// The core of producer `number`. Of a pair, the consumer gets the first core and the producer the second.
    /// The next pair gets the next two; where there are none left, the cores come again, the other way round, so
    /// that each has producers as well as consumers.
    ///
    /// # Panics
    /// Where there is no core.
    pub fn producer_core(number: usize, cores: &[usize]) -> usize {
        core(2 * number + 1, number, cores)
    }

    /// The core of consumer `number`.
    ///
    /// # Panics
    /// Where there is no core.
    pub fn consumer_core(number: usize, cores: &[usize]) -> usize {
        core(2 * number, number, cores)
    }
}

fn core(place: usize, pair: usize, cores: &[usize]) -> usize {
    let turns = 2 * pair / cores.len();
    cores[(place + turns) % cores.len()]
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}x{}", self.producers, self.consumers))
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no shape; write producers x consumers, such as 2x1, up to {MOST} each");
        let (producers, consumers) = text.split_once(['x', 'X']).ok_or_else(wrong)?;
        let count =
            |part: &str| part.parse().ok().filter(|count| (1..=MOST).contains(count)).ok_or_else(wrong);
        Ok(Self::new(count(producers)?, count(consumers)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(shape: Shape, cores: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let producers = (0..shape.producers).map(|number| Shape::producer_core(number, cores));
        let consumers = (0..shape.consumers).map(|number| Shape::consumer_core(number, cores));
        (producers.collect(), consumers.collect())
    }

    #[test]
    fn shapes_are_read_back() {
        for shape in [Shape::PAIR, Shape::new(4, 1), Shape::new(16, 16)] {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        for wrong in ["", "2", "2x", "0x1", "17x1", "2x2x2", "-1x1"] {
            wrong.parse::<Shape>().expect_err(wrong);
        }
    }

    #[test]
    fn two_cores_get_producers_and_consumers_alternately() {
        assert_eq!(places(Shape::PAIR, &[0, 1]), (vec![1], vec![0]));
        assert_eq!(places(Shape::new(2, 2), &[0, 1]), (vec![1, 0], vec![0, 1]));
        assert_eq!(places(Shape::new(4, 4), &[3, 5]), (vec![5, 3, 5, 3], vec![3, 5, 3, 5]));
    }

    #[test]
    fn nobody_shares_a_core_while_there_are_enough() {
        assert_eq!(places(Shape::new(2, 2), &[0, 1, 2, 3]), (vec![1, 3], vec![0, 2]));
        assert_eq!(places(Shape::new(4, 4), &[0, 1, 2, 3]), (vec![1, 3, 2, 0], vec![0, 2, 1, 3]));
        assert_eq!(places(Shape::new(2, 2), &[7]), (vec![7, 7], vec![7, 7]));
    }
}
