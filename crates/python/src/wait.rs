//! Waiting: without the GIL, in slices, so that signals are answered.
//!
//! The core goes on waiting after a signal. Python must run its handlers in the main thread, so a wait here has slices
//! of [`SLICE`]: after each, handlers run, and what they raise (Ctrl-C) ends the wait.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// How late a signal is answered at most.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// How long a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// As long as it takes.
    Forever,
}

impl Patience {
    /// What `block` and `timeout` (in seconds; negative: no time) mean together.
    ///
    /// # Errors
    /// `TypeError`, `ValueError` for what is no time.
    pub(crate) fn of(block: bool, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        if !block {
            return Ok(Self::None);
        }
        let Some(timeout) = timeout.filter(|timeout| !timeout.is_none()) else { return Ok(Self::Forever) };
        let seconds: f64 = timeout
            .extract()
            .map_err(|_| PyTypeError::new_err("a timeout is a number of seconds or None"))?;
        if seconds.is_nan() {
            return Err(PyValueError::new_err("a timeout is a number of seconds"));
        }
        if seconds <= 0.0 {
            return Ok(Self::None);
        }
        let time =
            Duration::try_from_secs_f64(seconds).ok().and_then(|time| Instant::now().checked_add(time));
        // Beyond what a clock can say.
        Ok(time.map_or(Self::Forever, Self::Until))
    }

    /// What is left, at most one slice. `None`: nothing.
    fn slice(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Forever => Some(SLICE),
            Self::Until(end) => {
                let left = end.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(left.min(SLICE))
            }
        }
    }
}

/// Waits with `attempt`, which waits for at most the time it is given and answers `None` when that is over.
/// `None`: the patience has ended. The caller has tried once without waiting.
///
/// # Errors
/// What a signal handler raised; those of `attempt`.
pub(crate) fn patiently<T: Send>(
    py: Python<'_>,
    patience: Patience,
    mut attempt: impl FnMut(Duration) -> PyResult<Option<T>> + Send,
) -> PyResult<Option<T>> {
    while let Some(slice) = patience.slice() {
        if let Some(value) = py.detach(|| attempt(slice))? {
            return Ok(Some(value));
        }
        py.check_signals()?;
    }
    Ok(None)
}
