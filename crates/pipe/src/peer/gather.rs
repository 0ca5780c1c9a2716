//! Putting long messages together, from a sender that nobody trusts.
//!
//! A message that is too long for one record comes as FIRST, MORE.. LAST. FIRST begins with the length of the whole. What
//! a sender began and gave up (its deadline passed) is followed by the next FIRST or WHOLE, and dropped then.
//!
//! - I1 the buffer holds no more than was copied from the ring, and never more than the longest message: an announced
//!   length is compared, not allocated.
//! - I2 between two moments at which the ring was empty or a message was complete, a bounded number of bytes is copied:
//!   every part but the last carries [`PART_MIN`] bytes or more, and what is dropped counts.
//!
//! So a call that gathers takes bounded time, whatever the other side sends and how fast.

use ginnel_layout::record::kind;
use ginnel_queue::lane::LaneError;
use ginnel_queue::untrusted::Receiver;

/// Bytes of the length in front of a first part.
pub(super) const TOTAL: usize = 8;

/// Fewest bytes of a part that is not the last.
const PART_MIN: u64 = 64;

/// Bytes of given-up messages that may be copied in vain in one go, besides twice the longest message.
const DROPPED_SPARE: u64 = 1 << 20;

/// Largest buffer that is kept for the next long message.
const KEPT: usize = 1 << 20;

/// What is at the front of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// A message of so many bytes, in the ring.
    Whole(usize),
    /// A message in the buffer.
    Gathered,
}

/// The message that is being put together.
#[derive(Debug)]
pub(super) struct Gather {
    buffer: Vec<u8>,
    /// Bytes that it is to have. None: no message is begun.
    total: Option<u64>,
    done: bool,
    /// Longest message, in bytes.
    longest: u64,
    dropped: u64,
}

impl Gather {
    pub(super) fn new(longest: u64) -> Self {
        Self { buffer: Vec::new(), total: None, done: false, longest, dropped: 0 }
    }

    /// Takes parts until a message is whole. `owed` is told whether the other side polls for room.
    ///
    /// # Errors
    /// As those of the receiver; `Corrupted` for parts that no sender of ours makes, after which nothing more is to be taken.
    pub(super) fn advance(
        &mut self,
        receiver: &mut Receiver,
        owed: &mut dyn FnMut(bool),
    ) -> Result<Front, LaneError> {
        while !self.done {
            let (len, kind) = receiver.peek().inspect_err(|_| self.dropped = 0)?;
            match kind {
                kind::WHOLE if len <= self.longest => {
                    self.drop_begun(receiver)?;
                    return Ok(Front::Whole(len as usize));
                }
                kind::FIRST => self.begin(receiver, len)?,
                kind::MORE | kind::LAST => self.go_on(receiver, len, kind)?,
                _ => return Err(self.refuse(receiver)),
            }
            owed(receiver.release());
        }
        self.dropped = 0;
        Ok(Front::Gathered)
    }

    /// The message that was gathered; it stays until [`Gather::taken`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// A message was delivered.
    pub(super) fn taken(&mut self) {
        self.dropped = 0;
        if std::mem::take(&mut self.done) {
            self.total = None;
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
            self.buffer.clear();
        }
    }

    fn begin(&mut self, receiver: &Receiver, len: u64) -> Result<(), LaneError> {
        self.drop_begun(receiver)?;
        let mut total = [0; TOTAL];
        receiver.read(0, &mut total);
        let total = u64::from_le_bytes(total);
        let here = len.saturating_sub(TOTAL as u64);
        if here < PART_MIN || total > self.longest || total <= here {
            return Err(self.refuse(receiver));
        }
        receiver.append(TOTAL as u64, &mut self.buffer);
        self.total = Some(total);
        Ok(())
    }

    fn go_on(&mut self, receiver: &Receiver, len: u64, kind: u8) -> Result<(), LaneError> {
        let is_last = kind == kind::LAST;
        let Some(left) = self.total.and_then(|total| total.checked_sub(self.buffer.len() as u64)) else {
            return Err(self.refuse(receiver));
        };
        let fits = if is_last { len == left } else { len >= PART_MIN && len < left };
        if !fits {
            return Err(self.refuse(receiver));
        }
        receiver.append(0, &mut self.buffer);
        self.done = is_last;
        Ok(())
    }

    /// The sender has given up what it began (I2).
    fn drop_begun(&mut self, receiver: &Receiver) -> Result<(), LaneError> {
        if self.total.take().is_some() {
            self.dropped = self.dropped.saturating_add(self.buffer.len() as u64);
            self.buffer.clear();
            if self.dropped > self.longest.saturating_mul(2).saturating_add(DROPPED_SPARE) {
                return Err(self.refuse(receiver));
            }
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, receiver: &Receiver) -> LaneError {
        receiver.condemn();
        self.buffer = Vec::new();
        LaneError::Corrupted
    }
}
