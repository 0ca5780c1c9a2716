//! A long message as far as it has come: in memory of the receiver's own.

use crate::carry::Incoming;
use crate::error::{Error, ErrorKind, Result};

/// Largest buffer that is kept for the next long message.
const KEPT: usize = 2 << 20;

/// The message that is being gathered, or has been.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    body: Vec<u8>,
    /// Bytes that the body will have.
    total: usize,
    stage: Stage,
    /// What it carries, which came with the last part.
    parcels: Option<Incoming>,
    redelivered: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    Begun,
    Complete,
}

impl Gathered {
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        self.stage == Stage::Nothing
    }

    pub(super) fn is_begun(&self) -> bool {
        self.stage == Stage::Begun
    }

    pub(super) fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// Bytes of the message, all that will come among them.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// The body of a message that is complete.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// A message of `total` bytes begins.
    ///
    /// # Errors
    /// `Full` when there is no memory for it.
    pub(super) fn begin(&mut self, total: usize, redelivered: bool) -> Result<()> {
        self.clear();
        self.body
            .try_reserve_exact(total)
            .map_err(|_| Error::new(ErrorKind::Full, format!("no memory for a message of {total} bytes")))?;
        (self.total, self.stage, self.redelivered) = (total, Stage::Begun, redelivered);
        Ok(())
    }

    /// Takes bytes in. False: they are more than were announced.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.total - self.body.len();
        if fits {
            self.body.extend_from_slice(bytes);
        }
        fits
    }

    /// Nothing more will come. False: it is less than was announced.
    pub(super) fn complete(&mut self, parcels: Option<Incoming>) -> bool {
        (self.stage, self.parcels) = (Stage::Complete, parcels);
        self.body.len() == self.total
    }

    /// What the message carries, once.
    pub(super) fn parcels(&mut self) -> Option<Incoming> {
        self.parcels.take()
    }

    /// The body for good.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.stage = Stage::Nothing;
        std::mem::take(&mut self.body)
    }

    /// Forgets the message, and what it carries. Keeps the memory, if it is not much.
    pub(super) fn clear(&mut self) {
        (self.total, self.stage, self.parcels) = (0, Stage::Nothing, None);
        self.body.clear();
        self.body.shrink_to(KEPT);
    }
}
