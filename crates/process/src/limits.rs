//! What a child may use of the machine: resource limits, which the child sets before its function runs.

use std::time::Duration;

use ginnel_object::{Error, ErrorKind, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What a child may use. Its own children inherit all of it. No limit that is not named here changes.
///
/// A limit above what the system allows this user is an error of the child, which then does not run its function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "limits do nothing until they are given to a builder"]
pub struct Limits {
    data: Option<u64>,
    cpu: Option<u64>,
    files: Option<u64>,
    core: Option<u64>,
    file_size: Option<u64>,
    stack: Option<u64>,
    processes: Option<u64>,
}

impl Limits {
    /// No limits yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of private memory: heap, stacks, anonymous mappings. An allocation beyond them fails, which ends a Rust
    /// program with SIGABRT. The shared memory of the arena is not counted.
    pub fn data(mut self, bytes: u64) -> Self {
        self.data = Some(bytes);
        self
    }

    /// Time on the processor, of all its threads together; rounded up to seconds. The kernel kills it after that.
    pub fn cpu(mut self, time: Duration) -> Self {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        // The kernel takes 0 for "at the next tick", and so do we.
        self.cpu = Some(seconds);
        self
    }

    /// Open descriptors. Those that ginnel itself holds count too: leave it a dozen.
    pub fn files(mut self, count: u64) -> Self {
        self.files = Some(count);
        self
    }

    /// Bytes of the core file it may leave; 0 for none.
    pub fn core(mut self, bytes: u64) -> Self {
        self.core = Some(bytes);
        self
    }

    /// Bytes that a file may grow to by its writing. Beyond them it gets SIGXFSZ. The shared memory of the arena counts
    /// as a file here, so do not set this below the arena's limit.
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.file_size = Some(bytes);
        self
    }

    /// Bytes that the stack of its main thread, which runs the function, may grow to.
    pub fn stack(mut self, bytes: u64) -> Self {
        self.stack = Some(bytes);
        self
    }

    /// Processes and threads that its user may have, when it wants one more.
    pub fn processes(mut self, count: u64) -> Self {
        self.processes = Some(count);
        self
    }

    /// Sets them for this process.
    pub(crate) fn apply(&self) -> Result<()> {
        let all = [
            (Resource::Data, self.data, "data"),
            (Resource::Cpu, self.cpu, "cpu"),
            (Resource::Nofile, self.files, "files"),
            (Resource::Core, self.core, "core"),
            (Resource::Fsize, self.file_size, "file_size"),
            (Resource::Stack, self.stack, "stack"),
            (Resource::Nproc, self.processes, "processes"),
        ];
        for (resource, value, name) in all {
            let Some(value) = value else { continue };
            let limit = Rlimit { current: Some(value), maximum: Some(value) };
            setrlimit(resource, limit).map_err(|why| {
                Error::new(ErrorKind::Os, format!("the limit `{name}` cannot be {value}: {why}"))
                    .with_os(Some(why.raw_os_error()))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_second_is_a_second() {
        assert_eq!(Limits::new().cpu(Duration::from_millis(1)).cpu, Some(1));
        assert_eq!(Limits::new().cpu(Duration::from_secs(2)).cpu, Some(2));
        assert_eq!(Limits::new().cpu(Duration::from_millis(2001)).cpu, Some(3));
    }

    #[test]
    fn they_cross_as_they_are() {
        let limits = Limits::new().data(1 << 30).files(64).core(0);
        let bytes = postcard::to_allocvec(&limits).unwrap();
        assert_eq!(postcard::from_bytes::<Limits>(&bytes).unwrap(), limits);
    }
}
