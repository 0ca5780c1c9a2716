//! The pages of a store: those of the segment whose words name the store's entry and a shard.
//!
//! Part `i + 1` of the entry belongs to shard `i`, and so to the holder of that shard's lock, or to whoever recovers
//! its dead holder. A claim that died before all of it had memory has words of its own, which are given back here
//! without a look at the pages: a look at a hole would want memory that may not be there.

use ginnel_layout::line::PAGE;
use ginnel_segment::{Error, Segment};
use ginnel_store::{NoPages, Pages};

/// The pages of the store in entry `entry`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StorePages<'a> {
    pub(super) segment: &'a Segment,
    pub(super) entry: u32,
}

/// The page in which an offset lies. `None`: no segment has so many.
#[inline]
fn page_of(offset: u64) -> Option<u32> {
    u32::try_from(offset / PAGE as u64).ok()
}

impl Pages for StorePages<'_> {
    fn claim(&self, part: u16, pages: u32) -> Result<u64, NoPages> {
        let claimed = self.segment.claim_part_whole(self.entry, part, pages);
        claimed.map(|first| u64::from(first) * PAGE as u64).map_err(|why| match why {
            Error::Full { .. } => NoPages::Full,
            Error::NoMemory { .. } => NoPages::NoMemory,
            Error::NoSpace { .. } => NoPages::NoSpace,
            _ => NoPages::Other,
        })
    }

    #[inline]
    fn owns(&self, part: u16, offset: u64) -> bool {
        page_of(offset).is_some_and(|page| self.segment.is_of_part(self.entry, part, page))
    }

    fn runs(&self, part: u16, each: &mut dyn FnMut(u64, u32)) {
        self.segment.release_unclaimed(self.entry, part);
        self.segment
            .runs_of_part(self.entry, part, |first, count| each(u64::from(first) * PAGE as u64, count));
    }

    fn release(&self, part: u16, offset: u64, pages: u32) {
        if let Some(first) = page_of(offset) {
            self.segment.release_run_of_part(self.entry, part, first, pages);
        }
    }
}
