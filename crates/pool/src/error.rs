//! Why there is no value of a task.

use std::fmt;

use ginnel_object::{Error, ErrorKind};
use ginnel_process::{Panic, ProcessError};
use serde::{Deserialize, Serialize};

/// Why there is no value of a task.
///
/// The value comes first: a task that returned in time and whose worker was killed right after it has one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// Its function panicked. The worker lives on.
    Panicked(Panic),
    /// Its worker died under it: killed by a signal, or by `exit`. All that it held is recovered. With
    /// [`OnWorkerDeath::Retry`](crate::OnWorkerDeath::Retry), the last worker of several.
    Died(ProcessError),
    /// It ran longer than the pool allows, and its worker was killed for it.
    TimedOut,
    /// It was cancelled before a worker took it.
    Cancelled,
    /// Its arguments or its result did not cross. Where it was the arguments, the function did not run.
    Decode(Error),
    /// The pool could not take it or could not run it: closed, broken, without room.
    Pool(Error),
}

impl TaskError {
    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Self::Panicked(panic) | Self::Died(ProcessError::Panicked(panic)) => Some(panic),
            _ => None,
        }
    }

    /// Did its worker die?
    #[must_use]
    pub fn is_died(&self) -> bool {
        matches!(self, Self::Died(_))
    }

    /// Did it run too long?
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self, Self::TimedOut)
    }

    /// Was it cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What every task of a pool comes to that was terminated.
    pub(crate) fn closed() -> Self {
        Self::Pool(closed())
    }
}

/// What one gets who gives work to a pool that takes none any more.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the pool is closed")
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the task panicked: {panic}"),
            Self::Died(end) => write!(f, "the worker of the task died: {end}"),
            Self::TimedOut => f.write_str("the task took longer than its pool allows, and was killed"),
            Self::Cancelled => f.write_str("the task was cancelled before it began"),
            Self::Decode(error) => write!(f, "a value did not cross to the worker or back: {error}"),
            Self::Pool(error) => write!(f, "the pool did not run the task: {error}"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Died(error) => Some(error),
            Self::Decode(error) | Self::Pool(error) => Some(error),
            _ => None,
        }
    }
}

/// What went wrong around a task before there was one.
impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        Self::Pool(error)
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        let kind = match &error {
            TaskError::Panicked(_) => ErrorKind::Panicked,
            TaskError::Died(_) => ErrorKind::Killed,
            TaskError::TimedOut => ErrorKind::Timeout,
            TaskError::Cancelled => ErrorKind::Closed,
            TaskError::Decode(inner) | TaskError::Pool(inner) => {
                return Self::new(inner.kind(), error.to_string()).with_os(inner.os_error());
            }
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_happened_crosses_and_has_a_kind() {
        let lost = Error::new(ErrorKind::Decode, "no number");
        let cases = [
            (TaskError::Died(ProcessError::Exited(3)), ErrorKind::Killed, "exited with code 3"),
            (TaskError::TimedOut, ErrorKind::Timeout, "longer than its pool allows"),
            (TaskError::Cancelled, ErrorKind::Closed, "cancelled before it began"),
            (TaskError::Decode(lost), ErrorKind::Decode, "did not cross to the worker or back: no number"),
            (TaskError::closed(), ErrorKind::Closed, "the pool is closed"),
        ];
        for (error, kind, says) in cases {
            let bytes = postcard::to_allocvec(&error).expect("encodes");
            let error: TaskError = postcard::from_bytes(&bytes).expect("decodes");
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(Error::from(error).kind(), kind);
        }
    }
}
