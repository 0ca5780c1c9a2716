//! Errors as exceptions.
//!
//! What the standard library has an exception for is raised where it happens (`queue.Full`, `EOFError`, `ValueError`);
//! everything else is an [`Error`] (`ginnel.Error`, a `RuntimeError`), or the built-in one that says the same.

use ginnel::ErrorKind;
use pyo3::create_exception;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    ginnel,
    Error,
    PyRuntimeError,
    "What happened to an object in shared memory, and what to do."
);
create_exception!(ginnel, CorruptedError, Error, "Shared memory holds what no correct process writes.");

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("Error", module.py().get_type::<Error>())?;
    module.add("CorruptedError", module.py().get_type::<CorruptedError>())
}

/// The exception that says what `error` says.
#[cold]
pub(crate) fn raised(error: &ginnel::Error) -> PyErr {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Full => PyMemoryError::new_err(text),
        ErrorKind::Invalid | ErrorKind::TooLarge => PyValueError::new_err(text),
        ErrorKind::Os | ErrorKind::TooManyFiles | ErrorKind::Unsupported | ErrorKind::Denied => {
            PyOSError::new_err(text)
        }
        ErrorKind::Corrupted => CorruptedError::new_err(text),
        _ => Error::new_err(text),
    }
}

/// `?` for results of ginnel.
pub(crate) trait OrRaise<T> {
    /// # Errors
    /// The exception that says the same.
    fn or_raise(self) -> PyResult<T>;
}

impl<T> OrRaise<T> for ginnel::Result<T> {
    #[inline]
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| raised(&error))
    }
}
