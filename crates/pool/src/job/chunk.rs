//! What is sent next: items of the iterator, one behind the other in one buffer.
//!
//! An item that carries handles goes alone, because only a slot carries anything, never an item of a chunk; so does one
//! that is too large for the buffer. Such an item was taken from the iterator when this was found out: it is kept
//! *ahead*, and is the next one. Nothing else is ever taken from the iterator before there is room for it.
//!
//! The functions that know the type of the task are made where the job begins, one for each thing that is done to all
//! items of a chunk in one go. So `Imap` need not name that type, and the loop over the items has no call through a
//! pointer in it.

use ginnel_object::message::out::Out;
use ginnel_object::{Error, Result};
use ginnel_process::Task as Function;
use ginnel_process::routine::{self, Skip};

/// What can be done with the items of a job.
pub(super) struct Work<I: Iterator> {
    /// The routines of a slot: with one item, with several.
    pub(super) one: u64,
    pub(super) each: u64,
    pub(super) write: fn(&I::Item, &mut Out<'_>) -> Result<()>,
    pub(super) fill: fn(&mut Feed<I>, &mut Out<'_>, u32) -> u32,
    pub(super) skip: Skip,
}

impl<I: Iterator> Work<I> {
    /// # Errors
    /// `Unsupported`: the code of the function lies in another library.
    pub(super) fn of<F, S>(f: F) -> Result<Self>
    where
        F: Function<I::Item, S>,
    {
        Ok(Self {
            one: routine::one::<F, I::Item, S>(f)?,
            each: routine::each::<F, I::Item, S>(f)?,
            write: F::write,
            fill: fill::<F, I, S>,
            skip: routine::skip::<F, I::Item, S>(f),
        })
    }
}

/// An item that was taken from the iterator and not sent.
#[derive(Debug)]
pub(super) enum Ahead<T> {
    None,
    /// As it is, because it carries something.
    Item(T),
    /// Its arguments, which had no room.
    Bytes(Vec<u8>),
    /// It cannot be sent at all.
    Failed(Error),
}

/// The items that were not sent yet.
#[derive(Debug)]
pub(super) struct Feed<I: Iterator> {
    items: I,
    is_dry: bool,
    pub(super) ahead: Ahead<I::Item>,
    /// Which item is the next one, counted from 0.
    pub(super) next: u64,
}

impl<I: Iterator> Feed<I> {
    pub(super) fn new(items: I) -> Self {
        Self { items, is_dry: false, ahead: Ahead::None, next: 0 }
    }

    /// How many are left, if the iterator knows.
    pub(super) fn rest(&self) -> Option<usize> {
        if self.is_dry {
            return Some(self.count_ahead());
        }
        match self.items.size_hint() {
            (least, Some(most)) if least == most => Some(least.saturating_add(self.count_ahead())),
            _ => None,
        }
    }

    /// Items taken from the iterator and not sent: 0 or 1.
    pub(super) fn count_ahead(&self) -> usize {
        usize::from(!matches!(self.ahead, Ahead::None))
    }

    /// Has the iterator ended, and was everything sent?
    pub(super) fn is_empty(&self) -> bool {
        self.is_dry && matches!(self.ahead, Ahead::None)
    }

    /// The next item. One that is ahead has to be looked at before.
    pub(super) fn take(&mut self) -> Option<I::Item> {
        if self.is_dry {
            return None;
        }
        let item = self.items.next();
        self.is_dry = item.is_none();
        item
    }
}

/// Writes up to `count` items; how many there are now. What did not go into the chunk is ahead.
fn fill<F, I, S>(feed: &mut Feed<I>, out: &mut Out<'_>, count: u32) -> u32
where
    I: Iterator,
    F: Function<I::Item, S>,
{
    let mut written = 0;
    match std::mem::replace(&mut feed.ahead, Ahead::None) {
        Ahead::Bytes(bytes) if bytes.len() <= out.room() => {
            out.extend(&bytes);
            written = 1;
        }
        Ahead::None => {}
        other => {
            feed.ahead = other;
            return 0;
        }
    }
    while written < count {
        let Some(item) = feed.take() else { break };
        out.mark();
        let before = out.len();
        let came = F::write(&item, out);
        if came.is_ok() && !out.is_spilled() && !out.carries() {
            written += 1;
            continue;
        }
        set_aside(feed, out, before, item, came);
        break;
    }
    written
}

/// Keeps an item that cannot be in the chunk.
#[cold]
fn set_aside<I: Iterator>(
    feed: &mut Feed<I>,
    out: &mut Out<'_>,
    before: usize,
    item: I::Item,
    came: Result<()>,
) {
    let carries = out.carries();
    if carries {
        out.forget_parcels();
    }
    feed.ahead = match came {
        Err(error) => Ahead::Failed(error),
        Ok(()) if carries => Ahead::Item(item),
        Ok(()) => match out.spilled() {
            Some(bytes) => return feed.ahead = Ahead::Bytes(bytes),
            None => Ahead::Item(item),
        },
    };
    out.truncate(before);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work<I: Iterator<Item = T>, T, P, R>(f: impl Fn(P) -> R + Copy + Send + 'static, _: &I) -> Work<I>
    where
        T: ginnel_process::Arg<P>,
        P: ginnel_object::Message,
        R: ginnel_object::Message,
    {
        Work::of::<_, fn(P) -> R>(f).expect("lies in this image")
    }

    #[test]
    fn a_chunk_ends_with_its_count_its_room_or_the_items() {
        let items = (0..).map(|n: u32| "x".repeat(if n == 3 { 40 } else { 4 })).take(6);
        let work = work(|text: String| text.len() as u32, &items);
        let mut feed = Feed::new(items);
        let (mut room, mut fills) = ([0; 32], Vec::new());
        loop {
            let mut out = Out::stack(&mut room);
            let count = (work.fill)(&mut feed, &mut out, 2);
            fills.push((count, out.len()));
            if count == 0 {
                break;
            }
        }
        assert_eq!(fills, [(2, 10), (1, 5), (0, 0)]);
        let Ahead::Bytes(bytes) = std::mem::replace(&mut feed.ahead, Ahead::None) else { panic!("kept") };
        assert_eq!(bytes.len(), 41);
        let mut out = Out::stack(&mut room);
        assert_eq!(((work.fill)(&mut feed, &mut out, 9), out.len()), (2, 10));
        assert!(feed.is_empty());
        assert_eq!(feed.rest(), Some(0));
    }

    #[test]
    fn what_was_too_large_for_one_room_is_the_first_in_the_next() {
        let items = ["abc", "defgh"].into_iter();
        let work = work(|text: String| text.len() as u32, &items);
        let mut feed = Feed::new(items);
        let (mut small, mut large) = ([0; 8], [0; 64]);
        let mut out = Out::stack(&mut small);
        assert_eq!(((work.fill)(&mut feed, &mut out, 9), out.len()), (1, 4));
        assert_eq!((feed.count_ahead(), feed.rest()), (1, Some(1)));
        let mut out = Out::stack(&mut large);
        assert_eq!(((work.fill)(&mut feed, &mut out, 9), out.len()), (1, 6));
        drop(out);
        let mut bytes = &large[..6];
        (work.skip)(&mut bytes).expect("one item");
        assert!(bytes.is_empty());
    }
}
