//! The one error, and the small enums that give a value back.
//!
//! Everything a program does not plan for is an [`Error`]: one word wide, `Send + Sync + 'static`,
//! serializable (a child can return it), matched by [`Error::kind`] and predicates. What a program plans for
//! on a hot path (full, empty, closed, timed out) are crossbeam's enums, which hand the value back and turn
//! into an [`Error`] with `?`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `std`'s result with ginnel's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any failure that is not part of the plan.
///
/// `Display` says what was attempted, on which object, what happened, who is responsible and what to do;
/// `Debug` is the same sentence, because `fn main() -> ginnel::Result<()>` prints `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ErrorKind,
    happened: String,
    object: Option<String>,
    owner: Option<Owner>,
    advice: Option<String>,
    os: Option<i32>,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The deadline passed; `owner()` says who held it, if one process did.
    Timeout,
    /// The other side gave up its end in order.
    Closed,
    /// A lock's holder died holding it and nobody has repaired the data yet.
    OwnerDied,
    /// The other end's process died.
    PeerDied,
    /// Waiting would never end: this thread holds the lock already, or a cycle of processes waits for one another.
    Deadlock,
    /// The barrier was broken: a party died, timed out or aborted.
    Broken,
    /// No room: limit of the manager, table, tmpfs or memory. Never SIGBUS.
    Full,
    /// It can never fit.
    TooLarge,
    /// A value that its serializer refuses.
    Encode,
    /// Bytes that are no value of the wanted type. The message is used up.
    Decode,
    /// Found, but of another type, layout version or size.
    Mismatch,
    /// No object or segment of that name.
    NotFound,
    /// The role (the one producer, the one consumer) belongs to a living process.
    Taken,
    /// Wrong user, mode or kind of file.
    Denied,
    /// An argument that nobody can satisfy: an empty name, a capacity of zero.
    Invalid,
    /// Shared words hold what no correct peer writes. Sticky for this handle.
    Corrupted,
    /// The handle crossed a bare `fork()`.
    Forked,
    /// This machine lacks something ginnel needs.
    Unsupported,
    /// The operating system refused.
    Os,
    /// This process, or the machine, has as many files open as it may. Nothing was lost; close some, raise the limit
    /// (`RLIMIT_NOFILE`), try again.
    TooManyFiles,
    /// The function of a child process panicked.
    Panicked,
    /// A child process ended without a result: by a signal, or with an exit code.
    Killed,
    /// What a program itself calls a failure, as text.
    Failed,
}

/// Another process, as the segment knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Owner {
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// Its name when it attached.
    pub name: String,
    /// What it was doing when the error was made.
    pub state: OwnerState,
}

/// What a process was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OwnerState {
    /// Running, or able to.
    Running,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Dead.
    Dead,
    /// In another pid namespace, where this process cannot look.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            OwnerState::Running => "running",
            OwnerState::Stopped => "stopped",
            OwnerState::Dead => "dead",
            OwnerState::Unknown => "in another pid namespace",
        };
        write!(f, "process {} \"{}\" ({state})", self.pid, self.name)
    }
}

impl Error {
    /// An error of `kind`; `happened` is a sentence without a full stop.
    #[cold]
    #[doc(hidden)]
    pub fn new(kind: ErrorKind, happened: impl Into<String>) -> Self {
        let happened = happened.into();
        Self(Box::new(Inner { kind, happened, object: None, owner: None, advice: None, os: None }))
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_object(mut self, name: impl Into<String>) -> Self {
        self.0.object = Some(name.into());
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_owner(mut self, owner: Option<Owner>) -> Self {
        self.0.owner = owner;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Keeps the `errno`; the sentence says it already.
    #[doc(hidden)]
    #[must_use]
    pub fn with_os(mut self, code: Option<i32>) -> Self {
        self.0.os = code;
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The process that holds what was waited for, or whose death caused this.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.0.owner.as_ref()
    }

    /// Name of the object, if it has one.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// The `errno` behind it, if there is one.
    #[must_use]
    pub fn os_error(&self) -> Option<i32> {
        self.0.os
    }

    /// Did the deadline pass?
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Did the other side close?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// Did a lock's holder die, leaving its data unrepaired?
    #[must_use]
    pub fn is_owner_died(&self) -> bool {
        self.kind() == ErrorKind::OwnerDied
    }

    /// Did the other end's process die?
    #[must_use]
    pub fn is_peer_dead(&self) -> bool {
        self.kind() == ErrorKind::PeerDied
    }

    /// Was there no room?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.kind() == ErrorKind::Full
    }

    /// Was there nothing of that name?
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Was it of another type, version or size?
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.kind() == ErrorKind::Mismatch
    }

    /// Does a living process hold the role?
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.kind() == ErrorKind::Taken
    }

    /// Was the barrier broken?
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.kind() == ErrorKind::Broken
    }

    /// Would the wait never have ended?
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        self.kind() == ErrorKind::Deadlock
    }

    /// Did the handle cross a bare `fork()`?
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.kind() == ErrorKind::Forked
    }

    /// Is it another user, another key, or a file with the wrong rights?
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.kind() == ErrorKind::Denied
    }

    /// Did shared memory hold what no correct peer writes?
    #[must_use]
    pub fn is_corrupted(&self) -> bool {
        self.kind() == ErrorKind::Corrupted
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { happened, object, owner, advice, .. } = &*self.0;
        if let Some(object) = object {
            write!(f, "\"{object}\": ")?;
        }
        f.write_str(happened)?;
        if let Some(owner) = owner {
            write!(f, ": {owner}")?;
        }
        if let Some(advice) = advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            ErrorKind::Timeout => Io::TimedOut,
            ErrorKind::Closed | ErrorKind::PeerDied => Io::BrokenPipe,
            ErrorKind::NotFound => Io::NotFound,
            ErrorKind::Full => Io::StorageFull,
            ErrorKind::TooLarge | ErrorKind::Invalid | ErrorKind::Encode => Io::InvalidInput,
            ErrorKind::Denied => Io::PermissionDenied,
            ErrorKind::Mismatch | ErrorKind::Corrupted | ErrorKind::Decode => Io::InvalidData,
            ErrorKind::Unsupported => Io::Unsupported,
            _ => Io::Other,
        };
        Self::new(kind, error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorKind::Os, error.to_string()).with_os(error.raw_os_error())
    }
}

/// The enums that hand a value back, one table for all three.
macro_rules! gives_back {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $is:ident $kind:ident $says:literal),+ }) => {
        $(#[$doc])*
        pub enum $name<T> {
            $($(#[$vdoc])* $variant(T),)+
            /// Something else went wrong; the value was not sent.
            Failed(T, Error),
        }

        impl<T> $name<T> {
            /// The value that was not sent.
            #[must_use]
            pub fn into_inner(self) -> T {
                match self {
                    $(Self::$variant(value))|+ | Self::Failed(value, _) => value,
                }
            }

            $(
                #[doc = concat!("Is it [`Self::", stringify!($variant), "`]?")]
                #[must_use]
                pub fn $is(&self) -> bool {
                    matches!(self, Self::$variant(_))
                }
            )+
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(_) => f.write_str(concat!(stringify!($variant), "(..)")),)+
                    Self::Failed(_, error) => write!(f, "Failed(.., {error:?})"),
                }
            }
        }

        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant(_) => f.write_str($says),)+
                    Self::Failed(_, error) => error.fmt(f),
                }
            }
        }

        impl<T> std::error::Error for $name<T> {}

        impl<T> From<$name<T>> for Error {
            fn from(error: $name<T>) -> Self {
                match error {
                    $($name::$variant(_) => Self::new(ErrorKind::$kind, $says),)+
                    $name::Failed(_, error) => error,
                }
            }
        }
    };
}

gives_back!(
    /// A message was not sent by an operation that waits.
    SendError {
        /// The receiving end was given up.
        Closed is_closed Closed "the receiving end was closed"
    }
);
gives_back!(
    /// A message was not sent by an operation that never waits.
    TrySendError {
        /// No room now.
        Full is_full Full "the queue is full",
        /// The receiving end was given up.
        Closed is_closed Closed "the receiving end was closed"
    }
);
gives_back!(
    /// A message was not sent by an operation with a deadline.
    SendTimeoutError {
        /// No room until the deadline.
        Timeout is_timeout Timeout "the queue stayed full until the deadline",
        /// The receiving end was given up.
        Closed is_closed Closed "the receiving end was closed"
    }
);

/// The enums of the receiving side, one table for all three.
macro_rules! receives {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident $is:ident $kind:ident $says:literal),+ }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// Something else went wrong.
            Failed(Error),
        }

        impl $name {
            $(
                #[doc = concat!("Is it [`Self::", stringify!($variant), "`]?")]
                #[must_use]
                pub fn $is(&self) -> bool {
                    matches!(self, Self::$variant)
                }
            )+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($says),)+
                    Self::Failed(error) => error.fmt(f),
                }
            }
        }

        impl std::error::Error for $name {}

        impl From<$name> for Error {
            fn from(error: $name) -> Self {
                match error {
                    $($name::$variant => Self::new(ErrorKind::$kind, $says),)+
                    $name::Failed(error) => error,
                }
            }
        }
    };
}

receives!(
    /// Nothing was received by an operation that waits.
    RecvError {
        /// The sending end was given up, and everything sent has been received.
        Closed is_closed Closed "the sending end was closed and the queue is empty"
    }
);
receives!(
    /// Nothing was received by an operation that never waits.
    TryRecvError {
        /// Nothing is there now.
        Empty is_empty Timeout "the queue is empty",
        /// The sending end was given up, and everything sent has been received.
        Closed is_closed Closed "the sending end was closed and the queue is empty"
    }
);
receives!(
    /// Nothing was received by an operation with a deadline.
    RecvTimeoutError {
        /// Nothing came until the deadline.
        Timeout is_timeout Timeout "nothing came until the deadline",
        /// The sending end was given up, and everything sent has been received.
        Closed is_closed Closed "the sending end was closed and the queue is empty"
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_and_says_who_and_what_to_do() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let owner = Owner { pid: 4711, name: "worker".into(), state: OwnerState::Stopped };
        let error = Error::new(ErrorKind::Timeout, "not obtained in 2 s, held by another")
            .with_object("accounts")
            .with_owner(Some(owner))
            .with_advice("continue it, or end it");
        assert_eq!(
            format!("{error:?}"),
            "\"accounts\": not obtained in 2 s, held by another: process 4711 \"worker\" (stopped); \
             continue it, or end it"
        );
        assert!(error.is_timeout() && !error.is_full());
    }

    #[test]
    fn the_value_comes_back() {
        assert_eq!(TrySendError::Full(7).into_inner(), 7);
        assert!(TrySendError::Full(7).is_full());
        let failed = SendTimeoutError::Failed(8, Error::new(ErrorKind::PeerDied, "x"));
        assert!(Error::from(failed).is_peer_dead());
        assert!(Error::from(RecvError::Closed).is_closed());
    }
}
