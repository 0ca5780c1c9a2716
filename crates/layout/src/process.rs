//! The process record: what a starter and its child have to say to each other, one page a child.
//!
//! ```text
//! byte 0     step  pid  thunk  image  starter_pid  zero  started_ns       the rest of the line is zero
//!            0     4    8      16     24           28    32
//! byte 128   drawer BOOT     word  kind  len  zero | bytes[880]     how the child is to be, no handles
//! byte 1024  drawer ARGS     word  kind  len  zero | bytes[1520]    what its function is called with
//! byte 2560  drawer RESULT   word  kind  len  zero | bytes[1520]    what it ended with
//!
//! step         {spare:11 | participant:13 | st:8}
//! drawer word  0 EMPTY, 1 FULL, 2 TAKEN
//! kind         {LONG:1 | parcels:31}, as in the slots of a queue
//!
//! REQUESTED --start, by the child d--> STARTED(d) -> RUNNING(d) -> RETURNED(d) | PANICKED(d)
//!     |                                    |             |
//!     +--cancel--> CANCELLED               +-------------+-------> UNDECODABLE(d)
//! ```
//!
//! | field | written by | read by | after a crash |
//! |---|---|---|---|
//! | thunk, image, starter_pid, started_ns, BOOT | the starter, before the object is LIVE | the child, tools | as they are |
//! | ARGS | the starter, before the object is LIVE | the child, once; the starter, when the child is dead or will never be; whoever takes the record apart | FULL: whoever may take it, takes it |
//! | RESULT | the child: bytes, then FULL | the starter; whoever takes the record apart | FULL: stays until one of them takes it. EMPTY: there is no result |
//! | pid | the child, before STARTED | tools | 0: no child came |
//! | step | the starter REQUESTED, before LIVE; CANCELLED and STARTED by CAS from it, so one of them; then the child alone | the starter | says how far it came |
//!
//! | killed | what is left | who repairs |
//! |---|---|---|
//! | starter, before the object is LIVE | CREATING; parcels of its own, not in flight | recovery frees them |
//! | starter, after | a record that only the child holds, or nobody | the last one out takes ARGS and RESULT apart |
//! | child, before STARTED | REQUESTED | the starter cancels, and takes ARGS back |
//! | child, before RUNNING, with some parcels received | ARGS FULL: they stay in flight | the starter takes ARGS back, or who takes the record apart |
//! | child, after RUNNING | what it held | recovery, as with anybody |
//! | child, RESULT FULL and no last step | RESULT FULL | the starter discards it: the step is the commit |
//! | child, after its last step | a result | the starter takes it |
//! | who takes a drawer, before TAKEN | FULL | the next who may take it receives everything again |
//! | who takes a drawer, after TAKEN | parcels of its own, not in flight | recovery frees them |
//!
//! Who may write which word when stands here; the edges and what travels in a drawer stand in the crate `object`, file
//! `process_record.rs`.

use crate::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
use crate::line::{LINE, PAGE};
use crate::participant::ParticipantId;

/// Bytes of the drawer BOOT.
pub const BOOT_MAX: usize = 880;

/// Bytes of the drawers ARGS and RESULT. What is longer travels as an object of its own.
pub const INLINE_MAX: usize = 1520;

/// States of a drawer.
pub mod drawer {
    /// Nothing was put in.
    pub const EMPTY: u32 = 0;
    /// What is in it is complete, and on its way.
    pub const FULL: u32 = 1;
    /// Somebody has received what was in it.
    pub const TAKEN: u32 = 2;
}

/// A place for one message: `N` words of bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Drawer<const N: usize> {
    /// One of [`mod@drawer`].
    pub word: AtomicU32,
    /// `{LONG:1 | parcels:31}`.
    pub kind: AtomicU32,
    /// Bytes in it.
    pub len: AtomicU32,
    spare: AtomicU32,
    /// They, eight a word in memory order, the last word zero-padded.
    pub bytes: [AtomicU64; N],
}

/// The drawer of the settings.
pub type BootDrawer = Drawer<{ BOOT_MAX / 8 }>;

/// A drawer for a message that may carry handles.
pub type MessageDrawer = Drawer<{ INLINE_MAX / 8 }>;

/// The record.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct ProcessWords {
    /// [`Step`].
    pub step: AtomicU32,
    /// The child's process id; 0: not known yet.
    pub pid: AtomicU32,
    /// Which function: an offset in the image.
    pub thunk: AtomicU64,
    /// Which image, by its fingerprint.
    pub image: AtomicU64,
    /// The starter's process id.
    pub starter_pid: AtomicU32,
    spare: AtomicU32,
    /// When it was made, `CLOCK_MONOTONIC`, ns. For people.
    pub started_ns: AtomicU64,
    #[cfg(not(loom))]
    reserved: [AtomicU64; 11],
    /// Settings, without handles.
    pub boot: BootDrawer,
    /// Arguments.
    pub args: MessageDrawer,
    /// The result.
    pub result: MessageDrawer,
}

/// How far a child came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum St {
    /// It is to be started.
    Requested,
    /// It lives, and is a participant.
    Started,
    /// It has its arguments.
    Running,
    /// Its function returned; the result is the value.
    Returned,
    /// Its function panicked; the result tells of it.
    Panicked,
    /// Its arguments are no values of the wanted types; the result is the error. Its function never ran.
    Undecodable,
    /// The start was given up before it came.
    Cancelled,
}

impl St {
    const fn bits(self) -> u32 {
        match self {
            Self::Requested => 1,
            Self::Started => 2,
            Self::Running => 3,
            Self::Returned => 4,
            Self::Panicked => 5,
            Self::Undecodable => 6,
            Self::Cancelled => 7,
        }
    }

    const fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits {
            1 => Self::Requested,
            2 => Self::Started,
            3 => Self::Running,
            4 => Self::Returned,
            5 => Self::Panicked,
            6 => Self::Undecodable,
            7 => Self::Cancelled,
            _ => return None,
        })
    }

    /// Is it a last step, with a result?
    #[must_use]
    pub const fn has_result(self) -> bool {
        matches!(self, Self::Returned | Self::Panicked | Self::Undecodable)
    }
}

/// The step word, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How far it came.
    pub st: St,
    /// The child, from STARTED on.
    pub participant: Option<ParticipantId>,
}

impl Step {
    /// What a record begins with.
    pub const REQUESTED: Self = Self { st: St::Requested, participant: None };

    /// What a start that was given up ends with.
    pub const CANCELLED: Self = Self { st: St::Cancelled, participant: None };

    /// A step of the child `id`.
    #[must_use]
    pub const fn of(st: St, id: ParticipantId) -> Self {
        Self { st, participant: Some(id) }
    }

    /// Puts it together.
    #[must_use]
    pub const fn bits(self) -> u32 {
        let participant = match self.participant {
            Some(id) => id.bits() as u32,
            None => 0,
        };
        (participant << 8) | self.st.bits()
    }

    /// Takes a word apart. `None`: a word that no correct process stores.
    #[must_use]
    pub const fn from_bits(word: u32) -> Option<Self> {
        let Some(st) = St::from_bits(word & 0xff) else { return None };
        let participant = ParticipantId::from_bits((word >> 8) as u64);
        let owned = !matches!(st, St::Requested | St::Cancelled);
        if participant.is_some() == owned && (owned || word >> 8 == 0) {
            Some(Self { st, participant })
        } else {
            None
        }
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<ProcessWords>() == PAGE);
    assert!(offset_of!(ProcessWords, pid) == 4);
    assert!(offset_of!(ProcessWords, thunk) == 8);
    assert!(offset_of!(ProcessWords, image) == 16);
    assert!(offset_of!(ProcessWords, starter_pid) == 24);
    assert!(offset_of!(ProcessWords, started_ns) == 32);
    assert!(offset_of!(ProcessWords, boot) == LINE);
    assert!(offset_of!(ProcessWords, args) == 1024);
    assert!(offset_of!(ProcessWords, result) == 2560);
    assert!(offset_of!(MessageDrawer, bytes) == 16);
    assert!(BOOT_MAX.is_multiple_of(8) && INLINE_MAX.is_multiple_of(8));
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn steps_survive_the_word() {
        let id = ParticipantId::from_index(255);
        let of_the_child = [St::Started, St::Running, St::Returned, St::Panicked, St::Undecodable];
        for step in
            of_the_child.map(|st| Step::of(st, id)).into_iter().chain([Step::REQUESTED, Step::CANCELLED])
        {
            assert_eq!(Step::from_bits(step.bits()), Some(step));
        }
    }

    #[test]
    fn words_that_nobody_stores_are_refused() {
        for word in [0, 8, 255, 2, 4, (1 << 8) | 1, (1 << 8) | 7, (1 << 21) | 2, u32::MAX] {
            assert_eq!(Step::from_bits(word), None, "{word:x}");
        }
    }
}
