//! How many items travel together.
//!
//! A slot costs a few hundred nanoseconds on either side, so items that take less should share one; but a worker that
//! has many left while the others have none is worse. So a chunk is to take [`AIM`], as the items before it took; it is
//! no more than its share of what is left, where that is known; and it is at most eight times as long as the longest one
//! that came back, so that a few quick items in front do not put all the slow ones behind them into one chunk.

use ginnel_object::bridge::crew::ITEMS_MAX;

/// How long a chunk is to take, ns.
const AIM: f64 = 200_000.0;

/// How much longer a chunk may be than those before it.
const GROWTH: u32 = 8;

/// Bytes of arguments, or of results, that a chunk is to have at most: what a worker's cache holds.
const BYTES: f64 = (1 << 20) as f64;

/// What was seen of the items so far.
#[derive(Debug, Clone)]
pub(crate) struct Guide {
    given: Option<u32>,
    workers: u32,
    /// What an item took, of late; ns.
    item_ns: Option<f64>,
    /// Items of the longest chunk that came back.
    longest: u32,
    args: Mean,
    results: Mean,
}

/// Bytes of an item: a mean that goes up at once and down slowly.
#[derive(Debug, Clone, Copy, Default)]
struct Mean(f64);

impl Mean {
    fn saw(&mut self, items: u32, bytes: usize) {
        if items > 0 {
            let mean = bytes as f64 / f64::from(items);
            self.0 = if mean > self.0 { mean } else { self.0 + (mean - self.0) / 16.0 };
        }
    }

    /// Room for so many, with some to spare.
    fn room(self, items: u32) -> usize {
        (f64::from(items) * self.0.mul_add(1.25, 16.0)) as usize
    }

    fn most(self) -> u32 {
        (BYTES / self.0.max(1.0)) as u32
    }
}

impl Guide {
    /// For so many workers. `given`: chunks of this many, whatever they take.
    pub(crate) fn new(workers: u32, given: Option<usize>) -> Self {
        let mut guide = Self {
            given: None,
            workers: workers.max(1),
            item_ns: None,
            longest: 1,
            args: Mean::default(),
            results: Mean::default(),
        };
        guide.give(given);
        guide
    }

    /// Chunks of this many from now on, if it is said.
    pub(crate) fn give(&mut self, items: Option<usize>) {
        self.given = items.map(|items| u32::try_from(items).unwrap_or(ITEMS_MAX).clamp(1, ITEMS_MAX));
    }

    /// Nothing has come back yet, so that single items have to be sent to be timed.
    pub(crate) fn is_blind(&self) -> bool {
        self.given.is_none() && self.item_ns.is_none()
    }

    /// Items of the next chunk, where `rest` are left, if that is known, and at most `most` are wanted.
    pub(crate) fn count(&self, rest: Option<usize>, most: u32) -> u32 {
        let most = most.clamp(1, ITEMS_MAX);
        if let Some(given) = self.given {
            return given.min(most);
        }
        let Some(item_ns) = self.item_ns else { return 1 };
        let by_time = (AIM / item_ns.max(1.0)) as u32;
        let share = rest
            .map_or(u32::MAX, |rest| u32::try_from(rest / (2 * self.workers as usize)).unwrap_or(u32::MAX));
        let count = by_time.min(share).min(self.longest.saturating_mul(GROWTH));
        count.min(self.args.most()).min(self.results.most()).clamp(1, most)
    }

    /// Bytes to put the arguments of so many items in.
    pub(crate) fn room_for_args(&self, items: u32) -> usize {
        self.args.room(items)
    }

    /// Bytes to put their results in.
    pub(crate) fn room_for_results(&self, items: u32) -> usize {
        self.results.room(items)
    }

    /// So many items were sent in so many bytes.
    pub(crate) fn sent(&mut self, items: u32, bytes: usize) {
        self.args.saw(items, bytes);
    }

    /// So many came back in so many bytes, and took so long.
    pub(crate) fn came(&mut self, items: u32, bytes: usize, took_ns: u64) {
        if items == 0 {
            return;
        }
        self.results.saw(items, bytes);
        self.longest = self.longest.max(items);
        let ns = took_ns as f64 / f64::from(items);
        self.item_ns = Some(match self.item_ns {
            // The first ones of a worker find nothing in its caches: what is quicker is nearer to the truth.
            Some(known) if known < ns => known + (ns - known) / 4.0,
            _ => ns,
        });
    }

    /// One came back that did not fit: the next rooms are to be larger.
    pub(crate) fn overflowed(&mut self, bytes: usize) {
        self.results.saw(1, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_one_came_back_and_then_by_time() {
        let mut guide = Guide::new(2, None);
        assert!(guide.is_blind());
        assert_eq!(guide.count(None, u32::MAX), 1);
        guide.came(1, 3, 50_000);
        assert!(!guide.is_blind());
        assert_eq!(guide.count(None, u32::MAX), 4);
        guide.came(4, 12, 40);
        assert_eq!(guide.count(None, u32::MAX), 32, "not more than eight times as many");
        guide.came(32, 96, 320);
        guide.came(256, 768, 2560);
        guide.came(2048, 6144, 20_480);
        assert_eq!(guide.count(None, u32::MAX), 16_384);
        guide.came(16_384, 50_000, 163_840);
        assert_eq!(guide.count(None, u32::MAX), 20_000, "what takes 200 us");
        assert_eq!(guide.count(Some(1000), u32::MAX), 250, "the share of what is left");
        assert_eq!(guide.count(Some(1), u32::MAX), 1);
        assert_eq!(guide.count(None, 7), 7);
    }

    #[test]
    fn slow_items_travel_alone_and_large_ones_by_few() {
        let mut guide = Guide::new(4, None);
        guide.came(1, 10, 5_000_000);
        assert_eq!(guide.count(Some(1_000_000), u32::MAX), 1);
        let mut guide = Guide::new(4, None);
        guide.sent(1, 300 << 10);
        guide.came(1, 10, 10);
        assert_eq!(guide.count(None, u32::MAX), 3);
        assert!(guide.room_for_args(3) > 900 << 10);
    }

    #[test]
    fn a_given_length_holds_within_what_a_slot_can_count() {
        let mut guide = Guide::new(1, Some(1000));
        assert!(!guide.is_blind());
        guide.came(1, 10, 5_000_000);
        assert_eq!(guide.count(Some(10), u32::MAX), 1000);
        assert_eq!(guide.count(Some(10), 10), 10);
        guide.give(Some(usize::MAX));
        assert_eq!(guide.count(None, u32::MAX), ITEMS_MAX);
        guide.give(Some(0));
        assert_eq!(guide.count(None, u32::MAX), 1);
    }

    #[test]
    fn room_grows_with_what_came() {
        let mut guide = Guide::new(1, None);
        assert_eq!(guide.room_for_results(10), 160);
        guide.came(1, 100, 1);
        assert_eq!(guide.room_for_results(10), 1410);
        guide.overflowed(1000);
        assert_eq!(guide.room_for_results(1), 1266);
    }
}
