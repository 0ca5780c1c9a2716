//! How a list is made.

/// How a list is made. What is not said is: no limit but the manager's.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(crate) limit: Option<usize>,
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes of memory it may take, in whole pages. More is `Full`.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = Some(bytes);
        self
    }
}
