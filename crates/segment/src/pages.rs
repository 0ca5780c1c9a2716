//! The arena: pages of data, claimed by objects one page word each.
//!
//! A page word is `{part:16 | entry+1:16}`, or 0. The claim and its attribution are the same compare-and-swap. Part 0
//! is the object itself: claimed while its entry is CREATING, and released by whoever owns the entry's CREATING or
//! FREEING: its participant, or the one who recovers it. The other parts come and go while the object lives, as
//! memory for its large messages; each has one owner at a time, which a word of the object names.
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | page word | 0 -> {part, entry+1} by the claimer; back to 0 by the releaser | claims, releases, tools | released with the part, or with the entry |
//! | Control.grown | any claimer, by CAS upward | the same | the words below it have memory; a step more may have |
//!
//! - I1: a page whose word is 0 is a hole in the file: reading it gives zeros, and it takes no memory.
//! - I2: memory is set aside after the words were claimed and before anybody touches the pages; it is given back
//!   before the words become 0. So two objects never work on one page, and nobody faults for want of memory. Pages
//!   that an object only reserved ([`Segment::reserve_pages`]) get it later, and may lose it while their words stay.
//! - I3: words at or above `grown` have no memory yet, and are not touched.
//! - I4: only the owner of the entry, or of the part, changes words that name it.
//!
//! - E1: the release of a page word, after the hole was made; the claim of it, which then sees an empty page.
//! - E2: the rise of `grown`, after its words got memory; the load of it, which then may touch them.
//!
//! | dies after | left | who repairs |
//! |---|---|---|
//! | claiming some or all words, some of the memory | words that name a CREATING entry | recovery of the owner: `release_pages` |
//! | claiming pages that are looked at after a crash, or naming them the part's | words that name the part as unclaimed; some the part's, empty | `release_unclaimed`; the walk over the part's pages |
//! | setting memory aside for more words | memory for 1024 words that `grown` does not count | the next claimer that needs them |
//! | giving memory to reserved pages, or taking it away | some pages with memory, some without | what the object's own words say |
//! | releasing: some holes, no or some words | words that name a FREEING (or CREATING) entry, holes | recovery of the owner does it again |
//!
//! Progress: lock-free; a claim that collides with another starts over behind the collision, at most [`TRIES`] times
//! through the arena. Next fit over the words below `grown`, 4 bytes a page, so 250,000 words for a gigabyte: each
//! process begins behind its last claim, or where it released something before that, and looks at the rest before it asks
//! for more words.

use std::num::NonZeroUsize;
use std::ops::Range;

use ginnel_layout::atomic::{AtomicU32, Ordering};
use ginnel_layout::header::{Geometry, PAGES_A_STEP, round_up};
use ginnel_layout::line::PAGE;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::Error;
use crate::create::set_aside;
use crate::options::available_memory;
use crate::segment::Segment;

/// Times that a claim goes through the arena before it believes that it is full. More than one, because a rival's
/// claim that is about to be undone looks like a page in use.
const TRIES: u32 = 4;

/// Collisions and growths in one go through the arena. Words that change faster than that are not ours to trust.
const TURNS: u32 = 10_000;

/// Memory is taken this many bytes at a time, with a look at what the machine has left before each.
const STEP: u64 = 64 << 20;

impl Segment {
    /// Claims `count` pages in a row for entry `entry`, whose CREATING the caller owns, with memory, all zero. Gives
    /// the first one.
    ///
    /// # Errors
    /// [`Error::Full`] where there is no such run within the limit, before anything is touched;
    /// [`Error::NoSpace`] (of a named segment) and [`Error::NoMemory`], after giving back what had been taken;
    /// [`Error::ZeroCapacity`], [`Error::NoSuchEntry`], [`Error::Forked`].
    ///
    /// A crash leaves page words that name the entry: [`Segment::release_pages`] finds them.
    pub fn claim_pages(&self, entry: u32, count: u32) -> Result<u32, Error> {
        self.claim_part(entry, 0, count)
    }

    /// [`Segment::claim_pages`] for a part of a living object, which the caller owns. Parts count from 1.
    ///
    /// # Errors
    /// As [`Segment::claim_pages`]. A crash leaves page words that name the part: [`Segment::release_part`] finds
    /// them.
    pub fn claim_part(&self, entry: u32, part: u16, count: u32) -> Result<u32, Error> {
        self.claim(entry, part, count, count)
    }

    /// [`Segment::claim_part`] for parts whose pages are looked at after a crash: as long as not all of them have memory,
    /// none has the part's own word. Page 0 is never one of them: their words call "nowhere" what begins there. Parts
    /// count from 1 to 32,767.
    ///
    /// # Errors
    /// As [`Segment::claim_pages`]. A crash leaves pages that [`Segment::release_unclaimed`] gives back unseen, and
    /// perhaps some of the part, which are empty.
    pub fn claim_part_whole(&self, entry: u32, part: u16, count: u32) -> Result<u32, Error> {
        let first = self.claim(entry, part | UNCLAIMED, count, count)?;
        let run = first as usize..first as usize + count as usize;
        for word in self.words().get(run).unwrap_or_default() {
            // Nobody else changes it (I4). Its memory came before, by a system call.
            word.store(code(entry, part), Ordering::Release); // E1
        }
        Ok(first)
    }

    /// Gives back what a claimer of this part left that was killed before all of it had memory. The caller owns the part.
    pub fn release_unclaimed(&self, entry: u32, part: u16) {
        self.release_part(entry, part | UNCLAIMED);
    }

    /// [`Segment::claim_pages`], with memory for the first `with_memory` pages only. The others count against the
    /// limit all the same; [`Segment::set_aside_pages`] gives them memory.
    ///
    /// # Errors
    /// As [`Segment::claim_pages`], and so is what a crash leaves.
    pub fn reserve_pages(&self, entry: u32, count: u32, with_memory: u32) -> Result<u32, Error> {
        self.claim(entry, 0, count, with_memory.min(count))
    }

    /// Gives memory to pages of an object, which the caller keeps alive. Those that have some keep it and what is in
    /// it; the others are zero.
    ///
    /// # Errors
    /// [`Error::NoSuchPages`] where not all of them are the object's own; [`Error::NoSpace`] (of a named segment) and
    /// [`Error::NoMemory`]; [`Error::Forked`]. Some of the pages may have got memory then, which
    /// [`Segment::punch_pages`] takes away again.
    pub fn set_aside_pages(&self, entry: u32, first: u32, count: u32) -> Result<(), Error> {
        self.check_fork()?;
        let run = self.own_run(entry, 0, first, count).ok_or_else(|| Error::NoSuchPages {
            of: self.to_string(),
            first: u64::from(first),
            end: u64::from(first) + u64::from(count),
            pages: self.geometry().pages,
        })?;
        self.set_pages_aside(&run)
    }

    /// Takes the memory of pages of an object away, which the caller keeps alive; they stay the object's, and read as
    /// zero. Pages that are not the object's are left alone, all of them.
    pub fn punch_pages(&self, entry: u32, first: u32, count: u32) {
        if self.check_fork().is_ok()
            && let Some(run) = self.own_run(entry, 0, first, count)
        {
            self.make_hole(&run);
        }
    }

    fn claim(&self, entry: u32, part: u16, count: u32, with_memory: u32) -> Result<u32, Error> {
        self.check_fork()?;
        let (pages, objects) = (self.geometry().pages, self.geometry().objects);
        if count == 0 {
            return Err(Error::ZeroCapacity { what: "pages" });
        }
        if entry >= objects {
            return Err(Error::NoSuchEntry { of: self.to_string(), entry, objects });
        }
        let full = || Error::Full { of: self.to_string(), asked: u64::from(count), pages };
        if u64::from(count) > pages {
            return Err(full());
        }
        let mut claimed = None;
        for _ in 0..TRIES {
            claimed = self.claim_words(code(entry, part), u64::from(count), lowest(part))?;
            if claimed.is_some() {
                break;
            }
        }
        let run = claimed.ok_or_else(full)?;
        if let Err(error) = self.set_pages_aside(&(run.start..run.start + with_memory as usize)) {
            self.release_run(run);
            return Err(error);
        }
        // Below `pages`, which is at most 2^32.
        Ok(run.start as u32)
    }

    /// Gives back all pages of entry `entry`, whose CREATING or FREEING the caller owns (or whose dead owner it
    /// recovers), and their memory. Doing it again, or when there are none, changes nothing.
    pub fn release_pages(&self, entry: u32) {
        self.release_where(entry, |word| word & ENTRY == entry + 1);
    }

    /// Gives back all pages of one part, which the caller owns (or whose dead owner it recovers). Looks at every
    /// page word; doing it again changes nothing.
    pub fn release_part(&self, entry: u32, part: u16) {
        self.release_where(entry, |word| word == code(entry, part));
    }

    /// Gives back a run of pages of a part that the caller owns, without looking further. Words that do not name
    /// the part are left alone.
    pub fn release_run_of_part(&self, entry: u32, part: u16, first: u32, count: u32) {
        if self.check_fork().is_ok()
            && let Some(run) = self.own_run(entry, part, first, count)
        {
            self.release_run(run);
        }
    }

    /// Does this page belong to this part? One load.
    #[inline]
    #[must_use]
    pub fn is_of_part(&self, entry: u32, part: u16, page: u32) -> bool {
        let word = self.words().get(page as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) == code(entry, part))
    }

    /// Calls `each` with the first page and the length of every maximal run of pages of a part, in their order. Looks at
    /// every page word.
    pub fn runs_of_part(&self, entry: u32, part: u16, mut each: impl FnMut(u32, u32)) {
        let (words, wanted) = (self.words(), code(entry, part));
        let is_own = |word: &AtomicU32| word.load(Ordering::Relaxed) == wanted;
        let mut at = 0;
        while let Some(first) = words[at..].iter().position(is_own).map(|offset| at + offset) {
            let length = words[first..].iter().take_while(|word| is_own(word)).count();
            if length > 0 {
                // Below `pages`, which is at most 2^32.
                each(first as u32, length as u32);
            }
            at = first + length.max(1);
        }
    }

    /// These pages, if all of them are this part's.
    fn own_run(&self, entry: u32, part: u16, first: u32, count: u32) -> Option<Range<usize>> {
        let run = first as usize..first as usize + count as usize;
        let words = self.words().get(run.clone())?;
        let is_own = |word: &AtomicU32| word.load(Ordering::Relaxed) == code(entry, part);
        let whole = entry < self.geometry().objects && !run.is_empty() && words.iter().all(is_own);
        whole.then_some(run)
    }

    fn release_where(&self, entry: u32, named: impl Fn(u32) -> bool) {
        if self.check_fork().is_err() || entry >= self.geometry().objects {
            return;
        }
        let words = self.words();
        let ours = |word: &AtomicU32| named(word.load(Ordering::Relaxed));
        let mut at = 0;
        while let Some(first) = words[at..].iter().position(ours).map(|offset| at + offset) {
            let length = words[first..].iter().take_while(|word| ours(word)).count();
            if length > 0 {
                self.release_run(first..first + length);
            }
            at = first + length.max(1);
        }
    }

    /// How many pages are in use. For people: others claim and release meanwhile.
    #[must_use]
    pub fn used_pages(&self) -> u64 {
        self.words().iter().filter(|word| word.load(Ordering::Relaxed) != 0).count() as u64
    }

    /// The length in bytes of pages that exist.
    pub(crate) fn checked_length(&self, first: u32, count: u32) -> Result<NonZeroUsize, Error> {
        let end = u64::from(first) + u64::from(count);
        if self.page(first, count).is_none() {
            let pages = self.geometry().pages;
            return Err(Error::NoSuchPages { of: self.to_string(), first: u64::from(first), end, pages });
        }
        NonZeroUsize::new(count as usize * PAGE).ok_or(Error::ZeroCapacity { what: "pages" })
    }

    /// The page words that may be touched.
    fn words(&self) -> &[AtomicU32] {
        self.map.page_words(self.control().grown.load(Ordering::Acquire)) // E2
    }

    /// Claims the words of the next run that is long enough, as `code`. `None`: there is none, and no more words to be had.
    /// It begins at `lowest` or behind it.
    fn claim_words(&self, code: u32, count: u64, lowest: usize) -> Result<Option<Range<usize>>, Error> {
        // Another may have released what lies before the hint: it is looked at, too, before there are more words.
        let mut from = (self.next_page.load(Ordering::Relaxed) as usize).max(lowest);
        let mut has_begun_anew = from == lowest;
        for _ in 0..TURNS {
            let words = self.words();
            let Some(run) = find_run(&words[from.min(words.len())..], count as usize) else {
                if !has_begun_anew {
                    (from, has_begun_anew) = (lowest, true);
                    continue;
                }
                let usable = words.get(lowest..).unwrap_or_default();
                let tail = usable.iter().rev().take_while(|word| word.load(Ordering::Relaxed) == 0).count();
                let wanted = words.len() as u64 - tail as u64 + count;
                if wanted > words.len() as u64 && !self.grow(words.len() as u64, wanted)? {
                    return Ok(None);
                }
                // The run may begin in words that were there before.
                from = words.len() - tail;
                continue;
            };
            let run = from + run.start..from + run.end;
            match claim_run(&words[run.clone()], code) {
                Ok(()) => {
                    self.next_page.store(run.end as u64, Ordering::Relaxed);
                    return Ok(Some(run));
                }
                Err(collision) => from = run.start + collision + 1,
            }
        }
        Ok(None)
    }

    /// Gives memory to more page words, so that there are `wanted` of them. False: there cannot be that many.
    fn grow(&self, have: u64, wanted: u64) -> Result<bool, Error> {
        if wanted > self.geometry().pages {
            return Ok(false);
        }
        let grown = have.next_multiple_of(PAGES_A_STEP);
        let target = wanted.next_multiple_of(PAGES_A_STEP);
        let (offset, bytes) = step_range(self.geometry(), grown, target);
        if bytes == 0 {
            // Somebody scribbled over `grown`.
            return Ok(false);
        }
        set_aside(self.fd(), offset, bytes).map_err(|errno| self.no_memory(errno, bytes))?;
        // E2. Where somebody else was faster, or went further, there is nothing left to do.
        let _ = self.control().grown.compare_exchange(grown, target, Ordering::AcqRel, Ordering::Relaxed);
        Ok(true)
    }

    fn set_pages_aside(&self, run: &Range<usize>) -> Result<(), Error> {
        let mut offset = self.map.page_offset(run.start as u32);
        let end = offset + (run.len() * PAGE) as u64;
        while offset < end {
            let bytes = STEP.min(end - offset);
            // Small claims are not worth a look: the limit was checked when the segment was made.
            if bytes == STEP && available_memory() < bytes {
                return Err(Error::NoMemory { of: self.to_string(), asked: end - offset });
            }
            set_aside(self.fd(), offset, bytes).map_err(|errno| self.no_memory(errno, bytes))?;
            offset += bytes;
        }
        Ok(())
    }

    /// Makes a run of ours a hole, then nobody's.
    fn release_run(&self, run: Range<usize>) {
        self.make_hole(&run);
        let first = run.start as u64;
        for word in self.map.page_words(run.end as u64).get(run).unwrap_or_default() {
            word.store(0, Ordering::Release); // E1
        }
        // Not one step: it is a hint.
        if first < self.next_page.load(Ordering::Relaxed) {
            self.next_page.store(first, Ordering::Relaxed);
        }
    }

    fn make_hole(&self, run: &Range<usize>) {
        let (first, bytes) = (run.start as u32, (run.len() * PAGE) as u64);
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let mut punched = Err(Errno::EINTR);
        while punched == Err(Errno::EINTR) {
            punched = fallocate(self.fd(), hole, self.map.page_offset(first) as i64, bytes as i64);
        }
        if punched.is_err() {
            // No file of shared memory refuses this. If one does, the pages must be empty all the same.
            self.map.clear(first, run.len() as u32);
        }
    }

    fn no_memory(&self, errno: Errno, asked: u64) -> Error {
        match errno {
            Errno::ENOMEM => Error::NoMemory { of: self.to_string(), asked },
            _ => Error::os("set memory aside for", self, errno),
        }
    }
}

/// Of a part: not all pages of this claim have memory yet.
const UNCLAIMED: u16 = 1 << 15;

/// The bits of a page word that hold an entry, plus one.
const ENTRY: u32 = 0xffff;

/// Where a claim for this part may begin.
fn lowest(part: u16) -> usize {
    usize::from(part & UNCLAIMED != 0)
}

/// The page word of a part of an entry. An entry's index fits 15 bits.
fn code(entry: u32, part: u16) -> u32 {
    (u32::from(part) << 16) | (entry + 1)
}

/// Offset and length in the file of the page words `from..to`, both multiples of a step.
pub(crate) fn step_range(geometry: &Geometry, from: u64, to: u64) -> (u64, u64) {
    let last = round_up(geometry.pages * 4);
    let (begin, end) = ((from * 4).min(last), (to * 4).min(last));
    (geometry.page_words_at() + begin, end - begin)
}

/// The first `count` words in a row that are 0.
fn find_run(words: &[AtomicU32], count: usize) -> Option<Range<usize>> {
    let mut start = 0;
    for (i, word) in words.iter().enumerate() {
        if word.load(Ordering::Relaxed) != 0 {
            start = i + 1;
        } else if i + 1 - start == count {
            return Some(start..i + 1);
        }
    }
    None
}

/// Claims all words, or none: then the index of the one that somebody else has.
fn claim_run(words: &[AtomicU32], code: u32) -> Result<(), usize> {
    for (i, word) in words.iter().enumerate() {
        // E1
        if word.compare_exchange(0, code, Ordering::Acquire, Ordering::Relaxed).is_err() {
            for word in &words[..i] {
                word.store(0, Ordering::Release); // E1
            }
            return Err(i);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(values: &[u32]) -> Vec<AtomicU32> {
        values.iter().map(|value| AtomicU32::new(*value)).collect()
    }

    fn values(words: &[AtomicU32]) -> Vec<u32> {
        words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn the_first_fit_is_taken() {
        let words = words(&[0, 7, 0, 0, 7, 0, 0, 0]);
        assert_eq!(find_run(&words, 1), Some(0..1));
        assert_eq!(find_run(&words, 2), Some(2..4));
        assert_eq!(find_run(&words, 3), Some(5..8));
        assert_eq!(find_run(&words, 4), None);
    }

    #[test]
    fn a_collision_undoes_what_was_claimed() {
        let words = words(&[0, 0, 9, 0]);
        assert_eq!(claim_run(&words, 5), Err(2));
        assert_eq!(values(&words), [0, 0, 9, 0]);
        assert_eq!(claim_run(&words[..2], 5), Ok(()));
        assert_eq!(values(&words), [5, 5, 9, 0]);
    }

    #[test]
    fn steps_end_with_the_words() {
        let geometry = Geometry::new(1, 1, PAGES_A_STEP + 1).expect("within bounds");
        let at = geometry.page_words_at();
        assert_eq!(step_range(&geometry, 0, PAGES_A_STEP), (at, 4096));
        assert_eq!(step_range(&geometry, PAGES_A_STEP, 2 * PAGES_A_STEP), (at + 4096, 4096));
        let small = Geometry::new(1, 1, 3).expect("within bounds");
        assert_eq!(step_range(&small, 0, PAGES_A_STEP), (small.page_words_at(), 4096));
    }
}
