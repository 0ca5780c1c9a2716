//! When a consumer that has caught up lets messages gather: docs/decisions/0010.

use ginnel_layout::atomic::AtomicU64;
use ginnel_layout::atomic::Ordering::Relaxed;

/// Most tries left out: a round trip then pays for a thousandth of one.
const LEFT_OUT_MAX: u64 = 1024;

/// Whether it pays to let messages gather when there are none, learned by trying: as long as a try brings several, at
/// each catching up; after each try that brings none, only after twice as many.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// `{tries to leave out now:32 | tries to leave out after the next failure:32}`. A hint: races cost a try.
    word: AtomicU64,
}

impl Pace {
    pub(super) fn may_try(&self) -> bool {
        let word = self.word.load(Relaxed);
        let left_out = word >> 32;
        if left_out > 0 {
            self.word.store(word - (1 << 32), Relaxed);
        }
        left_out == 0
    }

    pub(super) fn learn(&self, came: bool) {
        let before = self.word.load(Relaxed) & 0xffff_ffff;
        let left_out = if came { 0 } else { (2 * before).clamp(1, LEFT_OUT_MAX) };
        self.word.store(left_out << 32 | left_out, Relaxed);
    }
}
