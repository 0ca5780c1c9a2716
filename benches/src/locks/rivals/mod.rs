//! What others offer between processes, and the mutex of the standard library for scale.

pub(crate) mod eventfd;
pub(crate) mod posix_sem;
pub(crate) mod pthread;
pub(crate) mod raw;
pub(crate) mod standard;
