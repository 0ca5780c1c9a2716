//! What a chunk leaves behind that did not come to its end.
//!
//! | it ended | done | the item after that | the others |
//! |---|---|---|---|
//! | with a value that did not fit, or carries handles | as its progress says | that value | again |
//! | with a panic, or a value that cannot cross | the same | that failure | again |
//! | because it was asked to | the same | again | again |
//! | with its worker | the same | again, alone, counted as a try; or how the worker ended | again, not counted |
//!
//! What goes again travels as the bytes it was: items of a chunk carry nothing.

use std::collections::BTreeMap;

use ginnel_object::bridge::crew::End;
use ginnel_object::{Error, Message};
use ginnel_process::routine::Skip;

use crate::error::TaskError;
use crate::outcome::{Lost, Outcome, Part};

/// Items that have no value, for one reason.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) first: u64,
    pub(crate) items: u32,
    pub(crate) error: TaskError,
}

/// Items that go again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) items: u32,
    pub(super) bytes: Vec<u8>,
    /// Where the first of them begins.
    pub(super) at: usize,
    /// How often they were tried.
    pub(super) attempt: u32,
}

impl Again {
    pub(super) fn of_one(bytes: Vec<u8>) -> Self {
        Self { items: 1, bytes, at: 0, attempt: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Takes the first item off. `None`: nobody can tell where it ends.
    pub(super) fn split(&mut self, skip: Skip) -> Option<Self> {
        let mut behind = self.bytes();
        let before = behind.len();
        skip(&mut behind).ok()?;
        let end = self.at + before - behind.len();
        let first = Self { items: 1, bytes: self.bytes[self.at..end].to_vec(), at: 0, attempt: self.attempt };
        self.items -= 1;
        self.at = end;
        Some(first)
    }
}

/// Items that go again, by the number of the first.
pub(super) type Queue = BTreeMap<u64, Again>;

/// Which items a piece has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) items: u32,
}

impl Span {
    /// Without the first `count`.
    pub(super) fn after(self, count: u32) -> Self {
        Self { first: self.first + u64::from(count), items: self.items.saturating_sub(count) }
    }

    /// All of them fail.
    pub(super) fn fails(self, error: TaskError) -> Option<Failure> {
        (self.items > 0).then_some(Failure { first: self.first, items: self.items, error })
    }

    /// Only the first does.
    fn first_fails(self, error: TaskError) -> Option<Failure> {
        Self { items: self.items.min(1), ..self }.fails(error)
    }
}

/// Decodes the values of the items that are done. Those that cannot be decoded have failed, and so have the ones behind
/// them, which cannot be found.
///
/// # Errors
/// How many could be decoded, and why the next one could not.
pub(super) fn decode<R: Message>(
    mut bytes: &[u8],
    items: u32,
    values: &mut Vec<R>,
) -> Result<(), (u32, Error)> {
    values.reserve(items as usize);
    for done in 0..items {
        match R::take(&mut bytes) {
            Ok(value) => values.push(value),
            Err(why) => return Err((done, why)),
        }
    }
    Ok(())
}

/// Sorts out a chunk that a worker committed before its last item. `span`: the items behind those that are done.
pub(super) fn ended_early<R: Message>(
    part: Part,
    span: Span,
    skip: Skip,
    queue: &mut Queue,
    values: &mut Vec<R>,
) -> Option<Failure> {
    let Part { results, rest } = part;
    if results.end() == End::None {
        again(queue, span, rest, 0);
        return None;
    }
    let mut behind = rest.as_slice();
    let skipped = skip(&mut behind);
    let failure = match Outcome::Taken(results).into_result() {
        Ok(value) => {
            values.push(value);
            None
        }
        // Nobody can tell where the next item begins.
        Err(error) if skipped.is_err() => return span.fails(error),
        Err(error) => span.first_fails(error),
    };
    match skipped {
        Ok(()) => again(queue, span.after(1), behind.to_vec(), 0),
        Err(why) => return span.after(1).fails(TaskError::Decode(why)),
    }
    failure
}

/// Sorts out a chunk whose worker died. `span`: the items behind those that are done; the first of them ran.
pub(super) fn died(lost: Lost, span: Span, skip: Skip, retries: u32, queue: &mut Queue) -> Option<Failure> {
    let Lost { cause, attempt, part: Part { mut rest, .. } } = lost;
    let mut behind = rest.as_slice();
    if skip(&mut behind).is_err() {
        return span.fails(cause);
    }
    again(queue, span.after(1), behind.to_vec(), 0);
    if matches!(cause, TaskError::Died(_)) && attempt < retries {
        rest.truncate(rest.len() - behind.len());
        again(queue, Span { items: span.items.min(1), ..span }, rest, attempt + 1);
        return None;
    }
    span.first_fails(cause)
}

fn again(queue: &mut Queue, span: Span, bytes: Vec<u8>, attempt: u32) {
    if span.items > 0 {
        queue.insert(span.first, Again { items: span.items, bytes, at: 0, attempt });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_until_one_cannot_be() {
        let mut values: Vec<u32> = vec![7];
        assert!(decode(&[1, 2, 3], 3, &mut values).is_ok());
        assert_eq!(values, [7, 1, 2, 3]);
        let (done, _) = decode(&[4, 0xff], 2, &mut values).expect_err("cut short");
        assert_eq!((done, values.as_slice()), (1, [7, 1, 2, 3, 4].as_slice()));
    }

    #[test]
    fn a_span_fails_as_a_whole_or_in_front() {
        let span = Span { first: 10, items: 5 }.after(2);
        let failed = |failure: Option<Failure>| failure.map(|failure| (failure.first, failure.items));
        assert_eq!(failed(span.fails(TaskError::TimedOut)), Some((12, 3)));
        assert_eq!(failed(span.first_fails(TaskError::TimedOut)), Some((12, 1)));
        assert_eq!(failed(span.after(3).fails(TaskError::TimedOut)), None);
        assert_eq!(failed(span.after(3).first_fails(TaskError::TimedOut)), None);
    }
}
