//! How a child ended otherwise than with a result.

use std::fmt;

use ginnel_object::{Error, ErrorKind};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// Why there is no value of a child.
///
/// The value comes first: a child that returned and was killed on its way out has one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProcessError {
    /// Its function panicked.
    Panicked(Panic),
    /// A signal ended it. All it held is recovered.
    #[non_exhaustive]
    Killed {
        /// The signal: 9 is SIGKILL.
        signal: i32,
        /// Was it the system, because its control group had no memory left?
        out_of_memory: bool,
    },
    /// It left by `exit` with this code, without returning. 255 as well where somebody else has waited for it, so that
    /// nobody knows how it ended.
    Exited(i32),
    /// Its arguments or its result did not cross. Where it was the arguments, the function did not run.
    Decode(Error),
    /// It ran, but could not be made what its builder asked for. The function did not run.
    Start(Error),
}

impl ProcessError {
    /// What a child reports that did not run its function, or could not send the result.
    pub(crate) fn reported(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Decode | ErrorKind::Encode | ErrorKind::TooLarge | ErrorKind::Full => {
                Self::Decode(error)
            }
            _ => Self::Start(error),
        }
    }

    /// Was it killed by a signal?
    #[must_use]
    pub fn is_killed(&self) -> bool {
        matches!(self, Self::Killed { .. })
    }

    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Self::Panicked(panic) => Some(panic),
            _ => None,
        }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "the child panicked: {panic}"),
            Self::Killed { signal, out_of_memory } => {
                write!(f, "the child was killed by {}", SignalName(*signal))?;
                if *out_of_memory { f.write_str(", because its memory was used up") } else { Ok(()) }
            }
            Self::Exited(code) => write!(f, "the child exited with code {code} before its function returned"),
            Self::Decode(error) => write!(f, "a value did not cross to the child or back: {error}"),
            Self::Start(error) => write!(f, "the child could not be set up: {error}"),
        }
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(error) | Self::Start(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ProcessError> for Error {
    fn from(error: ProcessError) -> Self {
        let kind = match &error {
            ProcessError::Panicked(_) => ErrorKind::Panicked,
            ProcessError::Killed { .. } | ProcessError::Exited(_) => ErrorKind::Killed,
            ProcessError::Decode(inner) | ProcessError::Start(inner) => {
                return Self::new(inner.kind(), error.to_string()).with_os(inner.os_error());
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// A signal as people call it.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match Signal::from_named_raw(self.0) {
            Some(Signal::HUP) => "SIGHUP",
            Some(Signal::INT) => "SIGINT",
            Some(Signal::QUIT) => "SIGQUIT",
            Some(Signal::ILL) => "SIGILL",
            Some(Signal::TRAP) => "SIGTRAP",
            Some(Signal::ABORT) => "SIGABRT",
            Some(Signal::BUS) => "SIGBUS",
            Some(Signal::FPE) => "SIGFPE",
            Some(Signal::KILL) => "SIGKILL",
            Some(Signal::SEGV) => "SIGSEGV",
            Some(Signal::PIPE) => "SIGPIPE",
            Some(Signal::ALARM) => "SIGALRM",
            Some(Signal::TERM) => "SIGTERM",
            Some(Signal::XCPU) => "SIGXCPU",
            Some(Signal::XFSZ) => "SIGXFSZ",
            Some(Signal::SYS) => "SIGSYS",
            _ => return write!(f, "signal {}", self.0),
        };
        write!(f, "{name} (signal {})", self.0)
    }
}

/// A panic of a child's function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    pub(crate) thread: Option<String>,
    pub(crate) backtrace: Option<String>,
}

impl Panic {
    /// What it said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where: file, line and column.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The name of the thread, if it had one.
    #[must_use]
    pub fn thread(&self) -> Option<&str> {
        self.thread.as_deref()
    }

    /// The calls that led to it, if the child's `RUST_BACKTRACE` asked for them.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.location {
            Some(location) => write!(f, " (at {location})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ginnel_object::Message;

    fn crossed(error: &ProcessError) -> ProcessError {
        error.with_bytes(ProcessError::from_bytes).expect("encodes").expect("decodes")
    }

    #[test]
    fn each_says_what_happened_and_has_a_kind() {
        let panic =
            Panic { message: "no".into(), location: Some("a.rs:1:2".into()), thread: None, backtrace: None };
        let cases = [
            (ProcessError::Panicked(panic), ErrorKind::Panicked, "the child panicked: no (at a.rs:1:2)"),
            (
                ProcessError::Killed { signal: 9, out_of_memory: false },
                ErrorKind::Killed,
                "the child was killed by SIGKILL (signal 9)",
            ),
            (
                ProcessError::Killed { signal: 40, out_of_memory: true },
                ErrorKind::Killed,
                "the child was killed by signal 40, because its memory was used up",
            ),
            (
                ProcessError::Exited(3),
                ErrorKind::Killed,
                "the child exited with code 3 before its function returned",
            ),
        ];
        for (error, kind, says) in cases {
            let error = crossed(&error);
            assert_eq!(error.to_string(), says);
            assert_eq!(Error::from(error).kind(), kind);
        }
    }

    #[test]
    fn what_a_child_reports_is_told_apart_by_its_kind() {
        let decode = ProcessError::reported(Error::new(ErrorKind::Decode, "no number"));
        assert!(matches!(crossed(&decode), ProcessError::Decode(_)), "{decode:?}");
        let start =
            ProcessError::reported(Error::new(ErrorKind::Unsupported, "no landlock").with_os(Some(38)));
        assert!(matches!(start, ProcessError::Start(_)), "{start:?}");
        let error = Error::from(start);
        assert_eq!((error.kind(), error.os_error()), (ErrorKind::Unsupported, Some(38)));
    }
}
