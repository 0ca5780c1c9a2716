//! The bar of a map: how many items are done.
//!
//! It is drawn by the thread that collects, while it waits, and every so often while it does not: never by another, and
//! never for each item.

use std::time::Duration;

use ginnel_sync::deadline::now_ns;
use indicatif::{ProgressBar, ProgressStyle};

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(100);

/// Results between two looks at the clock.
const STRIDE: u64 = 64;

/// See the module.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// When it is drawn next.
    next_ns: u64,
}

impl Bar {
    /// For so many items, if that is known.
    pub(crate) fn new(total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        // The template is ours; one that cannot be read would leave the style as it is.
        if total.is_some()
            && let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
        {
            bar.set_style(style);
        }
        Self { bar, next_ns: 0 }
    }

    pub(crate) fn interval(&self) -> Duration {
        INTERVAL
    }

    /// So many are done.
    pub(crate) fn set(&mut self, done: u64) {
        self.next_ns = now_ns() + INTERVAL.as_nanos() as u64;
        self.bar.set_position(done);
    }

    /// So many were given out.
    pub(crate) fn gave(&mut self, given: u64) {
        if given.is_multiple_of(STRIDE) && now_ns() >= self.next_ns {
            self.set(self.bar.position().max(given));
        }
    }

    /// All of them.
    pub(crate) fn end(self, given: u64) {
        self.bar.set_position(given);
        self.bar.finish();
    }
}
