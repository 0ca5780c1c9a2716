//! How large the arguments and results of each function were, so that the next ones find buffers of their size.
//!
//! Functions whose values fit their slots never come here: a look at one word says that nothing is known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ginnel_layout::atomic::{AtomicU32, Ordering::Relaxed};
use ginnel_layout::pool::INLINE_MAX;

/// What is known of one function, in bytes. 0: it fits the slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) args: usize,
    pub(crate) result: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    /// 1: something is known.
    is_any: AtomicU32,
    /// By the place of the routine; the one last asked for in front.
    functions: Mutex<Vec<(u64, Sizes)>>,
}

impl Usual {
    fn functions(&self) -> MutexGuard<'_, Vec<(u64, Sizes)>> {
        // Changed in one step.
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next ones of a function will need.
    pub(crate) fn of(&self, routine: u64) -> Sizes {
        // Only a hint: whoever misses the first store sends one message more as a letter.
        if self.is_any.load(Relaxed) == 0 {
            return Sizes::default();
        }
        let mut functions = self.functions();
        let Some(at) = functions.iter().position(|(known, _)| *known == routine) else {
            return Sizes::default();
        };
        functions.swap(0, at);
        functions[0].1
    }

    /// Arguments were this large.
    pub(crate) fn saw_args(&self, routine: u64, len: usize) {
        self.saw(routine, len, |sizes| &mut sizes.args);
    }

    /// A result was this large.
    pub(crate) fn saw_result(&self, routine: u64, len: usize) {
        self.saw(routine, len, |sizes| &mut sizes.result);
    }

    fn saw(&self, routine: u64, len: usize, which: impl Fn(&mut Sizes) -> &mut usize) {
        if len <= INLINE_MAX && self.is_any.load(Relaxed) == 0 {
            return;
        }
        let mut functions = self.functions();
        match functions.iter_mut().find(|(known, _)| *known == routine) {
            Some((_, sizes)) => {
                let known = which(sizes);
                *known = decayed(*known, len);
            }
            None if len > INLINE_MAX => {
                let mut sizes = Sizes::default();
                *which(&mut sizes) = len;
                functions.push((routine, sizes));
                self.is_any.store(1, Relaxed);
            }
            None => {}
        }
    }
}

/// The largest of late: a smaller one takes a sixteenth of the difference away.
fn decayed(known: usize, len: usize) -> usize {
    let next = if len >= known { len } else { known - (known - len).div_ceil(16) };
    if next > INLINE_MAX { next } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_not_known_and_what_does_not_is() {
        let usual = Usual::default();
        usual.saw_args(1, INLINE_MAX);
        assert_eq!((usual.of(1), usual.is_any.load(Relaxed)), (Sizes::default(), 0));
        usual.saw_args(1, 5000);
        usual.saw_result(2, 900);
        assert_eq!(usual.of(1), Sizes { args: 5000, result: 0 });
        assert_eq!(usual.of(2), Sizes { args: 0, result: 900 });
        assert_eq!(usual.of(3), Sizes::default());
    }

    #[test]
    fn what_was_large_once_is_forgotten() {
        let usual = Usual::default();
        usual.saw_result(7, 1 << 20);
        let mut turns = 0;
        while usual.of(7).result != 0 {
            usual.saw_result(7, 8);
            turns += 1;
        }
        assert!((16..1000).contains(&turns), "{turns}");
    }
}
