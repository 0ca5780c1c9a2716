//! The one door to atomics: newtypes over `core`'s, or over loom's under `cfg(loom)`.
//!
//! Everything else in the workspace is forbidden (by `clippy.toml`) to name the originals. Two widths exist
//! because shared words are `u32` (futexes) or `u64` (everything else). The newtypes are
//! `repr(transparent)`, so outside loom a word of shared memory *is* one of these.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the one place that may name them"
)]

#[cfg(not(loom))]
use core::sync::atomic as imp;
#[cfg(loom)]
use loom::sync::atomic as imp;

pub use imp::Ordering;

macro_rules! atomic_word {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub struct $name(imp::$name);

        impl $name {
            /// A word holding `value`.
            #[cfg(not(loom))]
            pub const fn new(value: $value) -> Self {
                Self(imp::$name::new(value))
            }

            /// A word holding `value`.
            #[cfg(loom)]
            pub fn new(value: $value) -> Self {
                Self(imp::$name::new(value))
            }

            /// Reads the word.
            #[inline(always)]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// Writes the word.
            #[inline(always)]
            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }

            /// Writes the word and gives what was there.
            #[inline(always)]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, order)
            }

            /// Writes `new` if the word is `current`; gives what was there either way.
            ///
            /// # Errors
            /// The value found, where it was not `current`.
            #[inline(always)]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(current, new, success, failure)
            }

            /// Adds, wrapping; gives what was there.
            #[inline(always)]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_add(value, order)
            }

            /// Subtracts, wrapping; gives what was there.
            #[inline(always)]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_sub(value, order)
            }

            /// Sets bits; gives what was there.
            #[inline(always)]
            pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_or(value, order)
            }

            /// Keeps only the bits of `value`; gives what was there.
            #[inline(always)]
            pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.0.fetch_and(value, order)
            }
        }
    };
}

atomic_word!(
    /// A shared 32-bit word: what a futex sleeps on.
    AtomicU32,
    u32
);
atomic_word!(
    /// A shared 64-bit word: positions, states, claims.
    AtomicU64,
    u64
);

impl AtomicU32 {
    /// The word as the futex system call wants it. For `sync::futex` only.
    #[cfg(not(loom))]
    pub fn futex_word(&self) -> &core::sync::atomic::AtomicU32 {
        &self.0
    }
}

/// A memory fence between threads and, as the words are shared, between processes.
#[inline(always)]
pub fn fence(order: Ordering) {
    imp::fence(order);
}

/// Tells the core that this is a spin loop (`PAUSE` on x86). Under loom it lets another thread run.
#[inline(always)]
pub fn spin_loop() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
