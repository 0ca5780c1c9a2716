//! Any error, as text, able to cross to another process.
//!
//! Most errors cannot be serialized. A child that uses `?` on such returns `Result<T, Failure>`: the failure keeps what
//! each error of the chain says, and nothing else.

use std::fmt;

use ginnel_object::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// What went wrong in a child, with its causes, as text.
///
/// ```
/// use ginnel_process::Failure;
///
/// fn port(text: &str) -> Result<u16, Failure> {
///     if text.is_empty() {
///         return Err(Failure::msg("no port was given"));
///     }
///     text.parse().map_err(|why| Failure::from(why).context(format!("{text:?} is no port")))
/// }
///
/// let failure = port("70000").expect_err("too large");
/// assert_eq!(failure.to_string(), "\"70000\" is no port");
/// assert_eq!(failure.chain().count(), 2);
/// ```
/// It is no `std::error::Error`, so that it can be made of every one of them. [`Error`] is, and is made of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    what: String,
    /// Outermost first.
    causes: Vec<String>,
}

impl Failure {
    /// One without a cause.
    pub fn msg(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), causes: Vec::new() }
    }

    /// The same, as the cause of `what`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        let cause = std::mem::replace(&mut self.what, what.to_string());
        self.causes.insert(0, cause);
        self
    }

    /// What happened, then its cause, and so on.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.what).chain(&self.causes).map(String::as_str)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        Self { what: error.to_string(), causes: causes.map(ToString::to_string).collect() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(ErrorKind::Failed, failure.chain().collect::<Vec<_>>().join(": "))
    }
}

/// What happened; with `{:#}` its causes as well, on the same line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if f.alternate() {
            for cause in &self.causes {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

/// What happened and its causes, a line each: `fn main() -> Result<(), Failure>` prints it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.causes.is_empty() {
            f.write_str("\n\ncaused by")?;
        }
        for cause in &self.causes {
            write!(f, "\n    {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ginnel_object::Message;

    fn unreadable() -> Result<(), Failure> {
        std::fs::read("/nowhere/at/all")?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_one_and_crosses() {
        let failure = unreadable().expect_err("there is no such file");
        let crossed = failure.with_bytes(Failure::from_bytes).expect("encodes").expect("decodes");
        assert_eq!(crossed, failure);
        assert!(crossed.to_string().contains("No such file"), "{crossed}");
    }

    #[test]
    fn the_causes_are_kept_in_order() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let why = "x".parse::<u8>().expect_err("no number");
        let failure = Failure::from(Outer(why.clone())).context("all of it");
        let chain: Vec<_> = failure.chain().map(str::to_owned).collect();
        assert_eq!(chain, ["all of it".to_owned(), "outer".to_owned(), why.to_string()]);
        assert_eq!(format!("{failure:#}"), chain.join(": "));
        assert!(format!("{failure:?}").starts_with("all of it\n\ncaused by\n    outer\n    "));
        let error = Error::from(failure);
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Failed, chain.join(": ")));
    }
}
