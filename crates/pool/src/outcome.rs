//! What came of a task, before its type is known again.

use ginnel_object::bridge::crew::{End, Taken};
use ginnel_object::{Error, Message};
use ginnel_process::Panic;

use crate::error::TaskError;

/// What came of one use of a slot.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A worker committed it: a task, or a chunk of which all items are done.
    Taken(Taken),
    /// The parent decided it.
    Failed(TaskError),
    /// A worker committed a chunk before all its items were done; why, the end of `results` says.
    Early(Box<Part>),
    /// The worker of a chunk died in it.
    Lost(Box<Lost>),
}

/// What there is of a chunk of which not all items are done.
#[derive(Debug)]
pub(crate) struct Part {
    /// The results of the items that are done, as many as its progress says.
    pub(crate) results: Taken,
    /// The arguments of the others. Where something ended the chunk, those of the item that it was are in front.
    pub(crate) rest: Vec<u8>,
}

/// What is left of a chunk whose worker died.
#[derive(Debug)]
pub(crate) struct Lost {
    /// What becomes of the item that ran, should it not be tried again.
    pub(crate) cause: TaskError,
    /// How often the chunk was tried before.
    pub(crate) attempt: u32,
    pub(crate) part: Part,
}

impl Outcome {
    /// Is there no value? Whether a value decodes is not looked at.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Taken(taken) => is_failed(taken),
            Self::Early(part) => is_failed(&part.results),
            Self::Failed(_) | Self::Lost(_) => true,
        }
    }

    /// Why there is no value.
    pub(crate) fn into_failure(self) -> Option<TaskError> {
        match self {
            Self::Taken(taken) => failure_of(taken).err(),
            Self::Early(part) => failure_of(part.results).err(),
            Self::Failed(error) => Some(error),
            Self::Lost(lost) => Some(lost.cause),
        }
    }

    /// The value. Handles in it become this process's.
    pub(crate) fn into_result<R: Message>(self) -> Result<R, TaskError> {
        match self {
            Self::Taken(taken) => failure_of(taken)?.decode().map_err(TaskError::Decode),
            Self::Early(part) => failure_of(part.results)?.decode().map_err(TaskError::Decode),
            Self::Failed(error) => Err(error),
            Self::Lost(lost) => Err(lost.cause),
        }
    }

    /// Gives larger buffers back.
    pub(crate) fn leave_trays(&mut self) {
        match self {
            Self::Taken(taken) => taken.leave_trays(),
            Self::Early(part) => part.results.leave_trays(),
            Self::Lost(lost) => lost.part.results.leave_trays(),
            Self::Failed(_) => {}
        }
    }
}

fn is_failed(taken: &Taken) -> bool {
    !matches!(taken.end(), End::Value | End::None)
}

/// Tells values from what workers report instead of one.
pub(crate) fn failure_of(taken: Taken) -> Result<Taken, TaskError> {
    match taken.end() {
        End::Value | End::None => Ok(taken),
        End::Panicked => Err(taken.decode::<Panic>().map_or_else(TaskError::Decode, TaskError::Panicked)),
        End::Undecodable | End::Unsendable => {
            Err(TaskError::Decode(taken.decode::<Error>().unwrap_or_else(|why| why)))
        }
    }
}
