//! Which numbers are out, and whether what comes back is the successor of one of them.

use crate::fault::Fault;

/// Numbers that may lie between the oldest that is out and the newest: as many as two threads get through while a third
/// one waits for several slices.
const SPAN: u64 = 1 << 20;

/// A bit for each number that is out.
#[derive(Debug)]
pub(super) struct Ledger {
    out: Vec<u64>,
    given: u64,
    back: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { out: vec![0; (SPAN / 64) as usize], given: 0, back: 0 }
    }

    /// The next number, which is out from now on.
    #[inline(always)]
    pub(super) fn give(&mut self) -> Result<u64, Fault> {
        let number = self.given;
        let (word, bit) = place(number);
        if self.out[word] & bit != 0 {
            return Err(wrong(format!("the result of {} has not come in {SPAN} tasks", number - SPAN)));
        }
        self.out[word] |= bit;
        self.given += 1;
        Ok(number)
    }

    /// A result.
    #[inline(always)]
    pub(super) fn take(&mut self, value: u64) -> Result<(), Fault> {
        let number = value.wrapping_sub(1);
        let (word, bit) = place(number);
        // What is out lies in the last `SPAN` numbers.
        if number >= self.given || number + SPAN < self.given {
            return Err(wrong(format!("{value} came back, the successor of no number that is out")));
        }
        if self.out[word] & bit == 0 {
            return Err(wrong(format!("{value} came back a second time")));
        }
        self.out[word] &= !bit;
        self.back += 1;
        Ok(())
    }

    /// How many are out.
    pub(super) fn out(&self) -> u64 {
        self.given - self.back
    }

    /// How many came back.
    pub(super) fn back(&self) -> u64 {
        self.back
    }
}

fn place(number: u64) -> (usize, u64) {
    let place = number % SPAN;
    ((place / 64) as usize, 1 << (place % 64))
}

fn wrong(what: String) -> Fault {
    Fault::failed("a task", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_once() {
        let mut ledger = Ledger::new();
        for number in 0..3 * SPAN {
            assert_eq!(ledger.give(), Ok(number));
            assert_eq!(ledger.take(number + 1), Ok(()));
        }
        assert_eq!((ledger.out(), ledger.back()), (0, 3 * SPAN));
        for value in [3 * SPAN, 0, u64::MAX, 3 * SPAN + 1, 1] {
            assert!(ledger.take(value).is_err(), "{value}");
        }
    }

    #[test]
    fn one_that_does_not_come_is_missed() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.give(), Ok(0));
        for number in 1..SPAN {
            assert_eq!(ledger.give(), Ok(number));
            assert_eq!(ledger.take(number + 1), Ok(()));
        }
        let fault = ledger.give().expect_err("0 is out");
        assert!(fault.to_string().contains("the result of 0"), "{fault}");
    }
}
