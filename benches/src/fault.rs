//! What can be wrong with a run: the reasons why a row is refused, left out or broken off.
//!
//! A fault crosses the border between a measured process and the coordinator, so it serialises. Each says in
//! one sentence what was seen, because a harness that only says "failed" teaches nothing.

use serde::{Deserialize, Serialize};

/// Why a row has no figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// A message arrived with another length than it was sent with.
    #[error("message {sequence} is {found} bytes long, {expected} were sent")]
    Length {
        /// Number of the message that was due.
        sequence: u64,
        /// Bytes sent.
        expected: u64,
        /// Bytes received.
        found: u64,
    },
    /// The message that was due did not come; a later one did.
    #[error("message {found} came where {expected} was due: a message was lost or overtaken")]
    Skipped {
        /// Number of the message that was due.
        expected: u64,
        /// Number of the message that came.
        found: u64,
    },
    /// A message came a second time.
    #[error("message {found} came again where {expected} was due: a message was duplicated or is stale")]
    Repeated {
        /// Number of the message that was due.
        expected: u64,
        /// Number of the message that came.
        found: u64,
    },
    /// The last word of a message is not the one written: the message was read before it was complete.
    #[error("message {sequence} is torn: its last word does not belong to it")]
    Torn {
        /// Number of the message.
        sequence: u64,
    },
    /// A word inside a message is not the one written.
    #[error("message {sequence} is damaged at byte {byte}: stale or foreign content")]
    Damaged {
        /// Number of the message.
        sequence: u64,
        /// First byte that differs.
        byte: u64,
    },
    /// A message that no producer of this row can have written.
    #[error("a message begins with {word:#x}: no producer of this row wrote that")]
    Stranger {
        /// Its first word.
        word: u64,
    },
    /// What is wrong with the messages of one producer of several.
    #[error("producer {producer}: {fault}")]
    Producer {
        /// Which one, from 0.
        producer: u64,
        /// What was seen.
        fault: Box<Fault>,
    },
    /// All consumers together got as many messages as were sent, but not those.
    #[error("as many messages were received as sent, but not the same: one was lost and another duplicated")]
    Exchanged,
    /// Both sides came to an end, with different totals.
    #[error("{sent} messages were sent and {received} received")]
    Count {
        /// Messages sent, the end mark included.
        sent: u64,
        /// Messages received, the end mark included.
        received: u64,
    },
    /// A lock let two in at once: the word that it protects has lost an increment.
    #[error(
        "the lock was taken {entered} times, and the word it protects counts {counted}: two were inside at once"
    )]
    Intruded {
        /// How often it was taken, all processes together.
        entered: u64,
        /// What the word says.
        counted: u64,
    },
    /// The row did not come to its end within its time and some seconds.
    #[error("the row did not end within {seconds} s: a message was lost or a wake was missed")]
    Stalled {
        /// Seconds waited.
        seconds: u64,
    },
    /// A measured process ended without a report.
    #[error("the {role} ended without a report ({status})")]
    Died {
        /// Which of them.
        role: String,
        /// How it ended.
        status: String,
    },
    /// A measured process panicked.
    #[error("the {role} panicked: {message}")]
    Panicked {
        /// Which of them.
        role: String,
        /// The panic's message.
        message: String,
    },
    /// The system or the transport cannot do this row. Not a defect: the row is null, with this reason.
    #[error("{0}")]
    Unsupported(String),
    /// A call into the system or into the transport failed.
    #[error("{what}: {error}")]
    Failed {
        /// What was tried.
        what: String,
        /// What the callee said.
        error: String,
    },
    /// Ctrl-C, or a request to end.
    #[error("interrupted")]
    Interrupted,
}

impl Fault {
    /// A failed call: what was tried, and the error it gave.
    pub fn failed(what: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Failed { what: what.into(), error: error.to_string() }
    }

    /// The same fault, said of one producer of several.
    #[must_use]
    pub fn of_producer(self, producer: u64) -> Self {
        Self::Producer { producer, fault: Box::new(self) }
    }

    /// The same damage, said of the message with this number.
    #[must_use]
    pub fn at(self, number: u64) -> Self {
        match self {
            Self::Torn { .. } => Self::Torn { sequence: number },
            Self::Damaged { byte, .. } => Self::Damaged { sequence: number, byte },
            other => other,
        }
    }

    /// Whether the row is merely impossible here, as opposed to wrong.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported(_))
    }
}
