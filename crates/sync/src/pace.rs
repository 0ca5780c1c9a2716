//! Whether it pays to spin for several messages instead of one, learned by trying: docs/decisions/0010.

/// Messages since the last occasion, at most, with which a consumer counts as one that has caught up again and again.
const CLOSE: u64 = 32;

/// Most tries left out: a round trip then pays for an eighth of a thousandth of one.
const LEFT_OUT_MAX: u32 = 8192;

/// What was learned. As long as a try brings several, the next one is made at once; after each that brings none, only
/// after twice as many occasions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// Occasions still to be left out.
    left_out: u32,
    /// As many as were left out before the last try.
    before: u32,
    /// Where the last occasion was.
    position: u64,
}

impl Pace {
    /// Is this an occasion to try, at `position` of all messages? Not if the last one lies far behind: then waiting is
    /// seldom anyway.
    pub(crate) fn may_try(&mut self, position: u64) -> bool {
        let since = position.wrapping_sub(self.position);
        self.position = position;
        if since > CLOSE {
            return false;
        }
        let may = self.left_out == 0;
        self.left_out = self.left_out.saturating_sub(1);
        may
    }

    /// What came of it.
    pub(crate) fn learn(&mut self, came: bool) {
        self.before = if came { 0 } else { (2 * self.before).clamp(1, LEFT_OUT_MAX) };
        self.left_out = self.before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tries are made at `occasions` that lie `apart`.
    fn tries(pace: &mut Pace, occasions: u64, apart: u64, came: bool) -> u64 {
        let mut tries = 0;
        for _ in 0..occasions {
            if pace.may_try(pace.position + apart) {
                tries += 1;
                pace.learn(came);
            }
        }
        tries
    }

    #[test]
    fn what_pays_is_tried_at_each_occasion() {
        assert_eq!(tries(&mut Pace::default(), 1000, 1, true), 1000);
    }

    #[test]
    fn what_is_in_vain_is_hardly_tried_and_found_again() {
        let mut pace = Pace::default();
        assert!(tries(&mut pace, 100_000, 1, false) < 120);
        assert!(tries(&mut pace, 2 * u64::from(LEFT_OUT_MAX), 1, true) > u64::from(LEFT_OUT_MAX) / 2);
    }

    #[test]
    fn who_seldom_catches_up_does_not_try() {
        assert_eq!(tries(&mut Pace::default(), 1000, CLOSE + 1, true), 0);
    }
}
