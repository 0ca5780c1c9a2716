//! The traits of `raw_sync` over `sync::event`.
//!
//! ```text
//! the caller's bytes, from the first multiple of 128 on: byte 0 EventWords | 256 magic u32
//! ```
//! Mappings begin at a page, so that multiple is the same place in every process.
//!
//! - I1 the memory that `new` and `from_existing` were given has `size_of` bytes, stays mapped as long as the event is
//!   used, and holds nothing else (their contract, which is that of the traits).
//! - I2 the front is aligned up inside of it, and is atomics only, so any bytes are a front.
//!
//! - E1 magic stored (Release), when all else is -> magic found (Acquire): the rest of the front.
#![allow(unsafe_code, reason = "an event in memory of the caller's")]

use std::error::Error as Failure;
use std::fmt;
use std::ptr::NonNull;

use ginnel_layout::ParticipantId;
use ginnel_layout::atomic::AtomicU32;
use ginnel_layout::atomic::Ordering::{Acquire, Relaxed, Release};
use ginnel_layout::line::LINE;
use ginnel_layout::signal::EventWords;
use ginnel_sync::{Deadline, Mode, Stop, Waiter, event};
use raw_sync::Timeout;
use raw_sync::events::{EventImpl, EventInit, EventState};

use crate::error::{Error, ErrorKind};

/// "GEV1", what the memory of an event says.
const MAGIC: u32 = 0x3156_4547;

type Outcome<T> = Result<T, Box<dyn Failure>>;

#[repr(C, align(128))]
#[derive(Default)]
struct Front {
    words: EventWords,
    magic: AtomicU32,
}

const _: () = assert!(align_of::<Front>() == LINE && size_of::<Front>() == 3 * LINE);

/// An event in shared memory of any kind, for code that is written against `raw_sync::events`.
///
/// A wait that times out is an `Err` with an [`Error`] of kind `Timeout`, as there. A manual event stays set until it is
/// cleared; of an auto-reset event each wait takes one signal.
///
/// ```
/// use ginnel_object::compat::Event;
/// use raw_sync::Timeout;
/// use raw_sync::events::{EventInit, EventState};
///
/// let mut memory = vec![0_u8; Event::size_of(None)];
/// // SAFETY: the memory is as long as it has to be, and lives longer than the event.
/// let (event, used) = unsafe { Event::new(memory.as_mut_ptr(), true)? };
/// assert!(used <= memory.len());
/// event.set(EventState::Signaled)?;
/// event.wait(Timeout::Infinite)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Event {
    front: NonNull<Front>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &event::is_set(self.words())).finish()
    }
}

impl Event {
    fn words(&self) -> &EventWords {
        // SAFETY: I1, I2.
        let front = unsafe { self.front.as_ref() };
        &front.words
    }

    /// Where the front lies in the caller's bytes, and how many of them are used.
    fn place(memory: *mut u8) -> Outcome<(NonNull<Front>, usize)> {
        let padding = padding_of(memory);
        let front = NonNull::new(memory.wrapping_add(padding).cast())
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "an event at address zero"))?;
        Ok((front, padding + size_of::<Front>()))
    }
}

fn padding_of(memory: *mut u8) -> usize {
    memory.addr().wrapping_neg() % LINE
}

impl EventInit for Event {
    fn size_of(addr: Option<*mut u8>) -> usize {
        size_of::<Front>() + addr.map_or(LINE - 1, padding_of)
    }

    #[allow(clippy::new_ret_no_self, reason = "the trait gives a boxed object")]
    unsafe fn new(memory: *mut u8, auto_reset: bool) -> Outcome<(Box<dyn EventImpl>, usize)> {
        let (place, used) = Self::place(memory)?;
        // SAFETY: I1, I2: room for a front, which nobody else uses yet.
        unsafe { place.write(Front::default()) };
        // SAFETY: I1, I2.
        let front = unsafe { place.as_ref() };
        front.words.control.auto.store(u32::from(auto_reset), Relaxed);
        // From here on others may believe it.
        front.magic.store(MAGIC, Release); // E1
        Ok((Box::new(Self { front: place }), used))
    }

    unsafe fn from_existing(memory: *mut u8) -> Outcome<(Box<dyn EventImpl>, usize)> {
        let (place, used) = Self::place(memory)?;
        // SAFETY: I1, I2.
        let front = unsafe { place.as_ref() };
        // E1
        if front.magic.load(Acquire) != MAGIC {
            return Err(Error::new(ErrorKind::Mismatch, "there is no event of ginnel in this memory").into());
        }
        Ok((Box::new(Self { front: place }), used))
    }
}

impl EventImpl for Event {
    fn wait(&self, timeout: Timeout) -> Outcome<()> {
        let deadline = match timeout {
            Timeout::Infinite => Deadline::NEVER,
            Timeout::Val(duration) => Deadline::after(duration),
        };
        let words = self.words();
        let (since, me) = (event::now(words), ParticipantId::from_index(0));
        let mut waiter = Waiter::new(Mode::Adaptive);
        loop {
            match event::wait(words, since, me, &mut waiter, deadline) {
                Ok(()) => return Ok(()),
                Err(Stop::Interrupted) => {}
                Err(Stop::TimedOut) => {
                    return Err(Error::new(ErrorKind::Timeout, "the event was not set in time").into());
                }
            }
        }
    }

    fn set(&self, state: EventState) -> Outcome<()> {
        match state {
            EventState::Clear => event::clear(self.words()),
            EventState::Signaled => event::set(self.words()),
        }
        Ok(())
    }
}
